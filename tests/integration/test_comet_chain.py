"""A real CometBFT process with our ABCI server: blocks are made, and either side may be killed."""

from __future__ import annotations

import hashlib
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from network.ordering.cometbft.errors import CometRefusal
from network.ordering.cometbft.messages import abci_pb2, validator_pb2
from network.ordering.cometbft.process.rpc import MOST_TOGETHER
from tests.support.comet import (
    CometNode,
    Listing,
    consensus_key,
    genesis,
    node_id,
    until,
)
from tests.support.ports import free_port


async def test_comet_chain_given_transactions_makes_blocks(tmp_path: Path) -> None:
    """A transaction is checked, proposed, decided and committed; what is known is said to be."""
    async with CometNode(tmp_path) as node:
        await node.answers()
        first = await node.rpc.broadcast_tx(b"one")
        assert (first.code, first.known) == (0, False)
        await until(node.has(b"one"), "the transaction", said=node.process)
        assert node.application.transactions == [b"one"]
        refused = await node.rpc.broadcast_tx(b"no entry")
        assert (refused.code, refused.log) == (7, "refused by its first letters")
        again = await node.rpc.broadcast_tx(b"one")
        assert again.known
        with pytest.raises(CometRefusal, match="make it of fewer envelopes"):
            await node.rpc.broadcast_tx(bytes(node.settings.max_tx_bytes + 1))
    assert node.failures == []
    assert node.exits == []
    assert not node.settings.rpc_socket.exists()


async def test_comet_chain_makes_no_block_while_nothing_comes(tmp_path: Path) -> None:
    """After a block with a transaction one more proves its app hash, and then there is rest."""
    async with CometNode(tmp_path) as node:
        await node.answers()
        await node.ordered(b"one")
        first = node.application.placed[b"one"]
        app_hash = node.application.app_hash
        await node.reached(first + 1)
        proof = await node.rpc.signed_header(first + 1)
        assert proof is not None
        assert proof.header.app_hash == app_hash
        await node.ordered(b"two")
        assert node.application.placed[b"two"] == first + 2
        await node.reached(first + 3)

        async def is_told() -> bool:
            return (await node.rpc.status()).height == first + 3

        await until(is_told, "the newest height", said=node.process)
        status = await node.rpc.status()
        assert (status.earliest_height, status.catching_up) == (1, False)
        assert status.block_time is not None
        assert node.application.transactions == [b"one", b"two"]


async def test_comet_rpc_tells_headers_commits_and_validators(tmp_path: Path) -> None:
    """They are read as they were signed: the validator's own key verifies nothing less."""
    async with CometNode(tmp_path) as node:
        await node.answers()
        await node.ordered(b"one")
        await node.reached(2)
        found = await node.rpc.signed_header(1)
        assert found is not None
        public = consensus_key(0).public_key().public_bytes_raw()
        address = hashlib.sha256(public).digest()[:20]
        assert found.header.height == found.commit.height == 1
        assert found.header.chain_id == "listing-0123456789abcdef"
        assert found.header.proposer_address == address
        [vote] = found.commit.signatures
        assert vote.block_id_flag == validator_pb2.BLOCK_ID_FLAG_COMMIT
        assert vote.validator_address == address
        assert len(vote.signature) == 64
        assert found.commit.block_id.hash
        validators = await node.rpc.validators(2)
        assert validators is not None
        assert [each.pub_key.ed25519 for each in validators.validators] == [public]
        assert validators.total_voting_power == 1
        assert await node.rpc.signed_header(1_000) is None
        second = await node.rpc.signed_header(2)
        assert await node.rpc.signed_headers([1, 1_000, 2]) == [found, None, second]
        most = await node.rpc.signed_headers([1] * MOST_TOGETHER)
        assert most == [found] * MOST_TOGETHER
        assert await node.rpc.validators(1_000) is None
        assert (await node.rpc.progress()).round == 0
        assert await node.rpc.peers() == ()


