"""What the processes of a network use: processor time, memory, disk and wire.

    meter = Meter(network.node_folders)
    before = meter.read(); …; used = meter.read().since(before)

Everything is read from the system, nothing is asked of the processes. A node's CometBFT is a
process of its own and is told apart.

Absent: which part of a node's work used the time (`stages.py`).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.sockets import carried_bytes

STORED = (
    "ledger/blocks",
    "ledger/state",
    "ledger/evidence",
    "ledger/private",
    "comet",
    "transient",
)
"""Of a node's folder, what grows with its work."""
IDLE_CORES = 0.4
"""Four nodes and four CometBFTs with nothing to do use less than half of it."""
IDLE_S = 2.0
"""How long nodes must use less than that to count as idle."""
RESIDENT = re.compile(r"^Rss(Anon|File):\s*([0-9]+) kB", re.MULTILINE)
LISTENS = re.compile(r'^listen = ".*:([0-9]+)"', re.MULTILINE)


def processor_time_s(pid: int) -> float:
    """Return the user and system time of a process so far, ended threads included.

    /proc/PID/stat, and psutil with it, counts in hundredths of a second, in which a row of a few
    transactions may cost a node nothing. The clock of the process counts in nanoseconds; its
    number is the one that clock_getcpuclockid(3) makes on Linux.

    Raises:
        ProcessLookupError: there is no such process.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError as failure:  # EINVAL: the number of a clock that is no more
        raise ProcessLookupError(f"process {pid} has ended") from failure


@dataclass(frozen=True)
class Reading:
    """Counters at one moment, or what was used between two.

    Attributes:
        at_s: time.
        cpu_s: user and system time by process.
        wire_bytes: carried by the connections from and to the nodes' ports (`sockets.py`).
    """

    at_s: float
    cpu_s: Mapping[str, float]
    wire_bytes: int

    def since(self, before: Reading) -> Reading:
        """Return what was used since an earlier reading; processes that came later count wholly."""
        used = {name: spent - before.cpu_s.get(name, 0.0) for name, spent in self.cpu_s.items()}
        return Reading(self.at_s - before.at_s, used, self.wire_bytes - before.wire_bytes)


class Meter:
    """Reads the processes of the nodes in these folders.

    Args:
        nodes: folders of running nodes by MSP id.
    """

    def __init__(self, nodes: Mapping[str, Path]) -> None:
        self._folders = dict(nodes)
        self._nodes = {
            msp_id: psutil.Process(json.loads((folder / "node.lock").read_text("ascii"))[0])
            for msp_id, folder in nodes.items()
        }
        self._ports = {
            int(port)
            for folder in nodes.values()
            for port in LISTENS.findall((folder / "node.toml").read_text("utf-8"))
        }
        self._load: list[psutil.Process] = []

    @property
    def node_pids(self) -> list[int]:
        """Numbers of the nodes' processes."""
        return [node.pid for node in self._nodes.values()]

    def watch_load(self, pids: list[int]) -> None:
        """Count these processes as the client from now on."""
        self._load = [psutil.Process(pid) for pid in pids]

    def _processes(self) -> dict[str, psutil.Process]:
        found = {}
        for msp_id, node in self._nodes.items():
            found[msp_id] = node
            for child in node.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    found[f"{msp_id} {child.name()}"] = child
        return found

    def read(self) -> Reading:
        """Return the counters of this moment."""
        cpu_s = {}
        for name, process in self._processes().items():
            with suppress(ProcessLookupError):
                cpu_s[name] = processor_time_s(process.pid)
        if self._load:
            cpu_s["client"] = sum(processor_time_s(process.pid) for process in self._load)
        return Reading(time.perf_counter(), cpu_s, carried_bytes(self._ports))

    def wait_until_idle(self, longest_s: float) -> bool:
        """Wait until nodes and CometBFTs have what was left to do behind them; return if they have.

        That is mostly LevelDB, which merges what was written. They count as idle when all together
        used less than `IDLE_CORES` for `IDLE_S`. The load, which is none now, is forgotten.
        """
        self._load = []
        began = before = self.read()
        while before.at_s - began.at_s < longest_s:
            time.sleep(IDLE_S)
            now = self.read()
            used = now.since(before)
            before = now
            if sum(used.cpu_s.values()) < IDLE_CORES * used.at_s:
                return True
        return False

    def forget_peaks(self) -> None:
        """Let `peaks_mb` tell of what comes from now on."""
        for process in self._processes().values():
            with suppress(OSError):
                Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def peaks_mb(self) -> dict[str, float]:
        """Return the peak memory of each process, in megabytes of 2**20 bytes."""
        found = {}
        for name, process in self._processes().items():
            with suppress(OSError):
                for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        found[name] = round(int(line.split()[1]) / 1024, 1)
        return found

    def disk_bytes(self) -> int:
        """Return the size of what all nodes have stored, CometBFT's data included."""
        return sum(self.disk_by_kind().values())

    def disk_by_kind(self) -> dict[str, int]:
        """Return the same by what it is; the state includes history and indexes."""
        return {
            part.rpartition("/")[2]: sum(
                _size_of(folder / part) for folder in self._folders.values()
            )
            for part in STORED
        }

    def memory_now_mb(self) -> dict[str, dict[str, float]]:
        """Return the memory of each process now: its own, and what it sees of files.

        The latter is the system's cache: LevelDB maps its tables, and pages that were read count
        as the node's until the system needs them for something else.
        """
        found = {}
        for name, process in self._processes().items():
            with suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                found[name] = {
                    kind: round(int(kilobytes) / 1024, 1)
                    for kind, kilobytes in RESIDENT.findall(status)
                }
        return found


def _size_of(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        # Files of a running database come and go.
        with suppress(OSError):
            total += path.stat().st_size if path.is_file() else 0
    return total


def machine() -> dict[str, object]:
    """Describe the machine, for the head of the results."""
    model = "unknown"
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "cores": len(psutil.Process().cpu_affinity()),
        "processor": model,
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": round(psutil.getloadavg()[0], 2),
    }
