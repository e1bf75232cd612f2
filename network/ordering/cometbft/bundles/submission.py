"""From one envelope of this node's clients to its place in the order: bundling and sending.

    submit ─▶ examine (in a thread) ─▶ gather ─▶ make a bundle (in a thread) ─▶ CometBFT ─▶ a block

While none of this node's bundles is under way, an envelope goes at once; under load what has
gathered goes when the block before is durable and those in it had time to come back
(`network.ordering.pace`), or a bundle is full, with at most UNDER_WAY of them. `submit` returns
when the bundle stands in a block that is durable here.

CometBFT promises nothing for what it has taken. So a bundle is given to it again, at growing
pauses, until it is seen in a block or can no longer be in one. What then becomes of its envelopes:

- In a block: ordered.
- Refused by CheckTx here at the first try: no other node has it. They go into another bundle, a few
  times, then they are refused as unavailable with CheckTx's words, definitely not taken. Where the
  reason is this member's quota, the same bundle waits for the next block.
- Its `valid_until` has passed: it was definitely not ordered, and they go into another bundle.
- A configuration that another one has overtaken can never be ordered: it is made anew from its
  update, or refused if that rests on what the other one changed.
- Under a new configuration it may no longer be ordered, and CometBFT has it: those envelopes that
  are still admitted go into another bundle. Should both be ordered after all, the second has the
  verdict of a duplicate. From then on no outcome of theirs is definite but that they are ordered.

Whoever has waited for `patience_s` is told that it is unavailable, and whether his envelope may
have been taken. The bundle goes on without him.

Invariants: what `submit` says of an outcome is so (`network.ordering.ports`); every queue is
bounded; after the first failure of a task nothing more is taken. Used on one event loop.

Absent: who may submit, CheckTx's rules, what is ordered by other nodes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from network.configuration import BatchParameters
from network.errors import OrderingUnavailable
from network.msp import SigningIdentity
from network.ordering.cometbft.bundles.bundle import limits_of
from network.ordering.cometbft.bundles.gathering import Gathering, Submission
from network.ordering.cometbft.bundles.judged import Judged
from network.ordering.cometbft.bundles.making import BundleMaker
from network.ordering.cometbft.bundles.sending import BundleUnderWay
from network.ordering.cometbft.ports import Broadcast, SubmissionSink
from network.ordering.pace import Pace
from network.ordering.ports import Clock

__all__ = ["Bundler"]

UNDER_WAY: Final = 3
"""Bundles of one node that are not in a block yet, at most."""

ATTEMPTS: Final = 3
"""How often an envelope goes into another bundle after CheckTx refused one."""

EXAMINED_AT_ONCE: Final = 64
"""Envelopes examined in one go in the thread, so that a hop between threads serves many."""

PATIENCE_S: Final = 30.0
AGAIN_S: Final = 2.0

logger = logging.getLogger(__name__)


class Bundler:
    """Has envelopes ordered through CometBFT.

    Args:
        sink: this node's committer.
        signer: the node's identity.
        clock: what certificates' expiry is compared with, and the time of configurations.
        broadcast: this node's CometBFT.
        adopt: takes what was found out about a bundle of this node (`BundleRules.adopt`).
        pass_on: begins to give a bundle to the other members' nodes (`passing.py`).
        queue_limit: envelopes that may wait for a bundle; beyond it `submit` refuses.
        queue_limit_bytes: their bytes together.
        patience_s: how long one may wait for its place.
        again_s: after how long a bundle is given to CometBFT again, at first.
    """

    def __init__(
        self,
        sink: SubmissionSink,
        signer: SigningIdentity,
        clock: Clock,
        broadcast: Broadcast,
        adopt: Callable[[Judged], None],
        pass_on: Callable[[bytes], None] = lambda _: None,
        *,
        queue_limit: int = 10_000,
        queue_limit_bytes: int = 256 * 1024 * 1024,
        patience_s: float = PATIENCE_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self._sink = sink
        self._maker = BundleMaker(signer, clock)
        self._broadcast = broadcast
        self._adopt = adopt
        self._pass_on = pass_on
        self._patience_s = patience_s
        self._again_s = again_s
        self._intake: deque[Submission] = deque()
        self._intake_bytes = 0
        self._waiting = 0
        self._gathering = Gathering(queue_limit, queue_limit_bytes)
        self._pace = Pace()
        self._under_way: dict[bytes, BundleUnderWay] = {}
        self._why_not = "the engine has not been started"
        self._running = False
        self._arrived = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def why_not(self) -> str:
        """Why nothing is taken now; empty while `submit` would try."""
        return self._why_not

    @property
    def queued(self) -> int:
        """Envelopes whose callers wait for their place in a block."""
        return self._waiting

    @property
    def unsettled(self) -> int:
        """What waits for a block: callers, and bundles under way whose callers have gone."""
        return self._waiting + len(self._under_way)

    @property
    def gathered(self) -> int:
        """Those that have been examined and are in no bundle yet."""
        return len(self._gathering)

    def start(self) -> None:
        """Begin to take envelopes."""
        if self._running:
            return
        self._running = True
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="bundler")
        self._why_not = ""
        self._spawn(self._examine(), "bundler: examination")
        self._spawn(self._bundle(), "bundler: bundling")

    async def stop(self) -> None:
        """Take no more, and tell all who wait what is known of their envelopes."""
        if not self._running:
            return
        self.pause("this node is leaving the ordering")
        self._running = False
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._give_up_all()
        self._threads.shutdown(wait=False)

    def pause(self, reason: str) -> None:
        """Take nothing for a while, and refuse what is in no bundle; bundles stay under way."""
        if not self._running:
            return
        if reason != self._why_not:
            logger.warning("no envelopes are taken: %s", reason)
        self._why_not = reason
        self._refuse_waiting()

    def resume(self) -> None:
        """Take envelopes again after a pause, and give CometBFT at once what is under way."""
        if not self._running:
            return
        self._why_not = ""
        self.again()

    def again(self) -> None:
        """Give CometBFT every bundle again: it was started anew and has forgotten them."""
        for each in self._under_way.values():
            each.nudge()

    async def submit(self, envelope: bytes) -> None:
        """Have one envelope ordered; return when its block is durable in this node's ledger.

        Raises:
            OrderingRefusal: it breaks a rule.
            OrderingUnavailable: it cannot be ordered now; says whether it may have been.
        """
        if self._why_not:
            raise OrderingUnavailable(f"nothing can be submitted now: {self._why_not}")
        self._verify_room(len(envelope))
        loop = asyncio.get_running_loop()
        submission = Submission(envelope, loop.time(), loop.create_future())
        self._intake.append(submission)
        self._intake_bytes += len(envelope)
        self._arrived.set()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._patience_s):
                await submission.done
        except TimeoutError:
            raise submission.late(self._patience_s) from None
        finally:
            self._waiting -= 1

    def _verify_room(self, size_bytes: int) -> None:
        gathering = self._gathering
        for attempt in range(2):
            waiting = len(self._intake) + len(gathering)
            waiting_bytes = self._intake_bytes + gathering.size_bytes
            if waiting < gathering.limit and waiting_bytes + size_bytes <= gathering.limit_bytes:
                return
            if not attempt:
                gathering.drop_gone()
        raise OrderingUnavailable(
            f"the queue for the next bundles is full with {waiting} envelopes of {waiting_bytes} "
            "bytes; nothing was taken, try again in a moment"
        )

    def ordered(self, number: int, bundle_ids: Collection[bytes]) -> None:
        """Hear of a block that is durable here; to be called for each, when the sink has it.

        Args:
            number: of the block.
            bundle_ids: of the bundles in it, this node's among them.
        """
        if self._under_way.keys() & bundle_ids:
            self._pace.ordered(asyncio.get_running_loop().time(), self._waiting)
        for bundle_id in bundle_ids:
            found = self._under_way.get(bundle_id)
            if found is not None:
                self._end(found)
                for submission in found.submissions:
                    submission.succeed()
        sequence = self._sink.configuration.sequence
        for each in list(self._under_way.values()):
            if each.valid_until <= number or (each.configures and each.sequence != sequence):
                self._end(each)
                self._gather_again(each.submissions)
            elif each.sequence != sequence:
                each.sequence = sequence
                self._spawn(self._look_again(each), "bundler: under another configuration")
            elif each.held:
                each.nudge()
        self._changed.set()

    async def _examine(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._intake:
                count = min(EXAMINED_AT_ONCE, len(self._intake))
                batch = [self._intake.popleft() for _ in range(count)]
                self._intake_bytes -= sum(each.size_bytes for each in batch)
                try:
                    await self._examine_batch(batch)
                except BaseException as failure:
                    _refuse(batch, self._why_not or f"the bundling stopped: {failure}")
                    raise

    async def _examine_batch(self, batch: Sequence[Submission]) -> None:
        refusals = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._maker.examine, batch, self._sink.configuration
        )
        for submission, refusal in zip(batch, refusals, strict=True):
            if refusal is not None:
                submission.fail(refusal)
            elif self._why_not:
                _refuse([submission], self._why_not)
            else:
                try:
                    self._gathering.verify_share(submission.creator, submission.size_bytes)
                except OrderingUnavailable as full:
                    submission.fail(full)
                else:
                    self._gathering.add(submission)
        self._changed.set()

    def _batch(self) -> BatchParameters:
        batch = self._sink.configuration.batch
        return replace(batch, max_message_count=limits_of(batch).envelopes)

    async def _bundle(self) -> None:
        while True:
            batch, due = self._batch(), None
            configuring = any(each.configures for each in self._under_way.values())
            if len(self._under_way) < UNDER_WAY:
                now, pause_s = asyncio.get_running_loop().time(), None
                if not self._under_way:
                    pause_s = self._pace.pause_s(now, len(self._gathering))
                due = self._gathering.due_in(batch, now, pause_s=pause_s, configuring=configuring)
            if due is None or due > 0:
                await self._wait_for_change(due)
                continue
            self._pace.goes()
            taken = self._gathering.take(batch, configuring=configuring)
            left = [each for each in taken if not each.is_gone]
            if left:
                await self._make(left)

    async def _wait_for_change(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _make(self, submissions: Sequence[Submission]) -> None:
        """Have a bundle made and send it on its way."""
        for each in submissions:
            each.taken = True
        try:
            made, verdicts = await asyncio.get_running_loop().run_in_executor(
                self._threads,
                self._maker.make,
                submissions,
                self._sink.configuration,
                self._sink.height,
            )
            if made is not None and made.judged is not None:
                self._adopt(made.judged)
        except BaseException as failure:
            _refuse(submissions, self._why_not or f"the bundling stopped: {failure}")
            raise
        kept = []
        for submission, verdict in zip(submissions, verdicts, strict=True):
            if verdict is None:
                kept.append(submission)
            else:
                submission.fail(verdict)
        if made is not None:
            under_way = BundleUnderWay(made, kept)
            self._under_way[under_way.bundle_id] = under_way
            self._spawn(self._carry(under_way), "bundler: a bundle")

    async def _carry(self, bundle: BundleUnderWay) -> None:
        """Give a bundle to CometBFT until it is settled."""
        refused = await bundle.carry(self._broadcast, self._pass_on, self._again_s)
        if not refused:
            return
        # Nobody but this node has seen it: its envelopes may go into another one.
        logger.warning("CometBFT refused a bundle of this node: %s", refused)
        self._end(bundle)
        again = []
        for submission in bundle.submissions:
            submission.attempts += 1
            if submission.attempts < ATTEMPTS:
                again.append(submission)
            else:
                submission.fail(
                    OrderingUnavailable(
                        f"the envelope was not taken, as CometBFT refused its bundle {ATTEMPTS} "
                        f"times: {refused}; try again, or submit it through another member's node"
                    )
                )
        self._gather_again(again)

    async def _look_again(self, bundle: BundleUnderWay) -> None:
        """See what a new configuration leaves of a bundle that may be out."""
        configuration = self._sink.configuration
        refusals = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._maker.look_again, bundle.made, bundle.submissions, configuration
        )
        if bundle.over or refusals is None:
            return
        self._end(bundle)
        kept = []
        for submission, refusal in zip(bundle.submissions, refusals, strict=True):
            submission.doubtful = submission.doubtful or bundle.may_be_out
            if refusal is None:
                kept.append(submission)
            else:
                submission.fail(refusal)
        self._gather_again(kept)

    def _gather_again(self, submissions: Sequence[Submission]) -> None:
        """Put envelopes in front again, to be examined under the configuration in force."""
        for submission in reversed(submissions):
            submission.taken = False
            submission.sequence = -1
            if self._why_not:
                _refuse([submission], self._why_not)
            elif not submission.is_gone:
                self._gathering.add(submission, first=True)
        self._changed.set()

    def _end(self, bundle: BundleUnderWay) -> None:
        bundle.end()
        self._under_way.pop(bundle.bundle_id, None)
        self._changed.set()

    def _refuse_waiting(self) -> None:
        _refuse([*self._intake, *self._gathering.clear()], self._why_not)
        self._intake.clear()
        self._intake_bytes = 0

    def _give_up_all(self) -> None:
        """Tell everybody what is known of his envelope."""
        self._refuse_waiting()
        for bundle in list(self._under_way.values()):
            self._end(bundle)
            if not bundle.may_be_out:
                _refuse(bundle.submissions, self._why_not)
                continue
            for submission in bundle.submissions:
                submission.fail(
                    OrderingUnavailable(
                        f"{self._why_not}; the envelope was given to CometBFT and may be ordered: "
                        "ask for its status first",
                        outcome_definite=False,
                    )
                )

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that ends by an exception ends the bundling: nobody may wait for ever."""
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        self._running = False
        self._why_not = f"the bundling stopped: {task.exception()}"
        logger.critical("%s", self._why_not, exc_info=task.exception())
        for other in self._tasks:
            other.cancel()
        self._give_up_all()
        self._threads.shutdown(wait=False)


def _refuse(submissions: Iterable[Submission], reason: str) -> None:
    """Tell callers that nothing was taken: their envelopes are in no bundle that anybody has."""
    for submission in submissions:
        submission.fail(OrderingUnavailable(f"nothing can be submitted now: {reason}"))
