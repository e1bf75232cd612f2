"""`_lifecycle` against the recorded chain: the same arguments, the same keys and bytes."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import (
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.contract import Creator
from chaincode.packages import PackageRegistry, PackageStore
from chaincode.simulator import Invocation, SimulationResult, Simulator
from chaincode.system import LIFECYCLE, Lifecycle, load_definition
from ledger.state.version import Version
from ledger.transactions.rwset import NamespaceRWSet, decode_tx_rwset
from tests.support.memory_state import MemoryState

VECTORS = Path(__file__).parent / "fabric-3.1.5-raft"


class Everything:
    """A node that has every contract installed."""

    def offers(self, name: str, version: str) -> bool:
        return True


def recorded(block: int, tx: int) -> tuple[tuple[bytes, ...], NamespaceRWSet]:
    """Return the arguments of a recorded transaction and its read/write set of `_lifecycle`."""
    raw = (VECTORS / "blocks" / f"{block:06d}.block").read_bytes()
    envelope = common_pb2.Envelope.FromString(common_pb2.Block.FromString(raw).data.data[tx])
    payload = common_pb2.Payload.FromString(envelope.payload)
    action = transaction_pb2.ChaincodeActionPayload.FromString(
        transaction_pb2.Transaction.FromString(payload.data).actions[0].payload
    )
    proposal = proposal_pb2.ChaincodeProposalPayload.FromString(action.chaincode_proposal_payload)
    spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(proposal.input).chaincode_spec
    response = proposal_response_pb2.ProposalResponsePayload.FromString(
        action.action.proposal_response_payload
    )
    results = proposal_pb2.ChaincodeAction.FromString(response.extension).results
    namespaces = decode_tx_rwset(results).namespaces
    return tuple(spec.input.args), next(n for n in namespaces if n.namespace == LIFECYCLE)


def call(state: MemoryState, tmp_path: Path, *args: bytes) -> SimulationResult:
    """Run a call of `_lifecycle`."""
    registry = PackageRegistry(PackageStore(tmp_path), [Lifecycle(Everything())])
    invocation = Invocation(
        "qist-raft",
        "ab" * 32,
        LIFECYCLE,
        args,
        Creator("BankMSP"),
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    return Simulator(registry).simulate(state, invocation)


def recorded_state() -> MemoryState:
    """Return `_lifecycle` as it stands at the end of the recording."""
    state = MemoryState()
    for entry in json.loads((VECTORS / "state.json").read_bytes())["public"][LIFECYCLE]:
        value = base64.b64decode(entry["value"])
        state.put(LIFECYCLE, entry["key"], value, Version(*entry["version"]))
    return state


@pytest.mark.parametrize(("block", "tx"), [(2, 0), (3, 0)], ids=["with collections", "without"])
def test_commit_of_first_definition_writes_fabrics_keys_and_bytes(
    block: int, tx: int, tmp_path: Path
) -> None:
    """For the recorded arguments, reads and writes of public keys are the recorded ones."""
    args, expected = recorded(block, tx)
    result = call(MemoryState(), tmp_path, *args)
    assert (result.status, result.message, result.payload) == (200, "", b"")
    (found,) = decode_tx_rwset(result.rwset).namespaces
    assert found.namespace == LIFECYCLE
    assert found.reads == expected.reads
    assert found.writes == expected.writes
    assert (result.chaincode, result.version) == (LIFECYCLE, "syscc")


def test_commit_of_next_sequence_is_refused_without_votes(tmp_path: Path) -> None:
    """The recorded second definition needed votes, which are not counted here: it is refused."""
    args, _ = recorded(52, 0)
    asked = lifecycle_pb2.CommitChaincodeDefinitionArgs.FromString(args[1])
    state = MemoryState()
    first, _ = recorded(2, 0)
    writes = decode_tx_rwset(call(state, tmp_path, *first).rwset).namespaces[0].writes
    for write in writes:
        state.put(LIFECYCLE, write.key, write.value, Version(2, 1))
    assert asked.sequence == 2
    result = call(state, tmp_path, *args)
    assert result.status == 409
    assert "is defined already" in result.message


def test_definitions_of_recording_are_read_as_written() -> None:
    """Both recorded definitions are found, with version, sequence and collections' policies."""
    state = recorded_state()
    agreement = load_definition(state, "agreement")
    policybook = load_definition(state, "policybook")
    assert agreement is not None
    assert policybook is not None
    assert (agreement.sequence, agreement.version) == (2, "2")
    assert (policybook.sequence, policybook.version) == (1, "1")
    assert agreement.validation_plugin == policybook.validation_plugin == "vscc"
    assert set(agreement.collections) == {"kyc", "score"}
    assert agreement.collections["kyc"]
    assert agreement.collections["score"] == b""
    assert policybook.collections == {}


def test_query_of_definition_answers_what_was_committed(tmp_path: Path) -> None:
    """QueryChaincodeDefinition gives back the arguments of the recorded commit."""
    args, _ = recorded(3, 0)
    asked = lifecycle_pb2.CommitChaincodeDefinitionArgs.FromString(args[1])
    query = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="policybook").SerializeToString()
    result = call(recorded_state(), tmp_path, b"QueryChaincodeDefinition", query)
    assert result.status == 200
    found = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(result.payload)
    for field in ("sequence", "version", "endorsement_plugin", "validation_plugin"):
        assert getattr(found, field) == getattr(asked, field)
    assert found.validation_parameter == asked.validation_parameter
    assert not result.writes


def test_query_of_definitions_lists_all_by_name(tmp_path: Path) -> None:
    """QueryChaincodeDefinitions lists every definition, sorted by name."""
    result = call(recorded_state(), tmp_path, b"QueryChaincodeDefinitions", b"")
    found = lifecycle_pb2.QueryChaincodeDefinitionsResult.FromString(result.payload)
    listed = [(each.name, each.sequence) for each in found.chaincode_definitions]
    assert listed == [("agreement", 2), ("policybook", 1)]
    assert len(found.chaincode_definitions[0].collections.config) == 2


def test_query_of_unknown_definition_answers_404(tmp_path: Path) -> None:
    """Fabric answers 404 and says that the namespace is not defined."""
    query = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="nothing").SerializeToString()
    result = call(recorded_state(), tmp_path, b"QueryChaincodeDefinition", query)
    assert result.status == 404
    assert "namespace nothing: is not defined" in result.message
