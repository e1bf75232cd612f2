"""Keeps a CometBFT process running beside this node.

Invariants:
- The process is started again whenever it ends, whatever its exit code (CometBFT ends with 0 when
  it loses its application), until `stop`. Pauses grow while it ends soon after it began.
- It does not outlive this process: the kernel ends it when the thread that started it ends, so
  that no second CometBFT speaks with the same key. `start` belongs on a thread that lives as long
  as the node, as the one of its event loop does.
- What it prints is read whatever happens, so that it never waits for us, and bounded: a line that
  is too long is cut. Transactions stand in no line (`home.py` sets the levels).
- It is asked to end (SIGTERM), then made to (SIGKILL). What it was making when it was killed does
  not keep it from the next start (`databases.py`).

Its lines are JSON; those that are not (a panic of Go) are told as errors. `last_words` keeps the
last ones, for whoever must say why it does not stay up.

Absent: what to do when the application has failed; the owner of both stops this first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from network.ordering.cometbft.errors import HomeError
from network.ordering.cometbft.process.child import ChildProcess
from network.ordering.cometbft.process.databases import clear_unborn_databases
from network.ordering.cometbft.process.wal import undo_rotation
from network.ordering.cometbft.sockets import remove_stale

__all__ = ["CometProcess", "Exit", "LogLine", "Restarts", "log_line"]

logger = logging.getLogger(__name__)
comet_logger = logging.getLogger(f"{__package__}.comet")

SCRATCH: Final = "tmp"
DATA: Final = "data"

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "error": logging.ERROR}
# What they call an error is that another node went away or does not answer.
_ABOUT_OTHERS: Final = frozenset({"p2p", "pex"})
# CometBFT takes variables that begin so for settings, above those of its folder and our arguments.
_PREFIXES: Final = ("CMT", "TMHOME")
_LONGEST_LINE = 16 * 1024
_LONGEST_FIELD = 500
_LAST_WORDS = 40
_READ_BYTES = 64 * 1024

# Runs in the new process before CometBFT takes its place: it asks the kernel to be killed when its
# parent's thread ends, and looks whether that has happened already. A program of its own, since
# code between fork and exec must not run in a process that has threads.
_LAUNCHER: Final = """
import ctypes, os, signal, sys
parent, program = int(sys.argv[1]), sys.argv[2]
if ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL, 0, 0, 0):
    sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
