"""Imports that die by SIGKILL at their first, second, third … step, one a folder.

    python -m tests.support.killed_imports FOLDER

makes FOLDER/1, FOLDER/2 and so on, each with a file and what an import left of it that was killed
at that step, until an import comes to its end in fewer steps. A step is an effect on the ledger or
on a file, before it and after it. It is a program of its own because it forks, which a process that
has used gRPC must not.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from clients.files import loader
from clients.files.jobs import PaymentsJob
from clients.files.mapping import ColumnMapping
from tests.support.payment_files import MadeFile, PaymentLedger, make_file

ROWS = 40


def made_in(folder: Path) -> MadeFile:
    """The file of a folder; writing it again changes nothing."""
    return make_file(folder / "payments.csv", ROWS, seed=3)


def killed_at(number: int, made: MadeFile) -> bool:
    """Import in a child process that dies at its *number*-th step. Returns whether it died."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _import(number, made)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"the import of {made.path} failed by itself")
    return False


def _import(number: int, made: MadeFile) -> None:
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGKILL)

    fsync, replace = os.fsync, Path.replace

    def counted_fsync(descriptor: int) -> None:
        step()
        fsync(descriptor)
        step()

    def counted_replace(path: Path, target: Path) -> Path:
        step()
        done = replace(path, target)
        step()
        return done

    os.fsync = counted_fsync  # type: ignore[assignment]  # of the child
    Path.replace = counted_replace  # type: ignore[assignment,method-assign]  # of the child
    loader._CHECKPOINT_ROWS = 10  # type: ignore[misc]  # of the child
    ledger = PaymentLedger(made.path.with_name("ledger.jsonl"), step)
    job = PaymentsJob("BankMSP", ColumnMapping())
    asyncio.run(loader.Import(made.path, job, ledger, in_flight=2, batch=3).run())


def main(folder: Path) -> None:
    """Kill one import after the other until one outlives its step."""
    number, died = 0, True
    while died:
        number += 1
        place = folder / str(number)
        place.mkdir()
        died = killed_at(number, made_in(place))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
