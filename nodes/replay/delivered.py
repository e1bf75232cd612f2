"""What stands around the transactions of a delivered block: encoding and metadata.

A peer verifies the header, the data hash and the orderers' signatures. It does not look at what it
cannot be deceived by: the LAST_CONFIG and ORDERER entries, which repeat what is signed elsewhere,
the metadata of the genesis block, which nobody signs, or how the block was encoded. A copy may be
damaged there as anywhere, so an audit compares these too with what they must say:

    the file           the one encoding of its block, nothing besides
    SIGNATURES         a `common.Metadata` without unknown fields; that of the genesis block is
                       empty or names block 0 as the last configuration
    LAST_CONFIG        empty, or the number that SIGNATURES carries; where SIGNATURES carries none,
                       the number of the last configuration block
    ORDERER            empty, or the consenter metadata that SIGNATURES carries
    TRANSACTIONS_FILTER   empty, or one known code per transaction
    COMMIT_HASH        empty, or a `common.Metadata` with 32 bytes

Source: Fabric, orderer/common/multichannel/blockwriter.go, common/genesis/genesis.go.
"""

from __future__ import annotations

from typing import Any

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from ledger.blocks import metadata as index
from ledger.blocks.block import METADATA_ENTRIES, Block
from ledger.transactions.codes import TxValidationCode
from nodes.replay.difference import Difference, Disagreement
from nodes.replay.recording import DeliveredBlock

__all__ = ["Outcome", "read_block", "read_outcome", "verify_metadata"]

NOT_VALIDATED = int(TxValidationCode.NOT_VALIDATED)
_HASH_BYTES = 32
_GENESIS_VALUES = (b"", b"\x0a\x00")  # nothing, or the last configuration is block 0
_KNOWN_CODES = frozenset(int(code) for code in TxValidationCode)


class Outcome:
    """What the peer recorded about a block.

    Attributes:
        codes: a byte for each transaction; None if the block carries none.
        commit_hash: 32 bytes; empty if the block carries none.
    """

    __slots__ = ("codes", "commit_hash")

    def __init__(self, codes: bytes | None, commit_hash: bytes) -> None:
        self.codes = codes
        self.commit_hash = commit_hash


def read_block(delivered: DeliveredBlock, expected_number: int) -> Block:
    """Decode a block whose bytes are its only encoding.

    Raises:
        Disagreement: they are not.
    """
    try:
        message = common_pb2.Block.FromString(delivered.raw)
    except DecodeError as error:
        raise _damage(
            expected_number, "decoding of the block", delivered.place, f"no common.Block: {error}"
        ) from error
    parts = (message, message.header, message.data, message.metadata)
    if any(map(_has_unknown, parts)) or message.SerializeToString() != delivered.raw:
        raise _damage(
            expected_number,
            "encoding of the block",
            delivered.place,
            "the bytes are not the one encoding of the block that they hold",
        )
    return Block.from_message(message)


def read_outcome(block: Block) -> Outcome:
    """Return what the peer recorded about *block*; a block from an orderer carries nothing.

    Raises:
        Disagreement: what stands there is nothing that a peer writes.
    """
    flags = block.metadata[index.TRANSACTIONS_FILTER]
    where = "metadata entry 2, TRANSACTIONS_FILTER"
    codes: bytes | None = flags
    if not flags or set(flags) == {NOT_VALIDATED}:
        codes = None
    elif len(flags) != len(block.data):
        raise _damage(
            block.number,
            "validation codes of the peer",
            where,
            f"{len(flags)} codes for {len(block.data)} transactions",
        )
    elif unknown := [place for place, code in enumerate(flags) if code not in _KNOWN_CODES]:
        raise _damage(
            block.number,
            "validation codes of the peer",
            where,
            f"transaction {unknown[0]} has the unknown code {flags[unknown[0]]}",
        )
    raw = block.metadata[index.COMMIT_HASH]
    if not raw:
        return Outcome(codes, b"")
    entry = _read(common_pb2.Metadata, raw)
    if entry is None or len(entry.value) != _HASH_BYTES or entry.signatures:
        raise _damage(
            block.number,
            "commit hash of the peer",
            "metadata entry 4, COMMIT_HASH",
            "it is no common.Metadata with a hash of 32 bytes and nothing else",
        )
    return Outcome(codes, bytes(entry.value))


