"""Raw identifiers: recorded by the lender, shown to the executor of a live order, then purged."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from chaincode.instalments.identifiers import imei_with_check_digit
from tests.support.book_ledger import (
    SALT,
    TAC,
    THREE_EQUAL,
    agreement,
    device,
    officer,
    salted,
    terms_of,
)
from tests.support.case_ledger import ORDERED, CaseLedger, order_of, verdicts

IMEIS = [imei_with_check_digit(f"{TAC}00000{place}") for place in range(2)]
OTHERS = [imei_with_check_digit(f"{TAC}00001{place}") for place in range(2)]
MSISDN = "+923001234567"
NUMBERS = {"salt": SALT, "imeis": IMEIS, "msisdn": MSISDN}
BANK, PTA, MAKER = ("BankMSP", "lending"), ("PtaMSP", "lending"), ("MakerMSP", "lending")


@pytest.fixture
def ledger() -> CaseLedger:
    """An agreement whose numbers came with its opening, confirmed, with nothing paid."""
    made = CaseLedger()
    tac = {"tac": TAC, "maker": "Acme", "registrants": ["MakerMSP"]}
    assert verdicts(made.change("RegisterTacs", [tac], by=PTA))[0]["ok"]
    assert verdicts(made.change("RegisterDevices", [device("A"), device("B")], by=MAKER))[0]["ok"]
    opened = made.change(
        "OpenAgreements",
        [agreement("A")],
        by=BANK,
        terms=[terms_of(THREE_EQUAL)],
        identifiers=[NUMBERS],
    )
    assert verdicts(opened)[0]["written"], opened.message
    sold = [{"agreement": "A", "handed_over_on": made.tx_day.isoformat()}]
    assert verdicts(made.change("ConfirmSales", sold, by=MAKER))[0]["ok"]
    return made


def record(ledger: CaseLedger, by: tuple[str, str] = BANK, **changes: Any) -> dict[str, Any]:
    given = [NUMBERS | changes]
    outcome = ledger.change("RecordIdentifiers", [{"agreement": "A"}], by=by, identifiers=given)
    return verdicts(outcome)[0]


def purge(ledger: CaseLedger, by: tuple[str, str] = BANK) -> dict[str, Any]:
    return verdicts(ledger.change("PurgeIdentifiers", [{"agreement": "A"}], by=by))[0]


def ask(ledger: CaseLedger, order: str, by: str = "OperatorMSP", role: str = "executor") -> Any:
    return ledger.evaluate("instalments", "Identifiers", order, creator=officer(by, role))


def held(ledger: CaseLedger) -> dict[str, Any]:
    """What the members of the collection hold."""
    entries = ledger.state.range_private("instalments", "identifiers-BankMSP", "", "")
    return {key: json.loads(entry.value) for key, entry in entries}


def pay_off(ledger: CaseLedger) -> None:
    ledger.pay("A", 300, ledger.tx_day)
    cleared = ledger.change("IssueClearance", [{"agreement": "A"}], by=BANK)
    assert verdicts(cleared)[0]["state"] == "paid_off"


def test_numbers_that_came_with_the_opening_stand_in_the_collection_alone(
    ledger: CaseLedger,
) -> None:
    """Canonical, salted, under the agreement; in no public key and in no event."""
    found = held(ledger)
    phone, sim = sorted(found)
    assert phone.startswith("device/A/k1:")
    assert found[phone] == {"salt": SALT, "imeis": [imei[:14] for imei in IMEIS]}
    assert (sim, found[sim]) == ("sim/A", {"salt": SALT, "msisdn": MSISDN})
    public = json.dumps(ledger.state.dump("instalments"), default=repr)
    assert not any(number[:14] in public for number in (*IMEIS, MSISDN))


def test_executor_sees_the_numbers_of_an_order_until_its_phone_is_released(
    ledger: CaseLedger,
) -> None:
    """From the order on, while it is in force and while it is taken back; then no more."""
    order = order_of(ledger.bring("A", "enforced"))
    wanted = {"order": order, "tier": 1, "imeis": IMEIS, "msisdn": None}
    assert ask(ledger, order).value == wanted
    ledger.pay("A", 300, ledger.tx_day)
    assert ask(ledger, order).value == wanted
    ledger.report_release(order, "SUBMITTED", "APPLIED", "VERIFIED")
    outcome = ask(ledger, order)
    assert outcome.status == 400
    assert "nobody needs its numbers" in outcome.message


@pytest.mark.parametrize(
    ("by", "role", "word"),
    [
        ("PtaMSP", "executor", "not addressed to PtaMSP"),
        ("MakerMSP", "executor", "not addressed to MakerMSP"),
        ("OperatorMSP", "lending", "takes executor"),
    ],
)
def test_numbers_are_shown_to_nobody_else(
    ledger: CaseLedger, by: str, role: str, word: str
) -> None:
    """An executor of an addressee; no other member, no other officer."""
    order = order_of(ledger.bring("A", "ordered"))
    outcome = ask(ledger, order, by, role)
    assert outcome.status == 400
    assert word in outcome.message


def test_order_that_does_not_exist_tells_nothing(ledger: CaseLedger) -> None:
    """A case that was not ordered has no numbers to show."""
    ledger.bring("A", "voting")
    assert "does not exist" in ask(ledger, "O-A-1-1").message
    assert "does not exist" in ask(ledger, "O-B-1-1").message


def test_numbers_never_recorded_are_named_as_such(ledger: CaseLedger) -> None:
    """The executor learns whom to ask."""
    ledger.open("C")
    order = order_of(ledger.bring("C", "ordered"))
    assert "ask the lender to send them with RecordIdentifiers" in ask(ledger, order).message


def test_same_numbers_again_write_nothing_and_others_take_their_place(ledger: CaseLedger) -> None:
    """Under another salt they are the same; a number that is left out stays."""
    assert not record(ledger)["written"]
    assert not record(ledger, salt="6b" * 16, msisdn="")["written"]
    verdict = record(ledger, imeis=OTHERS)
    assert (verdict["written"], verdict["state"]) == (True, "recorded")
    assert held(ledger)["sim/A"]["msisdn"] == MSISDN
    order = order_of(ledger.bring("A", "ordered"))
    assert ask(ledger, order).value["imeis"] == OTHERS


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"imeis": IMEIS[:1]}, "1 IMEIs for a handset of 2"),
        ({"imeis": [IMEIS[0], IMEIS[0]]}, "named twice"),
        ({"imeis": [IMEIS[0], imei_with_check_digit("86071505000001")]}, "another TAC"),
        ({"imeis": [IMEIS[0], IMEIS[1][:14] + str(9 - int(IMEIS[1][14]))]}, "check digit"),
        ({"msisdn": "+92300"}, "MSISDN must be"),
        ({"salt": ""}, "not of its form"),
        ({"imeis": None}, "not of its form"),
    ],
)
def test_numbers_of_another_form_are_refused_and_never_repeated(
    ledger: CaseLedger, changes: dict[str, Any], word: str
) -> None:
    """The message says what is wrong without the number."""
    before = held(ledger)
    verdict = record(ledger, **changes)
    assert not verdict["ok"]
    assert word in verdict["message"]
    assert not any(number[:14] in verdict["message"] for number in (*IMEIS, *OTHERS, "+92300"))
    assert held(ledger) == before


def test_only_the_lender_records_numbers(ledger: CaseLedger) -> None:
    """It has them from the borrower, and answers for them."""
    assert "its lender BankMSP only" in record(ledger, by=PTA)["message"]


def test_numbers_of_a_closed_agreement_are_purged_and_stay_away(ledger: CaseLedger) -> None:
    """By the lender or the regulator; nothing is recorded again; twice is once."""
    assert "is open" in purge(ledger)["message"]
    pay_off(ledger)
    assert "can be purged by its lender" in purge(ledger, MAKER)["message"]
    outcome = ledger.change("PurgeIdentifiers", [{"agreement": "A"}], by=PTA)
    assert (verdicts(outcome)[0]["written"], verdicts(outcome)[0]["state"]) == (True, "purged")
    assert held(ledger) == {}
    assert not purge(ledger)["written"]
    assert "is closed" in record(ledger)["message"]
    name, event = outcome.event or ("", {})
    assert name == "PurgeIdentifiers"
    assert [each["id"] for each in event["records"]] == ["A"]


def test_numbers_of_a_blocked_phone_are_kept_until_it_is_released(ledger: CaseLedger) -> None:
    """An agreement that was written off keeps them as long as somebody must unblock its phone."""
    order = order_of(ledger.bring("A", "enforced"))
    given = [{"agreement": "A", "kind": "written_off", "evidence": salted("loss")}]
    assert verdicts(ledger.change("EndAgreements", given, by=BANK))[0]["ok"]
    assert "not free (releasing)" in purge(ledger)["message"]
    ledger.report_release(order, "SUBMITTED", "APPLIED", "VERIFIED")
    assert purge(ledger)["written"]
    assert held(ledger) == {}


def test_exchange_keeps_the_numbers_of_both_handsets_until_they_are_purged(
    ledger: CaseLedger,
) -> None:
    """A release of the old phone needs the old ones; purging takes all of them."""
    first = sorted(held(ledger))
    given = [{"old": device("A")["imeis"][0], "new": device("B")["imeis"][0], "reason": "repair"}]
    assert verdicts(ledger.change("ExchangeDevices", given, by=MAKER))[0]["ok"]
    assert record(ledger, imeis=OTHERS)["written"]
    assert len(held(ledger)) == len(first) + 1
    order = order_of(ledger.bring("A", "ordered"))
    assert ask(ledger, order).value["imeis"] == OTHERS
    ledger.today(ORDERED + timedelta(days=1))
    pay_off(ledger)
    ledger.report_release(order, "SUBMITTED", "APPLIED", "VERIFIED")
    assert purge(ledger)["written"]
    assert held(ledger) == {}
