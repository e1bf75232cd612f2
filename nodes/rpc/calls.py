"""Calls that share a stream: the answering end of `network.calls`.

Each call is answered by the same endpoint as a gRPC call of its own (`handlers.Endpoint`), in a
task of its own, so with the same checks, limits, codes and words. Answers that are ready while
others are being sent go together in the next frame.

Invariants:
- What one stream has at work, or answered and not yet sent, is bounded by number and bytes; while
  it is at a bound nothing more is read from it, so the caller waits. So is what all streams of a
  port have together: at that bound nothing more is read from those that have their share of it, so
  a stream that has little is served.
- When the stream ends the calls at work are given up, as gRPC gives up those of a caller who left.
- Whoever may not open the stream opens none, and loses it with the right to it (*guard*, *watch*);
  the endpoints ask for each call again.

Hot path: what it is worth is told with the caller's end.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import grpc

from network.calls.frames import (
    ANSWER,
    CALL,
    CANCEL,
    FAILURE,
    SERVICE,
    Item,
    decode_frame,
    encode_failure,
    encode_item,
)
from network.calls.line import HEIGHT_KEY, OFFERED, take_frame
from nodes.errors import TooManyRequests
from nodes.rpc.failures import CallerLeft
from nodes.rpc.handlers import (
    Caller,
    Endpoint,
    Guard,
    Watch,
    admit_everybody,
    bidirectional,
    describe_failure,
)

__all__ = ["CallService", "add_call_service"]

UNANSWERED: Final = 2_500
"""Calls of one stream that may be at work, or answered and not sent."""
HELD_BYTES: Final = 64 * 1024 * 1024
"""Of their requests and answers; the call that goes beyond is the last one that is begun."""
UNANSWERED_ON_PORT: Final = 10_000
"""The same of all streams of a port; beyond it, each has its share, and this at least:"""
SHARE_AT_LEAST: Final = 16
REFUSAL_S: Final = 0.2
"""How long a refusal for want of room may wait for other answers to leave with. To send a frame
costs more than to refuse a call; and whoever asks again at once asks less often.
"""
HELD_BYTES_ON_PORT: Final = 256 * 1024 * 1024


class CallContext:
    """What an endpoint sees of a call on a stream, by the names of gRPC's own context."""

    __slots__ = ("_caller", "_height", "came", "height")

    def __init__(self, caller: Mapping[str, Any], height: int, came: float) -> None:
        self.came = came
        self._caller = caller
        self._height = height
        self.height = 0

    def auth_context(self) -> Mapping[str, Any]:
        """The TLS certificate of the stream's caller."""
        return self._caller

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        """The height that is asked for."""
        return ((HEIGHT_KEY, str(self._height)),) if self._height else ()

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Take the height of the answer."""
        for key, value in metadata:
            if key == HEIGHT_KEY:
                self.height = int(value)


class _Port:
    """What the streams of a port have together at work, or answered and not yet sent.

    Attributes:
        streams: those that have something; whoever opens many and leaves them idle makes nobody's
            share smaller.
        calls, held_bytes: of all of them.
    """

    __slots__ = ("calls", "held_bytes", "streams")

    def __init__(self) -> None:
        self.streams = 0
        self.calls = 0
        self.held_bytes = 0

    def is_full_for(self, calls: int, held_bytes: int) -> bool:
        """Whether a stream that has so much must wait: it has its share, and the port is full."""
        if not calls:
            return False
        share = max(SHARE_AT_LEAST, UNANSWERED_ON_PORT // self.streams)
        if self.calls >= UNANSWERED_ON_PORT and calls >= share:
            return True
        return (
            self.held_bytes >= HELD_BYTES_ON_PORT
            and held_bytes >= HELD_BYTES_ON_PORT // self.streams
        )

    def hold(self, calls: int, held_bytes: int, streams: int) -> None:
        """Count so much more, or less."""
        self.calls += calls
        self.held_bytes += held_bytes
        self.streams += streams


class CallService:
    """Answers the streams of one port.

    Args:
        endpoints: what can be called, by full name.
    """

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints = {name.encode(): endpoint for name, endpoint in endpoints.items()}
        self._port = _Port()

    async def exchange(self, frames: AsyncIterator[bytes], context: Any) -> None:
        """Serve one stream."""
        await context.send_initial_metadata((OFFERED,))
        stream = _Stream(self._endpoints, self._port, Caller(context), context.auth_context())
        try:
            await stream.serve(frames)
        finally:
            stream.end()


class _Stream:
    """The calls of one stream."""

    def __init__(
        self,
        endpoints: Mapping[bytes, Endpoint],
        port: _Port,
        caller: Caller,
        certificate: Mapping[str, Any],
    ) -> None:
        self._endpoints = endpoints
        self._port = port
        self._caller = caller
        self._certificate = certificate
        self._at_work: dict[int, asyncio.Task[None]] = {}
        self._outgoing: deque[bytes] = deque()
        self._calls = 0
        self._held_bytes = 0
        self._due: asyncio.TimerHandle | None = None
        self._answered = asyncio.Event()
        self._room = asyncio.Event()
        self._writer = asyncio.create_task(self._write(), name="answers of a stream of calls")

    async def serve(self, frames: AsyncIterator[bytes]) -> None:
        """Begin each call as it comes; returns when no more will come."""
        async for raw in frames:
            for item in decode_frame(raw):
                while self._is_full():
                    self._room.clear()
                    await self._room.wait()
                    self._verify_heard()
                self._take(item)
            self._verify_heard()

    def _is_full(self) -> bool:
        return (
            self._calls >= UNANSWERED
            or self._held_bytes >= HELD_BYTES
            or self._port.is_full_for(self._calls, self._held_bytes)
        )

    def _hold(self, calls: int, held_bytes: int) -> None:
        """Count so much more, or less, as held for the caller."""
        held_something = bool(self._calls)
        self._calls += calls
        self._held_bytes += held_bytes
        self._port.hold(calls, held_bytes, bool(self._calls) - held_something)

    def _verify_heard(self) -> None:
        if self._writer.done():
            raise CallerLeft("the caller went away while it was being answered")

    def _take(self, item: Item) -> None:
        if item.kind == CALL and item.number not in self._at_work:
            task = asyncio.create_task(self._answer(item, time.monotonic()))
            self._at_work[item.number] = task
            self._hold(1, len(item.content))
            # Also of one that is given up before its first step, of which nothing ever runs.
            task.add_done_callback(lambda _task: self._give_back(item))
        elif item.kind == CANCEL and item.number in self._at_work:
            self._at_work[item.number].cancel()

    def _give_back(self, item: Item) -> None:
        """Give back the place of a call that has ended."""
        del self._at_work[item.number]
        self._hold(-1, -len(item.content))
        self._room.set()

    async def _answer(self, item: Item, came: float) -> None:
        number = item.number
        endpoint = self._endpoints.get(item.name)
        context = CallContext(self._certificate, item.height, came)
        try:
            if endpoint is None:
                failure = (grpc.StatusCode.UNIMPLEMENTED, "Method not found!", ())
                answer = _failed(number, failure)
            else:
                content = await endpoint.answer(item.content, context)
                answer = encode_item(ANSWER, number, content, height=context.height)
        except TooManyRequests as refused:
            self._send(_failed(number, describe_failure("", refused)), within_s=REFUSAL_S)
            return
        except Exception as error:  # noqa: BLE001 - the edge of the process
            name = "a call" if endpoint is None else endpoint.name
            answer = _failed(number, describe_failure(name, error))
        self._send(answer)

    def _send(self, answer: bytes, *, within_s: float = 0.0) -> None:
        """Send an answer with the next frame, which leaves in so many seconds at the latest."""
        self._hold(1, len(answer))
        self._outgoing.append(answer)
        if not within_s:
            self._answered.set()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(within_s, self._answered.set)

    async def _write(self) -> None:
        try:
            while True:
                await self._answered.wait()
                self._answered.clear()
                if self._due is not None:
                    self._due.cancel()
                    self._due = None
                while self._outgoing:
                    answers = len(self._outgoing)
                    frame = take_frame(self._outgoing)
                    answers -= len(self._outgoing)
                    await self._caller.write(frame)
                    self._hold(-answers, -len(frame))
                    self._room.set()
        except CallerLeft:
            return  # nobody hears the rest; the reading end sees the same
        finally:
            self._room.set()

    def end(self) -> None:
        """Give up what is at work."""
        held, self._port = self._port, _Port()
        held.hold(-self._calls, -self._held_bytes, -bool(self._calls))
        self._writer.cancel()
        if self._due is not None:
            self._due.cancel()
        for task in self._at_work.values():
            task.cancel()


def _failed(
    number: int, failure: tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]
) -> bytes:
    code, message, metadata = failure
    return encode_item(FAILURE, number, encode_failure(int(code.value[0]), message, metadata))


def add_call_service(
    server: grpc.aio.Server,
    service: CallService,
    guard: Guard = admit_everybody,
    watch: Watch | None = None,
) -> None:
    """Offer *service* on *server* to callers that pass *guard*, for as long as they pass it."""
    handler = bidirectional("Exchange", None, service.exchange, guard, watch)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Exchange": handler}),)
    )
