"""Admission judges the recorded envelopes as the recorded orderer did."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest
from fabric_protos.common import common_pb2

from ledger.blocks.block import Block
from network.configuration import ChannelConfiguration, config_of_block
from network.errors import OrderingRefusal
from network.ordering.admission import Admission
from network.ordering.reconfiguration import make_configuration
from tests.support.members import Member
from tests.support.recording import FOLDER, recorded_blocks

CHANNEL = "qist-raft"
HONEST = 65
"""The last block that the orderer program made; a test program made the others."""


class RecordingTime:
    """The day of the recording, when its certificates were in force."""

    def now(self) -> datetime:
        return datetime(2026, 11, 23, 4, 0, tzinfo=UTC)


def _order(configuration: ChannelConfiguration, raw: bytes) -> None:
    """Judge an envelope as an orderer does, as far as the configuration that an update gives."""
    now = RecordingTime().now()
    if Admission(CHANNEL, partial(_same, configuration), RecordingTime()).check(raw):
        make_configuration(configuration, raw, Member("OrdererMSP").identity(unit="orderer"), now)


def _same(configuration: ChannelConfiguration) -> ChannelConfiguration:
    return configuration


def _orderings():
    """Yield every block with the judgement of envelopes in force before it."""
    configuration = ChannelConfiguration.from_block(recorded_blocks()[0].block)
    for recorded in recorded_blocks()[1:]:
        yield recorded, partial(_order, configuration)
        found = config_of_block(recorded.block)
        if found is not None:
            configuration = ChannelConfiguration.from_config_envelope(found[1], found[0])


def test_everything_that_the_honest_orderer_ordered_is_admitted() -> None:
    """Malformed transactions among them: what only a committer finds is a verdict, no refusal."""
    admitted = 0
    for recorded, order in _orderings():
        if recorded.block.number > HONEST:
            break
        for transaction in recorded.transactions:
            if transaction.header_type == common_pb2.CONFIG:
                continue
            order(transaction.raw)
            admitted += 1
    assert admitted > 220


EXPECTED = {
    "client signature over other bytes": 403,
    "client revoked by the CRL after it had signed": 403,
    "creator of an organisation that is not in the channel": 403,
    "certificate of Bank under the name of Pta": 403,
    "channel header names another channel": 404,
    "client signature valid but with high S": 403,
    "signed with the CA certificate itself": 403,
    "creator is not a certificate": 403,
    "payload is not protobuf": 400,
    "channel header is not protobuf": 400,
    "signature header is not protobuf": 400,
    "signature header empty": 403,
    "bare CONFIG_UPDATE envelope": 400,
}


def test_what_only_a_dishonest_orderer_delivered_is_refused() -> None:
    """Blocks 66 to 70, but for the ordinary transactions in them."""
    refused = {}
    for recorded, order in _orderings():
        if recorded.block.number <= HONEST:
            continue
        notes = [each["note"] for each in recorded.expected["transactions"]]
        for transaction, note in zip(recorded.transactions, notes, strict=True):
            try:
                order(transaction.raw)
            except OrderingRefusal as refusal:
                refused[note] = refusal.status
    peer = [note for note in refused if note.startswith("creator is a Bank peer")]
    assert [refused.pop(note) for note in peer] == [403]
    assert refused == EXPECTED


@pytest.mark.parametrize(
    "name",
    [
        "envelope-fields-swapped",
        "envelope-overlong-varint",
        "envelope-without-signature",
        "envelope-without-payload",
        "empty-transaction",
        "transaction-not-protobuf",
    ],
)
def test_envelope_that_would_stop_the_channel_is_refused(name) -> None:
    """A peer refused each of these blocks whole for one envelope in it."""
    *_, (_, order) = _orderings()
    block = Block.decode((FOLDER / "refused" / f"{name}.block").read_bytes())
    statuses = []
    for raw in block.data:
        try:
            order(raw)
        except OrderingRefusal as refusal:
            statuses.append(refusal.status)
    assert statuses == [400]
