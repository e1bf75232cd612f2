"""A bundle until it is in a block, however often it is given, and what is said when it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from network.ordering.cometbft.bundles.bundle import BundleCode
from network.ordering.cometbft.bundles.making import LIFETIME
from network.ordering.cometbft.bundles.submission import ATTEMPTS, UNDER_WAY
from tests.support.bundles import envelopes
from tests.support.consenters import four_members
from tests.support.scripted_comet import ScriptedComet
from tests.support.submissions import bundling, gathered, ordered, submit, unavailable

BANK, MAKER = four_members()[:2]
SHORT_S = 0.2


@pytest.fixture
async def comet() -> AsyncIterator[ScriptedComet]:
    """Given each bundle once, unless something happens."""
    async with bundling() as made:
        yield made


@pytest.fixture
async def eager() -> AsyncIterator[ScriptedComet]:
    """Given each bundle again and again."""
    async with bundling(again_s=0.02) as made:
        yield made


async def test_bundle_that_is_forgotten_is_given_again(eager) -> None:
    """CometBFT says that it took it, and loses it: until it is in a block, it is given again."""
    eager.answers.extend([eager.lose, eager.lose, eager.away(definite=False)])
    tasks = submit(eager, *envelopes(1))
    await eager.taken(1)
    assert len(eager.given) == 4
    assert len(set(eager.given)) == 1
    eager.block()
    await ordered(tasks)


async def test_bundle_is_given_at_once_when_comet_is_back(comet) -> None:
    """Whoever starts CometBFT anew says so, and nobody waits for a pause to end."""
    comet.answers.append(comet.lose)
    tasks = submit(comet, *envelopes(1))
    await comet.until(lambda: len(comet.given) == 1 and not comet.answers)
    comet.bundler.again()
    await comet.taken(1)
    comet.block()
    await ordered(tasks)


async def test_bundle_refused_at_first_goes_into_another_and_then_is_given_up(comet) -> None:
    """Definitely not taken, in CheckTx's words: no other node has seen any of them."""
    comet.answers.extend([comet.refuse(log="the rules say no")] * ATTEMPTS)
    [task] = submit(comet, *envelopes(1))
    words = await unavailable(task, definite=True)
    assert "the rules say no" in words
    assert len(set(comet.given)) == ATTEMPTS
    comet.answers.extend([comet.reject, comet.refuse()])
    tasks = submit(comet, *envelopes(1))
    await comet.taken(1)
    comet.block()
    await ordered(tasks)


async def test_bundle_goes_the_short_way_once_and_only_when_comet_has_taken_it() -> None:
    """What CheckTx refuses at the first try nobody else has, or "not taken" was untrue."""
    passed: list[bytes] = []
    async with bundling(again_s=0.02, pass_on=passed.append) as comet:
        comet.answers.extend([comet.refuse()] * ATTEMPTS)
        [task] = submit(comet, *envelopes(1))
        await unavailable(task, definite=True)
        assert not passed
        comet.answers.extend([comet.away(definite=True), comet.lose, comet.lose])
        tasks = submit(comet, *envelopes(1))
        await comet.taken(1)
        assert passed == [comet.pool[0].raw]
        comet.block()
        await ordered(tasks)


async def test_bundle_that_may_be_out_is_not_given_up_for_a_refusal(eager) -> None:
    """After one answer got lost no later one proves that nobody has it."""
    eager.answers.extend([eager.away(definite=False), eager.refuse(), eager.refuse()])
    tasks = submit(eager, *envelopes(1))
    await eager.taken(1)
    assert len(set(eager.given)) == 1
    eager.block()
    await ordered(tasks)


async def test_bundle_beyond_the_quota_waits_for_a_block(comet) -> None:
    """The same one is given again then, and not before."""
    comet.answers.append(comet.refuse(BundleCode.QUOTA))
    tasks = submit(comet, *envelopes(1))
    await comet.until(lambda: len(comet.given) == 1 and not comet.answers)
    comet.empty_block()
    await comet.taken(1)
    assert len(set(comet.given)) == 1
    comet.block()
    await ordered(tasks)


async def test_bundle_that_expired_goes_into_another(comet) -> None:
    """It can be in no block any more, whoever has it, so the envelopes are ordered once."""
    tasks = submit(comet, *envelopes(3))
    await comet.taken(1)
    first = comet.pool.pop()
    for _ in range(LIFETIME):
        comet.empty_block()
    assert len(set(comet.given)) == 1
    assert comet.chain.height == first.head.valid_until
    comet.empty_block()
    await comet.taken(1)
    assert comet.pool[0].bundle_id != first.bundle_id
    assert sorted(comet.pool[0].envelopes) == sorted(first.envelopes)
    comet.block()
    await ordered(tasks)


async def test_waiting_too_long_says_what_is_known() -> None:
    """Given to CometBFT: it may be ordered, and is when blocks come again. Else: not taken."""
    async with bundling(patience_s=SHORT_S) as comet:
        tasks = submit(comet, *envelopes(1))
        await comet.taken(1)
        for _ in range(UNDER_WAY - 1):
            tasks += submit(comet, *envelopes(20))
        await comet.taken(UNDER_WAY)
        waiting = submit(comet, *envelopes(3))
        for task in tasks:
            assert "is in no block" in await unavailable(task, definite=False)
        for task in waiting:
            assert "was not taken" in await unavailable(task, definite=True)
        count = sum(len(each.envelopes) for each in comet.pool)
        while comet.pool:
            comet.block()
        # Nobody waits for those that were not taken: they are dropped, as was said.
        later = submit(comet, *envelopes(1, MAKER))
        await comet.taken(1)
        comet.block()
        await ordered(later)
        assert len(comet.envelopes) == count + 1


async def test_stopping_says_what_is_known(comet) -> None:
    """Of what CometBFT may have, nothing is sure; the rest was taken by nobody."""
    under_way = submit(comet, *envelopes(1))
    await comet.taken(1)
    waiting = submit(comet, *envelopes(3))
    await gathered(comet, 3)
    await comet.bundler.stop()
    await unavailable(under_way[0], definite=False)
    for task in waiting:
        await unavailable(task, definite=True)
    [late] = submit(comet, *envelopes(1))
    await unavailable(late, definite=True)


async def test_pausing_refuses_what_waits_and_keeps_what_is_under_way(comet) -> None:
    """CometBFT is away: new envelopes are refused with the reason until it is back."""
    under_way = submit(comet, *envelopes(1))
    await comet.taken(1)
    waiting = submit(comet, *envelopes(2))
    await gathered(comet, 2)
    comet.bundler.pause("CometBFT is being started anew")
    assert comet.bundler.why_not
    for task in [*waiting, *submit(comet, *envelopes(1))]:
        assert "started anew" in await unavailable(task, definite=True)
    comet.block()
    await ordered(under_way)
    comet.bundler.resume()
    tasks = submit(comet, *envelopes(1))
    await comet.taken(1)
    comet.block()
    await ordered(tasks)
