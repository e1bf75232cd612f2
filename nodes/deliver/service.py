"""``protos.Deliver`` (fabric-protos peer/events.proto) for clients: full and filtered blocks.

Private data are not kept by this version, so `DeliverWithPrivateData` says so instead of sending
blocks that only look complete.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from fabric_protos.common import common_pb2

from network.policy import SignedData
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.deliver.encoding import encode_block, encode_filtered_block
from nodes.deliver.session import Delivery
from nodes.rpc.concurrency import ConcurrencyLimit
from nodes.rpc.connections import caller_certificate_der
from nodes.rpc.failures import RpcFailure
from nodes.rpc.handlers import Caller, bidirectional

SERVICE = "protos.Deliver"


class DeliverService:
    """Answers Deliver and DeliverFiltered.

    Args:
        channel: returns the channel of that name, None if this node does not keep it.
        clock: what requests' timestamps are compared with.
        streams: limit of streams at once.
        first_request_s: until the first request of a stream.
    """

    def __init__(
        self,
        channel: Callable[[str], Channel | None],
        clock: Clock,
        streams: ConcurrencyLimit,
        first_request_s: float,
    ) -> None:
        self._full = Delivery(channel, clock, _access("event/Block"), encode_block, first_request_s)
        self._filtered = Delivery(
            channel,
            clock,
            _access("event/FilteredBlock"),
            encode_filtered_block,
            first_request_s,
        )
        self._streams = streams

    async def deliver(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Send full blocks."""
        with self._streams.enter():
            await self._full.serve(requests, Caller(context), caller_certificate_der(context))

    async def deliver_filtered(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Send filtered blocks."""
        with self._streams.enter():
            await self._filtered.serve(requests, Caller(context), caller_certificate_der(context))

    async def deliver_with_private_data(self, _requests: AsyncIterator[Any], _context: Any) -> None:
        """Say that there are none."""
        raise RpcFailure(
            grpc.StatusCode.UNIMPLEMENTED,
            "this node keeps no private data yet; ask for blocks with Deliver",
        )


def _access(resource: str) -> Callable[[Channel, SignedData], Any]:
    return lambda channel, signed: channel.authorise(resource, signed)


def add_deliver_service(server: grpc.aio.Server, service: DeliverService) -> None:
    """Offer *service* on *server*."""
    envelope = common_pb2.Envelope
    handlers = {
        "Deliver": bidirectional("Deliver", envelope, service.deliver),
        "DeliverFiltered": bidirectional("DeliverFiltered", envelope, service.deliver_filtered),
        "DeliverWithPrivateData": bidirectional(
            "DeliverWithPrivateData", envelope, service.deliver_with_private_data
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
