"""Bundles: what CometBFT puts in order, each some envelopes that one member's node vouches for.

A node gathers what its clients sent, compresses it and signs it. To CometBFT a bundle is one opaque
transaction; its id is the SHA-256 of its bytes, which is also CometBFT's own name for it. Layout
(`name(x)` is the length of x as u32 and x; numbers big-endian)::

    "qist/bundle/1" 00
    name(channel id)
    name(creator)        SerializedIdentity of the node
    valid until u64      the highest number of a block that may hold it
    nonce                16 bytes
    kind u8              0: envelopes of clients; 1: one configuration
    count u32            of envelopes
    expanded u32         length of what the payload expands to
    name(payload)        one zstd frame over: for each envelope its length u32, and the envelope
    name(signature)      of the node over everything before this line

Nothing here allocates what a stranger asks for: every length is compared with the bytes that are
there, and what the payload expands to with the limits before it is expanded. A frame must say its
content's size, need no window beyond it and no dictionary, and be followed by nothing.

The tag keeps the signature apart from all else that a node signs: no protobuf message of Fabric's
begins with these bytes.

Invariants: pure but for nonce and signature of `make_bundle`; what opens has this one form only.

Absent: who may sign, and everything that depends on the chain's state (`rules.py`).
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import zstandard

from ledger.errors import Refusal
from network.configuration import BatchParameters
from network.msp import SigningIdentity

__all__ = [
    "Bundle",
    "BundleCode",
    "BundleError",
    "BundleHead",
    "BundleKind",
    "BundleLimits",
    "encode_signed",
    "limits_of",
    "make_bundle",
    "open_bundle",
    "read_head",
]

TAG: Final = b"qist/bundle/1\x00"
NONCE_BYTES: Final = 16
ID_BYTES: Final = 32

MOST_ENVELOPES: Final = 16_384
"""Of one bundle, whatever MaxMessageCount says, so that their lengths have a bound."""

ENVELOPE_OVERHEAD_BYTES: Final = 64
"""What an envelope may be longer than its payload and signature, which AbsoluteMaxBytes bounds."""

BUNDLE_OVERHEAD_BYTES: Final = 256 * 1024
"""What a bundle may be longer than what is in it: identity, signature, lengths, a bad frame."""

_SMALLEST_WINDOW: Final = 1024
_FRAME_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_LEVEL: Final = 3

_U32 = struct.Struct(">I")
_FIXED = struct.Struct(f">Q{NONCE_BYTES}sBII")
_BIGGEST_U64: Final = (1 << 64) - 1


class BundleCode(IntEnum):
    """Why a bundle is refused, as CheckTx says it; 0 stands for none of them."""

    MALFORMED = 1
    FOREIGN = 2
    NOT_A_CONSENTER = 3
    OUT_OF_TIME = 4
    REPEATED = 5
    ENVELOPE = 6
    CONFIGURATION = 7
    TOO_LARGE = 8
    QUOTA = 9
    PROPOSAL = 10


class BundleError(Refusal):
    """A bundle, or a proposal made of some, breaks a rule.

    Attributes:
        code: which kind of rule.
    """

    def __init__(self, code: BundleCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class BundleKind(IntEnum):
    """What is in a bundle."""

    ENVELOPES = 0
    CONFIGURATION = 1


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """What a channel's configuration lets be in a bundle, and in all bundles of a block.

    Attributes:
        envelopes: how many.
        envelope_bytes: their bytes together.
        bundle_bytes: of the bundle as it travels.
    """

    envelopes: int
    envelope_bytes: int
    bundle_bytes: int


def limits_of(batch: BatchParameters) -> BundleLimits:
    """Return the limits that the batch parameters of a configuration set."""
    envelope_bytes = batch.absolute_max_bytes + ENVELOPE_OVERHEAD_BYTES
    return BundleLimits(
        envelopes=min(batch.max_message_count, MOST_ENVELOPES),
        envelope_bytes=envelope_bytes,
        bundle_bytes=envelope_bytes + BUNDLE_OVERHEAD_BYTES,
    )


@dataclass(frozen=True, slots=True)
class BundleHead:
    """A bundle as read without expanding it; nothing in it has been believed yet.

    Attributes:
        raw: the bytes as received.
        bundle_id: SHA-256 of them.
        channel_id: the channel.
        creator: SerializedIdentity of the node that signed.
        valid_until: the highest number of a block that may hold it.
        nonce: 16 bytes.
        kind: what is in it.
        count: how many envelopes it says it holds.
        expanded_bytes: what its payload says it expands to.
        payload: place of the payload in `raw`.
        signed_bytes: how many bytes of `raw` the signature covers.
        signature: of the creator.
    """

    raw: bytes
    bundle_id: bytes
    channel_id: str
    creator: bytes
    valid_until: int
    nonce: bytes
    kind: BundleKind
    count: int
    expanded_bytes: int
    payload: slice
    signed_bytes: int
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What the signature covers."""
        return self.raw[: self.signed_bytes]

    @property
    def envelope_bytes(self) -> int:
        """Length of all envelopes together, as it says."""
        return self.expanded_bytes - _U32.size * self.count

    def verify_size(self, limits: BundleLimits) -> None:
        """Check what the head says against the limits.

        Raises:
            BundleError: too many envelopes, or too many bytes.
        """
        _verify_sizes(len(self.raw), self.count, self.expanded_bytes, limits)

    def expand(self, limits: BundleLimits) -> Bundle:
        """Return the bundle with its envelopes.

        Raises:
            BundleError: beyond the limits, or the payload is not what the head says.
        """
        self.verify_size(limits)
        content = _expand(self.raw[self.payload], self.expanded_bytes)
        return Bundle(self, _split_envelopes(content, self.count))


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle with its envelopes.

    Attributes:
        head: all the rest of it.
        envelopes: marshalled, in their order, as their clients sent them.
    """

    head: BundleHead
    envelopes: tuple[bytes, ...]

    @property
    def bundle_id(self) -> bytes:
        """SHA-256 of the bundle's bytes."""
        return self.head.bundle_id

    @property
    def raw(self) -> bytes:
        """The bundle's bytes."""
        return self.head.raw

    @property
    def kind(self) -> BundleKind:
        """What is in it."""
        return self.head.kind

    @property
    def envelope_bytes(self) -> int:
        """Length of all envelopes together."""
        return self.head.envelope_bytes

    @property
    def memory_bytes(self) -> int:
        """What it takes to keep it."""
        return len(self.head.raw) + self.head.expanded_bytes


