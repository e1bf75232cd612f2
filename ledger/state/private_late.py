"""Private write sets that come after their block: verified, stored, and put into the state.

A set is taken only while the block's own is not held and has not expired. It changes the plain
state where the value that it writes is the one whose hash is in force, which is nearly always where
no later transaction has written the key; then purges and expiry treat it like any other.

Source: Fabric, core/ledger/kvledger/kv_ledger.go, ``CommitPvtDataOfOldBlocks``, and
txmgmt/txmgr/lockbased_txmgr.go, ``RemoveStaleAndCommitPvtDataOfOldBlocks``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of
from ledger.state.keys import MAX_TRANSACTIONS, absent_prefix, encode_place
from ledger.state.ports import VersionedValue
from ledger.state.prepared import collections_of
from ledger.state.private import LatePrivate, PrivateDataError, RefusedPrivate
from ledger.state.private_check import read_held, verify_private
from ledger.state.private_keys import (
    OF_INVALID,
    TRIMMED,
    Changes,
    Put,
    SetPlace,
    StoredSet,
    awaited_key,
    encode_set,
    index_key,
    set_key,
)
from ledger.state.private_plan import PrivateKey, private_put
from ledger.state.private_store import late_put
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from ledger.transactions.private import hash_key, hash_value
from ledger.transactions.rwset import CollectionRWSet


class LateState(Protocol):
    """What is asked of the state."""

    height: int

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        """Return the entry of a private key by the key's SHA-256, None if absent."""

    def is_absent(self, namespace: str, collection: str, version: Version) -> bool:
        """Tell whether a transaction writes to a collection and the write set is not held."""

    def purged_at(self, namespace: str, collection: str, key_hash: bytes) -> Version | None:
        """Return the last transaction that purged a private key, None if none did."""


def verify_late(
    items: Sequence[LatePrivate], state: LateState, load: Callable[[int], Block | None]
) -> tuple[dict[SetPlace, StoredSet], list[RefusedPrivate]]:
    """Judge write sets that came late.

    Args:
        items: the sets; of one place the first that is right counts.
        state: as it is now.
        load: returns a block by its number.

    Returns:
        What is to be stored, and what is refused.
    """
    taken: dict[SetPlace, StoredSet] = {}
    refused: list[RefusedPrivate] = []
    blocks: dict[int, tuple[Mapping[SetPlace, CollectionRWSet], Sequence[TxValidationCode]]] = {}
    for block_num, tx_num, write in items:
        place = SetPlace(Version(block_num, tx_num), write.namespace, write.collection)
        try:
            if (
                block_num not in range(state.height)
                or tx_num not in range(MAX_TRANSACTIONS)
                or place in taken
                or not state.is_absent(*place[1:], place.version)
            ):
                raise PrivateDataError(
                    "nothing is missing there: it is held, has expired, or the block names none"
                )
            if block_num not in blocks:
                block = load(block_num)
                assert block is not None, "what is absent is absent from a block"
                transactions = [parse_transaction(raw) for raw in block.data]
                blocks[block_num] = (collections_of(block_num, transactions), codes_of(block))
            collections, codes = blocks[block_num]
            taken[place] = _verify(place, write.rwset, collections[place], codes, state)
        except PrivateDataError as error:
            refused.append(RefusedPrivate(block_num, tx_num, *place[1:], str(error)))
    return taken, refused


def _verify(
    place: SetPlace,
    raw: bytes,
    hashed: CollectionRWSet,
    codes: Sequence[TxValidationCode],
    state: LateState,
) -> StoredSet:
    purged = set()
    for key_hash in (
        *(write.key_hash for write in hashed.hashed_writes),
        *(write.key_hash for write in hashed.metadata_writes),
    ):
        last = state.purged_at(*place[1:], key_hash)
        if last is not None and last >= place.version:
            purged.add(key_hash)
    verified = verify_private(raw, hashed, purged)
    kind = 0 if verified.is_whole else TRIMMED
    if codes[place.version.tx_num] is not TxValidationCode.VALID:
        kind |= OF_INVALID
    return StoredSet(kind, verified.rwset)


def late_in_store(taken: Mapping[SetPlace, StoredSet]) -> Changes:
    """Return what write sets that came late change in the store of write sets."""
    puts: list[Put] = [late_put(list(taken))]
    for place, stored in taken.items():
        puts.append((set_key(place), encode_set(stored)))
        for name in read_held(stored.rwset).keys:
            puts.append((index_key(place, hash_key(name)), name.encode()))
    return Changes(tuple(puts), tuple(awaited_key(place) for place in taken))


def late_in_state(taken: Iterable[tuple[SetPlace, StoredSet]], state: LateState) -> Changes:
    """Return what write sets that came late, and are stored, change in the state."""
    puts: dict[bytes, bytes] = {}
    deletes = []
    for place, stored in taken:
        deletes.append(absent_prefix(*place[1:]) + encode_place(place.version))
        if not stored.is_valid:
            continue
        for write in read_held(stored.rwset).writes:
            key = PrivateKey(*place[1:], hash_key(write.key))
            hashed = state.get_hashed(*key)
            if hashed is None or write.deletes or hash_value(write.value) != hashed.value:
                continue
            name, entry = private_put(key, write.key, write.value, hashed.version)
            puts[name] = entry
    return Changes(tuple(puts.items()), tuple(deletes))
