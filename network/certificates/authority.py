"""An authority: its certificate and key, what it issues, and its list of what it has revoked.

Certificates are of the form that Fabric's CA and cryptogen give: basic constraints, key usage, key
identifiers of subject and issuer; identities carry no extended key usage, TLS certificates that of
server and client. Serial numbers are random, 159 bits. The authority's ECDSA signature has a low S,
as Fabric writes certificates, so that a certificate has one encoding only.

Everything here is in memory; `organisation.py` keeps it in folders. The time is passed in.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from network.certificates.key_pairs import hash_for, make_authority_key
from network.errors import CertificateError
from network.msp import ATTRIBUTES_OID
from network.msp.der import encode_pem, replace_certificate_signature
from network.msp.keys import CURVE_ORDERS, low_s_signature

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

BACKDATED: Final = timedelta(minutes=5)
"""Certificates begin this long before they are made, for clocks that go behind."""

LIST_VALIDITY: Final = timedelta(days=3650)
"""Until the next list is due at the latest; Fabric does not look at it."""


@dataclass(frozen=True, slots=True)
class Validity:
    """How long certificates are valid, in days.

    Attributes:
        authority_days: root authorities.
        intermediate_days: intermediate authorities.
        identity_days: identities of nodes and users.
        tls_days: TLS certificates of nodes.
    """

    authority_days: int = 5475
    intermediate_days: int = 3650
    identity_days: int = 730
    tls_days: int = 730

    def __post_init__(self) -> None:
        """Check that every certificate can be valid at all.

        Raises:
            CertificateError: a number is not above zero, or so large that no date can hold it.
        """
        for name in self.__slots__:
            if not 1 <= getattr(self, name) <= 36_500:
                raise CertificateError(
                    f"{name} is {getattr(self, name)}: give whole days from 1 to 36500"
                )


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that may issue others, with its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The authority's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def make_root(
        cls, organisation: str, name: str, algorithm: str, days: int, now: datetime
    ) -> Authority:
        """Make a root authority, which signs itself.

        Args:
            organisation, name: its subject.
            algorithm: of its key, ``P-256`` or ``P-384``.
            days: how long it is valid.
            now: the present time, aware.
        """
        key = make_authority_key(algorithm)
        subject = _subject(organisation, (), name)
        builder = _builder(subject, subject, key.public_key(), now, now + timedelta(days=days))
        builder = _as_authority(builder, path_length=None)
        return cls(_sign(builder, key), key)

    def make_intermediate(
        self, organisation: str, name: str, algorithm: str, days: int, now: datetime
    ) -> Authority:
        """Make an authority below this one, which may issue no further authorities."""
        key = make_authority_key(algorithm)
        builder = self._below(_subject(organisation, (), name), key.public_key(), days, now)
        builder = _as_authority(builder, path_length=0)
        return Authority(_sign(builder, self.key), key)

    def issue_identity(
        self,
        subject: x509.Name,
        key: PublicKey,
        attributes: Mapping[str, str],
        days: int,
        now: datetime,
    ) -> bytes:
        """Return the PEM of an identity's certificate.

        Args:
            subject: with the organisational unit that gives the role; see `identity_subject`.
            key: the public key.
            attributes: for the contracts, in the extension of Fabric's CA.
            days: how long it is valid; not beyond the authority itself.
            now: the present time, aware.
        """
        builder = _as_leaf(self._below(subject, key, days, now))
        if attributes:
            extension = x509.UnrecognizedExtension(ATTRIBUTES_OID, encode_attributes(attributes))
            builder = builder.add_extension(extension, critical=False)
        return _pem(_sign(builder, self.key))

    def issue_tls(
        self, subject: x509.Name, key: PublicKey, hosts: Sequence[str], days: int, now: datetime
    ) -> bytes:
        """Return the PEM of a TLS certificate for server and client, with *hosts* as its names.

        Raises:
            CertificateError: no host, or one that is neither a DNS name nor an IP address.
        """
        builder = _as_leaf(self._below(subject, key, days, now))
        names = x509.SubjectAlternativeName(alternative_names(hosts))
        usages = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        )
        builder = builder.add_extension(names, critical=False)
        return _pem(_sign(builder.add_extension(usages, critical=False), self.key))

    def revocation_list(self, revoked: Mapping[int, datetime], number: int, now: datetime) -> bytes:
        """Return the PEM of a list of revoked serial numbers.

        Args:
            revoked: when each serial number was revoked.
            number: of the list; each list has a higher one than the last.
            now: the time of the list.
        """
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(now)
            .next_update(now + LIST_VALIDITY)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .add_extension(x509.CRLNumber(number), critical=False)
        )
        for serial, when in sorted(revoked.items()):
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
            )
        made = builder.sign(self.key, hash_for(self.key))
        return made.public_bytes(serialization.Encoding.PEM)

    def _below(
        self, subject: x509.Name, key: PublicKey, days: int, now: datetime
    ) -> x509.CertificateBuilder:
        """Begin a certificate of this authority, which ends no later than the authority."""
        end = self.certificate.not_valid_after_utc
        if now >= end:
            raise CertificateError(
                f"the authority {self.certificate.subject.rfc4514_string()} expired on "
                f"{end:%Y-%m-%d} and issues nothing more: make new ones with `qist org rotate`"
            )
        until = min(now + timedelta(days=days), end)
        builder = _builder(subject, self.certificate.subject, key, now, until)
        identifier = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value),
            critical=False,
        )


def encode_attributes(attributes: Mapping[str, str]) -> bytes:
    """Return the value of the attribute extension, as `read_attributes` reads it."""
    return json.dumps({"attrs": dict(attributes)}, separators=(",", ":")).encode()


def _subject(organisation: str, units: Iterable[str], name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in units),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


def identity_subject(organisation: str, unit: str, name: str) -> x509.Name:
    """Return the subject of an identity: its organisational unit gives it its role."""
    return _subject(organisation, (unit,), name)


def tls_subject(organisation: str, name: str) -> x509.Name:
    """Return the subject of a TLS certificate, which has no role."""
    return _subject(organisation, (), name)


def alternative_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return DNS names and IP addresses as the names of a certificate, each once.

    Raises:
        CertificateError: no host, or one that is neither.
    """
    if not hosts:
        raise CertificateError(
            "a TLS certificate without a host is good for no connection: give hosts or addresses"
        )
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
            continue
        except ValueError:
            pass
        try:
            if not host or ":" in host or "/" in host or " " in host:
                raise ValueError(host)
            names.append(x509.DNSName(host))
        except ValueError as reason:
            raise CertificateError(
                f"{host[:80]!r} is neither a DNS name nor an IP address: give a host without port, "
                "in ASCII"
            ) from reason
    return names


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _as_authority(
    builder: x509.CertificateBuilder, path_length: int | None
) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=path_length), critical=True
    ).add_extension(_usage(authority=True), critical=True)


def _as_leaf(builder: x509.CertificateBuilder) -> x509.CertificateBuilder:
    return builder.add_extension(
        x509.BasicConstraints(ca=False, path_length=None), critical=True
    ).add_extension(_usage(authority=False), critical=True)


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Sign with a low S: a certificate whose S is high is written anew with the lower one."""
    made = builder.sign(key, hash_for(key))
    low = low_s_signature(made.signature, CURVE_ORDERS[key.curve.name])
    if low == made.signature:
        return made
    der = replace_certificate_signature(made.public_bytes(serialization.Encoding.DER), low)
    return x509.load_der_x509_certificate(der)


def _pem(certificate: x509.Certificate) -> bytes:
    return encode_pem("CERTIFICATE", certificate.public_bytes(serialization.Encoding.DER))
