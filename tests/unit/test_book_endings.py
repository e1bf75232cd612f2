"""Rulebook 4: paying off, death and write-off are different ends; only paying off is certified."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from chaincode.instalments import records
from chaincode.instalments.members import Member, Roster
from tests.support.book_ledger import (
    BANK,
    BANK_PAY,
    MAKER,
    MEMBERS,
    OPERATOR,
    PTA,
    BookLedger,
    pseudonym,
    salted,
)


@pytest.fixture
def book() -> BookLedger:
    """Agreement A of the bank, 300 in all, on 10 May."""
    ledger = BookLedger()
    ledger.open("A")
    ledger.today("2026-05-10")
    return ledger


def end(book: BookLedger, kind: str, by=BANK, evidence: str = "loss") -> dict[str, Any]:
    record = {"agreement": "A", "kind": kind, "evidence": salted(evidence)}
    return book.verdicts("EndAgreements", [record], by)[0]


def clear(book: BookLedger, by=BANK) -> dict[str, Any]:
    return book.verdicts("IssueClearance", [{"agreement": "A"}], by)[0]


def test_write_off_closes_the_agreement_and_gives_no_certificate(book: BookLedger) -> None:
    """Closed, no longer due, no longer pledged; the totals and the event say so."""
    outcome = book.call(
        "EndAgreements", [{"agreement": "A", "kind": "written_off", "evidence": salted("loss")}]
    )
    assert outcome.value["verdicts"][0]["state"] == "written_off"
    assert outcome.event is not None
    assert outcome.event[1]["records"] == [
        {
            "id": "A",
            "kind": "ending",
            "state": "written_off",
            "agreement": "A",
            "evidence": salted("loss"),
        }
    ]
    assert book.ask("Agreement", "A")["closed"] == "written_off"
    assert book.ask("Due", "", 0, 10, "")["rows"] == []
    assert book.ask("IsEncumbered", [pseudonym("A/0")]) == {"encumbered": False}
    assert book.ask("Clearance", "A") is None
    assert book.ask("DeviceStatus", [pseudonym("A/0")])["cleared_on"] is None
    totals = book.ask("Totals", "BankMSP", "2026-05-10")
    assert (totals["opened"], totals["closed"], totals["open"]) == (1, 1, 0)
    assert book.ask("Totals", "BankMSP", "2026-05-09")["open"] == 1


def test_write_off_leaves_the_standing_as_it_is(book: BookLedger) -> None:
    """What is owed is owed: only the book's end differs."""
    end(book, "written_off")
    assert book.standing("A")["arrears_paisa"] == 200
    assert book.pay("A", 100, "2026-05-10", OPERATOR)["state"] == "1-29"
    assert book.ask("Due", "", 0, 10, "")["rows"] == []


@pytest.mark.parametrize("by", [OPERATOR, BANK_PAY, PTA])
def test_write_off_by_anybody_but_the_lender_is_refused(book: BookLedger, by: Any) -> None:
    """Writing off is the lender's."""
    assert "its lender BankMSP only" in end(book, "written_off", by)["message"]


def test_death_is_recorded_by_the_lender_or_a_regulator(book: BookLedger) -> None:
    """Death also by a regulator, not by others."""
    assert not end(book, "death", OPERATOR)["ok"]
    assert end(book, "death", PTA)["state"] == "death"


def test_ending_sent_again_stands_and_another_one_is_refused(book: BookLedger) -> None:
    """Closed otherwise, or on other evidence, is refused."""
    end(book, "written_off")
    again = end(book, "written_off")
    assert (again["ok"], again["written"]) == (True, False)
    assert "was closed as written_off" in end(book, "death")["message"]
    assert "was closed as written_off" in end(book, "written_off", evidence="other")["message"]
    assert book.ask("Totals", "BankMSP", "2026-12-31")["closed"] == 1


def test_ending_of_an_agreement_paid_in_full_is_refused(book: BookLedger) -> None:
    """A certificate is due instead."""
    book.pay("A", 300, "2026-05-10", OPERATOR)
    verdict = end(book, "written_off")
    assert "is paid in full" in verdict["message"]
    assert "IssueClearance" in verdict["message"]


def test_ending_without_evidence_is_refused(book: BookLedger) -> None:
    """No evidence, no ending."""
    record = {"agreement": "A", "kind": "death"}
    verdict = book.verdicts("EndAgreements", [record], BANK)[0]
    assert not verdict["ok"]
    assert "evidence: is missing" in verdict["message"]


