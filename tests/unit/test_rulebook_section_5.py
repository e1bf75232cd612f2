"""Rulebook 5: ballots, orders, breakers, tiers, sentence by sentence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chaincode.instalments.cases.breaker import Tickets
from chaincode.instalments.cases.case import Ballot, Choice, Elector
from chaincode.instalments.cases.vote import Out, still_out, tally
from chaincode.instalments.members import Member, Roster
from chaincode.instalments.policy import SCOPES, Policy
from tests.support.book_ledger import pseudonym, salted
from tests.support.case_ledger import (
    PROPOSED,
    TRIGGER,
    VOTERS,
    CaseLedger,
    order_of,
    verdicts,
)
from tests.support.rulebook import change_member, functions_that_write, missing_tests

SHOWN = [
    (
        "electorate: active at the proposal, one vote a group, the originator's out",
        "test_vote_of_a_member_admitted_later_is_refused test_vote_of_a_group_counts_once "
        "test_vote_of_the_lenders_group_is_refused",
    ),
    (
        "ordered by regulator and two classes, and yes above no plus what is out; rejected at once",
        "test_vote_is_decided_by_the_ballot_that_makes_it_so "
        "test_tally_agrees_with_trying_every_way "
        "test_quorum_takes_different_classes_of_different_groups",
    ),
    (
        "abstentions and members no longer active count nowhere",
        "test_counting_leaves_out_members_that_are_not_active "
        "test_vote_of_a_member_no_longer_active_counts_nowhere",
    ),
    (
        "the ladder, step by step, or REFUSED with a reason",
        "test_ladder_in_one_list_is_taken test_ladder_out_of_order_is_refused "
        "test_step_again_changes_nothing test_receipt_of_another_member_is_refused",
    ),
    (
        "breakers: 200 a day, 5 % a month, at least one; above that waiting",
        "test_orders_of_a_day_stop_at_the_policys_figure test_orders_above_the_months_limit_wait "
        "test_the_limit_holds_among_ballots_at_once test_two_affiliates_share_one_limit "
        "test_a_month_that_nobody_opened_has_the_least_limit",
    ),
    (
        "tier 2 off by default, tier 3 a referral only",
        "test_notified_tier_that_is_off_is_refused test_tier_three_is_a_referral_and_no_order "
        "test_tier_three_without_an_instrument_is_refused",
    ),
]

DAY = timedelta(days=1)
DUE = [("2026-04-05", 100), ("2026-05-05", 100)]
CASE = "C-A1-1"


def test_section_5_names_tests_that_exist() -> None:
    """What is shown elsewhere is shown."""
    assert missing_tests(SHOWN) == []


@pytest.fixture
def ledger() -> CaseLedger:
    """A consortium with the agreement A1."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=DUE)
    return ledger


# ---- the vote -----------------------------------------------------------------------------------


def _votes(*votes: tuple[str, str, Choice]) -> list[Ballot]:
    day = TRIGGER
    return [
        Ballot(group, f"{group}MSP", kind, "x", choice, "seen", day, "t")
        for group, kind, choice in votes
    ]


