"""Ed25519 signatures of votes, judged as CometBFT judges them.

CometBFT verifies by ZIP-215: the equation is multiplied by the cofactor 8, and points may be
written with a coordinate that is not reduced. The usual libraries follow RFC 8032 more narrowly, so
that a validator could make a signature which every CometBFT counts and they refuse; with it the
other votes of a height would prove nothing. Therefore what the library refuses is judged once more
here, by the wider rule. Honest votes never come so far.

    8·S·B = 8·R + 8·k·A      k = SHA-512(R ‖ A ‖ message), S below the order of B

R and S are what stands in the signature, so no bit of it can change without breaking the equation.

Invariants: pure; the same answer on every machine. Not in constant time: all of it is public.

Source: ZIP-215; RFC 8032 §5.1; CometBFT v0.38 crypto/ed25519 (`VerifyOptionsZIP_215`).
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from network.errors import SignatureError

__all__ = ["SIGNATURE_BYTES", "verify_vote_signature"]

SIGNATURE_BYTES: Final = 64

_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE: Final = pow(2, (_P - 1) // 4, _P)

_Point: TypeAlias = tuple[int, int, int, int]
"""Extended coordinates X, Y, Z, T of RFC 8032 §5.1.4."""

_ZERO: Final[_Point] = (0, 1, 1, 0)


def verify_vote_signature(public_key: bytes, message: bytes, signature: bytes) -> None:
    """Check that *signature* (64 bytes) was made over *message* by the owner of *public_key*.

    Args:
        public_key: 32 bytes.
        message: any length.
        signature: R and S, 32 bytes each.
    Raises:
        SignatureError: it was not.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        if not _is_valid(public_key, message, signature):
            raise SignatureError(
                "the vote's signature does not verify: take the record from another node"
            ) from None


def _is_valid(public_key: bytes, message: bytes, signature: bytes) -> bool:
    if len(public_key) != 32 or len(signature) != SIGNATURE_BYTES:
        return False
    a, r = _decode(public_key), _decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= _ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    k = int.from_bytes(digest, "little") % _ORDER
    found = _add(_sum_of_multiples(s, _BASE, k, _negated(a)), _negated(r))
    for _ in range(3):
        found = _double(found)
    return found[0] == 0 and found[1] == found[2]


def _decode(raw: bytes) -> _Point | None:
    """Return the point of 32 bytes; its coordinate may be above the prime, and zero have a sign."""
    number = int.from_bytes(raw, "little")
    sign, y = number >> 255, (number & (1 << 255) - 1) % _P
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if x * x % _P != square:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if x * x % _P != square:
        return None
    if x & 1 != sign:
        x = -x % _P
    return x, y, 1, x * y % _P


def _add(one: _Point, other: _Point) -> _Point:
    """Return the sum; the formula holds for every two points, equal ones too."""
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(point: _Point) -> _Point:
    """Return the point added to itself, by the shorter formula for that."""
    a, b = point[0] * point[0] % _P, point[1] * point[1] % _P
    c = 2 * point[2] * point[2] % _P
    h = a + b
    e, g = h - (point[0] + point[1]) ** 2 % _P, a - b
    f = c + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _negated(point: _Point) -> _Point:
    return -point[0] % _P, point[1], point[2], -point[3] % _P


def _sum_of_multiples(first: int, one: _Point, second: int, other: _Point) -> _Point:
    """Return first·one + second·other, going through the bits of both at once."""
    both = _add(one, other)
    found = _ZERO
    for bit in range(max(first.bit_length(), second.bit_length()) - 1, -1, -1):
        found = _double(found)
        chosen = (first >> bit & 1) + 2 * (second >> bit & 1)
        if chosen:
            found = _add(found, (one, other, both)[chosen - 1])
    return found


def _base() -> _Point:
    found = _decode((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    assert found is not None
    return found


_BASE: Final = _base()
