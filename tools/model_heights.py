#!/usr/bin/env python
"""Work out how payments and CometBFT's heights fall together, in a model: nothing is run.

    .venv/bin/python tools/model_heights.py [--callers 1,16,64] [--think-ms 0] [--payment 1.0]

Four nodes, the CometBFT beside each and the client share two cores. Each node and the client has
one loop, which does one thing after the other; CometBFTs and threads take what is free. Processor
times are those of docs/performance.md; `--payment` makes a payment's own dearer or cheaper. All
callers are clients of one node. When a bundle goes is asked of the real `pace.py`.

Use it for what no busy machine can show, and measure what it promises on a quiet one.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from network.ordering.cometbft.bundles.pace import Pace
from network.ordering.cometbft.process.home import PROFILES

CORES = 2
NODES = 4
QUORUM = 3
OTHER_ENDORSER = 3
ONE_WAY_MS = (2.0, 6.0)
"""From one CometBFT to another, pauses of gossip and of flushing included."""

Then = Callable[[], None]


class Machine:
    """A clock, and two cores that share themselves equally among what wants to run."""

    def __init__(self) -> None:
        self.now = 0.0
        self.used_ms = 0.0
        self._events: list[tuple[float, int, Then]] = []
        self._works: dict[int, list[float]] = {}
        self._ends: dict[int, Then] = {}
        self._looked = 0.0
        self._count = 0
        self._turn = 0

    def after(self, ms: float, then: Then) -> None:
        """Have something happen later."""
        self._count += 1
        heapq.heappush(self._events, (self.now + ms, self._count, then))

    def work(self, ms: float, then: Then) -> None:
        """Use the processor for so long, on one core at most."""
        self._go_on()
        self._count += 1
        self._works[self._count] = [ms]
        self._ends[self._count] = then
        self._plan()

    def run(self, until_ms: float) -> None:
        """Let everything happen up to a time."""
        while self._events and self._events[0][0] < until_ms:
            self.now, _, then = heapq.heappop(self._events)
            then()

    def _speed(self) -> float:
        return min(1.0, CORES / len(self._works))

    def _go_on(self) -> None:
        passed, self._looked = self.now - self._looked, self.now
        if self._works:
            done = self._speed() * passed
            self.used_ms += done * len(self._works)
            for left in self._works.values():
                left[0] -= done

    def _plan(self) -> None:
        self._turn += 1
        turn = self._turn
        if self._works:
            next_ms = max(0.0, min(left[0] for left in self._works.values())) / self._speed()
            self.after(next_ms, lambda: self._end(turn))

    def _end(self, turn: int) -> None:
        if turn != self._turn:
            return
        self._go_on()
        ended = [each for each, left in self._works.items() if left[0] <= 1e-9]
        for each in ended:
            del self._works[each]
        for each in ended:
            self._ends.pop(each)()
        self._go_on()
        self._plan()


class Loop:
    """A thread that does one thing after the other."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._waiting: deque[tuple[float, Then]] = deque()
        self._busy = False

    def work(self, ms: float, then: Then) -> None:
        """Do something when its turn comes."""
        self._waiting.append((ms, then))
        self._next()

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        self._busy = True
        ms, then = self._waiting.popleft()

        def end() -> None:
            self._busy = False
            then()
            self._next()

        self._machine.work(ms, end)


