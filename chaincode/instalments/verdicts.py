"""What a bulk function says about each record, and how a rule is broken.

Good records are written and bad ones reported: a `RuleBroken` met while one record is weighed
becomes that record's verdict and the list goes on. Raised outside a record it refuses the whole
transaction. Its message names the thing, the rule by its section of the rulebook, the way out.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaincode.contract import ContractRefusal


class RuleBroken(ContractRefusal):
    """A rule of the rulebook forbids it.

    Args:
        record: the thing by its name on the ledger ("case C-17").
        what: what cannot be and why, as it follows the name ("cannot go to a vote before …").
        section: of the rulebook; may name a subject instead ("roles").
        way_out: what the caller can do; "" where nothing helps or the text says it.
    """

    def __init__(self, record: str, what: str, section: int | str, way_out: str = "") -> None:
        super().__init__(record, what, way_out)
        self.section = f"rulebook {section}"
        tail = f"; {way_out}" if way_out else ""
        self.args = (f"{record} {what} ({self.section}){tail}",)

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one record.

    Attributes:
        id: of the record, as the function's documentation says.
        ok: False when it is refused, and then nothing of it is written.
        written: False also when the very same stood already.
        state: of the record after the transaction.
        rule: "rulebook 4" of a refusal.
        message: of a refusal: the thing, the rule, the way out.
        case: the case it is about, where the id is not that of a case.
        hold: the hold that was placed.
    """

    id: str
    ok: bool
    written: bool
    state: str = ""
    rule: str = ""
    message: str = ""
    case: str | None = None
    hold: str | None = None


@dataclass(frozen=True, slots=True)
class BulkResult:
    """The verdicts of a bulk function, in the order of its list."""

    verdicts: list[Verdict]


def refused(
    record_id: str, broken: RuleBroken, state: str = "", case: str | None = None
) -> Verdict:
    """Return the verdict on a record that breaks a rule."""
    return Verdict(record_id, False, False, state, broken.section, str(broken), case)
