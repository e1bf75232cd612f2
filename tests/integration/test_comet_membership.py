"""A member's consenter leaves and comes back, on four nodes with real CometBFT processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from network.configuration.consenter_edits import add_consenter, remove_consenter
from network.ordering.cometbft.finality.finality import FINALITY
from network.ordering.ports import ConsensusState
from tests.support.comet_nodes import CometNetwork, comet_network
from tests.support.local_network import DEADLINE_S, MEMBERS, until
from tests.support.updates import Edit, signed_update

LEAVING = "PtaMSP"
STAYING = [each for each in MEMBERS if each != LEAVING]


def staying(network: CometNetwork) -> list[ConsensusState]:
    """How the agreement stands at those who order all the time."""
    found = [network.node(msp_id).engine.status().consensus for msp_id in STAYING]
    return [each for each in found if each is not None]


async def agree(network: CometNetwork, edit: Edit) -> None:
    """Have all members agree on a change, and wait until it is in force everywhere."""
    admins = [network.signer(msp_id, "admin") for msp_id in MEMBERS]
    configuration = network.node(MEMBERS[0]).channel.configuration
    update = signed_update(configuration, edit, admins)
    await network.node(MEMBERS[0]).engine.submit(update)
    async with asyncio.timeout(DEADLINE_S):
        for node in network.running:
            await node.channel.wait_for_configuration(configuration.sequence)


def linked(network: CometNetwork) -> list[tuple[int, int]]:
    """How many order, and how many of them each of those who stay is in touch with."""
    return [(each.validators, each.reachable) for each in staying(network)]


def roles(network: CometNetwork) -> dict[str, str]:
    """Return each member's part in the ordering."""
    return {msp_id: network.node(msp_id).engine.status().role for msp_id in MEMBERS}


def unproven(network: CometNetwork, msp_id: str) -> list[int]:
    """Return the blocks of a node that have no finality record."""
    channel = network.node(msp_id).channel
    return [
        number for number in range(1, channel.height) if not channel.has_evidence(number, FINALITY)
    ]


async def test_member_whose_consenter_leaves_follows_and_may_come_back(tmp_path: Path) -> None:
    """Without it the others are the validators; its node goes on, believing no other one alone,
    and has its clients' transactions ordered; taken in again, it votes again.
    """
    async with comet_network(tmp_path) as network:
        await network.add("k", 2)
        before = network.node(LEAVING).channel.configuration
        (own,) = [each for each in before.consenters if each.msp_id == LEAVING]

        await agree(network, lambda config: remove_consenter(config, LEAVING))
        await until(lambda: roles(network)[LEAVING] == "full node")
        # Those who stay start their CometBFTs anew for it, one after another, and the last one is
        # dialled again a moment later. Without each of the three nothing is ordered meanwhile.
        await until(lambda: all(each.restarts > 0 for each in staying(network)))
        await until(lambda: linked(network) == [(3, 3)] * 3)
        await network.ordering()
        await network.add("k", 2)
        # A node that has not come so far would have its clients' transactions read old values.
        await network.settled()
        await network.add("k", 2, LEAVING)
        await network.settled()

        assert network.node(LEAVING).engine.status().consensus is None
        await until(lambda: unproven(network, LEAVING) == [])

        # One node's word is enough where none of three may be faulty; it need not be there always.
        await network.stop(LEAVING)
        await network.add("k", 1)
        await network.start(LEAVING)
        await network.ordering()
        assert roles(network)[LEAVING] == "full node"
        await network.settled()

        address = own.host, own.port
        await agree(
            network,
            lambda config: add_consenter(
                config, LEAVING, address, own.identity, own.server_tls_cert
            ),
        )
        await until(lambda: roles(network)[LEAVING] == "validator")
        await until(lambda: linked(network) == [(4, 4)] * 3)
        await network.ordering()
        await network.add("k", 2, LEAVING)
        height = await network.settled()
        assert roles(network) == dict.fromkeys(MEMBERS, "validator")
        # Its CometBFT has nothing of the heights at which it was none, or all of them.
        await until(lambda: unproven(network, LEAVING) == [])

        # Its vote counts: with another one away the four agree only if it takes part.
        await network.stop("MakerMSP")
        await network.add("k", 1)
        await network.start("MakerMSP")
        await network.ordering()
        assert await network.settled() > height
        await network.verify()
