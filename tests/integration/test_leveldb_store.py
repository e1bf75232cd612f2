"""The one module over plyvel: whole batches or none, snapshots that outlive a close, our errors."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import plyvel
import pytest

from ledger.errors import CorruptionError, LedgerClosed, LedgerLocked, StorageError
from ledger.faults import WriteStep
from ledger.state.leveldb import LevelDB
from tests.support.faults import Steps


@pytest.fixture
def database(tmp_path: Path) -> Iterator[LevelDB]:
    with LevelDB(tmp_path / "ledger" / "state") as opened:
        yield opened


def _all(database: LevelDB) -> dict[bytes, bytes]:
    snapshot = database.snapshot()
    try:
        return dict(snapshot.items(b"", None))
    finally:
        snapshot.close()


def _read_until_refused(database: LevelDB) -> None:
    """Read until another thread has begun to close the database."""
    while True:
        database.get(b"a")


@contextmanager
def _files_of_at_most(size: int) -> Iterator[None]:
    """Have the system refuse what would make a file longer, as it does where a disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_batch_is_written_whole(database: LevelDB) -> None:
    """Puts and deletes come together; the last put of a key stands."""
    database.write([(b"a", b"1"), (b"b", b"1"), (b"b", b"2")])
    database.write([(b"c", b"3")], [b"a", b"absent"])
    assert _all(database) == {b"b": b"2", b"c": b"3"}
    assert database.get(b"a") is None
    assert database.get(b"b") == b"2"


def test_batch_that_breaks_off_is_not_written_at_all(database: LevelDB) -> None:
    """plyvel commits half a batch if it is not told otherwise; here nothing of it remains."""

    def puts() -> Iterator[tuple[bytes, bytes]]:
        yield b"a", b"1"
        raise RuntimeError("broken off")

    with pytest.raises(RuntimeError):
        database.write(puts())
    assert _all(database) == {}


@pytest.mark.parametrize("durable", [True, False])
def test_nothing_is_written_behind_a_batch_that_got_in_the_log_in_part(
    tmp_path: Path, durable: bool
) -> None:
    """What comes behind half a batch could never be read again, though it was acknowledged."""
    path = tmp_path / "ledger" / "state"
    half, whole = 70_000, 100_000
    with LevelDB(path) as opened:
        opened.write([(b"a", b"1")])
        (log,) = path.glob("*.log")
        before = log.stat().st_size
        with _files_of_at_most(before + half), pytest.raises(StorageError, match="too large"):
            opened.write([(b"b", bytes(whole))], durable=durable)
        assert before < log.stat().st_size < before + whole, "the system has written some of it"
        with pytest.raises(StorageError, match="start again"):
            opened.write([(b"c", b"3")], durable=durable)
        assert _all(opened) == {b"a": b"1"}
    with LevelDB(path) as opened:
        assert _all(opened) == {b"a": b"1"}
        opened.write([(b"c", b"3")])
    with LevelDB(path) as opened:
        assert _all(opened) == {b"a": b"1", b"c": b"3"}


def test_batch_that_the_disk_refuses_is_a_storage_error(tmp_path: Path) -> None:
    """Before the batch nothing is written; behind it all is, though nobody was told."""
    path = tmp_path / "ledger" / "state"
    for act_at, written in ((0, {}), (1, {b"a": b"1"})):
        steps = Steps(act_at)
        with LevelDB(path, faults=steps) as database:
            with pytest.raises(StorageError, match=f"{path} could not be written.*start again"):
                database.write([(b"a", b"1")])
            assert _all(database) == written
        assert steps.heard[act_at][1] is WriteStep.BATCH


def test_range_is_in_byte_order_within_its_bounds(database: LevelDB) -> None:
    """Start included, stop left out; no stop is the end; bounds that cross hold nothing."""
    keys = [b"", b"\x00", b"a", b"a\x00", b"b", b"\xff\xff"]
    database.write([(key, b"v") for key in reversed(keys)])
    snapshot = database.snapshot()
    found = lambda start, stop: [key for key, _ in snapshot.items(start, stop)]  # noqa: E731
    assert found(b"", None) == keys
    assert found(b"a", b"b") == [b"a", b"a\x00"]
    assert found(b"a\x01", None) == [b"b", b"\xff\xff"]
    assert found(b"b", b"a") == []
    snapshot.close()


