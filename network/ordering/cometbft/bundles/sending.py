"""One bundle on its way: given to CometBFT again and again until it is settled.

CometBFT promises nothing for what it has taken: it forgets what waits when it is started anew, and
may drop it. So a bundle is given to it at growing pauses, and at once when there is a reason to.

What is kept about it is whether anybody else may have it. CheckTx that refuses it at the first try
keeps it from all others, for it goes the short way (`passing.py`) only when CometBFT has taken it;
after that no answer proves that it was never passed on.

Absent: what becomes of its envelopes (`submission.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from ledger.errors import Refusal, Unavailable
from network.ordering.cometbft.bundles.bundle import BundleCode, BundleKind
from network.ordering.cometbft.bundles.gathering import Submission
from network.ordering.cometbft.bundles.making import MadeBundle
from network.ordering.cometbft.ports import Broadcast

__all__ = ["BundleUnderWay"]

LONGEST_PAUSE_S: Final = 30.0

logger = logging.getLogger(__name__)


class BundleUnderWay:
    """A bundle that is not in a block yet.

    Attributes:
        made: the bundle.
        submissions: whose envelopes are in it.
        sequence: of the configuration under which it may be ordered, as far as is known here.
        may_be_out: whether CometBFT may have it.
        held: whether this member's quota keeps it back until the next block.
        over: whether it is settled.
    """

    def __init__(self, made: MadeBundle, submissions: Sequence[Submission]) -> None:
        self.made = made
        self.submissions = submissions
        self.sequence = made.sequence
        self.may_be_out = False
        self.held = False
        self.over = False
        self._is_passed_on = False
        self._nudged = asyncio.Event()

    @property
    def bundle_id(self) -> bytes:
        """SHA-256 of the bundle."""
        return self.made.head.bundle_id

    @property
    def valid_until(self) -> int:
        """Number of the last block that may hold it."""
        return self.made.head.valid_until

    @property
    def configures(self) -> bool:
        """Whether it holds a configuration."""
        return self.made.head.kind is BundleKind.CONFIGURATION

    def nudge(self) -> None:
        """Have it given to CometBFT again at once."""
        self._nudged.set()

    def end(self) -> None:
        """Give it to nobody any more."""
        self.over = True
        self._nudged.set()

    async def carry(
        self, broadcast: Broadcast, pass_on: Callable[[bytes], None], again_s: float
    ) -> str:
        """Give it to CometBFT until it is settled.

        Args:
            broadcast: this node's CometBFT.
            pass_on: begins to give it to the other members' nodes, once CometBFT has taken it.
            again_s: the first pause before it is given again.
        Returns:
            why CometBFT refused it and nobody else has it; empty if it was settled otherwise.
        """
        pause = again_s
        while not self.over:
            refused = await self._give(broadcast, pass_on)
            if refused and not self.over:
                return refused
            try:
                async with asyncio.timeout(pause):
                    await self._nudged.wait()
            except TimeoutError:
                pause = min(2 * pause, LONGEST_PAUSE_S)
            self._nudged.clear()
        return ""

    async def _give(self, broadcast: Broadcast, pass_on: Callable[[bytes], None]) -> str:
        """Give it once; return why CometBFT does not have it, if that is final."""
        self.held = False
        # Until the answer says otherwise: who is cancelled meanwhile does not know.
        before, self.may_be_out = self.may_be_out, True
        try:
            found = await broadcast.broadcast_tx(self.made.head.raw)
        except Unavailable as away:
            self.may_be_out = before or not away.outcome_definite
            logger.debug("CometBFT did not take a bundle now: %s", away)
            return ""
        except Refusal as refused:
            self.may_be_out = before
            return "" if before else str(refused)
        if found.code == 0:
            if not (self._is_passed_on or self.over):
                self._is_passed_on = True
                pass_on(self.made.head.raw)
            return ""
        self.may_be_out = before
        self.held = found.code == BundleCode.QUOTA
        return "" if before or self.held else found.log or f"CheckTx said {found.code}"
