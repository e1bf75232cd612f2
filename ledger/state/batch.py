"""The whole effect of one block on the database, to be written at once.

Invariants: what is put depends on the block, its place in the log and the state before it, on
nothing else; so a state rebuilt from the blocks is the same to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ledger.blocks.block import Block
from ledger.blocks.segments import Location
from ledger.state.expiry import Expiry
from ledger.state.keys import (
    HEADER_HASH,
    METADATA_USE,
    SAVEPOINT,
    encode_entry,
    encode_head,
    encode_location,
    encode_number,
    encode_savepoint,
    encode_transaction,
    hashed_prefix,
    history_keys,
    number_key,
    public_prefix,
    transaction_key,
)
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ENDORSER_TRANSACTION, ParsedTransaction
from ledger.validation.updates import BlockUpdates, Update

Put = tuple[bytes, bytes]


class BlockBatch:
    """Puts and deletes of one block; the deletes touch no key that is put."""

    def __init__(self) -> None:
        self.puts: list[Put] = []
        self.deletes: list[bytes] = []

    def add_updates(self, number: int, updates: BlockUpdates, expiry: Expiry) -> None:
        """Add what block *number* changes: state, history, use of metadata, expiry."""
        puts = self.puts
        for namespace, changed in updates.public():
            self._add_entries(public_prefix(namespace), changed.values())
        for namespace, collection, hashed in updates.hashed():
            self._add_entries(hashed_prefix(namespace, collection), hashed.values())
        for namespace, tx_num, keys in updates.history:
            puts.extend([(key, b"") for key in history_keys(namespace, keys, number, tx_num)])
        for namespace in updates.namespaces_with_new_metadata():
            puts.append((METADATA_USE + namespace.encode(), b""))
        puts.extend((key, b"") for key in expiry.scheduled)
        self.deletes.extend(expiry.removed)

    def _add_entries(self, prefix: bytes, changed: Iterable[Update]) -> None:
        puts = self.puts
        version: Version | None = None
        head = b""
        for update in changed:
            if update.value is None:
                self.deletes.append(prefix + update.key)
            elif update.metadata:
                puts.append((prefix + update.key, encode_entry(update)))
            else:
                if update.version is not version:
                    version = update.version
                    head = encode_head(version)
                puts.append((prefix + update.key, head + update.value))

    def add_transactions(
        self,
        number: int,
        transactions: Sequence[ParsedTransaction],
        codes: Sequence[TxValidationCode],
        is_known: Callable[[str], bool],
    ) -> None:
        """File the transactions of block *number* under their ids; the first of an id stands.

        Args:
            number: of the block.
            transactions: in order.
            codes: their final verdicts.
            is_known: whether an id is filed already.
        """
        filed: set[str] = set()
        valid = TxValidationCode.VALID
        for index, transaction in enumerate(transactions):
            tx_id = transaction.index_id
            if not tx_id or tx_id in filed:
                continue
            filed.add(tx_id)
            # The id of a valid endorser transaction was new, or it would be a duplicate.
            is_new = codes[index] is valid and transaction.header_type == ENDORSER_TRANSACTION
            if is_new or not is_known(tx_id):
                self.puts.append(
                    (transaction_key(tx_id), encode_transaction(number, index, codes[index]))
                )

    def add_block(
        self, block: Block, header_hash: bytes, commit_hash: bytes, location: Location
    ) -> None:
        """Add the indexes of *block*, and the savepoint behind it."""
        number = block.number
        self.puts.append((number_key(number), encode_location(location)))
        self.puts.append((HEADER_HASH + header_hash, encode_number(number)))
        self.puts.append((SAVEPOINT, encode_savepoint(number + 1, header_hash, commit_hash)))
