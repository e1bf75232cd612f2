"""Which certificates are identities of a member, and what their signatures must look like."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.x509.oid import NameOID

from network.certificates.authority import Authority, identity_subject
from network.certificates.key_pairs import encode_key, make_key
from network.errors import ConfigurationError, IdentityError, SignatureError
from network.msp import MSPManager, SigningIdentity, serialize_identity
from network.msp.der import encode_pem, replace_certificate_signature
from network.msp.keys import CURVE_ORDERS
from tests.support.members import NOW, Member, certificate_pem, node_units

P256 = CURVE_ORDERS["secp256r1"]


@pytest.fixture(scope="module")
def bank() -> Member:
    return Member("BankMSP")


@pytest.fixture(scope="module")
def deep() -> Member:
    """A member whose identities come from an intermediate authority."""
    return Member("PtaMSP", intermediate=True)


def _other_s(signature: bytes) -> bytes:
    """Return the other of the two signatures that verify."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256 - s)


# --- chains ---------------------------------------------------------------------------------------


def test_identity_of_the_root_is_valid(bank) -> None:
    """The shortest chain has two certificates."""
    signer = bank.identity("lending", "client")
    identity = bank.msp().deserialize(signer.serialized)
    assert (identity.msp_id, identity.common_name) == ("BankMSP", "lending")
    assert identity.roles == {"member", "client"}


def test_identity_below_an_intermediate_is_valid(deep) -> None:
    """Leaf, intermediate, root."""
    identity = deep.msp().deserialize(deep.identity(unit="peer").serialized)
    assert identity.roles == {"member", "peer"}


def test_identity_of_the_root_above_an_intermediate_is_refused(deep) -> None:
    """Only the leaves of the tree of authorities issue identities."""
    signer = deep.identity(authority=deep.root)
    with pytest.raises(IdentityError, match="lowest authority"):
        deep.msp().deserialize(signer.serialized)


@pytest.mark.parametrize("which", ["root", "issuing"])
def test_authority_as_identity_is_refused(deep, which) -> None:
    """Whoever holds an authority's key must not sign transactions with it."""
    authority = getattr(deep, which)
    signer = SigningIdentity("PtaMSP", authority.pem, authority.key)
    with pytest.raises(IdentityError, match="cannot be an identity"):
        deep.msp().deserialize(signer.serialized)


def test_identity_of_another_member_is_refused(bank, deep) -> None:
    """A certificate of Bank under the name of Pta belongs to nobody."""
    pem = bank.identity().certificate.pem
    with pytest.raises(IdentityError, match="signed by no authority"):
        deep.msp().deserialize(serialize_identity("PtaMSP", pem))


def test_identity_of_an_authority_with_the_same_name_is_refused(bank) -> None:
    """The name of the issuer counts for nothing, its signature does."""
    impostor = Member("BankMSP")
    with pytest.raises(IdentityError, match="signed by no authority"):
        bank.msp().deserialize(impostor.identity().serialized)


def test_intermediate_that_the_member_does_not_name_is_not_followed(bank) -> None:
    """Intermediates come from the definition, never from the client."""
    below = bank.root.make_intermediate("BankMSP", "stray", "P-256", 100, NOW)
    with pytest.raises(IdentityError, match="signed by no authority"):
        bank.msp().deserialize(bank.identity(authority=below).serialized)


def test_authority_configured_twice_is_refused(bank) -> None:
    """Two roots with one key give two chains, and it is unclear who answers."""
    twin = _another_certificate(bank.root)
    msp = bank.msp(
        root_certs=[bank.root.pem, certificate_pem(twin)], fabric_node_ous=node_units(b"")
    )
    with pytest.raises(IdentityError, match="2 chains"):
        msp.deserialize(bank.identity().serialized)


