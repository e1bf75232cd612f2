"""A block with its outcome, nothing of it written yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.blocks.block import Block
from ledger.state.expiry import Expiry
from ledger.state.private_keys import SetPlace
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction
from ledger.transactions.private import private_collections
from ledger.transactions.rwset import CollectionRWSet
from ledger.validation.updates import BlockUpdates


@dataclass(frozen=True, slots=True)
class PreparedBlock:
    """A block with its outcome, nothing of it written yet.

    Attributes:
        block: with the final verdicts and the commit hash in its metadata.
        transactions: its envelopes, taken apart.
        codes: the final verdicts, one per transaction.
        commit_hash: 32 bytes; empty for the genesis block.
        updates: what it changes.
        expiry: what goes with it.
        collections: what its transactions, valid or not, write to collections, in hashes; a plain
            write set belongs to each.
    """

    block: Block
    transactions: Sequence[ParsedTransaction]
    codes: tuple[TxValidationCode, ...]
    commit_hash: bytes
    updates: BlockUpdates
    expiry: Expiry
    collections: Mapping[SetPlace, CollectionRWSet]


def collections_of(
    number: int, transactions: Sequence[ParsedTransaction]
) -> dict[SetPlace, CollectionRWSet]:
    """Return what the transactions of block *number* write to collections, in their order."""
    found: dict[SetPlace, CollectionRWSet] = {}
    for tx_num, transaction in enumerate(transactions):
        rwset = transaction.rwset
        if rwset is None:
            continue
        for each in rwset.namespaces:
            # Most blocks have none, and pay for no more than this look.
            if each.collections:
                version = Version(number, tx_num)
                for namespace, hashed in private_collections(rwset):
                    found[SetPlace(version, namespace, hashed.collection)] = hashed
                break
    return found
