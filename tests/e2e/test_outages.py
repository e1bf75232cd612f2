"""Outages under load, on real processes: the orderer's node, a follower, spoilt state, no room."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest

from clients.gateway.errors import CommitStatusError, SubmitError
from clients.gateway.messages import commit_request
from ledger.faults import WriteStep
from ledger.state.database import ChannelDatabase
from ledger.state.keys import decode_entry, encode_entry, public_prefix
from ledger.state.version import Version
from ledger.validation.updates import Update
from tests.support.mortal_node import Fault
from tests.support.node_network import CHANNEL, MEMBERS, NodeNetwork
from tests.support.payment_load import Load, members_file, open_book, payment_load
from tests.support.processes import process_of, qist

pytestmark = pytest.mark.slow

QUERIES = 20
NOTHING_NOW = "nothing can be submitted now"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeNetwork]:
    """Four node processes with a lender's book of agreements."""
    folder = tmp_path_factory.mktemp("outages") / "net"
    with NodeNetwork.running(folder, *members_file(folder.parent)) as made:
        open_book(made, folder.parent)
        yield made


@pytest.fixture
def running(network: NodeNetwork) -> NodeNetwork:
    """The network with all its nodes up."""
    network.start(*[msp_id for msp_id in MEMBERS if not network.is_running(msp_id)])
    network.all_accept()
    return network


async def verify(network: NodeNetwork, load: Load) -> None:
    """The closing checks: what clients were told is what the book and all four ledgers hold."""
    await asyncio.to_thread(network.all_accept)
    await load.find_open()
    await load.verify_book()
    load.verify(network.verify())


# ---- queries meanwhile


@dataclass
class Answers:
    """What one node has answered; a query that fails ends the test.

    Attributes:
        count: answers so far.
        slowest_s: the longest that one took.
    """

    count: int = 0
    slowest_s: float = 0.0


@asynccontextmanager
async def questions(network: NodeNetwork, *msp_ids: str) -> AsyncIterator[dict[str, Answers]]:
    """Ask nodes for a standing without pause, as long as the block lasts; every one must answer."""
    answers = {msp_id: Answers() for msp_id in msp_ids}

    async def ask(msp_id: str) -> None:
        async with network.gateway(msp_id, "auditor") as gateway:
            contract = gateway.network(CHANNEL).contract("instalments")
            while True:
                began = time.monotonic()
                standing = json.loads(await contract.evaluate("Standing", "AG-0", ""))
                assert standing["agreement"] == "AG-0"
                told = answers[msp_id]
                told.count += 1
                told.slowest_s = max(told.slowest_s, time.monotonic() - began)
                await asyncio.sleep(0.02)

    tasks = [asyncio.create_task(ask(msp_id)) for msp_id in msp_ids]
    try:
        yield answers
        for task in tasks:
            assert not task.done(), task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def answered(load: Load, answers: dict[str, Answers]) -> None:
    """Return when every node has answered so many further questions."""
    before = {msp_id: told.count for msp_id, told in answers.items()}
    await load.until(
        "answers of every node",
        lambda: all(told.count >= before[each] + QUERIES for each, told in answers.items()),
    )


# ---- the orderer's node


def refusals(load: Load, msp_id: str, words: str) -> list[SubmitError]:
    """How a member's submissions were refused in these words."""
    (client,) = [each for each in load.clients if each.msp_id == msp_id]
    errors = [each.error for each in client.attempts]
    return [each for each in errors if isinstance(each, SubmitError) and words in str(each)]


async def refused(load: Load, msp_id: str, words: str = NOTHING_NOW) -> SubmitError:
    """Wait until submissions of a member have been refused in these words; return the newest."""
    await load.until(
        f"refusals of {msp_id}: {words}", lambda: len(refusals(load, msp_id, words)) >= 2
    )
    return refusals(load, msp_id, words)[-1]


