"""What a simulation records, refuses and answers."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from fabric_protos.peer import chaincode_event_pb2

from chaincode.contract import Context, Contract, ContractRefusal, Creator, query, transaction
from chaincode.simulator import Invocation, Limits, SimulationResult, Simulator
from chaincode.system.functions import SystemChaincode
from ledger.errors import CorruptionError, Unavailable
from ledger.state.composite import create_composite_key
from ledger.state.ports import HistoryEntry
from ledger.state.version import Version
from ledger.transactions.rwset import (
    KVRead,
    KVWrite,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
    decode_tx_rwset,
    encode_metadata,
)
from ledger.validation.ranges import RangeResults
from tests.support.memory_state import MemoryState
from tests.support.operations import Operations, Others, Registry, operate, simulate
from tests.support.toy_package import define

SEQUENCE = "namespaces/fields/{}/Sequence"


@pytest.fixture
def state() -> MemoryState:
    """Keys k000 to k119 of `ops`, one composite family, and `others` beside it."""
    state = MemoryState()
    define(state, "ops", "1")
    define(state, "others", "1")
    for number in range(120):
        state.put("ops", f"k{number:03d}", b"v%d" % number, Version(2, number))
    for attribute in ("a", "b"):
        key = create_composite_key("pair", [attribute])
        state.put("ops", key, attribute.encode(), Version(3, 0))
    state.put("others", "far", b"away", Version(4, 2))
    return state


def run(
    state: MemoryState, *operations: list[Any], function: str = "Run", **options: Any
) -> SimulationResult:
    return simulate(state, function.encode(), json.dumps(operations).encode(), **options)


def answers(result: SimulationResult) -> list[Any]:
    assert result.status == 200, result.message
    found: list[Any] = json.loads(result.payload)
    return found


def recorded(result: SimulationResult, namespace: str = "ops") -> NamespaceRWSet:
    assert result.status == 200, result.message
    sets = {each.namespace: each for each in decode_tx_rwset(result.rwset).namespaces}
    return sets.get(namespace, NamespaceRWSet(namespace))


# ---- reads and writes


def test_read_is_recorded_once_with_its_version(state: MemoryState) -> None:
    """One by one, in bulk or again: each key once, with the version found, sorted by key."""
    result = run(state, ["get", "k007"], ["many", ["k003", "none", "k007"]], ["get", "k003"])
    assert answers(result) == ["v7", ["v3", None, "v7"], "v3"]
    assert recorded(result).reads == (
        KVRead("k003", Version(2, 3)),
        KVRead("k007", Version(2, 7)),
        KVRead("none", None),
    )
    assert (result.writes, result.namespaces) == (False, ())


def test_sequence_of_called_contract_is_read_first(state: MemoryState) -> None:
    """As Fabric's peers do, so that transactions in flight over a new definition fall to MVCC."""
    result = run(state)
    (lifecycle,) = decode_tx_rwset(result.rwset).namespaces
    assert lifecycle == NamespaceRWSet(
        "_lifecycle", (KVRead(SEQUENCE.format("ops"), Version(1, 1)),)
    )


def test_own_writes_are_not_read(state: MemoryState) -> None:
    """Reads and ranges give the committed state."""
    result = run(
        state, ["put", "k000", "new"], ["del", "k001"], ["put", "k0005", "between"],
        ["get", "k000"], ["range", "k000", "k002"],
    )  # fmt: skip
    assert answers(result)[3:] == ["v0", [["k000", "v0"], ["k001", "v1"]]]


def test_last_write_of_a_key_wins_and_keys_are_sorted(state: MemoryState) -> None:
    """By code points, which is the order of UTF-8; an empty value is a delete."""
    result = run(
        state, ["put", "\U0001f600", "x"], ["put", "\uffff", "x"], ["put", "b", "1"],
        ["put", "a", "1"], ["del", "a"], ["put", "b", "2"], ["del", "c"], ["put", "c", "3"],
        ["put", "d", ""],
    )  # fmt: skip
    assert recorded(result).writes == (
        KVWrite("a", True, b""),
        KVWrite("b", False, b"2"),
        KVWrite("c", False, b"3"),
        KVWrite("d", True, b""),
        KVWrite("\uffff", False, b"x"),
        KVWrite("\U0001f600", False, b"x"),
    )
    assert (result.writes, result.namespaces) == (True, ("ops",))