@pytest.mark.parametrize(
    ("votes", "out", "decision"),
    [
        # the regulator alone, or with one class, or with one class twice
        ([("pta", "regulator", "yes")], [], "rejected"),
        ([("pta", "regulator", "yes"), ("o", "operator", "yes")], [], "rejected"),
        (
            [("pta", "regulator", "yes"), ("o", "operator", "yes"), ("p", "operator", "yes")], [],
            "rejected",
        ),
        # everybody but the regulator
        ([("o", "operator", "yes"), ("m", "manufacturer", "yes"), ("b", "bank", "yes")], [],
         "rejected"),
        # the regulator and two classes, the third silent: three yes, one out
        (
            [("pta", "regulator", "yes"), ("o", "operator", "yes"), ("m", "manufacturer", "yes")],
            ["bank"], "carried",
        ),
        # three yes, three out: not more than what is still out
        (
            [("pta", "regulator", "yes"), ("o", "operator", "yes"), ("m", "manufacturer", "yes")],
            ["bank", "bank", "operator"], "open",
        ),
        # three yes against three no
        (
            [("pta", "regulator", "yes"), ("o", "operator", "yes"), ("m", "manufacturer", "yes"),
             ("b", "bank", "no"), ("c", "bank", "no"), ("d", "bank", "no")], [], "rejected",
        ),
        # an abstention is no vote and nobody waits for it
        (
            [("pta", "regulator", "yes"), ("o", "operator", "yes"), ("m", "manufacturer", "yes"),
             ("b", "bank", "no"), ("c", "bank", "abstain"), ("d", "bank", "no")], [], "carried",
        ),
        # the regulator abstains: it cannot be carried any more
        ([("pta", "regulator", "abstain")], ["bank", "operator", "manufacturer"], "rejected"),
    ],
)  # fmt: skip
def test_tally_of_the_rule_on_its_limits(
    votes: list[tuple[str, str, Choice]], out: list[str], decision: str
) -> None:
    """The regulator and two more classes in different groups, and yes above no plus what is out."""
    waiting = [Out(frozenset({kind})) for kind in out]
    assert tally(_votes(*votes), waiting, 2) == decision


def test_tally_among_a_hundred_groups_is_quick() -> None:
    """A vote costs what its groups are, not what their combinations are."""
    out = [Out(frozenset({("bank", "operator")[place % 2]})) for place in range(100)]
    regulator = _votes(("pta", "regulator", "yes"))
    for _ in range(50):
        assert tally(regulator, out, 3) == "rejected"
    assert tally(regulator, [*out, Out(frozenset({"manufacturer"}))], 3) == "open"


def test_bank_and_operator_of_one_group_reach_no_quorum() -> None:
    """A bank, its operator and its payment house are one group: with the regulator one class, not
    two; and of their own case none of them votes.
    """
    founders = (
        ("BankMSP", "bank", "bank"),
        ("JazzBankMSP", "bank", "jazz"),
        ("OperatorMSP", "operator", "jazz"),
        ("MakerMSP", "manufacturer", "maker"),
        ("PtaMSP", "regulator", "pta"),
    )
    ledger = CaseLedger(founders)
    ledger.open("A1", instalments=DUE)
    ledger.bring("A1", "voting")
    assert ledger.vote(CASE, by="PtaMSP")[0]["state"] == "voting"
    assert ledger.vote(CASE, by="OperatorMSP")[0]["state"] == "voting"
    assert ledger.vote(CASE, by="JazzBankMSP")[0]["written"] is False  # its group has voted
    assert ledger.state_of(CASE) == "voting"
    assert ledger.vote(CASE, by="MakerMSP")[0]["state"] == "ordered"


def test_member_suspended_mid_vote_neither_votes_nor_counts(ledger: CaseLedger) -> None:
    """Its yes is gone, so the two that are left do not carry; back again, it counts again."""
    ledger.bring("A1", "voting")
    for voter in ("OperatorMSP", "PtaMSP"):
        ledger.vote(CASE, by=voter)
    change_member(ledger, msp_id="OperatorMSP", status="suspended")
    ballot = [{"case": CASE, "choice": "yes", "reason": "seen"}]
    refused = ledger.decide("CastBallots", ballot, by=("OperatorMSP", "enforcement"))
    assert "is suspended" in refused.message
    assert ledger.vote(CASE, by="MakerMSP")[0]["state"] == "rejected"


def test_member_suspended_and_back_counts_again(ledger: CaseLedger) -> None:
    """What counts is who is active when the vote is weighed."""
    ledger.bring("A1", "voting")
    for voter in ("OperatorMSP", "PtaMSP"):
        ledger.vote(CASE, by=voter)
    change_member(ledger, msp_id="OperatorMSP", status="suspended")
    change_member(ledger, msp_id="OperatorMSP", status="active")
    assert ledger.vote(CASE, by="MakerMSP")[0]["state"] == "ordered"


