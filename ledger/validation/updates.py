"""What a block changes: the outcome of its valid transactions, key by key.

Transactions are applied one after another. The last one that touches a key decides its value and
version; a write of the value alone keeps the key's metadata, a delete drops it, a write of metadata
alone keeps the value and does nothing to an absent key.

Invariants: nothing here is written anywhere; the same transactions over the same state give the
same updates on every node; keys are encoded once.

Fabric composes the writes of one transaction to one key by *adding* flags. Honest endorsers write a
key once, and then it is what the rules above say; for a set that names a key twice the sums are
kept as Fabric has them, for they reach the commit hash.

Source: Fabric, core/ledger/kvledger/txmgmt/validation/tx_ops.go and types.go.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from ledger.transactions.rwset import (
    CollectionRWSet,
    NamespaceRWSet,
    TxRWSet,
    encode_metadata,
)
from ledger.validation.ports import CommittedState, Mark

_Key = TypeVar("_Key", str, bytes)

_UPSERT = 1
_METADATA_UPDATE = 2
_METADATA_DELETE = 4
_DELETE = 8


class Update(NamedTuple):
    """The outcome for one key: ``value`` None is a delete. ``key`` is UTF-8, or a key's SHA-256."""

    key: bytes
    value: bytes | None
    version: Version
    metadata: bytes


class UpdateEntry(NamedTuple):
    """An update with its place; ``collection`` is empty for public keys."""

    namespace: str
    collection: str
    update: Update


class HistoryMarks(NamedTuple):
    """What a valid transaction writes to public keys; the values are found in the block."""

    namespace: str
    tx_num: int
    keys: list[bytes]


_update = partial(tuple.__new__, Update)


@dataclass(slots=True)
class NamespaceUpdates:
    """The outcome for one namespace so far.

    Attributes:
        public: by key.
        hashed: by collection, then by key hash.
    """

    public: dict[str, Update] = field(default_factory=dict)
    hashed: dict[str, dict[bytes, Update]] = field(default_factory=dict)
    has_metadata: bool = False
    _sorted: list[str] = field(default_factory=list)

    def public_range(self, start_key: str, end_key: str) -> list[str]:
        """Return the changed public keys of a range, sorted; deletes are among them."""
        keys = self._sorted
        if len(keys) != len(self.public):
            # No key ever leaves, so what is new stands at the end; the sort merges it in.
            keys.extend(islice(self.public, len(keys), None))
            keys.sort()
        first = bisect_left(keys, start_key) if start_key else 0
        last = bisect_left(keys, end_key) if end_key else len(keys)
        return keys[first:last]


_NOTHING = NamespaceUpdates()


