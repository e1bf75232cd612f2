"""The node port of a member's node, called by hand with the TLS key of another's.

async with node_port(network, "PtaMSP", "BankMSP") as call:
    answer = await call(PULL, request)
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from fabric_protos.gossip import message_pb2

from network.tls import TlsIdentity
from tests.support.local_network import DEADLINE_S, LocalNetwork


@asynccontextmanager
async def node_port(network: LocalNetwork, caller: str, asked: str) -> AsyncIterator[Any]:
    """A call of one member's node to another's, made by hand."""
    configuration = network.node(asked).channel.configuration
    tls = TlsIdentity.load(network.members[caller].folder / "tls").to_member(configuration, asked)
    address = f"localhost:{network.members[asked].node_port}"
    async with grpc.aio.secure_channel(address, tls.credentials) as channel:

        async def call(method: str, request: bytes) -> Any:
            made = channel.unary_unary(
                method, request_serializer=bytes, response_deserializer=bytes
            )
            return message_pb2.GossipMessage.FromString(await made(request, timeout=DEADLINE_S))

        yield call
