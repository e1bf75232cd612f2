"""How `_lifecycle` lays a structure into keys: one key for what it is, one for each field.

    SPACE/metadata/NAME          StateMetadata: the structure's kind and the names of its fields
    SPACE/fields/NAME/FIELD      StateData: one field

`SPACE` is `namespaces` for definitions and their approvals, `chaincode-sources` for packages. The
layout is Fabric's own and stands in states and in hashes that organisations compare, so the bytes
are fixed. Source: Fabric, core/chaincode/lifecycle/serializer.go.

Invariants: a key is written only if its value changes, so that nobody conflicts over what stays as
it is; all that `load` and `store` look at is read through the stub and so is in the read set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from fabric_protos.peer.lifecycle import db_pb2
from google.protobuf.message import DecodeError

from chaincode.contract.stub import Stub
from chaincode.errors import ContractRefusal

END_OF_SPACE = "\x7f"
"""Behind every character of a name (Fabric, ledger_shim.go)."""


class Unreadable(ContractRefusal):
    """What is kept under a name is not what it should be."""


def metadata_key(space: str, name: str) -> str:
    """Return the key that says what is kept under *name*."""
    return f"{space}/metadata/{name}"


def field_key(space: str, name: str, field: str) -> str:
    """Return the key of a field of what is kept under *name*."""
    return f"{space}/fields/{name}/{field}"


@dataclass(frozen=True, slots=True)
class Structure:
    """What is kept under a name.

    Attributes:
        kind: Fabric's name of it.
        fields: marshalled `StateData` by name, in the order of Fabric's struct.
    """

    kind: str
    fields: Mapping[str, bytes]

    @property
    def metadata(self) -> bytes:
        """The marshalled `StateMetadata`."""
        raw: bytes = db_pb2.StateMetadata(
            datatype=self.kind, fields=list(self.fields)
        ).SerializeToString()
        return raw


class FieldState(Protocol):
    """Where structures are kept."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of several keys."""

    def put(self, key: str, value: bytes) -> None:
        """Set a key."""

    def delete(self, key: str) -> None:
        """Remove a key."""


class PublicFields:
    """The public state of `_lifecycle`."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of several keys."""
        return self._stub.get_states(keys)

    def put(self, key: str, value: bytes) -> None:
        """Set a key."""
        self._stub.put_state(key, value)

    def delete(self, key: str) -> None:
        """Remove a key."""
        self._stub.del_state(key)


class PrivateFields:
    """A private collection of `_lifecycle`."""

    def __init__(self, stub: Stub, collection: str) -> None:
        self._stub = stub
        self._collection = collection

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of several keys."""
        return self._stub.get_private_data_many(self._collection, keys)

    def put(self, key: str, value: bytes) -> None:
        """Set a key."""
        self._stub.put_private_data(self._collection, key, value)

    def delete(self, key: str) -> None:
        """Remove a key."""
        self._stub.del_private_data(self._collection, key)

    def names(self, space: str) -> list[str]:
        """Return the names that something is kept under, sorted; not protected."""
        first = metadata_key(space, "")
        found = self._stub.get_private_data_by_range(self._collection, first, first + END_OF_SPACE)
        return [key.removeprefix(first) for key, _value in found]


def load_kind(state: FieldState, space: str, name: str) -> db_pb2.StateMetadata | None:
    """Return what is kept under *name*, None if nothing is.

    Raises:
        Unreadable: what stands there cannot be read.
    """
    (raw,) = state.get_many([metadata_key(space, name)])
    if raw is None:
        return None
    try:
        return db_pb2.StateMetadata.FromString(raw)
    except DecodeError:
        raise Unreadable(
            f"{space}/{name}", "could not unmarshal metadata", "approve it again"
        ) from None


def load_fields(
    state: FieldState, space: str, name: str, fields: Sequence[str]
) -> dict[str, db_pb2.StateData]:
    """Return fields of what is kept under *name*; an absent one is empty.

    Raises:
        Unreadable: one of them cannot be read.
    """
    keys = [field_key(space, name, field) for field in fields]
    try:
        return {
            field: db_pb2.StateData.FromString(value or b"")
            for field, value in zip(fields, state.get_many(keys), strict=True)
        }
    except DecodeError:
        raise Unreadable(
            f"{space}/{name}", "could not unmarshal state", "approve it again"
        ) from None


def store(state: FieldState, space: str, name: str, structure: Structure) -> None:
    """Write *structure* under *name* as far as it is not there already."""
    known = load_kind(state, space, name) or db_pb2.StateMetadata()
    old = [field_key(space, name, field) for field in known.fields]
    existing = dict(zip(old, state.get_many(old), strict=True)) if old else {}
    for field, value in structure.fields.items():
        key = field_key(space, name, field)
        if existing.pop(key, None) != value:
            state.put(key, value)
    changed = known.datatype != structure.kind or len(known.fields) != len(structure.fields)
    if existing or changed:
        state.put(metadata_key(space, name), structure.metadata)
    for key in existing:
        state.delete(key)


def overwrite(state: FieldState, space: str, name: str, structure: Structure) -> None:
    """Write *structure* under *name* as a whole, whatever is there."""
    state.put(metadata_key(space, name), structure.metadata)
    for field, value in structure.fields.items():
        state.put(field_key(space, name, field), value)


def differences(
    stub: Stub, collection: str, space: str, name: str, structure: Structure
) -> list[str]:
    """Compare *structure* with what is kept in a collection, by hashes alone.

    Returns: the names of the fields that differ; the structure's kind if it is another or absent.
    """
    keys = [metadata_key(space, name)]
    keys += [field_key(space, name, field) for field in structure.fields]
    kind, *fields = [stub.get_private_data_hash(collection, key) for key in keys]
    if kind != sha256(structure.metadata).digest():
        return [structure.kind]
    pairs = zip(structure.fields.items(), fields, strict=True)
    return [field for (field, value), found in pairs if found != sha256(value).digest()]
