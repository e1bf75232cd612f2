"""Which bundles are in the newest blocks, so that none is ordered twice.

A bundle may stand only in a block whose number is at most `valid_until`, and that is at most WINDOW
above the number of the block to come. So one that stood in block b can never come again after block
b + WINDOW, and it is enough to know the ids in the last WINDOW blocks.

Invariants: what it says follows from the blocks alone, never from when this node was started: a
block ordered by another engine has no bundles. Blocks are added in the order of their numbers. Used
on one thread, or on several that only read.

Absent: duplicates of transactions, which the committer marks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from ledger.blocks.block import Block
from network.ordering.cometbft.blocks.ordered import bundle_ids_of

__all__ = ["WINDOW", "SeenBundles"]

WINDOW: Final = 100
"""Blocks for which a bundle may be valid at most, and whose bundles are known."""


class SeenBundles:
    """The ids of the bundles in the last WINDOW blocks.

    Attributes:
        height: number of the block to come.
    """

    def __init__(self, height: int) -> None:
        """Begin with no bundles; see `from_blocks`."""
        self.height = height
        self._blocks: deque[tuple[int, tuple[bytes, ...]]] = deque()
        self._ids: set[bytes] = set()

    @classmethod
    def from_blocks(cls, height: int, block: Callable[[int], Block]) -> SeenBundles:
        """Read what the newest blocks of a ledger hold.

        Args:
            height: of the ledger.
            block: gives a block by its number.
        Raises:
            BlockError: a block's metadata cannot be read.
        """
        first = max(0, height - WINDOW)
        seen = cls(first)
        for number in range(first, height):
            seen.add(number, bundle_ids_of(block(number)))
        return seen

    def add(self, number: int, bundle_ids: Iterable[bytes]) -> None:
        """Take in what the next block holds.

        Raises:
            ValueError: it is not the next block.
        """
        if number != self.height:
            raise ValueError(f"block {number} was given where block {self.height} follows")
        ids = tuple(bundle_ids)
        self._blocks.append((number, ids))
        self._ids.update(ids)
        self.height = number + 1
        while self._blocks and self._blocks[0][0] + WINDOW < self.height:
            self._ids.difference_update(self._blocks.popleft()[1])

    def add_block(self, block: Block) -> None:
        """Take in the next block.

        Raises:
            BlockError: its metadata cannot be read.
        """
        self.add(block.number, bundle_ids_of(block))

    def __contains__(self, bundle_id: object) -> bool:
        return bundle_id in self._ids

    def __len__(self) -> int:
        return len(self._ids)
