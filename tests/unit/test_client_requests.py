"""Requests for events and blocks: their bytes, carried to a key elsewhere and back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2

from clients.gateway.drafting import NetworkDrafting, OfflineDrafting
from clients.gateway.events import InMemoryCheckpointer
from clients.gateway.identity import OfflineIdentity
from clients.gateway.requests import BlocksRequest, EventsRequest
from ledger.errors import Refusal

IDENTITY = OfflineIdentity("BankMSP", b"certificate")
NOON = datetime(2026, 5, 5, 7, 0, tzinfo=UTC)
NETWORK = NetworkDrafting(IDENTITY, "qist", lambda: NOON)
GATEWAY = OfflineDrafting(IDENTITY)
KINDS: dict[str, tuple[Callable[..., Any], Callable[[bytes, bytes], Any]]] = {
    "events": (
        lambda: NETWORK.new_chaincode_events_request("scenarios", start_block=7),
        GATEWAY.new_signed_chaincode_events_request,
    ),
    "Deliver": (NETWORK.new_block_events_request, GATEWAY.new_signed_block_events_request),
    "DeliverFiltered": (
        NETWORK.new_filtered_block_events_request,
        GATEWAY.new_signed_filtered_block_events_request,
    ),
    "DeliverWithPrivateData": (
        NETWORK.new_private_block_events_request,
        GATEWAY.new_signed_private_block_events_request,
    ),
}


def seek_info(request: BlocksRequest) -> Any:
    """The positions that a request for blocks asks for."""
    payload = common_pb2.Payload.FromString(request.raw)
    return ab_pb2.SeekInfo.FromString(payload.data)


@pytest.mark.parametrize("kind", KINDS)
def test_request_carried_to_a_key_and_back_is_the_same_with_its_signature(kind: str) -> None:
    """The digest is of the very bytes that are sent, whatever the request is."""
    draft, take_up = KINDS[kind]
    made: EventsRequest | BlocksRequest = draft()
    assert made.digest == hashlib.sha256(made.raw).digest()
    taken = take_up(made.encode(), b"signature")
    assert taken == made.with_signature(b"signature")
    assert taken.signed().signature == b"signature"
    if isinstance(taken, BlocksRequest):
        assert taken.rpc == kind
        assert taken.signed().payload == made.raw
    else:
        assert taken.signed().request == made.raw


@pytest.mark.parametrize("kind", KINDS)
def test_request_without_a_key_and_without_a_signature_is_not_sent(kind: str) -> None:
    """An identity whose key is elsewhere asks for the signature."""
    draft, _take_up = KINDS[kind]
    with pytest.raises(Refusal, match="the key of this identity of BankMSP is elsewhere"):
        draft().signed()


def test_events_request_names_channel_contract_identity_and_position() -> None:
    """A checkpoint goes before the start block."""
    checkpoint = InMemoryCheckpointer(9, "id")
    request = NETWORK.new_chaincode_events_request(
        "scenarios", start_block=7, checkpoint=checkpoint
    )
    asked = gateway_pb2.ChaincodeEventsRequest.FromString(request.raw)
    assert (asked.channel_id, asked.chaincode_id) == ("qist", "scenarios")
    assert asked.identity == IDENTITY.serialized
    assert asked.start_position.specified.number == 9
    assert asked.after_transaction_id == "id"


@pytest.mark.parametrize(
    ("given", "start", "stop"),
    [
        ({}, None, 2**64 - 1),
        ({"start_block": 3}, 3, 2**64 - 1),
        ({"start_block": 3, "stop_block": 5}, 3, 5),
        ({"start_block": 3, "checkpoint": InMemoryCheckpointer()}, 3, 2**64 - 1),
        ({"start_block": 3, "checkpoint": InMemoryCheckpointer(6)}, 6, 2**64 - 1),
    ],
)
def test_blocks_request_names_its_positions(
    given: dict[str, Any], start: int | None, stop: int
) -> None:
    """Without a start from the next commit on, without a stop for ever."""
    seek = seek_info(NETWORK.new_block_events_request(**given))
    if start is None:
        assert seek.start.WhichOneof("Type") == "next_commit"
    else:
        assert seek.start.specified.number == start
    assert seek.stop.specified.number == stop


def test_blocks_request_carries_the_clocks_time_and_neither_nonce_nor_transaction() -> None:
    """Deliver compares the time with its own; the rest is as in Fabric's clients."""
    payload = common_pb2.Payload.FromString(NETWORK.new_block_events_request().raw)
    channel = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    signature = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    assert channel.timestamp.ToDatetime(UTC) == NOON
    assert (channel.type, channel.channel_id) == (common_pb2.DELIVER_SEEK_INFO, "qist")
    assert (channel.tx_id, signature.nonce) == ("", b"")
    assert signature.creator == IDENTITY.serialized
