"""Votes' signatures are judged as CometBFT judges them: by ZIP-215, wider than RFC 8032."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from network.errors import SignatureError
from network.ordering.cometbft.finality.vote_signature import verify_vote_signature

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493


def order_8_heights() -> list[int]:
    """Return the two y of the points of order 8, roots of d·y⁴ + 2·y² − 1."""
    d = -121665 * pow(121666, -1, P) % P
    # 2·(x, y) = (±√−1, 0) needs x² = −y², so y² is a root of d·y⁴ + 2·y² − 1.
    disc = square_root((1 + d) % P)
    assert disc is not None
    heights = []
    for root in (disc, P - disc):
        square = (root - 1) * pow(d, -1, P) % P
        found = square_root(square)
        if found is not None:
            heights += [found, P - found]
    return heights


def square_root(number: int) -> int | None:
    """Return a root modulo the prime, None if there is none."""
    root = pow(number, (P + 3) // 8, P)
    for found in (root, root * pow(2, (P - 1) // 4, P) % P):
        if found * found % P == number:
            return found
    return None


def encodings() -> list[bytes]:
    """Every way to write a point of small order, those with a y above the prime too."""
    found = []
    for y in [0, 1, P - 1, *order_8_heights()]:
        for written in (y, y + P):
            if written < 1 << 255:
                found += [
                    written.to_bytes(32, "little"),
                    (written | 1 << 255).to_bytes(32, "little"),
                ]
    return found


def is_strict(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the library takes it."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_signature_of_a_key_verifies_and_no_other_does() -> None:
    """The usual case: one key, one message, one signature."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    signature = key.sign(b"a vote")
    verify_vote_signature(public, b"a vote", signature)
    for message, changed in ((b"another", signature), (b"a vote", key.sign(b"another"))):
        with pytest.raises(SignatureError, match="does not verify"):
            verify_vote_signature(public, message, changed)


@pytest.mark.parametrize("bit", range(0, 512, 7))
def test_signature_with_one_bit_changed_is_refused(bit: int) -> None:
    """The wider rule gives no freedom in how a given signature is written."""
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a key").digest())
    signature = bytearray(key.sign(b"a vote"))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureError):
        verify_vote_signature(key.public_key().public_bytes_raw(), b"a vote", bytes(signature))


def test_signature_with_s_above_the_order_is_refused() -> None:
    """S + order would be a second form of the same signature."""
    key = Ed25519PrivateKey.generate()
    signature = key.sign(b"a vote")
    s = int.from_bytes(signature[32:], "little") + ORDER
    again = signature[:32] + s.to_bytes(32, "little")
    with pytest.raises(SignatureError):
        verify_vote_signature(key.public_key().public_bytes_raw(), b"a vote", again)


def test_points_of_small_order_are_fourteen_times_two() -> None:
    """ZIP-215's own count: 14 encodings of the 8 points of small order that it allows."""
    assert len(set(encodings())) == 14


@pytest.mark.parametrize("public", encodings(), ids=bytes.hex)
@pytest.mark.parametrize("point", encodings()[::3], ids=bytes.hex)
def test_signature_of_small_order_counts_as_cometbft_counts_it(public: bytes, point: bytes) -> None:
    """With the cofactor, S = 0 verifies for every key and point of small order."""
    verify_vote_signature(public, b"Zcash", point + bytes(32))


def test_library_alone_would_refuse_some_that_cometbft_counts() -> None:
    """Why there is a second judgement at all."""
    pairs = [(public, point) for public in encodings() for point in encodings()]
    strict = [is_strict(public, b"Zcash", point + bytes(32)) for public, point in pairs]
    assert not all(strict)


def test_signature_with_a_part_of_small_order_verifies() -> None:
    """What a validator can make that libraries refuse: R with a point of order 2 added."""
    secret = hashlib.sha512(hashlib.sha256(b"a validator").digest()).digest()
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a validator").digest())
    public = key.public_key().public_bytes_raw()
    a = int.from_bytes(secret[:32], "little") & ~7 & (1 << 254) - 1 | 1 << 254
    # Adding (0, −1), a point of order 2, turns the sign of both coordinates of r·B.
    nonce = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a nonce").digest())
    seed = hashlib.sha512(hashlib.sha256(b"a nonce").digest()).digest()
    r = int.from_bytes(seed[:32], "little") & ~7 & (1 << 254) - 1 | 1 << 254
    written = int.from_bytes(nonce.public_key().public_bytes_raw(), "little")
    sign, y = written >> 255, written & (1 << 255) - 1
    moved = (P - y | (1 - sign) << 255).to_bytes(32, "little")
    k = int.from_bytes(hashlib.sha512(moved + public + b"a vote").digest(), "little")
    s = (r + k * a) % ORDER
    signature = moved + s.to_bytes(32, "little")
    assert not is_strict(public, b"a vote", signature)
    verify_vote_signature(public, b"a vote", signature)
    with pytest.raises(SignatureError):
        verify_vote_signature(public, b"another vote", signature)


@pytest.mark.parametrize("length", [0, 32, 63, 65])
def test_signature_of_another_length_is_refused(length: int) -> None:
    """64 bytes, no more and no less."""
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(SignatureError):
        verify_vote_signature(public, b"a vote", bytes(length))


def test_key_that_is_no_point_verifies_nothing() -> None:
    """2 is no y of a point on the curve."""
    with pytest.raises(SignatureError):
        verify_vote_signature((2).to_bytes(32, "little"), b"a vote", bytes(64))
