"""Layouts of everything in the database of private data. Each key begins with a letter.

``name(x)`` and ``place`` are those of ``ledger.state.keys``; ``~``: all bits turned, so that what
is later stands first. Layout → value::

    V                                                 format version u32
    w ‖ place ‖ name(namespace) ‖ name(collection)    kind u8 ‖ write set: marshalled
                                                      kvrwset.KVRWSet
    i ‖ name(namespace) ‖ name(collection) ‖ hash (32) ‖ ~place
                                                      key: the write set at *place* names it
    a ‖ ~place ‖ name(namespace) ‖ name(collection)   nothing: a write set that is awaited
    c ‖ number u64                                    changes: what follows for this database once
                                                      block *number* is in the state
    l                                                 names of write sets (``w`` keys) that came
                                                      late and are not yet in the state

    kind      bits: 1 keys were taken out of it · 2 expired, kept for keys that are still in force
              · 4 its transaction is not valid
    changes   for each key: name(key) ‖ 00, it goes, or name(key) ‖ 01 ‖ name(value), it is put

Source of the idea of two indexes, by place and by the hash of the key: Fabric,
core/ledger/pvtdatastorage/kv_encoding.go.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from ledger.state.keys import (
    MAX_TRANSACTIONS,
    TX_NUM_BITS,
    decode_place,
    encode_name,
    encode_place,
    split_names,
    turn,
)
from ledger.state.version import Version

PRIVATE_FORMAT_VERSION = 1
PRIVATE_FORMAT = b"V"
WRITE_SET = b"w"
KEY_INDEX = b"i"
AWAITED = b"a"
CHANGES = b"c"
LATE = b"l"

TRIMMED = 1
OUTLIVED = 2
OF_INVALID = 4

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_HASH_BYTES = 32

Put = tuple[bytes, bytes]


class SetPlace(NamedTuple):
    """Which write set: of which transaction, to which collection."""

    version: Version
    namespace: str
    collection: str


class StoredSet(NamedTuple):
    """A write set as it is stored.

    Attributes:
        kind: the bits ``TRIMMED``, ``OUTLIVED``, ``OF_INVALID``.
        rwset: marshalled ``kvrwset.KVRWSet``.
    """

    kind: int
    rwset: bytes

    @property
    def is_trimmed(self) -> bool:
        """Whether keys were taken out, so that its hash is no longer that in the block."""
        return bool(self.kind & (TRIMMED | OUTLIVED))

    @property
    def is_outlived(self) -> bool:
        """Whether it has expired, and holds no more than keys that are still in force."""
        return bool(self.kind & OUTLIVED)

    @property
    def is_valid(self) -> bool:
        """Whether its transaction is valid, so that its values can be in force."""
        return not self.kind & OF_INVALID


class Changes(NamedTuple):
    """Puts and deletes of the database of private data."""

    puts: tuple[Put, ...] = ()
    deletes: tuple[bytes, ...] = ()


NO_CHANGES = Changes()


@lru_cache(maxsize=4096)
def _names(namespace: str, collection: str) -> bytes:
    return encode_name(namespace.encode()) + encode_name(collection.encode())


def set_key(place: SetPlace) -> bytes:
    """Return the key of a write set."""
    return WRITE_SET + encode_place(place.version) + _names(place.namespace, place.collection)


def decode_set_key(raw: bytes) -> SetPlace:
    """Return which write set stands under *raw*."""
    names, _ = split_names(raw, 9)
    return SetPlace(decode_place(raw[1:]), *names)


def sets_from(number: int) -> bytes:
    """Return what stands before the write sets of block *number* and of all later ones."""
    return WRITE_SET + _U64.pack(number << TX_NUM_BITS)


def encode_set(stored: StoredSet) -> bytes:
    """Return the stored form of a write set."""
    return b"%c%b" % stored


def decode_set(raw: bytes) -> StoredSet:
    """Return the write set stored as *raw*.

    Raises:
        ValueError: it is none.
    """
    if not raw:
        raise ValueError("there is no kind")
    return StoredSet(raw[0], raw[1:])


def index_prefix(namespace: str, collection: str, key_hash: bytes = b"") -> bytes:
    """Return what stands before the places of the write sets that name a key, newest first."""
    return KEY_INDEX + _names(namespace, collection) + key_hash


def index_key(place: SetPlace, key_hash: bytes) -> bytes:
    """Return the index key of one private key in one write set."""
    return index_keys(place, (key_hash,))[0]


def index_keys(place: SetPlace, key_hashes: Iterable[bytes]) -> list[bytes]:
    """Return the index keys of several private keys in one write set."""
    prefix = index_prefix(place.namespace, place.collection)
    end = turn(encode_place(place.version))
    return [prefix + key_hash + end for key_hash in key_hashes]


def decode_index_key(raw: bytes) -> tuple[SetPlace, bytes]:
    """Return the write set, and the hash of the key that it names."""
    names, rest = split_names(raw, 1)
    version = decode_place(turn(rest[_HASH_BYTES:]))
    return SetPlace(version, *names), rest[:_HASH_BYTES]


def awaited_key(place: SetPlace) -> bytes:
    """Return the key that says that a write set is awaited."""
    return AWAITED + turn(encode_place(place.version)) + _names(place.namespace, place.collection)


def awaited_range(number: int) -> tuple[bytes, bytes]:
    """Return start and end (excluded) of the awaited write sets of block *number*."""
    first, last = (Version(number, tx_num) for tx_num in (0, MAX_TRANSACTIONS - 1))
    return AWAITED + turn(encode_place(last)), AWAITED + turn(encode_place(first)) + b"\xff"


def decode_awaited_key(raw: bytes) -> SetPlace:
    """Return which write set is awaited."""
    names, _ = split_names(raw, 9)
    return SetPlace(decode_place(turn(raw[1:9])), *names)


def changes_key(number: int) -> bytes:
    """Return the key of the changes that follow block *number*."""
    return CHANGES + _U64.pack(number)


def decode_changes_key(raw: bytes) -> int:
    """Return the number of the block that the changes follow."""
    number: int = _U64.unpack_from(raw, 1)[0]
    return number


def encode_changes(changes: Changes) -> bytes:
    """Return the stored form of changes."""
    puts = b"".join(encode_name(key) + b"\x01" + encode_name(value) for key, value in changes.puts)
    return puts + b"".join(encode_name(key) + b"\x00" for key in changes.deletes)


def decode_changes(raw: bytes) -> Changes:
    """Return the changes stored as *raw*.

    Raises:
        ValueError: they end in the middle.
    """
    puts: list[Put] = []
    deletes: list[bytes] = []
    at = 0
    while at < len(raw):
        key, at = _take(raw, at)
        if at == len(raw):
            raise ValueError("what becomes of the last key is cut short")
        is_put = raw[at] == 1
        at += 1
        if is_put:
            value, at = _take(raw, at)
            puts.append((key, value))
        else:
            deletes.append(key)
    return Changes(tuple(puts), tuple(deletes))


def encode_keys(keys: Iterable[bytes]) -> bytes:
    """Return the stored form of a list of keys."""
    return b"".join(encode_name(key) for key in keys)


def decode_keys(raw: bytes) -> list[bytes]:
    """Return the keys stored as *raw*.

    Raises:
        ValueError: they end in the middle.
    """
    keys = []
    at = 0
    while at < len(raw):
        key, at = _take(raw, at)
        keys.append(key)
    return keys


def _take(raw: bytes, at: int) -> tuple[bytes, int]:
    begin = at + _U32.size
    if begin > len(raw):
        raise ValueError("a length is cut short")
    end = begin + _U32.unpack_from(raw, at)[0]
    if end > len(raw):
        raise ValueError(f"{end - len(raw)} bytes are missing at the end")
    return raw[begin:end], end


def encode_private_format() -> bytes:
    """Return the format version that this program writes."""
    return _U32.pack(PRIVATE_FORMAT_VERSION)
