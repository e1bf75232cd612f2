"""When a transaction may be endorsed again.

Conflicts of the read set qualify always: the transaction stands in the ledger without effect, so
another attempt cannot happen twice. So do endorsements that differed because a peer was behind:
nothing was ordered. With ``patience_s``, a gateway that cannot be reached and an open outcome
qualify too, for so long. The caller must still allow it all, because only the caller knows that the
request is idempotent in its own business.

What a gateway refuses because it is overloaded it has not even looked at: the very same call is
made again (`Refusals`), whatever it is.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import grpc

from clients.gateway.errors import EndorseError, GatewayError
from ledger.transactions.codes import TxValidationCode

_CONFLICTS = frozenset(
    {TxValidationCode.MVCC_READ_CONFLICT, TxValidationCode.PHANTOM_READ_CONFLICT}
)
_PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)
SHORTEST_REFUSED_PAUSE_S = 0.02
LONGEST_REFUSED_PAUSE_S = 3.0
# What Fabric's gateway says when two peers simulated on different heights.
_DIFFERENT = "ProposalResponsePayloads do not match"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after how long, an idempotent call is endorsed again.

    Attributes:
        attempts: the most submissions of one call, the first included; at least 1.
        first_pause_s: upper bound of the pause after the first conflict; doubles each time.
        longest_pause_s: the bound at which doubling stops.
        patience_s: how many seconds of pauses are spent on a gateway that is out of reach or
            overloaded, or on an open outcome; 0: none.
        halve_after: attempts after which a bulk is split in two halves.
    """

    attempts: int = 8
    first_pause_s: float = 0.02
    longest_pause_s: float = 1.0
    patience_s: float = 0.0
    halve_after: int = 3

    def allows(self, code: TxValidationCode, attempt: int) -> bool:
        """Whether another attempt may follow number *attempt* (from 1), which ended with *code*."""
        return code in _CONFLICTS and attempt < self.attempts

    def allows_after(self, error: GatewayError, attempt: int, paused_s: float) -> bool:
        """Whether another attempt may follow one that broke off with *error*.

        Args:
            attempt: number of the attempt that broke off, from 1.
            paused_s: seconds of pauses already spent.
        """
        if is_mismatch(error):
            return attempt < self.attempts
        return error.code in _PASSING and paused_s < self.patience_s

    def of_a_bulk(self) -> RetryPolicy:
        """The policy for a part that can still be halved."""
        return replace(self, attempts=min(self.attempts, self.halve_after))

    def pause_s(self, attempt: int) -> float:
        """Seconds to wait after attempt *attempt*: random, so that losers do not meet again."""
        bound = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(attempt - 1, 30))
        return random.uniform(bound / 4, bound)


class Refusals:
    """The pauses of one call that an overloaded gateway refuses again and again.

    They begin with what the gateway asks for and double, up to `LONGEST_REFUSED_PAUSE_S`; each is
    random around that, so that those who were refused together do not come again together. One that
    asks for none is given a short one all the same, so that every attempt spends some patience.

    Args:
        patience_s: how many seconds of pauses are spent.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._times = 0

    def pause_s(self, error: GatewayError) -> float | None:
        """Return how long to wait before the call is made again; None if it is to fail."""
        if error.again_in_s is None or self._patience_s <= 0:
            return None
        first_s = max(SHORTEST_REFUSED_PAUSE_S, error.again_in_s)
        bound = max(LONGEST_REFUSED_PAUSE_S, first_s)
        usual = min(bound, first_s * 2.0 ** min(self._times, 30))
        pause_s = min(random.uniform(0.5 * usual, 1.5 * usual), self._patience_s)
        self._times += 1
        self._patience_s -= pause_s
        return pause_s


def is_mismatch(error: GatewayError) -> bool:
    """Whether the endorsers' results differed, as they do while one of them is behind."""
    return (
        isinstance(error, EndorseError)
        and error.code is grpc.StatusCode.ABORTED
        and any(_DIFFERENT in text for text in (str(error), *(d.message for d in error.details)))
    )


def is_conflict(code: TxValidationCode) -> bool:
    """Whether a transaction failed only because something it had read was changed meanwhile."""
    return code in _CONFLICTS
