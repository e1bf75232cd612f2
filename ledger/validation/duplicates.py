"""Transaction ids that occur twice in one block.

Inside a block only transactions that are valid so far claim their id, in the order of the block;
the claim stands even if the claimant falls to MVCC afterwards. Ids that the ledger already holds
are another matter: there every id counts, valid or not, and the caller looks them up.

Source: Fabric, core/committer/txvalidator/v20/validator.go, ``markTXIdDuplicates``.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ENDORSER_TRANSACTION, ParsedTransaction


def mark_duplicates(
    transactions: Sequence[ParsedTransaction], codes: Sequence[TxValidationCode]
) -> list[TxValidationCode]:
    """Return *codes* with ``DUPLICATE_TXID`` for every valid one whose id is already claimed.

    Args:
        transactions: of the block, in order.
        codes: what the checks before have found, one per transaction.
    """
    claimed: set[str] = set()
    result = list(codes)
    for index, transaction in enumerate(transactions):
        if codes[index] is not TxValidationCode.VALID:
            continue
        if transaction.header_type != ENDORSER_TRANSACTION:
            continue
        if transaction.tx_id in claimed:
            result[index] = TxValidationCode.DUPLICATE_TXID
        claimed.add(transaction.tx_id)
    return result
