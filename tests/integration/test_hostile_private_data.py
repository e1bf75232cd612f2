"""A member that pushes and pulls private data as no honest node does.

The liar has a node with a member's keys. It is no member of the collection, learns the ids of
transactions before they are ordered, and sends what it likes. The closing checks of the network
are made at the end: the same chain everywhere, clean ledgers, nothing unexpected in any log.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256

import grpc
import pytest
import pytest_asyncio

from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.errors import EndorseError, GatewayError
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from ledger.transactions.private import (
    PrivateWrite,
    decode_private_rwset,
    hash_key,
    hash_value,
)
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedWrite,
    NamespaceRWSet,
    TxRWSet,
    encode_tx_rwset,
)
from nodes.private_data.digests import (
    MOST_DEFINITION_BYTES,
    MOST_PUSH_BYTES,
    MOST_WRITES,
    PULL,
    PUSH,
    Digest,
    Pushed,
    encode_push,
    encode_request,
    read_response,
)
from nodes.private_data.transient import MOST_RECORDS
from tests.support.envelopes import transaction_envelope
from tests.support.hostile import kept_log
from tests.support.local_network import CHANNEL, LocalNetwork, until
from tests.support.node_port import node_port
from tests.support.terms_contract import (
    BANK,
    MAKER,
    OPERATOR,
    PTA,
    collection,
    terms,
    terms_network,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIAR = MAKER
Code = grpc.StatusCode
TX = "ab" * 32
COLLECTIONS = (
    collection("terms", BANK, PTA, required=1),
    collection("other", OPERATOR, PTA),
    collection("vouched", BANK, PTA, policy=f"OR('{BANK}.peer')"),
)
SECRET = b"4215900 paisa, which nobody else may read"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    """Four members; nothing fails unexpectedly, and no value stands in a log."""
    with kept_log() as log:
        async with terms_network(tmp_path_factory.mktemp("network"), COLLECTIONS) as running:
            yield running
            await running.verify()
        assert log.severe == []
        assert SECRET.decode() not in "\n".join(log.lines)


def rwset(key: str, value: bytes = b"junk") -> bytes:
    """A private write set of one write."""
    inner = b"\x0a" + bytes([len(key)]) + key.encode() + b"\x1a" + bytes([len(value)]) + value
    return b"\x1a" + bytes([len(inner)]) + inner


def push(
    raw: bytes, *, tx_id: str = TX, name: str = "terms", height: int = 1, config: bytes = b""
) -> bytes:
    return encode_push(CHANNEL, Pushed(tx_id, PrivateWrite("terms", name, raw), height), config)


async def refusal(network: LocalNetwork, method: str, request: bytes, asked: str = BANK) -> Code:
    async with node_port(network, LIAR, asked) as call:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(method, request)
    assert SECRET.decode() not in (refused.value.details() or "")
    return refused.value.code()


LAYING_CLAIM = collection("terms", LIAR).static_collection_config.SerializeToString()


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (push(b"\x1a\x03\x0a\x01k" * (MOST_WRITES + 1)), Code.INVALID_ARGUMENT),
        (push(b"\x1a\x02\x0a\x00"), Code.INVALID_ARGUMENT),
        (push(rwset("k"), tx_id="x" * 300), Code.INVALID_ARGUMENT),
        (
            push(
                rwset("k"),
                config=collection(
                    "n" * MOST_DEFINITION_BYTES, LIAR
                ).static_collection_config.SerializeToString(),
            ),
            Code.INVALID_ARGUMENT,
        ),
        (push(b"\x00" * MOST_PUSH_BYTES), Code.INVALID_ARGUMENT),
        (push(rwset("k"), name="other"), Code.PERMISSION_DENIED),
        (push(rwset("k"), name="unheard-of", height=2**64 - 1), Code.PERMISSION_DENIED),
        (push(rwset("k"), name="_implicit_org_PtaMSP"), Code.PERMISSION_DENIED),
        (push(rwset("k"), name="other", config=LAYING_CLAIM), Code.PERMISSION_DENIED),
    ],
    ids=[
        "very many writes",
        "an empty key",
        "a long id",
        "a long definition",
        "a long set",
        "another collection",
        "a height of the far future",
        "a member's own collection",
        "a definition of its own",
    ],
)
async def test_push_that_no_honest_node_makes_is_refused_and_nothing_kept(
    network: LocalNetwork, request_bytes: bytes, code: Code
) -> None:
    """Refused by its size, its form, or the collection's policy; the node serves on."""
    assert await refusal(network, PUSH, request_bytes) is code
    assert network.node(BANK).private.transient.size_bytes == 0


