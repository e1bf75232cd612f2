"""The clock of a node, as a port: the machine's own, or one that an operator sets in a rehearsal.

Everything in `nodes/` and `network/ordering/` that compares a timestamp with *now* asks this clock.
Deadlines of network calls and batch timers are no dates; they run on the loop's own time.

Invariants: times are aware UTC; a rehearsal's clock stands still between two settings and never
goes back, so that a ledger day once reached stays reached. Its time is kept in a file beside the
node, so that a restart goes on where the operator left it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from ledger.errors import CorruptionError, Refusal

CLOCK_FILE = "clock"
A_MOMENT_S = 0.05
AN_HOUR_S = 3600.0


class ClockRefusal(Refusal):
    """The clock of this node cannot be set, or not to that time."""


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> datetime:
        """Return the present time, aware UTC."""

    def seconds_until(self, moment: datetime) -> float | None:
        """Return how long to wait before asking again whether *moment* is over; None for ever."""


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present time, aware UTC."""
        return datetime.now(UTC)

    def seconds_until(self, moment: datetime) -> float | None:
        """Return the seconds that are left, an hour at most, since the clock may be set."""
        left = (moment - self.now()).total_seconds()
        return min(max(left, 0.0) + A_MOMENT_S, AN_HOUR_S)


class RehearsalClock:
    """A clock that stands where its operator put it.

    Args:
        path: where the time is kept; read when it exists.
        initial: the time until the first setting, aware UTC.
    """

    def __init__(self, path: Path, initial: datetime) -> None:
        self._path = path
        self._now = initial.astimezone(UTC)
        self._was_set = False
        if path.exists():
            try:
                self._now = datetime.fromisoformat(path.read_text("ascii").strip()).astimezone(UTC)
            except ValueError as error:
                raise CorruptionError(
                    f"{path} does not hold a time in ISO form; remove it and set the clock again"
                ) from error
            self._was_set = True

    def now(self) -> datetime:
        """Return the time last set, aware UTC."""
        return self._now

    def seconds_until(self, moment: datetime) -> float | None:
        """Return None: it is not by waiting that a rehearsal's time goes on."""
        return None

    def set(self, now: datetime) -> None:
        """Move the clock forward to *now* and keep it.

        The first setting may go anywhere, later ones only forward.

        Raises:
            ClockRefusal: *now* has no zone, or lies before the present time of this clock.
        """
        if now.tzinfo is None:
            raise ClockRefusal("the time has no zone; write it like 2025-01-31T09:00:00+05:00")
        now = now.astimezone(UTC)
        if self._was_set and now < self._now:
            raise ClockRefusal(
                f"the rehearsal stands at {self._now.isoformat()} and cannot go back to "
                f"{now.isoformat()}; create another rehearsal to start earlier"
            )
        scratch = self._path.with_suffix(".new")
        with scratch.open("w", encoding="ascii") as file:
            file.write(now.isoformat() + "\n")
            file.flush()
            os.fsync(file.fileno())  # else a power cut could leave the name without the time
        os.replace(scratch, self._path)
        self._now = now
        self._was_set = True
