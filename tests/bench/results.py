"""From windows to the figures of a row, as `results.json` has them.

`results.json` is a list of rows, nothing around it, so that a program reads it without knowing
more; what holds for the whole run is in `run.json` beside it. Throughput is the median of the
rounds, with the least and the most beside; percentiles are of the calls of all rounds.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.network import MEMBERS
from tests.bench.plan import Row
from tests.bench.rounds import Window

BYTES_A_MB = 1 << 20


@dataclass(frozen=True)
class Measured:
    """Everything that was seen of one row.

    Attributes:
        windows: the measured rounds.
        stage_s: seconds of processor time by stage in the sampled round, None without one.
        sampled: calls that ended well in the sampled round.
        memory_mb: peak memory by process.
        disk_bytes: by which what the nodes have stored grew.
        written: transactions acknowledged in that time, warm-up and all.
        load_processes: among which the callers were divided.
    """

    row: Row
    windows: Sequence[Window]
    stage_s: Mapping[str, float] | None
    sampled: int
    memory_mb: Mapping[str, float]
    disk_bytes: int
    written: int
    load_processes: int


def as_json(measured: Measured) -> dict[str, Any]:
    """Return a row of `results.json`."""
    row, windows = measured.row, measured.windows
    rates = sorted(window.tx_per_s for window in windows)
    latencies = sorted(each for window in windows for each in window.latencies_ms)
    errors: Counter[str] = Counter()
    for window in windows:
        errors.update(window.errors)
    calls = len(latencies)
    seconds = sum(window.seconds for window in windows)
    process = _cpu_by_process(windows, calls)
    median = statistics.median(rates)
    wire = sum(window.used.wire_bytes for window in windows)
    return {
        "work": row.work,
        "batch": row.batch,
        "callers": row.callers,
        "engine": row.engine,
        "client": row.client,
        "tx_per_s": round(median, 2),
        "tx_per_s_min": round(rates[0], 2),
        "tx_per_s_max": round(rates[-1], 2),
        "records_per_s": round(median * row.batch, 1),
        "p50_ms": _percentile(latencies, 50),
        "p95_ms": _percentile(latencies, 95),
        "p99_ms": _percentile(latencies, 99),
        "errors": sum(errors.values()),
        "errors_by_kind": dict(errors),
        "cpu_ms_per_tx": {
            "process": process,
            "stage": _cpu_by_stage(measured, process),
            "nodes": round(sum(v for k, v in process.items() if k != "client"), 4),
        },
        "node_memory_mb": max(
            (v for k, v in measured.memory_mb.items() if k in MEMBERS), default=0.0
        ),
        "memory_mb_by_process": dict(measured.memory_mb),
        "disk_bytes_per_tx": _per(measured.disk_bytes, measured.written),
        "wire_bytes_per_tx": _per(wire, calls),
        "rounds": len(windows),
        "seconds": round(seconds, 3),
        "calls": calls,
        "client_processes": measured.load_processes,
        # Near one for each process of the load, it is the client that was measured.
        "client_cores": round(process.get("client", 0.0) * calls / 1000 / seconds, 3),
    }


def _cpu_by_process(windows: Sequence[Window], calls: int) -> dict[str, float]:
    spent: dict[str, float] = defaultdict(float)
    for window in windows:
        for name, seconds in window.used.cpu_s.items():
            spent[name] += seconds
    return {name: _per(1000 * seconds, calls, 4) for name, seconds in sorted(spent.items())}


def _cpu_by_stage(measured: Measured, process: Mapping[str, float]) -> dict[str, float]:
    """Return processor time by stage: what the system counted, divided as the samples were.

    Empty without samples.
    """
    if measured.stage_s is None:
        return {}
    nodes = sum(v for k, v in process.items() if k in MEMBERS)
    others = sum(v for k, v in process.items() if k not in MEMBERS and k != "client")
    total = sum(measured.stage_s.values())
    stages = {name: round(nodes * seconds / total, 4) for name, seconds in measured.stage_s.items()}
    if others:
        stages["cometbft"] = round(others, 4)
    stages["client"] = process.get("client", 0.0)
    return stages


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """Return the value below which *percent* in a hundred lie; None of nothing."""
    if not ordered:
        return None
    place = min(len(ordered) - 1, round(percent / 100 * len(ordered)))
    return round(ordered[place], 3)


def _per(amount: float, count: int, digits: int = 1) -> float:
    return round(amount / count, digits) if count else 0.0
