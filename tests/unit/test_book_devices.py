"""Rulebook 2, Device and Exchange: the register of types and handsets."""

from __future__ import annotations

from typing import Any

import pytest

from chaincode.instalments.identifiers import imei_with_check_digit
from tests.support.book_ledger import (
    BANK,
    MAKER,
    OPENED,
    OPERATOR,
    PTA,
    TAC,
    BookLedger,
    device,
    officer,
    pseudonym,
)

LISTED = {"tac": TAC, "maker": "Acme", "registrants": ["MakerMSP"]}


@pytest.fixture
def book() -> BookLedger:
    ledger = BookLedger()
    assert ledger.verdicts("RegisterTacs", [LISTED], PTA)[0]["written"]
    return ledger


def register(book: BookLedger, record: dict[str, Any], by=MAKER, **transient: Any):
    return book.verdicts("RegisterDevices", [record], by, **transient)[0]


def exchange(book: BookLedger, old: str, new: str, by=MAKER, reason: str = "repair"):
    record = {"old": [pseudonym(f"{old}/0")], "new": [pseudonym(f"{new}/0")], "reason": reason}
    return book.verdicts("ExchangeDevices", [record], by)[0]


def test_tac_listed_by_anybody_but_the_regulator_is_refused(book: BookLedger) -> None:
    """The list of types is the regulator's."""
    verdict = book.verdicts("RegisterTacs", [LISTED | {"tac": "86071505"}], MAKER)[0]
    assert not verdict["ok"]
    assert verdict["rule"] == "rulebook 2"
    assert "the regulator's" in verdict["message"]


@pytest.mark.parametrize("tac", ["3520990", "00440245", "77777777", "3520-9900", "ABCDEFGH"])
def test_tac_that_is_none_is_refused_without_the_number(book: BookLedger, tac: str) -> None:
    """Eight digits of an allocated type; test numbers are none."""
    verdict = book.verdicts("RegisterTacs", [LISTED | {"tac": tac}], PTA)[0]
    assert not verdict["ok"]
    assert tac not in verdict["message"]


def test_tac_listed_again_is_a_success_and_with_other_content_refused(book: BookLedger) -> None:
    """The same request twice does nothing twice."""
    again = book.call("RegisterTacs", [LISTED], PTA)
    assert again.value["verdicts"][0] | {"ok": True, "written": False} == again.value["verdicts"][0]
    assert again.event is None
    assert not again.result.writes
    other = book.verdicts("RegisterTacs", [LISTED | {"maker": "Other"}], PTA)[0]
    assert "other content" in other["message"]
    assert book.ask("Tac", TAC) == LISTED
    assert book.ask("Tac", "86071505") is None


def test_tac_by_a_governance_officer_of_the_regulator_is_written(book: BookLedger) -> None:
    """Lending or governance of a regulator may list types."""
    by = officer("PtaMSP", "governance")
    assert book.verdicts("RegisterTacs", [LISTED | {"tac": "86071505"}], by)[0]["written"]


def test_tac_registrant_that_is_no_member_is_refused(book: BookLedger) -> None:
    """Only members register devices."""
    record = LISTED | {"tac": "86071505", "registrants": ["NobodyMSP"]}
    assert "that is no member" in book.verdicts("RegisterTacs", [record], PTA)[0]["message"]


def test_device_is_found_by_each_of_its_pseudonyms(book: BookLedger) -> None:
    """A device is named by any of its IMEIs, under any active key; the first known one counts."""
    record = device("D") | {
        "imeis": [[pseudonym("a"), pseudonym("a", "k2")], [pseudonym("b"), pseudonym("b", "k2")]]
    }
    verdict = register(book, record)
    assert (verdict["id"], verdict["state"]) == (pseudonym("a"), "registered")
    for name in (pseudonym("a"), pseudonym("a", "k2"), pseudonym("b"), pseudonym("b", "k2")):
        status = book.ask("DeviceStatus", [pseudonym("unknown"), name])
        assert status["registered"]
        assert status["device"] == pseudonym("a")
        assert (status["maker"], status["model"], status["country"]) == ("Acme", "A1", "PK")
        assert (status["financed"], status["blocked"]) == (False, "none")


def test_device_nobody_registered_has_a_status_that_says_so(book: BookLedger) -> None:
    """A buyer learns that a phone is not known, not an error."""
    status = book.ask("DeviceStatus", [pseudonym("nobody")])
    assert (status["registered"], status["device"], status["pay_to"]) == (False, "", [])
    assert book.ask("IsEncumbered", [pseudonym("nobody")]) == {"encumbered": False}


def test_device_with_an_imei_of_another_is_refused(book: BookLedger) -> None:
    """An IMEI registered already is refused, whichever place it has."""
    register(book, device("D"))
    clone = device("E") | {"imeis": [[pseudonym("new")], [pseudonym("D/1")]]}
    verdict = register(book, clone)
    assert not verdict["ok"]
    assert "registered already" in verdict["message"]
    assert not book.ask("DeviceStatus", [pseudonym("new")])["registered"]


def test_device_registered_again_is_a_success_also_under_a_further_key(book: BookLedger) -> None:
    """The same content: success, nothing written; a rotated key does not make another phone."""
    register(book, device("D", 1))
    assert register(book, device("D", 1)) | {"written": False, "ok": True} == register(
        book, device("D", 1)
    )
    rotated = device("D", 1) | {"imeis": [[pseudonym("D/0", "k2"), pseudonym("D/0")]]}
    verdict = register(book, rotated)
    assert (verdict["ok"], verdict["written"]) == (True, False)
    assert "other content" in register(book, device("D", 1) | {"model": "A2"})["message"]
    assert "other content" in register(book, device("D", 2))["message"]


