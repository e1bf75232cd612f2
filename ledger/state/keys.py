"""Layouts of everything in a channel's LevelDB. Each key begins with a letter that names its space.

``name(x)`` is the UTF-8 of x behind its length (u32), so that no name can run into the next part;
the last part of a key needs no length, and so keys of one namespace keep their own order.
``place`` is ``block_num << 24 | tx_num`` as u64. All numbers big-endian. Layout → value::

    F                                              format version u32
    S                                              height u64 ‖ header hash of the last block (32)
                                                   ‖ its commit hash (32, empty at height 1)
    d ‖ name(namespace) ‖ key                      entry: public state
    h ‖ name(namespace) ‖ name(collection) ‖ hash  entry: hashed private state
    p ‖ name(namespace) ‖ name(collection) ‖ key   entry: plain private state, as far as held here
    k ‖ name(namespace) ‖ name(key) ‖ ~place       nothing: history, newest first (~: bits turned)
    n ‖ number u64                                 location: a block
    b ‖ header hash (32)                           number u64
    t ‖ transaction id                             place ‖ code u8: its first occurrence
    m ‖ namespace                                  nothing: some key of it ever had metadata
    x ‖ expiry u64 ‖ written u64 ‖ name(namespace) ‖ name(collection) ‖ hash
                                                   nothing: a private hash of block *written* that
                                                   goes with block *expiry*; no hash: so do the
                                                   plain write sets of that block
    o ‖ name(namespace) ‖ name(collection) ‖ place nothing: a private write set of a block that is
                                                   not held
    u ‖ name(namespace) ‖ name(collection) ‖ hash  place: where the private key was last purged
    e ‖ number u64 ‖ kind                          location: evidence about a block
    E                                              position: where the indexed evidence ends

    entry     place ‖ 00 ‖ value, or place ‖ 01 ‖ length of metadata u32 ‖ metadata ‖ value
    location  segment u32 ‖ offset u64 ‖ length u32, of a record's data
    position  segment u32 ‖ offset u64

History holds no values: the block has them. A copy would double the bytes written for every change,
and they would be compacted again and again, to speed up a query that auditors make now and then.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import lru_cache, partial

from ledger.blocks.segments import Location, Position
from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from ledger.validation.ports import Mark
from ledger.validation.updates import Update

FORMAT_VERSION = 1
FORMAT = b"F"
SAVEPOINT = b"S"
PUBLIC = b"d"
HASHED = b"h"
PRIVATE = b"p"
HISTORY = b"k"
NUMBER = b"n"
HEADER_HASH = b"b"
TRANSACTION = b"t"
METADATA_USE = b"m"
EXPIRY = b"x"
ABSENT = b"o"
PURGED = b"u"
EVIDENCE = b"e"
EVIDENCE_END = b"E"

TX_NUM_BITS = 24
MAX_TRANSACTIONS = 1 << TX_NUM_BITS
"""Of one block, at most."""
_TX_NUM_MASK = MAX_TRANSACTIONS - 1
_ALL_BITS = (1 << 64) - 1

_U32 = struct.Struct(">I")
_U64 = struct.Struct(">Q")
_PLACE_CODE = struct.Struct(">QB")
_ENTRY = struct.Struct(">QB")
_METADATA_ENTRY = struct.Struct(">QBI")
_LOCATION = struct.Struct(">IQI")
_POSITION = struct.Struct(">IQ")
_HASH_BYTES = 32
_EXPIRY = struct.Struct(">QQ")

_value = partial(tuple.__new__, VersionedValue)
_mark = partial(tuple.__new__, Mark)
_version = partial(tuple.__new__, Version)


def encode_name(raw: bytes) -> bytes:
    """Return *raw* behind its length, so that it cannot run into what follows."""
    return _U32.pack(len(raw)) + raw


def after(prefix: bytes) -> bytes:
    """Return the end (excluded) of all keys under *prefix*, whose last byte must not be FF."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


@lru_cache(maxsize=4096)
def public_prefix(namespace: str) -> bytes:
    """Return what stands before the public keys of a namespace."""
    return PUBLIC + encode_name(namespace.encode())


