"""Segment files on disk: rollover, places, torn tails, and what a write that fails leaves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ledger.blocks.segments import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    Location,
    Position,
    Record,
    SegmentLog,
    TornTail,
)
from ledger.errors import CorruptionError, StorageError

CAP = 100


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SegmentLog]:
    opened = SegmentLog(tmp_path / "log", CAP)
    yield opened
    opened.close()


def _again(log: SegmentLog) -> SegmentLog:
    log.close()
    return SegmentLog(log.path, CAP)


def test_new_log_makes_its_folder_and_no_file(log: SegmentLog) -> None:
    """A file is made for its first record, not before."""
    assert log.path.is_dir()
    assert list(log.path.iterdir()) == []
    assert list(log.scan()) == []


def test_file_at_the_cap_takes_no_further_record(log: SegmentLog) -> None:
    """A record may exceed the cap, and never spans two files."""
    size = CAP - SEGMENT_HEADER_BYTES - RECORD_HEADER_BYTES
    places = [
        log.append(0, bytes(size - 1)),
        log.append(1, bytes(500)),
        log.append(2, bytes(size)),
        log.append(3, b""),
    ]
    first = SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES
    assert places[0] == Location(0, first, size - 1)
    assert places[1] == Location(0, places[0].end.offset + RECORD_HEADER_BYTES, 500)
    assert places[2] == Location(1, first, size)
    assert places[3] == Location(2, first, 0)
    assert log.file(1).stat().st_size == CAP
    assert [each.number for each in log.scan() if isinstance(each, Record)] == [0, 1, 2, 3]
    assert log.read(places[1], 1) == bytes(500)


def test_log_goes_on_in_the_last_file_after_reopening(log: SegmentLog) -> None:
    """A file that is not full is filled further."""
    log.append(0, b"a")
    log = _again(log)
    assert log.append(1, b"b").segment == 0
    log = _again(log)
    assert len(list(log.scan())) == 2
    log.close()


def test_files_are_for_their_owner_alone(log: SegmentLog) -> None:
    """Blocks hold what members tell each other, not every account of the machine."""
    log.append(0, b"a")
    assert log.file(0).stat().st_mode & 0o777 == 0o600


def test_reading_another_record_than_was_written_is_corruption(log: SegmentLog) -> None:
    """Number, length and place must fit, or the index and the log are of different ledgers."""
    place = log.append(7, b"seven")
    for location, number in (
        (place, 8),
        (place._replace(length=4), 7),
        (place._replace(offset=place.offset + 1), 7),
        (place._replace(segment=1), 7),
        (place._replace(offset=10_000), 7),
    ):
        with pytest.raises(CorruptionError, match=rf"record {number} .*{log.path}"):
            log.read(location, number)
    assert log.read(place, 7) == b"seven"


def test_scan_from_a_position_behind_the_end_is_corruption(log: SegmentLog) -> None:
    """What was there once is missing now."""
    log.append(0, b"a")
    size = log.file(0).stat().st_size
    assert list(log.scan(Position(0, size))) == []
    with pytest.raises(CorruptionError, match=f"3 bytes are missing at offset {size}"):
        list(log.scan(Position(0, size + 3)))
    with pytest.raises(CorruptionError, match="the whole file is missing"):
        list(log.scan(Position(1, SEGMENT_HEADER_BYTES)))


def test_file_that_begins_with_another_record_than_it_says_is_corruption(log: SegmentLog) -> None:
    """The header names the first record, so that files cannot change places."""
    for number in range(3):
        log.append(number, bytes(100))
    log.close()
    os.rename(log.file(0), log.path / "kept")
    os.rename(log.file(1), log.file(0))
    os.rename(log.path / "kept", log.file(1))
    log = SegmentLog(log.path, CAP)
    numbers = [each.number for each in log.scan() if isinstance(each, Record)]
    assert numbers == [1, 0, 2], "files in a wrong order: the numbers tell, whoever scans compares"
    raw = log.file(1).read_bytes()
    log.file(0).write_bytes(log.file(0).read_bytes()[:SEGMENT_HEADER_BYTES] + raw[24:])
    with pytest.raises(CorruptionError, match="another record than the first stands"):
        list(log.scan())
    log.close()


def test_torn_tail_is_told_from_damage_by_what_follows(log: SegmentLog) -> None:
    """Damage with a whole record behind it is corruption; at the very end it is a torn tail."""
    log = SegmentLog(log.path / "one file")
    places = [log.append(number, b"data %d" % number) for number in range(3)]
    raw = bytearray(log.file(0).read_bytes())
    for place, is_last in ((places[1], False), (places[2], True)):
        for offset in (place.offset - RECORD_HEADER_BYTES, place.offset - 1, place.offset):
            damaged = bytearray(raw)
            damaged[offset] ^= 1
            log.file(0).write_bytes(damaged)
            if is_last:
                tail = list(log.scan())[-1]
                assert isinstance(tail, TornTail)
                assert tail.position.offset == place.offset - RECORD_HEADER_BYTES
                assert str(log.file(0)) in str(tail)
            else:
                with pytest.raises(CorruptionError, match=f"of {log.file(0)}"):
                    list(log.scan())
    log.close()


def test_record_inside_a_torn_record_proves_nothing(log: SegmentLog) -> None:
    """Anybody may send bytes that look like a record; cut short, they make no corruption."""
    log.append(0, b"inner")
    inner = log.file(0).read_bytes()[SEGMENT_HEADER_BYTES:]
    outer = SegmentLog(log.path / "outer")
    outer.append(0, b"first")
    size = outer.file(0).stat().st_size
    outer.append(1, b"before" + inner + b"behind")
    raw = outer.file(0).read_bytes()
    for cut in range(1, len(b"behind") + 1):
        outer.file(0).write_bytes(raw[:-cut])
        tail = list(outer.scan())[-1]
        assert isinstance(tail, TornTail)
        assert tail.position.offset == size
    assert isinstance(tail, TornTail)
    outer.cut(tail)
    assert outer.file(0).stat().st_size == size
    outer.close()


def test_file_without_a_whole_header_is_removed_with_its_tail(log: SegmentLog) -> None:
    """A new file that was cut in its header held nothing yet."""
    log.append(0, bytes(CAP))
    log.close()
    log.file(1).write_bytes(b"QISTSEGM\x00\x00")
    log = SegmentLog(log.path, CAP)
    tail = list(log.scan())[-1]
    assert isinstance(tail, TornTail)
    assert tail.position == Position(1, 0)
    log.cut(tail)
    assert not log.file(1).exists()
    assert log.append(1, b"next").segment == 1
    assert [each.number for each in log.scan() if isinstance(each, Record)] == [0, 1]
    log.close()


def test_file_with_another_name_than_its_place_is_refused(log: SegmentLog) -> None:
    """Names are numbered without gaps."""
    log.append(0, b"a")
    log.close()
    os.rename(log.file(0), log.file(1))
    with pytest.raises(CorruptionError, match="a segment file is missing"):
        SegmentLog(log.path)


def test_write_that_the_disk_refuses_is_a_storage_error(log: SegmentLog) -> None:
    """The message names the folder and says what to do; what was stored before stays."""
    log.append(0, bytes(CAP))
    log.close()
    (log.path / "000000001.seg").mkdir()
    log = SegmentLog(log.path, CAP)
    with pytest.raises(StorageError, match=rf"record 1 could not be written to {log.path}"):
        log.append(1, b"b")
    log.close()


def test_many_files_are_read_with_few_of_them_open(tmp_path: Path) -> None:
    """A channel may have thousands of segments; open files are bounded."""
    log = SegmentLog(tmp_path / "log", 1)
    places = [log.append(number, b"%d" % number) for number in range(100)]
    for _ in range(2):
        for number, place in enumerate(places):
            assert log.read(place, number) == b"%d" % number
    opened = {Path(each.path) for each in psutil.Process().open_files()}
    assert 0 < len(opened & set(log.path.iterdir())) <= 40
    log.close()
    opened = {Path(each.path) for each in psutil.Process().open_files()}
    assert not opened & set(log.path.iterdir())
