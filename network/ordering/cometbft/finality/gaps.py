"""Blocks whose finality record no CometBFT of this node's can give: other members' nodes have it.

A node that had no consenter for a time, or whose CometBFT began behind some of its blocks, lacks
their records, and a node without a consenter has none at all by itself. It asks the other members'
nodes, which keep theirs for ever, one after another, and verifies what they give.

While a record is lacking, the node gives no snapshot beyond that block, so that its CometBFT's
blocks are not pruned either: it says so, and asks again after a pause.

Invariants:
- One record is asked for at a time, the newest first; who has none of several in a row is asked no
  further. So a long gap that nobody can fill costs a few questions a round.
- It hides no other gap: newer ones have been asked for before it, and of the older ones some are
  asked for in every round, each in its turn.
- A round looks at new blocks and at those that lacked a record in the round before, not at all.
- What a member gives never halts the channel: it is as good as the keys of validators of long ago.

Absent: records of new blocks at a node that has a CometBFT (`keeper.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
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
"""In a row, after which a member is asked no further; once in a round for the newest records, and
once for older ones.
"""
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
        self._gaps: list[range] = []
        self._looked_at = self._filer.first
        self._turn = 0
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
        """Ask for what is lacking once; return how many records were filed."""
        end = max(self._until(), self._looked_at)
        self._gaps = await self._look([*self._gaps, range(self._looked_at, end)])
        self._looked_at = end
        away: set[str] = set()
        filed, rest = await self._ask(_downwards(self._gaps, 0, end), away)
        if rest:
            # Nobody has the newest that are lacking; older ones are asked for by turns.
            turn = min(self._turn or rest, rest)
            older = chain(_downwards(self._gaps, 0, turn), _downwards(self._gaps, turn, rest))
            more, self._turn = await self._ask(older, away)
            filed += more
        if filed:
            self._gaps = await self._look(self._gaps)
        self.missing = sum(map(len, self._gaps))
        self.lowest = self._gaps[0].start if self._gaps else 0
        self._say(filed)
        return filed

    async def _look(self, ranges: Iterable[range]) -> list[range]:
        """Return which of these blocks have no record, from the lowest on."""
        found: list[range] = []
        for each in ranges:
            for start in range(each.start, each.stop, _LOOKED_AT_ONCE):
                part = range(start, min(start + _LOOKED_AT_ONCE, each.stop))
                for number in await asyncio.to_thread(self._lacking, part):
                    begin = found.pop().start if found and found[-1].stop == number else number
                    found.append(range(begin, number + 1))
        return found

    def _lacking(self, numbers: range) -> list[int]:
        return [each for each in numbers if not self._sink.has_evidence(each, FINALITY)]

    async def _ask(self, numbers: Iterable[int], away: set[str]) -> tuple[int, int]:
        """Ask for records until nobody is left to be asked.

        Args:
            numbers: of the blocks, downwards.
            away: members that do not answer, or no such question; added to.
        Returns:
            how many were filed, and the number above the first block that nobody was asked for; 0
            where somebody was asked for each.
        """
        filed = 0
        empty: Counter[str] = Counter()
        for number in numbers:
            asked = [
                each
                for each in self._others.msp_ids()
                if each not in away and empty[each] < EMPTY_ANSWERS
            ]
            if not asked:
                return filed, number + 1
            filed += await self._fetch(number, asked, empty, away)
        return filed, 0

    async def _fetch(
        self, number: int, asked: Sequence[str], empty: Counter[str], away: set[str]
    ) -> bool:
        """Have a member give the record of a block; tell whether one did.

        Args:
            number: of the block.
            asked: the members, one after another.
            empty: how often in a row each gave nothing.
            away: as in `_ask`.
        """
        block = await asyncio.to_thread(self._filer.stored, number)
        for msp_id in asked:
            try:
                record = await self._others.record(msp_id, number)
            except (Refusal, Unavailable) as no_answer:
                logger.debug("%s gives no finality records: %s", msp_id, no_answer)
                away.add(msp_id)
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
            empty[msp_id] += 1
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


def _downwards(gaps: Sequence[range], low: int, high: int) -> Iterator[int]:
    """Yield the numbers in *gaps* from below *high* down to *low*."""
    for gap in reversed(gaps):
        yield from range(min(gap.stop, high) - 1, max(gap.start, low) - 1, -1)
