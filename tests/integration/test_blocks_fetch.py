"""``qist blocks fetch`` against a node of ours over TLS, and the replay of what was fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from typer.testing import CliRunner

from clients.blocks.fetching import BlockFolder, fetch_blocks
from clients.cli.blocks import app
from clients.gateway.blocking import Gateway
from clients.gateway.errors import EventsError
from ledger.errors import BlockError, Refusal, Unavailable
from nodes.cli.replay import app as replay_app
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, LocalNetwork, local_network
from tests.support.recording import recorded_blocks

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBERS = ("BankMSP", "PtaMSP")
BLOCKS = 5


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    """A channel of five blocks: genesis, definition, three payments into a counter."""
    folder = tmp_path_factory.mktemp("network")
    async with local_network(folder, [Counter()], members=MEMBERS) as running:
        async with running.gateway("BankMSP") as gateway:
            for _ in range(BLOCKS - 2):
                await gateway.network(CHANNEL).contract("counter").submit("Add", "k", "1")
        assert await running.settled() == BLOCKS
        yield running


def fetch(network: LocalNetwork, out: Path, *more: str, user: str = "auditor") -> tuple[int, str]:
    """Run the command as a user of the bank."""
    endpoint = network.endpoint("BankMSP")
    ca = out.parent / "ca.pem"
    ca.write_bytes(endpoint.tls_ca_pem)
    words = [
        *("fetch", str(out), "--peer", endpoint.address, "--tls-ca", str(ca)),
        *("--msp", str(user_folder(network, user)), "--msp-id", "BankMSP", "--channel", CHANNEL),
        *more,
    ]
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def user_folder(network: LocalNetwork, user: str) -> Path:
    network.signer("BankMSP", user)
    return network.members["BankMSP"].organisation.folder / "users" / user / "msp"


async def test_blocks_are_fetched_and_replay_without_a_difference(
    network: LocalNetwork, tmp_path: Path
) -> None:
    """One file a block, as the peer has them; our own chain passes our own audit."""
    out = tmp_path / "blocks"
    status, output = await asyncio.to_thread(fetch, network, out)
    assert status == 0
    assert f"fetched {BLOCKS} blocks into {out}" in output
    ledger = network.node("BankMSP").channel.ledger
    for number in range(BLOCKS):
        stored = ledger.block(number)
        assert stored is not None
        assert (out / f"{number:06}.block").read_bytes() == stored.encode()
    replayed = await asyncio.to_thread(CliRunner().invoke, replay_app, [str(tmp_path)])
    assert replayed.exit_code == 0, replayed.output
    assert f"height {BLOCKS}" in replayed.output
    assert f"commit hashes {BLOCKS - 1}" in replayed.output


async def test_fetch_goes_on_behind_the_last_file(network: LocalNetwork, tmp_path: Path) -> None:
    """A part that was cut off is no file; what is there is not fetched again."""
    out = tmp_path / "blocks"
    await asyncio.to_thread(fetch, network, out, "--last", "1")
    (out / ".000002.part").write_bytes(b"half a block")
    before = (out / "000001.block").stat().st_mtime_ns
    status, output = await asyncio.to_thread(fetch, network, out)
    assert status == 0
    assert f"fetched {BLOCKS - 2} blocks" in output
    assert (out / "000001.block").stat().st_mtime_ns == before
    assert sorted(each.name for each in out.glob("*")) == [
        f"{number:06}.block" for number in range(BLOCKS)
    ]
    assert "fetched 0 blocks" in (await asyncio.to_thread(fetch, network, out))[1]


async def test_fetch_into_blocks_of_another_chain_or_with_a_gap_is_refused(
    network: LocalNetwork, tmp_path: Path
) -> None:
    """The next block must name the last one that is there."""
    out = tmp_path / "blocks"
    out.mkdir()
    (out / "000000.block").write_bytes(recorded_blocks()[0].raw)
    with pytest.raises(BlockError, match="does not name the block before"):
        await asyncio.to_thread(fetch, network, out)
    (out / "000002.block").write_bytes(recorded_blocks()[2].raw)
    with pytest.raises(BlockError, match="lacks block 1 and holds block 2"):
        await asyncio.to_thread(fetch, network, out)


async def test_fetch_of_a_range_takes_that_range(network: LocalNetwork, tmp_path: Path) -> None:
    """And one beyond the newest block is refused."""
    out = tmp_path / "blocks"
    await asyncio.to_thread(fetch, network, out, "--first", "2", "--last", "3")
    assert sorted(each.name for each in out.iterdir()) == ["000002.block", "000003.block"]
    with pytest.raises(Refusal, match=f"newest block of channel {CHANNEL} is {BLOCKS - 1}"):
        await asyncio.to_thread(fetch, network, out, "--last", "99")


class Peer:
    """A peer that sends what a test wants, where a gateway is asked for blocks."""

    identity = type("Signer", (), {"serialized": b"somebody", "sign": lambda self, raw: b""})()

    def __init__(self, newest: int, sent: list[Any]) -> None:
        self._answers: list[list[Any]] = [[message(newest)], sent]

    def block_events(self, request: Any, *, timeout_s: float) -> list[Any]:
        return self._answers.pop(0)


def message(number: int) -> Any:
    return common_pb2.Block.FromString(recorded_blocks()[number].raw)


def taken(peer: Peer, folder: Path) -> list[int]:
    gateway: Any = peer
    return [block.number for block in fetch_blocks(gateway, "qist-raft", BlockFolder(folder))]


async def test_peer_that_sends_something_else_is_not_believed(tmp_path: Path) -> None:
    """Another number, another predecessor, other data, an end too soon or too late: nothing of it
    stays.
    """
    assert taken(Peer(2, [message(0), message(1), message(2)]), tmp_path / "good") == [0, 1, 2]
    with pytest.raises(BlockError, match="sent block 2 where 1 follows"):
        taken(Peer(2, [message(0), message(2)]), tmp_path / "a")
    other = message(1)
    other.header.previous_hash = bytes(32)
    with pytest.raises(BlockError, match="does not name the block before"):
        taken(Peer(1, [message(0), other]), tmp_path / "b")
    other = message(1)
    other.data.data[0] += b"x"
    with pytest.raises(BlockError, match="data hash of block 1"):
        taken(Peer(1, [message(0), other]), tmp_path / "c")
    with pytest.raises(Unavailable, match="ended with block 0"):
        taken(Peer(1, [message(0)]), tmp_path / "d")
    with pytest.raises(BlockError, match="goes on behind block 0"):
        taken(Peer(0, [message(0), message(1)]), tmp_path / "e")
    for folder in "abcde":
        assert [each.name for each in (tmp_path / folder).iterdir()] == ["000000.block"]


async def test_peer_that_refuses_is_quoted(network: LocalNetwork, tmp_path: Path) -> None:
    """An unknown channel, as the peer says it."""
    with (
        Gateway(network.endpoint("BankMSP"), network.signer("BankMSP")) as gateway,
        pytest.raises(EventsError, match="NOT_FOUND"),
    ):
        await asyncio.to_thread(
            lambda: list(fetch_blocks(gateway, "nowhere", BlockFolder(tmp_path)))
        )
