"""From typed rows to what the contracts take: records of bulk functions with their transient part.

Pure. Identifiers become pseudonyms here, and terms and raw numbers go into the transient part only,
which never stands in a block. The same row under the same keys always gives the same record, so
that sending it twice writes nothing twice. Source: docs/contracts.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from chaincode.instalments.identifiers import (
    borrower_pseudonym,
    device_pseudonyms,
    imei_with_check_digit,
    sim_pseudonym,
)
from clients.files.agreements import AgreementRow
from clients.files.errors import RowRefused
from clients.files.keyrings import Keyrings, document_hash
from clients.files.payments import PaymentRow

NAMESPACE: Final = "instalments"
MOST_RECORDS: Final = 500
"""Records that a bulk function takes at once."""
CURRENCY: Final = "PKR"
SALT_DIGITS: Final = 32
"""Hex digits of a salt: 128 bits that only the lender and the regulator can work out."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One record of a bulk function.

    Attributes:
        function: the contract's function.
        argument: the record as it stands in the list.
        transient: for each transient list of the function, this record's entry.
    """

    function: str
    argument: Json = field(repr=False)
    transient: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a file of agreements may leave out, said once for all its rows.

    Where a row says it itself, the row prevails.
    """

    operator: str = ""
    maker: str = ""
    country: str = ""
    receiving_institutions: tuple[str, ...] = ()
    consent_language: str = ""
    consent_block: bool = False
    imported: bool = False


def tac_request(row: AgreementRow, facts: Facts) -> Request:
    """List the row's TAC for its maker, who is its registrant (``RegisterTacs``)."""
    maker = _said("maker", row.maker, facts.maker)
    return Request("RegisterTacs", {"tac": row.tac, "maker": maker, "registrants": [maker]})


def device_request(row: AgreementRow, facts: Facts, keyrings: Keyrings) -> Request:
    """Register the row's handset with all its IMEIs (``RegisterDevices``)."""
    argument = {
        # A new record takes the current key; the older ones are for look-ups.
        "imeis": [list(device_pseudonyms(keyrings.device, imei))[:1] for imei in row.imeis],
        "tac": row.tac,
        "model": row.model,
        "maker": _said("maker", row.maker, facts.maker),
        "country": _said("country", row.country, facts.country),
    }
    raw = {"imeis": [imei_with_check_digit(imei) for imei in row.imeis]}
    return Request("RegisterDevices", argument, {"identifiers": raw})


def agreement_request(row: AgreementRow, facts: Facts, keyrings: Keyrings) -> Request:
    """Open the row's agreement (``OpenAgreements``), with what an executor may need to know."""
    ring = keyrings.lender(row.lender)
    receiving = row.receiving_institutions or facts.receiving_institutions
    if not receiving:
        raise RowRefused(
            "receiving_msps",
            "is not said",
            "name who receives payments, one at least outside the lender's group",
        )
    consent = None
    if row.consent_ref:
        block = facts.consent_block if row.consent_block is None else row.consent_block
        consent = {
            "statement": document_hash(ring.keys[0], "consent", row.agreement, row.consent_ref),
            "language": _said("consent_language", row.consent_language, facts.consent_language),
            "block": block,
        }
    argument = {
        "agreement": row.agreement,
        "device": list(device_pseudonyms(keyrings.device, row.imeis[0])),
        "operator": _said("operator_msp", row.operator, facts.operator),
        "borrower": borrower_pseudonym(ring, row.cnic),
        "sim": sim_pseudonym(ring, row.msisdn),
        "contract_type": row.contract_type,
        "receiving_institutions": list(receiving),
        "consent": consent,
        "opened_on": row.opened_on.isoformat(),
        "imported": facts.imported if row.imported is None else row.imported,
    }
    terms = {
        "salt": document_hash(ring.keys[0], "terms", row.agreement)[:SALT_DIGITS],
        "price_paisa": row.price_paisa,
        "down_payment_paisa": row.down_payment_paisa,
        "currency": CURRENCY,
        "instalments": [
            {"due": due.isoformat(), "amount_paisa": amount} for due, amount in row.instalments
        ],
    }
    numbers = {
        "salt": document_hash(ring.keys[0], "identifiers", row.agreement)[:SALT_DIGITS],
        "imeis": [imei_with_check_digit(imei) for imei in row.imeis],
        "msisdn": row.msisdn,
    }
    return Request("OpenAgreements", argument, {"terms": terms, "identifiers": numbers})


def confirmation_request(row: AgreementRow) -> Request:
    """Confirm that handset and SIM were handed over (``ConfirmSales``): on opening, if not said."""
    day = row.handed_over_on or row.opened_on
    return Request("ConfirmSales", {"agreement": row.agreement, "handed_over_on": day.isoformat()})


def payment_request(row: PaymentRow) -> Request:
    """Post the row's payment (``PostPayments``); for a reversal see `reversal_request`."""
    argument = {
        "agreement": row.agreement,
        "reference": row.reference,
        "paid_on": row.paid_on.isoformat(),
        "channel": row.channel,
    }
    if row.institution:
        argument["institution"] = row.institution
    return Request("PostPayments", argument, {"amounts": row.amount_paisa})


def reversal_request(row: PaymentRow, keyrings: Keyrings | None, lender: str) -> Request:
    """Take the payment back that the row names (``ReversePayments``).

    Without evidence of its own in the file, the row itself is the evidence: its hash, salted with
    the key of *lender*, leaves out the amount.
    """
    evidence = row.evidence
    if not evidence:
        if keyrings is None:
            raise RowRefused("evidence", "is empty", "give the salted hash of what proves it")
        evidence = document_hash(
            keyrings.lender(lender).keys[0],
            "reversal",
            row.reference,
            row.agreement,
            row.reverses,
            row.received_on.isoformat(),
        )
    argument = {"reference": row.reverses, "evidence": evidence}
    if row.institution:
        argument["institution"] = row.institution
    return Request("ReversePayments", argument)


def _said(column: str, by_row: str, by_facts: str) -> str:
    said = by_row or by_facts
    if not said:
        raise RowRefused(column, "is not said", "add the column, or give it once for all rows")
    return said
