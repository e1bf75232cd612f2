"""The nightly file of agreements: one row an agreement, with the handset and the borrower of it.

Columns: ``agreement_ref, lender_msp, cnic, msisdn, imei_1, imei_2, tac, model, contract_type,
price_pkr, down_payment_pkr, instalments, frequency, first_due_date, opened_on, consent_ref``.
``imei_2`` and ``consent_ref`` may be empty. May be left out, and then come from elsewhere (a
constant in the mapping, an option of the import, a rehearsal's policy file): ``operator_msp``,
``maker``, ``country`` (of manufacture), ``receiving_msps`` (MSP ids with blanks between),
``consent_language``, ``consent_block`` (yes or no: an explicit consent to a block),
``handed_over_on``, ``imported`` (yes for an older book).

The schedule follows from price, down payment, number of instalments, frequency and first due date:
equal whole rupees, the last takes the remainder.

A row holds what no ledger, log or message may hold; its ``repr`` leaves those fields out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import Final, cast

from chaincode.instalments.calendar import Frequency, due_dates
from chaincode.instalments.identifiers import (
    parse_cnic,
    parse_imei,
    parse_msisdn,
    parse_tac,
    tac_of,
)
from chaincode.instalments.money import equal_instalments, parse_amount
from clients.files.errors import RowRefused
from clients.files.payments import AGREEMENT, MSP_ID, agreement_of
from clients.files.rows import Fields, checked

CONTRACT_TYPES: Final = ("conventional", "murabaha", "musawamah", "ijarah", "qardh_e_hasna")
FREQUENCIES: Final = ("monthly", "weekly", "daily")
MOST_INSTALMENTS: Final = 1200
_COUNT: Final = re.compile(r"[0-9]{1,4}")
_MODEL: Final = re.compile(r"[^\x00-\x1f\x7f]{1,64}")
_CONSENT: Final = re.compile(r"[A-Za-z0-9/_.-]{1,64}")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_TRUTH: Final = {"yes": True, "no": False, "true": True, "false": False, "1": True, "0": False}


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """One good row.

    Attributes:
        line: its line in the file.
        agreement: the lender's reference.
        lender: MSP id of the lender.
        cnic: 13 digits.
        msisdn: E.164.
        imeis: one or two, 14 digits each, the check digit taken off after it was checked.
        tac: 8 digits, those of every IMEI.
        instalments: due dates, rising, and amounts in paisa.
        consent_ref: the lender's reference of the signed key fact statement; ``""``: no consent.
        operator, maker, country, receiving_institutions, consent_language: ``""`` or empty where
            the file does not say.
        consent_block, handed_over_on, imported: None where the file does not say.
    """

    line: int
    agreement: str
    lender: str
    cnic: str = field(repr=False)
    msisdn: str = field(repr=False)
    imeis: tuple[str, ...] = field(repr=False)
    tac: str
    model: str
    contract_type: str
    price_paisa: int
    down_payment_paisa: int
    instalments: tuple[tuple[date, int], ...]
    opened_on: date
    consent_ref: str
    operator: str = ""
    maker: str = ""
    country: str = ""
    receiving_institutions: tuple[str, ...] = ()
    consent_language: str = ""
    consent_block: bool | None = None
    handed_over_on: date | None = None
    imported: bool | None = None

    @property
    def amount_paisa(self) -> int:
        """What is financed: the price less the down payment."""
        return self.price_paisa - self.down_payment_paisa


class AgreementSchema:
    """Reads rows of agreements; see the module's docstring."""

    required = (
        "agreement_ref",
        "lender_msp",
        "cnic",
        "msisdn",
        "imei_1",
        "imei_2",
        "tac",
        "model",
        "contract_type",
        "price_pkr",
        "down_payment_pkr",
        "instalments",
        "frequency",
        "first_due_date",
        "opened_on",
        "consent_ref",
    )
    optional = (
        "operator_msp",
        "maker",
        "country",
        "receiving_msps",
        "consent_language",
        "consent_block",
        "handed_over_on",
        "imported",
    )

    def parse(self, line: int, fields: Fields) -> AgreementRow:
        """See :class:`clients.files.rows.Schema`."""
        agreement = agreement_of(fields)
        lender = _member("lender_msp", fields.needed("lender_msp"))
        cnic = checked("cnic", parse_cnic, fields.needed("cnic"))
        msisdn = checked("msisdn", parse_msisdn, fields.needed("msisdn"))
        imeis, tac = _handset(fields)
        price, down_payment = _prices(fields)
        opened_on = fields.mapping.date("opened_on", fields.needed("opened_on"))
        consent_ref = _form(fields, "consent_ref", _CONSENT, "must be a reference of at most 64")
        handed_over = fields.text("handed_over_on")
        return AgreementRow(
            line,
            agreement,
            lender,
            cnic,
            msisdn,
            imeis,
            tac,
            _form(fields, "model", _MODEL, "must be a name of at most 64", needed=True),
            _one_of(fields, "contract_type", CONTRACT_TYPES),
            price,
            down_payment,
            _schedule(fields, price - down_payment, opened_on),
            opened_on,
            consent_ref,
            _member("operator_msp", fields.text("operator_msp")),
            _member("maker", fields.text("maker")),
            _form(fields, "country", _COUNTRY, "must be an ISO code of two capitals"),
            _members(fields, "receiving_msps"),
            _form(fields, "consent_language", _LANGUAGE, "must be an ISO code, as ur or en"),
            _truth(fields, "consent_block"),
            fields.mapping.date("handed_over_on", handed_over) if handed_over else None,
            _truth(fields, "imported"),
        )

    def reference(self, fields: Fields) -> str:
        """See :class:`clients.files.rows.Schema`."""
        text = fields.text("agreement_ref")
        return text if AGREEMENT.fullmatch(text) else ""

    def amount_paisa(self, fields: Fields) -> int | None:
        """See :class:`clients.files.rows.Schema`."""
        try:
            price, down_payment = _prices(fields)
        except RowRefused:
            return None
        return price - down_payment


