"""Private data between nodes that are all up: who gets them, who may use them, how they go."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2

from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.errors import CommitError, EndorseError, GatewayError
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from ledger.transactions.private import PrivateWrite, decode_private_rwset, decode_tx_private
from network.msp import split_identity
from nodes.private_data.digests import (
    PULL,
    PUSH,
    Digest,
    Pushed,
    encode_push,
    encode_request,
    read_response,
)
from tests.support.local_network import CHANNEL, DEADLINE_S, LocalNetwork, until
from tests.support.node_port import node_port
from tests.support.terms_contract import (
    BANK,
    DEFAULTS,
    MAKER,
    OPERATOR,
    PTA,
    collection,
    terms,
    terms_network,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLLECTIONS = (
    *DEFAULTS,
    collection("far", BANK, OPERATOR),
    collection("needy", BANK, PTA, required=2),
    collection("both", BANK, PTA, required=1),
    collection("quiet", BANK, PTA, maximum=0),
    collection("vouched", BANK, PTA, policy=f"OR('{MAKER}.peer')"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    """Four members with the contract of private terms."""
    async with terms_network(tmp_path_factory.mktemp("network"), COLLECTIONS) as running:
        yield running
        await running.verify()


async def put(
    network: LocalNetwork, name: str, key: str, value: str, by: str = BANK, **options: Any
) -> int:
    """Put a value through a member's gateway; return the block's number when all have it."""
    async with network.gateway(by) as gateway:
        outcome = await terms(gateway).submit(
            "Put", name, key, transient={"value": value.encode()}, **options
        )
    await network.settled()
    number: int = outcome.status.block_num
    return number


async def get(network: LocalNetwork, by: str, name: str, key: str, user: str = "lending") -> str:
    async with network.gateway(by, user) as gateway:
        return (await terms(gateway).evaluate("Get", name, key)).decode()


def held(network: LocalNetwork, msp_id: str, number: int) -> list[tuple[str, dict[str, bytes]]]:
    """What a member's node holds of a block: collections, with keys and values."""
    found = []
    for _tx_num, writes in sorted(network.node(msp_id).channel.ledger.private_data(number).items()):
        for each in writes:
            keys = decode_private_rwset(each.rwset).writes
            found.append((each.collection, {write.key: write.value for write in keys}))
    return found


def endorsers_of(network: LocalNetwork, number: int) -> set[str]:
    block = network.node(BANK).channel.ledger.block(number)
    assert block is not None
    parsed = parse_transaction(block.data[0])
    return {split_identity(each.endorser)[0] for each in parsed.endorsements}


# ---- who has them


async def test_private_value_is_held_by_members_and_by_nobody_else(network: LocalNetwork) -> None:
    """Put through one member's node it is on every member's node; outsiders have the hash."""
    number = await put(network, "terms", "A-1", "266600")
    for msp_id in (BANK, PTA):
        assert held(network, msp_id, number) == [("terms", {"A-1": b"266600"})]
        assert await get(network, msp_id, "terms", "A-1") == "266600"
    for msp_id in (OPERATOR, MAKER):
        assert held(network, msp_id, number) == []
        async with network.gateway(msp_id) as gateway:
            hashed = await terms(gateway).evaluate("Hash", "terms", "A-1")
        assert hashed.decode() == hashlib.sha256(b"266600").hexdigest()
        with pytest.raises(GatewayError, match="private data matching public hash version"):
            await get(network, msp_id, "terms", "A-1")


async def test_value_in_two_collections_goes_to_the_members_of_each(network: LocalNetwork) -> None:
    """One transaction, two collections: who is in one gets that one's set only."""
    async with network.gateway(BANK) as gateway:
        outcome = await terms(gateway).submit(
            "PutTwo", "terms", "far", "A-2", transient={"terms": b"secret", "far": b"distant"},
            endorsing_organisations=(BANK, PTA),
        )  # fmt: skip
    await network.settled()
    number = outcome.status.block_num
    near, distant = ("terms", {"A-2": b"secret"}), ("far", {"A-2": b"distant"})
    assert sorted(held(network, BANK, number)) == sorted([near, distant])
    assert held(network, PTA, number) == [near]
    assert held(network, OPERATOR, number) == [distant]
    assert held(network, MAKER, number) == []


