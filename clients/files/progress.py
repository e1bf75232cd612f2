"""How far an import has got, in a small file beside the imported one.

``FILE[.STEP].progress.json`` holds what the run was about, the fingerprint (SHA-256) of the whole
file, the position behind the last row of which everything before is settled, the tally up to there,
the length of the file of rejects, and the last transaction that was acknowledged. It is replaced
atomically and synced, and removed at the end of a run.

Invariant: everything before the position is either on the ledger or in the file of rejects. What
lies behind it may be on the ledger too: those rows are sent again, and the contracts write nothing
twice.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.files.errors import FileRefused
from clients.files.reading import Position
from clients.files.tally import Tally

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Progress:
    """One checkpoint; see the module's docstring.

    Attributes:
        job: what is imported for whom and how, as one text; another job begins anew.
        fingerprint: SHA-256 of the file in hexadecimal.
        position: where to go on.
        tally: of the rows before it.
        rejects_bytes: length of the file of rejects.
        tx_id: last acknowledged transaction of those rows, ``""`` where there is none.
    """

    job: str
    fingerprint: str
    position: Position
    tally: Tally
    rejects_bytes: int
    tx_id: str


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, in constant memory.

    Raises:
        FileRefused: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileRefused(f"{path} cannot be read: {error.strerror}") from error


def save(path: Path, progress: Progress) -> None:
    """Write a checkpoint; durable when this returns."""
    content = {
        "version": _VERSION,
        "job": progress.job,
        "fingerprint": progress.fingerprint,
        "line": progress.position.line,
        "offset": progress.position.offset,
        "tally": progress.tally.encode(),
        "rejects_bytes": progress.rejects_bytes,
        "tx_id": progress.tx_id,
    }
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    _sync_folder(path.parent)


def load(path: Path) -> Progress | None:
    """Read a checkpoint; None where there is none.

    Raises:
        FileRefused: the file is there and is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise FileRefused(f"{path} was written by another version; remove it to begin anew")
        return Progress(
            str(content["job"]),
            str(content["fingerprint"]),
            Position(int(content["line"]), int(content["offset"])),
            Tally.decode(content["tally"]),
            int(content["rejects_bytes"]),
            str(content["tx_id"]),
        )
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileRefused(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        raise FileRefused(f"{path} is no progress file; remove it to begin anew") from None


def is_boundary(path: Path, position: Position) -> bool:
    """Whether a record can begin at the position: behind a line's end, or at the file's end."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        if position.offset >= end:
            return position.offset == end
        file.seek(position.offset - 1)
        return file.read(1) == b"\n"


def remove(path: Path) -> None:
    """Remove a checkpoint, if there is one."""
    path.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
