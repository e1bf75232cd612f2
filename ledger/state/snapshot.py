"""The world state of one height, as contracts and validation read it.

A snapshot implements ``ledger.state.ports.StateReader`` and what validation asks of the state
(``ledger.validation.ports.CommittedState``). It never changes, whatever is committed meanwhile, and
may be read from several threads.

Absent: values in the history, which stand in the blocks; the history reads them there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType

from ledger.blocks.block import Block
from ledger.errors import CorruptionError
from ledger.state.blocks import StoredBlocks
from ledger.state.keys import (
    METADATA_USE,
    SAVEPOINT,
    absent_prefix,
    after,
    decode_entry,
    decode_history_version,
    decode_mark,
    decode_place,
    decode_savepoint,
    encode_place,
    expiry_prefix,
    hashed_prefix,
    history_of,
    private_prefix,
    public_prefix,
    purged_key,
)
from ledger.state.leveldb import LevelDBSnapshot
from ledger.state.ports import HistoryEntry, VersionedValue
from ledger.state.version import Version
from ledger.transactions.change import find_change
from ledger.transactions.rwset import decode_metadata
from ledger.validation.ports import Mark


class LedgerSnapshot:
    """The state after a block; a context manager that gives itself back at the end.

    Args:
        snapshot: of the database; closed with this.
        blocks: where the values of the history stand.
    """

    def __init__(self, snapshot: LevelDBSnapshot, blocks: StoredBlocks) -> None:
        self._snapshot = snapshot
        self._blocks = blocks
        self._metadata_use: dict[str, bool] = {}
        savepoint = snapshot.get(SAVEPOINT)
        self.height = decode_savepoint(savepoint)[0] if savepoint else 0

    # What contracts read

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        """Return the entry of a public key, None if absent."""
        raw = self._snapshot.get(public_prefix(namespace) + key.encode())
        return None if raw is None else decode_entry(raw)

    def get_many(self, namespace: str, keys: Sequence[str]) -> list[VersionedValue | None]:
        """Return the entries of several public keys, in the order asked."""
        get = self._snapshot.get
        prefix = public_prefix(namespace)
        found = [get(prefix + key.encode()) for key in keys]
        return [None if raw is None else decode_entry(raw) for raw in found]

    def range(
        self, namespace: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, VersionedValue]]:
        """Iterate over public keys in byte order; see ``StateReader.range``."""
        for key, raw in self._range(public_prefix(namespace), start_key, end_key):
            yield key, decode_entry(raw)

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        """Return the entry of a private key by the key's SHA-256; its value is the value's hash."""
        raw = self._snapshot.get(hashed_prefix(namespace, collection) + key_hash)
        return None if raw is None else decode_entry(raw)

    def get_hashed_many(
        self, namespace: str, collection: str, key_hashes: Sequence[bytes]
    ) -> list[VersionedValue | None]:
        """Return the hashed entries of several private keys, in the order asked."""
        get = self._snapshot.get
        prefix = hashed_prefix(namespace, collection)
        found = [get(prefix + key_hash) for key_hash in key_hashes]
        return [None if raw is None else decode_entry(raw) for raw in found]

    def get_private(self, namespace: str, collection: str, key: str) -> VersionedValue | None:
        """Return the plain entry of a private key, None if it is absent or not held here."""
        raw = self._snapshot.get(private_prefix(namespace, collection) + key.encode())
        return None if raw is None else decode_entry(raw)

    def get_private_many(
        self, namespace: str, collection: str, keys: Sequence[str]
    ) -> list[VersionedValue | None]:
        """Return the plain entries of several private keys, in the order asked."""
        get = self._snapshot.get
        prefix = private_prefix(namespace, collection)
        found = [get(prefix + key.encode()) for key in keys]
        return [None if raw is None else decode_entry(raw) for raw in found]

    def range_private(
        self, namespace: str, collection: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, VersionedValue]]:
        """Iterate over the plain entries that are held; see ``StateReader.range_private``."""
        for key, raw in self._range(private_prefix(namespace, collection), start_key, end_key):
            yield key, decode_entry(raw)

    def metadata_of(self, namespace: str, key: str) -> dict[str, bytes]:
        """Return the metadata entries of a public key; empty if there are none."""
        raw = self._snapshot.get(public_prefix(namespace) + key.encode())
        return {} if raw is None else decode_metadata(decode_mark(raw).metadata)

    def history(self, namespace: str, key: str) -> Iterator[HistoryEntry]:
        """Iterate over the changes of a public key by valid transactions, newest first.

        Raises:
            CorruptionError: a block does not hold the change that the index says.
        """
        prefix = history_of(namespace, key.encode())
        stop = prefix + b"\xff" * 9
        block: Block | None = None
        for found, _ in self._snapshot.items(prefix, stop, keep_cached=False):
            version = decode_history_version(found)
            # A key that a block changes often is changed in transactions that follow one another.
            if block is None or block.number != version.block_num:
                block = self._blocks.load(self._snapshot.get, version.block_num)
            yield _change(block, namespace, key, version)

    # What validation reads

    def marks(self, namespace: str, keys: Sequence[str]) -> list[Mark | None]:
        """Return versions and metadata of public keys, in the order asked; None where absent."""
        get = self._snapshot.get
        prefix = public_prefix(namespace)
        found = [get(prefix + key.encode()) for key in keys]
        return [None if raw is None else decode_mark(raw) for raw in found]

    def range_versions(
        self, namespace: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, Version]]:
        """Iterate over public keys and their versions; bounds as in ``range``."""
        for key, raw in self._range(public_prefix(namespace), start_key, end_key):
            yield key, decode_mark(raw).version

    def has_metadata(self, namespace: str) -> bool:
        """Tell whether any key of the namespace, public or private, ever had metadata."""
        known = self._metadata_use.get(namespace)
        if known is None:
            known = self._snapshot.get(METADATA_USE + namespace.encode()) is not None
            self._metadata_use[namespace] = known
        return known

    def expiring(self, number: int) -> Iterator[bytes]:
        """Iterate over the schedule keys of the private data that go with block *number*."""
        for key, _ in self._snapshot.items(expiry_prefix(number), expiry_prefix(number + 1)):
            yield key

    # What the planning of private data reads

    def absent(self, namespace: str, collection: str, number: int) -> Iterator[Version]:
        """Iterate over the transactions of block *number* whose write set is not held."""
        prefix = absent_prefix(namespace, collection)
        start, stop = (prefix + encode_place(Version(each, 0)) for each in (number, number + 1))
        for key, _ in self._snapshot.items(start, stop):
            yield decode_place(key[len(prefix) :])

    def all_absent(self, namespace: str, collection: str) -> Iterator[Version]:
        """Iterate over all transactions whose write set of a collection is not held."""
        prefix = absent_prefix(namespace, collection)
        for key, _ in self._snapshot.items(prefix, prefix + b"\xff" * 9):
            yield decode_place(key[len(prefix) :])

    def is_absent(self, namespace: str, collection: str, version: Version) -> bool:
        """Tell whether a transaction writes to a collection and the write set is not held."""
        key = absent_prefix(namespace, collection) + encode_place(version)
        return self._snapshot.get(key) is not None

    def purged_at(self, namespace: str, collection: str, key_hash: bytes) -> Version | None:
        """Return the last transaction that purged a private key, None if none did."""
        raw = self._snapshot.get(purged_key(namespace, collection, key_hash))
        return None if raw is None else decode_place(raw)

    def _range(self, prefix: bytes, start_key: str, end_key: str) -> Iterator[tuple[str, bytes]]:
        begin = len(prefix)
        stop = prefix + end_key.encode() if end_key else after(prefix)
        for key, raw in self._snapshot.items(prefix + start_key.encode(), stop):
            yield key[begin:].decode(), raw

    def close(self) -> None:
        """Give the snapshot back; safe to repeat."""
        self._snapshot.close()

    def __enter__(self) -> LedgerSnapshot:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _change(block: Block | None, namespace: str, key: str, version: Version) -> HistoryEntry:
    change = None
    if block is not None and version.tx_num < len(block.data):
        change = find_change(block.data[version.tx_num], namespace, key)
    if change is None:
        raise CorruptionError(
            f"the history names transaction {version.tx_num} of block {version.block_num} for "
            f"a key of {namespace!r} that it does not write; run fsck on the ledger"
        )
    return HistoryEntry(change.tx_id, version, change.value, change.is_delete, change.timestamp)
