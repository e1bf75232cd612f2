"""Frames of ABCI's socket protocol: an unsigned varint with the length, then the message.

Invariants: a length is bounded before anything of its message is kept; a read may end anywhere, in
the varint too, and may hold any number of frames.

Source: CometBFT v0.38, abci/types/messages.go, which writes with `binary.PutUvarint`.
"""

from __future__ import annotations

from typing import Final

from network.ordering.cometbft.errors import AbciError

__all__ = ["MAX_FRAME_BYTES", "FrameReader", "encode_frame"]

MAX_FRAME_BYTES: Final = 128 * 1024 * 1024
"""A block has at most 100 MB; FinalizeBlock adds the votes and the headers of fields."""

_LONGEST_VARINT = 10


def encode_frame(message: bytes) -> bytes:
    """Return the frame of one message."""
    length = len(message)
    prefix = bytearray()
    while length > 0x7F:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + message


class FrameReader:
    """Cuts what arrives on one connection into messages.

    Args:
        max_bytes: the longest message that is taken.
    """

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    @property
    def is_amid_frame(self) -> bool:
        """Whether the beginning of a frame is there and its end is not."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read and return the messages that are complete now, in order.

        Raises:
            AbciError: a length is above the bound or is no varint. The messages before it are lost
                with it: the connection cannot go on.
        """
        self._buffer += data
        messages, at = [], 0
        while (found := self._length(at)) is not None:
            start, length = found
            if len(self._buffer) - start < length:
                break
            with memoryview(self._buffer) as view:
                messages.append(bytes(view[start : start + length]))
            at = start + length
        del self._buffer[:at]
        return messages

    def _length(self, at: int) -> tuple[int, int] | None:
        """Return where the message of the frame at *at* begins and its length, once they are there.

        Raises:
            AbciError: see `feed`.
        """
        length = 0
        for place, byte in enumerate(self._buffer[at : at + _LONGEST_VARINT]):
            length |= (byte & 0x7F) << 7 * place
            if length > self._max_bytes:
                raise AbciError(
                    f"a frame of ABCI says that it has {length} bytes or more, above the bound of "
                    f"{self._max_bytes}; is it CometBFT that speaks on this socket?"
                )
            if byte < 0x80:
                return at + place + 1, length
        if len(self._buffer) - at >= _LONGEST_VARINT:
            raise AbciError(
                f"the length of a frame of ABCI does not end within {_LONGEST_VARINT} bytes; "
                "is it CometBFT that speaks on this socket?"
            )
        return None
