"""What a simulated transaction will be judged by: the policies that its writes fall under.

The same reading as the validator's: the namespace's policy for the called contract and for every
namespace written, key-level policies for the keys that have one (Fabric
core/common/validation/statebased). A key's policy replaces its namespace's; where every key written
in a namespace has its own, the namespace's policy is not asked, unless it writes nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from fabric_protos.peer import policy_pb2

from chaincode.system.definitions import LIFECYCLE, load_definition
from ledger.state.ports import VALIDATION_PARAMETER, StateReader
from ledger.transactions.rwset import TxRWSet, decode_metadata
from nodes.committer.policies import LIFECYCLE_ENDORSEMENT


@dataclass(frozen=True, slots=True)
class Interest:
    """Policies that must be met, all of them.

    Attributes:
        application_policies: marshalled ``ApplicationPolicy`` of contract definitions.
        key_policies: marshalled ``SignaturePolicyEnvelope`` of keys.
    """

    application_policies: frozenset[bytes]
    key_policies: frozenset[bytes]


def interest_of(state: StateReader, chaincode: str, rwset: TxRWSet) -> Interest:
    """Return what *rwset*, simulated on *state* by a call of *chaincode*, falls under."""
    namespaces: set[str] = set()
    keys: set[bytes] = set()
    for record in rwset.namespaces:
        written = [write.key for write in record.writes]
        written += [write.key for write in record.metadata_writes]
        if not written:
            continue
        for entry in state.get_many(record.namespace, written):
            policy = b""
            if entry is not None and entry.metadata:
                policy = decode_metadata(entry.metadata).get(VALIDATION_PARAMETER, b"")
            if policy:
                keys.add(policy)
            else:
                namespaces.add(record.namespace)
    if not any(
        record.writes or record.metadata_writes
        for record in rwset.namespaces
        if record.namespace == chaincode
    ):
        namespaces.add(chaincode)
    policies = {_policy_of(state, namespace) for namespace in namespaces}
    return Interest(frozenset(policies - {b""}), frozenset(keys))


def _policy_of(state: StateReader, namespace: str) -> bytes:
    """The marshalled ``ApplicationPolicy`` of a namespace; empty if nothing defines it."""
    if namespace == LIFECYCLE:
        policy: bytes = policy_pb2.ApplicationPolicy(
            channel_config_policy_reference=LIFECYCLE_ENDORSEMENT
        ).SerializeToString()
        return policy
    definition = load_definition(state, namespace)
    return definition.policy if definition is not None else b""
