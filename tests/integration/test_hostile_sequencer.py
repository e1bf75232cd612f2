"""Hostile sequencer: blocks that do not follow, that nobody signed, or that came out otherwise.

A follower is a real node, over gRPC and TLS. What is no block of the channel it refuses and asks
again; at a block that the sequencer did sign and that cannot be, it halts and says so. Queries go
on all the while, and all that was ordered is taken as soon as the sequencer is honest again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import grpc
import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import ab_pb2

from clients.gateway.errors import CommitStatusError, EndorseError, SubmitError
from clients.gateway.messages import commit_request
from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.blocks.metadata import (
    COMMIT_HASH,
    SIGNATURES,
    TRANSACTIONS_FILTER,
    commit_hash_of,
    with_validation,
)
from ledger.transactions.codes import TxValidationCode
from network.msp import SigningIdentity
from network.ordering.block_signature import sign_block
from nodes.node import Node
from tests.support.hostile import Doors, Hostile, hostile_network
from tests.support.hostile_requests import BANK, PTA
from tests.support.local_network import CHANNEL, DEADLINE_S, until
from tests.support.lying_sequencer import Liar, delivered, lying_sequencer
from tests.support.members import Member

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode
AHEAD = 2
"""Blocks that the follower has missed when the lies begin."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    async with hostile_network(tmp_path_factory.mktemp("network")) as running:
        # The follower halts by design; each test looks at why.
        running.forgiven = ["has halted"]
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def liar(hostile: Hostile) -> AsyncIterator[Liar]:
    """In the place of the bank's node, with two blocks that the regulator's node lacks."""
    network = hostile.network
    await network.stop(PTA)
    async with Doors.of(hostile) as doors:
        for _ in range(AHEAD):
            assert await doors.ordered(doors.envelope(network.signer(BANK))) == ["VALID"]
    async with lying_sequencer(network, BANK) as standing:
        yield standing
    await network.start(PTA)


Lie = Callable[[Liar, Hostile], Sequence[bytes]]


def missed(liar: Liar) -> Block:
    """The block that the follower waits for."""
    return liar.blocks[-AHEAD]


def made(
    liar: Liar,
    *,
    data: tuple[bytes, ...] = (),
    signer: SigningIdentity | None = None,
    number: int | None = None,
    previous_hash: bytes = b"",
) -> bytes:
    """The missed block made anew with something else in it, and signed."""
    true = missed(liar)
    header = BlockHeader(
        true.number if number is None else number,
        previous_hash or true.header.previous_hash,
        compute_data_hash(data or true.data),
    )
    block = sign_block(header, data or true.data, signer or liar.signer, 0)
    codes = [TxValidationCode.VALID] * len(block.data)
    return delivered(with_validation(block, codes, commit_hash_of(true)))


def with_metadata(liar: Liar, index: int, value: bytes) -> bytes:
    entries = list(missed(liar).metadata)
    entries[index] = value
    return delivered(replace(missed(liar), metadata=tuple(entries)))


def without_header(liar: Liar, _hostile: Hostile) -> list[bytes]:
    message = missed(liar).to_message()
    message.ClearField("header")
    return [bytes(ab_pb2.DeliverResponse(block=message).SerializeToString())]


def other_signature(liar: Liar, _hostile: Hostile) -> list[bytes]:
    """The signature of another block, which the sequencer did make."""
    return [with_metadata(liar, SIGNATURES, liar.blocks[-1].metadata[SIGNATURES])]


def config(liar: Liar, _hostile: Hostile) -> list[bytes]:
    """A configuration that nobody decided: that of the genesis block once more, as the next one."""
    first = common_pb2.Envelope.FromString(liar.blocks[0].data[0])
    payload = common_pb2.Payload.FromString(first.payload)
    header = common_pb2.SignatureHeader(creator=liar.signer.serialized, nonce=b"n" * 24)
    payload.header.signature_header = header.SerializeToString()
    channel_header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    channel_header.tx_id = ""
    payload.header.channel_header = channel_header.SerializeToString()
    config = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    config.config.sequence = 1
    payload.data = config.SerializeToString()
    raw = payload.SerializeToString()
    envelope = common_pb2.Envelope(payload=raw, signature=liar.signer.sign(raw))
    return [made(liar, data=(envelope.SerializeToString(),))]


