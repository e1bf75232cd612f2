"""A sequencer and its followers over mutual TLS: orderers that are away, lie, differ or hang."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import grpc
import pytest

from ledger.blocks.block import Block, BlockHeader
from ledger.blocks.metadata import SIGNATURES, TRANSACTIONS_FILTER, with_validation
from ledger.errors import Fatal
from ledger.transactions.codes import TxValidationCode
from network.errors import Divergence, OrderingUnavailable
from network.ordering.block_signature import sign_block
from network.ordering.ports import NodeTls
from network.ordering.solo import Follower
from network.ordering.solo.broadcast import BroadcastStream
from tests.support.members import signed_envelope
from tests.support.ordering_network import (
    DEADLINE_S,
    MachineTime,
    MemorySink,
    OrdererEndpoint,
    OrderingNode,
    SoloNetwork,
    eventually,
    settled,
)


@pytest.fixture
async def network(tmp_path) -> AsyncIterator[SoloNetwork]:
    made = SoloNetwork(tmp_path)
    await made.start()
    try:
        yield made
    finally:
        for node in made.nodes:
            node.sink.gate.set()
        await made.stop()


def _envelope(network: SoloNetwork, number: int = 0) -> bytes:
    return signed_envelope(network.members[1].identity(), nonce=b"%024d" % number)


def _endpoint(network: SoloNetwork) -> OrdererEndpoint:
    assert network.endpoint is not None
    return network.endpoint


# --- away -----------------------------------------------------------------------------------------


async def test_while_the_sequencer_is_away_nothing_can_be_submitted(network) -> None:
    """Said at once and plainly, with what still works; all goes on when it is back."""
    before, meanwhile, after = (_envelope(network, number) for number in range(3))
    await network.orderer.engine.submit(before)
    await settled(network.nodes)
    await network.stop_orderer()
    follower = network.followers[0]
    await eventually(lambda: not follower.engine.status().accepting)
    with pytest.raises(
        OrderingUnavailable, match=r"nothing can be submitted now.*queries go on"
    ) as away:
        await follower.engine.submit(meanwhile)
    assert away.value.outcome_definite
    assert f"localhost:{network.port}" in str(away.value)
    assert follower.engine.status().endpoint == f"localhost:{network.port}"
    network.nodes[0] = replace(network.orderer, engine=network._engine(network.orderer))
    await network.start_orderer()
    await network.accepting()
    await follower.engine.submit(after)
    await settled(network.nodes)
    for node in network.nodes:
        assert node.sink.envelopes == [before, after]


async def test_follower_that_was_away_catches_up(network) -> None:
    """It asks from its own height on."""
    follower = network.followers[1]
    await follower.engine.stop()
    for number in range(5):
        await network.orderer.engine.submit(_envelope(network, number))
    assert follower.sink.height == 1
    follower = await network.restart(follower)
    await settled(network.nodes)
    assert follower.sink.height == 6


async def test_envelope_under_way_when_the_sequencer_dies_has_an_open_outcome(network) -> None:
    """It may have been ordered: the client must ask before it sends it again."""
    network.orderer.sink.gate.clear()
    follower = network.followers[0]
    task = asyncio.create_task(follower.engine.submit(_envelope(network)))
    async with asyncio.timeout(DEADLINE_S):
        await network.orderer.sink.busy.wait()
    assert follower.engine.status().queued == 1
    assert network.server is not None
    await network.server.stop(None)
    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(OrderingUnavailable, match="may have been ordered") as away:
            await task
    assert not away.value.outcome_definite


async def test_stopping_follower_tells_those_who_wait(network) -> None:
    """Their envelopes may be ordered."""
    network.orderer.sink.gate.clear()
    follower = network.followers[0]
    task = asyncio.create_task(follower.engine.submit(_envelope(network)))
    async with asyncio.timeout(DEADLINE_S):
        await network.orderer.sink.busy.wait()
        await follower.engine.stop()
        with pytest.raises(OrderingUnavailable, match="connection was closed") as away:
            await task
    assert not away.value.outcome_definite


async def test_stranger_in_the_sequencers_place_is_not_followed(network, tmp_path) -> None:
    """A follower trusts only the TLS authority of the member that orders."""
    member = network.members[2]
    tls = network.tls[member.msp_id].to_member(network.orderer.sink.configuration, member.msp_id)
    sink = MemorySink(network.genesis)
    follower = Follower(sink, network.nodes[2].signer, lambda: tls, MachineTime())
    await follower.start()
    await eventually(lambda: "is away" in follower.status().reason)
    with pytest.raises(OrderingUnavailable, match="nothing can be submitted now"):
        await follower.submit(_envelope(network))
    await follower.stop()


async def test_renewed_certificate_is_shown_at_the_next_connection(network) -> None:
    """Renewing a follower's TLS certificate needs no restart of it."""
    member, follower = network.members[1], network.followers[0]
    before = network.tls[member.msp_id]
    assert before.certificate_pem in _endpoint(network).followers
    network.tls[member.msp_id] = member.tls_identity()
    await network.stop_orderer()
    await eventually(lambda: not follower.engine.status().accepting)
    network.nodes[0] = replace(network.orderer, engine=network._engine(network.orderer))
    await network.start_orderer()
    await network.accepting()
    assert network.tls[member.msp_id].certificate_pem in _endpoint(network).followers
    assert before.certificate_pem not in _endpoint(network).followers
    await follower.engine.submit(_envelope(network))
    await settled(network.nodes)


