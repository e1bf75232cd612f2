"""What is owed on a day: plain arithmetic over a schedule and what was paid (rulebook 3).

Standing is computed, never declared. Payments are allotted to the oldest unpaid instalment first,
so it depends on two things only: the schedule, and the sum of what was paid by that day. Days are
ISO texts inside, since they compare as dates do and are what the ledger holds.

Invariants: a schedule's due dates rise and its amounts are positive. Deliberately absent: where the
figures come from (`book/money`), what everybody may see of them (`book/track`), and what follows
from them (`cases`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from typing import Final


class Schedule:
    """Instalments in order of their due dates.

    Attributes:
        version: 1 for the one the agreement was opened with.
        dues: ISO dates, rising.
        sums: what is due up to and including each of them, in paisa.
    """

    __slots__ = ("dues", "sums", "version")

    def __init__(self, version: int, instalments: Iterable[Sequence[object]]) -> None:
        """Take (due as ISO date, paisa) pairs as the ledger holds them."""
        dues, amounts = zip(*instalments, strict=True)
        self.version = version
        self.dues: tuple[str, ...] = dues
        self.sums: tuple[int, ...] = tuple(accumulate(amounts))

    @property
    def total(self) -> int:
        """All instalments together, in paisa."""
        return self.sums[-1]

    def amount(self, place: int) -> int:
        """Return the amount of one instalment, 0 being the first."""
        return self.sums[place] - (self.sums[place - 1] if place else 0)

    def due_by(self, day: str) -> int:
        """Return what is due on or before *day*, in paisa."""
        count = bisect_right(self.dues, day)
        return self.sums[count - 1] if count else 0

    def due_before(self, day: str) -> int:
        """Return what is due before *day*, in paisa."""
        count = bisect_left(self.dues, day)
        return self.sums[count - 1] if count else 0

    def oldest_unpaid(self, paid: int) -> str:
        """Return the due date of the first instalment that *paid* does not cover, "" if none."""
        place = bisect_right(self.sums, paid)
        return self.dues[place] if place < len(self.dues) else ""

    def progress(self, paid: int) -> tuple[int, int]:
        """Return how many instalments *paid* covers, and the number of the one (0 the first) from
        whose due date on the arrears come to the whole amount of the next one at least.
        """
        sums = self.sums
        covered = bisect_right(sums, paid)
        if covered == len(sums):
            return covered, covered
        return covered, bisect_left(sums, paid + self.amount(covered))

    def instalments(self) -> list[tuple[str, int]]:
        """Return (due, paisa) pairs."""
        return [(due, self.amount(place)) for place, due in enumerate(self.dues)]


def version_on(begins: Sequence[str], day: str) -> int:
    """Return the number of the last version that began by a day; 1 if none did."""
    for place in range(len(begins), 1, -1):
        if begins[place - 1] <= day:
            return place
    return 1


@dataclass(frozen=True, slots=True)
class StandingView:
    """The standing of an agreement on a day, without an amount.

    Attributes:
        unpaid: instalments due on or before the day and not fully paid by it.
        days_past_due: from the due date of the oldest of them to the day; 0 when there is none.
        oldest_due: its due date.
        has_whole_instalment: whether what is unpaid of them comes to the whole amount of the
            oldest at least.
    """

    unpaid: int
    days_past_due: int
    oldest_due: date | None
    has_whole_instalment: bool

    @property
    def bucket(self) -> str:
        """The bucket of the days past due."""
        return bucket_of(self.days_past_due)


NOTHING_DUE: Final = StandingView(0, 0, None, False)


_BUCKETS: Final = ("current", "1-29", "30-59", "60-89", "90-179", "180+")
_BUCKET_STARTS: Final = (1, 30, 60, 90, 180)


def bucket_of(days_past_due: int) -> str:
    """Return the bucket: current, 1-29, 30-59, 60-89, 90-179 or 180+ (rulebook 3)."""
    return _BUCKETS[bisect_right(_BUCKET_STARTS, days_past_due)]


def accounting_class_of(days_past_due: int) -> str:
    """Return the State Bank's class of a consumer loan: regular, substandard or loss.

    Overdue by 90 days is substandard, by 180 days a loss, as for personal loans since 2007 (domain
    §4). It stands for nothing else: no trigger reads it.
    """
    if days_past_due >= 180:
        return "loss"
    return "substandard" if days_past_due >= 90 else "regular"


def rises_anywhere(old: Schedule, new: Schedule) -> str:
    """Return the first date, up to the old last one, at which *new* asks for more; "" if none.

    Both are steps that change on due dates only, and the new one rises only on its own.
    """
    for due in new.dues:
        if due > old.dues[-1]:
            break
        if new.due_by(due) > old.due_by(due):
            return due
    return ""
