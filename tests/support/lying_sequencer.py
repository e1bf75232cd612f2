"""A sequencer that lies, in the place of the node that orders.

    async with lying_sequencer(network, "BankMSP") as liar:
        liar.responses = [...]

The member's own node is stopped meanwhile. The liar stands on its node port with its TLS
certificate, so that followers take it for the node. Whoever asks for blocks gets `responses`, as
bytes, and then nothing; `blocks` are the true ones, and `signer` is the true identity, with which
lies can be signed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.orderer import ab_pb2

from ledger.blocks.block import Block
from ledger.channel import ChannelLedger
from network.msp import SigningIdentity
from network.ordering.solo.seek import SERVED
from network.tls import node_port_credentials
from tests.support.local_network import LocalNetwork


@dataclass
class Liar:
    """The sequencer; see the module's docstring.

    Attributes:
        asked: how many streams of blocks were opened.
    """

    signer: SigningIdentity
    blocks: Sequence[Block]
    responses: Sequence[bytes] = ()
    asked: int = 0
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    async def deliver(self, requests: Any, context: Any) -> None:
        """Send what was prepared, and then nothing more."""
        await context.send_initial_metadata((SERVED,))
        async for _request in requests:
            self.asked += 1
            for response in self.responses:
                await context.write(response)
            await self.leaving.wait()


def delivered(block: Block) -> bytes:
    """Return the response that carries a block."""
    return bytes(ab_pb2.DeliverResponse(block=block.to_message()).SerializeToString())


def stored_blocks(folder: Path) -> list[Block]:
    """Read all blocks of a ledger that no node has open."""
    ledger = ChannelLedger.open(folder)
    try:
        found = [ledger.block(number) for number in range(ledger.height)]
    finally:
        ledger.close()
    return [block for block in found if block is not None]


@asynccontextmanager
async def lying_sequencer(network: LocalNetwork, msp_id: str) -> AsyncIterator[Liar]:
    """Put a liar in the place of the node that orders; the node is started again at the end."""
    member = network.members[msp_id]
    configuration = network.node(msp_id).channel.configuration
    signer = network.node_signer(msp_id)
    await network.stop(msp_id)
    liar = Liar(signer, await asyncio.to_thread(stored_blocks, member.folder / "ledger"))
    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(liar.deliver)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("orderer.AtomicBroadcast", {"Deliver": handler}),)
    )
    credentials = node_port_credentials(member.folder / "tls", lambda: configuration)
    server.add_secure_port(f"localhost:{member.node_port}", credentials)
    await server.start()
    try:
        yield liar
    finally:
        liar.leaving.set()
        await server.stop(None)
    await network.start(msp_id)
