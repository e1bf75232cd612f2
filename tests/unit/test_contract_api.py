"""Contracts as classes: which functions they offer, how they are called, what describes them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from threading import Event
from typing import Annotated, Any

import pytest

from chaincode.contract import (
    ArgumentRefusal,
    Bounds,
    Context,
    Contract,
    Malformed,
    MaxItems,
    MaxLength,
    Pattern,
    decode_json,
    encode_json,
    query,
    transaction,
    values,
)
from chaincode.contract.functions import CompiledContract
from chaincode.errors import ContractDefinitionError
from tests.support.memory_state import MemoryState
from tests.support.operations import Registry, simulate
from tests.support.toy_package import define


@dataclass(frozen=True)
class Payment:
    agreement: Annotated[str, MaxLength(8), Pattern(r"A-\d+", "an agreement's number")]
    amount_paisa: Annotated[int, Bounds(1, 1000)]
    paid_on: date
    note: str | None = None


class Payments(Contract):
    """Takes payments."""

    name = "payments"
    title = "Payments of instalments"
    version = "3"

    @transaction
    def post_payments(
        self, ctx: Context, payments: Annotated[list[Payment | Malformed], MaxItems(3)]
    ) -> list[str]:
        return [
            f"bad: {each.message}" if isinstance(each, Malformed) else each.agreement
            for each in payments
        ]

    @transaction(name="Undo")
    def reverse(self, ctx: Context, agreement: str, reason: str = "mistake") -> str:
        return f"{agreement} {reason}"

    @query
    def total(self, ctx: Context, until: date | None = None) -> int:
        return 0 if until is None else until.year

    @query
    def add(self, ctx: Context, unit: str, *amounts: Annotated[int, Bounds(1, 1000)]) -> str:
        return f"{sum(amounts)} {unit}"

    @query
    def nothing(self, ctx: Context) -> None:
        return None

    @query
    def raw(self, ctx: Context) -> bytes:
        return b"\x00\xff"

    def helper(self, ctx: Context) -> int:
        return 1


@pytest.fixture
def call() -> Any:
    state = MemoryState()
    define(state, "payments", "1")

    def call(*args: bytes | str) -> tuple[int, str, bytes]:
        raw = [arg if isinstance(arg, bytes) else arg.encode() for arg in args]
        result = simulate(state, *raw, contract="payments", registry=Registry(Payments()))
        return result.status, result.message, result.payload

    return call


PAYMENT = '{"agreement":"A-1","amount_paisa":5,"paid_on":"2026-01-31"}'


@pytest.mark.parametrize(
    "called",
    ["PostPayments", "payments:PostPayments", "postPayments", "payments:postPayments"],
)
def test_function_answers_to_its_name_in_every_form_of_fabric(call: Any, called: str) -> None:
    """With the contract's name or without, with a small first letter too."""
    assert call(called, f"[{PAYMENT}]") == (200, "", b'["A-1"]')


def test_results_are_text_bytes_json_or_nothing(call: Any) -> None:
    """Text as it is, bytes as they are, None as no bytes, everything else canonical JSON."""
    assert call("Undo", "A-1") == (200, "", b"A-1 mistake")
    assert call("Undo", "A-1", "twice") == (200, "", b"A-1 twice")
    assert call("Nothing") == (200, "", b"")
    assert call("Raw") == (200, "", b"\x00\xff")
    assert call("Total") == (200, "", b"0")
    assert call("Total", '"2026-01-31"') == (200, "", b"2026")
    assert call("Total", "null") == (200, "", b"0")


def test_argument_that_repeats_takes_any_number(call: Any) -> None:
    """Every argument beyond the named ones is decoded alike; none is enough."""
    assert call("Add", "paisa") == (200, "", b"0 paisa")
    assert call("Add", "paisa", *map(str, range(1, 601))) == (200, "", b"180300 paisa")


