"""The MSP of one member: which certificates are identities, and which roles they have.

Stricter than Fabric in one respect: an identity that is revoked, or whose units are wrong,
satisfies no principal at all. In Fabric it would still satisfy an anonymity principal of the kind
NOMINAL, and an admin named in the MSP definition would stay one after its revocation.

Absent: Idemix, whose MSPs are refused.

Source: Fabric msp/mspimpl.go, msp/mspimplvalidate.go, msp/identities.go.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from fabric_protos.msp import msp_config_pb2

from network.decoding import decode_message
from network.errors import ConfigurationError, IdentityError
from network.msp.certificate import Certificate
from network.msp.chain import CLIENT as CLIENT_USAGE
from network.msp.chain import Chain
from network.msp.identity import ADMIN, CLIENT, MEMBER, Identity, serialize_identity, split_identity
from network.msp.keys import VerifyingKey, verifying_key
from network.msp.principals import compile_principal
from network.msp.settings import (
    HASHES,
    Authorities,
    RevocationList,
    certifiers_identifier,
    read_hash_names,
    read_node_units,
    read_revocation_list,
)

_FABRIC = 0
_IDEMIX = 1


class MSP:
    """One member's rules of identity.

    Attributes:
        msp_id: the member's name.
        roots, intermediates: PEM of the authorities of its identities.
        tls_roots, tls_intermediates: PEM of the authorities of its TLS certificates.
    """

    def __init__(self, config: Any, *, ed25519_allowed: bool, old_rules: bool) -> None:
        """Set up from a FabricMSPConfig message; see `from_config`."""
        self._old_rules = old_rules
        self.msp_id: str = config.name
        if not self.msp_id:
            raise ConfigurationError("an MSP definition has no name: give it the member's MSP id")
        self._ed25519_allowed = ed25519_allowed
        self._hash_family, self._hash_name = read_hash_names(config, self.msp_id)
        if not config.root_certs:
            raise ConfigurationError(
                f"MSP {self.msp_id} has no root certificate: put one into cacerts"
            )
        self._authorities = Authorities(
            self.msp_id, config.root_certs, config.intermediate_certs, "authority"
        )
        self._revocation_lists: dict[bytes, list[RevocationList]] = defaultdict(list)
        for raw in config.revocation_list:
            crl = read_revocation_list(raw, self.msp_id)
            self._revocation_lists[crl.authority_key_identifier].append(crl)
        self._verify_authorities_in_force()
        self.roots: tuple[bytes, ...] = tuple(config.root_certs)
        self.intermediates: tuple[bytes, ...] = tuple(config.intermediate_certs)
        self.tls_roots: tuple[bytes, ...] = tuple(config.tls_root_certs)
        self.tls_intermediates: tuple[bytes, ...] = tuple(config.tls_intermediate_certs)
        self._tls = Authorities(
            self.msp_id, self.tls_roots, self.tls_intermediates, "TLS authority"
        )
        self._required_units: dict[str, set[bytes]] = defaultdict(set)
        for unit in config.organizational_unit_identifiers:
            path = self._authorities.path_of(unit.certificate, "an organisational unit")
            self._required_units[unit.organizational_unit_identifier].add(
                certifiers_identifier(path, self._hash_name)
            )
        self._node_units = read_node_units(
            config, self._authorities, self._hash_name, old_rules=old_rules
        )
        self._admins: frozenset[str] = frozenset()
        self._admins = self._read_admins(config.admins)

    @classmethod
    def from_config(
        cls, config: Any, *, ed25519_allowed: bool = False, old_rules: bool = False
    ) -> MSP:
        """Set an MSP up.

        Args:
            config: an MSPConfig, marshalled or not.
            ed25519_allowed: whether identities may have Ed25519 keys (channel capability V3_0).
            old_rules: whether units make clients and peers only, and admins are those named
                (channel capabilities V1_3 and V1_4_2).
        Raises:
            ConfigurationError: no Fabric MSP, or one of its rules is broken.
        """
        if isinstance(config, bytes):
            config = decode_message(
                msp_config_pb2.MSPConfig, config, "the MSP definition", ConfigurationError
            )
        if config.type != _FABRIC:
            raise ConfigurationError(
                f"the MSP definition is of type {config.type}"
                f"{' (Idemix)' if config.type == _IDEMIX else ''}, and only type {_FABRIC} "
                "(X.509) is supported: configure an X.509 MSP"
            )
        fabric = decode_message(
            msp_config_pb2.FabricMSPConfig, config.config, "the MSP definition", ConfigurationError
        )
        return cls(fabric, ed25519_allowed=ed25519_allowed, old_rules=old_rules)

    def _verify_authorities_in_force(self) -> None:
        for intermediate in self._authorities.trust.intermediates:
            chain = self._authorities.trust.chain(intermediate)
            # One that is named as a root too is its own chain, and nobody's to revoke.
            if len(chain) > 1 and self._is_revoked(intermediate, chain[1]):
                raise ConfigurationError(
                    f"MSP {self.msp_id} revokes its own authority {intermediate.common_name!r}: "
                    "take it out of intermediatecerts"
                )

    def _read_admins(self, pems: Any) -> frozenset[str]:
        """Return the identity ids of the admins that the definition names."""
        if not pems and ADMIN not in self._node_units and not self._old_rules:
            raise ConfigurationError(
                f"MSP {self.msp_id} has no administrators: declare them in admincerts, or an "
                "organisational unit for admins in config.yaml"
            )
        ids = set()
        for pem in pems:
            try:
                certificate, chain, key = self._read(pem)
                units = [
                    self._node_units[role].unit
                    for role in (CLIENT, ADMIN)
                    if role in self._node_units
                ]
                if not self._node_units or self._old_rules:
                    self._identity(b"", certificate, chain, key)
                if self._node_units and not any(unit in certificate.units for unit in units):
                    raise IdentityError("an admin must be a client or an admin by its unit")
            except IdentityError as reason:
                raise ConfigurationError(
                    f"an admin certificate of MSP {self.msp_id} is not valid: {reason}"
                ) from reason
            ids.add(self._identity_id(certificate))
        return frozenset(ids)

    @property
    def tls_authorities(self) -> tuple[Certificate, ...]:
        """The authorities of its TLS certificates, roots first, each once."""
        return (*self._tls.trust.roots, *self._tls.trust.intermediates)

    @property
    def revoked_count(self) -> int:
        """How many certificates its revocation lists name."""
        return len(
            {
                (authority, serial)
                for authority, lists in self._revocation_lists.items()
                for each in lists
                for serial in each.serial_numbers
            }
        )

    def deserialize(self, serialized: bytes) -> Identity:
        """Return the identity of a SerializedIdentity of this member.

        Raises:
            IdentityError: of another member, malformed, not chained, revoked, or without
                exactly one role where roles are given by organisational units.
        """
        msp_id, pem = split_identity(serialized)
        return self.identify(msp_id, pem, serialized)

    def identify(self, msp_id: str, pem: bytes, serialized: bytes | None = None) -> Identity:
        """Do as `deserialize`, with the SerializedIdentity taken apart already."""
        if msp_id != self.msp_id:
            raise IdentityError(
                f"expected MSP ID {self.msp_id}, received {msp_id}: use an identity of the member"
            )
        certificate, chain, key = self._read(pem)
        if serialized is None:
            serialized = serialize_identity(msp_id, pem)
        return self._identity(serialized, certificate, chain, key)

    def _read(self, pem: bytes) -> tuple[Certificate, Chain, VerifyingKey]:
        """Parse and chain a certificate."""
        certificate = Certificate.from_pem(pem)
        key = verifying_key(certificate.public_key, self._hash_family)
        if (
            isinstance(certificate.public_key, ed25519.Ed25519PublicKey)
            and not self._ed25519_allowed
        ):
            raise IdentityError(
                "could not validate identity's public key algorithm: Ed25519 needs the channel "
                "capability V3_0"
            )
        chain = self._authorities.chain_of(certificate)
        return certificate.sanitised(chain[1]), chain, key

    def _identity_id(self, certificate: Certificate) -> str:
        digest: str = HASHES[self._hash_name](certificate.der).hexdigest()
        return self.msp_id + digest

    def _identity(
        self, serialized: bytes, certificate: Certificate, chain: Chain, key: VerifyingKey
    ) -> Identity:
        if self._is_revoked(certificate, chain[1]):
            raise IdentityError(
                "the certificate has been revoked by its authority: have a new one issued"
            )
        certifiers = certifiers_identifier(chain[1:], self._hash_name)
        self._verify_required_units(certificate, certifiers)
        self._verify_node_units(certificate, certifiers)
        identity_id = self._identity_id(certificate)
        roles = {MEMBER}
        roles.update(
            role for role, node in self._node_units.items() if node.unit in certificate.units
        )
        if identity_id in self._admins:
            roles.add(ADMIN)
        return Identity(
            msp_id=self.msp_id,
            certificate=certificate,
            serialized=serialized,
            identity_id=identity_id,
            roles=frozenset(roles),
            certifiers_identifier=certifiers,
            key=key,
        )

    def _is_revoked(self, certificate: Certificate, authority: Certificate) -> bool:
        lists = self._revocation_lists.get(authority.key_identifier or b"", ())
        return any(
            certificate.serial_number in crl.serial_numbers and crl.is_signed_by(authority)
            for crl in lists
        )

    def _verify_required_units(self, certificate: Certificate, certifiers: bytes) -> None:
        if self._required_units and not any(
            certifiers in self._required_units.get(unit, ()) for unit in certificate.units
        ):
            raise IdentityError(
                f"none of the certificate's organisational units {list(certificate.units)} is "
                f"one that MSP {self.msp_id} asks for: {sorted(self._required_units)}"
            )

    def _verify_node_units(self, certificate: Certificate, certifiers: bytes) -> None:
        """Check that exactly one unit of the certificate gives a role."""
        if not self._node_units:
            return
        by_unit = {node.unit: node for node in self._node_units.values()}
        found = 0
        for unit in certificate.units:
            node = by_unit.get(unit)
            if node is None:
                continue
            if node.certifiers_identifier not in (b"", certifiers):
                raise IdentityError(
                    f"the organisational unit {unit!r} was given by an authority that may not "
                    "give it: have the authority issue it that config.yaml names"
                )
            found += 1
        if found != 1:
            raise IdentityError(
                f"the certificate has {found} organisational units that give a role of MSP "
                f"{self.msp_id}, and must have exactly one of {sorted(by_unit)}: have one issued "
                "with the unit of its role"
            )

    def verify_tls_certificate(self, certificate: Certificate) -> None:
        """Check that *certificate* was issued by this member's TLS authorities for clients.

        Raises:
            IdentityError: it was not, or has been revoked.
        """
        if certificate.is_authority:
            raise IdentityError("a TLS authority's own certificate is no member's: issue one")
        chain = self._tls.trust.chain(certificate, CLIENT_USAGE)
        if len(chain) < 2 or self._is_revoked(certificate, chain[1]):
            raise IdentityError("the TLS certificate has been revoked: have a new one issued")

    def verify_issued(self, certificate: Certificate, *, tls: bool = False) -> None:
        """Check that one of this member's authorities has issued *certificate*.

        Neither its units nor its revocation are looked at: it need be no identity.

        Args:
            certificate: of anybody.
            tls: whether an authority of TLS certificates must have issued it.
        Raises:
            IdentityError: none has, or it is itself an authority's.
        """
        if certificate.is_authority:
            raise IdentityError("the certificate is an authority's own: issue one with it")
        (self._tls if tls else self._authorities).trust.chain(certificate)

    def satisfies(self, identity: Identity, principal: Any) -> None:
        """Check that *identity*, of this member, satisfies an MSPPrincipal.

        Raises:
            IdentityError: it does not.
        """
        if not compile_principal(principal, self.deserialize)(identity):
            raise IdentityError(
                f"{identity.common_name!r} of {identity.msp_id} does not satisfy the principal"
            )
