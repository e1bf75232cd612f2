"""Read/write sets: what a transaction read, and what it wants to write.

``decode_tx_rwset`` and ``encode_tx_rwset`` translate Fabric's ``rwset.TxReadWriteSet`` (KV model).
Sets that strangers sent are decoded by ``ledger.transactions.large``, which bounds what they cost.

Invariants: decoding and encoding a set that Fabric made gives its bytes back; names and keys are
text, sorted by code point, which is the order of their UTF-8 bytes. The records of keys are
tuples, since a bulk transaction carries thousands of them.

Absent on purpose: judging a set (``ledger.validation``), and the rules of read-your-writes, which
belong to the simulator.

Source: fabric-protos, ledger/rwset; Fabric, core/ledger/kvledger/txmgmt/rwsetutil.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.errors import DecodeError
from ledger.state.version import Version
from ledger.transactions.marshal import (
    encode_hashed_reads,
    encode_hashed_writes,
    encode_reads,
    encode_writes,
)

_HASH_OF_NOTHING = hashlib.sha256(b"").digest()


class KVRead(NamedTuple):
    """A public key that was read, and the version found; None if the key was absent."""

    key: str
    version: Version | None


class KVWrite(NamedTuple):
    """A public key to be written or deleted."""

    key: str
    is_delete: bool
    value: bytes

    @property
    def deletes(self) -> bool:
        """Whether the outcome is a delete: an empty value counts as one (Fabric, FAB-18386)."""
        return self.is_delete or not self.value


class MetadataWrite(NamedTuple):
    """The metadata of a public key, written as a whole; no entries: the metadata is removed."""

    key: str
    entries: tuple[tuple[str, bytes], ...]


class MerkleSummary(NamedTuple):
    """One level of the hash tree over a range's results, see ``ledger.validation.ranges``."""

    max_degree: int
    max_level: int
    max_level_hashes: tuple[bytes, ...]


class RangeQuery(NamedTuple):
    """A range scan and its results, as keys with versions or as their summary.

    ``exhausted`` says that the scan saw the end of the range; otherwise ``end_key`` is the last key
    that was read, itself included.
    """

    start_key: str
    end_key: str
    exhausted: bool
    raw_reads: tuple[KVRead, ...] | None
    merkle: MerkleSummary | None


class HashedRead(NamedTuple):
    """A private key that was read, by the SHA-256 of the key."""

    key_hash: bytes
    version: Version | None


class HashedWrite(NamedTuple):
    """A private key to be written, deleted or purged, by the SHA-256 of key and value."""

    key_hash: bytes
    is_delete: bool
    value_hash: bytes
    is_purge: bool

    @property
    def deletes(self) -> bool:
        """Whether the outcome is a delete: no hash, or the hash of nothing, counts as one."""
        return self.is_delete or not self.value_hash or self.value_hash == _HASH_OF_NOTHING


class HashedMetadataWrite(NamedTuple):
    """The metadata of a private key, written as a whole."""

    key_hash: bytes
    entries: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class CollectionRWSet:
    """What touched one private collection, in hashes.

    Attributes:
        pvt_rwset_hash: SHA-256 of the private write set that travels apart from the block.
    """

    collection: str
    hashed_reads: tuple[HashedRead, ...] = ()
    hashed_writes: tuple[HashedWrite, ...] = ()
    metadata_writes: tuple[HashedMetadataWrite, ...] = ()
    pvt_rwset_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class NamespaceRWSet:
    """What touched the keys of one contract."""

    namespace: str
    reads: tuple[KVRead, ...] = ()
    writes: tuple[KVWrite, ...] = ()
    metadata_writes: tuple[MetadataWrite, ...] = ()
    range_queries: tuple[RangeQuery, ...] = ()
    collections: tuple[CollectionRWSet, ...] = ()

    @property
    def is_writing(self) -> bool:
        """Whether something is written, so that the namespace's endorsement policy is asked."""
        return (
            bool(self.writes)
            or bool(self.metadata_writes)
            or any(each.hashed_writes or each.metadata_writes for each in self.collections)
        )


@dataclass(frozen=True, slots=True)
class TxRWSet:
    """The read/write set of one transaction, namespaces in the order of the bytes received."""

    namespaces: tuple[NamespaceRWSet, ...] = ()


# Called once per key: tuple.__new__ is a third of the cost of the class's own constructor.
_read = partial(tuple.__new__, KVRead)
_write = partial(tuple.__new__, KVWrite)
_hashed_read = partial(tuple.__new__, HashedRead)
_hashed_write = partial(tuple.__new__, HashedWrite)
_version = partial(tuple.__new__, Version)


