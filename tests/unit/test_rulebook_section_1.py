"""Rulebook 1: members, officers, policy, endorsement, sentence by sentence."""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import Any

import pytest

from chaincode.contract import Creator
from chaincode.instalments.members import Member, Roster
from tests.support.book_ledger import officer, salted
from tests.support.case_ledger import IN_WORDS, PROPOSED, TRIGGER, CaseLedger, order_of, verdicts
from tests.support.memory_state import Outcome
from tests.support.rulebook import (
    adopt_policy,
    change_member,
    functions_that_write,
    keys_read,
    missing_tests,
    namespaces_of,
)

SHOWN = [
    ("a member has id, class, group, status", "test_found_with_wrong_content_is_refused"),
    ("a bank and its operator count once", "test_vote_of_a_group_counts_once"),
    ("changed only by governance ballots", "test_member_is_admitted_by_ballots"),
    ("machine accounts never vote", "test_governance_of_a_machine_is_refused"),
    ("active 7 days after adoption", "test_policy_is_active_seven_days_after_its_adoption"),
    ("two thirds, the regulator among them", "test_policy_needs_two_thirds_and_the_regulator"),
    ("a case keeps its version", "test_harder_policy_does_not_bind_an_older_case"),
    (
        "what is milder binds open cases",
        "test_milder_policy_lapses_an_open_case test_milder_policy_releases_a_block "
        "test_longer_notice_period_binds_an_open_case",
    ),
    (
        "the regulator and one other class may stop all orders, up to 30 days",
        "test_stop_takes_the_regulator_and_another_class test_stop_lasts_up_to_thirty_days "
        "test_waiting_behind_a_stop_is_ordered_after_it test_start_under_a_hold_or_stop_is_refused",
    ),
    ("all versions stay readable", "test_policy_adopted_after_another_builds_on_it"),
    (
        "`instalments`: any two groups; `enforcement`: the regulator and another class",
        "test_instalments_policy_takes_any_two_groups_and_no_single_one "
        "test_enforcement_policy_takes_the_regulator_and_another_class",
    ),
    (
        "terms and schedules need the lender, by a key-level policy",
        "test_agreement_and_terms_carry_a_policy_of_the_lender_and_another_group "
        "test_payment_touches_no_key_that_needs_the_lender",
    ),
    (
        "the founding",
        "test_found_sets_members_policy_and_day test_found_a_second_time_is_refused "
        "test_two_foundings_at_once_leave_one",
    ),
    (
        "the ledger day moves forward, never back, by PKT",
        "test_day_moves_forward_and_never_back test_day_is_of_pakistan",
    ),
]  # fmt: skip

DAY = timedelta(days=1)
DUE = [("2026-04-05", 100), ("2026-05-05", 100)]
CASE = "C-A1-1"
ROLES = ("lending", "enforcement", "executor", "governance", "auditor")


def test_section_1_names_tests_that_exist() -> None:
    """What is shown elsewhere is shown."""
    assert missing_tests(SHOWN) == []


