"""Which policies a transaction's writes need, and whether its endorsers satisfy them.

For every namespace that is written, and always for that of the called contract:
- the contract must be defined, else 25 (INVALID_CHAINCODE);
- each written key, or key whose metadata is written, must satisfy its own policy if it has one,
  else its collection's own policy, else the contract's; a namespace in which nothing was judged
  that way needs the contract's; anything unsatisfied gives 10 (ENDORSEMENT_POLICY_FAILURE), and so
  does a write to a collection that is not defined or has no name;
- `_lifecycle` itself needs /Channel/Application/LifecycleEndorsement, and a member's implicit
  collection `_implicit_org_MSPID` that member's Endorsement policy.

All of it is judged by the state before the block, with one effect inside a block: a transaction
that writes a key whose metadata an earlier transaction of the block writes fails (10), if that
earlier one satisfied the policies of the namespace, even if it falls to something else later.

Namespaces are judged in a fixed order, the called contract first and then as in the read-write set,
and the first failure is the verdict. (Fabric's order is random where several fail differently.)
Each is judged all the same, for its effect on later transactions depends on nothing else. What a
contract writes whose definition names another set of rules than ``vscc`` cannot be judged (25).

Source: Fabric, core/committer/txvalidator/v20/plugindispatcher/dispatcher.go `Dispatch`;
core/common/validation/statebased/{validator_keylevel,vpmanagerimpl,v20}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from google.protobuf.message import DecodeError

from chaincode.system.definitions import LIFECYCLE, Definition, load_definition
from ledger.state.ports import VALIDATION_PARAMETER, StateReader, VersionedValue
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction
from ledger.transactions.rwset import NamespaceRWSet
from nodes.committer.policies import IMPLICIT_COLLECTION, Endorsers, PolicyEvaluator

__all__ = ["VALIDATION_PLUGIN", "BlockPolicies", "Unsatisfied"]

VALIDATION_PLUGIN = "vscc"
"""The one set of rules that is known: Fabric's default."""

_FAILED = TxValidationCode.ENDORSEMENT_POLICY_FAILURE
_UNDEFINED = TxValidationCode.INVALID_CHAINCODE

# A key in a namespace; the collection is empty for a public key, whose key is text.
_Place = tuple[str, str, str | bytes]


class Unsatisfied(NamedTuple):
    """Why the writes of a transaction do not stand.

    Attributes:
        code: the verdict.
        level: what was asked: ``definition``, ``plugin``, ``in block`` (an earlier transaction of
            the block writes the key's metadata), ``key``, ``collection`` or ``contract``.
        namespace, collection, key: where; the key is text, or the hash of a private one.
        policy: marshalled, or the name of the plugin; empty if there is none.
    """

    code: TxValidationCode
    level: str
    namespace: str
    collection: str = ""
    key: str | bytes = ""
    policy: bytes = b""


class BlockPolicies:
    """Judges the transactions of one block, in their order.

    Args:
        state: the state before the block.
        evaluator: who satisfies what under the configuration in force.
    """

    def __init__(self, state: StateReader, evaluator: PolicyEvaluator) -> None:
        self._state = state
        self._evaluator = evaluator
        self._definitions: dict[str, Definition | None] = {}
        self._metadata_written: set[_Place] = set()

    def judge(self, transaction: ParsedTransaction, endorsers: Endorsers) -> Unsatisfied | None:
        """Return why the first namespace that is not satisfied is not; None if all are.

        Args:
            transaction: one whose content was read without a verdict.
            endorsers: those whose endorsement signature is good.
        """
        namespaces = () if transaction.rwset is None else transaction.rwset.namespaces
        written = {each.namespace: each for each in namespaces if each.is_writing}
        called = written.pop(transaction.chaincode, NamespaceRWSet(transaction.chaincode))
        first: Unsatisfied | None = None
        for rwset in (called, *written.values()):
            failure = self._judge_namespace(rwset, endorsers)
            if failure is None:
                self._metadata_written.update(_metadata_writes(rwset))
            elif first is None:
                first = failure
        return first

    def _judge_namespace(self, rwset: NamespaceRWSet, endorsers: Endorsers) -> Unsatisfied | None:
        namespace = rwset.namespace
        definition = self._definition(namespace)
        if definition is None:
            return Unsatisfied(_UNDEFINED, "definition", namespace)
        if definition.validation_plugin != VALIDATION_PLUGIN:
            plugin = definition.validation_plugin.encode()
            return Unsatisfied(_UNDEFINED, "plugin", namespace, policy=plugin)
        if self._metadata_written:
            for place in _places(rwset):
                if place in self._metadata_written:
                    return Unsatisfied(_FAILED, "in block", *place)
        judge = _NamespaceJudge(self._state, self._evaluator, namespace, definition, endorsers)
        return judge.unsatisfied(rwset)

    def _definition(self, name: str) -> Definition | None:
        """Return the usable definition of a contract, None if there is none."""
        if name not in self._definitions:
            if name == LIFECYCLE:
                self._definitions[name] = Definition(VALIDATION_PLUGIN, b"", {})
            else:
                found = load_definition(self._state, name)
                usable = found is not None and found.validation_plugin and found.policy
                self._definitions[name] = found if usable else None
        return self._definitions[name]


