"""No bytes get past admission that could stop a channel, and none make it fail otherwise."""

from __future__ import annotations

from fabric_protos.common import common_pb2
from hypothesis import given
from hypothesis import strategies as st

from ledger.blocks.structure import verify_envelope_canonical
from ledger.transactions.parse import CONFIG, parse_transaction
from network.configuration import ChannelConfiguration
from network.errors import OrderingRefusal
from network.msp import serialize_identity
from network.ordering.admission import Admission
from tests.support.members import CHANNEL, NOW, Member, genesis, signed_envelope

MEMBER = Member("BankMSP")
CONFIGURATION = ChannelConfiguration.from_block(genesis([MEMBER]))
SIGNER = MEMBER.identity()
GOOD = signed_envelope(SIGNER)


class FixedTime:
    def now(self):
        return NOW


ADMISSION = Admission(CHANNEL, lambda: CONFIGURATION, FixedTime())

changes = st.lists(
    st.tuples(st.integers(0, len(GOOD) - 1), st.binary(max_size=3), st.integers(0, 3)),
    min_size=1,
    max_size=3,
)


def _check(envelope: bytes) -> bool:
    """Return whether it is admitted; then no committer may refuse its block because of it."""
    refusals = []
    try:
        ADMISSION.check(envelope)
    except OrderingRefusal as refusal:
        refusals.append(refusal)
    if refusals:
        assert 400 <= refusals[0].status < 500
        assert refusals[0].info
        return False
    verify_envelope_canonical(envelope)
    assert parse_transaction(envelope).header_type != CONFIG
    return True


@given(changes)
def test_damaged_envelope_is_admitted_only_if_every_committer_takes_it(changes) -> None:
    """Bytes put in, taken out and changed anywhere in a good envelope."""
    raw = GOOD
    for at, put, taken in changes:
        raw = raw[:at] + put + raw[at + taken :]
    admitted = _check(raw)
    payload = common_pb2.Envelope.FromString(GOOD).payload
    assert not admitted or payload in raw


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(raw) -> None:
    """With a status of Fabric's, never with another error."""
    assert not _check(raw)


@given(
    creator=st.one_of(
        st.binary(max_size=40),
        st.builds(serialize_identity, st.text(max_size=8), st.binary(max_size=40)),
    ),
    header_type=st.integers(-(2**31), 2**31 - 1),
    channel_header=st.one_of(st.none(), st.binary(max_size=20)),
    signature=st.binary(max_size=80),
)
def test_well_formed_envelope_of_a_stranger_is_refused(
    creator, header_type, channel_header, signature
) -> None:
    """Whatever stands in its headers."""
    if channel_header is None:
        header = common_pb2.ChannelHeader(channel_id=CHANNEL, type=header_type)
        channel_header = header.SerializeToString()
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=channel_header,
            signature_header=common_pb2.SignatureHeader(creator=creator).SerializeToString(),
        )
    )
    envelope = common_pb2.Envelope(payload=payload.SerializeToString(), signature=signature)
    assert not _check(envelope.SerializeToString())


@given(st.integers(0, 100))
def test_good_envelope_is_admitted_whatever_its_type(number) -> None:
    """But for the types that clients do not send: committers record what they make of the rest.

    An update of the configuration (2) is told apart; it is judged before anything enters a block.
    """
    envelope = signed_envelope(SIGNER, header_type=number)
    assert _check(envelope) == (number not in (1, 4))
    if number not in (1, 4):
        assert ADMISSION.check(envelope) == (number == common_pb2.CONFIG_UPDATE)
