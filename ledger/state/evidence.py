"""Evidence about blocks: what proves a block final and arrives after it.

A record of its own in segment files beside the blocks, filed under block number and kind, since a
block's own bytes never change. Record data: length of the kind u16 ‖ kind (UTF-8) ‖ evidence; the
record's number is the block's.

Invariant: evidence once filed stays as it is.
"""

from __future__ import annotations

import struct

from ledger.blocks.segments import Position, Record, SegmentLog
from ledger.errors import CorruptionError, Refusal
from ledger.state.database import ChannelDatabase
from ledger.state.keys import (
    EVIDENCE_END,
    decode_location,
    encode_location,
    encode_position,
    evidence_key,
)

_KIND_LENGTH = struct.Struct(">H")
_MAX_KIND_BYTES = 255


class EvidenceError(Refusal):
    """Evidence that cannot be filed."""


def encode_evidence(kind: str, data: bytes) -> bytes:
    """Return the data of a record.

    Raises:
        EvidenceError: the kind is empty or too long.
    """
    name = kind.encode()
    if not 0 < len(name) <= _MAX_KIND_BYTES:
        raise EvidenceError(
            f"a kind of evidence has 1 to {_MAX_KIND_BYTES} bytes, not {len(name)}; name it shorter"
        )
    return _KIND_LENGTH.pack(len(name)) + name + data


def decode_evidence(raw: bytes) -> tuple[str, bytes]:
    """Return kind and evidence of a record's data.

    Raises:
        ValueError: *raw* is no such record.
    """
    if len(raw) < _KIND_LENGTH.size:
        raise ValueError(f"{len(raw)} bytes are too few")
    end = _KIND_LENGTH.size + _KIND_LENGTH.unpack_from(raw)[0]
    if end > len(raw):
        raise ValueError(f"the kind needs {end} bytes, there are {len(raw)}")
    return raw[_KIND_LENGTH.size : end].decode(), raw[end:]


class EvidenceStore:
    """The evidence of one channel. One writer; readers on any thread."""

    def __init__(self, log: SegmentLog, database: ChannelDatabase) -> None:
        self.log = log
        self._database = database

    def get(self, number: int, kind: str) -> bytes | None:
        """Return the evidence of one kind about a block, None if there is none.

        Raises:
            CorruptionError: it is damaged, naming file and offset.
        """
        with self._database.reading():
            raw = self._database.get(evidence_key(number, kind))
            if raw is None:
                return None
            return decode_evidence(self.log.read(decode_location(raw), number))[1]

    def has(self, number: int, kind: str) -> bool:
        """Tell whether there is evidence of one kind about a block."""
        return self._database.get(evidence_key(number, kind)) is not None

    def add(self, number: int, kind: str, data: bytes, height: int) -> None:
        """File evidence about block *number*, durably.

        Args:
            number: of the block.
            kind: what it is.
            data: the evidence.
            height: of the ledger.

        Raises:
            EvidenceError: there is no such block, or other evidence of this kind about it.
            StorageError: the disk refused.
        """
        record = encode_evidence(kind, data)
        if not 0 <= number < height:
            raise EvidenceError(
                f"there is no block {number} to file evidence about: the height is {height}; "
                "commit the block first"
            )
        known = self.get(number, kind)
        if known == data:
            return
        if known is not None:
            raise EvidenceError(
                f"block {number} has other evidence of kind {kind!r} already; it stays as it is"
            )
        location = self.log.append(number, record)
        self.index(Record(number, record, location), height)

    def index(self, record: Record, height: int) -> None:
        """Put a stored record into the index.

        Raises:
            CorruptionError: it is no evidence about a block of this ledger.
        """
        location = record.location
        try:
            kind, _ = decode_evidence(record.data)
        except ValueError as error:
            raise CorruptionError(
                f"the record at offset {location.offset} of {self.log.file(location.segment)} is "
                f"no evidence: {error}; restore the file from a backup"
            ) from error
        if record.number >= height:
            raise CorruptionError(
                f"the record at offset {location.offset} of {self.log.file(location.segment)} is "
                f"about block {record.number}, but the height is {height}: blocks are missing; "
                "restore the ledger from a backup, or fetch the channel anew from another member"
            )
        end: Position = location.end
        self._database.write(
            [
                (evidence_key(record.number, kind), encode_location(location)),
                (EVIDENCE_END, encode_position(end)),
            ]
        )

    def close(self) -> None:
        """Close the files."""
        self.log.close()
