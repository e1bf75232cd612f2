"""Rulebook 4, those who would bend it: holds, higher tiers, and ways to block again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.book_ledger import device, payment, pseudonym, salted
from tests.support.case_ledger import IN_WORDS, ORDERED, VOTERS, CaseLedger, order_of, verdicts
from tests.support.rulebook import adopt_policy

DAY = timedelta(days=1)
FOUR = [("2026-04-05", 100), ("2026-05-05", 100), ("2026-06-05", 100), ("2026-07-05", 100)]
CASE = "C-A1-1"
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


@pytest.mark.parametrize(("placed", "ok"), [(2, True), (3, False), (4, False)])
def test_hold_placed_when_the_hours_to_start_run_out_lets_nobody_start_again(
    placed: int, ok: bool
) -> None:
    """Two executors, one too late: a hold from the second day on gives it the held days, one
    from the third on gives it nothing, whoever places it.
    """
    founders = (*FOUNDERS, ("MobiMSP", "operator", "mobi"))
    ledger = CaseLedger(founders)
    ledger.open("A1", instalments=FOUR)
    ledger.bring("A1", "voting")
    for voter in (*VOTERS, "FundMSP"):
        ledger.vote(CASE, by=voter)
    ledger.report(order_of(CASE), "SUBMITTED", by="OperatorMSP")
    ledger.today(ORDERED + placed * DAY, "12:00")
    assert ledger.hold("A1", "disaster", until=ledger.tx_day)["ok"]
    ledger.today(max(ORDERED + (placed + 1) * DAY, ORDERED + 4 * DAY), "09:00")
    found = ledger.report(order_of(CASE), "SUBMITTED", by="MobiMSP")[0]
    assert found["ok"] is ok, found


# ---- a higher tier ------------------------------------------------------------------------------


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
