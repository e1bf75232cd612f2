"""The folders of an organisation on disk: Fabric's layout, modes, no key overwritten, renewals."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from network.certificates import Organisation, Validity, create_organisation
from network.errors import CertificateError, ConfigurationError, IdentityError
from network.msp import MSP, MSPManager, SigningIdentity, load_msp_folder
from network.tls import TlsIdentity


def _mode(path) -> str:
    return oct(path.stat().st_mode & 0o777)


def _msp(organisation, **options) -> MSP:
    return MSP.from_config(organisation.msp_config(), **options)


def _serial(folder) -> int:
    pem = (folder / "msp" / "signcerts" / "cert.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem).serial_number


@pytest.fixture
def bank(tmp_path) -> Organisation:
    return create_organisation(tmp_path / "org", "BankMSP")


def test_organisation_has_the_layout_that_fabric_reads(bank) -> None:
    """Exactly these files, in Fabric's MSP folders."""
    bank.add_node("node0")
    bank.add_user("lending")
    files = {
        str(path.relative_to(bank.folder))
        for path in bank.folder.rglob("*")
        if path.is_file() and "issued" not in path.parts
    }
    own = {
        f"{folder}/msp/{name}"
        for folder in ("nodes/node0", "users/lending")
        for name in ("signcerts/cert.pem", "keystore/key.pem")
    }
    public = {
        f"{folder}msp/{name}"
        for folder in ("", "nodes/node0/", "users/lending/")
        for name in ("cacerts/ca-cert.pem", "tlscacerts/tlsca-cert.pem", "config.yaml")
    }
    authorities = {f"{ca}/ca-{part}.pem" for ca in ("ca", "tlsca") for part in ("cert", "key")}
    tls = {f"nodes/node0/tls/{name}" for name in ("server.crt", "server.key", "ca.crt")}
    assert files == {"organisation.toml"} | own | public | authorities | tls


def test_keys_are_private_whatever_the_umask(tmp_path) -> None:
    """Keys have the mode 0600, their folders 0700; what is public can be read by all."""
    old = os.umask(0o000)
    try:
        organisation = create_organisation(tmp_path / "org", "BankMSP", intermediate=True)
        node = organisation.add_node("node0")
    finally:
        os.umask(old)
    for key in organisation.folder.rglob("*key*.pem"):
        assert _mode(key) == "0o600", key
        assert _mode(key.parent) == "0o700", key
    assert _mode(node / "tls" / "server.key") == "0o600"
    assert _mode(node / "tls") == "0o700"
    assert _mode(organisation.msp_folder) == "0o755"
    assert _mode(organisation.msp_folder / "config.yaml") == "0o644"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"intermediate": True},
        {"algorithm": "P-384"},
        {"algorithm": "P-384", "intermediate": True},
        {"algorithm": "Ed25519"},
    ],
)
def test_identities_are_valid_in_the_msp_of_their_folder(tmp_path, options) -> None:
    """Whatever the algorithm and the authorities: role, attributes and signature hold."""
    organisation = create_organisation(tmp_path / "org", "PtaMSP", **options)
    user = organisation.add_user("officer", attributes={"qist.role": "enforcement"})
    folders = {
        "client": user,
        "admin": organisation.add_user("admin", unit="admin"),
        "peer": organisation.add_node("node0"),
        "orderer": organisation.add_node("node1", unit="orderer"),
    }
    msp = _msp(organisation, ed25519_allowed=True)
    for role, folder in folders.items():
        signer = SigningIdentity.load(folder / "msp", "PtaMSP")
        identity = msp.deserialize(signer.serialized)
        identity.verify(b"message", signer.sign(b"message"))
        assert identity.roles == {"member", role}
    assert dict(msp.deserialize(SigningIdentity.load(user / "msp", "PtaMSP").serialized).attributes)


def test_organisation_is_opened_as_it_was_made(tmp_path) -> None:
    """Opening gives the MSP id, the algorithm and the validities back."""
    made = create_organisation(
        tmp_path / "org", "MakerMSP", algorithm="P-384", validity=Validity(identity_days=9)
    )
    opened = Organisation.open(tmp_path / "org")
    assert opened.msp_id == "MakerMSP"
    signer = SigningIdentity.load(opened.add_user("u") / "msp", "MakerMSP")
    assert isinstance(signer.certificate.public_key, ec.EllipticCurvePublicKey)
    assert signer.certificate.public_key.curve.name == "secp384r1"
    assert signer.not_after - datetime.now(UTC) < timedelta(days=9, minutes=1)
    assert made.msp_config() == opened.msp_config()


