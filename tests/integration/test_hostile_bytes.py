"""Hostile client: bytes that are no messages, at every RPC of both ports, over gRPC and TLS.

Whatever comes, the answer is a code of Fabric's, or Go's gRPC for what is no request at all, and
says what should have been sent.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2

from tests.support.hostile import TRANSIENT, Doors, Ending, Hostile, hostile_network
from tests.support.hostile_requests import (
    BAD_REQUEST,
    BANK,
    DELIVERS,
    ENVELOPES,
    PROPOSALS,
    REFUSING,
    RPCS,
    seek,
    wrap_envelope,
    wrap_proposal,
)

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    # What is said of certificates that chance has damaged.
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]

Code = grpc.StatusCode
NOT_A_MESSAGE = b"\xff\xff\xff"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    async with hostile_network(tmp_path_factory.mktemp("network")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(hostile: Hostile) -> AsyncIterator[Doors]:
    async with Doors.of(hostile) as made:
        yield made


NO_REQUEST: dict[str, bytes] = {
    "no message": NOT_A_MESSAGE,
    "a tag and nothing": b"\x0a",
    "field 0": b"\x00\x00",
    "wire type 6": b"\x0e",
    "wire type 7": b"\x0f",
    "an endless number": b"\x08" + b"\xff" * 11,
    "2 GiB announced": b"\x0a\xff\xff\xff\xff\x07",
    "2^63 bytes announced": b"\x0a" + b"\xff" * 9 + b"\x01",
    "more than there is": b"\x0a\x7fabc",
    "groups nested 50,000 deep": b"\x9b\x3e" * 50_000 + b"\x9c\x3e" * 50_000,
    "a group without its end": b"\x9b\x3e\x08\x01",
    "an end without its group": b"\x9c\x3e",
    "a group ended as another": b"\x9b\x3e\xa4\x3e",
}


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("what", NO_REQUEST)
async def test_bytes_that_are_no_request_end_the_call_and_no_more(
    doors: Doors, what: str, rpc: str
) -> None:
    """INTERNAL, as Go's gRPC answers; Broadcast, which takes envelopes as bytes, says 400."""
    ending = await doors.call(rpc, NO_REQUEST[what])
    if rpc == "Broadcast":
        assert (ending.code, ending.status) == (Code.OK, BAD_REQUEST)
        assert "make and sign the envelope anew with a Fabric client" in ending.words
    else:
        assert ending.code is Code.INTERNAL
        assert ending.words.startswith("grpc: error unmarshalling request: ")
        assert "; send a " in ending.words


def verify_orderly(rpc: str, ending: Ending) -> None:
    """Check that foreign bytes got an answer of the RPC's own, and nothing fell over."""
    assert ending.code is not Code.UNAVAILABLE, ending
    assert "the node's log says" not in ending.words
    if rpc in (*DELIVERS, "Broadcast"):
        assert ending.code is Code.INTERNAL or ending.status in (200, 400, 403, 404), ending
    elif ending.code is not Code.OK:
        assert ending.words, ending


@pytest.mark.parametrize("rpc", RPCS)
async def test_random_bytes_are_answered_at_every_rpc(doors: Doors, rpc: str) -> None:
    """Some happen to be messages; none is honoured, and none is fatal."""
    chance = random.Random(20261125)
    for size in (1, 2, 3, 8, 16, 40, 100, 400, 2000, 20_000):
        for _ in range(3):
            ending = await doors.call(rpc, chance.randbytes(size))
            verify_orderly(rpc, ending)
            assert ending.code is not Code.OK or ending.status in (400, 403, 404)


