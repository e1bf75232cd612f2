"""Many records through a contract's bulk function: in parts, and in halves where a part fails.

A bulk function takes a JSON list as its one argument, and transient lists parallel to it. A part
that keeps meeting conflicts, or is too large for the endorsers, is split in two, down to single
records, so that one record that others fight over does not hold back the rest. What fails for
another reason fails for each half too, and is not split.

Invariant: every record is in exactly one part of the result, parts in the order of the records.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from clients.gateway.errors import CommitError, GatewayError
from clients.gateway.messages import ProposalDraft
from clients.gateway.operations import NOBODY, Operation, Outcome, StandIns, submit_and_wait
from clients.gateway.retry import RetryPolicy, is_conflict, is_mismatch

MOST_RECORDS = 500
_TOO_LARGE = 413


@dataclass(frozen=True, slots=True)
class BulkPart:
    """One transaction of a bulk: exactly one of ``outcome`` and ``error`` is set.

    Attributes:
        start, stop: the records it holds, as in ``records[start:stop]``.
        outcome: what came of it.
        error: why it could not be done.
    """

    start: int
    stop: int
    outcome: Outcome | None
    error: GatewayError | CommitError | None


@dataclass(frozen=True, slots=True)
class BulkOutcome:
    """All parts of a bulk, in the order of its records."""

    parts: tuple[BulkPart, ...]

    def raise_for_error(self) -> None:
        """Raise the error of the first part that failed, if one did."""
        for part in self.parts:
            if part.error is not None:
                raise part.error


@dataclass(frozen=True, slots=True)
class BulkRequest:
    """Records and what goes with them, to be cut anywhere."""

    records: Sequence[Any]
    transient: Mapping[str, Sequence[Any]]

    def __post_init__(self) -> None:
        for name, values in self.transient.items():
            if len(values) != len(self.records):
                raise ValueError(
                    f"transient list {name} has {len(values)} entries for {len(self.records)} "
                    "records; it must be parallel to them"
                )

    def argument(self, start: int, stop: int) -> str:
        """The JSON list of ``records[start:stop]``."""
        return _json(list(self.records[start:stop]))

    def beside(self, start: int, stop: int) -> dict[str, bytes]:
        """The transient lists of the same records."""
        return {
            name: _json(list(values[start:stop])).encode()
            for name, values in self.transient.items()
        }


def submit_bulk(
    new_draft: Callable[[int, int], ProposalDraft],
    count: int,
    most: int,
    retry: RetryPolicy | None,
    stand_ins: StandIns = NOBODY,
) -> Operation[BulkOutcome]:
    """Submit *count* records, at most *most* in one transaction.

    Args:
        new_draft: makes a fresh proposal for ``records[start:stop]``.
        retry: for a function that writes nothing twice; None: one attempt, no halves.
        stand_ins: as of `submit_and_wait`.
    """
    if most < 1:
        raise ValueError(f"a transaction takes at least one record, not {most}")
    waiting = [(start, min(start + most, count)) for start in range(0, count, most)]
    waiting.reverse()
    parts: list[BulkPart] = []
    while waiting:
        start, stop = waiting.pop()
        part = yield from _submit_part(new_draft, start, stop, retry, stand_ins)
        if part.error is not None and retry is not None and _is_for_halves(part):
            middle = (start + stop) // 2
            waiting += [(middle, stop), (start, middle)]
            continue
        parts.append(part)
    return BulkOutcome(tuple(parts))


def _submit_part(
    new_draft: Callable[[int, int], ProposalDraft],
    start: int,
    stop: int,
    retry: RetryPolicy | None,
    stand_ins: StandIns,
) -> Operation[BulkPart]:
    patience = retry
    if retry is not None and stop - start > 1:
        patience = retry.of_a_bulk()
    try:
        outcome = yield from submit_and_wait(lambda: new_draft(start, stop), patience, stand_ins)
    except (GatewayError, CommitError) as error:
        return BulkPart(start, stop, None, error)
    return BulkPart(start, stop, outcome, None)


def _is_for_halves(part: BulkPart) -> bool:
    if part.stop - part.start < 2:
        return False
    if isinstance(part.error, CommitError):
        return is_conflict(part.error.code)
    if part.error is None:
        return False
    if part.error.again_in_s is not None:
        # The gateway is overloaded: two halves would be more work for it, not less.
        return False
    too_large = (
        part.error.chaincode_status == _TOO_LARGE
        or part.error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        or part.error.code is grpc.StatusCode.DEADLINE_EXCEEDED
    )
    return is_mismatch(part.error) or (too_large and part.error.outcome_definite)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
