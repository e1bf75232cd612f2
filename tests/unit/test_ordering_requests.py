"""What a follower asks of a sequencer, and how it understands the answers."""

from __future__ import annotations

import hashlib

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from network.errors import OrderingRefusal, OrderingUnavailable
from network.ordering.solo.broadcast import _raise_unless_success
from network.ordering.solo.seek import blocks_from, signed_seek
from network.ordering.statuses import status_name
from tests.support.members import CHANNEL, NOW, Member


def test_request_for_blocks_is_signed_and_bound_to_its_connection() -> None:
    """All blocks from a number on, without end, for who shows this TLS certificate."""
    member = Member("BankMSP")
    signer = member.identity(unit="peer")
    raw = signed_seek(
        blocks_from(7), channel_id=CHANNEL, signer=signer, certificate_der=b"a certificate", now=NOW
    )
    envelope = common_pb2.Envelope.FromString(raw)
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    seek = ab_pb2.SeekInfo.FromString(payload.data)
    creator = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    member.msp().deserialize(creator.creator).verify(envelope.payload, envelope.signature)
    assert header.type == common_pb2.DELIVER_SEEK_INFO
    assert header.channel_id == CHANNEL
    assert header.tls_cert_hash == hashlib.sha256(b"a certificate").digest()
    assert header.timestamp.ToDatetime(NOW.tzinfo) == NOW
    assert seek.start.specified.number == 7
    assert seek.stop.specified.number == 2**64 - 1
    assert seek.behavior == ab_pb2.SeekInfo.BLOCK_UNTIL_READY
    assert len(creator.nonce) == 24
    again = signed_seek(
        blocks_from(7),
        channel_id=CHANNEL,
        signer=signer,
        certificate_der=b"a certificate",
        now=NOW,
    )
    assert common_pb2.Envelope.FromString(again).payload != envelope.payload


@pytest.mark.parametrize("status", [400, 403, 404, 413])
def test_refusal_of_the_sequencer_is_passed_on(status) -> None:
    """Definite, with its status and words."""
    with pytest.raises(OrderingRefusal, match="too long") as refused:
        _raise_unless_success(ab_pb2.BroadcastResponse(status=status, info="too long"))
    assert refused.value.status == status


@pytest.mark.parametrize(("status", "definite"), [(503, True), (500, False)])
def test_sequencer_that_cannot_order_says_whether_it_took_the_envelope(status, definite) -> None:
    """503: surely not; 500: it may have been ordered."""
    with pytest.raises(OrderingUnavailable, match="no room") as away:
        _raise_unless_success(ab_pb2.BroadcastResponse(status=status, info="no room"))
    assert away.value.outcome_definite is definite


def test_answer_without_words_or_with_an_unknown_status_is_understood() -> None:
    """Whatever number a sequencer sends."""
    _raise_unless_success(ab_pb2.BroadcastResponse(status=200))
    with pytest.raises(OrderingRefusal, match="FORBIDDEN"):
        _raise_unless_success(ab_pb2.BroadcastResponse(status=403))
    unknown = ab_pb2.BroadcastResponse.FromString(b"\x08\x07")
    with pytest.raises(OrderingRefusal, match="status 7"):
        _raise_unless_success(unknown)
    assert status_name(404) == "NOT_FOUND"