async def test_endorser_that_is_no_member_passes_the_data_on_and_keeps_nothing(
    network: LocalNetwork,
) -> None:
    """An outsider that the client named simulates what it was shown; members get the set of it."""
    number = await put(
        network, "terms", "A-3", "shown", MAKER, endorsing_organisations=(MAKER, OPERATOR)
    )
    for msp_id in (BANK, PTA):
        assert held(network, msp_id, number) == [("terms", {"A-3": b"shown"})]
    for msp_id in (MAKER, OPERATOR):
        assert held(network, msp_id, number) == []
    await until(lambda: all(not node.private.transient.size_bytes for node in network.running))


async def test_transient_store_is_empty_after_the_commit(network: LocalNetwork) -> None:
    """What is in a block goes from the store between endorsement and commit, on every node."""
    async with network.gateway(BANK) as gateway:
        endorsed = await gateway.endorse(
            terms(gateway).new_proposal("Put", "terms", "A-4", transient={"value": b"waiting"})
        )
        for msp_id in (BANK, PTA):
            kept = network.node(msp_id).private.transient.get(endorsed.tx_id)
            assert [each.collection for each in kept] == ["terms"]
        for msp_id in (OPERATOR, MAKER):
            assert network.node(msp_id).private.transient.get(endorsed.tx_id) == ()
        await gateway.commit_status(await gateway.submit(endorsed))
    await network.settled()
    await until(lambda: all(not node.private.transient.size_bytes for node in network.running))


# ---- who may use them


async def test_creator_outside_is_refused_where_only_members_read_or_write(
    network: LocalNetwork,
) -> None:
    """memberOnlyRead and memberOnlyWrite are about the creator, whoever's node is asked."""
    await put(network, "closed", "A-5", "members")
    assert await get(network, PTA, "closed", "A-5") == "members"
    async with AsyncGateway(network.endpoint(BANK), network.signer(MAKER)) as outsider:
        with pytest.raises(GatewayError, match="tx creator does not have read access permission"):
            await terms(outsider).evaluate("Get", "closed", "A-5")
        with pytest.raises(EndorseError, match="tx creator does not have write access permission"):
            await terms(outsider).submit("Put", "closed", "A-5", transient={"value": b"x"})
        # Where the collection does not ask for it, an outsider may read through a member's node.
        await put(network, "terms", "A-6", "open")
        assert await terms(outsider).evaluate("Get", "terms", "A-6") == b"open"


async def test_unknown_collection_is_refused_by_name(network: LocalNetwork) -> None:
    """There is nothing to write to, and Fabric's words say so."""
    with pytest.raises(EndorseError, match="collection qist/terms/nowhere could not be found"):
        await put(network, "nowhere", "k", "v")


# ---- who endorses


async def test_collection_with_a_policy_of_its_own_is_endorsed_by_that_alone(
    network: LocalNetwork,
) -> None:
    """It takes the place of the contract's policy for what is written there."""
    number = await put(network, "own", "A-7", "mine", OPERATOR)
    assert endorsers_of(network, number) == {OPERATOR}
    assert held(network, PTA, number) == [("own", {"A-7": b"mine"})]
    async with network.gateway(BANK) as gateway:
        with pytest.raises(CommitError) as failed:
            await terms(gateway).submit(
                "Put", "own", "A-8", transient={"value": b"stolen"},
                endorsing_organisations=(BANK, MAKER),
            )  # fmt: skip
    assert failed.value.code is TxValidationCode.ENDORSEMENT_POLICY_FAILURE


async def test_transaction_that_reads_plain_data_is_endorsed_by_members(
    network: LocalNetwork,
) -> None:
    """Nobody else could; the gateway asks no other, whoever would be nearer."""
    await put(network, "terms", "A-9", "copied")
    for _ in range(3):
        async with network.gateway(PTA) as gateway:
            outcome = await terms(gateway).submit("Copy", "terms", "A-9", "A-10")
        await network.settled()
        assert endorsers_of(network, outcome.status.block_num) == {BANK, PTA}
    assert await get(network, BANK, "terms", "A-10") == "copied"


