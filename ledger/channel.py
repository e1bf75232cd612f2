"""The ledger of one channel: blocks, world state, history and indexes in one folder.

    FOLDER/blocks/      segment files, a record a block
    FOLDER/state/       LevelDB: everything that follows from the blocks
    FOLDER/evidence/    segment files: what arrived about a block after it
    FOLDER/private/     LevelDB: private write sets; only if there ever were any

A block is *prepared*, which writes nothing, and then *committed*: its private write sets stored,
then the block appended and synced, then its whole effect put into the database in one atomic,
synced batch; what it purges and lets expire goes from the private write sets last. If the process
dies in between, opening finds a block above the savepoint and takes the same way with it.

Invariants: blocks, state and hashes change together, as seen by every reader; what ``commit``
returned from is on disk. After a failed write nothing is written until the ledger is opened again.

One process has a ledger open. Reading is safe on any thread; preparing, committing, filing evidence
and adding private data belong to one thread.

Absent: signatures and policies (whoever calls ``prepare`` brings the verdicts), networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from ledger.state.expiry import plan_expiry
from ledger.state.keys import decode_location, number_key
from ledger.state.prepared import PreparedBlock, collections_of
from ledger.state.private import (
    NOTHING,
    BlockPrivate,
    LatePrivate,
    MissingPrivate,
    RefusedPrivate,
)
from ledger.state.private_ledger import PrivateLedger
from ledger.state.private_plan import PrivatePlan
from ledger.state.private_store import PrivateStore
from ledger.state.snapshot import LedgerSnapshot
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction, parse_transaction
from ledger.transactions.private import TxPrivate
from ledger.validation.commit_hash import compute_commit_hash
from ledger.validation.judgement import judge_block

__all__ = ["ChannelLedger", "PreparedBlock", "TransactionRecord"]

BLOCKS = "blocks"
STATE = "state"
EVIDENCE = "evidence"
PRIVATE = "private"

_NUMBERS = range(1 << 64)


class ChannelLedger:
    """An open ledger; made by ``open``.

    Attributes:
        recovered: what opening had to do to the data, in words; empty after a clean stop.
    """

    def __init__(
        self,
        path: Path,
        database: ChannelDatabase,
        log: SegmentLog,
        evidence: SegmentLog,
        private: PrivateStore,
    ) -> None:
        self.path = path
        self.recovered: tuple[str, ...] = ()
        self._database = database
        self._log = log
        self._blocks = StoredBlocks(log)
        self._evidence = EvidenceStore(evidence, database)
        self._private = PrivateLedger(private, database, self.snapshot, self.block)
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
        with ExitStack() as opening:
            database = ChannelDatabase(path / STATE, faults=faults)
            opening.callback(database.close)
            logs = []
            for name in (BLOCKS, EVIDENCE):
                logs.append(SegmentLog(path / name, segment_size_bytes, faults))
                opening.callback(logs[-1].close)
            private = PrivateStore(path / PRIVATE, faults)
            opening.callback(private.close)
            ledger = cls(path, database, logs[0], logs[1], private)
            ledger._recover()
            opening.pop_all()
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

    def block_bytes(self, number: int) -> bytes | None:
        """Return a block as it is stored, marshalled, None if the ledger is not that high."""
        if number not in _NUMBERS:
            return None
        with self._database.reading():
            return self._blocks.load_bytes(self._database.get, number)

    def block_size(self, number: int) -> int | None:
        """Return how many bytes a block is stored in, without reading it; None as above."""
        raw = self._database.get(number_key(number)) if number in _NUMBERS else None
        return None if raw is None else decode_location(raw).length

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

    def has_evidence(self, number: int, kind: str) -> bool:
        """Tell whether there is evidence of one kind about a block, without reading it."""
        return number in _NUMBERS and self._evidence.has(number, kind)

    def private_data(self, number: int) -> Mapping[int, TxPrivate]:
        """Return the private write sets held of block *number*, by transaction.

        As Fabric returns them: purged keys are left out of a set, which may be empty then, and a
        set that has expired is not there. Sets of invalid transactions are.
        """
        return self._private.data(number) if number in range(self.height) else {}

    def missing_private(
        self, limit: int, older_than: MissingPrivate | None = None
    ) -> list[MissingPrivate]:
        """Return write sets that this node is entitled to and has not, newest first.

        Args:
            limit: no more than these.
            older_than: begin behind this one, to go on where an earlier answer ended.
        """
        return self._private.missing(limit, older_than, self.height)

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
            collections = collections_of(number, transactions)
            expiry = plan_expiry(number, judged.updates, (each[1:] for each in collections), state)
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
            collections,
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
        if block.number != self.height:
            raise BlockError(
                f"block {block.number} was prepared for another height than {self.height}; "
                "prepare it again"
            )
        with self._writing():
            plan = self._private.begin(prepared, private)
            location = self._log.append(block.number, block.encode())
            self._apply(prepared, location, plan)
            self._private.finish(block.number, plan)

    def add_private(self, items: Sequence[LatePrivate]) -> list[RefusedPrivate]:
        """Add write sets that were missing, durably; return those that are not taken, and why.

        They are verified against the blocks. The plain state changes where the hash of what they
        write is still in force; keys that were purged meanwhile are left out.

        Raises:
            StorageError: the disk refused.
        """
        with self._writing():
            return self._private.add(items)

    def become_eligible(self, collections: Iterable[tuple[str, str]]) -> int:
        """Await from now on all write sets of collections that are not held.

        For collections, by namespace and name, that this node was not entitled to and now is.
        Doing it again, or for a collection of which nothing is missing, changes nothing.

        Returns:
            How many write sets are missing.
        """
        with self._writing():
            return self._private.become_eligible(collections)

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
        with self._writing():
            self._evidence.add(number, kind, data, self.height)

    def close(self) -> None:
        """Refuse new readers, let those who read finish, and close the files; safe to repeat."""
        self._database.when_closed = self._close_logs
        self._database.close()

    def _close_logs(self) -> None:
        self._log.close()
        self._evidence.close()
        self._private.store.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Write, unless a write has failed before; after one that fails here no other will."""
        if self._failed is not None:
            raise StorageError(
                f"the ledger in {self.path} takes no more writes, since one has failed "
                f"({self._failed}); open it again"
            ) from self._failed
        try:
            yield
        except Fatal as fatal:
            self._failed = fatal
            raise

    def _apply(self, prepared: PreparedBlock, location: Location, plan: PrivatePlan) -> None:
        """Put the effect of a stored block into the database."""
        block = prepared.block
        header_hash = block.header.hash()
        batch = BlockBatch()
        batch.add_updates(block.number, prepared.updates, prepared.expiry)
        batch.add_transactions(
            block.number, prepared.transactions, prepared.codes, self.has_transaction
        )
        batch.add_block(block, header_hash, prepared.commit_hash, location)
        batch.puts.extend(plan.state.puts)
        batch.deletes.extend(plan.state.deletes)
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
        words.extend(self._private.recover(self.height))
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
        self._apply(prepared, record.location, self._private.replay(prepared))
        return prepared
