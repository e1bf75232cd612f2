"""The deadline of a simulation: whatever a contract does, it ends, and nothing is left over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from chaincode.contract import Context, Contract, Creator, query, transaction
from chaincode.simulator import Chaincode, Invocation, Limits, Simulator
from chaincode.simulator.simulation import Stopped
from chaincode.simulator.watchdog import Deadline, Watchdog
from chaincode.system.functions import SystemChaincode
from ledger.state.ports import HistoryEntry, StateReader
from ledger.state.version import Version
from tests.support.memory_state import MemoryState
from tests.support.operations import Registry, simulate
from tests.support.toy_package import define

DEADLINE_S = 0.05
ENDS_WITHIN_S = 5.0
"""Generous: the machine may be busy with other tests."""


class Endless(Contract):
    """Every way of not coming to an end."""

    name = "ops"

    @transaction
    def spin(self, ctx: Context) -> None:
        ctx.stub.put_state("k", b"v")
        while True:
            pass

    @transaction
    def read(self, ctx: Context) -> None:
        while True:
            ctx.stub.get_state("k")

    @transaction
    def write(self, ctx: Context) -> None:
        while True:
            ctx.stub.put_state("k", b"v")

    @transaction
    def deaf(self, ctx: Context) -> None:
        while True:
            try:
                while True:
                    sum(range(100))
            except Exception:  # noqa: BLE001 - the very thing that must not help
                continue

    @transaction
    def last_words(self, ctx: Context) -> None:
        try:
            while True:
                pass
        finally:
            while True:
                pass

    @query
    def quick(self, ctx: Context) -> int:
        return 7


@pytest.fixture
def state() -> MemoryState:
    state = MemoryState()
    define(state, "ops", "1")
    return state


@pytest.mark.parametrize("function", ["Spin", "Read", "Write", "Deaf", "LastWords"])
def test_simulation_past_its_deadline_ends_with_500(state: MemoryState, function: str) -> None:
    """Nothing is recorded, and the message says what happened and what to do."""
    began = time.monotonic()
    limits = Limits(deadline_s=DEADLINE_S, reads=2**60, writes=2**60, write_bytes=2**60)
    result = simulate(state, function.encode(), registry=Registry(Endless()), limits=limits)
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert (result.status, result.rwset, result.writes) == (500, b"", False)
    assert "timeout expired while executing transaction" in result.message


def test_thread_serves_on_after_a_timeout(state: MemoryState) -> None:
    """The thread that was interrupted runs the next simulation as if nothing had been."""
    registry, limits = Registry(Endless()), Limits(deadline_s=DEADLINE_S)
    for _ in range(3):
        assert simulate(state, b"Spin", registry=registry, limits=limits).status == 500
        for _ in range(50):
            assert simulate(state, b"Quick", registry=registry, limits=limits).payload == b"7"


def test_timeout_ends_only_the_one_that_is_late(state: MemoryState) -> None:
    """Simulations at the same time on other threads of one simulator are left alone."""
    simulator_registry = Registry(Endless())
    functions = [b"Spin", b"Quick", b"Deaf", *[b"Quick"] * 20]
    limits = Limits(deadline_s=DEADLINE_S)
    with ThreadPoolExecutor(3) as pool:
        results = list(
            pool.map(
                lambda function: simulate(
                    state, function, registry=simulator_registry, limits=limits
                ),
                functions,
            )
        )
    assert [result.status for result in results] == [
        200 if function == b"Quick" else 500 for function in functions
    ]


def test_deadline_that_falls_into_the_end_of_a_simulation_leaves_nothing_behind(
    state: MemoryState,
) -> None:
    """A simulation that ends just when its deadline fires ends one way or the other, and no
    exception reaches the thread afterwards.
    """

    class Close(Contract):
        name = "ops"

        @query
        def run(self, ctx: Context) -> int:
            until = time.monotonic() + 0.002
            while time.monotonic() < until:
                pass
            return 7

    registry = Registry(Close())
    seen = set()
    try:
        for number in range(150):
            limits = Limits(deadline_s=0.0018 + 0.000004 * number)
            seen.add(simulate(state, b"Run", registry=registry, limits=limits).status)
        for _ in range(2000):
            sum(range(50))
    except Stopped:
        pytest.fail("the end of a simulation reached the code after it")
    assert seen <= {200, 500}
    assert seen


def test_deadline_that_falls_into_the_beginning_of_a_simulation_leaves_nothing_behind(
    state: MemoryState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that keeps the thread just after the watching began: the simulation ends, and the
    thread is sent no exception a second later.
    """
    add = Watchdog.add

    def kept(watchdog: Watchdog, deadline: Deadline) -> None:
        add(watchdog, deadline)
        spin(ENDS_WITHIN_S)

    monkeypatch.setattr(Watchdog, "add", kept)
    began = time.monotonic()
    try:
        result = simulate(
            state, b"Quick", registry=Registry(Endless()), limits=Limits(deadline_s=DEADLINE_S)
        )
        assert time.monotonic() - began < ENDS_WITHIN_S
        spin(1.5)
    except Stopped:
        pytest.fail("the deadline of a simulation reached the code after it")
    assert result.status == 500
    assert "timeout expired" in result.message


