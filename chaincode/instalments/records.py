"""State values: canonical JSON, read back as plain objects.

Every value that this package writes goes through `encode`, so that two endorsers write the same
bytes. Reading is lenient on purpose: the ledger's own bytes were checked when they were written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from chaincode.contract import encode_json

_decode = json.JSONDecoder().raw_decode
# What is written here holds no circles, and looking for some takes as long as encoding.
_encode = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,
    check_circular=False,
).encode


def encode(value: object) -> bytes:
    """Return the canonical JSON of *value*: sorted names, no spaces, UTF-8."""
    if type(value) is dict:
        return _encode(value).encode("utf-8")
    return encode_json(value)


def decode(raw: bytes) -> dict[str, Any]:
    """Return the object that `encode` wrote as *raw*."""
    return cast(dict[str, Any], _decode(raw.decode("utf-8"))[0])


def decode_optional(raw: bytes | None) -> Mapping[str, Any] | None:
    """Return the object, or None where the key is absent."""
    return None if raw is None else decode(raw)
