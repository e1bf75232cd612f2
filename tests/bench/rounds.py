"""A row measured: the processes of its load started, told when to go, and their answers gathered.

    with loads(network, row, …) as load:
        window = load.window(meter, warm_s=3, seconds=5)

The load's processes speak the protocol of `load.py`, whichever client they are made of.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.load import Task
from tests.bench.network import CHANNEL, CONTRACT, HERE, ROOT, USER, BenchFailed, BenchNetwork, Tree
from tests.bench.plan import BULK, Row
from tests.bench.usage import Meter, Reading
from tests.support import toolchains

END_S = 120.0
"""How long the last calls of a load may take to end."""
PROVIDERS = 8
"""Callers that open the pool."""
LOAD = HERE / "load.py"
NODE_LOAD = ROOT / "tests" / "node-client" / "load.mjs"


@dataclass(frozen=True)
class Window:
    """What happened between two moments.

    Attributes:
        seconds: its length.
        latencies_ms: of every call that ended well in it.
        errors: how often each kind of error ended a call, in it or in the load around it.
        used: processor time by process, and bytes on the wire.
    """

    seconds: float
    latencies_ms: Sequence[float]
    errors: Mapping[str, int]
    used: Reading

    @property
    def tx_per_s(self) -> float:
        """Calls a second that ended well."""
        return len(self.latencies_ms) / self.seconds


class Loads:
    """The processes of one row's load, connected and waiting for orders."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]], log: Path) -> None:
        self.processes = processes
        self._log = log

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes."""
        return [process.pid for process in self.processes]

    def window(
        self,
        meter: Meter,
        *,
        warm_s: float,
        seconds: float,
        whole: bool = False,
        inside: Callable[[], Any] = lambda: None,
    ) -> Window:
        """Let the load run for *warm_s*, measure it for *seconds*, and let it end.

        Args:
            whole: measure from the first call to the end of the last, without warming up; no call
                is begun after *seconds*.
            inside: is called while the window is measured.
        """
        self.tell({"warm_s": warm_s, "seconds": seconds, "whole": whole})
        self._expect("began")
        before = meter.read()
        inside()
        self._expect("ended")
        used = meter.read().since(before)
        return self._gathered(used)

    def all(self, meter: Meter) -> Window:
        """Let the load make all calls of a finite work."""
        before = meter.read()
        self.tell({"all": True})
        answers = self._answers()
        return _window(answers, meter.read().since(before))

    def _gathered(self, used: Reading) -> Window:
        return _window(self._answers(), used)

    def _answers(self) -> list[dict[str, Any]]:
        return [self.read(process) for process in self.processes]

    def tell(self, order: Mapping[str, Any]) -> None:
        """Give an order to every process."""
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()

    def _expect(self, word: str) -> None:
        for process in self.processes:
            answer = self.read(process)
            if word not in answer:
                raise BenchFailed(f"the load said {answer} in the place of {word!r}: {self._log}")

    def read(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        """Return the next answer of a process."""
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            tail = self._log.read_text("utf-8", "replace")[-2000:]
            raise BenchFailed(f"the load ended with {code}; {self._log} ends with:\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _window(answers: Sequence[Mapping[str, Any]], used: Reading) -> Window:
    errors: Counter[str] = Counter()
    latencies: list[float] = []
    for answer in answers:
        errors.update(answer["errors"])
        latencies += answer["latencies_ms"]
    return Window(max(each["seconds"] for each in answers), latencies, dict(errors), used)


@contextmanager
def loads(
    network: BenchNetwork,
    row: Row,
    tag: str,
    folder: Path,
    *,
    processes: int = 1,
    share: int | None = None,
    stride: int = 1,
) -> Iterator[Loads]:
    """Start the processes that make a row's load, connect them, and end them afterwards.

    Args:
        tag: begins every id and reference of this row; no other row of the network has it.
        folder: for tasks, journals and the log.
        processes: among which the callers are divided.
        share: agreements of the pool that each caller has for itself; the row's if left out.
        stride: see `load.Task`.
    """
    count = min(processes, row.callers)
    each, more = divmod(row.callers, count)
    tasks, first = [], 0
    for number in range(count):
        callers = each + (number < more)
        tasks.append(
            _task(network, row, tag, folder, number, first, callers, share=share, stride=stride)
        )
        first += callers
    with _started(network.tree, row.client, tasks, folder / f"{tag}.log") as started:
        yield started


def provide(
    network: BenchNetwork,
    meter: Meter,
    folder: Path,
    pool: int,
    provided: int,
    *,
    batch: int = BULK,
    callers: int = PROVIDERS,
) -> Window:
    """Open the agreements of the pool that are not open yet, *batch* in a transaction.

    Raises:
        BenchFailed: a transaction failed.
    """
    row = Row("provide", batch, callers, network.engine)
    tag = f"pool-{provided}"
    task = _task(network, row, tag, folder, 0, 0, callers, pool=pool, provided=provided)
    with _started(network.tree, "sdk", [task], folder / f"{tag}.log") as started:
        meter.watch_load(started.pids)
        window = started.all(meter)
    if window.errors:
        raise BenchFailed(f"not all agreements could be opened: {dict(window.errors)}; {folder}")
    return window


def _task(
    network: BenchNetwork,
    row: Row,
    tag: str,
    folder: Path,
    number: int,
    first: int,
    callers: int,
    *,
    pool: int = 0,
    provided: int = 0,
    share: int | None = None,
    stride: int = 1,
) -> Path:
    task = Task(
        profile=str(network.profile),
        user=USER,
        user_folder=str(network.user_folder),
        channel=CHANNEL,
        contract=CONTRACT,
        work=row.work,
        batch=row.batch,
        callers=callers,
        first=first,
        tag=tag,
        pool=pool or row.callers * row.share,
        share=share or row.share,
        provided=provided,
        stride=stride,
        journal=str(folder / f"{tag}.{number}.journal"),
    )
    path = folder / f"{tag}.{number}.task.json"
    path.write_text(json.dumps(asdict(task)), "utf-8")
    return path


def _command(client: str) -> list[str]:
    if client == "sdk":
        return [sys.executable, "-P", str(LOAD)]
    program = toolchains.node_client()[0]
    return [program, str(NODE_LOAD)]


@contextmanager
def _started(tree: Tree, client: str, tasks: Sequence[Path], log: Path) -> Iterator[Loads]:
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w", encoding="utf-8"))
        processes = []
        for task in tasks:
            process = subprocess.Popen(
                [*_command(client), str(task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env=tree.environment(),
            )
            stack.callback(ended, process)
            processes.append(process)
        started = Loads(processes, log)
        for process in processes:
            started.read(process)
        yield started


def ended(process: subprocess.Popen[str]) -> None:
    """Let a load end by itself; one that does not is ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