NOT_SIGNED = "its signatures do not satisfy /Channel/Orderer/BlockValidation"
REFUSED: dict[str, tuple[Lie, str]] = {
    "a later block": (
        lambda liar, _: [delivered(liar.blocks[-1])],
        "expected block number is",
    ),
    "an earlier block": (lambda liar, _: [delivered(liar.blocks[1])], "expected block number is"),
    "a number of its own": (
        lambda liar, _: [made(liar, number=2**63)],
        "expected block number is",
    ),
    "the same block twice": (
        lambda liar, _: [made(liar, number=missed(liar).number - 1)],
        "expected block number is",
    ),
    "other data under the signed header": (
        lambda liar, _: [delivered(replace(missed(liar), data=liar.blocks[-1].data))],
        "is not the hash of its data; take it from another node",
    ),
    "no data": (lambda liar, _: [delivered(replace(missed(liar), data=()))], "without the seq"),
    "no signature": (lambda liar, _: [with_metadata(liar, SIGNATURES, b"")], NOT_SIGNED),
    "a signature that is none": (
        lambda liar, _: [with_metadata(liar, SIGNATURES, b"\xff\xff")],
        "the SIGNATURES metadata is not a common.Metadata message",
    ),
    "another block's signature": (other_signature, NOT_SIGNED),
    "signed by a node that does not order": (
        lambda liar, hostile: [made(liar, signer=hostile.network.node_signer(PTA))],
        NOT_SIGNED,
    ),
    "signed by a client": (
        lambda liar, hostile: [made(liar, signer=hostile.network.signer(BANK))],
        NOT_SIGNED,
    ),
    "signed by a stranger": (
        lambda liar, _: [made(liar, signer=Member(BANK).identity("node0", "peer"))],
        NOT_SIGNED,
    ),
    "an envelope that is not well formed": (
        lambda liar, _: [made(liar, data=(missed(liar).data[0] + b"\0",))],
        "not well formed at transaction 0",
    ),
    "bytes for an envelope": (
        lambda liar, _: [made(liar, data=(b"\xff\xff",))],
        "not well formed at transaction 0",
    ),
    "no codes": (
        lambda liar, _: [with_metadata(liar, TRANSACTIONS_FILTER, b"")],
        "without the sequencer's validation codes",
    ),
    "codes for others": (
        lambda liar, _: [with_metadata(liar, TRANSACTIONS_FILTER, b"\0" * 9)],
        "without the sequencer's validation codes",
    ),
    "no metadata": (
        lambda liar, _: [delivered(replace(missed(liar), metadata=()))],
        "was refused",
    ),
    "no header": (without_header, "was refused"),
    "bytes for a block": (lambda _liar, _: [b"\xff\xff"], "sent what is no DeliverResponse"),
    "an empty answer": (lambda _liar, _: [b""], "refuses to deliver blocks"),
    "a status without a name": (
        lambda _liar, _: [ab_pb2.DeliverResponse(status=777).SerializeToString()],
        "refuses to deliver blocks",
    ),
}
HALTING: dict[str, tuple[Lie, str]] = {
    "a configuration": (
        config,
        "this node says INVALID_CONFIG_TRANSACTION, the orderer says VALID",
    ),
    "another history": (lambda liar, _: [made(liar, previous_hash=b"\1" * 32)], "two chains"),
    "another commit hash": (
        lambda liar, _: [
            with_metadata(
                liar, COMMIT_HASH, common_pb2.Metadata(value=b"\2" * 32).SerializeToString()
            )
        ],
        "commit hash",
    ),
    "another code": (
        lambda liar, _: [
            with_metadata(liar, TRANSACTIONS_FILTER, bytes([TxValidationCode.MVCC_READ_CONFLICT]))
        ],
        "this node says VALID, the orderer says MVCC_READ_CONFLICT",
    ),
}


