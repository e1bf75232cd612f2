"""Private keys: made here, written in PEM (PKCS #8) without a password, never written twice.

A member's identities have ECDSA keys on P-256 (the default) or P-384, or Ed25519 keys, which need
the channel capability V3_0. Authorities and TLS have ECDSA keys only: TLS libraries do not offer
Ed25519, and Fabric normalises the signatures of ECDSA authorities alone.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from network.errors import CertificateError
from network.msp.keys import SigningKey

P256: Final = "P-256"
P384: Final = "P-384"
ED25519: Final = "Ed25519"
ALGORITHMS: Final = (P256, P384, ED25519)


def verify_algorithm(algorithm: str, *, for_authority: bool = False) -> None:
    """Check the name of an algorithm.

    Raises:
        CertificateError: it is none of ours, or not one for an authority.
    """
    allowed = (P256, P384) if for_authority else ALGORITHMS
    if algorithm not in allowed:
        whose = "an authority's key" if for_authority else "a key"
        raise CertificateError(
            f"{algorithm[:40]!r} is no algorithm for {whose}: use one of {', '.join(allowed)}"
        )


def make_key(algorithm: str) -> SigningKey:
    """Make a private key.

    Args:
        algorithm: ``P-256``, ``P-384`` or ``Ed25519``.
    Raises:
        CertificateError: another name.
    """
    verify_algorithm(algorithm)
    if algorithm == ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1() if algorithm == P256 else ec.SECP384R1())


def make_authority_key(algorithm: str) -> ec.EllipticCurvePrivateKey:
    """Make the private key of an authority; see `make_key`."""
    verify_algorithm(algorithm, for_authority=True)
    return ec.generate_private_key(ec.SECP256R1() if algorithm == P256 else ec.SECP384R1())


def encode_key(key: SigningKey) -> bytes:
    """Return the private key in PEM, PKCS #8, as Fabric's clients read it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def hash_for(key: ec.EllipticCurvePrivateKey) -> hashes.SHA256 | hashes.SHA384:
    """Return the hash over which an authority signs certificates, as strong as its curve."""
    return hashes.SHA384() if key.curve.name == "secp384r1" else hashes.SHA256()
