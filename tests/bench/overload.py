"""Ten times the load that a node can carry, from 500 connections: what it sheds, and what after.

    .venv/bin/python -m tests.bench.overload [--engine cometbft] [--seconds 120] [--connections 500]
                                             [--times 10] [--output build/bench-overload]

Payments, one a transaction, at one member's gateway, on a network made and run by `qist`:

- *calm*: 64 callers on one connection keep the node as busy as it can be, and a modest client, with
  an identity of its own, has 4. What they get together is the load that the node can carry.
- *overload*: one greedy client begins so many times as many payments a second, over all the
  connections, whatever becomes of them; the modest one goes on as before.
- *after*: the calm load again, from the moment when the overload ends.

A payment that was refused is counted and not made again. At the end the ledgers are audited against
what every caller was told. Writes `overload.json`, `overload.md` and `run.json` into the folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from nodes.configuration import load_configuration
from tests.bench.__main__ import say
from tests.bench.audit import audit
from tests.bench.load import Task
from tests.bench.network import (
    CHANNEL,
    CLIENT_MEMBER,
    CONTRACT,
    ROOT,
    USER,
    BenchFailed,
    BenchNetwork,
    Tree,
)
from tests.bench.overload_figures import Told, recovered_s, render
from tests.bench.plan import ENGINES
from tests.bench.rounds import Loads, ended
from tests.bench.run import Bench, alone_in, bench, fresh
from tests.bench.surroundings import described

OUTPUT: Final = ROOT / "build" / "bench-overload"
CALM_CALLERS: Final = 64
MODEST_CALLERS: Final = 4
MODEST_USER: Final = "enforcement"
SHARE: Final = 32
"""Agreements of each caller."""
AHEAD_S: Final = 0.5
"""How long orders may take to reach the loads."""


@dataclass(frozen=True)
class Settings:
    """How the overload is made.

    Attributes:
        engine: that orders.
        calm_s, seconds, after_s: of the three phases.
        connections: of the greedy client.
        times: as many payments are begun as the node can carry.
        processes: that make the overload.
    """

    engine: str = "cometbft"
    calm_s: float = 30.0
    seconds: float = 120.0
    after_s: float = 30.0
    connections: int = 500
    times: float = 10.0
    processes: int = 2


class Watch:
    """Looks at the gateway's node every half second: its memory, and its connections."""

    def __init__(self, pid: int, port: int) -> None:
        self._process = psutil.Process(pid)
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch")
        self.seen: list[tuple[float, float, int, float]] = []

    def _look(self) -> None:
        while not self._over.wait(0.5):
            memory_mb = self._process.memory_info().rss / 2**20
            times = self._process.cpu_times()
            connections = sum(
                each.status == psutil.CONN_ESTABLISHED and each.laddr.port == self._port
                for each in self._process.net_connections("tcp")
            )
            self.seen.append((time.monotonic(), memory_mb, connections, times.user + times.system))

    def __enter__(self) -> Watch:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._over.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> dict[str, float]:
        """Return what was seen in some time: memory in MB, connections, cores that were used."""
        seen = [each for each in self.seen if begin <= each[0] <= end] or self.seen[-1:]
        took_s = max(seen[-1][0] - seen[0][0], 0.001)
        return {
            "memory_most_mb": round(max(each[1] for each in seen), 1),
            "memory_last_mb": round(seen[-1][1], 1),
            "connections": max(each[2] for each in seen),
            "cores": round((seen[-1][3] - seen[0][3]) / took_s, 2),
        }


@dataclass
class Side:
    """One of those who call: its processes, and the orders that they have not answered."""

    load: Loads
    ordered: deque[tuple[float, float]] = field(default_factory=deque)

    def order(self, at: float, seconds: float, rate: float = 0.0) -> None:
        """Tell all processes what to do from *at* on; each has its part of the rate."""
        self.ordered.append((at, seconds))
        each = rate / len(self.load.processes)
        self.load.tell({"at": at, "seconds": seconds, "rate": each})

    def told(self) -> Told:
        """Wait for what came of the oldest order."""
        return Told.of(
            *self.ordered.popleft(), [self.load.read(each) for each in self.load.processes]
        )


@contextmanager
def side(
    network: BenchNetwork,
    folder: Path,
    tag: str,
    user: str,
    first: int,
    callers: int,
    *,
    connections: int,
    processes: int = 1,
) -> Iterator[Side]:
    """Start the processes of one side and connect them; ended at the end."""
    started = []
    log = folder / f"{tag}.log"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w", encoding="utf-8"))
        for number in range(processes):
            own = callers // processes + (number < callers % processes)
            task = Task(
                profile=str(network.profile),
                user=user,
                user_folder="",
                channel=CHANNEL,
                contract=CONTRACT,
                work="pay",
                batch=1,
                callers=own,
                first=first,
                tag=tag,
                pool=0,
                share=SHARE,
                journal=str(folder / f"{tag}.{number}.journal"),
            )
            first += own
            path = folder / f"{tag}.{number}.task.json"
            path.write_text(json.dumps(asdict(task)), "utf-8")
            many = connections // processes + (number < connections % processes)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tests.bench.flood", str(path), str(many)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env=network.tree.environment(),
            )
            stack.callback(ended, process)
            started.append(process)
        load = Loads(started, log)
        for process in started:
            load.read(process)
        yield Side(load)


