"""Days that count: deadlines, and holds that make them stand still (rulebook 1 and 4).

"Within n days" includes day n. A day under a hold counts to no deadline and to no trigger: it is
as if it did not exist. A hold's days are those from its placing to its last day, both included; the
day on which it is lifted counts again.

Pure arithmetic over dates; whoever asks brings the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from chaincode.contract import PKT, Context

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Moment:
    """When a rule is asked: an instant and its date in Pakistan."""

    day: date
    at: datetime

    @classmethod
    def of(cls, ctx: Context) -> Moment:
        """Return the moment of a transaction."""
        return cls(ctx.tx_date, ctx.tx_time)

    @classmethod
    def on(cls, day: date, now: Moment) -> Moment:
        """Return *now* if *day* is its date, else the first instant of *day*."""
        if day == now.day:
            return now
        return cls(day, datetime.combine(day, time(), PKT))


@dataclass(frozen=True, slots=True)
class Span:
    """Days from *first* to *last*, both included."""

    first: date
    last: date

    def holds(self, day: date) -> bool:
        """Say whether *day* is one of them."""
        return self.first <= day <= self.last


def merged(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return the same days as spans that rise and do not touch."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.first, each.last)):
        if span.last < span.first:
            continue
        if result and span.first <= result[-1].last + _DAY:
            result[-1] = Span(result[-1].first, max(result[-1].last, span.last))
        else:
            result.append(span)
    return tuple(result)


def is_held(day: date, held: Sequence[Span]) -> bool:
    """Say whether *day* lies under a hold."""
    return any(span.holds(day) for span in held)


def counted(start: date, day: date, held: Sequence[Span]) -> int:
    """Return the days after *start*, up to and including *day*, that are under no hold."""
    days = (day - start).days
    for span in held:
        first, last = max(span.first, start + _DAY), min(span.last, day)
        if first <= last:
            days -= (last - first).days + 1
    return days


def reached(start: date, days: int, held: Sequence[Span]) -> date:
    """Return the first day on which *days* days after *start* have counted.

    Args:
        held: merged spans.
    """
    day = start + days * _DAY
    for span in held:
        first = max(span.first, start + _DAY)
        if span.last < first:
            continue
        if first > day:
            break
        day += (span.last - first + _DAY).days * _DAY
    return day


def last_day(start: date, days: int, held: Sequence[Span]) -> date:
    """Return the last day that is still within *days* days of *start*."""
    return reached(start, days + 1, held) - _DAY


def over_on(start: date, days: int, held: Sequence[Span]) -> date:
    """Return the first day that is no longer within *days* days of *start*."""
    return reached(start, days + 1, held)


def held_days_since(start: date, held: Sequence[Span]) -> int:
    """Return how many days from *start* on, *start* included, lie under a hold."""
    total = 0
    for span in held:
        first = max(span.first, start)
        if first <= span.last:
            total += (span.last - first).days + 1
    return total