def test_malformed_record_of_a_bulk_leaves_the_others(call: Any) -> None:
    """Each record is decoded by itself; the bad one says where and why."""
    bad = PAYMENT.replace("5", '"5"')
    status, _, payload = call("PostPayments", f"[{PAYMENT},{bad},{PAYMENT}]")
    assert status == 200
    assert json.loads(payload) == [
        "A-1", "bad: amount_paisa: must be an integer, not a text", "A-1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["Pay"], 404, "has no function Pay"),
        (["PostPayment", "[]"], 404, "did you mean PostPayments"),
        (["other:PostPayments", "[]"], 404, "has no function"),
        (["Helper"], 404, "has no function Helper"),
        (["helper"], 404, "has no function helper"),
        (["__init__"], 404, "has no function"),
        (["x" * 100], 404, "has no function of that name"),
        (["a\x00b"], 404, "has no function of that name"),
        ([b"\xff"], 400, "must be UTF-8"),
        ([], 400, "names no function"),
        (["PostPayments"], 400, "takes the arguments (payments), not 0"),
        (["Undo", "a", "b", "c"], 400, "takes the arguments (agreement, reason), not 3"),
        (["Nothing", "x"], 400, "takes the arguments (none), not 1"),
        (["Add"], 400, "takes the arguments (unit), not 0"),
        (["Add", "paisa", "1", "0"], 400, "argument amounts: must be from 1 to 1000"),
        (["Undo", b"\xff"], 400, "argument agreement: must be UTF-8"),
        (["Undo", "x" * 4097], 400, "argument agreement: is longer than 4096 characters"),
        (["PostPayments", "["], 400, "argument payments: is not JSON (line 1"),
        (["PostPayments", b"\xff"], 400, "argument payments: is not JSON in UTF-8"),
        (["PostPayments", f"[{PAYMENT}]x"], 400, "is not JSON (line 1"),
        (["PostPayments", "{}"], 400, "argument payments: must be a list, not an object"),
        (["PostPayments", "[1,1,1,1]"], 400, "has 4 entries; at most 3"),
        (["PostPayments", "[NaN]"], 400, "is not JSON"),
        (["PostPayments", "[1e999]"], 400, "is not JSON"),
        (["PostPayments", '[{"a":1,"a":1}]'], 400, "without repeated names"),
        (["PostPayments", "[" * 100_000], 400, "is not JSON"),
        (["PostPayments", "[" + "[" * 40 + "]" * 40 + "]"], 400, "nested more than 32 deep"),
        (["PostPayments", "[" + "1" * 5000 + "]"], 400, "is not JSON"),
        (["Total", '"2026-02-30"'], 400, "argument until: must be a date as YYYY-MM-DD"),
        (["Total", '"20260131"'], 400, "must be a date as YYYY-MM-DD"),
        (["Total", '"2026-W05-6"'], 400, "must be a date as YYYY-MM-DD"),
    ],
)  # fmt: skip
def test_call_that_is_not_as_declared_is_refused(
    call: Any, args: list[bytes | str], status: int, words: str
) -> None:
    """What is wrong, where, and never what was given."""
    found, message, payload = call(*args)
    assert (found, payload) == (status, b"")
    assert words in message


@pytest.mark.parametrize(
    ("kind", "raw", "words"),
    [
        (int, "1.0", "must be an integer, not a number with a fraction"),
        (int, "true", "must be an integer, not true or false"),
        (int, str(2**63), "must be from"),
        (int, "1" * 4000, "must be from"),
        (bool, "1", "must be true or false, not an integer"),
        (str, "1", "must be a text, not an integer"),
        (str, '"\\ud800"', "half of a character"),
        (dict[str, int], '{"\\ud800":1}', "half of a character"),
        (dict[str, int], json.dumps({"x" * 4097: 1}), "a name of more than 4096"),
        (object, '{"a":["\\ud800"]}', "half of a character"),
        (object, '{"\\udfff":1}', "half of a character"),
        (object, "[" * 33 + "]" * 33, "nested more than 32 deep"),
        (list[int], json.dumps([1] * 10_001), "at most 10000"),
        (Payment, "{}", "value.agreement: is missing"),
        (Payment, PAYMENT.replace("A-1", "A-é"), "must be an agreement's number"),
        (Payment, PAYMENT.replace("A-1", "A-\u0661"), "must be an agreement's number"),
        (Payment, PAYMENT.replace("}", ',"more":1}'), "value.more: is not a field"),
        (Payment, PAYMENT.replace("}", ',"35202-1":1}'), "value.(a field): is not a field"),
        (list[Payment], f"[{PAYMENT},{PAYMENT.replace('5', '0')}]", "value[1].amount_paisa: must"),
    ],
)  # fmt: skip
def test_value_that_is_not_of_its_type_is_refused_with_its_place(
    kind: Any, raw: str, words: str
) -> None:
    """The path leads to the value; the reason says what is wanted."""
    with pytest.raises(ArgumentRefusal) as refusal:
        decode_json(kind, raw)
    assert words in str(refusal.value)