def test_policy_of_key_is_written_and_read_as_metadata(state: MemoryState) -> None:
    """Reading it reads the key; writing replaces the metadata; None takes it away."""
    metadata = encode_metadata([("VALIDATION_PARAMETER", b"peers")])
    state.put("ops", "guarded", b"v", Version(5, 5), metadata)
    result = run(
        state, ["get policy", "guarded"], ["get policy", "k000"], ["get policy", "none"],
        ["policy", "k001", "mine"], ["policy", "k002", None],
    )  # fmt: skip
    assert answers(result)[:3] == ["peers", None, None]
    assert recorded(result).reads == (
        KVRead("guarded", Version(5, 5)),
        KVRead("k000", Version(2, 0)),
        KVRead("none", None),
    )
    assert recorded(result).metadata_writes == (
        MetadataWrite("k001", (("VALIDATION_PARAMETER", b"mine"),)),
        MetadataWrite("k002", (("VALIDATION_PARAMETER", b""),)),
    )
    assert result.writes


@pytest.mark.parametrize(
    "operation",
    [["put", "k", "v"], ["del", "k"], ["policy", "k", "p"],
     ["call", "others", "Run", '[["put","k","v"]]']],
)  # fmt: skip
def test_query_that_writes_is_refused(state: MemoryState, operation: list[Any]) -> None:
    """Whatever the way, also through a contract it calls."""
    result = run(state, operation, function="Look")
    assert result.status == 400
    assert "a query: must not write" in result.message
    assert result.rwset == b""


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (["put", "", "v"], "the empty key"),
        (["del", ""], "the empty key"),
        (["policy", "", "p"], "the empty key"),
        (["put", "x" * 4097, "v"], "more than 4096 bytes"),
        (["put", "é" * 2049, "v"], "more than 4096 bytes"),
        (["event", "", "p"], "needs a name"),
        (["event", "x" * 257, "p"], "needs a name"),
        (["range", "\x00a", ""], "composite keys"),
        (["page", "", "\x00", 1, ""], "composite keys"),
        (["page", "", "", 1, "\x00a"], "composite keys"),
        (["composite page", "pair", [], 1, "k000"], "does not belong"),
        (["page", "", "", 0, ""], "page size"),
        (["page", "", "", 10_001, ""], "page size"),
        (["composite range", "pa\x00ir", []], "leave those characters out"),
        (["composite range", "pair", ["\U0010ffff"]], "leave those characters out"),
    ],
)  # fmt: skip
def test_key_or_name_that_cannot_be_is_refused(
    state: MemoryState, operation: list[Any], words: str
) -> None:
    """A definite refusal that says what is wrong with it."""
    result = run(state, operation)
    assert (result.status, result.rwset) == (400, b"")
    assert words in result.message


HALF = "half \ud800"


class Halves(Contract):
    """Uses texts that no UTF-8 can hold."""

    name = "ops"

    @transaction
    def run(self, ctx: Context, operation: str) -> None:
        half: dict[str, list[Any]] = {
            "put": ["put", HALF, "v"],
            "del": ["del", HALF],
            "policy": ["policy", HALF, "p"],
            "event": ["event", HALF, "p"],
            "get": ["get", HALF],
            "many": ["many", ["k", HALF]],
            "range": ["range", HALF, ""],
            "history": ["history", HALF],
            "get policy": ["get policy", HALF],
            "read": ["read", "others", "get", HALF],
        }
        operate(ctx, *half[operation])

    @transaction
    def refuse(self, ctx: Context) -> None:
        raise ContractRefusal(HALF, "is half", HALF)

    @query
    def answer(self, ctx: Context) -> str:
        return HALF


@pytest.mark.parametrize(
    "operation",
    ["put", "del", "policy", "event", "get", "many", "range", "history", "get policy", "read"],
)
def test_text_that_no_message_can_hold_is_refused(state: MemoryState, operation: str) -> None:
    """Half of a surrogate pair is refused by the stub, not found when bytes are made."""
    result = simulate(state, b"Run", operation.encode(), registry=Registry(Halves(), Others()))
    assert result.status == 400
    assert "half of a character" in result.message


def test_refusal_is_always_printable(state: MemoryState) -> None:
    """A refusal's words can be put into a message whatever the contract wrote into them."""
    result = simulate(state, b"Refuse", registry=Registry(Halves()))
    assert result.status == 400
    assert "is half" in result.message
    result.message.encode("utf-8")
    assert simulate(state, b"Answer", registry=Registry(Halves())).status == 500


# ---- ranges


@pytest.mark.parametrize(("count", "raw"), [(0, True), (1, True), (50, True), (51, False),
                                            (102, False), (120, False)])  # fmt: skip
