"""The file of rejects beside an imported file: what is wrong with which row, and what to do.

Columns ``line, reference, column, rule, way_out, refused_by``; the last is ``file`` for a row that
cannot be sent and ``contract`` for one that the ledger refused. Rows stand in the order of the
file. Nothing of a row but its reference is repeated.

The file can be cut back to a length it once had, so that an import that is taken up again says
everything once.
"""

from __future__ import annotations

import csv
import fcntl
import io
import os
from pathlib import Path
from types import TracebackType
from typing import Final

from clients.files.errors import FileRefused
from clients.files.rows import Reject

COLUMNS: Final = ("line", "reference", "column", "rule", "way_out", "refused_by")


class RejectsFile:
    """An open file of rejects, owned by one run at a time.

    Args:
        path: of the file.
        keep_bytes: cut back to this length first; 0 begins anew.

    Raises:
        FileRefused: another run has it, it cannot be written, or is shorter than *keep_bytes*.
    """

    def __init__(self, path: Path, keep_bytes: int) -> None:
        self.path = path
        try:
            self._file = path.open("ab")
        except OSError as error:
            raise FileRefused(f"{path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise FileRefused(
                f"another run is importing this file: it has {path} open; wait for its end"
            ) from None
        if self._file.tell() < keep_bytes:
            self._file.close()
            raise FileRefused(
                f"{path} is shorter than the interrupted run left it; remove it and the progress "
                "file beside it to begin anew"
            )
        self._file.truncate(keep_bytes)
        self._file.seek(0, os.SEEK_END)
        if keep_bytes == 0:
            self._write(COLUMNS)

    def __enter__(self) -> RejectsFile:
        """The file itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; another run may have it then."""
        self._file.close()

    def add(self, reject: Reject, refused_by: str) -> None:
        """Write one row."""
        self._write(
            (
                str(reject.line),
                reject.reference,
                reject.column,
                reject.rule,
                reject.way_out,
                refused_by,
            )
        )

    def sync(self) -> int:
        """Make what was written durable; returns the length in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def _write(self, row: tuple[str, ...]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        self._file.write(text.getvalue().encode())
