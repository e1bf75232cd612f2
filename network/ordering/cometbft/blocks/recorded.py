"""What came out of CometBFT's heights that this node's ledger holds already.

A node whose CometBFT has lost its data gets its old heights again, from the other members. Their
blocks are in the ledger: they are looked up by the heights that they record, compared with what
CometBFT brings, and answered as they were the first time. Nothing is written.

Invariants: the answer to a height is the same as the first one, byte for byte, validator updates
and parameters included, since CometBFT hashes them into its headers.

Absent: when heights come again (`application.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of
from ledger.errors import CorruptionError
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration, config_of_block
from network.errors import Divergence
from network.ordering.cometbft.blocks.app_hash import compute_app_hash
from network.ordering.cometbft.blocks.ordered import bundle_ids_of, comet_height_of
from network.ordering.cometbft.genesis import configuration_blocks

__all__ = ["RecordedHeight", "RecordedHeights"]


@dataclass(frozen=True, slots=True)
class RecordedHeight:
    """The outcome of one height.

    Attributes:
        app_hash: after it.
        reconfigured: configuration before and after the height's block, if it changed it.
    """

    app_hash: bytes
    reconfigured: tuple[ChannelConfiguration, ChannelConfiguration] | None = None


class RecordedHeights:
    """The heights that a ledger holds; every method reads from the disk, so in a thread.

    Args:
        starting: number of the block in which CometBFT's chain begins.
        source: gives a committed block by its number.
    """

    def __init__(self, starting: int, source: Callable[[int], Block | None]) -> None:
        self._starting = starting
        self._source = source

    def last(self, height: int) -> int:
        """Return CometBFT's height of the newest block of a ledger, 0 if it made none yet.

        Args:
            height: of the ledger.
        """
        return comet_height_of(self.block(height - 1))

    def app_hash_at(self, comet_height: int, height: int) -> bytes:
        """Return the app hash after a height, which may be 0.

        Args:
            comet_height: at most `last`.
            height: of the ledger.
        """
        return compute_app_hash(self.block(self._find(comet_height, height)))

    def at(self, comet_height: int, raws: Sequence[bytes], height: int) -> RecordedHeight:
        """Return what came of a height.

        Args:
            comet_height: at most `last`.
            raws: the bundles that CometBFT says were ordered there.
            height: of the ledger.
        Raises:
            Divergence: other bundles were ordered there.
        """
        number = self._find(comet_height, height)
        block = self.block(number)
        recorded: tuple[bytes, ...] = ()
        if number > self._starting and comet_height_of(block) == comet_height:
            recorded = bundle_ids_of(block)
        given = tuple(hashlib.sha256(raw).digest() for raw in raws)
        if given != recorded:
            raise Divergence(
                f"CometBFT brings {len(given)} bundles at its height {comet_height}, where this "
                f"node's block {number} records {len(recorded)}, or others: its data and the "
                "ledger are of two chains; restore the ledger, or compare it with those of the "
                "other members"
            )
        app_hash = compute_app_hash(block)
        return RecordedHeight(app_hash, self._reconfigured(block) if recorded else None)

    def _find(self, comet_height: int, height: int) -> int:
        """Return the newest block that was made at *comet_height* or before."""
        low, high = self._starting, height - 1
        while low < high:
            middle = (low + high + 1) // 2
            if comet_height_of(self.block(middle)) <= comet_height:
                low = middle
            else:
                high = middle - 1
        return low

    def _reconfigured(
        self, block: Block
    ) -> tuple[ChannelConfiguration, ChannelConfiguration] | None:
        if config_of_block(block) is None or codes_of(block) != (TxValidationCode.VALID,):
            return None
        before = next(iter(configuration_blocks(self._source, block.number - 1)))
        return ChannelConfiguration.from_block(before), ChannelConfiguration.from_block(block)

    def block(self, number: int) -> Block:
        """Return a block below the height."""
        block = self._source(number)
        if block is None:
            raise CorruptionError(
                f"block {number} is not in the ledger, though later ones are; run fsck"
            )
        return block
