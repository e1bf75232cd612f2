"""The bytes of calls that share a stream (network/calls/frames.py)."""

from __future__ import annotations

import random
from collections import deque

import pytest

from network.calls.frames import (
    ANSWER,
    CALL,
    CANCEL,
    FAILURE,
    FRAME_BYTES,
    Failure,
    Item,
    decode_failure,
    decode_frame,
    encode_failure,
    encode_item,
)
from network.calls.line import take_frame
from network.errors import FrameError

ITEMS = (
    Item(CALL, 1, 7, b"/gateway.Gateway/Evaluate", b"request"),
    Item(CANCEL, 2**32 - 1, 0, b"", b""),
    Item(ANSWER, 3, 2**64 - 1, b"", b"\x00" * 300),
    Item(FAILURE, 4, 0, b"", encode_failure(9, "no")),
)


def frame_of(*items: Item) -> bytes:
    return b"".join(
        encode_item(each.kind, each.number, each.content, name=each.name, height=each.height)
        for each in items
    )


def test_frame_taken_apart_gives_its_items() -> None:
    """Any number of items, none included."""
    for count in range(len(ITEMS) + 1):
        assert decode_frame(frame_of(*ITEMS[:count])) == list(ITEMS[:count])


def test_item_has_the_documented_bytes() -> None:
    """kind u8, id u32, height u64, length of name u8, length of content u32, name, content."""
    raw = encode_item(CALL, 258, b"xyz", name=b"ab", height=5)
    assert raw.hex(" ") == ("01 00 00 01 02 00 00 00 00 00 00 00 05 02 00 00 00 03 61 62 78 79 7a")


def test_frame_cut_short_or_of_an_unknown_kind_is_refused() -> None:
    """As a whole: nothing of it counts."""
    raw = frame_of(*ITEMS)
    ends = {0, len(frame_of(ITEMS[0])), len(frame_of(*ITEMS[:2])), len(frame_of(*ITEMS[:3]))}
    for end in range(len(raw)):
        if end not in ends:
            with pytest.raises(FrameError):
                decode_frame(raw[:end])
    for kind in (0, 5, 255):
        with pytest.raises(FrameError):
            decode_frame(bytes((kind,)) + raw[1:])


def test_random_bytes_are_a_frame_or_refused() -> None:
    """Nothing else is raised."""
    chance = random.Random(20261125)
    for size in range(400):
        raw = bytes((chance.choice((1, 2, 3, 4)),)) + chance.randbytes(size)
        for decode in (decode_frame, decode_failure):
            try:
                decode(raw)
            except FrameError:
                continue


def test_frame_above_its_size_holds_one_item_or_is_refused() -> None:
    """Else one message of small items would hold up everybody while it is taken apart."""
    large = Item(CALL, 1, 0, b"/a/b", bytes(FRAME_BYTES))
    assert decode_frame(frame_of(large)) == [large]
    small = Item(CANCEL, 7, 0, b"", b"")
    size = len(frame_of(small))
    assert len(decode_frame(frame_of(small) * (FRAME_BYTES // size))) == FRAME_BYTES // size
    for items in ((large, small), (small, large), (small,) * (FRAME_BYTES // size + 1)):
        with pytest.raises(FrameError, match="several"):
            decode_frame(frame_of(*items))


def test_failure_keeps_code_words_and_metadata() -> None:
    """Text stays text; what a key ends with ``-bin`` are bytes."""
    metadata = (("qist-outcome", "nothing-was-done"), ("grpc-status-details-bin", b"\xff\x00"))
    assert decode_failure(encode_failure(14, "weg – fort", metadata)) == Failure(
        14, "weg – fort", metadata
    )
    assert decode_failure(encode_failure(5, "")) == Failure(5, "", ())


def test_frames_hold_what_is_ready_up_to_their_size() -> None:
    """In their order; a larger item makes a frame of its own."""
    small, large = b"s" * (FRAME_BYTES // 2), b"l" * (2 * FRAME_BYTES)
    items = deque([small, small, small, large, small])
    assert [len(take_frame(items)) for _ in range(4)] == [
        len(small) * 2, len(small), len(large), len(small)
    ]  # fmt: skip
    assert not items
