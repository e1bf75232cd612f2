"""What a run leaves behind: `results.json`, `run.json`, and tables with Fabric's figures beside.

Fabric's figures come from `fabric.py`; the factor says how many times as much (for times: how many
times as little) as Fabric's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import fabric
from tests.bench.plan import Row
from tests.bench.stages import STAGES

RESULTS = "results.json"
RUN = "run.json"
TABLE = "results.md"


def write_report(folder: Path, rows: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    """Write all files of a run into *folder*; return the page with the tables."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / RESULTS, rows)
    _write_json(folder / RUN, run)
    page = render_tables(rows, run)
    (folder / TABLE).write_text(page, "utf-8")
    return page


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")


def render_tables(rows: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> str:
    """Return the whole page."""
    settings = {**run["machine"], **run["versions"], **run["settings"]}
    lines = ["# Benchmark", "", run["commit"], ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {said} |" for name, said in settings.items())]
    lines += ["", "## Throughput and time", "", *_throughput(rows)]
    lines += ["", "## Processor time", "", "Milliseconds a transaction.", "", *_cpu(rows)]
    staged = [row for row in rows if row["cpu_ms_per_tx"]["stage"]]
    if staged:
        lines += ["", "By stage:", "", *_stages(staged)]
    lines += ["", "## Memory, disk and wire", "", *_bytes(rows)]
    return "\n".join(lines) + "\n"


def row_of(result: Mapping[str, Any]) -> Row:
    """Return the row that a result is of."""
    names = ("work", "batch", "callers", "engine", "client")
    return Row(**{name: result[name] for name in names})


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _name(result: Mapping[str, Any]) -> list[str]:
    return [str(result[name]) for name in ("engine", "client", "work", "batch", "callers")]


NAME = ("engine", "client", "work", "a transaction", "callers")


def _throughput(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = (*NAME, "tx/s (least to most)", "records/s", "Fabric", "factor",
             "median ms", "Fabric", "95 % ms", "99 % ms", "errors")  # fmt: skip
    body = []
    for each in rows:
        row = row_of(each)
        least, most = each["tx_per_s_min"], each["tx_per_s_max"]
        theirs, theirs_ms = fabric.records_per_s(row), fabric.commit_ms(row)
        factor = "" if theirs is None else f"{each['records_per_s'] / theirs:.1f}"
        body.append(
            [
                *_name(each),
                f"{each['tx_per_s']:.1f} ({least:.1f} to {most:.1f})",
                f"{each['records_per_s']:,.0f}",
                "" if theirs is None else f"{theirs:,.0f}",
                factor,
                *(_number(each["p50_ms"]), _number(theirs_ms)),
                *(_number(each["p95_ms"]), _number(each["p99_ms"])),
                str(each["errors"]),
            ]
        )
    return markdown_table(heads, body)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _cpu(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({name for row in rows for name in row["cpu_ms_per_tx"]["process"]})
    heads = (*NAME, "all nodes", "Fabric", *names, "client's cores")
    body = []
    for each in rows:
        spent = each["cpu_ms_per_tx"]
        body.append(
            [
                *_name(each),
                f"{spent['nodes']:.2f}",
                _number(fabric.nodes_cpu_ms(row_of(each))),
                *(f"{spent['process'].get(name, 0):.2f}" for name in names),
                f"{each['client_cores']:.2f}",
            ]
        )
    return markdown_table(heads, body)


def _stages(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = [name for name in STAGES if any(name in row["cpu_ms_per_tx"]["stage"] for row in rows)]
    body = [
        [*_name(each), *(f"{each['cpu_ms_per_tx']['stage'].get(name, 0):.2f}" for name in names)]
        for each in rows
    ]
    return markdown_table((*NAME, *names), body)


def _bytes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    heads = (*NAME, "largest node MB", "disk bytes a transaction", "wire bytes a transaction")
    body = [
        [
            *_name(each),
            f"{each['node_memory_mb']:.0f}",
            f"{each['disk_bytes_per_tx']:,.0f}",
            f"{each['wire_bytes_per_tx']:,.0f}",
        ]
        for each in rows
    ]
    return markdown_table(heads, body)
