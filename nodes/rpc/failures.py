"""How a gateway says no: gRPC status with Fabric's `ErrorDetail`s, as Go's gRPC sends them.

The details travel as a marshalled ``google.rpc.Status`` in the trailing metadata
``grpc-status-details-bin``; Fabric's clients show them beside the message. Messages are cut to what
fits into the 8 KiB of headers that a gRPC client takes, counted as they travel: with more, it would
see RESOURCE_EXHAUSTED in place of the code. Codes and messages: Fabric internal/pkg/gateway
(apiutils.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import grpc
from fabric_protos.gateway import gateway_pb2
from google.rpc import status_pb2

from nodes.errors import NodeError

DETAILS_KEY = "grpc-status-details-bin"
NOTHING_DONE = ("qist-outcome", "nothing-was-done")
"""Metadata of a failure after which it is certain that nothing was ordered.

Fabric has no such word, and its clients pass it over (docs/formats.md, section 16).
"""
AGAIN_KEY = "grpc-retry-pushback-ms"
"""Metadata of a failure after which another attempt makes sense, and when: gRPC's own word for it.

gRPC's clients wait so long by themselves where they were given a retry policy for the code.
"""
DO_NOT_MATCH = "ProposalResponsePayloads do not match"
_MESSAGE_BYTES = 1200
_DETAILS_BYTES = 2800
_DETAILS = 6
_CUT = " … "


@dataclass(frozen=True, slots=True)
class Detail:
    """What one node said.

    Attributes:
        address: ``host:port`` of the node.
        msp_id: its member.
        message: its words.
    """

    address: str
    msp_id: str
    message: str


class RpcFailure(NodeError):
    """An RPC ends with this status.

    Attributes:
        code: the gRPC status.
        message: what the caller reads.
        details: what each node said.
        nothing_done: whether it is certain that the call had no effect.
        again_ms: after which another attempt makes sense; 0 where that is not known.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        details: Sequence[Detail] = (),
        *,
        nothing_done: bool = False,
        again_ms: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.nothing_done = nothing_done
        self.again_ms = again_ms


class CallerLeft(NodeError):
    """Nothing can be sent to the caller any more; nobody is there to be told of it."""


def shorten(text: str, limit: int = _MESSAGE_BYTES) -> str:
    """Cut the middle out of *text* if it takes more than *limit* bytes in a header.

    Its end stays, for there stands what to do.
    """
    if len(text) <= limit and text.isascii() and text.isprintable() and "%" not in text:
        return text  # as nearly all are
    if len(text) > 2 * limit:
        text = text[:limit] + _CUT + text[-limit:]
    costs = [_cost(character) for character in text]
    if sum(costs) <= limit:
        return text
    tail = _fitting(reversed(costs), limit // 3)
    head = _fitting(costs, limit - limit // 3 - sum(map(_cost, _CUT)))
    return text[:head] + _CUT + text[len(text) - tail :]


def _cost(character: str) -> int:
    """Bytes of a character in a gRPC message, where all but plain ASCII is percent-encoded."""
    if " " <= character <= "~" and character != "%":
        return 1
    return 3 * len(character.encode("utf-8", "replace"))


def _fitting(costs: Iterable[int], limit: int) -> int:
    """How many of the first characters fit."""
    return sum(1 for total in accumulate(costs) if total <= limit)


def outcome_metadata(nothing_done: bool, again_ms: int = 0) -> tuple[tuple[str, str], ...]:
    """The metadata that say whether nothing was done, and after what time to try again."""
    outcome = (NOTHING_DONE,) if nothing_done else ()
    return (*outcome, (AGAIN_KEY, str(again_ms))) if again_ms else outcome


def again_ms_of(metadata: Iterable[Any]) -> int:
    """After how many milliseconds a failure's metadata tell to try again; 0 if they do not."""
    for key, value in metadata:
        if key == AGAIN_KEY and str(value).isdecimal() and len(str(value)) < 8:
            return int(value)
    return 0


def trailing_metadata(failure: RpcFailure) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata of *failure*: its details, whether nothing was done, when to try again."""
    outcome = outcome_metadata(failure.nothing_done, failure.again_ms)
    if not failure.details:
        return outcome
    status = status_pb2.Status(code=int(failure.code.value[0]), message=shorten(failure.message))
    told = failure.details[:_DETAILS]
    for detail in told:
        status.details.add().Pack(
            gateway_pb2.ErrorDetail(
                address=detail.address,
                msp_id=detail.msp_id,
                message=shorten(detail.message, _DETAILS_BYTES // len(told)),
            )
        )
    return ((DETAILS_KEY, status.SerializeToString()), *outcome)
