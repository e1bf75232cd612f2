"""Two commits in one run, round by round in turn, so that whatever else the machine does hits both.

    make bench AGAINST=<commit>

Each has a network and an SDK of its own, made of its own files; contract, load and measuring are
those of this tree. The order of the two changes with every pair of rounds. What is told are ratios,
this tree's figure divided by the other commit's: of the medians, and of each pair.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.bench.audit import audit
from tests.bench.network import Tree
from tests.bench.plan import Plan, Row, Timing, pool_of
from tests.bench.report import markdown_table
from tests.bench.results import as_json
from tests.bench.rounds import Window
from tests.bench.run import Bench, RowAtWork, Say, bench, fresh

LESS_IS_BETTER = ("p50_ms", "p99_ms", "nodes_cpu_ms", "client_cpu_ms", "node_memory_mb")
FIGURES = ("tx_per_s", *LESS_IS_BETTER)


@dataclass(frozen=True)
class Compared:
    """One row on both commits.

    Attributes:
        row: what was done.
        here: its figures on this tree, as in `results.json`.
        there: on the other commit.
        pairs: for each pair of rounds, throughput here divided by that there.
    """

    row: Row
    here: Mapping[str, Any]
    there: Mapping[str, Any]
    pairs: Sequence[float]

    def ratio(self, figure: str) -> float | None:
        """Return this tree's figure divided by the other's; None if there is none to divide by."""
        here, there = _figure(self.here, figure), _figure(self.there, figure)
        return None if here is None or not there else here / there


def compare(
    plan: Plan, here: Tree, there: Tree, folder: Path, say: Say, *, processes: int = 1
) -> tuple[list[Compared], dict[str, Any]]:
    """Measure every row of a plan on both trees; nothing is sampled.

    Returns:
        what was compared, and what the audits compared, by engine and tree.
    """
    timing = replace(plan.timing, sampled_s=0.0)
    compared: list[Compared] = []
    audits: dict[str, Any] = {}
    for engine in plan.engines:
        rows = plan.of_engine(engine)
        with ExitStack() as stack:
            made = []
            for side, tree in (("here", here), ("there", there)):
                place = fresh(folder / f"rows-{side}")
                started = stack.enter_context(bench(tree, place, engine, say, processes=processes))
                started.provide(pool_of(rows))
                made.append(started)
            compared += [compare_row(made, row, timing, say) for row in rows]
        for side, each in zip(("here", "there"), made, strict=True):
            audits[f"{engine} {side}"] = audit(each.network, each.folder)
    return compared, audits


def compare_row(made: Sequence[Bench], row: Row, timing: Timing, say: Say) -> Compared:
    """Measure a row on two networks, by turns; nothing is sampled."""
    with made[0].row(row) as here, made[1].row(row) as there:
        pairs = []
        for number in range(timing.rounds):
            in_turn: list[RowAtWork] = [here, there] if number % 2 == 0 else [there, here]
            windows: dict[int, Window] = {id(each): each.measure(timing) for each in in_turn}
            slower = windows[id(there)].tx_per_s
            pairs.append(windows[id(here)].tx_per_s / slower if slower else float("nan"))
    say(f"  {row}: {', '.join(f'{pair:.2f}' for pair in pairs)} times as fast")
    return Compared(row, as_json(here.measured()), as_json(there.measured()), pairs)


def _figure(result: Mapping[str, Any], figure: str) -> float | None:
    if figure == "nodes_cpu_ms":
        value = result["cpu_ms_per_tx"]["nodes"]
    elif figure == "client_cpu_ms":
        value = result["cpu_ms_per_tx"]["process"].get("client")
    else:
        value = result[figure]
    return None if value is None else float(value)


def write_comparison(
    folder: Path, compared: Sequence[Compared], run: Mapping[str, Any], there: str
) -> str:
    """Write `against.json` and `against.md`; return the table."""
    content = {
        **run,
        "against": there,
        "rows": [
            {
                "here": dict(each.here),
                "there": dict(each.there),
                "ratios": {figure: each.ratio(figure) for figure in FIGURES},
                "pairs": list(each.pairs),
            }
            for each in compared
        ],
    }
    (folder / "against.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    page = render_comparison(compared, run["commit"], there)
    (folder / "against.md").write_text(page, "utf-8")
    return page


def render_comparison(compared: Sequence[Compared], here: str, there: str) -> str:
    """Return the page with the ratios."""
    heads = ("row", "tx/s here", "tx/s there", "ratio", "pairs", *LESS_IS_BETTER)
    body = []
    for each in compared:
        ratios = [each.ratio(figure) for figure in FIGURES]
        body.append(
            [
                str(each.row),
                f"{each.here['tx_per_s']:.1f}",
                f"{each.there['tx_per_s']:.1f}",
                _ratio(ratios[0]),
                f"{min(each.pairs):.2f} to {max(each.pairs):.2f}",
                *map(_ratio, ratios[1:]),
            ]
        )
    found = [ratio for each in compared if (ratio := each.ratio("tx_per_s")) is not None]
    middle = f"{statistics.geometric_mean(found):.3f}" if found else "none"
    lines = [
        f"# {here} against {there}",
        "",
        "Here divided by there: throughput is better above one, everything else below one.",
        f"Geometric mean of the ratios of throughput: {middle}.",
        "",
        *markdown_table(heads, body),
    ]
    return "\n".join(lines) + "\n"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
