"""What the private data of a block change, in the state and in the store of write sets.

The plain state follows from the hashed state and the write sets that are held: a key has a plain
entry exactly if its hashed entry's value is the hash of what some held write set of a valid
transaction writes to it; the newest such set counts. The entry has the hashed entry's version. So
it does not matter when a set arrived, and the state made anew from blocks and sets is the same.

A purge takes its key out of every write set up to the purging one. A set that expires goes, but
for keys that are still in force, because later transactions changed their metadata or wrote the
same value; they stay, unseen by ``private_data``, until their own time has come.

Other than in Fabric a plain value goes when the hash that stands for it goes, even where the write
set that replaced it is missing; there it stays and is told apart by its version.

Source: Fabric, core/ledger/kvledger/txmgmt/validation/batch_preparer.go (metadata and versions),
pvtstatepurgemgmt/purge_mgr.go (expiry), core/ledger/pvtdatastorage/store.go (purge).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ledger.state.keys import (
    absent_prefix,
    encode_entry,
    encode_place,
    private_prefix,
    purged_key,
)
from ledger.state.ports import VersionedValue
from ledger.state.prepared import PreparedBlock
from ledger.state.private_check import key_hashes, read_held, without
from ledger.state.private_keys import (
    NO_CHANGES,
    OUTLIVED,
    TRIMMED,
    Changes,
    Put,
    SetPlace,
    StoredSet,
    awaited_key,
    changes_key,
    encode_changes,
    encode_set,
    index_key,
    index_keys,
    set_key,
)
from ledger.state.private_store import PrivateStore
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.private import (
    PrivateRWSet,
    encode_private_rwset,
    hash_key,
    hash_value,
)
from ledger.validation.updates import Update


class PrivateKey(NamedTuple):
    """A private key, by its hash."""

    namespace: str
    collection: str
    key_hash: bytes


class PlannedState(Protocol):
    """What is asked of the state before the block."""

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        """Return the entry of a private key by the key's SHA-256, None if absent."""

    def absent(self, namespace: str, collection: str, number: int) -> Iterator[Version]:
        """Iterate over the transactions of a block whose write set is not held."""


@dataclass(frozen=True, slots=True)
class PrivatePlan:
    """What the private data of one block change.

    Attributes:
        before: of the store of write sets, before the block is stored.
        state: of the state's database, with the block's own batch.
        after: of the store, once the state has the block; ``before`` notes them.
    """

    before: Changes = NO_CHANGES
    state: Changes = NO_CHANGES
    after: Changes = NO_CHANGES


NO_PLAN = PrivatePlan()


def find_value(
    store: PrivateStore, key: PrivateKey, value_hash: bytes, below: int
) -> tuple[str, bytes] | None:
    """Return key and value, as the newest write set of a block below *below* has them."""
    for place, name in store.naming(*key):
        if place.version.block_num < below:
            stored = store.get(place)
            if stored is not None and stored.is_valid:
                value = _value(read_held(stored.rwset), name, value_hash)
                if value is not None:
                    return name, value
    return None


def _value(rwset: PrivateRWSet, key: str, value_hash: bytes) -> bytes | None:
    for write in rwset.writes:
        if write.key == key and not write.deletes and hash_value(write.value) == value_hash:
            return write.value
    return None


def private_put(key: PrivateKey, name: str, value: bytes, version: Version) -> Put:
    """Return the plain entry of a private key."""
    raw = name.encode()
    prefix = private_prefix(key.namespace, key.collection)
    return prefix + raw, encode_entry(Update(raw, value, version, b""))


