"""Which part a node of a solo channel plays, and how it changes with the configuration."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from ledger.errors import Unavailable
from network.errors import ConfigurationError, OrderingUnavailable
from network.ordering.ports import OrderingStatus
from network.ordering.solo import SoloEngine
from network.ordering.switch import Choice, EngineSwitch

DEADLINE_S = 10.0


class Configured:
    """A committer whose configuration is a number; even ones let this node order."""

    def __init__(self, sequence: int) -> None:
        self.channel_id = "qist"
        self.consensus_type = "solo"
        self.sequence = sequence
        self.leaving = False
        self._changed = asyncio.Condition()

    @property
    def configuration(self) -> Any:
        return self

    async def wait_for_configuration(self, sequence: int) -> Any:
        async with self._changed:
            await self._changed.wait_for(lambda: self.sequence > sequence or self.leaving)
        if self.leaving:
            raise Unavailable("the node is leaving")
        return self

    async def become(self, sequence: int, *, leaving: bool = False) -> None:
        async with self._changed:
            self.sequence, self.leaving = sequence, leaving
            self._changed.notify_all()


class Engine:
    """An engine that notes what is done with it."""

    def __init__(self, role: str, done: list[str], fault: Exception | None = None) -> None:
        self._role, self._done, self._fault = role, done, fault

    async def start(self) -> None:
        self._done.append(f"{self._role} starts")
        if self._fault is not None:
            raise self._fault

    async def stop(self) -> None:
        self._done.append(f"{self._role} stops")

    async def submit(self, envelope: bytes) -> None:
        self._done.append(f"{self._role} takes {envelope!r}")

    def status(self) -> OrderingStatus:
        return OrderingStatus("solo", self._role, True, "", 0, "")


class Made:
    """An engine of a node, and what it did."""

    def __init__(self, sequence: int, fault: Exception | None = None) -> None:
        self.done: list[str] = []
        self.sink = Configured(sequence)
        sink: Any = self.sink
        self.engine = SoloEngine(
            sink,
            lambda configuration: configuration.sequence % 2 == 0,
            lambda: Engine("sequencer", self.done, fault),
            lambda: Engine("follower", self.done),
        )

    async def until(self, *done: str) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while self.done != list(done):  # noqa: ASYNC110 - the engine announces nothing
                await asyncio.sleep(0)


async def test_node_orders_or_follows_as_the_configuration_says() -> None:
    """From its start, and what it is given goes to the one that is at work."""
    for sequence, role in ((0, "sequencer"), (1, "follower")):
        made = Made(sequence)
        await made.engine.start()
        await made.engine.start()
        await made.engine.submit(b"x")
        assert made.engine.status().role == role
        await made.engine.stop()
        assert made.done == [f"{role} starts", f"{role} takes b'x'", f"{role} stops"]


async def test_new_configuration_stops_the_one_before_the_other_starts() -> None:
    """Never both; and one that changes nothing changes nothing."""
    made = Made(1)
    await made.engine.start()
    await made.sink.become(3)
    await made.sink.become(4)
    await made.until("follower starts", "follower stops", "sequencer starts")
    assert made.engine.status().accepting
    await made.sink.become(5)
    await made.until(
        "follower starts",
        "follower stops",
        "sequencer starts",
        "sequencer stops",
        "follower starts",
    )
    await made.engine.stop()


async def test_configuration_that_comes_while_the_engine_is_exchanged_counts() -> None:
    """Its part is taken up behind the one before; it waits for no further configuration."""
    made = Made(1)
    start = Engine.start

    class Slow(Engine):
        async def start(self) -> None:
            await start(self)
            await made.sink.become(5)

    sink: Any = made.sink
    engine = SoloEngine(
        sink,
        lambda configuration: configuration.sequence % 2 == 0,
        lambda: Slow("sequencer", made.done),
        lambda: Engine("follower", made.done),
    )
    await engine.start()
    await made.sink.become(4)
    await made.until(
        "follower starts",
        "follower stops",
        "sequencer starts",
        "sequencer stops",
        "follower starts",
    )
    await engine.stop()


async def test_node_that_cannot_play_its_new_part_says_so_and_takes_nothing() -> None:
    """Until a configuration gives it another."""
    made = Made(1, ConfigurationError("it may not sign blocks"))
    await made.engine.start()
    await made.sink.become(2)
    await made.until("follower starts", "follower stops", "sequencer starts")
    async with asyncio.timeout(DEADLINE_S):
        while "cannot" not in made.engine.status().reason:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    assert not made.engine.status().accepting
    with pytest.raises(OrderingUnavailable, match="it may not sign blocks"):
        await made.engine.submit(b"x")
    await made.sink.become(3)
    async with asyncio.timeout(DEADLINE_S):
        while not made.engine.status().accepting:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    assert made.engine.status().role == "follower"
    await made.engine.stop()


async def test_node_that_leaves_its_channel_keeps_its_part_to_the_end() -> None:
    """No further configuration comes, which is no fault."""
    made = Made(1)
    await made.engine.start()
    await made.sink.become(1, leaving=True)
    await asyncio.sleep(0)
    assert made.engine.status().accepting
    await made.engine.stop()
    assert made.done == ["follower starts", "follower stops"]


async def test_channel_that_gets_another_engine_stops_the_one_before_the_other_starts() -> None:
    """Whatever part the first one had; an engine that is not there is said to be missing."""
    done: list[str] = []
    sink = Configured(1)
    engine = EngineSwitch(
        cast(Any, sink),
        lambda configuration: configuration.consensus_type,
        {
            "solo": Choice(lambda: Engine("solo", done), "solo orders from here on"),
            "cometbft": Choice(lambda: Engine("cometbft", done), "CometBFT orders from here on"),
        },
    )
    await engine.start()
    sink.consensus_type = "cometbft"
    await sink.become(2)
    async with asyncio.timeout(DEADLINE_S):
        while done != ["solo starts", "solo stops", "cometbft starts"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
    sink.consensus_type = "etcdraft"
    await sink.become(3)
    async with asyncio.timeout(DEADLINE_S):
        while "does not have" not in engine.status().reason:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    with pytest.raises(OrderingUnavailable, match="ordered by 'etcdraft'"):
        await engine.submit(b"x")
    await engine.stop()


async def test_part_in_a_solo_channel_stays_until_the_engine_is_stopped() -> None:
    """Another engine takes over; beginning to order or to follow in between helps nobody."""
    made = Made(1)
    await made.engine.start()
    made.sink.consensus_type = "cometbft"
    await made.sink.become(2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert made.done == ["follower starts"]
    await made.engine.stop()