def test_existing_organisation_is_never_overwritten(bank) -> None:
    """A second creation at the same place changes no byte."""
    before = (bank.folder / "ca" / "ca-key.pem").read_bytes()
    with pytest.raises(CertificateError, match="never overwritten"):
        create_organisation(bank.folder, "BankMSP")
    assert (bank.folder / "ca" / "ca-key.pem").read_bytes() == before


def test_name_that_is_taken_is_refused_and_its_key_kept(bank) -> None:
    """One name stands for one node or user; also across the two kinds."""
    key = bank.add_node("node0") / "msp" / "keystore" / "key.pem"
    before = key.read_bytes()
    for add in (bank.add_node, bank.add_user):
        with pytest.raises(CertificateError, match="already"):
            add("node0")
    assert key.read_bytes() == before


def test_failed_issue_leaves_nothing_behind(bank) -> None:
    """Without the authority's key nothing can be issued, and no half folder stays."""
    (bank.folder / "ca" / "ca-key.pem").unlink()
    with pytest.raises(CertificateError, match=r"ca-key\.pem cannot be read"):
        bank.add_user("lending")
    assert list((bank.folder / "users").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "x" * 64, "a b"])
def test_name_that_could_leave_its_folder_is_refused(bank, name) -> None:
    """Names become folders and common names, so their form is narrow."""
    with pytest.raises(CertificateError, match="not allowed"):
        bank.add_user(name)


def test_unit_that_is_no_role_of_the_kind_is_refused(bank) -> None:
    """A user is client or admin, a node is peer or orderer."""
    with pytest.raises(CertificateError, match="client, admin"):
        bank.add_user("u", unit="peer")
    with pytest.raises(CertificateError, match="peer, orderer"):
        bank.add_node("n", unit="client")


def test_folder_that_is_no_organisation_is_refused(tmp_path) -> None:
    """The message says how to make one."""
    with pytest.raises(CertificateError, match="qist org create"):
        Organisation.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("format = 2\n", "format 2"),
        ("format = 1\n", "lacks a value"),
        ("format = \n", "cannot be read"),
        (
            'format = 1\nmsp_id = "A"\nalgorithm = "P-256"\n[validity]\nforever = 1\n',
            "unknown one",
        ),
    ],
)
def test_description_that_is_not_understood_is_refused(bank, content, message) -> None:
    """Another format, missing and unknown values are named."""
    (bank.folder / "organisation.toml").write_text(content)
    with pytest.raises(CertificateError, match=message):
        Organisation.open(bank.folder)


def test_key_of_another_authority_is_refused(bank) -> None:
    """A key that is not the certificate's would sign what nobody accepts."""
    other = (bank.folder / "tlsca" / "ca-key.pem").read_bytes()
    (bank.folder / "ca" / "ca-key.pem").write_bytes(other)
    with pytest.raises(CertificateError, match="not the key"):
        bank.add_user("u")


@pytest.mark.parametrize("intermediate", [False, True])
def test_revoked_name_loses_every_certificate_it_ever_had(tmp_path, intermediate) -> None:
    """Identity and TLS, the renewed ones and the ones before; others stay valid."""
    organisation = create_organisation(tmp_path / "org", "BankMSP", intermediate=intermediate)
    node, kept = organisation.add_node("node0"), organisation.add_node("node1")
    old = SigningIdentity.load(node / "msp", "BankMSP")
    organisation.renew("node0")
    new = SigningIdentity.load(node / "msp", "BankMSP")
    organisation.revoke("node0")
    manager = MSPManager([_msp(organisation)])
    for signer in (old, new):
        with pytest.raises(IdentityError, match="revoked"):
            manager.deserialize(signer.serialized)
    with pytest.raises(IdentityError, match="revoked"):
        manager.member_of_tls_certificate((node / "tls" / "server.crt").read_bytes())
    manager.deserialize(SigningIdentity.load(kept / "msp", "BankMSP").serialized)
    certificate = (kept / "tls" / "server.crt").read_bytes()
    assert manager.member_of_tls_certificate(certificate) == "BankMSP"


def test_revocations_add_up_and_a_second_one_changes_nothing(bank) -> None:
    """A list holds all that was ever revoked, under a rising number."""
    bank.add_user("a")
    bank.add_user("b")
    place = bank.revoke("a") / "crl.pem"
    first = place.read_bytes()
    bank.revoke("a")
    assert place.read_bytes() == first
    bank.revoke("b")
    crl = x509.load_pem_x509_crl(place.read_bytes())
    assert len(list(crl)) == 2
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2


def test_unknown_name_is_neither_revoked_nor_renewed(bank) -> None:
    """Both say so."""
    with pytest.raises(CertificateError, match="has issued nothing"):
        bank.revoke("nobody")
    with pytest.raises(CertificateError, match="no node or user"):
        bank.renew("nobody")
    with pytest.raises(CertificateError, match="no node or user"):
        bank.renew("../org")


