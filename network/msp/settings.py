"""What a member's MSP definition says, checked once when a configuration is taken over.

Authorities, admins, revocation lists, organisational units that give roles: read from Fabric's
``FabricMSPConfig`` in the order in which Fabric sets an MSP up, for the versions 1.3, 1.4.3 and 3.0
of its rules (channel capabilities V1_3 and V1_4_2, V1_4_3 and V2_0, V3_0). Still older ones are not
offered.

Source: Fabric msp/mspimplsetup.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

from network.errors import ConfigurationError, IdentityError
from network.msp.certificate import MALFORMED, Certificate
from network.msp.chain import Chain, TrustStore
from network.msp.der import decode_pem
from network.msp.identity import ADMIN, CLIENT, ORDERER, PEER
from network.msp.keys import ECDSA_HASHES

HASHES: Final[dict[str, Callable[[bytes], Any]]] = {
    "SHA256": hashlib.sha256,
    "SHA384": hashlib.sha384,
    "SHA3_256": hashlib.sha3_256,
    "SHA3_384": hashlib.sha3_384,
}
"""Hash functions for identity ids and certifier ids, by Fabric's names."""

NODE_UNITS: Final = (
    (CLIENT, "client_ou_identifier"),
    (PEER, "peer_ou_identifier"),
    (ADMIN, "admin_ou_identifier"),
    (ORDERER, "orderer_ou_identifier"),
)


