"""A contract made of single stub calls, so that a test says what a transaction does as a list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from chaincode.contract import Context, Contract, Creator, query, transaction
from chaincode.simulator import (
    Chaincode,
    ContractChaincode,
    Invocation,
    Limits,
    SimulationResult,
    Simulator,
)
from ledger.state.ports import StateReader

CHANNEL = "qist"
TX_ID = "ab" * 32


class Operations(Contract):
    """Runs stub calls by name; `Look` may not write."""

    name = "ops"

    @transaction
    def run(self, ctx: Context, operations: list[object]) -> list[object]:
        return [operate(ctx, *_listed(operation)) for operation in operations]

    @query
    def look(self, ctx: Context, operations: list[object]) -> list[object]:
        return [operate(ctx, *_listed(operation)) for operation in operations]


class Others(Operations):
    """The same under another name, to be called and read by the first."""

    name = "others"


def operate(ctx: Context, operation: str, *args: Any) -> Any:
    """Do one thing with the stub and return what it answered, as JSON can hold it."""
    stub = ctx.stub
    match operation, args:
        case "put", (key, value):
            stub.put_state(key, value.encode())
        case "del", (key,):
            stub.del_state(key)
        case "policy", (key, policy):
            stub.set_state_validation_parameter(key, policy and policy.encode())
        case "event", (name, payload):
            stub.set_event(name, payload.encode())
        case "get", (key,):
            return _text(stub.get_state(key))
        case "many", (keys,):
            return [_text(value) for value in stub.get_states(keys)]
        case "get policy", (key,):
            return _text(stub.get_state_validation_parameter(key))
        case "range", (start, end, *most):
            return _entries(stub.get_state_by_range(start, end), *most)
        case "composite range", (kind, attributes, *most):
            return _entries(stub.get_state_by_partial_composite_key(kind, attributes), *most)
        case "page", (start, end, size, bookmark):
            page = stub.get_state_by_range_with_pagination(start, end, size, bookmark)
            return [[key for key, _ in page.entries], page.bookmark]
        case "composite page", (kind, attributes, size, bookmark):
            page = stub.get_state_by_partial_composite_key_with_pagination(
                kind, attributes, size, bookmark
            )
            return [[key for key, _ in page.entries], page.bookmark]
        case "history", (key,):
            return [
                [change.tx_id, _text(change.value), change.is_delete]
                for change in stub.get_history_for_key(key)
            ]
        case "private put", (collection, key, value):
            stub.put_private_data(collection, key, value.encode())
        case "private del", (collection, key):
            stub.del_private_data(collection, key)
        case "private purge", (collection, key):
            stub.purge_private_data(collection, key)
        case "private policy", (collection, key, policy):
            stub.set_private_data_validation_parameter(collection, key, policy and policy.encode())
        case "private get", (collection, key):
            return _text(stub.get_private_data(collection, key))
        case "private many", (collection, keys):
            return [_text(value) for value in stub.get_private_data_many(collection, keys)]
        case "private hash", (collection, key):
            found = stub.get_private_data_hash(collection, key)
            return None if found is None else found.hex()
        case "read", (name, inner, *inner_args):
            return operate(_ReadingContext(stub.reading(name)), inner, *inner_args)  # type: ignore[arg-type]
        case "call", (name, function, inner):
            response = stub.invoke_chaincode(name, [function.encode(), inner.encode()])
            return [response.status, response.message, response.payload.decode()]
        case _:
            raise AssertionError(operation)
    return None


def _listed(operation: object) -> list[Any]:
    assert isinstance(operation, list)
    return operation


class _ReadingContext:
    def __init__(self, stub: Any) -> None:
        self.stub = stub


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def _entries(found: Any, most: int | None = None) -> list[list[str]]:
    return [[key, value.decode()] for key, value in islice(found, most)]


class Registry:
    """Contracts by name, whatever the state says."""

    def __init__(self, *contracts: Contract | Chaincode) -> None:
        offered = [c if not isinstance(c, Contract) else ContractChaincode(c) for c in contracts]
        self.by_name = {each.name: each for each in offered}

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        return self.by_name.get(name)

    def explain(self, name: str, state: StateReader) -> str:
        return f"chaincode {name} not found"


def simulate(
    state: StateReader,
    *args: bytes,
    contract: str = "ops",
    registry: Registry | None = None,
    limits: Limits | None = None,
    transient: Mapping[str, bytes] | None = None,
) -> SimulationResult:
    """Run a call of a contract on a state."""
    simulator = Simulator(registry or Registry(Operations(), Others()), limits)
    invocation = Invocation(
        CHANNEL, TX_ID, contract, args, Creator("BankMSP"), datetime(2026, 1, 1, tzinfo=UTC),
        transient or {},
    )  # fmt: skip
    return simulator.simulate(state, invocation)
