"""``orderer.AtomicBroadcast`` (fabric-protos orderer/ab.proto), on the node port.

Broadcast: each envelope is answered in the order in which it came, once its block is durable here;
many are under way at once on one stream. Only a node that orders takes any, under CometBFT that of
every member with a consenter: another one names one that does.

Deliver: committed blocks with this node's codes and commit hash in their metadata, so that a
follower can compare. Access is /Channel/Readers, as with Fabric's orderers; requests must be bound
to the caller's TLS certificate.

Source of statuses: Fabric, orderer/common/broadcast/broadcast.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from network.errors import OrderingRefusal, OrderingUnavailable
from network.ordering.ports import OrderingEngine
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.deliver.encoding import encode_block
from nodes.deliver.session import Delivery, for_everybody
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.connections import MemberGuard, caller_certificate_der
from nodes.rpc.handlers import Caller, bidirectional
from nodes.rpc.places import Client

SERVICE = "orderer.AtomicBroadcast"
READERS_POLICY = "/Channel/Readers"

SUCCESS = 200
INTERNAL_SERVER_ERROR = 500
SERVICE_UNAVAILABLE = 503

_FOLLOWING = ("follower", "full node")

UNDER_WAY = 5_000
"""Envelopes of one stream that may wait for their block; further ones are not read meanwhile."""


class _Answers:
    """The envelopes of one stream that wait for their answers, in their order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[asyncio.Task[Any] | None] = asyncio.Queue(UNDER_WAY)
        self.sent = asyncio.Event()
        self.sent.set()
        self._unsent = 0

    async def put(self, answer: asyncio.Task[Any]) -> None:
        self._unsent += 1
        self.sent.clear()
        await self.queue.put(answer)

    def was_sent(self) -> None:
        self._unsent -= 1
        if not self._unsent:
            self.sent.set()


class OrdererService:
    """Answers Broadcast and Deliver of other nodes.

    Args:
        channel: returns the channel of that name, None if this node does not keep it.
        engine: orders transactions.
        clock: what requests' timestamps are compared with.
        streams: limit of streams at once, with a share for each member whose node calls.
        member: returns the member whose node makes a call.
        first_request_s: until the first request of a stream of Deliver.
    """

    def __init__(
        self,
        channel: Callable[[str], Channel | None],
        engine: OrderingEngine,
        clock: Clock,
        streams: FairLimit,
        member: Callable[[Any], str],
        first_request_s: float,
    ) -> None:
        self._engine = engine
        self._delivery = Delivery(
            channel,
            clock,
            lambda found, signed: found.authorise_by(READERS_POLICY, "Deliver", signed),
            for_everybody(encode_block),
            first_request_s,
        )
        self._streams = streams
        self._member = member
        self._ordering: set[asyncio.Task[Any]] = set()
        self._streams_at_work: set[_Answers] = set()
        self._leaving = False

    async def deliver(self, requests: AsyncIterator[Any], context: Any) -> None:
        """Send committed blocks."""
        with self._streams.enter(Client(self._member(context))):
            await self._delivery.serve(requests, Caller(context), caller_certificate_der(context))

    async def broadcast(self, envelopes: AsyncIterator[bytes], context: Any) -> None:
        """Order envelopes and answer them in their order."""
        with self._streams.enter(Client(self._member(context))):
            await context.send_initial_metadata(())
            answers = _Answers()
            self._streams_at_work.add(answers)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._read(envelopes, answers), name="broadcast: envelopes")
                    both.create_task(self._write(answers, context), name="broadcast: answers")
            finally:
                self._streams_at_work.discard(answers)
                # Nobody hears the rest.
                answers.sent.set()

    async def finish(self) -> None:
        """Order no further envelopes; return when those under way are answered."""
        self._leaving = True
        await asyncio.gather(*self._ordering, return_exceptions=True)
        await asyncio.gather(*(answers.sent.wait() for answers in self._streams_at_work))

    async def _read(self, envelopes: AsyncIterator[bytes], answers: _Answers) -> None:
        async for envelope in envelopes:
            task = asyncio.create_task(self._order(envelope))
            # Ordering goes on if its sender goes away: the envelope may be in a block already.
            self._ordering.add(task)
            task.add_done_callback(self._ordering.discard)
            await answers.put(task)
        await answers.queue.put(None)

    @staticmethod
    async def _write(answers: _Answers, context: Any) -> None:
        while (answer := await answers.queue.get()) is not None:
            response = await asyncio.shield(answer)
            await Caller(context).write(response.SerializeToString())
            answers.was_sent()

    async def _order(self, envelope: bytes) -> Any:
        status = self._engine.status()
        if status.role in _FOLLOWING:
            return ab_pb2.BroadcastResponse(
                status=SERVICE_UNAVAILABLE,
                info=f"this node does not order; send the envelope to {status.endpoint}",
            )
        if self._leaving:
            return ab_pb2.BroadcastResponse(
                status=SERVICE_UNAVAILABLE,
                info="the orderer's node is being stopped; nothing was taken, try again later",
            )
        try:
            await self._engine.submit(envelope)
        except OrderingRefusal as refusal:
            return ab_pb2.BroadcastResponse(status=refusal.status, info=refusal.info)
        except OrderingUnavailable as error:
            code = SERVICE_UNAVAILABLE if error.outcome_definite else INTERNAL_SERVER_ERROR
            return ab_pb2.BroadcastResponse(status=code, info=str(error))
        return ab_pb2.BroadcastResponse(status=SUCCESS)


def add_orderer_service(
    server: grpc.aio.Server, service: OrdererService, guard: MemberGuard
) -> None:
    """Offer *service* on *server* to callers that pass *guard*, for as long as they pass it."""
    envelope = common_pb2.Envelope
    handlers = {
        "Broadcast": bidirectional("Broadcast", None, service.broadcast, guard, guard.watch),
        "Deliver": bidirectional("Deliver", envelope, service.deliver, guard, guard.watch),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