def make_bundle(
    signer: SigningIdentity,
    channel_id: str,
    valid_until: int,
    envelopes: Sequence[bytes],
    *,
    kind: BundleKind = BundleKind.ENVELOPES,
    nonce: bytes | None = None,
) -> bytes:
    """Return a signed bundle.

    Args:
        signer: the node.
        channel_id: the channel.
        valid_until: the highest number of a block that may hold it.
        envelopes: marshalled; at least one, and none empty.
        kind: what they are.
        nonce: 16 bytes; left out, they are random.
    Raises:
        ValueError: no envelopes, or an empty one, or a nonce of another length.
    """
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    signed = encode_signed(signer.serialized, channel_id, valid_until, envelopes, kind, nonce)
    return signed + _name(signer.sign(signed))


def encode_signed(
    creator: bytes,
    channel_id: str,
    valid_until: int,
    envelopes: Sequence[bytes],
    kind: BundleKind,
    nonce: bytes,
) -> bytes:
    """Return what stands in a bundle before its signature, and is signed; see `make_bundle`."""
    if not envelopes or not all(envelopes) or len(nonce) != NONCE_BYTES:
        raise ValueError(
            f"a bundle has at least one envelope, none empty, and a nonce of {NONCE_BYTES} bytes"
        )
    content = b"".join(part for each in envelopes for part in (_U32.pack(len(each)), each))
    return b"".join(
        (
            TAG,
            _name(channel_id.encode()),
            _name(creator),
            _FIXED.pack(valid_until, nonce, kind, len(envelopes), len(content)),
            _name(zstandard.ZstdCompressor(level=_LEVEL).compress(content)),
        )
    )


def open_bundle(raw: bytes, limits: BundleLimits) -> Bundle:
    """Read a bundle wholly; its signature is not verified.

    Args:
        raw: the bytes as received.
        limits: what it may hold.
    Raises:
        BundleError: not of this form, or beyond the limits.
    """
    return read_head(raw, limits).expand(limits)


