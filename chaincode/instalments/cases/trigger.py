"""When a case opens, and whether the trigger still holds (rulebook 4).

Trigger: days past due from the policy's figure on, and arrears of at least one instalment's amount;
days under a hold count to no trigger. Consent and confirmation on record, no hold, no open case,
none lapsed, rejected or withdrawn within the pause; an imported book has its own first pause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from ..book.position import Position
from ..policy import Policy
from ..verdicts import RuleBroken
from . import index
from .bulk import Outcome, StateRefused
from .case import CaseRecord, Closing, Round, case_id
from .clock import Span, counted, is_held, merged
from .docket import Docket
from .state import CaseState, trigger_holds

PAUSED_BY = ("lapsed", "rejected", "withdrawn")
"""Ends after which the lender must wait before a new case."""


class NotTriggered(StateRefused):
    """No case opens; *state* says why in one word."""

    def __init__(self, agreement: str, state: str, what: str, way_out: str = "") -> None:
        section = 2 if state in ("no_confirmation", "imported") else 4
        super().__init__(f"agreement {agreement}", what, section, way_out, state=state)


def check_trigger(position: Position, day: date, policy: Policy, held: Sequence[Span]) -> None:
    """Check everything about the agreement itself.

    Raises:
        NotTriggered: no case opens, and why.
    """
    name = position.agreement
    if position.closed:
        raise NotTriggered(name, position.closed, f"is closed ({position.closed})")
    if not policy.tier1_on:
        raise NotTriggered(name, "tier_off", "opens no case while tier 1 is switched off")
    if not position.has_block_consent:
        raise NotTriggered(
            name, "no_consent", "has no consent to a block on record", "no case can be opened, ever"
        )
    if position.confirmed_on is None:
        raise NotTriggered(
            name,
            "no_confirmation",
            "has no confirmation of sale",
            "a member outside the lender's group must submit ConfirmSales first",
        )
    if position.imported:
        since = counted(position.recorded_on, day, ())
        if since <= policy.imported_pause_days:
            raise NotTriggered(
                name,
                "imported",
                f"came with an imported book on {position.recorded_on} and has no case in its "
                f"first {policy.imported_pause_days} days",
            )
    if is_held(day, held):
        raise NotTriggered(name, "held", "is under a hold", "see Holds")
    if not trigger_holds(position, day, policy.trigger_days_past_due, held):
        view = position.standing(day)
        raise NotTriggered(
            name,
            "below_trigger",
            f"is {view.days_past_due} days past due with {view.unpaid} instalments unpaid; a case "
            f"needs {policy.trigger_days_past_due} days (none under a hold) and one instalment",
        )


def check_earlier_case(
    agreement: str, number: int, state: CaseState, day: date, pause_days: int
) -> None:
    """Check that the agreement's latest case lets a new one open.

    Raises:
        NotTriggered: it is open, its phone is not released yet, or the pause is not over.
    """
    case = case_id(agreement, number)
    if not state.is_over:
        raise NotTriggered(agreement, "open_case", f"has the open case {case} ({state.state})")
    if state.state == "releasing":
        raise NotTriggered(
            agreement, "releasing", f"waits for the release of case {case}", "see ReleasesOpen"
        )
    assert state.ended_on is not None
    days = (day - state.ended_on).days
    if state.ended in PAUSED_BY and days <= pause_days:
        raise NotTriggered(
            agreement,
            "paused",
            f"had case {case}, {state.ended} on {state.ended_on}; a new one needs more than "
            f"{pause_days} days",
        )


def check_length(docket: Docket, count: int) -> None:
    """Check that a sweep names no more agreements than the policy allows.

    Raises:
        RuleBroken: it names more.
    """
    most = docket.policies.in_force(docket.moment.day).policy.sweep_agreements
    if count > most:
        raise RuleBroken(
            "the sweep", f"names {count} agreements, at most {most} are allowed", 4,
            "sweep them in several transactions",
        )  # fmt: skip


def open_case(docket: Docket, agreement: str) -> Outcome:
    """Weigh one agreement of a sweep, and open its case if the trigger is there."""
    day, policies = docket.moment.day, docket.policies
    position = docket.position(agreement)
    version = policies.in_force(day)
    latest = docket.latest(agreement)
    state = None if latest is None else docket.state(latest.record.case)
    if latest is not None and state is not None:
        is_same = state.state == "triggered" and latest.record.triggered_on == day
        if is_same:
            return Outcome(False, "triggered", latest.record.case)
    if policies.is_moratorium(day):
        until = version.policy.moratorium_until
        raise NotTriggered(agreement, "moratorium", f"is in a moratorium until {until}")
    if docket.roster.left_without_successor(position.lender, day) is not None:
        raise NotTriggered(agreement, "lender_gone", f"has no lender: {position.lender} has left")
    if latest is not None and state is not None:
        pause = version.policy.retrigger_pause_days
        check_earlier_case(agreement, latest.record.number, state, day, pause)
    held = merged([hold.span for hold in docket.holds(agreement).holds])
    check_trigger(position, day, version.policy, held)
    number = 1
    if latest is not None and state is not None:
        number = latest.record.number + 1
        close(docket, latest.record, state)
    record = CaseRecord(
        case_id(agreement, number),
        agreement,
        position.lender,
        number,
        version.number,
        day,
        (Round(1, day),),
    )
    docket.open_case(record)
    facts = {"agreement": agreement, "lender": position.lender}
    return Outcome(True, "triggered", record.case, facts=facts)


def close(docket: Docket, record: CaseRecord, state: CaseState) -> bool:
    """Write down how a case ended and clear it from the indices; say whether that was new.

    Raises:
        RuleBroken: it is open.
    """
    if not state.is_over or state.ended_on is None:
        raise StateRefused(
            f"case {record.case}", f"is still open: {state.state}", 4, state=state.state
        )
    if record.closed is not None:
        return False
    docket.put_case(replace(record, closed=Closing(state.ended, state.ended_on)))
    for order in record.orders:
        for executor in order.executors:
            index.remove_order(docket.stub, order, executor)
    return True
