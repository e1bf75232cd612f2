"""`_lifecycle` against the recorded chain: the same arguments, the same keys and bytes."""

from __future__ import annotations

import base64
import json
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

from chaincode.simulator import SimulationResult
from chaincode.system import LIFECYCLE, load_definition
from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from ledger.transactions.private import TxPrivate, decode_private_rwset, decode_tx_private
from ledger.transactions.rwset import NamespaceRWSet, decode_tx_rwset
from tests.support.consortium import MEMBERS, NOW, Consortium
from tests.support.memory_state import MemoryState

VECTORS = Path(__file__).parent / "fabric-3.1.5-raft"
COMMITS = {(2, 0), (2, 1), (3, 0), (52, 0)}


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


def private_of(block: int, tx: int) -> TxPrivate:
    """Return the private write sets of an approval that its own organisation's peer had."""
    for path in (VECTORS / "pvtdata").glob(f"*/{block:06d}-{tx}.pvtrwset"):
        return decode_tx_private(path.read_bytes())
    return ()


class Recorded(Consortium):
    """The recorded organisations, whose state is that of the recording before a block."""

    def __init__(self, height: int) -> None:
        super().__init__(MEMBERS)
        self.channel_id = "qist-raft"
        for block, tx in ((1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (2, 4), (3, 0), (51, 0),
                          (51, 1), (51, 2), (52, 0)):  # fmt: skip
            if block < height:
                self._apply(block, tx)

    def _apply(self, block: int, tx: int) -> None:
        version = Version(block, tx)
        _, rwset = recorded(block, tx)
        for write in rwset.writes:
            self.state.put(LIFECYCLE, write.key, write.value, version)
        for each in rwset.collections:
            for hashed in each.hashed_writes:
                entry = VersionedValue(hashed.value_hash, version)
                self.state.put_hashed(LIFECYCLE, each.collection, hashed.key_hash, entry)
        for private in private_of(block, tx):
            for write in decode_private_rwset(private.rwset).writes:
                self.state.put_private(
                    LIFECYCLE, private.collection, write.key, write.value, version
                )

    def again(self, block: int, tx: int, msp_id: str) -> SimulationResult:
        """Run a recorded call on the node of an organisation."""
        args, _ = recorded(block, tx)
        return self.call(msp_id, args[0].decode(), *args[1:])


def recorded_state() -> MemoryState:
    """Return `_lifecycle` as it stands at the end of the recording."""
    state = MemoryState()
    for entry in json.loads((VECTORS / "state.json").read_bytes())["public"][LIFECYCLE]:
        value = base64.b64decode(entry["value"])
        state.put(LIFECYCLE, entry["key"], value, Version(*entry["version"]))
    return state


@pytest.mark.parametrize(
    ("block", "tx", "msp_id"),
    [
        pytest.param(1, 0, "BankMSP", id="first approval"),
        pytest.param(1, 1, "PtaMSP", id="second approval"),
        pytest.param(1, 2, "OperatorMSP", id="third approval"),
        pytest.param(2, 0, "BankMSP", id="commit with collections, too few"),
        pytest.param(2, 1, "PtaMSP", id="commit with collections"),
        pytest.param(2, 2, "BankMSP", id="approval without collections"),
        pytest.param(2, 3, "PtaMSP", id="approval without collections, second"),
        pytest.param(3, 0, "OperatorMSP", id="commit without collections"),
        pytest.param(51, 0, "BankMSP", id="approval of an upgrade"),
        pytest.param(51, 2, "OperatorMSP", id="approval of an upgrade, third"),
        pytest.param(52, 0, "BankMSP", id="upgrade"),
    ],
)
def test_recorded_call_leaves_the_recorded_sets(block: int, tx: int, msp_id: str) -> None:
    """Reads and writes of `_lifecycle`, public, hashed and plain, are those of Fabric's peer.

    Its peer also looks for the older kind of contract, in the namespace `lscc`.
    """
    result = Recorded(block).again(block, tx, msp_id)
    _, expected = recorded(block, tx)
    assert (result.status, result.message, result.payload) == (200, "", b"")
    (found,) = decode_tx_rwset(result.rwset).namespaces
    assert found == expected
    assert (result.chaincode, result.version) == (LIFECYCLE, "syscc")
    private = private_of(block, tx)
    if private:
        assert decode_tx_private(result.private) == private
    else:
        assert bool(result.private) == (block in (1, 2, 51) and (block, tx) not in COMMITS)


def test_recorded_commit_without_own_approval_is_refused() -> None:
    """An organisation that has not approved says so in Fabric's words, and the same recorded
    arguments are refused under another sequence.
    """
    world = Recorded(2)
    world.channel.member_ids = (*MEMBERS, "MakerMSP")
    result = world.again(2, 1, "MakerMSP")
    assert result.status == 400
    assert "chaincode definition not agreed to by this org (MakerMSP)" in result.message
    late = Recorded(4).again(2, 1, "BankMSP")
    assert late.status == 409
    assert "requested sequence is 1, but new definition must be sequence 2" in late.message


def test_state_after_the_recorded_calls_is_that_of_the_recording() -> None:
    """What the calls write, one after the other, gives the recorded state of `_lifecycle`."""
    world = Recorded(1)
    for block, tx, msp_id in (
        (1, 0, "BankMSP"), (1, 1, "PtaMSP"), (1, 2, "OperatorMSP"), (2, 1, "BankMSP"),
        (2, 2, "BankMSP"), (2, 3, "PtaMSP"), (2, 4, "OperatorMSP"), (3, 0, "BankMSP"),
        (51, 0, "BankMSP"), (51, 1, "PtaMSP"), (51, 2, "OperatorMSP"), (52, 0, "BankMSP"),
    ):  # fmt: skip
        result = world.again(block, tx, msp_id)
        world.state.apply(result, "ab" * 32, NOW, Version(block, tx))
    dump = json.loads((VECTORS / "state.json").read_bytes())
    public = {
        entry["key"]: (base64.b64decode(entry["value"]), tuple(entry["version"]))
        for entry in dump["public"][LIFECYCLE]
    }
    found = {
        key: (entry.value, tuple(entry.version))
        for key, entry in world.state.range(LIFECYCLE, "", "")
    }
    assert found == public


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


def test_query_of_definition_answers_what_was_committed() -> None:
    """QueryChaincodeDefinition gives back what the recorded commit said, and who approved it."""
    args, _ = recorded(3, 0)
    asked = lifecycle_pb2.CommitChaincodeDefinitionArgs.FromString(args[1])
    query = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="policybook")
    result = Recorded(71).call("BankMSP", "QueryChaincodeDefinition", query)
    assert result.status == 200
    found = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(result.payload)
    for field in ("sequence", "version", "endorsement_plugin", "validation_plugin"):
        assert getattr(found, field) == getattr(asked, field)
    assert found.validation_parameter == asked.validation_parameter
    assert dict(found.approvals) == {"BankMSP": True, "OperatorMSP": True, "PtaMSP": True}
    assert not result.writes


def test_query_of_definitions_lists_all_by_name() -> None:
    """QueryChaincodeDefinitions lists every definition, sorted by name."""
    result = Recorded(71).call("BankMSP", "QueryChaincodeDefinitions", b"")
    found = lifecycle_pb2.QueryChaincodeDefinitionsResult.FromString(result.payload)
    listed = [(each.name, each.sequence) for each in found.chaincode_definitions]
    assert listed == [("agreement", 2), ("policybook", 1)]
    assert len(found.chaincode_definitions[0].collections.config) == 2


def test_query_of_unknown_definition_answers_404() -> None:
    """Fabric answers 404 and says that the namespace is not defined."""
    query = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="nothing")
    result = Recorded(71).call("BankMSP", "QueryChaincodeDefinition", query)
    assert result.status == 404
    assert "namespace nothing: is not defined" in result.message
