"""A run: a network for each engine, every row measured on it, and the audit at the end.

    results = run(plan, Tree(ROOT), folder, say=print)

Absent: files and tables (`report.py`), comparisons of two commits (`against.py`).
"""

from __future__ import annotations

import fcntl
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from tests.bench.audit import audit
from tests.bench.network import BenchFailed, BenchNetwork, Tree, bench_network
from tests.bench.plan import Plan, Row, Timing, pool_of
from tests.bench.results import Measured
from tests.bench.rounds import Loads, Window, loads, provide
from tests.bench.stages import seconds_by_stage
from tests.bench.usage import Meter

Say = Callable[[str], None]
GOLDEN = 0.618
"""Of a share: multiples of it fall evenly over the whole."""
SAMPLES_S = 30.0
"""How long samplers may take to write what they saw."""


@dataclass
class Bench:
    """One network under measurement.

    Attributes:
        network: it runs.
        folder: for tasks, journals and logs.
        meter: reads its processes.
        provided: agreements of the pool that are open.
        tags: one for each row that is measured.
        processes: among which a row's callers are divided, for our SDK.
        spread: whether a row's callers go over the whole pool, in no order that caches would
            like, in the place of the few agreements that they need.
    """

    network: BenchNetwork
    folder: Path
    meter: Meter
    say: Say
    provided: int = 0
    processes: int = 1
    spread: bool = False
    tags: Iterator[str] = field(default_factory=lambda: map("r{}".format, count(1)))

    def provide(self, pool: int) -> None:
        """Open agreements until there are as many."""
        if pool <= self.provided:
            return
        began = time.perf_counter()
        provide(self.network, self.meter, self.folder, pool, self.provided)
        took = time.perf_counter() - began
        self.say(f"  {pool - self.provided} agreements opened in {took:.1f} s")
        self.provided = pool

    @contextmanager
    def row(self, row: Row) -> Iterator[RowAtWork]:
        """Have a row's load connected; its windows are measured inside the block."""
        needed = pool_of([row])
        self.provide(needed)
        share = self.provided // row.callers if needed and self.spread else row.share
        stride = scattering(share) if self.spread else 1
        tag = next(self.tags)
        processes = self.processes if row.client == "sdk" else 1
        with loads(
            self.network,
            row,
            tag,
            self.folder,
            processes=processes,
            share=share,
            stride=stride,
        ) as load:
            self.meter.watch_load(load.pids)
            self.meter.forget_peaks()
            disk = self.meter.disk_bytes()
            at_work = RowAtWork(self, row, load, min(processes, row.callers))
            yield at_work
            at_work.memory_mb = self.meter.peaks_mb()
            at_work.disk_bytes = self.meter.disk_bytes() - disk
        if row.work != "evaluate":
            at_work.written = _acknowledged(self.folder, tag)


@dataclass
class RowAtWork:
    """A row whose load is connected, and what was seen of it so far."""

    bench: Bench
    row: Row
    load: Loads
    processes: int
    windows: list[Window] = field(default_factory=list)
    stage_s: Mapping[str, float] | None = None
    sampled: int = 0
    memory_mb: Mapping[str, float] = field(default_factory=dict)
    disk_bytes: int = 0
    written: int = 0

    def measure(self, timing: Timing) -> Window:
        """Measure one more round."""
        warm_s = timing.warm_s if self.windows else timing.warm_first_s
        window = self.load.window(
            self.bench.meter, warm_s=warm_s, seconds=timing.seconds, whole=self.row.is_whole
        )
        self.windows.append(window)
        return window

    def sample(self, timing: Timing) -> None:
        """Let one more round be sampled, if the tree's processes have samplers."""
        samples = self.bench.network.tree.samples
        if samples is None or not timing.sampled_s:
            return
        switch = samples / "on"
        window = self.load.window(
            self.bench.meter,
            warm_s=timing.warm_s,
            seconds=timing.sampled_s,
            whole=self.row.is_whole,
            inside=switch.touch,
        )
        switch.unlink()
        taken = gather_samples(samples, self.bench.meter.node_pids)
        self.stage_s = seconds_by_stage(taken, str(self.bench.network.tree.path))
        self.sampled = len(window.latencies_ms)

    def measured(self) -> Measured:
        """Return everything that was seen."""
        return Measured(
            self.row,
            tuple(self.windows),
            self.stage_s,
            self.sampled,
            self.memory_mb,
            self.disk_bytes,
            self.written,
            self.processes,
        )