def _another_certificate(authority: Authority) -> x509.Certificate:
    """Return another root certificate of the same name and key."""
    certificate, key = authority.certificate, authority.key
    builder = (
        x509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(certificate.not_valid_before_utc)
        .not_valid_after(certificate.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def test_definition_whose_root_is_no_authority_is_refused(bank) -> None:
    """A leaf in cacerts would make everybody who holds it an authority."""
    leaf = bank.identity().certificate.pem
    with pytest.raises(
        ConfigurationError, match=r"signed by no authority|no certificate of an authority"
    ):
        bank.msp(root_certs=[leaf], fabric_node_ous=node_units(b""))


def test_definition_without_root_is_refused(bank) -> None:
    """An MSP without a root trusts nobody."""
    with pytest.raises(ConfigurationError, match="no root certificate"):
        bank.msp(root_certs=None)


def test_definition_whose_intermediate_has_no_root_is_refused(bank, deep) -> None:
    """Every intermediate must lead to one of the member's roots."""
    with pytest.raises(ConfigurationError, match="signed by no authority"):
        bank.msp(intermediate_certs=[deep.issuing.pem])


# --- time -----------------------------------------------------------------------------------------


def test_expired_identity_is_still_valid_in_its_msp(bank) -> None:
    """An MSP does not judge expiry, or old blocks could not be validated again."""
    member = Member("BankMSP")
    member.root = member.issuing = Authority.make_root(
        "BankMSP", "ca.BankMSP", "P-256", 3650, NOW - timedelta(days=1000)
    )
    signer = member.identity(days=10, now=NOW - timedelta(days=900))
    identity = member.msp().deserialize(signer.serialized)
    assert identity.not_after < NOW


def test_identity_from_before_its_authority_is_refused(bank) -> None:
    """The chain is judged a second after the certificate begins; the authority must be there."""
    signer = bank.identity(now=NOW - timedelta(days=30))
    with pytest.raises(IdentityError, match="signed by no authority"):
        bank.msp().deserialize(signer.serialized)


# --- organisational units -------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["client", "peer", "admin", "orderer"])
def test_unit_gives_the_role(bank, unit) -> None:
    """One of four roles beside that of a member."""
    assert bank.msp().deserialize(bank.identity(unit=unit).serialized).roles == {"member", unit}


@pytest.mark.parametrize("unit", ["auditor", "Client", ""])
def test_identity_without_a_unit_that_gives_a_role_is_refused(bank, unit) -> None:
    """With node units on, exactly one of them is needed; capitals count."""
    signer = bank.identity(unit=unit or "x")
    with pytest.raises(IdentityError, match="has 0 organisational units"):
        bank.msp().deserialize(signer.serialized)


def test_identity_with_two_roles_is_refused(bank) -> None:
    """A client must not also be a peer."""
    key = make_key("P-256")
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "client"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "peer"),
        ]
    )
    pem = bank.root.issue_identity(subject, key.public_key(), {}, 10, NOW)
    with pytest.raises(IdentityError, match="has 2 organisational units"):
        bank.msp().deserialize(serialize_identity("BankMSP", pem))


def test_unit_given_by_another_authority_than_declared_is_refused() -> None:
    """config.yaml may say which authority gives a unit."""
    member = Member("BankMSP")
    other = Authority.make_root("BankMSP", "second", "P-256", 100, NOW)
    msp = member.msp(root_certs=[member.root.pem, other.pem])
    msp.deserialize(member.identity().serialized)
    with pytest.raises(IdentityError, match="authority that may not"):
        msp.deserialize(member.identity(authority=other).serialized)


def test_units_that_are_switched_off_give_no_role(bank) -> None:
    """Then only the admins' list gives a role."""
    admin = bank.identity("admin", "anything")
    msp = bank.msp(fabric_node_ous=None, admins=[admin.certificate.pem])
    assert msp.deserialize(bank.identity().serialized).roles == {"member"}
    assert msp.deserialize(admin.serialized).roles == {"member", "admin"}


def test_definition_without_any_admin_is_refused(bank) -> None:
    """Nobody could ever change it."""
    with pytest.raises(ConfigurationError, match="no administrators"):
        bank.msp(fabric_node_ous=node_units(b"", ("client", "peer")))


def test_admin_by_list_must_be_client_or_admin(bank) -> None:
    """A peer in admincerts is refused."""
    with pytest.raises(ConfigurationError, match="client or an admin"):
        bank.msp(admins=[bank.identity(unit="peer").certificate.pem])


def test_unit_that_names_a_stranger_is_refused(bank, deep) -> None:
    """The authority that gives a unit must be the member's."""
    with pytest.raises(ConfigurationError, match="no authority of the MSP"):
        bank.msp(fabric_node_ous=node_units(deep.root.pem))


# --- revocation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("intermediate", [False, True])
def test_revoked_identity_is_refused_and_others_stay(intermediate) -> None:
    """By serial number, under the authority that signed the list."""
    member = Member("BankMSP", intermediate=intermediate)
    gone, kept = member.identity("gone"), member.identity("kept")
    member.revoke(gone)
    msp = member.msp()
    with pytest.raises(IdentityError, match="revoked"):
        msp.deserialize(gone.serialized)
    msp.deserialize(kept.serialized)


