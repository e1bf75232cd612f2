"""``protos.Deliver`` (fabric-protos peer/events.proto) for clients.

Full blocks, filtered blocks, and full blocks with private data. Of these a caller gets the
collections whose policy it satisfies, as they were defined before the block, and as far as this
node holds their data (Fabric, core/peer/deliverevents.go).
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
from nodes.deliver.session import Delivery, Encode, for_everybody
from nodes.rpc.callers import caller_to_be_known
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.connections import caller_certificate_der
from nodes.rpc.handlers import Caller, bidirectional

SERVICE = "protos.Deliver"


class DeliverService:
    """Answers Deliver, DeliverFiltered and DeliverWithPrivateData.

    Args:
        channel: returns the channel of that name, None if this node does not keep it.
        clock: what requests' timestamps are compared with.
        with_private: encodes a block with the private data that its caller may have.
        streams: limit of streams at once.
        first_request_s: until the first request of a stream.
    """

    def __init__(
        self,
        channel: Callable[[str], Channel | None],
        clock: Clock,
        with_private: Encode,
        streams: FairLimit,
        first_request_s: float,
    ) -> None:
        def delivery(resource: str, encode: Encode) -> Delivery:
            return Delivery(channel, clock, _access(resource), encode, first_request_s)

        self._full = delivery("event/Block", for_everybody(encode_block))
        self._filtered = delivery("event/FilteredBlock", for_everybody(encode_filtered_block))
        self._with_private = delivery("event/Block", with_private)
        self._streams = streams

    async def deliver(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Send full blocks."""
        await self._serve(self._full, requests, context)

    async def deliver_filtered(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Send filtered blocks."""
        await self._serve(self._filtered, requests, context)

    async def deliver_with_private_data(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Send full blocks with the private data that the caller may have."""
        await self._serve(self._with_private, requests, context)

    async def _serve(self, delivery: Delivery, requests: AsyncIterator[Any], context: Any) -> None:
        with caller_to_be_known(self._streams, context) as recognise:
            await delivery.serve(
                requests, Caller(context), caller_certificate_der(context), recognise
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
