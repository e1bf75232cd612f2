"""Composite keys: a type and attributes in one key, so that a range finds all keys of a prefix.

Layout: ``U+0000 type U+0000 attribute U+0000 … attribute U+0000``. Simple keys never begin with
U+0000, so the two kinds never mix. Neither type nor attributes may hold U+0000 or U+10FFFF, the
last character there is, which ends the range of a prefix.

Source: Fabric, fabric-chaincode-go shim/stub.go (CreateCompositeKey, splitCompositeKey).
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.errors import Refusal

COMPOSITE_NAMESPACE = "\x00"
MAX_CHARACTER = "\U0010ffff"


class CompositeKeyError(Refusal):
    """Not a composite key, or parts that cannot make one."""


def create_composite_key(object_type: str, attributes: Sequence[str]) -> str:
    """Return the composite key of *object_type* and *attributes*, in their order.

    Raises:
        CompositeKeyError: a part holds U+0000 or U+10FFFF.
    """
    key = "\x00" + object_type + "\x00"
    if attributes:
        key += "\x00".join(attributes) + "\x00"
    if key.count("\x00") != len(attributes) + 2 or MAX_CHARACTER in key:
        raise CompositeKeyError(
            "a part of a composite key holds U+0000 or U+10FFFF; leave those characters out"
        )
    return key


def split_composite_key(key: str) -> tuple[str, list[str]]:
    """Return the type and the attributes of a composite key.

    Raises:
        CompositeKeyError: *key* is a simple key.
    """
    if len(key) < 2 or key[0] != "\x00" or key[-1] != "\x00":
        raise CompositeKeyError("this is a simple key; only composite keys can be split")
    object_type, *attributes = key[1:-1].split("\x00")
    return object_type, attributes


def composite_range(object_type: str, attributes: Sequence[str]) -> tuple[str, str]:
    """Return start (included) and end (excluded) of the keys that begin with these parts."""
    start = create_composite_key(object_type, attributes)
    return start, start + MAX_CHARACTER