def test_range_to_its_end_is_recorded_raw_or_as_hashes(
    state: MemoryState, count: int, raw: bool
) -> None:
    """Up to 50 results one by one, above as Fabric's tree of hashes; the end is the asked one."""
    end = f"k{count:03d}"
    result = run(state, ["range", "k000", end])
    assert len(answers(result)[0]) == count
    (query,) = recorded(result).range_queries
    assert (query.start_key, query.end_key, query.exhausted) == ("k000", end, True)
    expected = RangeResults()
    for number in range(count):
        expected.add(f"k{number:03d}", Version(2, number))
    reads, merkle = expected.finish()
    assert (query.raw_reads, query.merkle) == (reads or None, merkle)
    assert (query.merkle is None) == raw


def test_range_cut_short_protects_what_was_taken(state: MemoryState) -> None:
    """The record ends with the last key that the contract took; reads after it do not count."""
    result = run(state, ["range", "k010", "", 3])
    reads = tuple(KVRead(f"k{number:03d}", Version(2, number)) for number in (10, 11, 12))
    assert recorded(result).range_queries == (RangeQuery("k010", "k012", False, reads, None),)
    state.put("ops", "k0125", b"later", Version(9, 0))
    assert not state.conflicts(result)
    state.put("ops", "k0115", b"inside", Version(9, 1))
    assert state.conflicts(result)


def test_range_of_which_nothing_was_taken_is_left_out(state: MemoryState) -> None:
    """What was not looked at needs no protection."""
    assert recorded(run(state, ["range", "k010", "", 0])).range_queries == ()


def test_equal_ranges_are_recorded_once_in_the_order_made(state: MemoryState) -> None:
    """Ranges are not sorted; the second of two equal ones adds nothing."""
    result = run(state, ["range", "k1", "k2"], ["range", "k0", "k00"], ["range", "k1", "k2"])
    starts = [query.start_key for query in recorded(result).range_queries]
    assert starts == ["k1", "k0"]


def test_range_without_bounds_stays_among_simple_keys(state: MemoryState) -> None:
    """Composite keys are a space of their own."""
    result = run(state, ["range", "", ""])
    assert [key for key, _ in answers(result)[0]] == [f"k{number:03d}" for number in range(120)]
    assert recorded(result).range_queries[0].start_key == "\x01"


def test_composite_range_gives_its_family(state: MemoryState) -> None:
    """All keys that begin with the given parts, recorded under Fabric's bounds."""
    result = run(state, ["composite range", "pair", []])
    assert [value for _, value in answers(result)[0]] == ["a", "b"]
    (query,) = recorded(result).range_queries
    assert (query.start_key, query.end_key) == ("\x00pair\x00", "\x00pair\x00\U0010ffff")


def test_pages_together_give_the_range(state: MemoryState) -> None:
    """Each page begins at the bookmark of the one before; the last one has none."""
    keys: list[str] = []
    bookmark = ""
    for _ in range(5):
        found, bookmark = answers(run(state, ["page", "k", "", 25, bookmark]))[0]
        keys += found
    assert (keys, bookmark) == ([f"k{number:03d}" for number in range(120)], "")
    found, bookmark = answers(run(state, ["composite page", "pair", [], 1, ""]))[0]
    assert (len(found), bookmark) == (1, create_composite_key("pair", ["b"]))
    found, bookmark = answers(run(state, ["composite page", "pair", [], 1, bookmark]))[0]
    assert (found, bookmark) == ([create_composite_key("pair", ["b"])], "")


@pytest.mark.parametrize("turned", [False, True])
def test_page_in_a_transaction_that_writes_is_refused(state: MemoryState, turned: bool) -> None:
    """Before a write or after it: pages are for transactions that only read."""
    operations: list[list[Any]] = [["page", "k", "", 5, ""], ["put", "k", "v"]]
    result = run(state, *(reversed(operations) if turned else operations))
    assert (result.status, result.rwset) == (400, b"")
    assert "paginated query" in result.message or "a page after a write" in result.message


def test_history_is_newest_first_and_not_recorded(state: MemoryState) -> None:
    """History gives committed changes and leaves no read behind."""
    changes = [HistoryEntry(f"{n}" * 64, Version(n, 0), b"%d" % n, n == 2, None) for n in (1, 2)]
    state._history[("ops", "kept")] = changes
    result = run(state, ["history", "kept"])
    assert answers(result)[0] == [["2" * 64, "2", True], ["1" * 64, "1", False]]
    assert recorded(result) == NamespaceRWSet("ops")


