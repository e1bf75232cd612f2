"""The bundler: one envelope at once, many together, and what is said when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from network.errors import OrderingRefusal, OrderingUnavailable
from network.ordering.admission import Admission, Examined
from network.ordering.cometbft.bundles.bundle import BundleCode, BundleKind, limits_of, open_bundle
from network.ordering.cometbft.bundles.making import LIFETIME
from network.ordering.cometbft.bundles.submission import ATTEMPTS, UNDER_WAY
from network.ordering.reconfiguration import make_configuration
from tests.support.bundles import BATCH, channel_of, client_of, comet_channel, envelopes, node_of
from tests.support.consenters import four_members
from tests.support.members import NOW, signed_envelope
from tests.support.scripted_comet import DEADLINE_S, ScriptedComet
from tests.support.updates import signed_update

BANK, MAKER = four_members()[:2]
SHORT_S = 0.2


NEVER_S = 3600.0


@pytest.fixture
async def comet() -> AsyncIterator[ScriptedComet]:
    """Given each bundle once, unless something happens."""
    made = ScriptedComet(comet_channel(), again_s=NEVER_S)
    made.bundler.start()
    yield made
    await made.bundler.stop()


@pytest.fixture
async def eager() -> AsyncIterator[ScriptedComet]:
    """Given each bundle again and again."""
    made = ScriptedComet(comet_channel(), again_s=0.02)
    made.bundler.start()
    yield made
    await made.bundler.stop()


@pytest.fixture
async def roomy() -> AsyncIterator[ScriptedComet]:
    """Whose bundles are as large as a block may be."""
    batch = replace(BATCH, preferred_max_bytes=BATCH.absolute_max_bytes)
    made = ScriptedComet(channel_of(four_members(), batch=batch), again_s=NEVER_S)
    made.bundler.start()
    yield made
    await made.bundler.stop()


def submit(comet: ScriptedComet, *inside: bytes) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(comet.bundler.submit(each)) for each in inside]


async def outcome(task: asyncio.Task[None]) -> BaseException | None:
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([task])
    return task.exception()


async def ordered(tasks: list[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*tasks)


async def drain(
    comet: ScriptedComet, tasks: list[asyncio.Task[None]], look: Callable[[], None] = lambda: None
) -> None:
    """Make blocks of whatever is taken until all have been ordered."""
    async with asyncio.timeout(DEADLINE_S):
        while not all(task.done() for task in tasks):
            look()
            if comet.pool:
                comet.block()
            await asyncio.sleep(0.002)
    await ordered(tasks)


async def unavailable(task: asyncio.Task[None], *, definite: bool) -> str:
    error = await outcome(task)
    assert isinstance(error, OrderingUnavailable)
    assert error.outcome_definite is definite, error
    return str(error)


def update_of(configuration, field: bytes, name: str = "BatchTimeout") -> bytes:
    def edit(config) -> None:
        config.channel_group.groups["Orderer"].values[name].value = field

    admins = [each.identity("admin", "admin") for each in four_members()]
    return signed_update(configuration, edit, admins)


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


async def test_what_has_gathered_goes_when_the_one_before_is_decided_on(comet) -> None:
    """For the height that CometBFT makes anyway; nobody is told before his block is durable."""
    tasks = submit(comet, *envelopes(1))
    await comet.taken(1)
    tasks += submit(comet, *envelopes(9))
    await gathered(comet, 9)
    comet.bundler.decided([bytes(32), comet.pool[0].bundle_id])
    await comet.taken(2)
    assert len(comet.pool[1].envelopes) == 9
    tasks += submit(comet, *envelopes(2))
    await gathered(comet, 2)
    assert len(comet.given) == 2
    assert not any(task.done() for task in tasks)
    await drain(comet, tasks)
    assert len(comet.given) == 3


async def gathered(comet: ScriptedComet, count: int) -> None:
    """Wait until that many wait for a bundle."""
    async with asyncio.timeout(DEADLINE_S):
        while comet.bundler.gathered != count:  # noqa: ASYNC110 - the examination has no event
            await asyncio.sleep(0.002)


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
    comet = ScriptedComet(comet_channel(), queue_limit=4, again_s=NEVER_S)
    comet.bundler.start()
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
    await comet.bundler.stop()


async def test_queue_bounds_bytes_and_forgets_who_went_away() -> None:
    """Envelopes whose callers are gone make room for others."""
    raws = envelopes(5, size=10_000)
    limit = sum(map(len, raws[1:4]))
    comet = ScriptedComet(comet_channel(), queue_limit_bytes=limit, again_s=NEVER_S)
    comet.bundler.start()
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
    await comet.bundler.stop()


async def test_bundle_that_is_forgotten_is_given_again(eager) -> None:
    """CometBFT says that it took it, and loses it: until it is in a block, it is given again."""
    eager.answers.extend([eager.lose, eager.lose, eager.away(definite=False)])
    tasks = submit(eager, *envelopes(1))
    await eager.taken(1)
    assert len(eager.given) == 4
    assert len(set(eager.given)) == 1
    eager.block()
    await ordered(tasks)


async def test_bundle_is_given_at_once_when_comet_is_back() -> None:
    """Whoever starts CometBFT anew says so, and nobody waits for a pause to end."""
    comet = ScriptedComet(comet_channel(), again_s=3600.0)
    comet.bundler.start()
    comet.answers.append(comet.lose)
    tasks = submit(comet, *envelopes(1))
    await comet.until(lambda: len(comet.given) == 1 and not comet.answers)
    comet.bundler.again()
    await comet.taken(1)
    comet.block()
    await ordered(tasks)
    await comet.bundler.stop()


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


async def test_bundle_that_may_be_out_is_not_given_up_for_a_refusal(eager) -> None:
    """After one answer got lost no later one proves that nobody has it."""
    eager.answers.extend([eager.away(definite=False), eager.refuse(), eager.refuse()])
    tasks = submit(eager, *envelopes(1))
    await eager.taken(1)
    assert len(set(eager.given)) == 1
    eager.block()
    await ordered(tasks)


async def test_bundle_beyond_the_quota_waits_for_a_block() -> None:
    """The same one is given again then, and not before."""
    comet = ScriptedComet(comet_channel(), again_s=3600.0)
    comet.bundler.start()
    comet.answers.append(comet.refuse(BundleCode.QUOTA))
    tasks = submit(comet, *envelopes(1))
    await comet.until(lambda: len(comet.given) == 1 and not comet.answers)
    comet.empty_block()
    await comet.taken(1)
    assert len(set(comet.given)) == 1
    comet.block()
    await ordered(tasks)
    await comet.bundler.stop()


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
    comet = ScriptedComet(comet_channel(), patience_s=SHORT_S, again_s=3600.0)
    comet.bundler.start()
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
    await comet.bundler.stop()


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


async def test_update_goes_as_the_configuration_made_of_it_alone(comet) -> None:
    """In a bundle of its own kind, before envelopes that gathered."""
    tasks = submit(comet, *envelopes(1))
    await comet.taken(1)
    tasks += submit(comet, *envelopes(2))
    await gathered(comet, 2)
    tasks += submit(comet, update_of(comet.chain.configuration, b"\x0a\x033ms"))
    await comet.taken(2)
    made = comet.pool[1]
    assert (made.kind, len(made.envelopes)) == (BundleKind.CONFIGURATION, 1)
    comet.block()
    assert comet.blocks[0] == (made,)
    assert comet.chain.configuration.batch.timeout_s == pytest.approx(0.003)
    comet.block()
    await comet.taken(1)
    comet.block()
    await ordered(tasks)


async def test_overtaken_update_is_made_anew_or_refused(comet) -> None:
    """Two on their way together: the second rests on what the first left, or is refused."""
    before = comet.chain.configuration
    one = submit(comet, update_of(before, b"\x0a\x033ms"))
    await comet.taken(1)
    size = before.config.channel_group.groups["Orderer"].values["BatchSize"].value
    free = submit(comet, update_of(before, b"\x08\x09" + size[2:], "BatchSize"))
    bound = submit(comet, update_of(before, b"\x0a\x034ms"))
    await gathered(comet, 2)
    assert len(comet.pool) == 1
    comet.block()
    await ordered(one)
    await comet.taken(1)
    comet.block()
    await ordered(free)
    error = await outcome(bound[0])
    assert isinstance(error, OrderingRefusal)
    assert "BatchTimeout" in error.info
    assert comet.chain.configuration.batch.max_message_count == 9
    assert comet.chain.configuration.sequence == before.sequence + 2


async def test_configuration_of_another_member_overtakes_one_under_way(comet) -> None:
    """It can never be ordered any more, so it is made anew at once."""
    before = comet.chain.configuration
    [task] = submit(comet, update_of(before, b"\x0a\x033ms"))
    await comet.taken(1)
    stale = comet.pool.pop()
    other = ScriptedComet(before)
    other.bundler.start()
    size = before.config.channel_group.groups["Orderer"].values["BatchSize"].value
    theirs = submit(other, update_of(before, b"\x08\x09" + size[2:], "BatchSize"))
    await other.taken(1)
    comet.block(other.pool[0])
    await comet.taken(1)
    assert comet.pool[0].bundle_id != stale.bundle_id
    comet.block()
    await ordered([task])
    assert comet.chain.configuration.sequence == before.sequence + 2
    await other.bundler.stop()
    await unavailable(theirs[0], definite=False)


async def test_new_configuration_ends_what_it_forbids_and_nothing_else(roomy) -> None:
    """A bundle under way holds an envelope that is no longer admitted: nobody can know."""
    comet, before = roomy, roomy.chain.configuration
    small, large = envelopes(1), envelopes(1, size=57_000)
    tasks = submit(comet, small[0])
    await comet.taken(1)
    untouched = comet.pool[0]
    tasks += submit(comet, *large, *envelopes(19, MAKER))
    await comet.taken(2)
    doomed = comet.pool[1]
    limits = b"\x08\x14\x10\xa8\xbd\x03\x18\xa8\xbd\x03"  # AbsoluteMaxBytes and preferred 57000
    made = make_configuration(before, update_of(before, limits, "BatchSize"), node_of(BANK), NOW)
    comet.configure(made)
    comet.pool.remove(doomed)
    comet.empty_block()
    words = await unavailable(tasks[1], definite=False)
    assert "may be ordered all the same" in words
    assert "exceeds maximum" in words
    # The others go on, as far as they fit; the bundle that is still good is left alone.
    await drain(comet, [tasks[0], *tasks[2:]])
    assert doomed.bundle_id not in {each.bundle_id for made in comet.blocks for each in made}
    assert untouched.bundle_id in {each.bundle_id for made in comet.blocks for each in made}


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