async def test_orderers_node_killed_under_load_stops_submissions_only_and_goes_on_by_itself(
    running: NodeNetwork,
) -> None:
    """Meanwhile the others answer queries and say plainly that nothing can be submitted; what was
    under way is told as open; when the node is back all goes on without touching the others.
    """
    sequencer = running.sequencer
    others = [each for each in MEMBERS if each != sequencer]
    processes = {each: process_of(running.node(each)) for each in others}
    async with payment_load(running, "O") as load, questions(running, *others) as answers:
        orderer = process_of(running.node(sequencer))
        os.kill(orderer, signal.SIGSTOP)
        await load.until(
            "an envelope of every other member on its way",
            lambda: all(running.status(each)["ordering"]["queued"] > 0 for each in others),
        )
        running.kill(sequencer)
        for each in others:
            error = await refused(load, each)
            assert error.code is grpc.StatusCode.UNAVAILABLE
            assert "queries go on" in str(error)
            status = running.status(each)
            assert status["ready"]
            assert not status["ordering"]["accepting"]
            assert status["ordering"]["reason"]
        await answered(load, answers)
        command = ("submit", "enforcement", "AdvanceDay", "--user", "lending", "--json")
        answer = await asyncio.to_thread(qist, *command, "--profile", running.profile(others[0]))
        assert answer.code == 3
        assert NOTHING_NOW in answer.error["message"]
        under_way = [each.error for each in load.attempts if each.told == "open"]
        words = [str(each) for each in under_way if isinstance(each, SubmitError)]
        assert sum("ask for its status before submitting it again" in each for each in words) >= 3
        for each, told in answers.items():
            print(f"{each}: {told.count} answers, the slowest {told.slowest_s:.3f} s")  # noqa: T201
        running.start(sequencer)
        await load.another_round()
        assert {each: process_of(running.node(each)) for each in others} == processes
    await verify(running, load)


async def test_transaction_that_was_ordered_before_the_answer_was_lost_is_found_by_its_status(
    running: NodeNetwork,
) -> None:
    """The orderer's node dies when a block is durable and nobody was told: clients hear that the
    outcome is open, and CommitStatus finds it once the node is back.
    """
    sequencer = running.sequencer
    async with payment_load(running, "S") as load:
        running.kill(sequencer)
        before = load.told()["open"]
        running.start(sequencer, fault=Fault(WriteStep.BATCH, "after", occurrence=5))
        await asyncio.to_thread(running.wait_dead, sequencer)
        await load.until("an open outcome", lambda: load.told()["open"] > before)
        running.start(sequencer)
        await load.another_round()
    assert await load.find_open() > 0
    await verify(running, load)


# ---- a follower


async def test_follower_that_was_away_catches_up_while_the_others_go_on(
    running: NodeNetwork,
) -> None:
    """Nobody waits for it, and it takes every block that it missed."""
    away = "PtaMSP"
    others = [each for each in MEMBERS if each != away]
    async with payment_load(running, "A") as load:
        running.kill(away)
        for _ in range(3):
            await load.another_round(*others)
        missed = running.height(others[0])
        running.start(away)
        await asyncio.to_thread(
            running.wait_until,
            away,
            "that it has caught up",
            lambda status: status["height"] > missed,
        )
        await load.another_round()
    await verify(running, load)


def spoil(ledger: Path, key: str) -> None:
    """Let a stopped node believe that another transaction wrote a key of `instalments` last."""
    database = ChannelDatabase(ledger / "state")
    try:
        place = public_prefix("instalments") + key.encode()
        raw = database.get(place)
        assert raw is not None, key
        entry = decode_entry(raw)
        changed = Update(key.encode(), entry.value, Version(0, 7), entry.metadata)
        database.write([(place, encode_entry(changed))], [])
    finally:
        database.close()


