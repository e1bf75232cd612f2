"""Rows of nightly files against a naive model: Python's own csv module and decimal arithmetic."""

from __future__ import annotations

import csv
import io
import re
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from clients.files.agreements import AgreementSchema
from clients.files.errors import RowRefused
from clients.files.mapping import ColumnMapping
from clients.files.payments import PaymentSchema
from clients.files.reading import RecordReader
from clients.files.rows import Fields, Schema

T = TypeVar("T")
FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)
ROWS = st.lists(st.lists(FIELD, min_size=2, max_size=4), min_size=1, max_size=8)
DAY = st.dates(date(2000, 1, 1), date(2099, 12, 31))


@given(
    rows=ROWS,
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_records_are_those_that_were_written(
    rows: list[list[str]], delimiter: str, end: str, mark: bytes
) -> None:
    """Whatever the csv module writes, all fields quoted, is read back, surrounding blanks aside."""
    rows = [[field.replace("\n", " ") for field in row] for row in rows]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    content = mark + text.getvalue().encode()
    records = list(RecordReader(io.BytesIO(content), delimiter))
    assert [record.error for record in records] == [None] * len(rows)
    assert [list(record.fields) for record in records] == [
        [field.strip() for field in row] for row in rows
    ]
    assert [record.line for record in records] == list(range(1, len(rows) + 1))
    assert records[-1].after.offset == len(content)


@given(content=st.binary(max_size=300), cut=st.integers(0, 20))
def test_reading_any_bytes_ends_and_goes_on_from_every_position(content: bytes, cut: int) -> None:
    """No file breaks the reader; and whatever it says, it says again from where it stood."""
    records = list(RecordReader(io.BytesIO(content), ","))
    offsets = [record.after.offset for record in records]
    assert offsets == sorted(set(offsets))
    place = min(cut, len(records) - 1)
    if records:
        rest = list(RecordReader(io.BytesIO(content), ",", records[place].after))
        assert [(each.line, each.fields) for each in rest] == [
            (each.line, each.fields) for each in records[place + 1 :]
        ]


def taken(schema: Schema[T], fields: Fields) -> T | RowRefused:
    """The value of a row, or why it has none."""
    try:
        return schema.parse(2, fields)
    except RowRefused as refused:
        return refused


def payment_fields(mapping: ColumnMapping, **values: str) -> Fields:
    """The fields of a payment's row."""
    row = {
        "payment_ref": "P-1",
        "agreement_ref": "AG-1",
        "amount_pkr": "1.00",
        "paid_on": "2026-04-01",
        "channel": "ibft",
        **values,
    }
    schema = PaymentSchema()
    places = {name: place for place, name in enumerate(row)}
    fields = Fields(mapping, places, (*schema.required, *schema.optional))
    fields.record = tuple(row.values())
    return fields


def grouped(digits: str, separator: str, lakhs: bool) -> str:
    """Digits in groups: three from the right, then two (lakhs) or three."""
    step = 2 if lakhs else 3
    head, groups = digits[:-3], [digits[-3:]]
    while head:
        groups.insert(0, head[-step:])
        head = head[:-step]
    return separator.join(groups)


@given(
    paisa=st.integers(1, 10**13),
    lakhs=st.booleans(),
    style=st.sampled_from([(",", "."), (".", ","), (" ", ","), ("'", "."), ("", ".")]),
    group=st.booleans(),
)
def test_amount_in_any_countrys_writing_is_the_same_paisa(
    paisa: int, lakhs: bool, style: tuple[str, str], group: bool
) -> None:
    """However thousands and decimals are marked, not a paisa is lost or won."""
    thousands, decimal = style
    mapping = ColumnMapping(thousands=thousands, decimal=decimal)
    whole = str(paisa // 100)
    text = grouped(whole, thousands, lakhs) if group and thousands else whole
    row = PaymentSchema().parse(
        2, payment_fields(mapping, amount_pkr=f"{text}{decimal}{paisa % 100:02}")
    )
    assert row.amount_paisa == paisa
    assert Decimal(row.amount_paisa) / 100 == Decimal(f"{whole}.{paisa % 100:02}")


@given(text=st.text(st.sampled_from("0123456789,.- eE+x٣"), max_size=14))
def test_amount_that_is_taken_is_what_a_person_reads(text: str) -> None:
    """A text is either refused, or means the number that stands there without its separators."""
    row = taken(PaymentSchema(), payment_fields(ColumnMapping(), amount_pkr=text))
    if isinstance(row, RowRefused):
        assert row.column == "amount_pkr"
        return
    plain = text.strip().replace(",", "")
    assert re.fullmatch(r"[0-9]+(\.[0-9]{2})?", plain)
    assert Decimal(row.amount_paisa) / 100 == Decimal(plain)


@given(day=DAY, form=st.sampled_from(["%Y-%m-%d", "%d/%m/%Y", "%d.%m.%Y", "%Y%m%d"]))
def test_date_in_any_form_is_the_same_day(day: date, form: str) -> None:
    """A date that was written by a form is read by it."""
    fields = payment_fields(ColumnMapping(date_format=form), paid_on=day.strftime(form))
    assert PaymentSchema().parse(2, fields).paid_on == day


@given(text=st.text(max_size=12))
def test_text_that_is_taken_for_a_date_is_written_as_one(text: str) -> None:
    """Nothing but YYYY-MM-DD is taken where no other form is said."""
    row = taken(PaymentSchema(), payment_fields(ColumnMapping(), paid_on=text))
    if isinstance(row, RowRefused):
        assert row.column == "paid_on"
    else:
        assert row.paid_on.isoformat() == text


@given(
    first=st.sampled_from("123456789"),
    rest=st.text(st.sampled_from("0123456789"), min_size=12, max_size=12),
    dashes=st.booleans(),
)
def test_cnic_of_every_province_is_good(first: str, rest: str, dashes: bool) -> None:
    """Azad Kashmir's 8, the 9 without a province, and any last digit: citizens all of them."""
    digits = first + rest
    text = f"{digits[:5]}-{digits[5:12]}-{digits[12]}" if dashes else digits
    fields = agreement_fields(cnic=text)
    if len(set(digits)) > 1:
        assert AgreementSchema().parse(2, fields).cnic == digits


@given(
    price=st.integers(2, 10**9),
    percent=st.integers(0, 99),
    count=st.integers(1, 36),
    opened=DAY.filter(lambda day: day.year < 2090),
    frequency=st.sampled_from(["monthly", "weekly", "daily"]),
)
def test_schedule_adds_up_to_what_is_financed(
    price: int, percent: int, count: int, opened: date, frequency: str
) -> None:
    """Due dates rise, all but the last are equal whole rupees, and the sum is exact."""
    down = price * percent // 100
    fields = agreement_fields(
        price_pkr=f"{price}.00",
        down_payment_pkr=f"{down}.00",
        instalments=str(count),
        frequency=frequency,
        opened_on=opened.isoformat(),
        first_due_date=(opened + timedelta(days=1)).isoformat(),
    )
    row = taken(AgreementSchema(), fields)
    if isinstance(row, RowRefused):
        assert row.column == "instalments"
        assert price - down < count
        return
    amounts = [amount for _, amount in row.instalments]
    days = [day for day, _ in row.instalments]
    assert sum(amounts) == (price - down) * 100
    assert len(amounts) == count
    assert all(amount % 100 == 0 for amount in amounts)
    assert set(amounts[:-1]) <= {(price - down) // count * 100}
    assert all(earlier < later for earlier, later in pairwise(days))


def agreement_fields(**values: str) -> Fields:
    """The fields of an agreement's row."""
    row = {
        "agreement_ref": "AG-1",
        "lender_msp": "BankMSP",
        "cnic": "60460-0000001-5",
        "msisdn": "+923461000001",
        "imei_1": "860715050000027",
        "imei_2": "",
        "tac": "86071505",
        "model": "Model C",
        "contract_type": "murabaha",
        "price_pkr": "20000.00",
        "down_payment_pkr": "4000.00",
        "instalments": "6",
        "frequency": "monthly",
        "first_due_date": "2026-04-05",
        "opened_on": "2026-03-05",
        "consent_ref": "K",
        **values,
    }
    schema = AgreementSchema()
    places = {name: place for place, name in enumerate(row)}
    fields = Fields(ColumnMapping(), places, (*schema.required, *schema.optional))
    fields.record = tuple(row.values())
    return fields
