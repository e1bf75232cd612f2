"""Transactions in flight together: the later of a payment and an order is invalid (rulebook 4)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chaincode.simulator import SimulationResult
from tests.support.book_ledger import device, officer, payment, pseudonym, salted
from tests.support.case_ledger import (
    IN_WORDS,
    PROPOSED,
    TRIGGER,
    CaseLedger,
    order_of,
    verdicts,
)

DUE = [("2026-04-05", 100), ("2026-05-05", 100)]
CASE = "C-A1-1"
Simulated = tuple[str, SimulationResult]


@pytest.fixture
def ledger() -> CaseLedger:
    """One yes is missing in the case of A1; A2 lies beside it."""
    ledger = CaseLedger()
    ledger.open("A1", "A2", instalments=DUE)
    return ledger


def _payment(ledger: CaseLedger, name: str = "A1", amount: int = 200) -> Simulated:
    record = payment(name, ledger.tx_day.isoformat())
    return ledger.simulate(
        "instalments", "PostPayments", [record],
        creator=officer("OperatorMSP"), transient={"amounts": [amount]},
    )  # fmt: skip


def _ballot(ledger: CaseLedger, by: str = "MakerMSP", choice: str = "yes") -> Simulated:
    given = [{"case": CASE, "choice": choice, "reason": "seen"}]
    return ledger.simulate("enforcement", "CastBallots", given, creator=officer(by, "enforcement"))


def _hold(ledger: CaseLedger) -> Simulated:
    last = (ledger.tx_day + timedelta(days=9)).isoformat()
    given = [{"agreement": "A1", "kind": "stolen", "evidence": salted("x"), "until": last}]
    return ledger.simulate("instalments", "PlaceHolds", given, creator=officer("BankMSP"))


def _one_yes_missing(ledger: CaseLedger) -> None:
    ledger.bring("A1", "voting")
    for voter in ("PtaMSP", "OperatorMSP"):
        ledger.vote(CASE, by=voter)


@pytest.mark.parametrize("amount", [200, 100])
def test_payment_before_the_order_invalidates_it(ledger: CaseLedger, amount: int) -> None:
    """A payment that ends the case, ordered first: the deciding ballot is invalid, and endorsed
    again it is refused. Nothing was ever ordered.
    """
    _one_yes_missing(ledger)
    outcomes = ledger.commit([_payment(ledger, amount=amount), _ballot(ledger)])
    assert [each.valid for each in outcomes] == [True, False]
    again = ledger.vote(CASE, by="MakerMSP")[0]
    assert not again["ok"]
    assert ledger.view(CASE)["order"] is None


def test_order_before_the_payment_invalidates_it_and_it_cures_behind(ledger: CaseLedger) -> None:
    """The other way round the payment is invalid; endorsed again, it cures to releasing."""
    _one_yes_missing(ledger)
    outcomes = ledger.commit([_ballot(ledger), _payment(ledger)])
    assert [each.valid for each in outcomes] == [True, False]
    assert ledger.state_of(CASE) == "ordered"
    assert ledger.commit([_payment(ledger)])[0].valid
    assert ledger.state_of(CASE) == "releasing"


def test_payment_for_another_agreement_conflicts_with_nothing(ledger: CaseLedger) -> None:
    """Transactions about different agreements never conflict."""
    _one_yes_missing(ledger)
    both = [_ballot(ledger), _payment(ledger, "A2")]
    assert [each.valid for each in ledger.commit(both)] == [True, True]


def test_payment_and_sweep_of_one_agreement_conflict(ledger: CaseLedger) -> None:
    """A case never opens on a standing that a payment has just changed, nor the reverse."""
    for first in (True, False):
        fresh = CaseLedger()
        fresh.open("A1", instalments=DUE)
        fresh.today(TRIGGER)
        sweep = fresh.simulate(
            "enforcement", "Sweep", ["A1"], creator=officer("MakerMSP", "auditor")
        )
        pair = [sweep, _payment(fresh)] if first else [_payment(fresh), sweep]
        assert [each.valid for each in fresh.commit(pair)] == [True, False]


@pytest.mark.parametrize("hold_first", [True, False])
def test_hold_and_order_conflict(ledger: CaseLedger, hold_first: bool) -> None:
    """A hold and the deciding ballot: the later is invalid, so nothing is ordered under a hold."""
    _one_yes_missing(ledger)
    pair = [_hold(ledger), _ballot(ledger)]
    outcomes = ledger.commit(pair if hold_first else pair[::-1])
    assert [each.valid for each in outcomes] == [True, False]
    assert ledger.state_of(CASE) == ("held" if hold_first else "ordered")


def test_two_ballots_at_once_never_both_miss_the_decision(ledger: CaseLedger) -> None:
    """Of two ballots in one case in flight the later is invalid; sent again, it decides."""
    ledger.bring("A1", "voting")
    ledger.vote(CASE, by="PtaMSP")
    outcomes = ledger.commit([_ballot(ledger, "OperatorMSP"), _ballot(ledger, "MakerMSP")])
    assert [each.valid for each in outcomes] == [True, False]
    assert ledger.vote(CASE, by="MakerMSP")[0]["state"] == "ordered"


@pytest.mark.parametrize("start_first", [True, False])
def test_start_of_a_block_and_a_cure_conflict(ledger: CaseLedger, start_first: bool) -> None:
    """An executor's start and a cure: the later is invalid, and a start after the cure refused."""
    ledger.bring("A1", "ordered")
    start = ledger.simulate(
        "enforcement", "AcknowledgeOrders", [{"order": order_of(CASE), "step": "SUBMITTED"}],
        creator=officer("OperatorMSP", "executor"),
    )  # fmt: skip
    pair = [start, _payment(ledger)]
    outcomes = ledger.commit(pair if start_first else pair[::-1])
    assert [each.valid for each in outcomes] == [True, False]
    if start_first:
        assert ledger.commit([_payment(ledger)])[0].valid
    assert ledger.state_of(CASE) == "releasing"
    again = ledger.report(order_of(CASE), "SUBMITTED")[0]
    assert (again["ok"], again["written"]) == (start_first, False)


