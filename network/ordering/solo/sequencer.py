"""The sequencer: the one node of a `solo` channel that orders.

An envelope goes through three places, each a task of its own:

    submit ─▶ intake ─(admission, in a thread)─▶ cutter ─(hash and sign, in a thread)─▶ commit

A block is first committed durably in the sequencer's own ledger; only then do the followers get it
(they ask for committed blocks) and only then does `submit` return. While one block is committed the
next may be cut and signed, no more: what arrives then makes fuller blocks. What has gathered when
it is committed waits for those who are told (`network.ordering.pace`).

Before the first block it compares its ledger with the other members' (`comparison.py`); what is
submitted meanwhile waits.

A configuration update goes the same way, as the configuration transaction that is made of it, in a
block of its own. No block is built while that one is committed, so everything behind it is judged,
cut and signed under the new configuration.

Invariants:
- Every envelope in a block passed every check of `admission.py` under the configuration in force
  when the block was built.
- Under a configuration that gives the ordering to another node this one makes no block.
- Blocks are numbered and chained from the sink's last block on; a block that was signed and is
  lost in a crash was never shown to anybody, so its number is free again.
- After the first failure of a commit nothing more is ordered: the data must be opened again.

Absent: what followers do (`follower.py`), the gRPC service they call (`nodes/orderer`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ledger.blocks.block import Block
from ledger.errors import Fatal, LedgerError
from network.configuration import ChannelConfiguration
from network.errors import OrderingUnavailable
from network.msp import SigningIdentity
from network.ordering.pace import Pace
from network.ordering.ports import BlockSink, Clock, OrderingStatus, OtherNodes
from network.ordering.reconfiguration import verify_may_sign_blocks
from network.ordering.solo.building import BlockBuilder, Submission
from network.ordering.solo.comparison import compare_with_others
from network.ordering.solo.cutter import Cutter

__all__ = ["Sequencer"]

ADMISSION_BATCH = 64
"""Envelopes checked in one go in the thread, so that a hop between threads serves many."""

BLOCKS_IN_WORK = 2
"""One that is committed, and the next one that is cut and signed meanwhile."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _SignedBlock:
    block: Block
    submissions: Sequence[Submission]


