"""Three services to be called over a stream of calls or alone, and a line to them on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

from network.calls import CallLine
from nodes.endorser.service import read_height
from nodes.rpc.calls import CallContext, CallService, add_call_service
from nodes.rpc.failures import Detail, RpcFailure
from nodes.rpc.handlers import Endpoint

Code = grpc.StatusCode
ECHO, HANG, REFUSE = "/test.Test/Echo", "/test.Test/Hang", "/test.Test/Refuse"
DEADLINE_S = 20.0


@dataclass
class Services:
    """What the test calls, and what it saw."""

    begun: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    alone: int = 0

    async def echo(self, request: Any, context: Any) -> Any:
        self.alone += not isinstance(context, CallContext)
        height = read_height(context.invocation_metadata())
        context.set_trailing_metadata((("qist-height", str(height + 1)),))
        await asyncio.sleep(0)
        return StringValue(value=request.value.upper())

    async def hang(self, request: Any, _context: Any) -> Any:
        self.begun.append(request.value)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.value)
            raise

    async def refuse(self, request: Any, _context: Any) -> Any:
        if request.value == "break":
            raise RuntimeError("not for anybody's eyes")
        details = [Detail("localhost:7", "BankMSP", "it said no")]
        raise RpcFailure(Code.UNAVAILABLE, "no orderer", details, nothing_done=True)

    @property
    def endpoints(self) -> dict[str, Endpoint]:
        return {
            ECHO: Endpoint("Echo", StringValue, self.echo),
            HANG: Endpoint("Hang", StringValue, self.hang),
            REFUSE: Endpoint("Refuse", StringValue, self.refuse),
        }


def message(text: str) -> bytes:
    """A request."""
    return bytes(StringValue(value=text).SerializeToString())


def text_of(raw: bytes) -> str:
    """What an answer says."""
    return str(StringValue.FromString(raw).value)


@asynccontextmanager
async def served(
    services: Services, *, offered: bool = True, port: int = 0
) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """Serve on loopback, with the stream or without it."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {each.name: each.handler() for each in services.endpoints.values()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    if offered:
        add_call_service(server, CallService(services.endpoints))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield server, bound
    finally:
        await server.stop(None)


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[CallLine]:
    """Call it."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        line = CallLine(channel)
        try:
            yield line
        finally:
            await line.close()
