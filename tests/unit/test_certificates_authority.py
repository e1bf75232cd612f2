"""What an authority issues: the fields of certificates, low S, attributes, validity, lists."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import ExtendedKeyUsageOID

from network.certificates.authority import Authority, Validity, alternative_names
from network.certificates.key_pairs import make_key
from network.errors import CertificateError
from network.msp import ATTRIBUTES_OID
from network.msp.keys import CURVE_ORDERS
from tests.support.members import NOW, Member


def _x509(identity):
    return identity.certificate.x509


def test_identity_certificate_has_the_form_of_fabrics_ca() -> None:
    """An identity has its unit, key identifiers of both ends, no extended usage, and is no CA."""
    member = Member("BankMSP")
    certificate = _x509(member.identity("lending"))
    extensions = certificate.extensions
    issuer = member.root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    named = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert certificate.subject.rfc4514_string() == "CN=lending,OU=client,O=BankMSP"
    assert named.key_identifier == issuer.value.digest
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.ExtendedKeyUsage)


def test_identity_attributes_stand_in_the_extension_of_fabrics_ca() -> None:
    """The extension holds the JSON that Fabric's chaincode libraries parse."""
    identity = Member("PtaMSP").identity(attributes={"qist.role": "enforcement"})
    raw = _x509(identity).extensions.get_extension_for_oid(ATTRIBUTES_OID).value.public_bytes()
    assert json.loads(raw) == {"attrs": {"qist.role": "enforcement"}}
    assert dict(identity.certificate.attributes) == {"qist.role": "enforcement"}


def test_tls_certificate_serves_both_ends_under_all_its_names() -> None:
    """A node's TLS certificate is for server and client, and names hosts and addresses."""
    tls = Member("BankMSP").tls_identity(hosts=("node.bank.example", "127.0.0.1", "::1"))
    extensions = x509.load_der_x509_certificate(tls.certificate_der).extensions
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert [str(each.value) for each in names] == ["node.bank.example", "127.0.0.1", "::1"]


@pytest.mark.parametrize("hosts", [(), ("",), ("node:7051",), ("https://node",), ("a b",), ("ü",)])
def test_tls_host_that_is_no_name_is_refused(hosts) -> None:
    """A host is a DNS name or an IP address, without port or scheme."""
    with pytest.raises(CertificateError):
        alternative_names(hosts)


@pytest.mark.parametrize("algorithm", ["P-256", "P-384"])
def test_signatures_of_an_authority_have_a_low_s(algorithm) -> None:
    """Half of all ECDSA signatures would have a high S; none of ours has."""
    member = Member("BankMSP", algorithm=algorithm)
    curve = "secp256r1" if algorithm == "P-256" else "secp384r1"
    for number in range(12):
        signature = _x509(member.identity(f"user{number}", algorithm="P-256")).signature
        assert decode_dss_signature(signature)[1] <= CURVE_ORDERS[curve] // 2


def test_serial_numbers_are_random() -> None:
    """No two certificates share a serial number, and they do not count up."""
    member = Member("BankMSP")
    serials = [_x509(member.identity(f"u{number}")).serial_number for number in range(8)]
    assert len(set(serials)) == 8
    assert serials != sorted(serials)
    assert min(serials).bit_length() > 100


def test_certificate_ends_no_later_than_its_authority() -> None:
    """A certificate that outlives its authority would be trusted by nobody."""
    authority = Authority.make_root("BankMSP", "ca", "P-256", 10, NOW)
    identity = Member("BankMSP").identity(days=400, authority=authority)
    assert identity.not_after == authority.certificate.not_valid_after_utc


def test_expired_authority_issues_nothing() -> None:
    """The message says when it ended."""
    authority = Authority.make_root("BankMSP", "ca", "P-256", 10, NOW - timedelta(days=20))
    with pytest.raises(CertificateError, match="expired on"):
        Member("BankMSP").identity(authority=authority)


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("P-256", ec.EllipticCurvePrivateKey),
        ("P-384", ec.EllipticCurvePrivateKey),
        ("Ed25519", ed25519.Ed25519PrivateKey),
    ],
)
def test_key_is_of_the_algorithm_asked_for(algorithm, kind) -> None:
    """Three algorithms, by the names of the documentation."""
    key = make_key(algorithm)
    assert isinstance(key, kind)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        assert key.curve.key_size == int(algorithm.removeprefix("P-"))


@pytest.mark.parametrize("algorithm", ["RSA", "P-521", "", "p-256"])
def test_key_of_another_algorithm_is_refused(algorithm) -> None:
    """What an MSP does not take is not made."""
    with pytest.raises(CertificateError, match="use one of"):
        make_key(algorithm)


def test_authority_with_an_ed25519_key_is_refused() -> None:
    """TLS and Fabric's normalisation of signatures know ECDSA authorities only."""
    with pytest.raises(CertificateError, match="P-256, P-384"):
        Authority.make_root("BankMSP", "ca", "Ed25519", 10, NOW)


@pytest.mark.parametrize("days", [0, -1, 36_501])
def test_validity_out_of_range_is_refused(days) -> None:
    """A certificate is valid for a day at least and a century at most."""
    with pytest.raises(CertificateError, match="tls_days"):
        Validity(tls_days=days)


def test_revocation_list_names_its_authority_and_number() -> None:
    """Fabric finds a list by the key identifier of its authority."""
    member = Member("BankMSP")
    crl = x509.load_pem_x509_crl(member.root.revocation_list({5: NOW, 3: NOW}, 7, NOW))
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    assert sorted(each.serial_number for each in crl) == [3, 5]
    public = member.root.key.public_key()
    assert crl.is_signature_valid(public)
