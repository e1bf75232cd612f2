"""How a node's process takes memory from the system, and gives it back.

The C library keeps a heap for each of many threads, eight times as many as there are cores, and
what one of them has given up no other takes. A bulk's bytes go through a dozen threads (gRPC's,
those that simulate, verify, write), so half of a busy node's memory was such leavings
(docs/performance.md). Python runs one thread at a time, and the libraries below it seldom allocate
while others do: two heaps serve them as well.

Large pieces, as whole envelopes and blocks are, come from the system by themselves and go back to
it as soon as they are free; the C library would by itself begin to keep them, too.

Absent: objects of Python that are small; its own allocator has them.
"""

from __future__ import annotations

import ctypes
from typing import Final

__all__ = ["keep_few_heaps"]

# Source: glibc's malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8

_HEAPS: Final = 2
_LARGE_BYTES: Final = 256 * 1024
_SPARE_BYTES: Final = 2 * 1024 * 1024
"""What stays at the end of a heap when it is free, so that it is not fetched again at once."""


def keep_few_heaps() -> bool:
    """Bound the heaps of this process; to be called before it starts threads.

    Returns:
        whether the C library took it: another one than glibc has no such settings.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    set_option.argtypes = (ctypes.c_int, ctypes.c_int)
    settings = (
        (_ARENA_MAX, _HEAPS),
        (_MMAP_THRESHOLD, _LARGE_BYTES),
        (_TRIM_THRESHOLD, _SPARE_BYTES),
    )
    taken = [set_option(option, value) for option, value in settings]
    return all(taken)
