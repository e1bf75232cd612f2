"""An append-only log of numbered records in segment files.

A segment file ``NNNNNNNNN.seg`` begins with a header of 24 bytes, records follow without gaps::

    segment header   "QISTSEGM" ‖ format version u32 ‖ first record's number u64 ‖ CRC-32 u32
    record           "QREC" ‖ number u64 ‖ length u32 ‖ CRC-32 of the data u32
                     ‖ CRC-32 of these 20 bytes u32 ‖ data

All numbers big-endian; CRC-32 is zlib's. A record counts as stored once its file is synced; a new
file counts once its directory is synced too. A record never spans two files: a file that has
reached the cap is left, and one record may exceed the cap.

A record that is not whole at the end of the last file is a *torn tail*: a write that nobody was
told of. It is reported by ``scan`` and cut by ``cut``. The same damage with whole records behind
it, or in an earlier file, is corruption, and fatal.

Absent on purpose: what is in a record, and an index from numbers to places (``state.database``).
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ledger.errors import CorruptionError, FormatVersionError, StorageError
from ledger.faults import FaultPort, NoFaults, WriteStep

FORMAT_VERSION = 1
SEGMENT_SIZE_BYTES = 64 * 1024 * 1024

_MAGIC = b"QISTSEGM"
_RECORD_MAGIC = b"QREC"
_SEGMENT_HEADER = struct.Struct(">8sIQ")
_RECORD_HEADER = struct.Struct(">4sQII")
_CRC = struct.Struct(">I")
SEGMENT_HEADER_BYTES = _SEGMENT_HEADER.size + _CRC.size
RECORD_HEADER_BYTES = _RECORD_HEADER.size + _CRC.size
# The cost of an open file is small, but a channel may have thousands of segments.
_OPEN_FILES = 32


class Position(NamedTuple):
    """A place in the log: the segment's index, and the offset in its file."""

    segment: int
    offset: int


class Location(NamedTuple):
    """Where a record's data stands."""

    segment: int
    offset: int
    length: int

    @property
    def end(self) -> Position:
        """Where the next record of the same segment begins."""
        return Position(self.segment, self.offset + self.length)


class Record(NamedTuple):
    """One record with its place."""

    number: int
    data: bytes
    location: Location


