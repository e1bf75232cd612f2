"""Why a transaction met a conflict: which key it had read, and who changed that key before it.

The committer records only the code. The key follows from the blocks: a transaction is in conflict
if a valid one that stands before it, and after the version it had read, wrote a key that it read or
that lies in a range it read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from clients.explorer.chain import Recorded, recorded
from ledger.blocks.block import Block
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.rwset import NamespaceRWSet, RangeQuery, TxRWSet

FURTHEST: Final = 200
"""Blocks that are looked through at most: an endorsement is seconds old, as a rule."""
CONFLICTS: Final = frozenset(
    {TxValidationCode.MVCC_READ_CONFLICT, TxValidationCode.PHANTOM_READ_CONFLICT}
)


@dataclass(frozen=True, slots=True)
class Conflict:
    """The first conflict that was found.

    Attributes:
        namespace, key: what had been read; a private key as its collection, ``#`` and its hash.
        changed_by: transaction that changed it meanwhile.
        block_num: where that one stands.
        is_range: whether the key lies in a range that had been read.
    """

    namespace: str
    key: str
    changed_by: str
    block_num: int
    is_range: bool

    def __str__(self) -> str:
        """One sentence."""
        read = "lies in a range that it had read and" if self.is_range else "had been read and"
        shown = self.key.replace("\x00", "/").strip("/")
        return (
            f"key {shown} of {self.namespace} {read} was changed meanwhile by transaction "
            f"{self.changed_by} in block {self.block_num}"
        )


def find_conflict(lost: Recorded, block_at: Callable[[int], Block]) -> Conflict | None:
    """The key that a transaction with a conflict's code had read too early.

    Args:
        lost: the transaction.
        block_at: gives earlier blocks.

    Returns None where the cause does not lie within `FURTHEST` blocks, or is of another kind.
    """
    if lost.code not in CONFLICTS or lost.transaction.rwset is None:
        return None
    for winner in _before(lost, block_at):
        found = _conflict(lost, winner)
        if found is not None:
            return found
    return None


def _before(lost: Recorded, block_at: Callable[[int], Block]) -> Iterator[Recorded]:
    """Valid transactions before *lost*, the nearest first."""
    same = recorded(lost.block)[: lost.place]
    yield from (each for each in reversed(same) if each.code is TxValidationCode.VALID)
    first = max(0, lost.block.number - FURTHEST)
    for number in range(lost.block.number - 1, first - 1, -1):
        for each in reversed(recorded(block_at(number))):
            if each.code is TxValidationCode.VALID:
                yield each


def _conflict(lost: Recorded, winner: Recorded) -> Conflict | None:
    assert lost.transaction.rwset is not None
    if winner.transaction.rwset is None:
        return None
    written = _written(winner.transaction.rwset)
    at = Version(winner.block.number, winner.place)
    tx_id = winner.transaction.tx_id
    for space in lost.transaction.rwset.namespaces:
        for name, version in _reads(space):
            is_newer = version is None or at > version
            if is_newer and (space.namespace, name) in written:
                return Conflict(space.namespace, name, tx_id, at.block_num, False)
        for query in space.range_queries:
            for namespace, key in sorted(written):
                if namespace == space.namespace and _is_new_in(query, key, at):
                    return Conflict(namespace, key, tx_id, at.block_num, True)
    return None


def _reads(space: NamespaceRWSet) -> Iterator[tuple[str, Version | None]]:
    """Names and versions of the keys that were read; private ones by collection and hash."""
    for read in space.reads:
        yield read.key, read.version
    for collection in space.collections:
        for hashed in collection.hashed_reads:
            yield _private(collection.collection, hashed.key_hash), hashed.version


def _written(rwset: TxRWSet) -> set[tuple[str, str]]:
    """Namespace and name of the keys that were written; a change of a key's policy counts."""
    written: set[tuple[str, str]] = set()
    for space in rwset.namespaces:
        keys = {each.key for each in space.writes} | {each.key for each in space.metadata_writes}
        for collection in space.collections:
            hashes = {each.key_hash for each in collection.hashed_writes}
            hashes |= {each.key_hash for each in collection.metadata_writes}
            keys |= {_private(collection.collection, each) for each in hashes}
        written |= {(space.namespace, key) for key in keys}
    return written


def _private(collection: str, key_hash: bytes) -> str:
    return f"{collection}#{key_hash.hex()}"


def _is_new_in(query: RangeQuery, key: str, at: Version) -> bool:
    is_inside = query.start_key <= key and (not query.end_key or key < query.end_key)
    if not is_inside or query.raw_reads is None:
        return is_inside and query.raw_reads is None
    seen = {read.key: read.version for read in query.raw_reads}.get(key)
    return seen is None or at > seen
