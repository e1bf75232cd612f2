"""A copy of a LevelDB that another process may have open and write.

LevelDB's tables never change once they are named, its log and its manifest only grow, and it takes
a table in or out only together with the manifest. So files that were copied while neither their
names nor the manifest changed are a state of the database, and a log that was caught in the middle
of a write ends as a crash would leave it. A copy during which something changed is taken again.

Absent: the database itself, which need not be opened for this.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ledger.errors import Unavailable

_TABLES = (".ldb", ".sst")
_ATTEMPTS = 50


def copy_database(source: Path, target: Path) -> None:
    """Copy the database in *source*, as it is now or was a moment ago, to the new folder *target*.

    Everything is in the copy that was durable when this was called. Tables are linked, so *target*
    must be on the same disk.

    Raises:
        Unavailable: it changed during every attempt.
    """
    for _ in range(_ATTEMPTS):
        target.mkdir(mode=0o700)
        before = _look(source)
        try:
            for name in before:
                if name.endswith(_TABLES):
                    os.link(source / name, target / name)
                else:
                    shutil.copyfile(source / name, target / name)
        except FileNotFoundError:
            pass
        else:
            if _look(source) == before:
                return
        shutil.rmtree(target)
    raise Unavailable(
        f"the database {source} changed during each of {_ATTEMPTS} attempts to copy it; try again "
        "when the node has less to do"
    )


def _look(source: Path) -> dict[str, int]:
    """Return the files that make up a database; of the manifest its size, which tells a change."""
    found = {}
    for path in sorted(source.iterdir()):
        if path.name.startswith("MANIFEST-"):
            found[path.name] = _size(path)
        elif path.name == "CURRENT" or path.suffix in (*_TABLES, ".log"):
            found[path.name] = 0
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1
