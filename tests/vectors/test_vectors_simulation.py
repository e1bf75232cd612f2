"""The simulator against the recorded chain: the same operations give the same read/write sets.

The recorded contract was a list of simple operations. Its operations are written here against our
stub and run on the state that the recording had when the transaction was endorsed; the read/write
set must be the recorded one, byte for byte, and so must the private set where the recording has it.
Left out: those whose sets were written by hand, scans that the contract stopped, which we record by
another rule, and writes of private values that no file holds any more.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from copy import deepcopy
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
from ledger.state.ports import StateReader, VersionedValue
from ledger.state.version import Version
from ledger.transactions.private import (
    TxPrivate,
    decode_private_rwset,
    decode_tx_private,
    matches,
    private_collections,
)
from ledger.transactions.rwset import decode_tx_rwset
from tests.support.memory_state import MemoryState

VECTORS = Path(__file__).parent / "fabric-3.1.5-raft"
OPERATIONS = {
    "call", "clearvp", "cput", "crange", "del", "event", "fill", "get", "pdel", "pget", "phash",
    "ppurge", "pput", "psetvp", "put", "putb64", "range", "setvp",
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
            case "pput", (collection, key, transient):
                stub.put_private_data(collection, key, stub.get_transient()[transient])
            case "pdel", (collection, key):
                stub.del_private_data(collection, key)
            case "ppurge", (collection, key):
                stub.purge_private_data(collection, key)
            case "psetvp", (collection, key, *members):
                stub.set_private_data_validation_parameter(collection, key, peers_of(members))
            case "pget", (collection, key):
                found = stub.get_private_data(collection, key)
                return "null" if found is None else json.dumps(b64encode(found).decode())
            case "phash", (collection, key):
                found = stub.get_private_data_hash(collection, key)
                return "null" if found is None else json.dumps(b64encode(found).decode())
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
    """One recorded transaction of the program.

    Attributes:
        private: its private write sets, as far as a file holds them.
    """

    def __init__(self, envelope: bytes, private: TxPrivate) -> None:
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
        self.private = private

    @property
    def is_whole(self) -> bool:
        """Whether every value that it writes to a collection is known."""
        sets = {(each.namespace, each.collection): each for each in self.private}
        for namespace, hashed in private_collections(decode_tx_rwset(self.results)):
            plain = sets.get((namespace, hashed.collection))
            known = plain is not None and matches(plain, hashed)
            if not known and not all(write.is_delete for write in hashed.hashed_writes):
                return False
        return True

    @property
    def transient(self) -> dict[str, bytes]:
        """What the client sent beside the arguments: the one private value."""
        for each in self.private:
            for write in decode_private_rwset(each.rwset).writes:
                return {"v": write.value}
        return {}

    def simulate(self, state: MemoryState) -> SimulationResult:
        """Run it again on a state."""
        return Simulator(Both()).simulate(
            state,
            Invocation(
                "qist-raft", self.tx_id, self.name, self.args, Creator("BankMSP"),
                datetime(2026, 1, 1, tzinfo=UTC), self.transient,
            ),
        )  # fmt: skip


def is_comparable(block: int, transaction: Transaction) -> bool:
    """Say whether a recorded transaction was simulated, and with what this contract can do."""
    if block in BY_HAND or transaction.name not in ("agreement", "policybook"):
        return False
    operations = json.loads(transaction.args[1])
    return transaction.is_whole and all(
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
        after = deepcopy(states[-1])
        for tx, envelope in enumerate(block.data.data):
            try:
                transaction = Transaction(envelope, private_of(number, tx))
            except (ValueError, IndexError, DecodeError):
                continue  # what cannot be parsed is no simulation's result
            if is_comparable(number, transaction):
                found.append((number, tx, transaction, states[-SIMULATED_BEHIND:]))
            if codes[tx] == 0:
                apply(after, transaction, Version(number, tx))
        states.append(after)
    return found


def private_of(block: int, tx: int) -> TxPrivate:
    """Return the private write sets of a transaction that some member's peer still had."""
    for path in (VECTORS / "pvtdata").glob(f"*/{block:06d}-{tx}.pvtrwset"):
        return decode_tx_private(path.read_bytes())
    return ()


def apply(state: MemoryState, transaction: Transaction, version: Version) -> None:
    """Write what a valid transaction wrote; metadata does not matter to reads."""
    values = {
        (each.namespace, each.collection, write.key): write.value
        for each in transaction.private
        for write in decode_private_rwset(each.rwset).writes
    }
    for namespace in decode_tx_rwset(transaction.results).namespaces:
        for write in namespace.writes:
            value = None if write.deletes else write.value
            state.put(namespace.namespace, write.key, value, version)
        for written in namespace.metadata_writes:
            entry = state.get(namespace.namespace, written.key)
            if entry is not None:
                state.put(namespace.namespace, written.key, entry.value, version)
        for each in namespace.collections:
            place = (namespace.namespace, each.collection)
            for hashed in each.hashed_writes:
                found = None if hashed.deletes else VersionedValue(hashed.value_hash, version)
                state.put_hashed(*place, hashed.key_hash, found)
            for changed in each.metadata_writes:
                found = state.get_hashed(*place, changed.key_hash)
                if found is not None:
                    state.put_hashed(*place, changed.key_hash, VersionedValue(found.value, version))
    for (name, collection, key), value in values.items():
        state.put_private(name, collection, key, value or None, version)


RECORDED = states_and_transactions()


def test_recording_holds_enough_that_can_be_compared() -> None:
    """What is left out stays the smaller part."""
    assert len(RECORDED) >= 115
    private = [each for each in RECORDED if each[2].private]
    assert len(private) >= 7


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
    if transaction.private and any(each.rwset for each in transaction.private):
        assert decode_tx_private(same[0].private) == transaction.private
