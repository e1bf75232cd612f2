"""Rulebook 4: the case, sentence by sentence.

Those who would bend it are in `test_rulebook_section_4_attempts`.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.book_ledger import terms_of
from tests.support.case_ledger import (
    ORDERED,
    TRIGGER,
    VOTERS,
    CaseLedger,
    order_of,
    verdicts,
)
from tests.support.rulebook import change_member, missing_tests

SHOWN = [
    (
        "trigger: 30 days past due and one instalment's amount in arrears",
        "test_trigger_from_thirty_days_past_due_opens test_trigger_needs_arrears_of_one_instalment",
    ),
    (
        "consent and confirmation on record; no hold, no open case, a pause of 30 days",
        "test_trigger_without_consent_or_confirmation_never_opens "
        "test_hold_before_a_case_keeps_it_from_opening test_trigger_after_a_case_that_ended_waits "
        "test_trigger_in_an_imported_book_waits_thirty_days",
    ),
    (
        "triggered: notice within 14 days",
        "test_triggered_notice_within_fourteen_days "
        "test_triggered_notice_of_another_time_is_refused "
        "test_triggered_notice_of_another_member_is_refused",
    ),
    (
        "notified: proposal from day 14 of delivery and writing to day 30",
        "test_notified_proposal_from_day_fourteen_to_thirty "
        "test_notified_period_runs_from_the_later_of_delivery_and_writing "
        "test_notified_quorum_out_of_reach_is_refused test_notified_tier_that_is_off_is_refused "
        "test_tier_two_without_a_valid_instrument_is_refused",
    ),
    ("voting: 7 days, silence is no consent", "test_voting_within_seven_days"),
    (
        "waiting: 7 days, by the regulator's word or a free slot",
        "test_waiting_within_seven_days test_orders_of_a_day_stop_at_the_policys_figure",
    ),
    (
        "before enforced, a payment or a milder policy that takes the trigger away",
        "test_payment_that_takes_the_trigger_away_lapses test_milder_policy_lapses_an_open_case",
    ),
    (
        "ordered: 72 hours to start",
        "test_ordered_start_within_seventy_two_hours "
        "test_late_starter_may_not_start_though_another_did",
    ),
    (
        "cured in the very transaction, in any open state, held too",
        "test_open_case_is_cured_by_a_payment test_open_case_is_not_cured_by_less "
        "test_cure_counts_from_the_day_it_was_paid test_payments_of_one_day_are_weighed_together",
    ),
    ("withdrawn by the lender", "test_open_case_is_withdrawn_by_its_lender"),
    (
        "holds: days that do not count, confirmed, silent for 5 days, unanswered for 15",
        "test_hold_days_count_to_no_deadline_of_a_notice test_hold_confirmed_ends_the_case "
        "test_hold_on_a_block_releases_after_five_silent_days "
        "test_dispute_unanswered_for_fifteen_days_withdraws",
    ),
    (
        "enforced: write-off, death, 180 days, the lender gone",
        "test_open_case_ends_with_its_agreement test_enforced_ends_after_a_hundred_and_eighty_days "
        "test_enforced_ends_when_the_lender_is_gone",
    ),
    (
        "releasing: every addressee, proof that nothing was applied, 2 hours, re-issue",
        "test_release_waits_for_every_addressee "
        "test_release_not_applied_needs_evidence_and_no_applied_block "
        "test_release_unanswered_for_two_hours_is_escalated "
        "test_release_refused_is_issued_again_at_once "
        "test_release_followed_by_a_block_receipt_is_issued_again",
    ),
    (
        "a payment and an order in flight together",
        "test_payment_before_the_order_invalidates_it "
        "test_order_before_the_payment_invalidates_it_and_it_cures_behind",
    ),
    ("reversing never re-blocks", "test_reversal_never_blocks_again"),
    (
        "different ends; only paying off gives a certificate",
        "test_write_off_closes_the_agreement_and_gives_no_certificate",
    ),
    ("a higher tier is a round of its own", "test_tier_two_is_a_round_of_its_own"),
]

DAY = timedelta(days=1)
FOUR = [("2026-04-05", 100), ("2026-05-05", 100), ("2026-06-05", 100), ("2026-07-05", 100)]
CASE = "C-A1-1"
BEFORE_ORDER = ["triggered", "notified", "voting", "waiting"]
BLOCKING = ["ordered", "enforced"]


def test_section_4_names_tests_that_exist() -> None:
    """What is shown elsewhere is shown."""
    assert missing_tests(SHOWN) == []


@pytest.fixture
def ledger() -> CaseLedger:
    """A consortium with the agreement A1, four instalments of 100."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=FOUR)
    return ledger