async def test_junk_pushed_for_a_transaction_before_the_truth_keeps_nobody_from_it(
    network: LocalNetwork,
) -> None:
    """The true set is taken, acknowledged, found among the junk and committed; the junk goes."""
    async with network.gateway(BANK) as gateway:
        proposal = terms(gateway).new_proposal("Put", "terms", "A-1", transient={"value": SECRET})
        for asked in (BANK, PTA):
            async with node_port(network, LIAR, asked) as call:
                for number in range(MOST_RECORDS):
                    await call(PUSH, push(rwset(f"j-{number}"), tx_id=proposal.tx_id))
                with pytest.raises(grpc.aio.AioRpcError, match="MakerMSP has pushed 64 private"):
                    await call(PUSH, push(rwset("one more"), tx_id=proposal.tx_id))
        endorsed = await gateway.endorse(proposal)
        outcome = await gateway.commit_status(await gateway.submit(endorsed))
    await network.settled()
    assert outcome.is_valid
    for msp_id in (BANK, PTA):
        node = network.node(msp_id)
        ((only,),) = node.channel.ledger.private_data(outcome.block_num).values()
        assert [each.value for each in decode_private_rwset(only.rwset).writes] == [SECRET]
        assert node.channel.ledger.missing_private(10) == []


async def test_names_that_a_push_makes_up_fill_neither_log_nor_answer(
    network: LocalNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    """They are cut where they are repeated."""
    async with node_port(network, LIAR, BANK) as call:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(PUSH, push(rwset("k"), name="n" * 1000))
    assert refused.value.code() is Code.PERMISSION_DENIED
    assert 400 < len(refused.value.details() or "") < 600
    assert all(len(line) < 600 for line in caplog.messages)


@pytest.mark.parametrize("block", [2, 3, 4, 10**6, 2**64 - 1])
@pytest.mark.parametrize("tx_id", [TX, ""])
async def test_pull_by_an_outsider_is_refused_whatever_block_it_names(
    network: LocalNetwork, block: int, tx_id: str
) -> None:
    """Neither the block's number nor the transaction's id opens a collection."""
    digests = [Digest(tx_id, "terms", name, block, 0) for name in ("terms", "_implicit_org_PtaMSP")]
    assert await refusal(network, PULL, encode_request(CHANNEL, digests)) is Code.PERMISSION_DENIED


async def test_pull_of_two_collections_is_answered_with_the_callers_own_alone(
    network: LocalNetwork,
) -> None:
    """A digest that may be had carries none that may not; one that is named often comes once."""
    async with network.gateway(PTA) as gateway:
        outcome = await terms(gateway).submit(
            "PutTwo", "terms", "other", "A-2", transient={"terms": SECRET, "other": b"for all"},
            endorsing_organisations=(PTA, BANK),
        )  # fmt: skip
    await network.settled()
    number = outcome.status.block_num
    both = [Digest("", "terms", name, number, 0) for name in ("terms", "other")]
    async with node_port(network, OPERATOR, PTA) as call:
        found = read_response(await call(PULL, encode_request(CHANNEL, both * 100)), CHANNEL)
    assert list(found) == both[1:]
    assert [len(sets) for sets in found.values()] == [1]


@pytest.mark.parametrize("endorsers", [(), (BANK, PTA), (PTA,)])
async def test_query_of_private_data_sent_as_a_transaction_is_refused(
    network: LocalNetwork, endorsers: tuple[str, ...]
) -> None:
    """Its answer would stand in a block for everybody; nothing is ordered."""
    async with network.gateway(BANK) as gateway:
        contract = terms(gateway)
        await contract.submit("Put", "terms", "A-3", transient={"value": SECRET})
        height = await network.settled()
        assert await contract.evaluate("Get", "terms", "A-3") == SECRET
        with pytest.raises(EndorseError, match=r"read of terms/terms.*evaluate it instead"):
            await contract.submit("Get", "terms", "A-3", endorsing_organisations=endorsers)
    assert await network.settled() == height


# ---- transactions made by hand


def hashed(namespace: str, name: str, key: str, value: bytes, plain: bytes) -> bytes:
    """A read/write set with one private write, and the hash of any plain set."""
    write = HashedWrite(hash_key(key), False, hash_value(value), False)
    touched = CollectionRWSet(name, (), (write,), (), sha256(plain).digest())
    return encode_tx_rwset(TxRWSet((NamespaceRWSet(namespace, collections=(touched,)),)))


def forged(
    network: LocalNetwork, rwset: bytes, *endorsers: str, chaincode: str = "terms"
) -> tuple[str, bytes]:
    """A transaction of the liar's client with any set; its id and its bytes."""
    raw = transaction_envelope(
        chaincode, ["Put"], rwset, version="1" if chaincode == "terms" else "syscc",
        channel_id=CHANNEL, creator=network.signer(LIAR),
        endorsers=[network.node_signer(each) for each in endorsers], now=datetime.now(UTC),
    )  # fmt: skip
    return parse_transaction(raw).tx_id, raw


async def code_of(network: LocalNetwork, raw: bytes) -> tuple[int, TxValidationCode]:
    """Have a transaction ordered; return the block and the code that every node gives it."""
    number = await network.settled()
    await network.node(LIAR).engine.submit(raw)
    await network.settled(number + 1)
    codes = set()
    for node in network.running:
        committed = await node.channel.block(number)
        assert committed is not None
        codes.add(committed.codes)
    ((code,),) = codes
    return number, code


@pytest.mark.parametrize(
    ("chaincode", "namespace", "name", "endorsers"),
    [
        ("_lifecycle", "_lifecycle", "_implicit_org_BankMSP", (OPERATOR, MAKER, PTA)),
        ("terms", "_lifecycle", "_implicit_org_BankMSP", (OPERATOR, MAKER, PTA)),
        ("terms", "terms", "_implicit_org_BankMSP", (OPERATOR, MAKER, PTA)),
        ("terms", "terms", "_implicit_org_NobodyMSP", (BANK, OPERATOR, MAKER, PTA)),
        ("terms", "terms", "_implicit_org_", (BANK, OPERATOR, MAKER, PTA)),
        ("terms", "terms", "unheard-of", (BANK, OPERATOR, MAKER, PTA)),
        ("terms", "terms", "terms", (MAKER,)),
        ("terms", "terms", "vouched", (MAKER, PTA)),
    ],
)
async def test_write_to_a_collection_without_those_who_must_endorse_it_is_invalid(
    network: LocalNetwork, chaincode: str, namespace: str, name: str, endorsers: tuple[str, ...]
) -> None:
    """Nobody approves, or writes, in another member's name, whatever contract is named."""
    rwset = hashed(namespace, name, "k", b"v", b"")
    _tx_id, raw = forged(network, rwset, *endorsers, chaincode=chaincode)
    _number, code = await code_of(network, raw)
    assert code is not TxValidationCode.VALID


@pytest.mark.parametrize(
    "plain", [b"\xff\xff\xff", b"", rwset("another", b"value"), rwset("k", b"other")]
)
@pytest.mark.parametrize("endorsers", [(MAKER,), (MAKER, OPERATOR)])
async def test_plain_set_that_is_not_what_the_hashes_say_stops_no_node_and_is_read_by_nobody(
    network: LocalNetwork, plain: bytes, endorsers: tuple[str, ...]
) -> None:
    """Two conspirers have the hash of anything in a block, and one pushes it, or it lacks."""
    key = f"g-{len(endorsers)}-{plain.hex()}"
    tx_id, raw = forged(network, hashed("terms", "terms", key, b"v", plain), *endorsers)
    for asked in (BANK, PTA):
        async with node_port(network, LIAR, asked) as call:
            # What is no write set is refused here, and then lacks.
            with suppress(grpc.aio.AioRpcError):
                await call(PUSH, push(plain, tx_id=tx_id))
    _number, code = await code_of(network, raw)
    assert (code is TxValidationCode.VALID) == (len(endorsers) == 2)
    async with network.gateway(BANK) as gateway:
        contract = terms(gateway)
        if code is TxValidationCode.VALID:
            with pytest.raises(GatewayError, match="private data matching public hash version"):
                await contract.evaluate("Get", "terms", key)
        assert await contract.evaluate("Get", "terms", "another") == b""
        await contract.submit("Put", "terms", key, transient={"value": SECRET})
        await network.settled()
        assert await contract.evaluate("Get", "terms", key) == SECRET


async def test_client_that_submits_nothing_of_what_it_has_endorsed_fills_its_share_alone(
    network: LocalNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is endorsed waits for its block; another member's clients may not make all wait."""
    stores = [network.node(msp_id).private.transient for msp_id in (BANK, PTA)]
    await until(lambda: not any(store.size_bytes for store in stores))
    for store in stores:
        monkeypatch.setattr(store, "_most_bytes", 160_000)
    endorsed = []
    async with AsyncGateway(network.endpoint(BANK), network.signer(LIAR)) as gateway:

        async def endorse(number: int) -> None:
            draft = terms(gateway).new_proposal(
                "Put", "terms", f"B-{number}", transient={"value": b"x" * 3000}
            )
            endorsed.append((await gateway.endorse(draft)).tx_id)

        for number in range(3):
            await endorse(number)
        with pytest.raises(EndorseError, match="bytes of clients of MakerMSP and takes no more"):
            await endorse(3)
    async with network.gateway(BANK) as gateway:
        await terms(gateway).submit("Put", "terms", "A-4", transient={"value": SECRET})
    await network.settled()
    for store in stores:
        store.purge(endorsed)
