"""Receipts of block orders and of releases (rulebook 4, 5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.book_ledger import officer, salted
from tests.support.case_ledger import (
    FOUNDERS,
    IN_WORDS,
    ORDERED,
    CaseLedger,
    order_of,
    verdicts,
)

DUE = [("2026-04-05", 100), ("2026-05-05", 100)]
ORDER = "O-A1-1-1"
LADDER = ("SUBMITTED", "IMPORTED", "LISTED", "APPLIED", "VERIFIED")
DAY = timedelta(days=1)


@pytest.fixture
def ledger() -> CaseLedger:
    """Two operators execute; a case of the bank's is ordered."""
    ledger = CaseLedger((*FOUNDERS, ("MobiMSP", "operator", "mobi")))
    ledger.open("A1", instalments=DUE)
    ledger.bring("A1", "voting")
    for voter in ("PtaMSP", "OperatorMSP", "MakerMSP"):
        ledger.vote("C-A1-1", by=voter)
    assert ledger.state_of("C-A1-1") == "ordered"
    return ledger


def _steps(ledger: CaseLedger, executor: str) -> list[str]:
    receipts = ledger.ask("Order", ORDER)["receipts"]
    found = next(each for each in receipts if each["executor"] == executor)
    return [step["step"] for step in found["steps"]]


# ---- the ladder ---------------------------------------------------------------------------------


def test_ladder_in_one_list_is_taken(ledger: CaseLedger) -> None:
    """Several steps of one order may follow each other in one list."""
    found = ledger.report(ORDER, *LADDER)
    assert [each["state"] for each in found] == ["ordered"] * 3 + ["enforced"] * 2
    assert _steps(ledger, "OperatorMSP") == list(LADDER)
    assert _steps(ledger, "MobiMSP") == []


@pytest.mark.parametrize(
    ("known", "step", "more", "message"),
    [
        ([], "APPLIED", {}, "before it is SUBMITTED"),
        ([], "VERIFIED", {}, "before it is SUBMITTED"),
        ([], "REFUSED", {}, "without a reason"),
        (["SUBMITTED", "LISTED"], "IMPORTED", {}, "a step back"),
        (["SUBMITTED"], "VERIFIED", {}, "before it is APPLIED"),
        (["SUBMITTED", "APPLIED"], "REFUSED", {"reason": "late"}, "cannot be REFUSED"),
        (["SUBMITTED", "APPLIED", "VERIFIED"], "LISTED", {}, "comes too late"),
    ],
)
def test_ladder_out_of_order_is_refused(
    ledger: CaseLedger, known: list[str], step: str, more: dict[str, str], message: str
) -> None:
    """No step back, none without those before it, no refusal without a reason."""
    if known:
        ledger.report(ORDER, *known)
    found = ledger.report(ORDER, step, **more)[0]
    assert not found["ok"]
    assert message in found["message"]
    assert _steps(ledger, "OperatorMSP") == known


def test_step_again_changes_nothing(ledger: CaseLedger) -> None:
    """The same step twice is one step."""
    ledger.report(ORDER, "SUBMITTED")
    again = ledger.report(ORDER, "SUBMITTED")[0]
    assert (again["ok"], again["written"]) == (True, False)


def test_receipt_of_another_member_is_refused(ledger: CaseLedger) -> None:
    """Only an addressee reports."""
    found = ledger.report(ORDER, "SUBMITTED", by="MakerMSP")[0]
    assert "is not addressed to MakerMSP" in found["message"]


def test_refused_block_leaves_the_other_executor(ledger: CaseLedger) -> None:
    """One executor refuses with a reason; the case follows what the other does."""
    ledger.report(ORDER, "REFUSED", reason="imei_unknown")
    assert ledger.ask("OrdersOpen", "OperatorMSP", 10, "")["orders"] == []
    assert ledger.report(ORDER, "SUBMITTED", "APPLIED", by="MobiMSP")[-1]["state"] == "enforced"
    assert ledger.state_of("C-A1-1") == "enforced"


def test_two_executors_at_once_do_not_conflict(ledger: CaseLedger) -> None:
    """Receipts of two executors about one order are valid in one block."""
    both = [
        ledger.simulate(
            "enforcement",
            "AcknowledgeOrders",
            [{"order": ORDER, "step": step} for step in ("SUBMITTED", "APPLIED")],
            creator=officer(msp, "executor"),
        )
        for msp in ("OperatorMSP", "MobiMSP")
    ]
    assert [outcome.valid for outcome in ledger.commit(both)] == [True, True]


