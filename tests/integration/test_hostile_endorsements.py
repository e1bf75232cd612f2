"""Hostile client and hostile endorser: endorsements by the wrong people, damaged, too few, over
something else; keys changed without those who must agree.

A client puts transactions together by hand and has them ordered; every node records Fabric's code.
An endorser that lies stands in the place of a member's node; the gateway sees through it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2

from clients.gateway.errors import EndorseError, EvaluateError
from ledger.transactions.rwset import KVWrite, NamespaceRWSet, TxRWSet, encode_tx_rwset
from network.msp import SigningIdentity
from tests.support.hostile import TRANSIENT, Doors, Hostile, hostile_network
from tests.support.hostile_requests import BANK, PTA
from tests.support.local_network import CHANNEL, DEADLINE_S
from tests.support.lying_endorser import Liar, honest, lying_endorser, resigned
from tests.support.members import Member

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode
OPERATOR = "OperatorMSP"
MEMBERS = (BANK, OPERATOR, PTA)
FAILED = "ENDORSEMENT_POLICY_FAILURE"
DO_NOT_MATCH = "ProposalResponsePayloads do not match"
LIMITS = "[limits]\nendorsement_timeout_s = 2\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    folder = tmp_path_factory.mktemp("network")
    async with hostile_network(folder, members=MEMBERS, limits=LIMITS) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(hostile: Hostile) -> AsyncIterator[Doors]:
    async with Doors.of(hostile) as made:
        yield made


def written(key: str, namespace: str = "counter") -> bytes:
    """A set that writes one key."""
    return encode_tx_rwset(
        TxRWSet((NamespaceRWSet(namespace, writes=(KVWrite(key, False, b"1"),)),))
    )


# ---- what a client puts together


Endorsers = Callable[[Hostile], list[SigningIdentity]]


def peers(*msp_ids: str) -> Endorsers:
    return lambda hostile: [hostile.network.node_signer(each) for each in msp_ids]


def with_client(hostile: Hostile) -> list[SigningIdentity]:
    return [hostile.network.node_signer(BANK), hostile.network.signer(PTA)]


def with_admin(hostile: Hostile) -> list[SigningIdentity]:
    return [hostile.network.node_signer(BANK), hostile.network.signer(PTA, "admin")]


def with_stranger(hostile: Hostile) -> list[SigningIdentity]:
    return [hostile.network.node_signer(BANK), Member(PTA).identity("node0", "peer")]


def with_unknown_member(hostile: Hostile) -> list[SigningIdentity]:
    return [hostile.network.node_signer(BANK), Member("NobodyMSP").identity("node0", "peer")]


ENDORSERS: dict[str, tuple[Endorsers, str]] = {
    "two members": (peers(BANK, PTA), "VALID"),
    "reordered": (peers(PTA, OPERATOR, BANK), "VALID"),
    "none": (peers(), FAILED),
    "too few": (peers(PTA), FAILED),
    "twice the same": (peers(BANK, BANK), FAILED),
    "two hundred times the same": (peers(*[BANK] * 200), FAILED),
    "a client for a peer": (with_client, FAILED),
    "an admin for a peer": (with_admin, FAILED),
    "a peer of an unknown authority": (with_stranger, FAILED),
    "a peer of no member": (with_unknown_member, FAILED),
}


@pytest.mark.parametrize("who", ENDORSERS)
async def test_endorsements_count_by_their_distinct_rightful_endorsers(
    hostile: Hostile, doors: Doors, who: str
) -> None:
    """Two peers of different members are needed; nobody else counts, and nobody twice."""
    make, code = ENDORSERS[who]
    envelope = doors.envelope(
        hostile.network.signer(BANK), rwset=written(f"by {who}"), endorsers=make(hostile)
    )
    assert await doors.ordered(envelope) == [code]
    state = hostile.network.node(PTA).channel.snapshot()
    try:
        assert (state.get("counter", f"by {who}") is not None) is (code == "VALID")
    finally:
        state.close()


Damage = Callable[[Any, SigningIdentity], None]


def damaged(doors: Doors, change: Damage) -> bytes:
    """A transaction endorsed by the bank and the operator, the latter's endorsement changed."""
    signer = doors.network.signer(BANK)
    raw = doors.envelope(
        signer, rwset=written("damaged"), endorsers=peers(BANK, OPERATOR)(doors.hostile)
    )
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(raw).payload)
    transaction = transaction_pb2.Transaction.FromString(payload.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(transaction.actions[0].payload)
    change(action.action, doors.network.node_signer(OPERATOR))
    transaction.actions[0].payload = action.SerializeToString()
    payload.data = transaction.SerializeToString()
    sent = payload.SerializeToString()
    return bytes(common_pb2.Envelope(payload=sent, signature=signer.sign(sent)).SerializeToString())


def without_signature(action: Any, _peer: SigningIdentity) -> None:
    action.endorsements[1].signature = b""


def flipped(action: Any, _peer: SigningIdentity) -> None:
    raw = bytearray(action.endorsements[1].signature)
    raw[-1] ^= 1
    action.endorsements[1].signature = bytes(raw)


def swapped(action: Any, _peer: SigningIdentity) -> None:
    first, second = action.endorsements[0].signature, action.endorsements[1].signature
    action.endorsements[0].signature, action.endorsements[1].signature = second, first


def in_anothers_name(action: Any, _peer: SigningIdentity) -> None:
    action.endorsements[1].endorser = action.endorsements[0].endorser


def over_the_payload_alone(action: Any, peer: SigningIdentity) -> None:
    action.endorsements[1].signature = peer.sign(action.proposal_response_payload)


def over_another_result(action: Any, _peer: SigningIdentity) -> None:
    response = proposal_response_pb2.ProposalResponsePayload.FromString(
        action.proposal_response_payload
    )
    inner = proposal_pb2.ChaincodeAction.FromString(response.extension)
    inner.results = written("stolen")
    response.extension = inner.SerializeToString()
    action.proposal_response_payload = response.SerializeToString()


@pytest.mark.parametrize(
    "change",
    [
        without_signature,
        flipped,
        swapped,
        in_anothers_name,
        over_the_payload_alone,
        over_another_result,
    ],
)
async def test_damaged_endorsement_does_not_count(doors: Doors, change: Damage) -> None:
    """ENDORSEMENT_POLICY_FAILURE on every node; a bad one does not spoil a good one beside it."""
    assert await doors.ordered(damaged(doors, change)) == [FAILED]

    def beside_good_ones(action: Any, peer: SigningIdentity) -> None:
        payload = action.proposal_response_payload
        change(action, peer)
        if action.proposal_response_payload == payload and change is not swapped:
            action.endorsements.add(
                endorser=peer.serialized, signature=peer.sign(payload + peer.serialized)
            )

    expected = [FAILED if change in (swapped, over_another_result) else "VALID"]
    assert await doors.ordered(damaged(doors, beside_good_ones)) == expected


@pytest.mark.parametrize(
    ("namespace", "code"),
    [("_lifecycle", FAILED), ("qscc", "INVALID_CHAINCODE"), ("nobody", "INVALID_CHAINCODE")],
)
async def test_write_into_a_namespace_of_the_system_needs_its_own_policy(
    hostile: Hostile, doors: Doors, namespace: str, code: str
) -> None:
    """Two members may write into their contract, and into nothing else: definitions need the
    majority that the channel asks for, and what is not defined cannot be written.
    """
    envelope = doors.envelope(
        hostile.network.signer(BANK),
        rwset=written("namespaces/fields/counter/Sequence", namespace),
        endorsers=peers(BANK)(hostile) if namespace == "_lifecycle" else peers(*MEMBERS)(hostile),
    )
    assert await doors.ordered(envelope) == [code]


async def test_key_with_a_policy_of_its_own_is_not_changed_without_its_member(
    hostile: Hostile, doors: Doors
) -> None:
    """As an agreement without its lender: two other members are enough for the contract, and not
    for the key. A gateway asks the member by itself.
    """
    async with hostile.network.gateway(OPERATOR) as gateway, asyncio.timeout(DEADLINE_S):
        contract = gateway.network(CHANNEL).contract("counter")
        await contract.submit("Guard", "agreement", f"OR('{BANK}.peer')")
        await hostile.network.settled()
        for endorsers in (peers(OPERATOR, PTA), with_client):
            envelope = doors.envelope(
                hostile.network.signer(OPERATOR),
                rwset=written("agreement"),
                endorsers=endorsers(hostile)
                if endorsers is not with_client
                else [hostile.network.signer(BANK), *peers(OPERATOR, PTA)(hostile)],
            )
            assert await doors.ordered(envelope) == [FAILED]
        draft = contract.new_proposal(
            "Put", "agreement", "9", endorsing_organisations=[OPERATOR, PTA]
        )
        status = await gateway.commit_status(await gateway.submit(await gateway.endorse(draft)))
        assert status.code.name == FAILED
        assert (await contract.evaluate("Get", "agreement")) == b"0"
        assert (await contract.submit("Put", "agreement", "1")).status.is_valid


async def test_contract_whose_results_differ_is_not_endorsed(hostile: Hostile) -> None:
    """ABORTED, with Fabric's words for each node that said something else."""
    async with hostile.network.gateway(BANK) as gateway:
        draft = gateway.network(CHANNEL).contract("counter").new_proposal("Guess", "k")
        with pytest.raises(EndorseError, match="see attached details") as refused:
            await gateway.endorse(draft)
    assert refused.value.code is Code.ABORTED
    assert {each.message for each in refused.value.details} == {DO_NOT_MATCH}


# ---- an endorser that lies


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def liar(hostile: Hostile, doors: Doors) -> AsyncIterator[Liar]:
    """In the place of the regulator's node; the last tests of the module."""
    async with lying_endorser(hostile.network, PTA, asked=OPERATOR) as standing:
        yield standing


@contextmanager
def lying(liar: Liar, lie: Any) -> Iterator[None]:
    liar.lie, liar.asked = lie, 0
    try:
        yield
    finally:
        liar.lie, liar.trailer, liar.silent = honest, (), False


def richer(response: Any, signer: SigningIdentity) -> bytes:
    """Another read/write set, properly signed."""
    payload = proposal_response_pb2.ProposalResponsePayload.FromString(response.payload)
    action = proposal_pb2.ChaincodeAction.FromString(payload.extension)
    action.results = written("stolen")
    payload.extension = action.SerializeToString()
    return resigned(response, signer, payload.SerializeToString())


def unsigned(response: Any, _signer: SigningIdentity) -> bytes:
    response.ClearField("endorsement")
    return bytes(response.SerializeToString())


def in_the_banks_name(response: Any, signer: SigningIdentity) -> bytes:
    """What it heard from somebody else, sent as its own."""
    return bytes(response.SerializeToString())


LIES: dict[str, tuple[Any, str]] = {
    "another read/write set": (richer, DO_NOT_MATCH),
    "a payload that is none": (lambda r, s: resigned(r, s, b"\xff\xff"), DO_NOT_MATCH),
    "no payload": (lambda r, s: resigned(r, s, b""), DO_NOT_MATCH),
    "no endorsement": (unsigned, "chaincode response 200"),
    "another member's endorsement": (in_the_banks_name, DO_NOT_MATCH),
    "no message": (lambda _r, _s: b"\xff\xff\xff", ""),
    "nothing": (lambda _r, _s: b"", "chaincode response 0"),
}


@pytest.mark.parametrize("what", LIES)
async def test_endorser_that_lies_is_seen_through_and_others_take_its_place(
    hostile: Hostile, liar: Liar, what: str
) -> None:
    """Asked by name it fails the call with its words as a detail; where the gateway chooses, it
    takes another member, and the transaction is valid.
    """
    lie, words = LIES[what]
    async with hostile.network.gateway(BANK) as gateway, asyncio.timeout(DEADLINE_S):
        contract = gateway.network(CHANNEL).contract("counter")
        alone = () if lie is richer else ((PTA,),)  # nobody is there to say otherwise
        for organisations in ((BANK, PTA), *alone):
            draft = contract.new_proposal(
                "Put", "k", "1", endorsing_organisations=organisations, transient=TRANSIENT
            )
            with lying(liar, lie), pytest.raises(EndorseError) as refused:
                await gateway.endorse(draft)
            assert refused.value.code is Code.ABORTED
            (detail,) = refused.value.details
            assert detail.msp_id == PTA
            assert words in detail.message
        with lying(liar, lie):
            for _ in range(4):
                assert (await contract.submit("Put", "k", "1")).status.is_valid


async def test_endorsement_with_a_bad_signature_gets_its_transaction_recorded_as_failed(
    hostile: Hostile, liar: Liar
) -> None:
    """A gateway compares payloads, as Fabric's does; the signature is judged with the block."""

    def lie(response: Any, signer: SigningIdentity) -> bytes:
        response.endorsement.endorser = signer.serialized
        return bytes(response.SerializeToString())

    async with hostile.network.gateway(BANK) as gateway, asyncio.timeout(DEADLINE_S):
        contract = gateway.network(CHANNEL).contract("counter")
        draft = contract.new_proposal("Put", "k", "1", endorsing_organisations=[BANK, PTA])
        with lying(liar, lie):
            endorsed = await gateway.endorse(draft)
        status = await gateway.commit_status(await gateway.submit(endorsed))
    assert status.code.name == FAILED


@pytest.mark.parametrize("height", ["9" * 4_400, "9" * 18, "-1", "x", ""])
async def test_height_that_an_endorser_claims_is_a_hint_and_no_more(
    hostile: Hostile, liar: Liar, height: str
) -> None:
    """Whatever stands there, the honest rest of the answer counts, or the answer does not match."""
    async with hostile.network.gateway(BANK) as gateway, asyncio.timeout(DEADLINE_S):
        contract = gateway.network(CHANNEL).contract("counter")
        draft = contract.new_proposal("Put", "k", "1", endorsing_organisations=[BANK, PTA])
        with lying(liar, honest):
            liar.trailer = (("qist-height", height),)
            endorsed = await gateway.endorse(draft)
        assert (await gateway.commit_status(await gateway.submit(endorsed))).is_valid


async def test_query_answered_with_garbage_by_another_member_is_told_as_such(
    hostile: Hostile, liar: Liar
) -> None:
    """UNAVAILABLE with the node's name: nothing can be made of its answer."""
    async with hostile.network.gateway(BANK) as gateway:
        contract = gateway.network(CHANNEL).contract("counter")
        for lie in (LIES["a payload that is none"][0], LIES["no message"][0]):
            with lying(liar, lie), pytest.raises(EvaluateError) as refused:
                await contract.evaluate("Get", "k", endorsing_organisations=[PTA])
            assert refused.value.code is Code.UNAVAILABLE
            (detail,) = refused.value.details
            assert detail.msp_id == PTA


async def test_endorser_that_never_answers_costs_its_time_and_no_more(
    hostile: Hostile, liar: Liar
) -> None:
    """Another member takes its place after the timeout, and it is not asked first again."""
    async with hostile.network.gateway(BANK) as gateway, asyncio.timeout(DEADLINE_S):
        contract = gateway.network(CHANNEL).contract("counter")
        with lying(liar, honest):
            liar.silent = True
            for _ in range(6):
                assert (await contract.submit("Put", "k", "1")).status.is_valid
            assert liar.asked <= 2
