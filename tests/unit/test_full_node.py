"""A node without a consenter: whom it believes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ledger.blocks.block import Block
from ledger.blocks.metadata import COMMIT_HASH
from ledger.errors import Unavailable
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration
from network.errors import OrderingUnavailable
from network.ordering.cometbft.blocks.ordered import make_block
from network.ordering.cometbft.bundles.bundle import limits_of, open_bundle
from network.ordering.cometbft.full_node import FullNode
from tests.support.bundles import BATCH, FixedTime, bundle, node_of
from tests.support.consenters import comet_genesis, four_members
from tests.support.ordering_network import MemorySink

NOBODY: Any = SimpleNamespace(consenters=(), orderer_endpoints=())
"""Of a configuration in which nobody is to be asked: the tests bring the blocks."""


class FollowingSink(MemorySink):
    """A committer whose configuration never changes."""

    async def wait_for_configuration(self, sequence: int) -> ChannelConfiguration:
        raise Unavailable("the node is leaving")


async def chain_of(genesis: Block, count: int) -> list[Block]:
    """Return blocks as honest nodes give them."""
    sink = MemorySink(genesis)
    for height in range(1, count + 1):
        inside = open_bundle(bundle(), limits_of(BATCH))
        await sink.accept(make_block(sink.height, sink.last_header_hash, [inside], height, 0))
    return sink.blocks[1:]


@pytest.fixture
async def node() -> AsyncIterator[FullNode]:
    sink = FollowingSink(comet_genesis(four_members(), batch=BATCH))

    def nobody(msp_id: str) -> Any:
        raise AssertionError(f"{msp_id} is not to be asked")

    made = FullNode(
        sink, node_of(four_members()[0]), FixedTime(), tls=nobody, newest=lambda: NOBODY
    )
    await made.start()
    yield made
    await made.stop()


def sink_of(node: FullNode) -> MemorySink:
    found = node._sink
    assert isinstance(found, MemorySink)
    return found


async def given(node: FullNode, *offers: tuple[str, Block]) -> list[asyncio.Task[None]]:
    """Have members' nodes give blocks; return who waits for the commit."""
    tasks = [asyncio.create_task(node.offer(msp_id, block)) for msp_id, block in offers]
    for _ in range(20):
        await asyncio.sleep(0)
    return tasks


async def test_block_counts_when_one_honest_node_must_be_among_those_that_gave_it(node) -> None:
    """Two of four: at most one may be faulty. One alone, or the same one twice, is not believed."""
    sink = sink_of(node)
    first, second = await chain_of(sink.blocks[0], 2)
    (waiting,) = await given(node, ("BankMSP", first))
    assert sink.height == 1
    (again,) = await given(node, ("BankMSP", first))
    assert sink.height == 1
    (other,) = await given(node, ("PtaMSP", first))
    assert sink.blocks[1] == first
    await asyncio.gather(waiting, again, other)
    await asyncio.gather(*await given(node, ("MakerMSP", second), ("BankMSP", second)))
    assert sink.blocks[2] == second


async def test_lying_node_neither_gets_a_block_in_nor_keeps_one_out(node) -> None:
    """Whatever it changes of it; who is no consenter does not count either."""
    sink = sink_of(node)
    (true,) = await chain_of(sink.blocks[0], 1)
    entries = list(true.metadata)
    entries[COMMIT_HASH] = b""
    lie = replace(true, metadata=tuple(entries))
    tasks = await given(node, ("BankMSP", lie), ("StrangerMSP", lie), ("OtherMSP", lie))
    assert sink.height == 1
    tasks += await given(node, ("MakerMSP", true))
    assert sink.height == 1
    tasks += await given(node, ("PtaMSP", true))
    assert sink.blocks[1:] == [true]
    await asyncio.gather(*tasks)


async def test_node_that_finds_another_outcome_than_those_it_believes_halts(node) -> None:
    """Its state is another one."""
    sink = sink_of(node)
    (block,) = await chain_of(sink.blocks[0], 1)
    sink.judge = lambda found: [TxValidationCode.MVCC_READ_CONFLICT for _ in found.data]
    tasks = await given(node, ("BankMSP", block), ("PtaMSP", block))
    assert sink.halted is not None
    assert "engine stopped" in node.status().reason
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_node_that_reaches_nobody_says_so_and_takes_nothing(node) -> None:
    """Definitely not taken."""
    status = node.status()
    assert (status.role, status.accepting) == ("full node", False)
    assert "needs 2" in status.reason
    with pytest.raises(OrderingUnavailable, match="nothing can be submitted now") as away:
        await node.submit(b"x")
    assert away.value.outcome_definite
