"""Measure Qist with the work that Fabric was measured with; `make bench` calls it.

    python -m tests.bench [--quick | --full] [--engine solo] [--output build/bench]

docs/performance.md says what the rows mean.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.bench.against import compare, write_comparison
from tests.bench.network import ROOT, BenchFailed, Tree
from tests.bench.plan import (
    ENGINES,
    WORKS,
    Plan,
    Row,
    budget_s,
    full_plan,
    quick_plan,
    room_bytes,
    usual_plan,
)
from tests.bench.plots import write_plots
from tests.bench.product import measure_product
from tests.bench.report import write_report
from tests.bench.results import as_json
from tests.bench.run import alone_in, fresh, run
from tests.bench.surroundings import described, tree_of_commit

OUTPUT = ROOT / "build" / "bench"


def say(text: str) -> None:
    """Tell how far the run is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="what there are targets for")
    extent.add_argument("--full", action="store_true", help="everything; takes its time")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="one or more of them")
    parser.add_argument("--against", metavar="COMMIT", help="measure it too, by turns")
    parser.add_argument(
        "--row", action="append", help="these alone: WORK,BATCH,CALLERS or WORK,BATCH,CALLERS,node"
    )
    parser.add_argument("--rounds", type=int, help="of each row")
    parser.add_argument("--seconds", type=float, help="of each round")
    parser.add_argument("--processes", type=int, default=1, help="of the load, with our SDK")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    return parser.parse_args(arguments)


def plan_of(given: argparse.Namespace) -> Plan:
    """Return what is to be measured."""
    if given.quick:
        plan = quick_plan(given.engine or ("cometbft",))
    elif given.full:
        plan = full_plan(given.engine or ENGINES)
    else:
        plan = usual_plan(given.engine or ENGINES)
    changed = {"rounds": given.rounds, "seconds": given.seconds}
    timing = replace(plan.timing, **{k: v for k, v in changed.items() if v is not None})
    if given.row:
        rows = tuple(row_from(each, engine) for engine in plan.engines for each in given.row)
        return replace(plan, rows=rows, timing=timing, product=False)
    return replace(plan, timing=timing)


def row_from(words: str, engine: str) -> Row:
    """Return the row that `WORK,BATCH,CALLERS` or `WORK,BATCH,CALLERS,CLIENT` names.

    Raises:
        SystemExit: it names none.
    """
    match words.split(","):
        case [work, batch, callers, *client] if (
            work in WORKS and batch.isdecimal() and callers.isdecimal() and len(client) < 2
        ):
            return Row(work, int(batch), int(callers), engine, *client)
    raise SystemExit(
        f"no row: {words}; write {' or '.join(WORKS)}, as in pay,1,64 or pay,1,64,node"
    )


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring; returns the exit code."""
    given = parse(arguments)
    plan = plan_of(given)
    output: Path = given.output.resolve()
    settings = {"plan": plan.name, **asdict(plan.timing), "client_processes": given.processes}
    try:
        with alone_in(output) as work:
            about = described(work, settings)
            budget = budget_s(plan, against=given.against is not None)
            room = room_bytes(plan, against=given.against is not None)
            say(
                f"{plan.name}: {len(plan.rows)} rows; about {budget / 60:.0f} minutes on two cores "
                f"that do nothing else, and up to {room / 1e9:.1f} GB of the disk"
            )
            check_room(work, room)
            began = time.monotonic()
            if given.against:
                page = _measure_both(given, plan, output, work, about)
            else:
                measured, audits = run(plan, Tree(ROOT), work, say, processes=given.processes)
                if plan.product:
                    for engine in plan.engines:
                        measured += measure_product(engine, Tree(ROOT), work, say)
                rows = [as_json(each) for each in measured]
                page = write_report(output, rows, {**about, "audits": audits})
                write_plots(output, rows)
    except BenchFailed as failure:
        say(str(failure))
        return 1
    sys.stdout.write(page)
    say(f"written to {output} after {(time.monotonic() - began) / 60:.1f} minutes")
    return 0


def check_room(folder: Path, needed: float) -> None:
    """See that the disk has room for a run.

    Args:
        needed: bytes.
    Raises:
        BenchFailed: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BenchFailed(
            f"{folder} has {free / 1e9:.1f} GB left and the run may need {needed / 1e9:.1f}: name "
            "a folder on another disk with --output, or measure less with --engine or --row"
        )


def _measure_both(
    given: argparse.Namespace, plan: Plan, output: Path, work: Path, about: dict[str, Any]
) -> str:
    here, there = Tree(ROOT), tree_of_commit(given.against, fresh(work / "there"))
    compared, audits = compare(plan, here, there, work, say, processes=given.processes)
    return write_comparison(output, compared, {**about, "audits": audits}, there.name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