def _handset(fields: Fields) -> tuple[tuple[str, ...], str]:
    imeis = [checked("imei_1", parse_imei, fields.needed("imei_1"))]
    if second := fields.text("imei_2"):
        imeis.append(checked("imei_2", parse_imei, second))
    if len(set(imeis)) != len(imeis):
        raise RowRefused("imei_2", "is the same as imei_1", "read both with *#06#, or leave it out")
    tac = checked("tac", parse_tac, fields.needed("tac"))
    for number, imei in enumerate(imeis, start=1):
        if tac_of(imei) != tac:
            raise RowRefused(
                f"imei_{number}",
                "does not begin with the row's TAC",
                "correct the IMEI or the TAC: both are of one model",
            )
    return tuple(imeis), tac


def _prices(fields: Fields) -> tuple[int, int]:
    price = _money(fields, "price_pkr")
    down_payment = _money(fields, "down_payment_pkr")
    if price == 0:
        raise RowRefused("price_pkr", "must be positive", "correct the price")
    if down_payment >= price:
        raise RowRefused(
            "down_payment_pkr",
            "leaves nothing to finance",
            "it must be below the price; a phone paid in full is no agreement",
        )
    return price, down_payment


def _money(fields: Fields, column: str) -> int:
    return checked(column, parse_amount, fields.mapping.plain_amount(fields.needed(column)))


def _schedule(fields: Fields, financed_paisa: int, opened_on: date) -> tuple[tuple[date, int], ...]:
    text = fields.needed("instalments")
    count = int(text) if _COUNT.fullmatch(text) else 0
    if not 1 <= count <= MOST_INSTALMENTS:
        raise RowRefused(
            "instalments", f"must be a number from 1 to {MOST_INSTALMENTS}", "correct the number"
        )
    frequency = cast("Frequency", _one_of(fields, "frequency", FREQUENCIES))
    first = fields.mapping.date("first_due_date", fields.needed("first_due_date"))
    if first <= opened_on:
        raise RowRefused(
            "first_due_date", "is not after opened_on", "correct the one that is wrong"
        )

    def split(_: str) -> list[int]:
        return equal_instalments(financed_paisa, count)

    amounts = checked("instalments", split, text)
    return tuple(zip(due_dates(first, count, frequency), amounts, strict=True))


def _member(column: str, text: str) -> str:
    if text and not MSP_ID.fullmatch(text):
        raise RowRefused(column, "is no MSP id", "write the member's id, as BankMSP")
    return text


def _members(fields: Fields, column: str) -> tuple[str, ...]:
    names = tuple(fields.text(column).split())
    for name in names:
        _member(column, name)
    if len(set(names)) != len(names):
        raise RowRefused(column, "names a member twice", "name each once")
    return names


def _form(
    fields: Fields, column: str, form: re.Pattern[str], rule: str, *, needed: bool = False
) -> str:
    text = fields.needed(column) if needed else fields.text(column)
    if text and not form.fullmatch(text):
        raise RowRefused(column, rule, "correct it")
    return text


def _one_of(fields: Fields, column: str, allowed: tuple[str, ...]) -> str:
    text = fields.needed(column).lower().replace("-", "_").replace(" ", "_")
    if text not in allowed:
        raise RowRefused(column, "is not known", f"use one of {', '.join(allowed)}")
    return text


def _truth(fields: Fields, column: str) -> bool | None:
    text = fields.text(column).lower()
    if not text:
        return None
    if text not in _TRUTH:
        raise RowRefused(column, "must be yes or no", "write yes or no")
    return _TRUTH[text]