def _end(ledger: CaseLedger, case: str = CASE) -> dict[str, Any]:
    return verdicts(ledger.change("EndBlocksByTerm", [case], by=("MakerMSP", "auditor")))[0]


def _revise(ledger: CaseLedger, instalments: list[tuple[str, int]], version: int = 2) -> Any:
    given = [{"agreement": "A1", "version": version, "reason": "eased"}]
    terms = [{"instalments": terms_of(instalments)["instalments"]}]
    outcome = ledger.change("ReviseSchedules", given, by=("BankMSP", "lending"), terms=terms)
    return verdicts(outcome)[0]


# ---- the trigger --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("year", "day", "state"),
    [
        (2027, "2027-03-01", "below_trigger"),
        (2027, "2027-03-02", "triggered"),
        (2028, "2028-02-29", "below_trigger"),
        (2028, "2028-03-01", "triggered"),
    ],
)
def test_trigger_counts_the_29th_of_february(year: int, day: str, state: str) -> None:
    """Thirty days after 31 January: 2 March, in a leap year 1 March."""
    ledger = CaseLedger(begin=f"{year}-01-05")
    ledger.open("A1", opened_on=f"{year}-01-05", instalments=[(f"{year}-01-31", 100)])
    ledger.today(day)
    assert ledger.sweep("A1")[0]["state"] == state


def test_trigger_comes_at_midnight_in_pakistan(ledger: CaseLedger) -> None:
    """A minute before it is not there yet."""
    ledger.today(TRIGGER - DAY, "23:59")
    assert ledger.sweep("A1")[0]["state"] == "below_trigger"
    ledger.today(TRIGGER, "00:00")
    assert ledger.sweep("A1")[0]["state"] == "triggered"


@pytest.mark.parametrize(
    ("paid", "state"), [(199, "triggered"), (200, "below_trigger"), (201, "below_trigger")]
)
def test_trigger_needs_arrears_of_the_oldest_instalments_amount(paid: int, state: str) -> None:
    """One paisa left of an old instalment opens nothing by itself, but with the next one unpaid."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=[("2026-04-05", 200), ("2026-05-05", 200)])
    ledger.pay("A1", paid, ledger.tx_day)
    ledger.today(TRIGGER)
    assert ledger.sweep("A1")[0]["state"] == state


@pytest.mark.parametrize(("count", "ok"), [(50, True), (51, False)])
def test_sweep_names_at_most_fifty_agreements(ledger: CaseLedger, count: int, ok: bool) -> None:
    """More refuse the transaction; the figure is the policy's."""
    ledger.today(TRIGGER)
    names = ["A1", *[f"X{number}" for number in range(count - 1)]]
    outcome = ledger.decide("Sweep", names, by=("OperatorMSP", "lending"))
    assert (outcome.status == 200) is ok
    if not ok:
        assert "names 51 agreements, at most 50 are allowed (rulebook 4)" in outcome.message


def test_sweep_is_as_long_as_the_policy_says() -> None:
    """Every figure is a governed parameter."""
    ledger = CaseLedger(sweep_agreements=2)
    by = ("OperatorMSP", "auditor")
    assert ledger.decide("Sweep", ["X1", "X2"], by=by).status == 200
    assert "at most 2" in ledger.decide("Sweep", ["X1", "X2", "X3"], by=by).message