class Sequencer:
    """The ordering engine of the node that orders.

    Args:
        sink: this node's committer.
        signer: the node's identity; it must satisfy /Channel/Orderer/BlockValidation.
        clock: what the expiry of clients' certificates is compared with.
        others: the other members' nodes; left out, there are none to compare with.
        orders: whether a configuration lets this node order; left out, every one does.
        queue_limit: envelopes that may wait for their place; beyond it `submit` refuses.
        queue_limit_bytes: their bytes together.
    """

    def __init__(
        self,
        sink: BlockSink,
        signer: SigningIdentity,
        clock: Clock,
        *,
        others: OtherNodes | None = None,
        orders: Callable[[ChannelConfiguration], bool] = lambda _configuration: True,
        queue_limit: int = 10_000,
        queue_limit_bytes: int = 256 * 1024 * 1024,
    ) -> None:
        self._sink = sink
        self._signer = signer
        self._others = others
        self._orders = orders
        self._queue_limit = queue_limit
        self._queue_limit_bytes = queue_limit_bytes
        self._builder = BlockBuilder(sink, signer, clock)
        self._intake: deque[Submission] = deque()
        self._cutter: Cutter[Submission] = Cutter()
        self._pace = Pace()
        self._queued = 0
        self._queued_bytes = 0
        self._blocks_in_work = 0
        self._configuring = False
        self._tip_number = 0
        self._tip_hash = b""
        self._why_not = "the sequencer has not been started"
        self._tasks: list[asyncio.Task[None]] = []
        self._comparison: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to order, from the sink's last block on, after comparing it with others'.

        Raises:
            ConfigurationError: the channel does not let this node sign blocks, so that every
                other node would refuse them.
        """
        if self._tasks or self._comparison is not None:
            return
        verify_may_sign_blocks(self._sink.configuration, self._signer)
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._signed: asyncio.Queue[_SignedBlock] = asyncio.Queue()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="sequencer")
        self._why_not = ""
        if self._others is None:
            self._begin()
        else:
            if self._others.restored:
                self._wait_because("this node's ledger was restored; asking the other members")
            self._comparison = self._spawn(self._compare(self._others), "sequencer: comparison")

    async def _compare(self, others: OtherNodes) -> None:
        try:
            await compare_with_others(self._sink, others, self._wait_because)
        except Fatal as fatal:
            self._sink.halt(fatal)
            raise
        finally:
            # What was waited for is no longer the reason, however this has ended.
            self._why_not = ""
        self._begin()

    def _wait_because(self, reason: str) -> None:
        """Take no envelopes yet, and tell those who wait for their place."""
        if reason != self._why_not:
            logger.warning("nothing is ordered yet: %s", reason)
        self._why_not = reason
        self._refuse_waiting(reason)

    def _begin(self) -> None:
        self._tip_number = self._sink.height - 1
        self._tip_hash = self._sink.last_header_hash
        self._tasks = [
            self._spawn(self._admit_envelopes(), "sequencer: admission"),
            self._spawn(self._cut_blocks(), "sequencer: cutting"),
            self._spawn(self._commit_blocks(), "sequencer: commit"),
        ]

    async def stop(self) -> None:
        """Finish the blocks that are signed, refuse what waits, and end."""
        comparison, self._comparison = self._comparison, None
        if comparison is None and not self._tasks:
            return
        if comparison is not None:
            comparison.cancel()
            await asyncio.gather(comparison, return_exceptions=True)
        self._why_not = self._why_not or "the sequencer is being stopped"
        if self._tasks:
            await self._stop_ordering()
        self._refuse_waiting(self._why_not)
        self._threads.shutdown(wait=False)

    async def _stop_ordering(self) -> None:
        admission, cutting, commit = self._tasks
        self._tasks = []
        admission.cancel()
        cutting.cancel()
        await asyncio.gather(admission, cutting, return_exceptions=True)
        if not commit.done():
            drained = asyncio.ensure_future(self._signed.join())
            await asyncio.wait([drained, commit], return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()
        commit.cancel()
        await asyncio.gather(commit, return_exceptions=True)

    async def submit(self, envelope: bytes) -> None:
        """Order one envelope; return when its block is durable in this node's ledger."""
        if self._why_not:
            raise OrderingUnavailable(f"nothing can be submitted now: {self._why_not}")
        if (
            self._queued >= self._queue_limit
            or self._queued_bytes + len(envelope) > self._queue_limit_bytes
        ):
            raise OrderingUnavailable(
                f"the orderer's queue is full with {self._queued} envelopes of "
                f"{self._queued_bytes} bytes; nothing was taken, try again in a moment"
            )
        loop = asyncio.get_running_loop()
        submission = Submission(envelope, loop.time(), loop.create_future())
        self._queued += 1
        self._queued_bytes += len(envelope)
        self._intake.append(submission)
        self._arrived.set()
        await submission.done

    def status(self) -> OrderingStatus:
        """Return whether envelopes are taken, and how many wait."""
        return OrderingStatus(
            engine="solo",
            role="sequencer",
            accepting=not self._why_not,
            reason=self._why_not,
            queued=self._queued,
            endpoint="",
        )

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that ends by an exception ends the ordering: nobody may wait for ever."""
        if task.cancelled() or task.exception() is None:
            return
        self._why_not = self._why_not or f"the sequencer stopped: {task.exception()}"
        logger.critical("%s", self._why_not, exc_info=task.exception())
        for other in self._tasks:
            other.cancel()
        self._refuse_waiting(self._why_not)

    def _settle(self, submission: Submission, error: LedgerError | None = None) -> None:
        """Tell the caller, unless it went away; the envelope no longer counts as queued."""
        self._queued -= 1
        self._queued_bytes -= submission.size_bytes
        if submission.done.done():
            return
        if error is None:
            submission.done.set_result(None)
        else:
            submission.done.set_exception(error)

    def _refuse(self, submissions: Iterable[Submission], reason: str) -> None:
        """Tell callers that nothing was taken: their envelopes are in no block that anybody has."""
        for submission in submissions:
            self._settle(submission, OrderingUnavailable(f"nothing can be submitted now: {reason}"))

    def _refuse_waiting(self, reason: str) -> None:
        waiting = [*self._intake, *self._cutter.clear()]
        self._intake.clear()
        while not self._signed.empty():
            waiting.extend(self._signed.get_nowait().submissions)
            self._signed.task_done()
        self._refuse(waiting, reason)

    async def _admit_envelopes(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._intake:
                count = min(ADMISSION_BATCH, len(self._intake))
                batch = [self._intake.popleft() for _ in range(count)]
                try:
                    refusals = await loop.run_in_executor(self._threads, self._builder.check, batch)
                except BaseException:
                    self._refuse(batch, self._why_not or "the sequencer failed to check it")
                    raise
                if self._why_not:
                    self._refuse(batch, self._why_not)
                    continue
                for submission, refusal in zip(batch, refusals, strict=True):
                    if refusal is None:
                        self._cutter.add(submission)
                    else:
                        self._settle(submission, refusal)
                self._changed.set()

    async def _cut_blocks(self) -> None:
        while True:
            batch = self._sink.configuration.batch
            due = None
            if self._blocks_in_work < BLOCKS_IN_WORK and not self._configuring:
                if not self._orders(self._sink.configuration):
                    self._give_up_ordering()
                    return
                now = asyncio.get_running_loop().time()
                pause_s = None
                if not self._blocks_in_work:
                    pause_s = self._pace.pause_s(now, len(self._cutter))
                due = self._cutter.due_in(batch, now, pause_s=pause_s)
            if due is None or due > 0:
                await self._wait_for_change(due)
                continue
            self._pace.goes()
            self._blocks_in_work += 1
            await self._make_block(self._cutter.cut(batch))

    async def _make_block(self, submissions: Sequence[Submission]) -> None:
        """Have a block of *submissions* signed and pass it on to be committed."""
        loop = asyncio.get_running_loop()
        try:
            block, verdicts = await loop.run_in_executor(
                self._threads,
                self._builder.build,
                submissions,
                self._tip_number + 1,
                self._tip_hash,
            )
        except BaseException:
            self._refuse(submissions, self._why_not or "the sequencer failed to make a block")
            raise
        kept = []
        for submission, refusal in zip(submissions, verdicts, strict=True):
            if refusal is None:
                kept.append(submission)
            else:
                self._settle(submission, refusal)
        if block is None:
            self._blocks_in_work -= 1
            return
        self._tip_number = block.header.number
        self._tip_hash = block.header.hash()
        self._configuring = kept[0].alone
        self._signed.put_nowait(_SignedBlock(block, kept))

    def _give_up_ordering(self) -> None:
        """Another node is to order from here on: refuse what waits, which it may be given."""
        host, port = self._sink.configuration.orderer_endpoints[0][1:]
        self._wait_because(f"the channel is ordered by {host}:{port} now, this node only follows")

    async def _wait_for_change(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _commit_blocks(self) -> None:
        while True:
            signed = await self._signed.get()
            try:
                await self._sink.accept(signed.block)
            except BaseException as failure:
                self._why_not = self._why_not or f"the sequencer stopped: {failure}"
                number = signed.block.header.number
                for submission in signed.submissions:
                    self._settle(
                        submission,
                        OrderingUnavailable(
                            f"block {number} was not committed ({failure}); it is known only after "
                            "a restart whether the transaction is in it: ask for its status first",
                            outcome_definite=False,
                        ),
                    )
                raise
            finally:
                self._signed.task_done()
                self._blocks_in_work -= 1
                if signed.submissions[0].alone:
                    self._configuring = False
                self._changed.set()
            self._pace.ordered(asyncio.get_running_loop().time(), self._queued)
            for submission in signed.submissions:
                self._settle(submission)
