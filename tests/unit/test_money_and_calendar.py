"""Money as integers of the smallest unit, and the calendar's dates (rulebook 2, domain §2)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaincode.contract import ContractRefusal
from chaincode.instalments.calendar import (
    CalendarRefusal,
    add_days,
    add_months,
    days_between,
    days_in_month,
    due_dates,
    parse_date,
    pkt_date,
)
from chaincode.instalments.money import (
    MAX_PAISA,
    MoneyRefusal,
    equal_instalments,
    format_amount,
    parse_amount,
)

dates = st.dates(date(1990, 1, 1), date(2090, 12, 31))


@pytest.mark.parametrize(
    ("text", "currency", "paisa"),
    [
        ("13333.00", "PKR", 1_333_300),
        ("13,333.00", "PKR", 1_333_300),
        ("1,33,333.50", "PKR", 13_333_350),
        (" 20000 ", "PKR", 2_000_000),
        ("0.01", "PKR", 1),
        ("20000", "RWF", 20_000),
        ("20,000.00", "RWF", 20_000),
    ],
)
def test_amount_as_people_write_it_becomes_whole_units(
    text: str, currency: str, paisa: int
) -> None:
    """Thousands and lakhs, two decimals or none."""
    assert parse_amount(text, currency) == paisa


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-5",
        "+5",
        "1.5",
        "1.555",
        "1,3",
        "13,33,3",
        ",333",
        "1 000",
        "1e5",
        "٣",
        "Rs 5",
        "5.",
        ".",
    ],
)
def test_amount_that_is_none_is_refused_without_it(text: str) -> None:
    """Signs, letters, half a separator, fractions of a paisa."""
    with pytest.raises(MoneyRefusal) as refusal:
        parse_amount(text)
    assert not text.strip(".+-, ") or text not in str(refusal.value)
    assert isinstance(refusal.value, ContractRefusal)


def test_amount_of_an_unknown_currency_or_too_large_is_refused() -> None:
    """Known currencies, bounded amounts."""
    with pytest.raises(MoneyRefusal, match="use PKR, RWF"):
        parse_amount("5", "USD")
    with pytest.raises(MoneyRefusal, match="larger"):
        parse_amount(str(MAX_PAISA))
    with pytest.raises(MoneyRefusal):
        parse_amount("5.50", "RWF")


@given(st.integers(0, MAX_PAISA), st.sampled_from(["PKR", "RWF"]))
def test_amount_written_out_reads_back(paisa: int, currency: str) -> None:
    """Formatting loses nothing."""
    assert parse_amount(format_amount(paisa, currency), currency) == paisa


@given(st.integers(1, 60), st.integers(0, 10**9), st.sampled_from(["PKR", "RWF"]))
def test_instalments_that_are_equal_come_to_what_is_financed(
    count: int, more: int, currency: str
) -> None:
    """Equal in whole units; the last takes the rest, which is less than the others together."""
    unit = 100 if currency == "PKR" else 1
    financed = count * unit + more
    amounts = equal_instalments(financed, count, currency)
    assert sum(amounts) == financed
    assert len(amounts) == count
    assert len(set(amounts[:-1])) <= 1
    assert all(amount % unit == 0 for amount in amounts[:-1])
    assert 0 <= amounts[-1] - amounts[0] < count * unit


def test_instalments_of_less_than_a_unit_are_refused() -> None:
    """Each of a whole unit or more."""
    for financed, count in ((199, 2), (100, 0), (0, 1)):
        with pytest.raises(MoneyRefusal):
            equal_instalments(financed, count)


@pytest.mark.parametrize(
    ("instant", "day"),
    [
        (datetime(2026, 3, 31, 18, 59, 59, tzinfo=UTC), date(2026, 3, 31)),
        (datetime(2026, 3, 31, 19, 0, tzinfo=UTC), date(2026, 4, 1)),
    ],
)
def test_date_of_an_instant_is_pakistans(instant: datetime, day: date) -> None:
    """UTC+5, no summer time."""
    assert pkt_date(instant) == day


def test_date_of_an_instant_without_a_zone_is_refused() -> None:
    """Whose midnight would it be?"""
    with pytest.raises(CalendarRefusal, match="no zone"):
        pkt_date(datetime(2026, 3, 31))  # noqa: DTZ001 - that it has none is the point


@pytest.mark.parametrize(
    "text", ["", "2026-4-05", "20260405", "05/04/2026", "2026-02-30", "x" * 10]
)
def test_date_in_another_form_is_refused(text: str) -> None:
    """YYYY-MM-DD and nothing else."""
    with pytest.raises(CalendarRefusal, match="YYYY-MM-DD"):
        parse_date(text)
    assert parse_date("2026-04-05") == date(2026, 4, 5)


@given(dates, st.integers(-600, 600))
def test_months_later_is_the_same_day_or_the_months_last(day: date, months: int) -> None:
    """A month that is too short gives its last day."""
    later = add_months(day, months)
    assert (later.year * 12 + later.month) - (day.year * 12 + day.month) == months
    assert later.day == min(day.day, days_in_month(later.year, later.month))


@given(dates, st.integers(0, 4000))
def test_days_later_and_days_between_belong_together(day: date, days: int) -> None:
    """Integers of days."""
    assert days_between(day, add_days(day, days)) == days
    assert days_between(add_days(day, days), day) == -days


@given(st.integers(1990, 2090), st.integers(1, 12))
def test_length_of_a_month_is_the_calendars(year: int, month: int) -> None:
    """Leap years included."""
    first = date(year, month, 1)
    following = date(year + month // 12, month % 12 + 1, 1)
    assert days_in_month(year, month) == (following - first).days


def test_schedule_that_begins_on_the_31st_comes_back_to_it() -> None:
    """Short months do not move the later ones."""
    dues = due_dates(date(2026, 1, 31), 4, "monthly")
    assert [day.isoformat() for day in dues] == [
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
    ]


@pytest.mark.parametrize(("frequency", "step"), [("weekly", 7), ("daily", 1)])
def test_schedule_of_weeks_or_days_steps_evenly(frequency: str, step: int) -> None:
    """Weekly and daily plans."""
    dues = due_dates(date(2026, 4, 5), 5, frequency)  # type: ignore[arg-type]
    assert dues == [date(2026, 4, 5) + timedelta(days=step * place) for place in range(5)]


def test_schedule_of_nothing_or_of_an_unknown_frequency_is_refused() -> None:
    """At least one date, of a known frequency."""
    with pytest.raises(CalendarRefusal, match="no instalment"):
        due_dates(date(2026, 4, 5), 0, "monthly")
    with pytest.raises(CalendarRefusal, match="monthly, weekly or daily"):
        due_dates(date(2026, 4, 5), 3, "yearly")  # type: ignore[arg-type]
