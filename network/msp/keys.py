"""Public keys that verify, private keys that sign, by Fabric's rules.

- ECDSA: DER signature with a low S; the digest is SHA-256 (or SHA3-256) for every curve, P-384
  too, because an MSP names a hash family and takes its 256-bit member.
- Ed25519: over the message itself.

A high S is refused, since otherwise anybody could turn one valid signature into another one.

Source: Fabric msp/identities.go (`Verify`, `getHashOpt`), fabric-lib-go bccsp/sw/ecdsa.go.
"""

from __future__ import annotations

from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from network.errors import IdentityError, SignatureError
from network.msp.der import decode_ecdsa_signature

CURVE_ORDERS: Final = {
    "secp224r1": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFF16A2E0B8F03E13DD29455C5C2A3D,
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
        "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
        16,
    ),
    "secp521r1": int(
        "01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA"
        "51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
        16,
    ),
}
"""Order of the base point of each curve (NIST SP 800-186, 3.2.1); S is low up to half of it."""

ECDSA_HASHES: Final = {
    "SHA2": ec.ECDSA(hashes.SHA256()),
    "SHA3": ec.ECDSA(hashes.SHA3_256()),
}
"""What an MSP's `signature_hash_family` means for ECDSA, on every curve."""


class VerifyingKey(Protocol):
    """A public key that checks signatures."""

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check that *signature* was made over *message* with this key's private half.

        Raises:
            SignatureError: it was not, or it is malformed, or its S is high.
        """


class EcdsaKey:
    """An ECDSA public key on one of the NIST curves."""

    __slots__ = ("_algorithm", "_half_order", "_key")

    def __init__(self, key: ec.EllipticCurvePublicKey, hash_family: str) -> None:
        order = CURVE_ORDERS.get(key.curve.name)
        if order is None:
            raise IdentityError(
                f"curve {key.curve.name} is not known to an MSP: use secp256r1 or secp384r1"
            )
        self._key = key
        self._half_order = order >> 1
        self._algorithm = ECDSA_HASHES[hash_family]

    def verify(self, message: bytes, signature: bytes) -> None:
        """See VerifyingKey."""
        try:
            s = decode_dss_signature(signature)[1]
        except ValueError:
            signature, s = self._tolerate(signature)
        if s > self._half_order:
            raise SignatureError(
                "the ECDSA signature has a high S: sign again and take order - S if S is above "
                "half the order of the curve"
            )
        try:
            self._key.verify(signature, message, self._algorithm)
        except InvalidSignature:
            raise SignatureError(
                "the ECDSA signature does not verify: it was made with another key or over "
                "other bytes"
            ) from None

    @staticmethod
    def _tolerate(signature: bytes) -> tuple[bytes, int]:
        """Read a signature that Go reads and OpenSSL does not, as DER that both read."""
        try:
            r, s = decode_ecdsa_signature(signature)
            return encode_dss_signature(r, s), s
        except (ValueError, OverflowError) as reason:
            raise SignatureError(
                "the ECDSA signature is malformed: send the DER sequence of R and S"
            ) from reason


class Ed25519Key:
    """An Ed25519 public key."""

    __slots__ = ("_key",)

    def __init__(self, key: ed25519.Ed25519PublicKey) -> None:
        self._key = key

    def verify(self, message: bytes, signature: bytes) -> None:
        """See VerifyingKey."""
        try:
            self._key.verify(signature, message)
        except InvalidSignature:
            raise SignatureError(
                "the Ed25519 signature does not verify: it was made with another key or over "
                "other bytes"
            ) from None


def verifying_key(key: object, hash_family: str) -> VerifyingKey:
    """Wrap the public key of a certificate.

    Raises:
        IdentityError: an algorithm or curve that an MSP does not take.
    """
    if isinstance(key, ec.EllipticCurvePublicKey):
        return EcdsaKey(key, hash_family)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Ed25519Key(key)
    raise IdentityError(
        "could not validate identity's public key algorithm: an identity has an ECDSA key, or "
        "an Ed25519 key where the channel has the capability V3_0"
    )


def low_s_signature(signature: bytes, order: int) -> bytes:
    """Return the DER *signature* with the lower of its two S values.

    Raises:
        ValueError: not an ECDSA signature.
    """
    r, s = decode_ecdsa_signature(signature)
    return encode_dss_signature(r, order - s if s > order >> 1 else s)


SigningKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def sign(key: SigningKey, message: bytes) -> bytes:
    """Sign *message* as an MSP identity does: ECDSA over SHA-256 with a low S, or Ed25519."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    signature = key.sign(message, ECDSA_HASHES["SHA2"])
    order = CURVE_ORDERS[key.curve.name]
    if decode_dss_signature(signature)[1] > order >> 1:
        return low_s_signature(signature, order)
    return signature
