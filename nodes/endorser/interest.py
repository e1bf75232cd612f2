"""What a simulated transaction will be judged by: the policies that its writes fall under.

The same reading as the validator's: the namespace's policy for the called contract and for every
namespace written, key-level policies for the keys that have one (Fabric
core/common/validation/statebased). A key's policy replaces its namespace's; where every key written
in a namespace has its own, the namespace's policy is not asked, unless it writes nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaincode.system.lifecycle import load_definition
from ledger.state.ports import VALIDATION_PARAMETER, StateReader
from ledger.transactions.rwset import TxRWSet, decode_metadata


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
    definitions = (load_definition(state, name) for name in sorted(namespaces))
    return Interest(
        frozenset(definition.policy for definition in definitions if definition is not None),
        frozenset(keys),
    )
