"""Table files that LevelDB has mapped, and how a process gives back what it has seen of them.

LevelDB maps its tables into memory (env_posix: up to 1,000 of them) and reads them there. Pages
that were read are the system's cache and cost nothing, but they count as the process's memory until
the system takes them back, which it does when it is short of memory and not before. So a node that
has read all over a large ledger would show the size of the ledger as its own, would be ended by a
limit that counts so, and nobody could tell what it really needs. `release` unmaps nothing and drops
nothing: the pages stay in the system's cache, and the next read finds them there.

Invariant: only mappings that the caller names are touched, and the caller keeps them from going
away meanwhile. The same call on other memory would clear it.

Absent: systems without Linux's /proc, where nothing is done.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

_MAPPING = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) r--s [0-9a-f]+ [0-9a-f:]+ [0-9]+ +(/.*/([0-9]+)\.(?:ldb|sst))$",
    re.MULTILINE,
)
_SHARED_PAGES = 2
"""Place of the pages of files in /proc/self/statm."""


def is_supported() -> bool:
    """Tell whether this system has what is needed."""
    return os.path.exists("/proc/self/statm") and hasattr(mmap, "MADV_DONTNEED")


def resident_file_bytes() -> int:
    """Return how much memory of this process is pages of files: its programs', and tables'."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read(200).split()[_SHARED_PAGES]) * mmap.PAGESIZE


@cache
def _madvise() -> Callable[[int, int, int], int]:
    """Return the system's call, made without letting go of the interpreter.

    One takes some microseconds. With hundreds of tables, to get the interpreter back after each
    from threads that are busy reading took tens of milliseconds, in which those read on.
    """
    found = ctypes.PyDLL(None).madvise
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return found


def release(folder: Path, numbers: Collection[int]) -> int:
    """Give back what was read of the mapped tables of a database; return how many there are.

    Args:
        folder: of the database.
        numbers: of tables that cannot be unmapped while this runs.
    """
    inside = os.fsencode(folder.resolve())
    give_back = _madvise()
    released = 0
    with suppress(OSError), open("/proc/self/maps", "rb") as maps:
        for begin, end, path, number in _MAPPING.findall(maps.read()):
            if int(number) in numbers and os.path.dirname(path) == inside:
                first = int(begin, 16)
                give_back(first, int(end, 16) - first, mmap.MADV_DONTNEED)
                released += 1
    return released
