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
"""

from __future__ import annotations

from collections.abc import Mapping

from ledger.state.version import Version
from ledger.transactions.rwset import (
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


class NamespaceRecord:
    """What a transaction did in one namespace."""

    __slots__ = ("metadata_writes", "ranges", "reads", "writes")

    def __init__(self) -> None:
        self.reads: dict[str, Version | None] = {}
        self.writes: dict[str, bytes | None] = {}
        self.metadata_writes: dict[str, tuple[tuple[str, bytes], ...]] = {}
        self.ranges: list[RangeScan] = []

    def is_empty(self) -> bool:
        """Say whether nothing was read or written here."""
        return not (self.reads or self.writes or self.metadata_writes or self.ranges)

    def rwset(self, namespace: str) -> NamespaceRWSet:
        """Return what was recorded, sorted as Fabric sorts it."""
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
        )

    def _distinct_ranges(self) -> list[RangeQuery]:
        distinct: dict[tuple[str, str, bool], RangeQuery] = {}
        for scan in self.ranges:
            query = scan.query()
            if query is not None:
                distinct.setdefault((query.start_key, query.end_key, query.exhausted), query)
        return list(distinct.values())


def build_rwset(records: Mapping[str, NamespaceRecord]) -> TxRWSet:
    """Return the read/write set of all namespaces that were touched."""
    return TxRWSet(
        tuple(
            [
                record.rwset(namespace)
                for namespace, record in sorted(records.items())
                if not record.is_empty()
            ]
        )
    )
