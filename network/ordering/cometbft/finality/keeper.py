"""Keeps the finality records of a channel: fetches what proves each block, and files it.

After a block that CometBFT decided at height H, this node's own CometBFT has header and commit of
H + 1 a moment later. They are verified like those of a stranger and filed as evidence beside the
block (`finality.py`). Nothing waits for a record: a block counts as soon as it is committed. So
the first one that is missing waits a little for others, and they are asked for together.

Where work was left off shows in the ledger: behind the newest block that has a record. A block
whose header CometBFT has pruned, or never had because this node began with a snapshot, is passed
over: the record of a later block covers it, and its own may come from another member (`gaps.py`).

Invariants:
- What is filed has been verified, and is verified once more by whoever uses it.
- A verified header with another app hash than this node's halts the channel: its ledger is not the
  one that the validators agreed on.
- Records are filed in the order of their blocks; what is lacking is asked for again after a pause.

Absent: when to prune CometBFT's blocks (`retention.py`), which rests on `recorded`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from ledger.blocks.block import Block
from ledger.errors import Refusal
from network.errors import Divergence
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.errors import CometUnavailable
from network.ordering.cometbft.finality.filing import RecordFiler
from network.ordering.cometbft.finality.finality import FINALITY, encode_record
from network.ordering.cometbft.finality.records import OtherAppHash
from network.ordering.cometbft.messages import types_pb2
from network.ordering.cometbft.ports import HeaderSource, RecordSink

__all__ = ["FinalityKeeper"]

logger = logging.getLogger(__name__)

PAUSE_S: Final = 1.0
GATHER_S: Final = 0.3
TOGETHER: Final = 10
"""Records that are asked for at once, as many as CometBFT answers together (`rpc.py`)."""


class FinalityKeeper:
    """Files the finality records of one channel.

    Args:
        headers: this node's CometBFT.
        sink: the channel.
        starting: the block by which the channel became `cometbft`; the first record is that of the
            block after it.
        pause_s: after which CometBFT is asked again for what it did not have.
        gather_s: how long a record waits for others.

    Attributes:
        recorded: CometBFT's height of the newest block up to which no record is awaited; 0 before
            that is known.
        problem: why the next record could not be filed, in words; empty while all is well.
    """

    def __init__(
        self,
        headers: HeaderSource,
        sink: RecordSink,
        starting: Block,
        *,
        pause_s: float = PAUSE_S,
        gather_s: float = GATHER_S,
    ) -> None:
        self._headers = headers
        self._sink = sink
        self._filer = RecordFiler(sink, starting)
        self._first = self._filer.first
        self._pause_s = pause_s
        self._gather_s = gather_s
        self._next: int | None = None
        self._earliest = 0
        self._decided: int | None = None
        self._looked: list[tuple[Block, bool]] = []
        self._woken = asyncio.Event()
        self.recorded = 0
        self.problem = ""

    @property
    def awaited(self) -> int:
        """How many committed blocks have no record yet, as far as one will come."""
        return 0 if self._next is None else max(self._sink.height - self._next, 0)

    @property
    def behind(self) -> int:
        """Number of the first block whose record may still come from this node's CometBFT.

        What lacks one below it must come from elsewhere, and so must that of a block of which
        CometBFT has nothing that proves it.
        """
        return 0 if self._next is None else self._next + bool(self.problem)

    def wake(self, decided: int | None = None) -> None:
        """Look again at once: CometBFT has a further height.

        Args:
            decided: that height; CometBFT is asked for none above it.
        """
        self._decided = decided
        self._woken.set()

    async def run(self) -> None:
        """File records as they can be had, until cancelled.

        Raises:
            Divergence: the validators agreed on another outcome; the channel has been halted.
            Fatal, Unavailable: the channel takes no evidence any more.
        """
        while True:
            self._woken.clear()
            try:
                await self.catch_up()
            except CometUnavailable as away:
                logger.debug("finality records wait for CometBFT: %s", away)
            except Refusal as refused:
                # What CometBFT has proves nothing, or it answers with an error: nothing waits.
                self._complain(str(refused))
                self._looked = []
            idle = self._next is not None and self._next >= self._sink.height
            try:
                async with asyncio.timeout(None if idle else self._pause_s):
                    await self._woken.wait()
                await asyncio.sleep(self._gather_s)
            except TimeoutError:
                continue

    async def catch_up(self) -> int:
        """File the records that can be had now, oldest first; return how many.

        Raises:
            CometUnavailable: CometBFT does not answer.
            Refusal: what it has proves nothing, or it answers with an error.
            Divergence: it proves another outcome; the channel has been halted.
        """
        filed = 0
        if self._next is None:
            self._next = await asyncio.to_thread(self._resume)
        while self._next < self._sink.height:
            blocks = await self._next_blocks(self._next)
            signed = await self._fetch([block for block, has_record in blocks if not has_record])
            for block, has_record in blocks:
                height = comet_height_of(block)
                if block.number in signed:
                    await self._file(block, signed[block.number])
                    filed += 1
                elif not has_record and not self._is_pruned(height):
                    return filed
                self.recorded = height
                self._next += 1
                self.problem = ""
        return filed

    async def _next_blocks(self, first: int) -> list[tuple[Block, bool]]:
        """Return the next blocks, and of each whether it has a record."""
        self._looked = [each for each in self._looked if each[0].number >= first]
        if not self._looked:
            end = min(first + TOGETHER, self._sink.height)
            self._looked = await asyncio.to_thread(lambda: [*map(self._look, range(first, end))])
        return self._looked

    async def _fetch(self, blocks: Sequence[Block]) -> dict[int, types_pb2.SignedHeader]:
        """Return what proves these blocks, as far as CometBFT has it, by the block's number."""
        due = [
            (block.number, height + 1)
            for block in blocks
            if not self._is_pruned(height := comet_height_of(block))
            and (self._decided is None or height < self._decided)
        ]
        if not due:
            return {}
        found = await self._headers.signed_headers([height for _, height in due])
        if None in found:
            self._earliest = (await self._headers.status()).earliest_height
        given = zip(due, found, strict=True)
        return {number: signed for (number, _), signed in given if signed is not None}

    def _is_pruned(self, height: int) -> bool:
        return height + 1 < self._earliest

    async def _file(self, block: Block, signed: types_pb2.SignedHeader) -> None:
        try:
            await self._filer.file(block, encode_record(signed))
        except OtherAppHash as other:
            diverged = Divergence(
                f"this node's ledger differs from what the validators agreed on: {other}"
            )
            self._sink.halt(diverged)
            raise diverged from other

    def _resume(self) -> int:
        """Return the number behind the newest block that has a record."""
        number = self._sink.height - 1
        while number >= self._first and not self._sink.evidence(number, FINALITY):
            number -= 1
        if number >= self._first:
            self.recorded = comet_height_of(self._filer.stored(number))
        return max(number + 1, self._first)

    def _look(self, number: int) -> tuple[Block, bool]:
        """Return a block, and whether it has a record."""
        return self._filer.stored(number), bool(self._sink.evidence(number, FINALITY))

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            logger.error("a finality record cannot be filed: %s", problem)
        self.problem = problem
