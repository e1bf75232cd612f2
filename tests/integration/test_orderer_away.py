"""When the orderer's node is away, or a node's state is not what the others have."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from clients.gateway.errors import CommitStatusError, SubmitError
from clients.gateway.messages import commit_request
from clients.gateway.retry import RetryPolicy
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, DEADLINE_S, local_network, until
from tests.support.tampering import tamper


def counter(gateway: AsyncGateway) -> AsyncContract:
    return gateway.network(CHANNEL).contract("counter")


async def test_submit_while_the_orderer_is_away_is_refused_plainly_and_works_again_later(
    tmp_path: Path,
) -> None:
    """Queries and endorsements go on; submitting says that nothing can be submitted now and that
    nothing was; after the orderer is back the same transaction goes through.
    """
    async with local_network(tmp_path, [Counter()]) as network:
        async with network.gateway("OperatorMSP") as gateway:
            await counter(gateway).submit("Add", "k", "1")
            await network.settled()
            endorsed = await gateway.endorse(counter(gateway).new_proposal("Add", "k", "1"))
            await network.stop("BankMSP")
            with pytest.raises(SubmitError, match="nothing can be submitted now") as refused:
                await gateway.submit(endorsed)
            assert refused.value.code is grpc.StatusCode.UNAVAILABLE
            assert refused.value.details[0].address.endswith(
                str(network.members["BankMSP"].node_port)
            )
            assert await counter(gateway).evaluate("Get", "k") == b"1"
            assert not network.node("PtaMSP").status().ordering.accepting
            assert network.node("PtaMSP").status().ready
            await network.start("BankMSP")
            follower = network.node("OperatorMSP")
            await until(lambda: follower.engine.status().accepting)
            status = await gateway.commit_status(await gateway.submit(endorsed))
            assert status.is_valid
        await network.verify()


async def test_followers_that_were_away_catch_up_with_the_blocks_they_missed(
    tmp_path: Path,
) -> None:
    """A node that comes back takes every block it missed, and judges each for itself."""
    async with local_network(tmp_path, [Counter()]) as network:
        await network.stop("MakerMSP", "PtaMSP")
        async with network.gateway("BankMSP") as gateway:
            for number in range(5):
                await counter(gateway).submit("Add", f"k{number}", "1")
        await network.start("MakerMSP", "PtaMSP")
        await network.settled()
        await network.verify()


async def test_client_waiting_for_a_commit_is_told_when_its_node_goes(tmp_path: Path) -> None:
    """A wait ends with UNAVAILABLE at once, not with the client's deadline."""
    async with (
        local_network(tmp_path, [Counter()]) as network,
        network.gateway("PtaMSP") as gateway,
        asyncio.timeout(DEADLINE_S),
    ):
        endorsed = await gateway.endorse(counter(gateway).new_proposal("Add", "k", "1"))
        await network.stop("BankMSP")
        request = commit_request(gateway.identity, CHANNEL, endorsed.tx_id)
        waiting = asyncio.create_task(gateway.commit_status(request))
        waits = network.node("PtaMSP").servers.waits
        await until(lambda: waits.at_work == 1)
        await network.stop("PtaMSP")
        with pytest.raises(CommitStatusError) as told:
            await waiting
        assert told.value.code is grpc.StatusCode.UNAVAILABLE
        await network.start("BankMSP", "PtaMSP")
        await network.verify()


async def test_node_whose_state_was_changed_halts_at_the_first_difference_and_still_answers(
    tmp_path: Path,
) -> None:
    """It says what differs, is not ready, takes and endorses nothing more, keeps what it had, and
    goes on answering queries; the others go on without it.
    """
    async with local_network(tmp_path, [Counter()]) as network:
        async with network.gateway("BankMSP") as gateway:
            await counter(gateway).submit("Add", "k", "1")
            height = await network.settled()
            await network.stop("MakerMSP")
            tamper(network.members["MakerMSP"].folder / "ledger", "counter", "k")
            await network.start("MakerMSP")
            maker = network.node("MakerMSP")
            await counter(gateway).submit(
                "Add", "k", "1", endorsing_organisations=["BankMSP", "PtaMSP"]
            )
            await until(lambda: "has halted" in maker.status().ordering.reason)
            assert "this node says MVCC_READ_CONFLICT, the orderer says VALID" in str(
                maker.channel.halted
            )
            status = maker.status()
            assert (status.ready, status.height) == (False, height)
            assert status.halted == str(maker.channel.halted)
            assert not status.ordering.accepting
            for _ in range(3):
                await counter(gateway).submit("Add", "k", "1", retry=RetryPolicy())
        async with network.gateway("MakerMSP") as gateway:
            assert await counter(gateway).evaluate("Get", "k") == b"1"
            with pytest.raises(CommitStatusError, match="has halted"):
                await gateway.commit_status(commit_request(gateway.identity, CHANNEL, "0" * 64))
            blocks = gateway.network(CHANNEL).block_events(start_block=0, stop_block=height - 1)
            assert len([each async for each in blocks]) == height
        await network.stop("MakerMSP")
        await network.settled()
