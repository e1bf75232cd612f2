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
from pathlib import Path

from clients.files.errors import FileRefused, RowRefused

_SECTIONS = {"columns", "constants", "formats"}
_FORMATS = {"date", "delimiter", "thousands", "decimal"}


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """A mapping as described in the module's docstring; the default reads our own files."""

    columns: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)
    date_format: str = "%Y-%m-%d"
    delimiter: str = ","
    thousands: str = ","
    decimal: str = "."

    def positions(
        self, header: Sequence[str], required: Sequence[str], optional: Sequence[str]
    ) -> dict[str, int]:
        """Where each of our columns stands in the file.

        Raises:
            FileRefused: a required column is neither in the header nor a constant,
                or a column stands twice.
        """
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
        """A date in the file's format.

        Raises:
            RowRefused: it is not one.
        """
        try:
            return datetime.strptime(text, self.date_format).date()  # noqa: DTZ007  a calendar date
        except ValueError:
            raise RowRefused(
                column,
                f"{_shown(text)} is no date of the form {self.date_format}",
                "correct the date, or set formats.date in the mapping",
            ) from None

    def plain_amount(self, text: str) -> str:
        """An amount without thousands separators and with a point before the decimals."""
        return text.replace(self.thousands, "").replace(self.decimal, ".").replace(" ", "")


def load_mapping(path: Path | None) -> ColumnMapping:
    """Read a mapping; without a path, the one of our own files.

    Raises:
        FileRefused: unreadable, not TOML, or an unknown section or format.
    """
    if path is None:
        return ColumnMapping()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileRefused(f"the mapping {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise FileRefused(f"the mapping {path} is not TOML: {error}") from error
    formats = content.get("formats", {})
    unknown = (set(content) - _SECTIONS) | (set(formats) - _FORMATS)
    if unknown:
        raise FileRefused(
            f"the mapping {path} has unknown entries: {', '.join(sorted(unknown))}; "
            f"sections are {', '.join(sorted(_SECTIONS))}, formats {', '.join(sorted(_FORMATS))}"
        )
    return ColumnMapping(
        columns=dict(content.get("columns", {})),
        constants={name: str(value) for name, value in content.get("constants", {}).items()},
        date_format=formats.get("date", "%Y-%m-%d"),
        delimiter=formats.get("delimiter", ","),
        thousands=formats.get("thousands", ","),
        decimal=formats.get("decimal", "."),
    )


def _shown(text: str) -> str:
    # A misplaced column may hold anything, an identity number too: only dates are repeated.
    harmless = len(text) <= 20 and not any(run.isdigit() and len(run) > 8 for run in text.split())
    return repr(text) if harmless else "the value"
