"""What can be wrong with a file as a whole, and with one row of it."""

from __future__ import annotations

from ledger.errors import Refusal


class FileRefused(Refusal):
    """The file cannot be read at all: no header, a column missing, a mapping that does not fit."""


class RowRefused(Refusal):
    """One row is bad; the others go on.

    Attributes:
        column: our name of the column, ``""`` where the whole row is meant.
        rule: the rule it breaks.
        way_out: what to do about it.
    """

    def __init__(self, column: str, rule: str, way_out: str) -> None:
        self.column = column
        self.rule = rule
        self.way_out = way_out
        super().__init__(f"{column or 'row'}: {rule}; {way_out}")
