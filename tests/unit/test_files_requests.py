"""From rows to the contracts' records: pseudonyms, transient parts, the same for the same row."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from chaincode.instalments.identifiers import Keyring, PseudonymKey, is_pseudonym
from clients.files.agreements import AgreementRow
from clients.files.errors import FileRefused, RowRefused
from clients.files.keyrings import Keyrings, document_hash
from clients.files.payments import PaymentRow
from clients.files.requests import (
    Facts,
    Request,
    agreement_request,
    confirmation_request,
    device_request,
    payment_request,
    reversal_request,
    tac_request,
)

NEW, OLD = PseudonymKey("d2", b"n" * 32), PseudonymKey("d1", b"o" * 32)
BANK = Keyring((PseudonymKey("b1", b"b" * 32),))
KEYRINGS = Keyrings(Keyring((NEW, OLD)), {"BankMSP": BANK})
FACTS = Facts("OperatorMSP", "MakerMSP", "PK", ("BankMSP", "OperatorMSP"), "ur", True)
ROW = AgreementRow(
    2,
    "AG-1",
    "BankMSP",
    "8220312345670",
    "+923461000001",
    ("86071505000002", "86071505000003"),
    "86071505",
    "Model C",
    "murabaha",
    2000000,
    400000,
    ((date(2026, 4, 5), 800000), (date(2026, 5, 5), 800000)),
    date(2026, 3, 5),
    "KFS-1",
)
PAYMENT = PaymentRow(
    2, "PAY-1", "AG-1", 800000, date(2026, 4, 5), "ibft", date(2026, 4, 6), "", "", ""
)


def public_text(request: Request) -> str:
    """What of a request stands in a block."""
    return json.dumps(request.argument)


@pytest.mark.parametrize(
    "request_of",
    [
        lambda: tac_request(ROW, FACTS),
        lambda: device_request(ROW, FACTS, KEYRINGS),
        lambda: agreement_request(ROW, FACTS, KEYRINGS),
        lambda: confirmation_request(ROW),
        lambda: payment_request(PAYMENT),
    ],
)
def test_request_holds_no_identifier_and_no_amount_in_its_public_part(request_of: Any) -> None:
    """A raw CNIC, MSISDN or IMEI and the terms never reach a block, nor the object's text."""
    request = request_of()
    for secret in (ROW.cnic, ROW.msisdn, *ROW.imeis, "2000000", "800000", "KFS-1"):
        assert secret not in public_text(request)
        assert secret not in repr(request)


def test_device_request_names_each_imei_by_its_current_pseudonym() -> None:
    """A new record takes the current key; the raw numbers go beside it, with their check digits."""
    request = device_request(ROW, FACTS, KEYRINGS)
    assert request.function == "RegisterDevices"
    assert [len(each) for each in request.argument["imeis"]] == [1, 1]
    assert all(each[0].startswith("d2:") for each in request.argument["imeis"])
    assert request.transient == {"identifiers": {"imeis": ["860715050000027", "860715050000035"]}}


def test_agreement_request_looks_the_device_up_under_every_key() -> None:
    """A handset registered under an older key is found."""
    request = agreement_request(ROW, FACTS, KEYRINGS)
    assert [each.split(":")[0] for each in request.argument["device"]] == ["d2", "d1"]
    assert is_pseudonym(request.argument["borrower"])
    assert is_pseudonym(request.argument["sim"])
    assert request.argument["consent"]["block"] is True
    terms = dict(request.transient["terms"])
    assert re.fullmatch("[0-9a-f]{32}", terms.pop("salt"))
    assert terms == {
        "price_paisa": 2000000,
        "down_payment_paisa": 400000,
        "currency": "PKR",
        "instalments": [
            {"due": "2026-04-05", "amount_paisa": 800000},
            {"due": "2026-05-05", "amount_paisa": 800000},
        ],
    }


def test_agreement_request_of_the_same_row_is_the_same() -> None:
    """Sending a row twice must look the same to the contract, or it would refuse the second."""
    assert agreement_request(ROW, FACTS, KEYRINGS) == agreement_request(ROW, FACTS, KEYRINGS)


def test_agreement_without_consent_has_none_and_what_the_row_says_prevails() -> None:
    """No reference, no consent; a row's own word goes before the facts given for all."""
    silent = agreement_request(replace(ROW, consent_ref=""), FACTS, KEYRINGS)
    assert silent.argument["consent"] is None
    said = replace(ROW, operator="JazzMSP", consent_block=False, consent_language="en")
    argument = agreement_request(said, FACTS, KEYRINGS).argument
    assert argument["operator"] == "JazzMSP"
    assert (argument["consent"]["block"], argument["consent"]["language"]) == (False, "en")


@pytest.mark.parametrize(
    ("facts", "column"),
    [
        (replace(FACTS, operator=""), "operator_msp"),
        (replace(FACTS, receiving_institutions=()), "receiving_msps"),
        (replace(FACTS, consent_language=""), "consent_language"),
    ],
)
def test_agreement_request_without_a_fact_refuses_the_row(facts: Facts, column: str) -> None:
    """What neither row nor facts say is asked for, not guessed."""
    with pytest.raises(RowRefused) as raised:
        agreement_request(ROW, facts, KEYRINGS)
    assert raised.value.column == column


def test_agreement_of_a_lender_whose_key_is_not_held_is_refused() -> None:
    """Borrowers of a rival cannot be named: the key is the lender's and the regulator's."""
    with pytest.raises(FileRefused, match="OperatorMSP"):
        agreement_request(replace(ROW, lender="OperatorMSP"), FACTS, KEYRINGS)


def test_payment_request_leaves_the_institution_to_the_caller_unless_named() -> None:
    """The importing member received it, if the row does not say who did."""
    assert "institution" not in payment_request(PAYMENT).argument
    named = payment_request(replace(PAYMENT, institution="JazzMSP"))
    assert named.argument["institution"] == "JazzMSP"
    assert named.transient == {"amounts": 800000}


def test_reversal_request_has_evidence_of_its_own_or_the_salted_row() -> None:
    """The row is evidence enough, by a hash that nobody without the key can try out."""
    row = replace(PAYMENT, reference="REV-1", reverses="PAY-1")
    made = reversal_request(row, KEYRINGS, "BankMSP")
    assert made.function == "ReversePayments"
    assert made.argument["reference"] == "PAY-1"
    assert made == reversal_request(replace(row, amount_paisa=1), KEYRINGS, "BankMSP")
    assert reversal_request(replace(row, evidence="e" * 64), None, "BankMSP").argument == {
        "reference": "PAY-1",
        "evidence": "e" * 64,
    }
    with pytest.raises(RowRefused, match="evidence"):
        reversal_request(row, None, "BankMSP")


def test_document_hash_depends_on_key_kind_and_every_part() -> None:
    """Two documents share a hash only if they are the same one."""
    key = BANK.keys[0]
    hashes = {
        document_hash(key, "consent", "AG-1", "KFS-1"),
        document_hash(key, "consent", "AG-1K", "FS-1"),
        document_hash(key, "reversal", "AG-1", "KFS-1"),
        document_hash(NEW, "consent", "AG-1", "KFS-1"),
    }
    assert len(hashes) == 4
    assert all(len(each) == 64 for each in hashes)
