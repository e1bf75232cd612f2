"""What the loader asks of a ledger: take records in bulk, and say whether a transaction stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class RecordVerdict:
    """What became of one record.

    Attributes:
        is_ok: whether the contract took it.
        is_written: False also where the very same stood already.
        rule: of a refusal, as "rulebook 2".
        message: of a refusal.
        tx_id: the transaction in which it was weighed.
    """

    is_ok: bool
    is_written: bool
    rule: str
    message: str
    tx_id: str


class Ledger(Protocol):
    """A channel with the consortium's contracts, for one member's user."""

    @property
    def member(self) -> str:
        """MSP id of the member who imports, and the channel, as one text."""
        ...

    async def submit(
        self,
        function: str,
        records: Sequence[Mapping[str, Any]],
        transient: Mapping[str, Sequence[Any]],
    ) -> Sequence[RecordVerdict]:
        """Submit records through a bulk function and wait until they are committed.

        Returns one verdict a record, in their order.

        Raises:
            LedgerError: not all could be submitted; some may be committed nevertheless.
        """
        ...

    async def is_recorded(self, tx_id: str) -> bool:
        """Whether the ledger holds the transaction."""
        ...