async def test_transient_data_that_would_leave_the_collection_is_refused(
    network: LocalNetwork,
) -> None:
    """Where one who is no member must endorse, the client must say that it trusts it."""
    with pytest.raises(EndorseError, match="not in the distribution policy") as refused:
        await put(network, "vouched", "A-11", "v")
    assert refused.value.code is grpc.StatusCode.FAILED_PRECONDITION
    number = await put(network, "vouched", "A-11", "v", endorsing_organisations=(BANK, MAKER))
    assert held(network, PTA, number) == [("vouched", {"A-11": b"v"})]
    assert held(network, MAKER, number) == []


async def test_collection_of_which_a_hash_is_read_keeps_no_member_of_another_out(
    network: LocalNetwork,
) -> None:
    """Everybody has the hashes, so who endorses is a matter of what is written."""
    async with network.gateway(BANK) as gateway:
        outcome = await terms(gateway).submit(
            "PutUnless", "terms", "A-20", "own", transient={"value": b"after a look"}
        )
    await network.settled()
    number = outcome.status.block_num
    assert endorsers_of(network, number) == {BANK, PTA}
    assert held(network, PTA, number) == [("terms", {"A-20": b"after a look"})]


async def test_value_in_a_members_own_collection_needs_that_members_endorsement(
    network: LocalNetwork,
) -> None:
    """Every contract has a collection for each member alone; the gateway asks its owner."""
    number = await put(network, f"_implicit_org_{BANK}", "A-19", "mine alone", PTA)
    assert endorsers_of(network, number) == {BANK}
    assert held(network, BANK, number) == [(f"_implicit_org_{BANK}", {"A-19": b"mine alone"})]
    assert held(network, PTA, number) == []


async def test_required_peers_that_do_not_exist_stop_an_endorsement(network: LocalNetwork) -> None:
    """The collection has one other member and demands two."""
    with pytest.raises(
        EndorseError,
        match=r"failed to distribute private collection, txID [0-9a-f]{64}, channel qist: could "
        "not build private data dissemination plan for chaincode terms and collection needy: "
        "required to disseminate to at least 2 peers, but know of only 1 eligible peers",
    ):
        await put(network, "needy", "A-12", "v")
    number = await put(network, "both", "A-12", "v")
    assert held(network, PTA, number) == [("both", {"A-12": b"v"})]


# ---- invalid transactions


async def test_data_of_an_invalid_transaction_are_kept_where_they_are_and_never_asked_for(
    network: LocalNetwork,
) -> None:
    """As Fabric's peers keep them. Where they were not pushed they are not missed either."""
    for name, at_hand in (("terms", True), ("quiet", False)):
        await put(network, name, "A-21", "before", endorsing_organisations=(BANK, MAKER))
        async with network.gateway(BANK) as gateway:
            doomed = await gateway.endorse(
                terms(gateway).new_proposal(
                    "PutAfter", name, "A-21", transient={"value": b"too late"},
                    endorsing_organisations=(BANK, PTA) if at_hand else (BANK,),
                )
            )  # fmt: skip
            await put(network, name, "A-21", "between", endorsing_organisations=(BANK, MAKER))
            status = await gateway.commit_status(await gateway.submit(doomed))
        assert not status.is_valid
        await network.settled()
        assert held(network, BANK, status.block_num) == [(name, {"A-21": b"too late"})]
        expected = [(name, {"A-21": b"too late"})] if at_hand else []
        assert held(network, PTA, status.block_num) == expected
        assert network.node(PTA).channel.ledger.missing_private(10) == []
        assert await get(network, PTA, name, "A-21") == "between"


# ---- how they go


async def test_deleted_value_is_gone_and_its_history_stays_held(network: LocalNetwork) -> None:
    """A delete changes the state; what was written stands with its block."""
    number = await put(network, "terms", "A-13", "short of breath")
    async with network.gateway(PTA) as gateway:
        await terms(gateway).submit("Delete", "terms", "A-13")
    await network.settled()
    assert await get(network, BANK, "terms", "A-13") == ""
    assert held(network, BANK, number) == [("terms", {"A-13": b"short of breath"})]


