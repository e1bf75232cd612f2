"""Every refusal of the gateway in Fabric's code and words, over real gRPC and TLS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import grpc
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import proposal_pb2

from clients.gateway import messages
from clients.gateway.errors import EndorseError, EvaluateError
from ledger.transactions.parse import parse_transaction
from network.msp import split_identity
from network.msp.keys import CURVE_ORDERS
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, DEADLINE_S, LocalNetwork, local_network, until
from tests.support.members import Member

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEMBERS = ("BankMSP", "OperatorMSP", "PtaMSP")
Code = grpc.StatusCode
LIMITS = "[limits]\nmax_message_bytes = 65536\ncommit_status_wait_s = 0.3\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalNetwork]:
    folder = tmp_path_factory.mktemp("network")
    async with local_network(folder, [Counter()], members=MEMBERS, limits=LIMITS) as running:
        yield running
        await running.verify()


@asynccontextmanager
async def stub(network: LocalNetwork, msp_id: str = "BankMSP") -> AsyncIterator[Any]:
    endpoint = network.endpoint(msp_id)
    async with grpc.aio.secure_channel(
        endpoint.address, endpoint.credentials(), options=endpoint.options()
    ) as channel:
        yield gateway_pb2_grpc.GatewayStub(channel)


def proposal(network: LocalNetwork, function: str = "Get", *arguments: str, **options: Any) -> Any:
    """A proposal of the bank's lending desk, as a client makes it."""
    signer = options.pop("signer", None) or network.signer("BankMSP")
    return messages.new_proposal(
        signer,
        options.pop("channel_id", CHANNEL),
        options.pop("chaincode", "counter"),
        function,
        arguments or ("k",),
        **options,
    )


def changed(draft: messages.ProposalDraft, change: Any) -> messages.ProposalDraft:
    """The draft after *change* of its proposal, channel header and signature header."""
    parsed = proposal_pb2.Proposal.FromString(draft.raw)
    header = common_pb2.Header.FromString(parsed.header)
    channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
    signature_header = common_pb2.SignatureHeader.FromString(header.signature_header)
    change(parsed, channel_header, signature_header)
    header.channel_header = channel_header.SerializeToString()
    header.signature_header = signature_header.SerializeToString()
    parsed.header = header.SerializeToString()
    return replace(draft, raw=parsed.SerializeToString())


def evaluate_request(draft: messages.ProposalDraft, *targets: str) -> Any:
    return gateway_pb2.EvaluateRequest(
        proposed_transaction=draft.signed(), target_organizations=targets
    )


def endorse_request(draft: messages.ProposalDraft, *organisations: str) -> Any:
    return gateway_pb2.EndorseRequest(
        proposed_transaction=draft.signed(), endorsing_organizations=organisations
    )


