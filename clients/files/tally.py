"""What an import counted, and the sums that must come out even.

In rows and in paisa, at the end of every import::

    read = rejected + good
    good = written + already there + refused by the contract   (of a dry run: checked)

The amount of a rejected row is counted where its column can be read; how many could not is a count
of its own, so that the file's column of amounts, summed by other means, can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from chaincode.instalments.money import format_amount
from ledger.errors import Fatal


class Fate(Enum):
    """What became of a row."""

    REJECTED = "rejected"
    WRITTEN = "written"
    ALREADY_THERE = "already_there"
    REFUSED = "refused"
    CHECKED = "checked"


class TallyBroken(Fatal):
    """The sums of an import do not come out even: a mistake of ours, never of the file."""


@dataclass(slots=True)
class Seen:
    """Rows and paisa as they were read, counted apart from what became of them."""

    rows: int
    paisa: int

    def add(self, amount_paisa: int | None) -> None:
        """Count a row that was read."""
        self.rows += 1
        self.paisa += amount_paisa or 0


@dataclass(slots=True)
class Tally:
    """Rows and amounts by fate.

    Attributes:
        rows, paisa: by fate.
        unreadable_amounts: rejected rows whose amount could not be read.
    """

    rows: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    paisa: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    unreadable_amounts: int = 0

    def count(self, fate: Fate, amount_paisa: int | None) -> None:
        """Count a row that is settled."""
        self.rows[fate] += 1
        self.paisa[fate] += amount_paisa or 0
        if amount_paisa is None:
            self.unreadable_amounts += 1

    @property
    def read_rows(self) -> int:
        """All rows that are settled."""
        return sum(self.rows.values())

    @property
    def read_paisa(self) -> int:
        """Their amounts."""
        return sum(self.paisa.values())

    @property
    def good_rows(self) -> int:
        """Rows that were no rejects of the file."""
        return self.read_rows - self.rows[Fate.REJECTED]

    def verify_sums(self, seen: Seen) -> None:
        """Check that every row that was read is settled, once, with its amount.

        Raises:
            TallyBroken: it is not so.
        """
        if (self.read_rows, self.read_paisa) != (seen.rows, seen.paisa):
            raise TallyBroken(
                f"{seen.rows} rows with {seen.paisa} paisa were read, but {self.read_rows} rows "
                f"with {self.read_paisa} paisa are accounted for; nothing on the ledger is wrong "
                "by it: run the import again, and report this"
            )

    def encode(self) -> dict[str, Any]:
        """The tally as JSON can say it."""
        return {
            "read": {"rows": self.read_rows, "paisa": self.read_paisa},
            **{fate.value: {"rows": self.rows[fate], "paisa": self.paisa[fate]} for fate in Fate},
            "unreadable_amounts": self.unreadable_amounts,
        }

    @classmethod
    def decode(cls, content: Mapping[str, Any]) -> Tally:
        """Take up what `encode` wrote."""
        return cls(
            {fate: int(content[fate.value]["rows"]) for fate in Fate},
            {fate: int(content[fate.value]["paisa"]) for fate in Fate},
            int(content["unreadable_amounts"]),
        )

    def lines(self) -> list[tuple[str, str, str]]:
        """Rows of the report: what, how many rows, how much money."""
        words = {
            Fate.WRITTEN: "written",
            Fate.ALREADY_THERE: "already there",
            Fate.REFUSED: "refused by the contract",
            Fate.CHECKED: "checked only",
        }
        good_paisa = self.read_paisa - self.paisa[Fate.REJECTED]
        shown = [
            ("rows of the file", self.read_rows, self.read_paisa),
            ("rejected", self.rows[Fate.REJECTED], self.paisa[Fate.REJECTED]),
            ("good", self.good_rows, good_paisa),
        ]
        shown += [
            (f"  {word}", self.rows[fate], self.paisa[fate])
            for fate, word in words.items()
            if fate is not Fate.CHECKED or self.rows[fate]
        ]
        return [(what, f"{rows:,}", format_amount(paisa)) for what, rows, paisa in shown]
