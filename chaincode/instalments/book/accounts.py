"""The agreements that one transaction is about: working copies, written back once at the end.

A transaction does not see its own writes, so several records of one list about one agreement meet
in its working copy. Written back are the summary key, the account in the lender's collection if
money moved, and the agreement's place in the index of what is due, when it moved:

    composite  due · <ISO date of the oldest unpaid instalment> · <agreement>   → one zero byte

Invariants: a closed agreement, and one with nothing left to pay, stands nowhere in the index;
everything else exactly once, under `summary.due`. So a query of what is overdue costs what is
overdue, not the book.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from chaincode.contract import ReadOnlyStub, Stub

from ..arrears import bucket_of
from ..calendar import days_between, parse_date
from . import money as purse
from .bulk import unknown
from .money import Booking, Money
from .position import Position, load, load_with_money, standing_key

DUE_INDEX: Final = "due"
INDEX_VALUE: Final = b"\x00"


def due_key(stub: ReadOnlyStub, due: str, agreement: str) -> str:
    """Return the index key of an agreement whose oldest unpaid instalment is due on a day."""
    return stub.create_composite_key(DUE_INDEX, (due, agreement))


class Accounts:
    """Working copies of some agreements."""

    __slots__ = ("_changed", "_money", "_positions", "_stub")

    def __init__(self, stub: Stub, agreements: Iterable[str], *, money: bool = False) -> None:
        self._stub = stub
        self._changed: dict[str, None] = {}
        self._positions: dict[str, Position | None] = {}
        self._money: dict[str, Money | None] = {}
        self.load(agreements, money=money)

    def load(self, agreements: Iterable[str], *, money: bool = False) -> None:
        """Read agreements that were not read yet, all at once, with their money or without."""
        wanted = [name for name in dict.fromkeys(agreements) if name not in self._positions]
        if wanted:
            found = load_with_money(self._stub, wanted) if money else load(self._stub, wanted)
            for name, position in zip(wanted, found, strict=True):
                self._positions[name] = position
                self._money[name] = None if position is None else position.held

    def find(self, agreement: str) -> Position | None:
        """Return the working copy, None where there is no such agreement."""
        return self._positions[agreement]

    def position(self, agreement: str) -> Position:
        """Return the working copy.

        Raises:
            RuleBroken: there is no such agreement.
        """
        position = self._positions[agreement]
        if position is None:
            raise unknown("agreement", agreement, "open it first, or correct its id")
        return position

    def booking(self, kind: str, agreement: str, institution: str, reference: str) -> Booking:
        """Return the newest booking of a payment or refund that is on the ledger.

        Raises:
            RuleBroken: the caller may not read the account.
        """
        position = self.position(agreement)

        def older(page: int) -> str:
            return purse.older_bookings(self._stub, position.lender, agreement, page)

        found = purse.newest_booking(position.money, kind, institution, reference, older)
        assert found is not None, f"{kind} of {agreement} without a booking"
        return found

    def put(self, position: Position) -> None:
        """Take in what a record made of an agreement, or a new one."""
        agreement = position.agreement
        self._positions[agreement] = position
        self._changed[agreement] = None

    def save(self) -> None:
        """Write the changed summaries and accounts, and move their places in the index."""
        stub = self._stub
        for agreement in self._changed:
            position = self._positions[agreement]
            assert position is not None
            summary = position.summary
            due = "" if summary.closed else position.oldest_due
            if due != summary.due:
                if summary.due:
                    stub.del_state(due_key(stub, summary.due, agreement))
                if due:
                    stub.put_state(due_key(stub, due, agreement), INDEX_VALUE)
                position = position.with_due(due)
                self._positions[agreement] = position
            stub.put_state(standing_key(agreement), position.summary.encode())
            money = position.held
            if money is not None and money is not self._money.get(agreement):
                purse.save_account(stub, position.lender, agreement, money)

    def bucket(self, agreement: str, day: date) -> str:
        """Return the bucket of an agreement on *day*, the transaction's, once all is saved."""
        position = self._positions.get(agreement)
        if position is None:
            return ""
        oldest = position.oldest_due if position.closed else position.summary.due
        return bucket_of(max(0, days_between(parse_date(oldest), day)) if oldest else 0)