# ---- other contracts


def test_reading_of_another_contract_is_recorded_under_it(state: MemoryState) -> None:
    """With the sequence of its definition, as a call would be."""
    result = run(state, ["read", "others", "get", "far"])
    assert answers(result) == ["away"]
    assert recorded(result, "others").reads == (KVRead("far", Version(4, 2)),)
    assert [read.key for read in recorded(result, "_lifecycle").reads] == [
        SEQUENCE.format("ops"),
        SEQUENCE.format("others"),
    ]


def test_call_of_another_contract_writes_in_its_namespace(state: MemoryState) -> None:
    """Reads and writes go under the called contract; its event is dropped."""
    inner = json.dumps([["get", "far"], ["put", "far", "near"], ["event", "Inner", "x"]])
    result = run(state, ["event", "Outer", "y"], ["call", "others", "Run", inner])
    assert answers(result)[1] == [200, "", '["away",null,null]']
    assert recorded(result, "others").writes == (KVWrite("far", False, b"near"),)
    assert result.namespaces == ("others",)
    assert result.event is not None
    event = chaincode_event_pb2.ChaincodeEvent.FromString(result.event)
    assert (event.chaincode_id, event.event_name, event.payload) == ("ops", "Outer", b"y")
    assert event.tx_id == "ab" * 32


@pytest.mark.parametrize("name", ["nothing", "qscc"])
def test_call_of_what_cannot_be_called_answers_500(state: MemoryState, name: str) -> None:
    """An unknown contract, or one of the system, is a response that the caller sees."""
    system = SystemChaincode("qscc", {"Run": lambda _ctx, _args: b"x"}, {})
    result = run(state, ["call", name, "Run", "[]"], registry=Registry(Operations(), system))
    (status, message, _), = answers(result)  # fmt: skip
    assert status == 500
    assert name in message


def test_reading_of_undefined_contract_is_refused(state: MemoryState) -> None:
    """Nothing can be read under a name that has no definition."""
    result = run(state, ["read", "nothing", "get", "x"])
    assert result.status == 400
    assert "is not defined on this channel" in result.message


def test_contracts_calling_each_other_without_end_are_refused(state: MemoryState) -> None:
    """The depth of calls is bounded."""

    class Again(Contract):
        name = "ops"

        @transaction
        def run(self, ctx: Context) -> None:
            ctx.stub.invoke_chaincode("ops", [b"Run"])

    result = simulate(state, b"Run", registry=Registry(Again()))
    assert result.status == 413
    assert "more than 8 deep" in result.message


def test_call_into_another_channel_is_refused(state: MemoryState) -> None:
    """A contract sees its own channel."""

    class Far(Contract):
        name = "ops"

        @transaction
        def run(self, ctx: Context) -> None:
            ctx.stub.invoke_chaincode("others", [b"Run"], "elsewhere")

    result = simulate(state, b"Run", registry=Registry(Far(), Others()))
    assert result.status == 400
    assert "only contracts of its own channel" in result.message


# ---- answers


def test_unknown_contract_answers_as_fabric(state: MemoryState) -> None:
    """Status 500, no version, Fabric's words."""
    result = simulate(state, b"Run", contract="nothing")
    assert (result.status, result.version, result.rwset) == (500, "", b"")
    assert result.message.startswith(
        "make sure the chaincode nothing has been successfully defined on channel qist"
    )


def test_contract_without_definition_is_not_run() -> None:
    """A contract that is installed but not defined in the state has no sequence to read."""
    assert run(MemoryState(), ["put", "k", "v"]).status == 500


def test_refusal_keeps_status_and_words_and_records_nothing(state: MemoryState) -> None:
    """A refusal after a write leaves no write behind."""

    class Refusing(Contract):
        name = "ops"

        @transaction
        def run(self, ctx: Context) -> None:
            ctx.stub.put_state("k", b"v")
            ctx.stub.set_event("e", b"p")
            raise ContractRefusal("case C-1", "is closed (rulebook 4)", "open another", status=409)

    result = simulate(state, b"Run", registry=Registry(Refusing()))
    assert result.status == 409
    assert result.message == "case C-1: is closed (rulebook 4); open another"
    assert (result.rwset, result.event, result.writes, result.namespaces) == (b"", None, False, ())
    assert result.version == "1"