# --- lies and differences -------------------------------------------------------------------------


async def test_different_outcome_halts_the_follower_and_no_other(network) -> None:
    """One of the two is wrong; the message names the block, and a person must look."""
    odd, other = network.followers
    odd.sink.judge = lambda block: [TxValidationCode.MVCC_READ_CONFLICT for _ in block.data]
    await network.orderer.engine.submit(_envelope(network, 1))
    await eventually(lambda: odd.sink.halted is not None)
    assert isinstance(odd.sink.halted, Divergence)
    status = odd.engine.status()
    assert not status.accepting
    assert "channel qist has halted: block 1" in status.reason
    with pytest.raises(OrderingUnavailable, match="has halted"):
        await odd.engine.submit(_envelope(network, 2))
    await other.engine.submit(_envelope(network, 3))
    await settled([network.orderer, other])
    assert odd.sink.height == 1


async def test_fatal_write_halts_the_follower(network) -> None:
    """A ledger that cannot write takes no more blocks."""
    follower = network.followers[0]
    follower.sink.fail = Fatal("the disk is gone")
    await network.orderer.engine.submit(_envelope(network))
    await eventually(lambda: follower.sink.halted is not None)
    assert "the disk is gone" in follower.engine.status().reason


async def test_block_without_a_valid_signature_is_not_taken(network) -> None:
    """It is asked for again; when the signature is there the follower goes on."""
    endpoint = _endpoint(network)

    def unsigned(block: Block) -> Block:
        entries = list(block.metadata)
        entries[SIGNATURES] = b""
        return replace(block, metadata=tuple(entries))

    endpoint.change = unsigned
    await network.orderer.engine.submit(_envelope(network))
    follower = network.followers[0]
    await eventually(lambda: "BlockValidation" in follower.engine.status().reason)
    assert follower.sink.height == 1
    assert follower.sink.halted is None
    endpoint.change = lambda block: block
    await settled(network.nodes)
    await network.accepting()


async def test_block_without_codes_is_not_taken(network) -> None:
    """Only committed blocks can be compared."""
    endpoint = _endpoint(network)

    def uncommitted(block: Block) -> Block:
        entries = list(block.metadata)
        entries[TRANSACTIONS_FILTER] = b""
        return replace(block, metadata=tuple(entries))

    endpoint.change = uncommitted
    await network.orderer.engine.submit(_envelope(network))
    follower = network.followers[0]
    await eventually(lambda: "without the sequencer's validation codes" in _reason(follower))
    endpoint.change = lambda block: block
    await settled(network.nodes)


def _has_halted(node: OrderingNode) -> bool:
    return node.sink.halted is not None


def _has_two_under_way(stream: BroadcastStream) -> bool:
    return stream.under_way == 2


def _reason(node: OrderingNode) -> str:
    return node.engine.status().reason


@pytest.mark.parametrize("entries", [(), (b"", b"")])
async def test_block_with_too_little_metadata_does_not_end_the_following(network, entries) -> None:
    """Whatever a sequencer sends, the follower stays alive."""
    endpoint = _endpoint(network)
    endpoint.change = lambda block: replace(block, metadata=entries)
    await network.orderer.engine.submit(_envelope(network))
    follower = network.followers[0]
    await eventually(lambda: "was refused" in _reason(follower))
    endpoint.change = lambda block: block
    await settled(network.nodes)


async def test_other_chain_of_the_same_sequencer_halts_the_follower(network) -> None:
    """A validly signed block that follows another history means that there are two chains."""
    await network.orderer.engine.submit(_envelope(network, 1))
    await settled(network.nodes)
    signer = network.orderer.signer

    def forked(block: Block) -> Block:
        if block.number < 2:
            return block
        header = BlockHeader(block.number, b"\x01" * 32, block.header.data_hash)
        signed = sign_block(header, block.data, signer, 0)
        return with_validation(signed, [TxValidationCode.VALID], b"\x02" * 32)

    _endpoint(network).change = forked
    await network.orderer.engine.submit(_envelope(network, 2))
    for follower in network.followers:
        await eventually(partial(_has_halted, follower))
        assert "There are two chains" in str(follower.sink.halted)
        assert follower.sink.height == 2


