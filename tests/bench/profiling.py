"""Where the processor time of one kind of work goes, function by function; `make profile` calls it.

    python -m tests.bench.profiling [--row pay,1,64] [--engine solo] [--seconds 10] [--perf]

Runs one row with the samplers of `sampling/sitecustomize.py` in every node and in the load, and
writes into build/profile:

- `summary.md`: milliseconds a transaction: by process and by stage; then, of all nodes together and
  of the client, the work handed to threads, measured exactly, and the main thread's functions,
  alone and with all they called;
- `PROCESS.collapsed`: the stacks of each process, outermost function first, with microseconds, as
  the usual makers of flame graphs read them.

The samples are of processor time. A C function counts as the Python function that called it;
`--perf` has Linux's perf look at the same seconds, and writes `perf.txt`, where C functions are
told apart. The machine should do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

from tests.bench.__main__ import row_from, say
from tests.bench.network import ROOT, BenchFailed, Tree
from tests.bench.plan import ENGINES, Row
from tests.bench.rounds import Window
from tests.bench.run import alone_in, bench, gather_samples
from tests.bench.stages import MAIN, relative, seconds_by_stage

OUTPUT = ROOT / "build" / "profile"
CLIENT = "client"
PERF_HZ = 199
WARM_S = 3.0
OWN_SHOWN = 40
WITH_CALLED_SHOWN = 60

Stack = Sequence[str]


def main(arguments: Sequence[str]) -> int:
    """See the module's docstring; returns the exit code."""
    parser = argparse.ArgumentParser(prog="profile", description=__doc__.splitlines()[0])
    parser.add_argument("--row", default="pay,1,64", help="work, records a transaction, callers")
    parser.add_argument("--engine", choices=ENGINES, default="solo")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--perf", action="store_true", help="let Linux's perf look as well")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    output: Path = given.output.resolve()
    row = row_from(given.row, given.engine)
    try:
        with alone_in(output) as work:
            window, taken = profile(row, given.seconds, output, work, with_perf=given.perf)
    except BenchFailed as failure:
        say(str(failure))
        return 1
    head = f"{row}: {window.tx_per_s:.1f} tx/s, errors {dict(window.errors)}"
    for old in output.glob("*.collapsed"):
        old.unlink()
    summary = render_summary(head, taken, len(window.latencies_ms), str(ROOT))
    (output / "summary.md").write_text(summary, "utf-8")
    for name, sample in taken.items():
        lines = collapsed(sample, str(ROOT))
        (output / f"{name.replace(' ', '-')}.collapsed").write_text("\n".join(lines) + "\n")
    sys.stdout.write(summary)
    say(f"written to {output}")
    return 0


def profile(
    row: Row, seconds: float, output: Path, work: Path, *, with_perf: bool
) -> tuple[Window, dict[str, dict[str, Any]]]:
    """Run a row on a network of its own; return what was measured, and the samples by process."""
    with bench(Tree(ROOT), work, row.engine, say) as made, made.row(row) as at_work:
        samples = made.folder / "samples"
        names = dict(zip(made.meter.node_pids, made.network.nodes, strict=True))
        if row.client == "sdk":
            names |= {pid: f"{CLIENT} {pid}" for pid in at_work.load.pids}
        watched: list[subprocess.Popen[bytes]] = []

        def begin() -> None:
            (samples / "on").touch()
            if with_perf:
                watched.append(perf_record(list(names), output, seconds))

        window = at_work.load.window(
            made.meter, warm_s=WARM_S, seconds=seconds, whole=row.is_whole, inside=begin
        )
        (samples / "on").unlink()
        taken = dict(zip(names.values(), gather_samples(samples, list(names)), strict=True))
        for each in watched:
            perf_report(each, output)
    return window, taken


def perf_record(pids: Sequence[int], output: Path, seconds: float) -> subprocess.Popen[bytes]:
    """Have perf look at processes for so long; returns at once.

    Raises:
        BenchFailed: there is no perf.
    """
    program = shutil.which("perf")
    if program is None:
        raise BenchFailed("there is no perf on the PATH (on Debian: apt-get install linux-perf)")
    processes = ",".join(map(str, pids))
    record = ("record", "-q", "-F", PERF_HZ, "-g", "-p", processes, "-o", output / "perf.data")
    command = [program, *record, "--", "sleep", f"{seconds:g}"]
    return subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL)


def perf_report(recording: subprocess.Popen[bytes], output: Path) -> None:
    """Wait until perf has looked, and write what it saw as `perf.txt`.

    Raises:
        BenchFailed: it may not look, or cannot read what it saw.
    """
    words = ("report", "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.3", "-i")
    command = ["perf", *words, str(output / "perf.data")]
    code = recording.wait()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if code or done.returncode:
        raise BenchFailed(
            f"perf ended with {code or done.returncode}: {done.stderr.strip()}; "
            "/proc/sys/kernel/perf_event_paranoid says what this user may look at"
        )
    (output / "perf.txt").write_text(done.stdout, "utf-8")


def collapsed(sample: Mapping[str, Any], root: str) -> list[str]:
    """Return a line for each stack, as makers of flame graphs read them."""
    lines = [
        f"{';'.join(relative(place, root) for place in reversed(stack))} {round(1e6 * seconds)}"
        for stack, seconds in sample["stacks"]
    ]
    return [*sorted(lines), f"native {round(1e6 * sample['native_s'])}"]


def render_summary(head: str, taken: Mapping[str, Mapping[str, Any]], calls: int, root: str) -> str:
    """Return the page: what the processes used for *calls* transactions."""
    nodes = [sample for name, sample in taken.items() if not name.startswith(CLIENT)]
    clients = [sample for name, sample in taken.items() if name.startswith(CLIENT)]

    def table(title: str, rows: Iterable[tuple[str, float]]) -> list[str]:
        body = [f"| {1000 * seconds / max(calls, 1):.3f} | {name} |" for name, seconds in rows]
        return ["", f"## {title}", "", "| ms a transaction | |", "|---|---|", *body]

    lines = [f"# {head}", "", f"{calls} transactions."]
    lines += table("Processes", [(name, sample["cpu_s"]) for name, sample in taken.items()])
    lines += table("Stages of all nodes", _ranked(seconds_by_stage(nodes, root)))
    for whose, samples in (("Nodes", nodes), ("Client", clients)):
        exact, own, with_called = _by_function(samples, root)
        lines += table(f"{whose}: work in other threads", _ranked(exact)[:OWN_SHOWN])
        lines += table(f"{whose}: main thread, functions alone", _ranked(own)[:OWN_SHOWN])
        ranked = _ranked(with_called)[:WITH_CALLED_SHOWN]
        lines += table(f"{whose}: main thread, functions with what they called", ranked)
    return "\n".join(lines) + "\n"


def _by_function(
    samples: Iterable[Mapping[str, Any]], root: str
) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Return seconds of work in other threads, and of the main thread's functions, two ways."""
    exact: dict[str, float] = defaultdict(float)
    own: dict[str, float] = defaultdict(float)
    with_called: dict[str, float] = defaultdict(float)
    for sample in samples:
        for place, seconds in sample["exact"]:
            exact[relative(place, root)] += seconds
        for stack, seconds in sample["stacks"]:
            if stack[-1] != MAIN:
                continue
            places = [relative(place, root) for place in stack]
            own[places[0]] += seconds
            for place in set(places):
                with_called[place] += seconds
    return exact, own, with_called


def _ranked(spent: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(spent.items(), key=itemgetter(1), reverse=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
