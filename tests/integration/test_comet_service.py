"""``qist.Consensus`` on the node port: few questions, and only these, of members' nodes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.wrappers_pb2 import BytesValue

from ledger.errors import Unavailable
from network.ordering.cometbft.bundles.passing import LONGEST_BYTES
from network.ordering.cometbft.errors import CometRefusal, CometUnavailable
from network.ordering.cometbft.joining.light_rpc import QuestionRefusal
from network.tls import TlsIdentity
from nodes.orderer.consensus import ASK, GIVE, PROVE, RECORD, OtherMembersComets
from tests.support.local_network import DEADLINE_S, LocalNetwork, local_network

BANK, PTA = "BankMSP", "PtaMSP"

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Comet:
    """Stands for the CometBFT of a node."""

    def __init__(self) -> None:
        self.answer: Any = {"anything": "1"}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.given: list[tuple[str, bytes]] = []
        self.takes: Exception | None = None

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        self.asked.append((method, dict(params)))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def newest_snapshot(self) -> int:
        return 0

    def take_bundle(self, msp_id: str, raw: bytes) -> None:
        if self.takes is not None:
            raise self.takes
        self.given.append((msp_id, raw))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    """Two members' nodes; no CometBFT is beside them."""
    folder: Path = tmp_path_factory.mktemp("consensus")
    async with local_network(folder, members=(BANK, PTA)) as made:
        yield made


@pytest.fixture
def comet(network: LocalNetwork, monkeypatch: pytest.MonkeyPatch) -> Comet:
    made = Comet()
    monkeypatch.setattr(network.node(PTA).servers._consensus, "_comet", made)
    return made


def others(network: LocalNetwork) -> OtherMembersComets:
    return OtherMembersComets(lambda: network.node(BANK).servers._members)


@asynccontextmanager
async def by_hand(network: LocalNetwork) -> AsyncIterator[Any]:
    """Calls of the bank's node to the regulator's."""
    configuration = network.node(PTA).channel.configuration
    tls = TlsIdentity.load(network.members[BANK].folder / "tls").to_member(configuration, PTA)
    address = f"localhost:{network.members[PTA].node_port}"
    async with grpc.aio.secure_channel(address, tls.credentials) as channel:

        async def call(method: str, raw: bytes) -> bytes:
            made = channel.unary_unary(
                method, request_serializer=bytes, response_deserializer=bytes
            )
            answer: bytes = await made(raw, timeout=DEADLINE_S)
            return answer

        yield call


async def test_question_of_a_member_is_put_to_comet_and_its_words_come_back(
    network: LocalNetwork, comet: Comet
) -> None:
    """Its errors too, and that it is away: the node itself is there."""
    asking = others(network)
    assert await asking.ask(PTA, "commit", {"height": "5"}) == {"anything": "1"}
    assert comet.asked == [("commit", {"height": "5"})]
    comet.answer = CometRefusal("no", code=-32603, data="height 5 is not available")
    with pytest.raises(CometRefusal, match="is not available") as refused:
        await asking.ask(PTA, "commit", {"height": "5"})
    assert refused.value.code == -32603
    comet.answer = CometUnavailable("it has not been started")
    with pytest.raises(CometUnavailable, match="has not been started"):
        await asking.ask(PTA, "status", {})
    assert network.node(BANK).servers._members.others()[PTA].is_up


async def test_bundle_of_a_member_is_taken_as_that_members(
    network: LocalNetwork, comet: Comet
) -> None:
    """By the certificate of its connection, whatever the bundle says."""
    await others(network).give(PTA, b"a bundle")
    assert comet.given == [(BANK, b"a bundle")]


async def test_member_that_takes_no_bundle_is_asked_for_endorsements_as_before(
    network: LocalNetwork, comet: Comet
) -> None:
    """A node that is too slow for a long bundle, or of a version that knows none, is no less up."""
    comet.takes = Unavailable("not now")
    with pytest.raises(Unavailable, match="not now"):
        await others(network).give(PTA, b"a bundle")
    assert network.node(BANK).servers._members.others()[PTA].is_up
    with pytest.raises(Unavailable, match="not now"):
        await (
            network.node(BANK)
            .servers._members.others()[PTA]
            .ask(GIVE, BytesValue(value=b"a bundle").SerializeToString(), DEADLINE_S)
        )
    assert not network.node(BANK).servers._members.others()[PTA].is_up
    network.node(BANK).servers._members.others()[PTA]._mark_up()


