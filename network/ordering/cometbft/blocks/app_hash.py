"""The app hash: one hash over every byte of a block as all nodes store it, and over its outcome.

CometBFT puts it into the header of its next block, which the validators sign. So their signatures
reach the envelopes (header hash), the verdicts and the state (commit hash, metadata), and what
orders and names them (metadata). A node whose app hash is another one stops.

Version 1 (`name(x)` is the length of x as u32 and x; numbers big-endian)::

    SHA-256( "qist/app-hash" 00 ‖ version u32
             ‖ name(header hash) ‖ name(commit hash) ‖ name(metadata root) )

    metadata root = SHA-256( "qist/block-metadata/1" 00 ‖ number of entries u32
                             ‖ for each entry: name(entry) )

The metadata stand as a root of their own, so that who proves a transaction need not show them. The
commit hash is empty where a block has none, as the genesis block.

A block says by which version its app hash is made (`ordered.py`); one that CometBFT did not order,
which is where a chain of CometBFT begins, is hashed by version 1. Which version a block must say
follows from the capabilities of the configuration in force before it, `app_hash_version`: a new
version comes with a channel capability of its own, and so becomes valid with the block after the
configuration that demands it, on all nodes at once. A program that does not know the capability
stops at that configuration (`ChannelConfiguration.verify_capabilities`).

Invariants: pure. A version once in use never changes its meaning.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from ledger.blocks.block import Block
from ledger.blocks.metadata import commit_hash_of
from ledger.errors import BlockError
from network.configuration import ChannelConfiguration
from network.ordering.cometbft.blocks.ordered import ordered_of

__all__ = [
    "ACTIVATIONS",
    "CONSTRUCTIONS",
    "app_hash_version",
    "compute_app_hash",
    "compute_metadata_root",
    "encode_app_hash",
    "encode_metadata_root",
]

Construction = Callable[[Block], bytes]
"""From a committed block to the bytes that are hashed behind tag and version."""

TAG: Final = b"qist/app-hash\x00"
METADATA_TAG: Final = b"qist/block-metadata/1\x00"

_U32 = struct.Struct(">I")


def _name(part: bytes) -> bytes:
    return _U32.pack(len(part)) + part


def encode_metadata_root(block: Block) -> bytes:
    """Return the bytes whose SHA-256 is the metadata root."""
    head = METADATA_TAG + _U32.pack(len(block.metadata))
    return head + b"".join(map(_name, block.metadata))


def compute_metadata_root(block: Block) -> bytes:
    """Return the hash (32 bytes) over all entries of the metadata of a committed block."""
    return hashlib.sha256(encode_metadata_root(block)).digest()


def _version_1(block: Block) -> bytes:
    parts = (block.header.hash(), commit_hash_of(block), compute_metadata_root(block))
    return b"".join(map(_name, parts))


CONSTRUCTIONS: Final[Mapping[int, Construction]] = MappingProxyType({1: _version_1})
"""Every version that this program knows."""

ACTIVATIONS: Final[Mapping[str, int]] = MappingProxyType({})
"""Channel capability to the version it brings; the highest that is demanded counts."""


def app_hash_version(
    configuration: ChannelConfiguration, activations: Mapping[str, int] = ACTIVATIONS
) -> int:
    """Return the version by which the app hash of the next block is made.

    Args:
        configuration: in force before that block.
        activations: which capability brings which version.
    """
    demanded = configuration.capabilities.channel
    return max([1, *(version for name, version in activations.items() if name in demanded)])


def encode_app_hash(
    block: Block,
    version: int | None = None,
    constructions: Mapping[int, Construction] = CONSTRUCTIONS,
) -> bytes:
    """Return the bytes whose SHA-256 is the app hash; see `compute_app_hash`."""
    if version is None:
        ordered = ordered_of(block)
        version = 1 if ordered is None else ordered.app_hash_version
    construction = constructions.get(version)
    if construction is None:
        raise BlockError(
            f"the app hash of block {block.number} is of version {version}, and this program "
            f"knows {sorted(constructions)}: upgrade it"
        )
    return TAG + _U32.pack(version) + construction(block)


def compute_app_hash(
    block: Block,
    version: int | None = None,
    constructions: Mapping[int, Construction] = CONSTRUCTIONS,
) -> bytes:
    """Return the app hash (32 bytes) after a committed block.

    Args:
        block: with the verdicts and the commit hash in its metadata.
        version: of the construction; left out, the one that the block names.
        constructions: the versions that are known.
    Raises:
        BlockError: the version is unknown, or the metadata are not of the form they have.
    """
    return hashlib.sha256(encode_app_hash(block, version, constructions)).digest()
