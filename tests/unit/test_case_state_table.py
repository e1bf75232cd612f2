"""The rulebook's table of states (4), row by row, each guard on its boundary days."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.book_ledger import salted
from tests.support.case_ledger import (
    IN_WORDS,
    ORDERED,
    PROPOSED,
    TRIGGER,
    VOTERS,
    CaseLedger,
    order_of,
    verdicts,
)

TWO_DUE = [("2026-04-05", 100), ("2026-05-05", 100), ("2026-06-05", 100), ("2026-07-05", 100)]
BEFORE_ORDER = ["triggered", "notified", "voting", "waiting"]
OPEN_STATES = [*BEFORE_ORDER, "ordered", "enforced"]
BEFORE_ENFORCED = [*BEFORE_ORDER, "ordered"]
BLOCKING = ["ordered", "enforced"]
DAY = timedelta(days=1)


@pytest.fixture
def ledger() -> CaseLedger:
    """A consortium with one agreement, A1, four instalments of 100."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=TWO_DUE)
    return ledger


def _days_later(ledger: CaseLedger, days: int) -> None:
    ledger.today(ledger.tx_day + timedelta(days=days))


# ---- opening ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("day", "state"), [(TRIGGER - DAY, "below_trigger"), (TRIGGER, "triggered")]
)
def test_trigger_from_thirty_days_past_due_opens(ledger: CaseLedger, day: date, state: str) -> None:
    """A case opens from 30 days past due on, not a day before."""
    ledger.today(day)
    found = ledger.sweep("A1")[0]
    assert (found["state"], found["ok"]) == (state, state == "triggered")


