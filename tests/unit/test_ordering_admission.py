"""Admission rule by rule, with the status of each refusal, and which rule comes first."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from fabric_protos.common import common_pb2

from network.configuration import BatchParameters, ChannelConfiguration
from network.errors import OrderingRefusal
from network.ordering.admission import Admission
from tests.support.members import CHANNEL, NOW, Member, genesis, signed_envelope

LIMIT = 20_000


class FixedTime:
    def __init__(self, now: datetime = NOW) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


@pytest.fixture(scope="module")
def members() -> list[Member]:
    return [Member("BankMSP"), Member("PtaMSP")]


@pytest.fixture(scope="module")
def configuration(members) -> ChannelConfiguration:
    batch = BatchParameters(absolute_max_bytes=LIMIT, preferred_max_bytes=LIMIT)
    return ChannelConfiguration.from_block(genesis(members, batch=batch))


@pytest.fixture
def admission(configuration) -> Admission:
    return Admission(CHANNEL, lambda: configuration, FixedTime())


def _refusal(admission: Admission, envelope: bytes) -> OrderingRefusal:
    with pytest.raises(OrderingRefusal) as refused:
        admission.check(envelope)
    return refused.value


@pytest.mark.parametrize("unit", ["client", "admin"])
def test_envelope_of_a_writer_is_admitted(admission, members, unit) -> None:
    """Of any member, whether it orders or not; the data is nobody's business here."""
    for member in members:
        admission.check(signed_envelope(member.identity(unit=unit), b"\xff not protobuf"))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xff",
        common_pb2.Envelope(payload=b"\xff\xff", signature=b"s").SerializeToString(),
        common_pb2.Envelope(payload=b"", signature=b"s").SerializeToString(),
        common_pb2.Envelope(
            payload=common_pb2.Payload(
                header=common_pb2.Header(channel_header=b"\xff\xff")
            ).SerializeToString(),
            signature=b"s",
        ).SerializeToString(),
    ],
)
def test_rule_1_unreadable_envelope(admission, raw) -> None:
    """400, whatever the bytes."""
    assert _refusal(admission, raw).status == 400


def test_rule_2_another_channel(admission, members) -> None:
    """404, with both names."""
    refusal = _refusal(admission, signed_envelope(members[0].identity(), channel_id="other"))
    assert refusal.status == 404
    assert "'other'" in refusal.info
    assert "'qist'" in refusal.info


@pytest.mark.parametrize(
    ("header_type", "words"),
    [
        (common_pb2.CONFIG, "cannot be processed directly"),
        (common_pb2.ORDERER_TRANSACTION, "no longer supported"),
    ],
)
def test_rule_3_type_that_clients_do_not_send(admission, members, header_type, words) -> None:
    """400: a client's CONFIG would otherwise be taken for the channel's."""
    envelope = signed_envelope(members[0].identity(unit="admin"), header_type=header_type)
    refusal = _refusal(admission, envelope)
    assert refusal.status == 400
    assert words in refusal.info


def test_configuration_update_is_told_apart(admission, members) -> None:
    """It passes by the rules of every envelope, and what it does is judged afterwards."""
    signer = members[0].identity(unit="admin")
    assert admission.check(signed_envelope(signer, header_type=common_pb2.CONFIG_UPDATE)) is True
    assert admission.check(signed_envelope(signer)) is False


def test_rule_4_size(admission, members) -> None:
    """413 above AbsoluteMaxBytes, counted over payload and signature; at the limit it passes."""
    signer = members[0].identity(algorithm="Ed25519")  # signatures of one length

    def sized(size: int) -> bytes:
        message = common_pb2.Envelope.FromString(signed_envelope(signer, b"x" * 18_000))
        spare = size - len(message.payload) - len(message.signature)
        return signed_envelope(signer, b"x" * (18_000 + spare))

    admission.check(sized(LIMIT))
    refusal = _refusal(admission, sized(LIMIT + 1))
    assert refusal.status == 413
    assert f"is {LIMIT + 1} bytes and exceeds maximum allowed {LIMIT} bytes" in refusal.info


def test_rule_5_envelope_that_committers_refuse_with_its_block(admission, members) -> None:
    """400 for another encoding of the same envelope, and without signature."""
    raw = signed_envelope(members[0].identity())
    message = common_pb2.Envelope.FromString(raw)
    payload = common_pb2.Envelope(payload=message.payload).SerializeToString()
    signature = common_pb2.Envelope(signature=message.signature).SerializeToString()
    assert payload + signature == raw
    for other in (signature + payload, payload, payload + payload + signature):
        assert _refusal(admission, other).status == 400
    # Unknown fields are kept by every node, so they do no harm.
    admission.check(raw + b"\x1a\x01x")


def test_rule_6_expired_certificate(configuration, members) -> None:
    """400 from the moment at which it ends, by the node's clock; nothing before."""
    signer = members[1].identity(days=10)
    envelope = signed_envelope(signer)
    last = signer.not_after - timedelta(seconds=1)
    Admission(CHANNEL, lambda: configuration, FixedTime(last)).check(envelope)
    refusal = _refusal(
        Admission(CHANNEL, lambda: configuration, FixedTime(signer.not_after)), envelope
    )
    assert refusal.status == 400
    assert "expired" in refusal.info
    assert "renewed" in refusal.info


def test_rule_7_creator_who_is_no_writer(admission, members) -> None:
    """403: a peer of a member that does not order, a stranger, a damaged or foreign signature."""
    signer = members[0].identity()
    raw = signed_envelope(signer)
    message = common_pb2.Envelope.FromString(raw)
    message.signature = members[0].identity().sign(message.payload)
    for envelope in (
        signed_envelope(members[1].identity(unit="peer")),
        signed_envelope(Member("NobodyMSP").identity()),
        signed_envelope(Member("BankMSP").identity()),
        message.SerializeToString(),
    ):
        refusal = _refusal(admission, envelope)
        assert refusal.status == 403
        assert refusal.info.startswith("permission denied")


def test_rules_are_checked_in_their_order(configuration, members) -> None:
    """Each envelope breaks a rule and all later ones that it can; the first one is named."""
    late = Admission(CHANNEL, lambda: configuration, FixedTime(NOW + timedelta(days=9999)))
    stranger = Member("NobodyMSP").identity()
    big = b"x" * (LIMIT + 1)
    wrong_type = common_pb2.CONFIG

    def unsigned(raw: bytes) -> bytes:
        payload = common_pb2.Envelope.FromString(raw).payload
        return common_pb2.Envelope(payload=payload).SerializeToString()

    def status(data: bytes, **options) -> int:
        return _refusal(late, unsigned(signed_envelope(stranger, data, **options))).status

    assert status(big, channel_id="other", header_type=wrong_type) == 404
    assert status(big, header_type=wrong_type) == 400
    assert status(big) == 413
    assert status(b"") == 400
    expired = signed_envelope(members[0].identity(unit="peer"))
    assert _refusal(late, expired).status == 400
    assert _refusal(late, signed_envelope(stranger)).status == 403


def test_configuration_in_force_at_the_time_of_the_check_counts() -> None:
    """A revocation keeps a client out as soon as its configuration is there."""
    members = [Member("BankMSP")]
    signer = members[0].identity()
    current = [ChannelConfiguration.from_block(genesis(members))]
    admission = Admission(CHANNEL, lambda: current[0], FixedTime())
    admission.check(signed_envelope(signer))
    members[0].revoke(signer)
    current[0] = ChannelConfiguration.from_block(genesis(members))
    assert _refusal(admission, signed_envelope(signer)).status == 403
