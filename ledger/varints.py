"""Numbers as protobuf writes them: base 128, the low seven bits first.

Source: protobuf's encoding, https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

__all__ = ["encode_varint"]

_KNOWN = 4096


def _encode(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


# Most numbers are lengths of keys, values and elements, and nearly all of these are below this.
_VARINTS = [_encode(number) for number in range(_KNOWN)]


def encode_varint(number: int) -> bytes:
    """Return *number* (0 ≤ number < 2**64) as a varint.

    Raises:
        ValueError: it is negative.
    """
    return _VARINTS[number] if 0 <= number < _KNOWN else _encode(number)