@pytest.mark.parametrize(("paid", "state"), [(1, "below_trigger"), (0, "triggered")])
def test_trigger_needs_arrears_of_one_instalment(paid: int, state: str) -> None:
    """Arrears below one instalment's amount open no case, however old."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=[("2026-04-05", 100)])
    if paid:
        ledger.pay("A1", paid, ledger.tx_day)
    ledger.today(TRIGGER + 9 * DAY)
    assert ledger.sweep("A1")[0]["state"] == state


@pytest.mark.parametrize(
    ("changes", "confirm", "state"),
    [
        ({"consent": None}, True, "no_consent"),
        (
            {"consent": {"statement": salted("A1"), "language": "ur", "block": False}},
            True,
            "no_consent",
        ),
        ({}, False, "no_confirmation"),
    ],
)
def test_trigger_without_consent_or_confirmation_never_opens(
    changes: dict[str, Any], confirm: bool, state: str
) -> None:
    """No consent to a block, or no confirmation of sale: no case, ever."""
    ledger = CaseLedger()
    ledger.open("A1", confirm=confirm, **changes)
    ledger.today(TRIGGER + 200 * DAY)
    found = ledger.sweep("A1")[0]
    assert (found["ok"], found["state"], found["rule"][:9]) == (False, state, "rulebook ")


@pytest.mark.parametrize(("days", "state"), [(30, "imported"), (31, "triggered")])
def test_trigger_in_an_imported_book_waits_thirty_days(days: int, state: str) -> None:
    """An imported book has no case in its first 30 days."""
    ledger = CaseLedger(begin="2026-05-01")
    ledger.open("A1", opened_on="2026-01-05", imported=True, instalments=TWO_DUE)
    ledger.today(date(2026, 5, 1) + timedelta(days=days))
    assert ledger.sweep("A1")[0]["state"] == state


def test_sweep_of_the_same_day_again_does_nothing(ledger: CaseLedger) -> None:
    """The same request twice does nothing twice; on a later day the case is simply open."""
    ledger.bring("A1", "triggered")
    again = ledger.sweep("A1")[0]
    assert (again["ok"], again["written"], again["case"]) == (True, False, "C-A1-1")
    _days_later(ledger, 1)
    assert ledger.sweep("A1")[0]["state"] == "open_case"


@pytest.mark.parametrize("ended", ["lapsed", "rejected", "withdrawn"])
@pytest.mark.parametrize(("days", "state"), [(30, "paused"), (31, "triggered")])
def test_trigger_after_a_case_that_ended_waits(
    ledger: CaseLedger, ended: str, days: int, state: str
) -> None:
    """None lapsed, rejected or withdrawn within 30 days; the next case has the next number."""
    if ended == "lapsed":
        case = ledger.bring("A1", "triggered")
        ledger.today(TRIGGER + 15 * DAY)
    elif ended == "rejected":
        case = ledger.bring("A1", "rejected")
    else:
        case = ledger.bring("A1", "triggered")
        _withdraw(ledger, case)
    assert ledger.state_of(case) == ended
    ended_on = date.fromisoformat(ledger.view(case)["ended_on"])
    ledger.today(ended_on + timedelta(days=days))
    found = ledger.sweep("A1")[0]
    assert found["state"] == state
    if state == "triggered":
        assert found["case"] == "C-A1-2"
        assert ledger.state_of(case) == ended


def test_trigger_after_a_cure_needs_no_pause_but_the_release(ledger: CaseLedger) -> None:
    """A cured case leaves no pause; while its phone is not released no other opens."""
    case = ledger.bring("A1", "enforced")
    ledger.pay("A1", 200, ledger.tx_day)
    ledger.today("2026-07-06")
    assert ledger.sweep("A1")[0]["state"] == "releasing"
    ledger.report_release(order_of(case), *IN_WORDS)
    assert ledger.sweep("A1")[0]["state"] == "triggered"


# ---- triggered ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "state"), [(0, "notified"), (14, "notified"), (15, "lapsed")])
def test_triggered_notice_within_fourteen_days(ledger: CaseLedger, days: int, state: str) -> None:
    """A notice counts up to day 14 after the trigger; on day 15 the case has lapsed by date."""
    case = ledger.bring("A1", "triggered")
    _days_later(ledger, days)
    found = ledger.notify(case)[0]
    assert (found["state"], found["ok"]) == (state, state == "notified")
    assert ledger.state_of(case) == state


@pytest.mark.parametrize("offset", [-1, 1])
def test_triggered_notice_of_another_time_is_refused(ledger: CaseLedger, offset: int) -> None:
    """A notice delivered before the trigger, or tomorrow, is none."""
    case = ledger.bring("A1", "triggered")
    found = ledger.notify(case, delivered_on=TRIGGER + offset * DAY)[0]
    assert not found["ok"]
    assert found["rule"] == "rulebook 4"
    assert ledger.state_of(case) == "triggered"


def test_triggered_notice_of_another_member_is_refused(ledger: CaseLedger) -> None:
    """The lender serves the notice, nobody else."""
    case = ledger.bring("A1", "triggered")
    notice = {
        "case": case, "delivered_on": TRIGGER.isoformat(), "channel": "sms", "language": "ur",
        "proof": salted(case),
    }  # fmt: skip
    outcome = ledger.decide("ServeNotices", [notice], by=("OperatorMSP", "lending"))
    assert "its lender is BankMSP" in verdicts(outcome)[0]["message"]


# ---- notified -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "state", "ok"),
    [(13, "notified", False), (14, "voting", True), (30, "voting", True), (31, "lapsed", False)],
)
def test_notified_proposal_from_day_fourteen_to_thirty(
    ledger: CaseLedger, days: int, state: str, ok: bool
) -> None:
    """A proposal may be written from 14 to 30 days after the notice."""
    case = ledger.bring("A1", "notified")
    _days_later(ledger, days)
    found = ledger.propose(case)[0]
    assert (found["state"], found["ok"]) == (state, ok)
    assert ledger.state_of(case) == state


def test_notified_too_early_says_from_when_on(ledger: CaseLedger) -> None:
    """The refusal names the case, the day, the notice and the rule."""
    case = ledger.bring("A1", "notified")
    assert ledger.propose(case)[0]["message"] == (
        "case C-A1-1 cannot go to a vote before 2026-05-19: notice served 2026-05-05, 14 days "
        "(rulebook 4); propose it from 2026-05-19 on"
    )


@pytest.mark.parametrize(("days", "ok"), [(13, False), (14, True)])
def test_notified_period_runs_from_the_later_of_delivery_and_writing(
    ledger: CaseLedger, days: int, ok: bool
) -> None:
    """A notice written down late begins its period on the day it was written."""
    case = ledger.bring("A1", "triggered")
    _days_later(ledger, 3)
    ledger.notify(case, delivered_on=TRIGGER)
    _days_later(ledger, days)
    assert ledger.propose(case)[0]["ok"] is ok


def test_notified_quorum_out_of_reach_is_refused() -> None:
    """No proposal where a regulator and two more classes outside the group could never say yes."""
    founders = (
        ("BankMSP", "bank", "bank"),
        ("OperatorMSP", "operator", "operator"),
        ("MakerMSP", "manufacturer", "operator"),
        ("PtaMSP", "regulator", "pta"),
    )
    ledger = CaseLedger(founders)
    ledger.open("A1", instalments=TWO_DUE)
    case = ledger.bring("A1", "notified")
    ledger.today(PROPOSED)
    found = ledger.propose(case)[0]
    assert (found["ok"], found["rule"]) == (False, "rulebook 5")
    assert "cannot reach the quorum" in found["message"]


@pytest.mark.parametrize(("tier", "rule"), [(2, "switched off"), (3, "switched off")])
def test_notified_tier_that_is_off_is_refused(ledger: CaseLedger, tier: int, rule: str) -> None:
    """Tiers 2 and 3 are off by default."""
    case = ledger.bring("A1", "notified")
    ledger.today(PROPOSED)
    found = ledger.propose(case, tier=tier)[0]
    assert not found["ok"]
    assert rule in found["message"]


# ---- voting, waiting ----------------------------------------------------------------------------


@pytest.mark.parametrize(("days", "state"), [(0, "ordered"), (7, "ordered"), (8, "lapsed")])
def test_voting_within_seven_days(ledger: CaseLedger, days: int, state: str) -> None:
    """Ballots count up to day 7; then silence is no consent."""
    case = ledger.bring("A1", "voting")
    for voter in VOTERS[:2]:
        ledger.vote(case, by=voter)
    _days_later(ledger, days)
    found = ledger.vote(case, by=VOTERS[2])[0]
    assert (found["state"], found["ok"]) == (state, state == "ordered")
    assert ledger.state_of(case) == state


@pytest.mark.parametrize(("days", "state"), [(2, "ordered"), (7, "ordered"), (8, "lapsed")])
def test_waiting_within_seven_days(ledger: CaseLedger, days: int, state: str) -> None:
    """A waiting case is ordered by the regulator's word up to day 7; then it lapses."""
    case = ledger.bring("A1", "waiting")
    _days_later(ledger, days)
    found = verdicts(ledger.decide("FreeWaiting", [case], by=("PtaMSP", "enforcement")))[0]
    assert (found["state"], found["ok"]) == (state, state == "ordered")
    assert ledger.state_of(case) == state