def test_revocation_holds_whatever_its_date(bank) -> None:
    """A date in the future does not help a stolen key."""
    gone = bank.identity()
    later = {gone.certificate.serial_number: NOW + timedelta(days=100)}
    msp = bank.msp(revocation_list=[bank.root.revocation_list(later, 1, NOW)])
    with pytest.raises(IdentityError, match="revoked"):
        msp.deserialize(gone.serialized)


def test_list_of_a_stranger_revokes_nothing(bank) -> None:
    """A list whose signature is not the authority's has no effect."""
    signer = bank.identity()
    revoked = {signer.certificate.serial_number: NOW}
    forged = Authority(bank.root.certificate, ec.generate_private_key(ec.SECP256R1()))
    genuine = bank.root.revocation_list(revoked, 1, NOW)
    false_key = forged.revocation_list(revoked, 1, NOW)
    bank.msp(revocation_list=[false_key]).deserialize(signer.serialized)
    with pytest.raises(IdentityError, match="revoked"):
        bank.msp(revocation_list=[false_key, genuine]).deserialize(signer.serialized)


def test_list_with_the_authoritys_identifier_and_a_false_signature_revokes_nothing(bank) -> None:
    """The key identifier finds the list, the signature makes it count."""
    signer = bank.identity()
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = bank.root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(bank.root.certificate.subject)
        .last_update(NOW)
        .next_update(NOW + timedelta(days=1))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value), False
        )
        .add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(signer.certificate.serial_number)
            .revocation_date(NOW)
            .build()
        )
        .sign(key, hashes.SHA256())
    )
    pem = encode_pem("X509 CRL", crl.public_bytes(serialization.Encoding.DER))
    bank.msp(revocation_list=[pem]).deserialize(signer.serialized)


def test_definition_that_revokes_its_own_authority_is_refused() -> None:
    """An intermediate authority on the root's list must be taken out."""
    member = Member("BankMSP", intermediate=True)
    revoked = {member.issuing.certificate.serial_number: NOW}
    with pytest.raises(ConfigurationError, match="revokes its own authority"):
        member.msp(revocation_list=[member.root.revocation_list(revoked, 1, NOW)])


@pytest.mark.parametrize("raw", [b"", b"\x30\x03", b"-----BEGIN X509 CRL-----\nAA==\n"])
def test_unreadable_list_is_refused(bank, raw) -> None:
    """A list that cannot be read must not be taken for an empty one."""
    with pytest.raises(ConfigurationError, match="revocation list"):
        bank.msp(revocation_list=[raw])


# --- signatures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["P-256", "P-384"])
def test_signature_over_other_bytes_is_refused(algorithm) -> None:
    """The identity verifies what it signed and nothing else."""
    member = Member("BankMSP", algorithm=algorithm)
    signer = member.identity()
    identity = member.msp().deserialize(signer.serialized)
    identity.verify(b"message", signer.sign(b"message"))
    with pytest.raises(SignatureError, match="does not verify"):
        identity.verify(b"another", signer.sign(b"message"))


def test_high_s_is_refused(bank) -> None:
    """Otherwise anybody could make a second valid signature out of one."""
    signer = bank.identity()
    identity = bank.msp().deserialize(signer.serialized)
    signature = signer.sign(b"message")
    assert decode_dss_signature(signature)[1] <= P256 // 2
    with pytest.raises(SignatureError, match="high S"):
        identity.verify(b"message", _other_s(signature))


def test_p384_signs_and_verifies_over_sha256() -> None:
    """An MSP hashes by SHA-256 whatever the curve, as Fabric does."""
    member = Member("BankMSP", algorithm="P-384")
    key = ec.generate_private_key(ec.SECP384R1())
    pem = member.root.issue_identity(
        identity_subject("BankMSP", "client", "u"), key.public_key(), {}, 10, NOW
    )
    signer = SigningIdentity("BankMSP", pem, key)
    identity = member.msp().deserialize(signer.serialized)
    digest = hashlib.sha256(b"message").digest()
    key.public_key().verify(signer.sign(b"message"), digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    order = CURVE_ORDERS["secp384r1"]
    r, s = decode_dss_signature(key.sign(b"message", ec.ECDSA(hashes.SHA384())))
    with pytest.raises(SignatureError, match="does not verify"):
        identity.verify(b"message", encode_dss_signature(r, min(s, order - s)))


def test_ed25519_needs_the_capability(bank) -> None:
    """Channel capability V3_0 lets Ed25519 keys in."""
    signer = bank.identity(algorithm="Ed25519")
    with pytest.raises(IdentityError, match="V3_0"):
        bank.msp().deserialize(signer.serialized)
    identity = bank.msp(ed25519_allowed=True).deserialize(signer.serialized)
    identity.verify(b"message", signer.sign(b"message"))
    with pytest.raises(SignatureError, match="Ed25519"):
        identity.verify(b"another", signer.sign(b"message"))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"\x30",
        b"\x30\x06\x02\x01\x01\x02\x01\x00",
        b"\x30\x06\x02\x01\xff\x02\x01\x01",
        b"\x00" * 64,
        b"\xff" * 70,
    ],
)
def test_malformed_signature_is_refused(bank, signature) -> None:
    """Whatever the bytes, the answer is a SignatureError."""
    identity = bank.msp().deserialize(bank.identity().serialized)
    with pytest.raises(SignatureError):
        identity.verify(b"message", signature)