async def test_sequencer_that_lost_blocks_is_told_apart(network) -> None:
    """Its ledger was restored from an old copy: the follower is ahead, and says so."""
    follower = network.followers[0]
    await network.orderer.engine.submit(_envelope(network, 1))
    await network.orderer.engine.submit(_envelope(network, 2))
    await settled(network.nodes)
    await network.stop_orderer()
    old = MemorySink(network.genesis)
    network.nodes[0] = replace(network.orderer, sink=old)
    network.nodes[0] = replace(network.orderer, engine=network._engine(network.orderer))
    await network.start_orderer()
    await eventually(lambda: "has not got as far as this node" in _reason(follower))
    assert follower.sink.halted is None


# --- the broadcast stream -------------------------------------------------------------------------


@pytest.fixture
async def channel(network) -> AsyncIterator[grpc.aio.Channel]:
    tls: NodeTls = network.tls["PtaMSP"].to_orderer(network.orderer.sink.configuration)
    async with grpc.aio.secure_channel(f"localhost:{network.port}", tls.credentials) as made:
        yield made


async def test_answer_that_does_not_come_has_an_open_outcome(network, channel) -> None:
    """The envelope was handed over; the wait has an end."""
    _endpoint(network).swallow = True
    stream = BroadcastStream(channel, "there", answer_timeout_s=0.2)
    with pytest.raises(OrderingUnavailable, match=r"has not answered for 0\.2 s") as away:
        await stream.send(_envelope(network))
    assert not away.value.outcome_definite
    assert "may have been ordered" in str(away.value)
    await stream.close()
    assert stream.under_way == 0


async def test_stream_takes_a_bounded_number_of_envelopes(network, channel) -> None:
    """Further ones are refused at once; definite, since nothing was sent."""
    _endpoint(network).swallow = True
    for options in ({"limit": 2}, {"limit_bytes": 2 * len(_envelope(network)) + 10}):
        stream = BroadcastStream(channel, "there", **options)
        tasks = [asyncio.create_task(stream.send(_envelope(network, n))) for n in range(2)]
        await eventually(partial(_has_two_under_way, stream))
        with pytest.raises(OrderingUnavailable, match="nothing was sent") as refused:
            await stream.send(_envelope(network, 3))
        assert refused.value.outcome_definite
        await stream.close()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(answer, OrderingUnavailable) for answer in answers)


async def test_sequencer_that_cannot_be_reached_took_nothing(network) -> None:
    """All who wait are told together, after one attempt to connect."""
    tls = network.tls["PtaMSP"].to_orderer(network.orderer.sink.configuration)
    await network.stop_orderer()
    async with grpc.aio.secure_channel(f"localhost:{network.port}", tls.credentials) as channel:
        stream = BroadcastStream(channel, "there", connect_timeout_s=0.3)
        async with asyncio.timeout(DEADLINE_S):
            answers = await asyncio.gather(
                *(stream.send(_envelope(network, number)) for number in range(20)),
                return_exceptions=True,
            )
        await stream.close()
    assert all(
        isinstance(answer, OrderingUnavailable) and answer.outcome_definite for answer in answers
    )
    assert "does not answer" in str(answers[0])


async def test_stream_is_opened_again_after_it_broke(network, channel) -> None:
    """A broken stream spoils what was on it and nothing after."""
    stream = BroadcastStream(channel, "there")
    await stream.send(_envelope(network, 1))
    network.nodes[0] = await network.restart(network.orderer)
    async with asyncio.timeout(DEADLINE_S):
        await stream.send(_envelope(network, 2))
    await stream.close()
    assert len(network.orderer.sink.envelopes) == 2


async def test_answers_belong_to_their_envelopes(network, channel) -> None:
    """Good and refused ones in any mix, with callers that leave in between."""
    stream = BroadcastStream(channel, "there")
    good = [_envelope(network, number) for number in range(12)]
    tasks = [
        asyncio.create_task(stream.send(envelope if number % 3 else envelope + b"\x00"))
        for number, envelope in enumerate(good)
    ]
    await asyncio.sleep(0)
    tasks[4].cancel()
    tasks[6].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    for number, answer in enumerate(answers):
        if number in (4, 6):
            assert isinstance(answer, asyncio.CancelledError)
        elif number % 3:
            assert answer is None
        else:
            assert "trailing" in str(answer) or "protobuf" in str(answer)
    await stream.close()
