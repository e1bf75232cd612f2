"""Policies by their paths: signature and implicit-meta, groups in groups, contracts' policies."""

from __future__ import annotations

import pytest
from fabric_protos.common import configtx_pb2, policies_pb2
from fabric_protos.peer import policy_pb2

from network.configuration.genesis import config_policy
from network.errors import PolicyError
from network.msp import MSPManager
from network.policy import PolicyManager, SignaturePolicy, SignedData, parse_policy, role_principal
from network.policy.implicit_meta import threshold_of
from network.policy.signature import RESULTS_CACHED
from network.policy.tree import MAX_DEPTH, POLICIES_CACHED
from tests.support.members import Member

NAMES = ("AMSP", "BMSP", "CMSP")


@pytest.fixture(scope="module")
def members():
    return {name: Member(name) for name in NAMES}


@pytest.fixture(scope="module")
def msps(members):
    return MSPManager([member.msp() for member in members.values()])


@pytest.fixture(scope="module")
def peers(members):
    return {name: member.identity(unit="peer") for name, member in members.items()}


def _group(policies=None, **groups):
    return configtx_pb2.ConfigGroup(
        policies={name: config_policy(rule) for name, rule in (policies or {}).items()},
        groups=groups,
    )


def _tree(rule: str, *, without: str = ""):
    """Return a channel with a rule over the members' Endorsement policies."""
    groups = {
        name: _group({} if name == without else {"Endorsement": f"OR('{name}.peer')"})
        for name in NAMES
    }
    return _group(Application=_group({"Endorsement": rule}, **groups))


def _signed(*signers):
    return [SignedData(b"data", each.serialized, each.sign(b"data")) for each in signers]


@pytest.mark.parametrize(
    ("rule", "groups", "needed"),
    [
        ("ANY", 3, 1),
        ("ALL", 3, 3),
        ("MAJORITY", 3, 2),
        ("MAJORITY", 4, 3),
        ("MAJORITY", 1, 1),
        ("ANY", 0, 0),
        ("ALL", 0, 0),
        ("MAJORITY", 0, 0),
    ],
)
def test_threshold_is_fabrics(rule, groups, needed) -> None:
    """More than half is a majority; of nothing, nothing is needed."""
    assert threshold_of(rule, groups) == needed


@pytest.mark.parametrize(("rule", "needed"), [("ANY", 1), ("MAJORITY", 2), ("ALL", 3)])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_implicit_meta_counts_members(msps, peers, rule, needed, count) -> None:
    """One signature of each member, in any number."""
    policies = PolicyManager(_tree(f"{rule} Endorsement"), msps)
    signed = _signed(*list(peers.values())[:count])
    if count >= needed:
        found = policies.evaluate("/Channel/Application/Endorsement", signed)
        assert len(found) == count
    else:
        with pytest.raises(PolicyError, match=f"{count} sub-policies were satisfied.*{needed}"):
            policies.evaluate("/Channel/Application/Endorsement", signed)


def test_member_without_the_policy_counts_and_is_never_satisfied(msps, peers) -> None:
    """ALL over three groups of which one has no such policy cannot be satisfied."""
    policies = PolicyManager(_tree("ALL Endorsement", without="CMSP"), msps)
    with pytest.raises(PolicyError, match="2 sub-policies"):
        policies.evaluate("/Channel/Application/Endorsement", _signed(*peers.values()))


def test_two_signatures_of_one_member_count_once(members, msps, peers) -> None:
    """A majority is one of members, not of signatures."""
    policies = PolicyManager(_tree("MAJORITY Endorsement"), msps)
    twice = _signed(peers["AMSP"], members["AMSP"].identity(unit="peer"), peers["AMSP"])
    with pytest.raises(PolicyError, match="1 sub-policies"):
        policies.evaluate("/Channel/Application/Endorsement", twice)


def test_policy_is_found_by_absolute_and_relative_path(msps, peers) -> None:
    """A relative path is one below /Channel."""
    policies = PolicyManager(_tree("ANY Endorsement"), msps)
    assert policies.policy("/Channel/Application/Endorsement") is policies.policy(
        "Application/Endorsement"
    )
    assert policies.paths == (
        *(f"/Channel/Application/{name}/Endorsement" for name in NAMES),
        "/Channel/Application/Endorsement",
    )


@pytest.mark.parametrize(
    "path", ["", "/", "/Channel", "/Channel/Application", "/Else/Application/Endorsement", "Admins"]
)
def test_path_that_leads_nowhere_is_refused(msps, path) -> None:
    """Never passed: a misspelt policy must not open a door."""
    with pytest.raises(PolicyError, match="no such policy"):
        PolicyManager(_tree("ANY Endorsement"), msps).evaluate(path, [])


def test_implicit_meta_over_implicit_meta(msps, peers) -> None:
    """The channel's Writers ask the groups' Writers, which ask the members'."""
    member = {name: _group({"Writers": f"OR('{name}.peer')"}) for name in NAMES}
    root = _group(
        {"Writers": "ANY Writers"},
        Application=_group({"Writers": "MAJORITY Writers"}, **member),
        Orderer=_group({"Writers": "ANY Writers"}),
    )
    policies = PolicyManager(root, msps)
    # The empty group needs nothing, so it is satisfied by anybody, as in Fabric.
    policies.evaluate("/Channel/Writers", [])
    del root.groups["Orderer"]
    policies = PolicyManager(root, msps)
    with pytest.raises(PolicyError):
        policies.evaluate("/Channel/Writers", _signed(peers["AMSP"]))
    policies.evaluate("/Channel/Writers", _signed(peers["AMSP"], peers["CMSP"]))