def measure(made: Bench, settings: Settings) -> dict[str, Any]:
    """Measure the three phases; return their figures."""
    network, folder = made.network, made.folder
    made.provide((CALM_CALLERS + MODEST_CALLERS + settings.connections) * SHARE)
    first = CALM_CALLERS + MODEST_CALLERS
    with ExitStack() as stack:
        enter = stack.enter_context
        calm_side = enter(side(network, folder, "calm", USER, 0, CALM_CALLERS, connections=1))
        modest_side = enter(
            side(
                network, folder, "modest", MODEST_USER, CALM_CALLERS, MODEST_CALLERS, connections=1
            )
        )
        greedy_side = enter(
            side(
                network, folder, "greedy", USER, first, settings.connections,
                connections=settings.connections, processes=settings.processes,
            )
        )  # fmt: skip
        watch = enter(Watch(*_gateway_of(network)))
        begin = time.monotonic() + AHEAD_S
        for each in (calm_side, modest_side):
            each.order(begin, settings.calm_s)
        calm, modest = (each.told() for each in (calm_side, modest_side))
        carried = calm.rate + modest.rate
        made.say(f"  calm: {carried:.0f} payments/s, median {calm.percentile_ms(50) or 0:.0f} ms")
        if not calm.calls:
            raise BenchFailed(f"no payment was committed in {settings.calm_s:g} s; see {folder}")
        flooded = time.monotonic() + AHEAD_S
        over = flooded + settings.seconds
        greedy_side.order(flooded, settings.seconds, settings.times * carried)
        modest_side.order(flooded, settings.seconds)
        calm_side.order(over, settings.after_s)
        modest_side.order(over, settings.after_s)
        modest_then = modest_side.told()
        after, modest_after = (each.told() for each in (calm_side, modest_side))
        greedy = greedy_side.told()
    median_ms = calm.percentile_ms(50) or 0.0
    return {
        "carried_per_s": round(carried, 1),
        "recovered_s": recovered_s(after, median_ms),
        "phases": [
            _phase("calm", watch, begin, settings.calm_s, calm=calm, modest=modest),
            {
                **_phase("overload", watch, flooded, settings.seconds),
                "greedy": greedy.as_json(calm),
                "modest": modest_then.as_json(modest),
            },
            {
                **_phase("after", watch, over, settings.after_s),
                "calm": after.as_json(calm),
                "modest": modest_after.as_json(modest),
            },
        ],
    }


def _phase(name: str, watch: Watch, begin: float, seconds: float, **told: Told) -> dict[str, Any]:
    return {
        "phase": name,
        "seconds": seconds,
        **watch.between(begin, begin + seconds),
        **{who: each.as_json() for who, each in told.items()},
    }


def _gateway_of(network: BenchNetwork) -> tuple[int, int]:
    """Process and client port of the node that is called."""
    folder = network.nodes[CLIENT_MEMBER]
    pid: int = json.loads((folder / "node.lock").read_text("ascii"))[0]
    address = load_configuration(folder).client.reachable
    return pid, int(address.rpartition(":")[2])


def run(settings: Settings, folder: Path, tell: Callable[[str], None] = say) -> dict[str, Any]:
    """Make a network in *folder*, overload it, audit it, and return everything that was seen."""
    place = fresh(folder / settings.engine)
    with bench(Tree(ROOT), place, settings.engine, tell) as made:
        figures = measure(made, settings)
    return {**figures, "engine": settings.engine, "audit": audit(made.network, place)}


def write(folder: Path, figures: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    """Write all files of a run into *folder*; return the page."""
    page = render(figures, about)
    (folder / "overload.json").write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    (folder / "run.json").write_text(json.dumps(about, indent=2) + "\n", "utf-8")
    (folder / "overload.md").write_text(page, "utf-8")
    return page


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring; returns the exit code."""
    usual = Settings()
    parser = argparse.ArgumentParser(prog="overload", description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=ENGINES, default=usual.engine)
    parser.add_argument("--calm", type=float, default=usual.calm_s, help="seconds")
    parser.add_argument("--seconds", type=float, default=usual.seconds, help="of the overload")
    parser.add_argument("--after", type=float, default=usual.after_s, help="seconds")
    parser.add_argument("--connections", type=int, default=usual.connections)
    parser.add_argument("--times", type=float, default=usual.times)
    parser.add_argument("--processes", type=int, default=usual.processes, help="of the overload")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    settings = Settings(
        given.engine, given.calm, given.seconds, given.after, given.connections, given.times,
        given.processes,
    )  # fmt: skip
    output: Path = given.output.resolve()
    try:
        with alone_in(output) as work:
            about = described(work, asdict(settings))
            page = write(output, run(settings, work), about)
    except BenchFailed as failure:
        say(str(failure))
        return 1
    sys.stdout.write(page)
    say(f"written to {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