async def test_bundle_beyond_what_goes_this_way_is_refused_unread(
    network: LocalNetwork, comet: Comet
) -> None:
    """It comes by CometBFT, which has its own limits."""
    raw = BytesValue(value=bytes(LONGEST_BYTES + 100)).SerializeToString()
    async with by_hand(network) as call:
        with pytest.raises(grpc.aio.AioRpcError, match=f"longer than {LONGEST_BYTES}"):
            await call(GIVE, raw)
    assert not comet.given


async def test_node_without_comet_takes_a_bundle_and_nothing_comes_of_it(
    network: LocalNetwork,
) -> None:
    """Its member is asked for endorsements as before."""
    await others(network).give(PTA, b"a bundle")
    assert network.node(BANK).servers._members.others()[PTA].is_up


async def test_node_without_comet_says_so_and_proves_nothing(network: LocalNetwork) -> None:
    """As while another engine orders."""
    asking = others(network)
    with pytest.raises(CometUnavailable, match="no CometBFT"):
        await asking.ask(PTA, "status", {})
    with pytest.raises(Unavailable, match="gives no snapshot"):
        await asking.prove(PTA)
    with pytest.raises(Unavailable, match="has no node"):
        await asking.ask("NobodyMSP", "status", {})


async def test_finality_record_of_a_block_is_given_as_it_is_filed(
    network: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty without one, above the height as well; a number is 8 bytes."""
    filed = {3: b"a record"}
    channel = network.node(PTA).servers._consensus._channel
    monkeypatch.setattr(channel, "evidence", lambda number, _kind: filed.get(number))
    asking = others(network)
    assert await asking.record(PTA, 3) == b"a record"
    assert await asking.record(PTA, 2**63) == b""
    with pytest.raises(Unavailable, match="has no node"):
        await asking.record("NobodyMSP", 3)
    async with by_hand(network) as call:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(RECORD, BytesValue(value=b"3").SerializeToString())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xff",
        b"[]",
        json.dumps({"method": "broadcast_tx_sync", "params": {"tx": "AA=="}}).encode(),
        json.dumps({"method": "commit", "params": {"height": "5 "}}).encode(),
        json.dumps({"method": "status", "params": {"height": "5"}}).encode(),
        b"{" + b" " * 2000 + b"}",
        b"[" * 1024,
    ],
)
async def test_what_may_not_be_asked_never_reaches_comet(
    network: LocalNetwork, comet: Comet, content: bytes
) -> None:
    """Whatever a member's program sends: refused before CometBFT hears of it."""
    async with by_hand(network) as call:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(ASK, BytesValue(value=content).SerializeToString())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert comet.asked == []


async def test_own_node_asks_nothing_else_either(network: LocalNetwork) -> None:
    """The rule is the same at both ends."""
    with pytest.raises(QuestionRefusal):
        await others(network).ask(PTA, "broadcast_tx_sync", {"tx": "1"})


async def test_bytes_that_are_no_message_are_refused(network: LocalNetwork, comet: Comet) -> None:
    """As on every service of the port."""
    async with by_hand(network) as call:
        for method, raw in ((ASK, b"\xff\xff\xff"), (PROVE, b"\xff\xff\xff")):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(method, raw)
            assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert comet.asked == []


async def test_member_that_answers_out_of_form_counts_as_away(
    network: LocalNetwork, comet: Comet
) -> None:
    """Neither endless answers nor other JSON do harm."""
    asking = others(network)
    comet.answer = "x" * (5 * 1024 * 1024)
    with pytest.raises(CometUnavailable, match="bytes"):
        await asking.ask(PTA, "status", {})


class Liar:
    """Stands for a member's node that answers with any bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def others(self) -> dict[str, Liar]:
        return {PTA: self}

    async def ask(self, *_call: Any, **_more: Any) -> bytes:
        return BytesValue(value=self.answer).SerializeToString()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff",
        b"[" * 200_000,
        b'{"result": ' + b'{"a":' * 200_000,
        b"[]",
        b"{}",
        b'{"error": {"code": Infinity, "data": ""}}',
        b'{"error": {"code": ' + b"9" * 5000 + b', "data": ""}}',
        b'{"error": 5}',
    ],
)
async def test_member_that_answers_anything_counts_as_away(answer: bytes) -> None:
    """Its bytes end nothing here: the node that asks goes on to the next one."""
    asking = OtherMembersComets(lambda: Liar(answer))  # type: ignore[arg-type, return-value]
    with pytest.raises(CometUnavailable):
        await asking.ask(PTA, "status", {})


async def test_one_member_has_a_part_of_the_calls_at_once(
    network: LocalNetwork, comet: Comet
) -> None:
    """Who asks without end keeps nobody else out."""
    service = network.node(PTA).servers._consensus
    with service._proving.enter(BANK), pytest.raises(Unavailable, match="BankMSP"):
        await others(network).prove(PTA)
