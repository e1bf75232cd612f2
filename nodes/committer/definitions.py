"""What the channel has agreed about a contract, as the validator needs it.

Definitions stand in the namespace `_lifecycle`, in Fabric's own keys and bytes:

    namespaces/metadata/NAME                  StateMetadata: the kind of entry and its fields
    namespaces/fields/NAME/Sequence           StateData int64
    namespaces/fields/NAME/ValidationInfo     StateData bytes: ChaincodeValidationInfo
    namespaces/fields/NAME/Collections        StateData bytes: CollectionConfigPackage

They are read from the state before the block, so a new definition counts from the next block on.
Source: Fabric, core/chaincode/lifecycle/{lifecycle,serializer,deployedcc_infoprovider}.go.

Invariants: reading never fails on what is stored; an entry that cannot be read defines nothing, so
that no transaction, however endorsed, can stop a channel (Fabric's peer would halt).

Absent: writing definitions, approvals, packages (`chaincode.system`).
"""

from __future__ import annotations

from dataclasses import dataclass

from fabric_protos.peer import collection_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2
from google.protobuf.message import DecodeError

from ledger.state.ports import StateReader

__all__ = ["LIFECYCLE", "Definition", "load_definition"]

LIFECYCLE = "_lifecycle"
_CHAINCODE_DEFINITION = "ChaincodeDefinition"


@dataclass(frozen=True, slots=True)
class Definition:
    """The part of a contract's definition that judges transactions.

    Attributes:
        validation_plugin: name of the rule set; a definition without one is not usable.
        policy: marshalled `ApplicationPolicy` of the contract.
        collections: own marshalled `ApplicationPolicy` of each private collection, by name; empty
            bytes if the collection has none and the contract's holds.
    """

    validation_plugin: str
    policy: bytes
    collections: dict[str, bytes]


def load_definition(state: StateReader, name: str) -> Definition | None:
    """Return the definition of contract *name* in *state*, None if there is none that counts."""
    metadata = state.get(LIFECYCLE, f"namespaces/metadata/{name}")
    if metadata is None:
        return None
    try:
        kind = db_pb2.StateMetadata.FromString(metadata.value)
        if kind.datatype != _CHAINCODE_DEFINITION:
            return None
        validation = chaincode_definition_pb2.ChaincodeValidationInfo.FromString(
            _field(state, name, "ValidationInfo")
        )
        package = collection_pb2.CollectionConfigPackage.FromString(
            _field(state, name, "Collections")
        )
    except DecodeError:
        return None
    collections: dict[str, bytes] = {}
    for config in package.config:
        static = config.static_collection_config
        # The first of two collections with one name counts, as in Fabric's search.
        collections.setdefault(
            static.name,
            static.endorsement_policy.SerializeToString()
            if static.HasField("endorsement_policy")
            else b"",
        )
    return Definition(validation.validation_plugin, validation.validation_parameter, collections)


def _field(state: StateReader, name: str, field: str) -> bytes:
    """Return a field of kind bytes; empty if it is absent."""
    entry = state.get(LIFECYCLE, f"namespaces/fields/{name}/{field}")
    if entry is None:
        return b""
    value: bytes = db_pb2.StateData.FromString(entry.value).bytes
    return value
