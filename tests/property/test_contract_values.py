"""Decoding of arguments: round trips, strictness, and nothing of a value in a refusal."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaincode.contract import (
    ArgumentRefusal,
    Bounds,
    Malformed,
    MaxItems,
    MaxLength,
    Pattern,
    decode_json,
    encode_json,
)
from chaincode.contract.schema import Schemas


class Channel(Enum):
    SMS = "sms"
    LETTER = "letter"


class Tier(Enum):
    ONE = 1
    TWO = 2


@dataclass(frozen=True)
class Payment:
    agreement: Annotated[str, MaxLength(20)]
    amount_paisa: Annotated[int, Bounds(1, 10**12)]
    paid_on: date
    channel: Channel | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tree:
    name: str
    parts: tuple[Tree, ...] = ()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PAYMENTS = st.builds(
    Payment,
    agreement=TEXTS,
    amount_paisa=st.integers(1, 10**12),
    paid_on=st.dates(date(1970, 1, 1)),
    channel=st.one_of(st.none(), st.sampled_from(Channel)),
    tags=st.lists(TEXTS, max_size=3).map(tuple),
)
TREES = st.recursive(
    st.builds(Tree, name=TEXTS),
    lambda inner: st.builds(Tree, name=TEXTS, parts=st.lists(inner, max_size=3).map(tuple)),
    max_leaves=8,
)
TIMES = st.datetimes(timezones=st.just(UTC)).filter(lambda time: time.year >= 1000)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)

KINDS: list[tuple[Any, Any]] = [
    (str, TEXTS),
    (int, INTEGERS),
    (bool, st.booleans()),
    (float, st.floats(-1e299, 1e299)),
    (None, st.none()),
    (date, st.dates(date(1, 1, 1))),
    (datetime, TIMES),
    (Channel, st.sampled_from(Channel)),
    (Tier, st.sampled_from(Tier)),
    (Literal["yes", "no", 1], st.sampled_from(["yes", "no", 1])),
    (Payment, PAYMENTS),
    (Tree, TREES),
    (list[Payment], st.lists(PAYMENTS, max_size=3)),
    (tuple[int, str], st.tuples(INTEGERS, TEXTS)),
    (tuple[int, ...], st.lists(INTEGERS, max_size=3).map(tuple)),
    (dict[str, Payment], st.dictionaries(TEXTS, PAYMENTS, max_size=3)),
    (int | None, st.one_of(st.none(), INTEGERS)),
    (list[Payment | Malformed], st.lists(PAYMENTS, max_size=3)),
    (Annotated[str, Pattern(r"[a-z]\d{3}", "a letter and three digits")],
     st.from_regex(r"[a-z][0-9]{3}", fullmatch=True)),
    (Annotated[list[int], MaxItems(3)], st.lists(INTEGERS, max_size=3)),
    (object, JSON),
]  # fmt: skip
IDS = [str(kind) for kind, _ in KINDS]


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=IDS)
@given(st.data())
def test_value_encoded_and_decoded_is_the_same(kind: Any, values: Any, data: Any) -> None:
    """Every declared type survives the way through canonical JSON and back."""
    value = data.draw(values)
    assert decode_json(kind, encode_json(value)) == value


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=IDS)
@given(st.data())
def test_canonical_bytes_are_a_fixed_point(kind: Any, values: Any, data: Any) -> None:
    """Decoding and encoding canonical bytes gives the same bytes: names sorted, no spaces."""
    raw = encode_json(data.draw(values))
    assert encode_json(decode_json(kind, raw)) == raw
    assert (
        raw
        == json.dumps(
            json.loads(raw), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
    )


def refusal_of(kind: Any, raw: bytes | str) -> ArgumentRefusal | None:
    """Return why a value is refused, None if it is accepted."""
    try:
        decode_json(kind, raw)
    except ArgumentRefusal as refusal:
        return refusal
    return None


@pytest.mark.parametrize(("kind", "values"), KINDS, ids=IDS)
@given(st.data())
def test_any_json_is_decoded_or_refused_as_the_schema_says(
    kind: Any, values: Any, data: Any
) -> None:
    """The metadata describes what is accepted: decoder and schema agree on every JSON value."""
    value = data.draw(st.one_of(JSON, values.map(lambda good: json.loads(encode_json(good)))))
    schemas = Schemas()
    schema = schemas.of(type(None) if kind is None else kind)
    accepted = refusal_of(kind, json.dumps(value)) is None
    if "Malformed" in str(kind):
        assert accepted == (isinstance(value, list))
        return
    assert accepted == conforms(value, schema, schemas.components)


def conforms(value: Any, schema: dict[str, Any], components: dict[str, Any]) -> bool:
    """Judge a JSON value by the part of JSON Schema that the metadata uses."""
    if "$ref" in schema:
        return conforms(value, components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema:
        return any(conforms(value, each, components) for each in schema["anyOf"])
    if "enum" in schema:
        return any(type(value) is type(each) and value == each for each in schema["enum"])
    if "type" not in schema:
        return True
    kinds = {"string": str, "integer": int, "boolean": bool, "null": type(None)}
    kinds |= {"array": list, "object": dict}
    if schema["type"] == "number":
        return type(value) in (int, float) and -1e300 < value < 1e300
    if type(value) is not kinds[schema["type"]]:
        return False
    return CHECKS.get(schema["type"], lambda *_: True)(value, schema, components)


def conforms_text(value: str, schema: dict[str, Any], _: Any) -> bool:
    forms = {"date": date.fromisoformat, "date-time": datetime.fromisoformat}
    if schema.get("format") in forms:
        try:
            parsed = forms[schema["format"]](value)
        except ValueError:
            return False
        return encode_json(parsed) == json.dumps(value).encode()
    if "pattern" in schema:
        return (
            len(value) == 4
            and value[0] in "abcdefghijklmnopqrstuvwxyz"
            and all(each in "0123456789" for each in value[1:])
        )
    return len(value) <= schema.get("maxLength", 4096)


def conforms_list(value: list[Any], schema: dict[str, Any], components: Any) -> bool:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", 10_000):
        return False
    items = schema["items"]
    pairs = (
        zip(value, items, strict=True)
        if isinstance(items, list)
        else ((each, items) for each in value)
    )
    return all(conforms(each, item, components) for each, item in pairs)


def conforms_object(value: dict[str, Any], schema: dict[str, Any], components: Any) -> bool:
    properties = schema.get("properties")
    if properties is None:
        inner = schema["additionalProperties"]
        return all(conforms(each, inner, components) for each in value.values())
    return (
        set(schema["required"]) <= set(value) <= set(properties)
        and all(conforms(each, properties[name], components) for name, each in value.items())
    )  # fmt: skip


CHECKS: dict[str, Any] = {
    "string": conforms_text,
    "array": conforms_list,
    "object": conforms_object,
    "integer": lambda value, schema, _: (
        schema.get("minimum", -(2**63)) <= value <= schema.get("maximum", 2**63 - 1)
    ),
}


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS], ids=IDS)
@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(kind: Any, raw: bytes) -> None:
    """Whatever arrives, the only refusal is ArgumentRefusal, with status 400."""
    refusal = refusal_of(kind, raw)
    assert refusal is None or refusal.status == 400


SECRET = "35202-1234567-1"


@pytest.mark.parametrize("kind", [kind for kind, _ in KINDS if kind not in (str, object)])
@given(st.data())
def test_refusal_never_holds_what_was_given(kind: Any, data: Any) -> None:
    """Whichever place the secret stands in: as a value, in a list, under a name or as the name."""
    place = data.draw(
        st.sampled_from(
            [
                SECRET, [SECRET], [[SECRET]], {"name": [SECRET]}, {SECRET: 1}, [{SECRET: SECRET}],
                {"agreement": SECRET * 3, "amount_paisa": 1, "paid_on": "2026-01-01"},
                {"agreement": "a", "amount_paisa": SECRET, "paid_on": "2026-01-01"},
                {"agreement": "a", "amount_paisa": 1, "paid_on": SECRET},
                {"name": "x", "parts": [{"name": "y", SECRET: 1}]}, SECRET + '"',
            ]
        )
    )  # fmt: skip
    for raw in (json.dumps(place), json.dumps(place) + SECRET, SECRET):
        words = str(refusal_of(kind, raw))
        assert SECRET not in words
        assert "1234567" not in words
