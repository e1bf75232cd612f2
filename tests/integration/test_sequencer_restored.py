"""A sequencer that comes back with less than it has handed out must not begin a second chain."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.errors import Unavailable
from network.errors import OrderingUnavailable
from network.ordering.block_signature import sign_block
from network.ordering.solo import Sequencer
from nodes.operations.backup import restore_backup, write_backup
from nodes.orderer.others import RESTORED_FILE
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, DEADLINE_S, local_network, until
from tests.support.members import Member, genesis, signed_envelope
from tests.support.ordering_network import MachineTime, MemorySink, eventually


def counter(gateway: AsyncGateway) -> AsyncContract:
    return gateway.network(CHANNEL).contract("counter")


class Others:
    """Other members' nodes whose blocks are given.

    Attributes:
        held: the blocks of each, None while it does not answer.
        silent: those that tell their newest block and deliver none.
    """

    def __init__(self, restored: bool, **held: Sequence[Block] | None) -> None:
        self.restored = restored
        self.held = held
        self.silent: set[str] = set()

    def compared(self) -> None:
        self.restored = False

    def msp_ids(self) -> Sequence[str]:
        return tuple(self.held)

    async def newest(self, msp_id: str) -> Block:
        blocks = self.held[msp_id]
        if blocks is None:
            raise Unavailable("it is not there")
        return blocks[-1]

    async def blocks(self, msp_id: str, first: int, last: int) -> AsyncIterator[Block]:
        if msp_id in self.silent:
            raise Unavailable("it has gone away")
        for block in (self.held[msp_id] or ())[first : last + 1]:
            yield block


class Restored:
    """A sequencer with a ledger in memory, and a chain that it has signed before."""

    def __init__(self) -> None:
        self.member = Member("BankMSP")
        self.client = self.member.identity()
        self.signer = self.member.identity("node", "peer")
        self.sink = MemorySink(genesis([self.member]))
        self.chain = list(self.sink.blocks)
        for number in range(1, 4):
            self.chain.append(self.next_block(self.chain[-1], b"%d" % number))
        self.engine: Sequencer | None = None

    def next_block(self, last: Block, content: bytes) -> Block:
        """A signed block after *last*."""
        data = (self.envelope(content),)
        header = BlockHeader(last.header.number + 1, last.header.hash(), compute_data_hash(data))
        return sign_block(header, data, self.signer, 0)

    def envelope(self, content: bytes) -> bytes:
        return signed_envelope(self.client, content, nonce=content.rjust(24, b"0"))

    async def start(self, others: Others) -> Sequencer:
        self.engine = Sequencer(self.sink, self.signer, MachineTime(), others=others)
        await self.engine.start()
        return self.engine

    async def order(self, content: bytes) -> None:
        assert self.engine is not None
        async with asyncio.timeout(DEADLINE_S):
            await self.engine.submit(self.envelope(content))

    @property
    def hashes(self) -> list[bytes]:
        return [block.header.hash() for block in self.sink.blocks]


@pytest.fixture
async def restored() -> AsyncIterator[Restored]:
    made = Restored()
    yield made
    if made.engine is not None:
        await made.engine.stop()


def hashes(blocks: Sequence[Block]) -> list[bytes]:
    return [block.header.hash() for block in blocks]


async def test_sequencer_takes_what_another_member_holds_before_it_orders(restored) -> None:
    """The next block stands on the last that was ever handed out."""
    others = Others(True, OperatorMSP=restored.chain, MakerMSP=restored.chain[:2], PtaMSP=None)
    engine = await restored.start(others)
    await eventually(lambda: engine.status().accepting)
    assert restored.hashes == hashes(restored.chain)
    assert not others.restored
    await restored.order(b"new")
    assert restored.sink.blocks[4].header.previous_hash == restored.chain[3].header.hash()


async def test_sequencer_that_was_not_restored_takes_what_it_lacks_as_well(restored) -> None:
    """A copied folder bears no mark; the comparison is made at every start."""
    await restored.start(Others(False, OperatorMSP=restored.chain))
    await restored.sink.wait_for_height(4)
    await eventually(lambda: restored.engine.status().accepting)
    await restored.order(b"new")
    assert restored.hashes[:4] == hashes(restored.chain)


async def test_restored_sequencer_waits_until_somebody_can_be_compared_with(restored) -> None:
    """Alone it cannot know what it has handed out; its status says what to do."""
    others = Others(True, OperatorMSP=None, PtaMSP=None)
    engine = await restored.start(others)
    assert not engine.status().accepting
    await eventually(lambda: "start one of OperatorMSP, PtaMSP" in engine.status().reason)
    assert "restored from a backup" in engine.status().reason
    with pytest.raises(OrderingUnavailable, match="restored from a backup"):
        await engine.submit(restored.envelope(b"too early"))
    assert restored.sink.height == 1
    others.held["PtaMSP"] = restored.chain
    await eventually(lambda: engine.status().accepting)
    assert restored.hashes == hashes(restored.chain)
    assert not others.restored


async def test_sequencer_that_was_not_restored_orders_though_nobody_answers(restored) -> None:
    """Members that are away must not stop the channel; what came meanwhile is ordered."""
    await restored.start(Others(False, OperatorMSP=None))
    await restored.order(b"new")
    assert restored.sink.height == 2


async def test_sequencer_with_another_chain_than_a_member_halts(restored) -> None:
    """Two signed blocks of one number: nothing is ordered on either."""
    await restored.sink.accept(restored.next_block(restored.chain[0], b"other"))
    engine = await restored.start(Others(False, OperatorMSP=restored.chain))
    await eventually(lambda: restored.sink.halted is not None)
    assert "two chains" in str(restored.sink.halted)
    assert "OperatorMSP" in str(restored.sink.halted)
    await eventually(lambda: "two chains" in engine.status().reason)
    with pytest.raises(OrderingUnavailable, match="two chains"):
        await engine.submit(restored.envelope(b"too late"))


async def test_sequencer_with_another_last_block_than_a_member_halts(restored) -> None:
    """Equal heights are compared by their hashes."""
    await restored.sink.accept(restored.next_block(restored.chain[0], b"other"))
    await restored.start(Others(False, OperatorMSP=restored.chain[:2]))
    await eventually(lambda: restored.sink.halted is not None)
    assert "two chains" in str(restored.sink.halted)


async def test_blocks_that_no_orderer_signed_are_not_taken_and_stop_nobody(restored) -> None:
    """One member that lies can neither add to the chain nor halt it, nor count as compared with."""
    forged = [replace(block, metadata=(b"",) * 5) for block in restored.chain]
    others = Others(True, OperatorMSP=forged, PtaMSP=restored.chain[:1])
    await restored.start(others)
    await eventually(lambda: restored.engine.status().accepting)
    assert restored.sink.halted is None
    assert restored.sink.height == 1
    alone = Restored()
    engine = await alone.start(Others(True, OperatorMSP=forged))
    await eventually(lambda: "restored from a backup" in engine.status().reason)
    await engine.stop()


async def test_sequencer_does_not_order_while_signed_blocks_cannot_be_taken(restored) -> None:
    """Knowing that it lacks blocks it waits for them, restored or not."""
    others = Others(False, OperatorMSP=restored.chain)
    others.silent.add("OperatorMSP")
    engine = await restored.start(others)
    await eventually(lambda: "OperatorMSP holds blocks" in engine.status().reason)
    assert restored.sink.height == 1
    others.silent.clear()
    await eventually(lambda: engine.status().accepting)
    assert restored.hashes == hashes(restored.chain)


async def test_sequencer_stops_while_it_compares(restored) -> None:
    """A stop need not wait for other members."""
    engine = await restored.start(Others(True, OperatorMSP=None))
    async with asyncio.timeout(DEADLINE_S):
        await engine.stop()
    assert not engine.status().accepting


async def test_restored_orderer_of_a_network_begins_no_second_chain(tmp_path: Path) -> None:
    """Saved, then more blocks, then restored: it waits for a member, takes the blocks, goes on."""
    async with local_network(tmp_path / "net", [Counter()]) as network:
        folder = network.members["BankMSP"].folder
        async with network.gateway("BankMSP") as gateway:
            await counter(gateway).submit("Add", "k", "1")
            await asyncio.to_thread(write_backup, folder, tmp_path / "old.backup")
            for _ in range(3):
                await counter(gateway).submit("Add", "k", "1")
        height = await network.settled()
        await network.stop()
        shutil.move(folder, tmp_path / "lost")
        await asyncio.to_thread(restore_backup, tmp_path / "old.backup", folder)
        assert (folder / RESTORED_FILE).exists()
        await network.start("BankMSP")
        orderer = network.node("BankMSP")
        assert orderer.channel.height < height
        await until(lambda: "restored from a backup" in orderer.status().ordering.reason)
        await network.start("PtaMSP")
        await until(lambda: orderer.status().ordering.accepting)
        assert orderer.channel.height == height
        assert not (folder / RESTORED_FILE).exists()
        await network.start("OperatorMSP", "MakerMSP")
        async with network.gateway("BankMSP") as gateway:
            await counter(gateway).submit("Add", "k", "1")
            assert await counter(gateway).evaluate("Get", "k") == b"5"
        assert await network.settled() == height + 1
        await network.verify()