def test_what_was_endorsed_yesterday_is_invalid_once_the_day_moved(ledger: CaseLedger) -> None:
    """A ballot held back over midnight: invalid by MVCC behind the moved day, refused if made with
    yesterday's time.
    """
    _one_yes_missing(ledger)
    held_back = _ballot(ledger)
    yesterday = ledger.now
    ledger.today(PROPOSED + timedelta(days=1))
    assert not ledger.commit([held_back])[0].valid
    ledger.now = yesterday
    outcome = ledger.decide(
        "CastBallots", [{"case": CASE, "choice": "yes", "reason": "seen"}],
        by=("MakerMSP", "enforcement"),
    )  # fmt: skip
    assert (outcome.status, "is behind the ledger day" in outcome.message) == (400, True)


def test_what_is_of_tomorrow_waits_for_the_day(ledger: CaseLedger) -> None:
    """A transaction of a day that nobody has moved the ledger to says what to do."""
    _one_yes_missing(ledger)
    ledger.at(PROPOSED + timedelta(days=1))
    outcome = ledger.decide("Sweep", ["A2"], by=("MakerMSP", "auditor"))
    assert outcome.message == (
        "the ledger day is 2026-05-19, this transaction is of 2026-05-20 (rulebook 1); submit "
        "AdvanceDay, then this again"
    )


def test_release_does_not_wait_for_the_ledger_day(ledger: CaseLedger) -> None:
    """What ends or releases goes on although nobody moved the day; payments do not read it."""
    ledger.bring("A1", "enforced")
    ledger.at(PROPOSED + timedelta(days=5))
    paid = _payment(ledger)
    ledger.at(PROPOSED + timedelta(days=5))
    assert ledger.commit([paid])[0].valid
    found = ledger.report_release(order_of(CASE), *IN_WORDS)
    assert found[-1]["state"] == "released"


def test_payment_is_valid_behind_a_moved_day(ledger: CaseLedger) -> None:
    """A payment endorsed yesterday stays valid: it reads no ledger day."""
    ledger.bring("A1", "voting")
    paid = _payment(ledger)
    ledger.today(PROPOSED + timedelta(days=1))
    assert ledger.commit([paid])[0].valid


def test_same_payment_and_other_records_of_one_list_meet(ledger: CaseLedger) -> None:
    """Two payments of one list: the first cures, the second finds the case ended."""
    ledger.bring("A1", "enforced")
    today = ledger.tx_day.isoformat()
    records: list[dict[str, Any]] = [
        payment("A1", today, reference="R1"),
        payment("A1", today, reference="R2"),
    ]
    outcome = ledger.change(
        "PostPayments", records, by=("OperatorMSP", "lending"), amounts=[200, 50]
    )
    assert [each.get("case") for each in verdicts(outcome)] == [CASE, None]


