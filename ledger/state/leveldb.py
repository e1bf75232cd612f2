"""LevelDB through plyvel: the one module that imports it.

What it adds to plyvel: batches that are atomic and synced, errors of our own kinds, and an owner
who may close the database while other threads still read from snapshots. Then the database stays
open until the last snapshot is given back, because plyvel must not be closed under a running read.

What LevelDB keeps of a database hardly grows with it: indexes and filters of tables that are not
compressed are read where they are mapped. The pages of mapped tables would grow: they are given
back before they are many (`mapped.py`, `residence.py`).

Reads and snapshots are safe on any thread; writes belong to one thread at a time. After one that
the disk refused nothing is written any more until the database is opened again.

Hot path: tables are not compressed, though a world state takes two and a third times the room so,
and a write buffer has 16 MB. Bulk payments all over 400,000 agreements had spent half of their
processor time in LevelDB's own threads, which uncompress and compress what they merge; that came to
0.4 of it, and all together to 0.7 (docs/performance.md). What is written far apart is merged with
all that the level below has, so a buffer twice as large saves nearly half of that work. With 32 MB
a seventh of all was saved again, for 17 MB of memory; with tables of 32 MB, or of 4, or with blocks
of 2 KB, nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import plyvel

from ledger.errors import CorruptionError, LedgerClosed, LedgerLocked, StorageError
from ledger.faults import FaultPort, NoFaults, WriteStep
from ledger.state import mapped
from ledger.state.residence import WATCH

# Memory of one database: two write buffers, and the cache of blocks. It holds those of compressed
# tables, and of the few that LevelDB does not map: what stands plainly in a mapped table, blocks,
# indexes and filters, is read where it stands.
_CACHE_BYTES = 16 * 1024 * 1024
_WRITE_BUFFER_BYTES = 16 * 1024 * 1024
_TABLE_BYTES = 8 * 1024 * 1024
# A table that is read again after it was closed has its index and filter read and checked anew, so
# none is closed. LevelDB divides this number by 16, and each part must have room for all that it
# maps: see `_release`.
_MAX_OPEN_FILES = 16_384
_MAX_MAPPED_TABLES = 1_000
_BLOOM_BITS_PER_KEY = 10
_CLOSE_TIMEOUT_S = 5.0
_READS_BETWEEN_LOOKS = 32
"""Of one snapshot. A read of what nobody read before maps some 200 kB of a state of ten million
agreements: index, filter and block of some levels, with the pages around."""


_TABLE = re.compile(rb"^ ([0-9]+):[0-9]+\[", re.MULTILINE)
"""A table in LevelDB's list of those that a version of the database has."""

REBUILD = "move it away and start again: the state is rebuilt from the blocks"
"""What to do about a damaged database that follows from the blocks."""


def _damaged(path: Path, error: Exception, remedy: str) -> CorruptionError:
    return CorruptionError(f"the database {path} is damaged ({error}); {remedy}")


def _closed(_key: bytes) -> bytes | None:
    raise LedgerClosed("this snapshot was closed; take a new one from the ledger")


class LevelDBSnapshot:
    """One state of the database that never changes. May be read from several threads."""

    def __init__(self, database: LevelDB, snapshot: Any) -> None:
        self._database: LevelDB | None = database
        self._path = database.path
        self._remedy = database.remedy
        self._snapshot = snapshot
        self._get: Callable[[bytes], bytes | None] = partial(snapshot.get, verify_checksums=True)
        # Threads that read at the same time may pass over a look: the next is not far.
        self._reads = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, None if absent.

        Raises:
            CorruptionError: what is stored there is damaged.
            LedgerClosed: the snapshot was closed.
        """
        self._reads += 1
        if not self._reads % _READS_BETWEEN_LOOKS:
            WATCH.read_on()
        try:
            return self._get(key)
        except plyvel.Error as error:
            raise _damaged(self._path, error, self._remedy) from error

    def items(
        self, start: bytes, stop: bytes | None, *, keep_cached: bool = True
    ) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over keys from *start* to before *stop* in byte order; None: to the last key."""
        if self._database is None:
            _closed(start)
        try:
            with self._snapshot.iterator(
                start=start, stop=stop, fill_cache=keep_cached, verify_checksums=True
            ) as found:
                yield from found
        except plyvel.Error as error:
            raise _damaged(self._path, error, self._remedy) from error

    def close(self) -> None:
        """Give the snapshot back; safe to repeat."""
        database, self._database = self._database, None
        if database is not None:
            self._get = _closed
            self._snapshot.close()
            self._snapshot = None
            database.leave()

    def __del__(self) -> None:
        self.close()