# ---- who pays on the last moment of a state -----------------------------------------------------

LAST_DAYS = [
    ("triggered", 14), ("notified", 30), ("voting", 7), ("waiting", 7), ("enforced", 179),
]  # fmt: skip


@pytest.mark.parametrize(("state", "days"), LAST_DAYS)
def test_payer_on_the_last_minute_of_a_state_is_cured(
    ledger: CaseLedger, state: str, days: int
) -> None:
    """A minute before midnight of the last day everything due before it is paid: cured."""
    ledger.bring("A1", state)
    ledger.at(ledger.tx_day + days * DAY, "23:59")
    ledger.pay("A1", 400, ledger.tx_day)
    view = ledger.view(CASE)
    assert view["ended_by"] == "cured"
    assert view["state"] == ("releasing" if state in BLOCKING else "cured")


@pytest.mark.parametrize(("state", "days"), LAST_DAYS[:4])
def test_payer_a_minute_after_the_last_day_finds_the_case_lapsed(
    ledger: CaseLedger, state: str, days: int
) -> None:
    """The money counts; the case is over all the same, and nothing was ordered."""
    ledger.bring("A1", state)
    ledger.at(ledger.tx_day + (days + 1) * DAY, "00:00")
    assert ledger.pay("A1", 400, ledger.tx_day)["ok"]
    view = ledger.view(CASE)
    assert (view["state"], view["order"], view["release"]) == ("lapsed", None, None)


def test_payer_in_the_last_second_of_the_hours_to_start_is_released(ledger: CaseLedger) -> None:
    """Cured behind an order that nobody started: releasing, so that nobody starts it any more."""
    ledger.bring("A1", "ordered")
    ledger.today(ORDERED + 3 * DAY, "11:00")
    ledger.pay("A1", 200, ledger.tx_day)
    assert ledger.state_of(CASE) == "releasing"
    assert not ledger.report(order_of(CASE), "SUBMITTED")[0]["ok"]


@pytest.mark.parametrize(
    ("paid_on", "amount", "ended"),
    [
        ("2026-05-31", 200, "cured"),
        ("2026-05-05", 100, "cured"),  # on the day itself the second instalment is not overdue
        ("2026-05-06", 100, ""),
        ("2026-05-06", 199, ""),
        ("2026-06-10", 200, ""),
        ("2026-06-10", 300, "cured"),
    ],
)
def test_cure_looks_at_every_date_since_the_payment(
    ledger: CaseLedger, paid_on: str, amount: int, ended: str
) -> None:
    """On some date from `paid_on` to today every instalment due before that date is paid."""
    ledger.bring("A1", "enforced")
    ledger.today("2026-06-10")
    ledger.pay("A1", amount, paid_on)
    assert ledger.view(CASE)["ended_by"] == ended


def test_cure_by_a_milder_schedule_is_in_its_own_transaction(ledger: CaseLedger) -> None:
    """A revision after which nothing is overdue ends the case as a payment would."""
    ledger.bring("A1", "enforced")
    today = ledger.tx_day.isoformat()
    found = _revise(ledger, [(today, 200), ("2026-09-05", 200)])
    assert found["ok"], found
    assert ledger.view(CASE)["ended_by"] == "cured"


@pytest.mark.parametrize(
    "instalments",
    [
        [("2026-04-04", 100), ("2026-07-05", 300)],
        [("2026-04-05", 101), ("2026-07-05", 299)],
        [("2026-04-05", 100), ("2026-05-04", 100), ("2026-07-05", 200)],
        [("2026-04-05", 100), ("2026-07-05", 301)],
    ],
)
def test_revision_never_brings_a_case_nearer(
    ledger: CaseLedger, instalments: list[tuple[str, int]]
) -> None:
    """Earlier, or more at any date up to the old last one, or more in all: refused."""
    ledger.bring("A1", "notified")
    assert not _revise(ledger, instalments)["ok"]
    assert _revise(ledger, [("2026-04-05", 100), ("2026-07-05", 300)])["ok"]
    found = _revise(ledger, FOUR, version=3)
    assert "cannot ask for more by 2026-05-05" in found["message"]  # nor back to what it was


