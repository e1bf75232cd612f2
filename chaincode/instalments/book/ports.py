"""What the book asks of the cases: told in the very transaction what money changed."""

from __future__ import annotations

from datetime import date
from typing import Protocol

from .position import Position


class Moved(Protocol):
    """A case that a record of the book moved."""

    @property
    def case(self) -> str:
        """Its id."""

    @property
    def ending(self) -> str:
        """How it ended: cured, lapsed, withdrawn, written_off, death …"""

    @property
    def release(self) -> str | None:
        """The release order that was issued with it."""


class Cases(Protocol):
    """The open cases, endings and holds of the agreements that a transaction is about."""

    def blocked(self, agreement: str, device: str = "") -> str:
        """Return `none`, `ordered`, `blocked` or `releasing`, of one handset if it is named."""

    def tier(self, agreement: str) -> int:
        """Return the enforcement tier now, 0 to 3."""

    def after_payment(self, after: Position, paid_on: date) -> Moved | None:
        """Weigh the case of an agreement to which a payment came."""

    def after_change(self, after: Position) -> Moved | None:
        """Weigh the case of an agreement whose schedule was revised."""

    def after_ending(self, after: Position, kind: str, evidence: str) -> Moved | None:
        """End the case of an agreement that was closed."""

    def after_exchange(self, after: Position, old_device: str) -> Moved | None:
        """Release the old handset of an agreement that goes on with another.

        Args:
            after: its `device` is the new one, unless the agreement was closed before.
        """
