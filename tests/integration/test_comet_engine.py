"""The engine cometbft when something fails, with real CometBFT processes and ledgers in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cache, partial
from pathlib import Path

import pytest

from ledger.errors import StorageError, Unavailable
from network.errors import OrderingUnavailable
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.engine import CometEngine
from tests.support.bundles import bundle
from tests.support.comet_ordering import CometNetwork
from tests.support.consenters import four_members
from tests.support.members import signed_envelope
from tests.support.ordering_network import OrderingNode, accepting, eventually, settled


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[CometNetwork]:
    made = CometNetwork(tmp_path)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()


CLIENT = four_members()[0].identity()


@cache
def envelope(number: int) -> bytes:
    """The same at each call: a signature is not."""
    return signed_envelope(CLIENT, b"record", nonce=b"%024d" % number)


def _speaks_of(node: OrderingNode, words: str) -> bool:
    return words in reason(node)


def reason(node: OrderingNode) -> str:
    return node.engine.status().reason


async def test_committer_that_fails_ends_the_engine_and_harms_nobody_else(
    network: CometNetwork,
) -> None:
    """The reason is said, CometBFT ends, nothing is taken; only what is fatal halts the channel.
    A restart goes on where the ledger ends.
    """
    for failing, halts in ((network.nodes[1], False), (network.nodes[2], True)):
        error = StorageError("no space left") if halts else Unavailable("no space left")
        failing.sink.fail = error
        others = [each for each in network.nodes if each is not failing]
        await others[0].engine.submit(envelope(2 * int(halts)))
        await eventually(partial(_speaks_of, failing, "no space left"))
        assert "the engine stopped" in reason(failing)
        assert (failing.sink.halted is error) == halts
        with pytest.raises(OrderingUnavailable, match="no space left") as refused:
            await failing.engine.submit(envelope(9))
        assert refused.value.outcome_definite
        await others[1].engine.submit(envelope(2 * int(halts) + 1))
        await settled(others)
        failing.sink.fail = failing.sink.halted = None
        await network.restart(failing)
        await settled(network.nodes)
    assert [len(node.sink.envelopes) for node in network.nodes] == [4] * 4


async def test_bundle_that_no_comet_was_given_is_ordered_in_the_height_that_proves_a_block(
    network: CometNetwork,
) -> None:
    """It came the short way alone, and the height that would carry nothing carries it; who does not
    order gives nobody anything.
    """
    given, foreign = (
        bundle(member, [envelope(number)], valid_until=20)
        for number, member in enumerate(four_members()[:2], 1)
    )
    for node in network.nodes:
        assert isinstance(node.engine, CometEngine)
        node.engine.take_bundle("StrangerMSP", foreign)
        node.engine.take_bundle(four_members()[0].msp_id, given)
    await network.nodes[3].engine.submit(envelope(0))
    await eventually(lambda: all(len(node.sink.envelopes) == 2 for node in network.nodes))
    for node in network.nodes:
        assert node.sink.envelopes == [envelope(0), envelope(1)]
        before, after = node.sink.blocks[1:]
        assert comet_height_of(after) == comet_height_of(before) + 1
    await network.nodes[3].engine.submit(envelope(3))
    await settled(network.nodes)
    assert envelope(2) not in network.nodes[0].sink.envelopes


async def test_fewer_than_two_thirds_take_nothing_and_go_on_when_one_is_back(
    network: CometNetwork,
) -> None:
    """What was on its way then is ordered later; what is new is refused, surely not taken."""
    first, second, *away = network.nodes
    await first.engine.submit(envelope(0))
    await settled(network.nodes)
    await asyncio.gather(*(node.engine.stop() for node in away))
    caught = asyncio.create_task(second.engine.submit(envelope(1)))
    missing = " and ".join(sorted(each.msp_id for each in away)).replace(" and ", ", ")
    await eventually(lambda: missing in reason(first) and missing in reason(second))
    state = first.engine.status().consensus
    assert state is not None
    assert (state.validators, state.reachable, state.peers) == (4, 2, (second.msp_id,))
    with pytest.raises(OrderingUnavailable, match="more than two thirds are needed") as refused:
        await first.engine.submit(envelope(2))
    assert refused.value.outcome_definite
    assert first.sink.height == 2

    await away[0].engine.start()
    # Who orders for its clients is linked with all; the others may still be dialling each other.
    await accepting(first)
    answers = await asyncio.gather(caught, return_exceptions=True)
    await first.engine.submit(envelope(3))
    await settled([first, second, away[0]])
    ordered = first.sink.envelopes
    assert ordered.count(envelope(2)) == 0
    assert ordered.count(envelope(1)) == 1 or isinstance(answers[0], OrderingUnavailable)
    assert len(ordered) == len(set(ordered))
