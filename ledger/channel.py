"""The ledger of one channel: blocks, world state, history and indexes in one folder.

    FOLDER/blocks/      segment files, a record a block
    FOLDER/state/       LevelDB: everything that follows from the blocks
    FOLDER/evidence/    segment files: what arrived about a block after it

A block is *prepared*, which writes nothing, and then *committed*: appended and synced, then its
whole effect put into the database in one atomic, synced batch. If the process dies in between,
opening finds a block above the savepoint and takes the same way with it.

Invariants: blocks, state and hashes change together, as seen by every reader; what ``commit``
returned from is on disk. After a failed write nothing is written until the ledger is opened again.

One process has a ledger open. Reading is safe on any thread; preparing, committing and filing
evidence belong to one thread.

Absent: signatures and policies (whoever calls ``prepare`` brings the verdicts), networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of, with_validation
from ledger.blocks.segments import (
    SEGMENT_SIZE_BYTES,
    Location,
    Record,
    SegmentLog,
    sync_directory,
)
from ledger.blocks.structure import verify_block_structure
from ledger.errors import BlockError, CorruptionError, Fatal, StorageError
from ledger.faults import FaultPort
from ledger.recovery import describe_replay, unindexed_evidence, unindexed_records
from ledger.state.batch import BlockBatch
from ledger.state.blocks import StoredBlocks, decode_stored_block
from ledger.state.database import ChannelDatabase, Savepoint, TransactionRecord
from ledger.state.evidence import EvidenceStore
from ledger.state.expiry import Expiry, plan_expiry
from ledger.state.private import NOTHING, BlockPrivate, PrivateDataError
from ledger.state.snapshot import LedgerSnapshot
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction, parse_transaction
from ledger.validation.commit_hash import compute_commit_hash
from ledger.validation.judgement import judge_block
from ledger.validation.updates import BlockUpdates

__all__ = ["ChannelLedger", "PreparedBlock", "TransactionRecord"]

BLOCKS = "blocks"
STATE = "state"
EVIDENCE = "evidence"

_NUMBERS = range(1 << 64)


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
    """

    block: Block
    transactions: Sequence[ParsedTransaction]
    codes: tuple[TxValidationCode, ...]
    commit_hash: bytes
    updates: BlockUpdates
    expiry: Expiry


