"""What a principal of each kind asks of a signer."""

from __future__ import annotations

from typing import Any

import pytest
from fabric_protos.msp import msp_principal_pb2

from network.errors import IdentityError
from network.msp import MSPManager
from network.msp.principals import MAX_COMBINED, compile_principal
from network.policy import role_principal
from tests.support.members import Member

P = msp_principal_pb2.MSPPrincipal


@pytest.fixture(scope="module")
def members():
    bank, pta = Member("BankMSP"), Member("PtaMSP")
    return bank, pta, MSPManager([bank.msp(), pta.msp()])


def _principal(kind: int, message) -> Any:
    raw = message if isinstance(message, bytes) else message.SerializeToString()
    return P(principal_classification=kind, principal=raw)


def _ask(manager, principal, signer) -> bool:
    return compile_principal(principal, manager.deserialize)(manager.deserialize(signer.serialized))


@pytest.mark.parametrize("unit", ["client", "peer", "admin", "orderer"])
@pytest.mark.parametrize("role", ["member", "client", "peer", "admin", "orderer"])
def test_role_is_satisfied_by_those_who_have_it(members, unit, role) -> None:
    """Everybody is a member; the other roles come from the unit."""
    bank, _, manager = members
    satisfied = _ask(manager, role_principal(f"BankMSP.{role}"), bank.identity(unit=unit))
    assert satisfied == (role in ("member", unit))


def test_role_of_another_member_is_not_satisfied(members) -> None:
    """A role is one of a member."""
    bank, _, manager = members
    assert not _ask(manager, role_principal("PtaMSP.member"), bank.identity())


def test_organisational_unit_is_one_of_member_authority_and_name(members) -> None:
    """All three must fit."""
    bank, pta, manager = members
    signer = bank.identity(unit="peer")
    certifiers = manager.deserialize(signer.serialized).certifiers_identifier

    def unit(**changes):
        values = {
            "msp_identifier": "BankMSP",
            "organizational_unit_identifier": "peer",
            "certifiers_identifier": certifiers,
        }
        return _principal(
            P.ORGANIZATION_UNIT, msp_principal_pb2.OrganizationUnit(**{**values, **changes})
        )

    assert _ask(manager, unit(), signer)
    assert not _ask(manager, unit(organizational_unit_identifier="client"), signer)
    assert not _ask(manager, unit(certifiers_identifier=b""), signer)
    assert not _ask(manager, unit(msp_identifier="PtaMSP"), signer)
    assert not _ask(manager, unit(), pta.identity(unit="peer"))


def test_identity_is_one_certificate_however_it_is_written(members) -> None:
    """The certificate counts, not the bytes around it."""
    bank, _, manager = members
    signer = bank.identity()
    named = _principal(P.IDENTITY, signer.serialized + b"\x1a\x00")
    assert _ask(manager, named, signer)
    assert not _ask(manager, named, bank.identity())


def test_anonymity_is_nominal_for_certificates(members) -> None:
    """X.509 identities are never anonymous."""
    bank, _, manager = members
    for kind, expected in ((0, True), (1, False)):
        message = msp_principal_pb2.MSPIdentityAnonymity(anonymity_type=kind)
        assert _ask(manager, _principal(P.ANONYMITY, message), bank.identity()) is expected


def test_combined_principal_demands_all_its_parts(members) -> None:
    """Also when combinations lie inside each other."""
    bank, _, manager = members
    peer, member = role_principal("BankMSP.peer"), role_principal("BankMSP.member")

    def combined(*parts):
        return _principal(P.COMBINED, msp_principal_pb2.CombinedPrincipal(principals=list(parts)))

    assert _ask(manager, combined(member, combined(peer, member)), bank.identity(unit="peer"))
    assert not _ask(manager, combined(member, combined(peer)), bank.identity(unit="client"))
    assert not _ask(manager, combined(), bank.identity())


def test_combined_principal_that_is_too_large_satisfies_nobody(members) -> None:
    """Nor does it take long to find that out."""
    bank, _, manager = members
    part = role_principal("BankMSP.member")
    message = msp_principal_pb2.CombinedPrincipal(principals=[part] * (MAX_COMBINED + 1))
    assert not _ask(manager, _principal(P.COMBINED, message), bank.identity())


@pytest.mark.parametrize("kind", [P.ROLE, P.ORGANIZATION_UNIT, P.IDENTITY, P.ANONYMITY, P.COMBINED])
def test_malformed_principal_satisfies_nobody(members, kind) -> None:
    """As in Fabric, a policy with one stays usable in its other parts."""
    bank, _, manager = members
    assert not _ask(manager, _principal(kind, b"\xff\xff"), bank.identity())


def test_unknown_kind_and_role_satisfy_nobody(members) -> None:
    """What is not understood is not satisfied."""
    bank, _, manager = members
    unknown = P.FromString(b"\x08\x09")
    assert not _ask(manager, unknown, bank.identity())
    role = _principal(P.ROLE, b"\x0a\x07BankMSP\x10\x09")
    assert not _ask(manager, role, bank.identity())


def test_identity_of_a_revoked_certificate_satisfies_nobody() -> None:
    """A principal that names one is never satisfied."""
    member = Member("BankMSP")
    signer = member.identity()
    member.revoke(signer)
    manager = MSPManager([member.msp()])
    predicate = compile_principal(_principal(P.IDENTITY, signer.serialized), manager.deserialize)
    assert not predicate(manager.deserialize(member.identity().serialized))


def test_msp_raises_for_a_principal_that_is_not_satisfied(members) -> None:
    """The form in which one identity is asked."""
    bank, _, manager = members
    identity = manager.deserialize(bank.identity().serialized)
    msp = manager.msp("BankMSP")
    msp.satisfies(identity, role_principal("BankMSP.client"))
    with pytest.raises(IdentityError, match="does not satisfy"):
        msp.satisfies(identity, role_principal("BankMSP.admin"))
