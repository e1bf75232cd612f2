"""What a snapshot says of itself, and how its parts are written.

A snapshot is no copy: it is the chain as it is stored, from a first block to a last one, cut into
chunks. Numbers are big-endian. What it says of itself (CometBFT's `metadata`, whose SHA-256 is the
snapshot's hash)::

    "qist/snapshot/1" 00 ‖ header hash of the genesis block (32 bytes)
    ‖ first block u64 ‖ last block u64 ‖ target u32

A chunk is a zstd frame that declares its size, over::

    "qist/snapshot-chunk/1" 00 ‖ number of blocks u32
    ‖ for each block: length u32 ‖ marshalled common.Block ‖ length u32 ‖ finality record

Chunks begin where the sizes of the blocks say (`snapshot_plan.py`), so every node has the same; the
bytes of a chunk may differ, since finality records may hold other votes, and nothing rests on them
being alike.

`format` counts two things: the layout in its upper 16 bits, in the lower ones which tail of the
chain it is. Tail 0 is all that CometBFT ordered; a tail with a higher number is shorter, and of use
to a node that has the blocks before it.

Invariants: reading is bounded before anything is expanded; what is not exactly of this form is
refused.

Absent: whether blocks and records are true (`snapshots.py`).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import zstandard

from ledger.errors import DecodeError

__all__ = [
    "LAYOUT",
    "MAX_CHUNK_BYTES",
    "MAX_EXPANDED_BYTES",
    "SnapshotDescription",
    "SnapshotError",
    "StoredBlock",
    "decode_chunk",
    "encode_chunk",
    "encode_content",
    "format_of",
    "tail_of",
]

LAYOUT: Final = 1
MAX_CHUNK_BYTES: Final = 15 * 1024 * 1024
"""CometBFT carries messages of 16,000,000 bytes with a chunk in each."""
MAX_EXPANDED_BYTES: Final = 128 * 1024 * 1024
"""The largest block (100 MiB) and room: no chunk is expanded beyond it."""

_TAG: Final = b"qist/snapshot/1\x00"
_CHUNK_TAG: Final = b"qist/snapshot-chunk/1\x00"
_DESCRIPTION = struct.Struct(">32sQQI")
_U32 = struct.Struct(">I")
_LEAST_BLOCK_BYTES: Final = 64
"""A block has two hashes at least, so what is read takes little more memory than its bytes."""
_TAIL_BITS: Final = 16
_LEVEL: Final = 3
"""Of zstd: blocks repeat their members' certificates, so more work finds little more."""


class SnapshotError(DecodeError):
    """Bytes that another node sent are no snapshot, or no chunk of one."""


@dataclass(frozen=True, slots=True)
class SnapshotDescription:
    """What a snapshot says of itself.

    Attributes:
        genesis_hash: header hash of the channel's genesis block.
        first: number of its first block, 1 or more.
        last: number of its last block.
        target_bytes: at which size a chunk ends.
    """

    genesis_hash: bytes
    first: int
    last: int
    target_bytes: int

    def encode(self) -> bytes:
        """Return the metadata of the snapshot."""
        return _TAG + _DESCRIPTION.pack(self.genesis_hash, self.first, self.last, self.target_bytes)

    @property
    def hash(self) -> bytes:
        """Return the SHA-256 of the metadata."""
        return hashlib.sha256(self.encode()).digest()

    @classmethod
    def decode(cls, raw: bytes) -> SnapshotDescription:
        """Read the metadata of a snapshot.

        Raises:
            SnapshotError: not of this form.
        """
        if not raw.startswith(_TAG) or len(raw) != len(_TAG) + _DESCRIPTION.size:
            raise SnapshotError(f"{len(raw)} bytes do not describe a snapshot of layout {LAYOUT}")
        found = cls(*_DESCRIPTION.unpack_from(raw, len(_TAG)))
        if not 0 < found.first <= found.last or not found.target_bytes:
            raise SnapshotError(
                f"a snapshot of blocks {found.first} to {found.last} in chunks of "
                f"{found.target_bytes} bytes is none"
            )
        return found


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A block in a chunk.

    Attributes:
        raw: the marshalled block, with its verdicts and commit hash.
        record: its finality record.
    """

    raw: bytes
    record: bytes


def format_of(tail: int) -> int:
    """Return the format of a snapshot that is tail number *tail*."""
    return LAYOUT << _TAIL_BITS | tail


def tail_of(number: int) -> int | None:
    """Return which tail a format means; None if its layout is another one."""
    return number & ((1 << _TAIL_BITS) - 1) if number >> _TAIL_BITS == LAYOUT else None


def encode_chunk(blocks: Iterable[StoredBlock]) -> bytes:
    """Return the bytes of a chunk; they may be more than CometBFT can carry."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)
    return compressor.compress(encode_content(blocks))


def encode_content(blocks: Iterable[StoredBlock]) -> bytes:
    """Return what a chunk expands to."""
    parts: list[bytes] = []
    count = 0
    for each in blocks:
        parts += (_U32.pack(len(each.raw)), each.raw, _U32.pack(len(each.record)), each.record)
        count += 1
    return _CHUNK_TAG + _U32.pack(count) + b"".join(parts)


def decode_chunk(raw: bytes) -> Sequence[StoredBlock]:
    """Read a chunk.

    Raises:
        SnapshotError: not of this form, or larger than a chunk may be.
    """
    content = _expand(raw)
    if not content.startswith(_CHUNK_TAG):
        raise SnapshotError("the bytes of a chunk do not begin as a chunk does")
    at = len(_CHUNK_TAG)
    count, at = _number(content, at)
    blocks: list[StoredBlock] = []
    for _ in range(count):
        block, at = _part(content, at)
        record, at = _part(content, at)
        if len(block) < _LEAST_BLOCK_BYTES:
            raise SnapshotError(f"a block in a chunk has {len(block)} bytes: too short for one")
        blocks.append(StoredBlock(block, record))
    if at != len(content):
        raise SnapshotError(f"{len(content) - at} bytes follow the last block of a chunk")
    return blocks


def _expand(raw: bytes) -> bytes:
    try:
        size = zstandard.get_frame_parameters(raw).content_size
        if size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            raise SnapshotError("a chunk does not declare its size")
        if size > MAX_EXPANDED_BYTES:
            raise SnapshotError(
                f"a chunk declares {size} bytes, and at most {MAX_EXPANDED_BYTES} are expanded"
            )
        content = zstandard.ZstdDecompressor().decompress(raw, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise SnapshotError(f"a chunk is no sound zstd frame: {error}") from error
    return content


def _number(content: bytes, at: int) -> tuple[int, int]:
    if at + _U32.size > len(content):
        raise SnapshotError("a chunk ends in the middle of a number")
    return _U32.unpack_from(content, at)[0], at + _U32.size


def _part(content: bytes, at: int) -> tuple[bytes, int]:
    length, at = _number(content, at)
    if at + length > len(content):
        raise SnapshotError(f"a chunk ends {at + length - len(content)} bytes too early")
    return content[at : at + length], at + length