@dataclass(frozen=True, slots=True)
class NodeUnit:
    """An organisational unit that gives a role.

    Attributes:
        unit: the unit's name.
        certifiers_identifier: the authorities that must have issued it; empty for any.
    """

    unit: str
    certifiers_identifier: bytes


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A list of revoked serial numbers, with the authority it claims to come from."""

    authority_key_identifier: bytes
    serial_numbers: frozenset[int]
    crl: x509.CertificateRevocationList

    def is_signed_by(self, authority: Certificate) -> bool:
        """Tell whether *authority* made this list."""
        key = authority.public_key
        if not isinstance(
            key,
            ec.EllipticCurvePublicKey
            | rsa.RSAPublicKey
            | ed25519.Ed25519PublicKey
            | ed448.Ed448PublicKey,
        ):
            return False
        try:
            return self.crl.is_signature_valid(key)
        except MALFORMED:
            return False


class Authorities:
    """The certification tree of one member.

    Attributes:
        trust: the roots and intermediates, with low S signatures.
        issuing: DER of those that may issue identities: the leaves of the tree.
    """

    def __init__(
        self, msp_id: str, roots: Iterable[bytes], intermediates: Iterable[bytes], kind: str
    ) -> None:
        """Read and check the authorities.

        Raises:
            ConfigurationError: not an authority, no key identifier, or no chain to a root.
        """
        self._msp_id = msp_id
        self._kind = kind
        raw_roots = [self._read(pem) for pem in roots]
        raw_intermediates = [self._read(pem) for pem in intermediates]
        trust = TrustStore(raw_roots, raw_intermediates)
        clean_roots = [self._sanitised(each, trust) for each in raw_roots]
        clean_intermediates = [self._sanitised(each, trust) for each in raw_intermediates]
        self.trust = TrustStore(clean_roots, clean_intermediates)
        inner: set[bytes] = set()
        for each in (*clean_roots, *clean_intermediates):
            self._verify_authority(each)
        for each in clean_intermediates:
            inner.update(above.der for above in self._chain(each)[1:])
        self._inner = frozenset(inner)

    def _read(self, pem: bytes) -> Certificate:
        try:
            return Certificate.from_pem(pem)
        except IdentityError as reason:
            raise ConfigurationError(f"{self._kind} of MSP {self._msp_id}: {reason}") from reason

    def _chain(self, certificate: Certificate, trust: TrustStore | None = None) -> Chain:
        try:
            return (trust or self.trust).chain(certificate)
        except IdentityError as reason:
            raise ConfigurationError(
                f"{self._kind} {certificate.common_name!r} of MSP {self._msp_id}: {reason}"
            ) from reason

    def _sanitised(self, certificate: Certificate, trust: TrustStore) -> Certificate:
        if certificate.is_authority and certificate.is_issued_by(certificate):
            # A root answers for itself, also where it is named in a form with a high S that the
            # trust store no longer has (Fabric msp/mspimpl.go, `sanitizeCert`).
            chain: Chain = (certificate,)
        else:
            chain = self._chain(certificate, trust)
        try:
            return certificate.sanitised(chain[min(1, len(chain) - 1)])
        except IdentityError as reason:
            raise ConfigurationError(f"{self._kind} of MSP {self._msp_id}: {reason}") from reason

    def _verify_authority(self, certificate: Certificate) -> None:
        name = f"{self._kind} {certificate.common_name!r} of MSP {self._msp_id}"
        if not certificate.is_authority:
            raise ConfigurationError(
                f"{name} is no certificate of an authority: configure one with basic constraint CA"
            )
        if certificate.key_identifier is None:
            raise ConfigurationError(
                f"{name} has no subject key identifier, by which revocation lists are found: "
                "issue it with one"
            )
        if certificate.has_name_constraints:
            raise ConfigurationError(
                f"{name} has name constraints, which are not supported: issue it without"
            )

    def chain_of(self, certificate: Certificate) -> Chain:
        """Return the chain of an identity's certificate, which an issuing authority must have made.

        Raises:
            IdentityError: it is itself an authority, or has no such chain.
        """
        if certificate.is_authority:
            raise IdentityError(
                "the certificate is an authority's, which cannot be an identity: use one that "
                "it has issued"
            )
        chain = self.trust.chain(certificate)
        if len(chain) < 2 or chain[1].der in self._inner:
            raise IdentityError(
                "the certificate is not issued by the lowest authority of its MSP: have the "
                "intermediate authority issue it"
            )
        return chain

    def path_of(self, pem: bytes, where: str) -> Chain:
        """Return the path of a configured authority up to its root, itself first.

        Raises:
            ConfigurationError: it is none of this member's authorities.
        """
        certificate = self._read(pem)
        certificate = self._sanitised(certificate, self.trust)
        known = {each.der for each in (*self.trust.roots, *self.trust.intermediates)}
        if certificate.der not in known:
            raise ConfigurationError(
                f"{where} of MSP {self._msp_id} names a certificate that is no authority of the "
                "MSP: name one in cacerts or intermediatecerts"
            )
        chain = self._chain(certificate)
        if len(chain) > 1 and certificate.der in self._inner:
            raise ConfigurationError(
                f"{where} of MSP {self._msp_id} names an intermediate authority that has further "
                "ones below it: name the one that issues identities"
            )
        return chain


def read_revocation_list(raw: bytes, msp_id: str) -> RevocationList:
    """Read a CRL in PEM or DER.

    Raises:
        ConfigurationError: unreadable, or without the key identifier of its authority.
    """
    try:
        if raw.startswith(b"-----BEGIN X509 CRL"):
            raw = decode_pem(raw)[1]
        crl = x509.load_der_x509_crl(raw)
        identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        serials = frozenset(revoked.serial_number for revoked in crl)
    except (x509.ExtensionNotFound, *MALFORMED) as reason:
        raise ConfigurationError(
            f"a revocation list of MSP {msp_id} cannot be read or has no authority key "
            "identifier: make it as X.509 CRL version 2"
        ) from reason
    return RevocationList(identifier.value.key_identifier or b"", serials, crl)


def certifiers_identifier(chain: Iterable[Certificate], hash_name: str) -> bytes:
    """Hash the authorities of a chain, the issuing one first (Fabric `CertifiersIdentifier`)."""
    digest: bytes = HASHES[hash_name](b"".join(each.der for each in chain)).digest()
    return digest


def read_hash_names(config: Any, msp_id: str) -> tuple[str, str]:
    """Return signature hash family and identity hash of a FabricMSPConfig, with their defaults.

    Raises:
        ConfigurationError: one of them is unknown.
    """
    family = str(config.crypto_config.signature_hash_family or "SHA2")
    identifier = str(config.crypto_config.identity_identifier_hash_function or "SHA256")
    if family not in ECDSA_HASHES or identifier not in HASHES:
        raise ConfigurationError(
            f"MSP {msp_id} names the hashes {family!r} and {identifier!r}: use SHA2 and SHA256"
        )
    return family, identifier


def read_node_units(
    config: Any, authorities: Authorities, hash_name: str, *, old_rules: bool = False
) -> dict[str, NodeUnit]:
    """Return the organisational units that give roles; empty where they are switched off.

    Args:
        old_rules: those before version 1.4.3, which know clients and peers only, and want both.
    Raises:
        ConfigurationError: a unit names a certificate that is no authority of the MSP, or one of
            the two is missing.
    """
    units: dict[str, NodeUnit] = {}
    if not config.HasField("fabric_node_ous"):
        return units
    for role, field in NODE_UNITS:
        if old_rules and role not in (CLIENT, PEER):
            continue
        if not config.fabric_node_ous.HasField(field):
            continue
        unit = getattr(config.fabric_node_ous, field)
        certifiers = b""
        if unit.certificate:
            path = authorities.path_of(unit.certificate, f"the organisational unit for {role}")
            certifiers = certifiers_identifier(path, hash_name)
        units[role] = NodeUnit(unit.organizational_unit_identifier, certifiers)
    if old_rules and not all(role in units and units[role].unit for role in (CLIENT, PEER)):
        raise ConfigurationError(
            f"MSP {config.name} names no unit of clients or of peers: the rules before channel "
            "capability V1_4_3 want both"
        )
    return units if config.fabric_node_ous.enable else {}
