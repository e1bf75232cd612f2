"""The database of one channel: its format, its savepoint and its indexes.

Invariant: between two batches the database is the effect of exactly the blocks below the height
in its savepoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ledger.blocks.segments import Position
from ledger.errors import CorruptionError, FormatVersionError
from ledger.faults import FaultPort
from ledger.state.keys import (
    EVIDENCE_END,
    FORMAT,
    FORMAT_VERSION,
    HEADER_HASH,
    SAVEPOINT,
    decode_format,
    decode_number,
    decode_position,
    decode_savepoint,
    decode_transaction,
    encode_format,
    transaction_key,
)
from ledger.state.leveldb import LevelDB
from ledger.transactions.codes import TxValidationCode


class Savepoint(NamedTuple):
    """How far the database has come.

    Attributes:
        height: the number of blocks whose effect it holds.
        header_hash: of the last of them; empty at height 0.
        commit_hash: of the last of them; empty up to height 1.
    """

    height: int
    header_hash: bytes
    commit_hash: bytes


EMPTY = Savepoint(0, b"", b"")


class TransactionRecord(NamedTuple):
    """What the ledger knows of a transaction id: its verdict and its place."""

    code: TxValidationCode
    block_num: int
    tx_num: int


class ChannelDatabase(LevelDB):
    """An open database of this program's format; a new one is given its format at once.

    Raises:
        FormatVersionError: it was written in a format that this program does not know.
        LedgerLocked, CorruptionError, StorageError: as ``LevelDB``.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        faults: FaultPort | None = None,
        durable: bool = True,
    ) -> None:
        super().__init__(path, create=create, faults=faults, durable=durable)
        try:
            self._verify_format()
        except BaseException:
            self.close()
            raise

    def _verify_format(self) -> None:
        stored = self.get(FORMAT)
        if stored is None:
            if self.get(SAVEPOINT) is not None:
                raise CorruptionError(
                    f"the database {self.path} has a savepoint but no format version; move it away "
                    "and start again: the state is rebuilt from the blocks"
                )
            self.write([(FORMAT, encode_format())])
        elif decode_format(stored) != FORMAT_VERSION:
            raise FormatVersionError(
                f"the database {self.path} has format version {decode_format(stored)}, this "
                f"program knows {FORMAT_VERSION}; use the release that wrote it, or move the "
                "database away and start again: the state is rebuilt from the blocks"
            )

    def savepoint(self) -> Savepoint:
        """Return the savepoint; the empty one if no block was ever committed."""
        raw = self.get(SAVEPOINT)
        if raw is None:
            return EMPTY
        try:
            return Savepoint(*decode_savepoint(raw))
        except ValueError as error:
            raise CorruptionError(
                f"the savepoint of the database {self.path} is damaged: {error}; move the database "
                "away and start again: the state is rebuilt from the blocks"
            ) from error

    def transaction(self, tx_id: str) -> TransactionRecord | None:
        """Return verdict and place of a transaction, None if no block holds it."""
        raw = self.get(transaction_key(tx_id))
        if raw is None:
            return None
        (block_num, tx_num), code = decode_transaction(raw)
        return TransactionRecord(TxValidationCode(code), block_num, tx_num)

    def has_transaction(self, tx_id: str) -> bool:
        """Tell whether some block holds the transaction, valid or not."""
        return self.get(transaction_key(tx_id)) is not None

    def number_of(self, header_hash: bytes) -> int | None:
        """Return the number of the block with this header hash, None if there is none."""
        raw = self.get(HEADER_HASH + header_hash)
        return None if raw is None else decode_number(raw)

    def evidence_end(self) -> Position:
        """Return where the indexed evidence ends in its log."""
        raw = self.get(EVIDENCE_END)
        return Position(0, 0) if raw is None else decode_position(raw)
