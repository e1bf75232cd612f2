"""Bulk functions: a verdict a record, one event a transaction.

Invariant: a record is weighed completely before anything of it is written, so that a refused one
leaves nothing. An id is repeated in a verdict, a message or an event only if it has the form of its
kind and does not look like a number of a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from chaincode.contract import Context, Malformed

from .. import records
from ..identifiers import IdentifierRefusal, check_reference, is_pseudonym
from ..verdicts import BulkResult, RuleBroken, Verdict, refused
from .ports import Moved

T = TypeVar("T")

EVENT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one record that was not refused.

    Attributes:
        written: False when the very same stood already.
        state: after the transaction; "" when the bucket of *agreement* is meant.
        agreement: the record is about, for its event.
        moved: the case it moved.
        facts: further fields of its event; no amount, no pseudonym of a person.
    """

    written: bool
    state: str = ""
    agreement: str = ""
    moved: Moved | None = None
    facts: Mapping[str, object] = field(default_factory=dict)


class BucketOf(Protocol):
    """Tells the bucket of an agreement after the transaction."""

    def __call__(self, agreement: str) -> str:
        """Return the bucket."""


def is_safe(name: str) -> bool:
    """Say whether an id may be repeated: it is no number of a person."""
    try:
        check_reference(name)
    except IdentifierRefusal:
        return is_pseudonym(name)
    return True


def named(kind: str, name: str) -> str:
    """Return "agreement A-17", or "the agreement" where the name must not be repeated."""
    return f"{kind} {name}" if is_safe(name) else f"the {kind}"


def unknown(kind: str, name: str, way_out: str) -> RuleBroken:
    """Return the refusal of something that is not on the ledger."""
    return RuleBroken(named(kind, name), "is not known", 2, way_out)


def weigh_all(
    inputs: Sequence[T | Malformed],
    id_of: Callable[[T], str],
    raw_id: Callable[[Mapping[str, Any]], object],
    weigh: Callable[[int, T], Entry],
) -> list[Verdict | tuple[str, Entry]]:
    """Weigh every record; what is refused is a verdict already.

    Args:
        id_of: returns the id of a record.
        raw_id: returns what stands for the id in a record that is malformed.
        weigh: weighs and writes the record at a place.
    """
    outcomes: list[Verdict | tuple[str, Entry]] = []
    for place, given in enumerate(inputs):
        if isinstance(given, Malformed):
            outcomes.append(_malformed(place, given, raw_id))
            continue
        record_id = id_of(given)
        try:
            outcomes.append((record_id, weigh(place, given)))
        except RuleBroken as broken:
            outcomes.append(refused(record_id if is_safe(record_id) else "", broken))
    return outcomes


def _malformed(
    place: int, given: Malformed, raw_id: Callable[[Mapping[str, Any]], object]
) -> Verdict:
    found: object = None
    if isinstance(given.raw, dict):
        found = raw_id(given.raw)
    record_id = found if isinstance(found, str) and is_safe(found) else ""
    broken = RuleBroken(
        f"record {place + 1} of the list",
        f"is not of its form: {given.message}",
        2,
        "correct it and send it again",
    )
    return refused(record_id, broken)


def conclude(
    ctx: Context,
    function: str,
    kind: str,
    outcomes: Sequence[Verdict | tuple[str, Entry]],
    bucket_of: BucketOf | None = None,
) -> BulkResult:
    """Return the verdicts and set the event that lists what was written."""
    verdicts: list[Verdict] = []
    listed: list[dict[str, object]] = []
    for outcome in outcomes:
        if isinstance(outcome, Verdict):
            verdicts.append(outcome)
            continue
        record_id, entry = outcome
        state = entry.state
        if not state and bucket_of is not None:
            state = bucket_of(entry.agreement)
        moved = entry.moved
        case = None if moved is None else moved.case
        verdicts.append(Verdict(record_id, True, entry.written, state, "", "", case))
        if entry.written:
            record: dict[str, object] = {"id": record_id, "kind": kind, "state": state}
            if entry.agreement:
                record["agreement"] = entry.agreement
            record |= entry.facts
            if moved is not None:
                record |= {"case": moved.case, "ending": moved.ending, "release": moved.release}
            listed.append(record)
    if listed:
        payload = {
            "version": EVENT_VERSION,
            "function": function,
            "day": ctx.tx_date.isoformat(),
            "records": listed,
        }
        ctx.stub.set_event(function, records.encode(payload))
    return BulkResult(verdicts)
