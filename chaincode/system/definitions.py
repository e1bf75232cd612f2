"""What the channel has agreed about a contract: the one reader of definitions.

Definitions stand in the namespace `_lifecycle`, in Fabric's own keys and bytes:

    namespaces/metadata/NAME                  StateMetadata: the kind of entry and its fields
    namespaces/fields/NAME/Sequence           StateData int64
    namespaces/fields/NAME/EndorsementInfo    StateData bytes: ChaincodeEndorsementInfo (version)
    namespaces/fields/NAME/ValidationInfo     StateData bytes: ChaincodeValidationInfo (policy)
    namespaces/fields/NAME/Collections        StateData bytes: CollectionConfigPackage

They are read from the state before the block, so a new definition counts from the next block on.
Source: Fabric, core/chaincode/lifecycle/{lifecycle,serializer,deployedcc_infoprovider}.go.

Invariants: reading never fails on what is stored; an entry that cannot be read defines nothing, so
that no transaction, however endorsed, can stop a channel (Fabric's peer would halt). No read is
recorded here: what a simulation must record, the simulator reads.

Absent: writing definitions (`lifecycle`), approvals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fabric_protos.peer import collection_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2
from google.protobuf.message import DecodeError

from chaincode.system.ports import DefinitionState

LIFECYCLE: Final = "_lifecycle"
DATATYPE: Final = "ChaincodeDefinition"
FIELDS: Final = ("Sequence", "EndorsementInfo", "ValidationInfo", "Collections")
"""Fields of a definition in the order of Fabric's struct, as its metadata lists them."""
METADATA_PREFIX: Final = "namespaces/metadata/"


def metadata_key(name: str) -> str:
    """Return the key in `_lifecycle` that says that *name* is defined."""
    return METADATA_PREFIX + name


def field_key(name: str, field: str) -> str:
    """Return the key in `_lifecycle` of a field of the definition of *name*."""
    return f"namespaces/fields/{name}/{field}"


@dataclass(frozen=True, slots=True)
class Definition:
    """A contract's definition.

    Attributes:
        validation_plugin: name of the rule set; a definition without one is not usable.
        policy: marshalled `ApplicationPolicy` of the contract.
        collections: own marshalled `ApplicationPolicy` of each private collection, by name; empty
            bytes if the collection has none and the contract's holds.
        sequence: number of the definition, from 1.
        version: of the contract; names the package that serves it.
        endorsement_plugin: as written; `escc`.
        init_required: whether the first call in each version must be one that initialises.
        collection_package: marshalled `CollectionConfigPackage`, as written.
    """

    validation_plugin: str
    policy: bytes
    collections: Mapping[str, bytes]
    sequence: int = 0
    version: str = ""
    endorsement_plugin: str = ""
    init_required: bool = False
    collection_package: bytes = b""


def definition_keys(name: str) -> list[str]:
    """Return the keys of a definition in `_lifecycle`, in the order `decode_definition` takes."""
    return [metadata_key(name), *(field_key(name, field) for field in FIELDS)]


def load_definition(state: DefinitionState, name: str) -> Definition | None:
    """Return the definition of contract *name* in *state*, None if there is none that counts."""
    if state.get(LIFECYCLE, metadata_key(name)) is None:
        return None
    entries = [state.get(LIFECYCLE, key) for key in definition_keys(name)]
    return decode_definition([None if each is None else each.value for each in entries])


def decode_definition(values: Sequence[bytes | None]) -> Definition | None:
    """Return the definition that the values of `definition_keys` make, None if they make none."""
    metadata, *fields = values
    return None if metadata is None else _decode(metadata, *(field or b"" for field in fields))


@lru_cache(maxsize=256)
def _decode(
    metadata: bytes, sequence: bytes, endorsement: bytes, validation: bytes, collections: bytes
) -> Definition | None:
    try:
        if db_pb2.StateMetadata.FromString(metadata).datatype != DATATYPE:
            return None
        endorsing = chaincode_definition_pb2.ChaincodeEndorsementInfo.FromString(
            _bytes_of(endorsement)
        )
        validating = chaincode_definition_pb2.ChaincodeValidationInfo.FromString(
            _bytes_of(validation)
        )
        package = collection_pb2.CollectionConfigPackage.FromString(_bytes_of(collections))
        number = db_pb2.StateData.FromString(sequence).Int64
    except DecodeError:
        return None
    policies: dict[str, bytes] = {}
    for config in package.config:
        static = config.static_collection_config
        # The first of two collections with one name counts, as in Fabric's search.
        policies.setdefault(
            static.name,
            static.endorsement_policy.SerializeToString()
            if static.HasField("endorsement_policy")
            else b"",
        )
    return Definition(
        validating.validation_plugin,
        validating.validation_parameter,
        policies,
        number,
        endorsing.version,
        endorsing.endorsement_plugin,
        endorsing.init_required,
        _bytes_of(collections),
    )


def _bytes_of(field: bytes) -> bytes:
    """Return the content of a field of kind bytes; empty if it is absent."""
    value: bytes = db_pb2.StateData.FromString(field).Bytes
    return value
