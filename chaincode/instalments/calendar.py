"""Calendar rules: Pakistan's dates, months and the days between, as integers of days.

A date is that of PKT (UTC+5, no summer time) wherever a contract speaks of one; the time comes in
with the transaction, nobody reads a clock here. Deliberately absent: holidays and business days,
which move no deadline of the rulebook.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final, Literal

from chaincode.contract import PKT as PKT

from .verdicts import RuleBroken

Frequency = Literal["monthly", "weekly", "daily"]

_STEP_DAYS: Final = {"weekly": 7, "daily": 1}


class CalendarRefusal(RuleBroken):
    """A text is no date, or a schedule cannot be laid out."""


def pkt_date(instant: datetime) -> date:
    """Return the date in Pakistan of an instant.

    Raises:
        CalendarRefusal: the instant has no zone.
    """
    if instant.tzinfo is None:
        raise CalendarRefusal("time", "has no zone", 1, "give it in UTC")
    return instant.astimezone(PKT).date()


def parse_date(text: str) -> date:
    """Return the date written as ``YYYY-MM-DD``.

    Raises:
        CalendarRefusal: anything else.
    """
    try:
        if len(text) == 10:
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise CalendarRefusal("date", "must be written as YYYY-MM-DD", 2, "write 2026-04-05")


def days_between(earlier: date, later: date) -> int:
    """Return the days from one date to another; negative when the second is before the first."""
    return (later - earlier).days


def add_days(day: date, days: int) -> date:
    """Return the date so many days later."""
    return day + timedelta(days=days)


def add_months(day: date, months: int, anchor_day: int = 0) -> date:
    """Return the date so many months later, the last day of a month that is too short.

    Args:
        day: where to start.
        months: how many, may be negative.
        anchor_day: day of the month to come back to after a short month; 0 means that of *day*.
    """
    month = day.year * 12 + day.month - 1 + months
    year, month = divmod(month, 12)
    wanted = anchor_day or day.day
    return date(year, month + 1, min(wanted, days_in_month(year, month + 1)))


def month_of(day: date) -> str:
    """Return the month of a day as ``YYYY-MM``."""
    return day.isoformat()[:7]


def days_in_month(year: int, month: int) -> int:
    """Return how many days a month has, 1 for January."""
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month in (4, 6, 9, 11) else 31


def due_dates(first: date, count: int, frequency: Frequency) -> list[date]:
    """Return the due dates of a schedule; one that begins on the 31st comes back to the 31st.

    Raises:
        CalendarRefusal: fewer than one date, or an unknown frequency.
    """
    if count < 1:
        raise CalendarRefusal("schedule", "has no instalment", 2, "give it at least one")
    if frequency == "monthly":
        return [add_months(first, place) for place in range(count)]
    step = _STEP_DAYS.get(frequency)
    if step is None:
        raise CalendarRefusal(
            "schedule",
            "has a frequency that is not known",
            2,
            "use monthly, weekly or daily",
        )
    return [first + timedelta(days=step * place) for place in range(count)]