def test_renewal_keeps_key_names_and_attributes(bank) -> None:
    """Only serial number and time are new; keys stay where they are."""
    user = bank.add_user("lending", attributes={"qist.role": "lending"})
    node = bank.add_node("node0", hosts=("node.example", "10.0.0.1"))
    keys = {path: path.read_bytes() for path in bank.folder.rglob("*.key")}
    keys |= {path: path.read_bytes() for path in bank.folder.rglob("key.pem")}
    serial, tls = _serial(user), TlsIdentity.load(node / "tls")
    assert bank.renew("lending") == user
    assert bank.renew("node0") == node
    assert all(path.read_bytes() == content for path, content in keys.items())
    signer = SigningIdentity.load(user / "msp", "BankMSP")
    assert _serial(user) != serial
    assert dict(signer.certificate.attributes) == {"qist.role": "lending"}
    assert signer.certificate.units == ("client",)
    renewed = TlsIdentity.load(node / "tls")
    names = [
        [
            str(name.value)
            for name in x509.load_der_x509_certificate(each.certificate_der)
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value
        ]
        for each in (tls, renewed)
    ]
    assert names[0] == names[1] == ["node0", "node.example", "10.0.0.1"]
    assert tls.certificate_der != renewed.certificate_der


def test_revoked_name_is_not_renewed(bank) -> None:
    """A renewal must not undo a revocation."""
    bank.add_user("u")
    bank.revoke("u")
    with pytest.raises(CertificateError, match="have been revoked"):
        bank.renew("u")


def test_root_key_is_not_needed_below_an_intermediate_authority(tmp_path) -> None:
    """So the root's key may be kept elsewhere."""
    organisation = create_organisation(tmp_path / "org", "BankMSP", intermediate=True)
    (organisation.folder / "ca" / "ca-key.pem").unlink()
    organisation.add_user("u")
    organisation.revoke("u")
    organisation.renew(organisation.add_user("v").name)


def test_folder_without_root_certificate_is_refused(tmp_path) -> None:
    """An MSP without a root trusts nobody."""
    with pytest.raises(ConfigurationError, match="cacerts has no certificate"):
        load_msp_folder(tmp_path, "BankMSP")


def test_file_that_is_no_certificate_is_named(bank) -> None:
    """A stray file among the authorities is refused with its path."""
    (bank.msp_folder / "cacerts" / "readme.txt").write_text("hello")
    with pytest.raises(ConfigurationError, match=r"readme\.txt"):
        bank.msp_config()


def test_folder_reads_all_that_fabric_reads(bank, tmp_path) -> None:
    """Admins, intermediates, lists and units come into the message."""
    user = bank.add_user("admin", unit="admin")
    bank.add_user("gone")
    bank.revoke("gone")
    (bank.msp_folder / "admincerts").mkdir()
    pem = (user / "msp" / "signcerts" / "cert.pem").read_bytes()
    (bank.msp_folder / "admincerts" / "a.pem").write_bytes(pem)
    (bank.msp_folder / "config.yaml").write_text(
        "OrganizationalUnitIdentifiers:\n"
        '  - Certificate: "cacerts/ca-cert.pem"\n'
        "    OrganizationalUnitIdentifier: admin  # only these\n"
        "NodeOUs:\n  Enable: false\n"
    )
    msp = _msp(bank)
    signer = SigningIdentity.load(user / "msp", "BankMSP")
    assert msp.deserialize(signer.serialized).roles == {"member", "admin"}
    other = SigningIdentity.load(bank.add_user("u") / "msp", "BankMSP")
    with pytest.raises(IdentityError, match="organisational units"):
        msp.deserialize(other.serialized)


def test_certificate_outside_the_folder_is_refused(bank) -> None:
    """config.yaml names files of its own folder only."""
    text = (bank.msp_folder / "config.yaml").read_text()
    (bank.msp_folder / "config.yaml").write_text(
        text.replace("cacerts/ca-cert.pem", "../ca/ca-cert.pem")
    )
    with pytest.raises(ConfigurationError, match="outside its folder"):
        bank.msp_config()


def test_identity_without_its_key_is_refused(bank) -> None:
    """The message says which folder lacks what."""
    user = bank.add_user("u")
    other = bank.add_user("v")
    (user / "msp" / "keystore" / "key.pem").write_bytes(
        (other / "msp" / "keystore" / "key.pem").read_bytes()
    )
    with pytest.raises(ConfigurationError, match="keystore has no private key"):
        SigningIdentity.load(user / "msp", "BankMSP")
    for path in (user / "msp" / "signcerts").iterdir():
        path.unlink()
    with pytest.raises(ConfigurationError, match="signcerts has no certificate"):
        SigningIdentity.load(user / "msp", "BankMSP")