async def test_follower_with_a_spoilt_state_halts_answers_and_is_restored_from_its_backup(
    running: NodeNetwork,
) -> None:
    """At the first difference it says what differs and takes nothing more, goes on answering
    queries, and does not hinder the others; a backup holds blocks only, so restoring heals it.
    """
    spoilt = "MakerMSP"
    others = [each for each in MEMBERS if each != spoilt]
    node, key = running.node(spoilt), "standing/AG-0"
    async with payment_load(running, "D") as load:
        await asyncio.to_thread(running.stop, spoilt)
        spoil(node / "ledger", key)
        checked = await asyncio.to_thread(qist, "fsck", node, "--json")
        assert checked.code == 1
        assert key in json.dumps(checked.json["nodes"][0]["findings"])
        running.start(spoilt)
        await asyncio.to_thread(
            running.wait_until, spoilt, "that it halts", lambda status: status["halted"]
        )
        status = running.status(spoilt)
        assert "this node says MVCC_READ_CONFLICT, the orderer says VALID" in status["halted"]
        assert not status["ready"]
        async with questions(running, spoilt) as answers:
            await answered(load, answers)
            await load.another_round(*others)
        assert running.height(spoilt) == status["height"]
        async with running.gateway(spoilt) as gateway:
            with pytest.raises(CommitStatusError, match="has halted"):
                await gateway.commit_status(commit_request(gateway.identity, CHANNEL, "0" * 64))
        archive = node.with_name("node.backup")
        saved = await asyncio.to_thread(qist, "node", "backup", node, "--out", archive, "--json")
        assert saved.code == 0, saved.err
        await asyncio.to_thread(running.stop, spoilt)
        node.rename(node.with_name("node.spoilt"))
        restored = await asyncio.to_thread(
            qist, "node", "restore", node, "--from", archive, "--json"
        )
        assert restored.code == 0, restored.err
        running.start(spoilt)
        await load.another_round()
    await verify(running, load)


# ---- no room


async def test_follower_whose_disk_takes_no_more_halts_answers_and_recovers_with_room(
    running: NodeNetwork,
) -> None:
    """A write that the system breaks off in its middle halts the node with plain words; started
    again with room it cuts off or replays what it left, says so, and catches up.
    """
    full = "PtaMSP"
    others = [each for each in MEMBERS if each != full]
    async with payment_load(running, "F") as load:
        segment = max((running.node(full) / "ledger" / "blocks").glob("*.seg"))
        most = segment.stat().st_size + 1_000
        psutil.Process(process_of(running.node(full))).rlimit(psutil.RLIMIT_FSIZE, (most, most))
        await asyncio.to_thread(
            running.wait_until, full, "that it halts", lambda status: status["halted"]
        )
        status = running.status(full)
        assert "could not be written" in status["halted"]
        assert "make room" in status["halted"]
        assert not status["ready"]
        async with questions(running, full) as answers:
            await answered(load, answers)
            await load.another_round(*others)
        await asyncio.to_thread(running.stop, full)
        running.start(full)
        await load.another_round()
        assert running.status(full)["recovered"]
    await verify(running, load)


async def test_orderers_node_whose_disk_is_full_orders_nothing_answers_and_recovers_with_room(
    running: NodeNetwork,
) -> None:
    """Every other member is told that nothing can be submitted; queries go on everywhere, at the
    orderer too; started again with room it has the block that was stored.
    """
    sequencer = running.sequencer
    fault = Fault(WriteStep.BATCH, "before", occurrence=5, fault="full")
    async with payment_load(running, "N") as load:
        running.kill(sequencer)
        running.start(sequencer, fault=fault)
        await asyncio.to_thread(
            running.wait_until, sequencer, "that it halts", lambda status: status["halted"]
        )
        halted = running.status(sequencer)["halted"]
        assert "No space left on device" in halted
        async with questions(running, *MEMBERS) as answers:
            for each in MEMBERS:
                if each != sequencer:
                    error = await refused(load, each, "its channel has halted or is stopping")
                    assert error.code is grpc.StatusCode.UNAVAILABLE
                    assert NOTHING_NOW in str(error)
            await answered(load, answers)
        await asyncio.to_thread(running.stop, sequencer)
        running.start(sequencer)
        await load.another_round()
        assert "stored but not yet in the state" in running.status(sequencer)["recovered"]
    await verify(running, load)
