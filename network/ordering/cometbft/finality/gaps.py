"""Blocks whose finality record no CometBFT of this node's can give: other members' nodes have it.

A node that had no consenter for a time, or whose CometBFT began behind some of its blocks, lacks
their records, and a node without a consenter has none at all by itself. It asks the other members'
nodes, which keep theirs for ever, one after another, and verifies what they give.

While a record is lacking, the node gives no snapshot beyond that block, so that its CometBFT's
blocks are not pruned either: it says so, and asks again after a pause.

Invariants:
- One record is asked for at a time; who has none of several in a row is left out until the next
  round, so a long gap that nobody can fill costs a few questions a round.
- What a member gives never halts the channel: it is as good as the keys of validators of long ago.

Absent: records of new blocks at a node that has a CometBFT (`keeper.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ledger.blocks.block import Block
from ledger.errors import Refusal, Unavailable
from network.ordering.cometbft.finality.filing import RecordFiler
from network.ordering.cometbft.finality.finality import FINALITY
from network.ordering.cometbft.finality.records import OtherAppHash
from network.ordering.cometbft.ports import RecordGivers, RecordSink

__all__ = ["RecordGaps"]

logger = logging.getLogger(__name__)

PAUSE_S: Final = 300.0
UNKNOWN_S: Final = 1.0
"""Between two looks while it is not known yet which records come another way."""
EMPTY_ANSWERS: Final = 5
"""In a row, after which a member is asked no more in a round."""
_LOOKED_AT_ONCE: Final = 10_000
"""Blocks looked at in one go in a thread."""


class RecordGaps:
    """Fills the gaps of one channel.

    Args:
        others: the other members' nodes.
        sink: the channel.
        starting: the block by which the channel became `cometbft`.
        until: number of the first block whose record comes another way.
        pause_s: between two rounds.

    Attributes:
        missing: blocks that have no record, as of the last round.
        lowest: number of the first of them; 0 if there is none.
    """

    def __init__(
        self,
        others: RecordGivers,
        sink: RecordSink,
        starting: Block,
        *,
        until: Callable[[], int],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._others = others
        self._sink = sink
        self._filer = RecordFiler(sink, starting)
        self._until = until
        self._pause_s = pause_s
        self._complete = self._filer.first
        self._said = (0, 0)
        self.missing = 0
        self.lowest = 0

    async def run(self) -> None:
        """Fill what can be filled, round after round, until cancelled.

        Raises:
            Fatal, Unavailable: the channel takes no evidence any more.
        """
        while True:
            await self.fill()
            await asyncio.sleep(self._pause_s if self._until() else min(UNKNOWN_S, self._pause_s))

    async def fill(self) -> int:
        """Go through all gaps once; return how many records were filed."""
        filed = missing = lowest = 0
        empty: dict[str, int] = {}
        number, end = self._complete, self._until()
        while (number := await self._next_lacking(number, end)) < end:
            if await self._fetch(number, empty):
                filed += 1
            else:
                missing += 1
                lowest = lowest or number
            number += 1
        self._complete = max(lowest or end, self._complete)
        self.missing, self.lowest = missing, lowest
        self._say(filed)
        return filed

    async def _next_lacking(self, number: int, end: int) -> int:
        """Return the first block from *number* on that has no record; *end* if all have."""
        while number < end:
            stop = min(number + _LOOKED_AT_ONCE, end)
            found = await asyncio.to_thread(self._lacking, number, stop)
            if found < stop:
                return found
            number = stop
        return end

    def _lacking(self, number: int, stop: int) -> int:
        while number < stop and self._sink.has_evidence(number, FINALITY):
            number += 1
        return number

    async def _fetch(self, number: int, empty: dict[str, int]) -> bool:
        """Have a member give the record of a block; tell whether one did.

        Args:
            empty: how often in a row each member gave nothing, in this round.
        """
        asked = [each for each in self._others.msp_ids() if empty.get(each, 0) < EMPTY_ANSWERS]
        block = await asyncio.to_thread(self._filer.stored, number) if asked else None
        for msp_id in asked:
            assert block is not None
            try:
                record = await self._others.record(msp_id, number)
            except (Refusal, Unavailable) as away:
                logger.debug("%s gives no finality records: %s", msp_id, away)
                empty[msp_id] = EMPTY_ANSWERS
                continue
            try:
                if record:
                    await self._filer.file(block, record)
                    empty[msp_id] = 0
                    return True
            except OtherAppHash as other:
                logger.error(
                    "%s gives a record by which block %d has another outcome than here: %s; "
                    "compare this node's ledger with other members'", msp_id, number, other,
                )  # fmt: skip
            except Refusal as refused:
                logger.warning("the record of block %d that %s gives: %s", number, msp_id, refused)
            empty[msp_id] = empty.get(msp_id, 0) + 1
        return False

    def _say(self, filed: int) -> None:
        if filed:
            logger.info("%d finality records came from other members' nodes", filed)
        told = (self.missing, self.lowest)
        if self.missing and told != self._said:
            logger.warning(
                "%d blocks from block %d on have no finality record, and no member's node gives "
                "one now: their proof rests on later blocks, this node gives no snapshot beyond "
                "block %d, and its CometBFT keeps its blocks; it asks again every %g s",
                self.missing, self.lowest, self.lowest - 1, self._pause_s,
            )  # fmt: skip
        self._said = told