def test_voter_that_joined_the_lenders_group_has_no_ballot_left(ledger: CaseLedger) -> None:
    """Who became the lender's affiliate since the proposal votes no more."""
    ledger.bring("A1", "voting")
    change_member(ledger, msp_id="OperatorMSP", affiliate_group="bank")
    found = ledger.vote(CASE, by="OperatorMSP")[0]
    assert (found["ok"], "its group bank is the lender's" in found["message"]) == (False, True)


def test_groups_still_out_are_those_with_a_member_left_to_vote() -> None:
    """A group whose only member was suspended is not waited for."""
    roster = Roster(
        2,
        [
            Member("OMSP", "operator", "o", "", "suspended"),
            Member("BMSP", "bank", "b"),
            Member("CMSP", "investment_firm", "b", "", "suspended"),
        ],
    )
    electors = [Elector("b", ("BMSP", "CMSP")), Elector("o", ("OMSP",))]
    assert still_out(electors, [], roster) == [Out(frozenset({"bank"}))]


def test_ballot_sent_again_stands_and_a_changed_one_is_refused(ledger: CaseLedger) -> None:
    """A replayed ballot decides nothing twice; nobody changes his mind behind others' backs."""
    ledger.bring("A1", "voting")
    ledger.vote(CASE, by="PtaMSP")
    again = ledger.vote(CASE, by="PtaMSP")[0]
    assert (again["ok"], again["written"]) == (True, False)
    assert not ledger.vote(CASE, by="PtaMSP", choice="no")[0]["ok"]
    for voter in VOTERS[1:]:
        ledger.vote(CASE, by=voter)
    order = ledger.ask("Order", order_of(CASE))
    for voter in VOTERS:
        assert ledger.vote(CASE, by=voter)[0]["written"] is False
    assert ledger.ask("Order", order_of(CASE)) == order


# ---- the order ----------------------------------------------------------------------------------


def test_order_names_tier_scope_device_executors_basis_and_policy(ledger: CaseLedger) -> None:
    """All IMEIs of the phone; the deciding ballot issues it in its own transaction."""
    ledger.bring("A1", "voting")
    for voter in VOTERS[:2]:
        ledger.vote(CASE, by=voter)
    assert ledger.evaluate("enforcement", "Order", order_of(CASE)).status == 400
    ledger.vote(CASE, by=VOTERS[2])
    order = ledger.ask("Order", order_of(CASE))
    named = ("tier", "scope", "identifiers", "executors", "legal_basis", "policy")
    assert [order[name] for name in named] == [
        1, "device", [pseudonym("A1/0"), pseudonym("A1/1")], ["OperatorMSP"], "consent", 1,
    ]  # fmt: skip
    assert order["start_before"] > order["issued_at"]


