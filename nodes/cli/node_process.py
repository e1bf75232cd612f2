"""Processes of nodes: checked before they start, started, waited for, stopped.

A node in the background is ``qist node start NODE`` in a session of its own, with its log in
``NODE/node.log``. Nothing is signalled but the process that holds the lock of the node's folder.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from ledger.errors import Refusal, Unavailable
from nodes.cli.control_client import NodeNotRunning, is_ready, request_stop
from nodes.cli.node_lock import running_node

LOG_FILE = "node.log"
START_S = 60.0
"""How long a node may take until it serves, recovery of a usual crash included."""
STOP_S = 30.0
"""How long a node may take to stop in order before it is ended."""
PAUSE_S = 0.05
"""Between two looks at what is waited for."""

_ASKING_S = 3.0

_TAIL_BYTES = 16 * 1024
_TAIL_LINES = 5


@dataclass(frozen=True, slots=True)
class StartedNode:
    """A node's process that was started in the background.

    Attributes:
        folder: of the node.
        process: its process.
        log_size: length of the log when it was started.
    """

    folder: Path
    process: subprocess.Popen[bytes]
    log_size: int


def start_in_background(folder: Path) -> StartedNode:
    """Start the node of *folder* as a process of its own; returns at once."""
    place = folder.resolve()
    with (place / LOG_FILE).open("ab") as output:
        size = output.tell()
        process = subprocess.Popen(
            # -P: the current folder's files are not taken for ours.
            [sys.executable, "-P", "-m", "qist", "node", "start", str(place)],
            # From there the path of its socket is short, however deep the folder lies.
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    return StartedNode(folder, process, size)


def wait_until_ready(started: Iterable[StartedNode], timeout_s: float = START_S) -> None:
    """Wait until every node that was started serves.

    Raises:
        Unavailable: one has ended, with its last words; or one is not ready in time.
    """
    deadline = time.monotonic() + timeout_s
    waiting = list(started)
    while waiting:
        waiting = [each for each in waiting if not _serves(each)]
        if not waiting:
            return
        if time.monotonic() > deadline:
            folders = ", ".join(str(each.folder) for each in waiting)
            raise Unavailable(
                f"not ready after {timeout_s:g} s: {folders}; the process goes on, "
                f"its log {LOG_FILE} says what it does",
                outcome_definite=False,
            )
        time.sleep(PAUSE_S)


def _serves(started: StartedNode) -> bool:
    code = started.process.poll()
    if code is not None:
        words = "; ".join(last_words(started.folder / LOG_FILE, started.log_size))
        raise Unavailable(
            f"the node in {started.folder} ended with exit code {code}"
            f"{': ' + words if words else ''}; its whole log is {started.folder / LOG_FILE}"
        )
    try:
        return is_ready(started.folder)[0]
    except NodeNotRunning:
        return False


def last_words(log: Path, since: int = 0) -> list[str]:
    """Return the last messages of a node's log, the worst ones if there are any.

    Args:
        log: the file.
        since: where in the file to begin, in bytes.
    """
    try:
        with log.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(since, end - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:
        return []
    said: list[tuple[str, str]] = []
    for line in filter(None, map(str.strip, lines)):
        try:
            entry = json.loads(line)
            said.append((entry["level"], entry["message"]))
        except (ValueError, KeyError, TypeError):
            said.append(("", line))
    worst = [message for level, message in said if level in ("critical", "error")]
    return (worst or [message for _level, message in said])[-_TAIL_LINES:]


def stop_started(started: Iterable[StartedNode], timeout_s: float = STOP_S) -> None:
    """Stop the processes that were started, and no other process of the same folders."""
    processes = [each.process for each in started]
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def stop_nodes(folders: Iterable[Path], timeout_s: float = STOP_S) -> dict[Path, str]:
    """Stop the nodes of *folders*, all at once, each in order if it can.

    Returns:
        how each ended: ``stopped``, ``ended`` (it did not stop in time and was ended), or
        ``not running``.
    """
    outcome: dict[Path, str] = {}
    processes: dict[Path, psutil.Process] = {}
    for folder in folders:
        node = running_node(folder)
        process = None if node is None else node.process()
        if process is None:
            outcome[folder] = "not running"
            continue
        processes[folder] = process
        try:
            request_stop(folder, _ASKING_S)
        except NodeNotRunning:
            # It has not come so far as to answer, or has lost its socket.
            process.terminate()
    _gone, alive = psutil.wait_procs(list(processes.values()), timeout=timeout_s)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=timeout_s)
    for folder, process in processes.items():
        outcome[folder] = "ended" if process in alive else "stopped"
    return outcome


def refuse_taken_port(listen: str) -> None:
    """Check that a node can bind an address.

    Raises:
        Refusal: it cannot.
    """
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.removeprefix("[").removesuffix("]"), int(port)))
        except OSError as error:
            raise Refusal(
                f"the node cannot listen on {listen} ({error.strerror}): stop what uses it, or "
                "give another address in node.toml"
            ) from error
