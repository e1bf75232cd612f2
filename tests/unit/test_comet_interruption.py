"""What an envelope meets that comes while CometBFT is away for a moment, or for longer.

The time at work of the engine is a real one; CometBFT, its process and who watches over it are
played, and the clock of the loop goes as a test says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from network.errors import OrderingUnavailable
from network.ordering.cometbft import running
from network.ordering.cometbft.process.home import HomeSettings
from network.ordering.cometbft.running import INTERRUPTION_S, RunningComet
from tests.support.bundles import BATCH, FixedTime, node_of
from tests.support.consenters import comet_genesis, four_members
from tests.support.ordering_network import MemorySink

DEADLINE_S = 10.0
ENVELOPE = b"envelope"
TURNS = 50
"""Of the loop, in which whatever can go on does."""


class Watching:
    """Stands for `CometHealth`: says what a test wants."""

    def __init__(self, *arguments: Any) -> None:
        self._on_change: Callable[[], None] = arguments[-1]
        self.reason = "CometBFT is being started"

    def say(self, reason: str) -> None:
        self.reason = reason
        self._on_change()

    def begins(self) -> None:
        """CometBFT begins, which changes nothing here."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class Bundling:
    """Stands for `Bundler`: takes what comes while nothing is said against it."""

    def __init__(self, *_arguments: Any) -> None:
        self.why_not = "the engine has not been started"
        self.taken: list[bytes] = []
        self.asked = 0

    def start(self) -> None:
        self.why_not = ""

    async def stop(self) -> None:
        self.pause("this node is leaving the ordering")

    def pause(self, reason: str) -> None:
        self.why_not = reason

    def resume(self) -> None:
        self.why_not = ""

    async def submit(self, envelope: bytes) -> None:
        self.asked += 1
        if self.why_not:
            raise OrderingUnavailable(self.why_not)
        self.taken.append(envelope)


class Idle:
    """Stands for the server, CometBFT's process and who fetches its proofs: they do nothing."""

    restarts = 0

    def __init__(self, *_arguments: Any, **_options: Any) -> None:
        pass

    async def start(self) -> None:
        """Begin nothing."""

    async def stop(self) -> None:
        """End nothing."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def check(self, raw: bytes) -> None:
        """Say nothing of a bundle."""


@dataclass
class Work:
    """A time at work of the engine, and the loop's clock, which only a test moves."""

    comet: RunningComet
    watching: Watching
    bundling: Bundling
    now: list[float] = field(default_factory=lambda: [1000.0])

    async def submit(self) -> asyncio.Task[None]:
        """Have an envelope come, and let happen what happens at once."""
        task = asyncio.create_task(self.comet.submit(ENVELOPE))
        await self.turns()
        return task

    async def passes(self, seconds: float) -> None:
        """Let time pass."""
        self.now[0] += seconds
        await self.turns()

    @staticmethod
    async def turns() -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)


