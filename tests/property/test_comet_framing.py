"""Frames of ABCI, however the bytes arrive, against the plainest reading of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from network.ordering.cometbft.abci.framing import MAX_FRAME_BYTES, FrameReader, encode_frame
from network.ordering.cometbft.errors import AbciError

# Lengths around where the varint grows, and the empty message.
MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([0, 1, 126, 127, 128, 129, 16_383, 16_384]).map(lambda n: b"\xa5" * n),
    ),
    max_size=8,
)


def naive(raw: bytes) -> list[bytes]:
    """The complete messages at the beginning of *raw*."""
    found: list[bytes] = []
    while True:
        length, place = 0, 0
        while place < len(raw):
            length |= (raw[place] & 0x7F) << 7 * place
            place += 1
            if raw[place - 1] < 0x80:
                break
        else:
            return found
        if len(raw) < place + length:
            return found
        found.append(raw[place : place + length])
        raw = raw[place + length :]


@given(MESSAGES, st.data())
def test_framing_of_any_pieces_gives_the_messages(
    messages: list[bytes], data: st.DataObject
) -> None:
    """A read may end anywhere, within a varint too, and hold any number of frames."""
    raw = b"".join(map(encode_frame, messages))
    reader, found, at = FrameReader(), [], 0
    while at < len(raw):
        size = data.draw(st.integers(1, len(raw) - at))
        found += reader.feed(raw[at : at + size])
        at += size
        assert found == naive(raw[:at])
    assert found == messages
    assert not reader.is_amid_frame


@given(MESSAGES, st.integers(1, 60))
def test_framing_of_a_cut_stream_says_that_it_was_cut(messages: list[bytes], cut: int) -> None:
    """Whether a connection ended between frames or within one is known."""
    raw = b"".join(map(encode_frame, messages))[:-cut]
    reader = FrameReader()
    found = reader.feed(raw)
    assert found == naive(raw)
    assert reader.is_amid_frame == (raw != b"".join(map(encode_frame, found)))


@given(st.binary(max_size=64))
def test_framing_of_any_bytes_ends_in_messages_or_a_refusal(raw: bytes) -> None:
    """Foreign bytes give what the plain reading gives, or are refused; nothing else happens."""
    reader = FrameReader(max_bytes=100)
    try:
        found = reader.feed(raw)
    except AbciError:
        return
    assert found == naive(raw)


@given(st.integers(101, 2**63), st.integers(0, 3))
def test_framing_of_a_length_above_the_bound_is_refused_before_its_message(
    length: int, before: int
) -> None:
    """The length alone is enough: nothing is kept in the hope that it comes."""
    varint = bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    reader = FrameReader(max_bytes=100)
    with pytest.raises(AbciError, match="above the bound of 100"):
        reader.feed(encode_frame(b"ok") * before + bytes(varint))


def test_framing_of_a_length_that_does_not_end_is_refused() -> None:
    """A varint has ten bytes at most, as in Go."""
    reader = FrameReader()
    assert reader.feed(b"\x80" * 9) == []
    with pytest.raises(AbciError, match="does not end within 10 bytes"):
        reader.feed(b"\x80")


def test_framing_takes_the_largest_block() -> None:
    """CometBFT's largest block is 100 MiB; what carries it is taken."""
    assert MAX_FRAME_BYTES > 100 * 1024 * 1024
    assert encode_frame(b"x" * 300)[:2] == b"\xac\x02"
