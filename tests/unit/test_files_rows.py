"""Rows of payments and agreements: what is good, and which rule each bad one breaks."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from clients.files.agreements import AgreementRow, AgreementSchema
from clients.files.errors import FileRefused, RowRefused
from clients.files.mapping import ColumnMapping
from clients.files.payments import PaymentRow, PaymentSchema
from clients.files.rows import Fields

PAYMENT = {
    "payment_ref": "PAY-000001-1",
    "agreement_ref": "AG-2026-000001",
    "amount_pkr": "2666.00",
    "paid_on": "2026-04-01",
    "channel": "ibft",
}
AGREEMENT = {
    "agreement_ref": "AG-2026-000001",
    "lender_msp": "BankMSP",
    "cnic": "60460-0000001-5",
    "msisdn": "+923461000001",
    "imei_1": "860715050000027",
    "imei_2": "860715050000035",
    "tac": "86071505",
    "model": "Model C",
    "contract_type": "murabaha",
    "price_pkr": "20000.00",
    "down_payment_pkr": "4000.00",
    "instalments": "6",
    "frequency": "monthly",
    "first_due_date": "2026-04-05",
    "opened_on": "2026-03-05",
    "consent_ref": "KFS-126b7d6a3cfe33cf",
}


def fields_of(schema: Any, values: dict[str, str], mapping: ColumnMapping) -> Fields:
    """The fields of one row, as if read from a file with these columns."""
    places = mapping.positions(list(values), schema.required, schema.optional)
    fields = Fields(mapping, places, (*schema.required, *schema.optional))
    fields.record = tuple(values.values())
    return fields


def payment(**changes: str) -> PaymentRow:
    """The row of a payment with some fields changed."""
    fields = fields_of(PaymentSchema(), {**PAYMENT, **changes}, ColumnMapping())
    return PaymentSchema().parse(2, fields)


def agreement(**changes: str) -> AgreementRow:
    """The row of an agreement with some fields changed."""
    fields = fields_of(AgreementSchema(), {**AGREEMENT, **changes}, ColumnMapping())
    return AgreementSchema().parse(2, fields)


def test_payment_row_gives_typed_values_with_defaults() -> None:
    """A plain row: posted on the day it was paid, by the importing member."""
    assert payment() == PaymentRow(
        2,
        "PAY-000001-1",
        "AG-2026-000001",
        266600,
        date(2026, 4, 1),
        "ibft",
        date(2026, 4, 1),
        "",
        "",
        "",
    )


@pytest.mark.parametrize(
    ("text", "paisa"),
    [("2666", 266600), ("2,666.00", 266600), ("1,33,333.50", 13333350), ("0.01", 1)],
)
def test_payment_amount_is_read_to_the_paisa(text: str, paisa: int) -> None:
    """Thousands and lakhs may be separated; nothing is rounded."""
    assert payment(amount_pkr=text).amount_paisa == paisa


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("payment_ref", ""),
        ("payment_ref", "pay 1"),
        ("payment_ref", "0300-1234567"),
        ("payment_ref", "X" * 33),
        ("agreement_ref", ""),
        ("agreement_ref", "AG/1"),
        ("amount_pkr", ""),
        ("amount_pkr", "0"),
        ("amount_pkr", "-5.00"),
        ("amount_pkr", "12.345"),
        ("amount_pkr", "1,2,3.00"),
        ("amount_pkr", "1e5"),
        ("amount_pkr", "٢٦٦٦"),
        ("amount_pkr", "999999999999999.00"),
        ("paid_on", ""),
        ("paid_on", "01/04/2026"),
        ("paid_on", "2026-02-30"),
        ("paid_on", "2026-W10-1"),
        ("paid_on", "1926-04-01"),
        ("channel", ""),
        ("channel", "bank transfer"),
        ("received_on", "2026-03-31"),
        ("received_on", "soon"),
        ("institution", "Bank MSP"),
        ("reverses", "PAY-000001-1"),
        ("reverses", "no good"),
        ("evidence", "ABC"),
    ],
)
def test_payment_row_that_breaks_a_rule_names_its_column(column: str, text: str) -> None:
    """Every bad field is refused with its column, the rule and a way out, and is not repeated."""
    with pytest.raises(RowRefused) as raised:
        payment(**{column: text})
    assert raised.value.column == column
    assert raised.value.rule
    assert raised.value.way_out
    if len(text) > 3:
        assert text not in f"{raised.value.rule} {raised.value.way_out}"


def test_payment_row_that_reverses_may_leave_its_amount_out_or_give_it_with_a_minus() -> None:
    """A reversal takes back a whole payment; what the file says of its amount is kept for sums."""
    evidence = "ab" * 32
    row = payment(reverses="PAY-000009-1", amount_pkr="", evidence=evidence)
    assert (row.reverses, row.amount_paisa, row.evidence) == ("PAY-000009-1", 0, evidence)
    assert payment(reverses="PAY-000009-1", amount_pkr="-2,666.00").amount_paisa == 266600


def test_payment_rows_of_another_bank_are_read_through_its_mapping() -> None:
    """Other names, separators, dates and constants give the same values."""
    mapping = ColumnMapping(
        columns={"payment_ref": "Voucher", "amount_pkr": "Betrag", "paid_on": "Datum"},
        constants={"channel": "branch", "institution": "BankMSP"},
        date_format="%d.%m.%Y",
        delimiter=";",
        thousands=".",
        decimal=",",
    )
    values = {
        "Datum": "01.04.2026",
        "BETRAG": "2.666,00",
        " voucher ": "V/1",
        "agreement_ref": "AG-1",
    }
    row = PaymentSchema().parse(2, fields_of(PaymentSchema(), values, mapping))
    assert (row.reference, row.amount_paisa, row.paid_on) == ("V/1", 266600, date(2026, 4, 1))
    assert (row.channel, row.institution) == ("branch", "BankMSP")
    values["BETRAG"] = "2,666.00"
    with pytest.raises(RowRefused, match="amount_pkr"):
        PaymentSchema().parse(2, fields_of(PaymentSchema(), values, mapping))


@pytest.mark.parametrize(
    ("header", "mapping", "message"),
    [
        (["payment_ref"], ColumnMapping(), "lacks agreement_ref, amount_pkr"),
        ([*PAYMENT, "Channel"], ColumnMapping(), "stands 2 times"),
        (list(PAYMENT), ColumnMapping(columns={"colour": "x"}), "does not have: colour"),
    ],
)
def test_header_that_does_not_fit_refuses_the_file(
    header: list[str], mapping: ColumnMapping, message: str
) -> None:
    """A file whose columns cannot be told is refused before any row."""
    schema = PaymentSchema()
    with pytest.raises(FileRefused, match=message):
        mapping.positions(header, schema.required, schema.optional)


def test_agreement_row_gives_identifiers_in_canonical_form_and_a_schedule() -> None:
    """CNIC, MSISDN and IMEI as the rules want them; equal whole rupees, the last takes the rest."""
    row = agreement()
    assert (row.cnic, row.msisdn) == ("6046000000015", "+923461000001")
    assert (row.imeis, row.tac) == (("86071505000002", "86071505000003"), "86071505")
    assert row.instalments == (
        (date(2026, 4, 5), 266600),
        (date(2026, 5, 5), 266600),
        (date(2026, 6, 5), 266600),
        (date(2026, 7, 5), 266600),
        (date(2026, 8, 5), 266600),
        (date(2026, 9, 5), 267000),
    )
    assert row.amount_paisa == 1600000


def test_agreement_row_does_not_show_its_person_or_phone() -> None:
    """What must never stand in a log is not in the row's text."""
    row = agreement()
    shown = repr(row)
    for secret in (row.cnic, row.msisdn, *row.imeis):
        assert secret not in shown


