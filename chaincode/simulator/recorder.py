"""The read/write set of one simulation, while it grows.

Rules (Fabric, core/ledger/kvledger/txmgmt/rwsetutil/rwset_builder.go):

* A key is recorded once, with the version first seen; the snapshot cannot change in between.
* The last write of a key wins. A write does not show in later reads.
* A range is recorded with what was consumed of it: up to its end, or up to and including the last
  key that the contract took. A range of which nothing was taken protects nothing and is left out.
* Equal ranges are recorded once. Namespaces, keys and metadata are sorted, ranges are not.
"""

from __future__ import annotations

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from ledger.state.version import Version


class RangeScan:
    """One range as far as it was consumed."""

    __slots__ = ("end_key", "exhausted", "reads", "start_key")

    def __init__(self, start_key: str, end_key: str) -> None:
        self.start_key = start_key
        self.end_key = end_key
        self.exhausted = False
        self.reads: list[tuple[str, Version]] = []


class NamespaceRecord:
    """What a transaction did in one namespace."""

    __slots__ = ("metadata_writes", "ranges", "reads", "writes")

    def __init__(self) -> None:
        self.reads: dict[str, Version | None] = {}
        self.writes: dict[str, bytes | None] = {}
        self.metadata_writes: dict[str, tuple[tuple[str, bytes], ...]] = {}
        self.ranges: list[RangeScan] = []

    def is_empty(self) -> bool:
        """Say whether nothing of it reaches the read/write set."""
        return not (self.reads or self.writes or self.metadata_writes or self.ranges)

    def encode(self) -> bytes:
        """Return the marshalled `kvrwset.KVRWSet`."""
        rwset = kv_rwset_pb2.KVRWSet()
        for key, version in sorted(self.reads.items(), key=_by_bytes):
            read = rwset.reads.add(key=key)
            if version is not None:
                read.version.block_num, read.version.tx_num = version
                read.version.SetInParent()
        for scan in self._distinct_ranges():
            query = rwset.range_queries_info.add(
                start_key=scan.start_key, end_key=scan.end_key, itr_exhausted=scan.exhausted
            )
            query.raw_reads.SetInParent()
            for key, version in scan.reads:
                read = query.raw_reads.kv_reads.add(key=key)
                read.version.block_num, read.version.tx_num = version
                read.version.SetInParent()
        for key, value in sorted(self.writes.items(), key=_by_bytes):
            if value is None:
                rwset.writes.add(key=key, is_delete=True)
            else:
                rwset.writes.add(key=key, value=value)
        for key, entries in sorted(self.metadata_writes.items(), key=_by_bytes):
            written = rwset.metadata_writes.add(key=key)
            for name, value in entries:
                written.entries.add(name=name, value=value)
        return rwset.SerializeToString(deterministic=True)

    def _distinct_ranges(self) -> list[RangeScan]:
        distinct: dict[tuple[str, str, bool], RangeScan] = {}
        for scan in self.ranges:
            if not scan.exhausted:
                if not scan.reads:
                    continue
                scan.end_key = scan.reads[-1][0]
            distinct.setdefault((scan.start_key, scan.end_key, scan.exhausted), scan)
        return list(distinct.values())


def _by_bytes(item: tuple[str, object]) -> bytes:
    return item[0].encode("utf-8")


def encode_rwset(records: dict[str, NamespaceRecord]) -> bytes:
    """Return the marshalled `rwset.TxReadWriteSet` of all namespaces."""
    tx_rwset = rwset_pb2.TxReadWriteSet(data_model=rwset_pb2.TxReadWriteSet.KV)
    for namespace in sorted(records):
        record = records[namespace]
        if not record.is_empty():
            tx_rwset.ns_rwset.add(namespace=namespace, rwset=record.encode())
    return tx_rwset.SerializeToString(deterministic=True)
