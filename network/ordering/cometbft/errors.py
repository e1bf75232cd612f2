"""What goes wrong between a node and its CometBFT process."""

from __future__ import annotations

from ledger.errors import Fatal, Refusal, Unavailable

__all__ = ["AbciError", "CometRefusal", "CometUnavailable", "HomeError"]


class AbciError(Fatal):
    """What CometBFT sent is not ABCI 2.0 as both sides must speak it; the server has stopped."""


class HomeError(Refusal):
    """CometBFT cannot be set up as asked: its program, its folder or a setting is not fit."""


class CometRefusal(Refusal):
    """CometBFT answered a call with an error: it was reached, and nothing was done.

    Attributes:
        code: of JSON-RPC.
        data: CometBFT's own words.
    """

    def __init__(self, message: str, *, code: int, data: str) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class CometUnavailable(Unavailable):
    """CometBFT does not answer, or takes nothing now; the message says which."""