def test_malformed_record_keeps_what_can_be_written_again() -> None:
    """The record's JSON is kept for its id, unless it holds text that no answer could carry."""
    good, bad = decode_json(
        list[Payment | Malformed], '[{"agreement":"A-7"},{"agreement":"\\ud800"}]'
    )
    assert isinstance(good, Malformed)
    assert isinstance(bad, Malformed)
    assert good.raw == {"agreement": "A-7"}
    assert bad.raw is None
    assert "A-7" not in repr(good)


def test_optional_field_is_left_out_of_canonical_json() -> None:
    """A field that is None by default does not change the bytes of records without it."""
    payment = Payment("A-1", 5, date(2026, 1, 31))
    assert encode_json(payment) == PAYMENT.encode()
    assert encode_json(Payment("A-1", 5, date(2026, 1, 31), "x")).endswith(
        b'"note":"x","paid_on":"2026-01-31"}'
    )


@pytest.mark.parametrize("value", [{1, 2}, object(), float("nan"), float("inf"), b"x"])
def test_value_without_json_form_is_a_fault_of_the_contract(value: object) -> None:
    """A set has no order, NaN no JSON, bytes no text."""
    with pytest.raises((ContractDefinitionError, ValueError)):
        encode_json(value)


def test_value_that_holds_itself_is_a_fault_of_the_contract() -> None:
    """A circle ends as an error, in a list as well as through a record."""
    circle: list[object] = []
    circle.append({"again": circle})
    payment = Payment("A-1", 5, date(2026, 1, 31))
    object.__setattr__(payment, "note", [payment])
    for value in (circle, payment):
        with pytest.raises(ContractDefinitionError, match="holds itself"):
            encode_json(value)


# ---- metadata


