"""How long a proposal waits for a first bundle: from the height before on, whenever it is asked."""

from __future__ import annotations

import asyncio

from network.ordering.cometbft.bundles.waiting import WaitingBundles

PATIENCE_S = 3600.0
DEADLINE_S = 30.0


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def waits(waiting: WaitingBundles) -> bool:
    """Tell whether a proposal would wait."""
    task = asyncio.create_task(waiting.wait())
    await asyncio.sleep(0)
    found = not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return found


async def test_patience_counts_from_the_height_before() -> None:
    """Who is asked late, or for a later round, would come too late for the others."""
    clock = Time()
    waiting = WaitingBundles(PATIENCE_S, clock)
    clock.now = 10 * PATIENCE_S
    assert not await waits(waiting)
    waiting.committed()
    assert await waits(waiting)
    clock.now += 0.9 * PATIENCE_S
    assert await waits(waiting)
    clock.now += 0.1 * PATIENCE_S
    assert not await waits(waiting)


async def test_proposal_that_waits_goes_on_with_the_first_that_comes() -> None:
    """Whatever is left of its patience."""
    waiting = WaitingBundles(PATIENCE_S)
    waited = asyncio.create_task(waiting.wait())
    await asyncio.sleep(0)
    waiting.add(b"id", b"bundle", 1)
    async with asyncio.timeout(DEADLINE_S):
        await waited
    assert waiting.raws == [b"bundle"]
    assert not await waits(waiting)


async def test_only_those_wait_that_the_next_block_may_hold() -> None:
    """What is in a block, expired or lost is kept no longer, the others in their order."""
    waiting = WaitingBundles(PATIENCE_S)
    for number in range(1, 6):
        waiting.add(bytes([number]), b"%d" % number, number)
    waiting.remove([bytes([4]), b"unknown"])
    waiting.expire(3)
    assert waiting.raws == [b"3", b"5"]
    waiting.clear()
    assert waiting.raws == []
