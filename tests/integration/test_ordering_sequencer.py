"""The sequencer with a ledger in memory: where blocks end, what happens when a commit fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ledger.errors import BlockError, StorageError
from network.configuration import BatchParameters, ChannelConfiguration
from network.errors import ConfigurationError, OrderingRefusal, OrderingUnavailable
from network.ordering import pace
from network.ordering.block_signature import verify_block_signature
from network.ordering.solo import Sequencer
from tests.support.members import Member, genesis, signed_envelope
from tests.support.ordering_network import DEADLINE_S, MachineTime, MemorySink, eventually

PATIENT = BatchParameters(500, 100_000, 100_000, 3600.0)
"""Nothing is cut by time in a test that uses these."""


class Ordering:
    """A sequencer, its ledger and a client."""

    def __init__(self, batch: BatchParameters, **options: Any) -> None:
        self.member = Member("BankMSP")
        self.client = self.member.identity()
        self.sink = MemorySink(genesis([self.member], batch=batch))
        node = self.member.identity("node", "peer")
        self.engine = Sequencer(self.sink, node, MachineTime(), **options)
        self._number = 0

    def envelope(self, size: int = 10) -> bytes:
        self._number += 1
        return signed_envelope(self.client, b"x" * size, nonce=b"%024d" % self._number)

    async def submit_later(self, count: int, size: int = 10) -> list[asyncio.Task[None]]:
        """Submit envelopes and wait until they are admitted, not until they are ordered."""
        queued = self.engine.status().queued + count
        tasks = [asyncio.create_task(self.engine.submit(self.envelope(size))) for _ in range(count)]
        await eventually(lambda: self.engine.status().queued == queued)
        await eventually(lambda: not self.engine._intake)
        return tasks

    async def hold_first_commit(self) -> asyncio.Task[None]:
        """Let one envelope into a block whose commit hangs until the gate is opened."""
        self.sink.gate.clear()
        (task,) = await self.submit_later(1)
        async with asyncio.timeout(DEADLINE_S):
            await self.sink.busy.wait()
        return task

    @property
    def block_sizes(self) -> list[int]:
        return [len(block.data) for block in self.sink.blocks[1:]]


Make = Callable[..., Ordering]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Ordering] = []

    def build(batch: BatchParameters = PATIENT, **options: int) -> Ordering:
        made.append(Ordering(batch, **options))
        return made[-1]

    yield build
    for ordering in made:
        ordering.sink.gate.set()
        await ordering.engine.stop()


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*tasks)


async def test_idle_sequencer_orders_at_once(make) -> None:
    """With a batch timeout of an hour one envelope is a block of its own."""
    ordering = make()
    await ordering.engine.start()
    async with asyncio.timeout(DEADLINE_S):
        await ordering.engine.submit(ordering.envelope())
    assert ordering.block_sizes == [1]


async def test_what_arrives_during_a_commit_makes_a_fuller_block(make) -> None:
    """So load makes blocks larger by itself."""
    ordering = make()
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    rest = await ordering.submit_later(30)
    ordering.sink.gate.set()
    await _all([first, *rest])
    assert ordering.block_sizes == [1, 30]


async def test_what_has_gathered_waits_for_those_who_are_told(make, monkeypatch) -> None:
    """Whoever is in a block and comes back rides with those who came meanwhile."""
    monkeypatch.setattr(pace, "RETURN_S", 3600.0)
    ordering = make()
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    rest = await ordering.submit_later(8)
    ordering.sink.gate.set()
    await _all([first])
    last = asyncio.create_task(ordering.engine.submit(ordering.envelope()))
    await _all([*rest, last])
    assert ordering.block_sizes == [1, 9]


async def test_what_has_gathered_does_not_wait_for_those_who_left(make) -> None:
    """The caller of the first block does not come back, and the batch timeout is an hour."""
    ordering = make()
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    rest = await ordering.submit_later(8)
    ordering.sink.gate.set()
    await _all([first, *rest])
    assert ordering.block_sizes == [1, 8]


async def test_block_ends_at_the_count(make) -> None:
    """The next block is cut and signed during a commit, and no further one."""
    ordering = make(BatchParameters(4, 100_000, 100_000, 3600.0))
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    rest = await ordering.submit_later(10)
    await eventually(lambda: ordering.engine._blocks_in_work == 2)
    assert len(ordering.engine._cutter) == 6
    ordering.sink.gate.set()
    await _all([first, *rest])
    assert ordering.block_sizes == [1, 4, 4, 2]


async def test_block_ends_at_the_bytes(make) -> None:
    """As many as fit below the preferred size."""
    ordering = make()
    # Signatures differ by a few bytes in length, so there is room for that and not for a fourth.
    three = 3 * len(ordering.envelope(1000)) + 100
    ordering = make(BatchParameters(500, 100_000, three, 3600.0))
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    rest = await ordering.submit_later(5, size=1000)
    ordering.sink.gate.set()
    await _all([first, *rest])
    assert ordering.block_sizes == [1, 3, 2]


async def test_block_ends_at_the_timeout(make) -> None:
    """An envelope that waits during a long commit is cut when its time is over."""
    ordering = make(BatchParameters(500, 100_000, 100_000, 0.05))
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    second = await ordering.submit_later(1)
    await eventually(lambda: ordering.engine._blocks_in_work == 2)
    third = await ordering.submit_later(1)
    ordering.sink.gate.set()
    await _all([first, *second, *third])
    assert ordering.block_sizes == [1, 1, 1]


async def test_blocks_are_chained_and_signed(make) -> None:
    """From the ledger's last block on."""
    ordering = make()
    await ordering.engine.start()
    for _ in range(3):
        await ordering.engine.submit(ordering.envelope())
    for before, block in zip(ordering.sink.blocks, ordering.sink.blocks[1:], strict=False):
        assert block.header.number == before.header.number + 1
        assert block.header.previous_hash == before.header.hash()
        verify_block_signature(block, ordering.sink.configuration)


