"""The segment log against a list: what was appended is read, by place and in order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.blocks.segments import Location, Record, SegmentLog, TornTail

# What looks like the beginning of a record is data like any other.
_data = st.one_of(st.binary(max_size=60), st.just(b"QREC"), st.just(b"QISTSEGM" + bytes(30)))


def _scan(log: SegmentLog) -> tuple[list[tuple[int, bytes]], list[Location], TornTail | None]:
    records, locations, tail = [], [], None
    for found in log.scan():
        assert tail is None, "a torn tail comes last"
        if isinstance(found, TornTail):
            tail = found
        else:
            records.append((found.number, found.data))
            locations.append(found.location)
    return records, locations, tail


@given(
    st.lists(st.one_of(_data, st.none()), max_size=25),
    st.integers(30, 300),
    st.integers(0, 2**63),
)
@settings(max_examples=80)
def test_log_holds_what_was_appended(
    appends: list[bytes | None], segment_size_bytes: int, first: int
) -> None:
    """Records come back in order and by place, over segments and reopenings (None)."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        log = SegmentLog(path, segment_size_bytes)
        expected: list[tuple[int, bytes]] = []
        places = []
        for data in appends:
            if data is None:
                log.close()
                log = SegmentLog(path, segment_size_bytes)
                continue
            number = first + len(expected)
            places.append(log.append(number, data))
            expected.append((number, data))
        records, locations, tail = _scan(log)
        assert (records, locations, tail) == (expected, places, None)
        for place, (number, data) in zip(places, expected, strict=True):
            assert log.read(place, number) == data
        for index, place in enumerate(places):
            rest = [each for each in log.scan(place.end) if isinstance(each, Record)]
            assert [each.number for each in rest] == [number for number, _ in expected[index + 1 :]]
        log.close()


@given(st.lists(_data, min_size=1, max_size=6), st.binary(min_size=1, max_size=80))
@settings(max_examples=80)
def test_log_with_a_torn_tail_holds_what_stands_before_it(
    appends: list[bytes], garbage: bytes
) -> None:
    """Bytes behind the last record are a torn tail; cut, the log goes on as if they never were."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log"
        log = SegmentLog(path)
        for number, data in enumerate(appends):
            log.append(number, data)
        log.close()
        file = log.file(0)
        size = file.stat().st_size
        with file.open("ab") as tail_of_file:
            tail_of_file.write(garbage)
        log = SegmentLog(path)
        records, _, tail = _scan(log)
        assert records == list(enumerate(appends))
        assert tail is not None
        assert (tail.file, tail.position, tail.size_bytes) == (file, (0, size), len(garbage))
        log.cut(tail)
        assert file.stat().st_size == size
        log.append(len(appends), b"next")
        assert _scan(log)[0] == [*enumerate(appends), (len(appends), b"next")]
        log.close()
