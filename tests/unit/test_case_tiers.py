"""Higher tiers (rulebook 5): off by default, a round of their own, a referral that acts on none."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.book_ledger import pseudonym, salted
from tests.support.case_ledger import (
    FOUNDERS,
    IN_WORDS,
    CaseLedger,
    order_of,
    verdicts,
)

DAY = timedelta(days=1)
DUE = [("2026-04-05", 100), ("2026-05-05", 100)]
CASE = "C-A1-1"
SECOND = order_of(CASE, 2)
WITH_FUND = (*FOUNDERS, ("FundMSP", "investment_firm", "fund"))
VOTERS = ("PtaMSP", "OperatorMSP", "MakerMSP", "FundMSP")
TIER2: dict[str, Any] = {"tier2_on": True, "tier2_scope": "financed_sim"}
INSTRUMENT = {
    "reference": "SRO-12/2026", "valid_from": "2026-01-01", "valid_until": "2026-12-31",
    "territory": "pk", "document": salted("sro"),
}  # fmt: skip


def _enforced(**parameters: Any) -> CaseLedger:
    """A case with the phone blocked, under a policy with higher tiers."""
    ledger = CaseLedger(WITH_FUND, **parameters)
    ledger.open("A1", instalments=DUE)
    ledger.bring("A1", "voting")
    for voter in VOTERS[:3]:
        ledger.vote(CASE, by=voter)
    ledger.report(order_of(CASE), "SUBMITTED", "APPLIED")
    assert ledger.state_of(CASE) == "enforced"
    return ledger


def _instrument(ledger: CaseLedger, tier: int, **changes: Any) -> None:
    given = [INSTRUMENT | {"tier": tier} | changes]
    outcome = ledger.decide("RecordInstruments", given, by=("PtaMSP", "governance"))
    assert verdicts(outcome)[0]["ok"]


def _to_the_second_vote(ledger: CaseLedger, tier: int = 2, **more: Any) -> dict[str, Any]:
    assert ledger.notify(CASE)[0]["state"] == "notified"
    ledger.today(ledger.tx_day + 14 * DAY)
    return ledger.propose(CASE, tier=tier, instrument="SRO-12/2026", **more)[0]


def test_second_notice_without_a_higher_tier_is_refused() -> None:
    """With tiers 2 and 3 off, a block takes no further notice."""
    found = _enforced().notify(CASE)[0]
    assert (found["ok"], "no tier above 1 is switched on" in found["message"]) == (False, True)


def test_tier_two_is_a_round_of_its_own() -> None:
    """Notice, fourteen days, instrument, vote with three more classes, an order about one SIM."""
    ledger = _enforced(**TIER2)
    _instrument(ledger, 2)
    assert _to_the_second_vote(ledger)["state"] == "voting"
    assert ledger.state_of(CASE) == "enforced"
    for voter in VOTERS[:3]:
        assert ledger.vote(CASE, by=voter)[0]["state"] == "voting"
    assert ledger.vote(CASE, by=VOTERS[3])[0]["state"] == "ordered"
    order = ledger.ask("Order", SECOND)
    assert (order["tier"], order["scope"], order["identifiers"]) == (
        2, "financed_sim", [pseudonym("A1/sim")],
    )  # fmt: skip
    assert (order["executors"], order["legal_basis"]) == (["OperatorMSP"], "SRO-12/2026")
    assert ledger.report(SECOND, "SUBMITTED", "APPLIED")[-1]["ok"]
    tier = ledger.ask("Standing", "A1", "", of="instalments")["enforcement_tier"]
    assert (tier, ledger.state_of(CASE)) == (2, "enforced")


def test_cure_releases_every_tier() -> None:
    """One payment releases phone and SIM, each to its addressees."""
    ledger = _enforced(**TIER2)
    _instrument(ledger, 2)
    _to_the_second_vote(ledger)
    for voter in VOTERS:
        ledger.vote(CASE, by=voter)
    ledger.report(SECOND, "SUBMITTED", "APPLIED")
    ledger.pay("A1", 200, ledger.tx_day)
    assert ledger.ask("Ending", CASE, of="instalments")["releases"] == ["R-A1-1-1", "R-A1-1-2"]
    ledger.report_release(order_of(CASE), *IN_WORDS)
    assert ledger.state_of(CASE) == "releasing"
    ledger.report_release(SECOND, *IN_WORDS)
    assert ledger.state_of(CASE) == "released"


@pytest.mark.parametrize(
    ("parameters", "more", "message"),
    [
        ({"tier2_on": True}, {}, "can have tier 2 with the scope none only"),
        (TIER2, {"scope": "own_sim"}, "with the scope financed_sim only"),
        (TIER2, {"tier": 3}, "which is switched off"),
        (TIER2, {"tier": 1}, "tiers rise, from tier 1"),
    ],
)
def test_tier_out_of_turn_or_scope_is_refused(
    parameters: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    """The scope is the policy's; a tier that is off or not above the block is refused."""
    ledger = _enforced(**parameters)
    _instrument(ledger, 2)
    found = _to_the_second_vote(ledger, **more)
    assert (found["ok"], message in found["message"]) == (False, True), found["message"]


