"""What became of transactions: the newest verdicts in memory, and who waits for one.

Lives on the event loop. Nothing is kept for a client but a future; bounded by those who wait now.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ledger.errors import LedgerError
from ledger.transactions.codes import TxValidationCode

__all__ = ["Statuses", "TransactionStatus"]

REMEMBERED = 20_000
"""Newest transactions whose status is kept in memory."""


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    """The recorded verdict on a transaction, and the block it stands in."""

    code: TxValidationCode
    block_num: int


class Statuses:
    """The statuses of one channel's newest transactions."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, TransactionStatus] = OrderedDict()
        self._waiting: dict[
            str, dict[asyncio.Future[TransactionStatus], Callable[[], None] | None]
        ] = {}

    def get(self, tx_id: str) -> TransactionStatus | None:
        """Return a status that is remembered."""
        return self._known.get(tx_id)

    def settle(self, tx_id: str, status: TransactionStatus) -> None:
        """Record the status of a transaction, the first one if a block holds it twice."""
        if tx_id in self._known:
            return
        self._known[tx_id] = status
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        for future in self._waiting.get(tx_id, ()):
            if not future.done():
                future.set_result(status)

    def fail(self, error: LedgerError) -> None:
        """Tell everybody who waits that no block will come."""
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_exception(error)

    def verify_waiting(self) -> None:
        """Ask again whether those who wait may know; who may not is told so and waits no more."""
        for waiting in self._waiting.values():
            for future, verify in waiting.items():
                if verify is None or future.done():
                    continue
                try:
                    verify()
                except LedgerError as refused:
                    future.set_exception(refused)

    @contextmanager
    def listen(
        self, tx_id: str, verify: Callable[[], None] | None = None
    ) -> Iterator[asyncio.Future[TransactionStatus]]:
        """Give a future that is done as soon as the transaction is settled.

        Args:
            tx_id: of the transaction.
            verify: raises LedgerError if who listens must not know any more.
        """
        future: asyncio.Future[TransactionStatus] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tx_id, {})[future] = verify
        try:
            yield future
        finally:
            # Nobody may wait any more for what the future was told.
            if future.done() and not future.cancelled():
                future.exception()
            waiting = self._waiting[tx_id]
            waiting.pop(future, None)
            if not waiting:
                del self._waiting[tx_id]
