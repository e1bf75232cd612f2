"""Callers for the overload: on connections of their own, as fast as they are told, refused or not.

    python -P -m tests.bench.flood TASK.json CONNECTIONS

The task is that of `load.py`, so that the audit knows what each call was made of; its callers are
spread over the connections. Orders come as lines of JSON on standard input, an answer leaves as a
line on standard output for each, and `{"ready": true}` once everything is connected:

    {"at": 12.5, "seconds": 120, "rate": 2500}

*at* is on the machine's monotonic clock, which all processes share. With a *rate*, so many calls a
second are begun whatever becomes of those before, by the callers in turn; with 0, each caller makes
its next call when the last one has ended, after the pause that it was asked for if it was refused.

The answer: `calls`, for each that ended well when it ended and its milliseconds; `refused`, counted
by stage; `errors`, everything else that went wrong; `begun`, how many calls were; `left_out`, those
of the rate that were not begun because this process had `OUTSTANDING` under way; `lag_ms`, by how
much this process itself was late at its own turns on average, which is in what it measures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final, TextIO

import uvloop

from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from clients.gateway.connection import Endpoint, Timeouts
from clients.gateway.errors import GatewayError
from clients.gateway.profile import load_profile
from ledger.errors import LedgerError
from tests.bench.load import FUNCTIONS, READY_S, Task, arguments_of

OUTSTANDING: Final = 5_000
AT_ONCE: Final = Timeouts(refused_s=0)
"""A refusal is counted, not made up for."""
TURN_S: Final = 0.01
"""Between two looks at how many calls are due."""
CONNECTING: Final = 16
"""Connections that are made at a time: so many handshakes are no overload yet."""


class OwnConnection(Endpoint):
    """A gateway that is reached by a connection that no other client in this process shares."""

    def options(self) -> list[tuple[str, Any]]:
        """The usual ones, and that the connection is not shared."""
        return [*super().options(), ("grpc.use_local_subchannel_pool", 1)]


class Callers:
    """All callers of one process."""

    def __init__(self, task: Task, contracts: Sequence[AsyncContract], journal: TextIO) -> None:
        self._task = task
        self._contracts = contracts
        self._journal = journal
        self._next = [0] * task.callers
        self._calls: list[tuple[float, float]] = []
        self._refused: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._lags: list[float] = []

    async def follow(self, order: dict[str, Any]) -> dict[str, Any]:
        """Do what an order says, and tell what came of it."""
        self._calls.clear()
        self._refused.clear()
        self._errors.clear()
        self._lags.clear()
        begun = sum(self._next)
        await asyncio.sleep(max(0.0, order["at"] - time.monotonic()))
        ends = max(order["at"], time.monotonic()) + order["seconds"]
        left_out = 0
        if order["rate"]:
            left_out = await self._at_a_rate(order["rate"], ends)
        else:
            await asyncio.gather(*(self._one_by_one(each, ends) for each in self._all))
        while self._under_way:
            await asyncio.wait(self._under_way)
        self._journal.flush()
        return {
            "calls": [(round(at, 3), round(1000 * took, 3)) for at, took in self._calls],
            "refused": dict(self._refused),
            "errors": dict(self._errors),
            "begun": sum(self._next) - begun,
            "left_out": left_out,
            "lag_ms": round(1000 * sum(self._lags) / max(1, len(self._lags)), 1),
        }

    @property
    def _all(self) -> range:
        return range(self._task.callers)

    async def _at_a_rate(self, rate: float, ends: float) -> int:
        began, made, left_out = time.monotonic(), 0, 0
        while (now := time.monotonic()) < ends:
            due = int((now - began) * rate)
            for number in range(made, due):
                if len(self._under_way) >= OUTSTANDING:
                    left_out += 1
                    continue
                task = asyncio.create_task(self._call(number % self._task.callers))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            made = max(made, due)
            await asyncio.sleep(TURN_S)
            self._lags.append(time.monotonic() - now - TURN_S)
        return left_out

    async def _one_by_one(self, caller: int, ends: float) -> None:
        while time.monotonic() < ends:
            pause_s = await self._call(caller)
            if pause_s:
                await asyncio.sleep(pause_s)

    async def _call(self, caller: int) -> float:
        """Make the next call of a caller; return for how long it is asked to pause."""
        number = self._next[caller]
        self._next[caller] += 1
        known = self._task.first + caller
        arguments = arguments_of(self._task, known, number)
        contract = self._contracts[caller % len(self._contracts)]
        began = time.monotonic()
        try:
            await contract.submit(FUNCTIONS[self._task.work], *arguments)
        except LedgerError as error:
            is_open = isinstance(error, GatewayError) and not error.outcome_definite
            self._journal.write(f'[{known},{number},"{"o" if is_open else "d"}"]\n')
            code = getattr(getattr(error, "code", None), "name", "")
            kind = f"{type(error).__name__} {code}".strip()
            again_in_s = error.again_in_s if isinstance(error, GatewayError) else None
            if again_in_s is not None:
                self._refused[kind] += 1
                return again_in_s
            if not self._errors[kind]:
                sys.stderr.write(f"{error}\n")
            self._errors[kind] += 1
            return 0.0
        ended = time.monotonic()
        self._calls.append((ended, ended - began))
        self._journal.write(f'[{known},{number},"a"]\n')
        return 0.0


def _tell(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


async def serve(task: Task, connections: int, journal: TextIO) -> None:
    """Connect, then do what the orders say until there are no more."""
    profile = load_profile(task.profile)
    found = profile.endpoints()[0]
    endpoint = OwnConnection(found.address, found.tls_ca_pem, found.server_name)
    async with AsyncExitStack() as opened:
        gateways = [
            await opened.enter_async_context(
                AsyncGateway(endpoint, profile.user(task.user), timeouts=AT_ONCE)
            )
            for _ in range(connections)
        ]
        for begin in range(0, connections, CONNECTING):
            few = gateways[begin : begin + CONNECTING]
            await asyncio.gather(*(each.wait_until_ready(READY_S) for each in few))
        contracts = [each.network(task.channel).contract(task.contract) for each in gateways]
        callers = Callers(task, contracts, journal)
        _tell({"ready": True})
        while line := await asyncio.to_thread(sys.stdin.readline):
            _tell(await callers.follow(json.loads(line)))


def main(arguments: Sequence[str]) -> None:
    """See the module's docstring."""
    task = Task(**json.loads(Path(arguments[0]).read_text("utf-8")))
    with Path(task.journal).open("w", encoding="ascii") as journal:
        uvloop.run(serve(task, int(arguments[1]), journal))


if __name__ == "__main__":
    main(sys.argv[1:])