@dataclass
class Model:
    """One run.

    Args:
        callers: each with one payment under way.
        think_ms: how long each pauses on average between two.
        payment: how dear a payment's own work is, against docs/performance.md.
        pause_ms: CometBFT's after a block.
        patience_ms: how long an empty proposal waits.
    """

    callers: int
    think_ms: float
    payment: float
    pause_ms: float
    patience_ms: float
    machine: Machine = field(default_factory=Machine)
    heights: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(1)
        self._client = Loop(self.machine)
        self._loops = [Loop(self.machine) for _ in range(NODES)]
        self._pace = Pace()
        self._gathered: list[float] = []
        self._outstanding = 0
        self._bundle: list[float] = []
        self._pools = [False] * NODES
        self._proposer = 0
        self._rests = True
        self._unproven = False
        self._proposal: object | None = None

    def run(self, seconds: float) -> None:
        """Let the callers work."""
        for _ in range(self.callers):
            self.machine.after(self._chance.uniform(0, 30), self._pay)
        self.machine.run(1000 * seconds)

    # A payment

    def _pay(self) -> None:
        began, gateway, other = self.machine.now, self._loops[0], self._loops[OTHER_ENDORSER]
        steps = [
            (self._client, 0.12), (gateway, 0.30), (other, 0.36), (gateway, 0.20),
            (self._client, 0.10), (gateway, 0.12),
        ]  # fmt: skip

        def go_on() -> None:
            if steps:
                loop, ms = steps.pop(0)
                loop.work(ms * self.payment, go_on)
            else:
                self._submitted(began)

        go_on()

    def _submitted(self, began: float) -> None:
        self._outstanding += 1
        self._gathered.append(began)
        self._pace.came(self.machine.now / 1000)
        self._look()

    def _told(self, began: float) -> None:
        self._outstanding -= 1

        def end() -> None:
            self.latencies_ms.append(self.machine.now - began)
            pause = self._chance.expovariate(1 / self.think_ms) if self.think_ms else 0.0
            self.machine.after(pause, self._pay)

        self._loops[0].work(0.12 * self.payment, lambda: self._client.work(0.06, end))

    # Its bundle

    def _look(self) -> None:
        if self._bundle or not self._gathered:
            return
        pause_s = self._pace.pause_s(self.machine.now / 1000, len(self._gathered))
        if pause_s > 1e-6:
            self.machine.after(1000 * pause_s, self._look)
            return
        self._bundle, self._gathered = self._gathered, []
        made_ms = 0.6 + 0.02 * len(self._bundle)
        self.machine.work(made_ms, lambda: self._loops[0].work(0.3, self._broadcast))

    def _broadcast(self) -> None:
        self.machine.work(0.8, lambda: self._check(0))
        for node in range(1, NODES):
            self._pass_on(node)

    def _pass_on(self, node: int) -> None:
        self.machine.after(2.3, lambda: self.machine.work(0.8, lambda: self._check(node)))

    def _check(self, node: int) -> None:
        count = len(self._bundle)
        for _ in range(CORES):  # three signatures of each, in threads, for which nobody waits
            self.machine.work(0.27 / CORES * count * self.payment, _nothing)

        def known() -> None:
            self._pools[node] = True
            if self._rests or (self._proposal is not None and self._proposer == node):
                self._propose()

        self.machine.work(0.5 + 0.03 * count, lambda: self._loops[node].work(0.2, known))

    # Its height

    def _begin_height(self) -> None:
        self._proposer = (self._proposer + 1) % NODES
        if not self._unproven and not any(self._pools):
            self._rests = True
        elif self._pools[self._proposer]:
            self._propose()
        else:
            awaited = self._proposal = object()

            def give_up() -> None:
                if self._proposal is awaited:
                    self._propose()

            self.machine.after(self.patience_ms, give_up)

    def _propose(self) -> None:
        self._rests, self._proposal = False, None
        self.heights += 1
        self._phase(0, self._bundle if self._pools[self._proposer] else [])

    def _phase(self, number: int, inside: list[float]) -> None:
        """Proposal, prevotes, precommits: each ends when most have heard of it."""
        if number == 3:
            self._decided(inside)
            return
        ended = _most(lambda: self._phase(number + 1, inside))
        for loop in self._loops:

            def heard(loop: Loop = loop) -> None:
                asked_ms = 0.05 if number else 0.3
                self.machine.work(2.0, lambda: loop.work(asked_ms, ended))

            self.machine.after(self._chance.uniform(*ONE_WAY_MS), heard)

    def _decided(self, inside: list[float]) -> None:
        began = self.machine.now
        self._unproven = bool(inside)

        def go_on() -> None:
            pause = max(0.0, began + self.pause_ms - self.machine.now)
            self.machine.after(pause, self._begin_height)

        most = _most(go_on)
        for node in range(NODES):
            self._commit(node, inside, most)

    def _commit(self, node: int, inside: list[float], most: Then) -> None:
        loop = self._loops[node]
        written_ms = 1.5 + 0.10 * self.payment * len(inside) if inside else 0.2

        def written() -> None:
            if inside:
                self._pools[node] = False
                if node == 0:
                    self._durable(inside)
            self.machine.work(1.5, _nothing)  # the record that proves it
            loop.work(1.0, _nothing)
            most()

        def write() -> None:
            self.machine.work(written_ms, lambda: loop.work(0.3, written))

        self.machine.work(1.5, lambda: loop.work(0.3, write))

    def _durable(self, inside: list[float]) -> None:
        self._pace.ordered(self.machine.now / 1000, self._outstanding)
        self._bundle = []
        for began in inside:
            self._told(began)
        self._look()


def _nothing() -> None:
    return


def _most(then: Then) -> Then:
    """Return what calls *then* when it is called the QUORUM-th time."""
    calls = 0

    def call() -> None:
        nonlocal calls
        calls += 1
        if calls == QUORUM:
            then()

    return call


def main() -> None:
    """Work it out, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--callers", default="1,4,16,64")
    parser.add_argument("--think-ms", type=float, default=0.0)
    parser.add_argument("--payment", type=float, default=1.0)
    parser.add_argument("--pause-ms", type=float, default=float(PROFILES["local"].commit_ms))
    parser.add_argument("--patience-ms", type=float, default=float(PROFILES["local"].patience_ms))
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    print("callers   a second   median ms   95 % ms   CPU ms each   heights   each with")
    for callers in map(int, given.callers.split(",")):
        model = Model(callers, given.think_ms, given.payment, given.pause_ms, given.patience_ms)
        model.run(given.seconds)
        took = sorted(model.latencies_ms)
        count = len(took)
        print(
            f"{callers:7}{count / given.seconds:11.1f}{took[count // 2]:12.1f}"
            f"{took[count * 95 // 100]:10.1f}{model.machine.used_ms / count:14.2f}"
            f"{model.heights:10}{count / model.heights:12.1f}"
        )


if __name__ == "__main__":
    main()
