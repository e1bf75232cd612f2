"""Hostile client: connections without TLS or with the wrong certificate; clients that are slow,
silent, or gone before they are answered.

None of them keeps a place, or makes a node slower for others than the place it takes.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio

from clients.gateway.messages import commit_request, seek_envelope
from network.certificates import Organisation
from network.tls import TlsIdentity
from tests.support.hostile import TRANSIENT, Doors, Hostile, hostile_network
from tests.support.hostile_requests import BAD_REQUEST, BANK, PTA, RPCS
from tests.support.local_network import CHANNEL, DEADLINE_S, until
from tests.support.members import Member

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode
FOREVER = 2**64 - 1
FIRST_REQUEST_S = 1.5
LIMITS = f"[limits]\nfirst_request_s = {FIRST_REQUEST_S}\nsimulation_deadline_s = 1\n"
NODE_RPCS = [name for name, rpc in RPCS.items() if rpc.port == "node"]
FOUNDED = datetime.now(UTC) - timedelta(days=10)


def prepare(organisation: Organisation) -> None:
    """Nodes whose TLS certificates are revoked by the genesis block, and expired by now."""
    organisation.add_node("revoked")
    organisation.revoke("revoked")
    organisation.add_node("expired", tls_days=1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    folder = tmp_path_factory.mktemp("network")
    async with hostile_network(folder, limits=LIMITS, prepare=prepare, founded=FOUNDED) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(hostile: Hostile) -> AsyncIterator[Doors]:
    async with Doors.of(hostile) as made:
        yield made


def port(hostile: Hostile, which: str) -> int:
    member = hostile.network.members[BANK]
    return member.client_port if which == "client" else member.node_port


def authority(hostile: Hostile) -> bytes:
    folder = hostile.network.members[BANK].organisation.folder
    return (folder / "tlsca" / "ca-cert.pem").read_bytes()


# ---- TLS


@pytest.mark.parametrize("which", ["client", "node"])
async def test_connection_without_tls_is_not_answered(hostile: Hostile, which: str) -> None:
    """There is no port without it; other protocols get no answer either."""
    async with grpc.aio.insecure_channel(f"localhost:{port(hostile, which)}") as channel:
        path = RPCS["Evaluate" if which == "client" else "ProcessProposal"].path
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary(path, bytes, bytes)(b"", timeout=DEADLINE_S)
    assert refused.value.code() is Code.UNAVAILABLE
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\xff"):
        reader, writer = await asyncio.open_connection("localhost", port(hostile, which))
        writer.write(words + b"\0" * 200)
        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionResetError):
                assert b"HTTP/1.1 200" not in await reader.read()
        writer.close()


@pytest.mark.parametrize("rpc", NODE_RPCS)
@pytest.mark.parametrize(
    "shown", ["nothing", "unknown authority", "an identity", "expired", "revoked"]
)
async def test_node_port_serves_nobody_without_a_members_tls_certificate(
    hostile: Hostile, shown: str, rpc: str
) -> None:
    """The handshake ends the connection; what only a member's definition tells, as a revocation,
    is asked at the call.
    """
    organisation = hostile.network.members[PTA].organisation
    roots = [authority(hostile)]
    credentials = grpc.ssl_channel_credentials(roots[0])
    if shown == "unknown authority":
        credentials = Member(PTA).tls_identity().credentials(roots)
    elif shown == "an identity":
        folder = hostile.network.members[PTA].folder / "msp"
        credentials = grpc.ssl_channel_credentials(
            roots[0],
            (folder / "keystore" / "key.pem").read_bytes(),
            (folder / "signcerts" / "cert.pem").read_bytes(),
        )
    elif shown != "nothing":
        tls = TlsIdentity.load(organisation.node_folder(shown) / "tls")
        credentials = tls.credentials(roots)
    address = f"localhost:{port(hostile, 'node')}"
    async with grpc.aio.secure_channel(address, credentials) as channel:
        method: Any = channel.stream_stream(RPCS[rpc].path, bytes, bytes)
        call = method(timeout=DEADLINE_S)
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await call.write(b"")
            await call.done_writing()
        code, words = await call.code(), await call.details()
    if shown == "revoked":
        assert code is Code.PERMISSION_DENIED
        assert "this port serves members' nodes only" in words
        assert "revoked: have a new one issued" in words
    else:
        assert code is Code.UNAVAILABLE


async def test_request_for_blocks_made_for_another_connection_is_refused(
    hostile: Hostile,
) -> None:
    """Whoever gets hold of a member's signed request cannot send it over its own connection."""
    network = hostile.network
    async with Doors.of(hostile, caller=PTA) as own, Doors.of(hostile, caller=BANK) as other:
        stolen = own.request("orderer's Deliver", network.node_signer(PTA))
        assert (await own.call("orderer's Deliver", stolen)).status == 200
        ending = await other.call("orderer's Deliver", stolen)
        assert ending.status == BAD_REQUEST
        assert "not that of this connection's client certificate" in ending.words
        unbound = own.request("orderer's Deliver", network.node_signer(PTA), tls_cert_hash=b"")
        ending = await own.call("orderer's Deliver", unbound)
        assert ending.status == BAD_REQUEST
        assert "didn't include its TLS cert hash" in ending.words
        forged = hashlib.sha256(b"any").digest()
        unbound = own.request("orderer's Deliver", network.node_signer(PTA), tls_cert_hash=forged)
        assert (await own.call("orderer's Deliver", unbound)).status == BAD_REQUEST


