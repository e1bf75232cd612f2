"""A node's process that meets a fault at a write step of its ledger, and how a test starts one.

    python -m tests.support.mortal_node FOLDER '{"fault": "death", "when": "before", …}'

It is the process of `qist node start FOLDER`, but for the port through which the ledger tells of
its write steps. The fault is `death`, the process ends at once as by `kill -9`, or `full`: from
that step on the disk has no room. Before a death it says so in the node's log.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from ledger.blocks.segments import SEGMENT_SIZE_BYTES
from ledger.channel import ChannelLedger
from ledger.faults import WriteStep
from nodes.cli.node_lock import hold
from nodes.cli.node_process import LOG_FILE, StartedNode

ROOT = Path(__file__).parents[2]
When = Literal["before", "after"]
WHEN: tuple[When, ...] = ("before", "after")


@dataclass(frozen=True)
class Fault:
    """What happens to a node, and where.

    Attributes:
        step: the write step.
        when: whether before or after it.
        occurrence: the how manieth of that step in the life of the process, from 1.
        fault: what happens.
        segment_size_bytes: a segment file of this size takes no further block.
    """

    step: WriteStep
    when: When
    occurrence: int = 1
    fault: Literal["death", "full"] = "death"
    segment_size_bytes: int = SEGMENT_SIZE_BYTES

    def __str__(self) -> str:
        return f"{self.fault} {self.when} {self.step}, the {self.occurrence}. time"


class FaultyDisk:
    """Counts write steps and lets the fault happen."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault
        self._heard = 0

    def before(self, step: WriteStep) -> None:
        self._hear("before", step)

    def after(self, step: WriteStep) -> None:
        self._hear("after", step)

    def _hear(self, when: str, step: WriteStep) -> None:
        fault = self._fault
        if (when, step) == (fault.when, fault.step):
            self._heard += 1
        if self._heard < fault.occurrence:
            return
        if fault.fault == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.write(sys.stderr.fileno(), f"{fault}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


def start_mortal(folder: Path, fault: Fault) -> StartedNode:
    """Start the node of *folder* in the background, to meet *fault*; returns at once."""
    place = folder.resolve()
    with (place / LOG_FILE).open("ab") as output:
        size = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(place), json.dumps(asdict(fault))],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return StartedNode(folder, process, size)


def main(folder: Path, described: str) -> int:
    """Run the node of *folder* in this process."""
    told = json.loads(described)
    fault = Fault(**{**told, "step": WriteStep(told["step"])})
    os.chdir(folder)
    with hold(folder):
        from nodes.node import run

        return run(
            folder,
            open_ledger=partial(
                ChannelLedger.open,
                faults=FaultyDisk(fault),
                segment_size_bytes=fault.segment_size_bytes,
            ),
        )


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
