"""Does a private write set say what the hashes in the block say?

A whole set is compared by its hash. A set from which a purge has taken keys, here or at the member
that it comes from, has another hash; it is compared key by key: every key that was not purged must
be there with the value that its hash stands for, and what was purged here is taken out.

Source: Fabric, core/ledger/kvledger/hashcheck_pvtdata.go, ``validateAndRemovePurgedKeys``. Other
than there, a set that writes metadata only is taken as well, deletes are compared as deletes, and a
purge leaves no key behind in the metadata either.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import NamedTuple

from ledger.errors import DecodeError
from ledger.state.private import PrivateDataError
from ledger.transactions.private import (
    PrivateRWSet,
    decode_private_rwset,
    encode_private_rwset,
    hash_key,
    hash_value,
)
from ledger.transactions.rwset import CollectionRWSet, HashedWrite


def without(rwset: PrivateRWSet, taken: Collection[bytes]) -> PrivateRWSet:
    """Return *rwset* without some keys, named by their hashes."""
    if not taken:
        return rwset
    return PrivateRWSet(
        tuple(write for write in rwset.writes if hash_key(write.key) not in taken),
        tuple(key for key in rwset.metadata_keys if hash_key(key) not in taken),
    )


def key_hashes(rwset: PrivateRWSet) -> set[bytes]:
    """Return the hashes of all keys that *rwset* names."""
    return {hash_key(key) for key in rwset.keys}


class Verified(NamedTuple):
    """A private write set that is what the block says, as it is to be stored.

    Attributes:
        is_whole: whether nothing was taken out of it.
    """

    rwset: bytes
    is_whole: bool


def verify_private(raw: bytes, hashed: CollectionRWSet, purged: Collection[bytes]) -> Verified:
    """Check that *raw* is the private write set that *hashed* stands for.

    Args:
        raw: marshalled ``kvrwset.KVRWSet``, from anywhere.
        hashed: of the transaction and collection.
        purged: hashes of keys that were purged by this transaction or later.

    Raises:
        PrivateDataError: it is not.
    """
    is_whole = hashlib.sha256(raw).digest() == hashed.pvt_rwset_hash
    expected = {write.key_hash: write for write in hashed.hashed_writes}
    left = expected.keys() - set(purged)
    if expected and not left and not is_whole:
        return Verified(b"", False)
    try:
        rwset = decode_private_rwset(raw)
    except DecodeError as error:
        raise PrivateDataError(str(error)) from error
    if is_whole:
        trimmed = without(rwset, purged)
        if trimmed == rwset:
            return Verified(raw, True)
        return Verified(encode_private_rwset(trimmed), False)
    kept = without(rwset, key_hashes(rwset) - left)
    problem = _compare(kept, {key_hash: expected[key_hash] for key_hash in left})
    if not problem and left == expected.keys():
        problem = "its hash is not the one in the block"
    if problem:
        raise PrivateDataError(problem)
    return Verified(encode_private_rwset(PrivateRWSet(kept.writes)), False)


def _compare(rwset: PrivateRWSet, expected: dict[bytes, HashedWrite]) -> str:
    """Return what is wrong with the writes that are left, empty if nothing is."""
    found = set()
    for write in rwset.writes:
        key_hash = hash_key(write.key)
        hashed = expected[key_hash]
        if write.deletes != hashed.deletes:
            return "a write is a delete in the block, or the other way round"
        if not write.deletes and hash_value(write.value) != hashed.value_hash:
            return "the hash of a value is not the one in the block"
        if key_hash in found:
            return "a key is written twice"
        found.add(key_hash)
    if found != expected.keys():
        return f"{len(expected) - len(found)} of its keys are missing, and were not purged here"
    return ""


def is_part(raw: bytes, hashed: CollectionRWSet) -> bool:
    """Tell whether all that a trimmed set still says stands in the hashes of the block."""
    try:
        rwset = decode_private_rwset(raw)
    except DecodeError:
        return False
    named = {write.key_hash for write in hashed.metadata_writes}
    if any(hash_key(key) not in named for key in rwset.metadata_keys):
        return False
    written = {hash_key(write.key) for write in rwset.writes}
    expected = {each.key_hash: each for each in hashed.hashed_writes if each.key_hash in written}
    return written == expected.keys() and not _compare(rwset, expected)


def read_held(raw: bytes) -> PrivateRWSet:
    """Return the writes of a set that has the hash in the block.

    Endorsers can agree on the hash of bytes that are no write set. Such a set is held as it is, and
    writes nothing.
    """
    try:
        return decode_private_rwset(raw)
    except DecodeError:
        return PrivateRWSet()