@pytest.fixture
def ledger() -> CaseLedger:
    """A consortium with the agreement A1."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=DUE)
    return ledger


# ---- members: what a status allows --------------------------------------------------------------

MOTION = {"msp_id": "NewMSP", "member_class": "bank", "affiliate_group": "new"}
UNTIL = (TRIGGER + 9 * DAY).isoformat()
ARGUMENTS: dict[str, list[Any]] = {
    "AdvanceDay": [],
    "Found": [[], {}],
    "OpenMonth": [TRIGGER.isoformat()[:7]],
    "ProposeMember": ["M-9", MOTION, "needed"],
    "ProposePolicy": ["P-9", {"voting_days": 6}, "needed"],
    "ResumeOrders": ["over"],
    "StopOrders": [UNTIL, "drill", salted("x")],
    "ExchangeDevice": [{"old": [], "new": [], "reason": "repair"}],
    "ReviseSchedule": [{"agreement": "A9", "version": 2, "reason": "eased"}],
}
TRANSIENT: dict[str, dict[str, Any]] = {
    "OpenAgreements": {"terms": []},
    "RecordIdentifiers": {"identifiers": []},
    "PostPayments": {"amounts": []},
    "RefundCredit": {"amounts": []},
    "ReviseSchedules": {"terms": []},
    "ReviseSchedule": {"terms": [{"instalments": []}]},
}
GOVERNANCE = {
    "CastMemberBallots", "CastPolicyBallots", "ProposeMember", "ProposePolicy", "RecordInstruments",
    "ResumeOrders", "StopOrders",
}  # fmt: skip
TAKES: dict[str, set[str]] = {
    **{name: {"governance"} for name in GOVERNANCE},
    **{name: set(ROLES) for name in ("AdvanceDay", "CloseCases", "FreeWaiting", "OpenMonth")},
    **{name: set(ROLES) for name in ("EndBlocksByTerm", "EscalateReleases", "ReissueReleases")},
    "Sweep": set(ROLES),
    "CastBallots": {"enforcement"},
    "AcknowledgeOrders": {"executor"},
    "AcknowledgeReleases": {"executor"},
    "ConfirmHolds": {"enforcement"},
    "PlaceHolds": {"lending", "enforcement"},
    "LiftHolds": {"lending", "enforcement"},
    "RegisterTacs": {"lending", "governance"},
}
"""Roles that a function takes; `lending` where it is not named."""
FUNCTIONS = sorted(
    (namespace, name)
    for namespace in ("enforcement", "instalments")
    for name in functions_that_write(namespace) - {"Found"}
)


@cache
def _shared(status: str = "active") -> CaseLedger:
    """A consortium with an agreement and a stop, the bank in a status; nothing is written to it."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=DUE)
    ledger.today(TRIGGER)
    ledger.stop(TRIGGER + DAY)
    more = {"leaves_on": UNTIL} if status == "leaving" else {}
    if status != "active":
        change_member(ledger, msp_id="BankMSP", status=status, **more)
    return ledger


def _call(ledger: CaseLedger, namespace: str, function: str, by: Creator) -> tuple[str, Any]:
    transient = TRANSIENT.get(function)
    args = ARGUMENTS.get(function, [[]])
    return ledger.simulate(namespace, function, *args, creator=by, transient=transient)


NEEDS_NO_ACTIVE_MEMBER = {
    "AdvanceDay", "AcknowledgeOrders", "AcknowledgeReleases", "AnswerDisputes", "ConfirmHolds",
    "EndAgreements", "EndBlocksByTerm", "EscalateReleases", "ExchangeDevice", "ExchangeDevices",
    "IssueClearance", "LiftHolds", "PlaceHolds", "PostPayments", "PurgeIdentifiers",
    "RecordIdentifiers", "RefundCredit", "ReissueReleases", "ReversePayments", "ReviseSchedule",
    "ReviseSchedules", "WithdrawCases",
}  # fmt: skip


@pytest.mark.parametrize("status", ["suspended", "leaving"])
@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_status_other_than_active_leaves_what_helps_a_payer(
    namespace: str, function: str, status: str
) -> None:
    """A member that is suspended or leaving opens, proposes and decides nothing; money received,
    ends, holds, receipts and releases are taken from it all the same.
    """
    role = sorted(TAKES.get(function, {"lending"}))[0]
    _, result = _call(_shared(status), namespace, function, officer("BankMSP", role))
    refused = result.status == 400 and f"is {status}" in result.message
    assert refused is (function not in NEEDS_NO_ACTIVE_MEMBER), result.message


@pytest.mark.parametrize(
    ("day", "acting", "gone_since"),
    [
        (date(2026, 6, 1), "AMSP", None),
        (date(2026, 6, 2), "BMSP", None),
        (date(2026, 9, 1), "BMSP", None),
        (date(2026, 9, 2), "CMSP", None),
        (date(2026, 12, 1), "CMSP", None),
        (date(2026, 12, 2), "", date(2026, 12, 2)),
    ],
)
def test_successor_that_has_gone_is_followed_by_its_own(
    day: date, acting: str, gone_since: date | None
) -> None:
    """A stands until its last day, then B, then C; nobody from the day after the last of them."""
    line = [
        Member("AMSP", "bank", "a", "", "leaving", date(2026, 6, 1), "BMSP"),
        Member("BMSP", "bank", "b", "", "leaving", date(2026, 9, 1), "CMSP"),
        Member("CMSP", "bank", "c", "", "leaving", date(2026, 12, 1)),
    ]
    roster = Roster(4, line)
    assert roster.left_without_successor("AMSP", day) == gone_since
    if acting:
        assert roster.acts_for(acting, "AMSP", day)
    if acting != "CMSP" and gone_since is None:
        assert not roster.acts_for("CMSP", "AMSP", day)