def test_start_after_the_case_ended_is_refused(ledger: CaseLedger) -> None:
    """Nobody starts a block whose case was cured; what was started may still be reported."""
    ledger.report(ORDER, "SUBMITTED", by="MobiMSP")
    ledger.pay("A1", 200, ledger.tx_day)
    found = ledger.report(ORDER, "SUBMITTED")[0]
    assert (found["ok"], found["state"]) == (False, "releasing")
    assert ledger.report(ORDER, "APPLIED", by="MobiMSP")[0]["ok"]


def test_start_under_a_hold_or_stop_is_refused(ledger: CaseLedger) -> None:
    """Nobody starts a block that is held, or while all orders are stopped."""
    placed = ledger.hold("A1", "stolen")
    assert "its case is held" in ledger.report(ORDER, "SUBMITTED")[0]["message"]
    lifted = [{"hold": placed["hold"], "reason": "found"}]
    verdicts(ledger.change("LiftHolds", lifted, by=("BankMSP", "lending")))
    ledger.stop(ledger.tx_day)
    assert "are stopped until" in ledger.report(ORDER, "SUBMITTED")[0]["message"]


def test_late_starter_may_not_start_though_another_did(ledger: CaseLedger) -> None:
    """Who has not SUBMITTED within 72 hours may not start, even in a case that goes on."""
    ledger.report(ORDER, "SUBMITTED", "APPLIED", by="MobiMSP")
    ledger.today(ORDERED + 3 * DAY, "11:01")
    found = ledger.report(ORDER, "SUBMITTED")[0]
    assert (found["ok"], "72 hours are over" in found["message"]) == (False, True)
    assert ledger.state_of("C-A1-1") == "enforced"


# ---- releases -----------------------------------------------------------------------------------


@pytest.fixture
def released(ledger: CaseLedger) -> CaseLedger:
    """Both operators applied the block, then the borrower paid."""
    for msp in ("OperatorMSP", "MobiMSP"):
        ledger.report(ORDER, "SUBMITTED", "APPLIED", by=msp)
    ledger.pay("A1", 200, ledger.tx_day)
    assert ledger.state_of("C-A1-1") == "releasing"
    return ledger


def _release(ledger: CaseLedger) -> dict[str, Any]:
    return dict(ledger.ask("Release", ORDER, of="instalments"))


def test_release_waits_for_every_addressee(released: CaseLedger) -> None:
    """Released once each is VERIFIED."""
    assert released.report_release(ORDER, *IN_WORDS)[-1]["state"] == "releasing"
    assert released.state_of("C-A1-1") == "releasing"
    assert released.report_release(ORDER, *IN_WORDS, by="MobiMSP")[-1]["state"] == "released"
    assert released.state_of("C-A1-1") == "released"
    assert released.ask("ReleasesOpen", 10, "", of="instalments")["releases"] == []


def test_release_names_the_device_and_all_its_identifiers(released: CaseLedger) -> None:
    """The release carries what was blocked: every IMEI of the handset."""
    order, release = released.ask("Order", ORDER), _release(released)
    assert len(order["identifiers"]) == 2
    for name in ("device", "identifiers", "executors", "case", "agreement"):
        assert release[name] == order[name]
    assert (release["reason"], release["release"]) == ("cured", "R-A1-1-1")


def test_release_not_applied_needs_evidence_and_no_applied_block(released: CaseLedger) -> None:
    """NOT_APPLIED is a proof, and none against an own receipt."""
    found = released.report_release(ORDER, "NOT_APPLIED", evidence=salted("log"))[0]
    assert "reported the block APPLIED" in found["message"]


def test_release_of_a_block_that_nobody_applied(ledger: CaseLedger) -> None:
    """Who proves that nothing was applied is done."""
    ledger.report(ORDER, "SUBMITTED")
    ledger.pay("A1", 200, ledger.tx_day)
    found = ledger.report_release(ORDER, "NOT_APPLIED")[0]
    assert "without evidence" in found["message"]
    assert ledger.report_release(ORDER, "NOT_APPLIED", evidence=salted("log"))[0]["ok"]
    late = ledger.report_release(ORDER, "SUBMITTED")[0]
    assert "comes too late" in late["message"]
    more = {"by": "MobiMSP", "evidence": salted("log")}
    assert ledger.report_release(ORDER, "NOT_APPLIED", **more)[0]["state"] == "released"


