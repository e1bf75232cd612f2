"""What the book's records do to a case, in their own transaction (rulebook 4), and what the book's
queries tell of it.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.book_ledger import agreement, payment, pseudonym, salted, terms_of
from tests.support.case_ledger import CaseLedger, order_of, verdicts

BANK, OPERATOR, MAKER, PTA = (
    (f"{name}MSP", "lending") for name in ("Bank", "Operator", "Maker", "Pta")
)


@pytest.fixture
def ledger() -> CaseLedger:
    """Agreement A, three instalments of 100 from April, confirmed on the day of opening."""
    book = CaseLedger()
    book.open("A", "N")
    return book


def status(ledger: CaseLedger, name: str = "A") -> dict[str, Any]:
    return dict(ledger.ask("DeviceStatus", [pseudonym(f"{name}/0")], of="instalments"))


def blocked(ledger: CaseLedger, name: str = "A") -> str:
    return str(status(ledger, name)["blocked"])


def tier(ledger: CaseLedger) -> int:
    return int(ledger.ask("Standing", "A", "", of="instalments")["enforcement_tier"])


def release(ledger: CaseLedger) -> None:
    found = ledger.report_release(order_of("C-A-1"), "SUBMITTED", "APPLIED", "VERIFIED")
    assert found[-1]["state"] == "released", found


@pytest.mark.parametrize(
    ("state", "word"),
    [("triggered", "none"), ("voting", "none"), ("ordered", "ordered"), ("enforced", "blocked")],
)
def test_device_status_says_how_far_a_block_has_come(
    ledger: CaseLedger, state: str, word: str
) -> None:
    """None, ordered, blocked; and the three fields that never stand for each other."""
    ledger.bring("A", state)
    assert blocked(ledger) == word
    assert tier(ledger) == (1 if state == "enforced" else 0)
    ledger.pay("A", 300, ledger.tx_day)
    assert blocked(ledger) == ("releasing" if word != "none" else "none")
    assert tier(ledger) == 0


def test_payments_of_one_list_cure_together_and_the_verdict_names_the_case(
    ledger: CaseLedger,
) -> None:
    """In the very transaction that makes it so; the event names case, ending and release."""
    case = ledger.bring("A", "enforced")
    records = [
        payment("A", "2026-05-19", reference="P-1"),
        payment("A", "2026-05-20", reference="P-2"),
    ]
    outcome = ledger.change("PostPayments", records, by=OPERATOR, amounts=[150, 50])
    first, second = verdicts(outcome)
    assert "case" not in first
    assert (second["case"], second["state"]) == (case, "current")
    assert outcome.event is not None
    told = outcome.event[1]["records"]
    assert "case" not in told[0]
    assert (told[1]["case"], told[1]["ending"]) == (case, "cured")
    assert told[1]["release"]
    assert ledger.state_of(case) == "releasing"


def test_reversal_after_a_cure_blocks_nothing(ledger: CaseLedger) -> None:
    """A new case with a new notice is needed."""
    case = ledger.bring("A", "enforced")
    ledger.pay("A", 300, ledger.tx_day)
    release(ledger)
    assert (ledger.state_of(case), blocked(ledger)) == ("released", "none")
    record = {"reference": f"P-A-{ledger.tx_day}", "evidence": salted("chargeback")}
    outcome = ledger.change("ReversePayments", [record], by=OPERATOR)
    assert verdicts(outcome)[0]["written"]
    assert (ledger.state_of(case), blocked(ledger)) == ("released", "none")
    assert ledger.ask("Standing", "A", "", of="instalments")["bucket"] == "30-59"


@pytest.mark.parametrize(("kind", "by"), [("written_off", BANK), ("death", PTA), ("death", BANK)])
def test_end_of_an_agreement_releases_its_phone_and_frees_it_only_then(
    ledger: CaseLedger, kind: str, by: tuple[str, str]
) -> None:
    """Released to every addressee; only then may the phone be financed again."""
    case = ledger.bring("A", "enforced")
    record = {"agreement": "A", "kind": kind, "evidence": salted("end")}
    verdict = verdicts(ledger.change("EndAgreements", [record], by=by))[0]
    assert (verdict["state"], verdict["case"]) == (kind, case)
    found = status(ledger)
    assert (found["financed"], found["blocked"]) == (False, "releasing")
    encumbered = ledger.ask("IsEncumbered", [pseudonym("A/0")], of="instalments")
    assert encumbered == {"encumbered": True}
    again = agreement("B", device=[pseudonym("A/0")], imported=True)
    terms = [terms_of([("2026-09-05", 100)])]
    refused = verdicts(ledger.change("OpenAgreements", [again], by=BANK, terms=terms))[0]
    assert "blocked or not yet released" in refused["message"]
    release(ledger)
    opened = verdicts(ledger.change("OpenAgreements", [again], by=BANK, terms=terms))[0]
    assert opened["ok"], opened


def test_clearance_ends_nothing_more_than_the_payment_did(ledger: CaseLedger) -> None:
    """What was paid in full is cured by the payment; the certificate closes the agreement."""
    case = ledger.bring("A", "enforced")
    ledger.pay("A", 300, ledger.tx_day)
    verdict = verdicts(ledger.change("IssueClearance", [{"agreement": "A"}], by=BANK))[0]
    assert verdict["state"] == "paid_off"
    assert "case" not in verdict
    assert ledger.state_of(case) == "releasing"


def test_revision_that_eases_cures_the_case(ledger: CaseLedger) -> None:
    """A milder schedule after which nothing before today is unpaid."""
    case = ledger.bring("A", "voting")
    terms = {"instalments": [{"due": "2026-08-05", "amount_paisa": 300}]}
    record = {"agreement": "A", "version": 2, "reason": "restructured"}
    outcome = ledger.change("ReviseSchedules", [record], by=BANK, terms=[terms])
    assert verdicts(outcome)[0]["case"] == case
    assert ledger.state_of(case) in ("cured", "lapsed")


def test_exchange_of_a_blocked_phone_releases_the_old_one_and_leaves_the_new_one_free(
    ledger: CaseLedger,
) -> None:
    """Old IMEIs are released, new ones blocked only by a new order."""
    ledger.open("X", confirm=False)
    record = {"agreement": "X", "kind": "written_off", "evidence": salted("stock")}
    verdicts(ledger.change("EndAgreements", [record], by=BANK))  # the phone X is free again
    case = ledger.bring("A", "enforced")
    given = {"old": [pseudonym("A/0")], "new": [pseudonym("X/1")], "reason": "repair"}
    verdict = verdicts(ledger.change("ExchangeDevices", [given], by=MAKER))[0]
    assert (verdict["ok"], verdict["case"]) == (True, case)
    old, new = status(ledger), status(ledger, "X")
    assert (old["financed"], old["blocked"]) == (False, "releasing")
    assert (new["financed"], new["blocked"]) == (True, "none")
    release(ledger)
    assert blocked(ledger) == "none"


def test_exchange_of_a_phone_without_an_order_takes_the_case_along(ledger: CaseLedger) -> None:
    """Agreement and case follow."""
    ledger.open("X", confirm=False)
    record = {"agreement": "X", "kind": "written_off", "evidence": salted("stock")}
    verdicts(ledger.change("EndAgreements", [record], by=BANK))
    case = ledger.bring("A", "notified")
    given = {"old": [pseudonym("A/0")], "new": [pseudonym("X/1")], "reason": "repair"}
    verdict = verdicts(ledger.change("ExchangeDevices", [given], by=MAKER))[0]
    assert "case" not in verdict
    assert ledger.state_of(case) == "notified"
    assert ledger.ask("Agreement", "A", of="instalments")["device"] == pseudonym("X/0")


def test_payment_about_an_agreement_with_a_case_writes_nothing_of_the_lenders(
    ledger: CaseLedger,
) -> None:
    """With the lender's node down a payment cures and releases: no key of it has a policy."""
    ledger.bring("A", "enforced")
    _, result = ledger.simulate(
        "instalments",
        "PostPayments",
        [payment("A", str(ledger.tx_day))],
        creator=None,
        transient={"amounts": [300]},
    )
    assert result.status == 200
    assert result.namespaces == ("instalments",)
    height = ledger.state.height
    assert ledger.commit([("t", result)])[0].valid
    written = [
        key
        for key, entry in ledger.state.range("instalments", "", "")
        if entry.version.block_num == height
    ]
    assert len(written) > 4
    assert all(not ledger.state.metadata_of("instalments", key) for key in written)
