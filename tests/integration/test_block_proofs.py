"""``qist blocks prove`` and ``verify``, and ``qist node prove``, with nodes of ours over TLS.

Here solo orders, so what is proved rests on an orderer's signature; proofs that rest on
validators' votes have tests of their own, and the recorded ones were made by these commands.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from typer.testing import CliRunner

from clients.blocks.fetching import block_request
from clients.blocks.proving import METHOD, fetch_proof
from clients.cli.blocks import app
from clients.gateway.errors import EventsError
from clients.gateway.requests import BlocksRequest
from ledger.blocks.block import Block
from ledger.errors import Refusal
from network.errors import FinalityError
from network.ordering.cometbft.finality.proof_file import Basis
from network.ordering.cometbft.finality.proofs import verify_proof
from nodes.cli.node import app as node_app
from nodes.cli.node_proof import write_proof
from nodes.errors import TooManyRequests
from nodes.proofs import ProofService
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.failures import RpcFailure
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, LocalNetwork, local_network
from tests.support.members import Member

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBERS = ("BankMSP", "PtaMSP")
BLOCKS = 4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    """A channel of four blocks: genesis, definition, two payments into a counter."""
    folder = tmp_path_factory.mktemp("network")
    async with local_network(folder, [Counter()], members=MEMBERS) as running:
        async with running.gateway("BankMSP") as gateway:
            for _ in range(BLOCKS - 2):
                await gateway.network(CHANNEL).contract("counter").submit("Add", "k", "1")
        assert await running.settled() == BLOCKS
        yield running


def genesis_file(network: LocalNetwork) -> Path:
    """The genesis block, as the founders handed it out."""
    return network.members["BankMSP"].folder / "genesis.block"


def prove(network: LocalNetwork, which: str, out: Path, *more: str) -> tuple[int, str]:
    """Run the command as the bank's auditor."""
    endpoint = network.endpoint("BankMSP")
    network.signer("BankMSP", "auditor")
    user = network.members["BankMSP"].organisation.folder / "users" / "auditor" / "msp"
    ca = out.parent / "ca.pem"
    ca.write_bytes(endpoint.tls_ca_pem)
    return invoke(
        *("prove", which, "--peer", endpoint.address, "--tls-ca", str(ca), "--msp", str(user)),
        *("--msp-id", "BankMSP", "--genesis", str(genesis_file(network)), "--out", str(out)),
        *more,
    )


def invoke(*words: str) -> tuple[int, str]:
    """Run a command of ``qist blocks``; what it raises is raised here."""
    result = CliRunner().invoke(app, list(words))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


async def test_block_is_proved_by_a_node_and_verified_without_it(
    network: LocalNetwork, tmp_path: Path
) -> None:
    """The file and the genesis block are all that verifying needs."""
    out = tmp_path / "3.proof"
    status, output = await asyncio.to_thread(prove, network, f"{CHANNEL}/3", out)
    assert status == 0
    stored = network.node("BankMSP").channel.ledger.block(3)
    assert stored is not None
    assert f"block 3 of channel {CHANNEL} is proved" in output
    assert stored.header.hash().hex() in output
    assert "the signatures of the channel's orderers" in output
    assert "verdict not proved" in output
    status, shown = invoke("verify", str(out), "--genesis", str(genesis_file(network)), "--json")
    told = json.loads(shown)
    assert status == 0
    assert (told["number"], told["basis"], told["signers"]) == (3, "signatures", ["BankMSP"])
    assert told["commit_hash"] == ""
    assert [each["code"] for each in told["transactions"]] == [None]
    assert len(told["transactions"][0]["tx_id"]) == 64


async def test_changed_file_is_refused(network: LocalNetwork, tmp_path: Path) -> None:
    """The command ends with an error, and says where the proof breaks."""
    out = tmp_path / "2.proof"
    await asyncio.to_thread(prove, network, f"{CHANNEL}/2", out)
    raw = bytearray(out.read_bytes())
    raw[-300] ^= 1
    out.write_bytes(bytes(raw))
    with pytest.raises(FinalityError):
        invoke("verify", str(out), "--genesis", str(genesis_file(network)))