async def test_submission_is_answered_after_the_commit_and_not_before(make) -> None:
    """An acknowledged envelope cannot be lost by a crash of this process."""
    ordering = make()
    await ordering.engine.start()
    task = await ordering.hold_first_commit()
    assert not task.done()
    assert ordering.sink.height == 1
    ordering.sink.gate.set()
    await _all([task])
    assert ordering.sink.height == 2


async def test_node_that_may_not_sign_blocks_does_not_start(make) -> None:
    """Followers would refuse all it orders; better to hear it at once."""
    ordering = make()
    for signer in (ordering.client, Member("BankMSP").identity(unit="peer")):
        engine = Sequencer(ordering.sink, signer, MachineTime())
        with pytest.raises(ConfigurationError, match="may not sign blocks of channel qist"):
            await engine.start()
        with pytest.raises(OrderingUnavailable, match="has not been started"):
            await engine.submit(ordering.envelope())


async def test_failed_commit_ends_the_ordering_and_nobody_waits_for_ever(make) -> None:
    """Those in the block learn that the outcome is open; the others that nothing was taken."""
    ordering = make(BatchParameters(2, 100_000, 100_000, 3600.0))
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    rest = await ordering.submit_later(6)
    await eventually(lambda: ordering.engine._blocks_in_work == 2)
    ordering.sink.fail = StorageError("the disk is full")
    ordering.sink.gate.set()
    async with asyncio.timeout(DEADLINE_S):
        answers = await asyncio.gather(first, *rest, return_exceptions=True)
    assert [
        answer.outcome_definite for answer in answers if isinstance(answer, OrderingUnavailable)
    ] == [False] + [True] * 6
    assert "the disk is full" in str(answers[0])
    assert ordering.sink.height == 1
    status = ordering.engine.status()
    assert not status.accepting
    assert "the disk is full" in status.reason
    assert status.queued == 0
    with pytest.raises(OrderingUnavailable, match="the disk is full"):
        await ordering.engine.submit(ordering.envelope())


