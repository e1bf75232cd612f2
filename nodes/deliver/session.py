"""One stream of Deliver: request after request, each answered by its blocks and then a status.

After a status of success the stream waits for the next request; after any other it ends, as in
Fabric. Access is judged at the first block and again as soon as the channel configuration has
changed, also while there is no block to send; whether the caller's certificate has expired, at
every block and when its time has come.

Invariants: blocks are read at the caller's pace, nothing is queued for it; every block below the
height can be had also while the channel is halted, and one that will never come ends the stream
with SERVICE_UNAVAILABLE.

A stream on which no request comes within `first_request_s` ends with DEADLINE_EXCEEDED, or else
strangers could hold all the places there are. Fabric waits without end.

Source: Fabric, common/deliver/{deliver,acl}.go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import grpc

from ledger.errors import Refusal, Unavailable
from network.errors import IdentityError
from network.msp import Identity
from network.policy import SignedData
from nodes.channel import Channel, CommittedBlock
from nodes.clock import Clock
from nodes.deliver.encoding import encode_status
from nodes.deliver.seek import (
    FORBIDDEN,
    NOT_FOUND,
    SERVICE_UNAVAILABLE,
    DeliverRefusal,
    SeekEnvelope,
    block_range,
    read_envelope,
    read_seek_info,
)
from nodes.rpc.failures import RpcFailure

__all__ = ["Delivery", "Encode", "Stream", "for_everybody"]

SUCCESS = 200

log = logging.getLogger(__name__)

Access = Callable[[Channel, SignedData], Awaitable[Identity]]
"""Returns whose signature gives access to the channel's blocks, raises Refusal if it does not."""

Recognise = Callable[[Identity], None]
"""Hears whose request it is; raises if there is no room for one of that caller."""


Encode = Callable[[Channel, SignedData, CommittedBlock], Awaitable[bytes]]
"""Makes the response that carries a block to the one who signed the request."""


def for_everybody(encode: Callable[[CommittedBlock], bytes]) -> Encode:
    """Make of an encoding that is the same for all callers one for each."""

    async def encode_for(_channel: Channel, _caller: SignedData, block: CommittedBlock) -> bytes:
        return encode(block)

    return encode_for


class Stream(Protocol):
    """The caller's end of a stream, as gRPC gives it."""

    async def write(self, message: bytes) -> None:
        """Send one response; waits while the caller does not read."""

    async def accept(self) -> None:
        """Tell the caller, once a stream, that its request is served, before any block is there."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one Deliver RPC sends, to whom.

    Attributes:
        channel: returns the channel of that name, None if this node does not keep it.
        clock: what timestamps and expiry are compared with.
        access: who may have the blocks.
        encode: turns a block into the response that carries it to one caller.
        first_request_s: until the first request of a stream.
    """

    channel: Callable[[str], Channel | None]
    clock: Clock
    access: Access
    encode: Encode
    first_request_s: float

    async def serve(
        self,
        envelopes: AsyncIterator[Any],
        stream: Stream,
        certificate_der: bytes | None,
        recognise: Recognise | None = None,
    ) -> None:
        """Answer requests until the caller sends no more, or one is refused.

        Args:
            envelopes: ``common.Envelope`` messages as they come.
            stream: where responses go.
            certificate_der: the caller's TLS certificate, to which requests must be bound; None on
                a port that asks for none.
            recognise: hears who makes a request, as soon as that is proved.
        """
        async for envelope in self._in_time(envelopes):
            try:
                await self._answer(envelope, stream, certificate_der, recognise)
            except DeliverRefusal as refusal:
                level = logging.INFO if refusal.status == SERVICE_UNAVAILABLE else logging.WARNING
                log.log(level, "request for blocks ends with %d: %s", refusal.status, refusal)
                await stream.write(encode_status(refusal.status))
                return
            await stream.write(encode_status(SUCCESS))

    async def _in_time(self, envelopes: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield the requests; the first one must not be waited for too long."""
        try:
            async with asyncio.timeout(self.first_request_s):
                first = await anext(envelopes, None)
        except TimeoutError as error:
            raise RpcFailure(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"no request for blocks came within {self.first_request_s:g} s; send one as soon "
                "as the stream is open",
            ) from error
        if first is None:
            return
        yield first
        async for envelope in envelopes:
            yield envelope

    async def _answer(
        self,
        envelope: Any,
        stream: Stream,
        certificate_der: bytes | None,
        recognise: Recognise | None,
    ) -> None:
        request = read_envelope(envelope)
        request.verify_time(self.clock.now())
        if certificate_der is not None:
            request.verify_binding(certificate_der)
        channel = self.channel(request.channel_id)
        if channel is None:
            raise DeliverRefusal(NOT_FOUND, f"channel {request.channel_id!r} not found")
        seek = read_seek_info(request.seek_info)
        session = _Session(self, channel, request)
        await session.verify()
        if recognise is not None and session.caller is not None:
            recognise(session.caller)
        wanted = block_range(seek, channel.height)
        await stream.accept()
        number = wanted.start
        while number <= wanted.stop:
            committed = await channel.block(number)
            if committed is None:
                if not wanted.waits:
                    raise DeliverRefusal(
                        NOT_FOUND, f"block {number} is not there and was not to be waited for"
                    )
                try:
                    async with asyncio.timeout(session.wait_s()):
                        await channel.wait_above(number, session.sequence)
                except TimeoutError:
                    pass
                except Unavailable as error:
                    raise DeliverRefusal(SERVICE_UNAVAILABLE, str(error)) from error
                await session.verify()
                continue
            await session.verify()
            await stream.write(await self.encode(channel, request.signed, committed))
            number += 1


class _Session:
    """Access of one request for as long as it is served."""

    def __init__(self, delivery: Delivery, channel: Channel, request: SeekEnvelope) -> None:
        self._delivery = delivery
        self._channel = channel
        self._request = request
        self.sequence = -1
        self.caller: Identity | None = None
        self._ends = _expiry(channel, request.signed)

    def wait_s(self) -> float | None:
        """How long to wait for a block before the caller's certificate is looked at again."""
        return None if self._ends is None else self._delivery.clock.seconds_until(self._ends)

    async def verify(self) -> None:
        """Check that the caller may have blocks now.

        Raises:
            DeliverRefusal: its certificate has expired, or the policy is not satisfied.
        """
        if self._ends is not None and self._delivery.clock.now() > self._ends:
            raise DeliverRefusal(
                FORBIDDEN,
                f"client identity expired at {self._ends.isoformat(timespec='seconds')}; "
                "have the certificate renewed by the member's CA",
            )
        sequence = self._channel.configuration.sequence
        if sequence == self.sequence:
            return
        try:
            self.caller = await self._delivery.access(self._channel, self._request.signed)
        except Refusal as refused:
            raise DeliverRefusal(FORBIDDEN, str(refused)) from refused
        self.sequence = sequence


def _expiry(channel: Channel, signed: SignedData) -> datetime | None:
    """When the caller's certificate ends; None for an identity that the policy will refuse."""
    try:
        return channel.configuration.msps.deserialize(signed.identity).not_after
    except IdentityError:
        return None
