"""From bundles that CometBFT has put in order to a Fabric block, and what a block says of them.

One CometBFT block with bundles makes one Fabric block, whose data are the envelopes of the bundles
one behind the other. No orderer signs it: CometBFT's commit is kept beside it as evidence. What the
ordering was stands as the consenter metadata in `OrdererBlockMetadata`, where Fabric's own engines
put theirs, so it is the same on all nodes to the byte (numbers big-endian)::

    "qist/cometbft/ordered/1" 00
    CometBFT's height u64
    version of the app hash u32
    number of bundles u32
    for each bundle: its id (32 bytes), number of its envelopes u32

Invariants: a block that says it was ordered so has as many envelopes as its bundles together; the
last configuration block is the block itself where it holds a configuration.

Absent: verdicts and commit hash, which the committer adds (`ledger.blocks.metadata`); the app hash
(`app_hash.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fabric_protos.common import common_pb2

from ledger.blocks import metadata as index
from ledger.blocks.block import METADATA_ENTRIES, Block, BlockHeader, compute_data_hash
from ledger.errors import BlockError
from network.decoding import decode_message
from network.ordering.cometbft.bundles.bundle import ID_BYTES, Bundle, BundleKind

__all__ = [
    "Ordered",
    "OrderedBundle",
    "bundle_ids_of",
    "comet_height_of",
    "decode_ordered",
    "encode_ordered",
    "make_block",
    "ordered_of",
]

TAG: Final = b"qist/cometbft/ordered/1\x00"
_HEAD = struct.Struct(">QII")
_BUNDLE = struct.Struct(f">{ID_BYTES}sI")


@dataclass(frozen=True, slots=True)
class OrderedBundle:
    """A bundle in a block.

    Attributes:
        bundle_id: 32 bytes.
        envelopes: how many of the block's envelopes are its own.
    """

    bundle_id: bytes
    envelopes: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """How a block came to be.

    Attributes:
        comet_height: height of the CometBFT block, 1 or more.
        app_hash_version: by which its app hash is made.
        bundles: in their order; their envelopes are the block's data.
    """

    comet_height: int
    app_hash_version: int
    bundles: tuple[OrderedBundle, ...]


def encode_ordered(ordered: Ordered) -> bytes:
    """Return the consenter metadata."""
    head = _HEAD.pack(ordered.comet_height, ordered.app_hash_version, len(ordered.bundles))
    return b"".join(
        (TAG, head, *(_BUNDLE.pack(each.bundle_id, each.envelopes) for each in ordered.bundles))
    )


def decode_ordered(raw: bytes) -> Ordered:
    """Read consenter metadata that begins with the tag.

    Raises:
        BlockError: not of this form.
    """
    at = len(TAG) + _HEAD.size
    if not raw.startswith(TAG) or len(raw) < at:
        raise BlockError(f"{len(raw)} bytes do not say how CometBFT ordered a block: {_ELSEWHERE}")
    height, version, count = _HEAD.unpack_from(raw, len(TAG))
    if len(raw) != at + _BUNDLE.size * count or not (height and version and count):
        raise BlockError(
            f"{len(raw)} bytes do not name the {count} bundles of CometBFT's height {height}: "
            f"{_ELSEWHERE}"
        )
    bundles = tuple(OrderedBundle(*each) for each in _BUNDLE.iter_unpack(raw[at:]))
    if not all(each.envelopes for each in bundles):
        raise BlockError(f"a bundle of CometBFT's height {height} is empty: {_ELSEWHERE}")
    return Ordered(height, version, bundles)


_ELSEWHERE: Final = "take the block from another node"


def make_block(
    number: int,
    previous_hash: bytes,
    bundles: Sequence[Bundle],
    comet_height: int,
    last_config_block: int,
    *,
    app_hash_version: int = 1,
) -> Block:
    """Return the block that bundles make, not yet validated.

    Args:
        number: of the block.
        previous_hash: header hash of the block before.
        bundles: as decided; at least one.
        comet_height: of the CometBFT block that held them.
        last_config_block: number of the newest configuration block before this one; where this one
            holds a configuration, it names itself.
        app_hash_version: by which the app hash after this block is made.
    """
    data = tuple(envelope for each in bundles for envelope in each.envelopes)
    if bundles[0].kind is BundleKind.CONFIGURATION:
        last_config_block = number
    last_config = common_pb2.LastConfig(index=last_config_block)
    ordered = Ordered(
        comet_height,
        app_hash_version,
        tuple(OrderedBundle(each.bundle_id, len(each.envelopes)) for each in bundles),
    )
    value = common_pb2.OrdererBlockMetadata(
        last_config=last_config, consenter_metadata=encode_ordered(ordered)
    ).SerializeToString()
    entries = [b""] * METADATA_ENTRIES
    entries[index.SIGNATURES] = common_pb2.Metadata(value=value).SerializeToString()
    entries[index.LAST_CONFIG] = common_pb2.Metadata(
        value=last_config.SerializeToString()
    ).SerializeToString()
    header = BlockHeader(number, previous_hash, compute_data_hash(data))
    return Block(header=header, data=data, metadata=tuple(entries))


def ordered_of(block: Block) -> Ordered | None:
    """Return how *block* was ordered, None if not by CometBFT.

    Raises:
        BlockError: it says so in another form, or of another number of envelopes than it has.
    """
    what = f"block {block.number}: the SIGNATURES metadata"
    entry = decode_message(
        common_pb2.Metadata, b"".join(block.metadata[: index.SIGNATURES + 1]), what, BlockError
    )
    orderer = decode_message(common_pb2.OrdererBlockMetadata, entry.value, what, BlockError)
    if not orderer.consenter_metadata.startswith(TAG):
        return None
    ordered = decode_ordered(orderer.consenter_metadata)
    envelopes = sum(each.envelopes for each in ordered.bundles)
    if envelopes != len(block.data):
        raise BlockError(
            f"block {block.number} holds {len(block.data)} envelopes and its bundles {envelopes}: "
            f"{_ELSEWHERE}"
        )
    return ordered


def comet_height_of(block: Block) -> int:
    """Return the height of the CometBFT block that *block* was made of, 0 if there is none.

    Raises:
        BlockError: see `ordered_of`.
    """
    ordered = ordered_of(block)
    return 0 if ordered is None else ordered.comet_height


def bundle_ids_of(block: Block) -> tuple[bytes, ...]:
    """Return the ids of the bundles of *block*, in their order; none if it was not made of any.

    Raises:
        BlockError: see `ordered_of`.
    """
    ordered = ordered_of(block)
    return () if ordered is None else tuple(each.bundle_id for each in ordered.bundles)
