"""The read/write set of one simulation, while it grows.

Rules (Fabric, core/ledger/kvledger/txmgmt/rwsetutil/rwset_builder.go):

* A key is recorded once, with the version first seen; the snapshot cannot change in between.
* The last write of a key wins. A write does not show in later reads.
* A range is recorded with what was consumed of it: up to its end, or up to and including the last
  key that the contract took. A range of which nothing was taken protects nothing and is left out.
  (Fabric's peer fetches 101 results at once and records them all, so it protects more than was
  used; both validate by the same rule.)
* Up to 50 results are recorded one by one, more as a tree of hashes.
* Equal ranges are recorded once. Namespaces, keys and metadata are sorted, ranges are not.
* Private collections stand in the public set by hashes, in the order of their names and, within
  one, of their keys in plain; the plain writes make a set of their own, of which the public one
  holds the hash. Of private metadata the plain set names the key only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from ledger.state.version import Version
from ledger.transactions.private import (
    PrivateRWSet,
    PrivateWrite,
    encode_private_rwset,
    encode_tx_private,
)
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    HashedRead,
    HashedWrite,
    KVRead,
    KVWrite,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
    TxRWSet,
)
from ledger.validation.ranges import RangeResults


class RangeScan:
    """One range as far as it was consumed."""

    __slots__ = ("_results", "end_key", "exhausted", "last_key", "start_key")

    def __init__(self, start_key: str, end_key: str) -> None:
        self.start_key = start_key
        self.end_key = end_key
        self.exhausted = False
        self.last_key: str | None = None
        self._results = RangeResults()

    def add(self, key: str, version: Version) -> None:
        """Take the next result."""
        self.last_key = key
        self._results.add(key, version)

    def query(self) -> RangeQuery | None:
        """Return the record, None if nothing is protected; to be asked once."""
        if not self.exhausted and self.last_key is None:
            return None
        end_key = self.end_key if self.exhausted else self.last_key or ""
        raw_reads, merkle = self._results.finish()
        return RangeQuery(self.start_key, end_key, self.exhausted, raw_reads or None, merkle)


class CollectionRecord:
    """What a transaction did in one private collection.

    Attributes:
        may_read, may_write: what the creator may do here, in plain.
        plain_read: whether plain data was asked for, in a range too.
        reads: the version found of each key, in plain or by its hash.
        writes: value and whether it is a purge; no value: a delete.
    """

    __slots__ = (
        "_hashes",
        "may_read",
        "may_write",
        "metadata_writes",
        "plain_read",
        "reads",
        "writes",
    )

    def __init__(self, *, may_read: bool, may_write: bool) -> None:
        self.may_read = may_read
        self.may_write = may_write
        self.plain_read = False
        self.reads: dict[str, Version | None] = {}
        self.writes: dict[str, tuple[bytes, bool]] = {}
        self.metadata_writes: dict[str, tuple[tuple[str, bytes], ...]] = {}
        self._hashes: dict[str, bytes] = {}

    def hash_of(self, key: str) -> bytes:
        """Return the SHA-256 of a key, computed once."""
        found = self._hashes.get(key)
        if found is None:
            found = self._hashes[key] = sha256(key.encode()).digest()
        return found

    def is_writing(self) -> bool:
        """Say whether something is written here."""
        return bool(self.writes or self.metadata_writes)

    def is_touched(self) -> bool:
        """Say whether anything was read or written here."""
        return bool(self.plain_read or self.reads or self.writes or self.metadata_writes)

    def private_rwset(self) -> bytes:
        """Return the marshalled `KVRWSet` of the plain writes; empty without one."""
        if not self.is_writing():
            return b""
        return encode_private_rwset(
            PrivateRWSet(
                tuple(
                    [
                        KVWrite(key, not value, value)
                        for key, (value, _purges) in sorted(self.writes.items())
                    ]
                ),
                tuple(sorted(self.metadata_writes)),
            )
        )

    def rwset(self, collection: str, private: bytes) -> CollectionRWSet | None:
        """Return what was recorded, in hashes; None if only ranges were read.

        Args:
            collection: its name.
            private: what `private_rwset` returned.
        """
        if not (self.reads or private):
            return None
        return CollectionRWSet(
            collection,
            tuple(
                [
                    HashedRead(self.hash_of(key), version)
                    for key, version in sorted(self.reads.items())
                ]
            ),
            tuple(
                [
                    HashedWrite(
                        self.hash_of(key), not value, sha256(value).digest() if value else b"",
                        purges,
                    )
                    for key, (value, purges) in sorted(self.writes.items())
                ]
            ),
            tuple(
                [
                    HashedMetadataWrite(self.hash_of(key), entries)
                    for key, entries in sorted(self.metadata_writes.items())
                ]
            ),
            sha256(private).digest() if private else b"",
        )  # fmt: skip


class NamespaceRecord:
    """What a transaction did in one namespace."""

    __slots__ = ("collections", "metadata_writes", "ranges", "reads", "writes")

    def __init__(self) -> None:
        self.reads: dict[str, Version | None] = {}
        self.writes: dict[str, bytes | None] = {}
        self.metadata_writes: dict[str, tuple[tuple[str, bytes], ...]] = {}
        self.ranges: list[RangeScan] = []
        self.collections: dict[str, CollectionRecord] = {}

    def is_writing(self) -> bool:
        """Say whether something is written here, private data included."""
        return bool(self.writes or self.metadata_writes) or any(
            record.is_writing() for record in self.collections.values()
        )

    def rwset(self, namespace: str, private: Mapping[str, bytes]) -> NamespaceRWSet | None:
        """Return what was recorded, sorted as Fabric sorts it; None if it is nothing.

        Args:
            namespace: its name.
            private: the marshalled plain write set of each collection that is written to.
        """
        collections = [
            record.rwset(name, private.get(name, b""))
            for name, record in sorted(self.collections.items())
        ]
        hashed = tuple([each for each in collections if each is not None])
        if not (self.reads or self.writes or self.metadata_writes or self.ranges or hashed):
            return None
        return NamespaceRWSet(
            namespace,
            tuple([KVRead(key, version) for key, version in sorted(self.reads.items())]),
            tuple(
                [
                    KVWrite(key, not value, value or b"")
                    for key, value in sorted(self.writes.items())
                ]
            ),
            tuple([MetadataWrite(*written) for written in sorted(self.metadata_writes.items())]),
            tuple(self._distinct_ranges()),
            hashed,
        )

    def _distinct_ranges(self) -> list[RangeQuery]:
        distinct: dict[tuple[str, str, bool], RangeQuery] = {}
        for scan in self.ranges:
            query = scan.query()
            if query is not None:
                distinct.setdefault((query.start_key, query.end_key, query.exhausted), query)
        return list(distinct.values())


@dataclass(frozen=True, slots=True)
class RecordedSets:
    """What a simulation leaves behind.

    Attributes:
        public: the read/write set of all namespaces that were touched.
        private: marshalled `TxPvtReadWriteSet`, empty without a private write.
        collections: namespace and name of each collection that was touched, sorted.
        plain_reads: those of which plain data was read.
    """

    public: TxRWSet
    private: bytes
    collections: tuple[tuple[str, str], ...]
    plain_reads: frozenset[tuple[str, str]]


def build_sets(records: Mapping[str, NamespaceRecord]) -> RecordedSets:
    """Return the sets of a simulation; to be asked once."""
    public = []
    private: list[PrivateWrite] = []
    collections = []
    plain_reads = []
    for namespace, record in sorted(records.items()):
        plain: dict[str, bytes] = {}
        for name, collection in sorted(record.collections.items()):
            if collection.is_touched():
                collections.append((namespace, name))
            if collection.plain_read:
                plain_reads.append((namespace, name))
            if collection.is_writing():
                plain[name] = collection.private_rwset()
        private += [PrivateWrite(namespace, name, raw) for name, raw in plain.items()]
        rwset = record.rwset(namespace, plain)
        if rwset is not None:
            public.append(rwset)
    return RecordedSets(
        TxRWSet(tuple(public)),
        encode_tx_private(tuple(private)) if private else b"",
        tuple(collections),
        frozenset(plain_reads),
    )