@dataclass(frozen=True, slots=True)
class TornTail:
    """The rest of a write that was never acknowledged.

    Attributes:
        file: the segment file.
        offset: where the whole records end.
        size_bytes: how much follows.
        reason: what is wrong with it.
    """

    file: Path
    position: Position
    size_bytes: int
    reason: str

    def __str__(self) -> str:
        place = f"offset {self.position.offset} of {self.file}"
        return f"{self.size_bytes} bytes at {place}: {self.reason}"


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _OpenFile:
    """A segment file open for reading; closed when nobody holds it any more.

    A reader may still be at work on another thread when the log has too many files open, or is
    closed itself.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def __del__(self) -> None:
        # Absent if it could not be opened.
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def _record_header(number: int, data: bytes) -> bytes:
    head = _RECORD_HEADER.pack(_RECORD_MAGIC, number, len(data), zlib.crc32(data))
    return head + _CRC.pack(zlib.crc32(head))


def _data_length(head: bytes) -> int | None:
    """Return the length in a record header, None if *head* is not a whole one."""
    if len(head) < RECORD_HEADER_BYTES or not head.startswith(_RECORD_MAGIC):
        return None
    if _CRC.unpack_from(head, _RECORD_HEADER.size)[0] != zlib.crc32(head[: -_CRC.size]):
        return None
    length: int = _RECORD_HEADER.unpack_from(head)[2]
    return length


class SegmentLog:
    """The segment files of one folder. One writer; readers on any thread.

    Args:
        path: the folder, made if absent.
        segment_size_bytes: a file of this size or more takes no further record.
        faults: hears of every write step.

    Raises:
        FormatVersionError: a file was written in an unknown format.
        CorruptionError: a file is missing between others, or one that is not the last has a damaged
            header.
    """

    def __init__(
        self,
        path: Path,
        segment_size_bytes: int = SEGMENT_SIZE_BYTES,
        faults: FaultPort | None = None,
    ) -> None:
        self.path = path
        self._cap = segment_size_bytes
        self._faults = faults or NoFaults()
        if not path.is_dir():
            path.mkdir(parents=True)
            sync_directory(path.parent)
        names = sorted(each.name for each in path.glob("*.seg"))
        self._segments = len(names)
        if names != [self.file(index).name for index in range(len(names))]:
            raise CorruptionError(
                f"a segment file is missing in {path}: {len(names)} files up to {names[-1]}; "
                "restore it from a backup, or fetch the channel anew from another member"
            )
        self._writer: int | None = None
        self._writer_offset = 0
        self._opening = threading.Lock()
        self._files: dict[int, _OpenFile] = {}

    def file(self, segment: int) -> Path:
        """Return the path of the file of a segment."""
        return self.path / f"{segment:09d}.seg"

    # Reading

    def _read(self, segment: int, size: int, offset: int) -> bytes:
        """Read from a segment file; less than *size* at its end."""
        with self._opening:
            file = self._files.pop(segment, None) or _OpenFile(self.file(segment))
            # The one used last stands last; the first goes when there are too many.
            self._files[segment] = file
            if len(self._files) > _OPEN_FILES:
                del self._files[next(iter(self._files))]
        return file.read(size, offset)

    def read(self, location: Location, number: int) -> bytes:
        """Return the data of a stored record.

        Raises:
            CorruptionError: what stands there is not the record that was written.
        """
        start = location.offset - RECORD_HEADER_BYTES
        try:
            raw = self._read(location.segment, RECORD_HEADER_BYTES + location.length, start)
        except OSError as error:
            raise CorruptionError(
                f"record {number} cannot be read at offset {start} of "
                f"{self.file(location.segment)}: {error}; restore the file from a backup"
            ) from error
        data = raw[RECORD_HEADER_BYTES:]
        if raw[:RECORD_HEADER_BYTES] != _record_header(number, data):
            raise self._corruption(location.segment, start, f"record {number} is damaged")
        return data

    def _corruption(self, segment: int, offset: int, what: str) -> CorruptionError:
        return CorruptionError(
            f"{what} at offset {offset} of {self.file(segment)}; restore the file from a backup, "
            "or fetch the channel anew from another member"
        )

    def scan(self, start: Position | None = None) -> Iterator[Record | TornTail]:
        """Iterate over the records from *start* (default: the first) to the end.

        A torn tail comes last, if there is one. One record is in memory at a time.

        Raises:
            CorruptionError: damage with whole records behind it, naming file and offset.
            FormatVersionError: a file was written in an unknown format.
        """
        position = start or Position(0, 0)
        if start is not None and start.segment >= self._segments:
            raise self._corruption(start.segment, 0, "the whole file is missing")
        for segment in range(position.segment, self._segments):
            offset = position.offset if segment == position.segment else 0
            size = self.file(segment).stat().st_size
            if offset > size:
                raise self._corruption(segment, size, f"{offset - size} bytes are missing")
            reason = self._check_segment_header(segment)
            if reason and offset >= SEGMENT_HEADER_BYTES:
                raise self._corruption(segment, 0, reason)
            if reason:
                yield self._torn_or_corrupt(segment, 0, size, reason)
                return
            offset = max(offset, SEGMENT_HEADER_BYTES)
            while offset < size:
                record, reason = self._read_record(segment, offset, size)
                if record is None:
                    yield self._torn_or_corrupt(segment, offset, size, reason)
                    return
                if offset == SEGMENT_HEADER_BYTES and record.number != self._first(segment):
                    raise self._corruption(segment, offset, "another record than the first stands")
                yield record
                offset = record.location.end.offset

    def _check_segment_header(self, segment: int) -> str:
        """Return what is wrong with the header of a segment file, empty if nothing is."""
        raw = self._read(segment, SEGMENT_HEADER_BYTES, 0)
        if len(raw) < SEGMENT_HEADER_BYTES:
            return "the segment header is cut short"
        magic, version, _ = _SEGMENT_HEADER.unpack_from(raw)
        if _CRC.unpack_from(raw, _SEGMENT_HEADER.size)[0] != zlib.crc32(raw[: -_CRC.size]):
            return "the segment header is damaged"
        if magic != _MAGIC or version != FORMAT_VERSION:
            raise FormatVersionError(
                f"{self.file(segment)} has format version {version}, this program knows "
                f"{FORMAT_VERSION}; use the release that wrote it, or a newer one"
            )
        return ""

    def _first(self, segment: int) -> int:
        """Return the number of a file's first record, as its header says."""
        raw = self._read(segment, SEGMENT_HEADER_BYTES, 0)
        first: int = _SEGMENT_HEADER.unpack_from(raw)[2]
        return first

    def _read_record(self, segment: int, offset: int, size: int) -> tuple[Record | None, str]:
        """Read the record at *offset*, or say what is wrong with it."""
        head = self._read(segment, RECORD_HEADER_BYTES, offset)
        if len(head) < RECORD_HEADER_BYTES:
            return None, "the record header is cut short"
        if _data_length(head) is None:
            return None, "the record header is damaged"
        _, number, length, checksum = _RECORD_HEADER.unpack_from(head)
        begin = offset + RECORD_HEADER_BYTES
        if begin + length > size:
            return None, f"record {number} is cut short"
        data = self._read(segment, length, begin)
        if zlib.crc32(data) != checksum:
            return None, f"the data of record {number} are damaged"
        return Record(number, data, Location(segment, begin, length)), ""

    def _torn_or_corrupt(self, segment: int, offset: int, size: int, reason: str) -> TornTail:
        """Return the torn tail at *offset*, unless whole records behind it prove corruption."""
        if segment != self._segments - 1 or self._has_record_behind(segment, offset, size):
            raise self._corruption(segment, offset, reason)
        return TornTail(self.file(segment), Position(segment, offset), size - offset, reason)

    def _has_record_behind(self, segment: int, offset: int, size: int) -> bool:
        # A write puts one record at the end and is synced before the next begins, so damage that is
        # followed by a whole record was not there when that record was written. What looks like a
        # record inside the data of a damaged one proves nothing: anybody may send such bytes. So
        # the search begins behind it, where a whole header says how long it was to be.
        head = self._read(segment, RECORD_HEADER_BYTES, offset)
        begin = 1 if (length := _data_length(head)) is None else RECORD_HEADER_BYTES + length
        raw = self._read(segment, size - offset, offset)
        candidate = raw.find(_RECORD_MAGIC, begin)
        while candidate >= 0:
            if self._read_record(segment, offset + candidate, size)[0] is not None:
                return True
            candidate = raw.find(_RECORD_MAGIC, candidate + 1)
        return False

    # Writing

    def cut(self, tail: TornTail) -> None:
        """Remove a torn tail for good."""
        self._faults.before(WriteStep.TAIL_CUT)
        segment, offset = tail.position
        if offset < SEGMENT_HEADER_BYTES:
            self._files.pop(segment, None)
            self.file(segment).unlink()
            sync_directory(self.path)
            self._segments -= 1
        else:
            descriptor = os.open(self.file(segment), os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.ftruncate(descriptor, offset)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        self._faults.after(WriteStep.TAIL_CUT)

    def append(self, number: int, data: bytes) -> Location:
        """Write a record at the end and sync it.

        The caller has scanned to the end before, so that the last file ends with a whole record.

        Raises:
            StorageError: the disk refused; what is stored shows only when the log is opened again.
        """
        try:
            if self._writer is None and self._segments:
                self._open_writer(self._segments - 1)
            if self._writer is None or self._writer_offset >= self._cap:
                self._start_segment(number)
            return self._append(number, data)
        except OSError as error:
            raise StorageError(
                f"record {number} could not be written to {self.path}: {error}; make room or "
                "repair the disk, then start again"
            ) from error

    def _open_writer(self, segment: int) -> int:
        self._close_writer()
        self._writer = os.open(
            self.file(segment), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        self._writer_offset = os.fstat(self._writer).st_size
        return self._writer

    def _start_segment(self, number: int) -> None:
        faults = self._faults
        faults.before(WriteStep.SEGMENT_CREATE)
        head = _SEGMENT_HEADER.pack(_MAGIC, FORMAT_VERSION, number)
        writer = self._open_writer(self._segments)
        self._write(writer, head + _CRC.pack(zlib.crc32(head)))
        os.fsync(writer)
        self._segments += 1
        faults.after(WriteStep.SEGMENT_CREATE)
        faults.before(WriteStep.DIRECTORY_SYNC)
        sync_directory(self.path)
        faults.after(WriteStep.DIRECTORY_SYNC)

    def _append(self, number: int, data: bytes) -> Location:
        faults = self._faults
        writer = self._writer
        assert writer is not None
        segment = self._segments - 1
        begin = self._writer_offset + RECORD_HEADER_BYTES
        faults.before(WriteStep.SEGMENT_APPEND)
        self._write(writer, _record_header(number, data) + data)
        faults.after(WriteStep.SEGMENT_APPEND)
        faults.before(WriteStep.SEGMENT_SYNC)
        os.fsync(writer)
        faults.after(WriteStep.SEGMENT_SYNC)
        return Location(segment, begin, len(data))

    def _write(self, writer: int, raw: bytes) -> None:
        view = memoryview(raw)
        while view:
            written = os.write(writer, view)
            view = view[written:]
            self._writer_offset += written

    def _close_writer(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def close(self) -> None:
        """Close the files; the log may not be used again."""
        self._close_writer()
        self._files.clear()
