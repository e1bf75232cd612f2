"""A month's limit of block orders (rulebook 5), counted once at its start.

For every affiliate group: the policy's percentage of the agreements that its members had open at
the month's start and that are older than the policy's days, rounded down, at least one. Anyone may
open a month that has begun; the count is of what was recorded before its first day, so it does not
depend on who opens it when.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from chaincode.contract import Context

from .. import records
from ..book.totals import count_aged
from ..calendar import add_months
from ..cases.breaker import LEAST_LIMIT, month_key, month_of
from ..members import Roster
from ..policy import Policies
from ..verdicts import RuleBroken


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


def open_month(ctx: Context, roster: Roster, policies: Policies, month: str) -> list[MonthLimit]:
    """Count and write the limits of all groups that have none in this month yet.

    Raises:
        RuleBroken: the month has not begun, or is over.
    """
    first = first_day(month)
    if month_of(ctx.tx_date) != month:
        wrong = "has not begun" if ctx.tx_date < first else "is over"
        raise RuleBroken(f"the month {month}", wrong, 5, "open the month of the ledger day")
    assert first <= ctx.tx_date < add_months(first, 1)
    policy = policies.in_force(max(first, policies.versions[0].active_from)).policy
    book = ctx.stub.reading("instalments")
    limits = []
    for group in sorted({member.group for member in roster.members}):
        raw = ctx.stub.get_state(month_key(month, group))
        if raw is not None:
            plain = records.decode(raw)
            limits.append(MonthLimit(group, plain["aged"], plain["limit"], False))
            continue
        aged = sum(
            count_aged(book, member.msp_id, first, policy.breaker_age_days)
            for member in roster.members
            if member.group == group
        )
        limit = max(LEAST_LIMIT, aged * policy.orders_per_month_percent // 100)
        plain = {"group": group, "month": month, "aged": aged, "limit": limit}
        ctx.stub.put_state(month_key(month, group), records.encode(plain))
        limits.append(MonthLimit(group, aged, limit, True))
    return limits
