"""Nodes that are killed between endorsement and commit lose no private data.

In both cases one node alone has them when it is killed, and the block comes while it is dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.messages import TransactionDraft
from ledger.channel import ChannelLedger
from ledger.transactions.private import decode_private_rwset
from nodes.cli.control_client import node_status
from nodes.cli.node_process import StartedNode, stop_started, wait_until_ready
from tests.support.local_network import DEADLINE_S, LocalNetwork, until
from tests.support.terms_contract import (
    BANK,
    MAKER,
    OPERATOR,
    PTA,
    collection,
    terms,
    terms_network,
)
from tests.support.terms_node import start_terms_node


@asynccontextmanager
async def running(network: LocalNetwork, msp_id: str) -> AsyncIterator[StartedNode]:
    """The node of a member as a process of its own; it is stopped at the end if it still runs."""
    started = start_terms_node(network.members[msp_id].folder)
    try:
        await asyncio.to_thread(wait_until_ready, [started])
        yield started
    finally:
        await asyncio.to_thread(stop_started, [started])


async def kill(started: StartedNode) -> None:
    """End a process as by ``kill -9``."""
    started.process.kill()
    await asyncio.to_thread(started.process.wait)


async def endorse(network: LocalNetwork, key: str, value: str) -> TransactionDraft:
    """Let the bank's node endorse a value."""
    async with network.gateway(BANK) as gateway:
        proposal = terms(gateway).new_proposal(
            "Put", "terms", key, transient={"value": value.encode()}
        )
        return await gateway.endorse(proposal)


async def submit(network: LocalNetwork, endorsed: TransactionDraft) -> int:
    """Submit through the operator's node; return the block, which every running node has."""
    signer = network.signer(BANK)
    async with AsyncGateway(network.endpoint(OPERATOR), signer) as gateway:
        status = await gateway.commit_status(await gateway.submit(endorsed))
    assert status.is_valid
    await network.settled(status.block_num + 1)
    number: int = status.block_num
    return number


async def caught_up(folder: Path, height: int) -> None:
    """Wait until the process of a node has *height* blocks."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            status = await asyncio.to_thread(node_status, folder)
            if status["height"] >= height:
                return
            await asyncio.sleep(0.05)


def stored(folder: Path, number: int) -> list[bytes]:
    """The plain values of a block in the ledger of a node that does not run."""
    ledger = ChannelLedger.open(folder / "ledger")
    try:
        return [
            write.value
            for writes in ledger.private_data(number).values()
            for each in writes
            for write in decode_private_rwset(each.rwset).writes
        ]
    finally:
        ledger.close()


async def test_killed_member_has_what_it_acknowledged_before_the_endorsement(
    tmp_path: Path,
) -> None:
    """It acknowledged a push and was killed. While it is dead the block is committed, and the
    endorser goes away: what it had acknowledged was on its disk.
    """
    async with terms_network(
        tmp_path,
        [collection("terms", BANK, PTA, required=1)],
        policy=f"OR('{BANK}.peer')",
        members=(MAKER, BANK, OPERATOR, PTA),
    ) as network:
        folder = network.members[PTA].folder
        await network.stop(PTA)
        async with running(network, PTA) as member:
            endorsed = await endorse(network, "A-1", "acknowledged")
            await kill(member)
        await network.stop(BANK)
        number = await submit(network, endorsed)
        async with running(network, PTA):
            await caught_up(folder, network.node(MAKER).channel.height)
        assert stored(folder, number) == [b"acknowledged"]
        await network.start(BANK, PTA)
        await network.verify()


async def test_killed_endorser_has_what_it_endorsed_and_gives_it_to_the_others(
    tmp_path: Path,
) -> None:
    """It alone had the data, since the other member was down, and is killed once it has signed.
    Started again it commits the block with them; the other member pulls them.
    """
    async with terms_network(
        tmp_path,
        [collection("terms", BANK, PTA)],
        policy=f"OR('{BANK}.peer')",
        members=(MAKER, BANK, OPERATOR, PTA),
    ) as network:
        folder = network.members[BANK].folder
        await network.stop(BANK, PTA)
        async with running(network, BANK) as endorser:
            endorsed = await endorse(network, "A-1", "endorsed")
            await kill(endorser)
        number = await submit(network, endorsed)
        async with running(network, BANK):
            await caught_up(folder, network.node(MAKER).channel.height)
            await network.start(PTA)
            await network.settled()
            member = network.node(PTA)
            await until(lambda: member.private.state().missing == 0)
            await until(lambda: bool(member.channel.ledger.private_data(number)))
        assert stored(folder, number) == [b"endorsed"]
        await network.start(BANK)
        await network.verify()
