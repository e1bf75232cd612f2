"""Circuit breakers: exact limits, and a hundred deciding ballots at once that are all valid."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chaincode.instalments.cases import breaker
from tests.support.book_ledger import officer
from tests.support.case_ledger import (
    ORDERED,
    PROPOSED,
    TRIGGER,
    CaseLedger,
    verdicts,
)

NAMES = [f"A{number:03d}" for number in range(120)]
OLD = "2026-01-05"


def _aged_book(count: int, **parameters: Any) -> CaseLedger:
    """A consortium with *count* agreements in arrears that count for the month's limit."""
    ledger = CaseLedger(begin=OLD, **parameters)
    dues = [("2026-04-05", 100), ("2026-05-05", 100)]
    ledger.open(*NAMES[:count], opened_on=OLD, instalments=dues)
    return ledger


def _to_the_vote(ledger: CaseLedger, names: list[str], lists: int = 1) -> list[str]:
    """Bring cases to the point where one more yes decides; proposals in so many lists."""
    ledger.today(TRIGGER)
    for start in range(0, len(names), 50):
        assert all(each["written"] for each in ledger.sweep(*names[start : start + 50]))
    cases = [f"C-{name}-1" for name in names]
    ledger.notify(*cases)
    ledger.today(PROPOSED)
    size = -(-len(cases) // lists)
    for start in range(0, len(cases), size):
        found = ledger.propose(*cases[start : start + size])
        assert all(each["state"] == "voting" for each in found), found
    for voter in ("PtaMSP", "OperatorMSP"):
        assert all(each["ok"] for each in ledger.vote(*cases, by=voter))
    return cases


def _decide_at_once(ledger: CaseLedger, cases: list[str]) -> list[tuple[bool, str]]:
    """Simulate one deciding ballot a case on one snapshot and validate all in one block."""
    ballots = [
        ledger.simulate(
            "enforcement",
            "CastBallots",
            [{"case": case, "choice": "yes", "reason": "seen"}],
            creator=officer("MakerMSP", "enforcement"),
        )
        for case in cases
    ]
    return [
        (outcome.valid, outcome.value["verdicts"][0]["state"]) for outcome in ledger.commit(ballots)
    ]


def test_a_hundred_deciding_ballots_at_once_are_all_valid() -> None:
    """A hundred deciding ballots about one lender's cases, proposed in one list and voted on at
    once: all VALID, though they take every slot of the month.
    """
    ledger = _aged_book(100, orders_per_month_percent=100)
    cases = _to_the_vote(ledger, NAMES[:100])
    opened = ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    assert opened.value["limits"][0] == {
        "group": "bank", "aged": 100, "limit": 100, "written": True,
    }  # fmt: skip
    assert _decide_at_once(ledger, cases) == [(True, "ordered")] * 100
    assert ledger.ask("Limits", "bank", "") == {
        "day_limit": 200, "day_used": 100, "month_limit": 100, "month_used": 100,
    }  # fmt: skip


def test_ballots_about_several_lists_meet_rarely_and_all_find_a_slot() -> None:
    """Cases proposed in different lists may try one slot; sent again, each finds another."""
    ledger = _aged_book(100, orders_per_month_percent=100)
    waiting, rounds = _to_the_vote(ledger, NAMES[:100], lists=3), 0
    ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    while waiting:
        outcomes = _decide_at_once(ledger, waiting)
        waiting = [case for case, (valid, _) in zip(waiting, outcomes, strict=True) if not valid]
        rounds += 1
        assert rounds < 20
    used = ledger.ask("Limits", "bank", "")
    assert (used["day_used"], used["month_used"]) == (100, 100)


def test_proposals_of_one_lender_at_once_are_all_valid() -> None:
    """Proposals share no key: three lists of one group in one block stand."""
    ledger = _aged_book(3)
    cases = [f"C-{name}-1" for name in NAMES[:3]]
    ledger.today(TRIGGER)
    ledger.sweep(*NAMES[:3])
    ledger.notify(*cases)
    ledger.today(PROPOSED)
    proposals = [
        ledger.simulate(
            "enforcement", "ProposeCases", [{"case": case, "tier": 1, "reason": "arrears"}],
            creator=officer("BankMSP", "lending"),
        )
        for case in cases
    ]  # fmt: skip
    assert [each.valid for each in ledger.commit(proposals)] == [True] * 3
    assert [ledger.state_of(case) for case in cases] == ["voting"] * 3


def test_orders_above_the_months_limit_wait() -> None:
    """At most 5 % of the aged agreements, rounded down, a month: the others wait, exactly."""
    ledger = _aged_book(100)
    cases = _to_the_vote(ledger, NAMES[:100])
    opened = ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    assert opened.value["limits"][0]["limit"] == 5
    states = [each["state"] for each in ledger.vote(*cases, by="MakerMSP")]
    assert sorted(set(states)) == ["ordered", "waiting"]
    assert states.count("ordered") == 5
    assert ledger.ask("Limits", "bank", "")["month_used"] == 5


def test_the_limit_holds_among_ballots_at_once() -> None:
    """Whatever is in flight together, no more orders than the limit become valid; who found
    another's slot is endorsed again and waits.
    """
    ledger = _aged_book(100)
    cases = _to_the_vote(ledger, NAMES[:30])
    ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    waiting = cases
    for _ in range(30):
        outcomes = _decide_at_once(ledger, waiting)
        waiting = [case for case, (valid, _) in zip(waiting, outcomes, strict=True) if not valid]
        if not waiting:
            break
    assert not waiting
    states = [ledger.state_of(case) for case in cases]
    assert (states.count("ordered"), states.count("waiting")) == (5, 25)


def test_orders_of_a_day_stop_at_the_policys_figure() -> None:
    """At most so many block orders of an affiliate group a PKT day; the next day has its own."""
    ledger = _aged_book(8, orders_per_day=3, orders_per_month_percent=100)
    cases = _to_the_vote(ledger, NAMES[:8])
    ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    states = [each["state"] for each in ledger.vote(*cases, by="MakerMSP")]
    assert states == ["ordered"] * 3 + ["waiting"] * 5
    ledger.today(ORDERED + timedelta(days=1))
    freed = verdicts(ledger.decide("FreeWaiting", cases[3:], by=("BankMSP", "lending")))
    assert [each["state"] for each in freed] == ["ordered"] * 3 + ["waiting"] * 2
    assert [each["ok"] for each in freed] == [True] * 3 + [False] * 2
    assert "no slot is free" in freed[-1]["message"]


def test_the_regulators_word_orders_without_a_slot() -> None:
    """A waiting case is ordered by the regulator's word, which claims no slot."""
    ledger = _aged_book(3, orders_per_day=1, orders_per_month_percent=100)
    cases = _to_the_vote(ledger, NAMES[:3])
    ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    ledger.vote(*cases, by="MakerMSP")
    freed = verdicts(ledger.decide("FreeWaiting", cases[1:], by=("PtaMSP", "enforcement")))
    assert [each["state"] for each in freed] == ["ordered", "ordered"]
    assert ledger.ask("Limits", "bank", "")["day_used"] == 1
    again = verdicts(ledger.decide("FreeWaiting", cases[1:], by=("PtaMSP", "enforcement")))
    assert [(each["ok"], each["written"]) for each in again] == [(True, False)] * 2


def test_two_affiliates_share_one_limit() -> None:
    """The limit is the affiliate group's: a bank and its payment house count together."""
    ledger = CaseLedger(begin=OLD, orders_per_month_percent=100, orders_per_day=1)
    dues = [("2026-04-05", 100), ("2026-05-05", 100)]
    ledger.open("A1", opened_on=OLD, instalments=dues)
    ledger.open("A2", opened_on=OLD, instalments=dues, lender="BankPayMSP")
    ledger.today(TRIGGER)
    ledger.sweep("A1", "A2")
    ledger.notify("C-A1-1")
    notice = {
        "case": "C-A2-1", "delivered_on": TRIGGER.isoformat(), "channel": "sms",
        "language": "ur", "proof": "0" * 64,
    }  # fmt: skip
    verdicts(ledger.decide("ServeNotices", [notice], by=("BankPayMSP", "lending")))
    ledger.today(PROPOSED)
    ledger.propose("C-A1-1")
    proposal = {"case": "C-A2-1", "tier": 1, "reason": "arrears"}
    verdicts(ledger.decide("ProposeCases", [proposal], by=("BankPayMSP", "lending")))
    opened = ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    assert opened.value["limits"][0]["aged"] == 2
    for voter in ("PtaMSP", "OperatorMSP"):
        ledger.vote("C-A1-1", "C-A2-1", by=voter)
    found = ledger.vote("C-A1-1", "C-A2-1", by="MakerMSP")
    assert [each["state"] for each in found] == ["ordered", "waiting"]


def test_a_month_that_nobody_opened_has_the_least_limit() -> None:
    """Without OpenMonth a group may cause one order in the month, and the real limit once it is
    counted.
    """
    ledger = _aged_book(3, orders_per_month_percent=100)
    cases = _to_the_vote(ledger, NAMES[:3])
    states = [each["state"] for each in ledger.vote(*cases, by="MakerMSP")]
    assert states == ["ordered", "waiting", "waiting"]
    ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    freed = verdicts(ledger.decide("FreeWaiting", cases[1:], by=("BankMSP", "lending")))
    assert [each["state"] for each in freed] == ["ordered", "ordered"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 25, 200, 1000])
def test_strides_visit_every_slot(size: int) -> None:
    """From any ticket on, every slot is tried before a case has to wait."""
    for case in ("C-A1-1", "C-A2-1", "C-B7-3"):
        stride = breaker._stride(case, size)
        assert len({(5 + place * stride) % size for place in range(size)}) == size


def test_a_full_day_costs_one_read() -> None:
    """Once a day is noted as full, a further ballot does not read its slots again."""
    ledger = _aged_book(8, orders_per_day=3, orders_per_month_percent=100)
    cases = _to_the_vote(ledger, NAMES[:8])
    ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    ledger.vote(*cases[:4], by="MakerMSP")
    _, result = ledger.simulate(
        "enforcement",
        "CastBallots",
        [{"case": cases[4], "choice": "yes", "reason": "seen"}],
        creator=officer("MakerMSP", "enforcement"),
    )
    assert b"slot/day" not in result.rwset.replace(b"full/slot/day", b"")
