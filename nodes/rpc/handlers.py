"""The edge of every RPC: what is raised inside becomes a gRPC status, and nothing stops the node.

Handlers get the request as bytes and parse it themselves, so that foreign bytes are answered like
any other refusal (Go's gRPC says INTERNAL for a request that cannot be unmarshalled; so do we).
Unexpected errors are logged with their place; the caller learns only that there is an entry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from ledger.errors import LedgerError, Unavailable
from network.ordering.solo.seek import SERVED
from nodes.errors import TooManyRequests, grpc_status
from nodes.rpc.failures import (
    CallerLeft,
    RpcFailure,
    outcome_metadata,
    shorten,
    trailing_metadata,
)

log = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[bytes, bytes]"
Unary = Callable[[Any, Any], Awaitable[Any]]
Streaming = Callable[[Any, Any], AsyncGenerator[Any, None]]
Guard = Callable[[Any], None]
"""Looks at a call's context before anything else; raises LedgerError if it may not be made."""
Watch = Callable[[Any], Coroutine[Any, Any, None]]
"""Looks at a stream's context as long as it is open; raises LedgerError as soon as it must end."""
Bidirectional = Callable[[AsyncIterator[Any], Any], Coroutine[Any, Any, None]]


def parse_request(kind: Any, raw: bytes) -> Any:
    """Parse a request.

    Raises:
        RpcFailure: INTERNAL, as Go's gRPC answers.
    """
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise RpcFailure(
            grpc.StatusCode.INTERNAL,
            f"grpc: error unmarshalling request: {error}; send a {kind.DESCRIPTOR.full_name}",
        ) from error


class Caller:
    """The way of a stream's answers to its caller.

    gRPC has no public error for a caller who went away in the middle of one.
    """

    def __init__(self, context: Any) -> None:
        self._context = context
        self._is_accepted = False

    async def accept(self) -> None:
        """Tell the caller that its first request is served, by the metadata that lead the stream.

        Raises:
            CallerLeft: it cannot be sent.
        """
        if self._is_accepted:
            return
        self._is_accepted = True
        try:
            await self._context.send_initial_metadata((SERVED,))
        except Exception as error:
            raise CallerLeft("the caller went away before it was answered") from error

    async def write(self, message: bytes) -> None:
        """Send one answer; waits while the caller does not read.

        Raises:
            CallerLeft: it cannot be sent.
        """
        try:
            await self._context.write(message)
        except Exception as error:
            raise CallerLeft("the caller went away while it was being answered") from error


def _has_left(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return all(_has_left(each) for each in error.exceptions)
    return isinstance(error, CallerLeft)


def describe_failure(
    name: str, error: Exception
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]:
    """Return code, message and trailing metadata for what was raised inside; log what is ours."""
    if isinstance(error, RpcFailure):
        return error.code, shorten(error.message), trailing_metadata(error)
    if isinstance(error, LedgerError):
        code, message = grpc_status(error)
        is_definite = isinstance(error, Unavailable) and error.outcome_definite
        again_ms = error.again_ms if isinstance(error, TooManyRequests) else 0
        return code, shorten(message), outcome_metadata(is_definite, again_ms)
    log.error("%s failed unexpectedly", name, exc_info=error)
    return grpc.StatusCode.INTERNAL, f"{name} failed; the node's log says why", ()


async def _abort(context: Any, name: str, error: Exception) -> None:
    if _has_left(error):
        log.debug("the caller of %s went away while it was being answered", name)
        return
    await context.abort(*describe_failure(name, error))


def admit_everybody(_context: Any) -> None:
    """The guard of a port whose services check for themselves who asks."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One RPC that answers one request once.

    Attributes:
        name: for the log.
        kind: of the request, which is parsed here.
        handle: answers it.
        guard: looks at the caller first.
    """

    name: str
    kind: Any
    handle: Unary
    guard: Guard = admit_everybody

    async def answer(self, raw: bytes, context: Any) -> bytes:
        """Answer one marshalled request; raises what is raised inside."""
        self.guard(context)
        answer = await self.handle(parse_request(self.kind, raw), context)
        serialized: bytes = answer.SerializeToString()
        return serialized

    def handler(self) -> Handler:
        """Return how gRPC is to call it."""
        return grpc.unary_unary_rpc_method_handler(self._call)

    async def _call(self, raw: bytes, context: Any) -> Any:
        try:
            return await self.answer(raw, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the process
            await _abort(context, self.name, error)


def unary(name: str, kind: Any, handle: Unary, guard: Guard = admit_everybody) -> Handler:
    """A handler that parses a request of *kind*, and answers what *handle* returns."""
    return Endpoint(name, kind, handle, guard).handler()


def streaming(name: str, kind: Any, handle: Streaming) -> Handler:
    """A handler that parses a request of *kind*, and answers with all that *handle* yields."""

    async def call(raw: bytes, context: Any) -> None:
        try:
            # Closed here, not when memory is collected, so that limits count what is at work.
            async with aclosing(handle(parse_request(kind, raw), context)) as answers:
                async for answer in answers:
                    await Caller(context).write(answer.SerializeToString())
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the process
            await _abort(context, name, error)

    return grpc.unary_stream_rpc_method_handler(call)


async def _watched(work: Coroutine[Any, Any, None], watch: Coroutine[Any, Any, None]) -> None:
    """Do *work*, and give it up as soon as *watch* raises."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(watch)
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if working.done() or watching.exception() is None:
            await working
        else:
            watching.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


def bidirectional(
    name: str,
    kind: Any,
    handle: Bidirectional,
    guard: Guard = admit_everybody,
    watch: Watch | None = None,
) -> Handler:
    """A handler for a stream of requests of *kind* (as bytes if None); *handle* writes answers.

    Args:
        name: of the RPC, for the log.
        kind: of the requests.
        handle: serves the stream.
        guard: looks at the caller when the stream begins.
        watch: looks at the caller as long as the stream is open.
    """

    async def requests(raw_requests: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
        try:
            async for raw in raw_requests:
                yield raw if kind is None else parse_request(kind, raw)
        except grpc.aio.BaseError as error:
            # The port closes while a request is waited for; gRPC has no public name for it.
            raise CallerLeft("the port was closed while a request was waited for") from error

    async def call(raw_requests: AsyncIterator[bytes], context: Any) -> None:
        try:
            guard(context)
            serving = handle(requests(raw_requests), context)
            if watch is None:
                await serving
            else:
                await _watched(serving, watch(context))
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the process
            await _abort(context, name, error)

    return grpc.stream_stream_rpc_method_handler(call)
