"""Rotating a member's authorities: both are trusted in between, and no day is without any."""

from __future__ import annotations

import pytest
from cryptography import x509

from network.certificates import (
    Organisation,
    create_organisation,
    issued_before,
    retire_authorities,
    rotate_authorities,
)
from network.errors import CertificateError, IdentityError
from network.msp import ADMIN, MSP, PEER, Certificate, SigningIdentity


def msp_of(organisation: Organisation) -> MSP:
    return MSP.from_config(organisation.msp_config())


def identity_of(organisation: Organisation, name: str) -> SigningIdentity:
    for folder in (organisation.node_folder(name), organisation.user_folder(name)):
        if folder.exists():
            return SigningIdentity.load(folder / "msp", organisation.msp_id)
    raise AssertionError(name)


def tls_of(organisation: Organisation, name: str) -> Certificate:
    pem = (organisation.node_folder(name) / "tls" / "server.crt").read_bytes()
    return Certificate.from_pem(pem)


@pytest.fixture(params=[False, True], ids=["root issues", "intermediate issues"])
def bank(tmp_path, request) -> Organisation:
    made = create_organisation(tmp_path / "org", "BankMSP", intermediate=request.param)
    made.add_node("node0")
    made.add_user("boss", unit="admin")
    return made


def test_rotation_trusts_old_and_new_and_issues_by_the_new(bank) -> None:
    """What was issued before stays valid with its role; what is issued now is of the new one."""
    old = {name: identity_of(bank, name) for name in ("node0", "boss")}
    old_tls = tls_of(bank, "node0")
    rotating = rotate_authorities(bank.folder)
    rotating.add_node("node1")
    msp = msp_of(rotating)
    assert PEER in msp.deserialize(old["node0"].serialized).roles
    assert ADMIN in msp.deserialize(old["boss"].serialized).roles
    assert PEER in msp.deserialize(identity_of(rotating, "node1").serialized).roles
    msp.verify_tls_certificate(old_tls)
    msp.verify_tls_certificate(tls_of(rotating, "node1"))
    with pytest.raises(IdentityError):
        msp_of(_copy_before(rotating)).deserialize(identity_of(rotating, "node1").serialized)


def _copy_before(rotating: Organisation) -> Organisation:
    """An organisation that knows the authorities before only: another one of the same name."""
    return create_organisation(rotating.folder.parent / "other", rotating.msp_id)


def test_retired_authority_ends_with_everything_it_issued(bank) -> None:
    """After the renewal nothing needs the old authority; then it and its key are gone."""
    old = identity_of(bank, "boss")
    old_key = (bank.folder / "ca" / "ca-key.pem").read_bytes()
    old_tls = tls_of(bank, "node0")
    rotating = rotate_authorities(bank.folder)
    assert issued_before(rotating) == ["node0", "boss"]
    for name in ("node0", "boss"):
        rotating.renew(name)
    assert issued_before(rotating) == []
    retired = retire_authorities(bank.folder)
    msp = msp_of(retired)
    for name in ("node0", "boss"):
        msp.deserialize(identity_of(retired, name).serialized)
    msp.verify_tls_certificate(tls_of(retired, "node0"))
    with pytest.raises(IdentityError):
        msp.deserialize(old.serialized)
    with pytest.raises(IdentityError):
        msp.verify_tls_certificate(old_tls)
    keys = [path.read_bytes() for path in bank.folder.rglob("*key.pem")]
    assert old_key not in keys
    assert not list(bank.folder.rglob("next*"))
    retired.add_user("late")
    msp.deserialize(identity_of(retired, "late").serialized)


def test_renewed_keys_stay_and_files_tell_both_tls_authorities(bank) -> None:
    """Only certificates change; a client that reads ca.crt trusts the old one and the new one."""
    node = bank.node_folder("node0")
    before = (node / "msp" / "keystore" / "key.pem").read_bytes()
    rotating = rotate_authorities(bank.folder)
    rotating.renew("node0")
    assert (node / "msp" / "keystore" / "key.pem").read_bytes() == before
    trusted = x509.load_pem_x509_certificates((node / "tls" / "ca.crt").read_bytes())
    assert len(trusted) == 2
    assert len(list((node / "msp" / "cacerts").iterdir())) == 2
    retire_authorities(bank.folder, abandon=True)
    assert len(x509.load_pem_x509_certificates((node / "tls" / "ca.crt").read_bytes())) == 1
    assert len(list((node / "msp" / "cacerts").iterdir())) == 1


