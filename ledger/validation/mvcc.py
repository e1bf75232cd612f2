"""Multi-version concurrency control: was everything that a transaction read still so at its turn?

Transactions are judged one after another in the order of the block. For each namespace, in the
order of the read/write set: public reads, range scans, hashed reads; the first that fails decides
the code. A read fails if an earlier valid transaction of the block touched the key, or if the
committed version is not the one that was read. Comparing versions is enough, since every change
gives a new one.

Source: Fabric, core/ledger/kvledger/txmgmt/validation/validator.go.
"""

from __future__ import annotations

from ledger.transactions.codes import TxValidationCode
from ledger.transactions.rwset import CollectionRWSet, NamespaceRWSet, TxRWSet
from ledger.validation.ports import CommittedState
from ledger.validation.ranges import is_range_unchanged
from ledger.validation.updates import BlockUpdates


def _are_reads_current(rwset: NamespaceRWSet, updates: BlockUpdates) -> bool:
    reads = rwset.reads
    if not reads:
        return True
    public = updates.of(rwset.namespace).public
    if public:
        for key, _ in reads:
            if key in public:
                return False
    marks = updates.committed_marks(rwset.namespace, [key for key, _ in reads])
    for key, version in reads:
        mark = marks[key]
        if (mark.version if mark is not None else None) != version:
            return False
    return True


def _are_hashed_reads_current(
    namespace: str, rwset: CollectionRWSet, updates: BlockUpdates
) -> bool:
    reads = rwset.hashed_reads
    hashed = updates.of(namespace).hashed.get(rwset.collection)
    if hashed and any(key_hash in hashed for key_hash, _ in reads):
        return False
    entries = updates.committed_hashed(
        namespace, rwset.collection, [key_hash for key_hash, _ in reads]
    )
    for key_hash, version in reads:
        entry = entries[key_hash]
        if (entry.version if entry is not None else None) != version:
            return False
    return True


def validate_reads(
    rwset: TxRWSet, updates: BlockUpdates, state: CommittedState
) -> TxValidationCode:
    """Judge the reads of one transaction.

    Args:
        rwset: of the transaction.
        updates: of the valid transactions before it in the block.
        state: before the block.

    Returns:
        ``VALID``, ``MVCC_READ_CONFLICT`` or ``PHANTOM_READ_CONFLICT``.
    """
    for each in rwset.namespaces:
        if not _are_reads_current(each, updates):
            return TxValidationCode.MVCC_READ_CONFLICT
        for query in each.range_queries:
            if not is_range_unchanged(query, each.namespace, updates, state):
                return TxValidationCode.PHANTOM_READ_CONFLICT
        for collection in each.collections:
            if not _are_hashed_reads_current(each.namespace, collection, updates):
                return TxValidationCode.MVCC_READ_CONFLICT
    return TxValidationCode.VALID
