"""The ledger day (rulebook 1): one record, moved forward to the PKT date of a transaction.

Notices, proposals, ballots, orders and receipts read it, so that what was endorsed on one day and
held back becomes invalid (MVCC) once somebody has moved the day. Payments do not read it.

In `enforcement` a transaction must be of the ledger day itself: then a deadline means the same to
the clock and to the ledger. What ends or releases a case (`instalments`) must only not be older,
since nobody who is needed to move the day may hold up a release.
"""

from __future__ import annotations

from datetime import date
from typing import Final

from chaincode.contract import Context, ReadOnlyStub

from . import records
from .verdicts import RuleBroken

LEDGER_DAY_KEY: Final = "ledger-day"


def encode_day(day: date) -> bytes:
    """Return the state value of a ledger day."""
    return records.encode({"day": day.isoformat()})


def find(stub: ReadOnlyStub) -> date | None:
    """Return the ledger day, None before the founding; *stub* reads `enforcement`."""
    raw = stub.get_state(LEDGER_DAY_KEY)
    return None if raw is None else date.fromisoformat(records.decode(raw)["day"])


def current(stub: ReadOnlyStub) -> date:
    """Return the ledger day; *stub* reads `enforcement`.

    Raises:
        RuleBroken: the consortium was not founded.
    """
    day = find(stub)
    if day is None:
        raise RuleBroken("the consortium", "has no ledger day yet", 1, "submit Found first")
    return day


def require_today(ctx: Context, day: date) -> date:
    """Check that the transaction is of the ledger day, and return it.

    Raises:
        RuleBroken: the ledger day is another.
    """
    if ctx.tx_date > day:
        raise RuleBroken(
            "the ledger day",
            f"is {day}, this transaction is of {ctx.tx_date}",
            1,
            "submit AdvanceDay, then this again",
        )
    return require_not_past(ctx, day)


def require_not_past(ctx: Context, day: date) -> date:
    """Check that the transaction is not of a day before the ledger day, and return its date.

    Raises:
        RuleBroken: it was made on an earlier day and held back.
    """
    if ctx.tx_date < day:
        raise RuleBroken(
            f"this transaction of {ctx.tx_date}",
            f"is behind the ledger day {day}",
            1,
            "make it again today",
        )
    return ctx.tx_date