async def test_comet_killed_is_started_again_and_the_chain_goes_on(tmp_path: Path) -> None:
    """The socket that it left does not keep it from starting; nothing is lost or made twice."""
    async with CometNode(tmp_path) as node:
        await node.answers()
        await node.ordered(b"one")
        pid = node.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

        async def is_another() -> bool:
            return node.process.pid not in (pid, None)

        await until(is_another, "another CometBFT process")
        await node.answers()
        await node.ordered(b"two")
        assert node.application.transactions == [b"one", b"two"]
        assert node.process.restarts == len(node.exits)
        assert node.exits[0].code == -signal.SIGKILL
        assert node.failures == []


async def test_comet_without_its_application_is_started_until_it_is_back(tmp_path: Path) -> None:
    """CometBFT ends, with exit code 0, when the application goes; it is started all the same."""
    async with CometNode(tmp_path) as node:
        await node.answers()
        await node.ordered(b"one")
        await node.server.stop()

        async def has_ended() -> bool:
            return bool(node.exits)

        await until(has_ended, "the end of CometBFT", said=node.process)
        assert node.exits[0].code == 0
        node.application = Listing(tmp_path / "listing.json")
        await node.serve_anew()
        await node.answers()
        await node.ordered(b"two")
        assert node.application.transactions == [b"one", b"two"]
        assert "init_chain" not in node.application.calls


async def test_comet_whose_application_forgot_everything_tells_it_anew(tmp_path: Path) -> None:
    """CometBFT replays its blocks from what the application says it has."""
    async with CometNode(tmp_path) as node:
        await node.answers()
        for each in (b"one", b"two"):
            await node.ordered(each)
    (tmp_path / "listing.json").unlink()
    async with CometNode(tmp_path, port=node.port) as again:
        await again.answers()
        assert again.application.transactions == [b"one", b"two"]
        assert again.application.calls.count("init_chain") == 1


class Failing(Listing):
    """A listing that cannot finalize a block with `poison` in it."""

    async def finalize_block(
        self, request: abci_pb2.RequestFinalizeBlock
    ) -> abci_pb2.ResponseFinalizeBlock:
        if b"poison" in request.txs:
            raise RuntimeError("the state is broken")
        return await super().finalize_block(request)


async def test_comet_whose_application_fails_commits_nothing_and_says_why(tmp_path: Path) -> None:
    """What the application raises reaches the node as it was, and CometBFT's log as words."""
    async with CometNode(tmp_path, application=Failing(tmp_path / "listing.json")) as node:
        await node.answers()
        await node.ordered(b"one")
        await node.rpc.broadcast_tx(b"poison")

        async def has_failed() -> bool:
            return bool(node.failures)

        await until(has_failed, "the failure", said=node.process)
        assert [str(each) for each in node.failures] == ["the state is broken"]
        assert node.application.transactions == [b"one"]

        async def is_told() -> bool:
            return any("the state is broken" in each for each in node.process.last_words)

        await until(is_told, "CometBFT's word of it", said=node.process)


async def test_comet_chain_of_four_orders_for_all_and_links_only_the_named(tmp_path: Path) -> None:
    """The settings let four on one machine find each other; all commit the same in one order."""
    keys = [consensus_key(number) for number in range(4)]
    ports = [free_port() for _ in keys]
    addresses = [f"{node_id(number)}@127.0.0.1:{ports[number]}" for number in range(4)]
    async with AsyncExitStack() as stack:
        nodes = []
        for number in range(4):
            folder = tmp_path / str(number)
            folder.mkdir()
            node = CometNode(
                folder,
                number=number,
                genesis_bytes=genesis(keys),
                peers=tuple(each for each in addresses if not each.startswith(node_id(number))),
                port=ports[number],
            )
            nodes.append(await stack.enter_async_context(node))
        for node in nodes:
            await node.answers()
        for number, node in enumerate(nodes):
            assert (await node.rpc.broadcast_tx(b"from %d" % number)).code == 0
        for number in range(4):
            for node in nodes:
                await until(node.has(b"from %d" % number), "every transaction", said=node.process)
        assert len({tuple(node.application.transactions) for node in nodes}) == 1
        others = {node_id(number) for number in range(1, 4)}

        async def are_linked() -> bool:
            return set(await nodes[0].rpc.peers()) == others

        await until(are_linked, "links to all the others", said=nodes[0].process)
        validators = await nodes[0].rpc.validators(1)
        assert validators is not None
        assert len(validators.validators) == 4
        assert [node.failures for node in nodes] == [[]] * 4
