"""What everybody may see of an agreement's standing: due dates and steps, and no amount.

    plan     due dates of every schedule version, with the day from which it is in force
    track    steps (ISO date, instalments covered, instalment from which arrears are a whole one)

A step says from which day on how many instalments of the version then in force are paid in full:
by everything known, for past days as payments dated back have changed them, and for days to come
as if nothing more were paid. Its third figure is the number (0 the first) of the instalment from
whose due date on the arrears come to the whole amount of the oldest unpaid one at least. From both,
and the due dates, follows the standing on any day (rulebook 3), and all that a case asks (4).

Who records money or a schedule writes the track; members outside the lender's collection read it,
and so endorse what is decided about cases without having seen an amount.

Invariants: the days of a track rise, and no two steps that follow each other are equal but for
their day. Before the first step nothing is paid. Pure; deliberately absent: amounts (`money`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Protocol

from ..arrears import NOTHING_DUE, Schedule, StandingView, version_on

Step = tuple[str, int, int]
Track = tuple[Step, ...]
Paid = tuple[tuple[str, int], ...]
"""What was paid: (ISO date, paisa), dates rising."""

_AFTER_ANY: Final = 1 << 62


class DueDates(Protocol):
    """The due dates of an agreement, in every version of its schedule."""

    @property
    def begins(self) -> Sequence[str]:
        """ISO dates from which the versions are in force, the first version's first."""

    def version_on(self, day: str) -> int:
        """Return the number of the version in force on a day, 1 before the opening."""

    def dues(self, version: int) -> Sequence[str]:
        """Return the due dates of a version as ISO texts."""


class Schedules(DueDates, Protocol):
    """The same with amounts."""

    def schedule_on(self, day: str) -> Schedule:
        """Return the schedule in force on a day."""


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """The due dates of one schedule version.

    Attributes:
        in_force_from: ISO date.
        reason: code of the revision, "" for the first.
    """

    in_force_from: str
    dues: Sequence[str]
    reason: str = ""


class Plan:
    """The due dates as they stand in the public state."""

    __slots__ = ("begins", "versions")

    def __init__(self, versions: Sequence[PlanVersion]) -> None:
        self.versions = tuple(versions)
        self.begins = [version.in_force_from for version in self.versions]

    def version_on(self, day: str) -> int:
        """See `DueDates`."""
        return version_on(self.begins, day)

    def dues(self, version: int) -> Sequence[str]:
        """See `DueDates`."""
        return self.versions[version - 1].dues

    def plain(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {"versions": [_plain(version) for version in self.versions]}

    @classmethod
    def read(cls, plain: Mapping[str, Any]) -> Plan:
        """Return the plan of a JSON form."""
        return cls(
            [
                PlanVersion(version["from"], version["dues"], version.get("reason", ""))
                for version in plain["versions"]
            ]
        )


def _plain(version: PlanVersion) -> dict[str, Any]:
    plain: dict[str, Any] = {"from": version.in_force_from, "dues": list(version.dues)}
    if version.reason:
        plain["reason"] = version.reason
    return plain


def track_of(schedules: Schedules, paid: Paid, known: Track = (), since: str = "") -> Track:
    """Return the track of what was paid by day.

    Args:
        known: the track as it was; it holds for the days before *since*.
        since: the first day on which anything changed; "": everything is worked out.
    """
    steps = list(known[: bisect_left(known, (since,))])
    last = steps[-1][1:] if steps else (0, 0)
    place = bisect_left(paid, (since,))
    money = sum([paisa for _, paisa in paid[:place]])
    changes = dict(paid[place:])
    for began in schedules.begins:
        if began >= since:
            changes.setdefault(began, 0)
    for day in sorted(changes):
        money += changes[day]
        progress = schedules.schedule_on(day).progress(max(0, money))
        if progress != last:
            steps.append((day, *progress))
            last = progress
    return tuple(steps)


def covered_in_all(track: Track) -> int:
    """Return how many instalments of the newest version are paid by everything known."""
    return track[-1][1] if track else 0


def oldest_unpaid(plan: DueDates, track: Track) -> str:
    """Return the due date of the newest version's first instalment not paid yet, "" if none."""
    dues, covered = plan.dues(len(plan.begins)), covered_in_all(track)
    return dues[covered] if covered < len(dues) else ""


def standing_on(plan: DueDates, track: Track, day: date) -> StandingView:
    """Return the standing on *day*, by the version then in force (rulebook 3)."""
    text = day.isoformat()
    dues = plan.dues(plan.version_on(text))
    _, covered, whole = _step_on(track, text)
    count = bisect_right(dues, text)
    if covered >= count:
        return NOTHING_DUE
    oldest = date.fromisoformat(dues[covered])
    return StandingView(count - covered, (day - oldest).days, oldest, whole < count)


def is_due_paid_before(plan: DueDates, track: Track, day: date) -> bool:
    """Say whether every instalment due before *day* is paid by that day (rulebook 4, cured)."""
    text = day.isoformat()
    return _step_on(track, text)[1] >= bisect_left(plan.dues(plan.version_on(text)), text)


def _step_on(track: Track, day: str) -> Step:
    place = bisect_right(track, (day, _AFTER_ANY))
    return track[place - 1] if place else ("", 0, 0)
