"""Private write sets: what a transaction writes to collections, in plain.

The block carries hashes (``ledger.transactions.rwset.CollectionRWSet``); the plain writes travel
apart from it, as a marshalled ``rwset.TxPvtReadWriteSet``: for each namespace and collection a
marshalled ``kvrwset.KVRWSet`` with writes and writes of metadata, the SHA-256 of which stands in
the block.

Invariants: a set is stored, hashed and passed on as the bytes it came in; it is made anew only
where a purge takes a key out of it. Decoding raises ``DecodeError`` on anything else than such a
set and holds no more in memory than a small multiple of the bytes: what has no name is refused
before anything is made of it.

Absent on purpose: a mark of purges. A plain purge is a delete; that it is more stands with the
hashes (``HashedWrite.is_purge``). The values of metadata are not here either: the hashed state has
them, the plain set names the keys only.

Source: fabric-protos, ledger/rwset; Fabric, core/ledger/kvledger/txmgmt/rwsetutil/rwset_builder.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.errors import DecodeError
from ledger.transactions.marshal import encode_writes
from ledger.transactions.rwset import CollectionRWSet, KVWrite, TxRWSet

MAX_PRIVATE_BYTES = 64 * 1024 * 1024
"""A longer set is refused before it is parsed."""


@dataclass(frozen=True, slots=True)
class PrivateWrite:
    """What one transaction writes to one collection.

    Attributes:
        rwset: marshalled ``kvrwset.KVRWSet``, as received.
    """

    namespace: str
    collection: str
    rwset: bytes


TxPrivate = tuple[PrivateWrite, ...]
"""The private write sets of one transaction, one a collection, sorted by their names."""


@dataclass(frozen=True, slots=True)
class PrivateRWSet:
    """The writes of one private write set, sorted by key.

    Attributes:
        writes: values and deletes; a purge is a delete here.
        metadata_keys: keys whose metadata the transaction writes.
    """

    writes: tuple[KVWrite, ...] = ()
    metadata_keys: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key the set names, once, sorted."""
        return tuple(sorted({write.key for write in self.writes}.union(self.metadata_keys)))


def hash_key(key: str) -> bytes:
    """Return the SHA-256 under which a private key stands in blocks and in the hashed state."""
    return hashlib.sha256(key.encode()).digest()


def hash_value(value: bytes) -> bytes:
    """Return the SHA-256 that stands for a private value."""
    return hashlib.sha256(value).digest()


def matches(write: PrivateWrite, hashed: CollectionRWSet) -> bool:
    """Tell whether *write* is the whole set of which the block carries the hash in *hashed*."""
    return (
        write.collection == hashed.collection
        and hashlib.sha256(write.rwset).digest() == hashed.pvt_rwset_hash
    )


def private_collections(rwset: TxRWSet) -> Iterator[tuple[str, CollectionRWSet]]:
    """Iterate over the collections to which a transaction writes: namespace and hashed set.

    These are the collections for which a plain set belongs to the transaction. Of a collection that
    is named twice, which no honest endorser does, the first counts.

    Source: Fabric, gossip/privdata/coordinator.go, ``containsWrites``.
    """
    seen: set[tuple[str, str]] = set()
    for each in rwset.namespaces:
        for hashed in each.collections:
            if not hashed.hashed_writes and not hashed.metadata_writes:
                continue
            place = (each.namespace, hashed.collection)
            if place not in seen:
                seen.add(place)
                yield each.namespace, hashed


def _verify_size(raw: bytes, what: str) -> None:
    if len(raw) > MAX_PRIVATE_BYTES:
        raise DecodeError(
            f"{len(raw)} bytes are too many for {what}: at most {MAX_PRIVATE_BYTES} are read; "
            "write less in one transaction"
        )


def decode_tx_private(raw: bytes) -> TxPrivate:
    """Read a marshalled ``rwset.TxPvtReadWriteSet``.

    The sets inside are not looked into: their hashes must be compared with the block's first.

    Raises:
        DecodeError: it is too long or no such message, a name is empty, or a collection occurs
            twice.
    """
    what = "rwset.TxPvtReadWriteSet"
    _verify_size(raw, what)
    try:
        message = rwset_pb2.TxPvtReadWriteSet.FromString(raw)
    except ProtobufDecodeError as error:
        raise DecodeError(
            f"{len(raw)} bytes do not parse as {what} ({error}); ask another member for the "
            "private data"
        ) from error
    if message.data_model != rwset_pb2.TxReadWriteSet.KV:
        raise DecodeError(f"a private write set is of data model {message.data_model}, not KV")
    found: dict[tuple[str, str], PrivateWrite] = {}
    for each in message.ns_pvt_rwset:
        if not each.namespace:
            raise DecodeError("a private write set names no namespace")
        for collection in each.collection_pvt_rwset:
            place = (each.namespace, collection.collection_name)
            if not collection.collection_name or place in found:
                raise DecodeError(
                    f"a private write set names collection {place[1]!r} of {place[0]!r} "
                    f"{'twice' if place in found else 'without a name'}"
                )
            found[place] = PrivateWrite(*place, collection.rwset)
    return tuple(write for _, write in sorted(found.items()))


def encode_tx_private(private: TxPrivate) -> bytes:
    """Marshal the sets of one transaction as ``rwset.TxPvtReadWriteSet``, sorted by place.

    No sets at all are no bytes.
    """
    ordered = sorted(private, key=lambda write: (write.namespace, write.collection))
    raw: bytes = rwset_pb2.TxPvtReadWriteSet(
        data_model=rwset_pb2.TxReadWriteSet.KV,
        ns_pvt_rwset=[
            rwset_pb2.NsPvtReadWriteSet(
                namespace=namespace,
                collection_pvt_rwset=[
                    rwset_pb2.CollectionPvtReadWriteSet(
                        collection_name=write.collection, rwset=write.rwset
                    )
                    for write in writes
                ],
            )
            for namespace, writes in groupby(ordered, key=lambda write: write.namespace)
        ],
    ).SerializeToString()
    return raw


def decode_private_rwset(raw: bytes) -> PrivateRWSet:
    """Read a marshalled ``kvrwset.KVRWSet`` of private writes. What it says of reads is left out.

    Raises:
        DecodeError: it is too long or no such message, or a key is empty.
    """
    what = "a private kvrwset.KVRWSet"
    _verify_size(raw, what)
    try:
        message = kv_rwset_pb2.KVRWSet.FromString(raw)
    except ProtobufDecodeError as error:
        raise DecodeError(f"{len(raw)} bytes do not parse as {what} ({error})") from error
    # Two bytes make an empty write; nothing is made of those before they are refused.
    if not all(write.key for write in message.writes) or not all(
        write.key for write in message.metadata_writes
    ):
        raise DecodeError(f"{what} writes to an empty key")
    return PrivateRWSet(
        tuple([KVWrite(write.key, write.is_delete, write.value) for write in message.writes]),
        tuple([write.key for write in message.metadata_writes]),
    )


def encode_private_rwset(rwset: PrivateRWSet) -> bytes:
    """Marshal private writes as ``kvrwset.KVRWSet``, in the order they have."""
    metadata: bytes = kv_rwset_pb2.KVRWSet(
        metadata_writes=[kv_rwset_pb2.KVMetadataWrite(key=key) for key in rwset.metadata_keys]
    ).SerializeToString()
    return encode_writes(rwset.writes) + metadata
