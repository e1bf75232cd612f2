"""Which policy a write needs: its key's, else its collection's, else its contract's; and what a
transaction that changes a key's policy does to later ones of its block.

Contract: bank and operator. Collection `terms`: the regulator. Collection `plain`: no policy of its
own. Key `own`: the maker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from fabric_protos.peer import collection_pb2, policy_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2

from chaincode.system.definitions import DATATYPE, FIELDS, field_key, metadata_key
from ledger.state.ports import VALIDATION_PARAMETER, VersionedValue
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    HashedWrite,
    KVWrite,
    MetadataWrite,
    NamespaceRWSet,
    TxRWSet,
    encode_metadata,
)
from network.configuration import ChannelConfiguration
from network.msp import Identity
from network.policy import parse_policy
from nodes.committer.endorsement import BlockPolicies, Unsatisfied
from nodes.committer.policies import PolicyEvaluator
from tests.support.members import Member, genesis

MEMBERS = [Member(each) for each in ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")]
CONFIGURATION = ChannelConfiguration.from_block(genesis(MEMBERS))
PEERS: Mapping[str, Identity] = {
    each.msp_id: CONFIGURATION.msps.deserialize(each.identity("node", "peer").serialized)
    for each in MEMBERS
}
BANK, OPERATOR, MAKER, PTA = PEERS.values()
EVERYBODY = tuple(PEERS.values())
AGREED = (BANK, OPERATOR)

MAKERS = parse_policy("OR('MakerMSP.peer')").SerializeToString()
OWN = encode_metadata(((VALIDATION_PARAMETER, MAKERS),))
NO_POLICY = encode_metadata((("other", b"x"),))


def hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def application(rule: str) -> bytes:
    policy = policy_pb2.ApplicationPolicy(signature_policy=parse_policy(rule))
    raw: bytes = policy.SerializeToString()
    return raw


def definition(name: str, rule: str) -> dict[tuple[str, str], bytes]:
    """The keys of a contract's definition with its two collections."""
    collections = [
        collection_pb2.CollectionConfig(
            static_collection_config=collection_pb2.StaticCollectionConfig(
                name="terms",
                endorsement_policy=policy_pb2.ApplicationPolicy(
                    signature_policy=parse_policy("OR('PtaMSP.peer')")
                ),
            )
        ),
        collection_pb2.CollectionConfig(
            static_collection_config=collection_pb2.StaticCollectionConfig(name="plain")
        ),
    ]
    info = chaincode_definition_pb2.ChaincodeEndorsementInfo(version="1", endorsement_plugin="escc")
    validation = chaincode_definition_pb2.ChaincodeValidationInfo(
        validation_plugin="vscc", validation_parameter=application(rule)
    )
    package = collection_pb2.CollectionConfigPackage(config=collections)
    fields = {
        "Sequence": db_pb2.StateData(Int64=1),
        "EndorsementInfo": db_pb2.StateData(Bytes=info.SerializeToString()),
        "ValidationInfo": db_pb2.StateData(Bytes=validation.SerializeToString()),
        "Collections": db_pb2.StateData(Bytes=package.SerializeToString()),
    }
    return {
        ("_lifecycle", metadata_key(name)): db_pb2.StateMetadata(
            datatype=DATATYPE, fields=FIELDS
        ).SerializeToString(),
        **{
            ("_lifecycle", field_key(name, each)): data.SerializeToString()
            for each, data in fields.items()
        },
    }


@dataclass
class State:
    """The state before a block: two contracts, and metadata of keys."""

    public: dict[tuple[str, str], bytes]
    private: dict[tuple[str, str, bytes], bytes]

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        if namespace == "_lifecycle":
            value = self.public.get((namespace, key))
            return None if value is None else VersionedValue(value, Version(1, 0), b"")
        metadata = self.public.get((namespace, key))
        return None if metadata is None else VersionedValue(b"v", Version(1, 0), metadata)

    def has_metadata(self, namespace: str) -> bool:
        public = [metadata for (name, _), metadata in self.public.items() if name == namespace]
        hashed = [found for (name, *_), found in self.private.items() if name == namespace]
        return any((*public, *hashed)) and namespace != "_lifecycle"

    def get_many(self, namespace: str, keys: Sequence[str]) -> list[VersionedValue | None]:
        assert self.has_metadata(namespace), f"no key of {namespace} can have a policy"
        return [self.get(namespace, key) for key in keys]

    def get_hashed_many(
        self, namespace: str, collection: str, key_hashes: Sequence[bytes]
    ) -> list[VersionedValue | None]:
        assert self.has_metadata(namespace), f"no key of {namespace} can have a policy"
        return [self.get_hashed(namespace, collection, each) for each in key_hashes]

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        metadata = self.private.get((namespace, collection, key_hash))
        return None if metadata is None else VersionedValue(b"h", Version(1, 0), metadata)


