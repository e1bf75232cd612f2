"""Hostile client: proposals and requests that lie about channel, id, time or contract.

Each in the code of Fabric's RPC and with words that say how to go on, through gRPC over TLS.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import pytest_asyncio
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from clients.gateway.messages import ProposalDraft
from network.configuration import BatchParameters
from tests.support.hostile import TRANSIENT, Doors, Ending, Hostile, hostile_network
from tests.support.hostile_requests import (
    BAD_REQUEST,
    BANK,
    DELIVERS,
    ENVELOPES,
    NOT_FOUND,
    PRIVATE,
    PROPOSALS,
    RPCS,
    wrap_proposal,
)
from tests.support.local_network import CHANNEL

pytestmark = pytest.mark.asyncio(loop_scope="module")

Code = grpc.StatusCode
MESSAGE_BYTES = 256 * 1024
ABSOLUTE_BYTES = 96 * 1024
LIMITS = f"[limits]\nmax_message_bytes = {MESSAGE_BYTES}\nsimulation_deadline_s = 5\n"
BATCH = BatchParameters(absolute_max_bytes=ABSOLUTE_BYTES, preferred_max_bytes=ABSOLUTE_BYTES)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hostile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hostile]:
    folder = tmp_path_factory.mktemp("network")
    async with hostile_network(folder, limits=LIMITS, batch=BATCH) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(hostile: Hostile) -> AsyncIterator[Doors]:
    async with Doors.of(hostile) as made:
        yield made


def changed(draft: ProposalDraft, change: Callable[[Any, Any, Any], None]) -> ProposalDraft:
    """The draft after *change* of its channel header, signature header and invocation; signed
    anew, so that nothing else is wrong with it.
    """
    proposal = proposal_pb2.Proposal.FromString(draft.raw)
    header = common_pb2.Header.FromString(proposal.header)
    channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
    signature_header = common_pb2.SignatureHeader.FromString(header.signature_header)
    extension = proposal_pb2.ChaincodeHeaderExtension.FromString(channel_header.extension)
    change(channel_header, signature_header, extension)
    channel_header.extension = extension.SerializeToString()
    header.channel_header = channel_header.SerializeToString()
    header.signature_header = signature_header.SerializeToString()
    proposal.header = header.SerializeToString()
    return replace(draft, raw=proposal.SerializeToString())


def verify_refused(rpc: str, ending: Ending, words: str) -> None:
    """Check for the code of a proposal that an endorser refuses, and for the reason."""
    assert words in ending.words
    assert (
        ending.code
        is {
            "Evaluate": Code.FAILED_PRECONDITION,
            "Endorse": Code.ABORTED,
            "ProcessProposal": Code.UNKNOWN,
        }[rpc]
    )


# ---- headers


HEADERS: dict[str, tuple[Callable[[Any, Any, Any], None], str]] = {
    "empty nonce": (lambda _c, sig, _e: setattr(sig, "nonce", b""), "send 24 random bytes"),
    "no creator": (lambda _c, sig, _e: setattr(sig, "creator", b""), "send the identity"),
    "another tx id": (
        lambda channel, _s, _e: setattr(channel, "tx_id", "ab" * 32),
        "the SHA-256 of nonce and creator; compute it anew",
    ),
    "no tx id": (lambda channel, _s, _e: setattr(channel, "tx_id", ""), "compute it anew"),
    "odd tx id": (lambda channel, _s, _e: setattr(channel, "tx_id", "\0/../"), "compute it anew"),
    "header type MESSAGE": (
        lambda channel, _s, _e: setattr(channel, "type", common_pb2.MESSAGE),
        "invalid header type MESSAGE; a proposal has the type ENDORSER_TRANSACTION",
    ),
    "header type CONFIG_UPDATE": (
        lambda channel, _s, _e: setattr(channel, "type", common_pb2.CONFIG_UPDATE),
        "invalid header type CONFIG_UPDATE; a proposal has the type",
    ),
    "unknown header type": (
        lambda channel, _s, _e: setattr(channel, "type", -7),
        "invalid header type -7; a proposal has the type",
    ),
    "epoch 1": (lambda channel, _s, _e: setattr(channel, "epoch", 1), "set it to 0"),
    "epoch 2^64-1": (
        lambda channel, _s, _e: setattr(channel, "epoch", 2**64 - 1),
        "set it to 0",
    ),
    "no timestamp": (
        lambda channel, _s, _e: channel.ClearField("timestamp"),
        "the proposal has no timestamp; put one in the channel header",
    ),
}


@pytest.mark.parametrize("rpc", PROPOSALS)
@pytest.mark.parametrize("what", HEADERS)
async def test_proposal_whose_header_lies_is_refused(
    hostile: Hostile, doors: Doors, what: str, rpc: str
) -> None:
    """Properly signed, and not what a proposal says."""
    change, words = HEADERS[what]
    draft = changed(doors.proposal(hostile.network.signer(BANK), transient=TRANSIENT), change)
    verify_refused(rpc, await doors.call(rpc, wrap_proposal(rpc, draft.signed())), words)


TIMES: dict[str, Callable[[Any], None]] = {
    "16 minutes ago": lambda stamp: stamp.FromDatetime(datetime.now(UTC) - timedelta(minutes=16)),
    "in 16 minutes": lambda stamp: stamp.FromDatetime(datetime.now(UTC) + timedelta(minutes=16)),
    "year 1": lambda stamp: stamp.FromDatetime(datetime(1, 1, 1, tzinfo=UTC)),
    "year 9999": lambda stamp: stamp.FromDatetime(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    "the beginning of all": lambda stamp: setattr(stamp, "seconds", -(2**63)),
    "the end of all": lambda stamp: setattr(stamp, "seconds", 2**63 - 1),
    "negative nanos": lambda stamp: stamp.CopyFrom(Timestamp(seconds=0, nanos=-(2**31))),
}


@pytest.mark.parametrize("rpc", PROPOSALS)
@pytest.mark.parametrize("when", TIMES)
async def test_proposal_of_another_time_is_refused(
    hostile: Hostile, doors: Doors, when: str, rpc: str
) -> None:
    """More than 15 minutes off the node's clock, either way and however absurd."""
    draft = changed(
        doors.proposal(hostile.network.signer(BANK)),
        lambda channel, _s, _e: TIMES[when](channel.timestamp),
    )
    ending = await doors.call(rpc, wrap_proposal(rpc, draft.signed()))
    absurd = when in ("the beginning of all", "the end of all")
    verify_refused(
        rpc,
        ending,
        "put one in the channel header" if absurd else "set the clock that is wrong",
    )


