"""A bundle's short way: from the node that made it straight to the other members' nodes.

CometBFT carries every bundle from pool to pool. But a proposer that has nothing to propose waits
for one (`waiting.py`), CometBFT holds its consensus meanwhile, and on a link whose next message is
of the consensus the bundle waits behind it, for the end of the very wait that it would end. So
whoever has made a bundle, and whose own CometBFT has taken it, gives it to the others as well, and
what they are given is checked as what CometBFT brings.

Invariants: nothing depends on it: a bundle that is not given, or not taken, comes through CometBFT.
Of each member a few are under way at once, further ones are left out; one that is refused counts
for REST_S more, so that a member that gives garbage keeps nobody busy. Used on one event loop.

Hot path: without it every fourth payment of a lone caller took 240 ms (docs/performance.md).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final

from ledger.errors import LedgerError
from network.ordering.cometbft.errors import AbciError
from network.ordering.cometbft.ports import BundleTakers, CheckedTx

__all__ = ["AT_ONCE", "LONGEST_BYTES", "BundlePassing", "GivenBundles"]

AT_ONCE: Final = 3
"""Bundles of or for one member that are under way; a node makes no more at a time."""

REST_S: Final = 1.0
"""An honest member's bundle is refused now and then, as when its block was sooner."""

LONGEST_BYTES: Final = 8 * 1024 * 1024
"""Of a bundle that goes this way."""

logger = logging.getLogger(__name__)


class _Bounded:
    """Tasks of each member, a few at once."""

    def __init__(self) -> None:
        self._count: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, msp_id: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._count[msp_id] >= AT_ONCE:
            return
        self._count[msp_id] += 1

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._count[msp_id] -= 1
            if not task.cancelled() and task.exception() is not None:
                logger.error("passing a bundle on failed", exc_info=task.exception())

        task = asyncio.create_task(work(), name=f"pass a bundle on ({msp_id})")
        self._tasks.add(task)
        task.add_done_callback(ended)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class BundlePassing:
    """The giving end.

    Args:
        takers: the other members' nodes.
        msp_ids: returns the members that order.
    """

    def __init__(self, takers: BundleTakers, msp_ids: Callable[[], Iterable[str]]) -> None:
        self._takers = takers
        self._msp_ids = msp_ids
        self._giving = _Bounded()

    def pass_on(self, raw: bytes) -> None:
        """Begin to give a bundle to the others."""
        if len(raw) > LONGEST_BYTES:
            return
        for msp_id in self._msp_ids():
            self._giving.spawn(msp_id, lambda to=msp_id: self._give(to, raw))  # type: ignore[misc]

    async def stop(self) -> None:
        """Give nothing any more."""
        await self._giving.stop()

    async def _give(self, msp_id: str, raw: bytes) -> None:
        try:
            if msp_id in self._takers.msp_ids():
                await self._takers.give(msp_id, raw)
        except LedgerError as error:
            logger.debug("%s was not given a bundle: %s", msp_id, error)


class GivenBundles:
    """The taking end.

    Args:
        check: has the application check a bundle as CheckTx does; what it says reaches nobody.
        rest_s: how long a place stays taken after a bundle that was refused.
    """

    def __init__(
        self, check: Callable[[bytes], Awaitable[CheckedTx]], *, rest_s: float = REST_S
    ) -> None:
        self._check = check
        self._rest_s = rest_s
        self._checking = _Bounded()

    def take(self, msp_id: str, raw: bytes) -> None:
        """Begin to check what a member's node gives.

        Args:
            msp_id: whose node it is.
            raw: the bundle, by its word.
        """
        if len(raw) <= LONGEST_BYTES:
            self._checking.spawn(msp_id, lambda: self._checked(raw))

    async def stop(self) -> None:
        """Take nothing any more."""
        await self._checking.stop()

    async def _checked(self, raw: bytes) -> None:
        try:
            checked = await self._check(raw)
        except AbciError as over:
            logger.debug("a bundle that was given is not checked: %s", over)
            return
        if checked.code:
            await asyncio.sleep(self._rest_s)
