"""The chain recorded from a Fabric 3.1.5 network, as its README describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of
from ledger.channel import ChannelLedger, PreparedBlock
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction, parse_transaction

FOLDER = Path(__file__).parent.parent / "vectors" / "fabric-3.1.5-raft"
HEIGHT = 71


@dataclass(frozen=True)
class RecordedBlock:
    """One block as the peer returned it, and what the recording says of it."""

    raw: bytes
    block: Block
    expected: dict[str, Any]
    transactions: tuple[ParsedTransaction, ...]

    @property
    def codes(self) -> tuple[TxValidationCode, ...]:
        return codes_of(self.block)


def load(name: str) -> Any:
    """Return one of the recording's JSON files."""
    return json.loads((FOLDER / name).read_text())


@cache
def recorded_blocks() -> tuple[RecordedBlock, ...]:
    """Return all recorded blocks in order."""
    return tuple(
        _recorded(number, expected)
        for number, expected in enumerate(load("expected.json")["blocks"])
    )


def _recorded(number: int, expected: dict[str, Any]) -> RecordedBlock:
    raw = (FOLDER / "blocks" / f"{number:06}.block").read_bytes()
    block = Block.decode(raw)
    return RecordedBlock(
        raw, block, expected, tuple(parse_transaction(each) for each in block.data)
    )


def codes_before_mvcc(
    recorded: RecordedBlock, ledger: ChannelLedger
) -> tuple[TxValidationCode, ...]:
    """Return the verdicts as the checks before the ledger's own would have left them.

    That is: VALID for every transaction that fell to a check of the ledger: a read, a range, or an
    id that is claimed twice inside the block.
    """
    return tuple(
        TxValidationCode.VALID if _fell_in_ledger(code, transaction, ledger) else code
        for code, transaction in zip(recorded.codes, recorded.transactions, strict=True)
    )


def _fell_in_ledger(
    code: TxValidationCode, transaction: ParsedTransaction, ledger: ChannelLedger
) -> bool:
    if code is TxValidationCode.DUPLICATE_TXID:
        return not ledger.has_transaction(transaction.tx_id)
    return code in (
        TxValidationCode.MVCC_READ_CONFLICT,
        TxValidationCode.PHANTOM_READ_CONFLICT,
    )


def commit_recorded(ledger: ChannelLedger, height: int = HEIGHT) -> list[PreparedBlock]:
    """Commit the recorded blocks from the ledger's height up to *height*, judging them anew."""
    outcomes = []
    for recorded in recorded_blocks()[ledger.height : height]:
        prepared = ledger.prepare(
            recorded.block, recorded.transactions, codes_before_mvcc(recorded, ledger)
        )
        ledger.commit(prepared)
        outcomes.append(prepared)
    return outcomes
