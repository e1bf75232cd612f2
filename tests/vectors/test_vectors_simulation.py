"""The simulator against the recorded chain: the same operations give the same read/write sets.

The recorded contract was a list of simple operations. Its operations are written here against our
stub and run on the state that the recording had when the transaction was endorsed; the read/write
set must be the recorded one, byte for byte. Left out: transactions over private data, those whose
sets were written by hand, and scans that the contract stopped, which we record by another rule.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2, policies_pb2
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer import (
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.message import DecodeError

from chaincode.contract import Context, Contract, Creator, transaction
from chaincode.simulator import (
    Chaincode,
    ContractChaincode,
    Invocation,
    SimulationResult,
    Simulator,
)
from ledger.state.ports import StateReader
from ledger.state.version import Version
from ledger.transactions.rwset import decode_tx_rwset
from tests.support.memory_state import MemoryState

VECTORS = Path(__file__).parent / "fabric-3.1.5-raft"
OPERATIONS = {
    "call", "clearvp", "cput", "crange", "del", "event", "fill", "get", "put", "putb64", "range",
    "setvp",
}  # fmt: skip
BY_HAND = {16, *range(25, 31), 64, 65, 66, 67, 68, 69, 70}
SIMULATED_BEHIND = 4
"""A recorded transaction was endorsed at most this many blocks before its own."""


class Recorded(Contract):
    """The recorded contract's operations."""

    name = "agreement"

    @transaction(name="run")
    def run(self, ctx: Context, operations: list[object]) -> str:
        done = [self.operate(ctx, *listed(operation)) for operation in operations]
        return "[" + ",".join(done) + "]"

    def operate(self, ctx: Context, operation: str, *args: str) -> str:
        stub = ctx.stub
        match operation, args:
            case "put", (key, value):
                stub.put_state(key, value.encode())
            case "putb64", (key, value):
                stub.put_state(key, b64decode(value))
            case "fill", (prefix, count, first):
                for number in range(int(first), int(first) + int(count)):
                    stub.put_state(f"{prefix}{number:03d}", f"v{number}".encode())
            case "cput", (kind, *attributes, value):
                stub.put_state(stub.create_composite_key(kind, attributes), value.encode())
            case "del", (key,):
                stub.del_state(key)
            case "event", (name, payload):
                stub.set_event(name, payload.encode())
            case "setvp", (key, *members):
                stub.set_state_validation_parameter(key, peers_of(members))
            case "clearvp", (key,):
                stub.set_state_validation_parameter(key, None)
            case "get", (key,):
                found = stub.get_state(key)
                return "null" if found is None else json.dumps(b64encode(found).decode())
            case "range", (start, end, *most):
                scan = stub.get_state_by_range(start, end)
                return entries(islice(scan, int(most[0])) if most else scan)
            case "crange", (kind, *attributes):
                return entries(stub.get_state_by_partial_composite_key(kind, attributes))
            case "call", (name, inner):
                response = stub.invoke_chaincode(name, [b"run", inner.encode()])
                return json.dumps(response.payload.decode())
            case _:
                raise AssertionError(operation)
        return "null"


class Policybook(Recorded):
    """The same program under its second name."""

    name = "policybook"


def listed(operation: object) -> list[Any]:
    """Return an operation as the list that it must be."""
    assert isinstance(operation, list)
    return operation


def entries(found: Any) -> str:
    """Return range results as the recorded program wrote them."""
    return json.dumps(
        [{"k": key, "v": b64encode(value).decode()} for key, value in found],
        separators=(",", ":"),
    )


def peers_of(members: list[str] | tuple[str, ...]) -> bytes:
    """Return a policy that asks a peer of every member, as the recorded program built it."""
    policy = policies_pb2.SignaturePolicyEnvelope()
    policy.rule.n_out_of.n = len(members)
    for number, member in enumerate(sorted(members)):
        policy.rule.n_out_of.rules.add(signed_by=number)
        role = msp_principal_pb2.MSPRole(msp_identifier=member, role=msp_principal_pb2.MSPRole.PEER)
        policy.identities.add(principal=role.SerializeToString())
    raw: bytes = policy.SerializeToString()
    return raw


class Both:
    """A registry of the two names, in the version that the state defines."""

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        kinds = {"agreement": Recorded, "policybook": Policybook}
        return ContractChaincode(kinds[name](), "1") if name in kinds else None

    def explain(self, name: str, state: StateReader) -> str:
        return "unknown"


