"""Where the chunks of a snapshot begin, and which snapshots there are.

Chunks are filled block by block from the first one that CometBFT ordered: a block that would take
a chunk above the target begins the next one. To the size of a block comes a fixed allowance for its
finality record, so the cuts follow from the stored sizes of the blocks alone: every node cuts
alike, and a longer chain is cut as the shorter one was. The index of the ledger knows the sizes, so
no block is read, and what was planned once is not planned again.

A chain that would need more chunks than CometBFT takes of a snapshot is cut by the larger target;
one that is too long for that too has no snapshot of the whole any more: a new node begins with a
copy of a member's backup, and the snapshots of the tail bring it up to date.

Used on one thread at a time.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from dataclasses import dataclass
from typing import Final, Protocol

from ledger.errors import CorruptionError

__all__ = ["MAX_CHUNKS", "RECORD_BYTES", "TARGETS_BYTES", "ChunkPlan", "Sizes", "Tail"]

MAX_CHUNKS: Final = 100_000
"""CometBFT refuses snapshots of more (`statesync.max_snapshot_chunks`, since v0.38.21)."""
TARGETS_BYTES: Final = (8 * 1024 * 1024, 14 * 1024 * 1024)
"""Up to 800 GiB and 1.3 TiB of blocks; CometBFT carries 16 MB at once."""
RECORD_BYTES: Final = 2048
"""What a block's finality record counts for, whatever it has."""
_TAIL_PART: Final = 4
"""A tail has so many times fewer chunks than the one before it."""
MAX_TAILS: Final = 8
"""CometBFT passes on ten snapshots of a node at most."""


class Sizes(Protocol):
    """The stored sizes of blocks."""

    def block_size(self, number: int) -> int | None:
        """Return the size in bytes of a stored block, None if there is no such block."""


@dataclass(frozen=True, slots=True)
class Tail:
    """The chunks of one tail of a snapshot.

    Attributes:
        number: of the tail; 0 is the whole.
        start: place of its first chunk among those of the whole.
        chunks: how many.
        first: number of its first block.
    """

    number: int
    start: int
    chunks: int
    first: int


class ChunkPlan:
    """The cuts for one target.

    Args:
        sizes: of the blocks.
        target_bytes: at which size a chunk ends.
        first: number of the first block.
    """

    def __init__(self, sizes: Sizes, target_bytes: int, first: int) -> None:
        self.target_bytes = target_bytes
        self._sizes = sizes
        self._starts = array("Q")
        self._next = first
        self._fill = 0

    def extend(self, last: int) -> None:
        """Plan up to block *last*, which is stored."""
        for number in range(self._next, last + 1):
            size = self._sizes.block_size(number)
            if size is None:
                raise CorruptionError(
                    f"block {number} is not in the index of the ledger, though block {last} was "
                    "committed; run fsck on the ledger"
                )
            counted = size + RECORD_BYTES
            if not self._starts or self._fill + counted > self.target_bytes:
                self._starts.append(number)
                self._fill = 0
            self._fill += counted
        self._next = max(self._next, last + 1)

    def chunks(self, last: int) -> int:
        """Return how many chunks the blocks from the first to *last* take."""
        self.extend(last)
        return bisect_right(self._starts, last)

    def blocks(self, place: int, last: int) -> range:
        """Return the numbers of the blocks in the chunk at *place* of a snapshot up to *last*."""
        following = self._starts[place + 1] if place + 1 < len(self._starts) else last + 1
        return range(self._starts[place], min(following, last + 1))

    def tails(self, last: int) -> list[Tail]:
        """Return the whole and its tails, each a quarter of the one before, down to one chunk."""
        total = self.chunks(last)
        found: list[Tail] = []
        chunks = total
        while len(found) < MAX_TAILS and chunks and (not found or chunks < found[-1].chunks):
            start = total - chunks
            found.append(Tail(len(found), start, chunks, self._starts[start]))
            chunks = -(-chunks // _TAIL_PART)
        return found
