"""CometBFT's databases whose making was cut short, which it never opens again by itself.

    DATA/NAME.db/LOCK, LOG        made first; with these alone CometBFT makes the database
    DATA/NAME.db/MANIFEST-000000  what the database consists of: nothing yet
    DATA/NAME.db/CURRENT.0        renamed CURRENT once it is on the disk
    DATA/NAME.db/CURRENT          the entry point: the database is there from here on
    DATA/NAME.db/000001.log, …    what is put into it

A process that is killed between the second line and the fourth leaves files and no entry point.
CometBFT refuses those, since they might be a database that was damaged, and ends at every start.

Invariants:
- Only what was never a database is removed: there is no CURRENT, which is replaced and never taken
  away, and no file but those that come before it. What is put in comes into files that are made
  later, so nothing was.
- A database that another process holds open, or makes, is left alone.
- Whatever else has files and no entry point may hold heights. It is refused, and not touched.

Absent: databases that are damaged otherwise, of which CometBFT itself says what is wrong; other
files in DATA, above all what the consensus key signed last.

Source: goleveldb as CometBFT v0.38.25 has it (leveldb/session.go, leveldb/storage).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from network.ordering.cometbft.errors import HomeError

__all__ = ["clear_unborn_databases", "hold_database"]

logger = logging.getLogger(__name__)

_LOCK: Final = "LOCK"
# A later CURRENT.n is completed by goleveldb itself.
_OPENED_BY: Final = re.compile(r"CURRENT(\.bak|\.[1-9]\d*)?")
_BEFORE_ANY: Final = frozenset({_LOCK, "LOG", "LOG.old"})
_BEFORE_CURRENT: Final = frozenset({"MANIFEST-000000", "CURRENT.0"})
# Of other files goleveldb takes no notice.
_NEEDS_ENTRY: Final = re.compile(r"MANIFEST-\d+|\d+\.(log|ldb|sst|tmp)")


def clear_unborn_databases(data: Path) -> None:
    """Remove what a start that was cut short has left of databases that were being made.

    To be called before CometBFT is started.

    Args:
        data: the folder with CometBFT's databases; it may be missing.
    Raises:
        HomeError: a database has no entry point though it was one; nothing of it was touched.
        OSError: the folder cannot be read or changed.
    """
    for database in sorted(data.glob("*.db")):
        if not _lacks_entry(database):
            continue
        with hold_database(database) as is_held:
            # Whoever held it a moment ago may have completed it.
            if is_held and _lacks_entry(database):
                _clear(database)


def _lacks_entry(database: Path) -> bool:
    """Tell whether there are files that CometBFT takes for a database without an entry point."""
    names = _names(database)
    return bool(names - _BEFORE_ANY) and not any(map(_OPENED_BY.fullmatch, names))


def _clear(database: Path) -> None:
    names = _names(database)
    left = sorted(names & _BEFORE_CURRENT)
    if names <= _BEFORE_ANY | _BEFORE_CURRENT:
        for name in left:
            (database / name).unlink()
        logger.warning(
            "CometBFT's database %s was being made when its process ended, and nothing was in it "
            "yet: what there is of it (%s) is removed, and it is made anew",
            database,
            ", ".join(left),
        )
    elif any(map(_NEEDS_ENTRY.fullmatch, names)):
        raise HomeError(
            f"CometBFT's database {database} has lost the file CURRENT, by which it is opened; a "
            "start that was cut short does not lead to that, so it may hold heights and stays as "
            f"it is. Stop the node; put all that is in {database.parent} elsewhere but "
            "priv_validator_state.json, which must stay there unchanged, since it says what the "
            "consensus key has signed; and start the node: CometBFT gets its heights again from "
            "the other members"
        )


def _names(database: Path) -> frozenset[str]:
    return frozenset(os.listdir(database)) if database.is_dir() else frozenset()


@contextlib.contextmanager
def hold_database(database: Path) -> Iterator[bool]:
    """Lock a database as CometBFT does while it runs; False if somebody else has."""
    descriptor = os.open(database / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
