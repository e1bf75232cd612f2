"""Holds (rulebook 2, 4): who may place them, what stands still, what they end."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from chaincode.instalments.cases.clock import (
    Span,
    counted,
    held_days_since,
    last_day,
    merged,
    over_on,
    reached,
)
from tests.support.book_ledger import salted
from tests.support.case_ledger import (
    ORDERED,
    PROPOSED,
    TRIGGER,
    VOTERS,
    CaseLedger,
    order_of,
    verdicts,
)

DUE = [("2026-04-05", 100), ("2026-05-05", 100)]
DAY = timedelta(days=1)
KINDS = ("dispute", "stolen", "wrong_person", "death", "court_stay", "disaster")


@pytest.fixture
def ledger() -> CaseLedger:
    """A consortium with the agreement A1."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=DUE)
    return ledger


def _confirm(ledger: CaseLedger, hold: str, by: str = "PtaMSP") -> dict[str, Any]:
    given = [{"hold": hold, "evidence": salted("word")}]
    return verdicts(ledger.change("ConfirmHolds", given, by=(by, "enforcement")))[0]


def _lift(ledger: CaseLedger, hold: str, by: str = "BankMSP") -> dict[str, Any]:
    given = [{"hold": hold, "reason": "settled"}]
    return verdicts(ledger.change("LiftHolds", given, by=(by, "lending")))[0]


def _answer(ledger: CaseLedger, hold: str, by: str = "BankMSP") -> dict[str, Any]:
    given = [{"hold": hold, "evidence": salted("answer")}]
    return verdicts(ledger.change("AnswerDisputes", given, by=(by, "lending")))[0]


def _end(ledger: CaseLedger, case: str = "C-A1-1") -> dict[str, Any]:
    return verdicts(ledger.change("EndBlocksByTerm", [case], by=("MakerMSP", "auditor")))[0]


# ---- placing ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "ok"),
    [
        (("BankMSP", "lending"), True),
        (("OperatorMSP", "enforcement"), True),
        (("PtaMSP", "enforcement"), True),
        (("BankPayMSP", "lending"), False),
        (("MakerMSP", "lending"), False),
    ],
)
def test_hold_is_placed_by_those_named(ledger: CaseLedger, by: tuple[str, str], ok: bool) -> None:
    """Regulator, lender, operator or a receiving institution named may place a hold."""
    ledger.bring("A1", "triggered")
    found = ledger.hold("A1", by=by)
    assert found["ok"] is ok
    assert ledger.state_of("C-A1-1") == ("held" if ok else "triggered")


@pytest.mark.parametrize(("days", "ok"), [(-1, False), (0, True), (30, True), (31, False)])
def test_hold_lasts_from_today_to_thirty_days(ledger: CaseLedger, days: int, ok: bool) -> None:
    """A hold ends from today on, within 30 days."""
    ledger.bring("A1", "triggered")
    assert ledger.hold("A1", until=TRIGGER + timedelta(days=days))["ok"] is ok


def test_hold_second_of_a_kind_is_the_regulators(ledger: CaseLedger) -> None:
    """A second hold of a kind in a case needs the regulator; one of another kind does not."""
    ledger.bring("A1", "triggered")
    first = ledger.hold("A1", "court_stay", until=TRIGGER)
    assert first["hold"] == "H-A1-1"
    ledger.today(TRIGGER + 3 * DAY)
    second = ledger.hold("A1", "court_stay", by=("OperatorMSP", "lending"))
    assert "regulator's to place" in second["message"]
    assert ledger.hold("A1", "stolen")["ok"]
    assert ledger.hold("A1", "court_stay", by=("PtaMSP", "enforcement"))["hold"] == "H-A1-3"


def test_hold_placed_twice_is_one(ledger: CaseLedger) -> None:
    """The same request twice does nothing twice."""
    first, again = ledger.hold("A1"), ledger.hold("A1")
    assert (again["ok"], again["written"], again["hold"]) == (True, False, first["hold"])