class Refused(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    words: str


async def refused(call: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return Refused(caught.value.code(), caught.value.details() or "")


# ---- Evaluate


async def test_evaluate_of_bytes_that_are_no_proposal_is_an_invalid_argument(
    network: LocalNetwork,
) -> None:
    """INVALID_ARGUMENT "failed to unpack transaction proposal: …" (evaluate.go)."""
    async with stub(network) as gateway:
        for raw in (b"", b"\xff\xff", b"\x0a\x02\xff\xff"):
            signed = proposal_pb2.SignedProposal(proposal_bytes=raw, signature=b"s")
            error = await refused(
                gateway.Evaluate(gateway_pb2.EvaluateRequest(proposed_transaction=signed))
            )
            assert error.code is Code.INVALID_ARGUMENT
            assert error.words.startswith("failed to unpack transaction proposal: ")


async def test_evaluate_of_a_request_that_is_no_message_ends_as_in_gos_grpc(
    network: LocalNetwork,
) -> None:
    """INTERNAL "grpc: error unmarshalling request" and nothing worse."""
    endpoint = network.endpoint("BankMSP")
    async with grpc.aio.secure_channel(
        endpoint.address, endpoint.credentials(), options=endpoint.options()
    ) as channel:
        for rpc in ("Evaluate", "Endorse", "Submit", "CommitStatus"):
            call = channel.unary_unary(f"/gateway.Gateway/{rpc}", None, None)
            error = await refused(call(b"\xff\xff\xff"))
            assert error.code is Code.INTERNAL
            assert error.words.startswith("grpc: error unmarshalling request")
        error = await refused(channel.unary_unary("/gateway.Gateway/Nothing", None, None)(b""))
        assert error.code is Code.UNIMPLEMENTED


async def test_evaluate_takes_channel_and_contract_from_inside_the_proposal(
    network: LocalNetwork,
) -> None:
    """The names in the request around the signed proposal are not looked at."""
    async with stub(network) as gateway:
        request = evaluate_request(proposal(network))
        request.channel_id, request.transaction_id = "elsewhere", "no-id"
        answer = await gateway.Evaluate(request)
        assert (answer.result.status, answer.result.payload) == (200, b"0")
        error = await refused(
            gateway.Evaluate(evaluate_request(proposal(network, channel_id="elsewhere")))
        )
        assert (error.code, error.words) == (
            Code.FAILED_PRECONDITION,
            "channel 'elsewhere' not found; name one that this node keeps",
        )


async def test_evaluate_of_an_unknown_contract_asks_every_member_and_tells_what_each_said(
    network: LocalNetwork,
) -> None:
    """Status 500 without payload may be tried elsewhere; then all details come back."""
    async with network.gateway("BankMSP") as gateway:
        with pytest.raises(EvaluateError, match="failed to evaluate transaction") as caught:
            await gateway.evaluate(proposal(network, chaincode="nobody"))
    assert caught.value.details[0].msp_id == "BankMSP"
    assert {detail.msp_id for detail in caught.value.details} == set(MEMBERS)
    assert all("nobody" in detail.message for detail in caught.value.details)


async def test_evaluate_of_what_the_contract_refuses_is_unknown_with_its_words(
    network: LocalNetwork,
) -> None:
    """UNKNOWN "evaluate call to endorser returned error: chaincode response 400, …"."""
    async with stub(network) as gateway:
        error = await refused(gateway.Evaluate(evaluate_request(proposal(network, "Refuse", ""))))
        assert error.code is Code.UNKNOWN
        assert error.words.startswith(
            "evaluate call to endorser returned error: chaincode response 400, "
        )


async def test_evaluate_at_another_member_is_run_there(network: LocalNetwork) -> None:
    """A target organisation that is not the gateway's own answers in its place."""
    async with stub(network) as gateway:
        answer = await gateway.Evaluate(evaluate_request(proposal(network), "PtaMSP"))
        assert answer.result.payload == b"0"
        error = await refused(gateway.Evaluate(evaluate_request(proposal(network), "NobodyMSP")))
        assert error.code is Code.FAILED_PRECONDITION
        assert "NobodyMSP" in error.words


HEADERS = {
    "header type": (
        lambda _p, channel, _s: setattr(channel, "type", common_pb2.MESSAGE),
        "invalid header type MESSAGE",
    ),
    "epoch": (lambda _p, channel, _s: setattr(channel, "epoch", 1), "epoch is non-zero"),
    "nonce": (lambda _p, _c, signature: setattr(signature, "nonce", b""), "nonce is empty"),
    "creator": (lambda _p, _c, signature: setattr(signature, "creator", b""), "creator is empty"),
    "tx id": (
        lambda _p, channel, _s: setattr(channel, "tx_id", "ab"),
        "incorrectly computed txid 'ab' -- expected '",
    ),
    "no timestamp": (lambda _p, channel, _s: channel.ClearField("timestamp"), "has no timestamp"),
}


@pytest.mark.parametrize("what", HEADERS)
async def test_proposal_with_a_wrong_header_is_refused_by_name(
    network: LocalNetwork, what: str
) -> None:
    """Form is checked before anybody asks who signed (msgvalidation.go)."""
    change, words = HEADERS[what]
    draft = changed(proposal(network), change)
    async with network.gateway("BankMSP") as gateway:
        with pytest.raises(EvaluateError) as queried:
            await gateway.evaluate(draft)
        assert queried.value.code is Code.FAILED_PRECONDITION
        assert words in str(queried.value)
        with pytest.raises(EndorseError) as endorsed:
            await gateway.endorse(draft)
        assert endorsed.value.code is Code.ABORTED
        assert words in endorsed.value.details[0].message


@pytest.mark.parametrize("minutes", [-16, 16])
async def test_proposal_sixteen_minutes_off_is_refused_and_fourteen_are_let_pass(
    network: LocalNetwork, minutes: int
) -> None:
    """Endorsers refuse a timestamp more than 15 minutes off their clock, either way."""
    now = network.node("BankMSP").clock.now()
    async with network.gateway("BankMSP") as gateway:
        off = proposal(network, now=now + timedelta(minutes=minutes))
        with pytest.raises(EvaluateError, match="incorrect timestamp"):
            await gateway.evaluate(off)
        near = proposal(network, now=now + timedelta(minutes=minutes * 14 / 16))
        assert await gateway.evaluate(near) == b"0"


async def test_proposal_signed_by_another_key_is_refused_with_the_members_name(
    network: LocalNetwork,
) -> None:
    """ "access denied: channel [qist] creator org [BankMSP]", and nothing of the certificate."""
    async with network.gateway("BankMSP") as gateway:
        for signature in (network.signer("OperatorMSP").sign(b"another message"), b"", b"junk"):
            draft = replace(proposal(network), signature=signature)
            if not signature:
                draft = replace(draft, signer=_Silent(network.signer("BankMSP")))
            with pytest.raises(EvaluateError) as caught:
                await gateway.evaluate(draft)
            expected = "creator org [BankMSP]" if signature else "empty signature"
            assert expected in str(caught.value)
            assert "CERTIFICATE" not in str(caught.value)


class _Silent:
    """Signs nothing."""

    def __init__(self, signer: Any) -> None:
        self.msp_id, self.serialized = signer.msp_id, signer.serialized

    def sign(self, message: bytes) -> bytes:
        return b""


async def test_proposal_of_an_authority_nobody_knows_is_refused(network: LocalNetwork) -> None:
    """ "creator org unknown, creator is malformed" for members and certificates we do not know."""
    impostor = Member("BankMSP").identity()
    async with network.gateway("BankMSP") as gateway:
        with pytest.raises(EvaluateError, match="creator org unknown, creator is malformed"):
            await gateway.evaluate(proposal(network, signer=impostor))


async def test_proposal_with_a_high_s_signature_is_refused(network: LocalNetwork) -> None:
    """Each ECDSA signature has two forms; the one with the high S is refused everywhere."""
    draft = proposal(network)
    r, s = decode_dss_signature(draft.signed().signature)
    high = encode_dss_signature(r, CURVE_ORDERS["secp256r1"] - s)
    async with network.gateway("BankMSP") as gateway:
        with pytest.raises(EvaluateError, match="high S"):
            await gateway.evaluate(replace(draft, signature=high))


# ---- Endorse


async def test_endorse_without_a_proposal_is_an_invalid_argument(network: LocalNetwork) -> None:
    """INVALID_ARGUMENT in Fabric's words (endorse.go)."""
    async with stub(network) as gateway:
        error = await refused(gateway.Endorse(gateway_pb2.EndorseRequest()))
        assert (error.code, error.words) == (
            Code.INVALID_ARGUMENT,
            "the proposed transaction must contain a signed proposal",
        )


async def test_endorse_by_a_member_without_node_is_unavailable(network: LocalNetwork) -> None:
    """UNAVAILABLE "failed to find any endorsing peers for org(s): …" (endorse.go)."""
    async with stub(network) as gateway:
        request = endorse_request(proposal(network, "Put", "k", "1"), "BankMSP", "NobodyMSP")
        error = await refused(gateway.Endorse(request))
        assert (error.code, error.words) == (
            Code.UNAVAILABLE,
            "failed to find any endorsing peers for org(s): NobodyMSP; name members whose nodes "
            "the channel configuration names",
        )


async def test_endorse_by_named_members_carries_just_their_endorsements(
    network: LocalNetwork,
) -> None:
    """One endorsement of each organisation that the client names, its own not among them if it is
    not named.
    """
    async with network.gateway("BankMSP") as gateway:
        prepared = await gateway.endorse(
            proposal(network, "Put", "k", "1", endorsing_organisations=["OperatorMSP", "PtaMSP"])
        )
    envelope = prepared.signed().SerializeToString()
    endorsers = [
        split_identity(each.endorser)[0] for each in parse_transaction(envelope).endorsements
    ]
    assert sorted(endorsers) == ["OperatorMSP", "PtaMSP"]


@pytest.mark.parametrize("named", [["BankMSP", "PtaMSP"], ["OperatorMSP", "PtaMSP"]])
async def test_endorse_that_named_members_refuse_tells_what_each_said(
    network: LocalNetwork, named: list[str]
) -> None:
    """ABORTED "failed to collect enough …" with a detail of each, the gateway's own member no
    exception (endorse.go).
    """
    async with network.gateway("BankMSP") as gateway:
        with pytest.raises(EndorseError, match="failed to collect enough") as caught:
            await gateway.endorse(proposal(network, "Refuse", "", endorsing_organisations=named))
    assert caught.value.code is Code.ABORTED
    assert sorted(detail.msp_id for detail in caught.value.details) == named
    for detail in caught.value.details:
        assert detail.message.startswith("chaincode response 400, ")


# ---- Submit


async def test_submit_of_what_is_no_signed_transaction_is_an_invalid_argument(
    network: LocalNetwork,
) -> None:
    """INVALID_ARGUMENT in Fabric's words; NOT_FOUND for a channel without orderer (submit.go)."""
    async with stub(network) as gateway:
        error = await refused(gateway.Submit(gateway_pb2.SubmitRequest(channel_id=CHANNEL)))
        assert (error.code, error.words) == (
            Code.INVALID_ARGUMENT,
            "a prepared transaction is required",
        )
        unsigned = gateway_pb2.SubmitRequest(
            channel_id=CHANNEL, prepared_transaction=common_pb2.Envelope(payload=b"x")
        )
        error = await refused(gateway.Submit(unsigned))
        assert (error.code, error.words) == (
            Code.INVALID_ARGUMENT,
            "prepared transaction must be signed",
        )
        unsigned.prepared_transaction.signature = b"s"
        unsigned.channel_id = "elsewhere"
        error = await refused(gateway.Submit(unsigned))
        assert error.code is Code.NOT_FOUND


@pytest.mark.parametrize("msp_id", ["BankMSP", "PtaMSP"])
async def test_submit_of_what_the_orderer_refuses_is_aborted_with_its_status(
    network: LocalNetwork, msp_id: str
) -> None:
    """ABORTED "received unsuccessful response from orderer: status=…, info=…", from the orderer's
    own gateway and from a follower's alike.
    """
    async with network.gateway("BankMSP") as client, stub(network, msp_id) as gateway:
        endorsed = await client.endorse(proposal(network, "Put", "k", "1"))
        forged = endorsed.with_signature(network.signer("OperatorMSP").sign(b"else"))
        error = await refused(
            gateway.Submit(
                gateway_pb2.SubmitRequest(channel_id=CHANNEL, prepared_transaction=forged.signed())
            )
        )
        assert error.code is Code.ABORTED
        assert error.words.startswith(
            "received unsuccessful response from orderer: status=FORBIDDEN, info="
        )


# ---- CommitStatus


def status_request(network: LocalNetwork, **fields: Any) -> Any:
    signer = network.signer("BankMSP")
    request = gateway_pb2.CommitStatusRequest(
        **{
            "transaction_id": "a" * 64,
            "channel_id": CHANNEL,
            "identity": signer.serialized,
            **fields,
        }
    ).SerializeToString()
    return gateway_pb2.SignedCommitStatusRequest(request=request, signature=signer.sign(request))


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"identity": b""}, Code.INVALID_ARGUMENT, "no identity provided"),
        ({"channel_id": ""}, Code.INVALID_ARGUMENT, "no channel ID provided"),
        ({"transaction_id": ""}, Code.INVALID_ARGUMENT, "transaction ID should not be empty"),
        ({"channel_id": "elsewhere"}, Code.ABORTED, "channel 'elsewhere' not found"),
        ({"identity": b"nobody"}, Code.PERMISSION_DENIED, "access denied"),
    ],
)
async def test_commit_status_that_cannot_be_asked_is_refused_in_fabrics_words(
    network: LocalNetwork, fields: dict[str, Any], code: Code, words: str
) -> None:
    """Codes and messages of commitstatus.go."""
    async with stub(network) as gateway:
        error = await refused(gateway.CommitStatus(status_request(network, **fields)))
        assert error.code is code
        assert words in error.words