@pytest.mark.parametrize("which", ["qist", "qist/", "/3", "qist/x", "qist/-1", "qist/" + "9" * 20])
async def test_block_that_is_named_wrongly_is_refused(
    network: LocalNetwork, tmp_path: Path, which: str
) -> None:
    """Channel and number."""
    with pytest.raises(Refusal, match="names no block: write CHANNEL/NUMBER"):
        await asyncio.to_thread(prove, network, which, tmp_path / "x.proof")
    assert not (tmp_path / "x.proof").exists()


@pytest.mark.parametrize(
    ("which", "reason"),
    [
        (f"{CHANNEL}/{BLOCKS}", "block 4 is not there|cannot be proved here"),
        (f"{CHANNEL}/99", "block 99 is not there"),
        (f"{CHANNEL}/0", "the genesis block is what a proof begins with"),
        ("other/1", "channel 'other' not found"),
    ],
)
async def test_block_that_cannot_be_proved_is_refused_by_the_node(
    network: LocalNetwork, tmp_path: Path, which: str, reason: str
) -> None:
    """In words, and nothing is written."""
    with pytest.raises(EventsError, match=reason):
        await asyncio.to_thread(prove, network, which, tmp_path / "x.proof")
    assert not (tmp_path / "x.proof").exists()


async def test_stranger_gets_no_proof(network: LocalNetwork) -> None:
    """Who may not have whole blocks may not have them in a proof."""
    stranger = Member("OtherMSP").identity()
    with pytest.raises(EventsError) as refused:
        await asyncio.to_thread(fetch_proof, network.endpoint("BankMSP"), stranger, CHANNEL, 1)
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED


@dataclass
class Late:
    """A clock that goes after."""

    time: datetime

    def now(self) -> datetime:
        return self.time

    def seconds_until(self, moment: datetime) -> float | None:
        return (moment - self.time).total_seconds()


class Caller:
    """A call over a connection on which the caller shows no certificate."""

    def auth_context(self) -> dict[str, list[bytes]]:
        return {}

    def peer(self) -> str:
        return "ipv4:127.0.0.1:40000"


def changed(
    request: BlocksRequest, *, when: datetime | None = None, stop: int | None = None
) -> Any:
    """Return a request's envelope of another time, or for several blocks."""
    payload = common_pb2.Payload.FromString(request.raw)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    header.timestamp.FromDatetime(when or datetime.now(UTC))
    payload.header.channel_header = header.SerializeToString()
    if stop is not None:
        seek = ab_pb2.SeekInfo.FromString(payload.data)
        seek.stop.specified.number = stop
        payload.data = seek.SerializeToString()
    return BlocksRequest(request.signer, "Deliver", payload.SerializeToString()).signed()


def service(network: LocalNetwork, when: datetime | None = None, most: int = 1) -> ProofService:
    """The service of the bank's node, at another time."""
    channel = network.node("BankMSP").channel
    return ProofService(
        lambda channel_id: channel if channel_id == CHANNEL else None,
        Late(when or datetime.now(UTC)),
        FairLimit("proofs", most),
    )


