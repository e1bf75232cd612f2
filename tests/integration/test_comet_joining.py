"""Nodes that begin again beside real CometBFT: by a snapshot, by blocks, behind, or ahead.

Each case ends with equal heights, header hashes and commit hashes, and a clean fsck of each ledger.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from pathlib import Path

import pytest

from ledger.blocks.block import Block
from ledger.errors import StorageError
from network.ordering.cometbft import running
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.finality.finality import FINALITY
from network.ordering.cometbft.finality.retention import retain_height
from network.ordering.cometbft.joining import beginning
from network.ordering.cometbft.joining.snapshot_chain import SnapshotSettings
from nodes import engines
from nodes.channel import Channel
from tests.support.comet_nodes import CometNetwork, comet_network
from tests.support.local_network import DEADLINE_S, MEMBERS, until

LATE = "PtaMSP"
INTERVAL = 5


async def caught_up(network: CometNetwork) -> None:
    """Wait until all nodes have every block, and take envelopes."""
    await network.settled()
    await network.ordering()


async def is_idle(network: CometNetwork) -> None:
    """Wait until all nodes have proofs of every block, after which no height is made."""
    channels = [network.node(each).channel for each in MEMBERS]
    await until(lambda: all(each.has_evidence(each.height - 1, FINALITY) for each in channels))


async def height_of(msp_id: str, network: CometNetwork) -> int:
    """CometBFT's height at a member."""
    status = await network.asked(msp_id, "status")
    return int(status["sync_info"]["latest_block_height"])


async def earliest_of(msp_id: str, network: CometNetwork) -> int:
    """The lowest height that CometBFT has at a member."""
    status = await network.asked(msp_id, "status")
    return int(status["sync_info"]["earliest_block_height"])


async def prune(network: CometNetwork, height: int) -> None:
    """Have blocks made until no CometBFT has the height behind *height* any more.

    Each is pruned when a height is committed, as far as its node has the records by then.
    """
    async with asyncio.timeout(DEADLINE_S):
        while any([await earliest_of(each, network) <= height + 1 for each in MEMBERS]):
            await network.add("k", 1)
            await network.settled()


async def test_node_whose_disk_was_lost_begins_with_a_snapshot_and_signs_nothing_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A snapshot brings the chain; the key signs only above what it may have signed before."""
    caplog.set_level("INFO", "network.ordering.cometbft.joining.snapshots")
    async with comet_network(tmp_path, interval=INTERVAL) as network:
        await network.stop(LATE)
        for part in ("ledger", "comet", "transient"):
            network.remove(LATE, part)
        await network.add("k", 2 * INTERVAL + 2)
        await network.giving(2 * INTERVAL)
        before = await height_of("BankMSP", network)
        network.set(LATE, "begin_with", '"snapshot"')
        await network.start(LATE)
        await caught_up(network)
        assert f"the snapshot is restored up to block {2 * INTERVAL}" in caplog.text
        status = await network.asked(LATE, "status")
        assert int(status["sync_info"]["earliest_block_height"]) > 1
        guarded = network.signed(LATE)
        assert guarded >= before
        async with asyncio.timeout(DEADLINE_S):
            # The others need no vote of its for a height, so it may be late for some.
            while network.signed(LATE) <= guarded:
                await network.add("k", 1)
        await network.verify()


async def test_comet_that_lost_its_data_or_is_behind_gets_what_the_ledger_has_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of it is written: it is compared with the ledger, and the node goes on."""
    async with comet_network(tmp_path) as network:
        await network.stop(LATE)
        kept = network.copy(LATE, "comet", "earlier")
        await network.start(LATE)
        await caught_up(network)
        await network.add("k", 3, LATE)
        await network.stop(LATE)
        network.put_back(LATE, "comet", kept)
        await network.start(LATE)
        await caught_up(network)
        assert "what lies between comes again" in caplog.text
        assert "signs nothing up to" not in caplog.text
        await network.stop(LATE)
        network.remove(LATE, "comet")
        await network.start(LATE)
        await caught_up(network)
        assert "signs nothing up to" in caplog.text
        await network.add("k", 1, LATE)
        await network.verify()


