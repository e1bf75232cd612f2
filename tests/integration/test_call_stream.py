"""Calls that share a stream, from one end to the other over gRPC on loopback."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.gateway import gateway_pb2

from clients.gateway.connection import gateway_error
from clients.gateway.errors import SubmitError
from network.calls import METHOD, CallFailed, CallLine
from network.calls.frames import (
    ANSWER,
    CALL,
    FAILURE,
    ITEM_BYTES,
    SERVICE,
    decode_frame,
    encode_failure,
    encode_item,
)
from network.calls.line import OFFERED
from nodes.endorser.service import PROCESS_PROPOSAL
from nodes.rpc.calls import CallService, add_call_service
from tests.support.called_services import (
    DEADLINE_S,
    ECHO,
    HANG,
    REFUSE,
    Services,
    line_to,
    message,
    served,
    text_of,
)
from tests.support.counter import Counter
from tests.support.hostile import Doors, hostile_network
from tests.support.local_network import local_network, until

Code = grpc.StatusCode


async def test_many_calls_at_once_get_each_its_own_answer() -> None:
    """Over one stream, whatever order they end in; heights go there and back."""
    services = Services()
    async with served(services) as (_, port), line_to(port) as line:
        answers = await asyncio.gather(
            *(line.call(ECHO, message(f"a{n}"), DEADLINE_S, n) for n in range(300))
        )
    assert [text_of(raw) for raw, _ in answers] == [f"A{n}" for n in range(300)]
    assert [height for _, height in answers] == [n + 1 for n in range(300)]
    assert services.alone == 0


@pytest.mark.parametrize("offered", [True, False])
async def test_failure_says_the_same_on_a_stream_and_alone(offered: bool) -> None:
    """Code, words, details of members, and whether nothing was done; nothing of what broke."""
    async with served(Services(), offered=offered) as (_, port), line_to(port) as line:
        with pytest.raises(grpc.RpcError) as refused:
            await line.call(REFUSE, message("no"), DEADLINE_S)
        with pytest.raises(grpc.RpcError) as broke:
            await line.call(REFUSE, message("break"), DEADLINE_S)
        with pytest.raises(grpc.RpcError) as garbled:
            await line.call(ECHO, b"\xff\xff\xff", DEADLINE_S)
        with pytest.raises(grpc.RpcError) as unknown:
            await line.call("/test.Test/Nothing", b"", DEADLINE_S)
    error = gateway_error(SubmitError, refused.value, "ab12")
    assert error.code is Code.UNAVAILABLE
    assert error.outcome_definite
    assert [(each.address, each.message) for each in error.details] == [
        ("localhost:7", "it said no")
    ]
    assert broke.value.code() is Code.INTERNAL
    assert broke.value.details() == "Refuse failed; the node's log says why"
    assert garbled.value.code() is Code.INTERNAL
    assert "error unmarshalling request" in str(garbled.value.details())
    assert unknown.value.code() is Code.UNIMPLEMENTED


@pytest.mark.parametrize("offered", [True, False])
async def test_call_that_is_given_up_is_cancelled_at_the_other_end(offered: bool) -> None:
    """By its deadline, and by whoever waits for it; the others on the stream go on."""
    services = Services()
    async with served(services, offered=offered) as (_, port), line_to(port) as line:
        with pytest.raises(grpc.RpcError) as late:
            await line.call(HANG, message("deadline"), 0.2)
        assert late.value.code() is Code.DEADLINE_EXCEEDED
        waiting = asyncio.create_task(line.call(HANG, message("left"), DEADLINE_S))
        await until(lambda: "left" in services.begun)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await until(lambda: services.cancelled == ["deadline", "left"])
        assert text_of((await line.call(ECHO, message("on"), DEADLINE_S))[0]) == "ON"


async def test_method_that_the_stream_does_not_take_is_called_alone() -> None:
    """A port has other services too; the stream is asked once."""
    services = Services()
    server = grpc.aio.server()
    handlers = {each.name: each.handler() for each in services.endpoints.values()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Test", handlers),))
    add_call_service(server, CallService({REFUSE: services.endpoints[REFUSE]}))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with line_to(port) as line:
        for number in (1, 2):
            assert text_of((await line.call(ECHO, message("x"), DEADLINE_S))[0]) == "X"
            assert services.alone == number
        with pytest.raises(CallFailed):
            await line.call(REFUSE, message("on the stream"), DEADLINE_S)
    await server.stop(None)


async def test_large_request_is_made_by_a_call_of_its_own() -> None:
    """So that small ones need not wait behind it."""
    services = Services()
    async with served(services) as (_, port), line_to(port) as line:
        await line.call(ECHO, message("s"), DEADLINE_S)
        raw, height = await line.call(ECHO, message("l" * ITEM_BYTES), DEADLINE_S, 4)
    assert text_of(raw) == "L" * ITEM_BYTES
    assert height == 5
    assert services.alone == 1


async def test_calls_fail_when_the_stream_breaks_and_the_next_opens_another() -> None:
    """UNAVAILABLE, as when the connection of a call of its own breaks."""
    services = Services()
    async with served(services) as (server, port), line_to(port) as line:
        waiting = asyncio.create_task(line.call(HANG, message("on the way"), DEADLINE_S))
        await until(lambda: bool(services.begun))
        await server.stop(None)
        with pytest.raises(CallFailed) as broke:
            await waiting
        assert broke.value.code() is Code.UNAVAILABLE
        assert services.cancelled == ["on the way"]
        async with served(services, port=port):
            answered = ""
            async with asyncio.timeout(DEADLINE_S):
                while not answered:
                    with suppress(grpc.RpcError):
                        answered = text_of((await line.call(ECHO, message("back"), 5))[0])
            assert answered == "BACK"
    assert services.alone == 0


async def test_call_to_nobody_is_unavailable_and_a_closed_line_says_so() -> None:
    """Neither hangs, nor is taken for a cancellation of the caller's own."""
    async with served(Services()) as (_, port):
        pass
    async with line_to(port) as line:
        with pytest.raises(grpc.RpcError) as nobody:
            await line.call(ECHO, b"", DEADLINE_S)
        assert nobody.value.code() is Code.UNAVAILABLE
    services = Services()
    async with served(services) as (_, port), line_to(port) as line:
        waiting = asyncio.create_task(line.call(HANG, message("x"), DEADLINE_S))
        await until(lambda: bool(services.begun))
        await line.close()
        with pytest.raises(CallFailed) as closed:
            await waiting
    assert closed.value.code() is Code.UNAVAILABLE


