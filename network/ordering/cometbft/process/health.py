"""Whether this node's CometBFT takes part, and what to tell who asks.

Asked of CometBFT every now and then, never on the way of an envelope: often while something is
amiss, seldom while all is well.

Invariants: nothing is accepted unless more than two thirds of the validators' weight are in touch
with this node, itself included; what is said names the members that are missing. Members whose link
is broken but not closed look connected for a while: then it shows by nothing being ordered though
something waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ledger.errors import LedgerError
from network.ordering.cometbft.process.rpc import CometProgress, CometStatus
from network.ordering.cometbft.validators import Validator

__all__ = ["CometHealth", "CometView", "Observed"]

OFTEN_S: Final = 0.2
SELDOM_S: Final = 1.0
STALLED_S: Final = 5.0
"""After which nothing ordered, while something waits, means that nothing will be."""

logger = logging.getLogger(__name__)


class CometView(Protocol):
    """CometBFT, as who watches over it asks (`rpc.CometRpc`)."""

    async def status(self) -> CometStatus:
        """Return how far it is."""

    async def peers(self) -> tuple[str, ...]:
        """Return the ids of the nodes that it is connected to."""

    async def progress(self) -> CometProgress:
        """Return where the agreement stands."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen last.

    Attributes:
        catching_up: whether CometBFT fetches old blocks.
        height: CometBFT's.
        decided: the highest height that is known to be decided.
        round: of the height that it is at.
        peers: MSP ids of the connected members.
        reachable: validators in touch, this node's member included.
        missing: MSP ids of the validators that are not.
        has_quorum: whether those in touch can agree.
    """

    catching_up: bool
    height: int
    decided: int
    round: int
    peers: tuple[str, ...]
    reachable: int
    missing: tuple[str, ...]
    has_quorum: bool


class CometHealth:
    """Watches one CometBFT.

    Args:
        view: the CometBFT.
        msp_id: this node's member.
        validators: those in force.
        waiting: how much waits for a block.
        on_change: told when `reason` has changed.

    Attributes:
        observed: what was seen last; None while CometBFT does not answer.
        reason: why nothing is accepted, in words; empty while it is.
    """

    def __init__(
        self,
        view: CometView,
        msp_id: str,
        validators: Callable[[], Sequence[Validator]],
        waiting: Callable[[], int],
        on_change: Callable[[], None],
    ) -> None:
        self._view = view
        self._msp_id = msp_id
        self._validators = validators
        self._waiting = waiting
        self._on_change = on_change
        self._progress: float | None = None
        self._failed = ""
        self._woken = asyncio.Event()
        self._cause = ""
        self.observed: Observed | None = None
        self.reason = "CometBFT is being started"

    def progressed(self) -> None:
        """Hear that a block was committed."""
        self._progress = None

    def begins(self) -> None:
        """Hear that a CometBFT is started, with which what an earlier one met is over."""
        self._failed = ""

    def failed(self, reason: str) -> None:
        """Hear that CometBFT answers, and takes no part any more until it is started anew."""
        self._failed = reason
        self.lost(reason)

    def lost(self, reason: str) -> None:
        """Hear that CometBFT is away."""
        self.observed = None
        self._say(reason)
        self._woken.set()

    def blame(self, cause: str) -> None:
        """Hear what keeps CometBFT from going on, to be said whatever is seen; empty: nothing."""
        if cause == self._cause:
            return
        self._cause = cause
        if cause:
            self._say(cause)
        self._woken.set()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self._woken.clear()
            await self._look()
            try:
                async with asyncio.timeout(OFTEN_S if self.reason else SELDOM_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        try:
            status = await self._view.status()
            peers = await self._view.peers()
            # While all is well nobody is ahead, and each height has one round.
            progress = CometProgress(0, 0)
            if self._waiting() or self.reason:
                progress = await self._view.progress()
        except LedgerError as away:
            self.observed = None
            if not self.reason:
                self._say(str(away))
            return
        self.observed = self._observe(status, peers, progress)
        self._say(self._why_not(self.observed))

    def _observe(
        self, status: CometStatus, peers: Sequence[str], progress: CometProgress
    ) -> Observed:
        validators = self._validators()
        names = {each.node_id: each.msp_id for each in validators}
        connected = {names[each] for each in peers if each in names}
        present = connected | {self._msp_id}
        powers = {each.msp_id: each.power for each in validators}
        in_touch = sum(power for msp_id, power in powers.items() if msp_id in present)
        return Observed(
            catching_up=status.catching_up,
            height=status.height,
            round=progress.round,
            decided=max(status.height, progress.highest - 1),
            peers=tuple(sorted(connected)),
            reachable=sum(msp_id in present for msp_id in powers),
            missing=tuple(sorted(powers.keys() - present)),
            has_quorum=3 * in_touch > 2 * sum(powers.values()),
        )

    def _why_not(self, seen: Observed) -> str:
        if self._failed:
            return self._failed
        count = seen.reachable + len(seen.missing)
        if not seen.has_quorum:
            return (
                f"{seen.reachable} of {count} members that order are in touch with this node, and "
                f"more than two thirds are needed: {', '.join(seen.missing)} "
                f"{'is' if len(seen.missing) == 1 else 'are'} missing"
            )
        if seen.catching_up:
            return "this node is catching up with the others"
        now = asyncio.get_running_loop().time()
        if not self._waiting():
            self._progress = None
        elif self._progress is None:
            self._progress = now
        elif now - self._progress > STALLED_S:
            return (
                f"nothing has been ordered for more than {STALLED_S:g} s though something waits: "
                f"a third of the {count} members that order, or more, do not take part"
            )
        return ""

    def _say(self, reason: str) -> None:
        reason = self._cause or reason
        if reason == self.reason:
            return
        if reason and not self.reason:
            logger.warning("nothing can be ordered now: %s", reason)
        elif not reason:
            logger.info("envelopes are ordered")
        self.reason = reason
        self._on_change()