def test_bytes_after_the_signature_are_passed_over(bank) -> None:
    """Fabric's decoder does so, and verdicts must agree."""
    signer = bank.identity()
    identity = bank.msp().deserialize(signer.serialized)
    identity.verify(b"message", signer.sign(b"message") + b"tail")


def test_identity_with_an_rsa_key_is_refused(bank) -> None:
    """An MSP takes ECDSA and Ed25519."""
    key = rsa.generate_private_key(65537, 2048)
    builder = (
        x509.CertificateBuilder()
        .subject_name(identity_subject("BankMSP", "client", "u"))
        .issuer_name(bank.root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    pem = certificate_pem(builder.sign(bank.root.key, hashes.SHA256()))
    with pytest.raises(IdentityError, match="public key algorithm"):
        bank.msp().deserialize(serialize_identity("BankMSP", pem))


# --- encodings ------------------------------------------------------------------------------------


def test_certificate_with_a_high_s_is_the_same_identity(bank) -> None:
    """The authority's signature has two forms; policies must not count both."""
    low = bank.identity().certificate
    high = replace_certificate_signature(low.der, _other_s(low.x509.signature))
    msp = bank.msp()
    one = msp.deserialize(serialize_identity("BankMSP", low.pem))
    two = msp.deserialize(serialize_identity("BankMSP", encode_pem("CERTIFICATE", high)))
    assert high != low.der
    assert one.identity_id == two.identity_id
    assert two.certificate.der == low.der


def test_text_around_the_pem_block_is_the_same_identity(bank) -> None:
    """Validation reads the first block, as Fabric does; the doors of a node are stricter."""
    pem = bank.identity().certificate.pem
    msp = bank.msp()
    padded = serialize_identity("BankMSP", b"Bag Attributes\n" + pem + b"rest\n")
    plain = serialize_identity("BankMSP", pem)
    assert msp.deserialize(padded).identity_id == msp.deserialize(plain).identity_id
    manager = MSPManager([msp])
    manager.verify_well_formed(plain)
    with pytest.raises(IdentityError, match="bytes after it"):
        manager.verify_well_formed(padded)


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"no pem",
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"x" * 20_000,
    ],
)
def test_malformed_certificate_is_refused(bank, pem) -> None:
    """Foreign bytes give an IdentityError, also at the doors of a node."""
    manager = MSPManager([bank.msp()])
    raw = serialize_identity("BankMSP", pem)
    with pytest.raises(IdentityError):
        manager.deserialize(raw)
    with pytest.raises(IdentityError):
        manager.verify_well_formed(raw)


@pytest.mark.parametrize("raw", [b"\xff", b"\x0a\xff", base64.b64encode(b"x" * 30)])
def test_bytes_that_are_no_identity_are_refused(bank, raw) -> None:
    """No SerializedIdentity, no identity."""
    with pytest.raises(IdentityError):
        MSPManager([bank.msp()]).deserialize(raw)


def test_certificate_with_a_damaged_signature_is_refused(bank) -> None:
    """One bit is enough."""
    der = bytearray(bank.identity().certificate.der)
    der[-1] ^= 1
    with pytest.raises(IdentityError):
        bank.msp().deserialize(serialize_identity("BankMSP", encode_pem("CERTIFICATE", bytes(der))))


