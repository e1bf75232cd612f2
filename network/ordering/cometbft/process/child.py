"""A child process whose output is read on the event loop.

Begun by `vfork`, as CPython does it: nothing of this process runs between the copy and the child's
own program. uvloop's subprocesses begin by `fork`, which runs in the child what gRPC has asked to
be run there; with threads about, that ended in SIGSEGV, SIGABRT or, with a lock held, never, and
the loop waited for it. Seen in one start of some dozens.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ChildProcess"]


class ChildProcess:
    """A process that was started; made by `start`, on a thread that lives as long as it shall."""

    def __init__(self, process: subprocess.Popen[bytes], output: asyncio.StreamReader) -> None:
        self._process = process
        self._output = output

    @classmethod
    async def start(
        cls, command: Sequence[str], folder: Path, environment: Mapping[str, str]
    ) -> ChildProcess:
        """Start *command* in *folder*, in a session of its own.

        Raises:
            OSError: it cannot be run.
        """
        process = _begin(command, folder, environment)
        assert process.stdout is not None
        output = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(output), process.stdout
            )
        except BaseException:
            process.kill()
            raise
        return cls(process, output)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it is there."""
        return self._process.poll()

    async def read(self, most_bytes: int) -> bytes:
        """Return what it has printed, to either output; empty at the end."""
        return await self._output.read(most_bytes)

    async def wait(self) -> int:
        """Return its exit code as soon as it has ended."""
        return await asyncio.to_thread(self._process.wait)

    def terminate(self) -> None:
        """Ask it to end; nothing if it has ended."""
        self._process.terminate()

    def kill(self) -> None:
        """End it; nothing if it has ended."""
        self._process.kill()


def _begin(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start the program; returns as soon as it has taken the child's place."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # What the terminal sends to this node's group is the node's to pass on.
        start_new_session=True,
    )