@pytest.mark.parametrize("evidence", [None, "", "no hash"])
def test_hold_without_evidence_is_refused(ledger: CaseLedger, evidence: str | None) -> None:
    """No evidence, no hold; the other records of the list go on."""
    good = {
        "agreement": "A1", "kind": "stolen", "evidence": salted("report"),
        "until": ledger.tx_day.isoformat(),
    }  # fmt: skip
    bad = good | {"evidence": evidence}
    outcome = ledger.change("PlaceHolds", [bad, good], by=("BankMSP", "lending"))
    assert [each["ok"] for each in verdicts(outcome)] == [False, True]


def test_hold_before_a_case_keeps_it_from_opening(ledger: CaseLedger) -> None:
    """No case opens under a hold, and the held days do not count for the trigger."""
    ledger.today(TRIGGER - 5 * DAY)
    ledger.hold("A1", "disaster", until=TRIGGER - DAY)
    ledger.today(TRIGGER)
    assert ledger.sweep("A1")[0]["state"] == "below_trigger"
    ledger.today(TRIGGER + 4 * DAY)
    assert ledger.sweep("A1")[0]["state"] == "below_trigger"
    ledger.today(TRIGGER + 5 * DAY)
    assert ledger.sweep("A1")[0]["state"] == "triggered"


# ---- what stands still --------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "state"), [(24, "notified"), (25, "lapsed")])
def test_hold_days_count_to_no_deadline_of_a_notice(
    ledger: CaseLedger, days: int, state: str
) -> None:
    """Ten days under a hold move the last day for a notice by ten."""
    case = ledger.bring("A1", "triggered")
    ledger.hold("A1", "stolen", until=TRIGGER + 10 * DAY)
    ledger.today(TRIGGER + timedelta(days=days))
    assert ledger.notify(case)[0]["state"] == state


@pytest.mark.parametrize(("days", "ok"), [(18, False), (19, True)])
def test_hold_days_count_to_no_notice_period(ledger: CaseLedger, days: int, ok: bool) -> None:
    """Five days under a hold move the first day for a proposal by five; under it none is taken."""
    case = ledger.bring("A1", "notified")
    ledger.today(TRIGGER + DAY)
    ledger.hold("A1", "stolen", until=TRIGGER + 5 * DAY)
    ledger.today(TRIGGER + 5 * DAY)
    assert ledger.propose(case)[0]["state"] == "held"
    ledger.today(TRIGGER + timedelta(days=days))
    assert ledger.propose(case)[0]["ok"] is ok


def test_hold_stops_a_vote_until_it_is_lifted(ledger: CaseLedger) -> None:
    """No ballot under a hold; the day on which it is lifted counts again."""
    case = ledger.bring("A1", "voting")
    placed = ledger.hold("A1", "stolen")
    assert "it is held" in ledger.vote(case, by="PtaMSP")[0]["message"]
    ledger.today(PROPOSED + 5 * DAY)
    assert _lift(ledger, placed["hold"])["state"] == "lifted"
    ledger.today(PROPOSED + 11 * DAY)
    for voter in VOTERS[:2]:
        assert ledger.vote(case, by=voter)[0]["ok"]
    ledger.today(PROPOSED + 12 * DAY)
    assert ledger.vote(case, by=VOTERS[2])[0]["state"] == "lapsed"


@pytest.mark.parametrize(("days", "clock", "ok"), [(5, "11:00", True), (5, "11:01", False)])
def test_hold_days_count_to_no_hours_of_a_start(
    ledger: CaseLedger, days: int, clock: str, ok: bool
) -> None:
    """Two days under a hold move the end of the 72 hours by 48."""
    case = ledger.bring("A1", "ordered")
    placed = ledger.hold("A1", "stolen")
    ledger.today(ORDERED + 2 * DAY)
    _lift(ledger, placed["hold"])
    ledger.today(ORDERED + timedelta(days=days), clock)
    assert ledger.report(order_of(case), "SUBMITTED")[0]["ok"] is ok