async def test_identity_that_has_expired_gets_no_proof(network: LocalNetwork) -> None:
    """As it gets no blocks, whatever its signature."""
    signer = network.signer("BankMSP", "auditor")
    later = signer.not_after + timedelta(minutes=1)
    envelope = changed(block_request(signer, CHANNEL, 1), when=later)
    with pytest.raises(RpcFailure, match="client identity expired") as refused:
        await service(network, later).get(envelope, Caller())
    assert refused.value.code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"when": datetime(2020, 1, 1, tzinfo=UTC)}, "more than 15 minutes apart"),
        ({"stop": 2}, "one block at a time"),
        ({"stop": 0}, "greater than stop"),
    ],
)
async def test_request_that_asks_wrongly_is_refused(
    network: LocalNetwork, change: dict[str, Any], reason: str
) -> None:
    """For one block, and now."""
    request = block_request(network.signer("BankMSP", "auditor"), CHANNEL, 1)
    with pytest.raises(RpcFailure, match=reason) as refused:
        await service(network).get(changed(request, **change), Caller())
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_one_proof_too_many_at_once_is_refused(network: LocalNetwork) -> None:
    """Within the limit of the node's other calls."""
    request = block_request(network.signer("BankMSP", "auditor"), CHANNEL, 1).signed()
    with pytest.raises(TooManyRequests, match="proofs"):
        await service(network, most=0).get(request, Caller())
    raw = (await service(network).get(request, Caller())).value
    genesis = Block.decode(genesis_file(network).read_bytes())
    assert verify_proof(genesis, raw).basis is Basis.SIGNATURES


async def test_bytes_that_are_no_request_are_answered(network: LocalNetwork) -> None:
    """Nothing that a stranger sends ends the node."""
    endpoint = network.endpoint("BankMSP")

    def ask(raw: bytes) -> grpc.StatusCode:
        with grpc.secure_channel(
            endpoint.address, endpoint.credentials(), options=endpoint.options()
        ) as channel:
            call = channel.unary_unary(METHOD, bytes, bytes)
            with pytest.raises(grpc.RpcError) as refused:
                call(raw, timeout=20)
            assert isinstance(refused.value, grpc.Call)
            code: grpc.StatusCode = refused.value.code()
            return code

    asked = [await asyncio.to_thread(ask, raw) for raw in (b"\xff", b"", b"\x0a\x01\xff")]
    assert asked == [
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.INVALID_ARGUMENT,
    ]


async def test_stopped_node_is_asked_by_its_folder(network: LocalNetwork, tmp_path: Path) -> None:
    """Without a network; a folder without a ledger is none to ask."""
    out = tmp_path / "3.proof"
    await network.stop("PtaMSP")
    folder = network.members["PtaMSP"].folder
    result = await asyncio.to_thread(
        CliRunner().invoke, node_app, ["prove", str(folder), "3", "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    assert f"proves block 3 of channel {CHANNEL}" in result.output
    status, output = invoke("verify", str(out), "--genesis", str(genesis_file(network)))
    assert (status, "is proved" in output) == (0, True)
    with pytest.raises(Refusal, match="the chain has the blocks 0 to 3"):
        await asyncio.to_thread(write_proof, folder, 4, out)
    (folder / "ledger").rename(tmp_path / "ledger")
    with pytest.raises(Refusal, match="has no ledger yet"):
        await asyncio.to_thread(write_proof, folder, 1, out)
    (tmp_path / "ledger").rename(folder / "ledger")
    await network.start("PtaMSP")


async def test_file_or_genesis_block_that_is_missing_is_told(
    network: LocalNetwork, tmp_path: Path
) -> None:
    """With the way out."""
    proof = tmp_path / "a.proof"
    with pytest.raises(Refusal, match="give a proof's file"):
        invoke("verify", str(proof), "--genesis", str(genesis_file(network)))
    proof.write_bytes(b"anything")
    with pytest.raises(Refusal, match="from a member whom you believe"):
        invoke("verify", str(proof), "--genesis", str(tmp_path / "none"))
    with pytest.raises(Refusal, match="is no block"):
        invoke("verify", str(proof), "--genesis", str(_garbage(tmp_path)))
    with pytest.raises(FinalityError, match="this is no proof"):
        invoke("verify", str(proof), "--genesis", str(genesis_file(network)))


def _garbage(folder: Path) -> Path:
    path = folder / "garbage"
    path.write_bytes(b"\xff\xff")
    return path
