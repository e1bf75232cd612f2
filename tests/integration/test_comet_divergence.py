"""A node whose state is not that of the others, on four nodes with real CometBFT processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ledger.fsck import check_ledger
from network.errors import OrderingUnavailable
from tests.support.comet_nodes import CometNetwork, comet_network
from tests.support.local_network import MEMBERS, until
from tests.support.tampering import tamper

WRONG = "MakerMSP"
RIGHT = [each for each in MEMBERS if each != WRONG]


async def add(network: CometNetwork, count: int) -> None:
    """Have transactions ordered that the right ones endorse."""
    async with network.gateway("BankMSP") as gateway:
        contract = gateway.network(network.channel_id).contract("counter")
        for _ in range(count):
            await contract.submit("Add", "k", "1", endorsing_organisations=RIGHT[:2])


async def test_node_with_another_state_than_the_validators_agreed_on_halts_and_says_so(
    tmp_path: Path,
) -> None:
    """The others go on; it takes nothing, answers queries, and is right again with a restored
    ledger.
    """
    async with comet_network(tmp_path) as network:
        await add(network, 1)
        await network.settled()
        await network.stop(WRONG)
        kept = network.copy(WRONG, "ledger", "kept")
        tamper(network.members[WRONG].folder / "ledger", "counter", "k")
        await network.start(WRONG)
        await network.ordering()
        wrong = network.node(WRONG)
        await add(network, 3)
        await until(lambda: wrong.channel.halted is not None)
        status = wrong.engine.status()
        assert not status.accepting
        assert "the validators agreed on another outcome" in status.reason
        assert wrong.status().halted == str(wrong.channel.halted)
        with pytest.raises(OrderingUnavailable, match="another outcome"):
            await wrong.engine.submit(b"x")
        async with network.gateway(WRONG) as gateway:
            contract = gateway.network(network.channel_id).contract("counter")
            assert int(await contract.evaluate("Get", "k")) >= 1

        await network.stop(WRONG)
        report = await asyncio.to_thread(check_ledger, network.members[WRONG].folder / "ledger")
        assert not report.is_clean
        network.put_back(WRONG, "ledger", kept)
        network.remove(WRONG, "comet")
        await network.start(WRONG)
        await network.ordering()
        await add(network, 1)
        await network.verify()
