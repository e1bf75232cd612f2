"""A TLS certificate ends while a node is connected: the connection does not outlive it.

The certificate of the node that calls lives for seconds. TLS itself looks at it in the handshake
alone, so without the guard the connection would serve for as long as nobody breaks it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from network.calls.frames import METHOD
from network.calls.line import CallFailed, CallLine
from network.certificates import Organisation, create_organisation
from network.configuration import ChannelConfiguration, OrganisationSpec, build_genesis
from network.tls import OwnTls, TlsIdentity, node_port_credentials
from nodes.errors import ChannelUnavailable
from nodes.rpc.calls import CallService, add_call_service
from nodes.rpc.connections import MemberGuard, call_options, calling_member
from nodes.rpc.handlers import Endpoint
from tests.support.members import CHANNEL

BANK, PTA = "BankMSP", "PtaMSP"
LIVES_S = 6.0
DEADLINE_S = 30.0
WHO = "/Who/Who"


@dataclass
class Nodes:
    """BankMSP's node port, which tells who called, and the TLS folder of PtaMSP's node."""

    configuration: ChannelConfiguration
    port: int
    folder: Path
    renewed: Path

    def dial(self, tls: TlsIdentity) -> grpc.aio.Channel:
        """Connect as PtaMSP's node does."""
        credentials = tls.to_member(self.configuration, BANK).credentials
        options = call_options(1_000_000)
        return grpc.aio.secure_channel(f"localhost:{self.port}", credentials, options=options)


def founded(folder: Path, msp_id: str) -> Organisation:
    """An organisation that exists for some days."""
    begin = datetime.now(UTC) - timedelta(days=3)
    return create_organisation(folder / msp_id, msp_id, now=lambda: begin)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    organisations = {each: founded(tmp_path, each) for each in (BANK, PTA)}
    specs = [
        OrganisationSpec(each.msp_id, each.msp_config(), [("localhost", 1)], [("localhost", 1)])
        for each in organisations.values()
    ]
    when = datetime.now(UTC)
    configuration = ChannelConfiguration.from_block(
        build_genesis(CHANNEL, specs, orderers=[BANK], when=when)
    )
    own = organisations[BANK].add_node("node0") / "tls"
    renewed = organisations[PTA].add_node("node0") / "tls"

    async def closing(sequence: int) -> ChannelConfiguration:
        """No configuration comes until the node is closed."""
        await leaving.wait()
        raise ChannelUnavailable("the node is leaving")

    async def who(_message: Any, context: Any) -> Any:
        return BytesValue(value=calling_member(context, configuration).encode())

    leaving = asyncio.Event()
    guard = MemberGuard(lambda: configuration, closing)
    server = grpc.aio.server()
    calls = CallService({WHO: Endpoint("Who", BytesValue, who, guard)})
    add_call_service(server, calls, guard, guard.watch)
    port = server.add_secure_port("localhost:0", node_port_credentials(own, lambda: configuration))
    await server.start()
    try:
        # As late as can be, so that it lives for as long as it says.
        begin = datetime.now(UTC) + timedelta(seconds=LIVES_S, days=-1)
        brief = Organisation.open(organisations[PTA].folder, now=lambda: begin)
        folder = brief.add_node("brief", tls_days=1) / "tls"
        yield Nodes(configuration, port, folder, renewed)
    finally:
        leaving.set()
        await server.stop(None)


async def ask(line: CallLine) -> str:
    """Make a call on the stream of a connection; return who this end is taken for."""
    answer, _ = await line.call(WHO, b"", DEADLINE_S)
    return str(BytesValue.FromString(answer).value, "ascii")


async def test_connection_ends_with_the_certificate_and_is_made_anew_with_the_next(
    nodes: Nodes,
) -> None:
    """An idle stream ends when its time has come, and what follows on the connection is refused."""
    tls = OwnTls(nodes.folder)
    ends = tls.identity.not_after
    async with nodes.dial(tls.identity) as channel:
        line = CallLine(channel)
        assert await ask(line) == PTA
        idle = channel.stream_stream(METHOD, None, None)(None)
        await idle.initial_metadata()
        async with asyncio.timeout(DEADLINE_S):
            code, words = await idle.code(), await idle.details() or ""
        assert datetime.now(UTC) >= ends
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert f"the TLS certificate of the node of {PTA} expired at" in words
        assert "qist node renew" in words
        with pytest.raises(CallFailed) as refused:
            await ask(line)
        # The call came before or after the end of its own stream; either way it was not made.
        assert refused.value.code() in (
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.UNAVAILABLE,
        )
        assert f"the TLS certificate of the node of {PTA} expired at" in str(refused.value)
        await line.close()

    for name in ("server.crt", "server.key"):
        shutil.copyfile(nodes.renewed / name, nodes.folder / name)
    assert tls.identity.not_after > datetime.now(UTC)
    async with nodes.dial(tls.identity) as channel:
        line = CallLine(channel)
        assert await ask(line) == PTA
        await line.close()
