"""The checker of a ledger: is what is stored what the blocks say?

It reads every block (checksum, number, hashes, well-formed envelopes, verdicts, commit hash), makes
the state from them anew in a scratch database, on the code path of a commit, and compares that key
by key with the stored one: world state with versions and metadata, hashed and plain private state,
history, expiry, indexes, evidence, savepoint. Private write sets, which do not follow from the
blocks, are compared with the hashes there. It is the oracle of the crash tests.

Invariants: nothing of the ledger is changed; memory does not grow with the ledger; nobody else has
the ledger open meanwhile. A finding names file and offset, or the key.

What a crash may leave is no damage: blocks, evidence or private write sets that are stored but not
yet applied, and a torn tail. They are reported as *pending*; opening the ledger settles them.

Absent: the command, repair, and signatures over blocks, which need the channel's
identities.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from ledger.blocks.segments import Record, SegmentLog, TornTail
from ledger.channel import BLOCKS, EVIDENCE, PRIVATE, STATE, ChannelLedger
from ledger.errors import CorruptionError, StorageError
from ledger.state.database import EMPTY, ChannelDatabase
from ledger.state.descriptions import describe_key, describe_value
from ledger.state.evidence import EvidenceStore
from ledger.state.keys import SAVEPOINT
from ledger.state.leveldb import LevelDBSnapshot
from ledger.state.private_audit import StoreAudit, unsettled_keys
from ledger.state.private_store import PrivateStore

SCRATCH_PREFIX = "fsck-"
_MOST_KEPT = 1000


class FindingKind(StrEnum):
    """How bad a finding is."""

    DAMAGE = "damage"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: damage, or work that the next opening does.
        where: file and offset, or the key of the database.
        what: what is wrong there.
    """

    kind: FindingKind
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.what}"


@dataclass(slots=True)
class FsckCounts:
    """What has been checked so far.

    Attributes:
        blocks: read and found to follow from the one before.
        transactions: in them.
        keys: of the stored database, compared.
        evidence: records read.
        private_sets: private write sets held, compared with the blocks.
        damage: findings of that kind.
        pending: findings of that kind.
    """

    blocks: int = 0
    transactions: int = 0
    keys: int = 0
    evidence: int = 0
    private_sets: int = 0
    damage: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class FsckReport:
    """The outcome of a whole check.

    Attributes:
        findings: the first of them; ``counts`` knows how many there were.
        height: of the stored state; 0 if its savepoint cannot be read.
        header_hash: of its last block; empty at height 0.
        commit_hash: of its last block; empty up to height 1.
    """

    counts: FsckCounts
    findings: tuple[Finding, ...]
    height: int
    header_hash: bytes
    commit_hash: bytes

    @property
    def is_clean(self) -> bool:
        """Whether nothing is damaged; pending work may be left."""
        return not self.counts.damage


def check_ledger(
    path: Path,
    *,
    scratch: Path | None = None,
    progress: Callable[[FsckCounts], None] | None = None,
) -> FsckReport:
    """Check the ledger in *path* and keep the first findings.

    Args:
        path: folder of a channel's ledger, open in no process.
        scratch: a folder with room for a second database; by default the ledger's own.
        progress: called after every block and every thousand keys.

    Raises:
        StorageError: there is no ledger in *path*, or no room for the scratch database.
        LedgerLocked: a process has it open.
        FormatVersionError: it was written in an unknown format.
    """
    with LedgerCheck(path, scratch=scratch, progress=progress) as check:
        kept: list[Finding] = []
        for finding in check.findings():
            if len(kept) < _MOST_KEPT:
                kept.append(finding)
        return FsckReport(check.counts, tuple(kept), *check.savepoint)