def policies() -> BlockPolicies:
    state = State(
        {
            **definition("book", "AND('BankMSP.peer', 'OperatorMSP.peer')"),
            **definition("other", "OR('BankMSP.peer')"),
            ("book", "own"): OWN,
            ("book", "odd"): NO_POLICY,
            ("book", "held"): b"",
        },
        {
            ("book", "terms", hashed("own")): OWN,
            ("book", "plain", hashed("own")): OWN,
            ("book", "terms", hashed("held")): b"",
        },
    )
    return BlockPolicies(state, PolicyEvaluator(CONFIGURATION))  # type: ignore[arg-type]


def write(*keys: str, namespace: str = "book") -> NamespaceRWSet:
    return NamespaceRWSet(namespace, writes=tuple(KVWrite(key, False, b"v") for key in keys))


def delete(key: str) -> NamespaceRWSet:
    return NamespaceRWSet("book", writes=(KVWrite(key, True, b""),))


def set_policy(key: str, policy: bytes = MAKERS, namespace: str = "book") -> NamespaceRWSet:
    entries = ((VALIDATION_PARAMETER, policy),) if policy else ()
    return NamespaceRWSet(namespace, metadata_writes=(MetadataWrite(key, entries),))


def private(collection: str, *keys: str, is_purge: bool = False) -> NamespaceRWSet:
    writes = tuple(
        HashedWrite(hashed(key), is_purge, b"" if is_purge else b"h", is_purge) for key in keys
    )
    return NamespaceRWSet("book", collections=(CollectionRWSet(collection, hashed_writes=writes),))


def set_private_policy(collection: str, key: str) -> NamespaceRWSet:
    entries = ((VALIDATION_PARAMETER, MAKERS),)
    return NamespaceRWSet(
        "book",
        collections=(
            CollectionRWSet(
                collection, metadata_writes=(HashedMetadataWrite(hashed(key), entries),)
            ),
        ),
    )


def both(one: NamespaceRWSet, two: NamespaceRWSet) -> NamespaceRWSet:
    return NamespaceRWSet(
        "book",
        writes=one.writes + two.writes,
        metadata_writes=one.metadata_writes + two.metadata_writes,
        collections=one.collections + two.collections,
    )


def judge(
    block: BlockPolicies, endorsers: tuple[Identity, ...], *sets: NamespaceRWSet
) -> Unsatisfied | None:
    """The verdict on a transaction of the contract `book`."""
    transaction: Any = SimpleNamespace(rwset=TxRWSet(sets), chaincode="book")
    return block.judge(transaction, endorsers)


# ---- precedence


@pytest.mark.parametrize(
    ("sets", "enough", "level"),
    [
        ([], AGREED, "contract"),
        ([write("new")], AGREED, "contract"),
        ([write("odd")], AGREED, "contract"),
        ([delete("held")], AGREED, "contract"),
        ([write("own")], (MAKER,), "key"),
        ([delete("own")], (MAKER,), "key"),
        ([set_policy("own")], (MAKER,), "key"),
        ([set_policy("own", b"")], (MAKER,), "key"),
        ([set_policy("new")], AGREED, "contract"),
        ([write("own", "new")], (*AGREED, MAKER), "key"),
        ([private("terms", "new")], (PTA,), "collection"),
        ([private("terms", "new", is_purge=True)], (PTA,), "collection"),
        ([set_private_policy("terms", "new")], (PTA,), "collection"),
        ([private("terms", "own")], (MAKER,), "key"),
        ([private("terms", "own", is_purge=True)], (MAKER,), "key"),
        ([set_private_policy("terms", "own")], (MAKER,), "key"),
        ([private("plain", "new")], AGREED, "contract"),
        ([private("plain", "own")], (MAKER,), "key"),
        ([private("_implicit_org_PtaMSP", "new")], (PTA,), "collection"),
        ([both(private("terms", "own"), private("plain", "new"))], (*AGREED, MAKER), "key"),
        ([both(write("own"), private("terms", "new"))], (MAKER, PTA), "key"),
        ([both(write("new"), private("terms", "held"))], (*AGREED, PTA), "contract"),
    ],
)
def test_write_needs_the_nearest_policy_and_no_other(
    sets: list[NamespaceRWSet], enough: tuple[Identity, ...], level: str
) -> None:
    """With just those who satisfy it the write stands; whoever of them is missing, it falls.

    *level* is where the first policy stands that is not satisfied if nobody endorses.
    """
    assert judge(policies(), enough, *sets) is None
    for missing in enough:
        some = tuple(each for each in enough if each is not missing)
        failure = judge(policies(), some, *sets)
        assert failure is not None
        assert failure.code is TxValidationCode.ENDORSEMENT_POLICY_FAILURE
    failure = judge(policies(), (), *sets)
    assert failure is not None
    assert failure.level == level


