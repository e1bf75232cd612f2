"""Totals carried over by the month (rulebook 2, 5): exact, bounded, and in nobody's way."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import Any

import pytest

from chaincode.instalments.book.totals import Tally
from chaincode.instalments.governance import months
from tests.support.book_ledger import officer, salted
from tests.support.case_ledger import CaseLedger, verdicts

DAY = timedelta(days=1)
AUDITOR = ("MakerMSP", "auditor")
LATE = [("2029-12-05", 100)]


@pytest.fixture
def ledger() -> CaseLedger:
    """A consortium founded on 15 January 2026."""
    return CaseLedger(begin="2026-01-15", orders_per_month_percent=100)


def _open(ledger: CaseLedger, *names: str) -> None:
    ledger.open(*names, opened_on=ledger.tx_day.isoformat(), instalments=LATE, confirm=False)


def _write_off(ledger: CaseLedger, name: str) -> None:
    ended = [{"agreement": name, "kind": "written_off", "evidence": salted(name)}]
    assert verdicts(ledger.change("EndAgreements", ended, by=("BankMSP", "lending")))[0]["ok"]


def _open_month(ledger: CaseLedger) -> Any:
    outcome = ledger.decide("OpenMonth", ledger.tx_day.isoformat()[:7], by=AUDITOR)
    assert outcome.valid, outcome.message
    return outcome


def _limit_of_the_bank(ledger: CaseLedger) -> dict[str, Any]:
    found = _open_month(ledger).value["limits"]
    return next(each for each in found if each["group"] == "bank")


def _total_keys_read(outcome: Any) -> int:
    return bytes(outcome.result.rwset).count(b"\x00total\x00BankMSP\x00")


def test_limits_over_two_years_are_those_of_counting_everything(ledger: CaseLedger) -> None:
    """Month after month, some of them never opened, the carried count is the count of all keys."""
    opened: dict[str, date] = {}
    closed: dict[str, date] = {}
    month, number = date(2026, 1, 1), 0
    for step in range(24):
        month = (month + 32 * DAY).replace(day=1)
        ledger.today(month)
        if step % 5 != 3:
            found = _limit_of_the_bank(ledger)
            oldest = month - 61 * DAY
            aged = [name for name, day in opened.items() if day <= oldest]
            assert found["aged"] == sum(closed.get(name, month) >= month for name in aged), month
        for place in range(step % 3):
            ledger.today(month + (5 + place) * DAY)
            _open(ledger, f"A{number}")
            opened[f"A{number}"] = ledger.tx_day
            number += 1
        if step % 4 == 2:
            ledger.today(month + 20 * DAY)
            name = next(each for each in opened if each not in closed)
            _write_off(ledger, name)
            closed[name] = ledger.tx_day
    for day in (month, date(2026, 6, 7), date(2026, 6, 30), date(2026, 7, 1), date(2027, 2, 28)):
        totals = ledger.ask("Totals", "BankMSP", day.isoformat(), of="instalments")
        expected = (
            sum(each <= day for each in opened.values()),
            sum(each <= day for each in closed.values()),
        )
        assert (totals["opened"], totals["closed"]) == expected, day
        assert totals["open"] == expected[0] - expected[1]


def test_count_reads_what_was_recorded_since_the_last_one(ledger: CaseLedger) -> None:
    """Years of transactions cost nothing once they are carried over."""
    for place in range(12):
        _open(ledger, f"A{place}")
    ledger.today("2026-02-01")
    first = _open_month(ledger)
    _open(ledger, "B1")
    ledger.today("2026-03-01")
    second = _open_month(ledger)
    assert (_total_keys_read(first), _total_keys_read(second)) == (
        12 + 2,
        1 + 2,
    )  # and both ends of the range
    assert ledger.ask("Totals", "BankMSP", "", of="instalments")["open"] == 13


def test_count_beyond_the_budget_goes_on_where_it_stopped(
    ledger: CaseLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many keys for one transaction: it carries over how far it came, the next goes on."""
    monkeypatch.setattr(months, "KEYS_READ", 3)
    for month in range(1, 7):
        ledger.today(date(2026, month, 20))
        _open(ledger, *[f"A{month}{place}" for place in range(2)])
        ledger.today(date(2026, month, 21))
        _open(ledger, f"B{month}")
    ledger.today("2026-07-01")
    answers: list[dict[str, Any]] = []
    while not answers or not answers[-1]["complete"]:
        answers.append(_open_month(ledger).value)
        assert len(answers) < 20
    assert [each["complete"] for each in answers].count(False) >= 2
    bank = next(each for each in answers[-1]["limits"] if each["group"] == "bank")
    assert bank["aged"] == 12  # January to April; 1 May is 61 days before 1 July
    assert ledger.ask("Limits", "bank", "")["month_limit"] == 12