class PrivatePlanner:
    """Works out what the private data of one block change.

    Args:
        prepared: the block.
        held: its write sets, verified.
        store: those of the blocks before.
        state: before the block.
    """

    def __init__(
        self,
        prepared: PreparedBlock,
        held: dict[SetPlace, StoredSet],
        store: PrivateStore,
        state: PlannedState,
    ) -> None:
        self._prepared = prepared
        self._number = prepared.block.number
        self._held = held
        self._store = store
        self._state = state
        self._puts: list[Put] = []
        self._deletes: list[bytes] = []
        self._going = {PrivateKey(*each[:3]) for each in prepared.expiry.hashes if each[3]}
        self._purged = self._purges()
        self._names: dict[PrivateKey, str] = {}
        self._own: dict[PrivateKey, list[bytes]] = {}
        self._holds: dict[tuple[str, str], bool] = {}
        self._changed: dict[SetPlace, StoredSet | None] = {}
        self._unindexed: set[bytes] = set()

    def plan(self, awaited: set[SetPlace]) -> PrivatePlan:
        """Return the plan.

        Args:
            awaited: write sets of the block that are not held but ought to be.
        """
        before = self._store_sets(awaited)
        self._plan_plain_state()
        self._plan_marks()
        self._take_purged_keys()
        self._expire_sets()
        self._expire_keys()
        after = Changes(
            tuple(
                (set_key(place), encode_set(stored))
                for place, stored in self._changed.items()
                if stored is not None
            ),
            (
                *(set_key(place) for place, stored in self._changed.items() if stored is None),
                *sorted(self._unindexed),
                *self._no_longer_awaited(),
            ),
        )
        if after != NO_CHANGES:
            note = (changes_key(self._number), encode_changes(after))
            before = Changes((*before.puts, note), before.deletes)
        return PrivatePlan(before, Changes(tuple(self._puts), tuple(self._deletes)), after)

    # The block's own write sets

    def _purges(self) -> dict[PrivateKey, int]:
        """Return the keys that the block purges, each with the last transaction that does."""
        return {
            PrivateKey(place.namespace, place.collection, write.key_hash): place.version.tx_num
            for place, hashed in self._prepared.collections.items()
            if self._prepared.codes[place.version.tx_num] is TxValidationCode.VALID
            for write in hashed.hashed_writes
            if write.is_purge
        }

    def _store_sets(self, awaited: set[SetPlace]) -> Changes:
        """Take the block's write sets apart; what it purges itself is never stored."""
        puts: list[Put] = []
        named: dict[SetPlace, Collection[str]] = {}
        for place, stored in self._held.items():
            rwset = read_held(stored.rwset)
            keys = {name: PrivateKey(*place[1:], hash_key(name)) for name in rwset.keys}
            self._names.update((key, name) for name, key in keys.items())
            purged = {each.key_hash for each in keys.values() if self._is_purged(place, each)}
            if purged:
                rwset = without(rwset, purged)
                keys = {name: keys[name] for name in rwset.keys}
                stored = StoredSet(stored.kind | TRIMMED, encode_private_rwset(rwset))
            puts.append((set_key(place), encode_set(stored)))
            named[place] = keys.keys()
            hashes = [key.key_hash for key in keys.values()]
            puts.extend(zip(index_keys(place, hashes), map(str.encode, keys), strict=True))
            if stored.is_valid:
                for write in rwset.writes:
                    if not write.deletes:
                        self._own.setdefault(keys[write.key], []).append(write.value)
        awaited = awaited - self._held.keys()
        puts.extend((awaited_key(place), b"") for place in sorted(awaited))
        return Changes(tuple(puts), tuple(self._left_over(named, awaited)))

    def _left_over(
        self, named: Mapping[SetPlace, Collection[str]], awaited: set[SetPlace]
    ) -> Iterator[bytes]:
        """Iterate over what a crash left of the block in the store and is not put again.

        The block may have come back as another, if it was this node that cut it: then a place has
        the set of another transaction.

        Args:
            named: the keys that the block's write sets name.
        """
        for place, stored in self._store.of_block(self._number).items():
            if place not in named:
                yield set_key(place)
            for name in set(read_held(stored.rwset).keys).difference(named.get(place, ())):
                yield index_key(place, hash_key(name))
        for place in self._store.awaited_of(self._number):
            if place not in awaited:
                yield awaited_key(place)

    def _is_purged(self, place: SetPlace, key: PrivateKey) -> bool:
        """Tell whether the block takes a key out of a write set of its own, or of an older one."""
        last = self._purged.get(key, -1)
        return last >= 0 and place.version <= Version(self._number, last)

    # The state

    def _hashed(self, key: PrivateKey) -> tuple[bytes, Version] | None:
        """Return hash of the value and version of a private key after the block."""
        update = (
            self._prepared.updates.of(key.namespace)
            .hashed.get(key.collection, {})
            .get(key.key_hash)
        )
        if update is not None:
            return None if update.value is None else (update.value, update.version)
        if key in self._going:
            return None
        entry = self._state.get_hashed(*key)
        return None if entry is None else (entry.value, entry.version)

    def _plan_plain_state(self) -> None:
        for namespace, collection, changed in self._prepared.updates.hashed():
            if self._is_held_of(namespace, collection):
                for key_hash, update in changed.items():
                    hashed = None if update.value is None else (update.value, update.version)
                    self._plan_plain_entry(PrivateKey(namespace, collection, key_hash), hashed)
        for key in sorted(self._going):
            if self._is_held_of(key.namespace, key.collection):
                self._plan_plain_entry(key, self._hashed(key))

    def _plan_plain_entry(self, key: PrivateKey, hashed: tuple[bytes, Version] | None) -> None:
        """Let the plain entry follow the hashed one: hash of the value and version, or none."""
        found = None if hashed is None else self._find(key, hashed[0])
        if hashed is not None and found is not None:
            self._puts.append(private_put(key, *found, hashed[1]))
        elif (name := self._name(key)) is not None:
            prefix = private_prefix(key.namespace, key.collection)
            self._deletes.append(prefix + name.encode())

    def _is_held_of(self, namespace: str, collection: str) -> bool:
        known = self._holds.get((namespace, collection))
        if known is None:
            known = any(place[1:] == (namespace, collection) for place in self._held)
            known = known or self._store.holds_of(namespace, collection)
            self._holds[namespace, collection] = known
        return known

    def _find(self, key: PrivateKey, value_hash: bytes) -> tuple[str, bytes] | None:
        for value in reversed(self._own.get(key, [])):
            if hash_value(value) == value_hash:
                return self._names[key], value
        if key in self._purged:
            return None
        return find_value(self._store, key, value_hash, self._number)

    def _name(self, key: PrivateKey) -> str | None:
        """Return the plain key, None if no write set names it."""
        name = self._names.get(key)
        if name is None:
            name = next((name for _, name in self._store.naming(*key)), None)
        return name

    def _plan_marks(self) -> None:
        for place in self._prepared.collections:
            if place not in self._held:
                self._puts.append((absent_prefix(*place[1:]) + encode_place(place.version), b""))
        for key, tx_num in self._purged.items():
            self._puts.append((purged_key(*key), encode_place(Version(self._number, tx_num))))

    # What goes from the write sets of earlier blocks

    def _take(self, place: SetPlace, bit: int, taken: set[bytes]) -> None:
        """Take keys out of an older write set; an expired one goes with its last key."""
        stored = self._changed[place] if place in self._changed else self._store.get(place)
        if stored is None:
            return
        rwset = read_held(stored.rwset)
        kept = without(rwset, taken)
        gone = set(rwset.keys) - set(kept.keys)
        self._unindexed.update(index_key(place, hash_key(name)) for name in gone)
        kind = stored.kind | bit
        raw = encode_private_rwset(kept) if gone else stored.rwset
        is_over = kind & OUTLIVED and not kept.keys
        self._changed[place] = None if is_over else StoredSet(kind, raw)

    def _take_purged_keys(self) -> None:
        for key in self._purged:
            for place, _ in self._store.naming(*key):
                if place.version.block_num < self._number:
                    self._take(place, TRIMMED, {key.key_hash})

    def _expire_sets(self) -> None:
        for written, namespace, collection in self._prepared.expiry.sets:
            for place, stored in self._store.of_block(written).items():
                if place[1:] == (namespace, collection):
                    named = key_hashes(read_held(stored.rwset))
                    self._take(place, OUTLIVED, named - self._in_force(place, stored))
            for version in self._state.absent(namespace, collection, written):
                self._deletes.append(absent_prefix(namespace, collection) + encode_place(version))

    def _no_longer_awaited(self) -> Iterator[bytes]:
        for written, namespace, collection in self._prepared.expiry.sets:
            for version in self._state.absent(namespace, collection, written):
                key = awaited_key(SetPlace(version, namespace, collection))
                if self._store.has(key):
                    yield key

    def _expire_keys(self) -> None:
        """Take keys whose time has come out of write sets that were kept for them."""
        own = Version(self._number, 0)
        for namespace, collection, key_hash, _ in self._prepared.expiry.hashes:
            for place, _ in self._store.naming(namespace, collection, key_hash):
                stored = self._store.get(place)
                if stored is None or not stored.is_outlived or place.version >= own:
                    continue
                if key_hash not in self._in_force(place, stored):
                    self._take(place, OUTLIVED, {key_hash})

    def _in_force(self, place: SetPlace, stored: StoredSet) -> set[bytes]:
        """Return the hashes of keys for which a write set has the value that is in force."""
        found: set[bytes] = set()
        if stored.is_valid:
            for write in read_held(stored.rwset).writes:
                key = PrivateKey(*place[1:], hash_key(write.key))
                hashed = self._hashed(key)
                if hashed is None or write.deletes or self._is_purged(place, key):
                    continue
                if hashed[0] == hash_value(write.value):
                    found.add(key.key_hash)
        return found
