"""Rulebook 4: the case, sentence by sentence, and those who would bend it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.book_ledger import device, payment, pseudonym, salted, terms_of
from tests.support.case_ledger import (
    IN_WORDS,
    ORDERED,
    TRIGGER,
    VOTERS,
    CaseLedger,
    order_of,
    verdicts,
)
from tests.support.rulebook import adopt_policy, change_member, missing_tests

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


def _lift(ledger: CaseLedger, hold: str, by: str = "BankMSP") -> dict[str, Any]:
    given = [{"hold": hold, "reason": "settled"}]
    return verdicts(ledger.change("LiftHolds", given, by=(by, "lending")))[0]


def _confirm(ledger: CaseLedger, hold: str) -> dict[str, Any]:
    given = [{"hold": hold, "evidence": salted("word")}]
    return verdicts(ledger.change("ConfirmHolds", given, by=("PtaMSP", "enforcement")))[0]


def _end(ledger: CaseLedger, case: str = CASE) -> dict[str, Any]:
    return verdicts(ledger.change("EndBlocksByTerm", [case], by=("MakerMSP", "auditor")))[0]


def _free(ledger: CaseLedger, case: str = CASE) -> dict[str, Any]:
    return verdicts(ledger.decide("FreeWaiting", [case], by=("PtaMSP", "enforcement")))[0]


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


# ---- holds, and those who lift them too late ----------------------------------------------------


@pytest.mark.parametrize("undo", ["lift", "confirm"])
@pytest.mark.parametrize("state", ["triggered", "notified", "voting"])
def test_dispute_that_was_not_answered_stays_the_end_of_the_case(
    ledger: CaseLedger, state: str, undo: str
) -> None:
    """Ended by date on day 16: nobody revives the case by lifting or confirming the hold later."""
    ledger.bring("A1", state)
    placed = ledger.tx_day
    hold = ledger.hold("A1", "dispute", until=placed + 30 * DAY)["hold"]
    ledger.today(placed + 17 * DAY)
    assert (_lift if undo == "lift" else _confirm)(ledger, hold)["ok"]
    for days in (17, 31):
        ledger.today(placed + days * DAY)
        view = ledger.view(CASE)
        assert (view["state"], view["ended_on"]) == (
            "withdrawn", (placed + 16 * DAY).isoformat(),
        )  # fmt: skip


@pytest.mark.parametrize(("days", "due"), [(5, False), (6, True), (7, True)])
def test_silence_that_released_a_block_is_not_undone_by_lifting_the_hold(
    ledger: CaseLedger, days: int, due: bool
) -> None:
    """Lifted within five days the block goes on; from the sixth on the release is due for good, and
    the query still finds it.
    """
    ledger.bring("A1", "enforced")
    placed = ledger.tx_day
    hold = ledger.hold("A1", "stolen", until=placed + 30 * DAY)["hold"]
    ledger.today(placed + days * DAY)
    assert _lift(ledger, hold)["ok"]
    ledger.today(placed + 20 * DAY)
    listed = ledger.ask("HoldsDue", ledger.tx_day.isoformat(), 10, "", of="instalments")["holds"]
    assert [each["hold"] for each in listed] == ([hold] if due else [])
    assert _end(ledger)["ok"] is due
    assert ledger.state_of(CASE) == ("releasing" if due else "enforced")


def test_holds_of_every_kind_one_after_the_other_keep_no_phone_blocked(
    ledger: CaseLedger,
) -> None:
    """A lender that places and lifts one hold after the other delays no term: 180 days are 180."""
    ledger.bring("A1", "enforced")
    applied = ledger.tx_day
    for kind in ("stolen", "wrong_person", "death", "court_stay", "disaster"):
        hold = ledger.hold("A1", kind, until=ledger.tx_day + 20 * DAY)["hold"]
        ledger.today(ledger.tx_day + 5 * DAY)
        assert _lift(ledger, hold)["ok"]
        again = ledger.hold("A1", kind)
        assert "is the regulator's to place" in again["message"]
    ledger.today(applied + 179 * DAY)
    assert not _end(ledger)["ok"]
    ledger.today(applied + 180 * DAY)
    assert _end(ledger)["state"] == "releasing"


def test_holds_of_every_kind_delay_a_vote_and_then_it_lapses(ledger: CaseLedger) -> None:
    """Days under a hold do not count; those between the holds do, and silence is no consent."""
    ledger.bring("A1", "voting")
    for kind in ("stolen", "wrong_person", "death", "court_stay", "disaster"):
        until = ledger.tx_day + 29 * DAY
        assert ledger.hold("A1", kind, until=until)["ok"]
        ledger.today(until + DAY)
        assert ledger.state_of(CASE) == "voting"
        ledger.today(until + 2 * DAY)
    ledger.today(ledger.tx_day + DAY)
    assert ledger.state_of(CASE) == "voting"
    ledger.today(ledger.tx_day + DAY)
    assert ledger.state_of(CASE) == "lapsed"


def test_hold_by_an_outsider_or_without_the_regulator_twice_is_refused(
    ledger: CaseLedger,
) -> None:
    """The regulator may place what others may not, again and again."""
    ledger.bring("A1", "triggered")
    assert not ledger.hold("A1", "stolen", by=("MakerMSP", "lending"))["ok"]
    assert ledger.hold("A1", "stolen")["ok"]
    assert not ledger.hold("A1", "stolen", by=("OperatorMSP", "lending"), evidence="b")["ok"]
    assert ledger.hold("A1", "stolen", by=("PtaMSP", "enforcement"), evidence="c")["ok"]


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


# ---- a higher tier ------------------------------------------------------------------------------

FOUNDERS = (
    ("BankMSP", "bank", "bank"),
    ("BankPayMSP", "bank", "bank"),
    ("OperatorMSP", "operator", "operator"),
    ("MakerMSP", "manufacturer", "maker"),
    ("PtaMSP", "regulator", "pta"),
    ("FundMSP", "investment_firm", "fund"),
)
SECOND = order_of(CASE, 2)
ALL = (*VOTERS, "FundMSP")


def _second_round(until: str = "ordered") -> CaseLedger:
    """A phone that is blocked, and a second round about its SIM, up to a state."""
    ledger = CaseLedger(
        FOUNDERS, tier2_on=True, tier2_scope="financed_sim", tier2_needs_instrument=False
    )
    ledger.open("A1", instalments=FOUR)
    ledger.bring("A1", "voting")
    for voter in VOTERS:
        ledger.vote(CASE, by=voter)
    ledger.vote(CASE, by="FundMSP")
    ledger.report(order_of(CASE), "SUBMITTED", "APPLIED")
    ledger.notify(CASE)
    ledger.today(ledger.tx_day + 14 * DAY)
    assert ledger.propose(CASE, tier=2)[0]["state"] == "voting"
    if until == "ordered":
        for voter in ALL:
            ledger.vote(CASE, by=voter)
        assert ledger.view(CASE)["order"] == SECOND
    return ledger


def test_higher_tier_is_not_carried_once_the_trigger_is_gone() -> None:
    """A payment that leaves a block in force leaves no way to a second one."""
    ledger = _second_round("voting")
    for voter in ALL[:3]:
        ledger.vote(CASE, by=voter)
    ledger.pay("A1", 100, ledger.tx_day)
    found = ledger.vote(CASE, by=ALL[3])[0]
    assert (found["ok"], "has lost its trigger" in found["message"]) == (False, True)
    assert ledger.state_of(CASE) == "enforced"


def test_higher_tier_is_not_started_once_the_trigger_is_gone() -> None:
    """The same between its order and its start."""
    ledger = _second_round()
    ledger.pay("A1", 100, ledger.tx_day)
    found = ledger.report(SECOND, "SUBMITTED")[0]
    assert (found["ok"], "has lost its trigger" in found["message"]) == (False, True)


@pytest.mark.parametrize("started", [True, False])
def test_higher_tier_switched_off_releases_what_was_ordered(started: bool) -> None:
    """A tier that is off binds open cases: SIM and phone are released, and nobody starts."""
    ledger = _second_round()
    if started:
        ledger.report(SECOND, "SUBMITTED", "APPLIED")
    first = adopt_policy(ledger, tier2_on=False)
    ledger.today(first - DAY)
    assert _end(ledger)["ok"] is False
    ledger.today(first)
    assert not started or ledger.view(CASE)["next"]["action"] == "term"
    assert _end(ledger)["ok"] is started  # not started, it lapsed by itself days ago
    assert ledger.state_of(CASE) == ("releasing" if started else "enforced")


def test_higher_tier_switched_off_within_the_hours_to_start_is_not_started() -> None:
    """The order is a day old when the tier is switched off."""
    ledger = _second_round("voting")
    first = adopt_policy(ledger, tier2_on=False)
    ledger.today(first - DAY)
    for voter in ALL:
        ledger.vote(CASE, by=voter)
    assert ledger.view(CASE)["order"] == SECOND
    ledger.today(first)
    found = ledger.report(SECOND, "SUBMITTED")[0]
    assert (found["ok"], "due to end" in found["message"]) == (False, True)


# ---- what does not block again ------------------------------------------------------------------


def test_reversal_needs_a_new_notice_and_a_new_vote(ledger: CaseLedger) -> None:
    """A lender that posts, cures and reverses begins anew: trigger, notice, fourteen days, vote."""
    ledger.bring("A1", "enforced")
    record = payment("A1", ledger.tx_day.isoformat(), reference="R1")
    by = ("BankMSP", "lending")
    verdicts(ledger.change("PostPayments", [record], by=by, amounts=[200]))
    ledger.report_release(order_of(CASE), *IN_WORDS)
    reversal = [{"reference": "R1", "evidence": salted("bounced")}]
    assert verdicts(ledger.change("ReversePayments", reversal, by=by))[0]["ok"]
    assert ledger.state_of(CASE) == "released"
    assert ledger.sweep("A1")[0]["case"] == "C-A1-2"
    assert not ledger.propose("C-A1-2")[0]["ok"]
    ledger.notify("C-A1-2")
    ledger.today(ledger.tx_day + 13 * DAY)
    assert not ledger.propose("C-A1-2")[0]["ok"]
    ledger.today(ledger.tx_day + DAY)
    assert ledger.propose("C-A1-2")[0]["ok"]


def test_exchange_keeps_no_block(ledger: CaseLedger) -> None:
    """The old handset is released, the new one is free until a new case is carried."""
    ledger.bring("A1", "enforced")
    verdicts(ledger.change("RegisterDevices", [device("N1")], by=("MakerMSP", "lending")))
    given = [{"old": [pseudonym("A1/0")], "new": [pseudonym("N1/0")], "reason": "repair"}]
    verdicts(ledger.change("ExchangeDevices", given, by=("MakerMSP", "lending")))
    view = ledger.view(CASE)
    assert (view["state"], view["ended_by"]) == ("releasing", "exchanged")
    assert ledger.sweep("A1")[0]["state"] == "releasing"

    def status(name: str) -> str:
        found = ledger.ask("DeviceStatus", [pseudonym(f"{name}/0")], of="instalments")
        return str(found["blocked"])

    assert (status("A1"), status("N1")) == ("releasing", "none")
    ledger.report_release(order_of(CASE), *IN_WORDS)
    assert ledger.sweep("A1")[0]["state"] == "triggered"
    assert (status("A1"), status("N1")) == ("none", "none")


def test_lapsed_without_a_start_leaves_nothing_to_release(ledger: CaseLedger) -> None:
    """72 hours without SUBMITTED: nobody may have applied it, and nobody may report that he did."""
    ledger.bring("A1", "ordered")
    ledger.today(ORDERED + 4 * DAY)
    view = ledger.view(CASE)
    assert (view["state"], view["release"]) == ("lapsed", None)
    assert not ledger.report(order_of(CASE), "SUBMITTED")[0]["ok"]
    assert not ledger.report(order_of(CASE), "APPLIED")[0]["ok"]


@pytest.mark.parametrize(("days", "state"), [(30, "paused"), (31, "triggered")])
def test_lapsed_without_a_start_pauses_from_the_day_it_lapsed(
    ledger: CaseLedger, days: int, state: str
) -> None:
    """Whoever writes it down when: the pause counts from the date itself."""
    ledger.bring("A1", "ordered")
    ledger.today(ORDERED + 3 * DAY + days * DAY)
    assert ledger.sweep("A1")[0]["state"] == state


def test_payment_of_a_stranger_to_the_case_goes_first(ledger: CaseLedger) -> None:
    """A manufacturer that got the money posts it; nobody asks the lender to release the phone."""
    ledger.bring("A1", "enforced")
    assert ledger.pay("A1", 200, ledger.tx_day, by="MakerMSP")["case"] == CASE
    assert ledger.state_of(CASE) == "releasing"


def test_lenders_own_content_for_an_institution_keeps_nobody_blocked(ledger: CaseLedger) -> None:
    """One paisa posted under the institution's reference: its own word prevails and cures; the
    lender cannot reverse that.
    """
    ledger.bring("A1", "enforced")
    today = ledger.tx_day.isoformat()
    false = payment("A1", today, reference="R1", institution="OperatorMSP")
    by = ("BankMSP", "lending")
    assert verdicts(ledger.change("PostPayments", [false], by=by, amounts=[1]))[0]["ok"]
    true = payment("A1", today, reference="R1")
    own = ("OperatorMSP", "lending")
    assert verdicts(ledger.change("PostPayments", [true], by=own, amounts=[200]))[0]["case"] == CASE
    reversal = [{"reference": "R1", "institution": "OperatorMSP", "evidence": salted("x")}]
    assert not verdicts(ledger.change("ReversePayments", reversal, by=by))[0]["ok"]
    assert ledger.view(CASE)["ended_by"] == "cured"


def test_moratorium_and_longer_trigger_bind_a_waiting_case_on_their_first_day() -> None:
    """The trigger is checked again before a waiting case is ordered, by the milder figure."""
    ledger = CaseLedger(activation_days=1)
    ledger.open("A1", instalments=FOUR)
    ledger.bring("A1", "waiting")
    first = adopt_policy(ledger, trigger_days_past_due=60)
    ledger.today(first)
    found = _free(ledger)
    assert (found["ok"], ledger.state_of(CASE)) == (False, "lapsed")