def test_broken_contract_answers_500_without_what_it_held(
    state: MemoryState, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither answer nor log quotes an exception: it may hold somebody's number."""

    class Broken(Contract):
        name = "ops"

        @transaction
        def run(self, ctx: Context, number: str) -> None:
            raise KeyError(number)

        @transaction
        def undefined(self, ctx: Context, number: str) -> list[object]:
            return [{number}]

        @transaction
        def text(self, ctx: Context) -> None:
            ctx.stub.put_state("k", "text")  # type: ignore[arg-type]

        @transaction
        def event(self, ctx: Context) -> None:
            ctx.stub.set_event("k", "text")  # type: ignore[arg-type]

    secret = "35202-1234567-1"
    calls = [(b"Run", secret.encode()), (b"Undefined", secret.encode()), (b"Text",), (b"Event",)]
    with caplog.at_level(logging.DEBUG):
        results = [simulate(state, *args, registry=Registry(Broken())) for args in calls]
    kinds = ["KeyError", "ContractDefinitionError", "TypeError", "TypeError"]
    for result, kind in zip(results, kinds, strict=True):
        assert (result.status, result.rwset) == (500, b"")
        assert f"contract ops broke ({kind})" in result.message
        assert secret not in result.message
    assert "test_simulator.py" in caplog.text
    assert "tx=" + "ab" * 32 in caplog.text
    assert secret not in caplog.text


@pytest.mark.parametrize("error", [CorruptionError("damaged"), Unavailable("closed")])
def test_fault_of_the_node_is_raised(state: MemoryState, error: Exception) -> None:
    """A state that cannot be read is not the contract's answer."""

    class Damaged(MemoryState):
        def get_many(self, namespace: str, keys: Any) -> Any:
            raise error

    damaged = Damaged()
    define(damaged, "ops", "1")
    with pytest.raises(type(error)):
        run(damaged, ["many", ["k"]])


@pytest.mark.parametrize(
    ("limits", "operations", "words"),
    [
        (Limits(arguments_bytes=10), [["get", "k"]], "the arguments"),
        (Limits(reads=2), [["many", ["a", "b", "c"]]], "reads more than 2 keys"),
        (Limits(reads=2), [["get", "a"], ["get", "a"], ["get", "a"]], "reads more than 2 keys"),
        (Limits(reads=2), [["range", "k", ""]], "reads more than 2 keys"),
        (Limits(writes=2), [["put", "a", "x"], ["del", "b"], ["policy", "c", "p"]],
         "writes more than 2 keys"),
        (Limits(write_bytes=10), [["put", "a", "x" * 10]], "10 bytes"),
        (Limits(payload_bytes=10), [["range", "k", "k010"]], "the result"),
        (Limits(event_bytes=10), [["event", "e", "x" * 11]], "the event"),
    ],
)  # fmt: skip
def test_transaction_that_outgrows_a_limit_is_refused(
    state: MemoryState, limits: Limits, operations: list[list[Any]], words: str
) -> None:
    """Status 413, which limit it was, and what to do."""
    result = run(state, *operations, limits=limits)
    assert (result.status, result.rwset) == (413, b"")
    assert words in result.message


def test_transient_data_counts_as_argument(state: MemoryState) -> None:
    """A bound on arguments holds for what comes beside them, too."""
    limits = Limits(arguments_bytes=100)
    result = run(state, ["get", "k"], limits=limits, transient={"terms": b"x" * 100})
    assert result.status == 413


def test_context_gives_what_the_proposal_says(state: MemoryState) -> None:
    """Creator, channel, id, time and Pakistan's date; transient data by name."""

    class Asking(Contract):
        name = "ops"

        @query
        def run(self, ctx: Context) -> list[object]:
            assert ctx.has_transient("terms")
            assert not ctx.has_transient("none")
            return [
                ctx.creator.msp_id, ctx.creator.role, ctx.channel_id, ctx.tx_id, ctx.tx_time,
                ctx.tx_date, ctx.transient_json("terms", list[int]),
            ]  # fmt: skip

    invocation = Invocation(
        "qist", "cd" * 32, "ops", (b"Run",), Creator("PtaMSP", "x", {"qist.role": "auditor"}),
        datetime(2026, 3, 31, 20, 30, tzinfo=UTC), {"terms": b"[1]"},
    )  # fmt: skip
    result = Simulator(Registry(Asking())).simulate(state, invocation)
    assert json.loads(result.payload) == [
        "PtaMSP", "auditor", "qist", "cd" * 32, "2026-03-31T20:30:00Z", "2026-04-01", [1],
    ]  # fmt: skip
