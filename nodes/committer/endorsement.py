"""Which policies a transaction's writes need, and whether its endorsers satisfy them.

For every namespace that is written, and always for that of the called contract:
- the contract must be defined, else 25 (INVALID_CHAINCODE);
- each written key, or key whose metadata is written, must satisfy its own policy if it has one,
  else its collection's own policy, else the contract's; a namespace in which nothing was judged
  that way needs the contract's; anything unsatisfied gives 10 (ENDORSEMENT_POLICY_FAILURE);
- `_lifecycle` itself needs /Channel/Application/LifecycleEndorsement, and a member's implicit
  collection `_implicit_org_MSPID` that member's Endorsement policy.

All of it is judged by the state before the block, with one effect inside a block: a transaction
that writes a key whose metadata an earlier transaction of the block writes fails (10), if that
earlier one satisfied the policies of the namespace, even if it falls to something else later.

Namespaces are judged in a fixed order, the called contract first and then as in the read-write set,
and the first failure is the verdict. (Fabric's order is random where several fail differently.)
Each is judged all the same, for its effect on later transactions depends on nothing else.

Source: Fabric, core/committer/txvalidator/v20/plugindispatcher/dispatcher.go `Dispatch`;
core/common/validation/statebased/{validator_keylevel,vpmanagerimpl,v20}.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from google.protobuf.message import DecodeError

from chaincode.system.definitions import LIFECYCLE, Definition, load_definition
from ledger.state.ports import VALIDATION_PARAMETER, StateReader
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction
from ledger.transactions.rwset import NamespaceRWSet
from nodes.committer.policies import IMPLICIT_COLLECTION, Endorsers, PolicyEvaluator

__all__ = ["BlockPolicies"]

_VALID = TxValidationCode.VALID
_FAILED = TxValidationCode.ENDORSEMENT_POLICY_FAILURE
_UNDEFINED = TxValidationCode.INVALID_CHAINCODE

# A key in a namespace; the collection is empty for a public key, whose key is text.
_Place = tuple[str, str, str | bytes]


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

    def judge(self, transaction: ParsedTransaction, endorsers: Endorsers) -> TxValidationCode:
        """Return VALID, or the verdict of the first namespace that is not satisfied.

        Args:
            transaction: one whose content was read without a verdict.
            endorsers: those whose endorsement signature is good.
        """
        namespaces = () if transaction.rwset is None else transaction.rwset.namespaces
        written = {each.namespace: each for each in namespaces if each.is_writing}
        called = written.pop(transaction.chaincode, NamespaceRWSet(transaction.chaincode))
        verdict = _VALID
        for rwset in (called, *written.values()):
            code = self._judge_namespace(rwset, endorsers)
            if code is _VALID:
                self._metadata_written.update(_metadata_writes(rwset))
            elif verdict is _VALID:
                verdict = code
        return verdict

    def _judge_namespace(self, rwset: NamespaceRWSet, endorsers: Endorsers) -> TxValidationCode:
        definition = self._definition(rwset.namespace)
        if definition is None:
            return _UNDEFINED
        judge = _NamespaceJudge(
            self._state, self._evaluator, rwset.namespace, definition, endorsers
        )
        if self._metadata_written and any(
            place in self._metadata_written for place in _places(rwset)
        ):
            return _FAILED
        return _VALID if judge.satisfied(rwset) else _FAILED

    def _definition(self, name: str) -> Definition | None:
        """Return the usable definition of a contract, None if there is none."""
        if name not in self._definitions:
            if name == LIFECYCLE:
                self._definitions[name] = Definition("vscc", b"", {})
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

    def satisfied(self, rwset: NamespaceRWSet) -> bool:
        """Return whether every policy that the writes need is satisfied."""
        judged = False
        keys = [write.key for write in rwset.writes]
        keys.extend(write.key for write in rwset.metadata_writes)
        metadata = [
            b"" if entry is None else entry.metadata
            for entry in self._state.get_many(self._namespace, keys)
        ]
        if keys:
            if not self._keys_satisfied("", metadata):
                return False
            judged = True
        for collection in rwset.collections:
            name = collection.collection
            hashes = [write.key_hash for write in collection.hashed_writes]
            hashes.extend(write.key_hash for write in collection.metadata_writes)
            if not hashes:
                continue
            entries = [self._state.get_hashed(self._namespace, name, each) for each in hashes]
            if not self._keys_satisfied(
                name, [b"" if entry is None else entry.metadata for entry in entries]
            ):
                return False
            judged = True
        return judged or self._contract_satisfied()

    def _keys_satisfied(self, collection: str, metadata: list[bytes]) -> bool:
        """Judge keys by their own policies, and all those without one by the next wider one."""
        without_own = False
        for each in metadata:
            policy = _own_policy(each) if each else b""
            if not policy:
                without_own = True
            elif not self._evaluator.key_level(policy, self._endorsers):
                return False
        return not without_own or self._collection_satisfied(collection)

    def _collection_satisfied(self, name: str) -> bool:
        if not name:
            return self._contract_satisfied()
        if name.startswith(IMPLICIT_COLLECTION):
            implicit = self._evaluator.implicit_collection(name)
            return implicit is not None and self._evaluator.application(implicit, self._endorsers)
        policy = self._definition.collections.get(name)
        if policy is None:
            return False
        return (
            self._evaluator.application(policy, self._endorsers)
            if policy
            else self._contract_satisfied()
        )

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
    for entry in entries:
        if entry.name == VALIDATION_PARAMETER:
            policy: bytes = entry.value
            return policy
    return b""


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
