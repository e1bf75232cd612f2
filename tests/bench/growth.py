"""The same work on a ledger that grows: throughput, memory and disk as curves, not as points.

    .venv/bin/python -m tests.bench.growth --sizes 0,1000000,10000000 [--engine cometbft]
                                           [--folder build/bench-growth] [--load-only]

Opens agreements through the normal way of a transaction, endorsed, ordered and committed like any
other, 2,000 in each and four transactions under way, until the ledger has the next size; measures
there, and goes on. The folder stays: stopped and called again it goes on where it was, on the
network that is there; agreements of a step that was broken off are opened again, which changes
nothing. What is there already cannot be made smaller: sizes below it are refused.

A point is a comparison. Each round on the large ledger is followed or preceded by one on an *empty*
network, made anew for each size, that holds the agreements that its callers need and no more; so
whatever else the machine does hits both, and their ratio means something where a rate does not.

A row begins when the large network's nodes are idle: what the work before it has left LevelDB to
merge is not this row's. It may take minutes after the loading.

Callers go over the whole ledger, each over a share of its own, far from one call to the next: no
agreement is paid twice before all of the share were, so caches hold no more of them than they would
of a year's payments.

Writes `growth.json`, `growth.md` and `growth-*.svg` into the folder. Every payment is audited at
the end; of the agreements that were opened for the size, the number.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from tests.bench.__main__ import row_from, say
from tests.bench.against import compare_row
from tests.bench.audit import audit
from tests.bench.growth_report import write_growth
from tests.bench.network import MEMBERS, ROOT, BenchFailed, Tree
from tests.bench.plan import ENGINES, Row, Timing, pool_of
from tests.bench.rounds import provide
from tests.bench.run import Bench, bench, fresh
from tests.bench.surroundings import described

OUTPUT = ROOT / "build" / "bench-growth"
ROWS = ("pay,1,64", "pay,500,16", "evaluate,1,64")
STEP = 200_000
"""Agreements opened by one load; what was opened is noted after each."""
BATCH = 2_000
"""Agreements in a transaction that only loads; four of them fill a block of 2 MB."""
UNDER_WAY = 4
"""Such transactions."""
LONGEST_IDLE_S = 300.0
"""Seconds that a row waits for what the work before it has left LevelDB to merge."""
LEAST_FREE_GB = 8.0
"""Of the disk: below it nothing more is loaded."""
STATE = "growth.json"


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring; returns the exit code."""
    parser = argparse.ArgumentParser(prog="growth", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="0,1000000,10000000", help="agreements, ascending")
    parser.add_argument("--engine", choices=ENGINES, default="cometbft")
    parser.add_argument("--row", action="append", help=f"instead of {' '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=OUTPUT)
    parser.add_argument("--load-only", action="store_true", help="open agreements, measure nothing")
    given = parser.parse_args(arguments)
    folder: Path = given.folder.resolve()
    try:
        sizes = sorted({int(size) for size in given.sizes.split(",")})
    except ValueError:
        parser.error(f"--sizes takes whole numbers and commas, not {given.sizes}")
    timing = Timing(given.rounds, given.seconds, sampled_s=0.0)
    rows = [row_from(words, given.engine) for words in given.row or ROWS]
    signal.signal(signal.SIGTERM, _stop)
    try:
        page = grow(folder, given.engine, sizes, [] if given.load_only else rows, timing)
    except BenchFailed as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on from what is in {folder}")
        return 130
    sys.stdout.write(page)
    say(f"written to {folder}")
    return 0


def _stop(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def grow(
    folder: Path, engine: str, sizes: Sequence[int], rows: Sequence[Row], timing: Timing
) -> str:
    """Measure at each size; return the page of all points that the folder has.

    Raises:
        BenchFailed: a size lies below what is there, another engine is there, or work failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _load_state(folder, engine)
    least = pool_of(rows)
    if max(sizes[0], least) < state["provided"]:
        raise BenchFailed(
            f"{folder} holds {state['provided']} agreements, so {sizes[0]} cannot be measured "
            "there: name a new folder"
        )
    state["run"] = described(folder, {"seconds": timing.seconds, "rounds": timing.rounds})
    with bench(Tree(ROOT), folder, engine, say) as made:
        made.provided, made.spread = state["provided"], True
        # Numbers of rows of earlier calls are taken: their journals are audited as well.
        made.tags = map("r{}".format, count(len(list(folder.glob("r*.task.json"))) + 1))
        for size in sizes:
            _provide(made, max(size, least), state)
            if rows:
                _measure(made, size, rows, timing, state)
    if rows:
        say("the ledgers are audited against what callers were told")
        state["audit"] = audit(made.network, folder)
    _save_state(folder, state)
    return write_growth(folder, state)


def _measure(
    made: Bench, size: int, rows: Sequence[Row], timing: Timing, state: dict[str, Any]
) -> None:
    """Add the points of one size."""
    with _empty(made, rows) as empty:
        for row in rows:
            if not made.meter.wait_until_idle(LONGEST_IDLE_S):
                say(
                    f"  {row}: after {LONGEST_IDLE_S:g} s the large network's nodes are still at "
                    "what the work before has left, which counts as this row's"
                )
            compared = compare_row([made, empty], row, timing, say)
            state["points"].append(
                {
                    "size": size,
                    "load": round(os.getloadavg()[0], 1),
                    "disk": made.meter.disk_by_kind(),
                    "memory_now_mb": made.meter.memory_now_mb(),
                    "row": dict(compared.here),
                    "empty": dict(compared.there),
                    "pairs": list(compared.pairs),
                    "ratio": round(statistics.median(compared.pairs), 3),
                }
            )
            _save_state(made.folder, state)


@contextmanager
def _empty(made: Bench, rows: Sequence[Row]) -> Iterator[Bench]:
    """Run a network with no more agreements than these rows need, audit it, and remove it."""
    place = fresh(made.folder / "empty")
    with bench(made.network.tree, place, made.network.engine, say) as empty:
        empty.spread = True
        empty.provide(pool_of(rows))
        yield empty
    audit(empty.network, place)
    shutil.rmtree(place)


def _provide(made: Bench, size: int, state: dict[str, Any]) -> None:
    """Open agreements until there are *size*, step by step, and note what each step took.

    Raises:
        BenchFailed: the disk is nearly full, or a transaction failed.
    """
    while made.provided < size:
        free_gb = shutil.disk_usage(made.folder).free / 2**30
        if free_gb < LEAST_FREE_GB:
            raise BenchFailed(
                f"{made.folder} has {free_gb:.1f} GB left, and below {LEAST_FREE_GB:g} nothing "
                f"more is loaded: {made.provided:,} agreements are open"
            )
        before, upto = made.provided, min(size, made.provided + STEP)
        window = provide(
            made.network, made.meter, made.folder, upto, before, batch=BATCH, callers=UNDER_WAY
        )
        made.provided = state["provided"] = upto
        opened = upto - before
        step = {
            "agreements": upto,
            "per_s": round(opened / window.seconds, 1),
            "load": round(os.getloadavg()[0], 1),
            "cpu_us": {
                name: round(1e6 * spent / opened, 2) for name, spent in window.used.cpu_s.items()
            },
            "disk": made.meter.disk_by_kind(),
            "memory_now_mb": made.meter.memory_now_mb(),
        }
        state["loading"].append(step)
        _save_state(made.folder, state)
        say(_progress(step, size))


def _progress(step: Mapping[str, Any], size: int) -> str:
    own = max(memory["Anon"] for name, memory in step["memory_now_mb"].items() if name in MEMBERS)
    seconds = (size - step["agreements"]) / step["per_s"]
    until = time.strftime("%H:%M", time.localtime(time.time() + seconds))
    return (
        f"  {step['agreements']:,} of {size:,} agreements, {step['per_s']:,.0f} a second at "
        f"{sum(step['cpu_us'].values()):.0f} µs of processor time, load {step['load']}; "
        f"{sum(step['disk'].values()) / 2**30:.2f} GB on disk, largest node {own:.0f} MB of its "
        f"own; at this rate until {until}"
    )


def _load_state(folder: Path, engine: str) -> dict[str, Any]:
    path = folder / STATE
    if not path.exists():
        return {"engine": engine, "provided": 0, "loading": [], "points": []}
    state: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if state["engine"] != engine:
        raise BenchFailed(f"{folder} holds a network on {state['engine']}: name a new folder")
    return state


def _save_state(folder: Path, state: Mapping[str, Any]) -> None:
    part = folder / f"{STATE}.part"
    part.write_text(json.dumps(state, indent=2) + "\n", "utf-8")
    part.replace(folder / STATE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