def test_watching_thread_ends_when_nothing_runs(state: MemoryState) -> None:
    """One thread watches while simulations run, and goes when there is nothing to watch; the next
    simulation is watched again.
    """
    simulator = Simulator(Registry(Endless()), Limits(deadline_s=DEADLINE_S))
    for function, status in ((b"Quick", 200), (b"Spin", 500)):
        invocation = Invocation(
            "qist", "ab" * 32, "ops", (function,), Creator("BankMSP"),
            datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        assert simulator.simulate(state, invocation).status == status
        watching = [each for each in threading.enumerate() if each.name == "simulation-watchdog"]
        for thread in watching:
            thread.join(ENDS_WITHIN_S)
            assert not thread.is_alive()


def spin(seconds: float) -> None:
    """Keep the thread busy in the interpreter, where an exception from outside would find it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_step_of_the_node_is_not_cut_off(state: MemoryState) -> None:
    """What the node does under a lock while a contract runs comes to its end: one step of a
    history, finding a contract that is called, a contract of the system. After it the simulation
    ends.
    """
    steps: list[str] = []

    class Slow(MemoryState):
        def history(self, namespace: str, key: str) -> Iterator[HistoryEntry]:
            spin(3 * DEADLINE_S)
            steps.append("history")
            yield HistoryEntry("ab" * 32, Version(1, 1), b"", False, None)

    class Finding(Registry):
        def resolve(self, name: str, state: StateReader) -> Chaincode | None:
            if name == "others":
                spin(3 * DEADLINE_S)
                steps.append("found")
            return super().resolve(name, state)

    class Asking(Contract):
        name = "ops"

        @query
        def history(self, ctx: Context) -> None:
            list(ctx.stub.get_history_for_key("k"))

        @query
        def call(self, ctx: Context) -> None:
            ctx.stub.invoke_chaincode("others", [b"Run"])
            while True:
                pass

    def query_of_system(_ctx: Context, _args: Sequence[bytes]) -> bytes:
        spin(3 * DEADLINE_S)
        steps.append("system")
        return b"whole"

    slow = Slow()
    define(slow, "ops", "1")
    registry = Finding(Asking(), SystemChaincode("qscc", {"Run": query_of_system}, {}))
    limits = Limits(deadline_s=DEADLINE_S)
    assert simulate(slow, b"History", registry=registry, limits=limits).status == 500
    assert simulate(slow, b"Call", registry=registry, limits=limits).status == 500
    result = simulate(slow, b"Run", contract="qscc", registry=registry, limits=limits)
    assert (result.status, result.payload) == (200, b"whole")
    assert steps == ["history", "found", "system"]
