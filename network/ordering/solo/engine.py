"""The engine `solo` of one node: it orders or it follows, as the channel configuration says.

The configuration names the node that orders by its first orderer endpoint. When an update moves
that, the configuration block is the last one that the old node makes: it stops ordering with it,
and the new one begins as soon as it has committed it, after comparing its ledger with the others'.
Every other node goes on following, at the new address.

Invariants: at most one of sequencer and follower is at work; what is submitted while one gives way
to the other is refused as unavailable, never lost unsaid.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ledger.errors import LedgerError, Unavailable
from network.configuration import ChannelConfiguration
from network.errors import OrderingUnavailable
from network.ordering.ports import BlockSink, OrderingEngine, OrderingStatus

__all__ = ["SoloEngine"]

logger = logging.getLogger(__name__)


class SoloEngine:
    """Implements `network.ordering.ports.OrderingEngine` by one of two others.

    Args:
        sink: this node's committer.
        orders: whether a configuration lets this node order.
        sequencer: makes the engine that orders, for one time of ordering.
        follower: makes the engine that follows.
    """

    def __init__(
        self,
        sink: BlockSink,
        orders: Callable[[ChannelConfiguration], bool],
        sequencer: Callable[[], OrderingEngine],
        follower: Callable[[], OrderingEngine],
    ) -> None:
        self._sink = sink
        self._orders = orders
        self._make = {True: sequencer, False: follower}
        self._ordering = orders(sink.configuration)
        self._engine = self._make[self._ordering]()
        self._changing = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to order or to follow."""
        if self._task is not None:
            return
        await self._engine.start()
        self._task = asyncio.create_task(self._watch(), name="role in the ordering")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Stop whichever is at work."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await self._engine.stop()

    async def submit(self, envelope: bytes) -> None:
        """Have one envelope ordered, here or by the node that orders."""
        if self._changing:
            raise OrderingUnavailable(f"nothing can be submitted now: {self._changing}")
        await self._engine.submit(envelope)

    def status(self) -> OrderingStatus:
        """Return the state of whichever is at work."""
        found = self._engine.status()
        if not self._changing:
            return found
        return OrderingStatus(
            engine=found.engine,
            role=found.role,
            accepting=False,
            reason=self._changing,
            queued=found.queued,
            endpoint=found.endpoint,
        )

    async def _watch(self) -> None:
        """Change the role whenever a configuration says so."""
        while True:
            ordering = self._orders(self._sink.configuration)
            if ordering != self._ordering:
                await self._change(ordering)
            try:
                await self._sink.wait_for_configuration(self._sink.configuration.sequence)
            except Unavailable:
                return

    async def _change(self, ordering: bool) -> None:
        self._changing = "this node begins to order" if ordering else "this node begins to follow"
        logger.warning(
            "channel %s, configuration %d: %s",
            self._sink.channel_id,
            self._sink.configuration.sequence,
            self._changing,
        )
        await self._engine.stop()
        self._ordering = ordering
        self._engine = self._make[ordering]()
        try:
            await self._engine.start()
        except LedgerError as error:
            self._changing = f"this node was to change its part in the ordering and cannot: {error}"
            logger.critical("%s", self._changing)
            return
        self._changing = ""

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Say so if watching ended by an error that nobody foresaw; it must not look alive."""
        if task.cancelled() or task.exception() is None:
            return
        self._changing = f"the engine stopped: {task.exception()!r}; restart the node"
        logger.critical("%s", self._changing, exc_info=task.exception())