class ChannelLedger:
    """An open ledger; made by ``open``.

    Attributes:
        recovered: what opening had to do to the data, in words; empty after a clean stop.
    """

    def __init__(
        self, path: Path, database: ChannelDatabase, log: SegmentLog, evidence: SegmentLog
    ) -> None:
        self.path = path
        self.recovered: tuple[str, ...] = ()
        self._database = database
        self._log = log
        self._blocks = StoredBlocks(log)
        self._evidence = EvidenceStore(evidence, database)
        self._savepoint = database.savepoint()
        self._failed: Fatal | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        segment_size_bytes: int = SEGMENT_SIZE_BYTES,
        faults: FaultPort | None = None,
    ) -> ChannelLedger:
        """Open the ledger in *path*, or make an empty one, and recover what a crash left.

        Args:
            path: its folder.
            segment_size_bytes: a segment file of this size or more takes no further block.
            faults: hears of every write step; for tests.

        Raises:
            LedgerLocked: another process has it open.
            FormatVersionError: it was written in an unknown format.
            CorruptionError: what is stored is damaged, naming file and offset.
            StorageError: the disk refuses.
        """
        if not path.is_dir():
            path.mkdir(parents=True)
            sync_directory(path.parent)
        # The database first: it holds the lock that keeps other processes off all three folders.
        database = ChannelDatabase(path / STATE, faults=faults)
        logs: list[SegmentLog] = []
        try:
            for name in (BLOCKS, EVIDENCE):
                logs.append(SegmentLog(path / name, segment_size_bytes, faults))
            ledger = cls(path, database, logs[0], logs[1])
            ledger._recover()
        except BaseException:
            database.close()
            for log in logs:
                log.close()
            raise
        return ledger

    # Reading

    @property
    def height(self) -> int:
        """The number of blocks."""
        return self._savepoint.height

    @property
    def last_header_hash(self) -> bytes:
        """Header hash of the last block; empty if there is none."""
        return self._savepoint.header_hash

    @property
    def commit_hash(self) -> bytes:
        """Commit hash of the last block; empty up to the genesis block."""
        return self._savepoint.commit_hash

    def block(self, number: int) -> Block | None:
        """Return a block by its number, None if the ledger is not that high.

        Raises:
            CorruptionError: it is damaged, naming file and offset.
        """
        if number not in _NUMBERS:
            return None
        with self._database.reading():
            return self._blocks.load(self._database.get, number)

    def block_by_hash(self, header_hash: bytes) -> Block | None:
        """Return the block with this header hash, None if there is none."""
        with self._database.reading():
            number = self._database.number_of(header_hash)
            return None if number is None else self._blocks.load(self._database.get, number)

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Iterate over the blocks from number *start* on, to the last one there is by then."""
        number = start
        while number < self.height:
            block = self.block(number)
            if block is None:
                raise CorruptionError(
                    f"block {number} is not in the index of {self.path}, though the height is "
                    f"{self.height}; run fsck on the ledger"
                )
            yield block
            number += 1

    def transaction(self, tx_id: str) -> TransactionRecord | None:
        """Return verdict and place of a transaction, None if no block holds it."""
        return self._database.transaction(tx_id)

    def has_transaction(self, tx_id: str) -> bool:
        """Tell whether some block holds the transaction, valid or not."""
        return self._database.has_transaction(tx_id)

    def snapshot(self) -> LedgerSnapshot:
        """Return the world state at the present height; close it, or use it in a ``with``."""
        return LedgerSnapshot(self._database.snapshot(), self._blocks)

    def evidence(self, number: int, kind: str) -> bytes | None:
        """Return the evidence of one kind about a block, None if there is none."""
        return self._evidence.get(number, kind) if number in _NUMBERS else None

    # Writing

    def prepare(
        self,
        block: Block,
        transactions: Sequence[ParsedTransaction],
        codes: Sequence[TxValidationCode],
    ) -> PreparedBlock:
        """Work out what comes of the next block; writes nothing and may be done again.

        Args:
            block: as ordered; ``verify_block_structure`` has passed it.
            transactions: its envelopes, taken apart, in order.
            codes: the verdict of every check before MVCC, one per transaction; a VALID endorser
                transaction is in no earlier block.

        Raises:
            BlockError: it is not the next block.
        """
        number = block.number
        if number != self.height:
            raise BlockError(
                f"block {number} cannot be prepared at height {self.height}; "
                f"bring block {self.height}"
            )
        with self.snapshot() as state:
            judged = judge_block(number, transactions, codes, state)
            expiry = plan_expiry(number, judged.updates, state)
        commit_hash = b""
        if number > 0:
            commit_hash = compute_commit_hash(
                judged.codes, judged.updates.entries(), self.commit_hash
            )
        return PreparedBlock(
            with_validation(block, judged.codes, commit_hash),
            transactions,
            judged.codes,
            commit_hash,
            judged.updates,
            expiry,
        )

    def commit(self, prepared: PreparedBlock, private: BlockPrivate = NOTHING) -> None:
        """Make a prepared block durable; when this returns, it is.

        Raises:
            BlockError: another block was committed since it was prepared.
            PrivateDataError: *private* holds what does not belong to the block.
            StorageError: the disk refused. Whether the block is stored shows when the ledger is
                opened again; until then every further commit fails.
        """
        block = prepared.block
        self._verify_writable()
        if private.held:
            raise PrivateDataError(f"block {block.number} was brought with private data to store")
        if block.number != self.height:
            raise BlockError(
                f"block {block.number} was prepared for another height than {self.height}; "
                "prepare it again"
            )
        try:
            location = self._log.append(block.number, block.encode())
            self._apply(prepared, location)
        except Fatal as fatal:
            self._failed = fatal
            raise

    def add_evidence(self, number: int, kind: str, data: bytes) -> None:
        """File *data* about a committed block, durably; the same twice changes nothing.

        Args:
            number: of the block.
            kind: what it is, a short name.
            data: the evidence itself.

        Raises:
            EvidenceError: there is no such block, or other evidence of this kind about it.
            StorageError: the disk refused.
        """
        self._verify_writable()
        try:
            self._evidence.add(number, kind, data, self.height)
        except Fatal as fatal:
            self._failed = fatal
            raise

    def close(self) -> None:
        """Refuse new readers, let those who read finish, and close the files; safe to repeat."""
        self._database.when_closed = self._close_logs
        self._database.close()

    def _close_logs(self) -> None:
        self._log.close()
        self._evidence.close()

    def _verify_writable(self) -> None:
        if self._failed is not None:
            raise StorageError(
                f"the ledger in {self.path} takes no more writes, since one has failed "
                f"({self._failed}); open it again"
            ) from self._failed

    def _apply(self, prepared: PreparedBlock, location: Location) -> None:
        """Put the effect of a stored block into the database."""
        block = prepared.block
        header_hash = block.header.hash()
        batch = BlockBatch()
        batch.add_updates(block.number, prepared.updates, prepared.expiry)
        batch.add_transactions(
            block.number, prepared.transactions, prepared.codes, self.has_transaction
        )
        batch.add_block(block, header_hash, prepared.commit_hash, location)
        self._database.write(batch.puts, batch.deletes)
        self._savepoint = Savepoint(block.number + 1, header_hash, prepared.commit_hash)

    # Opening

    def _recover(self) -> None:
        words: list[str] = []
        first = self.height
        for record in unindexed_records(self._log, self._database, self._savepoint, words):
            self.replay(record)
        words.extend(describe_replay(first, self.height))
        for evidence in unindexed_evidence(self._evidence.log, self._database, words):
            self._evidence.index(evidence, self.height)
        self.recovered = tuple(words)

    def replay(self, record: Record) -> PreparedBlock:
        """Take the way of ``prepare`` and ``commit`` with a block that is stored already.

        Args:
            record: the next block, with its place in the log.

        Raises:
            CorruptionError: it does not follow, or gives another outcome than is recorded in it.
        """
        place = f"offset {record.location.offset} of {self._log.file(record.location.segment)}"
        block = decode_stored_block(record.data, record.number)
        try:
            verify_block_structure(block, self.height, self.last_header_hash)
            transactions = tuple(parse_transaction(raw) for raw in block.data)
            prepared = self.prepare(block, transactions, codes_of(block))
        except BlockError as error:
            raise CorruptionError(
                f"the block at {place} is not the one that belongs there: {error}"
            ) from error
        if prepared.block != block:
            raise CorruptionError(
                f"block {block.number} at {place} does not give the verdicts and the commit hash "
                "that are recorded in it; move the state away and start again to rebuild it from "
                "the blocks, and if that does not help fetch the channel anew from another member"
            )
        self._apply(prepared, record.location)
        return prepared
