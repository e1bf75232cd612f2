"""A cure (rulebook 4): the few dates that are looked at tell what looking at every day would."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from chaincode.instalments.book.money import Money, paid_with
from chaincode.instalments.book.position import Position, Summary
from chaincode.instalments.book.track import Paid, track_of
from chaincode.instalments.cases.ending import is_cured
from chaincode.instalments.terms import ScheduleVersion, Terms

DAY = timedelta(days=1)
BEGIN = date(2028, 1, 25)
PLACES = st.integers(0, 60)
SCHEDULES = st.lists(
    st.tuples(PLACES, st.integers(1, 5)), min_size=1, max_size=5, unique_by=lambda row: row[0]
)


def _iso(place: int) -> str:
    return (BEGIN + place * DAY).isoformat()


def _position(
    versions: list[tuple[int, list[tuple[int, int]]]], payments: list[tuple[int, int]]
) -> Position:
    """An agreement with schedule versions from some days on, and amounts on some days."""
    listed = [
        ScheduleVersion(_iso(since), [(_iso(due), paisa) for due, paisa in sorted(rows)])
        for since, rows in versions
    ]
    paid: Paid = ()
    for place, paisa in payments:
        paid = paid_with(paid, _iso(place), paisa)
    terms = Terms("5a" * 16, "PKR", 10, 1, listed)
    return Position({"agreement": "A1"}, terms, Summary(track_of(terms, paid)), Money(terms, paid))


@settings(max_examples=300)
@given(
    SCHEDULES,
    st.lists(st.tuples(PLACES, SCHEDULES), max_size=2),
    st.lists(st.tuples(PLACES, st.integers(-4, 6)), max_size=6),
    PLACES,
    PLACES,
)
def test_cure_is_found_on_the_dates_of_change(
    first: list[tuple[int, int]],
    later: list[tuple[int, list[tuple[int, int]]]],
    payments: list[tuple[int, int]],
    paid_on: int,
    days: int,
) -> None:
    """On some date from the payment to today all that was due before it is paid, refunds and
    revisions in between or not.
    """
    after = _position([(0, first), *sorted(later)], payments)
    begin, today = BEGIN + paid_on * DAY, BEGIN + (paid_on + days) * DAY
    every_day = [begin + place * DAY for place in range(days + 1)]
    assert is_cured(after, begin, today) == any(after.is_due_paid_before(day) for day in every_day)
