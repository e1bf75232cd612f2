"""The same work on a ledger that grows: throughput, memory and disk as curves, not as points.

    .venv/bin/python -m tests.bench.growth --sizes 0,1000000,10000000 [--engine cometbft]
                                           [--folder build/bench-growth]

Opens agreements through the normal way of a transaction, 500 in each, until the ledger has the next
size; measures there, and goes on. The folder stays: called again with further sizes it goes on
where it ended, on the network that is there. What is there already cannot be made smaller: sizes
below it are refused.

The callers' agreements lie as far apart as the size allows, so that a point tells of the whole
ledger and not of its newest part. At size 0 there are only the agreements that the callers need.

Writes `growth.json`, `growth.md` and `growth-*.svg` into the folder. Every payment is audited at
the end; of the agreements that were opened for the size, the number.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from tests.bench.__main__ import row_from, say
from tests.bench.audit import audit
from tests.bench.network import ROOT, BenchFailed, Tree
from tests.bench.plan import ENGINES, Timing, pool_of
from tests.bench.plots import Curve, curves
from tests.bench.report import markdown_table
from tests.bench.results import as_json
from tests.bench.run import Bench, bench, measure_row
from tests.bench.surroundings import described

OUTPUT = ROOT / "build" / "bench-growth"
ROWS = ("pay,1,64", "pay,500,16", "evaluate,1,64")
STEP = 250_000
"""Agreements opened by one load; what was opened is noted after each."""
STATE = "growth.json"
PLOTS = (
    ("share", "Records a second, in a hundred of the first point's"),
    ("node_memory_mb", "Memory of the largest node, MB"),
    ("nodes_cpu_ms", "Processor time of all nodes, ms a transaction"),
)


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring; returns the exit code."""
    parser = argparse.ArgumentParser(prog="growth", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="0,1000000,10000000", help="agreements, ascending")
    parser.add_argument("--engine", choices=ENGINES, default="cometbft")
    parser.add_argument("--row", action="append", help=f"instead of {' '.join(ROWS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    folder: Path = given.folder.resolve()
    try:
        sizes = sorted({int(size) for size in given.sizes.split(",")})
    except ValueError:
        parser.error(f"--sizes takes whole numbers and commas, not {given.sizes}")
    timing = Timing(given.rounds, given.seconds)
    try:
        page = grow(folder, given.engine, sizes, given.row or ROWS, timing)
    except BenchFailed as failure:
        say(str(failure))
        return 1
    sys.stdout.write(page)
    say(f"written to {folder}")
    return 0


def grow(
    folder: Path, engine: str, sizes: Sequence[int], rows: Sequence[str], timing: Timing
) -> str:
    """Measure at each size; return the table of all points that the folder has.

    Raises:
        BenchFailed: a size lies below what is there, another engine is there, or work failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _load_state(folder, engine)
    least = pool_of([row_from(words, engine) for words in rows])
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
            _provide(made, max(size, least), folder, state)
            for words in rows:
                result = as_json(measure_row(made, row_from(words, engine), timing))
                disk = made.meter.disk_bytes()
                state["points"].append({"size": size, "disk_bytes": disk, "row": result})
                _save_state(folder, state)
    state["audit"] = audit(made.network, folder)
    _save_state(folder, state)
    return write_growth(folder, state)


def _provide(made: Bench, size: int, folder: Path, state: dict[str, Any]) -> None:
    while made.provided < size:
        made.provide(min(size, made.provided + STEP))
        state["provided"] = made.provided
        _save_state(folder, state)


def _load_state(folder: Path, engine: str) -> dict[str, Any]:
    path = folder / STATE
    if not path.exists():
        return {"engine": engine, "provided": 0, "points": []}
    state: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if state["engine"] != engine:
        raise BenchFailed(f"{folder} holds a network on {state['engine']}: name a new folder")
    return state


def _save_state(folder: Path, state: Mapping[str, Any]) -> None:
    part = folder / f"{STATE}.part"
    part.write_text(json.dumps(state, indent=2) + "\n", "utf-8")
    part.replace(folder / STATE)


def write_growth(folder: Path, state: Mapping[str, Any]) -> str:
    """Write table and plots of all points; return the table."""
    first = _first_rates(state)
    page = render_growth(state)
    (folder / "growth.md").write_text(page, "utf-8")
    for figure, unit in PLOTS:
        named: dict[str, list[tuple[float, float]]] = {}
        for point in state["points"]:
            named.setdefault(_name(point), []).append(
                (point["size"], _figure(point, figure, first))
            )
        content = [Curve(name, sorted(points)) for name, points in named.items()]
        plot = curves(f"{unit}, {state['engine']}", unit, content)
        (folder / f"growth-{figure.replace('_', '-')}.svg").write_text(plot, "utf-8")
    return page


def render_growth(state: Mapping[str, Any]) -> str:
    """Return the page of a growing ledger."""
    first = _first_rates(state)
    body = []
    for point in state["points"]:
        body.append(
            [
                f"{point['size']:,}",
                _name(point),
                f"{point['row']['records_per_s']:,.0f}",
                f"{_figure(point, 'share', first):.0f} %",
                f"{point['row']['p50_ms'] or 0:.1f}",
                f"{_figure(point, 'nodes_cpu_ms', first):.2f}",
                f"{_figure(point, 'node_memory_mb', first):.0f}",
                f"{point['disk_bytes'] / 4 / 2**20:,.0f}",
            ]
        )
    heads = ("agreements", "work", "records/s", "of the first", "median ms",
             "nodes ms a transaction", "largest node MB", "disk of a node MB")  # fmt: skip
    title = f"# A ledger that grows, {state['engine']}, {state['run']['commit']}"
    return "\n".join([title, "", *markdown_table(heads, body)]) + "\n"


def _name(point: Mapping[str, Any]) -> str:
    row = point["row"]
    return f"{row['work']} {row['batch']} x {row['callers']}"


def _first_rates(state: Mapping[str, Any]) -> dict[str, float]:
    """Records a second of each work at its first point."""
    first: dict[str, float] = {}
    for point in state["points"]:
        first.setdefault(_name(point), point["row"]["records_per_s"])
    return first


def _figure(point: Mapping[str, Any], figure: str, first: Mapping[str, float]) -> float:
    row = point["row"]
    match figure:
        case "share":
            return 100 * float(row["records_per_s"]) / (first[_name(point)] or 1.0)
        case "nodes_cpu_ms":
            return float(row["cpu_ms_per_tx"]["nodes"])
        case _:
            return float(row[figure])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
