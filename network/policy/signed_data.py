"""Who has really signed: from signatures as sent to valid identities, each once.

Source: Fabric common/policies/policy.go, `SignatureSetToValidIdentities`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from network.errors import IdentityError, SignatureError
from network.msp import Identity


@dataclass(frozen=True, slots=True)
class SignedData:
    """A signature as it was sent.

    Attributes:
        data: the bytes that were signed.
        identity: SerializedIdentity of who claims to have signed.
        signature: ECDSA in DER, or Ed25519.
    """

    data: bytes
    identity: bytes
    signature: bytes


class Identities(Protocol):
    """What policies ask of the channel's members (`network.msp.MSPManager`)."""

    def deserialize(self, serialized: bytes) -> Identity:
        """Return the valid identity, or raise IdentityError."""


def valid_identities(signed: Iterable[SignedData], msps: Identities) -> list[Identity]:
    """Return the identities that are valid and whose signature verifies, in their order.

    Others are passed over without a word: a wrong signature neither counts nor harms. A second
    signature of an identity is not even verified, so that nobody can make us verify one signature
    a thousand times.
    """
    found: list[Identity] = []
    seen: set[str] = set()
    for each in signed:
        try:
            identity = msps.deserialize(each.identity)
            if identity.identity_id in seen:
                continue
            identity.verify(each.data, each.signature)
        except (IdentityError, SignatureError):
            continue
        seen.add(identity.identity_id)
        found.append(identity)
    return found


def why_not_valid(signed: SignedData, msps: Identities) -> str:
    """Say why a signature does not count, in words with a way out; empty if it counts.

    For refusals only: it verifies the signature once more.
    """
    try:
        msps.deserialize(signed.identity).verify(signed.data, signed.signature)
    except (IdentityError, SignatureError) as reason:
        return str(reason)
    return ""
