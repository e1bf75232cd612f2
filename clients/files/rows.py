"""From the records of a file to typed rows: one schema a kind of file, one verdict a row.

A row is good, and then it is a value of its schema's type, or it is rejected with line, column,
rule and way out. A reject never repeats what stood in a column: a misplaced column may hold
anybody's number. Only the reference is named, and only where it has the form of one.

Deliberately absent: anything that needs a clock, a ledger or another row. Whether a reference was
used before, or a day lies in the future, the contracts decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Generic, Protocol, TypeVar

from chaincode.instalments.calendar import CalendarRefusal
from chaincode.instalments.identifiers import IdentifierRefusal
from chaincode.instalments.money import MoneyRefusal
from clients.files.errors import RowRefused
from clients.files.mapping import ColumnMapping
from clients.files.reading import Position, Record, RecordReader, read_header

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is refused.

    Attributes:
        line: where it begins; the header is line 1.
        reference: the row's own reference, ``""`` where it has none of the proper form.
        column: the column as the file names it, ``""`` where the whole row is meant.
        rule: the rule it breaks.
        way_out: what to do about it.
        amount_paisa: the amount of the row where that column can be read, else None.
    """

    line: int
    reference: str
    column: str
    rule: str
    way_out: str
    amount_paisa: int | None = None


@dataclass(frozen=True, slots=True)
class Row(Generic[T_co]):
    """One row of a file: exactly one of ``value`` and ``reject`` is set."""

    after: Position
    value: T_co | None
    reject: Reject | None


class Schema(Protocol[T_co]):
    """What one kind of file holds, and how a row becomes a value."""

    @property
    def required(self) -> Sequence[str]:
        """Columns that the header must name, or the mapping give as constants."""
        ...

    @property
    def optional(self) -> Sequence[str]:
        """Columns that may be left out."""
        ...

    def parse(self, line: int, fields: Fields) -> T_co:
        """The value of one row.

        Raises:
            RowRefused: the row breaks a rule of its own.
        """
        ...

    def reference(self, fields: Fields) -> str:
        """The row's reference, ``""`` where it has not the form of one."""
        ...

    def amount_paisa(self, fields: Fields) -> int | None:
        """The amount that a row which was refused would have moved, if it can be read."""
        ...


class Fields:
    """The fields of the row that is read now, by our names of the columns.

    One object serves all rows of a file: ``record`` is set anew for each.
    """

    __slots__ = ("_constants", "_places", "mapping", "record")

    def __init__(
        self, mapping: ColumnMapping, places: dict[str, int], columns: Sequence[str]
    ) -> None:
        self.mapping = mapping
        self.record: Sequence[str] = ()
        self._places = places
        # A constant stands in for a column that the file does not have.
        self._constants = {
            name: mapping.constants.get(name, "") for name in columns if name not in places
        }

    def text(self, column: str) -> str:
        """The field, without surrounding blanks; ``""`` where it is empty or left out."""
        place = self._places.get(column)
        return self._constants[column] if place is None else self.record[place]

    def needed(self, column: str) -> str:
        """The field, which must not be empty."""
        text = self.text(column)
        if not text:
            raise RowRefused(column, "is empty", "fill it in")
        return text


def read_rows(
    path: Path, schema: Schema[T], mapping: ColumnMapping, start: Position | None = None
) -> Iterator[Row[T]]:
    """The rows of a file in order, in constant memory.

    Args:
        start: where to go on; None from the first row behind the header.
    Raises:
        FileRefused: at once, when the file or its header cannot be read.
    """
    header = read_header(path, mapping.delimiter)
    columns = (*schema.required, *schema.optional)
    places = mapping.positions(header.fields, schema.required, schema.optional)
    fields = Fields(mapping, places, columns)
    names = {ours: header.fields[place] for ours, place in places.items()}
    return _rows(path, schema, fields, names, len(header.fields), start or header.after)


def _rows(
    path: Path,
    schema: Schema[T],
    fields: Fields,
    names: dict[str, str],
    width: int,
    start: Position,
) -> Iterator[Row[T]]:
    with path.open("rb") as file:
        for record in _records(file, fields.mapping.delimiter, start):
            if record.error is None and len(record.fields) == width:
                fields.record = record.fields
                try:
                    yield Row(record.after, schema.parse(record.line, fields), None)
                    continue
                except RowRefused as refused:
                    reject = Reject(
                        record.line,
                        schema.reference(fields),
                        names.get(refused.column, refused.column),
                        refused.rule,
                        refused.way_out,
                        schema.amount_paisa(fields),
                    )
            else:
                error = record.error or _wrong_width(len(record.fields), width)
                reject = Reject(record.line, "", "", error.rule, error.way_out)
            yield Row(record.after, None, reject)


def _records(file: BinaryIO, delimiter: str, start: Position) -> Iterator[Record]:
    return iter(RecordReader(file, delimiter, start))


def _wrong_width(found: int, width: int) -> RowRefused:
    way_out = "put quotation marks around fields that hold the separator"
    if found < width:
        way_out = "add the fields that are missing, empty ones too"
    return RowRefused("", f"the row has {found} fields, the header {width}", way_out)


def checked(column: str, rule: Callable[[str], V], text: str) -> V:
    """Apply one of the plain rules for values to a field.

    Raises:
        RowRefused: the rule refuses it; what the field held is not repeated.
    """
    try:
        return rule(text)
    except (IdentifierRefusal, MoneyRefusal, CalendarRefusal) as refusal:
        raise RowRefused(column, f"{refusal.record} {refusal.rule}", refusal.way_out) from None
