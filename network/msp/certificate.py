"""An X.509 certificate read once: the fields that chains, roles and revocation need.

Foreign bytes come in here, and only ``IdentityError`` comes out. Nothing is verified here.

A certificate whose signature has a high S is the same certificate as the one with the low S, so
`sanitised` gives the low one; identities are hashed and compared in that form only.

Source: Fabric msp/cert.go, msp/mspimpl.go (`sanitizeCert`); Go crypto/x509.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from network.errors import IdentityError
from network.msp.der import (
    decode_pem,
    encode_pem,
    replace_certificate_signature,
    verify_name_strings,
)
from network.msp.keys import CURVE_ORDERS, low_s_signature

MAX_PEM_BYTES: Final = 16 * 1024
"""Longer certificates are refused unread: reading one must cost no more than its chain."""

ATTRIBUTES_OID: Final = x509.ObjectIdentifier("1.2.3.4.5.6.7.8.1")
"""Extension in which a Fabric CA writes attributes, as JSON ``{"attrs": {name: value}}``."""

# What Go's crypto/x509 reads itself; any other critical extension makes a certificate unusable.
_UNDERSTOOD = {
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.POLICY_MAPPINGS,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    ExtensionOID.POLICY_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.INHIBIT_ANY_POLICY,
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
}

# Every way in which the library says that a certificate, a key or a list is not what it should be.
MALFORMED = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
)


class Certificate:
    """A parsed certificate, immutable.

    Attributes:
        der: the bytes, as received.
        attributes: what a Fabric CA wrote into the attribute extension; empty if there is none to
            read.
        subject, issuer: DER of the names, for matching.
        units: the organisational units of the subject, in their order.
        extensions: of a certificate of version 3; others have none.
        usages: extended key usages; None if the certificate does not restrict them.
        path_length: how many intermediate authorities may follow; None for any number.
    """

    __slots__ = (
        "attributes",
        "common_name",
        "der",
        "extensions",
        "has_unknown_critical_extension",
        "is_authority",
        "issuer",
        "key_identifier",
        "may_sign_certificates",
        "not_after",
        "not_before",
        "path_length",
        "public_key",
        "public_key_der",
        "serial_number",
        "subject",
        "units",
        "usages",
        "x509",
    )

    def __init__(self, der: bytes) -> None:
        """Parse DER.

        Raises:
            IdentityError: no X.509 certificate, or one whose fields cannot be read.
        """
        try:
            self._read(der)
        except MALFORMED as reason:
            raise IdentityError(
                "the certificate cannot be read: send an X.509 certificate in PEM"
            ) from reason

    def _read(self, der: bytes) -> None:
        certificate = x509.load_der_x509_certificate(der)
        self.der = der
        self.x509 = certificate
        self.subject = certificate.subject.public_bytes()
        self.issuer = certificate.issuer.public_bytes()
        verify_name_strings(self.subject)
        verify_name_strings(self.issuer)
        self.serial_number = certificate.serial_number
        self.not_before: datetime = certificate.not_valid_before_utc
        self.not_after: datetime = certificate.not_valid_after_utc
        self.public_key = certificate.public_key()
        self.public_key_der = self.public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        self.common_name = str(names[-1].value) if names else ""
        self.units = tuple(
            str(unit.value)
            for unit in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        )
        self.is_authority = False
        self.path_length: int | None = None
        self.may_sign_certificates = True
        self.usages: frozenset[x509.ObjectIdentifier] | None = None
        self.key_identifier: bytes | None = None
        self.has_unknown_critical_extension = False
        self.attributes: Mapping[str, str] = MappingProxyType({})
        # Go looks for extensions in certificates of version 3 alone, and TLS takes no others.
        is_third = certificate.version is x509.Version.v3
        self.extensions = tuple(certificate.extensions) if is_third else ()
        for extension in self.extensions:
            value = extension.value
            if isinstance(value, x509.BasicConstraints):
                self.is_authority = value.ca
                self.path_length = value.path_length
            elif isinstance(value, x509.KeyUsage):
                self.may_sign_certificates = value.key_cert_sign
            elif isinstance(value, x509.ExtendedKeyUsage):
                self.usages = frozenset(value)
            elif isinstance(value, x509.SubjectKeyIdentifier):
                self.key_identifier = value.digest
            elif extension.oid == ATTRIBUTES_OID:
                self.attributes = read_attributes(value.public_bytes())
            if extension.critical and extension.oid not in _UNDERSTOOD:
                self.has_unknown_critical_extension = True

    @classmethod
    def from_pem(cls, pem: bytes) -> Certificate:
        """Parse the first PEM block of *pem*, whatever its label, as Fabric's validation does.

        Raises:
            IdentityError: no PEM block, too long, or no certificate in it.
        """
        if len(pem) > MAX_PEM_BYTES:
            raise IdentityError(
                f"the certificate has {len(pem)} bytes and at most {MAX_PEM_BYTES} are read: "
                "send it alone, without its chain"
            )
        try:
            _, der, _ = decode_pem(pem)
        except ValueError as reason:
            raise IdentityError(
                "the certificate is not in PEM: send -----BEGIN CERTIFICATE----- and so on"
            ) from reason
        return cls(der)

    @property
    def pem(self) -> bytes:
        """The certificate as a PEM block."""
        return encode_pem("CERTIFICATE", self.der)

    @property
    def has_name_constraints(self) -> bool:
        """True for an authority that may issue for some names only."""
        return any(each.oid == ExtensionOID.NAME_CONSTRAINTS for each in self.extensions)

    def allows(self, usage: x509.ObjectIdentifier) -> bool:
        """Tell whether the extended key usages leave room for *usage*."""
        return (
            self.usages is None
            or usage in self.usages
            or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in self.usages
        )

    def is_issued_by(self, authority: Certificate) -> bool:
        """Tell whether *authority* has signed this certificate; nothing else is looked at."""
        if not authority.may_sign_certificates or not authority.is_authority:
            return False
        try:
            if isinstance(self.x509.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
                return False
            self.x509.verify_directly_issued_by(authority.x509)
        except (InvalidSignature, *MALFORMED):
            return False
        return True

    def sanitised(self, authority: Certificate) -> Certificate:
        """Return the certificate with the low S of its ECDSA signature, mostly itself.

        Args:
            authority: whose signature it bears.
        """
        key = authority.public_key
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVE_ORDERS:
            return self
        try:
            low = low_s_signature(self.x509.signature, CURVE_ORDERS[key.curve.name])
            if low == self.x509.signature:
                return self
            return Certificate(replace_certificate_signature(self.der, low))
        except ValueError as reason:
            raise IdentityError("the certificate's signature cannot be read") from reason


def read_attributes(extension: bytes) -> Mapping[str, str]:
    """Read the value of the attribute extension; malformed ones give no attributes at all."""
    try:
        attributes = json.loads(extension)["attrs"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return MappingProxyType({})
    if not isinstance(attributes, dict) or not all(
        isinstance(value, str) for value in attributes.values()
    ):
        return MappingProxyType({})
    return MappingProxyType(attributes)
