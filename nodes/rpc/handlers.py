"""The edge of every RPC: what is raised inside becomes a gRPC status, and nothing stops the node.

Handlers get the request as bytes and parse it themselves, so that foreign bytes are answered like
any other refusal (Go's gRPC says INTERNAL for a request that cannot be unmarshalled; so do we).
Unexpected errors are logged with their place; the caller learns only that there is an entry.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from ledger.errors import LedgerError
from nodes.errors import grpc_status
from nodes.rpc.failures import RpcFailure, shorten, trailing_metadata

log = logging.getLogger(__name__)

Unary = Callable[[Any, Any], Awaitable[Any]]
Streaming = Callable[[Any, Any], AsyncIterator[Any]]


def parse_request(kind: Any, raw: bytes) -> Any:
    """Parse a request.

    Raises:
        RpcFailure: INTERNAL, as Go's gRPC answers.
    """
    try:
        return kind.FromString(raw)
    except DecodeError as error:
        raise RpcFailure(
            grpc.StatusCode.INTERNAL, f"grpc: error unmarshalling request: {error}"
        ) from error


async def _abort(context: Any, name: str, error: Exception) -> None:
    if isinstance(error, RpcFailure):
        await context.abort(error.code, shorten(error.message), trailing_metadata(error))
    if isinstance(error, LedgerError):
        code, message = grpc_status(error)
        await context.abort(code, shorten(message))
    log.error("%s failed unexpectedly", name, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, f"{name} failed; the node's log says why")


def unary(name: str, kind: Any, handle: Unary) -> grpc.RpcMethodHandler:
    """A handler that parses a request of *kind*, and answers what *handle* returns."""

    async def call(raw: bytes, context: Any) -> Any:
        try:
            answer = await handle(parse_request(kind, raw), context)
            return answer.SerializeToString()
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the process
            await _abort(context, name, error)

    return grpc.unary_unary_rpc_method_handler(call)


def streaming(name: str, kind: Any, handle: Streaming) -> grpc.RpcMethodHandler:
    """A handler that parses a request of *kind*, and answers with all that *handle* yields."""

    async def call(raw: bytes, context: Any) -> AsyncIterator[bytes]:
        try:
            async for answer in handle(parse_request(kind, raw), context):
                yield answer.SerializeToString()
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # noqa: BLE001 - the edge of the process
            await _abort(context, name, error)

    return grpc.unary_stream_rpc_method_handler(call)
