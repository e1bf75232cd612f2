"""What a rehearsal took in and what was refused, row by row; the figures of its first table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clients.files.agreements import AgreementRow
from clients.files.payments import PaymentRow
from clients.files.rows import Reject


@dataclass(slots=True)
class Counts:
    """Rows of one file up to the last day lived.

    Attributes:
        read: good rows.
        taken: of them, rows whose record was written.
        repeated: of them, rows that said again what stood already.
        refused: of them, rows that a contract, or the policy file, refused.
        bad: rows of the whole file that break a rule of the file, and were never sent.
    """

    read: int = 0
    taken: int = 0
    repeated: int = 0
    refused: list[Reject] = field(default_factory=list)
    bad: list[Reject] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """All rows, good and bad."""
        return self.read + len(self.bad)

    @property
    def rejected(self) -> int:
        """Rows that are not in the ledger."""
        return len(self.bad) + len(self.refused)


@dataclass(slots=True)
class Tally:
    """Counts for the report.

    Attributes:
        agreements, payments: rows of the two files.
        cases: agreement of every case that was opened, by case id.
        refused: what a contract refused of the rehearsal's own steps, in words; none is expected.
    """

    agreements: Counts = field(default_factory=Counts)
    payments: Counts = field(default_factory=Counts)
    cases: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def refuse(self, verdicts: Iterable[dict[str, Any]]) -> None:
        """Keep the words of every verdict that refuses."""
        self.refused.extend(each["message"] for each in verdicts if not each["ok"])

    def reject(
        self,
        counts: Counts,
        row: AgreementRow | PaymentRow,
        column: str,
        rule: str,
        way_out: str,
    ) -> None:
        """Put a row among the rejects of its file."""
        reference = row.reference if isinstance(row, PaymentRow) else row.agreement
        counts.refused.append(Reject(row.line, reference, column, rule, way_out, row.amount_paisa))

    def refuse_row(
        self, counts: Counts, row: AgreementRow | PaymentRow, verdict: dict[str, Any]
    ) -> None:
        """Put a row among the rejects, in the words of the contract that refused it."""
        rule, _, way_out = str(verdict["message"]).partition("; ")
        self.reject(counts, row, "", rule, way_out)
