"""Blocks taken as another node has them: the state is the same, private data come afterwards."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.blocks.block import Block
from ledger.blocks.metadata import TRANSACTIONS_FILTER
from ledger.errors import BlockError
from ledger.transactions.codes import TxValidationCode
from network.errors import Divergence
from nodes.channel import Channel
from nodes.node import Node
from tests.support.local_network import LocalNetwork, until
from tests.support.terms_contract import BANK, MAKER, PTA, terms, terms_network

BLOCKS = 4


@asynccontextmanager
async def emptied(network: LocalNetwork) -> AsyncIterator[Channel]:
    """The channel of the regulator's node, alone, with the genesis block and nothing else."""
    await network.stop(PTA)
    folder = network.members[PTA].folder
    shutil.rmtree(folder / "ledger")
    node = await asyncio.to_thread(Node.open, folder, contracts=network._contracts)
    await node.channel.start()
    try:
        yield node.channel
    finally:
        node.close()


async def put(network: LocalNetwork) -> list[Block]:
    """Write private values, some of them in conflict; return all blocks."""
    async with network.gateway(BANK) as gateway:
        for turn in range(BLOCKS):
            await terms(gateway).submit(
                "Put",
                "terms",
                f"A-{turn}",
                transient={"value": b"v%d" % turn},
                endorsing_organisations=(BANK, MAKER),
            )
    await network.settled()
    return list(network.node(BANK).channel.ledger.blocks(1))


async def test_restored_blocks_give_the_same_ledger_and_their_private_data_come_later(
    tmp_path: Path,
) -> None:
    """Nobody is asked while a block is restored; what is lacking is noted, and reconciled."""
    async with terms_network(tmp_path) as network:
        blocks = await put(network)
        async with emptied(network) as channel:
            for block in blocks:
                await channel.restore(block)
            assert channel.height == len(blocks) + 1
            assert channel.commit_hash == network.node(BANK).channel.commit_hash
            lacking = channel.ledger.missing_private(100)
            assert len(lacking) == BLOCKS
            assert all(each.eligible for each in lacking)
        await network.start(PTA)
        ledger = network.node(PTA).channel.ledger
        await until(lambda: not ledger.missing_private(1))
        async with network.gateway(PTA) as gateway:
            assert await terms(gateway).evaluate("Get", "terms", "A-1") == b"v1"
        await network.verify()


async def test_block_that_does_not_follow_or_has_another_outcome_is_not_restored(
    tmp_path: Path,
) -> None:
    """A proven block with another outcome means that this node's state is wrong: it halts."""
    async with terms_network(tmp_path) as network:
        blocks = await put(network)
        async with emptied(network) as channel:
            with pytest.raises(BlockError, match="expected block number is 1"):
                await channel.restore(blocks[1])
            await channel.restore(blocks[0])
            entries = list(blocks[1].metadata)
            entries[TRANSACTIONS_FILTER] = bytes([TxValidationCode.MVCC_READ_CONFLICT])
            with pytest.raises(Divergence, match="gives other verdicts here"):
                await channel.restore(replace(blocks[1], metadata=tuple(entries)))
            assert channel.ledger.height == 2
            await until(lambda: channel.halted is not None)
        await network.start(PTA)
        await network.verify()
