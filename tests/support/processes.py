"""The command `qist` as a user runs it: processes of their own, judged by exit code and output.

    answer = qist("node", "status", str(folder), "--json")
    assert answer.code == 0
    answer.json["height"]

`network_down` ends every node of a network whatever a test did to it. Waiting is for a condition,
with a deadline.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_S = 60.0
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Answer:
    """What a command ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, str]:
        """The error object of a command that was told `--json`."""
        return json.loads(self.err.strip().splitlines()[-1])["error"]


def qist(*words: str | Path, cwd: Path | None = None, timeout_s: float = DEADLINE_S) -> Answer:
    """Run `qist` with these words."""
    done = subprocess.run(
        [str(BIN / "qist"), *map(str, words)],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def shell(script: str, cwd: Path, timeout_s: float = 2 * DEADLINE_S) -> Answer:
    """Run a script as a reader of the documentation would, stopping at its first failure."""
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["/bin/bash", "-eu", "-c", script],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


@contextmanager
def stopped_at_the_end(*nodes: Path) -> Iterator[None]:
    """Stop the nodes of these folders whatever happens."""
    try:
        yield
    finally:
        for node in nodes:
            if (node / "node.toml").exists():
                qist("node", "stop", node)


@contextmanager
def network_down_at_the_end(folder: Path) -> Iterator[Path]:
    """Stop every node of the network in *folder* whatever happens."""
    try:
        yield folder
    finally:
        if (folder / "network.toml").exists():
            qist("network", "down", folder)


def wait_for(condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Wait until *condition* holds; fail with *what* if it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {deadline_s:g} s"
        time.sleep(0.05)


def process_of(node: Path) -> int:
    """The number of the process that runs the node of a folder."""
    pid: int = json.loads((node / "node.lock").read_text("ascii"))[0]
    return pid
