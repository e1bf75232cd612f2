"""One engine out of several, as the channel configuration in force says.

Whenever a configuration names another one than the one at work, that one is stopped and the other
is made and started, from the sink's height on.

Invariants: at most one of the engines is at work; what is submitted while one gives way to another
is refused as unavailable, never lost unsaid.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ledger.errors import LedgerError, Unavailable
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError, OrderingUnavailable
from network.ordering.ports import BlockSink, OrderingEngine, OrderingStatus

__all__ = ["Choice", "EngineSwitch"]

logger = logging.getLogger(__name__)

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the engines.

    Attributes:
        make: makes it, for one time at work.
        begins: what happens when it is chosen, in words: "this node begins to follow".
    """

    make: Callable[[], OrderingEngine]
    begins: str


class EngineSwitch(Generic[_K]):
    """Implements `network.ordering.ports.OrderingEngine` by one of several others.

    Args:
        sink: this node's committer.
        chosen: which one a configuration chooses.
        choices: the engines there are.
    """

    def __init__(
        self,
        sink: BlockSink,
        chosen: Callable[[ChannelConfiguration], _K],
        choices: Mapping[_K, Choice],
    ) -> None:
        self._sink = sink
        self._chosen = chosen
        self._choices = choices
        self._present = chosen(sink.configuration)
        self._engine = self._make(self._present)
        self._changing = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the engine that is chosen now, and watch for another choice."""
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
        """Have one envelope ordered by the engine at work."""
        if self._changing:
            raise OrderingUnavailable(f"nothing can be submitted now: {self._changing}")
        await self._engine.submit(envelope)

    def status(self) -> OrderingStatus:
        """Return the state of whichever is at work."""
        found = self._engine.status()
        if not self._changing:
            return found
        return replace(found, accepting=False, reason=self._changing)

    def _make(self, choice: _K) -> OrderingEngine:
        found = self._choices.get(choice)
        if found is None:
            raise ConfigurationError(
                f"channel {self._sink.channel_id} is ordered by {choice!r}, which this version "
                f"does not have; it has {', '.join(map(str, self._choices))}"
            )
        return found.make()

    async def _watch(self) -> None:
        """Change the engine whenever a configuration says so."""
        while True:
            # One that comes during the change is looked at after it.
            sequence = self._sink.configuration.sequence
            choice = self._chosen(self._sink.configuration)
            if choice != self._present:
                await self._change(choice)
            try:
                await self._sink.wait_for_configuration(sequence)
            except Unavailable:
                return

    async def _change(self, choice: _K) -> None:
        found = self._choices.get(choice)
        self._changing = "the engine is exchanged" if found is None else found.begins
        logger.warning(
            "channel %s, configuration %d: %s",
            self._sink.channel_id,
            self._sink.configuration.sequence,
            self._changing,
        )
        await self._engine.stop()
        self._present = choice
        try:
            self._engine = self._make(choice)
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