class _NamespaceJudge:
    """Judges the writes of one transaction in one namespace."""

    def __init__(
        self,
        state: StateReader,
        evaluator: PolicyEvaluator,
        namespace: str,
        definition: Definition,
        endorsers: Endorsers,
    ) -> None:
        self._state = state
        self._evaluator = evaluator
        self._namespace = namespace
        self._definition = definition
        self._endorsers = endorsers

    def unsatisfied(self, rwset: NamespaceRWSet) -> Unsatisfied | None:
        """Return the first policy that the writes need and that is not satisfied."""
        judged = False
        # A bulk writes a thousand keys; as long as none can have a policy, none is looked up.
        looks = self._state.has_metadata(self._namespace)
        keys = [write.key for write in rwset.writes]
        keys.extend(write.key for write in rwset.metadata_writes)
        if keys:
            entries = self._state.get_many(self._namespace, keys) if looks else []
            failure = self._judge_keys("", keys, entries)
            if failure is not None:
                return failure
            judged = True
        for collection in rwset.collections:
            name = collection.collection
            hashes = [write.key_hash for write in collection.hashed_writes]
            hashes.extend(write.key_hash for write in collection.metadata_writes)
            if not hashes:
                continue
            # A collection that is not defined has no keys whose own policies could count.
            if self._collection_policy(name) is None:
                return self._failed("collection", name, hashes[0], b"")
            entries = self._state.get_hashed_many(self._namespace, name, hashes) if looks else []
            failure = self._judge_keys(name, hashes, entries)
            if failure is not None:
                return failure
            judged = True
        return None if judged or self._contract_satisfied() else self._failed("contract")

    def _failed(
        self, level: str, collection: str = "", key: str | bytes = "", policy: bytes | None = None
    ) -> Unsatisfied:
        if policy is None:
            policy = self._definition.policy
        return Unsatisfied(_FAILED, level, self._namespace, collection, key, policy)

    def _judge_keys(
        self,
        collection: str,
        keys: Sequence[str | bytes],
        entries: Sequence[VersionedValue | None],
    ) -> Unsatisfied | None:
        """Judge keys by their own policies, and all those without one by the next wider one.

        Args:
            keys: one at least.
            entries: of the keys; none at all if no key of the namespace ever had a policy.
        """
        if not entries:
            return self._judge_collection(collection, keys[0])
        without_own: str | bytes | None = None
        for key, entry in zip(keys, entries, strict=True):
            policy = _own_policy(entry.metadata) if entry is not None and entry.metadata else b""
            if not policy:
                without_own = key if without_own is None else without_own
            elif not self._evaluator.key_level(policy, self._endorsers):
                return self._failed("key", collection, key, policy)
        return None if without_own is None else self._judge_collection(collection, without_own)

    def _collection_policy(self, name: str) -> bytes | None:
        """Return a collection's own policy, empty if the contract's holds; None: not defined."""
        if name.startswith(IMPLICIT_COLLECTION):
            return self._evaluator.implicit_collection(name)
        return self._definition.collections.get(name) if name else None

    def _judge_collection(self, name: str, key: str | bytes) -> Unsatisfied | None:
        policy = self._collection_policy(name) if name else b""
        if policy is None:
            return self._failed("collection", name, key, b"")
        if policy:
            satisfied = self._evaluator.application(policy, self._endorsers)
            return None if satisfied else self._failed("collection", name, key, policy)
        return None if self._contract_satisfied() else self._failed("contract", name, key)

    def _contract_satisfied(self) -> bool:
        if self._namespace == LIFECYCLE:
            return self._evaluator.lifecycle(self._endorsers)
        return self._evaluator.application(self._definition.policy, self._endorsers)


def _own_policy(metadata: bytes) -> bytes:
    """Return the key-level policy in stored metadata, empty if there is none."""
    try:
        entries = kv_rwset_pb2.KVMetadataWrite.FromString(metadata).entries
    except DecodeError:
        return b""
    policy = b""
    for entry in entries:
        # Of two entries with one name the last one counts, as in the map that Fabric makes of them.
        if entry.name == VALIDATION_PARAMETER:
            policy = entry.value
    return policy


def _metadata_writes(rwset: NamespaceRWSet) -> Iterator[_Place]:
    for write in rwset.metadata_writes:
        yield rwset.namespace, "", write.key
    for collection in rwset.collections:
        for hashed in collection.metadata_writes:
            yield rwset.namespace, collection.collection, hashed.key_hash


def _places(rwset: NamespaceRWSet) -> Iterator[_Place]:
    for write in rwset.writes:
        yield rwset.namespace, "", write.key
    for collection in rwset.collections:
        for hashed in collection.hashed_writes:
            yield rwset.namespace, collection.collection, hashed.key_hash
    yield from _metadata_writes(rwset)