async def followed(hostile: Hostile, liar: Liar, responses: Sequence[bytes]) -> Node:
    """Start the regulator's node and let the liar answer it."""
    liar.responses = responses
    await hostile.network.start(PTA)
    return hostile.network.node(PTA)


async def verify_queries(hostile: Hostile) -> None:
    async with hostile.network.gateway(PTA) as gateway, asyncio.timeout(DEADLINE_S):
        contract = gateway.network(CHANNEL).contract("counter")
        assert int(await contract.evaluate("Get", f"honest {PTA}")) > 0
        blocks = gateway.network(CHANNEL).block_events(start_block=0, stop_block=1)
        assert len([each async for each in blocks]) == 2


@pytest.mark.parametrize("what", REFUSED)
async def test_block_that_is_none_of_the_channel_is_refused_and_asked_for_again(
    hostile: Hostile, liar: Liar, what: str
) -> None:
    """The follower stays where it is and says why; it has not halted, and takes the true block as
    soon as it comes.
    """
    lie, words = REFUSED[what]
    node = await followed(hostile, liar, lie(liar, hostile))
    height = missed(liar).number
    try:
        await until(lambda: words in node.engine.status().reason)
        assert node.channel.height == height
        assert node.channel.halted is None
        await verify_queries(hostile)
        async with hostile.network.gateway(PTA) as gateway:
            contract = gateway.network(CHANNEL).contract("counter")
            draft = contract.new_proposal("Put", "k", "1", endorsing_organisations=[PTA])
            # Or the connection breaks, between two attempts to follow.
            words = "nothing can be submitted now|broke before it answered"
            with pytest.raises(SubmitError, match=words) as refused:
                await gateway.submit(await gateway.endorse(draft))
            assert refused.value.code is Code.UNAVAILABLE
    finally:
        await hostile.network.stop(PTA)


@pytest.mark.parametrize("what", HALTING)
async def test_block_that_the_sequencer_signed_and_that_cannot_be_halts_the_follower(
    hostile: Hostile, liar: Liar, what: str
) -> None:
    """It names the difference, takes and endorses nothing more, and goes on answering queries."""
    lie, words = HALTING[what]
    node = await followed(hostile, liar, lie(liar, hostile))
    try:
        # The writer's thread halts; the engine hears of it on the loop, a moment later.
        await until(lambda: bool(node.channel.halted and node.engine.status().reason))
        status = node.status()
        assert words in status.halted
        assert f"block {missed(liar).number}" in status.halted
        assert (status.ready, status.height) == (False, missed(liar).number)
        assert status.ordering.reason.startswith(f"channel {CHANNEL} has halted: ")
        await verify_queries(hostile)
        async with hostile.network.gateway(PTA) as gateway:
            contract = gateway.network(CHANNEL).contract("counter")
            with pytest.raises(EndorseError, match="ask another member's node"):
                await gateway.endorse(contract.new_proposal("Put", "k", "1"))
            with pytest.raises(CommitStatusError, match="has halted"):
                await gateway.commit_status(commit_request(gateway.identity, CHANNEL, "0" * 64))
    finally:
        await hostile.network.stop(PTA)


async def test_follower_of_a_sequencer_that_says_nothing_waits_and_serves(
    hostile: Hostile, liar: Liar
) -> None:
    """Then the true blocks come, and it goes on."""
    node = await followed(hostile, liar, [])
    try:
        asked = liar.asked
        await until(lambda: liar.asked > 0 and node.engine.status().accepting)
        await verify_queries(hostile)
        assert node.channel.height == missed(liar).number
        assert liar.asked <= asked + 1
    finally:
        await hostile.network.stop(PTA)
    node = await followed(hostile, liar, [delivered(block) for block in liar.blocks[-AHEAD:]])
    try:
        await until(lambda: node.channel.height == len(liar.blocks))
        assert node.channel.halted is None
        assert node.channel.last_header_hash == liar.blocks[-1].header.hash()
    finally:
        await hostile.network.stop(PTA)