class BlockUpdates:
    """The updates of one block over the state before it.

    Args:
        state: the world state before the block.
    """

    def __init__(self, state: CommittedState) -> None:
        self._state = state
        self._namespaces: dict[str, NamespaceUpdates] = {}
        self._marks: dict[str, dict[str, Mark | None]] = {}
        self._hashed: dict[tuple[str, str], dict[bytes, VersionedValue | None]] = {}
        self.history: list[HistoryMarks] = []

    def of(self, namespace: str) -> NamespaceUpdates:
        """Return what has changed in *namespace* so far; not to be changed by the caller."""
        return self._namespaces.get(namespace, _NOTHING)

    def committed_marks(self, namespace: str, keys: list[str]) -> dict[str, Mark | None]:
        """Return marks of the state before the block, *keys* among them; each is fetched once."""
        known = self._marks.get(namespace)
        if known is None:
            known = self._marks[namespace] = {}
        missing = [key for key in keys if key not in known]
        if missing:
            known.update(zip(missing, self._state.marks(namespace, missing), strict=True))
        return known

    def committed_hashed(
        self, namespace: str, collection: str, key_hashes: Iterable[bytes]
    ) -> dict[bytes, VersionedValue | None]:
        """The same for private keys, by their hashes."""
        known = self._hashed.setdefault((namespace, collection), {})
        get = self._state.get_hashed
        for key_hash in key_hashes:
            if key_hash not in known:
                known[key_hash] = get(namespace, collection, key_hash)
        return known

    def entries(self) -> Iterator[UpdateEntry]:
        """Iterate in the order of the commit hash.

        That is: namespaces; in each the public keys, then the collections, in each the key hashes;
        all by their bytes.
        """
        for namespace, updates in sorted(self._namespaces.items()):
            public = updates.public
            for key in sorted(public):
                yield UpdateEntry(namespace, "", public[key])
            for collection, hashed in sorted(updates.hashed.items()):
                for key_hash in sorted(hashed):
                    yield UpdateEntry(namespace, collection, hashed[key_hash])

    def public(self) -> Iterator[tuple[str, dict[str, Update]]]:
        """Iterate over the namespaces with changes: name, updates of public keys by key."""
        for namespace, updates in sorted(self._namespaces.items()):
            yield namespace, updates.public

    def hashed(self) -> Iterator[tuple[str, str, dict[bytes, Update]]]:
        """Iterate over the collections with changes: namespace, collection, updates by key hash."""
        for namespace, updates in sorted(self._namespaces.items()):
            for collection, hashed in sorted(updates.hashed.items()):
                yield namespace, collection, hashed

    def namespaces_with_new_metadata(self) -> list[str]:
        """Return the namespaces in which this block stores metadata."""
        return sorted(name for name, each in self._namespaces.items() if each.has_metadata)

    def put(self, namespace: str, key: str, value: bytes, version: Version) -> None:
        """Write one public key outside of any read/write set (channel configuration)."""
        updates = self._namespaces.setdefault(namespace, NamespaceUpdates())
        updates.public[key] = Update(key.encode(), value, version, b"")

    def apply(self, rwset: TxRWSet, version: Version) -> None:
        """Add the writes of a valid transaction.

        Args:
            rwset: of the transaction.
            version: its block and place.
        """
        for each in rwset.namespaces:
            if not each.is_writing:
                continue
            updates = self._namespaces.get(each.namespace)
            if updates is None:
                updates = self._namespaces[each.namespace] = NamespaceUpdates()
            if each.metadata_writes or len({write.key for write in each.writes}) != len(
                each.writes
            ):
                self._apply_composed(each, updates, version)
            else:
                self._apply_writes(each, updates, version)
            for collection in each.collections:
                self._apply_collection(each.namespace, collection, updates, version)

    def _apply_writes(
        self, rwset: NamespaceRWSet, updates: NamespaceUpdates, version: Version
    ) -> None:
        """Apply writes of values alone, each key once: nearly every transaction there is."""
        namespace, writes = rwset.namespace, rwset.writes
        public = updates.public
        if writes:
            self._note_history(rwset, version)
        if not (updates.has_metadata or self._state.has_metadata(namespace)):
            for key, is_delete, value in writes:
                kept = None if is_delete else value or None
                public[key] = _update((key.encode(), kept, version, b""))
            return
        marks = self.committed_marks(namespace, [write.key for write in writes])
        for key, is_delete, value in writes:
            if is_delete or not value:
                public[key] = _update((key.encode(), None, version, b""))
            else:
                latest = public.get(key) or marks.get(key)
                metadata = latest.metadata if latest is not None else b""
                public[key] = _update((key.encode(), value, version, metadata))

    def _note_history(self, rwset: NamespaceRWSet, version: Version) -> None:
        keys = [key.encode() for key, _, _ in rwset.writes]
        self.history.append(HistoryMarks(rwset.namespace, version.tx_num, keys))

    def _apply_composed(
        self, rwset: NamespaceRWSet, updates: NamespaceUpdates, version: Version
    ) -> None:
        """Apply writes of values and metadata, keys possibly named more than once."""
        namespace = rwset.namespace
        operations = _Operations[str]()
        if rwset.writes:
            self._note_history(rwset, version)
        for write in rwset.writes:
            operations.write(write.key, write.deletes, write.value)
        for key, entries in rwset.metadata_writes:
            operations.write_metadata(key, entries)
        for key, operation in operations.by_key.items():
            if operation.is_delete:
                updates.public[key] = Update(key.encode(), None, version, b"")
                continue
            value, metadata = operation.value, operation.metadata
            if operation.is_value_only:
                metadata = self._latest_metadata(namespace, key)
            elif not operation.is_value_and_metadata:
                latest = updates.public.get(key) or self._state.get(namespace, key)
                value = latest.value if latest is not None else None
            if value is not None:
                updates.public[key] = Update(key.encode(), value, version, metadata)
                updates.has_metadata |= bool(metadata)

    def _apply_collection(
        self,
        namespace: str,
        rwset: CollectionRWSet,
        updates: NamespaceUpdates,
        version: Version,
    ) -> None:
        if not rwset.hashed_writes and not rwset.metadata_writes:
            return
        hashed = updates.hashed.setdefault(rwset.collection, {})
        key_hashes = [write.key_hash for write in rwset.hashed_writes]
        if rwset.metadata_writes or len(set(key_hashes)) != len(key_hashes):
            self._apply_composed_hashes(namespace, rwset, updates, version)
            return
        known: dict[bytes, VersionedValue | None] = {}
        if updates.has_metadata or self._state.has_metadata(namespace):
            wanted = [each for each in key_hashes if each not in hashed]
            known = self.committed_hashed(namespace, rwset.collection, wanted)
        for write in rwset.hashed_writes:
            key_hash = write.key_hash
            if write.deletes:
                hashed[key_hash] = _update((key_hash, None, version, b""))
            else:
                latest = hashed.get(key_hash) or known.get(key_hash)
                metadata = latest.metadata if latest is not None else b""
                hashed[key_hash] = _update((key_hash, write.value_hash, version, metadata))

    def _apply_composed_hashes(
        self,
        namespace: str,
        rwset: CollectionRWSet,
        updates: NamespaceUpdates,
        version: Version,
    ) -> None:
        """Apply private writes of values and metadata, keys possibly named more than once."""
        hashed = updates.hashed[rwset.collection]
        operations = _Operations[bytes]()
        for write in rwset.hashed_writes:
            operations.write(write.key_hash, write.deletes, write.value_hash)
        for key_hash, entries in rwset.metadata_writes:
            operations.write_metadata(key_hash, entries)
        for key_hash, operation in operations.by_key.items():
            if operation.is_delete:
                hashed[key_hash] = Update(key_hash, None, version, b"")
                continue
            value, metadata = operation.value, operation.metadata
            if not operation.is_value_and_metadata:
                latest = hashed.get(key_hash) or self._state.get_hashed(
                    namespace, rwset.collection, key_hash
                )
                if operation.is_value_only:
                    metadata = latest.metadata if latest is not None else b""
                else:
                    value = latest.value if latest is not None else None
            if value is not None:
                hashed[key_hash] = Update(key_hash, value, version, metadata)
                updates.has_metadata |= bool(metadata)

    def _latest_metadata(self, namespace: str, key: str) -> bytes:
        """Return the metadata of a public key before the write in hand."""
        update = self._namespaces[namespace].public.get(key)
        if update is not None:
            return update.metadata
        mark = self.committed_marks(namespace, [key])[key]
        return mark.metadata if mark is not None else b""


