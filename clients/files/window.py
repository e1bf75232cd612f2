"""The rows of a file that are read and not yet settled, in the order of the file.

Rows are answered out of order, since several transactions are in flight; they are settled in order:
counted, written to the rejects where they belong, and passed by the checkpoint. So the checkpoint
never passes a row that is still open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from clients.files.ports import RecordVerdict
from clients.files.reading import Position
from clients.files.rows import Reject
from clients.files.tally import Fate


class Slot:
    """One row: what it is about, and what became of it once that is known.

    Attributes:
        after: position behind the row.
        line, reference, amount_paisa: of the row.
        fate: None while it is open.
        reject: what the file of rejects says about it, if it belongs there.
        refused_by: ``file`` or ``contract``.
        tx_id: transaction in which it was weighed, ``""`` where it was not sent.
    """

    __slots__ = (
        "after",
        "amount_paisa",
        "fate",
        "line",
        "reference",
        "refused_by",
        "reject",
        "tx_id",
    )

    def __init__(
        self, after: Position, line: int, reference: str, amount_paisa: int | None
    ) -> None:
        self.after = after
        self.line = line
        self.reference = reference
        self.amount_paisa = amount_paisa
        self.fate: Fate | None = None
        self.reject: Reject | None = None
        self.refused_by = ""
        self.tx_id = ""

    @classmethod
    def rejected(cls, after: Position, reject: Reject) -> Slot:
        """A row that is not sent."""
        slot = cls(after, reject.line, reject.reference, reject.amount_paisa)
        slot.fate, slot.reject, slot.refused_by = Fate.REJECTED, reject, "file"
        return slot

    def answer(self, verdict: RecordVerdict) -> None:
        """Take the contract's verdict."""
        self.tx_id = verdict.tx_id
        if verdict.is_ok:
            self.fate = Fate.WRITTEN if verdict.is_written else Fate.ALREADY_THERE
            return
        rule, _, way_out = verdict.message.rpartition("; ")
        if not rule:
            rule, way_out = way_out, ""
        self.fate, self.refused_by = Fate.REFUSED, "contract"
        self.reject = Reject(
            self.line, self.reference, "", rule or verdict.rule, way_out, self.amount_paisa
        )


class Window:
    """The open rows, oldest first."""

    def __init__(self) -> None:
        self._slots: deque[Slot] = deque()

    def __len__(self) -> int:
        """Rows that are not settled, those included that wait for an older one."""
        return len(self._slots)

    def add(self, slot: Slot) -> None:
        """Take the next row of the file."""
        self._slots.append(slot)

    def settle(self) -> Iterator[Slot]:
        """Give up the rows from the oldest on whose fate is known."""
        while self._slots and self._slots[0].fate is not None:
            yield self._slots.popleft()