@pytest.mark.parametrize(("state", "days"), [("triggered", 15), ("notified", 31), ("voting", 8)])
def test_hold_placed_when_a_case_is_over_does_not_revive_it(
    ledger: CaseLedger, state: str, days: int
) -> None:
    """On the very day on which a case has lapsed a hold comes too late for its deadline."""
    case = ledger.bring("A1", state)
    ledger.today(ledger.tx_day + timedelta(days=days))
    assert ledger.state_of(case) == "lapsed"
    placed = ledger.hold("A1", "stolen")
    assert (placed["ok"], placed.get("case")) == (True, None)
    assert ledger.state_of(case) == "lapsed"


# ---- what a hold ends ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", ["triggered", "notified", "voting", "ordered", "enforced"])
def test_hold_confirmed_ends_the_case(ledger: CaseLedger, state: str, kind: str) -> None:
    """The regulator's confirmation ends the case as withdrawn, in its own transaction."""
    case = ledger.bring("A1", state)
    placed = ledger.hold("A1", kind)
    assert not _confirm(ledger, placed["hold"], by="OperatorMSP")["ok"]
    assert _confirm(ledger, placed["hold"])["state"] == "confirmed"
    view = ledger.view(case)
    blocked = state in ("ordered", "enforced")
    assert (view["state"], view["ended_by"]) == (
        "releasing" if blocked else "withdrawn",
        "withdrawn",
    )
    again = _confirm(ledger, placed["hold"])
    assert (again["ok"], again["written"]) == (True, False)


@pytest.mark.parametrize("state", ["ordered", "enforced"])
@pytest.mark.parametrize(("days", "ok"), [(5, False), (6, True)])
def test_hold_on_a_block_releases_after_five_silent_days(
    ledger: CaseLedger, state: str, days: int, ok: bool
) -> None:
    """When the regulator is silent for 5 days, anybody has the phone released."""
    case = ledger.bring("A1", state)
    if state == "ordered":
        ledger.report(order_of(case), "SUBMITTED")
    placed = ledger.hold("A1", "stolen")
    ledger.today(ledger.tx_day + timedelta(days=days))
    due = ledger.ask("HoldsDue", ledger.tx_day.isoformat(), 10, "", of="instalments")["holds"]
    assert [each["hold"] for each in due] == ([placed["hold"]] if ok else [])
    assert _end(ledger)["ok"] is ok
    assert ledger.state_of(case) == ("releasing" if ok else "held")
    assert (
        ledger.ask("HoldsDue", ledger.tx_day.isoformat(), 10, "", of="instalments")["holds"] == []
    )


def test_hold_on_a_block_that_is_lifted_in_time_releases_nothing(ledger: CaseLedger) -> None:
    """Lifted within the 5 days, the block goes on."""
    case = ledger.bring("A1", "enforced")
    placed = ledger.hold("A1", "stolen")
    ledger.today(ledger.tx_day + 5 * DAY)
    _lift(ledger, placed["hold"])
    ledger.today(ledger.tx_day + 10 * DAY)
    assert not _end(ledger)["ok"]
    assert ledger.state_of(case) == "enforced"


@pytest.mark.parametrize("state", ["triggered", "notified", "voting"])
@pytest.mark.parametrize(("days", "end"), [(15, "held"), (16, "withdrawn")])
def test_dispute_unanswered_for_fifteen_days_withdraws(
    ledger: CaseLedger, state: str, days: int, end: str
) -> None:
    """A dispute that the lender leaves unanswered ends the case by date, even if its own last day
    was before: the borrower waits for an answer.
    """
    case = ledger.bring("A1", state)
    ledger.hold("A1", "dispute", until=ledger.tx_day + 3 * DAY, by=("OperatorMSP", "lending"))
    ledger.today(ledger.tx_day + timedelta(days=days))
    assert ledger.state_of(case) == end


