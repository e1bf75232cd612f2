"""The folder of a rehearsal: `agreements.csv` and `payments.csv`, by the day on which they count.

An agreement counts on the day it was opened, a payment on the day it was received; within a day the
order of the file is kept. Bad rows become rejects and good ones go on. The whole folder is held in
memory, since a rehearsal lives through it day by day whatever the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from clients.files.agreements import AgreementRow, AgreementSchema
from clients.files.mapping import ColumnMapping
from clients.files.payments import PaymentRow, PaymentSchema
from clients.files.rows import Reject, Schema, read_rows
from clients.rehearsal.errors import RehearsalRefused

AGREEMENTS_FILE: Final = "agreements.csv"
PAYMENTS_FILE: Final = "payments.csv"

T = TypeVar("T")


@dataclass(slots=True)
class Portfolio:
    """What the folder holds.

    Attributes:
        sold: good agreements by the day they were opened.
        received: good payments and reversals by the day they were received.
        bad_agreements, bad_payments: the rejects of reading, in the order of the lines.
    """

    sold: dict[date, list[AgreementRow]] = field(default_factory=dict)
    received: dict[date, list[PaymentRow]] = field(default_factory=dict)
    bad_agreements: list[Reject] = field(default_factory=list)
    bad_payments: list[Reject] = field(default_factory=list)

    @property
    def first_day(self) -> date:
        """The day on which the first agreement was opened."""
        return min(self.sold)

    @property
    def last_day(self) -> date:
        """The last day on which anything counts."""
        return max(max(self.sold), max(self.received, default=date.min))

    def days(self, until: date) -> Iterator[date]:
        """Yield every day from the first one to *until*, both included."""
        day = self.first_day
        while day <= until:
            yield day
            day += timedelta(days=1)


def load_portfolio(folder: Path) -> Portfolio:
    """Read a folder.

    Raises:
        RehearsalRefused: it holds no good agreement.
        FileRefused: a file is missing, or its header cannot be read.
    """
    portfolio = Portfolio()
    _read(
        folder / AGREEMENTS_FILE,
        AgreementSchema(),
        portfolio.bad_agreements,
        lambda row: portfolio.sold.setdefault(row.opened_on, []).append(row),
    )
    _read(
        folder / PAYMENTS_FILE,
        PaymentSchema(),
        portfolio.bad_payments,
        lambda row: portfolio.received.setdefault(row.received_on, []).append(row),
    )
    if not portfolio.sold:
        raise RehearsalRefused(
            f"{folder / AGREEMENTS_FILE} holds no good row; there is nothing to live through"
        )
    return portfolio


def _read(path: Path, schema: Schema[T], bad: list[Reject], take: Callable[[T], Any]) -> None:
    for row in read_rows(path, schema, ColumnMapping()):
        if row.value is not None:
            take(row.value)
        elif row.reject is not None:
            bad.append(row.reject)
