"""Who may have the data of a private collection: members' nodes, and creators of proposals.

A collection's policy (``member_orgs_policy``) is a signature policy. Two questions are asked of it,
as Fabric's peers ask them:

- Is a *member's node* entitled to the data? It is if some principal of the policy names its MSP.
- Is an *identity* a member of the collection? It is if it satisfies the policy alone: for
  ``memberOnlyRead`` and ``memberOnlyWrite`` of a proposal's creator, and for blocks with private
  data.

The implicit collection ``_implicit_org_MSPID`` of a contract belongs to that one member; its
counts are Fabric's defaults, so that its data are pushed to its owner if another endorses.

Invariants: everything is read from a given state and judged under one channel configuration; a
policy that cannot be read entitles nobody.

Source: Fabric, core/common/privdata/{collection,store,util,membershipinfo}.go;
core/chaincode/lifecycle/deployedcc_infoprovider.go, `GenerateImplicitCollectionForOrg`;
gossip/privdata/{pvtdataprovider,dataretriever,pull}.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer import collection_pb2
from fabric_protos.peer.lifecycle import db_pb2
from google.protobuf.message import DecodeError

from chaincode.system.definitions import (
    LIFECYCLE,
    METADATA_PREFIX,
    field_key,
    load_definition,
)
from ledger.errors import Fatal
from ledger.state.ports import StateReader
from network.configuration import ChannelConfiguration
from network.errors import IdentityError, PolicyError
from network.msp import Identity, MSPManager
from network.policy import SignaturePolicy, parse_policy
from nodes.committer.policies import IMPLICIT_COLLECTION, PolicyEvaluator

__all__ = ["Collection", "Collections", "CreatorAccess"]

_CACHED: Final = 1024
_AFTER_METADATA: Final = METADATA_PREFIX[:-1] + "0"
"""The first key behind those of the metadata."""
IMPLICIT_REQUIRED_PEERS: Final = 0
IMPLICIT_MAXIMUM_PEERS: Final = 1


class _Reading(Protocol):
    """What is asked of a state."""

    def get(self, namespace: str, key: str) -> Any:
        """Return the entry of a public key, None if absent."""


@dataclass(frozen=True, slots=True)
class Collection:
    """One private collection, under one channel configuration.

    Attributes:
        namespace: the contract it belongs to.
        name: of the collection.
        members: MSP ids of the members whose nodes are entitled to its data, sorted.
        required_peer_count: other members' nodes that must have taken data before an endorsement.
        maximum_peer_count: other members' nodes to which an endorser pushes data.
        block_to_live: blocks after which data go; 0 for never.
        member_only_read, member_only_write: whether a creator must be a member.
        endorsement_policy: its own marshalled ``ApplicationPolicy``; empty if the contract's holds.
        config: the marshalled ``StaticCollectionConfig``.
        policy: who is a member; None if it cannot be read.
    """

    namespace: str
    name: str
    members: tuple[str, ...]
    required_peer_count: int
    maximum_peer_count: int
    block_to_live: int
    member_only_read: bool
    member_only_write: bool
    endorsement_policy: bytes
    config: bytes
    policy: SignaturePolicy | None

    def is_member(self, identity: Identity) -> bool:
        """Say whether *identity* alone satisfies the collection's policy."""
        return self.policy is not None and self.policy.is_satisfied([identity])


class Collections:
    """The collections of a channel under one configuration; make another for the next.

    Safe on any thread: what is remembered is made anew where two ask at once.
    """

    def __init__(self, configuration: ChannelConfiguration) -> None:
        self.configuration = configuration
        self._evaluator = PolicyEvaluator(configuration)
        self._known: dict[tuple[str, bytes], Collection] = {}

    @property
    def lifecycle_policy(self) -> bytes:
        """The channel's policy for contract definitions, a marshalled ``ApplicationPolicy``."""
        return self._evaluator.lifecycle_policy

    def find(self, state: _Reading, namespace: str, name: str) -> Collection | None:
        """Return a collection as *state* defines it, an implicit one included; None if it is none.

        Args:
            state: the state that counts, for example that before a block.
        """
        if name.startswith(IMPLICIT_COLLECTION):
            if not _is_defined(state, namespace):
                return None
            return self._implicit(namespace, name)
        definition = load_definition(state, namespace)
        return (
            None if definition is None else self.of(definition.collection_package, namespace, name)
        )

    def at_block(
        self, state: StateReader, namespace: str, name: str, number: int
    ) -> Collection | None:
        """Return a collection as it was defined before block *number*.

        Args:
            state: one that has this block.
        """
        if name.startswith(IMPLICIT_COLLECTION):
            return self.find(state, namespace, name)
        for change in state.history(LIFECYCLE, field_key(namespace, "Collections")):
            if change.version.block_num < number:
                try:
                    package = db_pb2.StateData.FromString(change.value).Bytes
                except DecodeError:
                    return None
                return self.of(package, namespace, name)
        return None

    def of(self, package: bytes, namespace: str, name: str) -> Collection | None:
        """Return the collection of that name in a marshalled ``CollectionConfigPackage``."""
        config = _configs(package).get(name)
        return None if config is None else self._remembered(namespace, config)

    def told(self, package: bytes, namespace: str, name: str) -> Collection | None:
        """The same, of a package that another node sent; nothing of it is remembered."""
        config = _configs.__wrapped__(package).get(name)
        return None if config is None else _read(namespace, config, self.configuration.msps)

    def of_member(self, state: StateReader, msp_id: str) -> Iterator[Collection]:
        """Iterate over the collections to which a member is entitled, its implicit ones too."""
        implicit = IMPLICIT_COLLECTION + msp_id
        places = [(LIFECYCLE, implicit)]
        for key, _entry in state.range(LIFECYCLE, METADATA_PREFIX, _AFTER_METADATA):
            namespace = key.removeprefix(METADATA_PREFIX)
            definition = load_definition(state, namespace)
            if definition is not None:
                places += [(namespace, each) for each in _configs(definition.collection_package)]
                places.append((namespace, implicit))
        for place in places:
            found = self.find(state, *place)
            if found is not None and msp_id in found.members:
                yield found

    def _implicit(self, namespace: str, name: str) -> Collection | None:
        msp_id = name.removeprefix(IMPLICIT_COLLECTION)
        if msp_id not in self.configuration.organisations:
            return None
        policy = self._evaluator.implicit_collection(name) or b""
        return self._remembered(namespace, _implicit_config(name, msp_id, policy))

    def _remembered(self, namespace: str, config: bytes) -> Collection:
        found = self._known.get((namespace, config))
        if found is None:
            found = _read(namespace, config, self.configuration.msps)
            if len(self._known) >= _CACHED:
                self._known.clear()
            self._known[namespace, config] = found
        return found


