"""The private write sets that this node holds, in a database of their own beside the world state.

They are the one part of a ledger that does not follow from the blocks, so they stand apart from
what does: the state can be thrown away and made anew from blocks and write sets. The plain private
state is not here but in the state's database, where it changes together with everything else.

Invariants: a write set is on disk before its block is; the index names exactly the keys of the sets
that are stored; a set is awaited only while it is not held. The folder appears with the first write
set; a channel without private data has none.

One writer; readers on any thread.

Absent: judging what a set says (``ledger.state.private_check``), and what follows from it for the
state (``ledger.state.private_plan``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from ledger.errors import CorruptionError, FormatVersionError
from ledger.faults import FaultPort, WriteStep
from ledger.state.keys import after
from ledger.state.leveldb import LevelDB
from ledger.state.private import MissingPrivate
from ledger.state.private_keys import (
    AWAITED,
    CHANGES,
    LATE,
    NO_CHANGES,
    PRIVATE_FORMAT,
    PRIVATE_FORMAT_VERSION,
    WRITE_SET,
    Changes,
    Put,
    SetPlace,
    StoredSet,
    awaited_key,
    awaited_range,
    changes_key,
    decode_awaited_key,
    decode_changes,
    decode_changes_key,
    decode_index_key,
    decode_keys,
    decode_set,
    decode_set_key,
    encode_keys,
    encode_private_format,
    index_prefix,
    set_key,
    sets_from,
)
from ledger.state.version import Version
from ledger.transactions.private import PrivateWrite, TxPrivate

_CACHE_BYTES = 8 * 1024 * 1024
_WRITE_BUFFER_BYTES = 4 * 1024 * 1024
_BATCH_KEYS = 10_000
REMEDY = (
    "restore it from a backup; or move it and the state away and start again: the state is rebuilt "
    "from the blocks, and the private data are asked of other members"
)


class PrivateStore:
    """The database of private data, or its absence.

    Args:
        path: its folder; it need not exist.
        faults: hears of every write.
    """

    def __init__(self, path: Path, faults: FaultPort | None = None) -> None:
        self.path = path
        self._faults = faults
        self._database: LevelDB | None = None
        if (path / "CURRENT").exists():
            self._open()

    def _open(self) -> LevelDB:
        database = LevelDB(
            self.path,
            faults=self._faults,
            step=WriteStep.PRIVATE,
            remedy=REMEDY,
            cache_bytes=_CACHE_BYTES,
            write_buffer_bytes=_WRITE_BUFFER_BYTES,
            # Write sets come in the order of their keys and stay: LevelDB merges them seldom.
            compressed=True,
        )
        try:
            stored = database.get(PRIVATE_FORMAT)
            if stored is None:
                database.write([(PRIVATE_FORMAT, encode_private_format())])
            elif stored != encode_private_format():
                raise FormatVersionError(
                    f"the database {self.path} has another format than version "
                    f"{PRIVATE_FORMAT_VERSION}, which this program knows; use the release that "
                    "wrote it, or a newer one"
                )
        except BaseException:
            database.close()
            raise
        self._database = database
        return database

    # Reading

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever stored."""
        return self._database is None

    def items(self, start: bytes, stop: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over keys and values from *start* to before *stop*; None: to the last key."""
        if self._database is not None:
            snapshot = self._database.snapshot()
            try:
                yield from snapshot.items(start, stop)
            finally:
                snapshot.close()

    def get(self, place: SetPlace) -> StoredSet | None:
        """Return a write set, None if it is not held."""
        raw = self._database.get(set_key(place)) if self._database is not None else None
        return None if raw is None else self._decode(place, raw)

    def has(self, key: bytes) -> bool:
        """Tell whether anything stands under a key."""
        return self._database is not None and self._database.get(key) is not None

    def of_block(self, number: int) -> dict[SetPlace, StoredSet]:
        """Return the write sets held of block *number*."""
        return {
            decode_set_key(key): self._decode(decode_set_key(key), raw)
            for key, raw in self.items(sets_from(number), sets_from(number + 1))
        }

    def private_data(self, number: int) -> dict[int, TxPrivate]:
        """Return the write sets of block *number* by transaction; what has expired is left out."""
        found: dict[int, list[PrivateWrite]] = {}
        for place, stored in self.of_block(number).items():
            if not stored.is_outlived:
                found.setdefault(place.version.tx_num, []).append(
                    PrivateWrite(place.namespace, place.collection, stored.rwset)
                )
        return {
            tx_num: tuple(sorted(writes, key=lambda each: (each.namespace, each.collection)))
            for tx_num, writes in found.items()
        }

    def naming(
        self, namespace: str, collection: str, key_hash: bytes
    ) -> Iterator[tuple[SetPlace, str]]:
        """Iterate over the write sets that name a key, newest first, with the key."""
        prefix = index_prefix(namespace, collection, key_hash)
        for key, raw in self.items(prefix, prefix + b"\xff" * 9):
            yield decode_index_key(key)[0], raw.decode()

    def holds_of(self, namespace: str, collection: str) -> bool:
        """Tell whether any write set of the collection names any key."""
        prefix = index_prefix(namespace, collection)
        return next(self.items(prefix, prefix + b"\xff" * 33), None) is not None

    def awaited(self, older_than: MissingPrivate | None = None) -> Iterator[MissingPrivate]:
        """Iterate over the write sets that are awaited, newest first, or those behind one."""
        start = AWAITED
        if older_than is not None:
            version = Version(older_than.block_num, older_than.tx_num)
            start = awaited_key(SetPlace(version, older_than.namespace, older_than.collection))
            start += b"\x00"
        for key, _ in self.items(start, after(AWAITED)):
            place = decode_awaited_key(key)
            yield MissingPrivate(*place.version, place.namespace, place.collection, True)

    def awaited_of(self, number: int) -> list[SetPlace]:
        """Return the write sets of block *number* that are awaited."""
        start, stop = awaited_range(number)
        return [decode_awaited_key(key) for key, _ in self.items(start, stop)]

    def late(self) -> list[SetPlace]:
        """Return the write sets that came late and may not be in the state yet."""
        raw = self._database.get(LATE) if self._database is not None else None
        return [] if raw is None else [decode_set_key(key) for key in decode_keys(raw)]

    def ahead(self, height: int) -> int:
        """Return up to which number write sets are here of blocks that are not; -1: none are.

        Such sets were stored for a block that a crash kept from being stored, or belong to blocks
        that a restored ledger does not have yet.
        """
        newest = -1
        for key, _ in self.items(sets_from(height), after(WRITE_SET)):
            newest = decode_set_key(key).version.block_num
        for missing in self.awaited():
            if missing.block_num >= height:
                newest = max(newest, missing.block_num)
            break
        return newest

    def _decode(self, place: SetPlace, raw: bytes) -> StoredSet:
        try:
            return decode_set(raw)
        except ValueError as error:
            raise CorruptionError(
                f"the database {self.path} is damaged: the private write set of transaction "
                f"{tuple(place.version)} to {place.namespace!r}/{place.collection!r} cannot be "
                f"read ({error}); {REMEDY}"
            ) from error

    # Writing

    def change(self, changes: Changes) -> None:
        """Make changes durable, if there are any."""
        if changes != NO_CHANGES:
            self.write(changes.puts, changes.deletes)

    def write(self, puts: Iterable[Put], deletes: Iterable[bytes] = ()) -> None:
        """Write everything or nothing, and return when it is on disk.

        Raises:
            StorageError: the disk refused.
        """
        database = self._database or self._open()
        database.write(puts, deletes)

    def add_awaited(self, places: Iterable[SetPlace]) -> int:
        """Note that write sets are awaited; return how many they are."""
        count = 0
        keys = iter(places)
        while batch := [(awaited_key(place), b"") for place in islice(keys, _BATCH_KEYS)]:
            self.write(batch)
            count += len(batch)
        return count

    def finish(self, number: int) -> None:
        """Make the changes that follow block *number*, if it left any."""
        key = changes_key(number)
        raw = self._database.get(key) if self._database is not None else None
        if raw is None:
            return
        try:
            changes = decode_changes(raw)
        except ValueError as error:
            raise CorruptionError(
                f"the database {self.path} is damaged: the changes that follow block {number} "
                f"cannot be read ({error}); {REMEDY}"
            ) from error
        self.write(changes.puts, (*changes.deletes, key))

    def settle(self, height: int) -> None:
        """Make the changes that follow blocks below *height*, and forget those of later ones.

        A later block brings its own again.
        """
        for key, _ in list(self.items(CHANGES, after(CHANGES))):
            number = decode_changes_key(key)
            if number < height:
                self.finish(number)
            else:
                self.write((), (key,))

    def forget_late(self) -> None:
        """Note that the write sets that came late are in the state."""
        if self._database is not None and self._database.get(LATE) is not None:
            self.write((), (LATE,))

    def close(self) -> None:
        """Close the database; safe to repeat."""
        if self._database is not None:
            self._database.close()


def late_put(places: Sequence[SetPlace]) -> Put:
    """Return the record of write sets that came late."""
    return LATE, encode_keys(set_key(place) for place in places)