def test_names_of_authorities_differ_between_generations(bank) -> None:
    """Two roots of one name could not be told apart in a chain, nor by a person."""
    names = set()
    for _ in range(3):
        names.add(bank.issuing_certificate.subject.rfc4514_string())
        rotate_authorities(bank.folder)
        bank = retire_authorities(bank.folder, abandon=True)
    assert len(names) == 3


def test_retirement_waits_for_those_who_would_lose_their_certificates(bank) -> None:
    """It names them; those that are revoked do not count, and it can be insisted on."""
    rotating = rotate_authorities(bank.folder)
    with pytest.raises(CertificateError, match="node0, boss would end"):
        retire_authorities(bank.folder)
    rotating.renew("node0")
    with pytest.raises(CertificateError, match=r"of boss would end"):
        retire_authorities(bank.folder)
    rotating.revoke("boss")
    retire_authorities(bank.folder)


def test_rotation_is_begun_and_ended_once(bank) -> None:
    """The refusals say what comes next."""
    with pytest.raises(CertificateError, match="qist org rotate"):
        retire_authorities(bank.folder)
    rotate_authorities(bank.folder)
    with pytest.raises(CertificateError, match="qist org retire"):
        rotate_authorities(bank.folder)


def test_revocation_in_a_rotation_goes_into_the_list_of_who_issued(bank) -> None:
    """A name's certificates of both authorities are revoked, each by its own."""
    old = identity_of(bank, "boss")
    rotating = rotate_authorities(bank.folder)
    rotating.renew("boss")
    new = identity_of(rotating, "boss")
    old_node = identity_of(rotating, "node0")
    rotating.revoke("boss")
    msp = msp_of(rotating)
    for each in (old, new):
        with pytest.raises(IdentityError, match="revoked"):
            msp.deserialize(each.serialized)
    msp.deserialize(old_node.serialized)
    retired = retire_authorities(bank.folder, abandon=True)
    with pytest.raises(IdentityError, match="revoked"):
        msp_of(retired).deserialize(new.serialized)
    assert [each.name for each in (retired.msp_folder / "crls").iterdir()] == ["crl.pem"]


def test_list_of_a_retired_authority_goes_with_it(bank) -> None:
    """Nothing it lists can be valid any more."""
    bank.revoke("boss")
    rotate_authorities(bank.folder)
    retired = retire_authorities(bank.folder, abandon=True)
    assert not list((retired.msp_folder / "crls").iterdir())
    msp_of(retired)


def test_single_certificate_is_revoked_and_its_successor_is_not(bank) -> None:
    """A lost copy of an old certificate is made useless without a new name."""
    place = bank.user_folder("boss") / "msp" / "signcerts" / "cert.pem"
    lost = bank.folder / "lost.pem"
    lost.write_bytes(place.read_bytes())
    old = identity_of(bank, "boss")
    bank.renew("boss")
    bank.revoke_certificate(lost)
    msp = msp_of(bank)
    with pytest.raises(IdentityError, match="revoked"):
        msp.deserialize(old.serialized)
    msp.deserialize(identity_of(bank, "boss").serialized)


def test_certificate_of_another_member_is_not_revoked(bank, tmp_path) -> None:
    """Only who issued a certificate can revoke it."""
    other = create_organisation(tmp_path / "pta", "PtaMSP")
    place = other.add_user("boss") / "msp" / "signcerts" / "cert.pem"
    with pytest.raises(CertificateError, match="has not issued"):
        bank.revoke_certificate(place)
    with pytest.raises(CertificateError, match="no certificate in PEM"):
        bank.revoke_certificate(bank.folder / "organisation.toml")
