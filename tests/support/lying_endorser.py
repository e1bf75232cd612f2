"""An endorser that lies, in the place of one member's node.

    async with lying_endorser(network, "PtaMSP", asked="BankMSP") as liar:
        liar.lie = lambda response: ...

The member's own node is stopped meanwhile. The liar stands on its node port with its TLS
certificate, so that others take it for the node; what it answers is what the node of *asked*
answers to the same proposal, signed anew with the liar's own key, after `lie` has changed it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from fabric_protos.peer import proposal_response_pb2

from network.msp import SigningIdentity
from network.tls import TlsIdentity, node_port_credentials
from tests.support.local_network import DEADLINE_S, LocalNetwork

PROCESS_PROPOSAL = "/protos.Endorser/ProcessProposal"


def honest(response: Any, signer: SigningIdentity) -> bytes:
    """Answer what is true, signed as an honest node signs."""
    return resigned(response, signer, response.payload)


def resigned(response: Any, signer: SigningIdentity, payload: bytes) -> bytes:
    """Answer with this payload, properly signed."""
    response.payload = payload
    response.endorsement.endorser = signer.serialized
    response.endorsement.signature = signer.sign(payload + signer.serialized)
    return bytes(response.SerializeToString())


@dataclass
class Liar:
    """The endorser.

    Attributes:
        signer: the identity of the node whose place it took.
        lie: from an honest ProposalResponse and the signer to the bytes that are sent.
        trailer: metadata at the end of each answer.
        silent: whether it never answers.
        asked: how many proposals came.
    """

    signer: SigningIdentity
    ask: Any
    lie: Callable[[Any, SigningIdentity], bytes] = honest
    trailer: tuple[tuple[str, str], ...] = ()
    silent: bool = False
    asked: int = 0

    async def process_proposal(self, raw: bytes, context: Any) -> bytes:
        """Answer one proposal."""
        self.asked += 1
        if self.silent:
            await asyncio.sleep(DEADLINE_S)
        response = proposal_response_pb2.ProposalResponse.FromString(await self.ask(raw))
        context.set_trailing_metadata(self.trailer)
        return self.lie(response, self.signer)


@asynccontextmanager
async def lying_endorser(network: LocalNetwork, msp_id: str, *, asked: str) -> AsyncIterator[Liar]:
    """Put a liar in the place of a member's node; the node is started again at the end."""
    member, other = network.members[msp_id], network.members[asked]
    signer = network.node_signer(msp_id)
    configuration = network.node(msp_id).channel.configuration
    await network.stop(msp_id)
    tls = TlsIdentity.load(member.folder / "tls").to_member(configuration, asked)
    server = grpc.aio.server()
    async with grpc.aio.secure_channel(f"localhost:{other.node_port}", tls.credentials) as channel:
        liar = Liar(signer, channel.unary_unary(PROCESS_PROPOSAL, None, None))
        handler = grpc.unary_unary_rpc_method_handler(liar.process_proposal)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("protos.Endorser", {"ProcessProposal": handler}),)
        )
        credentials = node_port_credentials(member.folder / "tls", lambda: configuration)
        server.add_secure_port(f"localhost:{member.node_port}", credentials)
        await server.start()
        try:
            yield liar
        finally:
            await server.stop(None)
    await network.start(msp_id)
