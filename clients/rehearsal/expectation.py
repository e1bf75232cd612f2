"""Compares the arrears on the ledger with a file that says what they must be.

The file is CSV with the columns ``agreement_ref, as_of, unpaid_instalments, days_past_due,
arrears_pkr``; every row is compared, in constant memory for any number of rows. What the ledger
says is `Standings` on the row's date, from all payments known when it is asked.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from chaincode.instalments.money import format_amount
from clients.rehearsal.desks import MOST_RECORDS, Desk
from clients.rehearsal.errors import RehearsalRefused

COLUMNS: Final = ("agreement_ref", "as_of", "unpaid_instalments", "days_past_due", "arrears_pkr")
DIFFERENCES_SHOWN: Final = 10
_ROWS_AT_ONCE: Final = 20 * MOST_RECORDS


class Arrears(NamedTuple):
    """What is owed on a day."""

    unpaid_instalments: int
    days_past_due: int
    arrears_paisa: int

    def __str__(self) -> str:
        amount = format_amount(self.arrears_paisa)
        return f"{self.unpaid_instalments} unpaid, {self.days_past_due} days, {amount}"


class ExpectedRow(NamedTuple):
    """One row of the file."""

    line: int
    agreement: str
    as_of: str
    arrears: Arrears


@dataclass(slots=True)
class Comparison:
    """What came out of it.

    Attributes:
        rows: in the file.
        equal: of them as the ledger says.
        by_day: (equal, rows) for each date.
        differences: the first ones, in words.
    """

    rows: int = 0
    equal: int = 0
    by_day: dict[str, tuple[int, int]] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether there are rows, and every row is as expected."""
        return 0 < self.rows == self.equal

    def add(self, row: ExpectedRow, found: Arrears | None) -> None:
        """Count one row."""
        as_expected = found == row.arrears
        equal, rows = self.by_day.get(row.as_of, (0, 0))
        self.by_day[row.as_of] = (equal + as_expected, rows + 1)
        self.rows += 1
        self.equal += as_expected
        if not as_expected and len(self.differences) < DIFFERENCES_SHOWN:
            says = "does not know the agreement" if found is None else f"says {found}"
            self.differences.append(
                f"line {row.line}: {row.agreement} on {row.as_of}: expected {row.arrears}, "
                f"the ledger {says}"
            )


async def compare(desk: Desk, path: Path) -> Comparison:
    """Compare every row of *path* with the ledger.

    Raises:
        RehearsalRefused: the file is unreadable, or a row is not of the form above.
    """
    comparison = Comparison()
    rows = read_expected(path)
    while part := list(islice(rows, _ROWS_AT_ONCE)):
        by_day: dict[str, list[ExpectedRow]] = {}
        for row in part:
            by_day.setdefault(row.as_of, []).append(row)
        found = {
            (day, row.agreement): standing
            for day, asked in by_day.items()
            for row, standing in zip(asked, await _standings(desk, day, asked), strict=True)
        }
        for row in part:
            comparison.add(row, found[row.as_of, row.agreement])
    return comparison


async def _standings(desk: Desk, day: str, rows: list[ExpectedRow]) -> list[Arrears | None]:
    return [
        None
        if each is None
        else Arrears(each["unpaid_instalments"], each["days_past_due"], each["arrears_paisa"])
        for each in await desk.standings([row.agreement for row in rows], day)
    ]


def read_expected(path: Path) -> Iterator[ExpectedRow]:
    """Yield the rows of a file of expected arrears.

    Raises:
        RehearsalRefused: the file is unreadable, or a row is not of the form above.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(COLUMNS) - set(reader.fieldnames or ())
            if missing:
                raise RehearsalRefused(
                    f"{path}: the header lacks {', '.join(sorted(missing))}; "
                    f"it must have {', '.join(COLUMNS)}"
                )
            for row in reader:
                yield _row(path, reader.line_num, row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RehearsalRefused(f"{path} cannot be read: {error}") from error


def _row(path: Path, line: int, row: dict[str, str]) -> ExpectedRow:
    try:
        as_of = date.fromisoformat(row["as_of"].strip()).isoformat()
        arrears = Arrears(
            int(row["unpaid_instalments"]),
            int(row["days_past_due"]),
            _paisa(row["arrears_pkr"].strip()),
        )
    except (ValueError, TypeError, AttributeError, InvalidOperation) as error:
        raise RehearsalRefused(
            f"{path}, line {line}: is no row of expected arrears; write a date, two whole numbers "
            "and an amount in rupees"
        ) from error
    return ExpectedRow(line, row["agreement_ref"].strip(), as_of, arrears)


def _paisa(text: str) -> int:
    """Rupees with any number of decimals, as spreadsheets write them."""
    paisa = Decimal(text.replace(",", "")) * 100
    if paisa != paisa.to_integral_value():
        raise ValueError("a fraction of a paisa")
    return int(paisa)
