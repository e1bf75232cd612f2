"""All members of one channel configuration, and the identities they vouch for.

A directory belongs to one configuration: when the configuration changes, a new one takes its place,
and with the old one goes all that was cached: identities, and which of their signatures were proved
to be good. That is how a revocation takes effect at once. That a signature is bad is never kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from network.errors import ConfigurationError, IdentityError
from network.msp.bounded import BoundedCache
from network.msp.certificate import MAX_PEM_BYTES, Certificate
from network.msp.der import decode_pem
from network.msp.identity import Identity, ProvedSignatures, split_identity
from network.msp.provider import MSP

IDENTITIES_CACHED: Final = 4096
"""Identities kept parsed and checked; about 10 kB each."""

SIGNATURES_CACHED: Final = 16_384
"""Good signatures that are remembered; about 400 bytes each. At 500 transactions a second a node
meets 2,000 a second, and the last time that it meets one is in the block, a second or two later."""


class MSPManager:
    """The MSPs of a channel by their ids."""

    def __init__(self, msps: Sequence[MSP]) -> None:
        """Take the MSPs of one configuration.

        Raises:
            ConfigurationError: two of them have the same id.
        """
        self._msps = {msp.msp_id: msp for msp in msps}
        if len(self._msps) != len(msps):
            raise ConfigurationError("two MSPs have the same id: give every member its own")
        self._identities: BoundedCache[bytes, Identity | str] = BoundedCache(IDENTITIES_CACHED)
        self._proved: ProvedSignatures = BoundedCache(SIGNATURES_CACHED)
        self._well_formed: BoundedCache[bytes, bool] = BoundedCache(IDENTITIES_CACHED)
        self._tls_members: BoundedCache[bytes, str] = BoundedCache(IDENTITIES_CACHED // 8)

    @property
    def msps(self) -> Mapping[str, MSP]:
        """The MSPs by their ids."""
        return MappingProxyType(self._msps)

    def msp(self, msp_id: str) -> MSP:
        """Return a member's MSP.

        Raises:
            IdentityError: no such member on this channel.
        """
        msp = self._msps.get(msp_id)
        if msp is None:
            raise IdentityError(
                f"MSP {msp_id} is not defined on channel: use an identity of one of its members"
            )
        return msp

    def deserialize(self, serialized: bytes) -> Identity:
        """Return the valid identity that *serialized* stands for.

        Raises:
            IdentityError: malformed, of no member, or not valid in the member's MSP.
        """
        found = self._identities.get(serialized)
        if found is None:
            found = self._check(serialized)
            # Larger ones are refused anyway; a cache must not be filled by their senders.
            if len(serialized) <= MAX_PEM_BYTES:
                self._identities.put(serialized, found)
        if isinstance(found, str):
            raise IdentityError(found)
        return found

    def _check(self, serialized: bytes) -> Identity | str:
        try:
            msp_id, pem = split_identity(serialized)
            found = self.msp(msp_id).identify(msp_id, pem, serialized)
            return replace(found, proved=self._proved)
        except IdentityError as reason:
            return str(reason)

    def deserialize_at_door(self, serialized: bytes) -> Identity:
        """Do as `deserialize` for one who asks this node for something, and check the form too.

        Raises:
            IdentityError: as `deserialize`, or as `verify_well_formed`.
        """
        identity = self.deserialize(serialized)
        if self._well_formed.get(serialized) is None:
            self.verify_well_formed(serialized)
            if len(serialized) <= MAX_PEM_BYTES:
                self._well_formed.put(serialized, True)
        return identity

    def verify_well_formed(self, serialized: bytes) -> None:
        """Check the form of an identity more strictly than validation does.

        For the doors of a node only: validation of blocks must accept what Fabric accepts.

        Raises:
            IdentityError: no PEM block of the type CERTIFICATE, or something after it.
        Source: Fabric msp/mspimpl.go, `IsWellFormed`.
        """
        _, pem = split_identity(serialized)
        if len(pem) > MAX_PEM_BYTES:
            raise IdentityError(f"the certificate is longer than {MAX_PEM_BYTES} bytes")
        try:
            label, der, rest = decode_pem(pem)
        except ValueError as reason:
            raise IdentityError("PEM decoding resulted in an empty block") from reason
        if label not in ("CERTIFICATE", "") or rest:
            raise IdentityError(
                f"the identity is a PEM block {label!r} with {len(rest)} bytes after it: send "
                "one block CERTIFICATE and nothing else"
            )
        Certificate(der)

    def member_of_tls_certificate(self, pem: bytes) -> str:
        """Return the MSP id of the member whose TLS authorities issued a client certificate.

        Expiry is the TLS handshake's business.

        Args:
            pem: the certificate, as gRPC shows it (`x509_pem_cert`).
        Raises:
            IdentityError: it belongs to no member, or to more than one.
        """
        known = self._tls_members.get(pem)
        if known is not None:
            return known
        certificate = Certificate.from_pem(pem)
        members = []
        reasons = []
        for msp in self._msps.values():
            try:
                msp.verify_tls_certificate(certificate)
                members.append(msp.msp_id)
            except IdentityError as reason:
                reasons.append(f"{msp.msp_id}: {reason}")
        if len(members) != 1:
            raise IdentityError(
                f"the TLS certificate {certificate.common_name!r} belongs to "
                f"{'no member' if not members else ' and '.join(members)} of the channel "
                f"({'; '.join(reasons)}): connect with one that the member's TLS authority issued"
            )
        self._tls_members.put(pem, members[0])
        return members[0]