async def test_tls_certificate_of_a_member_makes_nobody_its_client(
    hostile: Hostile, doors: Doors
) -> None:
    """A connection says which node calls; who proposes is said by a signature, or not at all."""
    stranger = Member(PTA).identity()
    for rpc in ("ProcessProposal", "Broadcast", "orderer's Deliver"):
        ending = await doors.ask(rpc, stranger)
        assert ending.code is Code.UNKNOWN or ending.status == 403
    ending = await doors.ask("ProcessProposal", hostile.network.signer(BANK))
    assert ending.code is Code.OK, "gateways hand on what clients of their member propose"


# ---- gone, silent, slow


@pytest.mark.parametrize("which", ["client", "node"])
async def test_two_hundred_connections_opened_and_dropped_do_no_harm(
    hostile: Hostile, which: str
) -> None:
    """At once, in the middle of a handshake, or after it."""
    context = ssl.create_default_context(cadata=authority(hostile).decode())
    context.set_alpn_protocols(["h2"])
    if which == "node":
        folder = hostile.network.members[PTA].folder / "tls"
        context.load_cert_chain(folder / "server.crt", folder / "server.key")

    async def once(number: int) -> None:
        if number % 4 == 0:
            _reader, writer = await asyncio.open_connection(
                "localhost", port(hostile, which), ssl=context
            )
            writer.write((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff" * 3000)[number % 8 // 4])
        else:
            _reader, writer = await asyncio.open_connection("localhost", port(hostile, which))
            writer.write((b"", b"\x16\x03\x01\x02\x00\x01\x00", b"\0" * 5000)[number % 3])
        writer.transport.abort()

    for start in range(0, 200, 50):
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*(once(number) for number in range(start, start + 50)))
    await hostile.serves()


async def test_connections_that_say_nothing_keep_nobody_waiting(hostile: Hostile) -> None:
    """Two hundred, open all the while."""
    silent = [
        await asyncio.open_connection("localhost", port(hostile, which))
        for which in ("client", "node")
        for _ in range(100)
    ]
    await hostile.serves()
    for _reader, writer in silent:
        writer.transport.abort()


@contextmanager
def room_for(limit: Any, count: int) -> Iterator[None]:
    usual, limit.most = limit.most, limit.at_work + count
    try:
        yield
    finally:
        limit.most = usual


@pytest.mark.parametrize("rpc", ["Deliver", "DeliverFiltered", "orderer's Deliver"])
async def test_stream_on_which_nothing_is_asked_ends_and_frees_its_place(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """Nobody has signed anything yet: strangers must not hold all the places there are."""
    servers = hostile.network.node(BANK).servers
    limit = servers.followers if rpc.startswith("orderer") else servers.deliveries
    with room_for(limit, 5):
        calls = [doors.open(rpc) for _ in range(5)]
        await until(lambda: limit.at_work == limit.most)
        async with asyncio.timeout(DEADLINE_S):
            for call in calls:
                assert await call.code() is Code.DEADLINE_EXCEEDED
                words = await call.details()
                assert words.startswith("no request for blocks came within 1.5 s; send one")
        assert (await doors.ask(rpc, hostile.network.signer(BANK))).status == 200


async def test_streams_that_are_opened_and_abandoned_free_their_places(hostile: Hostile) -> None:
    """Whether their caller cancels, or goes away with its connection."""
    servers = hostile.network.node(BANK).servers
    limits = (servers.deliveries, servers.events, servers.waits, servers.followers)
    before = [limit.at_work for limit in limits]
    signer = hostile.network.signer(BANK)
    async with Doors.of(hostile) as doors:
        opened = []
        for _ in range(30):
            waiting = seek_envelope(signer, CHANNEL, None).SerializeToString()
            for rpc in ("Deliver", "DeliverFiltered", "Broadcast"):
                call = doors.open(rpc)
                opened.append(call)
                if rpc != "Broadcast":
                    await call.write(waiting)
            opened.append(doors.open("ChaincodeEvents", doors.request("ChaincodeEvents", signer)))
            unknown = commit_request(signer, CHANNEL, "0" * 64).signed().SerializeToString()
            opened.append(doors.open("CommitStatus", unknown))
        await until(lambda: sum(limit.at_work for limit in limits) - sum(before) == len(opened))
        for call in opened[::2]:
            call.cancel()
        await until(
            lambda: sum(limit.at_work for limit in limits) - sum(before) == len(opened) // 2
        )
    await until(lambda: [limit.at_work for limit in limits] == before)


@pytest.mark.parametrize("rpc", ["Evaluate", "Endorse", "ProcessProposal"])
async def test_calls_that_are_cancelled_or_time_out_leave_nothing_at_work(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """The client hears of its own deadline; the node's ends what runs on."""
    servers = hostile.network.node(BANK).servers
    limit = servers.endorsements if rpc == "ProcessProposal" else servers.calls
    signer = hostile.network.signer(BANK)

    def request() -> bytes:
        return doors.request(rpc, signer, function="Spin", arguments=["60000"], transient=TRANSIENT)

    calls = [doors.open(rpc, request()) for _ in range(20)]
    await until(lambda: limit.at_work > 0)
    for call in calls:
        call.cancel()
    late = doors.open(rpc, request(), timeout=0.05)
    assert await late.code() is Code.DEADLINE_EXCEEDED
    await until(lambda: limit.at_work == 0)
    ending = await doors.call(rpc, request())
    words = ending.words or ending.answers[0].decode("utf-8", "replace")
    assert "timeout expired while executing transaction: counter took more than 1 s" in words
    assert "send fewer records at a time" in words


async def test_reader_that_never_reads_costs_no_memory(hostile: Hostile, tmp_path: Path) -> None:
    """Blocks are read at a caller's pace: twelve that ask for a chain of many megabytes and take
    none of it leave the process about as large as it was.
    """
    signer = hostile.network.signer(BANK)
    async with Doors.of(hostile) as doors:
        size = 0
        for _ in range(40):
            envelope = doors.envelope(signer, arguments=["Get", "k" * 1_000_000])
            size += len(envelope)
            await doors.ordered(envelope)
        before = psutil.Process().memory_info().rss
        everything = seek_envelope(signer, CHANNEL, 0, FOREVER).SerializeToString()
        calls = []
        for rpc in ("Deliver", "Deliver", "orderer's Deliver", "orderer's Deliver") * 3:
            call = doors.open(rpc)
            calls.append(call)
            await call.write(
                everything if rpc == "Deliver" else doors.request(rpc, signer, stop=FOREVER)
            )
        await hostile.serves()
        after = psutil.Process().memory_info().rss
        asked_for = len(calls) * size
        assert after - before < asked_for / 3, f"{(after - before) >> 20} of {asked_for >> 20} MiB"
        for call in calls:
            call.cancel()
        servers = hostile.network.node(BANK).servers
        await until(lambda: servers.deliveries.at_work == 0)