@pytest.mark.parametrize(("days", "ok"), [(0, False), (1, False), (2, True)])
def test_waiting_behind_a_stop_is_ordered_after_it(ledger: CaseLedger, days: int, ok: bool) -> None:
    """While all orders are stopped not even the regulator's word orders."""
    case = ledger.bring("A1", "waiting")
    _days_later(ledger, days)
    found = verdicts(ledger.decide("FreeWaiting", [case], by=("PtaMSP", "enforcement")))[0]
    assert found["ok"] is ok
    if not ok:
        assert "are stopped until" in found["message"]


# ---- ordered ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock", "state", "ok"), [("11:00", "ordered", True), ("11:01", "lapsed", False)]
)
def test_ordered_start_within_seventy_two_hours(
    ledger: CaseLedger, clock: str, state: str, ok: bool
) -> None:
    """Who has not SUBMITTED within 72 hours may not start, and the case has lapsed."""
    case = ledger.bring("A1", "ordered")
    ledger.today(ORDERED + 3 * DAY, clock)
    found = ledger.report(order_of(case), "SUBMITTED")[0]
    assert (found["state"], found["ok"]) == (state, ok)
    assert ledger.state_of(case) == state
    if not ok:
        assert "do not apply it" in found["message"]


def test_ordered_and_started_stays_ordered_until_applied(ledger: CaseLedger) -> None:
    """Once SUBMITTED the hours are kept; the first APPLIED makes it enforced."""
    case = ledger.bring("A1", "ordered")
    assert ledger.report(order_of(case), "SUBMITTED")[0]["state"] == "ordered"
    ledger.today(ORDERED + 9 * DAY)
    assert ledger.state_of(case) == "ordered"
    assert ledger.report(order_of(case), "APPLIED")[0]["state"] == "enforced"
    assert ledger.state_of(case) == "enforced"


