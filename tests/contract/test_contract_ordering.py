"""The contract of the ordering port, for every engine behind it.

An engine joins the suite by a network of the kind `OrderingNetwork`. Where nodes differ in their
parts a test is run at each; the nodes of `cometbft` are all alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2

from ledger.blocks.metadata import LAST_CONFIG, SIGNATURES
from network.errors import OrderingRefusal, OrderingUnavailable
from tests.support.comet_ordering import CometNetwork
from tests.support.members import signed_envelope
from tests.support.ordering_network import OrderingNetwork, SoloNetwork, settled

pytestmark = pytest.mark.asyncio(loop_scope="module")

COMETBFT = pytest.param("cometbft", marks=pytest.mark.slow)
NODES = range(3)
EACH_PART = pytest.mark.parametrize(
    ("network", "at"),
    [
        *(pytest.param("solo", at, id=f"solo-{at}") for at in NODES),
        pytest.param("cometbft", 0, marks=pytest.mark.slow, id="cometbft-0"),
    ],
    indirect=["network"],
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept() -> AsyncIterator[dict[str, CometNetwork]]:
    """Networks that go from one test to the next, since their processes take seconds to start."""
    networks: dict[str, CometNetwork] = {}
    yield networks
    for each in networks.values():
        await each.stop()


@pytest_asyncio.fixture(params=["solo", COMETBFT], loop_scope="module")
async def network(request, tmp_path_factory, kept) -> AsyncIterator[OrderingNetwork]:
    if request.param == "cometbft":
        made = kept.get(request.param) or CometNetwork(tmp_path_factory.mktemp("comet"))
        kept[request.param] = made
        await made.begin_anew()
        yield made
        return
    solo = SoloNetwork(tmp_path_factory.mktemp("solo"))
    await solo.start()
    try:
        yield solo
    finally:
        await solo.stop()


def _envelopes(network: OrderingNetwork, count: int, member: int = 0) -> list[bytes]:
    signer = network.members[member].identity()
    return [
        signed_envelope(signer, b"record %d" % number, nonce=b"%024d" % number)
        for number in range(count)
    ]


@EACH_PART
async def test_envelope_submitted_anywhere_is_ordered_everywhere(network, at) -> None:
    """`submit` returns when its place is settled; all nodes get the same blocks."""
    (envelope,) = _envelopes(network, 1)
    await network.nodes[at].engine.submit(envelope)
    assert any(envelope in node.sink.envelopes for node in network.nodes)
    await settled(network.nodes)
    assert all(node.sink.envelopes == [envelope] for node in network.nodes)


async def test_many_submissions_are_each_ordered_once(network) -> None:
    """From all nodes at once; numbers without gaps are checked by the ledger behind."""
    batches = [_envelopes(network, 40, member) for member in NODES]
    await asyncio.gather(
        *(
            network.nodes[at].engine.submit(envelope)
            for at, batch in enumerate(batches)
            for envelope in batch
        )
    )
    await settled(network.nodes)
    sent = sorted(envelope for batch in batches for envelope in batch)
    for node in network.nodes:
        assert sorted(node.sink.envelopes) == sent


async def test_submissions_of_one_client_one_after_another_keep_their_order(network) -> None:
    """What was acknowledged stands before what is sent later."""
    envelopes = _envelopes(network, 6)
    for number, envelope in enumerate(envelopes):
        await network.nodes[number % len(network.nodes)].engine.submit(envelope)
    await settled(network.nodes)
    assert network.nodes[0].sink.envelopes == envelopes


@EACH_PART
async def test_malformed_envelope_is_refused_and_the_channel_goes_on(network, at) -> None:
    """Every kind of refusal is definite, has Fabric's status, and leaves no trace."""
    stranger = network.members[0].identity(unit="peer", authority=network.members[1].root)
    (good,) = _envelopes(network, 1)
    message = common_pb2.Envelope.FromString(good)
    signature = common_pb2.Envelope(signature=message.signature).SerializeToString()
    payload = common_pb2.Envelope(payload=message.payload).SerializeToString()
    bad = {
        b"\xff\xff": 400,
        b"": 400,
        payload: 400,
        signature + payload: 400,
        signed_envelope(stranger): 403,
        signed_envelope(network.members[0].identity(), channel_id="other"): 404,
        signed_envelope(network.members[0].identity(unit="admin"), header_type=1): 400,
    }
    engine = network.nodes[at].engine
    for envelope, status in bad.items():
        with pytest.raises(OrderingRefusal) as refused:
            await engine.submit(envelope)
        assert refused.value.status == status
        assert refused.value.info
    await engine.submit(good)
    await settled(network.nodes)
    assert network.nodes[0].sink.envelopes == [good]


