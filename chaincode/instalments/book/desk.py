"""What every function of the book needs once a transaction: the signer, the members, the cases.

Reads of `enforcement` are the roster alone; a payment reads no ledger day and no policy, so that
nothing but another record about the same agreement can invalidate it (rulebook 1, 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TypeVar

from chaincode.contract import Context, Malformed, ReadOnlyStub

from .. import ledger_day, members, officers, policy
from ..members import Roster
from ..officers import Officer
from ..verdicts import RuleBroken
from .bulk import named
from .position import Position

T = TypeVar("T")

ENFORCEMENT = "enforcement"


class Desk:
    """One transaction at the book.

    Attributes:
        ctx: its context.
        enforcement: reads the other namespace.
        roster: the members in force.
        officer: who signed.
        today: the transaction's date in Pakistan, and
        day: the same as ISO text.
    """

    __slots__ = ("ctx", "day", "enforcement", "officer", "roster", "today")

    def __init__(self, ctx: Context, *roles: str, active: bool) -> None:
        self.ctx = ctx
        self.enforcement: ReadOnlyStub = ctx.stub.reading(ENFORCEMENT)
        self.roster: Roster = members.load(self.enforcement)
        self.officer: Officer = officers.require(
            ctx, self.roster, *(roles or _LENDING), active=active
        )
        self.today: date = ctx.tx_date
        self.day: str = ctx.tx_date.isoformat()

    @property
    def msp_id(self) -> str:
        """The signer's organisation."""
        return self.officer.msp_id

    def is_lender_of(self, position: Position) -> bool:
        """Say whether the signer is the lender, or its successor once it has gone."""
        lender = position.lender
        return self.msp_id == lender or self.roster.acts_for(self.msp_id, lender, self.today)

    def require_lender(self, position: Position, deed: str) -> None:
        """Refuse anybody but the lender.

        Raises:
            RuleBroken: the signer is another member.
        """
        if not self.is_lender_of(position):
            raise RuleBroken(
                named("agreement", position.agreement),
                f"can be {deed} by its lender {position.lender} only, not by {self.msp_id}",
                2,
                "ask the lender",
            )

    def require_not_future(self, thing: str, what: str, day: date) -> None:
        """Refuse a date after the transaction's.

        Raises:
            RuleBroken: the day has not come.
        """
        if day > self.today:
            raise RuleBroken(
                thing,
                f"{what} on {day}, after today, {self.today}",
                2,
                "send it when the day comes",
            )

    def ledger_day(self) -> date:
        """Return the ledger day."""
        return ledger_day.current(self.enforcement)

    def opening_window_days(self, day: date) -> int:
        """Return in how many days an agreement must be recorded, by the policy in force."""
        return policy.in_force(self.enforcement, day).opening_window_days


_LENDING = ("lending",)


def well_formed(inputs: Sequence[T | Malformed]) -> list[T]:
    """Return the records of a list that are of their form."""
    return [given for given in inputs if not isinstance(given, Malformed)]
