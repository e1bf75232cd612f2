"""How many agreements a lender has: a key per transaction, folded by a query (rulebook 2).

    composite  total · <lender> · <ISO date of the transaction> · <tx id>
        → {"opened":{<opened on>:n},"closed":{<opened on>:n}}

Invariant: two transactions never write the same key. Counts stand under the date on which the
agreement was opened, so that the agreements of a certain age can be counted too (rulebook 5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from chaincode.contract import Context, ReadOnlyStub

from .. import records

TOTAL_INDEX: Final = "total"

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

    def save(self, ctx: Context) -> None:
        """Write the keys of this transaction."""
        stub, day = ctx.stub, ctx.tx_date.isoformat()
        for lender, counts in self._counts.items():
            key = stub.create_composite_key(TOTAL_INDEX, (lender, day, ctx.tx_id))
            stub.put_state(key, records.encode(counts))


def _until(stub: ReadOnlyStub, lender: str, until: str) -> Iterator[dict[str, Any]]:
    for key, value in stub.get_state_by_partial_composite_key(TOTAL_INDEX, (lender,)):
        if stub.split_composite_key(key)[1][1] > until:
            return
        yield records.decode(value)


def fold(stub: ReadOnlyStub, lender: str, until: date) -> TotalsView:
    """Return the totals of a lender up to and including a day; *stub* reads `instalments`."""
    opened = closed = 0
    for counts in _until(stub, lender, until.isoformat()):
        opened += sum(counts.get("opened", {}).values())
        closed += sum(counts.get("closed", {}).values())
    return TotalsView(lender, opened, closed, opened - closed)


def count_aged(stub: ReadOnlyStub, lender: str, on: date, older_than_days: int) -> int:
    """Return how many agreements were open at the start of a day and older than so many days.

    Args:
        stub: reads `instalments`.
        on: what was recorded before this day counts.
        older_than_days: an agreement counts if it was opened more than so many days before *on*.
    """
    latest = (on - timedelta(days=older_than_days + 1)).isoformat()
    count = 0
    for counts in _until(stub, lender, (on - timedelta(days=1)).isoformat()):
        for what, sign in (("opened", 1), ("closed", -1)):
            for opened_on, number in counts.get(what, {}).items():
                if opened_on <= latest:
                    count += sign * number
    return count
