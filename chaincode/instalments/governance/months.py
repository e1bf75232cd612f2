"""A month's limit of block orders (rulebook 5), counted once at its start.

For every affiliate group: the policy's percentage of the agreements that its members had open at
the month's start and that are older than the policy's days, rounded down, at least one. Anyone may
open a month that has begun; the count is of what was recorded before its first day, so it does not
depend on who opens it when.

What was counted is carried over into the month, lender by lender, so that the next count reads the
keys of one month. A transaction that has read enough leaves the other groups to the next one; what
it counted of them so far is carried over as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from chaincode.contract import Context

from .. import records
from ..book.totals import fold_before, save_carried
from ..calendar import add_months, month_of
from ..cases.breaker import LEAST_LIMIT, month_key
from ..members import Roster
from ..policy import Policies
from ..verdicts import RuleBroken

KEYS_READ: Final = 50_000
"""After so many keys of totals a transaction begins no further lender and no further month."""


@dataclass(frozen=True, slots=True)
class MonthLimit:
    """A group's limit in a month; *written* is False if it stood already."""

    group: str
    aged: int
    limit: int
    written: bool


def first_day(month: str) -> date:
    """Return the first day of a month given as YYYY-MM.

    Raises:
        RuleBroken: it is no month.
    """
    try:
        if len(month) == 7:
            return date.fromisoformat(f"{month}-01")
    except ValueError:
        pass
    raise RuleBroken("the month", "must be written as YYYY-MM", 5, "write 2026-05")


def open_month(
    ctx: Context, roster: Roster, policies: Policies, month: str
) -> tuple[list[MonthLimit], bool]:
    """Count and write the limits of the groups that have none in this month yet.

    Returns:
        the limits that stand now, and whether all groups have one.
    Raises:
        RuleBroken: the month has not begun, or is over.
    """
    first = first_day(month)
    if month_of(ctx.tx_date) != month:
        wrong = "has not begun" if ctx.tx_date < first else "is over"
        raise RuleBroken(f"the month {month}", wrong, 5, "open the month of the ledger day")
    assert first <= ctx.tx_date < add_months(first, 1)
    policy = policies.in_force(max(first, policies.versions[0].active_from)).policy
    limits, is_complete, budget = [], True, KEYS_READ
    for group in sorted({member.group for member in roster.members}):
        raw = ctx.stub.get_state(month_key(month, group))
        if raw is not None:
            plain = records.decode(raw)
            limits.append(MonthLimit(group, plain["aged"], plain["limit"], False))
            continue
        lenders = [member.msp_id for member in roster.members if member.group == group]
        aged, budget = _aged(ctx, lenders, first, policy.breaker_age_days, budget)
        if aged is None:
            is_complete = False
            continue
        limit = max(LEAST_LIMIT, aged * policy.orders_per_month_percent // 100)
        plain = {"group": group, "month": month, "aged": aged, "limit": limit}
        ctx.stub.put_state(month_key(month, group), records.encode(plain))
        limits.append(MonthLimit(group, aged, limit, True))
    return limits, is_complete


def _aged(
    ctx: Context, lenders: list[str], first: date, older_than_days: int, budget: int
) -> tuple[int | None, int]:
    """Return how many agreements of some lenders are aged, and what is left of the budget.

    None where the budget did not suffice; what was counted by then is carried over.
    """
    book, count = ctx.stub.reading("instalments"), 0
    for lender in lenders:
        if budget <= 0:
            return None, budget
        reached, tally = fold_before(ctx.stub, book, lender, first, budget)
        budget -= tally.keys
        save_carried(ctx.stub, lender, reached, tally)
        if reached != month_of(first):
            return None, budget
        count += tally.aged(first, older_than_days)
    return count, budget