@lru_cache(maxsize=4096)
def hashed_prefix(namespace: str, collection: str) -> bytes:
    """Return what stands before the key hashes of a collection."""
    return HASHED + encode_name(namespace.encode()) + encode_name(collection.encode())


@lru_cache(maxsize=4096)
def private_prefix(namespace: str, collection: str) -> bytes:
    """Return what stands before the plain keys of a collection."""
    return PRIVATE + encode_name(namespace.encode()) + encode_name(collection.encode())


@lru_cache(maxsize=4096)
def history_prefix(namespace: str) -> bytes:
    """Return what stands before the length-prefixed keys of a namespace in the history."""
    return HISTORY + encode_name(namespace.encode())


def history_key(namespace: str, key: bytes, block_num: int, tx_num: int) -> bytes:
    """Return the history key of one write."""
    return history_keys(namespace, (key,), block_num, tx_num)[0]


def history_keys(namespace: str, keys: Iterable[bytes], block_num: int, tx_num: int) -> list[bytes]:
    """Return the history keys of what one transaction writes in a namespace."""
    prefix = history_prefix(namespace)
    place = _U64.pack(_ALL_BITS ^ (block_num << TX_NUM_BITS | tx_num))
    length = _U32.pack
    return [b"%b%b%b%b" % (prefix, length(len(key)), key, place) for key in keys]


def history_of(namespace: str, key: bytes) -> bytes:
    """Return what stands before the places of one key in the history."""
    return history_prefix(namespace) + encode_name(key)


def decode_history_version(history: bytes) -> Version:
    """Return the place at the end of a history key."""
    place = _ALL_BITS ^ _U64.unpack(history[-8:])[0]
    return Version(place >> TX_NUM_BITS, place & _TX_NUM_MASK)


def encode_head(version: Version) -> bytes:
    """Return what stands before the value of an entry without metadata."""
    return _ENTRY.pack(version.block_num << TX_NUM_BITS | version.tx_num, 0)


def encode_entry(update: Update) -> bytes:
    """Return the stored form of an entry that is not a delete."""
    _, value, version, metadata = update
    assert value is not None
    if not metadata:
        return encode_head(version) + value
    place = version.block_num << TX_NUM_BITS | version.tx_num
    return _METADATA_ENTRY.pack(place, 1, len(metadata)) + metadata + value


def decode_entry(raw: bytes) -> VersionedValue:
    """Return the entry stored as *raw*."""
    place, has_metadata = _ENTRY.unpack_from(raw)
    version = _version((place >> TX_NUM_BITS, place & _TX_NUM_MASK))
    if not has_metadata:
        return _value((raw[9:], version, b""))
    end = 13 + _U32.unpack_from(raw, 9)[0]
    return _value((raw[end:], version, raw[13:end]))


def decode_mark(raw: bytes) -> Mark:
    """Return version and metadata of the entry stored as *raw*, leaving its value alone."""
    place, has_metadata = _ENTRY.unpack_from(raw)
    version = _version((place >> TX_NUM_BITS, place & _TX_NUM_MASK))
    metadata = raw[13 : 13 + _U32.unpack_from(raw, 9)[0]] if has_metadata else b""
    return _mark((version, metadata))


def number_key(number: int) -> bytes:
    """Return the index key of a block's number."""
    return NUMBER + _U64.pack(number)


def transaction_key(tx_id: str) -> bytes:
    """Return the index key of a transaction id."""
    return TRANSACTION + tx_id.encode()


def encode_transaction(block_num: int, tx_num: int, code: int) -> bytes:
    """Return the index value of a transaction id."""
    return _PLACE_CODE.pack(block_num << TX_NUM_BITS | tx_num, code)


def decode_transaction(raw: bytes) -> tuple[Version, int]:
    """Return place and code of a transaction."""
    place, code = _PLACE_CODE.unpack(raw)
    return Version(place >> TX_NUM_BITS, place & _TX_NUM_MASK), code


def evidence_key(number: int, kind: str) -> bytes:
    """Return the index key of evidence about a block."""
    return EVIDENCE + _U64.pack(number) + kind.encode()


def encode_location(location: Location) -> bytes:
    """Return the stored form of a place in a log."""
    return _LOCATION.pack(*location)