def test_collection_that_is_not_defined_satisfies_nobody() -> None:
    """Nor the implicit one of a member that the channel has not."""
    for name in ("unknown", "_implicit_org_NayaMSP"):
        failure = judge(policies(), EVERYBODY, private(name, "new"))
        assert failure is not None
        assert failure.level == "collection"


# ---- inside one block


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (set_policy("new"), write("new")),
        (set_policy("new"), delete("new")),
        (set_policy("new"), set_policy("new", b"")),
        (both(write("new"), set_policy("new")), write("new")),
        (both(write("new"), set_policy("new")), both(write("else"), write("new"))),
    ],
    ids=["write", "delete", "policy again", "written with it", "among others"],
)
def test_writer_of_a_key_whose_policy_an_earlier_transaction_changes_fails(first, second) -> None:
    """However well endorsed: it was made under a policy that no longer holds, or is not known."""
    block = policies()
    assert judge(block, AGREED, first) is None
    failure = judge(block, EVERYBODY, second)
    assert failure is not None
    assert (failure.level, failure.key) == ("in block", "new")
    assert failure.code is TxValidationCode.ENDORSEMENT_POLICY_FAILURE


@pytest.mark.parametrize("collection", ["terms", "plain"])
def test_writer_of_a_private_key_whose_policy_changes_in_the_block_fails(collection: str) -> None:
    """By the key's hash, in its own collection only."""
    endorsers = (PTA,) if collection == "terms" else AGREED
    block = policies()
    assert judge(block, endorsers, set_private_policy(collection, "new")) is None
    for later in (private(collection, "new"), set_private_policy(collection, "new")):
        failure = judge(block, EVERYBODY, later)
        assert failure is not None
        assert (failure.level, failure.collection) == ("in block", collection)
        assert failure.key == hashed("new")
    other = "plain" if collection == "terms" else "terms"
    assert judge(block, EVERYBODY, private(other, "new")) is None
    assert judge(block, EVERYBODY, write("new")) is None
    assert judge(block, EVERYBODY, private(collection, "else")) is None


def test_transaction_that_changes_a_policy_may_write_the_key_itself() -> None:
    """By the policy before the block; only later transactions are touched."""
    block = policies()
    assert judge(block, (MAKER,), both(write("own"), set_policy("own", b""))) is None
    failure = judge(block, EVERYBODY, write("own"))
    assert failure is not None
    assert failure.level == "in block"


def test_change_that_is_not_endorsed_touches_nobody() -> None:
    """A policy that does not come into being is in nobody's way."""
    block = policies()
    failure = judge(block, (BANK,), set_policy("new"))
    assert failure is not None
    assert judge(block, AGREED, write("new")) is None


def test_failed_writer_of_the_key_does_not_free_it() -> None:
    """Nor does a second change of the policy, which fails as well."""
    block = policies()
    assert judge(block, AGREED, set_policy("new")) is None
    for _ in range(2):
        failure = judge(block, EVERYBODY, set_policy("new", b""))
        assert failure is not None
        assert failure.level == "in block"


def test_change_in_one_namespace_counts_even_if_another_namespace_fails() -> None:
    """Each namespace is judged by itself, as in Fabric; the transaction falls all the same."""
    block = policies()
    failure = judge(block, (OPERATOR, BANK), set_policy("new"), write("x", namespace="undefined"))
    assert failure is not None
    assert failure.code is TxValidationCode.INVALID_CHAINCODE
    failure = judge(block, AGREED, write("new"))
    assert failure is not None
    assert failure.level == "in block"


def test_namespace_without_policies_of_keys_is_judged_by_the_contracts_policy_at_once() -> None:
    """Where no key ever had metadata none is looked up (`State` refuses it), and all count."""
    several = write("one", "two", namespace="other")
    assert judge(policies(), AGREED, several) is None
    plain = BlockPolicies(
        State(definition("book", "OR('MakerMSP.peer')"), {}),  # type: ignore[arg-type]
        PolicyEvaluator(CONFIGURATION),
    )
    assert judge(plain, (MAKER,), write("one", "two")) is None
    failure = judge(plain, (BANK,), write("one", "two"))
    assert failure is not None
    assert (failure.level, failure.namespace, failure.key) == ("contract", "book", "one")


def test_key_of_the_same_name_in_another_namespace_is_another_key() -> None:
    """And the contract's policy holds there."""
    block = policies()
    assert judge(block, AGREED, set_policy("new")) is None
    assert judge(block, AGREED, write("else"), write("new", namespace="other")) is None


def test_next_block_judges_by_the_state_again() -> None:
    """What was in the way inside one block is not beyond it."""
    block = policies()
    assert judge(block, AGREED, set_policy("new")) is None
    assert judge(policies(), AGREED, write("new")) is None