@pytest.mark.parametrize("amounts", [(100, 100), (150, 50), (50, 150), (200, 10)])
@pytest.mark.parametrize("together", [True, False])
def test_payments_of_one_day_are_weighed_together(
    ledger: CaseLedger, amounts: tuple[int, int], together: bool
) -> None:
    """What a first payment only lapsed, a second of the same day cures; the order of payments
    within a day makes no difference, nor whether they come in one transaction.
    """
    ledger.bring("A1", "ordered")
    ledger.today(PROPOSED + timedelta(days=1))
    today = ledger.tx_day.isoformat()
    records = [payment("A1", today, reference=f"R{place}") for place in range(2)]
    by = ("OperatorMSP", "lending")
    if together:
        ledger.change("PostPayments", records, by=by, amounts=list(amounts))
    else:
        for record, amount in zip(records, amounts, strict=True):
            ledger.change("PostPayments", [record], by=by, amounts=[amount])
    view = ledger.view(CASE)
    assert (view["state"], view["ended_by"]) == ("releasing", "cured")
    assert ledger.ask("Release", order_of(CASE), of="instalments")["reason"] == "cured"


def test_payment_of_a_later_day_leaves_a_lapsed_case_as_it_is(ledger: CaseLedger) -> None:
    """The next day's payment finds the case ended."""
    ledger.bring("A1", "ordered")
    ledger.pay("A1", 100, ledger.tx_day)
    ledger.today(PROPOSED + timedelta(days=1))
    assert ledger.pay("A1", 100, ledger.tx_day).get("case") is None
    assert ledger.view(CASE)["ended_by"] == "lapsed"


def test_reversal_never_blocks_again(ledger: CaseLedger) -> None:
    """Reversing the payment that cured leaves the case ended; a new one needs a new notice."""
    ledger.bring("A1", "enforced")
    today = ledger.tx_day
    ledger.pay("A1", 200, today)
    ledger.report_release(order_of(CASE), *IN_WORDS)
    reversal = [{"reference": f"P-A1-{today}", "evidence": salted("bounced")}]
    assert verdicts(ledger.change("ReversePayments", reversal, by=("OperatorMSP", "lending")))[0][
        "ok"
    ]
    assert ledger.state_of(CASE) == "released"
    found = ledger.sweep("A1")[0]
    assert (found["state"], found["case"]) == ("triggered", "C-A1-2")
    assert ledger.state_of("C-A1-2") == "triggered"


def test_exchange_of_a_blocked_phone_releases_the_old_one(ledger: CaseLedger) -> None:
    """Warranty repair: old IMEIs are released, the new ones are blocked only by a new order."""
    case = ledger.bring("A1", "enforced")
    verdicts(ledger.change("RegisterDevices", [device("NEW")], by=("MakerMSP", "lending")))
    exchange = [{"old": [pseudonym("A1/0")], "new": [pseudonym("NEW/0")], "reason": "repair"}]
    found = verdicts(ledger.change("ExchangeDevices", exchange, by=("MakerMSP", "lending")))[0]
    assert found["case"] == case
    view = ledger.view(case)
    assert (view["state"], view["ended_by"]) == ("releasing", "exchanged")
    release = ledger.ask("Release", order_of(case), of="instalments")
    assert pseudonym("NEW/0") not in release["identifiers"]
    ledger.report_release(order_of(case), *IN_WORDS)
    again = ledger.sweep("A1")[0]
    assert again["case"] == "C-A1-2"


def test_exchange_before_an_order_lets_the_case_follow(ledger: CaseLedger) -> None:
    """A case without an order goes on, and its order names the new phone."""
    case = ledger.bring("A1", "voting")
    verdicts(ledger.change("RegisterDevices", [device("NEW")], by=("MakerMSP", "lending")))
    exchange = [{"old": [pseudonym("A1/0")], "new": [pseudonym("NEW/0")], "reason": "repair"}]
    verdicts(ledger.change("ExchangeDevices", exchange, by=("MakerMSP", "lending")))
    for voter in ("PtaMSP", "OperatorMSP", "MakerMSP"):
        ledger.vote(case, by=voter)
    order = ledger.ask("Order", order_of(case))
    assert order["device"] == pseudonym("NEW/0")
    assert order["identifiers"] == [pseudonym("NEW/0"), pseudonym("NEW/1")]
