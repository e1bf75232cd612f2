"""Six months of 3,000 borrowers through the contract's functions, against the expected arrears."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from chaincode.instalments.calendar import due_dates
from chaincode.instalments.money import equal_instalments, parse_amount
from tests.support.book_ledger import (
    MAKER,
    PTA,
    SALT,
    BookLedger,
    agreement,
    officer,
    payment,
    pseudonym,
)

DATA = Path(__file__).parents[2] / "examples" / "repayment"
BULK = 500


def rows_of(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), BULK):
        yield items[start : start + BULK]


def device_record(row: dict[str, str]) -> dict[str, Any]:
    imeis = [[pseudonym(row["imei_1"])], [pseudonym(row["imei_2"])]]
    maker = f"Maker of {row['tac']}"
    return {
        "imeis": imeis,
        "tac": row["tac"],
        "model": row["model"],
        "maker": maker,
        "country": "PK",
    }


def agreement_record(row: dict[str, str]) -> dict[str, Any]:
    return agreement(
        row["agreement_ref"],
        device=[pseudonym(row["imei_2"])],
        contract_type=row["contract_type"],
        opened_on=row["opened_on"],
    )


def terms_record(row: dict[str, str]) -> dict[str, Any]:
    price, down = parse_amount(row["price_pkr"]), parse_amount(row["down_payment_pkr"])
    count = int(row["instalments"])
    first = date.fromisoformat(row["first_due_date"])
    assert row["frequency"] == "monthly"
    dues = due_dates(first, count, "monthly")
    amounts = equal_instalments(price - down, count)
    return {
        "salt": SALT,
        "price_paisa": price,
        "down_payment_paisa": down,
        "currency": "PKR",
        "instalments": [
            {"due": due.isoformat(), "amount_paisa": amount}
            for due, amount in zip(dues, amounts, strict=True)
        ],
    }


@pytest.fixture(scope="module")
def book() -> BookLedger:
    """The whole book, opened on its day."""
    ledger = BookLedger()
    agreements = rows_of("agreements.csv")
    tacs = {row["tac"]: f"Maker of {row['tac']}" for row in agreements}
    listed = [
        {"tac": tac, "maker": maker, "registrants": ["MakerMSP"]} for tac, maker in tacs.items()
    ]
    accept(ledger.verdicts("RegisterTacs", listed, PTA))
    for batch in batches(agreements):
        accept(ledger.verdicts("RegisterDevices", [device_record(row) for row in batch], MAKER))
    for lender in ("BankMSP", "OperatorMSP"):
        own = [row for row in agreements if row["lender_msp"] == lender]
        for batch in batches(own):
            records = [agreement_record(row) for row in batch]
            terms = [terms_record(row) for row in batch]
            accept(ledger.verdicts("OpenAgreements", records, officer(lender), terms=terms))
    return ledger


def accept(verdicts: Sequence[dict[str, Any]]) -> None:
    refused = [verdict for verdict in verdicts if not verdict["ok"]]
    assert refused == []


def post(ledger: BookLedger, rows: Sequence[dict[str, str]]) -> None:
    for batch in batches(rows):
        records = [
            payment(
                row["agreement_ref"],
                row["paid_on"],
                reference=row["payment_ref"],
                channel=row["channel"],
            )
            for row in batch
        ]
        amounts = [parse_amount(row["amount_pkr"]) for row in batch]
        by = officer("OperatorMSP")
        accept(ledger.verdicts("PostPayments", records, by, amounts=amounts))


def standings(ledger: BookLedger, names: Sequence[str], as_of: str) -> list[dict[str, Any]]:
    return [
        answer for batch in batches(names) for answer in ledger.ask("Standings", list(batch), as_of)
    ]


def due_rows(ledger: BookLedger, as_of: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    bookmark = ""
    while True:
        page = ledger.ask("Due", as_of, 1, 400, bookmark)
        found |= {row["agreement"]: row for row in page["rows"]}
        bookmark = page["bookmark"]
        if not bookmark:
            return found


def figures(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["unpaid_instalments"], answer["days_past_due"], answer["arrears_paisa"]


def test_standings_of_the_repayment_data_agree_with_every_expected_row(book: BookLedger) -> None:
    """An implementation is right when it agrees with all 18,000 rows; and the index of what is due
    names exactly those of them that are overdue."""
    expected: dict[str, dict[str, tuple[int, int, int]]] = {}
    for row in rows_of("expected_arrears.csv"):
        wanted = (
            int(row["unpaid_instalments"]),
            int(row["days_past_due"]),
            parse_amount(row["arrears_pkr"]),
        )
        expected.setdefault(row["as_of"], {})[row["agreement_ref"]] = wanted
    payments = rows_of("payments.csv")
    previous = ""
    for as_of, wanted_rows in sorted(expected.items()):
        book.today(as_of)
        post(book, [row for row in payments if previous < row["paid_on"] <= as_of])
        previous = as_of
        overdue = {name: wanted for name, wanted in wanted_rows.items() if wanted[1]}
        assert {name: figures(row) for name, row in due_rows(book, as_of).items()} == overdue
    assert payments[-1]["paid_on"] <= previous
    checked = 0
    for as_of, wanted_rows in expected.items():  # past dates, asked at the end
        names = list(wanted_rows)
        for answer in standings(book, names, as_of):
            assert figures(answer) == wanted_rows[answer["agreement"]], (answer, as_of)
            checked += 1
    assert checked == 18_000