def decode_location(raw: bytes) -> Location:
    """Return the place in a log stored as *raw*."""
    return Location(*_LOCATION.unpack(raw))


def encode_position(position: Position) -> bytes:
    """Return the stored form of a position in a log."""
    return _POSITION.pack(*position)


def decode_position(raw: bytes) -> Position:
    """Return the position in a log stored as *raw*."""
    return Position(*_POSITION.unpack(raw))


def encode_savepoint(height: int, header_hash: bytes, commit_hash: bytes) -> bytes:
    """Return the stored form of a savepoint; *commit_hash* is empty at height 1."""
    return _U64.pack(height) + header_hash + commit_hash


def decode_savepoint(raw: bytes) -> tuple[int, bytes, bytes]:
    """Return height, header hash and commit hash of a savepoint.

    Raises:
        ValueError: *raw* is no savepoint.
    """
    lengths = (_U64.size + _HASH_BYTES, _U64.size + 2 * _HASH_BYTES)
    if len(raw) not in lengths:
        raise ValueError(f"a savepoint has {lengths[0]} or {lengths[1]} bytes, not {len(raw)}")
    return decode_number(raw), raw[8:40], raw[40:]


def encode_number(number: int) -> bytes:
    """Return a block's number as u64."""
    return _U64.pack(number)


def decode_number(raw: bytes) -> int:
    """Return the u64 at the beginning of *raw*."""
    number: int = _U64.unpack_from(raw)[0]
    return number


def encode_format() -> bytes:
    """Return the format version that this program writes."""
    return _U32.pack(FORMAT_VERSION)


def decode_format(raw: bytes) -> int:
    """Return a stored format version; one that is no u32 counts as 0, which nobody knows."""
    if len(raw) != _U32.size:
        return 0
    version: int = _U32.unpack(raw)[0]
    return version


def expiry_key(
    expiry: int, written: int, namespace: str, collection: str, key_hash: bytes
) -> bytes:
    """Return the schedule key of a private hash; of plain write sets if *key_hash* is empty."""
    return b"%b%b%b%b%b" % (
        EXPIRY,
        _EXPIRY.pack(expiry, written),
        encode_name(namespace.encode()),
        encode_name(collection.encode()),
        key_hash,
    )


def expiry_prefix(expiry: int) -> bytes:
    """Return what stands before everything that goes with block *expiry*."""
    return EXPIRY + _U64.pack(expiry)


def decode_expiry(raw: bytes) -> tuple[int, str, str, bytes]:
    """Return (block written, namespace, collection, key hash) of a schedule key."""
    _, written = _EXPIRY.unpack_from(raw, 1)
    names, key_hash = split_names(raw, 1 + _EXPIRY.size)
    return written, *names, key_hash


def split_names(raw: bytes, begin: int) -> tuple[tuple[str, str], bytes]:
    """Return two length-prefixed names that stand in *raw* from *begin* on, and what follows."""
    names = []
    for _ in range(2):
        length = _U32.unpack_from(raw, begin)[0]
        names.append(raw[begin + 4 : begin + 4 + length].decode())
        begin += 4 + length
    return (names[0], names[1]), raw[begin:]


def absent_prefix(namespace: str, collection: str) -> bytes:
    """Return what stands before the places whose write set of a collection is not held."""
    return ABSENT + encode_name(namespace.encode()) + encode_name(collection.encode())


def purged_key(namespace: str, collection: str, key_hash: bytes) -> bytes:
    """Return the key under which the last purge of a private key is filed."""
    return PURGED + encode_name(namespace.encode()) + encode_name(collection.encode()) + key_hash


def encode_place(place: Version) -> bytes:
    """Return the stored form of a place in the chain; places sort as their bytes do."""
    return _U64.pack(place.block_num << TX_NUM_BITS | place.tx_num)


def decode_place(raw: bytes) -> Version:
    """Return the place at the beginning of *raw*."""
    place = _U64.unpack_from(raw)[0]
    return Version(place >> TX_NUM_BITS, place & _TX_NUM_MASK)


def turn(raw: bytes) -> bytes:
    """Return *raw*, 8 bytes, with every bit turned: what is later then sorts first."""
    turned: bytes = _U64.pack(_ALL_BITS ^ _U64.unpack(raw)[0])
    return turned
