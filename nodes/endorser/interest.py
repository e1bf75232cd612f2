"""What a simulated transaction will be judged by, and which members can endorse it at all.

The policies are those that the validator asks (nodes/committer/endorsement.py): the namespace's
policy for the called contract and for every namespace written, a collection's own policy for what
is written to it, key-level policies for the keys that have one. The narrower policy takes the place
of the wider one; where every key written in a namespace has its own, the namespace's is not asked,
unless it writes nothing at all.

Who read the plain data of a collection must be a member of it; and transient data, from which
private writes are made, are shown only to members of all the collections that are read in plain or
written. A hash that is read is everybody's.

Source: Fabric core/common/validation/statebased; core/endorser/endorser.go
`buildChaincodeInterest`; internal/pkg/gateway/endorse.go `planFromFirstEndorser`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chaincode.simulator import SimulationResult
from chaincode.system.definitions import LIFECYCLE, load_definition
from ledger.state.ports import VALIDATION_PARAMETER, StateReader, VersionedValue
from ledger.transactions.rwset import CollectionRWSet, decode_metadata
from nodes.endorser.ports import PrivateData


@dataclass(frozen=True, slots=True)
class Interest:
    """Policies that must be met, all of them, and the members that can be asked.

    Attributes:
        application_policies: marshalled ``ApplicationPolicy`` of contracts and collections.
        key_policies: marshalled ``SignaturePolicyEnvelope`` of keys.
        collections: namespace and name of collections that are read in plain or written.
        readers: members of every collection of which plain data were read, as only they can
            endorse; None if none was read.
        trusted: members of every one of `collections`; None if there are none.
    """

    application_policies: frozenset[bytes]
    key_policies: frozenset[bytes]
    collections: tuple[tuple[str, str], ...] = ()
    readers: frozenset[str] | None = None
    trusted: frozenset[str] | None = None


def interest_of(state: StateReader, result: SimulationResult, private: PrivateData) -> Interest:
    """Return what *result*, simulated on *state*, falls under."""
    policies: set[bytes] = set()
    keys: set[bytes] = set()
    touched = set(result.private_reads)
    called_writes = False
    for record in result.sets.namespaces:
        namespace = record.namespace
        written = [write.key for write in record.writes]
        written += [write.key for write in record.metadata_writes]
        writes = without_own = bool(written)
        # A bulk writes a thousand keys; as long as none can have a policy, none is looked up.
        looks = state.has_metadata(namespace)
        if looks:
            without_own = _add_key_policies(keys, state.get_many(namespace, written))
        for collection in record.collections:
            hashes = _written_hashes(collection)
            name = collection.collection
            if looks:
                hashed = state.get_hashed_many(namespace, name, hashes)
                has_plain = _add_key_policies(keys, hashed)
            else:
                has_plain = bool(hashes)
            if has_plain:
                found = private.collection(state, namespace, name)
                own = b"" if found is None else found.endorsement_policy
                policies.add(own or _policy_of(state, namespace, private))
            if hashes:
                touched.add((namespace, name))
                writes = True
        if without_own:
            policies.add(_policy_of(state, namespace, private))
        called_writes |= writes and namespace == result.chaincode
    if not called_writes:
        policies.add(_policy_of(state, result.chaincode, private))
    return Interest(
        frozenset(policies - {b""}),
        frozenset(keys),
        tuple(sorted(touched)),
        _members_of_all(state, private, result.private_reads),
        _members_of_all(state, private, touched),
    )


def _written_hashes(collection: CollectionRWSet) -> list[bytes]:
    hashes = [write.key_hash for write in collection.hashed_writes]
    hashes += [write.key_hash for write in collection.metadata_writes]
    return hashes


def _add_key_policies(keys: set[bytes], entries: Iterable[VersionedValue | None]) -> bool:
    """Add the policies that entries have of their own; say whether one has none."""
    without_own = False
    for entry in entries:
        policy = b""
        if entry is not None and entry.metadata:
            policy = decode_metadata(entry.metadata).get(VALIDATION_PARAMETER, b"")
        if policy:
            keys.add(policy)
        else:
            without_own = True
    return without_own


def _policy_of(state: StateReader, namespace: str, private: PrivateData) -> bytes:
    """The marshalled ``ApplicationPolicy`` of a namespace; empty if nothing defines it."""
    if namespace == LIFECYCLE:
        return private.lifecycle_policy
    definition = load_definition(state, namespace)
    return definition.policy if definition is not None else b""


def _members_of_all(
    state: StateReader, private: PrivateData, places: Iterable[tuple[str, str]]
) -> frozenset[str] | None:
    members: frozenset[str] | None = None
    for place in places:
        found = private.collection(state, *place)
        these = frozenset() if found is None else frozenset(found.members)
        members = these if members is None else members & these
    return members
