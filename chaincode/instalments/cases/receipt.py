"""Receipts of block orders (rulebook 4, 5), each signed by an officer of the executor.

The ladder: SUBMITTED → IMPORTED → LISTED → APPLIED → VERIFIED, or REFUSED with a reason; IMPORTED
and LISTED may be left out. Who has not SUBMITTED in the hours for it may not start, nor anybody
once the case ended, is held, or all orders are stopped, nor a member that is not active. Later
steps are reports of fact and are taken always, from a suspended member too, so that a block which
slipped through is seen and released.

Only the executor's own receipts are read here: two executors never hold each other up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..governance import stop
from ..officers import Officer
from ..verdicts import RuleBroken
from . import index
from .bulk import Outcome, StateRefused
from .case import BlockOrder, Receipts, Step, case_of_order
from .docket import Docket
from .inputs import BlockReceiptInput
from .order import find
from .state import CaseFile, CaseState, start_before

RANKS: Final = {"SUBMITTED": 1, "IMPORTED": 2, "LISTED": 3, "APPLIED": 4, "VERIFIED": 5}
REFUSED: Final = "REFUSED"
FINAL: Final = ("VERIFIED", REFUSED)


def check_step(thing: str, known: Sequence[str], step: str, reason: str | None) -> bool:
    """Check that *step* may follow what is known; say whether it is new.

    Raises:
        RuleBroken: a step back, a step left out that must not be, REFUSED without a reason.
    """
    if step in known:
        return False
    if known and known[-1] in FINAL:
        raise RuleBroken(thing, f"is {known[-1]} already, {step} comes too late", 5)
    if step == REFUSED:
        if not reason:
            raise RuleBroken(thing, "is REFUSED without a reason", 5, "name a reason code")
        if "APPLIED" in known:
            raise RuleBroken(thing, "is APPLIED already and cannot be REFUSED", 5)
        return True
    if not known and step != "SUBMITTED":
        raise RuleBroken(thing, f"is {step} before it is SUBMITTED", 5, "report SUBMITTED first")
    if known and RANKS[step] < RANKS[known[-1]]:
        raise RuleBroken(thing, f"is {known[-1]} already, {step} is a step back", 5)
    if step == "VERIFIED" and "APPLIED" not in known:
        raise RuleBroken(thing, "is VERIFIED before it is APPLIED", 5, "report APPLIED first")
    return True


def acknowledge(docket: Docket, officer: Officer, given: BlockReceiptInput) -> Outcome:
    """Weigh one step and write it."""
    case = case_of_order(given.order)
    order = find(docket, case, given.order)
    file = docket.file(case)
    thing = f"order {order.order}"
    executor = officer.msp_id
    if executor not in order.executors:
        raise RuleBroken(thing, f"is not addressed to {executor}", 5, "see OrdersOpen")
    receipts = next(
        (each for each in file.receipts[order.order] if each.executor == executor),
        Receipts(order.order, executor),
    )
    known = [each.step for each in receipts.steps]
    is_new = check_step(thing, known, given.step, given.reason)
    state = docket.state(case)
    if not is_new:
        return Outcome(False, _state_of(state, known), case)
    if given.step == "SUBMITTED":
        docket.roster.active(executor)
        _check_start(docket, file, order, state)
    step = Step(
        given.step, docket.moment.at, officer.name, given.reason or "", given.evidence or ""
    )
    docket.put_receipts(case, Receipts(order.order, executor, (*receipts.steps, step)))
    if given.step in FINAL:
        index.remove_order(docket.stub, order, executor)
    facts = {"step": given.step, "executor": executor, "agreement": file.record.agreement}
    return Outcome(True, _state_of(state, [*known, given.step]), case, facts=facts)


def _state_of(state: CaseState, known: Sequence[str]) -> str:
    if state.is_over:
        return state.state
    return "enforced" if "APPLIED" in known else "ordered"


def _check_start(docket: Docket, file: CaseFile, order: BlockOrder, state: CaseState) -> None:
    """Check that an executor may still start.

    Raises:
        RuleBroken: too late, the case ended, is held or due to end, or all orders are stopped.
    """
    thing = f"order {order.order}"
    ends = start_before(order, file.held)
    if docket.moment.at > ends:
        raise StateRefused(
            thing,
            f"may not be started any more: {order.start_hours} hours are over since {ends}",
            4,
            "do not apply it",
            state=state.state,
        )
    if not state.takes_steps:
        why = state.shown if state.due is None else f"due to end ({state.due.kind})"
        raise StateRefused(
            thing, f"may not be started: its case is {why}", 4, "do not apply it", state=state.state
        )
    if order is not file.record.rounds[0].order and not docket.has_trigger(file):
        raise StateRefused(
            thing,
            "may not be started: its case has lost its trigger",
            4,
            "do not apply it",
            state=state.state,
        )
    stopped = stop.find(docket.enforcement).until_if_stopped(docket.moment.day)
    if stopped is not None:
        raise StateRefused(
            thing,
            f"may not be started: all block orders are stopped until {stopped}",
            1,
            "do not apply it",
            state=state.state,
        )