@pytest.mark.parametrize("rpc", DELIVERS)
@pytest.mark.parametrize("minutes", [-16, 16, None])
async def test_request_for_blocks_of_another_time_is_a_bad_request(
    hostile: Hostile, doors: Doors, minutes: int | None, rpc: str
) -> None:
    """As in Fabric; a request without a time too."""
    now = None if minutes is None else datetime.now(UTC) + timedelta(minutes=minutes)
    ending = await doors.ask(rpc, hostile.network.signer(BANK), now=now)
    assert (ending.code, ending.status) == (Code.OK, BAD_REQUEST)
    assert "timestamp" in ending.words


# ---- channels and contracts


@pytest.mark.parametrize("channel_id", ["elsewhere", "", "x" * 3000, "\0", "قسط" * 900])
@pytest.mark.parametrize("rpc", RPCS)
async def test_channel_that_is_not_kept_here_is_refused_at_every_rpc(
    hostile: Hostile, doors: Doors, rpc: str, channel_id: str
) -> None:
    """With the code of the RPC, whatever the channel is called."""
    ending = await doors.ask(rpc, hostile.network.signer(BANK), channel_id=channel_id)
    expected = {
        "Evaluate": (Code.FAILED_PRECONDITION if channel_id else Code.INVALID_ARGUMENT, 0),
        "Endorse": (Code.FAILED_PRECONDITION, 0),
        "Submit": (Code.NOT_FOUND, 0),
        "CommitStatus": (Code.ABORTED if channel_id else Code.INVALID_ARGUMENT, 0),
        "ChaincodeEvents": (Code.NOT_FOUND, 0),
        "ProcessProposal": (Code.OK, 0),
        "Push": (Code.INVALID_ARGUMENT, 0),
        "Pull": (Code.INVALID_ARGUMENT, 0),
    }.get(rpc, (Code.OK, NOT_FOUND))
    assert (ending.code, ending.status) == expected
    if rpc == "ProcessProposal":
        assert b"name one that this node keeps" in ending.answers[0]
    elif rpc == "Broadcast":
        assert f"this orderer serves channel '{CHANNEL}'" in ending.words
    elif rpc in PRIVATE:
        assert f"the message is not of channel {CHANNEL}" in ending.words
    elif expected[0] is Code.INVALID_ARGUMENT:
        assert "no channel" in ending.words
    elif rpc not in DELIVERS:
        assert "not found" in ending.words


