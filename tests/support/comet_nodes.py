"""A network of four real nodes, each with a real CometBFT process, inside one test.

    async with comet_network(tmp_path, interval=5) as network:
        await network.add("k", 3)
        await network.stop("PtaMSP")
        ...
        await network.start("PtaMSP")
        await network.verify()

It is a `LocalNetwork` (which see) whose members all order, with the contract `Counter` defined. A
node's folder may be changed while it is stopped: its ledger, its CometBFT's data, its settings.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from network.certificates import create_organisation
from network.certificates.consensus import add_consensus
from network.configuration import OrganisationSpec, build_genesis
from network.configuration.channel import Consenter
from nodes.configuration import ConsensusSection, Endpoint, render_configuration
from tests.support.counter import Counter
from tests.support.local_network import (
    CHANNEL,
    DEADLINE_S,
    MEMBERS,
    LocalNetwork,
    Member,
    until,
)
from tests.support.ports import free_ports

__all__ = ["CometNetwork", "comet_network"]


class CometNetwork(LocalNetwork):
    """See the module's docstring."""

    async def add(self, key: str, count: int, msp_id: str = MEMBERS[0]) -> None:
        """Have *count* transactions ordered, one after another, through a member's node."""
        async with self.gateway(msp_id) as gateway:
            contract = gateway.network(self.channel_id).contract("counter")
            for _ in range(count):
                await contract.submit("Add", key, "1")

    async def ordering(self) -> None:
        """Wait until every running node takes envelopes."""
        await until(lambda: all(each.engine.status().accepting for each in self.running))

    async def giving(self, number: int) -> None:
        """Wait until every running node gives a snapshot up to a block: records come later."""
        async with asyncio.timeout(DEADLINE_S):
            for node in self.running:
                while await node.engines.newest_snapshot() < number:  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.05)

    def comet(self, msp_id: str) -> Path:
        """Return the folder of a member's CometBFT."""
        return self.members[msp_id].folder / "comet"

    def signed(self, msp_id: str) -> int:
        """Return the height up to which a member's key signs nothing any more."""
        state = json.loads((self.comet(msp_id) / "data/priv_validator_state.json").read_text())
        return int(state["height"])

    async def asked(self, msp_id: str, method: str, **params: Any) -> Any:
        """Return what a member's own CometBFT answers."""
        engines = self.node(msp_id).engines
        return await engines.call(method, params)

    def set(self, msp_id: str, name: str, value: str) -> None:
        """Set a value in the section [consensus] of a node that is stopped."""
        path = self.members[msp_id].folder / "node.toml"
        lines = [each for each in path.read_text().splitlines() if not each.startswith(name)]
        lines.insert(
            lines.index("[consensus]  # other members' consensus processes") + 1,
            f"{name} = {value}",
        )
        path.write_text("\n".join(lines) + "\n")

    def copy(self, msp_id: str, part: str, name: str) -> Path:
        """Keep a copy of a part of the folder of a node that is stopped, and return its place."""
        kept = self.folder / name
        shutil.copytree(self.members[msp_id].folder / part, kept)
        return kept

    def put_back(self, msp_id: str, part: str, kept: Path) -> None:
        """Replace a part of the folder of a node that is stopped by what was kept of it."""
        self.remove(msp_id, part)
        shutil.copytree(kept, self.members[msp_id].folder / part)

    def remove(self, msp_id: str, part: str) -> None:
        """Remove a part of the folder of a node that is stopped."""
        shutil.rmtree(self.members[msp_id].folder / part)


@asynccontextmanager
async def comet_network(folder: Path, *, interval: int = 1000) -> AsyncIterator[CometNetwork]:
    """Make a network under *folder*, start it, define the contract, and stop it at the end.

    Args:
        folder: an empty one.
        interval: of its snapshots, in blocks.
    """
    network = await asyncio.to_thread(_made, folder, interval)
    try:
        await network.start()
        await network.ordering()
        await network.define("OutOf(2, " + ", ".join(f"'{each}.peer'" for each in MEMBERS) + ")")
        yield network
    finally:
        await network.stop()


def _made(folder: Path, interval: int) -> CometNetwork:
    ports = iter(free_ports(3 * len(MEMBERS)))
    members: dict[str, Member] = {}
    consenters: list[Consenter] = []
    specs: list[OrganisationSpec] = []
    for number, msp_id in enumerate(MEMBERS, 1):
        organisation = create_organisation(folder / msp_id / "org", msp_id)
        node = folder / msp_id / "node"
        member = members[msp_id] = Member(organisation, node, next(ports), next(ports))
        comet = next(ports)
        issued = organisation.add_node("node0", hosts=("localhost", "127.0.0.1"))
        keys = add_consensus(organisation, "node0")
        consenters.append(
            Consenter(
                number,
                msp_id,
                (keys / "cert.pem").read_bytes(),
                "localhost",
                comet,
                (keys / "p2p-cert.pem").read_bytes(),
            )
        )
        address = (("localhost", member.node_port),)
        specs.append(
            OrganisationSpec(
                msp_id,
                organisation.msp_config(),
                anchor_peers=address,
                orderer_endpoints=address,
            )
        )
        shutil.copytree(issued, node)
        (node / "node.toml").write_text(
            render_configuration(
                name="node0",
                msp_id=msp_id,
                channel_id=CHANNEL,
                client=Endpoint(listen=f"localhost:{member.client_port}"),
                node=Endpoint(listen=f"localhost:{member.node_port}"),
                consensus=ConsensusSection(listen=f"localhost:{comet}"),
            )
        )
    genesis = build_genesis(
        CHANNEL,
        specs,
        orderers=MEMBERS,
        when=datetime.now(UTC),
        consensus="cometbft",
        consenters=consenters,
    )
    network = CometNetwork(folder, [Counter()], members)
    for msp_id, member in members.items():
        (member.folder / "genesis.block").write_bytes(genesis.encode())
        network.set(msp_id, "snapshot_interval_blocks", str(interval))
    return network
