"""CometBFT's write-ahead log, where its process ended between two files of it.

    DATA/cs.wal/wal.000, wal.001, …   full files of 10 MB and more; a gigabyte, then the oldest goes
    DATA/cs.wal/wal                   the newest, which is written

Every five seconds CometBFT looks whether the newest file is full, and gives it the next number; the
new one is there with what is written next. A process that begins without it writes that height 0
has ended, as into a log that is new, and then looks for where the agreement stood. It goes through
the files from the last backwards, for each further one through all behind it again, until it has
met a height; as the last that it meets is 0, it goes through all. That took a minute with 79 files,
in which the validator took no part in anything, and its clients' bundles lay with it.

So the rotation is undone before a start: the last full file is the newest again, until CometBFT
rotates once more.

Invariants: no byte of the log changes, and none is taken away; a log that another process may be
writing is left alone; to be killed at any point is harmless.

Absent: everything about the log's content, which is CometBFT's own.

Source: CometBFT v0.38.25 (consensus/wal.go, libs/autofile/group.go).
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Final

from network.ordering.cometbft.process.databases import hold_database

__all__ = ["undo_rotation"]

logger = logging.getLogger(__name__)

_LOG: Final = "cs.wal"
_NEWEST: Final = "wal"
_FULL: Final = re.compile(r"wal\.(\d{3,})")
_DATABASE: Final = "state.db"
"""Held open by CometBFT for as long as it runs."""


def undo_rotation(data: Path) -> None:
    """Make the last full file of the log the newest again, if there is no newest with content.

    To be called before CometBFT is started.

    Args:
        data: the folder with CometBFT's databases and its log; it may be missing.
    Raises:
        OSError: the folder cannot be read or changed.
    """
    log = data / _LOG
    if not log.is_dir() or not (data / _DATABASE).is_dir():
        return
    with hold_database(data / _DATABASE) as is_held:
        full = [each for each in os.listdir(log) if _FULL.fullmatch(each)]
        newest = log / _NEWEST
        if not is_held or not full or (newest.exists() and newest.stat().st_size):
            return
        last = max(full, key=lambda name: int(name.removeprefix("wal.")))
        os.replace(log / last, newest)
    logger.info("CometBFT's log had been rotated to an empty file: %s is its newest again", last)