@pytest.mark.parametrize("rpc", PROPOSALS)
@pytest.mark.parametrize("chaincode", ["nobody", "lscc", "../counter", "counter\0", "x" * 2000])
async def test_contract_that_is_not_defined_is_refused(
    hostile: Hostile, doors: Doors, rpc: str, chaincode: str
) -> None:
    """Status 500 without payload, which a gateway reports with every node's words."""
    signer = hostile.network.signer(BANK)
    ending = await doors.ask(rpc, signer, chaincode=chaincode, transient=TRANSIENT)
    if rpc == "ProcessProposal":
        assert ending.code is Code.OK
        assert b"successfully defined on channel" in ending.answers[0]
        return
    assert ending.code is Code.ABORTED
    assert "make sure the chaincode " in ending.words
    assert "not found among those of the test" in ending.words


async def test_what_a_stranger_sends_fills_no_log_and_no_answer(
    hostile: Hostile, doors: Doors
) -> None:
    """Names are quoted in refusals and log lines, and may be as long as a message."""
    signer = hostile.network.signer(BANK)
    for rpc in (*PROPOSALS, "CommitStatus", *DELIVERS, *ENVELOPES):
        first = len(hostile.log.lines)
        ending = await doors.ask(rpc, signer, channel_id="x" * 80_000)
        assert len(ending.words) < 12_000, rpc
        assert max(map(len, hostile.log.lines[first:]), default=0) < 12_000, rpc


@pytest.mark.parametrize("asked", [["NobodyMSP"], ["x" * 10] * 10_000, ["", BANK], ["قسط"] * 900])
async def test_endorsement_by_organisations_that_are_no_members_is_refused(
    hostile: Hostile, doors: Doors, asked: list[str]
) -> None:
    """With Fabric's codes, however many are named; nothing is sent to anybody."""
    signed = doors.proposal(hostile.network.signer(BANK), transient=TRANSIENT).signed()
    endorse = gateway_pb2.EndorseRequest(
        proposed_transaction=signed, endorsing_organizations=asked
    ).SerializeToString()
    ending = await doors.call("Endorse", endorse)
    assert ending.code is Code.UNAVAILABLE
    assert ending.words.startswith("failed to find any endorsing peers for org(s): ")
    assert "name members whose nodes the channel configuration names" in ending.words
    elsewhere = [each for each in asked if each != BANK]
    evaluate = gateway_pb2.EvaluateRequest(
        proposed_transaction=signed, target_organizations=elsewhere
    ).SerializeToString()
    ending = await doors.call("Evaluate", evaluate)
    assert ending.code is Code.FAILED_PRECONDITION
    assert ending.words.startswith("no peers available to evaluate chaincode ")
    assert "name members whose nodes the channel configuration names" in ending.words