async def test_purged_value_is_gone_from_every_member_and_from_its_block(
    network: LocalNetwork,
) -> None:
    """A purge empties the state and what was stored of earlier transactions, on all nodes."""
    number = await put(network, "terms", "A-14", "never said")
    async with network.gateway(BANK) as gateway:
        await terms(gateway).submit("Purge", "terms", "A-14")
    await network.settled()
    for msp_id in (BANK, PTA):
        assert await get(network, msp_id, "terms", "A-14") == ""
        assert b"never said" not in str(held(network, msp_id, number)).encode()


async def test_value_with_blocks_to_live_is_gone_after_them(network: LocalNetwork) -> None:
    """Three blocks later it still is there, with the next it goes: plain, hash and set."""
    number = await put(network, "short", "A-15", "for a while")
    async with network.gateway(MAKER) as gateway:
        for turn in range(3):
            assert await get(network, PTA, "short", "A-15") == "for a while"
            await terms(gateway).submit("Note", f"filler {turn}")
            await network.settled()
        assert held(network, PTA, number) == [("short", {"A-15": b"for a while"})]
        await terms(gateway).submit("Note", "filler")
        await network.settled()
        assert await terms(gateway).evaluate("Hash", "short", "A-15") == b""
    for msp_id in (BANK, PTA):
        assert await get(network, msp_id, "short", "A-15") == ""
        assert held(network, msp_id, number) == []


# ---- the node port


async def test_pull_is_answered_to_members_and_refused_to_outsiders(network: LocalNetwork) -> None:
    """The caller's TLS certificate decides, before anything is looked up."""
    number = await put(network, "terms", "A-16", "asked for")
    block = network.node(BANK).channel.ledger.block(number)
    assert block is not None
    tx_id = parse_transaction(block.data[0]).tx_id
    digest = Digest(tx_id, "terms", "terms", number, 0)
    request = encode_request(CHANNEL, [digest])
    async with node_port(network, PTA, BANK) as call:
        found = read_response(await call(PULL, request), CHANNEL)
    assert [b"asked for" in rwset for rwset in found[digest]] == [True]
    for outsider in (OPERATOR, MAKER):
        async with node_port(network, outsider, BANK) as call:
            for asked in (digest, digest._replace(block_num=10_000), digest._replace(tx_id="")):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(PULL, encode_request(CHANNEL, [asked]))
                assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
                assert f"{outsider} is no member of terms/terms" in str(refused.value.details())
            # A collection of its own in the same request brings it nothing of the other.
            both = [digest, Digest(tx_id, "terms", f"_implicit_org_{outsider}", number, 0)]
            answer = read_response(await call(PULL, encode_request(CHANNEL, both)), CHANNEL)
            assert answer == {}


async def test_pull_of_an_endorsed_set_is_answered_to_members_only(network: LocalNetwork) -> None:
    """Before its block a set is found by the transaction's id, and by members alone."""
    async with network.gateway(BANK) as gateway:
        endorsed = await gateway.endorse(
            terms(gateway).new_proposal("Put", "terms", "A-17", transient={"value": b"on the way"})
        )
    digest = Digest(endorsed.tx_id, "terms", "terms", 10_000, 0)
    request = encode_request(CHANNEL, [digest])
    async with node_port(network, PTA, BANK) as call:
        found = read_response(await call(PULL, request), CHANNEL)
    assert [b"on the way" in rwset for rwset in found[digest]] == [True]
    async with node_port(network, MAKER, BANK) as call:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(PULL, request)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    network.node(BANK).private.transient.purge([endorsed.tx_id])
    network.node(PTA).private.transient.purge([endorsed.tx_id])


