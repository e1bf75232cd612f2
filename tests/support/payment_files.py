"""Files of payments made up for tests, with bad rows among the good, and a ledger that takes them.

What must come out of a file is known by how it was made, not by reading it with our own parser.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.files.ports import RecordVerdict
from ledger.errors import LedgerError

HEADER = "payment_ref,agreement_ref,amount_pkr,paid_on,channel,received_on,reverses,evidence"
BAD = (
    ("amount_pkr", "PAY-{n},AG-{a},12.345,2026-04-01,ibft,,,"),
    ("paid_on", "PAY-{n},AG-{a},100.00,2026-02-31,ibft,,,"),
    ("agreement_ref", "PAY-{n},ag {a},100.00,2026-04-01,ibft,,,"),
    ("", "PAY-{n},AG-{a},1,000.00,2026-04-01,ibft,,,"),
)


@dataclass
class MadeFile:
    """A file and what is known about it.

    Attributes:
        good: reference of each good payment to its paisa, in order.
        reversals: references taken back.
        bad: line number to the column that is bad there.
    """

    path: Path
    good: dict[str, int] = field(default_factory=dict)
    reversals: list[str] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)


def make_file(path: Path, rows: int, *, seed: int = 1, bad_every: int = 7) -> MadeFile:
    """Write a file of *rows* rows; every *bad_every*-th is bad, a few others are reversals."""
    chance = random.Random(seed)
    made = MadeFile(path)
    lines = [HEADER]
    for number in range(rows):
        agreement = chance.randrange(1, max(2, rows // 3))
        if bad_every and number % bad_every == bad_every - 1:
            column, form = BAD[chance.randrange(len(BAD))]
            made.bad[number + 2] = column
            lines.append(form.format(n=number, a=agreement))
            continue
        open_ones = [ref for ref in made.good if ref not in made.reversals]
        if open_ones and chance.random() < 0.08:
            taken = open_ones[-1]
            made.reversals.append(taken)
            evidence = f"{number:064x}"
            of = taken.split("-")[1]
            lines.append(f"REV-{number},AG-{of},,2026-04-01,ibft,,{taken},{evidence}")
            continue
        amount = chance.randrange(1, 10_000_000)
        reference = f"PAY-{number}"
        made.good[reference] = amount
        lines.append(
            f"{reference},AG-{number},{amount // 100}.{amount % 100:02},2026-04-01,ibft,,,"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return made


class PaymentLedger:
    """Takes payments and reversals once each, and keeps them in a file of JSON lines.

    Args:
        path: of its file; a second object on the same path is the same ledger.
        step: called before and after every effect; a test stops the process there.
    """

    member = "qist/BankMSP"

    def __init__(self, path: Path, step: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._step = step
        self.refused: set[str] = set()
        self.fail_at: dict[int, LedgerError] = {}
        self.submissions: list[tuple[str, int]] = []

    def entries(self) -> list[dict[str, Any]]:
        """Everything that was ever written, in order."""
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    async def submit(
        self,
        function: str,
        records: Sequence[Mapping[str, Any]],
        transient: Mapping[str, Sequence[Any]],
    ) -> Sequence[RecordVerdict]:
        """Write what is new; the verdicts say what was."""
        self._step()
        self.submissions.append((function, len(records)))
        if (error := self.fail_at.pop(len(self.submissions), None)) is not None:
            raise error
        known = {(entry["function"], entry["reference"]) for entry in self.entries()}
        tx_id = f"tx{len(self.entries())}-{len(self.submissions)}"
        verdicts, lines = [], []
        for place, record in enumerate(records):
            reference = record["reference"]
            if reference in self.refused:
                message = f"payment {reference} is known with other content; use another reference"
                verdicts.append(RecordVerdict(False, False, "rulebook 2", message, tx_id))
                continue
            is_new = (function, reference) not in known
            verdicts.append(RecordVerdict(True, is_new, "", "", tx_id))
            if is_new:
                known.add((function, reference))
                amount = transient["amounts"][place] if "amounts" in transient else 0
                lines.append(
                    {
                        "function": function,
                        "reference": reference,
                        "paisa": amount,
                        "tx_id": tx_id,
                    }
                )
        with self._path.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        self._step()
        return verdicts

    async def is_recorded(self, tx_id: str) -> bool:
        """Whether something was written by that transaction, or it wrote nothing at all."""
        return self._path.exists() and bool(tx_id)