def test_receipts_are_signed_by_an_officer_of_the_executor(ledger: CaseLedger) -> None:
    """Each step says who signed it."""
    ledger.bring("A1", "enforced")
    steps = ledger.ask("Order", order_of(CASE))["receipts"][0]["steps"]
    assert [(each["step"], each["by"]) for each in steps] == [
        ("SUBMITTED", "executor of OperatorMSP"), ("APPLIED", "executor of OperatorMSP"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("known", "step", "ok"),
    [
        ([], "SUBMITTED", False),
        (["SUBMITTED"], "APPLIED", True),
        (["SUBMITTED"], "VERIFIED", False),
    ],
)
def test_executor_that_was_suspended_reports_but_does_not_start(
    ledger: CaseLedger, known: list[str], step: str, ok: bool
) -> None:
    """What it has done must be known, so that it can be released; it begins nothing new."""
    ledger.bring("A1", "ordered")
    ledger.report(order_of(CASE), *known)
    change_member(ledger, msp_id="OperatorMSP", status="suspended")
    found = ledger.report(order_of(CASE), step)[0]
    assert found["ok"] is ok
    if step == "SUBMITTED":
        assert "is suspended (rulebook 1)" in found["message"]
    if ok:
        assert ledger.state_of(CASE) == "enforced"


# ---- circuit breakers ---------------------------------------------------------------------------


def test_tickets_of_a_list_follow_each_other_and_need_no_key() -> None:
    """Derived from the proposing transaction: equal on every endorser, apart within a list."""
    tickets, again = Tickets("ab" * 32), Tickets("ab" * 32)
    drawn = [tickets.draw() for _ in range(500)]
    assert drawn == [again.draw() for _ in range(500)]
    for limit in (500, 501, 5000):
        assert len({ticket % limit for ticket in drawn}) == 500
    assert max(drawn) < 2**53
    assert Tickets("cd" * 32).draw() not in drawn


def test_default_limits_are_the_rulebooks() -> None:
    """200 a day, 5 % of what is older than 60 days, two more classes."""
    policy = Policy()
    assert (policy.orders_per_day, policy.orders_per_month_percent) == (200, 5)
    assert (policy.breaker_age_days, policy.tier1_quorum_classes) == (60, 2)


@pytest.mark.parametrize(("count", "limit"), [(1, 1), (39, 1), (40, 2), (59, 2), (60, 3)])
def test_month_limit_is_rounded_down_and_at_least_one(count: int, limit: int) -> None:
    """5 % of the aged agreements."""
    ledger = CaseLedger(begin="2026-01-05")
    names = [f"A{number}" for number in range(count)]
    ledger.open(*names, opened_on="2026-01-05", instalments=[("2027-01-05", 100)], confirm=False)
    ledger.today("2026-05-02")
    found = ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor")).value["limits"]
    assert (found[0]["group"], found[0]["aged"], found[0]["limit"]) == ("bank", count, limit)


# ---- tiers --------------------------------------------------------------------------------------


def test_scopes_are_none_own_sim_and_financed_sim() -> None:
    """Never all numbers of a person, never emergency calls: there is no word for them."""
    assert SCOPES == ("none", "own_sim", "financed_sim")
    assert (Policy().tier2_on, Policy().tier2_scope, Policy().tier3_on) == (False, "none", False)


def test_contracts_contain_no_function_that_suspends_a_card() -> None:
    """Nor one about people or numbers at all."""
    names = functions_that_write("enforcement") | functions_that_write("instalments")
    words = ("card", "cnic", "identity", "person", "number", "emergency", "suspend")
    assert not [name for name in names if any(word in name.lower() for word in words)]


@pytest.mark.parametrize(("operators_group", "ok"), [("operator", False), ("bank", True)])
def test_own_sim_is_for_a_lender_of_the_operators_group(operators_group: str, ok: bool) -> None:
    """The lender-operator's own SIM: a bank with no operator of its own has none to suspend."""
    founders: Any = (
        ("BankMSP", "bank", "bank"),
        ("OperatorMSP", "operator", operators_group),
        ("MobiMSP", "operator", "mobi"),
        ("MakerMSP", "manufacturer", "maker"),
        ("FundMSP", "investment_firm", "fund"),
        ("PtaMSP", "regulator", "pta"),
    )
    ledger = CaseLedger(founders, tier2_on=True, tier2_scope="own_sim")
    ledger.open("A1", instalments=DUE, receiving_institutions=["PtaMSP"])
    instrument = {
        "reference": "SRO-1", "tier": 2, "valid_from": "2026-01-01", "valid_until": "2026-12-31",
        "territory": "pk", "document": salted("sro"),
    }  # fmt: skip
    verdicts(ledger.decide("RecordInstruments", [instrument], by=("PtaMSP", "governance")))
    ledger.bring("A1", "voting")
    for voter in ("PtaMSP", "MobiMSP", "MakerMSP", "FundMSP"):
        ledger.vote(CASE, by=voter)
    ledger.report(order_of(CASE), "SUBMITTED", "APPLIED")
    ledger.notify(CASE)
    ledger.today(PROPOSED + 14 * DAY)
    found = ledger.propose(CASE, tier=2, instrument="SRO-1")[0]
    assert found["ok"] is ok, found
    assert ok or "the lender-operator's own SIM only" in found["message"]
