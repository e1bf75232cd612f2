"""Reading records of a CSV file from bytes: marks, line ends, quotes, and rows that are none."""

from __future__ import annotations

import io

import pytest

from clients.files.reading import LINE_BYTES, LINES_PER_RECORD, Position, Record, RecordReader


def records(content: bytes, delimiter: str = ",", start: Position | None = None) -> list[Record]:
    """All records of *content*."""
    return list(RecordReader(io.BytesIO(content), delimiter, start))


def good(content: bytes, delimiter: str = ",") -> list[tuple[str, ...]]:
    """The fields of all records, none of which may be bad."""
    found = records(content, delimiter)
    assert [record.error for record in found] == [None] * len(found)
    return [record.fields for record in found]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "mark"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "open"])
def test_record_is_the_same_whatever_mark_and_line_end(mark: bytes, end: bytes, last: bool) -> None:
    """Byte order mark, CRLF and a missing last line end change nothing."""
    content = mark + end.join([b"a,b", b"1,x y", "2,ä".encode()]) + (end if last else b"")
    assert good(content) == [("a", "b"), ("1", "x y"), ("2", "ä")]


def test_record_with_quotes_may_hold_separators_quotes_and_line_ends() -> None:
    """Quoted fields hold what would otherwise part them."""
    content = b'a,b\n"1,000.00","he said ""x"""\n"two\nlines",z\n'
    assert good(content) == [("a", "b"), ("1,000.00", 'he said "x"'), ("two\nlines", "z")]
    assert [record.line for record in records(content)] == [1, 2, 3]


def test_empty_lines_are_no_records_but_count_as_lines() -> None:
    """Blank lines are passed over; the numbers still say where to look."""
    found = records(b"a,b\n\n   \n1,2\n")
    assert [(record.line, record.fields) for record in found] == [(1, ("a", "b")), (4, ("1", "2"))]


def test_quote_that_is_never_closed_costs_one_row() -> None:
    """The rows behind an open quote are read as if it were not there."""
    rows = [f"{number},x".encode() for number in range(20)]
    found = records(b"\n".join([b"a,b", b'1,"open', *rows]) + b"\n")
    assert found[1].error is not None
    assert "quotation mark" in found[1].error.rule
    assert [record.fields for record in found[2:]] == [(str(n), "x") for n in range(20)]


def test_quote_closed_too_late_is_refused_at_its_own_line() -> None:
    """A record spans a few lines at most, so a stray quote cannot swallow the file."""
    content = b'a\n"' + b"x\n" * LINES_PER_RECORD + b'"\nlast\n'
    found = records(content)
    assert found[1].error is not None
    assert found[-1].fields == ("last",)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"\xff\xfe,x", "not UTF-8"),
        (b"a\x00b,x", "NUL"),
        (b"x" * (LINE_BYTES + 1), "longer than"),
        (b'"a"b,x', "no CSV"),
    ],
    ids=["latin", "nul", "long", "half"],
)
def test_line_that_cannot_be_read_is_one_bad_row(line: bytes, rule: str) -> None:
    """Whatever a line holds, the rows before and behind it are read."""
    found = records(b"a,b\n" + line + b"\n3,4\n")
    assert [record.line for record in found] == [1, 2, 3]
    assert found[1].error is not None
    assert rule in found[1].error.rule
    assert found[2].fields == ("3", "4")


def test_reading_goes_on_at_any_position_it_gave() -> None:
    """An interrupted run goes on behind the record it had settled, with the same numbers."""
    content = b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n\r\n2,"open\r\n3,z\r\n'
    whole = records(content)
    for place, record in enumerate(whole):
        rest = records(content, start=record.after)
        assert [said(each) for each in rest] == [said(each) for each in whole[place + 1 :]]


def said(record: Record) -> tuple[object, ...]:
    """Everything about a record, its error as text."""
    return record.line, record.fields, record.after, str(record.error)


def test_other_separator_parts_fields() -> None:
    """A semicolon parts fields where the mapping says so."""
    assert good(b"a;b\n1,5;2\n", ";") == [("a", "b"), ("1,5", "2")]