@dataclass(slots=True)
class _Operation:
    """The writes of one transaction to one key, composed as Fabric composes them."""

    flags: int = 0
    value: bytes | None = None
    metadata: bytes = b""

    @property
    def is_delete(self) -> bool:
        return bool(self.flags & _DELETE)

    @property
    def is_value_and_metadata(self) -> bool:
        return bool(self.flags & _UPSERT) and bool(
            self.flags & (_METADATA_UPDATE | _METADATA_DELETE)
        )

    @property
    def is_value_only(self) -> bool:
        return self.flags | _UPSERT == _UPSERT


class _Operations(Generic[_Key]):
    """The writes of one transaction to one namespace or collection, by key."""

    def __init__(self) -> None:
        self.by_key: dict[_Key, _Operation] = {}

    def _add(self, key: _Key, flag: int) -> _Operation:
        operation = self.by_key.setdefault(key, _Operation())
        operation.flags = (operation.flags + flag) & 0xFF
        return operation

    def write(self, key: _Key, deletes: bool, value: bytes) -> None:
        if deletes:
            self._add(key, _DELETE)
        else:
            self._add(key, _UPSERT).value = value

    def write_metadata(self, key: _Key, entries: tuple[tuple[str, bytes], ...]) -> None:
        if entries:
            self._add(key, _METADATA_UPDATE).metadata = encode_metadata(entries)
        else:
            self._add(key, _METADATA_DELETE)
