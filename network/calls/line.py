"""The caller's end of a stream of calls.

The stream is opened by the first call and again after it broke. What is ready to be sent while a
frame is being sent goes with the next one, so the busier the line the less each call costs. Where
the other side does not offer the stream, or does not take this method on it, and for requests of
some size, a gRPC call of its own is made: the caller sees no difference.

Invariants:
- A call ends by its answer, by its failure, by its deadline, or with UNAVAILABLE when the stream
  breaks; which of its effects took place in the last two cases is not known here.
- Of a call that is given up the other side is told, so that it works on it no longer.
- Errors are `grpc.RpcError` with code, details and trailing metadata, whichever way was taken.

Hot path: a payment whose calls travel so took 0.44 of the processor time of all processes that it
took with a gRPC call each.

Belongs to one event loop. Absent: any repetition.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, TypeAlias

import grpc

from network.calls.frames import (
    ANSWER,
    CALL,
    CANCEL,
    FAILURE,
    FRAME_BYTES,
    ITEM_BYTES,
    METHOD,
    Item,
    decode_failure,
    decode_frame,
    encode_item,
)
from network.errors import FrameError

__all__ = ["HEIGHT_KEY", "OFFERED", "CallFailed", "CallLine", "take_frame"]

HEIGHT_KEY: Final = "qist-height"
"""Metadata of a call of its own: the height asked for, and that of the answer."""
OFFERED: Final = ("qist-calls", "1")
"""Leading metadata of a stream: calls are taken on it."""

UNSENT_BYTES: Final = 64 * 1024 * 1024
"""Of calls that the other side has not taken yet; with more of them waiting, further ones fail."""

_Stream: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"
_BROKEN = "the connection broke before it was answered"
_NOT_READ = "the other side takes no calls though the connection stands; ask again later"
_CLOSED = "the connection has been given up; ask again"


class CallFailed(grpc.RpcError):
    """A call was refused, broke off, or was not answered in time."""

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        metadata: tuple[tuple[str, str | bytes], ...] = (),
    ) -> None:
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details
        self._metadata = metadata

    def code(self) -> grpc.StatusCode:
        """The status code."""
        return self._code

    def details(self) -> str:
        """What the other side said."""
        return self._details

    def trailing_metadata(self) -> Any:
        """Metadata that came with the failure."""
        return self._metadata


# What failed is never OK, whatever the other side says.
_CODES = {code.value[0]: code for code in grpc.StatusCode if code is not grpc.StatusCode.OK}


def take_frame(items: deque[bytes]) -> bytes:
    """Take as many items as go into one frame, at least one; to be asked only if there are any."""
    if len(items) == 1:
        return items.popleft()
    taken = [items.popleft()]
    size = len(taken[0])
    while items and size + len(items[0]) <= FRAME_BYTES:
        taken.append(items.popleft())
        size += len(taken[-1])
    return b"".join(taken)


class CallLine:
    """Calls to the services of one port.

    Args:
        channel: the gRPC channel to it; whoever made it closes it, after this.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._alone: dict[str, Any] = {}
        self._not_taken: set[str] = set()
        self._offered = True
        self._stream: _Stream | None = None
        self._opening: asyncio.Task[CallFailed | None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._outgoing: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._wake = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Item]] = {}
        self._number = 0

    async def call(
        self, method: str, request: bytes, timeout_s: float, height: int = 0
    ) -> tuple[bytes, int]:
        """Make one call.

        Args:
            method: full name, for example ``/gateway.Gateway/Evaluate``.
            request: the marshalled request.
            timeout_s: seconds for the answer.
            height: of the ledger that the caller asks for; 0 for no matter.
        Returns:
            the marshalled answer, and the height it was made at (0 if unsaid).
        Raises:
            grpc.RpcError: it failed; see the module's docstring.
        """
        shares = method not in self._not_taken and len(request) <= ITEM_BYTES
        if shares and self._stream is None and self._offered:
            await self._ready(timeout_s)
        if not shares or self._stream is None:
            return await self._call_alone(method, request, timeout_s, height)
        item = await self._call_on_stream(method, request, timeout_s, height)
        if item.kind == FAILURE:
            try:
                number, message, metadata = decode_failure(item.content)
            except FrameError as malformed:
                raise CallFailed(grpc.StatusCode.INTERNAL, str(malformed)) from malformed
            code = _CODES.get(number, grpc.StatusCode.UNKNOWN)
            if code is not grpc.StatusCode.UNIMPLEMENTED:
                raise CallFailed(code, message, metadata)
            # The port has other services than those that the stream takes calls of.
            self._not_taken.add(method)
            return await self._call_alone(method, request, timeout_s, height)
        return item.content, item.height

    async def _call_on_stream(
        self, method: str, request: bytes, timeout_s: float, height: int
    ) -> Item:
        if self._unsent_bytes > UNSENT_BYTES:
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, _NOT_READ)
        loop = asyncio.get_running_loop()
        self._number = number = self._number % 0xFFFFFFFF + 1
        answer: asyncio.Future[Item] = loop.create_future()
        self._waiting[number] = answer
        self._send(encode_item(CALL, number, request, name=method.encode(), height=height))
        deadline = loop.call_later(timeout_s, self._expire, answer)
        try:
            return await answer
        except BaseException:
            if self._waiting.get(number) is answer and self._stream is not None:
                self._send(encode_item(CANCEL, number))
            raise
        finally:
            deadline.cancel()
            self._waiting.pop(number, None)

    async def close(self, grace_s: float | None = None) -> None:
        """End the stream after the calls at work, if they end in time; the others fail."""
        if grace_s and self._waiting:
            await asyncio.wait(set(self._waiting.values()), timeout=grace_s)
        stream, self._stream = self._stream, None
        tasks: list[asyncio.Task[Any]] = [*self._tasks]
        if self._opening is not None:
            tasks.append(self._opening)
        self._tasks = []
        if stream is not None:
            stream.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._fail_waiting(_CLOSED)

    def _send(self, item: bytes) -> None:
        self._outgoing.append(item)
        self._unsent_bytes += len(item)
        self._wake.set()

    @staticmethod
    def _expire(answer: asyncio.Future[Item]) -> None:
        if not answer.done():
            answer.set_exception(CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    async def _call_alone(
        self, method: str, request: bytes, timeout_s: float, height: int
    ) -> tuple[bytes, int]:
        made = self._alone.get(method)
        if made is None:
            made = self._alone[method] = self._channel.unary_unary(
                method, request_serializer=bytes, response_deserializer=bytes
            )
        told = ((HEIGHT_KEY, str(height)),) if height else None
        try:
            call = made(request, timeout=timeout_s, metadata=told)
            answer: bytes = await call
        except grpc.aio.UsageError:
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, _CLOSED) from None
        for key, value in await call.trailing_metadata() or ():
            if key == HEIGHT_KEY and str(value).isdigit() and len(str(value)) < 19:
                return answer, int(value)
        return answer, 0

    async def _ready(self, timeout_s: float) -> None:
        """Return when the stream is open, or known not to be offered."""
        opening = self._opening
        if opening is None or opening.done():
            opening = asyncio.create_task(self._connect(), name="open a stream of calls")
            self._opening = opening
        done, _ = await asyncio.wait((opening,), timeout=timeout_s)
        if not done:
            raise CallFailed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
        if opening.cancelled():
            raise CallFailed(grpc.StatusCode.UNAVAILABLE, _CLOSED)
        failure = opening.result()
        if failure is not None:
            raise failure

    async def _connect(self) -> CallFailed | None:
        """Open the stream; return why it could not be."""
        stream: _Stream | None = None
        try:
            stream = self._channel.stream_stream(METHOD, None, None)(None)
            leading = tuple(map(tuple, await stream.initial_metadata()))
            if OFFERED not in leading:
                code, details = await stream.code(), await stream.details()
                self._offered = code is not grpc.StatusCode.UNIMPLEMENTED
                return CallFailed(code, details or code.name) if self._offered else None
        except grpc.aio.UsageError:
            return CallFailed(grpc.StatusCode.UNAVAILABLE, _CLOSED)
        except BaseException:
            if stream is not None:
                stream.cancel()
            raise
        self._outgoing.clear()
        self._unsent_bytes = 0
        self._stream = stream
        self._tasks = [
            asyncio.create_task(self._read(stream), name="answers of a stream of calls"),
            asyncio.create_task(self._write(stream), name="calls of a stream of calls"),
        ]
        return None

    async def _write(self, stream: _Stream) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outgoing:
                frame = take_frame(self._outgoing)
                try:
                    await stream.write(frame)
                except (grpc.RpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
                    return  # the reader sees the same break
                self._unsent_bytes -= len(frame)

    async def _read(self, stream: _Stream) -> None:
        reason = _BROKEN
        try:
            async for raw in stream:
                for item in decode_frame(raw):
                    answer = self._waiting.get(item.number)
                    is_answer = item.kind in (ANSWER, FAILURE)
                    if answer is not None and is_answer and not answer.done():
                        answer.set_result(item)
        except grpc.aio.AioRpcError as broken:
            reason = broken.details() or broken.code().name
        except FrameError as malformed:
            reason = str(malformed)
        finally:
            stream.cancel()
            if self._stream is stream:
                self._stream = None
                for task in self._tasks:
                    if task is not asyncio.current_task():
                        task.cancel()
                self._fail_waiting(reason)

    def _fail_waiting(self, reason: str) -> None:
        for answer in list(self._waiting.values()):
            if not answer.done():
                answer.set_exception(CallFailed(grpc.StatusCode.UNAVAILABLE, reason))
