"""The way from the book to the cases: told in the very transaction what a payment, a revision or an
ending changed (rulebook 4).

A hook looks its agreements up once: one docket key each in `enforcement`, and more only where there
is a case. It writes in `instalments` only: endings and release orders. Neither the ledger day nor
anybody's officer is asked, so nothing can hold up a release.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from chaincode.contract import Context

from ..book.position import Position
from . import ending
from .docket import Docket
from .ending import Moved

__all__ = ["CaseHook", "Moved"]


class CaseHook:
    """The cases of the agreements that a transaction of the book is about."""

    __slots__ = ("_by", "_docket")

    def __init__(self, ctx: Context, agreements: Sequence[str]) -> None:
        """Look up the latest cases of *agreements*, their ends and holds."""
        self._by = ctx.creator.msp_id
        self._docket = Docket.of_instalments(ctx)
        self._docket.load_agreements(agreements)

    def blocked(self, agreement: str, device: str = "") -> str:
        """Return what a buyer of the phone may know: none, ordered, blocked or releasing.

        Args:
            device: the handset asked about; a block of the one it was exchanged for is not its own.
        """
        file = self._docket.latest(agreement)
        if file is None:
            return "none"
        if device and all(order.device != device for order in file.record.orders):
            return "none"
        state = self._docket.state(file.record.case)
        if state.state == "releasing":
            return "releasing"
        return {"ordered": "ordered", "enforced": "blocked"}.get(state.beneath, "none")

    def tier(self, agreement: str) -> int:
        """Return the tier of the block that is applied, 0 without one and once the case is over."""
        file = self._docket.latest(agreement)
        return 0 if file is None else self._docket.state(file.record.case).tier

    def case(self, agreement: str) -> str | None:
        """Return the open case of an agreement."""
        file = self._docket.latest(agreement)
        if file is None or self._docket.state(file.record.case).is_over:
            return None
        return file.record.case

    def after_payment(self, after: Position, paid_on: date) -> Moved | None:
        """End the case that a payment cured, or whose trigger it took away before a block.

        Args:
            after: the agreement with the payment in it.
            paid_on: of the payment; a cure counts on any date from it to today.
        """
        file = self._docket.latest(after.agreement)
        if file is None:
            return None
        return ending.after_payment(self._docket, file, after, paid_on, self._by)

    def after_change(self, after: Position) -> Moved | None:
        """The same after a revision of the schedule, which counts from today."""
        return self.after_payment(after, self._docket.moment.day)

    def after_ending(self, after: Position, kind: str, evidence: str) -> Moved | None:
        """End the open case of an agreement that was written off, ended by death or paid off.

        Args:
            kind: written_off, death or paid_off; the last one cures.
            evidence: hash that the ending rests on.
        """
        name = "cured" if kind == ending.PAID_OFF else kind
        return self._end(after.agreement, name, evidence)

    def after_exchange(self, after: Position, old_device: str) -> Moved | None:
        """Release the old handset of a warranty repair, if a block of it was ordered.

        A case without an order goes on and follows the agreement to the new handset; one with an
        order ends as `exchanged`: the new handset is blocked only by a new order, after a new
        notice and vote.
        """
        file = self._docket.latest(after.agreement)
        if file is None or not self._docket.state(file.record.case).is_blocking:
            return None
        return self._end(after.agreement, "exchanged", "")

    def _end(self, agreement: str, kind: str, evidence: str) -> Moved | None:
        file = self._docket.latest(agreement)
        if file is None:
            return None
        state = self._docket.state(file.record.case)
        if state.is_over:
            return None
        return ending.end(self._docket, file, state, kind, self._by, evidence)