async def test_ledger_that_is_behind_or_torn_gets_its_blocks_from_comet_again(
    tmp_path: Path,
) -> None:
    """An older ledger, also with half a record at its end, is brought up by CometBFT's replay."""
    async with comet_network(tmp_path) as network:
        await network.stop(LATE)
        kept = network.copy(LATE, "ledger", "earlier")
        await network.start(LATE)
        await caught_up(network)
        await network.add("k", 3)
        await network.settled()
        await network.stop(LATE)
        network.put_back(LATE, "ledger", kept)
        newest = sorted((network.members[LATE].folder / "ledger/blocks").glob("*.seg"))[-1]
        with newest.open("ab") as file:
            file.write(b"QREC" + os.urandom(40))
        await network.start(LATE)
        assert "never finished" in "; ".join(network.node(LATE).channel.ledger.recovered)
        await caught_up(network)
        await network.add("k", 1, LATE)
        await network.verify()


async def test_old_ledger_beside_blocks_that_are_pruned_everywhere_takes_a_snapshot(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CometBFT's data begin behind what the ledger has, and nobody has what lies between."""
    caplog.set_level("INFO", "network.ordering.cometbft.joining.snapshots")
    monkeypatch.setattr(running, "retain_height", partial(retain_height, kept=2))
    monkeypatch.setattr(running, "KEPT_HEIGHTS", 0)
    monkeypatch.setattr(running, "_LOOK_EVERY_BLOCKS", 1)
    async with comet_network(tmp_path, interval=3) as network:
        await network.stop(LATE)
        kept = network.copy(LATE, "ledger", "earlier")
        await network.start(LATE)
        await caught_up(network)
        channel = network.node(LATE).channel
        old = channel.stored_block(channel.height - 1)
        assert old is not None
        await prune(network, comet_height_of(old))
        await network.stop(LATE)
        network.put_back(LATE, "ledger", kept)
        await network.start(LATE)
        await caught_up(network)
        assert "they begin behind what the ledger of this node has" in caplog.text
        assert "the snapshot is restored up to block" in caplog.text
        assert "signs nothing up to" not in caplog.text
        await network.add("k", 1, LATE)
        await network.verify()


async def test_two_of_four_that_lost_their_folders_on_an_idle_channel_vote_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither waits for a height that needs its own vote: nobody has a vote of theirs above."""
    monkeypatch.setattr(beginning, "PATIENCE_S", 1.0)
    async with comet_network(tmp_path) as network:
        await network.add("k", 1)
        await network.settled()
        await is_idle(network)
        await network.stop("MakerMSP", LATE)
        for each in ("MakerMSP", LATE):
            network.remove(each, "comet")
        await network.start("MakerMSP", LATE)
        await caught_up(network)
        assert caplog.text.count("so it signs nothing up to") == 2
        await network.add("k", 1, LATE)
        await network.verify()


async def test_node_that_fails_in_the_middle_of_a_snapshot_goes_on_where_it_stopped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its CometBFT has folders and nothing in them; its ledger has the blocks that were taken."""
    caplog.set_level("INFO", "network.ordering.cometbft.joining.snapshots")
    small = partial(SnapshotSettings, targets_bytes=(20_000,))
    monkeypatch.setattr(engines, "SnapshotSettings", small)
    restore = Channel.restore

    async def failing(channel: Channel, block: Block) -> None:
        if block.number == INTERVAL and INTERVAL not in failed:
            failed.append(block.number)
            raise StorageError("no room is left")
        await restore(channel, block)

    failed: list[int] = []
    monkeypatch.setattr(Channel, "restore", failing)
    async with comet_network(tmp_path, interval=INTERVAL) as network:
        await network.stop(LATE)
        for part in ("ledger", "comet"):
            network.remove(LATE, part)
        await network.add("k", 2 * INTERVAL + 2)
        await network.giving(2 * INTERVAL)
        network.set(LATE, "begin_with", '"snapshot"')
        await network.start(LATE)
        late = network.node(LATE)
        await until(lambda: "no room is left" in late.engine.status().reason)
        await network.stop(LATE)
        await network.start(LATE)
        await caught_up(network)
        assert f"the blocks below {INTERVAL} are here" in caplog.text
        assert f"the snapshot is restored up to block {2 * INTERVAL}" in caplog.text
        await network.add("k", 1, LATE)
        await network.verify()
