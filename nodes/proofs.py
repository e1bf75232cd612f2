"""The service qist.Proofs on the client port: a block, with all that proves it from the genesis on.

Get answers a request for one block, signed as one for Deliver is (a `common.Envelope` with a
`SeekInfo` whose start is its stop), with a `google.protobuf.BytesValue` that holds the file of the
proof (network/ordering/cometbft/finality/proof_file.py). Who may have whole blocks may have it.

Absent: whether it holds. The caller verifies, for it believes no node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import grpc
from fabric_protos.common import common_pb2
from google.protobuf.wrappers_pb2 import BytesValue

from network.msp import Identity
from network.ordering.cometbft.finality.proof_making import make_proof
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.deliver.seek import (
    BAD_REQUEST,
    FORBIDDEN,
    NOT_FOUND,
    DeliverRefusal,
    block_range,
    read_envelope,
    read_seek_info,
)
from nodes.rpc.callers import caller_to_be_known
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.connections import caller_certificate_der
from nodes.rpc.failures import RpcFailure
from nodes.rpc.handlers import unary

__all__ = ["SERVICE", "ProofService", "add_proof_service"]

SERVICE: Final = "qist.Proofs"
RESOURCE: Final = "event/Block"

_CODES: Final = {
    BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    NOT_FOUND: grpc.StatusCode.NOT_FOUND,
}


class ProofService:
    """Answers Get.

    Args:
        channel: returns the channel of that name, None if this node does not keep it.
        clock: what requests' timestamps and certificates are compared with.
        work: limit of calls at once.
    """

    def __init__(
        self, channel: Callable[[str], Channel | None], clock: Clock, work: FairLimit
    ) -> None:
        self._channel = channel
        self._clock = clock
        self._work = work

    async def get(self, envelope: Any, context: Any) -> BytesValue:
        """Return the proof of one block.

        Raises:
            RpcFailure: the request is malformed, or for no block or channel of this node.
            Refusal: the caller may not have it, or nothing that proves the block is here yet.
        """
        with caller_to_be_known(self._work, context) as recognise:
            try:
                channel, number = await self._asked_for(
                    envelope, caller_certificate_der(context), recognise
                )
            except DeliverRefusal as refusal:
                raise RpcFailure(_CODES[refusal.status], str(refusal)) from refusal
            raw = await asyncio.to_thread(make_proof, channel.ledger, number)
            return BytesValue(value=raw)

    async def _asked_for(
        self,
        envelope: Any,
        certificate_der: bytes | None,
        recognise: Callable[[Identity], None],
    ) -> tuple[Channel, int]:
        request = read_envelope(envelope)
        request.verify_time(self._clock.now())
        if certificate_der is not None:
            request.verify_binding(certificate_der)
        channel = self._channel(request.channel_id)
        if channel is None:
            raise DeliverRefusal(NOT_FOUND, f"channel {request.channel_id!r} not found")
        caller = await channel.authorise(RESOURCE, request.signed)
        ends = caller.not_after
        recognise(caller)
        if self._clock.now() > ends:
            raise DeliverRefusal(
                FORBIDDEN,
                f"client identity expired at {ends.isoformat(timespec='seconds')}; "
                "have the certificate renewed by the member's CA",
            )
        wanted = block_range(read_seek_info(request.seek_info), channel.height)
        if wanted.start != wanted.stop:
            raise DeliverRefusal(BAD_REQUEST, "ask for the proof of one block at a time")
        return channel, wanted.start


def add_proof_service(server: grpc.aio.Server, service: ProofService) -> None:
    """Offer *service* on *server*."""
    handlers = {"Get": unary("Proofs.Get", common_pb2.Envelope, service.get)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