async def test_push_to_a_node_outside_the_collection_is_refused(network: LocalNetwork) -> None:
    """A node keeps nothing of what its member is not entitled to, also if it comes with a
    definition that says so.
    """
    kept = network.node(MAKER).private.transient
    config = collection("terms", MAKER).static_collection_config.SerializeToString()
    pushed = Pushed("ab" * 32, PrivateWrite("terms", "terms", b"\x1a\x05\x0a\x01k\x1a\x00"), 1)
    async with node_port(network, BANK, MAKER) as call:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(PUSH, encode_push(CHANNEL, pushed, config))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert kept.get("ab" * 32) == ()


@pytest.mark.parametrize(
    ("method", "request_bytes", "code"),
    [
        (PULL, b"\xff\xff", grpc.StatusCode.INTERNAL),
        (PUSH, b"\x0a", grpc.StatusCode.INTERNAL),
        (PULL, b"", grpc.StatusCode.INVALID_ARGUMENT),
        (PUSH, b"", grpc.StatusCode.INVALID_ARGUMENT),
        (PULL, encode_request(CHANNEL, []), grpc.StatusCode.INVALID_ARGUMENT),
        (
            PUSH,
            encode_push(CHANNEL, Pushed("t", PrivateWrite("terms", "terms", b"\xff"), 1), b""),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
async def test_bytes_that_are_no_message_are_answered_with_a_clear_status(
    network: LocalNetwork, method: str, request_bytes: bytes, code: grpc.StatusCode
) -> None:
    """Foreign bytes are a caller's fault, and stop nothing."""
    async with node_port(network, PTA, BANK) as call:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(method, request_bytes)
    assert refused.value.code() is code
    assert network.node(BANK).private.transient.get("t") == ()


# ---- blocks with private data


async def delivered(network: LocalNetwork, node: str, msp_id: str, number: int) -> Any:
    """A block with private data, from a member's node to an identity of any member."""
    signer = network.signer(msp_id)
    position = ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=number))
    header = common_pb2.ChannelHeader(type=common_pb2.DELIVER_SEEK_INFO, channel_id=CHANNEL)
    header.timestamp.FromDatetime(datetime.now(UTC))
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=header.SerializeToString(),
            signature_header=common_pb2.SignatureHeader(
                creator=signer.serialized
            ).SerializeToString(),
        ),
        data=ab_pb2.SeekInfo(start=position, stop=position).SerializeToString(),
    ).SerializeToString()
    envelope = common_pb2.Envelope(payload=payload, signature=signer.sign(payload))
    endpoint = network.endpoint(node)
    async with grpc.aio.secure_channel(endpoint.address, endpoint.credentials()) as channel:
        made = channel.stream_stream(
            "/protos.Deliver/DeliverWithPrivateData",
            request_serializer=bytes,
            response_deserializer=bytes,
        )
        call = made(iter([envelope.SerializeToString()]), timeout=DEADLINE_S)
        return events_pb2.DeliverResponse.FromString(await anext(aiter(call)))


async def test_block_is_delivered_with_the_collections_whose_policy_the_caller_meets(
    network: LocalNetwork,
) -> None:
    """The same block from the same node: to each caller its own collections, to others none."""
    async with network.gateway(BANK) as gateway:
        outcome = await terms(gateway).submit(
            "PutTwo", "terms", "far", "A-18", transient={"terms": b"near", "far": b"wide"},
            endorsing_organisations=(BANK, PTA),
        )  # fmt: skip
    await network.settled()
    number = outcome.status.block_num
    stored = network.node(BANK).channel.ledger.block(number)
    assert stored is not None
    expected = {
        BANK: [b"wide", b"near"],
        PTA: [b"near"],
        OPERATOR: [b"wide"],
        MAKER: [],
    }
    for msp_id, values in expected.items():
        response = await delivered(network, BANK, msp_id, number)
        assert response.WhichOneof("Type") == "block_and_private_data"
        both = response.block_and_private_data
        assert both.block.SerializeToString() == stored.encode()
        found = []
        for tx_num, private in both.private_data_map.items():
            assert tx_num == 0
            for write in decode_tx_private(private.SerializeToString()):
                found += [each.value for each in decode_private_rwset(write.rwset).writes]
        assert found == values
    # A node outside has nothing to give, also to members.
    response = await delivered(network, MAKER, BANK, number)
    assert not response.block_and_private_data.private_data_map
