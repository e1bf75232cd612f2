"""The bytes of calls and answers that share a stream (docs/formats.md, section 17).

A message of the stream is a *frame*: items, one behind the other, each

    kind u8 ‖ id u32 ‖ height u64 ‖ length of name u8 ‖ length of content u32 ‖ name ‖ content

    kind       id             name     content
    1 call     of the call    method   the marshalled request
    2 cancel   of the call    –        –
    3 answer   of the call    –        the marshalled answer
    4 failure  of the call    –        code u16 ‖ length u32 ‖ message ‖ metadata

``metadata`` is a count u8 and so many times length u8 ‖ key ‖ length u32 ‖ value. *height* is that
of a ledger: which one the caller asks for, which one the answer was made at; 0 for no matter. All
numbers are big-endian, text is UTF-8.

Invariants: pure; a frame that is not of this form is refused as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from network.errors import FrameError

__all__ = [
    "ANSWER",
    "CALL",
    "CANCEL",
    "FAILURE",
    "FRAME_BYTES",
    "ITEM_BYTES",
    "METHOD",
    "SERVICE",
    "Failure",
    "Item",
    "decode_failure",
    "decode_frame",
    "encode_failure",
    "encode_item",
]

SERVICE: Final = "qist.Calls"
METHOD: Final = f"/{SERVICE}/Exchange"

CALL: Final = 1
CANCEL: Final = 2
ANSWER: Final = 3
FAILURE: Final = 4

FRAME_BYTES: Final = 128 * 1024
"""Items are put into a frame up to so many bytes; a larger one goes in a frame of its own.

What is longer and holds several is refused: taking a frame apart holds up all other calls."""
ITEM_BYTES: Final = 256 * 1024
"""A larger request is made by a call of its own, so that the small ones do not wait for it."""

_ITEM = struct.Struct(">BIQBI")
_FAILURE = struct.Struct(">HI")
_VALUE = struct.Struct(">I")
_KINDS = range(CALL, FAILURE + 1)


class Item(NamedTuple):
    """One call, or what became of it."""

    kind: int
    number: int
    height: int
    name: bytes
    content: bytes


class Failure(NamedTuple):
    """How a call was refused: gRPC's status code and message, and trailing metadata."""

    code: int
    message: str
    metadata: tuple[tuple[str, str | bytes], ...]


def encode_item(
    kind: int, number: int, content: bytes = b"", *, name: bytes = b"", height: int = 0
) -> bytes:
    """Return the bytes of one item; a frame is several of them."""
    return b"%b%b%b" % (_ITEM.pack(kind, number, height, len(name), len(content)), name, content)


def decode_frame(raw: bytes) -> list[Item]:
    """Take a frame apart.

    Raises:
        FrameError: it is cut short, has an item of an unknown kind, or too many.
    """
    items = []
    at, end = 0, len(raw)
    while at < end:
        begin = at + _ITEM.size
        if begin > end:
            raise FrameError("a frame of calls is cut short; connect again")
        kind, number, height, name_length, length = _ITEM.unpack_from(raw, at)
        middle = begin + name_length
        at = middle + length
        if at > end or kind not in _KINDS:
            raise FrameError("a frame of calls is malformed; connect again")
        if end > FRAME_BYTES and at != end:
            raise FrameError(
                f"a frame of calls has several items in {end} bytes, and {FRAME_BYTES} is the most "
                "for that; connect again and send smaller ones"
            )
        items.append(Item(kind, number, height, raw[begin:middle], raw[middle:at]))
    return items


def encode_failure(
    code: int, message: str, metadata: Sequence[tuple[str, str | bytes]] = ()
) -> bytes:
    """Return the content of a failure."""
    text = message.encode("utf-8", "replace")
    parts = [_FAILURE.pack(code, len(text)), text, bytes((len(metadata),))]
    for key, value in metadata:
        raw = value.encode() if isinstance(value, str) else value
        parts += (bytes((len(key),)), key.encode(), _VALUE.pack(len(raw)), raw)
    return b"".join(parts)


def decode_failure(raw: bytes) -> Failure:
    """Read the content of a failure.

    Raises:
        FrameError: it is none.
    """
    try:
        code, length = _FAILURE.unpack_from(raw)
        at = _FAILURE.size + length
        message = raw[_FAILURE.size : at].decode()
        metadata: list[tuple[str, str | bytes]] = []
        for _ in range(raw[at]):
            begin = at + 2
            at = begin + raw[at + 1]
            key = raw[begin:at].decode()
            (length,) = _VALUE.unpack_from(raw, at)
            value = raw[at + _VALUE.size : at + _VALUE.size + length]
            at += _VALUE.size + length - 1
            metadata.append((key, value if key.endswith("-bin") else value.decode()))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise FrameError("the failure of a call is malformed; connect again") from error
    return Failure(code, message, tuple(metadata))