@pytest.fixture
async def work(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Work]:
    """The engine has just begun; nobody has seen CometBFT yet."""
    for name, stand_in in (
        ("CometHealth", Watching),
        ("Bundler", Bundling),
        ("AbciServer", Idle),
        ("CometProcess", Idle),
        ("FinalityKeeper", Idle),
        ("write_home", lambda _home, _told: None),
    ):
        monkeypatch.setattr(running, name, stand_in)
    now = [1000.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
    made = made_comet()
    watching, bundling = made._health, made.bundler
    assert isinstance(watching, Watching)
    assert isinstance(bundling, Bundling)
    await made.start()
    yield Work(made, watching, bundling, now)
    await made.stop()


def made_comet() -> RunningComet:
    genesis = comet_genesis(four_members(), batch=BATCH)
    told = HomeSettings(
        moniker="node",
        genesis=b"",
        consensus_key=Ed25519PrivateKey.generate(),
        p2p_key=Ed25519PrivateKey.generate(),
        listen="",
        external_address="",
        persistent_peers=(),
        abci_socket=Path("abci.sock"),
        rpc_socket=Path("rpc.sock"),
        profile="local",
        max_tx_bytes=0,
        max_waiting_bytes=0,
    )
    return RunningComet(
        MemorySink(genesis),
        node_of(four_members()[0]),
        FixedTime(),
        genesis,
        binary=Path("cometbft"),
        home=Path("comet"),
        told=told,
        msp_id="BankMSP",
        may_connect=lambda _node_id: True,
        on_failure=lambda error: pytest.fail(str(error)),
    )


async def test_envelope_goes_on_at_once_while_all_is_well(work: Work) -> None:
    """Nothing is waited for."""
    work.watching.say("")
    task = await work.submit()
    assert task.done()
    assert work.bundling.taken == [ENVELOPE]


async def test_envelope_waits_for_the_beginning_of_the_engine(work: Work) -> None:
    """It came before CometBFT was there, and is taken once it is."""
    task = await work.submit()
    assert not task.done()
    assert not work.bundling.asked
    work.watching.say("")
    await task
    assert work.bundling.taken == [ENVELOPE]


async def test_envelope_waits_until_an_interruption_has_passed(work: Work) -> None:
    """CometBFT ended and is started again: nobody is told so in vain."""
    work.watching.say("")
    await work.passes(60)
    work.watching.say("CometBFT ended")
    await work.passes(INTERRUPTION_S - 0.1)
    task = await work.submit()
    assert not task.done()
    work.watching.say("")
    await task
    assert work.bundling.taken == [ENVELOPE]


async def test_envelope_is_refused_when_an_interruption_does_not_pass(work: Work) -> None:
    """With the reason of the moment, and nothing was taken."""
    work.watching.say("")
    work.watching.say("CometBFT ended")
    task = await work.submit()
    work.watching.say("two members are missing")
    await work.passes(INTERRUPTION_S - 0.1)
    assert not task.done()
    await work.passes(0.2)
    with pytest.raises(OrderingUnavailable, match="two members are missing") as refused:
        await task
    assert refused.value.outcome_definite
    assert work.bundling.taken == []


async def test_interruption_is_one_whatever_reasons_it_has(work: Work) -> None:
    """Another reason does not make an envelope wait longer than from the first on."""
    work.watching.say("")
    work.watching.say("CometBFT ended")
    await work.passes(INTERRUPTION_S - 1)
    work.watching.say("two members are missing")
    task = await work.submit()
    await work.passes(1.1)
    with pytest.raises(OrderingUnavailable):
        await task


async def test_envelope_is_refused_at_once_when_an_interruption_has_lasted(work: Work) -> None:
    """Whoever comes late does not wait."""
    work.watching.say("")
    work.watching.say("two members are missing")
    await work.passes(INTERRUPTION_S)
    task = await work.submit()
    assert task.done()
    with pytest.raises(OrderingUnavailable, match="two members are missing"):
        await task


async def test_next_interruption_is_waited_for_as_well(work: Work) -> None:
    """Each begins anew, from when nothing was ordered any more."""
    work.watching.say("")
    work.watching.say("CometBFT ended")
    await work.passes(10 * INTERRUPTION_S)
    work.watching.say("")
    work.watching.say("CometBFT ended")
    task = await work.submit()
    assert not task.done()
    work.watching.say("")
    await task


async def test_envelope_that_waits_is_refused_when_the_work_ends(work: Work) -> None:
    """It is told at once, not after the rest of the interruption."""
    task = await work.submit()
    assert not task.done()
    await work.comet.stop()
    with pytest.raises(OrderingUnavailable, match="leaving the ordering"):
        await task


async def test_caller_that_goes_while_it_waits_leaves_nothing(work: Work) -> None:
    """Nothing is submitted in its name when the interruption has passed."""
    task = await work.submit()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    work.watching.say("")
    await work.turns()
    assert not work.bundling.asked
