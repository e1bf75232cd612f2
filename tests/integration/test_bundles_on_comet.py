"""Bundles that their makers send to real CometBFTs themselves, past every node's bundler."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from network.ordering.cometbft.blocks.ordered import bundle_ids_of
from network.ordering.cometbft.bundles.bundle import BundleCode, make_bundle
from network.ordering.cometbft.bundles.window import WINDOW
from network.ordering.cometbft.process.rpc import CometRpc
from tests.support.comet_ordering import CometNetwork
from tests.support.members import CHANNEL, Member, signed_envelope
from tests.support.ordering_network import DEADLINE_S, settled

pytestmark = pytest.mark.slow


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[CometNetwork]:
    made = CometNetwork(tmp_path)
    await made.start()
    yield made
    await made.stop()


def bundle_of(network: CometNetwork, at: int, count: int, *, valid_for: int) -> bytes:
    """A bundle of a node, with envelopes of its member's client."""
    client = network.members[at].identity()
    inside = [signed_envelope(client, nonce=b"nonce %d" % place) for place in range(count)]
    height = network.nodes[at].sink.height
    return make_bundle(network.nodes[at].signer, CHANNEL, height + valid_for, inside)


async def test_what_can_no_longer_be_ordered_leaves_every_pool(network, tmp_path) -> None:
    """Of three bundles for one block two cannot be in it, and nothing else drops them.

    Left in the pool they would displace others, and cause one empty block after another.
    """
    most = network.nodes[0].sink.configuration.batch.max_message_count
    sent = [bundle_of(network, at, most // 2 + 1, valid_for=0) for at in range(3)]
    async with AsyncExitStack() as stack:
        rpcs = [CometRpc(tmp_path / str(at) / "comet" / "rpc.sock") for at in range(4)]
        for rpc in rpcs:
            stack.push_async_callback(rpc.close)
        await asyncio.gather(*(rpc.broadcast_tx(raw) for rpc, raw in zip(rpcs, sent, strict=False)))
        await network.nodes[0].sink.wait_for_height(2)
        async with asyncio.timeout(DEADLINE_S):
            for rpc in rpcs:
                while await waiting(rpc):  # noqa: ASYNC110 - CometBFT tells nobody of its pool
                    await asyncio.sleep(0.02)
        await settled(network.nodes)
        assert [len(bundle_ids_of(block)) for block in network.nodes[3].sink.blocks[1:]] == [1]


async def waiting(rpc: CometRpc) -> int:
    """How many transactions wait in a CometBFT's pool."""
    found = await rpc.call("num_unconfirmed_txs")
    return int(found["n_txs"])


async def test_bundles_that_break_a_rule_are_refused_by_a_real_pool(network, tmp_path) -> None:
    """With the code of the rule; what is good is ordered once, however often it is sent."""
    rpc = CometRpc(tmp_path / "0" / "comet" / "rpc.sock")
    good = bundle_of(network, 1, 2, valid_for=WINDOW)
    stranger = Member("BankMSP").identity("node", "peer")
    inside = [signed_envelope(network.members[0].identity())]
    height = network.nodes[0].sink.height
    bad = {
        good[:-1]: BundleCode.MALFORMED,
        make_bundle(network.nodes[0].signer, "other", height, inside): BundleCode.FOREIGN,
        make_bundle(stranger, CHANNEL, height, inside): BundleCode.NOT_A_CONSENTER,
        bundle_of(network, 0, 1, valid_for=WINDOW + 1): BundleCode.OUT_OF_TIME,
        make_bundle(network.nodes[0].signer, CHANNEL, height, [b"bad"]): BundleCode.ENVELOPE,
    }
    try:
        for raw, code in bad.items():
            found = await rpc.broadcast_tx(raw)
            assert (found.code, found.known) == (code, False), found.log
        assert (await rpc.broadcast_tx(good)).code == 0
        await network.nodes[0].sink.wait_for_height(2)
        assert (await rpc.broadcast_tx(good)).known
    finally:
        await rpc.close()
    other = CometRpc(tmp_path / "3" / "comet" / "rpc.sock")
    try:
        await network.nodes[3].sink.wait_for_height(2)
        again = await other.broadcast_tx(good)
        assert again.known or again.code == BundleCode.REPEATED
    finally:
        await other.close()
    await settled(network.nodes)
    assert [len(node.sink.envelopes) for node in network.nodes] == [2, 2, 2, 2]