def test_successors_in_a_circle_stand_for_nobody() -> None:
    """Two that name each other and have both left: nobody is there."""
    roster = Roster(
        2,
        [
            Member("AMSP", "bank", "a", "", "leaving", date(2026, 6, 1), "BMSP"),
            Member("BMSP", "bank", "b", "", "leaving", date(2026, 7, 1), "AMSP"),
        ],
    )
    assert roster.left_without_successor("AMSP", date(2026, 7, 1)) is None
    assert roster.left_without_successor("AMSP", date(2026, 7, 2)) == date(2026, 7, 2)


# ---- officers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [*ROLES, ""])
@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_function_takes_its_roles_and_no_other(namespace: str, function: str, role: str) -> None:
    """`lending` for agreements, payments, notices, proposals; `enforcement` for ballots in cases;
    `executor` for receipts; `governance` for policy and membership; `auditor` where anyone may.
    """
    _, result = _call(_shared(), namespace, function, officer("PtaMSP", role))
    refused = "has the role" in result.message
    assert refused is (role not in TAKES.get(function, {"lending"})), result.message


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
@pytest.mark.parametrize("role", ["enforcement", "governance"])
def test_machine_account_carries_no_role_that_votes(
    namespace: str, function: str, role: str
) -> None:
    """A machine's certificate with one of these roles does nothing at all."""
    machine = Creator("PtaMSP", "batch", {"qist.role": role, "qist.machine": "true"})
    _, result = _call(_shared(), namespace, function, machine)
    assert result.status == 400
    assert ("votes are cast by persons" in result.message) is (
        role in TAKES.get(function, {"lending"})
    )


# ---- policy -------------------------------------------------------------------------------------


def _cast(ledger: CaseLedger, function: str, motion: str, by: str, choice: str = "yes") -> str:
    ballot = [{"proposal": motion, "choice": choice}]
    return str(verdicts(ledger.decide(function, ballot, by=(by, "governance")))[0]["state"])


def test_policy_vote_of_a_member_suspended_since_counts_nowhere(ledger: CaseLedger) -> None:
    """Four of five would carry it; with one yes gone the other three of four still must come."""
    by = ("PtaMSP", "governance")
    ledger.decide("ProposePolicy", "P-1", {"voting_days": 6}, "needed", by=by)
    for msp in ("PtaMSP", "MakerMSP", "OperatorMSP"):
        assert _cast(ledger, "CastPolicyBallots", "P-1", msp) == "open"
    change_member(ledger, msp_id="MakerMSP", status="suspended")
    assert ledger.ask("GovernanceProposal", "P-1")["state"] == "open"
    assert _cast(ledger, "CastPolicyBallots", "P-1", "BankMSP") == "adopted"


@pytest.mark.parametrize("regulator", ["no", ""])
def test_policy_without_the_regulator_is_never_adopted(ledger: CaseLedger, regulator: str) -> None:
    """Everybody else together is not enough."""
    by = ("BankMSP", "governance")
    ledger.decide("ProposePolicy", "P-1", {"orders_per_day": 1000}, "needed", by=by)
    states = [
        _cast(ledger, "CastPolicyBallots", "P-1", msp)
        for msp in ("BankMSP", "BankPayMSP", "MakerMSP", "OperatorMSP")
    ]
    assert states == ["open"] * 4
    if regulator:
        assert _cast(ledger, "CastPolicyBallots", "P-1", "PtaMSP", regulator) == "rejected"


def test_regulator_alone_changes_nothing(ledger: CaseLedger) -> None:
    """Neither policy nor membership nor a stop follows from its word only."""
    by = ("PtaMSP", "governance")
    ledger.decide("ProposePolicy", "P-1", {"voting_days": 6}, "needed", by=by)
    ledger.decide("ProposeMember", "M-1", {"msp_id": "BankMSP", "status": "suspended"}, "x", by=by)
    assert _cast(ledger, "CastPolicyBallots", "P-1", "PtaMSP") == "open"
    assert _cast(ledger, "CastMemberBallots", "M-1", "PtaMSP") == "open"
    assert _stop(ledger, "PtaMSP").value["state"] == "asked"
    assert not ledger.ask("OrdersStopped")["stopped"]


