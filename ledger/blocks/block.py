"""Blocks as Fabric forms them, and their two hashes.

Invariants: ``Block.decode(raw).encode() == raw`` for every block that Fabric wrote; the entries of
``data`` are the bytes that were received, never re-serialised; a ``Block`` never changes.

Absent on purpose: whether a block may follow another (``structure.py``), signatures (``network``),
what is in a transaction (``ledger.transactions``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.errors import BlockError
from ledger.varints import encode_varint

METADATA_ENTRIES = 5
"""Entries of a block's metadata in Fabric 2 and later: SIGNATURES … COMMIT_HASH."""


def _der(tag: int, content: bytes) -> bytes:
    """Wrap *content* in a DER element with the shortest form of its length."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What the blocks of a channel are chained by.

    Attributes:
        number: 0 for the genesis block; below 2**64.
        previous_hash: ``hash()`` of the header before; empty in the genesis block.
        data_hash: SHA-256 over the data entries, see ``compute_data_hash``.
    """

    number: int
    previous_hash: bytes
    data_hash: bytes

    def encode_asn1(self) -> bytes:
        """Return the bytes that are hashed, and that orderers sign after their metadata.

        Source: Fabric, protoutil/blockutils.go, ``BlockHeaderBytes``.
        """
        number = self.number.to_bytes(self.number.bit_length() // 8 + 1, "big")
        return _der(
            0x30,
            _der(0x02, number) + _der(0x04, self.previous_hash) + _der(0x04, self.data_hash),
        )

    def hash(self) -> bytes:
        """Return the SHA-256 (32 bytes) of the DER form: the hash that names this block."""
        return hashlib.sha256(self.encode_asn1()).digest()


def compute_data_hash(data: Iterable[bytes]) -> bytes:
    """Return the SHA-256 (32 bytes) of the concatenated data entries.

    Source: Fabric, protoutil/blockutils.go, ``ComputeBlockDataHash``.
    """
    digest = hashlib.sha256()
    for entry in data:
        digest.update(entry)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        data: the envelopes, as received.
        metadata: the entries SIGNATURES, LAST_CONFIG, TRANSACTIONS_FILTER, ORDERER, COMMIT_HASH;
            what came with fewer is refused by ``verify_block_structure``.
    """

    header: BlockHeader
    data: tuple[bytes, ...]
    metadata: tuple[bytes, ...]

    @property
    def number(self) -> int:
        """The header's number."""
        return self.header.number

    @classmethod
    def decode(cls, raw: bytes) -> Block:
        """Read a marshalled ``common.Block``.

        Raises:
            BlockError: *raw* is no protobuf of that kind.
        """
        try:
            message = common_pb2.Block.FromString(raw)
        except ProtobufDecodeError as error:
            raise BlockError(
                f"{len(raw)} bytes do not parse as common.Block ({error}); "
                "ask the sender for the block again"
            ) from error
        return cls.from_message(message)

    @classmethod
    def from_message(cls, message: common_pb2.Block) -> Block:
        """Take over a ``common.Block`` that is already parsed."""
        header = message.header
        return cls(
            BlockHeader(header.number, header.previous_hash, header.data_hash),
            tuple(message.data.data),
            tuple(message.metadata.metadata),
        )

    def to_message(self) -> common_pb2.Block:
        """Return the ``common.Block`` message."""
        header = self.header
        return common_pb2.Block(
            header=common_pb2.BlockHeader(
                number=header.number,
                previous_hash=header.previous_hash,
                data_hash=header.data_hash,
            ),
            data=common_pb2.BlockData(data=self.data),
            metadata=common_pb2.BlockMetadata(metadata=self.metadata),
        )

    def encode(self) -> bytes:
        """Return the marshalled ``common.Block``; what it holds is copied once."""
        header: bytes = common_pb2.BlockHeader(
            number=self.header.number,
            previous_hash=self.header.previous_hash,
            data_hash=self.header.data_hash,
        ).SerializeToString()
        parts = [b"\x0a", encode_varint(len(header)), header]
        # BlockData and BlockMetadata are lists of bytes, both in their field 1.
        for tag, entries in ((b"\x12", self.data), (b"\x1a", self.metadata)):
            fields = [
                part for each in entries for part in (b"\x0a", encode_varint(len(each)), each)
            ]
            parts += (tag, encode_varint(sum(map(len, fields))), *fields)
        return b"".join(parts)