async def test_number_in_use_is_not_taken_twice_and_garbage_ends_the_stream() -> None:
    """The calls at work are given up with it."""
    services = Services()
    async with served(services) as (_, port):
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            opened: Any = channel.stream_stream(METHOD, None, None)(None)
            hang, echo = HANG.encode(), ECHO.encode()
            await opened.write(
                encode_item(CALL, 1, message("first"), name=hang)
                + encode_item(CALL, 1, message("second"), name=hang)
                + encode_item(CALL, 2, message("x"), name=echo)
            )
            (answer,) = decode_frame(await opened.read())
            assert (answer.kind, answer.number) == (ANSWER, 2)
            assert services.begun == ["first"]
            await opened.write(b"\x09garbage")
            assert await opened.code() is Code.INVALID_ARGUMENT
            assert "malformed" in await opened.details() or "cut short" in await opened.details()
        await until(lambda: services.cancelled == ["first"])


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 7, encode_failure(0, "all is well"), encode_failure(99, "what?")]
)
async def test_failure_in_another_form_is_a_failure_all_the_same(content: bytes) -> None:
    """Whoever answers may send anything; the caller sees the one kind of error, and never OK."""

    async def exchange(frames: AsyncIterator[bytes], context: Any) -> None:
        await context.send_initial_metadata((OFFERED,))
        async for raw in frames:
            for item in decode_frame(raw):
                await context.write(encode_item(FAILURE, item.number, content))

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(exchange)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Exchange": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with line_to(port) as line:
        with pytest.raises(CallFailed) as failed:
            await line.call(ECHO, b"", DEADLINE_S)
    await server.stop(None)
    assert failed.value.code() in (Code.INTERNAL, Code.UNKNOWN)


async def test_node_port_takes_calls_of_members_only(tmp_path: Path) -> None:
    """The certificate is looked at when the stream begins and at each call; a client port, whose
    calls are signed, offers what it offers without a stream and nothing of the node port.
    """
    async with hostile_network(tmp_path) as hostile, Doors.of(hostile) as doors:
        request = doors.request("ProcessProposal", hostile.network.signer("BankMSP"))
        endpoint = hostile.network.endpoint("BankMSP")
        credentials = endpoint.credentials()
        async with grpc.aio.secure_channel(endpoint.address, credentials) as channel:
            line = CallLine(channel)
            with pytest.raises(grpc.RpcError) as refused:
                await line.call(PROCESS_PROPOSAL, request, DEADLINE_S)
            assert refused.value.code() is Code.UNIMPLEMENTED
            empty = gateway_pb2.SubmitRequest().SerializeToString()
            with pytest.raises(CallFailed) as unsigned:
                await line.call("/gateway.Gateway/Submit", empty, DEADLINE_S)
            assert unsigned.value.code() is Code.INVALID_ARGUMENT
            await line.close()
        node = f"localhost:{hostile.network.members['BankMSP'].node_port}"
        async with grpc.aio.secure_channel(node, credentials) as channel:
            line = CallLine(channel)
            with pytest.raises(grpc.RpcError) as outside:
                await line.call(PROCESS_PROPOSAL, request, DEADLINE_S)
            assert outside.value.code() in (Code.UNAVAILABLE, Code.PERMISSION_DENIED)
            await line.close()


async def test_members_and_our_client_call_over_streams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Endorsing, submitting and asking, without a gRPC call of its own."""
    alone: list[str] = []
    made = CallLine._call_alone

    def counted(self: CallLine, method: str, *rest: Any) -> Any:
        alone.append(method)
        return made(self, method, *rest)

    monkeypatch.setattr(CallLine, "_call_alone", counted)
    async with local_network(tmp_path, [Counter()], members=("BankMSP", "PtaMSP")) as network:
        async with network.gateway("BankMSP") as gateway:
            contract = gateway.network(network.channel_id).contract("counter")
            for number in (1, 2):
                outcome = await contract.submit("Add", "k", str(number))
            assert outcome.result == b"3"
            assert await contract.evaluate("Get", "k") == b"3"
        await network.verify()
    assert alone == []
    verify_nothing_left()


def verify_nothing_left() -> None:
    """Check that no line is kept alive by a task that nobody ended."""
    gc.collect()
    assert not [task for task in asyncio.all_tasks() if "stream of calls" in task.get_name()]
