"""The errors of a node, and what a client sees of any error of ours.

Every error derives from one of the kinds in `ledger.errors`. `grpc_status` is the one table from
errors to gRPC codes; services that Fabric answers in its own words (gateway, Deliver, Broadcast)
take their codes from there or from the rules of that service, never from a table of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc

from ledger.errors import Fatal, LedgerError, Refusal, Unavailable
from network.errors import IdentityError, OrderingRefusal, PolicyError, SignatureError

__all__ = [
    "AccessDenied",
    "ChannelHalted",
    "ChannelUnavailable",
    "NodeError",
    "TooManyRequests",
    "UpgradeNeeded",
    "exit_code",
    "grpc_status",
]


class NodeError(LedgerError):
    """How an RPC of a node ends, with a code of its own."""


class AccessDenied(PolicyError):
    """The channel's access rules do not let this identity do that."""


class ChannelHalted(Unavailable):
    """The channel takes no more blocks after a fatal error; what is stored can still be read."""


class ChannelUnavailable(Unavailable):
    """The channel has not been started, or is being closed."""


class TooManyRequests(Unavailable):
    """A limit of this node on work at one time is reached; nothing was done.

    Attributes:
        again_ms: after which another attempt makes sense.
    """

    def __init__(self, message: str, *, again_ms: int) -> None:
        super().__init__(message)
        self.again_ms = again_ms


class UpgradeNeeded(Fatal):
    """The channel demands what this program does not have; it takes no more blocks of it."""


_CODES: tuple[tuple[type[LedgerError], grpc.StatusCode], ...] = (
    # The first class that fits decides, so the narrower ones stand first.
    (AccessDenied, grpc.StatusCode.PERMISSION_DENIED),
    (IdentityError, grpc.StatusCode.PERMISSION_DENIED),
    (SignatureError, grpc.StatusCode.PERMISSION_DENIED),
    (PolicyError, grpc.StatusCode.PERMISSION_DENIED),
    (OrderingRefusal, grpc.StatusCode.ABORTED),
    (Refusal, grpc.StatusCode.INVALID_ARGUMENT),
    (TooManyRequests, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (Fatal, grpc.StatusCode.INTERNAL),
    (LedgerError, grpc.StatusCode.UNKNOWN),
)


_REFUSED: Final = 1
_UNAVAILABLE: Final = 3
_FATAL: Final = 4


def exit_code(errors: Sequence[LedgerError]) -> int:
    """Return the exit code of a node's process that these errors ended; 0 if there are none.

    It is the command line's (docs/howto/run-a-node.md); of several, what hurts the data counts
    most, and what may be tried again least.
    """
    if any(isinstance(each, Fatal) for each in errors):
        return _FATAL
    if all(isinstance(each, Unavailable) for each in errors):
        return _UNAVAILABLE if errors else 0
    return _REFUSED


def grpc_status(error: LedgerError) -> tuple[grpc.StatusCode, str]:
    """Return the gRPC code and message for *error*.

    A fatal error's message is for the operator's log; a client learns only that it happened.
    """
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    if code is grpc.StatusCode.INTERNAL:
        return code, "the node stopped this work after a fatal error; its log says which"
    return code, str(error)