class LedgerCheck:
    """One check of one ledger; a context manager that removes the scratch database at the end.

    Args and errors: as ``check_ledger``.

    Attributes:
        counts: of what has been checked so far.
        savepoint: of the stored state, once the check has begun.
    """

    def __init__(
        self,
        path: Path,
        *,
        scratch: Path | None = None,
        progress: Callable[[FsckCounts], None] | None = None,
    ) -> None:
        self.path = path
        self.counts = FsckCounts()
        self.savepoint = EMPTY
        self._progress = progress or (lambda _counts: None)
        self._open = ExitStack()
        if not (path / STATE).is_dir():
            raise StorageError(
                f"there is no ledger in {path}: it has no folder {STATE!r}; name the folder of a "
                "channel's ledger, or open it once to have the state rebuilt"
            )
        with ExitStack() as opening:
            # It holds the lock, so whatever scratch folder is here was left by a check that died.
            self.stored = opening.enter_context(ChannelDatabase(path / STATE, create=False))
            self._log = SegmentLog(path / BLOCKS)
            opening.callback(self._log.close)
            self._evidence = SegmentLog(path / EVIDENCE)
            opening.callback(self._evidence.close)
            self._private = PrivateStore(path / PRIVATE)
            opening.callback(self._private.close)
            for left in path.glob(f"{SCRATCH_PREFIX}*"):
                shutil.rmtree(left)
            folder = opening.enter_context(
                TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=scratch or path)
            )
            self._scratch = opening.enter_context(
                ChannelDatabase(Path(folder) / STATE, durable=False)
            )
            self._open = opening.pop_all()
        self._rebuilt = ChannelLedger(path, self._scratch, self._log, self._evidence, self._private)

    def __enter__(self) -> LedgerCheck:
        return self

    def __exit__(self, *_error: object) -> None:
        self._open.close()

    def findings(self) -> Iterator[Finding]:
        """Do the whole check, once, and yield what is found as it is found."""
        for finding in self._check():
            if finding.kind is FindingKind.DAMAGE:
                self.counts.damage += 1
            else:
                self.counts.pending += 1
            yield finding

    def _check(self) -> Iterator[Finding]:
        try:
            self.savepoint = self.stored.savepoint()
        except CorruptionError as error:
            yield _damage(str(self.stored.path), error)
            return
        height = self.savepoint.height
        blocks = self._log.scan()
        try:
            # As far as the stored state goes; then the two can be compared.
            yield from self._read_blocks(blocks, height)
            if self._rebuilt.height < height:
                yield Finding(
                    FindingKind.DAMAGE,
                    f"{self._log.path}",
                    f"holds {self._rebuilt.height} blocks, the state was made from {height}",
                )
            yield from self._read_evidence()
            yield from self._compare()
            yield from self._audit_private()
            yield from self._read_blocks(blocks, None)
        except CorruptionError as error:
            # The message names file and offset; what lies behind them cannot be judged.
            yield _damage(str(self.path), error)
            yield from self._compare_heights(height)

    def _read_blocks(
        self, blocks: Iterator[Record | TornTail], height: int | None
    ) -> Iterator[Finding]:
        """Read and apply blocks up to *height*; None: to the end, as pending ones."""
        rebuilt = self._rebuilt
        while height is None or rebuilt.height < height:
            found = next(blocks, None)
            if found is None:
                return
            if isinstance(found, TornTail):
                yield _pending(
                    f"offset {found.position.offset} of {found.file}",
                    f"a write of {found.size_bytes} bytes was never finished ({found.reason}); "
                    "opening the ledger cuts it off",
                )
                return
            where = _place(self._log, found)
            if found.number != rebuilt.height:
                raise CorruptionError(
                    f"block {found.number} stands at {where} where block {rebuilt.height} belongs"
                )
            self.counts.transactions += len(rebuilt.replay(found).codes)
            self.counts.blocks += 1
            self._progress(self.counts)
            if height is None:
                yield _pending(
                    where,
                    f"block {found.number} is stored but not yet in the state; "
                    "opening the ledger applies it",
                )

    def _read_evidence(self) -> Iterator[Finding]:
        """Read all evidence and index it anew as far as the stored index goes."""
        end = self.stored.evidence_end()
        store = EvidenceStore(self._evidence, self._scratch)
        for found in self._evidence.scan():
            if isinstance(found, TornTail):
                where = f"offset {found.position.offset} of {found.file}"
                if found.position < end:
                    raise CorruptionError(f"evidence that was filed is damaged: {found}")
                yield _pending(
                    where,
                    f"evidence was never written to its end ({found.reason}); "
                    "opening the ledger cuts it off",
                )
                return
            self.counts.evidence += 1
            if found.location.end <= end:
                store.index(found, self._rebuilt.height)
            else:
                yield _pending(
                    _place(self._evidence, found),
                    f"evidence about block {found.number} is not yet in the index; "
                    "opening the ledger files it",
                )

    def _compare(self) -> Iterator[Finding]:
        """Compare the stored database with the rebuilt one, key by key."""
        with (
            closing(self.stored.snapshot()) as stored,
            closing(self._scratch.snapshot()) as rebuilt,
        ):
            unsettled = unsettled_keys(self._private)
            for key, was, should in _merge(_items(stored), _items(rebuilt)):
                self.counts.keys += 1
                if self.counts.keys % 1000 == 0:
                    self._progress(self.counts)
                if was == should or key in unsettled:
                    continue
                where = describe_key(key)
                holds = "is missing" if was is None else f"holds {describe_value(key, was)}"
                says = "nothing of it" if should is None else describe_value(key, should)
                yield Finding(FindingKind.DAMAGE, where, f"{holds}; the blocks say {says}")

    def _audit_private(self) -> Iterator[Finding]:
        """Check the private write sets against the state that was made of them."""
        with self._rebuilt.snapshot() as state:
            audit = StoreAudit(self._private, state, self._rebuilt.block)
            for is_pending, where, what in audit.findings():
                kind = FindingKind.PENDING if is_pending else FindingKind.DAMAGE
                yield Finding(kind, where, what)
            self.counts.private_sets = audit.sets

    def _compare_heights(self, height: int) -> Iterator[Finding]:
        if self._rebuilt.height != height:
            yield Finding(
                FindingKind.DAMAGE,
                describe_key(SAVEPOINT),
                f"the state was made from {height} blocks; {self._rebuilt.height} of them can be "
                "read, so the state was not compared",
            )


def _damage(where: str, error: CorruptionError) -> Finding:
    return Finding(FindingKind.DAMAGE, where, str(error))


def _pending(where: str, what: str) -> Finding:
    return Finding(FindingKind.PENDING, where, what)


def _place(log: SegmentLog, record: Record) -> str:
    return f"offset {record.location.offset} of {log.file(record.location.segment)}"


def _items(snapshot: LevelDBSnapshot) -> Iterator[tuple[bytes, bytes]]:
    return snapshot.items(b"", None, keep_cached=False)


def _merge(
    first: Iterator[tuple[bytes, bytes]], second: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Iterate over the keys of both, sorted, with the value in each; None where it is absent."""
    one, two = next(first, None), next(second, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one[0] < two[0]):
            assert one is not None
            yield one[0], one[1], None
            one = next(first, None)
        elif one is None or two[0] < one[0]:
            yield two[0], None, two[1]
            two = next(second, None)
        else:
            yield one[0], one[1], two[1]
            one, two = next(first, None), next(second, None)
