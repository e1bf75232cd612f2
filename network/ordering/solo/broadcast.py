"""One long-lived Broadcast stream to the sequencer, shared by all clients of this node.

Envelopes go out in the order they came in; answers come back in the same order and are matched by
it. The sequencer answers an envelope when its block is durable there, so many are under way at
once; their number is bounded.

Invariants: an envelope that was not handed to the stream was surely not taken; one that was, and
whose answer never came, may have been ordered (`outcome_definite` is False).

Absent: whether the sequencer is there at all (`follower.py` knows from its Deliver stream).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TypeAlias

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from network.errors import OrderingRefusal, OrderingUnavailable

__all__ = ["BroadcastStream"]

BROADCAST = "/orderer.AtomicBroadcast/Broadcast"

_SUCCESS = 200
_SERVICE_UNAVAILABLE = 503
_INTERNAL_SERVER_ERROR = 500

_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


class BroadcastStream:
    """The stream, opened when first needed and again after it broke.

    Args:
        channel: the gRPC channel to the sequencer's node port.
        endpoint: its address, for messages.
        limit: envelopes that may be under way at once.
        connect_timeout_s: how long opening the stream may take.
        answer_timeout_s: how long one envelope waits for its answer.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        endpoint: str,
        *,
        limit: int = 5_000,
        connect_timeout_s: float = 3.0,
        answer_timeout_s: float = 30.0,
    ) -> None:
        self._channel = channel
        self._endpoint = endpoint
        self._limit = limit
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._open = channel.stream_stream(BROADCAST)
        self._call: _Call | None = None
        self._reader: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()
        self._pending: deque[asyncio.Future[ab_pb2.BroadcastResponse]] = deque()

    @property
    def under_way(self) -> int:
        """Envelopes sent and not yet answered."""
        return len(self._pending)

    async def send(self, envelope: bytes) -> None:
        """Send one envelope and wait for the sequencer's answer.

        Raises:
            OrderingRefusal: the sequencer refused it.
            OrderingUnavailable: it could not be sent, or the answer did not come.
        """
        if len(self._pending) >= self._limit:
            raise OrderingUnavailable(
                f"{self._limit} envelopes are on their way to the sequencer {self._endpoint} "
                "already; nothing was sent, try again in a moment"
            )
        answer = await self._write(envelope)
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                response = await answer
        except TimeoutError:
            raise OrderingUnavailable(
                f"the sequencer {self._endpoint} has not answered for "
                f"{self._answer_timeout_s:g} s; the transaction may have been ordered: "
                "ask for its status before submitting it again",
                outcome_definite=False,
            ) from None
        _raise_unless_success(response)

    async def close(self) -> None:
        """End the stream; whoever waits is told that the outcome is not known."""
        call, reader = self._call, self._reader
        self._call = self._reader = None
        if call is not None:
            call.cancel()
        if reader is not None:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        self._fail_pending("the connection was closed")

    async def _write(self, envelope: bytes) -> asyncio.Future[ab_pb2.BroadcastResponse]:
        async with self._writing:
            call = await self._opened()
            answer: asyncio.Future[ab_pb2.BroadcastResponse] = (
                asyncio.get_running_loop().create_future()
            )
            self._pending.append(answer)
            try:
                await call.write(envelope)
            except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
                # The reader sees the same break and fails every pending answer; if it has ended
                # already, this one came too late for it.
                if self._reader is None or self._reader.done():
                    self._fail_pending("the stream had ended")
            return answer

    async def _opened(self) -> _Call:
        if self._call is not None and not self._call.done():
            return self._call
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._channel.channel_ready()
        except TimeoutError:
            raise OrderingUnavailable(
                f"the sequencer {self._endpoint} does not answer; nothing can be submitted now "
                "and nothing was sent; queries go on"
            ) from None
        if self._reader is not None:
            await asyncio.gather(self._reader, return_exceptions=True)
        self._call = self._open()
        self._reader = asyncio.create_task(
            self._read(self._call), name=f"broadcast answers from {self._endpoint}"
        )
        return self._call

    async def _read(self, call: _Call) -> None:
        reason = "it ended the stream"
        try:
            async for raw in call:
                response = ab_pb2.BroadcastResponse.FromString(raw)
                if self._pending:
                    answer = self._pending.popleft()
                    if not answer.done():
                        answer.set_result(response)
        except grpc.aio.AioRpcError as broken:
            reason = broken.details() or broken.code().name
        finally:
            self._fail_pending(reason)

    def _fail_pending(self, reason: str) -> None:
        while self._pending:
            answer = self._pending.popleft()
            if not answer.done():
                answer.set_exception(
                    OrderingUnavailable(
                        f"the connection to the sequencer {self._endpoint} broke before it "
                        f"answered ({reason}); the transaction may have been ordered: "
                        "ask for its status before submitting it again",
                        outcome_definite=False,
                    )
                )


def _raise_unless_success(response: ab_pb2.BroadcastResponse) -> None:
    status = int(response.status)
    if status == _SUCCESS:
        return
    info = response.info or common_pb2.Status.Name(status)
    if status in (_SERVICE_UNAVAILABLE, _INTERNAL_SERVER_ERROR):
        raise OrderingUnavailable(info, outcome_definite=status == _SERVICE_UNAVAILABLE)
    raise OrderingRefusal(status, info)
