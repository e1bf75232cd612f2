"""Looks after the pages of mapped tables, and has them given back before they are many.

There is one such watch in a process, for all of its databases together: the system tells how many
pages of files the process has, not whose they are.

It looks when a database is read or written, at most every few milliseconds, and from a thread of
its own. Whoever reads much waits while pages are given back, so that there are not as many again
when it is done: bulks that read all over ten million agreements had 100 MB more. Compactions need
the thread: for them LevelDB reads whole tables on a thread of its own, and while a write waits for
them nobody may take a snapshot. It sleeps while nothing is used.

What does not go when all tables are given back are the programs' files, and the watch counts from
there; what programs load later it learns in time. It takes the least of several times for it: a
compaction that has just ended has tables mapped for a moment that are the database's no more, and
cannot be given back. What was left at one such moment once counted as the programs' until the next
time, so that tables had double the room and more.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from contextlib import suppress
from time import monotonic, sleep
from typing import Protocol

from ledger.state import mapped

LIMIT_BYTES = 48 * 1024 * 1024
"""Of tables' pages, before they are given back."""
_LOOKS_APART_S = 0.005
_THREAD_LOOKS_APART_S = 0.02
_LOOKS_IN_VAIN = 50
"""After so many at which nothing had changed the thread sleeps."""
_VAIN_PAUSE_S = 0.1
"""After giving back what did not make it less: those pages are not the tables'."""
_REMEMBERED = 32


class Member(Protocol):
    """A database, as far as the watch knows it."""

    def give_back(self) -> None:
        """Give back what was read of mapped tables; nothing, if the database is being closed."""


class Watch:
    """Looks at the pages of this process for the databases that have joined; safe on any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._looking = threading.Lock()
        # Weak: a database that is dropped without being closed goes away, and its lock with it.
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()
        self._busy = threading.Event()
        self._thread: threading.Thread | None = None
        self._next_look = 0.0
        self._giving = False
        self._others: deque[int] = deque(maxlen=_REMEMBERED)

    def join(self, member: Member) -> None:
        """Have *member* give back when there are many pages, until it leaves."""
        if not mapped.is_supported():
            return
        with self._guard:
            self._members.add(member)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mapped-pages", daemon=True)
                self._thread.start()

    def leave(self, member: Member) -> None:
        """Forget *member*; safe to repeat."""
        with self._guard:
            self._members.discard(member)
            if not self._members:
                self._busy.set()

    def use(self) -> None:
        """Say that a database is read or written, and look if that was not done just now."""
        if not self._busy.is_set():
            self._busy.set()
        if monotonic() >= self._next_look:
            self.look()

    def read_on(self) -> None:
        """As `use`, between two of many reads; and wait while pages are being given back.

        Else all who read at that moment would map as much again before it is done.
        """
        self.use()
        if self._giving:
            with self._looking:
                pass

    def look(self) -> int:
        """Give pages back if there are too many; return how many bytes of files there were.

        A process that has no file left to look by gives nothing back now; no read depends on it.
        """
        if not self._members or not self._looking.acquire(blocking=False):
            return 0
        try:
            with suppress(OSError):
                return self._look()
            return 0
        finally:
            self._looking.release()

    def _look(self) -> int:
        resident = mapped.resident_file_bytes()
        if not self._others:
            self._others.append(resident)
        pause = _LOOKS_APART_S
        if resident > min(self._others) + LIMIT_BYTES:
            with self._guard:
                members = list(self._members)
            self._giving = True
            try:
                for member in members:
                    member.give_back()
            finally:
                self._giving = False
            left = mapped.resident_file_bytes()
            self._others.append(left)
            if resident - left < LIMIT_BYTES // 2:
                pause = _VAIN_PAUSE_S
        self._next_look = monotonic() + pause
        return resident

    def _run(self) -> None:
        before = in_vain = 0
        while True:
            self._busy.wait()
            with self._guard:
                if not self._members:
                    self._busy.clear()
                    self._thread = None
                    return
            resident = self.look()
            in_vain = in_vain + 1 if resident == before else 0
            before = resident
            if in_vain < _LOOKS_IN_VAIN:
                sleep(_THREAD_LOOKS_APART_S)
            else:
                in_vain = 0
                self._busy.clear()


WATCH = Watch()
"""The one of this process."""