if os.getppid() == parent:
    os.execv(program, sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of CometBFT.

    Attributes:
        level: of `logging`.
        module: the part of CometBFT that speaks; empty if it does not say.
        message: what it says.
        fields: what stands beside it, as text.
    """

    level: int
    module: str
    message: str
    fields: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        beside = " ".join(f"{name}={value}" for name, value in self.fields.items())
        named = f"{self.module}: " if self.module else ""
        return f"{named}{self.message}{' ' if beside else ''}{beside}"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a CometBFT process ended.

    Attributes:
        code: its exit code, negative for a signal; None if it could not be started.
        ran_s: how long it ran.
        last_words: its last lines.
        pause_s: how long until it is started again.
    """

    code: int | None
    ran_s: float
    last_words: tuple[str, ...]
    pause_s: float


@dataclass(frozen=True, slots=True)
class Restarts:
    """How long to pause before a start.

    Attributes:
        first_s: after the first end.
        longest_s: what the pause grows to, doubling.
        well_s: after running this long, the next pause is the first again.
    """

    first_s: float = 0.2
    longest_s: float = 15.0
    well_s: float = 30.0

    def pause_after(self, ran_s: float, previous_s: float) -> float:
        """Return the pause after a run of *ran_s*, before which there was one of *previous_s*."""
        if ran_s >= self.well_s or previous_s == 0:
            return self.first_s
        return min(2 * previous_s, self.longest_s)


def log_line(line: LogLine) -> None:
    """Pass a line of CometBFT into this node's log."""
    comet_logger.log(line.level, "%s", line)


class CometProcess:
    """A CometBFT process that is kept running.

    Args:
        binary: the program (`binary.find_binary`).
        home: its folder (`home.write_home`), in which it runs.
        rpc_socket: what a killed process leaves here is removed before each start.
        on_line: hears each line; must not raise.
        on_exit: hears of each end but the one that `stop` brings about; must not raise.
        restarts: the pauses between an end and the next start.
    """

    def __init__(
        self,
        binary: Path,
        home: Path,
        rpc_socket: Path,
        *,
        on_line: Callable[[LogLine], None] = log_line,
        on_exit: Callable[[Exit], None] = lambda _: None,
        restarts: Restarts = Restarts(),
    ) -> None:
        # It runs in its folder, from where a path that is relative to ours leads elsewhere.
        self._binary = binary.absolute()
        self._home = home.absolute()
        self._rpc_socket = rpc_socket
        self._on_line = on_line
        self._on_exit = on_exit
        self._pauses = restarts
        self._process: ChildProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._starts = 0
        self._words: deque[str] = deque(maxlen=_LAST_WORDS)

    @property
    def running(self) -> bool:
        """Whether the process is there now."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """Its number; None while it is not there."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self._starts - 1)

    @property
    def last_words(self) -> tuple[str, ...]:
        """Its last lines, of earlier runs too."""
        return tuple(self._words)

    async def start(self) -> None:
        """Start the process for the first time, and keep it running from then on.

        Raises:
            HomeError: the program cannot be run; nothing is kept running.
        """
        if self._supervisor is not None:
            raise HomeError("this CometBFT process was started already; make another one")
        began = time.monotonic()
        process = await self._spawn()
        self._supervisor = asyncio.create_task(self._supervise(process, began), name="CometBFT")

    async def stop(self, grace_s: float = 10.0) -> None:
        """End the process, and do not start it again.

        Args:
            grace_s: how long it may take to end by itself.
        """
        self._stopping.set()
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(grace_s):
                    await process.wait()
            except TimeoutError:
                logger.warning("CometBFT did not end within %g s, so it is killed", grace_s)
                process.kill()
        if self._supervisor is not None:
            await self._supervisor
        remove_stale(self._rpc_socket)

    async def _supervise(self, process: ChildProcess, began: float) -> None:
        """Start the process anew whenever it ends; never leave it without somebody who listens."""
        try:
            await self._keep_running(process, began)
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.kill()
                await self._process.wait()

    async def _keep_running(self, process: ChildProcess | None, began: float) -> None:
        pause_s = 0.0
        while True:
            code = await self._watch(process) if process is not None else None
            if self._stopping.is_set():
                return
            ran_s = time.monotonic() - began
            pause_s = self._pauses.pause_after(ran_s, pause_s)
            ended = Exit(code, ran_s, self.last_words, pause_s)
            logger.warning(
                "CometBFT ended with %s after %.1f s; it is started again in %.1f s",
                _in_words(code),
                ran_s,
                pause_s,
            )
            self._on_exit(ended)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return
            began = time.monotonic()
            try:
                process = await self._spawn()
            except HomeError as error:
                self._words.append(str(error))
                logger.error("%s", error)
                process = None

    async def _spawn(self) -> ChildProcess:
        """Start the process.

        Raises:
            HomeError: the program cannot be run, the place of its socket is taken, or a database of
                its has lost what it is opened by.
        """
        remove_stale(self._rpc_socket)
        if not os.access(self._binary, os.X_OK):
            raise HomeError(f"{self._binary} cannot be run; run: make cometbft")
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        command = [str(self._binary), "start", "--home", str(self._home)]
        try:
            clear_unborn_databases(self._home / DATA)
            undo_rotation(self._home / DATA)
            process = await ChildProcess.start(
                [*launch, *command],
                self._home,
                _environment(_emptied(self._home / SCRATCH)),
            )
        except OSError as error:
            raise HomeError(
                f"CometBFT cannot be started in {self._home}: {error.strerror}"
            ) from error
        self._process = process
        self._starts += 1
        if self._stopping.is_set():
            process.kill()
        return process

    async def _watch(self, process: ChildProcess) -> int:
        """Hear what the process says until it ends; return its exit code."""
        lines = _Lines()
        while data := await process.read(_READ_BYTES):
            for raw in lines.feed(data):
                self._hear(raw)
        for raw in lines.rest():
            self._hear(raw)
        return await process.wait()

    def _hear(self, raw: bytes) -> None:
        line = parse_line(raw)
        if self._stopping.is_set():
            # It complains about everything that closes while it ends.
            line = replace(line, level=logging.DEBUG)
        self._words.append(str(line)[:_LONGEST_FIELD])
        self._on_line(line)


def _environment(scratch: Path) -> dict[str, str]:
    """Return this process's environment without what would change CometBFT's settings unseen.

    What CometBFT puts aside, the chunks of a snapshot, goes into *scratch*: it may be as much as
    the whole chain, and the machine's own place for such files may be small.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_PREFIXES)}
    return {**kept, "TMPDIR": str(scratch)}


def _emptied(scratch: Path) -> Path:
    """Return the folder without what a killed process has left in it."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    return scratch


class _Lines:
    """Cuts output into lines; what is too long loses its end."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take output and return the lines that are complete now, without empty ones."""
        *complete, rest = data.split(b"\n")
        lines = []
        for part in complete:
            self._append(part)
            lines += self.rest()
        self._append(rest)
        return lines

    def rest(self) -> list[bytes]:
        """Return what has begun, if anything has."""
        line = bytes(self._begun).strip()
        self._begun.clear()
        return [line] if line else []

    def _append(self, part: bytes) -> None:
        self._begun += part[: _LONGEST_LINE - len(self._begun)]


def parse_line(raw: bytes) -> LogLine:
    """Read a line of CometBFT; one that is no JSON object is an error that it did not expect."""
    try:
        found = json.loads(raw)
        if not isinstance(found, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError):
        return LogLine(logging.ERROR, "", _bounded(raw.decode("utf-8", "replace")))
    level = _LEVELS.get(str(found.pop("level", "")), logging.ERROR)
    message, module = _bounded(found.pop("_msg", "")), _bounded(found.pop("module", ""))
    if level == logging.ERROR and module in _ABOUT_OTHERS:
        level = logging.WARNING
    found.pop("ts", None)  # this node's log has its own time
    return LogLine(level, module, message, {name: _bounded(found[name]) for name in found})


def _bounded(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_FIELD else f"{text[:_LONGEST_FIELD]}…"


def _in_words(code: int | None) -> str:
    if code is None:
        return "no process"
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"
