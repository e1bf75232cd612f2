"""What `_lifecycle` refuses to define, and what a node agrees to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fabric_protos.common import policies_pb2
from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.contract import Creator
from chaincode.simulator import Chaincode, Invocation, SimulationResult, Simulator
from chaincode.system import LIFECYCLE, Lifecycle, load_definition
from ledger.state.ports import StateReader
from ledger.state.version import Version
from ledger.transactions.rwset import decode_tx_rwset
from tests.support.memory_state import MemoryState
from tests.support.toy_package import define

POLICY = policy_pb2.ApplicationPolicy(
    signature_policy=policies_pb2.SignaturePolicyEnvelope(version=0)
).SerializeToString()


class OneVersion:
    """A node with toy and its sister in version 1 and 2."""

    def offers(self, name: str, version: str) -> bool:
        return name in ("toy", "sister") and version in ("1", "2")


class OnlyLifecycle:
    def __init__(self) -> None:
        self.lifecycle = Lifecycle(OneVersion())

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        return self.lifecycle if name == LIFECYCLE else None

    def explain(self, name: str, state: StateReader) -> str:
        return f"chaincode {name} not found"


def call(state: MemoryState, *args: bytes) -> SimulationResult:
    invocation = Invocation(
        "qist", "ab" * 32, LIFECYCLE, args, Creator("BankMSP"), datetime(2026, 1, 1, tzinfo=UTC)
    )
    return Simulator(OnlyLifecycle()).simulate(state, invocation)


def definition_of_toy(**changes: object) -> bytes:
    """Return the arguments of the first definition of toy, with changes."""
    fields = {"sequence": 1, "name": "toy", "version": "1", "validation_parameter": POLICY}
    raw: bytes = lifecycle_pb2.CommitChaincodeDefinitionArgs(
        **(fields | changes)
    ).SerializeToString()
    return raw


def commit(state: MemoryState, **changes: object) -> SimulationResult:
    """Ask for the first definition of toy, with changes."""
    return call(state, b"CommitChaincodeDefinition", definition_of_toy(**changes))


def commit_all(state: MemoryState, *definitions: bytes) -> SimulationResult:
    """Ask for several definitions in one transaction."""
    return call(state, b"CommitChaincodeDefinitions", *definitions)


def write(state: MemoryState, result: SimulationResult) -> None:
    """Commit what a simulation wrote."""
    for each in decode_tx_rwset(result.rwset).namespaces[0].writes:
        state.put(LIFECYCLE, each.key, each.value, Version(1, 0))


def test_definition_that_names_no_plugins_gets_fabrics() -> None:
    """Empty plugins and an empty policy become Fabric's defaults."""
    state = MemoryState()
    result = commit(state, validation_parameter=b"")
    assert (result.status, result.namespaces) == (200, (LIFECYCLE,))
    write(state, result)
    definition = load_definition(state, "toy")
    assert definition is not None
    assert definition.endorsement_plugin == "escc"
    assert definition.validation_plugin == "vscc"
    policy = policy_pb2.ApplicationPolicy.FromString(definition.policy)
    assert policy.channel_config_policy_reference == "/Channel/Application/Endorsement"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "invalid chaincode name"),
        ({"name": "-toy"}, "invalid chaincode name"),
        ({"name": "to.y"}, "invalid chaincode name"),
        ({"name": "t" * 65}, "invalid chaincode name"),
        ({"name": "qscc"}, "name of a system chaincode"),
        ({"version": ""}, "invalid chaincode version"),
        ({"version": "1 0"}, "invalid chaincode version"),
        ({"version": "3"}, "not agreed to by this org"),
        ({"name": "other"}, "not agreed to by this org"),
        ({"endorsement_plugin": "mine"}, "plugins that no node has"),
        ({"validation_plugin": "mine"}, "plugins that no node has"),
        ({"init_required": True}, "requires an Init call"),
        ({"validation_parameter": b"\xff\xff"}, "is no ApplicationPolicy"),
        ({"sequence": 0}, "requested sequence is 0, but new definition must be sequence 1"),
        ({"sequence": 2}, "requested sequence is 2, but new definition must be sequence 1"),
        ({"sequence": -1}, "requested sequence is -1, but"),
        ({"collections": {"config": [{"static_collection_config": {"name": "_x"}}]}},
         "invalid collection name"),
        ({"collections": {"config": [{"static_collection_config": {"name": "x"}}] * 2}},
         "found duplicate"),
    ],
)  # fmt: skip
def test_definition_that_could_not_be_used_is_refused(
    changes: dict[str, object], words: str
) -> None:
    """Names, plugins, policy, sequence and version are checked before anything is written."""
    result = commit(MemoryState(), **changes)
    assert 400 <= result.status < 500
    assert words in result.message
    assert result.rwset == b""