@pytest.mark.parametrize("days", [6, 7])
def test_milder_policy_binds_from_its_first_day_not_before(days: int) -> None:
    """A tier switched off, adopted on day 0: active on day 7."""
    ledger = CaseLedger()
    ledger.open("A1", instalments=DUE)
    ledger.bring("A1", "notified")
    assert adopt_policy(ledger, tier1_on=False) == TRIGGER + 7 * DAY
    ledger.today(TRIGGER + days * DAY)
    assert ledger.state_of(CASE) == ("notified" if days == 6 else "lapsed")


# ---- stops --------------------------------------------------------------------------------------


def _stop(ledger: CaseLedger, by: str, days: int = 5) -> Outcome:
    until = (ledger.tx_day + days * DAY).isoformat()
    return ledger.decide("StopOrders", until, "drill", salted("x"), by=(by, "governance"))


def _resume(ledger: CaseLedger, by: str) -> Outcome:
    return ledger.decide("ResumeOrders", "over", by=(by, "governance"))


def test_stop_asked_by_a_member_suspended_since_is_asked_by_nobody(ledger: CaseLedger) -> None:
    """Whoever asked first must still be active when the second asks; asked again, it counts."""
    _stop(ledger, "MakerMSP")
    change_member(ledger, msp_id="MakerMSP", status="suspended")
    assert _stop(ledger, "PtaMSP").value["state"] == "asked"
    change_member(ledger, msp_id="MakerMSP", status="active")
    assert _stop(ledger, "MakerMSP").value["state"] == "stopped"
    _resume(ledger, "MakerMSP")
    change_member(ledger, msp_id="MakerMSP", status="suspended")
    assert _resume(ledger, "PtaMSP").value["state"] == "asked"
    assert _resume(ledger, "BankMSP").value["state"] == "running"


def test_stop_is_not_ended_by_a_regulator_and_its_own_affiliate() -> None:
    """Two classes of one affiliate group are one voice."""
    founders = (
        ("BankMSP", "bank", "bank"),
        ("OperatorMSP", "operator", "operator"),
        ("LabMSP", "manufacturer", "pta"),
        ("PtaMSP", "regulator", "pta"),
    )
    ledger = CaseLedger(founders)
    assert [_stop(ledger, by).value["state"] for by in ("PtaMSP", "LabMSP")] == ["asked"] * 2
    assert _stop(ledger, "BankMSP").value["state"] == "stopped"
    assert [_resume(ledger, by).value["state"] for by in ("PtaMSP", "LabMSP")] == ["asked"] * 2
    assert ledger.ask("OrdersStopped")["stopped"]
    assert _resume(ledger, "OperatorMSP").value["state"] == "running"


@pytest.mark.parametrize(("days", "stopped"), [(0, True), (30, True), (31, False)])
def test_stop_ends_by_itself_after_its_last_day(
    ledger: CaseLedger, days: int, stopped: bool
) -> None:
    """Up to 30 days, the last one included."""
    for by in ("PtaMSP", "BankMSP"):
        _stop(ledger, by, 30)
    ledger.today(ledger.tx_day + days * DAY)
    assert ledger.ask("OrdersStopped")["stopped"] is stopped


# ---- endorsement --------------------------------------------------------------------------------


def test_release_writes_nothing_that_the_regulator_or_the_lender_must_endorse(
    ledger: CaseLedger,
) -> None:
    """From the cure to the last receipt only `instalments` is written, and no key with a policy."""
    ledger.bring("A1", "enforced")
    record = {"agreement": "A1", "reference": "R1", "channel": "branch"}
    record["paid_on"] = ledger.tx_day.isoformat()
    steps: list[tuple[str, list[Any], Creator, dict[str, Any]]] = [
        ("PostPayments", [record], officer("OperatorMSP"), {"amounts": [200]}),
        (
            "AcknowledgeReleases",
            [{"order": order_of(CASE), "step": step} for step in IN_WORDS],
            officer("OperatorMSP", "executor"),
            {},
        ),
    ]
    for function, records, by, transient in steps:
        simulated = ledger.simulate(
            "instalments", function, records, creator=by, transient=transient
        )
        parts = namespaces_of(simulated[1])
        written = {name: list(part.writes) for name, part in parts.items() if part.writes}
        assert set(written) == {"instalments"}
        for write in written["instalments"]:
            assert not ledger.state.metadata_of("instalments", write.key), write.key
        assert ledger.commit([simulated])[0].valid
    assert ledger.state_of(CASE) == "released"


