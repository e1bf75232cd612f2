"""How a gateway says no: gRPC status with Fabric's `ErrorDetail`s, as Go's gRPC sends them.

The details travel as a marshalled ``google.rpc.Status`` in the trailing metadata
``grpc-status-details-bin``; Fabric's clients show them beside the message. Messages are cut to what
fits into HTTP/2 headers. Codes and messages: Fabric internal/pkg/gateway (apiutils.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from fabric_protos.gateway import gateway_pb2
from google.rpc import status_pb2

from nodes.errors import NodeError

DETAILS_KEY = "grpc-status-details-bin"
DO_NOT_MATCH = "ProposalResponsePayloads do not match"
_MESSAGE_CHARACTERS = 1500
_DETAIL_CHARACTERS = 700
_DETAILS = 6


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
    """

    def __init__(self, code: grpc.StatusCode, message: str, details: Sequence[Detail] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = tuple(details)


def shorten(text: str, limit: int = _MESSAGE_CHARACTERS) -> str:
    """Cut *text* to *limit* characters and say so."""
    return text if len(text) <= limit else text[: limit - 4] + " …"


def trailing_metadata(failure: RpcFailure) -> tuple[tuple[str, bytes], ...]:
    """The metadata that carries the details of *failure*; empty without any."""
    if not failure.details:
        return ()
    status = status_pb2.Status(code=int(failure.code.value[0]), message=shorten(failure.message))
    for detail in failure.details[:_DETAILS]:
        status.details.add().Pack(
            gateway_pb2.ErrorDetail(
                address=detail.address,
                msp_id=detail.msp_id,
                message=shorten(detail.message, _DETAIL_CHARACTERS),
            )
        )
    return ((DETAILS_KEY, status.SerializeToString()),)
