"""Fabric's messages out of foreign bytes, with one of our errors in place of protobuf's.

Fabric's message types carry no stubs, so what comes out is untyped; each caller annotates the
fields that it takes.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from ledger.errors import Refusal


def decode_message(message_type: Any, raw: bytes, what: str, error: type[Refusal]) -> Any:
    """Parse *raw* as *message_type*.

    Args:
        message_type: a class of the official Fabric messages.
        raw: the bytes as received.
        what: the thing the bytes should be, for the message of the error.
        error: the refusal to raise.
    Raises:
        Refusal: of the given kind, if the bytes are no such message.
    """
    try:
        return message_type.FromString(raw)
    except DecodeError as reason:
        name = message_type.DESCRIPTOR.full_name
        raise error(f"{what} is not a {name} message: send the bytes of one") from reason
