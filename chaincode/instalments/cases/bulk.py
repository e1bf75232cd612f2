"""Bulk functions of the cases: a verdict a record, one event a transaction (rulebook 6).

As in the book, a record is weighed completely before anything of it is written. What is particular
here: the verdict of a refusal may say the state that the record is in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from chaincode.contract import Context, Malformed

from .. import records
from ..book.bulk import is_safe
from ..verdicts import BulkResult, RuleBroken, Verdict, refused

T = TypeVar("T")

EVENT_VERSION: Final = 1


class StateRefused(RuleBroken):
    """A refusal that tells the state, or why none was reached, in one word."""

    def __init__(
        self,
        record: str,
        what: str,
        section: int | str,
        way_out: str = "",
        *,
        state: str,
        case: str | None = None,
    ) -> None:
        super().__init__(record, what, section, way_out)
        self.state = state
        self.case = case


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one record that was not refused.

    Attributes:
        written: False when the very same stood already.
        state: after the transaction.
        case: it is about, where the id is another thing's.
        hold: that was placed.
        facts: further fields of its event.
    """

    written: bool
    state: str
    case: str | None = None
    hold: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


def is_repeatable(name: str) -> bool:
    """Say whether an id may be repeated: one of ours, around an agreement's, or safe by itself."""
    inner = name[2:] if name[1:2] == "-" and name[:1] in "COHR" else name
    return len(name) <= 64 and is_safe(inner[:32])


def well_formed(inputs: Sequence[T | Malformed]) -> list[T]:
    """Return the records of a list that are of their form."""
    return [given for given in inputs if not isinstance(given, Malformed)]


def run(
    ctx: Context,
    function: str,
    inputs: Sequence[T | Malformed],
    name: str,
    weigh: Callable[[T], Outcome],
) -> BulkResult:
    """Weigh every record, set the event, and return the verdicts.

    Args:
        name: the field that is a record's id; "" where the record is the id itself.
        weigh: weighs and writes one record.
    """
    verdicts: list[Verdict] = []
    listed: list[dict[str, object]] = []
    for place, given in enumerate(inputs):
        if isinstance(given, Malformed):
            verdicts.append(_malformed(place, given, name))
            continue
        found: object = getattr(given, name) if name else given
        record_id = found if isinstance(found, str) and is_repeatable(found) else ""
        try:
            outcome = weigh(given)
        except RuleBroken as broken:
            verdicts.append(_refused(record_id, broken))
            continue
        verdicts.append(
            Verdict(
                record_id, True, outcome.written, outcome.state, "", "", outcome.case, outcome.hold
            )
        )
        if outcome.written:
            record: dict[str, object] = {"id": record_id, "state": outcome.state}
            if outcome.case is not None:
                record["case"] = outcome.case
            if outcome.hold is not None:
                record["hold"] = outcome.hold
            listed.append(record | dict(outcome.facts))
    if listed:
        set_event(ctx, function, listed)
    return BulkResult(verdicts)


def set_event(ctx: Context, function: str, listed: Sequence[Mapping[str, object]]) -> None:
    """Set the event of a transaction that wrote something."""
    payload = {
        "version": EVENT_VERSION,
        "function": function,
        "day": ctx.tx_date.isoformat(),
        "records": list(listed),
    }
    ctx.stub.set_event(function, records.encode(payload))


def _refused(record_id: str, broken: RuleBroken) -> Verdict:
    if isinstance(broken, StateRefused):
        return refused(record_id, broken, broken.state, broken.case)
    return refused(record_id, broken)


def _malformed(place: int, given: Malformed, name: str) -> Verdict:
    found: object = given.raw
    if name:
        found = given.raw.get(name) if isinstance(given.raw, dict) else None
    record_id = found if isinstance(found, str) and is_repeatable(found) else ""
    broken = RuleBroken(
        f"record {place + 1} of the list",
        f"is not of its form: {given.message}",
        6,
        "correct it and send it again",
    )
    return refused(record_id, broken)