def verify_metadata(block: Block, last_config_block: int) -> list[str]:
    """Check the entries that the orderers filled, the signatures themselves apart.

    Args:
        block: with five metadata entries.
        last_config_block: number of the newest configuration block up to this one.
    Returns:
        what no peer checks, and is odd all the same.
    Raises:
        Disagreement: an entry says something else than what it repeats.
    """
    number = block.number
    if len(block.metadata) > METADATA_ENTRIES:
        raise _damage(
            number, "metadata", f"entry {METADATA_ENTRIES}", "no entry is known behind the five"
        )
    raw = block.metadata[index.SIGNATURES]
    signatures = _read(common_pb2.Metadata, raw)
    signed = None if signatures is None else _read_signed(signatures.value)
    where = "metadata entry 0, SIGNATURES"
    if signatures is None or any(map(_has_unknown, signatures.signatures)) or signed is None:
        raise _damage(
            number,
            "form of the signature metadata",
            where,
            "it is no common.Metadata over an OrdererBlockMetadata, or has unknown fields",
        )
    if number == 0 and signatures.value not in _GENESIS_VALUES:
        raise _damage(
            number,
            "metadata of the genesis block",
            where,
            "it says more than that block 0 is the last configuration",
        )
    remarks = []
    index_signed = last_config_block
    if signed.HasField("last_config"):
        index_signed = signed.last_config.index
    if index_signed != last_config_block:
        remarks.append(
            f"the orderers sign that block {index_signed} is the last configuration; "
            f"it is block {last_config_block}"
        )
    _verify_last_config(block, index_signed)
    _verify_orderer(block, signed if signatures.value else None)
    return remarks


def _verify_last_config(block: Block, expected: int) -> None:
    raw = block.metadata[index.LAST_CONFIG]
    if not raw:
        return
    where = "metadata entry 1, LAST_CONFIG"
    entry = _read(common_pb2.Metadata, raw)
    found = None if entry is None else _read(common_pb2.LastConfig, entry.value)
    if entry is None or found is None:
        raise _damage(block.number, "form of the metadata", where, "it is no LastConfig")
    if found.index != expected:
        raise Disagreement(
            Difference(
                block.number,
                "number of the last configuration block",
                str(expected),
                str(found.index),
                where,
            )
        )


def _verify_orderer(block: Block, signed: Any) -> None:
    raw = block.metadata[index.ORDERER]
    if not raw:
        return
    where = "metadata entry 3, ORDERER"
    entry = _read(common_pb2.Metadata, raw)
    if entry is None:
        raise _damage(block.number, "form of the metadata", where, "it is no common.Metadata")
    if signed is None:
        return
    inner = _read(common_pb2.Metadata, signed.consenter_metadata)
    said = {bytes(signed.consenter_metadata), b"" if inner is None else bytes(inner.value)}
    if bytes(entry.value) not in said:
        raise _damage(
            block.number,
            "consenter metadata",
            where,
            "it is not the consenter metadata that the orderers signed in entry 0",
        )


def _read_signed(value: bytes) -> Any:
    """Return the OrdererBlockMetadata, None if it is none."""
    try:
        return common_pb2.OrdererBlockMetadata.FromString(value)
    except DecodeError:
        return None


def _read(message_type: Any, raw: bytes) -> Any:
    """Decode *raw* if it is the one encoding of a message without unknown fields."""
    try:
        message = message_type.FromString(raw)
    except DecodeError:
        return None
    if _has_unknown(message) or message.SerializeToString() != raw:
        return None
    return message


def _has_unknown(message: Any) -> bool:
    return len(UnknownFieldSet(message)) > 0


def _damage(number: int, check: str, key: str, found: str) -> Disagreement:
    return Disagreement(Difference(number, check, "what Fabric writes there", found, key))