async def test_commit_status_of_an_unknown_transaction_waits_until_the_limit(
    network: LocalNetwork,
) -> None:
    """It may be in the next block, so the answer is a wait, ended by a deadline."""
    async with stub(network) as gateway:
        error = await refused(gateway.CommitStatus(status_request(network)))
        assert error.code is Code.DEADLINE_EXCEEDED
        assert "is in no block yet" in error.words
        error = await refused(gateway.CommitStatus(status_request(network), timeout=0.05))
        assert error.code is Code.DEADLINE_EXCEEDED


async def test_commit_status_signed_by_another_is_denied(network: LocalNetwork) -> None:
    """The signature must be the identity's own."""
    request = status_request(network)
    request.signature = network.signer("OperatorMSP").sign(request.request)
    async with stub(network) as gateway:
        error = await refused(gateway.CommitStatus(request))
        assert error.code is Code.PERMISSION_DENIED


# ---- ChaincodeEvents


def events_request(network: LocalNetwork, **fields: Any) -> Any:
    signer = network.signer("BankMSP")
    request = gateway_pb2.ChaincodeEventsRequest(
        **{
            "channel_id": CHANNEL,
            "chaincode_id": "counter",
            "identity": signer.serialized,
            **fields,
        }
    ).SerializeToString()
    return gateway_pb2.SignedChaincodeEventsRequest(request=request, signature=signer.sign(request))


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"channel_id": "elsewhere"}, Code.NOT_FOUND, "elsewhere"),
        ({"identity": b"nobody"}, Code.PERMISSION_DENIED, "access denied"),
        (
            {"start_position": ab_pb2.SeekPosition(oldest=ab_pb2.SeekOldest())},
            Code.INVALID_ARGUMENT,
            "invalid start position type",
        ),
        (
            {"start_position": ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())},
            Code.INVALID_ARGUMENT,
            "invalid start position type",
        ),
    ],
)
async def test_chaincode_events_that_cannot_be_heard_are_refused(
    network: LocalNetwork, fields: dict[str, Any], code: Code, words: str
) -> None:
    """Codes of chaincodeevents.go."""
    async with stub(network) as gateway:
        error = await refused(gateway.ChaincodeEvents(events_request(network, **fields)).read())
        assert error.code is code
        assert words in error.words