def test_metadata_describes_every_function_and_record(call: Any) -> None:
    """The document of Fabric's contract API: tags, parameters, returns, records once."""
    status, _, payload = call("org.hyperledger.fabric:GetMetadata")
    assert status == 200
    document = json.loads(payload)
    assert set(document["contracts"]) == {"payments", "org.hyperledger.fabric"}
    contract = document["contracts"]["payments"]
    assert contract["default"] is True
    assert contract["info"] == {"title": "Payments of instalments", "version": "3"}
    functions = {each["name"]: each for each in contract["transactions"]}
    assert list(functions) == ["Add", "Nothing", "PostPayments", "Raw", "Total", "Undo"]
    assert functions["PostPayments"]["tag"] == ["submit", "SUBMIT"]
    assert functions["Total"]["tag"] == ["evaluate", "EVALUATE"]
    assert "returns" not in functions["Nothing"]
    assert functions["PostPayments"]["returns"] == {"type": "array", "items": {"type": "string"}}
    assert functions["PostPayments"]["parameters"] == [
        {
            "name": "payments",
            "schema": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/Payment"},
                "maxItems": 3,
            },
        }
    ]
    assert functions["Undo"]["parameters"][1] == {
        "name": "reason",
        "required": False,
        "schema": {"type": "string"},
    }
    assert document["components"]["schemas"]["Payment"] == {
        "$id": "Payment",
        "type": "object",
        "additionalProperties": False,
        "required": ["agreement", "amount_paisa", "paid_on"],
        "properties": {
            "agreement": {
                "type": "string",
                "maxLength": 8,
                "pattern": r"^(?:A-\d+)$",
                "description": "an agreement's number",
            },
            "amount_paisa": {"type": "integer", "format": "int64", "minimum": 1, "maximum": 1000},
            "paid_on": {"type": "string", "format": "date"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    }


# ---- what cannot be offered


def offered(**members: Any) -> type[Contract]:
    return type("Odd", (Contract,), {"name": "odd", "__module__": __name__, **members})


async def waits(self: Any, ctx: Context) -> None:
    pass


def yields(self: Any, ctx: Context) -> Any:
    yield 1


def untyped(self: Any, ctx: Context, value):
    pass


def without_context(self: Any, value: str) -> None:
    pass


def many(self: Any, ctx: Context, *values: set[str]) -> None:
    pass


def keyword(self: Any, ctx: Context, *, value: str) -> None:
    pass


def unreadable(self: Any, ctx: Context, value: set[str]) -> None:
    pass


def either(self: Any, ctx: Context, value: int | str) -> None:
    pass


def plain(self: Any, ctx: Context) -> None:
    pass


def same(name: str) -> type:
    return dataclass(frozen=True)(type(name, (), {"__annotations__": {"x": int}}))


FIRST, SECOND = same("Same"), same("Same")


def two_of_a_name(self: Any, ctx: Context, first: Any, second: Any) -> None:
    pass


two_of_a_name.__annotations__ |= {"first": FIRST, "second": SECOND}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (offered(), "offers no function"),
        (offered(name="", f=query(plain)), "needs a name"),
        (offered(name="-x", f=query(plain)), "needs a name"),
        (offered(f=query(name="Twice")(lambda self, ctx: None)), "must be ctx: Context"),
        (offered(f=query(waits)), "not async or a generator"),
        (offered(f=query(yields)), "not async or a generator"),
        (offered(f=query(untyped)), "value has no type"),
        (offered(f=query(without_context)), "must be ctx: Context"),
        (offered(f=query(many)), "not a type that JSON can be read as"),
        (offered(f=query(keyword)), "must be a plain argument"),
        (offered(f=query(unreadable)), "not a type that JSON can be read as"),
        (offered(f=query(either)), "only T | None"),
        (offered(f=query(two_of_a_name)), "two record types are called Same"),
        (offered(a=query(name="F")(plain), b=plain), "is offered twice"),
    ],
)  # fmt: skip
def test_contract_that_cannot_be_offered_is_refused_when_loaded(
    kind: type[Contract], words: str
) -> None:
    """Said with class, function and reason when the contract is made, not when it is called."""
    with pytest.raises(ContractDefinitionError, match=words.replace("|", r"\|")):
        CompiledContract(kind())


def test_contract_keeps_nothing_between_transactions() -> None:
    """An attribute cannot be set on a contract."""
    with pytest.raises(ContractDefinitionError, match="put it on the ledger"):
        Payments().count = 1


@dataclass(frozen=True)
class Leaf:
    """A field of a type that nothing else has compiled."""

    name: str


@dataclass(frozen=True)
class Branch:
    """One that names itself."""

    leaves: list[Leaf]
    below: Branch | None = None


def test_type_that_is_being_compiled_is_waited_for_by_other_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first two calls of a function may come at once: both are answered, none half-made."""
    begun, may_end = Event(), Event()
    whole = values._default_of

    def slowly(kind: type, field: Any) -> object:
        begun.set()
        assert may_end.wait(10)
        return whole(kind, field)

    monkeypatch.setattr(values, "_default_of", slowly)
    raw = b'{"leaves": [{"name": "a"}], "below": {"leaves": []}}'
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(values.decode_json, Branch, raw)
        assert begun.wait(10)
        second = threads.submit(values.decode_json, Branch, raw)
        with pytest.raises(TimeoutError):
            second.result(0.05)
        may_end.set()
        expected = Branch([Leaf("a")], Branch([]))
        assert first.result(10) == second.result(10) == expected
