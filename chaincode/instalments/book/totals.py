"""How many agreements a lender has: a key per transaction, folded by a query (rulebook 2).

    composite  total · <lender> · <YYYY-MM> · <ISO date> · <tx id>   in `instalments`
        → {"opened":{<opened on>:n},"closed":{<opened on>:n}}
    carried/<lender>/<YYYY-MM>   in `enforcement`, written by OpenMonth: a `Tally` as JSON
        → {"opened":n,"closed":n,"open":{<opened on>:n}}: everything recorded before that month

Counts stand under the date on which the agreement was opened, so that the agreements of a certain
age can be counted too (rulebook 5). What is carried over makes a fold cost what was recorded since,
not the years before.

Invariants: two transactions never write the same key. A key's date is the transaction's, and never
before the ledger day, which is read for it; so once the ledger day has come to a month no key of an
earlier one can be added, and what is carried over is exact for good.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Final

from chaincode.contract import ReadOnlyStub, Stub

from .. import records
from ..calendar import add_months, month_of
from .desk import Desk

TOTAL_INDEX: Final = "total"
CARRIED_MONTHS: Final = 60
"""How far back something carried over is looked for; without it everything is folded."""

Counts = dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True)
class TotalsView:
    """Agreements of a lender, counted up to a day."""

    lender: str
    opened: int
    closed: int
    open: int


class Counter:
    """What one transaction opens and closes, by lender."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, Counts] = {}

    def opened(self, lender: str, opened_on: str) -> None:
        """Count an agreement that is opened."""
        self._add(lender, "opened", opened_on)

    def closed(self, lender: str, opened_on: str) -> None:
        """Count an agreement that is closed."""
        self._add(lender, "closed", opened_on)

    def _add(self, lender: str, what: str, opened_on: str) -> None:
        counts = self._counts.setdefault(lender, {}).setdefault(what, {})
        counts[opened_on] = counts.get(opened_on, 0) + 1

    def save(self, desk: Desk) -> None:
        """Write the keys of this transaction; reads the ledger day only if there are any."""
        if not self._counts:
            return
        stub, day = desk.ctx.stub, max(desk.ledger_day(), desk.today)
        for lender, counts in self._counts.items():
            attributes = (lender, month_of(day), day.isoformat(), desk.ctx.tx_id)
            key = stub.create_composite_key(TOTAL_INDEX, attributes)
            stub.put_state(key, records.encode(counts))


@dataclass(slots=True)
class Tally:
    """Counts folded together.

    Attributes:
        opened, closed: agreements.
        open: those that are neither, by the ISO date on which they were opened.
        keys: how many keys were read for it since what was carried over.
    """

    opened: int = 0
    closed: int = 0
    open: dict[str, int] = field(default_factory=dict)
    keys: int = 0

    def add(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Take in the counts of one transaction."""
        self.keys += 1
        for opened_on, number in counts.get("opened", {}).items():
            self.opened += number
            self._move(opened_on, number)
        for opened_on, number in counts.get("closed", {}).items():
            self.closed += number
            self._move(opened_on, -number)

    def _move(self, opened_on: str, number: int) -> None:
        left = self.open.pop(opened_on, 0) + number
        if left:
            self.open[opened_on] = left

    def aged(self, on: date, older_than_days: int) -> int:
        """Return how many open agreements were opened more than so many days before *on*."""
        latest = (on - timedelta(days=older_than_days + 1)).isoformat()
        return sum([number for opened_on, number in self.open.items() if opened_on <= latest])


# ---- carried over -------------------------------------------------------------------------------


def carried_key(lender: str, month: str) -> str:
    """Return the key of what is carried over into a month."""
    return f"carried/{lender}/{month}"


def save_carried(stub: Stub, lender: str, month: str, tally: Tally) -> None:
    """Write what is carried over into a month; *stub* is that of `enforcement`."""
    plain = {"opened": tally.opened, "closed": tally.closed, "open": tally.open}
    stub.put_state(carried_key(lender, month), records.encode(plain))


def _carried_into(enforcement: ReadOnlyStub, lender: str, first: date) -> tuple[str, Tally]:
    """Return the newest month up to that of *first* with something carried over; "" for none."""
    months_of_the_era = first.year * 12 + first.month - 12
    looked_back = range(min(CARRIED_MONTHS, months_of_the_era))
    months = [month_of(add_months(first, -back)) for back in looked_back]
    raws = enforcement.get_states([carried_key(lender, month) for month in months])
    for month, raw in zip(months, raws, strict=True):
        if raw is not None:
            plain: dict[str, Any] = records.decode(raw)
            return month, Tally(plain["opened"], plain["closed"], dict(plain["open"]))
    return "", Tally()


# ---- folding ------------------------------------------------------------------------------------


def _since(
    book: ReadOnlyStub, lender: str, month: str, end: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (month, day, counts) of all keys from a month on ("": from the first on) before *end*.

    From a month on each range is one month's, so what is recorded in the month *end* is not read.
    """
    found: list[tuple[str, ...]] = []
    while month and month < end:
        found.append((lender, month))
        month = month_of(add_months(date.fromisoformat(f"{month}-01"), 1))
    for attributes in found or ([] if month else [(lender,)]):
        for key, value in book.get_state_by_partial_composite_key(TOTAL_INDEX, attributes):
            parts = book.split_composite_key(key)[1]
            if parts[1] >= end:
                return
            yield parts[1], parts[2], records.decode(value)


def fold_before(
    enforcement: ReadOnlyStub, book: ReadOnlyStub, lender: str, first: date, budget: int
) -> tuple[str, Tally]:
    """Return everything recorded before a month, as far as *budget* keys reach.

    Args:
        enforcement, book: readers of the two namespaces.
        first: first day of the month.
        budget: keys after which no further month is begun.
    Returns:
        the month before which all is counted, that of *first* if the budget sufficed; the counts.
    """
    end = month_of(first)
    reached, tally = _carried_into(enforcement, lender, first)
    for month, _day, counts in _since(book, lender, reached, end):
        if month != reached:
            if tally.keys >= budget:
                return month, tally
            reached = month
        tally.add(counts)
    return end, tally


def fold(
    enforcement: ReadOnlyStub, book: ReadOnlyStub, lender: str, until: date, today: date
) -> TotalsView:
    """Return the totals of a lender up to and including a day.

    Args:
        enforcement, book: readers of the two namespaces.
        today: nothing is recorded in a month after the next one.
    """
    last = min(until, add_months(today, 1))
    end = month_of(add_months(last, 1))
    month, tally = _carried_into(enforcement, lender, last + timedelta(days=1))
    for _month, day, counts in _since(book, lender, month, end):
        if day > until.isoformat():
            break
        tally.add(counts)
    return TotalsView(lender, tally.opened, tally.closed, tally.opened - tally.closed)