# ---- ends in any open state ---------------------------------------------------------------------


def _withdraw(ledger: CaseLedger, case: str, by: str = "BankMSP") -> dict[str, Any]:
    given = [{"case": case, "reason": "agreed"}]
    return verdicts(ledger.change("WithdrawCases", given, by=(by, "lending")))[0]


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("state", OPEN_STATES)
def test_open_case_is_cured_by_a_payment(ledger: CaseLedger, state: str, held: bool) -> None:
    """In any open state, held too, paying all that was due before today ends the case in the very
    transaction; from ordered or enforced a release order goes with it.
    """
    case = ledger.bring("A1", state)
    _days_later(ledger, 1)
    if held:
        assert ledger.hold("A1")["ok"]
        assert ledger.state_of(case) == "held"
    found = ledger.pay("A1", 200, ledger.tx_day)
    assert found["case"] == case
    view = ledger.view(case)
    blocked = state in BLOCKING
    assert (view["state"], view["ended_by"]) == ("releasing" if blocked else "cured", "cured")
    assert view["release"] == ("R-A1-1-1" if blocked else None)
    assert (ledger.ask("Ending", case, of="instalments") or {})["kind"] == "cured"


@pytest.mark.parametrize("state", OPEN_STATES)
def test_open_case_is_not_cured_by_less(ledger: CaseLedger, state: str) -> None:
    """A paisa less than what was due before today is no cure."""
    case = ledger.bring("A1", state)
    _days_later(ledger, 1)
    ledger.pay("A1", 99, ledger.tx_day)
    assert ledger.state_of(case) == state


def test_cure_counts_from_the_day_it_was_paid(ledger: CaseLedger) -> None:
    """A payment that arrives late cures if on some date since `paid_on` nothing was overdue, even
    though another instalment has fallen due meanwhile.
    """
    case = ledger.bring("A1", "triggered")
    ledger.today(TRIGGER + 5 * DAY)
    ledger.pay("A1", 100, TRIGGER)
    assert ledger.view(case)["ended_by"] == "cured"


@pytest.mark.parametrize("state", BEFORE_ENFORCED)
def test_payment_that_takes_the_trigger_away_lapses(ledger: CaseLedger, state: str) -> None:
    """Before enforced, a payment after which the trigger no longer holds lapses the case; from
    ordered it releases.
    """
    case = ledger.bring("A1", state)
    _days_later(ledger, 1)
    ledger.pay("A1", 100, ledger.tx_day)
    view = ledger.view(case)
    blocked = state in BLOCKING
    assert (view["state"], view["ended_by"]) == ("releasing" if blocked else "lapsed", "lapsed")