def test_release_refused_is_issued_again_at_once(released: CaseLedger) -> None:
    """A refusal leads to a new issue in the same transaction; the same refusal twice, to one."""
    found = released.report_release(ORDER, "SUBMITTED", "REFUSED", reason="list_too_short")
    assert [each["state"] for each in found] == ["releasing", "releasing"]
    again = released.report_release(ORDER, "REFUSED", reason="list_too_short")[0]
    assert (again["ok"], again["written"]) == (True, False)
    issues = {each["executor"]: each["issue"] for each in _release(released)["receipts"]}
    assert issues == {"OperatorMSP": 2, "MobiMSP": 1}
    assert released.report_release(ORDER, *IN_WORDS)[-1]["ok"]
    released.report_release(ORDER, *IN_WORDS, by="MobiMSP")
    assert released.state_of("C-A1-1") == "released"


def test_release_overtaken_by_a_block_receipt_is_issued_again(ledger: CaseLedger) -> None:
    """A block receipt between two answers to its release: the executor must look again."""
    ledger.report(ORDER, "SUBMITTED")
    ledger.pay("A1", 200, ledger.tx_day)
    ledger.report_release(ORDER, "SUBMITTED", "APPLIED")
    ledger.today(ledger.tx_day, "11:30")
    ledger.report(ORDER, "APPLIED")
    assert ledger.report_release(ORDER, "VERIFIED")[0]["ok"]
    found = verdicts(ledger.change("ReissueReleases", [ORDER], by=("MakerMSP", "auditor")))[0]
    assert (found["ok"], found["state"]) == (True, "releasing")
    issues = {each["executor"]: each["issue"] for each in _release(ledger)["receipts"]}
    assert issues == {"OperatorMSP": 2, "MobiMSP": 1}


def test_release_followed_by_a_block_receipt_is_issued_again(ledger: CaseLedger) -> None:
    """A block that slipped through after its release is released again, by anybody's request."""
    ledger.report(ORDER, "SUBMITTED")
    ledger.pay("A1", 200, ledger.tx_day)
    for msp in ("OperatorMSP", "MobiMSP"):
        ledger.report_release(ORDER, "NOT_APPLIED", by=msp, evidence=salted("log"))
    assert ledger.state_of("C-A1-1") == "released"
    nothing = verdicts(ledger.change("ReissueReleases", [ORDER], by=("MakerMSP", "auditor")))[0]
    assert "needs no new issue" in nothing["message"]
    ledger.today(ledger.tx_day, "11:30")
    assert ledger.report(ORDER, "APPLIED")[0]["state"] == "released"
    found = verdicts(ledger.change("ReissueReleases", [ORDER], by=("MakerMSP", "auditor")))[0]
    assert found["state"] == "releasing"
    assert ledger.state_of("C-A1-1") == "releasing"
    assert len(ledger.ask("ReleasesOpen", 10, "", of="instalments")["releases"]) == 1
    again = verdicts(ledger.change("ReissueReleases", [ORDER], by=("MakerMSP", "auditor")))[0]
    assert not again["ok"]
    assert ledger.report_release(ORDER, *IN_WORDS)[-1]["state"] == "released"


@pytest.mark.parametrize(("clock", "ok"), [("13:00", False), ("13:01", True)])
def test_release_unanswered_for_two_hours_is_escalated(
    released: CaseLedger, clock: str, ok: bool
) -> None:
    """Whoever has not answered within 2 hours is escalated, once; who has, is not."""
    released.report_release(ORDER, "SUBMITTED", by="MobiMSP")
    released.today(released.tx_day, clock)
    assert _release(released)["overdue"] is ok
    found = verdicts(released.change("EscalateReleases", [ORDER], by=("MakerMSP", "auditor")))[0]
    assert found["ok"] is ok
    if ok:
        receipts = _release(released)["receipts"]
        marked = [each["executor"] for each in receipts if each["escalated_at"] is not None]
        assert marked == ["OperatorMSP"]
        assert (found["state"], found["written"]) == ("escalated", True)
        again = released.change("EscalateReleases", [ORDER], by=("MakerMSP", "auditor"))
        assert verdicts(again)[0]["written"] is False


def test_release_of_an_order_without_release_is_refused(ledger: CaseLedger) -> None:
    """There is nothing to acknowledge before a case ended."""
    found = ledger.report_release(ORDER, "SUBMITTED")[0]
    assert "has no release" in found["message"]


def test_release_needs_neither_lender_nor_regulator(released: CaseLedger) -> None:
    """A suspended executor still releases; nobody else signs anything."""
    change = {"msp_id": "OperatorMSP", "status": "suspended"}
    released.decide("ProposeMember", "M-1", change, "breach", by=("PtaMSP", "governance"))
    for msp in ("PtaMSP", "BankMSP", "BankPayMSP", "MakerMSP"):
        ballot = [{"proposal": "M-1", "choice": "yes"}]
        released.decide("CastMemberBallots", ballot, by=(msp, "governance"))
    assert released.report_release(order_of("C-A1-1"), *IN_WORDS)[-1]["ok"]
