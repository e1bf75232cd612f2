"""A database that is read all over does not show its size as the memory of the process."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from ledger.state import leveldb, mapped, residence
from ledger.state.leveldb import LevelDB
from ledger.state.residence import Watch

KEYS = 3_000
VALUE_BYTES = 8_000
LIMIT_BYTES = 3 * 1024 * 1024
ONE_READ_BYTES = 2 * 1024 * 1024
"""The filters and blocks that one more read may bring in, with what lies around them."""


def value_of(number: int) -> bytes:
    """Bytes that no compression makes smaller."""
    return random.Random(number).randbytes(VALUE_BYTES)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of 24 MB in tables."""
    path = tmp_path_factory.mktemp("large") / "state"
    with LevelDB(path, write_buffer_bytes=1024 * 1024, durable=False) as database:
        for first in range(0, KEYS, 100):
            database.write(
                (b"%08d" % number, value_of(number)) for number in range(first, first + 100)
            )
    return path


@pytest.fixture
def large(path: Path, monkeypatch: pytest.MonkeyPatch) -> LevelDB:
    """The database, opened again so that nothing is in its log, and watched alone."""
    monkeypatch.setattr(leveldb, "WATCH", Watch())
    return LevelDB(path, cache_bytes=1024 * 1024)


@pytest.mark.skipif(not mapped.is_supported(), reason="the system has no /proc to see it in")
def test_reading_all_over_a_database_keeps_little_of_its_tables(
    large: LevelDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is given back before it is much, and every read finds what was written."""
    monkeypatch.setattr(residence, "LIMIT_BYTES", LIMIT_BYTES)
    monkeypatch.setattr(residence, "_LOOKS_APART_S", 0.0)
    with large:
        large.snapshot().close()
        before = mapped.resident_file_bytes()
        most = 0
        for number in random.Random(1).sample(range(KEYS), KEYS):
            with large.reading():
                snapshot = large.snapshot()
            assert snapshot.get(b"%08d" % number) == value_of(number)
            snapshot.close()
            most = max(most, mapped.resident_file_bytes() - before)
        assert most < 2 * LIMIT_BYTES + ONE_READ_BYTES


@pytest.mark.skipif(not mapped.is_supported(), reason="the system has no /proc to see it in")
def test_reading_all_over_one_snapshot_keeps_little_of_its_tables(
    large: LevelDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bulk reads hundreds of keys from one; the watch looks between them, without its thread."""
    monkeypatch.setattr(residence, "LIMIT_BYTES", LIMIT_BYTES)
    monkeypatch.setattr(residence, "_LOOKS_APART_S", 0.0)
    monkeypatch.setattr(residence, "_THREAD_LOOKS_APART_S", 3600.0)
    monkeypatch.setattr(leveldb, "_READS_BETWEEN_LOOKS", 2)
    with large:
        snapshot = large.snapshot()
        before = mapped.resident_file_bytes()
        most = 0
        for number in random.Random(1).sample(range(KEYS), KEYS):
            assert snapshot.get(b"%08d" % number) == value_of(number)
            most = max(most, mapped.resident_file_bytes() - before)
        snapshot.close()
        assert most < 2 * LIMIT_BYTES + 2 * ONE_READ_BYTES


@pytest.mark.skipif(not mapped.is_supported(), reason="the system has no /proc to see it in")
def test_reading_without_giving_back_keeps_all_of_its_tables(
    large: LevelDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other test could not fail if mapped tables did not count as the process's memory."""
    monkeypatch.setattr(residence, "LIMIT_BYTES", KEYS * VALUE_BYTES * 2)
    with large:
        before = mapped.resident_file_bytes()
        for number in range(KEYS):
            assert large.get(b"%08d" % number) is not None
        assert mapped.resident_file_bytes() - before > 5 * LIMIT_BYTES


@pytest.mark.skipif(not mapped.is_supported(), reason="the system has no /proc to see it in")
def test_release_leaves_alone_what_it_was_not_told_of(large: LevelDB) -> None:
    """Neither tables of another number nor those of another folder are touched."""
    with large:
        for number in range(0, KEYS, 10):
            assert large.get(b"%08d" % number) is not None
        assert mapped.release(large.path, ()) == 0
        assert mapped.release(large.path.parent, range(100_000)) == 0
        assert mapped.release(large.path, range(100_000)) > 1
        assert large.get(b"%08d" % 7) == value_of(7)


def test_process_without_a_file_left_reads_all_the_same(
    large: LevelDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs a file to look at the memory is done another time, and nothing stays open."""

    def none_left() -> int:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(mapped, "resident_file_bytes", none_left)
    with large:
        snapshot = large.snapshot()
        assert snapshot.get(b"%08d" % 7) == value_of(7)
        snapshot.close()


def test_snapshot_that_cannot_be_made_keeps_no_database_open(
    large: LevelDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its database closes as if nobody had asked."""
    closed: list[bool] = []
    large.when_closed = lambda: closed.append(True)

    def broken(_: Watch) -> None:
        raise RuntimeError("it broke")

    monkeypatch.setattr(Watch, "use", broken)
    with pytest.raises(RuntimeError):
        large.snapshot()
    large.close()
    assert closed == [True]