def test_definition_that_stands_is_not_defined_again() -> None:
    """The first definition stays; neither sequence 1 nor the next is taken."""
    state = MemoryState()
    write(state, commit(state))
    again, following = commit(state), commit(state, sequence=2, version="2")
    assert again.status == following.status == 409
    assert "requested sequence is 1, but new definition must be sequence 2" in again.message
    assert "version 1 is defined already" in following.message


def test_two_first_definitions_conflict_by_what_they_read() -> None:
    """Metadata and sequence are read as absent, so the second of two in one block is invalid."""
    state = MemoryState()
    first, second = commit(state), commit(state, version="2")
    assert second.status == 200
    write(state, first)
    assert state.conflicts(second)


def test_several_definitions_write_what_each_alone_would() -> None:
    """One transaction reads and writes, for each contract, what a definition alone does."""
    together = commit_all(MemoryState(), definition_of_toy(), definition_of_toy(name="sister"))
    assert (together.status, together.payload) == (200, b"")
    (found,) = decode_tx_rwset(together.rwset).namespaces
    alone = [
        decode_tx_rwset(commit(MemoryState(), name=name).rwset).namespaces[0]
        for name in ("sister", "toy")
    ]
    assert sorted(found.reads, key=str) == sorted((*alone[0].reads, *alone[1].reads), key=str)
    assert sorted(found.writes, key=str) == sorted((*alone[0].writes, *alone[1].writes), key=str)


def test_one_definition_among_several_is_what_fabrics_function_writes() -> None:
    """With one argument both functions leave the same read/write set."""
    assert commit_all(MemoryState(), definition_of_toy()).rwset == commit(MemoryState()).rwset


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (definition_of_toy(name="sister", version="3"), "definition of sister: chaincode"),
        (definition_of_toy(name="sister", sequence=2), "new definition must be sequence 1"),
        (definition_of_toy(), "the definition of toy: is asked for twice in one transaction"),
        (b"\xff", "the argument: failed to decode input arg"),
    ],
)
def test_one_definition_that_is_refused_takes_the_others_with_it(second: bytes, words: str) -> None:
    """All or nothing: the refusal names the one that is wrong, and nothing is written."""
    result = commit_all(MemoryState(), definition_of_toy(), second)
    assert 400 <= result.status < 500
    assert words in result.message
    assert result.rwset == b""


def test_several_definitions_of_which_one_stands_are_refused() -> None:
    """Each is under the rules of a definition alone."""
    state = MemoryState()
    write(state, commit(state))
    result = commit_all(state, definition_of_toy(name="sister"), definition_of_toy())
    assert result.status == 409
    assert "the definition of toy" in result.message


def test_call_for_several_definitions_without_any_is_refused() -> None:
    """A transaction that defines nothing is a mistake."""
    result = commit_all(MemoryState())
    assert result.status == 400
    assert "requires at least one argument" in result.message


@pytest.mark.parametrize("function", ["CommitChaincodeDefinition", "QueryChaincodeDefinition"])
@pytest.mark.parametrize("args", [(), (b"\xff",), (b"", b"")])
def test_arguments_that_cannot_be_read_are_refused(function: str, args: tuple[bytes, ...]) -> None:
    """None, two, or bytes that are no protobuf."""
    result = call(MemoryState(), function.encode(), *args)
    assert result.status == 400
    assert "argument" in result.message


def test_function_that_comes_with_votes_is_not_offered() -> None:
    """Approvals are not counted here, and nothing pretends that they were."""
    result = call(MemoryState(), b"ApproveChaincodeDefinitionForMyOrg", b"")
    assert result.status == 404
    assert "not found" in result.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metadata", b"\xff"),
        ("metadata", b""),
        ("fields/Sequence", b"\xff"),
        ("fields/EndorsementInfo", b"\xff"),
        ("fields/ValidationInfo", b"\x12\x02\xff\xff"),
        ("fields/Collections", b"\x12\x01\xff"),
    ],
)
def test_definition_that_cannot_be_read_defines_nothing(field: str, value: bytes) -> None:
    """Bytes that are no definition define nothing, and reading them never fails."""
    state = MemoryState()
    define(state, "toy", "1")
    assert load_definition(state, "toy") is not None
    kind, _, name = field.partition("/")
    key = f"namespaces/{kind}/toy" + (f"/{name}" if name else "")
    state.put(LIFECYCLE, key, value, Version(9, 0))
    assert load_definition(state, "toy") is None
