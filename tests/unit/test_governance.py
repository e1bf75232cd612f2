"""Founding, day, motions on policy and membership, stops, instruments, months (rulebook 1)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from chaincode.contract import Creator
from chaincode.instalments.policy import Policy
from tests.support.book_ledger import OPENED, salted
from tests.support.case_ledger import FOUNDERS, CaseLedger, verdicts
from tests.support.memory_state import Outcome

DAY = timedelta(days=1)
START = date.fromisoformat(OPENED)
MEMBERS = [
    {"msp_id": msp, "member_class": kind, "affiliate_group": group} for msp, kind, group in FOUNDERS
]
PTA = ("PtaMSP", "governance")


@pytest.fixture
def ledger() -> CaseLedger:
    """A founded consortium of five members."""
    return CaseLedger()


# ---- founding -----------------------------------------------------------------------------------


def test_found_sets_members_policy_and_day() -> None:
    """The founding transaction sets members, affiliates and a policy that is active at once."""
    ledger = CaseLedger(found=False)
    outcome = ledger.decide("Found", MEMBERS, {"voting_days": 9}, by=PTA)
    assert outcome.value == {"day": OPENED, "members": 5, "policy": 1}
    assert outcome.event is not None
    assert ledger.ask("LedgerDay") == {"day": OPENED}
    roster = ledger.ask("Members")
    assert (roster["version"], [each["msp_id"] for each in roster["members"]]) == (
        1, ["BankMSP", "BankPayMSP", "MakerMSP", "OperatorMSP", "PtaMSP"],
    )  # fmt: skip
    policy = ledger.ask("PolicyInForce", "")
    assert policy["active_from"] == OPENED
    assert policy["parameters"] == Policy(voting_days=9).plain()


def test_found_a_second_time_is_refused(ledger: CaseLedger) -> None:
    """Refused once a member exists."""
    outcome = ledger.decide("Found", MEMBERS, {}, by=PTA)
    assert (outcome.status, "is founded already" in outcome.message) == (400, True)


def test_two_foundings_at_once_leave_one() -> None:
    """Of two founding transactions in flight one stands."""
    ledger = CaseLedger(found=False)
    creator = Creator("PtaMSP", "g", {"qist.role": "governance"})
    pair = [ledger.simulate("enforcement", "Found", MEMBERS, {}, creator=creator) for _ in range(2)]
    assert [each.valid for each in ledger.commit(pair)] == [True, False]


@pytest.mark.parametrize(
    ("members", "parameters", "by", "message"),
    [
        (MEMBERS[:4], {}, ("BankMSP", "governance"), "names no regulator"),
        ([*MEMBERS, MEMBERS[0]], {}, PTA, "names a member twice"),
        ([], {}, PTA, "names no regulator"),
        (MEMBERS, {"no_such": 1}, PTA, "has no parameter"),
        (MEMBERS, {"voting_days": 0}, PTA, "must be a whole number"),
        (MEMBERS, {"voting_days": True}, PTA, "must be a whole number"),
        (MEMBERS, {"tier2_scope": "all"}, PTA, "must be one of"),
        (MEMBERS, {"tier2_scope": ["none"]}, PTA, "must be one of"),
        (MEMBERS, {"executor_classes": []}, PTA, "must be one of"),
        (MEMBERS, {"moratorium_until": 20260601}, PTA, "must be a date"),
        (MEMBERS, {"proposal_days": 10}, PTA, "below notice_period_days"),
        (MEMBERS, {}, ("PtaMSP", "lending"), "this takes governance"),
        (MEMBERS, {}, ("StrangeMSP", "governance"), "is no member"),
        ([*MEMBERS[1:], MEMBERS[0] | {"member_class": "shop"}], {}, PTA, "needs a class"),
        ([*MEMBERS[1:], MEMBERS[0] | {"affiliate_group": ""}], {}, PTA, "affiliate group"),
    ],
)
def test_found_with_wrong_content_is_refused(
    members: list[Any], parameters: dict[str, Any], by: tuple[str, str], message: str
) -> None:
    """Names twice, no regulator, unknown parameters or values, another role."""
    ledger = CaseLedger(found=False)
    outcome = ledger.decide("Found", members, parameters, by=by)
    assert outcome.status == 400
    assert message in outcome.message


@pytest.mark.parametrize("function", ["AdvanceDay", "Sweep", "OpenMonth"])
def test_before_the_founding_nothing_runs(function: str) -> None:
    """Every function says what to do first."""
    ledger = CaseLedger(found=False)
    asked: dict[str, list[Any]] = {
        "AdvanceDay": [],
        "Sweep": [["A1"]],
        "OpenMonth": ["2026-03"],
    }
    args = asked[function]
    outcome = ledger.decide(function, *args, by=PTA)
    assert (outcome.status, "submit Found first" in outcome.message) == (400, True)


# ---- the ledger day -----------------------------------------------------------------------------


def test_day_moves_forward_and_never_back(ledger: CaseLedger) -> None:
    """Anyone moves it to the date of the transaction; a day behind moves nothing."""
    ledger.at(START + 2 * DAY)
    by = ("MakerMSP", "auditor")
    assert ledger.decide("AdvanceDay", by=by).value == {"day": "2026-03-07", "moved": True}
    assert ledger.decide("AdvanceDay", by=by).value == {"day": "2026-03-07", "moved": False}
    ledger.at(START)
    outcome = ledger.decide("AdvanceDay", by=by)
    assert (outcome.value, outcome.event) == ({"day": "2026-03-07", "moved": False}, None)


def test_day_is_of_pakistan(ledger: CaseLedger) -> None:
    """At 19:00 UTC the next day has begun."""
    ledger.at(START + DAY, "00:00")
    assert ledger.now.date() == START
    assert ledger.decide("AdvanceDay", by=("BankMSP", "lending")).value["day"] == "2026-03-06"


def test_day_of_a_stranger_is_refused(ledger: CaseLedger) -> None:
    """Only members move it."""
    ledger.at(START + DAY)
    assert ledger.decide("AdvanceDay", by=("StrangeMSP", "auditor")).status == 400


# ---- policy -------------------------------------------------------------------------------------


def _propose(ledger: CaseLedger, motion: str, parameters: dict[str, Any], *more: str) -> Outcome:
    return ledger.decide("ProposePolicy", motion, parameters, "needed", *more, by=PTA)


def _votes(ledger: CaseLedger, motion: str, *votes: tuple[str, str], member: bool = False) -> str:
    state = ""
    function = "CastMemberBallots" if member else "CastPolicyBallots"
    for msp, choice in votes:
        ballot = [{"proposal": motion, "choice": choice}]
        found = verdicts(ledger.decide(function, ballot, by=(msp, "governance")))[0]
        assert found["ok"], found
        state = found["state"]
    return state


@pytest.mark.parametrize(
    ("votes", "state"),
    [
        ([("PtaMSP", "yes"), ("BankMSP", "yes"), ("MakerMSP", "yes")], "open"),
        (
            [("PtaMSP", "yes"), ("BankMSP", "yes"), ("MakerMSP", "yes"), ("BankPayMSP", "yes")],
            "adopted",
        ),
        (
            [(msp, "yes") for msp in ("OperatorMSP", "BankMSP", "MakerMSP", "BankPayMSP")],
            "open",
        ),
        ([("PtaMSP", "no")], "rejected"),
        ([("BankMSP", "no")], "open"),
        ([("BankMSP", "no"), ("MakerMSP", "no")], "rejected"),
    ],
)
def test_policy_needs_two_thirds_and_the_regulator(
    ledger: CaseLedger, votes: list[tuple[str, str]], state: str
) -> None:
    """Of five members four are two thirds; never without the regulator; rejected early."""
    assert _propose(ledger, "P-1", {"voting_days": 5}).value == {"id": "P-1", "state": "open"}
    assert _votes(ledger, "P-1", *votes) == state
    assert ledger.ask("GovernanceProposal", "P-1")["state"] == state


ALL_YES = [(msp, "yes") for msp in ("PtaMSP", "BankMSP", "MakerMSP", "BankPayMSP")]


def test_policy_is_active_seven_days_after_its_adoption(ledger: CaseLedger) -> None:
    """A version stands from its first day on; all versions stay readable."""
    _propose(ledger, "P-1", {"voting_days": 5})
    _votes(ledger, "P-1", *ALL_YES)
    first = START + 7 * DAY
    assert ledger.ask("GovernanceProposal", "P-1")["active_from"] == first.isoformat()
    ask = ledger.ask
    assert ask("PolicyInForce", (first - DAY).isoformat())["parameters"]["voting_days"] == 7
    assert ask("PolicyInForce", first.isoformat())["parameters"]["voting_days"] == 5
    assert [each["version"] for each in ask("PolicyVersions")] == [1, 2]


@pytest.mark.parametrize(("wanted", "first"), [(3, 7), (20, 20)])
def test_policy_of_a_later_day_waits_for_it(ledger: CaseLedger, wanted: int, first: int) -> None:
    """A first day may be asked for; before the seven days it is not."""
    _propose(ledger, "P-1", {"voting_days": 5}, (START + wanted * DAY).isoformat())
    _votes(ledger, "P-1", *ALL_YES)
    found = ledger.ask("GovernanceProposal", "P-1")["active_from"]
    assert found == (START + first * DAY).isoformat()


def test_policy_adopted_after_another_builds_on_it(ledger: CaseLedger) -> None:
    """Two versions adopted one after the other keep both changes."""
    for motion, parameters in (("P-1", {"voting_days": 5}), ("P-2", {"waiting_days": 3})):
        _propose(ledger, motion, parameters)
        _votes(ledger, motion, *ALL_YES)
    newest = ledger.ask("PolicyVersions")[-1]
    assert (newest["version"], newest["parameters"]["voting_days"]) == (3, 5)
    assert newest["parameters"]["waiting_days"] == 3


@pytest.mark.parametrize(
    ("motion", "parameters", "message"),
    [
        ("X-1", {"voting_days": 5}, "begins with P-"),
        ("P-1", {"nothing": 5}, "has no parameter"),
        ("P-1", {"voting_days": 7}, "changes nothing"),
        ("P-1", {}, "changes nothing"),
        ("P-1", {"voting_days": 0}, "must be a whole number"),
    ],
)
def test_policy_with_wrong_content_is_refused(
    ledger: CaseLedger, motion: str, parameters: dict[str, Any], message: str
) -> None:
    """Unknown parameters, values out of bounds, and a change of nothing."""
    outcome = _propose(ledger, motion, parameters)
    assert (outcome.status, message in outcome.message) == (400, True), outcome.message


def test_policy_proposed_twice_is_one(ledger: CaseLedger) -> None:
    """The same request twice does nothing twice, even once it was adopted; other content is
    refused.
    """
    _propose(ledger, "P-1", {"voting_days": 5})
    again = _propose(ledger, "P-1", {"voting_days": 5})
    assert (again.value["state"], again.result.writes) == ("open", False)
    _votes(ledger, "P-1", *ALL_YES)
    assert _propose(ledger, "P-1", {"voting_days": 5}).value["state"] == "adopted"
    assert "known with other content" in _propose(ledger, "P-1", {"voting_days": 6}).message


def test_policy_ballots_stand_and_end(ledger: CaseLedger) -> None:
    """A ballot stands; none is taken once decided, or after the days for it."""
    _propose(ledger, "P-1", {"voting_days": 5})
    _votes(ledger, "P-1", ("BankMSP", "yes"))

    def cast(motion: str, choice: str, by: str) -> dict[str, Any]:
        ballot = [{"proposal": motion, "choice": choice}]
        return verdicts(ledger.decide("CastPolicyBallots", ballot, by=(by, "governance")))[0]

    assert cast("P-1", "yes", "BankMSP")["written"] is False
    assert "a ballot stands" in cast("P-1", "no", "BankMSP")["message"]
    assert not cast("P-9", "yes", "BankMSP")["ok"]
    ledger.today(START + 30 * DAY)
    assert cast("P-1", "yes", "MakerMSP")["ok"]
    ledger.today(START + 31 * DAY)
    late = cast("P-1", "yes", "PtaMSP")
    assert (late["ok"], late["state"]) == (False, "lapsed")


def test_governance_of_a_machine_is_refused(ledger: CaseLedger) -> None:
    """Machine accounts never carry governance."""
    machine = Creator("PtaMSP", "batch", {"qist.role": "governance", "qist.machine": "true"})
    outcome = ledger.decide("ProposePolicy", "P-1", {"voting_days": 5}, "x", by=machine)
    assert (outcome.status, "votes are cast by persons" in outcome.message) == (400, True)


# ---- membership ---------------------------------------------------------------------------------


def _change(ledger: CaseLedger, motion: str, **change: Any) -> Outcome:
    return ledger.decide("ProposeMember", motion, change, "needed", by=PTA)


def test_member_is_admitted_by_ballots(ledger: CaseLedger) -> None:
    """Adopted, a new member is active at once and votes."""
    _change(ledger, "M-1", msp_id="NewMSP", member_class="bank", affiliate_group="new")
    assert _votes(ledger, "M-1", *ALL_YES, member=True) == "adopted"
    roster = ledger.ask("Members")
    assert roster["version"] == 2
    assert "NewMSP" in [each["msp_id"] for each in roster["members"]]
    assert ledger.decide("AdvanceDay", by=("NewMSP", "auditor")).valid


def test_member_has_no_vote_on_itself(ledger: CaseLedger) -> None:
    """The member concerned votes on itself neither way, nor does it count: of four, three carry."""
    _change(ledger, "M-1", msp_id="MakerMSP", status="suspended")
    ballot = [{"proposal": "M-1", "choice": "no"}]
    found = verdicts(ledger.decide("CastMemberBallots", ballot, by=("MakerMSP", "governance")))[0]
    assert "no vote on itself" in found["message"]
    votes = [("PtaMSP", "yes"), ("BankMSP", "yes"), ("OperatorMSP", "yes")]
    assert _votes(ledger, "M-1", *votes, member=True) == "adopted"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"msp_id": "NewMSP"}, "without class and affiliate group"),
        ({"msp_id": "MakerMSP", "status": "active"}, "changes nothing"),
        ({"msp_id": "PtaMSP", "status": "suspended"}, "no active regulator"),
        ({"msp_id": "PtaMSP", "member_class": "bank"}, "no active regulator"),
        ({"msp_id": "MakerMSP", "status": "leaving"}, "has a last day"),
        ({"msp_id": "MakerMSP", "leaves_on": "2026-04-01"}, "has a last day"),
        (
            {"msp_id": "MakerMSP", "status": "leaving", "leaves_on": "2026-04-01"}
            | {"successor": "NobodyMSP"},
            "successor that is no other member",
        ),
        ({"msp_id": "MakerMSP", "member_class": "shop"}, "needs a class"),
    ],
)
def test_member_change_of_wrong_content_is_refused(
    ledger: CaseLedger, change: dict[str, Any], message: str
) -> None:
    """What a change must say, and that a regulator always remains."""
    outcome = _change(ledger, "M-1", **change)
    assert (outcome.status, message in outcome.message) == (400, True), outcome.message


def test_member_suspended_may_not_act(ledger: CaseLedger) -> None:
    """A suspended member sweeps, votes and proposes nothing; its payments still count."""
    ledger.open("A1")
    _change(ledger, "M-1", msp_id="OperatorMSP", status="suspended")
    _votes(ledger, "M-1", *ALL_YES[:3], member=True)
    outcome = ledger.decide("Sweep", ["A1"], by=("OperatorMSP", "auditor"))
    assert "is suspended" in outcome.message
    assert ledger.pay("A1", 50, ledger.tx_day)["ok"]


# ---- stopping -----------------------------------------------------------------------------------


def _stop(ledger: CaseLedger, by: str, days: int) -> Outcome:
    until = (ledger.tx_day + days * DAY).isoformat()
    return ledger.decide("StopOrders", until, "anomaly", salted("x"), by=(by, "governance"))


def test_stop_takes_the_regulator_and_another_class(ledger: CaseLedger) -> None:
    """One asks, two stop; the earlier last day counts."""
    assert _stop(ledger, "BankMSP", 9).value["state"] == "asked"
    assert _stop(ledger, "MakerMSP", 9).value["state"] == "asked"
    assert not ledger.ask("OrdersStopped")["stopped"]
    assert _stop(ledger, "PtaMSP", 5).value == {
        "state": "stopped", "until": (START + 5 * DAY).isoformat(),
    }  # fmt: skip
    found = ledger.ask("OrdersStopped")
    assert (found["stopped"], found["asked_by"]) == (True, ["BankMSP", "MakerMSP", "PtaMSP"])
    ledger.today(START + 6 * DAY)
    assert not ledger.ask("OrdersStopped")["stopped"]


@pytest.mark.parametrize(("days", "ok"), [(-1, False), (0, True), (30, True), (31, False)])
def test_stop_lasts_up_to_thirty_days(ledger: CaseLedger, days: int, ok: bool) -> None:
    """Up to 30 days, and not in the past."""
    assert (_stop(ledger, "PtaMSP", days).status == 200) is ok


def test_resume_takes_the_regulator_and_another_class(ledger: CaseLedger) -> None:
    """What two stopped, two set running; with nothing stopped there is nothing to resume."""

    def resume(by: str) -> Outcome:
        return ledger.decide("ResumeOrders", "settled", by=(by, "governance"))

    assert "are not stopped" in resume("PtaMSP").message
    ledger.stop(START + 9 * DAY)
    assert resume("BankMSP").value == {"state": "asked"}
    assert ledger.ask("OrdersStopped")["stopped"]
    assert resume("PtaMSP").value == {"state": "running"}
    assert not ledger.ask("OrdersStopped")["stopped"]


# ---- instruments, months ------------------------------------------------------------------------

INSTRUMENT = {
    "reference": "SRO-12/2026", "tier": 2, "valid_from": "2026-01-01",
    "valid_until": "2026-12-31", "territory": "pk", "document": salted("sro"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("by", "change", "ok", "written"),
    [
        ("PtaMSP", {}, True, False),
        ("PtaMSP", {"tier": 3}, False, False),
        ("BankMSP", {"reference": "SRO-13/2026"}, False, False),
        ("PtaMSP", {"reference": "SRO-13/2026"}, True, True),
        ("PtaMSP", {"reference": "SRO-13/2026", "valid_until": "2025-01-01"}, False, False),
    ],
)
def test_instrument_is_the_regulators_and_stands(
    ledger: CaseLedger, by: str, change: dict[str, Any], ok: bool, written: bool
) -> None:
    """Recorded once by a regulator; other content under one reference is refused."""
    first = ledger.decide("RecordInstruments", [INSTRUMENT], by=PTA)
    assert verdicts(first)[0]["written"]
    given = [INSTRUMENT | change]
    found = verdicts(ledger.decide("RecordInstruments", given, by=(by, "governance")))[0]
    assert (found["ok"], found["written"]) == (ok, written)


@pytest.mark.parametrize(
    ("month", "message"),
    [("2026-02", "is over"), ("2026-04", "has not begun"), ("2026-3", "YYYY-MM"), ("x", "YYYY-MM")],
)
def test_month_that_is_not_now_is_refused(ledger: CaseLedger, month: str, message: str) -> None:
    """Only the month of the ledger day is opened."""
    outcome = ledger.decide("OpenMonth", month, by=("BankMSP", "auditor"))
    assert (outcome.status, message in outcome.message) == (400, True), outcome.message


def test_month_counts_what_was_open_and_aged_at_its_start() -> None:
    """Agreements older than 60 days, open at the month's start; once, whoever opens it when."""
    ledger = CaseLedger(begin="2026-01-30", orders_per_month_percent=50)
    ledger.open("A1", "A2", "A3", opened_on="2026-01-30")
    ledger.today("2026-01-31")
    ledger.open("B1", opened_on="2026-01-31")
    ledger.today("2026-04-01")
    ended = [{"agreement": "A3", "kind": "written_off", "evidence": salted("w")}]
    verdicts(ledger.change("EndAgreements", ended, by=("BankMSP", "lending")))
    ledger.today("2026-04-20")
    by = ("MakerMSP", "auditor")
    found = ledger.decide("OpenMonth", "2026-04", by=by).value["limits"][0]
    # On 1 April A1 to A3 were 61 days old and B1 60; A3 was still open when the month began.
    assert found == {"group": "bank", "aged": 3, "limit": 1, "written": True}
    again = ledger.decide("OpenMonth", "2026-04", by=by)
    assert again.value["limits"][0] == found | {"written": False}
    assert (again.result.writes, again.event) == (False, None)
