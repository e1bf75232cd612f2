"""One long-lived Broadcast stream to the sequencer, shared by all clients of this node.

Envelopes go out in the order they came in; answers come back in the same order and are matched by
it. The sequencer answers an envelope when its block is durable there, so many are under way at
once; their number and their bytes are bounded.

Invariants:
- An envelope that was not handed to the stream was surely not taken; one that was, and whose answer
  never came, may have been ordered (`outcome_definite` is False).
- Only the stream's own task writes to it, so a client that goes away disturbs no other.

Absent: whether the sequencer is there at all (`follower.py` knows from its Deliver stream).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import grpc
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from network.errors import OrderingRefusal, OrderingUnavailable
from network.ordering.statuses import status_name

__all__ = ["BroadcastStream"]

BROADCAST = "/orderer.AtomicBroadcast/Broadcast"

_SUCCESS = 200
_SERVICE_UNAVAILABLE = 503
_INTERNAL_SERVER_ERROR = 500

_Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


@dataclass(slots=True, eq=False)
class _Sending:
    """An envelope, and whoever waits for its answer."""

    envelope: bytes
    answer: asyncio.Future[ab_pb2.BroadcastResponse]
    handed_over: bool = False


class BroadcastStream:
    """The stream, opened when first needed and again after it broke.

    Args:
        channel: the gRPC channel to the sequencer's node port.
        endpoint: its address, for messages.
        limit: envelopes that may be waiting or under way at once.
        limit_bytes: their bytes together.
        connect_timeout_s: how long opening the stream may take.
        answer_timeout_s: how long one envelope waits for its answer.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        endpoint: str,
        *,
        limit: int = 5_000,
        limit_bytes: int = 256 * 1024 * 1024,
        connect_timeout_s: float = 3.0,
        answer_timeout_s: float = 30.0,
    ) -> None:
        self._channel = channel
        self._endpoint = endpoint
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._open = channel.stream_stream(BROADCAST, None, None)
        self._call: _Call | None = None
        self._reader: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._waiting: deque[_Sending] = deque()
        self._pending: deque[_Sending] = deque()
        self._bytes = 0

    @property
    def under_way(self) -> int:
        """Envelopes taken and not yet answered."""
        return len(self._waiting) + len(self._pending)

    async def send(self, envelope: bytes) -> None:
        """Send one envelope and wait for the sequencer's answer.

        Raises:
            OrderingRefusal: the sequencer refused it.
            OrderingUnavailable: it could not be sent, or the answer did not come.
        """
        if self.under_way >= self._limit or self._bytes + len(envelope) > self._limit_bytes:
            raise OrderingUnavailable(
                f"{self.under_way} envelopes with {self._bytes} bytes are on their way to the "
                f"sequencer {self._endpoint} already; nothing was sent, try again in a moment"
            )
        sending = _Sending(envelope, asyncio.get_running_loop().create_future())
        self._waiting.append(sending)
        self._bytes += len(envelope)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(
                self._write(), name=f"broadcast envelopes to {self._endpoint}"
            )
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                response = await sending.answer
        except TimeoutError:
            raise self._unanswered(sending) from None
        _raise_unless_success(response)

    async def close(self) -> None:
        """End the stream; whoever waits is told what is known of the outcome."""
        # First, so that those who wait hear this reason and not what the stream makes of its end.
        self._give_up_waiting("is no longer asked: the connection was closed")
        self._fail_pending("the connection was closed")
        tasks = [task for task in (self._writer, self._reader) if task is not None]
        call, self._call, self._writer, self._reader = self._call, None, None, None
        if call is not None:
            call.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _unanswered(self, sending: _Sending) -> OrderingUnavailable:
        waited = f"the sequencer {self._endpoint} has not answered for {self._answer_timeout_s:g} s"
        if sending.handed_over:
            return OrderingUnavailable(
                f"{waited}; the transaction may have been ordered: ask for its status before "
                "submitting it again",
                outcome_definite=False,
            )
        return OrderingUnavailable(f"{waited}; nothing was sent, try again in a moment")

    async def _write(self) -> None:
        """Send what waits; ends when nothing waits or the sequencer cannot be reached."""
        while self._waiting:
            call = await self._opened()
            if call is None:
                self._give_up_waiting("does not answer")
                return
            # What nobody waits for any more, and was not sent, need not be ordered.
            while self._waiting and self._waiting[0].answer.done():
                self._forget(self._waiting.popleft())
            if not self._waiting:
                return
            sending = self._waiting.popleft()
            sending.handed_over = True
            self._pending.append(sending)
            if not await self._handed_over(call, sending.envelope):
                # The reader sees the same break and fails what is pending, this one too; when it
                # has done so the next round opens another stream.
                await self._end_reader()
                self._fail_pending("the stream had ended")

    @staticmethod
    async def _handed_over(call: _Call, envelope: bytes) -> bool:
        """Write to the stream; False if it has ended."""
        try:
            await call.write(envelope)
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            return False
        except asyncio.CancelledError:
            # gRPC raises it too when it was the call that was cancelled, and not this task.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return False
        return True

    async def _opened(self) -> _Call | None:
        """Return an open stream, or None if the sequencer does not answer in time."""
        if self._call is not None and not self._call.done():
            return self._call
        await self._end_reader()
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                await self._channel.channel_ready()
        except TimeoutError:
            return None
        self._call = self._open(None)
        self._reader = asyncio.create_task(
            self._read(self._call), name=f"broadcast answers from {self._endpoint}"
        )
        return self._call

    async def _end_reader(self) -> None:
        call, reader, self._call, self._reader = self._call, self._reader, None, None
        if call is not None:
            call.cancel()
        if reader is not None:
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, call: _Call) -> None:
        reason = "it ended the stream"
        try:
            async for raw in call:
                response = ab_pb2.BroadcastResponse.FromString(raw)
                if self._pending:
                    sending = self._pending.popleft()
                    self._forget(sending)
                    if not sending.answer.done():
                        sending.answer.set_result(response)
        except grpc.aio.AioRpcError as broken:
            reason = broken.details() or broken.code().name
        except DecodeError:
            reason = "its answer is no BroadcastResponse"
            call.cancel()
        finally:
            self._fail_pending(reason)

    def _forget(self, sending: _Sending) -> None:
        self._bytes -= len(sending.envelope)

    def _give_up_waiting(self, reason: str) -> None:
        while self._waiting:
            sending = self._waiting.popleft()
            self._forget(sending)
            if not sending.answer.done():
                sending.answer.set_exception(
                    OrderingUnavailable(
                        f"nothing can be submitted now and nothing was sent: the sequencer "
                        f"{self._endpoint} {reason}; queries go on"
                    )
                )

    def _fail_pending(self, reason: str) -> None:
        while self._pending:
            sending = self._pending.popleft()
            self._forget(sending)
            if not sending.answer.done():
                sending.answer.set_exception(
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
    info = response.info or status_name(status)
    if status in (_SERVICE_UNAVAILABLE, _INTERNAL_SERVER_ERROR):
        raise OrderingUnavailable(info, outcome_definite=status == _SERVICE_UNAVAILABLE)
    raise OrderingRefusal(status, info)
