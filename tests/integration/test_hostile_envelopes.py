"""Hostile client: envelopes that an orderer must not let into a block, and those that a committer
must judge whatever is inside.

A member's own client sends them, so that its signature is good wherever one is looked at.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2

from network.msp import SigningIdentity
from tests.support.hostile import Doors, Hostile, hostile_network
from tests.support.hostile_requests import BAD_REQUEST, BANK, SUCCESS
from tests.support.local_network import CHANNEL

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # What is said of certificates that chance has damaged.
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]

Code = grpc.StatusCode
VALID = "VALID"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    async with hostile_network(tmp_path_factory.mktemp("network")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(hostile: Hostile) -> AsyncIterator[Doors]:
    async with Doors.of(hostile) as made:
        yield made


def signed(signer: SigningIdentity, payload: Any) -> bytes:
    raw = payload if isinstance(payload, bytes) else payload.SerializeToString()
    envelope = common_pb2.Envelope(payload=raw, signature=signer.sign(raw))
    return bytes(envelope.SerializeToString())


# ---- what would stop a channel if it came into a block


def out_of_order(envelope: bytes) -> bytes:
    """The same message with its two fields in the other order."""
    message = common_pb2.Envelope.FromString(envelope)
    first = common_pb2.Envelope(signature=message.signature).SerializeToString()
    return bytes(first + common_pb2.Envelope(payload=message.payload).SerializeToString())


def long_lengths(envelope: bytes) -> bytes:
    """The same message with the length of its first field written in more bytes than it takes."""
    message = common_pb2.Envelope.FromString(envelope)
    size = len(message.payload)
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, 0])
    rest = common_pb2.Envelope(signature=message.signature).SerializeToString()
    return b"\x0a" + length + bytes(message.payload) + bytes(rest)


MALFORMED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "fields out of order": (out_of_order, "its protobuf fields are out of order"),
    "longer than needed": (long_lengths, "its encoding is longer than the shortest one"),
    "a field twice": (lambda raw: raw + raw, "trailing bytes"),
    "no signature": (
        lambda raw: common_pb2.Envelope(
            payload=common_pb2.Envelope.FromString(raw).payload
        ).SerializeToString(),
        "the envelope has no signature",
    ),
    "no payload": (
        lambda raw: common_pb2.Envelope(
            signature=common_pb2.Envelope.FromString(raw).signature
        ).SerializeToString(),
        "no header was set",
    ),
    "nothing": (lambda raw: b"", "no header was set"),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_envelope_that_committers_refuse_with_its_block_is_refused_by_broadcast(
    hostile: Hostile, doors: Doors, what: str
) -> None:
    """400 with what to do; an honest envelope beside it on the same stream is ordered."""
    change, words = MALFORMED[what]
    signer = hostile.network.signer(BANK)
    bad = change(doors.envelope(signer))
    ending = await doors.call("Broadcast", doors.envelope(signer), bad)
    assert (ending.code, ending.status) == (Code.OK, BAD_REQUEST)
    assert words in ending.words
    assert "make and sign the envelope anew with a Fabric client" in ending.words
    assert await doors.ordered(doors.envelope(signer)) == [VALID]


@pytest.mark.parametrize("what", MALFORMED)
async def test_envelope_that_committers_refuse_with_its_block_does_no_harm_by_submit(
    hostile: Hostile, doors: Doors, what: str
) -> None:
    """A gateway marshals the envelope anew, which heals its encoding; what lacks a part is refused
    there or by the orderer.
    """
    change, words = MALFORMED[what]
    signer = hostile.network.signer(BANK)
    bad = change(doors.envelope(signer))
    prefix = b"\x12" + bytes([len(CHANNEL)]) + CHANNEL.encode()
    size = len(bad)
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    raw = prefix + b"\x1a" + length + bad
    assert gateway_pb2.SubmitRequest.FromString(raw).channel_id == CHANNEL
    ending = await doors.call("Submit", raw)
    if what in ("fields out of order", "longer than needed", "a field twice"):
        assert ending.code is Code.OK
    elif what == "no payload":
        assert ending.code is Code.ABORTED
        assert f"status=BAD_REQUEST, info=could not determine channel ID: {words}" in ending.words
    else:
        assert ending.code is Code.INVALID_ARGUMENT
        assert ending.words == "prepared transaction must be signed"


@pytest.mark.parametrize(
    ("header_type", "words"),
    [
        (common_pb2.CONFIG, "cannot be processed directly"),
        (common_pb2.CONFIG_UPDATE, "error applying config update to existing channel"),
        (common_pb2.ORDERER_TRANSACTION, "no longer supported"),
    ],
)
async def test_configuration_sent_by_a_client_is_a_bad_request(
    hostile: Hostile, doors: Doors, header_type: int, words: str
) -> None:
    """Nobody but an orderer puts a configuration into a block."""
    signer = hostile.network.signer(BANK, "admin")
    payload = payload_of(doors.envelope(signer))
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    header.type = header_type
    payload.header.channel_header = header.SerializeToString()
    ending = await doors.call("Broadcast", signed(signer, payload))
    assert (ending.code, ending.status) == (Code.OK, BAD_REQUEST)
    assert words in ending.words


# ---- what becomes a verdict


def payload_of(envelope: bytes) -> Any:
    return common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)


def with_channel_header(**fields: Any) -> Callable[[Any], None]:
    def change(payload: Any) -> None:
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        for name, value in fields.items():
            setattr(header, name, value)
        payload.header.channel_header = header.SerializeToString()

    return change


def with_signature_header(**fields: Any) -> Callable[[Any], None]:
    def change(payload: Any) -> None:
        header = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
        for name, value in fields.items():
            setattr(header, name, value)
        payload.header.signature_header = header.SerializeToString()

    return change


def with_actions(count: int) -> Callable[[Any], None]:
    def change(payload: Any) -> None:
        transaction = transaction_pb2.Transaction.FromString(payload.data)
        action = transaction.actions[0]
        del transaction.actions[:]
        transaction.actions.extend([action] * count)
        payload.data = transaction.SerializeToString()

    return change


def with_response(change: Callable[[Any], None]) -> Callable[[Any], None]:
    """Change the endorsed ChaincodeAction, whose endorsements do not fit any more."""

    def apply(payload: Any) -> None:
        transaction = transaction_pb2.Transaction.FromString(payload.data)
        endorsed = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
        response = proposal_response_pb2.ProposalResponsePayload.FromString(
            endorsed.action.proposal_response_payload
        )
        action = proposal_pb2.ChaincodeAction.FromString(response.extension)
        change(action)
        response.extension = action.SerializeToString()
        endorsed.action.proposal_response_payload = response.SerializeToString()
        transaction.actions[0].payload = endorsed.SerializeToString()
        payload.data = transaction.SerializeToString()

    return apply


def set_data(data: bytes) -> Callable[[Any], None]:
    return lambda payload: setattr(payload, "data", data)


VERDICTS: dict[str, tuple[Callable[[Any], None], str]] = {
    "header type MESSAGE": (with_channel_header(type=0), "BAD_COMMON_HEADER"),
    "header type 99": (with_channel_header(type=99), "BAD_COMMON_HEADER"),
    "epoch": (with_channel_header(epoch=7), "BAD_COMMON_HEADER"),
    "no nonce": (with_signature_header(nonce=b""), "BAD_COMMON_HEADER"),
    "another nonce": (with_signature_header(nonce=b"n" * 24), "BAD_PROPOSAL_TXID"),
    "no tx id": (with_channel_header(tx_id=""), "BAD_PROPOSAL_TXID"),
    "tx id with NUL": (with_channel_header(tx_id="\0a\0"), "BAD_PROPOSAL_TXID"),
    "tx id of 100 kB": (with_channel_header(tx_id="f" * 100_000), "BAD_PROPOSAL_TXID"),
    "another extension": (
        with_channel_header(extension=b"\x0a\x00"),
        "INVALID_ENDORSER_TRANSACTION",
    ),
    "another version": (with_channel_header(version=5), "INVALID_ENDORSER_TRANSACTION"),
    "no data": (set_data(b""), "INVALID_ENDORSER_TRANSACTION"),
    "data that is none": (set_data(b"\xff\xff"), "INVALID_ENDORSER_TRANSACTION"),
    "no action": (with_actions(0), "INVALID_ENDORSER_TRANSACTION"),
    "two actions": (with_actions(2), "INVALID_ENDORSER_TRANSACTION"),
    "a thousand actions": (with_actions(1000), "INVALID_ENDORSER_TRANSACTION"),
    "results that are none": (
        with_response(lambda action: setattr(action, "results", b"\xff")),
        "BAD_RWSET",
    ),
    "event that is none": (
        with_response(lambda action: setattr(action, "events", b"\xff")),
        "INVALID_OTHER_REASON",
    ),
    "another contract's action": (
        with_response(lambda action: setattr(action.chaincode_id, "name", "qscc")),
        "INVALID_CHAINCODE",
    ),
    "no version": (
        with_response(lambda action: setattr(action.chaincode_id, "version", "")),
        "INVALID_CHAINCODE",
    ),
    "another answer": (
        with_response(lambda action: setattr(action.response, "payload", b"rich")),
        "ENDORSEMENT_POLICY_FAILURE",
    ),
}


@pytest.mark.parametrize("what", VERDICTS)
async def test_transaction_that_is_not_what_it_should_be_is_recorded_with_fabrics_code(
    hostile: Hostile, doors: Doors, what: str
) -> None:
    """The envelope is signed by its creator and well formed, so it is ordered; the verdict is that
    of every node.
    """
    change, code = VERDICTS[what]
    signer = hostile.network.signer(BANK)
    payload = payload_of(doors.envelope(signer))
    change(payload)
    assert await doors.ordered(signed(signer, payload), doors.envelope(signer)) == [code, VALID]


async def test_long_ids_fill_no_log(hostile: Hostile) -> None:
    """They are quoted beside a verdict."""
    assert "tx id of 100 kB" in VERDICTS
    assert max(map(len, hostile.log.lines)) < 20_000


async def test_envelopes_changed_anywhere_inside_get_a_verdict(
    hostile: Hostile, doors: Doors
) -> None:
    """Four hundred transactions, each with bytes changed below the creator's signature: whatever
    an orderer lets in, all nodes judge alike, and none is stopped by it.
    """
    signer = hostile.network.signer(BANK)
    chance = random.Random(17)
    envelopes = []
    for _ in range(400):
        payload = payload_of(doors.envelope(signer, rwset=rwset(chance)))
        data = bytearray(payload.data)
        for _ in range(chance.choice((1, 1, 2, 5))):
            place = chance.randrange(len(data))
            how = chance.randrange(3)
            if how == 0:
                data[place] = chance.randrange(256)
            elif how == 1:
                del data[place : place + chance.randrange(1, 4)]
            else:
                data[place:place] = chance.randbytes(chance.randrange(1, 4))
        payload.data = bytes(data)
        envelopes.append(signed(signer, payload))
    codes = await doors.ordered(*envelopes)
    assert len(codes) == len(envelopes)
    assert len(set(codes)) > 2
    assert (await doors.call("Broadcast", doors.envelope(signer))).status == SUCCESS


NAMES = ("", "k", "\0", "a\0", "\U0010ffff", "k" * 5_000, "~", "é")
VALUES = (b"", b"\0", b"v", b"\xff" * 32, b"h" * 31, b"z" * 2_000)
NUMBERS = (0, 1, 2, 3, 2**32 - 1, 2**63, 2**64 - 1)
NAMESPACES = ("counter", "counter", "counter", "", "_lifecycle", "qscc", "\0", "n" * 300)
COLLECTIONS = ("", "c", "_implicit_org_BankMSP", "_implicit_org_", "\0")


def read(chance: random.Random) -> Any:
    made = kv_rwset_pb2.KVRead(key=chance.choice(NAMES))
    if chance.random() < 0.5:
        made.version.block_num = chance.choice(NUMBERS)
        made.version.tx_num = chance.choice(NUMBERS)
    return made


def range_query(chance: random.Random) -> Any:
    made = kv_rwset_pb2.RangeQueryInfo(
        start_key=chance.choice(NAMES),
        end_key=chance.choice(NAMES),
        itr_exhausted=chance.random() < 0.5,
    )
    if chance.random() < 0.5:
        made.raw_reads.kv_reads.extend([read(chance) for _ in range(chance.randrange(3))])
    else:
        made.reads_merkle_hashes.max_degree = chance.choice((0, 1, 2, 50, 2**32 - 1))
        made.reads_merkle_hashes.max_level = chance.choice((0, 1, 2, 2**32 - 1))
        made.reads_merkle_hashes.max_level_hashes.extend(chance.choices(VALUES, k=2))
    return made


def rwset(chance: random.Random) -> bytes:
    """A read/write set that no contract would make, of the right protobuf form."""
    made = rwset_pb2.TxReadWriteSet(data_model=chance.choice((0, 0, 0, 9)))
    for _ in range(chance.randrange(1, 3)):
        public = kv_rwset_pb2.KVRWSet()
        if chance.random() < 0.4:
            public.reads.extend([read(chance) for _ in range(chance.randrange(3))])
            public.range_queries_info.extend([range_query(chance)])
        for _ in range(chance.randrange(4)):
            public.writes.add(
                key=chance.choice(NAMES),
                is_delete=chance.random() < 0.3,
                value=chance.choice(VALUES),
            )
        if chance.random() < 0.3:
            entry = public.metadata_writes.add(key=chance.choice(NAMES[1:])).entries.add()
            entry.name = chance.choice(("VALIDATION_PARAMETER", "", "x"))
            entry.value = chance.choice(VALUES)
        each = made.ns_rwset.add(
            namespace=chance.choice(NAMESPACES), rwset=public.SerializeToString()
        )
        if chance.random() < 0.3:
            hashed = kv_rwset_pb2.HashedRWSet()
            hashed.hashed_writes.add(
                key_hash=chance.choice(VALUES),
                value_hash=chance.choice(VALUES),
                is_delete=chance.random() < 0.3,
                is_purge=chance.random() < 0.3,
            )
            each.collection_hashed_rwset.add(
                collection_name=chance.choice(COLLECTIONS),
                hashed_rwset=hashed.SerializeToString(),
                pvt_rwset_hash=chance.choice(VALUES),
            )
    return bytes(made.SerializeToString())


async def test_sets_that_no_contract_would_make_get_a_verdict_though_all_members_endorse(
    hostile: Hostile, doors: Doors
) -> None:
    """Odd keys, versions, ranges, metadata, collections and namespaces, properly endorsed by
    every member: each is judged, alike on all nodes, and the states that come of it are equal.
    """
    signer = hostile.network.signer(BANK)
    chance = random.Random(23)
    envelopes = [doors.envelope(signer, rwset=rwset(chance)) for _ in range(400)]
    codes = await doors.ordered(*envelopes)
    assert {"VALID", "MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT", "INVALID_CHAINCODE"} <= set(
        codes
    )
    assert "ILLEGAL_WRITESET" in codes
