"""Deliver on both ports: which blocks, in which order, and every status that ends a stream."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2

from clients.gateway.messages import seek_envelope
from network.tls import TlsIdentity
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, DEADLINE_S, LocalNetwork, local_network, until
from tests.support.members import Member

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBERS = ("BankMSP", "PtaMSP")
BLOCKS = 4
FOREVER = 2**64 - 1
SUCCESS, BAD_REQUEST, FORBIDDEN, NOT_FOUND = 200, 400, 403, 404
OLDEST = ab_pb2.SeekPosition(oldest=ab_pb2.SeekOldest())
NEWEST = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
NEXT = ab_pb2.SeekPosition(next_commit=ab_pb2.SeekNextCommit())
READY = ab_pb2.SeekInfo.FAIL_IF_NOT_READY


EOF: Any = vars(grpc.aio)["EOF"]  # the stubs do not know it


@asynccontextmanager
async def connected(address: str, credentials: grpc.ChannelCredentials) -> AsyncIterator[Any]:
    """A channel, of whose methods the stubs know only some arguments."""
    async with grpc.aio.secure_channel(address, credentials) as channel:
        yield channel


def at(number: int) -> Any:
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=number))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    """A channel of four blocks: genesis, definition, two payments into a counter."""
    folder = tmp_path_factory.mktemp("network")
    async with local_network(folder, [Counter()], members=MEMBERS) as running:
        async with running.gateway("BankMSP") as gateway:
            for _ in range(BLOCKS - 2):
                await gateway.network(CHANNEL).contract("counter").submit("Add", "k", "1")
        assert await running.settled() == BLOCKS
        yield running
        await running.verify()


def request(network: LocalNetwork, start: Any, stop: Any, **options: Any) -> Any:
    """An envelope that asks for blocks, changed as *options* say."""
    signer = options.get("signer") or network.signer("PtaMSP")
    header = common_pb2.ChannelHeader(
        type=common_pb2.DELIVER_SEEK_INFO,
        channel_id=options.get("channel_id", CHANNEL),
        tls_cert_hash=options.get("tls_cert_hash", b""),
    )
    when = options.get("when", datetime.now(UTC))
    if when is not None:
        header.timestamp.FromDatetime(when)
    seek = ab_pb2.SeekInfo(start=start, stop=stop, behavior=options.get("behavior", 0))
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=header.SerializeToString(),
            signature_header=common_pb2.SignatureHeader(
                creator=signer.serialized
            ).SerializeToString(),
        ),
        data=options.get("data", seek.SerializeToString()),
    ).SerializeToString()
    return common_pb2.Envelope(payload=payload, signature=signer.sign(payload))


@asynccontextmanager
async def stream(network: LocalNetwork, rpc: str = "Deliver") -> AsyncIterator[Any]:
    endpoint = network.endpoint("PtaMSP")
    async with connected(endpoint.address, endpoint.credentials()) as channel:
        call = channel.stream_stream(
            f"/protos.Deliver/{rpc}",
            request_serializer=lambda each: each.SerializeToString(),
            response_deserializer=events_pb2.DeliverResponse.FromString,
        )()
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield call
        finally:
            call.cancel()


async def answer(call: Any) -> tuple[list[int], int]:
    """The numbers of the blocks that come, and the status behind them."""
    numbers: list[int] = []
    while True:
        response = await call.read()
        if response.WhichOneof("Type") == "status":
            return numbers, response.status
        block = response.block if response.HasField("block") else response.filtered_block
        numbers.append(block.header.number if response.HasField("block") else block.number)


@pytest.mark.parametrize("rpc", ["Deliver", "DeliverFiltered"])
@pytest.mark.parametrize(
    ("start", "stop", "numbers"),
    [
        (OLDEST, NEWEST, [0, 1, 2, 3]),
        (NEWEST, NEWEST, [3]),
        (OLDEST, OLDEST, [0]),
        (at(1), at(2), [1, 2]),
        (at(3), NEWEST, [3]),
    ],
)
async def test_deliver_of_blocks_that_are_there_sends_them_and_success(
    network: LocalNetwork, rpc: str, start: Any, stop: Any, numbers: list[int]
) -> None:
    """Oldest, newest and specified positions; the newest is that of the moment of the request."""
    async with stream(network, rpc) as call:
        await call.write(request(network, start, stop))
        assert await answer(call) == (numbers, SUCCESS)


@pytest.mark.parametrize(
    ("start", "stop", "options", "status"),
    [
        (at(2), at(1), {}, BAD_REQUEST),
        (NEXT, NEWEST, {}, BAD_REQUEST),
        (None, NEWEST, {}, BAD_REQUEST),
        (OLDEST, None, {}, BAD_REQUEST),
        (OLDEST, NEXT, {}, BAD_REQUEST),
        (OLDEST, NEWEST, {"data": b"\xff\xff"}, BAD_REQUEST),
        (OLDEST, NEWEST, {"when": None}, BAD_REQUEST),
        (OLDEST, NEWEST, {"when": datetime.now(UTC) - timedelta(minutes=16)}, BAD_REQUEST),
        (OLDEST, NEWEST, {"when": datetime.now(UTC) + timedelta(hours=2)}, BAD_REQUEST),
        (OLDEST, NEWEST, {"channel_id": "elsewhere"}, NOT_FOUND),
        (ab_pb2.SeekPosition(), NEWEST, {}, NOT_FOUND),
        (at(BLOCKS + 1), at(FOREVER), {}, NOT_FOUND),
        (at(BLOCKS), at(FOREVER), {"behavior": READY}, NOT_FOUND),
        (OLDEST, NEWEST, {"signer": Member("BankMSP").identity()}, FORBIDDEN),
        (OLDEST, NEWEST, {"signer": Member("NobodyMSP").identity()}, FORBIDDEN),
    ],
)
async def test_deliver_of_what_cannot_be_sent_ends_the_stream_with_fabrics_status(
    network: LocalNetwork, start: Any, stop: Any, options: dict[str, Any], status: int
) -> None:
    """Statuses of common/deliver/deliver.go; after one that is no success the stream ends."""
    async with stream(network) as call:
        await call.write(request(network, start, stop, **options))
        assert await answer(call) == ([], status)
        assert await call.read() is EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_deliver_that_may_not_wait_sends_what_there_is_before_it_says_not_found(
    network: LocalNetwork,
) -> None:
    """FAIL_IF_NOT_READY past the height: the blocks below come first."""
    async with stream(network) as call:
        await call.write(request(network, at(2), at(FOREVER), behavior=READY))
        assert await answer(call) == ([2, 3], NOT_FOUND)


async def test_deliver_after_success_waits_for_the_next_request_on_the_same_stream(
    network: LocalNetwork,
) -> None:
    """One stream answers many requests, and ends when the caller sends no more."""
    async with stream(network) as call:
        for number in (3, 0, 2):
            await call.write(request(network, at(number), at(number)))
            assert await answer(call) == ([number], SUCCESS)
        await call.done_writing()
        assert await call.read() is EOF


async def test_deliver_of_bytes_that_are_no_envelope_ends_the_call_and_no_more(
    network: LocalNetwork,
) -> None:
    """As in Go's gRPC: INTERNAL; an envelope with a payload that is none: BAD_REQUEST."""
    async with stream(network) as call:
        await call.write(common_pb2.Envelope(payload=b"\xff\xff"))
        assert await answer(call) == ([], BAD_REQUEST)
    async with stream(network) as call:
        await call.write(common_pb2.Envelope())
        assert await answer(call) == ([], BAD_REQUEST)
    endpoint = network.endpoint("PtaMSP")
    async with connected(endpoint.address, endpoint.credentials()) as channel:
        raw = channel.stream_stream("/protos.Deliver/Deliver")()
        await raw.write(b"\xff\xff\xff")
        assert await raw.code() is grpc.StatusCode.INTERNAL