def run(
    plan: Plan, tree: Tree, folder: Path, say: Say, *, processes: int = 1
) -> tuple[list[Measured], dict[str, Any]]:
    """Measure every row of a plan.

    Returns:
        what was seen of each row, and what the audits compared, by engine.
    """
    measured: list[Measured] = []
    audits: dict[str, Any] = {}
    for engine in plan.engines:
        rows = plan.of_engine(engine)
        # One folder, made anew: what the engine before has left need not stay on the disk.
        place = fresh(folder / "rows")
        with bench(tree, place, engine, say, processes=processes) as made:
            made.provide(pool_of(rows))
            for row in rows:
                measured.append(measure_row(made, row, plan.timing))
        audits[engine] = audit(made.network, place)
        say(f"{engine}: audited, {json.dumps(audits[engine])}")
    return measured, audits


def measure_row(made: Bench, row: Row, timing: Timing) -> Measured:
    """Measure all rounds of one row."""
    with made.row(row) as at_work:
        for _ in range(timing.rounds):
            at_work.measure(timing)
        at_work.sample(timing)
    rates = sorted(window.tx_per_s for window in at_work.windows)
    made.say(f"  {row}: {', '.join(f'{rate:.1f}' for rate in rates)} tx/s")
    return at_work.measured()


@contextmanager
def bench(
    tree: Tree, folder: Path, engine: str, say: Say, *, processes: int = 1
) -> Iterator[Bench]:
    """Make a network in *folder*, with samplers in its processes; down at the end."""
    samples = folder / "samples"
    samples.mkdir(exist_ok=True)
    (samples / "on").unlink(missing_ok=True)
    sampled = replace(tree, samples=samples)
    began = time.perf_counter()
    with bench_network(sampled, folder / "network", engine) as network:
        say(f"{engine}: four nodes of {tree.name} after {time.perf_counter() - began:.1f} s")
        yield Bench(network, folder, Meter(network.nodes), say, processes=processes)


def gather_samples(folder: Path, pids: list[int]) -> list[dict[str, Any]]:
    """Wait until the samplers of these processes have written, and take what they wrote."""
    deadline = time.monotonic() + SAMPLES_S
    paths = [folder / f"{pid}.json" for pid in pids]
    while not all(path.exists() for path in paths):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no samples of {[p.name for p in paths if not p.exists()]}")
        time.sleep(0.05)
    taken = [json.loads(path.read_text("utf-8")) for path in paths]
    for path in folder.glob("*.json"):
        path.unlink()
    return taken


@contextmanager
def alone_in(folder: Path) -> Iterator[Path]:
    """Hold a folder for one run at a time, and give a fresh one in it, removed if all went well.

    Raises:
        BenchFailed: another run is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BenchFailed(
                f"another run is at work in {folder}: wait, or give another folder with --output"
            ) from None
        work = fresh(folder / "work")
        yield work
        shutil.rmtree(work)


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def scattering(share: int) -> int:
    """Return a stride that goes over a share far apart and comes back to nothing before its end."""
    stride = max(1, round(share * GOLDEN))
    while math.gcd(stride, share) > 1:
        stride += 1
    return stride


def _acknowledged(folder: Path, tag: str) -> int:
    return sum(
        line.endswith('"a"]\n')
        for path in folder.glob(f"{tag}.*.journal")
        for line in path.open(encoding="ascii")
    )
