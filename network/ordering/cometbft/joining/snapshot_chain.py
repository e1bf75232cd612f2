"""What state sync asks of the chain that a node keeps, and what it says of snapshots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ledger.blocks.block import Block
from network.configuration import ChannelConfiguration
from network.ordering.cometbft.joining.snapshot_plan import TARGETS_BYTES
from network.ordering.ports import StagingSink

__all__ = [
    "FINALITY",
    "JoinableSink",
    "Snapshot",
    "SnapshotChain",
    "SnapshotSettings",
    "VerifyBlock",
]

FINALITY: Final = "finality"
"""Kind of the evidence that holds finality records."""


class SnapshotChain(Protocol):
    """The chain of this node. What is no coroutine reads the disk: it is called in a thread."""

    @property
    def height(self) -> int:
        """Number of blocks committed."""

    @property
    def configuration(self) -> ChannelConfiguration:
        """The configuration in force after the last committed block."""

    def block_size(self, number: int) -> int | None:
        """Return the size in bytes of a stored block, None if there is no such block."""

    def block_bytes(self, number: int) -> bytes | None:
        """Return a stored block, marshalled, None if there is no such block."""

    def stored_block(self, number: int) -> Block | None:
        """Return a stored block, None if there is no such block."""

    def evidence(self, number: int, kind: str) -> bytes | None:
        """Return the evidence of one kind about a block, None without."""

    def has_evidence(self, number: int, kind: str) -> bool:
        """Tell whether there is evidence of one kind about a block."""

    async def restore(self, block: Block) -> None:
        """Commit the next block with the verdicts that stand in it, every byte of which is proven.

        Raises:
            Refusal: it does not follow; nothing was written.
            Fatal: it has another outcome here, or a write failed.
        """

    async def add_evidence(self, number: int, kind: str, data: bytes) -> None:
        """File evidence about a committed block, durably; the same twice changes nothing."""


class JoinableSink(StagingSink, SnapshotChain, Protocol):
    """The channel of a node whose engine can begin with a snapshot, and give some."""


VerifyBlock = Callable[[Block, bytes, ChannelConfiguration], None]
"""Checks that a finality record proves every byte of a block, under the configuration before it.

Raises `Refusal`.
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot as CometBFT passes it on.

    Attributes:
        height: CometBFT's, of its last block.
        format: layout and tail (`snapshot_format.py`).
        chunks: how many.
        hash: SHA-256 of the metadata.
        metadata: what it says of itself.
    """

    height: int
    format: int
    chunks: int
    hash: bytes
    metadata: bytes


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """Which snapshots there are; the same on every node, so that many can give the same one.

    Attributes:
        interval_blocks: a snapshot ends at a block whose number is a multiple of it.
        kept: how many of the newest are offered.
        targets_bytes: at which size a chunk ends; the first by which there are not too many.
    """

    interval_blocks: int = 1000
    kept: int = 2
    targets_bytes: tuple[int, ...] = TARGETS_BYTES