# ---- the ledger day -----------------------------------------------------------------------------

READ_NO_DAY = {
    "ConfirmSales", "EndAgreements", "ExchangeDevice", "ExchangeDevices", "IssueClearance",
    "PostPayments", "PurgeIdentifiers", "RecordIdentifiers", "RefundCredit", "RegisterDevices",
    "RegisterTacs", "ReversePayments", "ReviseSchedule", "ReviseSchedules",
}  # fmt: skip
"""What is a fact whenever it is recorded; write-offs, deaths and certificates read the day once
there is one to count."""


@pytest.mark.parametrize(("namespace", "function"), FUNCTIONS)
def test_notices_proposals_ballots_orders_and_receipts_read_the_ledger_day(
    namespace: str, function: str
) -> None:
    """So what was endorsed yesterday and held back is invalid today; payments do not read it."""
    role = sorted(TAKES.get(function, {"lending"}))[0]
    by = "BankMSP" if function == "OpenAgreements" else "PtaMSP"
    _, result = _call(_shared(), namespace, function, officer(by, role))
    assert ("ledger-day" in keys_read(result, "enforcement")) is (function not in READ_NO_DAY)


@pytest.mark.parametrize(
    ("state", "function", "by", "given"),
    [
        ("triggered", "ServeNotices", ("BankMSP", "lending"), {
            "case": CASE, "delivered_on": TRIGGER.isoformat(), "channel": "sms", "language": "ur",
            "proof": salted("p"),
        }),
        ("voting", "CastBallots", ("PtaMSP", "enforcement"), {
            "case": CASE, "choice": "yes", "reason": "seen",
        }),
        ("ordered", "AcknowledgeOrders", ("OperatorMSP", "executor"), {
            "order": "O-A1-1-1", "step": "SUBMITTED",
        }),
    ],
)  # fmt: skip
def test_step_endorsed_before_midnight_is_invalid_after_it(
    ledger: CaseLedger, state: str, function: str, by: tuple[str, str], given: dict[str, Any]
) -> None:
    """A minute before midnight in Pakistan it stands; held back over midnight it does not, though
    it may be made anew, as long as its own term runs.
    """
    ledger.bring("A1", state)
    today = ledger.tx_day
    ledger.at(today, "23:59")
    held_back = ledger.simulate("enforcement", function, [given], creator=officer(*by))
    assert held_back[1].status == 200
    ledger.today(today + DAY, "00:00")
    assert not ledger.commit([held_back])[0].valid
    assert verdicts(ledger.decide(function, [given], by=by))[0]["ok"]


def test_day_is_pakistans_on_the_last_of_a_leap_february(ledger: CaseLedger) -> None:
    """19:00 UTC of 29 February 2028 is 1 March in Pakistan."""
    ledger.at("2028-02-29", "23:59")
    by = ("BankMSP", "lending")
    assert ledger.decide("AdvanceDay", by=by).value["day"] == "2028-02-29"
    ledger.now += timedelta(minutes=1)
    assert ledger.now.isoformat() == "2028-02-29T19:00:00+00:00"
    assert ledger.decide("AdvanceDay", by=by).value["day"] == "2028-03-01"


@pytest.mark.parametrize(("days", "state"), [(7, "voting"), (8, "lapsed")])
def test_deadline_binds_by_date_though_nobody_swept_or_moved_the_day(
    ledger: CaseLedger, days: int, state: str
) -> None:
    """Within n days includes day n; whoever asks sees the end, with no transaction in between."""
    ledger.bring("A1", "voting")
    ledger.at(PROPOSED + days * DAY, "23:59" if state == "voting" else "00:00")
    assert ledger.state_of(CASE) == state
