"""The metadata of a block: what the header does not cover.

The orderer fills SIGNATURES, LAST_CONFIG and ORDERER; the committing node fills TRANSACTIONS_FILTER
with one code per transaction and COMMIT_HASH with a marshalled ``common.Metadata`` that holds the
hash as its value. Numbers: fabric-protos, common/common.proto, ``BlockMetadataIndex``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.blocks.block import METADATA_ENTRIES, Block
from ledger.errors import BlockError
from ledger.transactions.codes import TxValidationCode

SIGNATURES = 0
LAST_CONFIG = 1
TRANSACTIONS_FILTER = 2
ORDERER = 3
COMMIT_HASH = 4

_CODES: list[TxValidationCode | None] = [None] * 256
for _code in TxValidationCode:
    _CODES[_code] = _code


def codes_of(block: Block) -> tuple[TxValidationCode, ...]:
    """Return the recorded verdict of every transaction, in order.

    Raises:
        BlockError: the filter does not hold one known code per transaction: this block was never
            validated, or it is damaged.
    """
    flags = b"".join(block.metadata[TRANSACTIONS_FILTER : TRANSACTIONS_FILTER + 1])
    codes = tuple(_CODES[flag] for flag in flags)
    if len(codes) != len(block.data):
        raise BlockError(
            f"block {block.number} carries {len(codes)} validation codes for {len(block.data)} "
            "transactions; take it from a node that has committed it"
        )
    known = tuple(code for code in codes if code is not None)
    if len(known) != len(codes):
        raise BlockError(
            f"block {block.number} carries a validation code that is not in TxValidationCode; "
            "take it from another node"
        )
    return known


def last_config_of(block: Block) -> int:
    """Return the number of the newest configuration block up to and including this one.

    Raises:
        BlockError: the block does not say.
    """
    signatures = b"".join(block.metadata[SIGNATURES : SIGNATURES + 1])
    older = b"".join(block.metadata[LAST_CONFIG : LAST_CONFIG + 1])
    try:
        value = common_pb2.Metadata.FromString(signatures).value
        if value:
            return int(common_pb2.OrdererBlockMetadata.FromString(value).last_config.index)
        # Orderers before Fabric 2 say it here alone.
        value = common_pb2.Metadata.FromString(older).value
        if value or block.number == 0:
            return int(common_pb2.LastConfig.FromString(value).index)
    except ProtobufDecodeError:
        pass
    raise BlockError(
        f"block {block.number} does not say which configuration block is the newest; take it from "
        "another node"
    )


def commit_hash_of(block: Block) -> bytes:
    """Return the recorded commit hash: 32 bytes, or empty if there is none (the genesis block).

    Raises:
        BlockError: the entry is no ``common.Metadata``.
    """
    if len(block.metadata) <= COMMIT_HASH or not block.metadata[COMMIT_HASH]:
        return b""
    try:
        value: bytes = common_pb2.Metadata.FromString(block.metadata[COMMIT_HASH]).value
    except ProtobufDecodeError as error:
        raise BlockError(
            f"the commit hash of block {block.number} is no common.Metadata; "
            "take the block from another node"
        ) from error
    return value


def with_validation(block: Block, codes: Sequence[TxValidationCode], commit_hash: bytes) -> Block:
    """Return *block* with its verdicts and commit hash recorded; other entries stay as they are.

    Args:
        block: the block as ordered, or as another node validated it.
        codes: final codes, one per transaction.
        commit_hash: 32 bytes; empty for the genesis block, which has none.
    """
    entries = list(block.metadata)
    entries.extend([b""] * (METADATA_ENTRIES - len(entries)))
    entries[TRANSACTIONS_FILTER] = bytes(codes)
    entries[COMMIT_HASH] = (
        common_pb2.Metadata(value=commit_hash).SerializeToString() if commit_hash else b""
    )
    return replace(block, metadata=tuple(entries))