def test_agreement_of_a_citizen_of_azad_kashmir_is_good() -> None:
    """A first digit 8 is Azad Kashmir and as good as any other; a last digit 0 too."""
    assert agreement(cnic="82203-1234567-0").cnic == "8220312345670"


def test_agreement_of_a_phone_with_one_sim_has_one_imei() -> None:
    """The second IMEI may be empty."""
    assert agreement(imei_2="").imeis == ("86071505000002",)


@pytest.mark.parametrize(
    ("frequency", "first", "second"),
    [
        ("weekly", "2026-04-05", date(2026, 4, 12)),
        ("daily", "2026-04-05", date(2026, 4, 6)),
        ("monthly", "2026-05-31", date(2026, 6, 30)),
    ],
)
def test_agreement_schedule_follows_its_frequency(frequency: str, first: str, second: date) -> None:
    """Due dates rise by the frequency; a short month ends on its last day."""
    row = agreement(frequency=frequency, first_due_date=first)
    assert row.instalments[1][0] == second


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"agreement_ref": "ag-1"}, "agreement_ref"),
        ({"lender_msp": "Bank MSP"}, "lender_msp"),
        ({"cnic": "00460-0000001-5"}, "cnic"),
        ({"cnic": "6046-00000015"}, "cnic"),
        ({"msisdn": "021-1234567"}, "msisdn"),
        ({"imei_1": "860715050000028"}, "imei_1"),
        ({"imei_1": "000000000000000"}, "imei_1"),
        ({"imei_2": "860715050000027"}, "imei_2"),
        ({"imei_2": "353328110000047"}, "imei_2"),
        ({"tac": "35332811"}, "imei_1"),
        ({"tac": "123"}, "tac"),
        ({"model": ""}, "model"),
        ({"contract_type": "leasing"}, "contract_type"),
        ({"price_pkr": "0"}, "price_pkr"),
        ({"down_payment_pkr": "20000.00"}, "down_payment_pkr"),
        ({"instalments": "0"}, "instalments"),
        ({"instalments": "six"}, "instalments"),
        ({"instalments": "9999"}, "instalments"),
        ({"instalments": "1200", "price_pkr": "4100"}, "instalments"),
        ({"frequency": "yearly"}, "frequency"),
        ({"first_due_date": "2026-03-05"}, "first_due_date"),
        ({"opened_on": "5.3.2026"}, "opened_on"),
        ({"consent_ref": "a b"}, "consent_ref"),
        ({"consent_block": "maybe"}, "consent_block"),
        ({"receiving_msps": "BankMSP BankMSP"}, "receiving_msps"),
        ({"country": "Pakistan"}, "country"),
    ],
)
def test_agreement_row_that_breaks_a_rule_names_its_column(
    changes: dict[str, str], column: str
) -> None:
    """Every bad field is refused with its column; no identifier is repeated."""
    with pytest.raises(RowRefused) as raised:
        agreement(**changes)
    assert raised.value.column == column
    for name in ("cnic", "msisdn", "imei_1", "imei_2"):
        value = changes.get(name, AGREEMENT[name])
        assert value not in str(raised.value)