@pytest.mark.parametrize(("days", "ok"), [(15, True), (16, False)])
def test_dispute_is_answered_within_fifteen_days(ledger: CaseLedger, days: int, ok: bool) -> None:
    """The lender answers up to day 15; then the case goes on once the hold is over."""
    case = ledger.bring("A1", "notified")
    placed = ledger.hold("A1", "dispute", by=("OperatorMSP", "lending"))
    assert not _answer(ledger, placed["hold"], by="OperatorMSP")["ok"]
    ledger.today(TRIGGER + timedelta(days=days))
    assert _answer(ledger, placed["hold"])["ok"] is ok
    ledger.today(TRIGGER + 17 * DAY)
    assert ledger.state_of(case) == ("notified" if ok else "withdrawn")


def test_hold_of_another_kind_needs_no_answer(ledger: CaseLedger) -> None:
    """Only a dispute is answered."""
    ledger.bring("A1", "notified")
    placed = ledger.hold("A1", "stolen")
    assert "is no dispute" in _answer(ledger, placed["hold"])["message"]


@pytest.mark.parametrize("by", ["OperatorMSP", "MakerMSP"])
def test_hold_is_lifted_by_who_placed_it_or_a_regulator(ledger: CaseLedger, by: str) -> None:
    """Nobody lifts another's hold but the regulator."""
    ledger.bring("A1", "notified")
    placed = ledger.hold("A1")
    assert not _lift(ledger, placed["hold"], by=by)["ok"]
    assert _lift(ledger, placed["hold"], by="PtaMSP")["ok"]
    assert "is lifted" in _lift(ledger, placed["hold"])["message"]


def test_hold_that_ran_out_is_over(ledger: CaseLedger) -> None:
    """After its last day a hold can be neither lifted nor confirmed, and the case goes on."""
    case = ledger.bring("A1", "notified")
    placed = ledger.hold("A1", "stolen", until=TRIGGER + 4 * DAY)
    ledger.today(TRIGGER + 4 * DAY)
    assert ledger.state_of(case) == "held"
    ledger.today(TRIGGER + 5 * DAY)
    assert ledger.state_of(case) == "notified"
    assert "is over" in _confirm(ledger, placed["hold"])["message"]
    listed = ledger.ask("Holds", "A1", of="instalments")
    assert [(each["state"], each["case"]) for each in listed] == [("over", case)]


# ---- the arithmetic -----------------------------------------------------------------------------


def _d(number: int) -> date:
    return date(2026, 5, number)


HELD = merged([Span(_d(4), _d(6)), Span(_d(10), _d(10)), Span(_d(5), _d(7))])


@pytest.mark.parametrize(
    ("start", "days", "held", "last"),
    [
        (_d(1), 2, (), _d(3)),
        (_d(1), 2, HELD, _d(7)),  # 2, 3 count; 4 to 7 stand still
        (_d(1), 3, HELD, _d(8)),
        (_d(1), 5, HELD, _d(11)),
        (_d(4), 1, HELD, _d(8)),
        (_d(11), 4, HELD, _d(15)),
    ],
)
def test_last_day_stands_still_under_holds(
    start: date, days: int, held: tuple[Span, ...], last: date
) -> None:
    """ "Within n days" includes day n; a held day is as if it did not exist."""
    assert last_day(start, days, held) == last
    assert over_on(start, days, held) == last + DAY
    assert counted(start, last, held) == days
    assert counted(start, last + DAY, held) == days + 1


def test_reached_is_the_first_day_that_counts_enough() -> None:
    """`reached` is the inverse of `counted`, for every start and number of days."""
    for start in range(1, 13):
        for days in range(12):
            found = reached(_d(start), days, HELD)
            assert counted(_d(start), found, HELD) == days
            assert days == 0 or counted(_d(start), found - DAY, HELD) == days - 1


def test_held_days_since_counts_the_first_day() -> None:
    """From a day on, that day included."""
    assert held_days_since(_d(4), HELD) == 5
    assert held_days_since(_d(7), HELD) == 2
    assert held_days_since(_d(11), HELD) == 0