class Transaction:
    """One recorded transaction of the program."""

    def __init__(self, envelope: bytes) -> None:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        if header.type != common_pb2.ENDORSER_TRANSACTION:
            raise ValueError("no endorser transaction")
        action = transaction_pb2.ChaincodeActionPayload.FromString(
            transaction_pb2.Transaction.FromString(payload.data).actions[0].payload
        )
        proposal = proposal_pb2.ChaincodeProposalPayload.FromString(
            action.chaincode_proposal_payload
        )
        spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(proposal.input).chaincode_spec
        response = proposal_response_pb2.ProposalResponsePayload.FromString(
            action.action.proposal_response_payload
        )
        endorsed = proposal_pb2.ChaincodeAction.FromString(response.extension)
        self.tx_id: str = header.tx_id
        self.name: str = spec.chaincode_id.name
        self.args = tuple(spec.input.args)
        self.results: bytes = endorsed.results
        self.events: bytes = endorsed.events
        self.payload: bytes = endorsed.response.payload

    def simulate(self, state: MemoryState) -> SimulationResult:
        """Run it again on a state."""
        return Simulator(Both()).simulate(
            state,
            Invocation(
                "qist-raft", self.tx_id, self.name, self.args, Creator("BankMSP"),
                datetime(2026, 1, 1, tzinfo=UTC),
            ),
        )  # fmt: skip


def is_comparable(block: int, transaction: Transaction) -> bool:
    """Say whether a recorded transaction was simulated, and with what this contract can do."""
    if block in BY_HAND or transaction.name not in ("agreement", "policybook"):
        return False
    operations = json.loads(transaction.args[1])
    return all(
        operation[0] in OPERATIONS and not (operation[0] == "range" and len(operation) > 3)
        for operation in operations
    )


def states_and_transactions() -> list[tuple[int, int, Transaction, list[MemoryState]]]:
    """Return every comparable transaction with the states it may have been endorsed on."""
    found = []
    states = [MemoryState()]
    for path in sorted((VECTORS / "blocks").glob("*.block")):
        block = common_pb2.Block.FromString(path.read_bytes())
        number = block.header.number
        codes = block.metadata.metadata[2]
        after = copy_of(states[-1])
        for tx, envelope in enumerate(block.data.data):
            try:
                transaction = Transaction(envelope)
            except (ValueError, IndexError, DecodeError):
                continue  # what cannot be parsed is no simulation's result
            if is_comparable(number, transaction):
                found.append((number, tx, transaction, states[-SIMULATED_BEHIND:]))
            if codes[tx] == 0:
                apply(after, transaction.results, Version(number, tx))
        states.append(after)
    return found


def copy_of(state: MemoryState) -> MemoryState:
    """Return a state that can be written to without changing *state*."""
    copied = MemoryState()
    for namespace in ("_lifecycle", "agreement", "policybook"):
        for key, entry in state.range(namespace, "", ""):
            copied.put(namespace, key, entry.value, entry.version, entry.metadata)
    return copied


def apply(state: MemoryState, results: bytes, version: Version) -> None:
    """Write what a valid transaction wrote; metadata does not matter to reads."""
    for namespace in decode_tx_rwset(results).namespaces:
        for write in namespace.writes:
            value = None if write.deletes else write.value
            state.put(namespace.namespace, write.key, value, version)
        for written in namespace.metadata_writes:
            entry = state.get(namespace.namespace, written.key)
            if entry is not None:
                state.put(namespace.namespace, written.key, entry.value, version)


RECORDED = states_and_transactions()


def test_recording_holds_enough_that_can_be_compared() -> None:
    """What is left out stays the smaller part."""
    assert len(RECORDED) >= 100


@pytest.mark.parametrize(
    ("block", "tx", "transaction", "states"),
    [pytest.param(*each, id=f"{each[0]}-{each[1]}") for each in RECORDED],
)
def test_simulation_of_recorded_operations_gives_the_recorded_set(
    block: int, tx: int, transaction: Transaction, states: list[MemoryState]
) -> None:
    """Reads, ranges, writes, metadata and events have Fabric's bytes, in Fabric's order."""
    results = [transaction.simulate(state) for state in reversed(states)]
    same = [result for result in results if result.rwset == transaction.results]
    assert same, decode_tx_rwset(results[0].rwset)
    assert (same[0].event or b"") == transaction.events