# ---- a phone is never blocked for ever ----------------------------------------------------------


@pytest.mark.parametrize(("days", "ok"), [(179, False), (180, True)])
def test_order_that_was_started_and_never_applied_ends_too(
    ledger: CaseLedger, days: int, ok: bool
) -> None:
    """Nobody waits for a receipt for ever: 180 days after the order."""
    ledger.bring("A1", "ordered")
    ledger.report(order_of(CASE), "SUBMITTED")
    ledger.today(ORDERED + days * DAY)
    assert _end(ledger)["ok"] is ok


def test_block_over_a_leap_february_ends_after_180_days() -> None:
    """Applied on 3 December 2027, ends on 31 May 2028: 29 February is one of the days."""
    ledger = CaseLedger(begin="2027-10-05")
    ledger.open("A1", opened_on="2027-10-05", instalments=[("2027-10-20", 100)])
    ledger.today("2027-11-19")
    ledger.sweep("A1")
    ledger.notify(CASE)
    ledger.today("2027-12-03")
    ledger.propose(CASE)
    for voter in VOTERS:
        ledger.vote(CASE, by=voter)
    ledger.report(order_of(CASE), "SUBMITTED", "APPLIED")
    assert date(2027, 12, 3) + 180 * DAY == date(2028, 5, 31)
    ledger.today("2028-05-30")
    assert not _end(ledger)["ok"]
    ledger.today("2028-05-31")
    assert _end(ledger)["ok"]
    assert ledger.view(CASE)["ended_by"] == "term"


def _leave(ledger: CaseLedger, msp: str, days: int, **more: Any) -> date:
    last = ledger.tx_day + days * DAY
    change_member(ledger, msp_id=msp, status="leaving", leaves_on=last.isoformat(), **more)
    return last


def test_lender_gone_with_a_successor_keeps_its_cases(ledger: CaseLedger) -> None:
    """The successor withdraws, answers and ends in its place; the block goes on until it is gone
    as well, and ends from the day after its last.
    """
    ledger.bring("A1", "enforced")
    last = _leave(ledger, "BankMSP", 2, successor="BankPayMSP")
    ledger.today(last)
    given = [{"case": CASE, "reason": "agreed"}]
    by = ("BankPayMSP", "lending")
    assert not verdicts(ledger.change("WithdrawCases", given, by=by))[0]["ok"]
    ledger.today(last + DAY)
    assert not _end(ledger)["ok"]
    second = _leave(ledger, "BankPayMSP", 30)
    ledger.today(second)
    assert not _end(ledger)["ok"]
    ledger.today(second + DAY)
    due = ledger.view(CASE)["next"]
    assert (due["action"], due["from"]) == ("term", (second + DAY).isoformat())
    assert _end(ledger)["state"] == "releasing"
    assert ledger.view(CASE)["ended_by"] == "lender_gone"


@pytest.mark.parametrize("state", BEFORE_ORDER)
def test_lender_gone_without_successor_ends_what_is_not_ordered(
    ledger: CaseLedger, state: str
) -> None:
    """By date, on the first day on which nobody stands for it."""
    ledger.bring("A1", state)
    last = _leave(ledger, "BankMSP", 1)
    ledger.today(last)
    assert ledger.state_of(CASE) == state
    ledger.today(last + DAY)
    view = ledger.view(CASE)
    assert (view["state"], view["ended_on"]) == ("lender_gone", (last + DAY).isoformat())
    assert ledger.sweep("A1")[0]["state"] == "lender_gone"