def read_head(raw: bytes, limits: BundleLimits) -> BundleHead:
    """Read a bundle without expanding it; see `open_bundle`."""
    if len(raw) > limits.bundle_bytes:
        raise BundleError(
            BundleCode.TOO_LARGE,
            f"a bundle of {len(raw)} bytes is longer than the {limits.bundle_bytes} that this "
            "channel's AbsoluteMaxBytes allows: send fewer envelopes in one",
        )
    if not raw.startswith(TAG):
        raise _malformed("it does not begin with the tag of bundles")
    channel_id, at = _read_name(raw, len(TAG), "the channel id")
    creator, at = _read_name(raw, at, "the creator")
    if at + _FIXED.size > len(raw):
        raise _malformed("it ends before its payload")
    valid_until, nonce, kind, count, expanded = _FIXED.unpack_from(raw, at)
    payload_at = at + _FIXED.size + _U32.size
    _, signed_bytes = _read_name(raw, at + _FIXED.size, "the payload")
    signature, end = _read_name(raw, signed_bytes, "the signature")
    if end != len(raw):
        raise _malformed(f"{len(raw) - end} bytes follow its signature")
    if kind not in tuple(BundleKind):
        raise _malformed(f"its kind is {kind}, and only 0 and 1 are known: upgrade this program")
    if not count or expanded <= _U32.size * count:
        raise _malformed(f"it says that it holds {count} envelopes in {expanded} bytes")
    if kind == BundleKind.CONFIGURATION and count != 1:
        raise _malformed(f"it holds {count} configurations, and a configuration stands alone")
    try:
        channel = channel_id.decode()
    except UnicodeDecodeError:
        raise _malformed("its channel id is not text") from None
    return BundleHead(
        raw=raw,
        bundle_id=hashlib.sha256(raw).digest(),
        channel_id=channel,
        creator=creator,
        valid_until=valid_until,
        nonce=nonce,
        kind=BundleKind(kind),
        count=count,
        expanded_bytes=expanded,
        payload=slice(payload_at, signed_bytes),
        signed_bytes=signed_bytes,
        signature=signature,
    )


def _verify_sizes(size: int, count: int, expanded: int, limits: BundleLimits) -> None:
    inside = expanded - _U32.size * count
    if count > limits.envelopes or inside > limits.envelope_bytes or size > limits.bundle_bytes:
        raise BundleError(
            BundleCode.TOO_LARGE,
            f"a bundle of {size} bytes with {count} envelopes of {inside} bytes is more than this "
            f"channel allows, {limits.bundle_bytes} bytes with {limits.envelopes} envelopes of "
            f"{limits.envelope_bytes} bytes: send fewer envelopes in one",
        )


def _expand(payload: bytes, expanded: int) -> bytes:
    """Expand one frame that says of itself that it gives *expanded* bytes."""
    # Other frames, which carry no content or are of older forms, have another magic number.
    if not payload.startswith(_FRAME_MAGIC):
        raise _malformed("its payload is no zstd frame")
    try:
        frame = zstandard.get_frame_parameters(payload)
        if frame.content_size != expanded:
            raise _malformed("its payload does not say the size that the bundle says")
        if frame.window_size > max(expanded, _SMALLEST_WINDOW):
            raise _malformed("its payload asks for a window beyond its content")
        if frame.dict_id:
            raise _malformed("its payload needs a dictionary")
        content = zstandard.ZstdDecompressor().decompress(
            payload, max_output_size=expanded, read_across_frames=False, allow_extra_data=False
        )
    except zstandard.ZstdError as reason:
        raise _malformed(f"its payload is not one whole zstd frame ({reason})") from None
    if len(content) != expanded:
        raise _malformed(f"its payload expands to {len(content)} bytes, not {expanded}")
    return content


def _split_envelopes(content: bytes, count: int) -> tuple[bytes, ...]:
    found, at = [], 0
    for place in range(count):
        envelope, at = _read_name(content, at, f"envelope {place}")
        if not envelope:
            raise _malformed(f"envelope {place} is empty")
        found.append(envelope)
    if at != len(content):
        raise _malformed(f"{len(content) - at} bytes follow its last envelope")
    return tuple(found)


def _name(part: bytes) -> bytes:
    return _U32.pack(len(part)) + part


def _read_name(raw: bytes, at: int, what: str) -> tuple[bytes, int]:
    """Return a part that stands behind its length, and where it ends."""
    start = at + _U32.size
    if start > len(raw):
        raise _malformed(f"it ends before {what}")
    end = start + _U32.unpack_from(raw, at)[0]
    if end > len(raw):
        raise _malformed(f"{what} would reach beyond its end")
    return raw[start:end], end


def _malformed(reason: str) -> BundleError:
    return BundleError(
        BundleCode.MALFORMED,
        f"these bytes are no bundle of this program: {reason}; send what `make_bundle` makes",
    )