def test_snapshot_never_changes(database: LevelDB) -> None:
    """What is written later is seen by later snapshots alone, also in the middle of a range."""
    database.write([(b"a", b"1"), (b"b", b"1")])
    snapshot = database.snapshot()
    items = snapshot.items(b"", None)
    assert next(items) == (b"a", b"1")
    database.write([(b"b", b"2"), (b"c", b"2")], [b"a"])
    assert list(items) == [(b"b", b"1")]
    assert snapshot.get(b"a") == b"1"
    assert snapshot.get(b"c") is None
    snapshot.close()
    assert _all(database) == {b"b": b"2", b"c": b"2"}


def test_closed_snapshot_is_refused_and_may_be_closed_again(database: LevelDB) -> None:
    """Whoever asks a snapshot that was given back is told so."""
    snapshot = database.snapshot()
    snapshot.close()
    snapshot.close()
    with pytest.raises(LedgerClosed, match="take a new one"):
        snapshot.get(b"a")
    with pytest.raises(LedgerClosed):
        next(snapshot.items(b"", None))


def test_close_waits_for_readers_and_refuses_new_ones(tmp_path: Path) -> None:
    """A reader that has begun is never cut off; when the last has left, the database is closed."""
    database = LevelDB(tmp_path / "ledger" / "state")
    database.write([(b"a", b"1")])
    ended = threading.Event()
    database.when_closed = ended.set
    snapshot = database.snapshot()
    closing = threading.Thread(target=database.close)
    closing.start()
    with pytest.raises(LedgerClosed, match="was closed; open it again"):
        _read_until_refused(database)
    assert snapshot.get(b"a") == b"1"
    assert not ended.is_set()
    with pytest.raises(LedgerLocked):
        LevelDB(tmp_path / "ledger" / "state")
    snapshot.close()
    closing.join(timeout=30)
    assert not closing.is_alive()
    assert ended.is_set()
    with LevelDB(tmp_path / "ledger" / "state") as again:
        assert again.get(b"a") == b"1"


def test_snapshot_that_is_forgotten_does_not_keep_the_database_open(tmp_path: Path) -> None:
    """A snapshot that nobody holds any more is given back."""
    database = LevelDB(tmp_path / "ledger" / "state")
    database.snapshot()
    database.close()
    LevelDB(tmp_path / "ledger" / "state").close()


def test_database_that_is_not_there_is_not_made_unasked(tmp_path: Path) -> None:
    """A checker must not make what it was to check."""
    with pytest.raises(StorageError, match="cannot be opened"):
        LevelDB(tmp_path / "nowhere", create=False)
    assert not (tmp_path / "nowhere" / "CURRENT").exists()


def test_damaged_table_is_corruption_by_our_name(tmp_path: Path) -> None:
    """A table whose checksum is wrong is found when it is read, and the message says where."""
    path = tmp_path / "ledger" / "state"
    value = bytes(range(256)) * 4
    with LevelDB(path) as database:
        database.write([(b"%06d" % number, value) for number in range(6_000)])
    # Opening moves what stood in the log into tables.
    LevelDB(path).close()
    tables = sorted(path.glob("*.ldb"))
    assert tables
    for table in tables:
        raw = bytearray(table.read_bytes())
        for place in range(1000, len(raw) - 1000, 3000):
            raw[place] ^= 0xFF
        table.write_bytes(raw)
    with LevelDB(path) as database:
        snapshot = database.snapshot()
        with pytest.raises(CorruptionError, match=f"{path} is damaged.*rebuilt from the blocks"):
            snapshot.get(b"000000")
        with pytest.raises(CorruptionError):
            list(snapshot.items(b"", None))
        snapshot.close()
        with pytest.raises(CorruptionError):
            database.get(b"000000")


def _table_bytes(path: Path) -> int:
    return sum(table.stat().st_size for table in path.glob("*.ldb"))


def test_database_of_compressed_tables_is_read_and_changes_to_others(tmp_path: Path) -> None:
    """Each block says by itself whether it is compressed, so an older database needs no more."""
    path = tmp_path / "ledger" / "state"
    path.parent.mkdir()
    values = {b"%06d" % number: b"%06d" % number * 50 for number in range(20_000)}
    plain_bytes = sum(map(len, values.values()))
    older = plyvel.DB(str(path), create_if_missing=True, compression="snappy", bloom_filter_bits=10)
    with older.write_batch() as batch:
        for key, value in values.items():
            batch.put(key, value)
    older.compact_range()
    older.close()
    assert _table_bytes(path) < plain_bytes / 3
    with LevelDB(path) as database:
        assert _all(database) == values
        changed = {key: value[::-1] for key, value in values.items()}
        database.write(changed.items())
        assert _all(database) == changed
        database._db.compact_range()
        assert _all(database) == changed
    assert _table_bytes(path) > plain_bytes
    with LevelDB(path) as database:
        assert _all(database) == changed
