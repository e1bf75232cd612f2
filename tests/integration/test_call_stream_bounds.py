"""What calls that share a stream may hold at either end, and that it is given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from network.calls import METHOD, CallFailed
from network.calls import line as line_module
from network.calls.frames import (
    CALL,
    CANCEL,
    ITEM_BYTES,
    SERVICE,
    decode_frame,
    encode_item,
)
from network.calls.line import OFFERED
from nodes.rpc import calls
from nodes.rpc.calls import CallService, add_call_service
from nodes.rpc.concurrency import ConcurrencyLimit
from nodes.rpc.handlers import Endpoint
from tests.support.called_services import (
    DEADLINE_S,
    ECHO,
    HANG,
    Services,
    line_to,
    message,
    served,
    text_of,
)
from tests.support.local_network import until

Code = grpc.StatusCode


async def test_caller_that_reads_no_answers_is_read_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What one stream has at work or unsent is bounded."""
    monkeypatch.setattr(calls, "UNANSWERED", 20)
    services = Services()
    async with served(services) as (_, port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            opened: Any = channel.stream_stream(METHOD, None, None)(None)
            for number in range(1, 201):
                name = HANG.encode()
                await opened.write(encode_item(CALL, number, message(str(number)), name=name))
            await until(lambda: len(services.begun) == 20)
            # What was read goes on when a place is free.
            await opened.write(b"")
            opened.cancel()
        await until(lambda: len(services.cancelled) == 20)
    assert len(services.begun) == 20


async def test_calls_given_up_before_they_began_keep_no_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call and its cancellation in one frame, as of a caller who leaves at once."""
    monkeypatch.setattr(calls, "UNANSWERED", 20)
    services = Services()
    async with (
        served(services) as (_, port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        opened: Any = channel.stream_stream(METHOD, None, None)(None)
        for number in range(1, 61):
            hang = encode_item(CALL, number, message("gone"), name=HANG.encode())
            await opened.write(hang + encode_item(CANCEL, number))
        await opened.write(encode_item(CALL, 99, message("on"), name=ECHO.encode()))
        async with asyncio.timeout(DEADLINE_S):
            (answer,) = decode_frame(await opened.read())
        assert (answer.number, text_of(answer.content)) == (99, "ON")
        opened.cancel()
    assert services.begun == services.cancelled


async def test_stream_holds_no_more_bytes_than_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the requests are; what is at work ends, and the next ones are read."""
    monkeypatch.setattr(calls, "HELD_BYTES", 10_000)
    services = Services()
    async with served(services) as (_, port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            opened: Any = channel.stream_stream(METHOD, None, None)(None)
            for number in range(1, 11):
                large = message(f"{number:04}" * 1000)
                await opened.write(encode_item(CALL, number, large, name=HANG.encode()))
            await until(lambda: len(services.begun) == 3)
            await opened.write(b"")
            assert len(services.begun) == 3
            opened.cancel()
        await until(lambda: len(services.cancelled) == 3)
    assert len(services.begun) == 3


async def test_calls_to_a_side_that_reads_nothing_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond a bound they fail at once; the stream may stay open for as long as the other likes."""
    monkeypatch.setattr(line_module, "UNSENT_BYTES", 200_000)

    async def exchange(_frames: AsyncIterator[bytes], context: Any) -> None:
        await context.send_initial_metadata((OFFERED,))
        await asyncio.Event().wait()

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(exchange)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Exchange": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with line_to(port) as line:
        many = [line.call(ECHO, bytes(ITEM_BYTES), 1.0) for _ in range(100)]
        failed = await asyncio.gather(*many, return_exceptions=True)
        assert {each.code() for each in failed if isinstance(each, CallFailed)} == {
            Code.UNAVAILABLE,
            Code.DEADLINE_EXCEEDED,
        }
        assert sum(map(len, line._outgoing)) < 200_000 + 2 * ITEM_BYTES
    await server.stop(None)


async def test_limit_of_calls_counts_those_of_a_stream() -> None:
    """A stream gives no more places than calls of their own."""
    limit = ConcurrencyLimit("test", 2)
    services = Services()

    async def limited(request: Any, context: Any) -> Any:
        with limit.enter():
            return await services.hang(request, context)

    endpoint = Endpoint("Limited", StringValue, limited)
    server = grpc.aio.server()
    add_call_service(server, CallService({HANG: endpoint}))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with line_to(port) as line:
        two = [asyncio.create_task(line.call(HANG, message("x"), DEADLINE_S)) for _ in range(2)]
        await until(lambda: limit.at_work == 2)
        with pytest.raises(CallFailed) as refused:
            await line.call(HANG, message("x"), DEADLINE_S)
        assert refused.value.code() is Code.RESOURCE_EXHAUSTED
        for each in two:
            each.cancel()
        await until(lambda: limit.at_work == 0)
    await server.stop(None)


async def test_port_that_is_full_reads_from_the_streams_that_have_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What all streams have at work is bounded together; a stream that floods waits for its own
    calls to end, and one that comes anew is served meanwhile.
    """
    monkeypatch.setattr(calls, "UNANSWERED_ON_PORT", 20)
    monkeypatch.setattr(calls, "SHARE_AT_LEAST", 1)
    services = Services()
    async with served(services) as (_, port), AsyncExitStack() as opened:
        flooding = []
        for number in range(3):
            line = await opened.enter_async_context(line_to(port))
            flooding += [
                asyncio.create_task(line.call(HANG, message(f"{number}"), DEADLINE_S))
                for _ in range(30)
            ]
        await until(lambda: len(services.begun) >= 20)
        late = await opened.enter_async_context(line_to(port))
        for _ in range(5):
            answer, _height = await late.call(ECHO, message("served"), DEADLINE_S)
            assert text_of(answer) == "SERVED"
        # All of the first, when it was alone, its half of the second, its third of the third.
        assert len(services.begun) <= 20 + 10 + 20 // 3 + 3
        for each in flooding:
            each.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)


@pytest.mark.parametrize(("idle", "least"), [(40, 1), (0, 10)])
async def test_streams_that_others_open_leave_a_stream_its_share(
    monkeypatch: pytest.MonkeyPatch, idle: int, least: int
) -> None:
    """Idle ones count for nothing; and of however many that are full, each has a few calls."""
    monkeypatch.setattr(calls, "UNANSWERED_ON_PORT", 20)
    monkeypatch.setattr(calls, "SHARE_AT_LEAST", least)
    services = Services()
    async with served(services) as (_, port), AsyncExitStack() as opened:
        lines = [await opened.enter_async_context(line_to(port)) for _ in range(3 + idle)]
        for line in lines:
            await line.call(ECHO, message("open"), DEADLINE_S)
        hanging = [
            asyncio.create_task(line.call(HANG, message(f"{number}"), DEADLINE_S))
            for number, line in enumerate(lines[:2])
            for _ in range(20)
        ]
        await until(lambda: len(services.begun) >= 20)
        hanging += [
            asyncio.create_task(lines[2].call(HANG, message("late"), DEADLINE_S)) for _ in range(10)
        ]
        # A third of the port, or what it may have at least; and one answer more.
        await until(lambda: services.begun.count("late") >= (6 if idle else least))
        for each in hanging:
            each.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)


async def test_stream_that_ends_gives_back_what_it_held_of_the_port() -> None:
    """Whatever was at work on it, or answered and not sent."""
    services = Services()
    service = CallService(services.endpoints)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_call_service(server, service)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with line_to(port) as line:
        hanging = [
            asyncio.create_task(line.call(HANG, message("x" * 100), DEADLINE_S)) for _ in range(5)
        ]
        await line.call(ECHO, message("y"), DEADLINE_S)
        await until(lambda: len(services.begun) == 5)
        held = service._port
        await until(lambda: (held.streams, held.calls) == (1, 5))
        assert held.held_bytes > 500
    await asyncio.gather(*hanging, return_exceptions=True)
    await until(lambda: held.streams == 0)
    assert (held.calls, held.held_bytes) == (0, 0)
    await server.stop(None)