@pytest.mark.parametrize(
    "entry",
    [
        configtx_pb2.ConfigPolicy(),
        configtx_pb2.ConfigPolicy(policy=policies_pb2.Policy(type=0)),
        configtx_pb2.ConfigPolicy(policy=policies_pb2.Policy(type=2)),
        configtx_pb2.ConfigPolicy(policy=policies_pb2.Policy(type=1, value=b"\xff")),
        configtx_pb2.ConfigPolicy(policy=policies_pb2.Policy(type=3, value=b"\xff")),
        configtx_pb2.ConfigPolicy(policy=policies_pb2.Policy(type=3, value=b"\x10\x09")),
        configtx_pb2.ConfigPolicy(policy=policies_pb2.Policy(type=1, value=b"\x08\x01")),
    ],
)
def test_malformed_policy_is_refused_with_its_path(msps, entry) -> None:
    """Empty, of unknown type, undecodable, with an unknown rule, without a rule."""
    root = configtx_pb2.ConfigGroup(policies={"Writers": entry})
    with pytest.raises(PolicyError, match="/Channel/Writers"):
        PolicyManager(root, msps)


def test_policy_of_another_version_is_refused_in_a_configuration(msps) -> None:
    """Only version 0 is known; Fabric looks at it here and nowhere else."""
    envelope = parse_policy("OR('AMSP.peer')")
    envelope.version = 1
    policy = policies_pb2.Policy(type=1, value=envelope.SerializeToString())
    entry = configtx_pb2.ConfigPolicy(policy=policy)
    with pytest.raises(PolicyError, match="version 1"):
        PolicyManager(configtx_pb2.ConfigGroup(policies={"Writers": entry}), msps)
    PolicyManager(configtx_pb2.ConfigGroup(), msps).signature_policy(envelope.SerializeToString())


def test_groups_that_lie_too_deep_are_refused(msps) -> None:
    """Fabric's have three levels."""
    root = _group({"Writers": "OR('AMSP.peer')"})
    for _ in range(MAX_DEPTH + 1):
        root = _group(inner=root)
    with pytest.raises(PolicyError, match="deeper"):
        PolicyManager(root, msps)


def test_principal_that_is_not_listed_is_refused(msps) -> None:
    """A rule names principals by their number."""
    for number in (1, -1):
        envelope = policies_pb2.SignaturePolicyEnvelope(
            rule=policies_pb2.SignaturePolicy(signed_by=number),
            identities=[role_principal("AMSP.peer")],
        )
        with pytest.raises(PolicyError, match="out of range"):
            SignaturePolicy(envelope, msps)


def test_contracts_policy_is_a_signature_policy_or_a_path(msps, peers) -> None:
    """Both forms of an ApplicationPolicy; another one is refused."""
    policies = PolicyManager(_tree("MAJORITY Endorsement"), msps)
    both = policy_pb2.ApplicationPolicy(
        signature_policy=parse_policy("AND('AMSP.peer', 'BMSP.peer')")
    )
    path = policy_pb2.ApplicationPolicy(channel_config_policy_reference="Application/Endorsement")
    identities = [msps.deserialize(peers[name].serialized) for name in ("AMSP", "BMSP")]
    for message in (both, path):
        policy = policies.application_policy(message.SerializeToString())
        assert policy.is_satisfied(identities)
        assert not policy.is_satisfied(identities[:1])
    for raw in (b"", b"\xff"):
        with pytest.raises(PolicyError):
            policies.application_policy(raw)
    nowhere = policy_pb2.ApplicationPolicy(channel_config_policy_reference="/Channel/Nowhere")
    with pytest.raises(PolicyError, match="no such policy"):
        policies.application_policy(nowhere.SerializeToString())


def test_compiled_policies_are_kept_and_bounded(msps) -> None:
    """Keys' policies come from foreign transactions, so there may be any number of them."""
    policies = PolicyManager(_tree("ANY Endorsement"), msps)
    raw = parse_policy("OR('AMSP.peer')").SerializeToString()
    kept = policies.signature_policy(raw)
    for number in range(POLICIES_CACHED + 10):
        policies.signature_policy(raw + b"\x08" + bytes([number % 128 | 128, number // 128]))
    assert policies.signature_policy(raw) is not kept
    assert policies.signature_policy(raw) is policies.signature_policy(raw)
    assert len(policies._compiled) <= POLICIES_CACHED


def test_results_are_kept_and_bounded(members, msps) -> None:
    """One policy remembers a bounded number of sets of signers."""
    policy = SignaturePolicy(parse_policy("OR('AMSP.peer')"), msps)
    identity = msps.deserialize(members["AMSP"].identity(unit="peer").serialized)
    for count in range(RESULTS_CACHED + 10):
        assert policy.is_satisfied([identity] * (count + 1))
    assert len(policy._results) <= RESULTS_CACHED


def test_refusal_names_those_who_signed_by_member_and_role(msps, peers) -> None:
    """Never by the certificate's other fields."""
    policies = PolicyManager(_tree("ANY Endorsement"), msps)
    with pytest.raises(PolicyError, match=r"signed by AMSP \(peer\)") as refused:
        policies.evaluate("Application/BMSP/Endorsement", _signed(peers["AMSP"]))
    assert "user" not in str(refused.value)
    with pytest.raises(PolicyError, match="nobody with a valid identity"):
        policies.evaluate("Application/BMSP/Endorsement", [])
