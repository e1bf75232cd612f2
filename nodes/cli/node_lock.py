"""``NODE/node.lock``: which process runs the node of a folder.

The file is locked (flock) by that process for as long as it lives, so that nothing stale can pass
for a running node; it holds the process's number and when it began, by which nobody else's process
is ever signalled.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from ledger.errors import Refusal

LOCK_FILE = "node.lock"


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A process that runs a node.

    Attributes:
        pid: its number.
        began: when it began, in seconds since 1970, as the machine tells it.
    """

    pid: int
    began: float

    def process(self) -> psutil.Process | None:
        """Return the process, None if it has ended; another of the same number is not it."""
        try:
            process = psutil.Process(self.pid)
            return process if process.create_time() == self.began else None
        except psutil.NoSuchProcess:
            return None


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Be the process that runs the node of *folder*.

    Raises:
        Refusal: another process is.
    """
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise already_running(folder) from error
        own = psutil.Process()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps([own.pid, own.create_time()]).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def running_node(folder: Path) -> RunningNode | None:
    """Return the process that runs the node of *folder*, None if there is none."""
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        try:
            # Shared: two who look at once do not take each other for a node.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, began = json.loads(os.pread(descriptor, 4096, 0))
            return RunningNode(pid, began)
        return None
    finally:
        os.close(descriptor)


def refuse_while_running(folder: Path, why: str) -> None:
    """Check that nothing runs the node of *folder*.

    Args:
        why: what cannot be done meanwhile, as it begins the sentence.
    Raises:
        Refusal: a process runs it.
    """
    found = running_node(folder)
    if found is not None:
        raise Refusal(
            f"{why} while process {found.pid} runs the node in {folder}; "
            f"stop it first with `qist node stop {folder}`"
        )


def already_running(folder: Path) -> Refusal:
    """Return the refusal to start a second process for the node of *folder*."""
    found = running_node(folder)
    number = f", process {found.pid}" if found is not None else ""
    return Refusal(
        f"a node is already running in {folder}{number}; "
        f"see `qist node status {folder}`, or stop it first"
    )