@pytest.mark.parametrize("rpc", [each for each in REFUSING if each != "ChaincodeEvents"])
async def test_honest_request_cut_short_anywhere_is_refused(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """No prefix of a request is one."""
    request = doors.request(rpc, hostile.network.signer(BANK), transient=TRANSIENT)
    for end in sorted({len(request) * part // 24 for part in range(24)} | {len(request) - 1}):
        ending = await doors.call(rpc, request[:end])
        verify_orderly(rpc, ending)
        assert ending.code is not Code.OK or ending.status in (400, 403, 404), end


@pytest.mark.parametrize("rpc", [each for each in REFUSING if each != "ChaincodeEvents"])
async def test_honest_request_with_a_byte_changed_anywhere_does_no_harm(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """It is refused, or still says the same thing."""
    request = doors.request(rpc, hostile.network.signer(BANK), transient=TRANSIENT)
    chance = random.Random(42)
    for _ in range(60):
        changed = bytearray(request)
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        verify_orderly(rpc, await doors.call(rpc, bytes(changed)))


UNKNOWN_FIELDS = b"\xf8\x3e\x2a" + b"\xfa\x3e\x04more" + b"\x83\x3f\x84\x3f"


@pytest.mark.parametrize("rpc", [each for each in REFUSING if each != "ChaincodeEvents"])
async def test_unknown_fields_behind_a_request_are_passed_over(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """Newer clients may send what this version does not know."""
    request = doors.request(rpc, hostile.network.signer(BANK))
    ending = await doors.call(rpc, request + UNKNOWN_FIELDS)
    assert ending.code is Code.OK, ending
    assert ending.status in (0, 200)


# ---- a good outer message, and garbage inside


Change = Callable[[Any], None]


def proposals(doors: Doors) -> Iterator[tuple[str, Any]]:
    """Signed proposals with one layer after the other replaced by what is none."""
    signer = doors.network.signer(BANK)

    def signed(proposal: Any) -> Any:
        raw = proposal if isinstance(proposal, bytes) else proposal.SerializeToString()
        return proposal_pb2.SignedProposal(proposal_bytes=raw, signature=signer.sign(raw))

    honest = doors.proposal(signer, transient=TRANSIENT).raw

    def parts() -> tuple[Any, Any, Any, Any]:
        proposal = proposal_pb2.Proposal.FromString(honest)
        header = common_pb2.Header.FromString(proposal.header)
        channel = common_pb2.ChannelHeader.FromString(header.channel_header)
        payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
        return proposal, header, channel, payload

    yield "Proposal", signed(NOT_A_MESSAGE)
    proposal, header, channel, payload = parts()
    proposal.header = NOT_A_MESSAGE
    yield "Header", signed(proposal)
    header.channel_header = NOT_A_MESSAGE
    proposal.header = header.SerializeToString()
    yield "ChannelHeader", signed(proposal)
    proposal, header, channel, payload = parts()
    header.signature_header = NOT_A_MESSAGE
    proposal.header = header.SerializeToString()
    yield "SignatureHeader", signed(proposal)
    proposal, header, channel, payload = parts()
    channel.extension = NOT_A_MESSAGE
    header.channel_header = channel.SerializeToString()
    proposal.header = header.SerializeToString()
    yield "ChaincodeHeaderExtension", signed(proposal)
    channel.extension = b""
    header.channel_header = channel.SerializeToString()
    proposal.header = header.SerializeToString()
    yield "ChaincodeHeaderExtension.ChaincodeId is nil", signed(proposal)
    proposal, header, channel, payload = parts()
    proposal.payload = NOT_A_MESSAGE
    yield "ChaincodeProposalPayload", signed(proposal)
    payload.input = NOT_A_MESSAGE
    proposal.payload = payload.SerializeToString()
    yield "ChaincodeInvocationSpec", signed(proposal)
    payload.input = b""
    proposal.payload = payload.SerializeToString()
    yield "did not contain chaincode spec", signed(proposal)
    empty = chaincode_pb2.ChaincodeInvocationSpec()
    empty.chaincode_spec.chaincode_id.name = "counter"
    payload.input = empty.SerializeToString()
    proposal.payload = payload.SerializeToString()
    yield "did not contain any input", signed(proposal)


@pytest.mark.parametrize("rpc", PROPOSALS)
async def test_proposal_with_garbage_in_any_layer_is_refused_by_the_layers_name(
    doors: Doors, rpc: str
) -> None:
    """INVALID_ARGUMENT from a gateway, UNKNOWN from an endorser, as Fabric's."""
    for layer, signed in proposals(doors):
        ending = await doors.call(rpc, wrap_proposal(rpc, signed))
        expected = Code.UNKNOWN if rpc == "ProcessProposal" else Code.INVALID_ARGUMENT
        assert ending.code is expected, layer
        assert layer in ending.words
        assert "make the proposal anew with a Fabric client" in ending.words


def envelopes(doors: Doors) -> Iterator[tuple[str, bytes]]:
    """Signed envelopes with a layer that an orderer reads replaced by what is none."""
    signer = doors.network.signer(BANK)

    def signed(payload: bytes) -> bytes:
        envelope = common_pb2.Envelope(payload=payload, signature=signer.sign(payload))
        return bytes(envelope.SerializeToString())

    yield "payload", signed(NOT_A_MESSAGE)
    yield "no header", signed(common_pb2.Payload(data=b"data").SerializeToString())
    for name in ("channel_header", "signature_header"):
        honest = common_pb2.Envelope.FromString(doors.envelope(signer))
        payload = common_pb2.Payload.FromString(honest.payload)
        setattr(payload.header, name, NOT_A_MESSAGE)
        yield name, signed(payload.SerializeToString())


@pytest.mark.parametrize("rpc", ENVELOPES)
async def test_envelope_with_garbage_in_its_headers_is_a_bad_request(
    doors: Doors, rpc: str
) -> None:
    """The orderer reads no further, so what is deeper inside becomes a verdict."""
    for layer, envelope in envelopes(doors):
        ending = await doors.call(rpc, wrap_envelope(rpc, envelope))
        if rpc == "Broadcast":
            assert (ending.code, ending.status) == (Code.OK, BAD_REQUEST), layer
        else:
            assert ending.code is Code.ABORTED, layer
            assert "status=BAD_REQUEST, info=could not determine channel ID" in ending.words
        assert "make and sign the envelope anew with a Fabric client" in ending.words


async def test_signed_requests_with_garbage_inside_are_invalid_arguments(doors: Doors) -> None:
    """The bytes that were signed are no request of the kind."""
    for rpc, kind, inner in (
        ("CommitStatus", gateway_pb2.SignedCommitStatusRequest, "gateway.CommitStatusRequest"),
        (
            "ChaincodeEvents",
            gateway_pb2.SignedChaincodeEventsRequest,
            "gateway.ChaincodeEventsRequest",
        ),
    ):
        signature = doors.network.signer(BANK).sign(NOT_A_MESSAGE)
        request = kind(request=NOT_A_MESSAGE, signature=signature).SerializeToString()
        ending = await doors.call(rpc, request)
        assert ending.code is Code.INVALID_ARGUMENT
        assert f"send a {inner}" in ending.words
        ending = await doors.call(rpc, b"")
        assert ending.code is Code.INVALID_ARGUMENT
        assert "request is required" in ending.words


@pytest.mark.parametrize("rpc", DELIVERS)
async def test_request_for_blocks_with_garbage_in_any_layer_is_a_bad_request(
    hostile: Hostile, doors: Doors, rpc: str
) -> None:
    """400, with the reason in the log."""
    signer = hostile.network.signer(BANK)
    honest = common_pb2.Envelope.FromString(doors.request(rpc, signer))
    raws = [b"", common_pb2.Envelope(payload=NOT_A_MESSAGE).SerializeToString()]
    for name in ("channel_header", "signature_header"):
        payload = common_pb2.Payload.FromString(honest.payload)
        setattr(payload.header, name, NOT_A_MESSAGE)
        raw = payload.SerializeToString()
        raws.append(
            common_pb2.Envelope(payload=raw, signature=signer.sign(raw)).SerializeToString()
        )
    payload = common_pb2.Payload.FromString(honest.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    for data in (NOT_A_MESSAGE, b""):
        raws.append(
            seek(
                signer,
                data=data,
                now=header.timestamp.ToDatetime(),
                tls_cert_hash=header.tls_cert_hash,
            )
        )
    for raw in raws:
        ending = await doors.call(rpc, raw)
        assert (ending.code, ending.status) == (Code.OK, BAD_REQUEST)
        assert "request for blocks ends with 400: " in ending.words
