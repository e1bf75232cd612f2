"""A solo channel moves to cometbft, on four nodes whose CometBFT processes are real."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

from network.certificates.consensus import add_consensus
from network.configuration.consenter_edits import add_consenter, set_engine
from nodes.configuration import ConsensusSection, render_consensus
from tests.support.counter import Counter
from tests.support.local_network import (
    DEADLINE_S,
    MEMBERS,
    LocalNetwork,
    make_network,
    until,
)
from tests.support.ports import free_port
from tests.support.updates import signed_update

LATE = "PtaMSP"
HERE = [each for each in MEMBERS if each != LATE]


def give_consensus_keys(network: LocalNetwork) -> dict[str, tuple[int, Path]]:
    """Give every node keys for CometBFT and a port; return port and keys by member."""
    given = {}
    for msp_id, member in network.members.items():
        # The organisation keeps a copy of what its nodes have, which this network's has not.
        shutil.copytree(member.folder / "tls", member.organisation.node_folder("node0") / "tls")
        keys, port = add_consensus(member.organisation, "node0"), free_port()
        shutil.copytree(keys, member.folder / "consensus")
        with (member.folder / "node.toml").open("a") as file:
            file.write(render_consensus(ConsensusSection(listen=f"localhost:{port}")))
        given[msp_id] = port, keys
    return given


async def add(network: LocalNetwork, *msp_ids: str) -> None:
    """Have a transaction ordered through the node of each of these members."""
    for msp_id in msp_ids:
        async with network.gateway(msp_id) as gateway:
            contract = gateway.network(network.channel_id).contract("counter")
            await contract.submit("Add", "k", "1", endorsing_organisations=HERE[:2])
        # The next one's node would read the old value until it has come so far.
        await network.settled()


def engines(network: LocalNetwork) -> list[tuple[str, str, bool]]:
    """Return engine and role of every running node, and whether it takes envelopes."""
    found = [node.engine.status() for node in network.running]
    return [(each.engine, each.role, each.accepting) for each in found]


async def test_solo_channel_moves_to_cometbft_and_keeps_its_chain(tmp_path: Path) -> None:
    """With one configuration block, whoever sends it; a node that was away follows the sequencer's
    blocks up to that one and takes part from there; nothing recorded before changes.
    """
    network = make_network(tmp_path, [Counter()])
    given = give_consensus_keys(network)
    try:
        await network.start()
        await network.define("OutOf(2, " + ", ".join(f"'{each}.peer'" for each in MEMBERS) + ")")
        await add(network, *HERE)
        height = await network.settled()
        bank = network.node("BankMSP").channel
        last_of_solo, configuration = bank.last_header_hash, bank.configuration
        await network.stop(LATE)

        def edit(config: Any) -> None:
            set_engine(config, "cometbft")
            for msp_id, (port, keys) in given.items():
                pems = ((keys / name).read_bytes() for name in ("cert.pem", "p2p-cert.pem"))
                add_consenter(config, msp_id, ("localhost", port), *pems)

        admins = [network.signer(msp_id, "admin") for msp_id in MEMBERS]
        update = signed_update(configuration, edit, admins)
        await network.node("MakerMSP").engine.submit(update)
        async with asyncio.timeout(DEADLINE_S):
            await bank.wait_for_configuration(configuration.sequence)
        await until(lambda: engines(network) == [("cometbft", "validator", True)] * 3)
        await add(network, *HERE)

        await network.start(LATE)
        await until(lambda: engines(network) == [("cometbft", "validator", True)] * 4)
        await add(network, LATE, "BankMSP")
        assert await network.settled() == height + 6
        late = network.node(LATE).channel
        kept = await late.block(height - 1)
        assert kept is not None
        assert kept.block.header.hash() == last_of_solo
        await network.verify()
    finally:
        await network.stop()
