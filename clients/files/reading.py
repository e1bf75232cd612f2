"""Reading a CSV file record by record in constant memory, bad records included.

UTF-8 with or without byte order mark, LF or CRLF, quoted fields. A quoted field
may hold line breaks, but a record spans at most ``LINES_PER_RECORD`` lines: a
quote that is never closed costs one row, not the rest of the file.

Every record carries its line number (the header is line 1) and the offset in
bytes behind it, from which reading can go on after an interruption.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from clients.files.errors import FileRefused, RowRefused

LINE_BYTES = 64 * 1024
LINES_PER_RECORD = 8
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Position:
    """Where reading stands: line number and byte offset of the next record."""

    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        line: its first line.
        fields: its fields, or what could be made of them when ``error`` is set.
        after: where the next record begins.
        error: why the record cannot be read, else None.
    """

    line: int
    fields: tuple[str, ...]
    after: Position
    error: RowRefused | None = None


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    content: bytes
    after: int
    is_whole: bool


class RecordReader:
    """The records of an open CSV file, from a position on."""

    def __init__(self, file: BinaryIO, delimiter: str, start: Position | None = None) -> None:
        self._file = file
        self._delimiter = delimiter
        self._pushed: deque[_Line] = deque()
        if start is None:
            file.seek(0)
            skipped = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
            start = Position(1, skipped)
        file.seek(start.offset)
        self._next = start

    def __iter__(self) -> Iterator[Record]:
        """Each record that is not an empty line."""
        while (line := self._line()) is not None:
            if line.content.strip():
                yield self._record(line)

    def _record(self, first: _Line) -> Record:
        lines = [first]
        while _is_open(lines):
            following = self._line() if len(lines) < LINES_PER_RECORD else None
            if following is None:
                self._pushed.extendleft(reversed(lines[1:]))
                return self._bad(
                    first,
                    "a quotation mark is opened and not closed",
                    "close it, or write it twice where it belongs to the text",
                )
            lines.append(following)
        if not all(line.is_whole for line in lines):
            return self._bad(
                first, f"the line is longer than {LINE_BYTES} bytes", "split or correct it"
            )
        try:
            text = b"".join(line.content for line in lines).decode("utf-8")
        except UnicodeDecodeError:
            return self._bad(first, "the line is not UTF-8", "save the file as UTF-8")
        if "\x00" in text:
            return self._bad(first, "the line holds a NUL character", "remove it")
        last = lines[-1]
        try:
            rows = list(csv.reader([text], delimiter=self._delimiter, strict=True))
        except csv.Error as error:
            return self._bad(first, f"the line is no CSV ({error})", "correct its quotation marks")
        fields = tuple(field.strip() for field in rows[0])
        return Record(first.number, fields, Position(last.number + 1, last.after))

    def _bad(self, line: _Line, rule: str, way_out: str) -> Record:
        shown = line.content.decode("utf-8", errors="replace").rstrip("\r\n")
        after = Position(line.number + 1, line.after)
        return Record(line.number, (shown,), after, RowRefused("", rule, way_out))

    def _line(self) -> _Line | None:
        if self._pushed:
            return self._pushed.popleft()
        content = self._file.readline(LINE_BYTES + 1)
        if not content:
            return None
        length, whole = len(content), len(content) <= LINE_BYTES
        while not content.endswith(b"\n") and (rest := self._file.readline(LINE_BYTES)):
            length += len(rest)
            whole = False
            if rest.endswith(b"\n"):
                break
        line = _Line(self._next.line, content, self._next.offset + length, whole)
        self._next = Position(self._next.line + 1, line.after)
        return line


def read_header(path: Path, delimiter: str) -> Record:
    """The first record of a file.

    Raises:
        FileRefused: the file is missing, empty, or its first line cannot be read.
    """
    try:
        with path.open("rb") as file:
            header = next(iter(RecordReader(file, delimiter)), None)
    except OSError as error:
        raise FileRefused(f"{path} cannot be read: {error.strerror}") from error
    if header is None:
        raise FileRefused(f"{path} is empty; its first line must name the columns")
    if header.error is not None:
        raise FileRefused(f"the first line of {path} cannot be read: {header.error}")
    return header


def _is_open(lines: list[_Line]) -> bool:
    return sum(line.content.count(b'"') for line in lines) % 2 == 1