def test_payment_that_takes_the_trigger_away_does_not_end_a_block(ledger: CaseLedger) -> None:
    """Once enforced, only a cure counts."""
    case = ledger.bring("A1", "enforced")
    ledger.pay("A1", 100, ledger.tx_day)
    assert ledger.state_of(case) == "enforced"


@pytest.mark.parametrize("state", OPEN_STATES)
def test_open_case_is_withdrawn_by_its_lender(ledger: CaseLedger, state: str) -> None:
    """The lender withdraws in any open state; from ordered or enforced that releases."""
    case = ledger.bring("A1", state)
    assert not _withdraw(ledger, case, "OperatorMSP")["ok"]
    found = _withdraw(ledger, case)
    assert found["state"] == ("releasing" if state in BLOCKING else "withdrawn")
    assert ledger.view(case)["ended_by"] == "withdrawn"
    again = _withdraw(ledger, case)
    assert (again["ok"], again["written"]) == (True, False)


@pytest.mark.parametrize("kind", ["written_off", "death"])
@pytest.mark.parametrize("state", OPEN_STATES)
def test_open_case_ends_with_its_agreement(ledger: CaseLedger, state: str, kind: str) -> None:
    """Write-off and death end the case, and release what is blocked."""
    case = ledger.bring("A1", state)
    given = [{"agreement": "A1", "kind": kind, "evidence": salted("file")}]
    found = verdicts(ledger.change("EndAgreements", given, by=("BankMSP", "lending")))[0]
    assert found["case"] == case
    view = ledger.view(case)
    assert view["ended_by"] == kind
    assert view["state"] == ("releasing" if state in BLOCKING else kind)


# ---- enforced: never for ever -------------------------------------------------------------------


@pytest.mark.parametrize(("days", "ok"), [(179, False), (180, True)])
def test_enforced_ends_after_a_hundred_and_eighty_days(
    ledger: CaseLedger, days: int, ok: bool
) -> None:
    """A block ends on its day 180, written down by anybody."""
    case = ledger.bring("A1", "enforced")
    _days_later(ledger, days)
    given = verdicts(ledger.change("EndBlocksByTerm", [case], by=("MakerMSP", "auditor")))[0]
    assert given["ok"] is ok
    assert ledger.state_of(case) == ("releasing" if ok else "enforced")
    if ok:
        assert ledger.view(case)["ended_by"] == "term"


def test_enforced_ends_when_the_lender_is_gone(ledger: CaseLedger) -> None:
    """A lender that left without successor leaves no phone blocked."""
    case = ledger.bring("A1", "enforced")
    leaves = ledger.tx_day + 2 * DAY
    change = {"msp_id": "BankMSP", "status": "leaving", "leaves_on": leaves.isoformat()}
    ledger.decide("ProposeMember", "M-1", change, "closing", by=("PtaMSP", "governance"))
    for msp in ("PtaMSP", "MakerMSP", "OperatorMSP"):
        ballot = [{"proposal": "M-1", "choice": "yes"}]
        ledger.decide("CastMemberBallots", ballot, by=(msp, "governance"))
    assert ledger.state_of(case) == "enforced"
    ledger.today(leaves)
    by = ("MakerMSP", "auditor")
    assert not verdicts(ledger.change("EndBlocksByTerm", [case], by=by))[0]["ok"]
    ledger.today(leaves + DAY)
    assert verdicts(ledger.change("EndBlocksByTerm", [case], by=by))[0]["state"] == "releasing"
    assert ledger.view(case)["ended_by"] == "lender_gone"


# ---- milder policy ------------------------------------------------------------------------------


