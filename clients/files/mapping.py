"""How a bank's own file maps onto ours: column names, date format, separators, constants.

A mapping is a TOML file::

    [columns]                      # our name = the file's name of that column
    agreement_ref = "Contract No"
    [constants]                    # our name = the same value for every row
    lender_msp = "BankMSP"
    [formats]
    date = "%d/%m/%Y"              # default %Y-%m-%d
    delimiter = ";"                # default ","
    thousands = "."                # default ","
    decimal = ","                  # default "."

Everything may be left out. Column names are compared without regard to case and
surrounding blanks.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path

from clients.files.errors import FileRefused, RowRefused

_SECTIONS = {"columns", "constants", "formats"}
_OUR_DATES = "%Y-%m-%d"
_FORMATS = {"date", "delimiter", "thousands", "decimal"}


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """A mapping as described in the module's docstring; the default reads our own files."""

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    date_format: str = _OUR_DATES
    delimiter: str = ","
    thousands: str = ","
    decimal: str = "."

    def positions(
        self, header: Sequence[str], required: Sequence[str], optional: Sequence[str]
    ) -> dict[str, int]:
        """Where each of our columns stands in the file.

        Raises:
            FileRefused: a required column is neither in the header nor a constant, a column
                stands twice, or the mapping speaks of a column that is not ours.
        """
        strangers = (set(self.columns) | set(self.constants)) - {*required, *optional}
        if strangers:
            raise FileRefused(
                f"the mapping names columns that this kind of file does not have: "
                f"{', '.join(sorted(strangers))}; it has {', '.join((*required, *optional))}"
            )
        names = [name.strip().casefold() for name in header]
        found: dict[str, int] = {}
        for ours in (*required, *optional):
            theirs = self.columns.get(ours, ours)
            matches = [i for i, name in enumerate(names) if name == theirs.strip().casefold()]
            if len(matches) > 1:
                raise FileRefused(f"column {theirs!r} stands {len(matches)} times in the header")
            if matches:
                found[ours] = matches[0]
        missing = [ours for ours in required if ours not in found and ours not in self.constants]
        if missing:
            wanted = ", ".join(self.columns.get(ours, ours) for ours in missing)
            raise FileRefused(
                f"the header lacks {wanted}; it has {', '.join(header)}. "
                "Name the file's own columns in a mapping (--mapping FILE.toml)"
            )
        return found

    def date(self, column: str, text: str) -> date:
        """A date in the file's format, of the years 2000 to 2099.

        Raises:
            RowRefused: it is not one. What stood there is not repeated: a misplaced column may
                hold anybody's number.
        """
        day = _date(text, self.date_format)
        if day is None:
            shown = "YYYY-MM-DD" if self.date_format == _OUR_DATES else self.date_format
            raise RowRefused(
                column,
                f"must be a date of the years 2000 to 2099, written as {shown}",
                "correct the date, or set formats.date in the mapping",
            )
        return day

    def plain_amount(self, text: str) -> str:
        """An amount with commas between thousands and a point before the decimals.

        A mark that is neither in this file's format stays in the text as ``?``, so that the rule
        for amounts refuses it.
        """
        if self.thousands == "," and self.decimal == ".":
            return text
        marks = {ord(mark): "?" for mark in ",. '"}
        if self.thousands:
            marks[ord(self.thousands)] = ","
        marks[ord(self.decimal)] = "."
        return text.translate(marks)


@lru_cache(maxsize=8192)
def _date(text: str, date_format: str) -> date | None:
    # A nightly file has few days and many rows: parsing each day once is worth a cache.
    try:
        if date_format != _OUR_DATES:
            day = datetime.strptime(text, date_format).date()  # noqa: DTZ007  a calendar date
        elif len(text) == 10 and text[4] == text[7] == "-":
            day = date.fromisoformat(text)
        else:
            return None
    except ValueError:
        return None
    return day if 2000 <= day.year < 2100 else None


def load_mapping(path: Path | None) -> ColumnMapping:
    """Read a mapping; without a path, the one of our own files.

    Raises:
        FileRefused: unreadable, not TOML, an unknown section or format, or separators that cannot
            be told apart.
    """
    if path is None:
        return ColumnMapping()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileRefused(f"the mapping {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise FileRefused(f"the mapping {path} is not TOML: {error}") from error
    unknown = set(content) - _SECTIONS
    sections = {name: content.get(name, {}) for name in _SECTIONS}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise FileRefused(f"the mapping {path}: {name} must be a section, [{name}]")
    formats = {name: str(value) for name, value in sections["formats"].items()}
    unknown |= set(formats) - _FORMATS
    if unknown:
        raise FileRefused(
            f"the mapping {path} has unknown entries: {', '.join(sorted(unknown))}; "
            f"sections are {', '.join(sorted(_SECTIONS))}, formats {', '.join(sorted(_FORMATS))}"
        )
    for name in ("delimiter", "decimal", "thousands"):
        mark = formats.get(name, ",")
        if len(mark) != 1 and not (name == "thousands" and mark == ""):
            raise FileRefused(f"the mapping {path}: formats.{name} must be one character")
    mapping = ColumnMapping(
        columns={name: str(value) for name, value in sections["columns"].items()},
        constants={name: str(value) for name, value in sections["constants"].items()},
        date_format=formats.get("date", _OUR_DATES),
        delimiter=formats.get("delimiter", ","),
        thousands=formats.get("thousands", ","),
        decimal=formats.get("decimal", "."),
    )
    if mapping.thousands == mapping.decimal:
        raise FileRefused(
            f"the mapping {path}: formats.thousands and formats.decimal are both "
            f"{mapping.decimal!r}; set the other one too"
        )
    return mapping
