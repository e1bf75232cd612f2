"""The final verdicts on a block, and what the block changes.

The transactions come with the verdicts that format, signatures and policies gave them. Here those
still VALID are judged in the order of the block: an id claimed twice, then what was read. Each that
stands changes the state that the next one is judged by.

Invariants: pure; the same block over the same state gives the same outcome on every node and at
every replay. Judging a block with its own final verdicts gives them again.

Source: Fabric, core/ledger/kvledger/txmgmt/validation/{batch_preparer,validator}.go and
core/peer/configtx_processor.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fabric_protos.common import configtx_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.errors import BlockError
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import CONFIG, ParsedTransaction
from ledger.validation.duplicates import mark_duplicates
from ledger.validation.mvcc import validate_reads
from ledger.validation.ports import CommittedState
from ledger.validation.updates import BlockUpdates

CONFIG_NAMESPACE = ""
CONFIG_KEY = "resourcesconfigtx.CHANNEL_CONFIG_KEY"
"""Where the configuration in force stands in the state: a marshalled ``common.Config``."""


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

    Raises:
        BlockError: a valid configuration cannot be read.
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
            config = _config_of(number, transaction.config_envelope)
            updates.put(CONFIG_NAMESPACE, CONFIG_KEY, config, version)
    return Judgement(tuple(final), updates)


def _config_of(number: int, envelope: bytes) -> bytes:
    try:
        config = configtx_pb2.ConfigEnvelope.FromString(envelope).config
    except ProtobufDecodeError as error:
        raise BlockError(
            f"the configuration in block {number} does not parse as common.ConfigEnvelope; "
            "take the block from another node"
        ) from error
    # It holds maps: only with their keys sorted do all nodes store the same bytes.
    raw: bytes = config.SerializeToString(deterministic=True)
    return raw
