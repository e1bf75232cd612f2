"""Callers of our SDK in a process of its own: what they do, when they do it, and what they were told.

    python -P tests/bench/load.py TASK.json

Started by path, not as a module, so that PYTHONPATH alone decides which Qist it uses: a comparison
of two commits runs the same callers on the SDK of each. So it imports `qist` and nothing else of the
project. tests/node-client/load.mjs does the same with the official Node client.

The task (`Task` below, as JSON) says what kind of call, for how many callers. Orders come as lines of
JSON on standard input, answers leave as lines of JSON on standard output:

| order | answers |
|---|---|
| – | `{"ready": true}` once connected |
| `{"warm_s", "seconds"}` | `{"began": true}`, `{"ended": true}`, then `{"seconds", "latencies_ms", "errors"}` |
| `{"seconds", "whole": true}` | the same |
| `{"all": true}` | the last alone, when every call of a finite work has been made |

A caller makes its next call when the last one has ended. A call counts in a window if it *ended* in
it, so a window that begins under load and ends under load has neither ramp. A *whole* window begins
with the first call and ends with the last one, and no call is begun after its seconds: for calls
that take so long that few end in any second. A call that failed is counted by its error, also where
it failed before or after the window, and is never made again.

The journal has a line `[caller, number, told]` for every transaction that was submitted: *told* is
`a` acknowledged, `d` failed and certainly not in the ledger as valid, `o` open. What the call was
made of follows from caller and number alone, see `ids_of` and `arguments_of`; the audit relies on it.
"""  # noqa: E501 - rows of a table

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import uvloop

from qist import AsyncGateway, GatewayError, LedgerError, load_profile

PAUSE_S = 0.05
"""After a call that failed: a gateway that refuses is not asked again at once."""
TRIES = 5
"""Of a transaction that opens the pool."""
READY_S = 30.0


@dataclass(frozen=True)
class Task:
    """What the callers of one process do.

    Attributes:
        profile: connection profile of their member.
        user: whose key they sign with.
        user_folder: that user's MSP folder, for clients that do not read it from the profile.
        channel: of the contract.
        contract: of the three functions.
        work: `open`, `pay`, `evaluate`; or `provide`, which opens the pool and ends.
        batch: records in a transaction.
        callers: in this process.
        first: number of the first of them; callers of all processes are numbered through.
        tag: begins the ids and references that this task makes.
        pool: agreements of the pool, from which `pay` and `evaluate` take; for `provide` as many
            are opened.
        share: agreements of the pool that one caller has for itself, a multiple of the batch.
        provided: agreements of the pool that are there already.
        stride: from one agreement of a caller's share to the next that it takes; without a common
            divisor with the share, so that it comes back to none before it had all.
        journal: file for what was told; "" for none.
    """

    profile: str
    user: str
    user_folder: str
    channel: str
    contract: str
    work: str
    batch: int
    callers: int
    first: int
    tag: str
    pool: int
    share: int
    provided: int = 0
    stride: int = 1
    journal: str = ""


POOL = "A"
"""Begins the ids of the pool, and no others: tags are lower case."""


def pool_id(number: int) -> str:
    """Return the id of an agreement of the pool."""
    return f"{POOL}{number:08}"


def ids_of(task: Task, caller: int, number: int) -> list[str]:
    """Return the agreements that a caller's call of that number is about."""
    if task.work == "open":
        return [f"{task.tag}-{caller}-{number}-{each}" for each in range(task.batch)]
    if task.work == "provide":
        start = task.provided + number * task.batch
        return [pool_id(each) for each in range(start, min(start + task.batch, task.pool))]
    start = caller * task.share
    places = [(number * task.batch + each) * task.stride for each in range(task.batch)]
    return [pool_id(start + place % task.share) for place in places]


def amount_of(number: int) -> int:
    """Return the amount of each payment in a call of that number, in paisa."""
    return 100 + number % 900


def reference_of(task: Task, caller: int, number: int) -> str:
    """Return the reference of each payment in a call of that number."""
    return f"{task.tag}.{caller}.{number}"


def arguments_of(task: Task, caller: int, number: int) -> list[str]:
    """Return the arguments of a caller's call of that number."""
    ids = ids_of(task, caller, number)
    if task.work != "pay":
        return ids
    reference, amount = reference_of(task, caller, number), str(amount_of(number))
    return [word for each in ids for word in (each, reference, amount)]


FUNCTIONS = {"open": "Open", "provide": "Open", "pay": "Pay", "evaluate": "Get"}