def test_clearance_of_an_agreement_paid_in_full_is_issued_and_stands(book: BookLedger) -> None:
    """The certificate names the day from which everything was paid."""
    book.pay("A", 200, "2026-05-01", OPERATOR)
    book.pay("A", 100, "2026-04-20", OPERATOR)
    verdict = clear(book)
    assert (verdict["state"], verdict["written"]) == ("paid_off", True)
    assert book.ask("Clearance", "A") == {
        "agreement": "A",
        "device": pseudonym("A/0"),
        "issued_on": "2026-05-10",
        "issued_by": "BankMSP",
        "paid_in_full_on": "2026-05-01",
    }
    status = book.ask("DeviceStatus", [pseudonym("A/0")])
    assert (status["financed"], status["cleared_on"]) == (False, "2026-05-10")
    again = clear(book)
    assert (again["ok"], again["written"], again["state"]) == (True, False, "paid_off")
    assert book.ask("Totals", "BankMSP", "2026-12-31")["open"] == 0


def test_clearance_of_what_is_not_paid_in_full_is_refused(book: BookLedger) -> None:
    """Not paid in full, though nothing is due: no certificate."""
    book.pay("A", 299, "2026-05-10", OPERATOR)
    assert "is not paid in full" in clear(book)["message"]


@pytest.mark.parametrize(
    ("by", "day", "is_issued"),
    [
        (OPERATOR, "2026-05-16", False),
        (OPERATOR, "2026-05-17", True),
        (PTA, "2026-05-16", False),
        (PTA, "2026-05-17", True),
        (MAKER, "2026-06-17", False),
        (BANK, "2026-05-10", True),
    ],
)
def test_clearance_by_others_waits_seven_days_for_the_lender(
    book: BookLedger, by: Any, day: str, is_issued: bool
) -> None:
    """A lender's silence cannot keep the certificate: a receiver named or a regulator issues it."""
    book.pay("A", 300, "2026-05-10", OPERATOR)
    book.today(day)
    verdict = clear(book, by)
    assert verdict["ok"] is is_issued
    if not is_issued and by is not MAKER:
        assert "clear it from 2026-05-17" in verdict["message"]


def test_clearance_after_a_write_off_is_refused_unless_it_was_paid_before(book: BookLedger) -> None:
    """Closed before it was paid in full: no certificate. Money paid before counts from its day."""
    book.today("2026-05-12")
    end(book, "written_off")
    book.today("2026-05-20")
    book.pay("A", 100, "2026-05-11", OPERATOR, reference="P-1")
    later = book.pay("A", 200, "2026-05-13", OPERATOR, reference="P-2")
    assert later["ok"]
    verdict = clear(book)
    assert "was closed as written_off" in verdict["message"]
    book.pay("A", 200, "2026-05-12", OPERATOR, reference="P-3")
    assert clear(book)["state"] == "paid_off"
    assert book.ask("Totals", "BankMSP", "2026-12-31")["closed"] == 1


def test_clearance_frees_the_device_for_another_agreement(book: BookLedger) -> None:
    """A phone paid off may be financed again."""
    book.pay("A", 300, "2026-05-10", OPERATOR)
    before = book.open("B", device=[pseudonym("A/0")], register=False, imported=True)
    assert "financed already" in before["message"]
    clear(book)
    assert book.open("B", device=[pseudonym("A/0")], register=False, imported=True)["ok"]
    assert book.ask("DeviceStatus", [pseudonym("A/0")])["financed"]


def test_lender_that_has_left_is_followed_by_its_successor() -> None:
    """Once the lender has gone, its successor ends, revises, refunds and clears in its place."""
    leaving = Member(
        "BankMSP", "bank", "bank", "", "leaving", date(2026, 4, 30), successor="OperatorMSP"
    )
    book = BookLedger()
    book.open("A")
    book.seed("roster", records.encode(Roster(2, [leaving, *MEMBERS[1:]]).plain()))
    book.today("2026-04-30")
    assert "its lender BankMSP only" in end(book, "death", OPERATOR)["message"]
    book.today("2026-05-01")
    book.pay("A", 350, "2026-05-01", OPERATOR)
    given = {"agreement": "A", "reference": "R-1"}
    assert book.verdicts("RefundCredit", [given], OPERATOR, amounts=[50])[0]["ok"]
    assert clear(book, OPERATOR)["state"] == "paid_off"