def _version_of(read: kv_rwset_pb2.KVRead | kv_rwset_pb2.KVReadHash) -> Version:
    height = read.version
    return _version((height.block_num, height.tx_num))


def decode_reads(reads: Sequence[kv_rwset_pb2.KVRead]) -> tuple[KVRead, ...]:
    """Take over public reads."""
    result = []
    for read in reads:
        version = _version_of(read) if read.HasField("version") else None
        result.append(_read((read.key, version)))
    return tuple(result)


def decode_entries(
    entries: Sequence[kv_rwset_pb2.KVMetadataEntry],
) -> tuple[tuple[str, bytes], ...]:
    """Take over entries of metadata."""
    return tuple((entry.name, entry.value) for entry in entries)


def decode_merkle(summary: kv_rwset_pb2.QueryReadsMerkleSummary) -> MerkleSummary:
    """Take over the summary of a range's results."""
    return MerkleSummary(summary.max_degree, summary.max_level, tuple(summary.max_level_hashes))


def _decode_range_query(info: kv_rwset_pb2.RangeQueryInfo) -> RangeQuery:
    raw_reads = merkle = None
    which = info.WhichOneof("reads_info")
    if which == "raw_reads":
        raw_reads = decode_reads(info.raw_reads.kv_reads)
    elif which == "reads_merkle_hashes":
        merkle = decode_merkle(info.reads_merkle_hashes)
    return RangeQuery(info.start_key, info.end_key, info.itr_exhausted, raw_reads, merkle)


def decode_hashed(raw: bytes) -> dict[str, Any]:
    """Read a marshalled ``kvrwset.HashedRWSet``, as fields of a `CollectionRWSet`."""
    hashed = kv_rwset_pb2.HashedRWSet.FromString(raw)
    return {
        "hashed_reads": tuple(
            [
                _hashed_read(
                    (read.key_hash, _version_of(read) if read.HasField("version") else None)
                )
                for read in hashed.hashed_reads
            ]
        ),
        "hashed_writes": tuple(
            [
                _hashed_write((write.key_hash, write.is_delete, write.value_hash, write.is_purge))
                for write in hashed.hashed_writes
            ]
        ),
        "metadata_writes": tuple(
            HashedMetadataWrite(write.key_hash, decode_entries(write.entries))
            for write in hashed.metadata_writes
        ),
    }


def decode_public(
    raw: bytes,
) -> tuple[
    tuple[KVRead, ...], tuple[KVWrite, ...], tuple[MetadataWrite, ...], tuple[RangeQuery, ...]
]:
    """Read a marshalled ``kvrwset.KVRWSet``, as the fields of a `NamespaceRWSet` in their order.

    Every node does this for every transaction; most have reads and writes alone.
    """
    public = kv_rwset_pb2.KVRWSet.FromString(raw)
    metadata, ranges = public.metadata_writes, public.range_queries_info
    return (
        decode_reads(public.reads),
        tuple([_write((write.key, write.is_delete, write.value)) for write in public.writes]),
        tuple([MetadataWrite(each.key, decode_entries(each.entries)) for each in metadata])
        if metadata
        else (),
        tuple(map(_decode_range_query, ranges)) if ranges else (),
    )


def decode_collection(message: rwset_pb2.CollectionHashedReadWriteSet) -> CollectionRWSet:
    """Take over what touched one collection."""
    return CollectionRWSet(
        message.collection_name,
        **decode_hashed(message.hashed_rwset),
        pvt_rwset_hash=message.pvt_rwset_hash,
    )


def decode_namespace(message: rwset_pb2.NsReadWriteSet) -> NamespaceRWSet:
    """Take over what touched one namespace."""
    collections = message.collection_hashed_rwset
    return NamespaceRWSet(
        message.namespace,
        *decode_public(message.rwset),
        tuple(map(decode_collection, collections)) if collections else (),
    )


def decode_tx_rwset(raw: bytes) -> TxRWSet:
    """Read a marshalled ``rwset.TxReadWriteSet``.

    Raises:
        DecodeError: it, or a set inside it, is no protobuf of that kind.
    """
    try:
        message = rwset_pb2.TxReadWriteSet.FromString(raw)
        return TxRWSet(tuple(map(decode_namespace, message.ns_rwset)))
    except ProtobufDecodeError as error:
        raise DecodeError(
            f"{len(raw)} bytes do not parse as rwset.TxReadWriteSet ({error}); "
            "simulate and endorse the transaction again"
        ) from error


