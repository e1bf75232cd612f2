"""Everything that a state holds, listed: for comparing it entry by entry with another one's.

Each listing is in the order of bytes, within one namespace or collection, and holds one entry at a
time in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from ledger.state.keys import (
    HASHED,
    PUBLIC,
    TRANSACTION,
    after,
    decode_entry,
    hashed_prefix,
    public_prefix,
)
from ledger.state.ports import VersionedValue
from ledger.state.snapshot import LedgerSnapshot

__all__ = [
    "list_collections",
    "list_hashed",
    "list_namespaces",
    "list_public",
    "list_transaction_ids",
]

_LENGTH_BYTES = 4


def list_namespaces(state: LedgerSnapshot) -> Iterator[str]:
    """Yield the namespaces that have public keys, the empty one of the configuration among them."""
    start, stop = PUBLIC, after(PUBLIC)
    while (key := _first_key(state, start, stop)) is not None:
        name, _ = _name(key, len(PUBLIC))
        yield name
        start = after(public_prefix(name))


def list_collections(state: LedgerSnapshot) -> Iterator[tuple[str, str]]:
    """Yield namespace and name of every collection that has private hashes."""
    start, stop = HASHED, after(HASHED)
    while (key := _first_key(state, start, stop)) is not None:
        namespace, end = _name(key, len(HASHED))
        collection, _ = _name(key, end)
        yield namespace, collection
        start = after(hashed_prefix(namespace, collection))


def list_public(state: LedgerSnapshot, namespace: str) -> Iterator[tuple[bytes, VersionedValue]]:
    """Yield the public keys of a namespace, in UTF-8, with their entries."""
    yield from _entries(state, public_prefix(namespace))


def list_hashed(
    state: LedgerSnapshot, namespace: str, collection: str
) -> Iterator[tuple[bytes, VersionedValue]]:
    """Yield the key hashes of a collection with their entries."""
    yield from _entries(state, hashed_prefix(namespace, collection))


def list_transaction_ids(state: LedgerSnapshot) -> Iterator[bytes]:
    """Yield every transaction id that the ledger files, in UTF-8."""
    for key, _ in state._snapshot.items(TRANSACTION, after(TRANSACTION)):
        yield key[len(TRANSACTION) :]


def _entries(state: LedgerSnapshot, prefix: bytes) -> Iterator[tuple[bytes, VersionedValue]]:
    for key, raw in state._snapshot.items(prefix, after(prefix)):
        yield key[len(prefix) :], decode_entry(raw)


def _first_key(state: LedgerSnapshot, start: bytes, stop: bytes) -> bytes | None:
    for key, _ in state._snapshot.items(start, stop):
        return key
    return None


def _name(key: bytes, begin: int) -> tuple[str, int]:
    """Return the length-prefixed name in *key* from *begin* on, and where it ends."""
    first = begin + _LENGTH_BYTES
    end = first + int.from_bytes(key[begin:first], "big")
    return key[first:end].decode(), end
