"""Tables and plots of a ledger that grows, from what `growth.py` has noted.

Ratios are to an empty network measured by turns; the rest is of the large ledger alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.network import MEMBERS
from tests.bench.plots import Curve, curves
from tests.bench.report import markdown_table

NODES = len(MEMBERS)
Point = Mapping[str, Any]


def _share(point: Point) -> float:
    return 100 * float(point["ratio"])


def _nodes_cpu_ms(point: Point) -> float:
    return float(point["row"]["cpu_ms_per_tx"]["nodes"])


def _peak_mb(point: Point) -> float:
    return float(point["row"]["node_memory_mb"])


def _own_mb(point: Point) -> float:
    return max(
        float(memory["Anon"]) for name, memory in point["memory_now_mb"].items() if name in MEMBERS
    )


PLOTS: Sequence[tuple[str, str, Callable[[Point], float]]] = (
    ("share", "Throughput, in a hundred of an empty ledger's", _share),
    ("memory", "Memory of the largest node at most, MB", _peak_mb),
    ("nodes-cpu", "Processor time of all nodes, ms a transaction", _nodes_cpu_ms),
)


def write_growth(folder: Path, state: Mapping[str, Any]) -> str:
    """Write page and plots of all points; return the page."""
    page = render_growth(state)
    (folder / "growth.md").write_text(page, "utf-8")
    for name, unit, figure in PLOTS:
        named: dict[str, list[tuple[float, float]]] = {}
        for point in state["points"]:
            named.setdefault(_name(point), []).append((point["size"], figure(point)))
        _plot(folder, name, f"{unit}, {state['engine']}", unit, named)
    disk: dict[str, list[tuple[float, float]]] = {}
    for step in state["loading"]:
        for kind, size in step["disk"].items():
            disk.setdefault(kind, []).append((step["agreements"], size / NODES / 2**20))
    _plot(folder, "disk", f"Disk of a node, MB, {state['engine']}", "MB", disk)
    return page


def _plot(
    folder: Path,
    name: str,
    title: str,
    unit: str,
    named: Mapping[str, Sequence[tuple[float, float]]],
) -> None:
    content = [Curve(label, sorted(points)) for label, points in named.items()]
    (folder / f"growth-{name}.svg").write_text(curves(title, unit, content), "utf-8")


def render_growth(state: Mapping[str, Any]) -> str:
    """Return the page of a growing ledger."""
    title = f"# A ledger that grows, {state['engine']}, {state['run']['commit']}"
    lines = [title, "", "Each row by turns with an empty network; the load is the system's.", ""]
    lines += _measured(state["points"])
    lines += ["", "## Loading", "", "Disk in MB of a node.", "", *_loading(state["loading"])]
    return "\n".join(lines) + "\n"


def _measured(points: Sequence[Point]) -> list[str]:
    heads = ("agreements", "work", "load", "records/s", "empty", "ratio", "pairs",
             "median ms", "empty", "nodes ms a transaction", "empty",
             "largest node MB", "empty", "of it its own")  # fmt: skip
    body = []
    for point in points:
        row, empty = point["row"], point["empty"]
        body.append(
            [
                f"{point['size']:,}",
                _name(point),
                f"{point['load']}",
                f"{row['records_per_s']:,.0f}",
                f"{empty['records_per_s']:,.0f}",
                f"{point['ratio']:.2f}",
                f"{min(point['pairs']):.2f} to {max(point['pairs']):.2f}",
                f"{row['p50_ms'] or 0:.1f}",
                f"{empty['p50_ms'] or 0:.1f}",
                f"{_nodes_cpu_ms(point):.2f}",
                f"{empty['cpu_ms_per_tx']['nodes']:.2f}",
                f"{_peak_mb(point):.0f}",
                f"{empty['node_memory_mb']:.0f}",
                f"{_own_mb(point):.0f}",
            ]
        )
    return markdown_table(heads, body)


def _loading(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    kinds = list(steps[0]["disk"]) if steps else []
    heads = ("agreements", "a second", "load", "µs of all processes each", *kinds)
    body = [
        [
            f"{step['agreements']:,}",
            f"{step['per_s']:,.0f}",
            f"{step['load']}",
            f"{sum(step['cpu_us'].values()):.0f}",
            *(f"{step['disk'][kind] / NODES / 2**20:,.0f}" for kind in kinds),
        ]
        for step in steps
    ]
    return markdown_table(heads, body)


def _name(point: Point) -> str:
    row = point["row"]
    return f"{row['work']} {row['batch']} x {row['callers']}"
