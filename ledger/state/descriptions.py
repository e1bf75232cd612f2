"""Keys and values of the database in words, for people who read a finding.

Values are shown by version, length and the beginning of their SHA-256, never as they are, and
private keys by their SHA-256. Damaged ones are described as well: nothing here raises.
"""

from __future__ import annotations

import hashlib
import struct

from ledger.state.keys import (
    ABSENT,
    EVIDENCE,
    EVIDENCE_END,
    EXPIRY,
    FORMAT,
    HASHED,
    HEADER_HASH,
    HISTORY,
    METADATA_USE,
    NUMBER,
    PRIVATE,
    PUBLIC,
    PURGED,
    SAVEPOINT,
    TRANSACTION,
    decode_entry,
    decode_expiry,
    decode_history_version,
    decode_location,
    decode_number,
    decode_place,
    decode_position,
    decode_savepoint,
    decode_transaction,
)

_U32 = struct.Struct(">I")


def _names(raw: bytes, count: int) -> tuple[list[str], bytes]:
    """Return *count* length-prefixed names at the beginning of *raw*, and the rest."""
    names = []
    for _ in range(count):
        length = _U32.unpack_from(raw)[0]
        names.append(raw[4 : 4 + length].decode())
        raw = raw[4 + length :]
    return names, raw


def _describe_place(rest: bytes) -> str:
    names, place = _names(rest, 2)
    version = decode_history_version(place)
    return f"history of key {names[1]!r} of {names[0]!r} at {tuple(version)}"


def _describe_expiry(key: bytes) -> str:
    written, namespace, collection, key_hash = decode_expiry(key)
    return (
        f"expiry in block {decode_number(key[1:])} of {key_hash.hex() or 'the write sets'} of "
        f"{namespace!r}/{collection!r}, written in block {written}"
    )


def _describe_state(space: bytes, rest: bytes) -> str:
    names, key = _names(rest, 1 if space == PUBLIC else 2)
    if space == PUBLIC:
        return f"state of key {key.decode()!r} of {names[0]!r}"
    if space == ABSENT:
        place = tuple(decode_place(key))
        return f"lack of the write set of transaction {place} to {names[0]!r}/{names[1]!r}"
    if space == PURGED:
        return f"last purge of key {key.hex()} of {names[0]!r}/{names[1]!r}"
    if space == PRIVATE:
        digest = hashlib.sha256(key).hexdigest()
        return f"plain state of key {digest} of {names[0]!r}/{names[1]!r}"
    return f"hashed state of key {key.hex()} of {names[0]!r}/{names[1]!r}"


def describe_key(key: bytes) -> str:
    """Say what a key of the database stands for."""
    space, rest = key[:1], key[1:]
    try:
        if space in (PUBLIC, HASHED, PRIVATE, ABSENT, PURGED):
            return _describe_state(space, rest)
        if space == HISTORY:
            return _describe_place(rest)
        if space == EXPIRY:
            return _describe_expiry(key)
        if space == NUMBER:
            return f"place of block {decode_number(rest)}"
        if space == HEADER_HASH:
            return f"number of the block with header hash {rest.hex()}"
        if space == TRANSACTION:
            return f"place of transaction {rest.decode()!r}"
        if space == METADATA_USE:
            return f"use of metadata in {rest.decode()!r}"
        if space == EVIDENCE:
            return f"place of evidence {rest[8:].decode()!r} about block {decode_number(rest)}"
    except (struct.error, UnicodeDecodeError):
        return f"damaged key {key.hex()}"
    fixed = {FORMAT: "format version", SAVEPOINT: "savepoint", EVIDENCE_END: "end of the evidence"}
    return fixed.get(key, f"unknown key {key.hex()}")


def describe_value(key: bytes, raw: bytes) -> str:
    """Say what the value *raw* of *key* says."""
    space = key[:1]
    try:
        if space in (PUBLIC, HASHED, PRIVATE):
            entry = decode_entry(raw)
            return (
                f"version {tuple(entry.version)}, value {_digest(entry.value)}, "
                f"metadata {_digest(entry.metadata)}"
            )
        if space == PURGED:
            return f"transaction {tuple(decode_place(raw))}"
        if space == SAVEPOINT:
            height, header_hash, commit_hash = decode_savepoint(raw)
            return f"height {height}, header {header_hash.hex()}, commit hash {commit_hash.hex()}"
        if space in (NUMBER, EVIDENCE):
            return "segment {}, offset {}, length {}".format(*decode_location(raw))
        if space == EVIDENCE_END:
            return "segment {}, offset {}".format(*decode_position(raw))
        if space == HEADER_HASH:
            return f"block {decode_number(raw)}"
        if space == TRANSACTION:
            version, code = decode_transaction(raw)
            return f"place {tuple(version)}, code {code}"
    except (struct.error, ValueError):
        pass
    return _digest(raw)


def _digest(raw: bytes) -> str:
    if not raw:
        return "nothing"
    return f"{len(raw)} bytes ({hashlib.sha256(raw).hexdigest()[:16]}…)"