@pytest.mark.parametrize(
    "changes",
    [{"tier": 3}, {"valid_until": "2026-06-01"}, {"reference": "SRO-13/2026"}],
)
def test_tier_two_without_a_valid_instrument_is_refused(changes: dict[str, Any]) -> None:
    """An instrument of another tier, that ran out, or that nobody recorded, is none."""
    ledger = _enforced(**TIER2)
    _instrument(ledger, **({"tier": 2} | changes))
    found = _to_the_second_vote(ledger)
    assert "needs a legal instrument for tier 2" in found["message"]


def test_first_proposal_of_a_higher_tier_is_refused() -> None:
    """A case begins with tier 1."""
    ledger = CaseLedger(WITH_FUND, **TIER2)
    ledger.open("A1", instalments=DUE)
    ledger.bring("A1", "notified")
    ledger.today(ledger.tx_day + 14 * DAY)
    _instrument(ledger, 2)
    found = ledger.propose(CASE, tier=2, instrument="SRO-12/2026")[0]
    assert "tiers rise, from tier 1" in found["message"]


@pytest.mark.parametrize(("days", "state"), [(7, "voting"), (8, "lapsed")])
def test_second_vote_that_lapses_leaves_the_block(days: int, state: str) -> None:
    """A further round that lapses ends nothing but itself, and pauses the next one."""
    ledger = _enforced(**TIER2)
    _instrument(ledger, 2)
    _to_the_second_vote(ledger)
    proposed = ledger.tx_day
    ledger.today(proposed + timedelta(days=days))
    view = ledger.view(CASE)
    assert (view["state"], view["rounds"][1]["state"]) == ("enforced", state)
    if state == "lapsed":
        assert "takes no ballot" in ledger.vote(CASE, by="PtaMSP")[0]["message"]
        ledger.today(proposed + timedelta(days=8 + 30))
        assert "another needs more than 30 days" in ledger.notify(CASE)[0]["message"]
        ledger.today(proposed + timedelta(days=8 + 31))
        assert ledger.notify(CASE)[0]["ok"]


def test_second_vote_that_is_rejected_leaves_the_block() -> None:
    """No to the SIM is no word about the phone."""
    ledger = _enforced(**TIER2)
    _instrument(ledger, 2)
    _to_the_second_vote(ledger)
    assert ledger.vote(CASE, by="PtaMSP", choice="no")[0]["state"] == "rejected"
    assert ledger.state_of(CASE) == "enforced"
    assert ledger.view(CASE)["rounds"][1]["state"] == "rejected"


def test_tier_three_is_a_referral_and_no_order() -> None:
    """Carried, tier 3 is a record: no order, no executor, the block as it was."""
    ledger = _enforced(tier3_on=True)
    _instrument(ledger, 3)
    assert _to_the_second_vote(ledger, tier=3)["state"] == "voting"
    for voter in VOTERS[:3]:
        ledger.vote(CASE, by=voter)
    found = ledger.vote(CASE, by=VOTERS[3])[0]
    assert found["state"] == "referred"
    view = ledger.view(CASE)
    assert (view["state"], view["order"]) == ("enforced", order_of(CASE))
    assert view["rounds"][1]["referred_on"] == ledger.tx_day.isoformat()
    assert ledger.evaluate("enforcement", "Order", SECOND).status == 400
    tier = ledger.ask("Standing", "A1", "", of="instalments")["enforcement_tier"]
    assert tier == 1


def test_tier_three_without_an_instrument_is_refused() -> None:
    """A referral always needs the regulator's legal instrument."""
    ledger = _enforced(tier3_on=True)
    ledger.notify(CASE)
    ledger.today(ledger.tx_day + 14 * DAY)
    found = ledger.propose(CASE, tier=3)[0]
    assert "needs a legal instrument for tier 3" in found["message"]
