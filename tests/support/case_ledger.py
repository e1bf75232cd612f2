"""Both contracts on a ledger in memory, founded by their own function; short ways through a case.

The bank is the lender of everything. Its instalments of 100 paisa are due from 2026-04-05 on, so a
case may open on 2026-05-05.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from chaincode.contract import Creator
from chaincode.instalments.contracts import EnforcementContract, InstalmentsContract
from tests.support.book_ledger import (
    OPENED,
    TAC,
    THREE_EQUAL,
    agreement,
    device,
    officer,
    payment,
    salted,
    terms_of,
)
from tests.support.memory_state import ContractLedger, Outcome

FOUNDERS = (
    ("BankMSP", "bank", "bank"),
    ("BankPayMSP", "investment_firm", "bank"),
    ("OperatorMSP", "operator", "operator"),
    ("MakerMSP", "manufacturer", "maker"),
    ("PtaMSP", "regulator", "pta"),
)
FIRST_DUE = date(2026, 4, 5)
TRIGGER = date(2026, 5, 5)
PROPOSED = TRIGGER + timedelta(days=14)
ORDERED = PROPOSED
VOTERS = ("PtaMSP", "OperatorMSP", "MakerMSP")
IN_WORDS = ("SUBMITTED", "APPLIED", "VERIFIED")


def day(text: str | date) -> date:
    """Return a date, given as one or as text."""
    return date.fromisoformat(text) if isinstance(text, str) else text


class CaseLedger(ContractLedger):
    """A founded consortium with both contracts; `today` moves clock and ledger day."""

    def __init__(
        self,
        founders: Sequence[tuple[str, str, str]] = FOUNDERS,
        found: bool = True,
        begin: str = OPENED,
        **parameters: Any,
    ) -> None:
        super().__init__([InstalmentsContract(), EnforcementContract()], officer("BankMSP"))
        self.at(begin)
        if found:
            members = [
                {"msp_id": msp, "member_class": kind, "affiliate_group": group}
                for msp, kind, group in founders
            ]
            founded = self.decide("Found", members, parameters, by=("PtaMSP", "governance"))
            assert founded.valid, founded.message

    # ---- calls
    def decide(self, function: str, *args: Any, by: tuple[str, str] | Creator) -> Outcome:
        """Submit a function of `enforcement`."""
        creator = by if isinstance(by, Creator) else officer(*by)
        return self.submit("enforcement", function, *args, creator=creator)

    def change(
        self, function: str, *args: Any, by: tuple[str, str] | Creator, **transient: Any
    ) -> Outcome:
        """Submit a function of `instalments`."""
        creator = by if isinstance(by, Creator) else officer(*by)
        return self.submit("instalments", function, *args, creator=creator, transient=transient)

    def ask(self, function: str, *args: Any, of: str = "enforcement") -> Any:
        """Return what a query answers; it must answer."""
        outcome = self.evaluate(of, function, *args)
        assert outcome.status == 200, outcome.message
        return outcome.value

    def today(self, when: str | date, clock: str = "11:00") -> None:
        """Move the clock, and the ledger day with it."""
        self.at(when, clock)
        moved = self.decide("AdvanceDay", by=("MakerMSP", "auditor"))
        assert moved.status == 200, moved.message

    # ---- the book
    def open(
        self,
        *names: str,
        instalments: Sequence[tuple[str, int]] = tuple(THREE_EQUAL),
        lender: str = "BankMSP",
        confirm: bool = True,
        **changes: Any,
    ) -> None:
        """Open agreements about devices of the same names, and confirm the sales."""
        tac = {"tac": TAC, "maker": "Acme", "registrants": ["MakerMSP"]}
        _good(self.change("RegisterTacs", [tac], by=("PtaMSP", "lending")))
        devices = [device(name) for name in names]
        _good(self.change("RegisterDevices", devices, by=("MakerMSP", "lending")))
        records = [agreement(name, **changes) for name in names]
        terms = [terms_of(instalments) for _ in names]
        _good(self.change("OpenAgreements", records, by=(lender, "lending"), terms=terms))
        if confirm:
            handed = [
                {"agreement": name, "handed_over_on": self.tx_day.isoformat()} for name in names
            ]
            by = "MakerMSP"
            _good(self.change("ConfirmSales", handed, by=(by, "lending")))

    def pay(self, name: str, amount: int, paid_on: str | date, by: str = "OperatorMSP") -> Any:
        """Post one payment by a receiving institution and return the verdict."""
        record = payment(name, day(paid_on).isoformat())
        outcome = self.change("PostPayments", [record], by=(by, "lending"), amounts=[amount])
        return _good(outcome)[0]

    # ---- a case, step by step; each returns the verdicts
    def sweep(self, *names: str) -> list[dict[str, Any]]:
        """Sweep agreements."""
        return verdicts(self.decide("Sweep", list(names), by=("MakerMSP", "auditor")))

    def notify(self, *cases: str, delivered_on: date | None = None, **changes: Any) -> Any:
        """Serve notices, by default delivered today."""
        delivered = (delivered_on or self.tx_day).isoformat()
        notices = [
            {
                "case": case,
                "delivered_on": delivered,
                "channel": "sms",
                "language": "ur",
                "proof": salted(case),
            }
            | changes
            for case in cases
        ]
        return verdicts(self.decide("ServeNotices", notices, by=("BankMSP", "lending")))

    def propose(self, *cases: str, **changes: Any) -> list[dict[str, Any]]:
        """Propose cases, by default for tier 1."""
        proposals = [{"case": case, "tier": 1, "reason": "arrears"} | changes for case in cases]
        return verdicts(self.decide("ProposeCases", proposals, by=("BankMSP", "lending")))

    def vote(self, *cases: str, by: str, choice: str = "yes") -> list[dict[str, Any]]:
        """Cast one member's ballots."""
        ballots = [{"case": case, "choice": choice, "reason": "seen"} for case in cases]
        return verdicts(self.decide("CastBallots", ballots, by=(by, "enforcement")))

    def report(self, order: str, *steps: str, by: str = "OperatorMSP", **more: Any) -> Any:
        """Acknowledge a block order."""
        receipts = [{"order": order, "step": step} | more for step in steps]
        return verdicts(self.decide("AcknowledgeOrders", receipts, by=(by, "executor")))

    def report_release(self, order: str, *steps: str, by: str = "OperatorMSP", **more: Any) -> Any:
        """Acknowledge a release."""
        receipts = [{"order": order, "step": step} | more for step in steps]
        return verdicts(self.change("AcknowledgeReleases", receipts, by=(by, "executor")))

    def hold(
        self,
        name: str,
        kind: str = "dispute",
        until: date | None = None,
        by: tuple[str, str] = ("BankMSP", "lending"),
        evidence: str = "evidence",
    ) -> dict[str, Any]:
        """Place a hold, by default for ten days more."""
        last = (until or self.tx_day + timedelta(days=10)).isoformat()
        given = {"agreement": name, "kind": kind, "evidence": salted(evidence), "until": last}
        return verdicts(self.change("PlaceHolds", [given], by=by))[0]

    def bring(self, name: str, state: str) -> str:
        """Bring a fresh case of *name* to a state on the usual days; return its id."""
        case = f"C-{name}-1"
        self.today(TRIGGER)
        assert self.sweep(name)[0]["state"] == "triggered"
        if state == "triggered":
            return case
        assert self.notify(case)[0]["state"] == "notified"
        if state == "notified":
            return case
        self.today(PROPOSED)
        assert self.propose(case)[0]["state"] == "voting"
        if state == "voting":
            return case
        if state == "rejected":
            self.vote(case, by="PtaMSP", choice="no")
            return case
        if state == "waiting":
            self.stop(self.tx_day + timedelta(days=1))
        for voter in VOTERS:
            self.vote(case, by=voter)
        if state in ("ordered", "waiting"):
            return case
        self.today(ORDERED + timedelta(days=1))
        assert self.report(order_of(case), "SUBMITTED", "APPLIED")[-1]["state"] == "enforced"
        assert state == "enforced", state
        return case

    def stop(self, until: date) -> None:
        """Stop all block orders."""
        for msp in ("PtaMSP", "MakerMSP"):
            stopped = self.decide(
                "StopOrders", until.isoformat(), "drill", salted("stop"), by=(msp, "governance")
            )
            assert stopped.valid, stopped.message

    # ---- asking
    @property
    def tx_day(self) -> date:
        """The PKT date of the next proposals."""
        return (self.now + timedelta(hours=5)).date()

    def view(self, case: str) -> dict[str, Any]:
        """Return the view of a case now."""
        return dict(self.ask("Case", case))

    def state_of(self, case: str) -> str:
        """Return the state of a case now."""
        return str(self.view(case)["state"])


def order_of(case: str, round_number: int = 1) -> str:
    """Return the id of a case's order."""
    return f"O{case[1:]}-{round_number}"


def verdicts(outcome: Outcome) -> list[dict[str, Any]]:
    """Return the verdicts of a bulk; the transaction itself must pass."""
    assert outcome.valid, outcome.message
    return list(outcome.value["verdicts"])


def _good(outcome: Outcome) -> list[dict[str, Any]]:
    found = verdicts(outcome)
    assert all(verdict["ok"] for verdict in found), found
    return found