def find_write(raw: bytes, namespace: str, key: str) -> KVWrite | None:
    """Return the last write of one public key in a marshalled set, None if there is none.

    It decodes no more of the set than it must: the history of a key reads many sets for one write.
    """
    found: KVWrite | None = None
    for each in rwset_pb2.TxReadWriteSet.FromString(raw).ns_rwset:
        if each.namespace == namespace:
            for write in kv_rwset_pb2.KVRWSet.FromString(each.rwset).writes:
                if write.key == key:
                    found = KVWrite(key, write.is_delete, write.value)
    return found


def _encode_entries(
    entries: Sequence[tuple[str, bytes]],
) -> list[kv_rwset_pb2.KVMetadataEntry]:
    return [kv_rwset_pb2.KVMetadataEntry(name=name, value=value) for name, value in entries]


def _encode_range_query(query: RangeQuery) -> kv_rwset_pb2.RangeQueryInfo:
    info = kv_rwset_pb2.RangeQueryInfo(
        start_key=query.start_key, end_key=query.end_key, itr_exhausted=query.exhausted
    )
    if query.raw_reads is not None:
        info.raw_reads.MergeFromString(encode_reads(query.raw_reads))
        info.raw_reads.SetInParent()
    elif query.merkle is not None:
        info.reads_merkle_hashes.max_degree = query.merkle.max_degree
        info.reads_merkle_hashes.max_level = query.merkle.max_level
        info.reads_merkle_hashes.max_level_hashes.extend(query.merkle.max_level_hashes)
    return info


def _encode_collection(each: CollectionRWSet) -> rwset_pb2.CollectionHashedReadWriteSet:
    metadata = kv_rwset_pb2.HashedRWSet(
        metadata_writes=[
            kv_rwset_pb2.KVMetadataWriteHash(
                key_hash=write.key_hash, entries=_encode_entries(write.entries)
            )
            for write in each.metadata_writes
        ],
    )
    return rwset_pb2.CollectionHashedReadWriteSet(
        collection_name=each.collection,
        hashed_rwset=b"".join(
            (
                encode_hashed_reads(each.hashed_reads),
                encode_hashed_writes(each.hashed_writes),
                metadata.SerializeToString(),
            )
        ),
        pvt_rwset_hash=each.pvt_rwset_hash,
    )


def _encode_namespace(each: NamespaceRWSet) -> rwset_pb2.NsReadWriteSet:
    ranges = kv_rwset_pb2.KVRWSet(
        range_queries_info=[_encode_range_query(query) for query in each.range_queries]
    )
    metadata = kv_rwset_pb2.KVRWSet(
        metadata_writes=[
            kv_rwset_pb2.KVMetadataWrite(key=key, entries=_encode_entries(entries))
            for key, entries in each.metadata_writes
        ]
    )
    return rwset_pb2.NsReadWriteSet(
        namespace=each.namespace,
        rwset=b"".join(
            (
                encode_reads(each.reads),
                ranges.SerializeToString(),
                encode_writes(each.writes),
                metadata.SerializeToString(),
            )
        ),
        collection_hashed_rwset=[_encode_collection(each) for each in each.collections],
    )


def encode_tx_rwset(rwset: TxRWSet) -> bytes:
    """Marshal *rwset* as ``rwset.TxReadWriteSet`` of the KV model, in the order it has."""
    raw: bytes = rwset_pb2.TxReadWriteSet(
        data_model=rwset_pb2.TxReadWriteSet.KV,
        ns_rwset=[_encode_namespace(each) for each in rwset.namespaces],
    ).SerializeToString()
    return raw


def encode_metadata(entries: Sequence[tuple[str, bytes]]) -> bytes:
    """Marshal metadata as the state stores it: a ``kvrwset.KVMetadataWrite`` of entries only."""
    raw: bytes = kv_rwset_pb2.KVMetadataWrite(entries=_encode_entries(entries)).SerializeToString()
    return raw


def decode_metadata(raw: bytes) -> dict[str, bytes]:
    """Read metadata as the state stores it.

    Raises:
        DecodeError: *raw* is no ``kvrwset.KVMetadataWrite``.
    """
    if not raw:
        return {}
    try:
        return dict(decode_entries(kv_rwset_pb2.KVMetadataWrite.FromString(raw).entries))
    except ProtobufDecodeError as error:
        raise DecodeError(
            f"{len(raw)} bytes do not parse as metadata of a key ({error}); run fsck on the ledger"
        ) from error