async def test_deliver_of_followers_that_went_away_leaves_nothing_behind(
    network: LocalNetwork,
) -> None:
    """A stream that waits for a block frees its place as soon as it is cancelled."""
    deliveries = network.node("PtaMSP").servers.deliveries
    async with stream(network) as call:
        await call.write(request(network, NEXT, at(FOREVER)))
        await until(lambda: deliveries.at_work == 1)
    await until(lambda: deliveries.at_work == 0)


# ---- the orderer's Deliver on the node port


@asynccontextmanager
async def orderer(network: LocalNetwork, tls: TlsIdentity | None) -> AsyncIterator[Any]:
    """A Deliver stream to the node port, with the TLS certificate of a member or without any."""
    bank = network.members["BankMSP"]
    root = (bank.organisation.folder / "tlsca" / "ca-cert.pem").read_bytes()
    credentials = tls.credentials([root]) if tls else grpc.ssl_channel_credentials(root)
    async with connected(f"localhost:{bank.node_port}", credentials) as channel:
        yield channel


def open_stream(channel: Any) -> Any:
    return channel.stream_stream(
        "/orderer.AtomicBroadcast/Deliver",
        request_serializer=lambda each: each.SerializeToString(),
        response_deserializer=events_pb2.DeliverResponse.FromString,
    )()