class LevelDB:
    """An open database.

    Args:
        path: its folder.
        create: make it if absent; otherwise an absent one is an error.
        faults: hears of every write.
        durable: wait at each batch until it is on disk; a scratch database need not.
        cache_bytes, write_buffer_bytes: memory of it.
        compressed: write compressed tables; whether or not, both are read.
        step: what a batch of it is called when it is announced.
        remedy: what to do when it is damaged.

    Raises:
        LedgerLocked: another process, or this one, has it open.
        CorruptionError: LevelDB cannot make sense of its files.
        StorageError: the folder cannot be read or written.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: bool = True,
        faults: FaultPort | None = None,
        durable: bool = True,
        cache_bytes: int = _CACHE_BYTES,
        write_buffer_bytes: int = _WRITE_BUFFER_BYTES,
        compressed: bool = False,
        step: WriteStep = WriteStep.BATCH,
        remedy: str = REBUILD,
    ) -> None:
        self.path = path
        self.remedy = remedy
        self._step = step
        self._durable = durable
        self._faults = faults or NoFaults()
        self._idle = threading.Condition()
        self._users = 0
        self._closing = False
        self._refused: Exception | None = None
        self.when_closed: Callable[[], None] | None = None
        """Called once, when the last reader has left and the database is closed."""
        try:
            if create:
                path.mkdir(parents=True, exist_ok=True)
            self._db = plyvel.DB(
                str(path),
                create_if_missing=create,
                lru_cache_size=cache_bytes,
                write_buffer_size=write_buffer_bytes,
                max_file_size=_TABLE_BYTES,
                max_open_files=_MAX_OPEN_FILES,
                bloom_filter_bits=_BLOOM_BITS_PER_KEY,
                compression="snappy" if compressed else None,
                # Without it LevelDB passes over damaged parts of its log and says nothing.
                paranoid_checks=True,
            )
        except plyvel.CorruptionError as error:
            raise _damaged(path, error, remedy) from error
        except (plyvel.Error, OSError) as error:
            if "lock" in str(error).lower():
                raise LedgerLocked(
                    f"the ledger at {path.parent} is open in another process; stop that one first"
                ) from error
            raise StorageError(f"the database {path} cannot be opened: {error}") from error
        WATCH.join(self)

    def enter(self) -> None:
        """Announce a reader; ``leave`` must follow."""
        with self._idle:
            if self._closing:
                raise LedgerClosed(f"the ledger at {self.path.parent} was closed; open it again")
            self._users += 1

    def leave(self) -> None:
        """End what ``enter`` began; the last reader of a closing database closes it."""
        with self._idle:
            self._users -= 1
            if not self._users and self._closing:
                self._end()
                self._idle.notify_all()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the database open while a block of code reads."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key as it is now, None if absent."""
        self.enter()
        try:
            value: bytes | None = self._db.get(key, verify_checksums=True)
            return value
        except plyvel.Error as error:
            raise _damaged(self.path, error, self.remedy) from error
        finally:
            self.leave()

    def snapshot(self) -> LevelDBSnapshot:
        """Return the database as it is now; the caller closes it."""
        self.enter()
        try:
            WATCH.use()
            return LevelDBSnapshot(self, self._db.snapshot())
        except BaseException:
            self.leave()
            raise

    def write(
        self,
        puts: Iterable[tuple[bytes, bytes]],
        deletes: Iterable[bytes] = (),
        *,
        durable: bool = True,
    ) -> None:
        """Write everything or nothing, and return when it is on disk.

        Args:
            puts, deletes: what to write.
            durable: False where a crash may undo it; it is on disk with the next batch that waits.

        Raises:
            StorageError: the disk refused, now or at an earlier batch; whether that one was written
                shows after opening again.
        """
        # A batch that was refused may be in the log in part. LevelDB itself would go on behind it,
        # and could read nothing of what it has acknowledged since when it is opened again.
        if self._refused is not None:
            raise self._not_written(self._refused)
        self.enter()
        try:
            WATCH.use()
            self._faults.before(self._step)
            with self._db.write_batch(transaction=True, sync=self._durable and durable) as batch:
                put = batch.put
                for key, value in puts:
                    put(key, value)
                for key in deletes:
                    batch.delete(key)
            self._faults.after(self._step)
        except (plyvel.Error, OSError) as error:
            self._refused = error
            raise self._not_written(error) from error
        finally:
            self.leave()

    def _not_written(self, error: Exception) -> StorageError:
        return StorageError(
            f"the database {self.path} could not be written: {error}; make room or repair the "
            "disk, then start again"
        )

    def close(self) -> None:
        """Refuse new readers, wait a moment for the others, and close.

        A reader that does not end in time keeps the database open until it does; it is never cut
        off.
        """
        with self._idle:
            if self._closing:
                return
            self._closing = True
            if not self._users:
                self._end()
                return
            self._idle.wait_for(lambda: not self._users, timeout=_CLOSE_TIMEOUT_S)

    def give_back(self) -> None:
        """Give back what was read of mapped tables, unless the database is being closed."""
        with suppress(LedgerClosed), self.reading():
            self._release()

    def _release(self) -> None:
        """Give back the tables that cannot be unmapped now.

        An iterator keeps the version of the database that it began with, and LevelDB unmaps no
        table of a version that somebody has. A table that is in the list before and after the
        iterator began is in that version, since one that has left the list never returns.

        What a compaction that ends meanwhile has replaced stays mapped until another ends, because
        of the iterator, and could not be given back later: so it is done before that is closed.
        """
        before = self._tables()
        with self._db.iterator(include_value=False, fill_cache=False):
            held = before & self._tables()
            if len(held) > _MAX_MAPPED_TABLES:
                return
            mapped.release(self.path, held)
            while replaced := held - self._tables():
                mapped.release(self.path, replaced)
                held -= replaced

    def _tables(self) -> set[int]:
        return set(map(int, _TABLE.findall(self._db.get_property(b"leveldb.sstables") or b"")))

    def _end(self) -> None:
        WATCH.leave(self)
        self._db.close()
        if self.when_closed is not None:
            self.when_closed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