def test_device_named_twice_in_one_list_is_written_once(book: BookLedger) -> None:
    """Records of one list see each other."""
    verdicts = book.verdicts("RegisterDevices", [device("D"), device("D")], MAKER)
    assert [(verdict["ok"], verdict["written"]) for verdict in verdicts] == [
        (True, True),
        (True, False),
    ]
    same = device("E") | {"imeis": [[pseudonym("E/0")], [pseudonym("E/0")]]}
    assert "twice" in register(book, same)["message"]


def test_device_of_a_type_not_listed_for_its_maker_is_refused(book: BookLedger) -> None:
    """TAC not in the regulator's list for that maker."""
    assert "not listed" in register(book, device("D") | {"maker": "Other"})["message"]
    assert "not listed" in register(book, device("D") | {"tac": "86071505"})["message"]


def test_device_registered_by_no_registrant_is_refused(book: BookLedger) -> None:
    """Written by the manufacturer or importer of that type."""
    assert "no registrant" in register(book, device("D"), OPERATOR)["message"]


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (["352099001761482", "352099001761491"], "check digit"),
        (["00000000000000", "00000000000000"], "one digit throughout"),
        (["00440245000001", "00440245000002"], "test number"),
        (["86071505000002", "86071505000003"], "another TAC"),
        (["35209900176148"], "another number of IMEIs"),
        ([12, 13], "not of its form"),
    ],
)
def test_device_whose_raw_numbers_are_wrong_is_refused_without_them(
    book: BookLedger, numbers: list[Any], reason: str
) -> None:
    """Check digit, all-zero, test or foreign numbers, as far as the transient data tells."""
    verdict = register(book, device("D"), identifiers=[{"imeis": numbers}])
    assert not verdict["ok"]
    assert reason in verdict["message"]
    assert not any(str(number) in verdict["message"] for number in numbers)


def test_device_with_its_raw_numbers_leaves_none_of_them_on_the_ledger(book: BookLedger) -> None:
    """A raw IMEI is looked at and forgotten."""
    numbers = [imei_with_check_digit(f"{TAC}00000{place}") for place in (1, 2)]
    outcome = book.call(
        "RegisterDevices", [device("D")], MAKER, {"identifiers": [{"imeis": numbers}]}
    )
    assert outcome.value["verdicts"][0]["written"]
    for number in numbers:
        assert number[:14].encode() not in outcome.result.rwset
        assert number[:14].encode() not in (outcome.result.event or b"")


def test_exchange_gives_the_agreement_the_new_device(book: BookLedger) -> None:
    """Agreement and case follow the new handset; the old one is free of both."""
    book.open("A")
    book.register("N")
    outcome = book.call(
        "ExchangeDevices",
        [{"old": [pseudonym("A/1")], "new": [pseudonym("N/1")], "reason": "repair"}],
        MAKER,
    )
    verdict = outcome.value["verdicts"][0]
    assert (verdict["id"], verdict["state"]) == (pseudonym("A/0"), "exchanged")
    assert outcome.event == (
        "ExchangeDevices",
        {
            "version": 1,
            "function": "ExchangeDevices",
            "day": OPENED,
            "records": [
                {
                    "id": pseudonym("A/0"),
                    "kind": "exchange",
                    "state": "exchanged",
                    "agreement": "A",
                    "new_device": pseudonym("N/0"),
                    "reason": "repair",
                }
            ],
        },
    )
    assert book.ask("Agreement", "A")["device"] == pseudonym("N/0")
    old = book.ask("DeviceStatus", [pseudonym("A/0")])
    assert (old["financed"], old["exchanged_for"]) == (False, pseudonym("N/0"))
    new = book.ask("DeviceStatus", [pseudonym("N/0")])
    assert (new["financed"], new["lender"]) == (True, "BankMSP")


def test_exchange_sent_again_is_a_success_and_for_another_device_refused(book: BookLedger) -> None:
    """Exchanged already is refused, the very same is not."""
    book.register("A", "N", "O")
    assert exchange(book, "A", "N")["written"]
    again = exchange(book, "A", "N")
    assert (again["ok"], again["written"]) == (True, False)
    assert "was exchanged" in exchange(book, "A", "O")["message"]
    assert "was exchanged" in exchange(book, "A", "N", reason="stolen_part")["message"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("A", "A", "for itself"),
        ("A", "F", "financed already"),
        ("A", "G", "exchanged itself"),
        ("A", "H", "exchanged itself"),
        ("A", "X", "not registered"),
        ("X", "A", "not registered"),
    ],
)
def test_exchange_for_a_device_that_is_not_fresh_is_refused(
    book: BookLedger, old: str, new: str, reason: str
) -> None:
    """The new one must be known, another, neither financed nor exchanged."""
    book.register("A", "G", "H")
    book.open("F")
    exchange(book, "G", "H")
    verdict = exchange(book, old, new)
    assert not verdict["ok"]
    assert reason in verdict["message"]


def test_exchange_by_somebody_else_than_the_registrant_is_refused(book: BookLedger) -> None:
    """Who registered the old device exchanges it."""
    book.register("A", "N")
    assert "MakerMSP only" in exchange(book, "A", "N", BANK)["message"]


def test_exchange_of_one_device_answers_with_one_verdict(book: BookLedger) -> None:
    """The single form weighs the same rules and names its own event."""
    book.register("A", "N")
    record = {"old": [pseudonym("A/0")], "new": [pseudonym("N/0")], "reason": "repair"}
    outcome = book.call("ExchangeDevice", record, MAKER)
    assert outcome.value["state"] == "exchanged"
    assert outcome.event is not None
    assert outcome.event[0] == outcome.event[1]["function"] == "ExchangeDevice"
