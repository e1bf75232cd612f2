"""Engines `cometbft` of four nodes with real CometBFT processes, each with a ledger in memory.

Joins the contract suite of the ordering port beside `SoloNetwork`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.blocks.block import Block
from ledger.errors import Unavailable
from network.certificates.consensus import ConsensusKeys
from network.ordering.cometbft.engine import CometEngine
from network.ordering.cometbft.finality.finality import FINALITY
from network.ordering.cometbft.finality.records import verify_record
from network.ordering.cometbft.genesis import chain_id_of
from network.ordering.cometbft.joining.snapshot_chain import SnapshotSettings
from network.ordering.cometbft.process.settings import EngineSettings
from network.ordering.ports import OrderingEngine
from tests.support.consenters import (
    comet_genesis,
    consensus_certificate,
    consenter,
    four_members,
    link_certificate,
)
from tests.support.members import CHANNEL, Member
from tests.support.ordering_network import (
    MachineTime,
    MemorySink,
    OrderingNode,
    accepting,
    settled,
)
from tests.support.ports import free_port


class NobodyToAsk:
    """The other members' nodes, of which none can be asked: their CometBFT bring what is needed."""

    def msp_ids(self) -> Sequence[str]:
        """Return nobody."""
        return ()

    async def ask(self, msp_id: str, method: str, params: Mapping[str, Any]) -> Any:
        """Say that nobody answers."""
        raise Unavailable(f"{msp_id} cannot be asked")

    async def prove(self, msp_id: str) -> bytes:
        """Say that nobody answers."""
        raise Unavailable(f"{msp_id} cannot be asked")


class CometNetwork:
    """Four members, each with a validator."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.members: Sequence[Member] = four_members()
        self._ports = [free_port() for _ in self.members]
        self._keys = [
            ConsensusKeys((Ed25519PrivateKey.generate(),), (Ed25519PrivateKey.generate(),))
            for _ in self.members
        ]
        consenters = [
            consenter(
                member,
                number,
                host="localhost",
                port=self._ports[number - 1],
                identity=consensus_certificate(member, keys.voting[0].public_key()),
                server_tls_cert=link_certificate(member, keys.links[0].public_key()),
            )
            for number, (member, keys) in enumerate(zip(self.members, self._keys, strict=True), 1)
        ]
        self.genesis = comet_genesis(self.members, consenters)
        self.nodes: list[OrderingNode] = []
        for at, member in enumerate(self.members):
            sink, signer = MemorySink(self.genesis), member.identity("node", "peer")
            engine = self._engine(at, sink, signer)
            self.nodes.append(OrderingNode(member.msp_id, sink, engine, signer))

    def _engine(self, at: int, sink: MemorySink, signer: Any) -> OrderingEngine:
        folder = self._folder / str(at)
        marks = folder / "consensus"
        marks.mkdir(parents=True, exist_ok=True)
        address = f"localhost:{self._ports[at]}"
        settings = EngineSettings(
            name=f"node{at}",
            msp_id=self.members[at].msp_id,
            home=folder / "comet",
            binary="",
            listen=address,
            address=address,
            profile="local",
            marks=marks,
            restored=folder / "restored",
            snapshots=SnapshotSettings(),
        )
        return CometEngine(
            sink,
            signer,
            MachineTime(),
            settings,
            keys=lambda: self._keys[at],
            newest=lambda: sink.configuration,
            others=NobodyToAsk(),
        )

    async def start(self) -> None:
        for node in self.nodes:
            await node.engine.start()
        await accepting(*self.nodes)

    async def begin_anew(self) -> None:
        """Be as after `start` but for the chain, which is longer: for another test."""
        await self.start()
        await settled(self.nodes)
        for node in self.nodes:
            node.sink.begin_anew()

    async def stop(self) -> None:
        await asyncio.gather(*(node.engine.stop() for node in self.nodes))

    async def restart(self, node: OrderingNode) -> OrderingNode:
        at = self.nodes.index(node)
        await node.engine.stop()
        self.nodes[at] = replace(node, engine=self._engine(at, node.sink, node.signer))
        await self.nodes[at].engine.start()
        await accepting(*self.nodes)
        return self.nodes[at]

    async def verify_order(self, node: OrderingNode, block: Block) -> None:
        """Verify the votes of the validators, which the node gets a moment after the block."""
        record = await node.sink.wait_for_evidence(block.number, FINALITY)
        chain_id = chain_id_of(CHANNEL, self.genesis)
        verify_record(record, block, chain_id, node.sink.configuration)
