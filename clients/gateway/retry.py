"""When a transaction may be endorsed again.

Only conflicts of the read set qualify: the transaction stands in the ledger
without effect, so another attempt cannot happen twice. The caller must still
allow it, because only the caller knows that the request is idempotent in its
own business.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ledger.transactions.codes import TxValidationCode

_CONFLICTS = frozenset(
    {TxValidationCode.MVCC_READ_CONFLICT, TxValidationCode.PHANTOM_READ_CONFLICT}
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after how long, a conflicting call is endorsed again.

    Attributes:
        attempts: the most submissions of one call, the first included; at least 1.
        first_pause_s: upper bound of the pause after the first conflict; doubles each time.
        longest_pause_s: the bound at which doubling stops.
    """

    attempts: int = 8
    first_pause_s: float = 0.02
    longest_pause_s: float = 1.0

    def allows(self, code: TxValidationCode, attempt: int) -> bool:
        """Whether another attempt may follow number *attempt* (from 1), which ended with *code*."""
        return code in _CONFLICTS and attempt < self.attempts

    def pause_s(self, attempt: int) -> float:
        """Seconds to wait after attempt *attempt*: random, so that losers do not meet again."""
        bound = min(self.longest_pause_s, self.first_pause_s * 2.0 ** (attempt - 1))
        return random.uniform(bound / 4, bound)
