"""A life that calls every function that writes: a case, money and ends, governance."""

from __future__ import annotations

from datetime import timedelta

from chaincode.instalments.identifiers import imei_with_check_digit
from tests.support.book_ledger import SALT, TAC, device, payment, pseudonym, salted, terms_of
from tests.support.case_ledger import IN_WORDS, TRIGGER, VOTERS, CaseLedger

DAY = timedelta(days=1)
DUE = [("2026-04-05", 100), ("2026-05-05", 100)]
NUMBERS = {"salt": SALT, "imeis": [imei_with_check_digit(f"{TAC}00000{n}") for n in range(2)]}


def whole_life(ledger: CaseLedger) -> None:
    """Live through all of it, on a ledger that was founded."""
    _life_of_a_case(ledger)
    _money_and_ends(ledger)
    _governance(ledger)


def _life_of_a_case(ledger: CaseLedger) -> None:
    """From the sale over a block, holds and a release to the certificate."""
    bank, anybody = ("BankMSP", "lending"), ("MakerMSP", "auditor")
    case, order = "C-A1-1", "O-A1-1-1"
    ledger.open("A1", "A2", "A3", "A4", instalments=DUE)
    ledger.today(TRIGGER)
    ledger.decide("OpenMonth", "2026-05", by=anybody)
    ledger.sweep("A1", "A2")
    ledger.notify(case, "C-A2-1")
    ledger.hold("A1", "dispute", until=TRIGGER, by=("OperatorMSP", "lending"))
    answers = [{"hold": "H-A1-1", "evidence": salted("a")}]
    ledger.change("AnswerDisputes", answers, by=bank)
    ledger.hold("A2", "stolen")
    ledger.change("LiftHolds", [{"hold": "H-A2-1", "reason": "found"}], by=bank)
    ledger.hold("A3", "death")
    given = [{"hold": "H-A3-1", "evidence": salted("c")}]
    ledger.change("ConfirmHolds", given, by=("PtaMSP", "enforcement"))
    ledger.change("WithdrawCases", [{"case": "C-A2-1", "reason": "agreed"}], by=bank)
    ledger.today(TRIGGER + 15 * DAY)
    ledger.propose(case)
    ledger.stop(ledger.tx_day)
    for voter in VOTERS:
        ledger.vote(case, by=voter)
    for msp in ("PtaMSP", "MakerMSP"):
        ledger.decide("ResumeOrders", "over", by=(msp, "governance"))
    ledger.decide("FreeWaiting", [case], by=("PtaMSP", "enforcement"))
    ledger.report(order, "SUBMITTED", "APPLIED")
    ledger.today(ledger.tx_day + 180 * DAY)
    ledger.change("EndBlocksByTerm", [case], by=anybody)
    ledger.at(ledger.tx_day, "13:01")
    ledger.change("EscalateReleases", [order], by=anybody)
    ledger.report_release(order, *IN_WORDS)
    ledger.at(ledger.tx_day, "14:00")
    ledger.report(order, "VERIFIED")
    ledger.change("ReissueReleases", [order], by=anybody)
    ledger.report_release(order, *IN_WORDS)
    ledger.decide("CloseCases", [case, "C-A2-1"], by=anybody)


def _money_and_ends(ledger: CaseLedger) -> None:
    """Payments, a reversal, revisions, credit, a certificate, a write-off, exchanges."""
    bank, maker = ("BankMSP", "lending"), ("MakerMSP", "lending")
    today = ledger.tx_day.isoformat()
    ledger.pay("A1", 250, today)
    record = payment("A2", today, reference="R2")
    ledger.change("PostPayments", [record], by=bank, amounts=[10])
    reversal = {"reference": "R2", "evidence": salted("bounced")}
    ledger.change("ReversePayments", [reversal], by=bank)
    refund = {"agreement": "A1", "reference": "R3"}
    ledger.change("RefundCredit", [refund], by=bank, amounts=[50])
    eased = [{"instalments": terms_of([(today, 150)])["instalments"]}]
    given = {"agreement": "A2", "version": 2, "reason": "eased"}
    ledger.change("ReviseSchedules", [given], by=bank, terms=eased)
    eased = [{"instalments": terms_of([(today, 140)])["instalments"]}]
    ledger.change("ReviseSchedule", given | {"version": 3}, by=bank, terms=eased)
    named = [{"agreement": "A1"}]
    ledger.change("RecordIdentifiers", named, by=bank, identifiers=[NUMBERS])
    turned = NUMBERS | {"imeis": NUMBERS["imeis"][::-1]}
    ledger.change("RecordIdentifiers", named, by=bank, identifiers=[turned])
    ledger.change("IssueClearance", named, by=bank)
    ledger.change("PurgeIdentifiers", named, by=bank)
    ended = {"agreement": "A2", "kind": "written_off", "evidence": salted("w")}
    ledger.change("EndAgreements", [ended], by=bank)
    ledger.change("RegisterDevices", [device("N3"), device("N4")], by=maker)
    pairs = [
        {"old": [pseudonym(f"A{number}/0")], "new": [pseudonym(f"N{number}/0")], "reason": "repair"}
        for number in (3, 4)
    ]
    ledger.change("ExchangeDevices", pairs[:1], by=maker)
    ledger.change("ExchangeDevice", pairs[1], by=maker)


def _governance(ledger: CaseLedger) -> None:
    """An instrument, a policy version, a change of membership."""
    by = ("PtaMSP", "governance")
    instrument = {
        "reference": "SRO-1", "tier": 2, "valid_from": "2026-01-01", "valid_until": "2026-12-31",
        "territory": "pk", "document": salted("sro"),
    }  # fmt: skip
    ledger.decide("RecordInstruments", [instrument], by=by)
    ledger.decide("ProposePolicy", "P-1", {"voting_days": 6}, "needed", by=by)
    change = {"msp_id": "MakerMSP", "name": "Maker Ltd"}
    ledger.decide("ProposeMember", "M-1", change, "needed", by=by)
    voters = ("PtaMSP", "BankMSP", "BankPayMSP", "OperatorMSP")
    for function, motion, needed in (
        ("CastPolicyBallots", "P-1", 4),
        ("CastMemberBallots", "M-1", 3),
    ):
        for msp in voters[:needed]:
            ballot = [{"proposal": motion, "choice": "yes"}]
            ledger.decide(function, ballot, by=(msp, "governance"))