def test_month_is_no_obstacle_to_what_goes_on_meanwhile(ledger: CaseLedger) -> None:
    """An agreement opened and a month opened at once both stand: the count ends with last month."""
    _open(ledger, "A1")
    ledger.today("2026-02-01")
    _open_month(ledger)
    ledger.today("2026-03-01")
    _open(ledger, "A2")
    ended = [{"agreement": "A1", "kind": "written_off", "evidence": salted("x")}]
    pair = [
        ledger.simulate("instalments", "EndAgreements", ended, creator=officer("BankMSP")),
        ledger.simulate("enforcement", "OpenMonth", "2026-03", creator=officer(*AUDITOR)),
    ]
    assert [each.valid for each in ledger.commit(pair)] == [True, True]


def test_what_was_endorsed_last_month_is_not_added_to_it(ledger: CaseLedger) -> None:
    """Held back until the ledger day is another month's, it is invalid; made with the time of last
    month it counts under the ledger day: what was carried over stays exact.
    """
    _open(ledger, "A1")
    ledger.today("2026-01-31", "23:55")
    ended = [{"agreement": "A1", "kind": "written_off", "evidence": salted("x")}]
    by = officer("BankMSP")
    held_back = ledger.simulate("instalments", "EndAgreements", ended, creator=by)
    ledger.today("2026-02-01", "00:01")
    assert not ledger.commit([held_back])[0].valid
    ledger.at("2026-01-31", "23:59")
    assert ledger.change("EndAgreements", ended, by=by).valid
    ledger.at("2026-02-01")
    keys = [key for key in ledger.state.dump("instalments") if key.startswith("\x00total")]
    assert Counter(key.split("\x00")[4] for key in keys) == {"2026-01-15": 1, "2026-02-01": 1}
    assert ledger.ask("Totals", "BankMSP", "2026-01-31", of="instalments")["closed"] == 0


@pytest.mark.parametrize("until", ["0001-01-01", "2025-12-31", "9999-12-31"])
def test_totals_of_a_day_far_away_are_answered(ledger: CaseLedger, until: str) -> None:
    """Before everything nothing, after everything all."""
    _open(ledger, "A1")
    ledger.today("2026-04-01")
    _open_month(ledger)
    totals = ledger.ask("Totals", "BankMSP", until, of="instalments")
    assert totals["open"] == (1 if until > "2026" else 0)


@pytest.mark.parametrize(("days", "aged"), [(60, 0), (61, 1)])
def test_agreement_is_aged_when_it_is_older_than_sixty_days(days: int, aged: int) -> None:
    """Older than 60 days, not just as old."""
    tally = Tally()
    tally.add({"opened": {"2026-03-01": 2}})
    tally.add({"closed": {"2026-03-01": 1}})
    assert tally.aged(date(2026, 3, 1) + days * DAY, 60) == aged
    tally.add({"closed": {"2026-03-01": 1}})
    assert (tally.open, tally.opened, tally.closed) == ({}, 2, 2)
