"""The file of a proof: a block, and all that leads to it from the channel's genesis block.

`name(x)` is the length of x as u32 and x; numbers are big-endian; `header` is number u64 ‖
name(previous hash) ‖ name(data hash)::

    name("qist/proof/1")
    header hash of the genesis block     32 bytes
    configurations u32                   after the genesis block, up to the one in force before
    for each: part
    part                                 the block that is proved

    part = basis u8 ‖ header ‖ envelopes u32 ‖ for each: name(envelope) ‖ what it rests on

    1 orderers' signatures     name(SIGNATURES entry of the metadata)
    2 a finality record        entries u32 ‖ for each: name(entry of the metadata) ‖ name(record)
    3 a later block's record   headers u32 ‖ for each: header ‖ name(input of the app hash)
                               ‖ name(record)

Under 3 the headers follow one another from the block behind the proved one on; the last of them is
of the block that has the record, and what its app hash was made of stands in the place of the rest
of it. Metadata that nothing vouches for are left out, as is all that could be changed unseen.

Invariant: one proof has one form, and a file that reads is written again as the same bytes.

Absent: whether what is in it holds (`proofs.py`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from ledger.blocks.block import BlockHeader
from network.errors import FinalityError

__all__ = [
    "Basis",
    "Covered",
    "Proof",
    "ProofPart",
    "Recorded",
    "Signed",
    "decode_proof",
    "encode_part",
    "encode_proof",
]

TAG: Final = b"qist/proof/1"
GENESIS_HASH_BYTES: Final = 32

_U8 = struct.Struct(">B")
_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")


class Basis(IntEnum):
    """What a block in a proof rests on."""

    SIGNATURES = 1
    RECORD = 2
    LATER_RECORD = 3


@dataclass(frozen=True, slots=True)
class Signed:
    """Orderers signed the block.

    Attributes:
        signatures: the SIGNATURES entry of its metadata.
    """

    signatures: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """Validators decided on the block's app hash.

    Attributes:
        metadata: all entries.
        record: the block's finality record.
    """

    metadata: tuple[bytes, ...]
    record: bytes


@dataclass(frozen=True, slots=True)
class Covered:
    """Validators decided on the app hash of a later block.

    Attributes:
        headers: from the block behind this one up to the later one.
        app_hash_input: the bytes whose SHA-256 is the later one's app hash.
        record: the later one's finality record.
    """

    headers: tuple[BlockHeader, ...]
    app_hash_input: bytes
    record: bytes


@dataclass(frozen=True, slots=True)
class ProofPart:
    """A block in a proof.

    Attributes:
        header: the block's.
        data: its envelopes.
        rests_on: what vouches for it.
    """

    header: BlockHeader
    data: tuple[bytes, ...]
    rests_on: Signed | Recorded | Covered

    @property
    def basis(self) -> Basis:
        """What kind of thing it rests on."""
        if isinstance(self.rests_on, Signed):
            return Basis.SIGNATURES
        return Basis.RECORD if isinstance(self.rests_on, Recorded) else Basis.LATER_RECORD


@dataclass(frozen=True, slots=True)
class Proof:
    """What a proof file holds.

    Attributes:
        genesis_hash: header hash of the genesis block that it begins with.
        configurations: the blocks of the configurations that followed, oldest first.
        target: the block that is proved.
    """

    genesis_hash: bytes
    configurations: tuple[ProofPart, ...]
    target: ProofPart


def encode_proof(proof: Proof) -> bytes:
    """Return the bytes of the file."""
    return b"".join(
        (
            _name(TAG),
            proof.genesis_hash,
            _U32.pack(len(proof.configurations)),
            *(encode_part(each) for each in proof.configurations),
            encode_part(proof.target),
        )
    )


def decode_proof(raw: bytes) -> Proof:
    """Read a file.

    Raises:
        FinalityError: not of this form.
    """
    reader = _Reader(raw)
    if not raw.startswith(_name(TAG)):
        raise _malformed("it does not begin with the tag of proofs")
    reader.take(len(_name(TAG)))
    genesis_hash = reader.take(GENESIS_HASH_BYTES)
    configurations = tuple(reader.part() for _ in range(reader.u32()))
    target = reader.part()
    if reader.rest:
        raise _malformed(f"{reader.rest} bytes follow its end")
    return Proof(genesis_hash, configurations, target)


def _name(part: bytes) -> bytes:
    return _U32.pack(len(part)) + part


def _names(parts: tuple[bytes, ...]) -> bytes:
    return b"".join((_U32.pack(len(parts)), *map(_name, parts)))


def _header(header: BlockHeader) -> bytes:
    return _U64.pack(header.number) + _name(header.previous_hash) + _name(header.data_hash)


def encode_part(part: ProofPart) -> bytes:
    """Return the bytes of one block in the file."""
    rests_on = part.rests_on
    if isinstance(rests_on, Signed):
        rest = _name(rests_on.signatures)
    elif isinstance(rests_on, Recorded):
        rest = _names(rests_on.metadata) + _name(rests_on.record)
    else:
        headers = b"".join(map(_header, rests_on.headers))
        rest = b"".join(
            (
                _U32.pack(len(rests_on.headers)),
                headers,
                _name(rests_on.app_hash_input),
                _name(rests_on.record),
            )
        )
    return _U8.pack(part.basis) + _header(part.header) + _names(part.data) + rest


class _Reader:
    """Reads from the front; every length is compared with what is there before it is believed."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    @property
    def rest(self) -> int:
        """Bytes that were not read yet."""
        return len(self._raw) - self._at

    def take(self, size: int) -> bytes:
        if size > self.rest:
            raise _malformed(f"it ends {size - self.rest} bytes before it should")
        self._at += size
        return self._raw[self._at - size : self._at]

    def u32(self) -> int:
        return int.from_bytes(self.take(_U32.size), "big")

    def name(self) -> bytes:
        return self.take(self.u32())

    def names(self) -> tuple[bytes, ...]:
        return tuple(self.name() for _ in range(self.u32()))

    def header(self) -> BlockHeader:
        number = int.from_bytes(self.take(_U64.size), "big")
        return BlockHeader(number, self.name(), self.name())

    def part(self) -> ProofPart:
        basis = self.take(1)[0]
        header, data = self.header(), self.names()
        rests_on: Signed | Recorded | Covered
        if basis == Basis.SIGNATURES:
            rests_on = Signed(self.name())
        elif basis == Basis.RECORD:
            rests_on = Recorded(self.names(), self.name())
        elif basis == Basis.LATER_RECORD:
            headers = tuple(self.header() for _ in range(self.u32()))
            rests_on = Covered(headers, self.name(), self.name())
        else:
            raise _malformed(f"a block in it rests on something of the unknown kind {basis}")
        return ProofPart(header, data, rests_on)


def _malformed(reason: str) -> FinalityError:
    return FinalityError(
        f"this is no proof that `qist blocks prove` or `qist node prove` has made: {reason}; have "
        "it made again"
    )
