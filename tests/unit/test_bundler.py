"""The bundler: one envelope at once, many together, within its bounds and fair to each client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from network.errors import OrderingRefusal
from network.ordering import pace
from network.ordering.admission import Admission, Examined
from network.ordering.cometbft.bundles.bundle import limits_of, open_bundle
from network.ordering.cometbft.bundles.making import LIFETIME
from network.ordering.cometbft.bundles.submission import UNDER_WAY
from tests.support.bundles import BATCH, client_of, envelopes
from tests.support.consenters import four_members
from tests.support.members import NOW, signed_envelope
from tests.support.scripted_comet import ScriptedComet
from tests.support.submissions import (
    bundling,
    drain,
    gathered,
    ordered,
    outcome,
    submit,
    unavailable,
)

BANK, MAKER = four_members()[:2]
SHORT_S = 0.2


@pytest.fixture
async def comet() -> AsyncIterator[ScriptedComet]:
    """Given each bundle once, unless something happens."""
    async with bundling() as made:
        yield made


async def test_envelope_goes_at_once_when_none_is_under_way(comet) -> None:
    """Alone; the caller hears of it when its block is there, and not before."""
    [raw] = envelopes(1)
    [task] = submit(comet, raw)
    await comet.taken(1)
    assert comet.pool[0].envelopes == (raw,)
    assert comet.pool[0].head.valid_until == comet.chain.height + LIFETIME
    assert comet.bundler.queued == 1
    assert not task.done()
    comet.block()
    await ordered([task])
    assert comet.bundler.queued == 0


async def test_envelopes_gather_while_one_is_under_way(comet) -> None:
    """What came meanwhile goes together when it is ordered: fewer, fuller bundles."""
    tasks = submit(comet, *envelopes(1))
    await comet.taken(1)
    tasks += submit(comet, *envelopes(9))
    await gathered(comet, 9)
    assert len(comet.given) == 1
    comet.block()
    await comet.taken(1)
    assert len(comet.pool[0].envelopes) == 9
    comet.block()
    await ordered(tasks)
    assert len(comet.given) == 2


async def test_what_has_gathered_waits_for_those_who_were_told(comet, monkeypatch) -> None:
    """Callers whose envelopes are in a block come back, and ride with the others in the next."""
    monkeypatch.setattr(pace, "RETURN_S", 3600.0)
    tasks = submit(comet, *envelopes(1))
    await comet.taken(1)
    tasks += submit(comet, *envelopes(2))
    await gathered(comet, 2)
    comet.block()
    assert comet.bundler.gathered == 2
    tasks += submit(comet, *envelopes(1))
    await comet.taken(1)
    assert len(comet.pool[0].envelopes) == 3
    await drain(comet, tasks)
    assert len(comet.given) == 2


async def test_what_has_gathered_waits_no_longer_than_those_need_to_come_back(comet) -> None:
    """Those who were told may have gone for good."""
    tasks = submit(comet, *envelopes(1))
    await comet.taken(1)
    tasks += submit(comet, *envelopes(9))
    await gathered(comet, 9)
    comet.block()
    await comet.taken(1)
    assert len(comet.pool[0].envelopes) == 9
    await drain(comet, tasks)


async def test_full_bundles_go_though_others_are_under_way(comet) -> None:
    """As many as may be, and no more; every one within the limits of the channel."""
    tasks = submit(comet, *envelopes(20 * (UNDER_WAY + 2)))
    await comet.taken(UNDER_WAY)

    def look() -> None:
        assert len(comet.pool) <= UNDER_WAY
        assert all(len(each.envelopes) <= BATCH.max_message_count for each in comet.pool)

    await drain(comet, tasks, look)
    assert sorted(comet.envelopes) == sorted(set(comet.envelopes))


async def test_bundle_is_bounded_by_the_preferred_size(comet) -> None:
    """One envelope that is larger makes a bundle of its own."""
    large = envelopes(1, size=BATCH.preferred_max_bytes + 10)
    some = envelopes(6, MAKER, size=BATCH.preferred_max_bytes // 4)
    tasks = submit(comet, *some, *large)
    await drain(comet, tasks)
    sizes = [each.envelope_bytes for made in comet.blocks for each in made]
    assert max(sizes) == len(large[0])
    assert sum(size > BATCH.preferred_max_bytes for size in sizes) == 1


async def test_greedy_client_delays_another_by_no_more_than_a_bundle(comet) -> None:
    """A bundle takes from each client in turn."""
    tasks = submit(comet, *envelopes(90, BANK))
    await comet.taken(UNDER_WAY)
    others = envelopes(2, MAKER)
    tasks += submit(comet, *others)
    await gathered(comet, 32)
    comet.block()
    await comet.until(lambda: len(comet.given) > UNDER_WAY)
    following = open_bundle(comet.given[UNDER_WAY], limits_of(BATCH)).envelopes
    assert set(others) <= set(following)
    assert len(following) == BATCH.max_message_count
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_envelope_that_breaks_a_rule_is_refused_and_given_to_nobody(comet) -> None:
    """In the words and with the status of an orderer."""
    [task] = submit(comet, signed_envelope(client_of(BANK), channel_id="other"))
    error = await outcome(task)
    assert isinstance(error, OrderingRefusal)
    assert error.status == 404
    comet.clock.time = NOW + timedelta(days=2)
    error = await outcome(*submit(comet, signed_envelope(BANK.identity(days=1))))
    assert isinstance(error, OrderingRefusal)
    assert "expired" in error.info
    padded = envelopes(1)[0] + b"\x7a\xc0\x9a\x0c" + bytes(200_000)
    error = await outcome(*submit(comet, padded))
    assert isinstance(error, OrderingRefusal)
    assert error.status == 413
    assert comet.given == []


async def test_full_queue_refuses_definitely() -> None:
    """Nobody takes the last place from one who has none; what is refused was not taken."""
    async with bundling(queue_limit=4) as comet:
        tasks = submit(comet, *envelopes(1))
        await comet.taken(1)
        for count, member in ((3, BANK), (2, MAKER), (1, four_members()[2])):
            tasks += submit(comet, *envelopes(count, member))
            await asyncio.wait(tasks[-1:], timeout=SHORT_S)
        assert comet.bundler.gathered == 4
        full = [*submit(comet, *envelopes(1, four_members()[3])), tasks[3], tasks[5]]
        for task, words in zip(full, ("the queue", "its share", "its share"), strict=True):
            found = await unavailable(task, definite=True)
            assert words in found
            assert "try again" in found
        await drain(comet, [task for task in tasks if task not in full])
        assert len(comet.envelopes) == 5


async def test_queue_bounds_bytes_and_forgets_who_went_away() -> None:
    """Envelopes whose callers are gone make room for others."""
    raws = envelopes(5, size=10_000)
    limit = sum(map(len, raws[1:4]))
    async with bundling(queue_limit_bytes=limit) as comet:
        first = submit(comet, raws[0])
        await comet.taken(1)
        [gone] = submit(comet, raws[1])
        await gathered(comet, 1)
        more = submit(comet, *envelopes(2, MAKER, size=10_000))
        assert "the queue" in await unavailable(more[1], definite=True)
        await gathered(comet, 2)
        gone.cancel()
        await asyncio.sleep(0)
        more += submit(comet, *envelopes(1, four_members()[2], size=10_000))
        await drain(comet, [*first, more[0], more[2]])
        assert len(comet.envelopes) == 3


async def test_caller_that_goes_away_harms_nobody(comet) -> None:
    """Before its envelope is in a bundle it is dropped; after that it is ordered all the same."""
    first = submit(comet, *envelopes(1))
    await comet.taken(1)
    waiting = submit(comet, *envelopes(4))
    await gathered(comet, 4)
    waiting[0].cancel()
    first[0].cancel()
    await asyncio.sleep(0)
    comet.block()
    await comet.taken(1)
    assert len(comet.pool[0].envelopes) == 3
    comet.block()
    await ordered(waiting[1:])
    assert len(comet.envelopes) == 4


async def test_failure_of_our_own_ends_the_bundling_and_tells_everybody(comet, monkeypatch) -> None:
    """Nobody waits for ever, and nothing is taken any more."""
    monkeypatch.setattr(comet.bundler, "_adopt", None)
    [task] = submit(comet, *envelopes(1))
    assert "the bundling stopped" in await unavailable(task, definite=True)
    comet.bundler.pause("CometBFT is away")
    comet.bundler.resume()
    [late] = submit(comet, *envelopes(1))
    assert "the bundling stopped" in await unavailable(late, definite=True)


async def test_own_bundle_is_not_examined_again_by_checktx(comet, monkeypatch) -> None:
    """What the gateway's node found out goes with the bundle."""
    examined: list[bytes] = []
    examine = Admission.examine

    def counting(self: Admission, envelope: bytes) -> Examined:
        examined.append(envelope)
        return examine(self, envelope)

    monkeypatch.setattr(Admission, "examine", counting)
    tasks = submit(comet, *envelopes(5))
    await drain(comet, tasks)
    assert len(examined) == 5
