"""Contracts whose definition asks for a call that initialises: once in each version."""

from __future__ import annotations

from typing import Any

import pytest

from chaincode.contract import Context, Contract, Creator, query, transaction
from chaincode.simulator import ContractChaincode, Invocation, SimulationResult, Simulator
from ledger.state.version import Version
from ledger.transactions.rwset import KVRead, KVWrite, decode_tx_rwset
from tests.support.consortium import NOW
from tests.support.memory_state import MemoryState
from tests.support.operations import Registry
from tests.support.toy_package import define

INITIALIZED = "\x00\U0010ffffinitialized"


class Ledgered(Contract):
    """Writes a key, and answers."""

    name = "ledgered"

    @transaction
    def keep(self, ctx: Context, key: str) -> None:
        ctx.stub.put_state(key, b"kept")

    @query
    def answer(self, ctx: Context) -> str:
        return "yes"


class Caller(Contract):
    """Calls the other."""

    name = "caller"

    @transaction
    def pass_on(self, ctx: Context) -> int:
        return ctx.stub.invoke_chaincode("ledgered", [b"Answer"]).status


@pytest.fixture
def state() -> MemoryState:
    state = MemoryState()
    for name in ("ledgered", "caller"):
        define(state, name, "1")
    return state


def call(
    state: MemoryState, *args: str, version: str = "1", required: bool = True, **options: Any
) -> SimulationResult:
    """Call the contract as a definition names it."""
    named = ContractChaincode(Ledgered(), "1").under(version, init_required=required)
    registry = Registry(named, Caller())
    raw = tuple(each.encode() for each in args)
    name = options.pop("name", "ledgered")
    invocation = Invocation("qist", "ab" * 32, name, raw, Creator("BankMSP"), NOW, **options)
    return Simulator(registry).simulate(state, invocation)


def test_call_before_the_first_that_initialises_is_refused(state: MemoryState) -> None:
    """Queries and calls by other contracts too."""
    words = (
        "chaincode 'ledgered' has not been initialized for this version, must call as init first"
    )
    for args in (("Keep", "k"), ("Answer",)):
        result = call(state, *args)
        assert result.status == 400
        assert words in result.message
    through = call(state, "PassOn", name="caller")
    assert through.status == 400
    assert words in through.message


def test_first_call_initialises_and_leaves_fabrics_key(state: MemoryState) -> None:
    """The key is read and written in the contract's own namespace; its value is the version."""
    result = call(state, "Keep", "k", is_init=True)
    assert result.status == 200
    own = decode_tx_rwset(result.rwset).namespaces[1]
    assert own.namespace == "ledgered"
    assert own.reads == (KVRead(INITIALIZED, None),)
    assert own.writes == (KVWrite(INITIALIZED, False, b"1"), KVWrite("k", False, b"kept"))
    state.apply(result, "ab" * 32, NOW, Version(5, 0))
    after = call(state, "Keep", "k")
    assert after.status == 200
    assert decode_tx_rwset(after.rwset).namespaces[1].reads == (KVRead(INITIALIZED, Version(5, 0)),)


def test_two_that_initialise_conflict(state: MemoryState) -> None:
    """Only one of two in a block counts."""
    first, second = call(state, "Keep", "a", is_init=True), call(state, "Keep", "b", is_init=True)
    state.apply(first, "ab" * 32, NOW, Version(5, 0))
    assert state.conflicts(second)


def test_initialising_again_is_refused_until_the_next_version(state: MemoryState) -> None:
    """Each version is initialised once, by its own call."""
    state.apply(call(state, "Keep", "k", is_init=True), "ab" * 32, NOW, Version(5, 0))
    again = call(state, "Keep", "k", is_init=True)
    assert again.status == 400
    assert "chaincode 'ledgered' is already initialized but called as init" in again.message
    assert "has not been initialized for this version" in call(state, "Answer", version="2").message
    assert call(state, "Keep", "k", version="2", is_init=True).status == 200


def test_initialising_what_needs_none_is_refused(state: MemoryState) -> None:
    """Fabric's words."""
    result = call(state, "Keep", "k", required=False, is_init=True)
    assert result.status == 400
    assert (
        "chaincode 'ledgered' does not require initialization but called as init" in result.message
    )


def test_query_may_initialise(state: MemoryState) -> None:
    """The key is the node's doing, not the function's."""
    result = call(state, "Answer", is_init=True)
    assert result.status == 200
    assert result.namespaces == ("ledgered",)