def _adopt(ledger: CaseLedger, parameters: dict[str, Any]) -> date:
    """Adopt a policy version today; return its first day."""
    motion = f"P-{ledger.state.height}"
    by = ("PtaMSP", "governance")
    proposed = ledger.decide("ProposePolicy", motion, parameters, "milder", by=by)
    assert proposed.valid, proposed.message
    for msp in ("PtaMSP", "MakerMSP", "OperatorMSP", "BankMSP"):
        ballot = [{"proposal": motion, "choice": "yes"}]
        ledger.decide("CastPolicyBallots", ballot, by=(msp, "governance"))
    found = ledger.ask("GovernanceProposal", motion)
    assert found["state"] == "adopted"
    return date.fromisoformat(found["active_from"])


@pytest.mark.parametrize(
    "parameters",
    [{"trigger_days_past_due": 90}, {"tier1_on": False}, {"moratorium_until": "2027-01-01"}],
)
@pytest.mark.parametrize("state", ["triggered", "notified", "voting", "waiting"])
def test_milder_policy_lapses_an_open_case(state: str, parameters: dict[str, Any]) -> None:
    """What is milder binds open cases too, from the day it is active, by date."""
    ledger = CaseLedger(activation_days=3, voting_days=30, waiting_days=30)
    ledger.open("A1", instalments=TWO_DUE)
    case = ledger.bring("A1", state)
    active_from = _adopt(ledger, parameters)
    ledger.today(active_from - DAY)
    assert ledger.state_of(case) == state
    ledger.today(active_from)
    view = ledger.view(case)
    assert (view["state"], view["ended_on"]) == ("lapsed", active_from.isoformat())


@pytest.mark.parametrize(
    ("state", "parameters", "ended"),
    [
        ("ordered", {"trigger_days_past_due": 90}, True),
        ("enforced", {"trigger_days_past_due": 90}, False),
        ("ordered", {"tier1_on": False}, True),
        ("enforced", {"tier1_on": False}, True),
        ("enforced", {"moratorium_until": "2027-01-01"}, True),
        ("enforced", {"longest_block_days": 4}, True),
        ("enforced", {"trigger_days_past_due": 20}, False),
    ],
)
def test_milder_policy_releases_a_block(
    state: str, parameters: dict[str, Any], ended: bool
) -> None:
    """With an order out, the end by a milder policy is written down by anybody, with its release;
    a harder policy changes nothing.
    """
    ledger = CaseLedger(activation_days=3)
    ledger.open("A1", instalments=TWO_DUE)
    case = ledger.bring("A1", state)
    if state == "ordered":
        ledger.report(order_of(case), "SUBMITTED")
    active_from = _adopt(ledger, parameters)
    ledger.today(active_from + DAY)
    found = verdicts(ledger.change("EndBlocksByTerm", [case], by=("MakerMSP", "auditor")))[0]
    assert found["ok"] is ended
    assert ledger.state_of(case) == ("releasing" if ended else state)
    due = ledger.ask("CasesActionable", ledger.tx_day.isoformat(), "term", 10, "")
    assert due["cases"] == []


def test_harder_policy_does_not_bind_an_older_case() -> None:
    """A case keeps the version of its trigger: a shorter notice period is not for it."""
    ledger = CaseLedger(activation_days=3)
    ledger.open("A1", instalments=TWO_DUE)
    case = ledger.bring("A1", "notified")
    active_from = _adopt(ledger, {"notice_period_days": 7})
    ledger.today(active_from + 5 * DAY)
    assert not ledger.propose(case)[0]["ok"]
    ledger.today(PROPOSED)
    assert ledger.propose(case)[0]["ok"]


def test_longer_notice_period_binds_an_open_case() -> None:
    """A longer notice period is milder and binds."""
    ledger = CaseLedger(activation_days=3)
    ledger.open("A1", instalments=TWO_DUE)
    case = ledger.bring("A1", "notified")
    _adopt(ledger, {"notice_period_days": 20})
    ledger.today(TRIGGER + 19 * DAY)
    assert not ledger.propose(case)[0]["ok"]
    ledger.today(TRIGGER + 20 * DAY)
    assert ledger.propose(case)[0]["ok"]
