"""The check of the store of private write sets: is what it holds what the blocks leave to hold?

That each set says what its block says is checked where the blocks are replayed
(``ledger.state.private_ledger``), and what follows from the sets where the state is compared. Here
the store is checked in itself: every key means something, the index names exactly the keys of the
sets, keys are missing in a set only where they were purged, and awaited is only what is not held.

What a crash may leave is *pending*: sets of a block that is not stored, and notes of what opening
the ledger finishes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from ledger.blocks.block import Block
from ledger.state.keys import absent_prefix, encode_place, private_prefix
from ledger.state.prepared import collections_of
from ledger.state.private_check import key_hashes, read_held
from ledger.state.private_keys import (
    AWAITED,
    CHANGES,
    KEY_INDEX,
    LATE,
    PRIVATE_FORMAT,
    WRITE_SET,
    SetPlace,
    StoredSet,
    decode_awaited_key,
    decode_changes_key,
    decode_index_key,
    decode_set,
    decode_set_key,
    index_key,
)
from ledger.state.private_store import PrivateStore
from ledger.state.version import Version
from ledger.transactions.parse import parse_transaction
from ledger.transactions.private import hash_key
from ledger.transactions.rwset import CollectionRWSet


class StoreFinding(NamedTuple):
    """One thing in the store that is not as it should be.

    Attributes:
        is_pending: whether it is work that the next opening, or the next block, does.
    """

    is_pending: bool
    where: str
    what: str


class AuditedState(Protocol):
    """What is asked of the state that follows from the blocks and the store."""

    height: int

    def is_absent(self, namespace: str, collection: str, version: Version) -> bool:
        """Tell whether a transaction writes to a collection and the write set is not held."""

    def purged_at(self, namespace: str, collection: str, key_hash: bytes) -> Version | None:
        """Return the last transaction that purged a private key, None if none did."""


def unsettled_keys(store: PrivateStore) -> set[bytes]:
    """Return the keys of the state that sets which came late have yet to change."""
    found = set()
    for place in store.late():
        found.add(absent_prefix(*place[1:]) + encode_place(place.version))
        stored = store.get(place)
        if stored is not None:
            prefix = private_prefix(*place[1:])
            found.update(prefix + key.encode() for key in read_held(stored.rwset).keys)
    return found


def describe_place(place: SetPlace) -> str:
    """Say which write set it is."""
    return (
        f"private write set of transaction {tuple(place.version)} to {place.namespace!r}/"
        f"{place.collection!r}"
    )


class StoreAudit:
    """One check of one store.

    Args:
        store: to be checked.
        state: made anew from the blocks and the store.
        load: returns a block by its number.

    Attributes:
        sets: how many write sets were found so far.
    """

    def __init__(
        self, store: PrivateStore, state: AuditedState, load: Callable[[int], Block | None]
    ) -> None:
        self._store = store
        self._state = state
        self._load = load
        self.sets = 0

    def findings(self) -> Iterator[StoreFinding]:
        """Do the whole check, once, and yield what is found."""
        for key, raw in self._store.items(b"", None):
            try:
                yield from self._judge(key, raw)
            except (struct.error, ValueError) as error:
                yield StoreFinding(False, f"key {key.hex()} of {self._store.path}", str(error))

    def _judge(self, key: bytes, raw: bytes) -> Iterator[StoreFinding]:
        space = key[:1]
        if space == WRITE_SET:
            self.sets += 1
            yield from self._judge_set(decode_set_key(key), decode_set(raw))
        elif space == KEY_INDEX:
            yield from self._judge_index(*decode_index_key(key), raw.decode())
        elif space == AWAITED:
            yield from self._judge_awaited(decode_awaited_key(key))
        elif space == CHANGES:
            number = decode_changes_key(key)
            yield StoreFinding(
                True,
                f"private write sets of {self._store.path}",
                f"what goes with block {number} is still there; opening the ledger takes it out",
            )
        elif space == LATE:
            yield StoreFinding(
                True,
                f"private write sets of {self._store.path}",
                "sets that came late are not yet in the state; opening the ledger puts them there",
            )
        elif key != PRIVATE_FORMAT:
            yield StoreFinding(False, f"key {key.hex()} of {self._store.path}", "is unknown")

    def _judge_set(self, place: SetPlace, stored: StoredSet) -> Iterator[StoreFinding]:
        where = describe_place(place)
        if place.version.block_num >= self._state.height:
            yield StoreFinding(True, where, "is stored, its block is not in the state; it waits")
            return
        named = read_held(stored.rwset)
        for name in named.keys:
            if not self._store.has(index_key(place, hash_key(name))):
                yield StoreFinding(False, where, f"names key {hash_key(name).hex()} unindexed")
        if stored.is_trimmed and not stored.is_outlived:
            hashed = self._hashed(place)
            missing = {write.key_hash for write in hashed.hashed_writes} - key_hashes(named)
            for key_hash in sorted(missing):
                last = self._state.purged_at(*place[1:], key_hash)
                if last is None or last < place.version:
                    yield StoreFinding(False, where, f"lacks key {key_hash.hex()}, never purged")

    def _hashed(self, place: SetPlace) -> CollectionRWSet:
        block = self._load(place.version.block_num)
        assert block is not None, "replayed from this block"
        transactions = [parse_transaction(raw) for raw in block.data]
        return collections_of(block.number, transactions)[place]

    def _judge_index(self, place: SetPlace, key_hash: bytes, name: str) -> Iterator[StoreFinding]:
        stored = self._store.get(place)
        if hash_key(name) != key_hash or stored is None or name not in read_held(stored.rwset).keys:
            yield StoreFinding(
                False,
                f"index of key {key_hash.hex()} of {self._store.path}",
                f"leads to the {describe_place(place)}, which does not name it",
            )

    def _judge_awaited(self, place: SetPlace) -> Iterator[StoreFinding]:
        where = describe_place(place)
        if place.version.block_num >= self._state.height:
            yield StoreFinding(True, where, "is awaited, its block is not in the state; it waits")
        elif not self._state.is_absent(*place[1:], place.version):
            yield StoreFinding(False, where, "is awaited, though the blocks say nothing is missing")