class CreatorAccess:
    """What the creator of one proposal may do: `chaincode.simulator.ports.CollectionAccess`.

    Args:
        collections: under the configuration in force.
        state: the snapshot of the simulation.
        creator: of the proposal, whose signature has been verified.
    """

    def __init__(self, collections: Collections, state: StateReader, creator: Identity) -> None:
        self._collections = collections
        self._state = state
        self._creator = creator

    def exists(self, namespace: str, collection: str) -> bool:
        """Say whether *namespace* has this collection, an implicit one included."""
        return self._collections.find(self._state, namespace, collection) is not None

    def may_read(self, namespace: str, collection: str) -> bool:
        """Say whether the creator may read plain data of a collection."""
        found = self._collections.find(self._state, namespace, collection)
        return found is not None and (not found.member_only_read or self._is_member(found))

    def may_write(self, namespace: str, collection: str) -> bool:
        """Say whether the creator may write to a collection."""
        found = self._collections.find(self._state, namespace, collection)
        return found is not None and (not found.member_only_write or self._is_member(found))

    def _is_member(self, collection: Collection) -> bool:
        return collection.is_member(self._creator)


def _is_defined(state: _Reading, namespace: str) -> bool:
    return namespace == LIFECYCLE or load_definition(state, namespace) is not None


@lru_cache(maxsize=_CACHED)
def _implicit_config(name: str, msp_id: str, policy: bytes) -> bytes:
    config = collection_pb2.StaticCollectionConfig(
        name=name,
        required_peer_count=IMPLICIT_REQUIRED_PEERS,
        maximum_peer_count=IMPLICIT_MAXIMUM_PEERS,
    )
    config.endorsement_policy.MergeFromString(policy)
    config.member_orgs_policy.signature_policy.CopyFrom(parse_policy(f"OR('{msp_id}.member')"))
    raw: bytes = config.SerializeToString(deterministic=True)
    return raw


@lru_cache(maxsize=256)
def _configs(package: bytes) -> Mapping[str, bytes]:
    """Return the collections of a marshalled package by name, each marshalled; none if unreadable.

    The first of two with one name counts, as in Fabric's search.
    """
    try:
        message = collection_pb2.CollectionConfigPackage.FromString(package)
    except DecodeError:
        return {}
    found: dict[str, bytes] = {}
    for each in message.config:
        if each.HasField("static_collection_config"):
            static = each.static_collection_config
            found.setdefault(static.name, static.SerializeToString(deterministic=True))
    return found


def _read(namespace: str, raw: bytes, msps: MSPManager) -> Collection:
    try:
        config = collection_pb2.StaticCollectionConfig.FromString(raw)
    except DecodeError as error:  # it was marshalled here
        raise Fatal(f"a collection of {namespace} cannot be read back: {error}") from error
    envelope = config.member_orgs_policy.signature_policy
    policy: SignaturePolicy | None
    try:
        policy = SignaturePolicy(envelope, msps, f"of collection {config.name}")
    except PolicyError:
        policy = None
    return Collection(
        namespace,
        config.name,
        tuple(sorted(_members(envelope, msps))) if policy is not None else (),
        max(0, config.required_peer_count),
        max(0, config.maximum_peer_count),
        config.block_to_live,
        config.member_only_read,
        config.member_only_write,
        config.endorsement_policy.SerializeToString(),
        raw,
        policy,
    )


def _members(envelope: policies_pb2.SignaturePolicyEnvelope, msps: MSPManager) -> set[str]:
    """Return the MSP ids that the principals of a policy name; those that cannot be read, none."""
    kinds = msp_principal_pb2.MSPPrincipal
    members: set[str] = set()
    for each in envelope.identities:
        try:
            if each.principal_classification == kinds.ROLE:
                members.add(msp_principal_pb2.MSPRole.FromString(each.principal).msp_identifier)
            elif each.principal_classification == kinds.ORGANIZATION_UNIT:
                unit = msp_principal_pb2.OrganizationUnit.FromString(each.principal)
                members.add(unit.msp_identifier)
            elif each.principal_classification == kinds.IDENTITY:
                members.add(msps.deserialize(each.principal).msp_id)
        except (DecodeError, IdentityError):
            continue
    return members
