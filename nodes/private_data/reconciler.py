"""Private data that a block was committed without: asked for in the background until they are here.

Rounds follow one another at an interval, and at once when a block was committed with something
missing or a definition has made this node's member entitled to more. A round asks the newest blocks
first, each set of the members that were entitled when it was written and are today, then of the
others; what comes is handed to the ledger, which verifies it against the block. A set that a member
was asked for in vain (it may not have committed the block itself so far) waits a moment for its
next turn, then twice as long, up to `LONGEST_PAUSE_S`; where all who may have it are down, it is
asked for again in the next round.

Invariants: blocks never wait for a round; a round asks for `MOST_AT_ONCE` sets at most; what the
ledger refuses is logged with its reason and asked of the next member.

Source: Fabric, gossip/privdata/reconcile.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from ledger.errors import Fatal, Refusal, Unavailable
from ledger.state.private import MissingPrivate
from ledger.transactions.private import PrivateWrite
from nodes.channel import Channel
from nodes.private_data.access import Collections
from nodes.private_data.digests import Digest
from nodes.private_data.pulling import Pulling

__all__ = ["Reconciler"]

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
SHORTEST_WAIT_S: Final = 0.1
MOST_AT_ONCE: Final = 10_000
BATCH: Final = 256
ANSWER_S: Final = 10.0
"""How long one member may take for one answer, as much as it may hold."""
ROUND_S: Final = 30.0
"""How long one batch may take, whoever is down."""


@dataclass(slots=True)
class _Turn:
    """When a set may be asked for again, by the loop's clock."""

    at: float = 0.0
    pause_s: float = 0.0