async def test_stop_finishes_signed_blocks_and_refuses_what_waits(make) -> None:
    """In order: what is signed is committed, what only waits was surely not taken."""
    ordering = make(BatchParameters(2, 100_000, 100_000, 3600.0))
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    rest = await ordering.submit_later(5)
    await eventually(lambda: not ordering.engine._signed.empty())
    stopping = asyncio.create_task(ordering.engine.stop())
    await eventually(lambda: not ordering.engine.status().accepting)
    ordering.sink.gate.set()
    async with asyncio.timeout(DEADLINE_S):
        await stopping
        answers = await asyncio.gather(first, *rest, return_exceptions=True)
    assert answers[:3] == [None] * 3
    assert all(
        isinstance(answer, OrderingUnavailable) and answer.outcome_definite
        for answer in answers[3:]
    )
    assert ordering.block_sizes == [1, 2]


async def test_full_queue_refuses_at_once(make) -> None:
    """By number and by bytes; definite, and over when there is room again."""
    for options in ({"queue_limit": 3}, {"queue_limit_bytes": 6_500}):
        ordering = make(**options)
        await ordering.engine.start()
        first = await ordering.hold_first_commit()
        rest = await ordering.submit_later(2, size=1000)
        with pytest.raises(OrderingUnavailable, match="queue is full") as refused:
            await ordering.engine.submit(ordering.envelope(4000))
        assert refused.value.outcome_definite
        ordering.sink.gate.set()
        await _all([first, *rest])
        await ordering.engine.submit(ordering.envelope(4000))


async def test_caller_that_left_still_counts_until_its_envelope_is_settled(make) -> None:
    """Or callers that leave could fill the memory beyond the limit."""
    ordering = make(queue_limit=3)
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    for task in await ordering.submit_later(2):
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert ordering.engine.status().queued == 3
    with pytest.raises(OrderingUnavailable, match="queue is full"):
        await ordering.engine.submit(ordering.envelope())
    ordering.sink.gate.set()
    await _all([first])
    await eventually(lambda: ordering.engine.status().queued == 0)
    assert ordering.block_sizes == [1, 2]


async def test_new_configuration_is_applied_to_what_waits(make) -> None:
    """An envelope admitted under the old one is checked again before it enters a block."""
    ordering = make()
    await ordering.engine.start()
    first = await ordering.hold_first_commit()
    other = ordering.member.identity("other")
    gone = await ordering.submit_later(2)
    kept = asyncio.create_task(ordering.engine.submit(signed_envelope(other)))
    await eventually(lambda: ordering.engine.status().queued == 4)
    await eventually(lambda: len(ordering.engine._cutter) == 3)
    ordering.member.revoke(ordering.client)
    envelope = genesis([ordering.member])
    configuration = ChannelConfiguration.from_block(envelope)
    configuration.sequence = 1
    ordering.sink.configuration = configuration
    ordering.sink.gate.set()
    await _all([first, kept])
    answers = await asyncio.gather(*gone, return_exceptions=True)
    statuses = [answer.status for answer in answers if isinstance(answer, OrderingRefusal)]
    assert statuses == [403, 403]
    assert ordering.block_sizes == [1, 1]


async def test_block_that_the_ledger_refuses_is_an_end_too(make) -> None:
    """It cannot happen while admission is right; if it does, nothing goes on in silence."""
    ordering = make()
    await ordering.engine.start()
    ordering.sink.fail = BlockError("block 1 is not well formed")
    with pytest.raises(OrderingUnavailable, match="not well formed"):
        await ordering.engine.submit(ordering.envelope())
    assert "not well formed" in ordering.engine.status().reason
