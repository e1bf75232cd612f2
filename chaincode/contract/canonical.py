"""Canonical JSON: the bytes of state values, results and events.

Names sorted, no spaces, UTF-8 as it is, no NaN. Dates are `YYYY-MM-DD`, times UTC with `Z`, an enum
is its value. Of a dataclass, a field that is None and whose default is None is left out, so that a
field added later does not change the bytes of older records.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from enum import Enum
from operator import attrgetter
from typing import Any

from chaincode.errors import ContractDefinitionError

_EncodePlan = tuple[tuple[str, ...], Callable[[Any], Any], frozenset[str]]
_plans: dict[type, _EncodePlan] = {}


def _plan(kind: type) -> _EncodePlan:
    fields = dataclasses.fields(kind)
    names = tuple(f.name for f in fields)
    if len(names) == 1:
        only = attrgetter(names[0])
        getter: Callable[[Any], Any] = lambda value: (only(value),)  # noqa: E731
    else:
        getter = attrgetter(*names) if names else lambda _value: ()
    plan = (names, getter, frozenset(f.name for f in fields if f.default is None))
    _plans[kind] = plan
    return plan


def _plain(value: object) -> object:
    kind = type(value)
    plan = _plans.get(kind)
    if plan is None:
        if isinstance(value, datetime):
            return _text_of_time(value)
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, Enum):
            return value.value
        if not dataclasses.is_dataclass(kind):
            raise ContractDefinitionError(f"a value of type {kind.__name__} has no JSON form")
        plan = _plan(kind)
    names, getter, optional = plan
    plain = dict(zip(names, getter(value), strict=True))
    for name in optional:
        if plain[name] is None:
            del plain[name]
    return plain


def _text_of_time(value: datetime) -> str:
    if value.tzinfo is None:
        raise ContractDefinitionError("a time without a zone has no JSON form")
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


# Looking for circles takes as long as encoding; one shows at Python's limit of recursion.
_encode = json.JSONEncoder(
    sort_keys=True,
    separators=(",", ":"),
    ensure_ascii=False,
    allow_nan=False,
    check_circular=False,
    default=_plain,
).encode


def encode_json(value: object) -> bytes:
    """Return *value* as canonical JSON: what state values and results are made of."""
    try:
        return _encode(value).encode("utf-8")
    except RecursionError:
        raise ContractDefinitionError("a value that holds itself has no JSON form") from None