async def test_orderers_deliver_takes_a_request_bound_to_the_callers_certificate_only(
    network: LocalNetwork,
) -> None:
    """On the mutual TLS port the request names the certificate of the connection it came over, so
    that nobody can send another's request.
    """
    tls = TlsIdentity.load(network.members["PtaMSP"].folder / "tls")
    bound = hashlib.sha256(tls.certificate_der).digest()
    signer = network.node_signer("PtaMSP")
    async with orderer(network, tls) as channel, asyncio.timeout(DEADLINE_S):
        for claimed, expected in (
            (bound, ([0, 1, 2, 3], SUCCESS)),
            (b"", ([], BAD_REQUEST)),
            (b"x" * 32, ([], BAD_REQUEST)),
        ):
            call = open_stream(channel)
            await call.write(request(network, OLDEST, NEWEST, tls_cert_hash=claimed, signer=signer))
            assert await answer(call) == expected


async def test_node_port_serves_certificates_of_members_only(network: LocalNetwork) -> None:
    """No certificate, or one of an authority that no member has, does not get through the
    handshake.
    """
    for tls in (None, Member("BankMSP").tls_identity()):
        async with orderer(network, tls) as channel:
            call = open_stream(channel)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_broadcast_to_a_node_that_does_not_order_names_the_one_that_does(
    network: LocalNetwork,
) -> None:
    """SERVICE_UNAVAILABLE with the orderer's address; nothing is passed on."""
    pta = network.members["PtaMSP"]
    tls = TlsIdentity.load(network.members["BankMSP"].folder / "tls")
    root = (pta.organisation.folder / "tlsca" / "ca-cert.pem").read_bytes()
    async with connected(f"localhost:{pta.node_port}", tls.credentials([root])) as channel:
        call = channel.stream_stream(
            "/orderer.AtomicBroadcast/Broadcast",
            response_deserializer=ab_pb2.BroadcastResponse.FromString,
        )()
        await call.write(seek_envelope(network.signer("BankMSP"), CHANNEL, 0).SerializeToString())
        response = await call.read()
        assert response.status == common_pb2.SERVICE_UNAVAILABLE
        assert f"localhost:{network.members['BankMSP'].node_port}" in response.info
        await call.done_writing()
        assert await call.read() is EOF


async def test_broadcast_answers_in_the_order_of_the_envelopes(network: LocalNetwork) -> None:
    """Good and bad ones on one stream; each answer has Fabric's status."""
    bank = network.members["BankMSP"]
    tls = TlsIdentity.load(network.members["PtaMSP"].folder / "tls")
    root = (bank.organisation.folder / "tlsca" / "ca-cert.pem").read_bytes()
    forged = seek_envelope(network.signer("BankMSP"), CHANNEL, 0)
    forged.signature = b"none"
    elsewhere = seek_envelope(network.signer("BankMSP"), "elsewhere", 0)
    async with connected(f"localhost:{bank.node_port}", tls.credentials([root])) as channel:
        call = channel.stream_stream(
            "/orderer.AtomicBroadcast/Broadcast",
            response_deserializer=ab_pb2.BroadcastResponse.FromString,
        )()
        for raw in (
            forged.SerializeToString(),
            b"\xff\xff",
            elsewhere.SerializeToString(),
            common_pb2.Envelope().SerializeToString(),
        ):
            await call.write(raw)
        statuses = [(await call.read()).status for _ in range(4)]
        assert statuses == [FORBIDDEN, BAD_REQUEST, NOT_FOUND, BAD_REQUEST]