async def test_chaincode_events_of_listeners_that_went_away_leave_nothing_behind(
    network: LocalNetwork,
) -> None:
    """A cancelled stream frees its place at once, so listeners that come and go never fill up."""
    async with stub(network) as gateway:
        calls = [gateway.ChaincodeEvents(events_request(network)) for _ in range(5)]
        await asyncio.gather(*(call.wait_for_connection() for call in calls))
        streams = network.node("BankMSP").servers.events
        await until(lambda: streams.at_work == 5)
        for call in calls:
            call.cancel()
        await until(lambda: streams.at_work == 0)


async def test_commit_status_that_is_cancelled_frees_its_place(network: LocalNetwork) -> None:
    """Whoever goes away is not waited for."""
    waits = network.node("PtaMSP").servers.waits
    async with stub(network, "PtaMSP") as gateway:
        call = gateway.CommitStatus(status_request(network))
        await until(lambda: waits.at_work == 1)
        call.cancel()
        await until(lambda: waits.at_work == 0)


async def test_run_that_was_taken_for_quick_and_is_not_goes_on_in_a_thread(
    network: LocalNetwork,
) -> None:
    """Quick functions run on the loop; one that then takes long is ended there and run again where
    it keeps nobody waiting.
    """
    async with network.gateway("BankMSP") as gateway:

        async def spin(milliseconds: str) -> str:
            return (await gateway.evaluate(proposal(network, "Spin", milliseconds))).decode()

        first = await spin("0")
        assert first.startswith("simulation")
        async with asyncio.timeout(DEADLINE_S):
            # The slowest recent run counts, and on a busy machine the first may have been slow.
            while await spin("0") != threading.current_thread().name:
                pass
        assert (await spin("400")).startswith("simulation")
        assert (await spin("0")).startswith("simulation")


# ---- limits


async def test_message_above_the_limit_is_refused_and_the_connection_goes_on(
    network: LocalNetwork,
) -> None:
    """RESOURCE_EXHAUSTED for what is larger than max_message_bytes."""
    async with stub(network) as gateway:
        large = proposal(network, "Put", "k", "x" * 70_000)
        error = await refused(gateway.Endorse(endorse_request(large)))
        assert error.code is Code.RESOURCE_EXHAUSTED
        answer = await gateway.Evaluate(evaluate_request(proposal(network)))
        assert answer.result.status == 200


async def test_calls_above_the_concurrency_limit_are_told_to_try_again(
    network: LocalNetwork,
) -> None:
    """RESOURCE_EXHAUSTED in Fabric's words, at once; nothing is queued."""
    limit = network.node("PtaMSP").servers.calls
    limit.most = 0
    try:
        async with stub(network, "PtaMSP") as gateway:
            error = await refused(gateway.Evaluate(evaluate_request(proposal(network))))
            assert error.code is Code.RESOURCE_EXHAUSTED
            assert error.words.startswith(
                "too many requests for gateway, exceeding concurrency limit (0)"
            )
    finally:
        limit.most = 500