class Reconciler:
    """Reconciles one channel; lives on the event loop.

    Args:
        channel: of the node.
        own: MSP id of this node's member.
        pulling: asks the others.
        collections: returns those under the configuration in force.
        interval_s: between two rounds.
    """

    def __init__(
        self,
        channel: Channel,
        own: str,
        pulling: Pulling,
        collections: Callable[[], Collections],
        interval_s: float,
    ) -> None:
        self._channel = channel
        self._own = own
        self._pulling = pulling
        self._collections = collections
        self._interval_s = interval_s
        self._poked = asyncio.Event()
        self._to_review = True
        self._turns: dict[MissingPrivate, _Turn] = {}
        self._task: asyncio.Task[None] | None = None
        self.missing = 0
        self.reconciled = 0
        self.last_success: datetime | None = None
        self.last_round: datetime | None = None

    def start(self) -> None:
        """Begin to work on the running loop."""
        self._task = asyncio.create_task(self._work(), name="private data reconciler")

    async def stop(self) -> None:
        """End; a batch at work is given up."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def poke(self) -> None:
        """Begin a round now; what was asked for in vain goes on waiting for its turn."""
        self._poked.set()

    def review(self) -> None:
        """Look at the definitions again, one of which has changed, and begin a round."""
        self._to_review = True
        self.poke()

    async def _work(self) -> None:
        while True:
            try:
                await self._claim()
                await self.round()
            except (Unavailable, Refusal) as error:
                log.warning("private data could not be reconciled: %s", error)
            except Fatal as fatal:
                # The channel has halted, and says so; there is nothing more to be written.
                log.error("private data are reconciled no more: %s", fatal)
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s()):
                    await self._poked.wait()
            self._poked.clear()

    def _wait_s(self) -> float:
        """How long until the next round: until the next set's turn, if that is soon."""
        now = asyncio.get_running_loop().time()
        next_s = min((turn.at - now for turn in self._turns.values()), default=self._interval_s)
        return min(self._interval_s, max(SHORTEST_WAIT_S, next_s))

    async def _claim(self) -> None:
        """Let the ledger know every collection to which this node is entitled today.

        What it was not entitled to when it was written, and is now, is asked for from now on.
        """
        if not self._to_review:
            return
        # First, so that a definition that changes meanwhile is looked at in the next round.
        self._to_review = False
        try:
            places = await asyncio.to_thread(self._entitled)
            found = await self._channel.write(lambda ledger: ledger.become_eligible(places))
        except Unavailable:
            self._to_review = True
            raise
        if found:
            log.info("%s is now entitled to %d private write sets more", self._own, found)

    def _entitled(self) -> list[tuple[str, str]]:
        collections = self._collections()
        state = self._channel.snapshot()
        try:
            return [(each.namespace, each.name) for each in collections.of_member(state, self._own)]
        finally:
            state.close()

    async def round(self) -> int:
        """Ask once for everything whose turn it is; return how many sets came."""
        now = asyncio.get_running_loop().time()
        turns, self._turns = self._turns, {}
        page: list[MissingPrivate] = []
        missing = asked = came = 0
        while page := await asyncio.to_thread(
            self._channel.ledger.missing_private, BATCH, page[-1] if page else None
        ):
            missing += len(page)
            for each in page:
                if each in turns:
                    self._turns[each] = turns[each]
            due = [each for each in page if each not in turns or turns[each].at <= now]
            if due and asked < MOST_AT_ONCE:
                asked += len(due)
                self.last_round = datetime.now(UTC)
                came += await self._reconcile(due)
        self.missing = missing - came
        if came:
            self.reconciled += came
            self.last_success = datetime.now(UTC)
            log.info("%d private write sets came late, %d are missing", came, self.missing)
        return came

    async def _reconcile(self, batch: Sequence[MissingPrivate]) -> int:
        wanted = await asyncio.to_thread(self._members_of, batch)
        places = {
            Digest("", each.namespace, each.collection, each.block_num, each.tx_num): each
            for each in batch
        }

        async def accept(msp_id: str, sent: Mapping[Digest, Sequence[bytes]]) -> set[Digest]:
            items = [
                (digest.block_num, digest.tx_num, PrivateWrite(*digest[1:3], rwset))
                for digest, rwsets in sent.items()
                for rwset in rwsets[:1]
            ]
            refused = await self._channel.write(lambda ledger: ledger.add_private(items))
            for each in refused:
                log.warning(
                    "private data of %s/%s for transaction %d of block %d that %s sent were "
                    "refused: %s",
                    each.namespace, each.collection, each.tx_num, each.block_num, msp_id,
                    each.reason,
                )  # fmt: skip
            bad = {
                Digest("", each.namespace, each.collection, each.block_num, each.tx_num)
                for each in refused
            }
            return set(sent) - bad

        found = await self._pulling.pull(wanted, accept, ROUND_S, ANSWER_S)
        now = asyncio.get_running_loop().time()
        for digest, each in places.items():
            if digest in found:
                self._turns.pop(each, None)
                continue
            turn = self._turns.setdefault(each, _Turn())
            turn.at = now + self._interval_s
            if self._pulling.is_any_up(wanted[digest]):
                first_s = min(FIRST_PAUSE_S, self._interval_s)
                turn.pause_s = min(max(first_s, 2 * turn.pause_s), LONGEST_PAUSE_S)
                turn.at = now + turn.pause_s
        return len(found)

    def _members_of(self, batch: Sequence[MissingPrivate]) -> dict[Digest, list[str]]:
        """Return for each set whom to ask: members of then that are members today come first."""
        collections = self._collections()
        wanted: dict[Digest, list[str]] = {}
        state = self._channel.snapshot()
        try:
            for each in batch:
                place = (each.namespace, each.collection)
                then = collections.at_block(state, *place, each.block_num)
                today = collections.find(state, *place)
                members_then = () if then is None else then.members
                members_today = () if today is None else today.members
                asked = dict.fromkeys([m for m in members_today if m in members_then])
                asked.update(dict.fromkeys(members_today))
                asked.update(dict.fromkeys(members_then))
                asked.pop(self._own, None)
                wanted[Digest("", *place, each.block_num, each.tx_num)] = list(asked)
        finally:
            state.close()
        return wanted
