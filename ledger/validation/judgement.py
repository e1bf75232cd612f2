"""The final verdicts on a block, and what the block changes.

The transactions come with the verdicts that format, signatures and policies gave them. Here those
still VALID are judged in the order of the block: an id claimed twice, then what was read. Each that
stands changes the state that the next one is judged by.

Invariants: pure; the same block over the same state gives the same outcome on every node and at
every replay. Judging a block with its own final verdicts gives them again.

Source: Fabric, core/ledger/kvledger/txmgmt/validation/{batch_preparer,validator}.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import CONFIG, ParsedTransaction
from ledger.validation.duplicates import mark_duplicates
from ledger.validation.mvcc import validate_reads
from ledger.validation.ports import CommittedState
from ledger.validation.updates import BlockUpdates

CONFIG_NAMESPACE = ""
CONFIG_KEY = "CHANNEL_CONFIG_ENV_BYTES"
"""Where the configuration in force stands in the state: the ``common.ConfigEnvelope`` as received
(Fabric, core/peer/configtx_processor.go; tests/vectors/fabric-3.1.5-raft/snapshot)."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What comes of one block.

    Attributes:
        codes: final, one per transaction.
        updates: of the valid ones together.
    """

    codes: tuple[TxValidationCode, ...]
    updates: BlockUpdates


def judge_block(
    number: int,
    transactions: Sequence[ParsedTransaction],
    codes: Sequence[TxValidationCode],
    state: CommittedState,
) -> Judgement:
    """Give each transaction its final verdict and add up what the valid ones write.

    Args:
        number: of the block.
        transactions: all of the block, in order.
        codes: the verdicts so far, one per transaction; only VALID ones can change.
        state: before the block.
    """
    assert len(codes) == len(transactions), "one verdict per transaction"
    final = mark_duplicates(transactions, codes)
    updates = BlockUpdates(state)
    for index, transaction in enumerate(transactions):
        if final[index] is not TxValidationCode.VALID:
            continue
        version = Version(number, index)
        rwset = transaction.rwset
        if rwset is not None:
            final[index] = validate_reads(rwset, updates, state)
            if final[index] is TxValidationCode.VALID:
                updates.apply(rwset, version)
        elif transaction.header_type == CONFIG:
            updates.put(CONFIG_NAMESPACE, CONFIG_KEY, transaction.config_envelope, version)
    return Judgement(tuple(final), updates)