async def test_refused_envelopes_do_not_hinder_good_ones_beside_them(network) -> None:
    """Submitted together, each gets its own answer."""
    good = _envelopes(network, 10)
    answers = await asyncio.gather(
        *(
            network.nodes[at % 3].engine.submit(envelope)
            for at, envelope in enumerate(
                each for envelope in good for each in (envelope, envelope + b"\x00")
            )
        ),
        return_exceptions=True,
    )
    assert [answer for answer in answers[::2] if answer is not None] == []
    assert all(isinstance(answer, OrderingRefusal) for answer in answers[1::2])
    await settled(network.nodes)
    assert sorted(network.nodes[0].sink.envelopes) == sorted(good)


async def test_blocks_tell_who_ordered_them(network) -> None:
    """Whoever takes a block can verify who ordered it, and which configuration was in force."""
    for envelope in _envelopes(network, 2):
        await network.nodes[0].engine.submit(envelope)
    await settled(network.nodes)
    for node in network.nodes:
        for block in node.sink.new_blocks:
            await network.verify_order(node, block)
            entry = common_pb2.Metadata.FromString(block.metadata[LAST_CONFIG])
            assert common_pb2.LastConfig.FromString(entry.value).index == 0
            signed = common_pb2.Metadata.FromString(block.metadata[SIGNATURES])
            value = common_pb2.OrdererBlockMetadata.FromString(signed.value)
            assert value.last_config.index == 0


async def test_status_of_a_running_engine(network) -> None:
    """It accepts, has no reason why not, and nothing waits."""
    for node in network.nodes:
        status = node.engine.status()
        assert status.accepting
        assert status.reason == ""
        assert status.queued == 0
        assert status.engine in ("solo", "cometbft")
        assert status.role


@EACH_PART
async def test_stopped_engine_takes_nothing_and_says_so(network, at) -> None:
    """Definitely not taken; stopping twice is stopping once; the status has the reason."""
    (envelope,) = _envelopes(network, 1)
    engine = network.nodes[at].engine
    await engine.stop()
    await engine.stop()
    with pytest.raises(OrderingUnavailable, match="nothing can be submitted now") as away:
        await engine.submit(envelope)
    assert away.value.outcome_definite
    status = engine.status()
    assert not status.accepting
    assert status.reason


async def test_starting_twice_is_starting_once(network) -> None:
    """A second start changes nothing."""
    for node in network.nodes:
        await node.engine.start()
    (envelope,) = _envelopes(network, 1)
    await network.nodes[-1].engine.submit(envelope)
    await settled(network.nodes)
    assert network.nodes[0].sink.envelopes == [envelope]


@EACH_PART
async def test_restarted_engine_goes_on_where_its_ledger_ends(network, at) -> None:
    """No block is lost or ordered twice."""
    envelopes = _envelopes(network, 4)
    for envelope in envelopes[:2]:
        await network.nodes[at].engine.submit(envelope)
    node = await network.restart(network.nodes[at])
    for envelope in envelopes[2:]:
        await node.engine.submit(envelope)
    await settled(network.nodes)
    for each in network.nodes:
        assert each.sink.envelopes == envelopes


async def test_caller_that_goes_away_harms_nobody(network) -> None:
    """Its envelope may be ordered or not; everybody else's is."""
    envelopes = _envelopes(network, 20)
    engine = network.nodes[-1].engine
    tasks = [asyncio.create_task(engine.submit(envelope)) for envelope in envelopes]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[1::2] == [None] * 10
    await settled(network.nodes)
    ordered = network.nodes[0].sink.envelopes
    assert set(envelopes[1::2]) <= set(ordered) <= set(envelopes)
    assert len(ordered) == len(set(ordered))
