"""The checks that refuse a block as a whole.

A block that fails here is recorded nowhere, so one malformed envelope in it would stop the channel.
Therefore the orderer asks ``verify_envelope_canonical`` before it admits an envelope.

The rules, in Fabric's order: the number follows, the previous hash is the hash of the header
before, there are five metadata entries, there is data, every envelope is canonical (a block that
holds one CONFIG envelope is excused, as Fabric excuses it), the data hash fits. Signatures come
after these and belong to ``network``.

Source: Fabric, protoutil/blockutils.go ``VerifyTransactionsAreWellFormed`` and the recorded
refusals in tests/vectors/fabric-3.1.5-raft/refused.
"""

from __future__ import annotations

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.blocks.block import METADATA_ENTRIES, Block, compute_data_hash
from ledger.errors import BlockError

_MAKE_ANEW = "make and sign the envelope anew with a Fabric client"


def verify_envelope_canonical(raw: bytes) -> None:
    """Check that *raw* is an envelope which every node will take for the same one.

    Marshalling it again must give the same bytes. Unknown fields behind the known ones are kept by
    that, and so allowed.

    Raises:
        BlockError: no protobuf, no payload, no signature, or another encoding of the same envelope.
    """
    try:
        envelope = common_pb2.Envelope.FromString(raw)
    except ProtobufDecodeError as error:
        raise BlockError(f"the envelope is not a protobuf common.Envelope; {_MAKE_ANEW}") from error
    if not envelope.payload:
        raise BlockError(f"the envelope has no payload; {_MAKE_ANEW}")
    if not envelope.signature:
        raise BlockError(f"the envelope has no signature; {_MAKE_ANEW}")
    canonical: bytes = envelope.SerializeToString()
    if len(canonical) < len(raw):
        raise BlockError(
            f"the envelope has {len(raw) - len(canonical)} trailing bytes: its encoding is "
            f"longer than the shortest one; {_MAKE_ANEW}"
        )
    if canonical != raw:
        raise BlockError(
            f"the envelope does not match its raw form: its protobuf fields are out of order; "
            f"{_MAKE_ANEW}"
        )


def verify_block_structure(
    block: Block, expected_number: int, expected_previous_hash: bytes
) -> None:
    """Check everything about *block* as a whole that needs no identity.

    Args:
        block: as received.
        expected_number: the height of the ledger.
        expected_previous_hash: the header hash of the last block; empty for the genesis block.

    Raises:
        BlockError: naming the rule that is broken.
    """
    header = block.header
    number = header.number
    if number != expected_number:
        raise BlockError(
            f"expected block number is {expected_number} but the block says {number}; "
            f"ask for block {expected_number}"
        )
    if header.previous_hash != expected_previous_hash:
        raise BlockError(
            f"block {number} does not follow: its previous hash is not the hash of the header of "
            "the block before; take it from a node of this channel"
        )
    if len(block.metadata) < METADATA_ENTRIES:
        raise BlockError(
            f"block {number} has {len(block.metadata)} metadata entries where {METADATA_ENTRIES} "
            "are required; take it from a Fabric 2 or later orderer"
        )
    if not block.data:
        raise BlockError(f"block {number} is empty: a block holds at least one envelope")
    if not is_config_block(block):
        for index, raw in enumerate(block.data):
            try:
                verify_envelope_canonical(raw)
            except BlockError as error:
                raise BlockError(
                    f"block {number} is not well formed at transaction {index}: {error}"
                ) from error
    if compute_data_hash(block.data) != header.data_hash:
        raise BlockError(
            f"the data hash of block {number} is not the hash of its data; "
            "take it from another node"
        )


def is_config_block(block: Block) -> bool:
    """Tell whether *block* holds one envelope, and that one of type CONFIG."""
    if len(block.data) != 1:
        return False
    try:
        envelope = common_pb2.Envelope.FromString(block.data[0])
        payload = common_pb2.Payload.FromString(envelope.payload)
        if not payload.HasField("header"):
            return False
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    except ProtobufDecodeError:
        return False
    return bool(header.type == common_pb2.CONFIG)
