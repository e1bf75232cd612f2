"""The long lists of a read/write set, marshalled by hand.

Hot path: a bulk transaction reads and writes a thousand keys and more. As a protobuf object each
takes one to two microseconds, put together as bytes a third of that, and the bytes are the same
(tests/property/test_rwset_marshalling.py): of a message that is a list, any part of its elements
marshalled by itself, one after another, is the whole.

What is no plain read or write, an empty key for example, is left to protobuf.

Source: protobuf's encoding, https://protobuf.dev/programming-guides/encoding/; fabric-protos,
ledger/rwset/kvrwset/kv_rwset.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from ledger.state.version import Version
from ledger.varints import encode_varint

__all__ = [
    "encode_hashed_reads",
    "encode_hashed_writes",
    "encode_reads",
    "encode_writes",
]


def _version_field(version: Version | None) -> bytes:
    """Return field 2 of a read: where the key was written last; nothing for an absent key."""
    if version is None:
        return b""
    block_num, tx_num = version
    height = b""
    if block_num:
        height += b"\x08" + encode_varint(block_num)
    if tx_num:
        height += b"\x10" + encode_varint(tx_num)
    return b"\x12%c%b" % (len(height), height)


def _encode_versioned(keys: Iterable[tuple[bytes, Version | None]]) -> bytes:
    """Marshal elements of field 1, each a key as its field 1 and a version."""
    parts = []
    known: Version | None = None
    field = b""
    for key, version in keys:
        if version != known:
            known, field = version, _version_field(version)
        if key:
            length = encode_varint(len(key))
            body = len(length) + len(key) + len(field) + 1
            parts.append(b"\x0a%b\x0a%b%b%b" % (encode_varint(body), length, key, field))
        else:
            parts.append(b"\x0a%b%b" % (encode_varint(len(field)), field))
    return b"".join(parts)


def encode_reads(reads: Sequence[tuple[str, Version | None]]) -> bytes:
    """Marshal the `reads` of a ``kvrwset.KVRWSet``: key and version, None for an absent key."""
    return _encode_versioned([(key.encode(), version) for key, version in reads])


def encode_hashed_reads(reads: Sequence[tuple[bytes, Version | None]]) -> bytes:
    """Marshal the `hashed_reads` of a ``kvrwset.HashedRWSet``: hash of the key and version."""
    return _encode_versioned(reads)


def encode_writes(writes: Iterable[tuple[str, bool, bytes]]) -> bytes:
    """Marshal the `writes` of a ``kvrwset.KVRWSet``: key, whether it is deleted, value."""
    parts = []
    for key, is_delete, value in writes:
        name = key.encode()
        if is_delete or not name or not value:
            odd = kv_rwset_pb2.KVWrite(key=key, is_delete=is_delete, value=value)
            parts.append(kv_rwset_pb2.KVRWSet(writes=[odd]).SerializeToString())
            continue
        size = encode_varint(len(name))
        length = encode_varint(len(value))
        body = len(size) + len(name) + len(length) + len(value) + 2
        parts.append(b"\x1a%b\x0a%b%b\x1a%b%b" % (encode_varint(body), size, name, length, value))
    return b"".join(parts)


def encode_hashed_writes(writes: Iterable[tuple[bytes, bool, bytes, bool]]) -> bytes:
    """Marshal the `hashed_writes` of a ``kvrwset.HashedRWSet``.

    Args:
        writes: hash of the key, whether it is deleted, hash of the value, whether it is purged.
    """
    parts = []
    for key_hash, is_delete, value_hash, is_purge in writes:
        if len(key_hash) == len(value_hash) == 32 and not is_delete and not is_purge:
            parts.append(b"\x12\x44\x0a\x20%b\x1a\x20%b" % (key_hash, value_hash))
            continue
        odd = kv_rwset_pb2.KVWriteHash(
            key_hash=key_hash, is_delete=is_delete, value_hash=value_hash, is_purge=is_purge
        )
        parts.append(kv_rwset_pb2.HashedRWSet(hashed_writes=[odd]).SerializeToString())
    return b"".join(parts)