def test_certificate_with_an_unknown_critical_extension_is_refused(bank) -> None:
    """What is critical and not understood makes a certificate unusable."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(identity_subject("BankMSP", "client", "u"))
        .issuer_name(bank.root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    fine = builder.add_extension(unknown, critical=False).sign(bank.root.key, hashes.SHA256())
    bad = builder.add_extension(unknown, critical=True).sign(bank.root.key, hashes.SHA256())
    bank.msp().deserialize(serialize_identity("BankMSP", certificate_pem(fine)))
    with pytest.raises(IdentityError, match="critical"):
        bank.msp().deserialize(serialize_identity("BankMSP", certificate_pem(bad)))


# --- signing identities ---------------------------------------------------------------------------


def test_signing_identity_comes_from_pem(bank) -> None:
    """As a connection profile names certificate and key."""
    key = make_key("P-256")
    pem = bank.root.issue_identity(
        identity_subject("BankMSP", "client", "u"), key.public_key(), {}, 10, NOW
    )
    signer = SigningIdentity.from_pem("BankMSP", pem, encode_key(key))
    bank.msp().deserialize(signer.serialized).verify(b"m", signer.sign(b"m"))


def test_signing_identity_with_a_foreign_key_is_refused(bank) -> None:
    """The mistake shows at once and not at the first signature."""
    pem = bank.identity().certificate.pem
    with pytest.raises(ConfigurationError, match="is not the certificate's"):
        SigningIdentity.from_pem("BankMSP", pem, encode_key(make_key("P-256")))
    with pytest.raises(ConfigurationError, match="no private key"):
        SigningIdentity.from_pem("BankMSP", pem, b"nonsense")
    with pytest.raises(ConfigurationError, match="certificate"):
        SigningIdentity.from_pem("BankMSP", b"nonsense", encode_key(make_key("P-256")))


# --- the directory --------------------------------------------------------------------------------


def test_two_members_of_one_name_are_refused(bank) -> None:
    """An MSP id stands for one member."""
    with pytest.raises(ConfigurationError, match="same id"):
        MSPManager([bank.msp(), Member("BankMSP").msp()])


def test_identity_of_no_member_is_refused(bank, deep) -> None:
    """In Fabric's words, which clients know."""
    with pytest.raises(IdentityError, match="MSP PtaMSP is not defined on channel"):
        MSPManager([bank.msp()]).deserialize(deep.identity().serialized)


def test_cached_identity_is_the_same_object_and_so_is_a_refusal(bank) -> None:
    """What was checked is not checked again, whatever the result was."""
    manager = MSPManager([bank.msp()])
    raw = bank.identity().serialized
    assert manager.deserialize(raw) is manager.deserialize(raw)
    stranger = Member("BankMSP").identity().serialized
    for _ in range(2):
        with pytest.raises(IdentityError, match="signed by no authority"):
            manager.deserialize(stranger)


def test_cache_of_identities_is_bounded(bank, monkeypatch) -> None:
    """A flood of strangers must not fill the memory; what is used stays."""
    monkeypatch.setattr("network.msp.directory.IDENTITIES_CACHED", 16)
    manager = MSPManager([bank.msp()])
    raw = bank.identity().serialized
    kept = manager.deserialize(raw)
    for number in range(100):
        with pytest.raises(IdentityError):
            manager.deserialize(serialize_identity("BankMSP", b"%d" % number))
        assert manager.deserialize(raw) is kept
    assert len(manager._identities) <= 16


def test_oversized_identity_is_not_kept(bank) -> None:
    """Its sender could fill the cache with megabytes."""
    manager = MSPManager([bank.msp()])
    with pytest.raises(IdentityError):
        manager.deserialize(serialize_identity("BankMSP", b"x" * 100_000))
    assert len(manager._identities) == 0


def test_tls_certificate_belongs_to_the_member_that_issued_it(bank, deep) -> None:
    """By the members' TLS authorities, which are not those of identities."""
    manager = MSPManager([bank.msp(), deep.msp()])
    for member in (bank, deep):
        pem = member.tls_identity().certificate_pem
        assert manager.member_of_tls_certificate(pem) == member.msp_id
    with pytest.raises(IdentityError, match="belongs to no member"):
        manager.member_of_tls_certificate(bank.identity().certificate.pem)
    with pytest.raises(IdentityError, match="belongs to no member"):
        manager.member_of_tls_certificate(Member("BankMSP").tls_identity().certificate_pem)


def test_tls_certificate_of_two_members_is_refused(bank) -> None:
    """Two members with one TLS authority could not be told apart."""
    twin = Member("MakerMSP")
    manager = MSPManager([bank.msp(), twin.msp(tls_root_certs=[bank.tls.pem])])
    with pytest.raises(IdentityError, match="belongs to BankMSP and MakerMSP"):
        manager.member_of_tls_certificate(bank.tls_identity().certificate_pem)


def test_serialized_twice_differently_is_one_identity(bank) -> None:
    """Unknown fields around the certificate do not make another signer."""
    signer = bank.identity()
    msp = bank.msp()
    other = signer.serialized + b"\x1a\x01x"
    assert msp.deserialize(other).identity_id == msp.deserialize(signer.serialized).identity_id
    assert replace(msp.deserialize(other)).serialized == other