class Callers:
    """All callers of one process, on one connection."""

    def __init__(self, task: Task, contract: Any, journal: TextIO | None) -> None:
        self._task = task
        self._contract = contract
        self._journal = journal
        self._function = FUNCTIONS[task.work]
        self._next = [0] * task.callers
        self._stopping = False
        self._ended: list[tuple[float, float]] = []
        self._errors: Counter[str] = Counter()
        self._handed_out = 0
        self._given_up = False

    async def window(self, warm_s: float, seconds: float) -> dict[str, Any]:
        """Keep the callers at work; measure *seconds* after *warm_s*."""
        callers = self._start()
        await asyncio.sleep(warm_s)
        began = time.perf_counter()
        _tell({"began": True})
        await asyncio.sleep(seconds)
        ended = time.perf_counter()
        _tell({"ended": True})
        self._stopping = True
        await asyncio.gather(*callers)
        return self._told(began, ended)

    async def whole_window(self, seconds: float) -> dict[str, Any]:
        """Have calls begun for *seconds*; measure from the first one until all have ended."""
        began = time.perf_counter()
        _tell({"began": True})
        callers = self._start()
        await asyncio.sleep(seconds)
        self._stopping = True
        await asyncio.gather(*callers)
        ended = time.perf_counter()
        _tell({"ended": True})
        return self._told(began, ended)

    async def all(self) -> dict[str, Any]:
        """Make every call of a finite work."""
        self._forget()
        began = time.perf_counter()
        self._handed_out = 0
        await asyncio.gather(*(self._work_off() for _ in range(self._task.callers)))
        if not self._given_up:
            self._errors.clear()
        return self._told(began, time.perf_counter())

    def _start(self) -> list[asyncio.Task[None]]:
        self._forget()
        return [asyncio.create_task(self._call_on(each)) for each in range(self._task.callers)]

    def _forget(self) -> None:
        self._stopping = False
        self._ended.clear()
        self._errors.clear()

    async def _call_on(self, caller: int) -> None:
        while not self._stopping:
            number = self._next[caller]
            self._next[caller] += 1
            await self._call(self._task.first + caller, number)

    async def _work_off(self) -> None:
        while True:
            number = self._handed_out
            if not ids_of(self._task, 0, number):
                return
            self._handed_out += 1
            # To open an agreement twice is to open it once, so what failed is made again.
            for _ in range(TRIES):
                if await self._call(0, number):
                    break
            else:
                self._given_up = True
                return

    async def _call(self, caller: int, number: int) -> bool:
        """Make a call; say whether it ended well."""
        arguments = arguments_of(self._task, caller, number)
        began = time.perf_counter()
        try:
            if self._task.work == "evaluate":
                answer = await self._contract.evaluate(self._function, *arguments)
                found = json.loads(answer)["id"]
                if found != arguments[0]:
                    raise SystemExit(f"asked for {arguments[0]}, was given {found}")
            else:
                await self._contract.submit(self._function, *arguments)
        except LedgerError as error:
            kind = type(error).__name__
            is_open = isinstance(error, GatewayError) and not error.outcome_definite
            code = getattr(error, "code", None)
            self._errors[f"{kind} {getattr(code, 'name', '')}".strip()] += 1
            self._note(caller, number, "o" if is_open else "d")
            sys.stderr.write(f"{error}\n")
            await asyncio.sleep(PAUSE_S * random.uniform(0.5, 1.5))
            return False
        ended = time.perf_counter()
        self._ended.append((ended, ended - began))
        self._note(caller, number, "a")
        return True

    def _note(self, caller: int, number: int, told: str) -> None:
        if self._journal is not None:
            self._journal.write(f'[{caller},{number},"{told}"]\n')

    def _told(self, began: float, ended: float) -> dict[str, Any]:
        if self._journal is not None:
            self._journal.flush()
        inside = [took for at, took in self._ended if began <= at <= ended]
        return {
            "seconds": ended - began,
            "latencies_ms": [round(1000 * took, 3) for took in inside],
            "errors": dict(self._errors),
        }


def _tell(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def _journal(task: Task) -> TextIO:
    return Path(task.journal).open("w", encoding="ascii")


async def serve(task: Task) -> None:
    """Connect, then do what the orders say until there are no more."""
    with ExitStack() as files:
        journal = files.enter_context(_journal(task)) if task.journal else None
        async with AsyncGateway.from_profile(load_profile(task.profile), task.user) as gateway:
            await gateway.wait_until_ready(READY_S)
            contract = gateway.network(task.channel).contract(task.contract)
            callers = Callers(task, contract, journal)
            _tell({"ready": True})
            while line := await asyncio.to_thread(sys.stdin.readline):
                order = json.loads(line)
                if order.get("all"):
                    _tell(await callers.all())
                elif order.get("whole"):
                    _tell(await callers.whole_window(order["seconds"]))
                else:
                    _tell(await callers.window(order["warm_s"], order["seconds"]))


def main(arguments: Sequence[str]) -> None:
    """See the module's docstring."""
    task = Task(**json.loads(Path(arguments[0]).read_text("utf-8")))
    uvloop.run(serve(task))


if __name__ == "__main__":
    main(sys.argv[1:])
