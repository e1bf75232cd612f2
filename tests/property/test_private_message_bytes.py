"""Whatever bytes another node sends about private data, they are read or refused, within bounds."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from fabric_protos.gossip import message_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import DecodeError
from ledger.transactions.private import PrivateWrite, decode_private_rwset
from nodes.private_data.digests import (
    MOST_DIGESTS,
    Digest,
    PrivateMessageRefusal,
    Pushed,
    encode_push,
    encode_request,
    encode_response,
    read_push,
    read_request,
    read_response,
)

CHANNEL = "qist"
names = st.text(max_size=20)
numbers = st.integers(0, 2**64 - 1)
digests = st.builds(Digest, names, names, names, numbers, numbers)
pushes = st.builds(
    Pushed, names, st.builds(PrivateWrite, names, names, st.binary(max_size=60)), numbers
)
READERS = (read_push, read_request, read_response)


def read_all(raw: bytes) -> None:
    """Read bytes as each kind of message; nothing but a refusal may be raised."""
    try:
        message: Any = message_pb2.GossipMessage.FromString(raw)
    except ProtobufDecodeError:
        return
    for reader in READERS:
        with suppress(PrivateMessageRefusal):
            found = reader(message, CHANNEL)
            if isinstance(found, Pushed):
                assert found.tx_id
                assert found.write.rwset
                with suppress(DecodeError):
                    decode_private_rwset(found.write.rwset)
            if isinstance(found, list):
                assert 0 < len(found) <= MOST_DIGESTS


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_read_or_refused(raw: bytes) -> None:
    """No bytes make a node raise anything else."""
    read_all(raw)


@given(
    st.one_of(
        pushes.map(lambda each: encode_push(CHANNEL, each, b"")),
        st.lists(digests, max_size=4).map(lambda each: encode_request(CHANNEL, each)),
        st.lists(st.tuples(digests, st.lists(st.binary(max_size=20), max_size=3)), max_size=3).map(
            lambda each: bytes(encode_response(CHANNEL, each).SerializeToString())
        ),
    ),
    st.data(),
)
def test_messages_with_bits_turned_are_read_or_refused(raw: bytes, data: st.DataObject) -> None:
    """Nor do messages that were damaged on the way."""
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(damaged)))
    read_all(bytes(damaged))
    read_all(bytes(damaged[:cut]))


@given(st.lists(digests, min_size=1, max_size=5))
def test_request_says_what_was_asked(asked: list[Digest]) -> None:
    """What can be asked for is read back as it was; the rest is refused."""
    message = message_pb2.GossipMessage.FromString(encode_request(CHANNEL, asked))
    if all(each.namespace and each.collection for each in asked):
        assert read_request(message, CHANNEL) == asked
