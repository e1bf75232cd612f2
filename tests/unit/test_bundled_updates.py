"""Updates of the configuration in bundles, and bundles that a new configuration overtakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from network.errors import OrderingRefusal
from network.ordering.cometbft.bundles.bundle import BundleKind
from network.ordering.reconfiguration import make_configuration
from tests.support.bundles import BATCH, channel_of, envelopes, node_of
from tests.support.consenters import four_members
from tests.support.members import NOW
from tests.support.scripted_comet import ScriptedComet
from tests.support.submissions import (
    bundling,
    drain,
    gathered,
    ordered,
    outcome,
    submit,
    unavailable,
    update_of,
)

BANK, MAKER = four_members()[:2]


@pytest.fixture
async def comet() -> AsyncIterator[ScriptedComet]:
    """Given each bundle once, unless something happens."""
    async with bundling() as made:
        yield made


@pytest.fixture
async def roomy() -> AsyncIterator[ScriptedComet]:
    """Whose bundles are as large as a block may be."""
    batch = replace(BATCH, preferred_max_bytes=BATCH.absolute_max_bytes)
    async with bundling(channel_of(four_members(), batch=batch)) as made:
        yield made


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
