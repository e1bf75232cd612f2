"""How a case ends, whoever ends it (rulebook 4): cure, lapse by payment, withdrawal, write-off,
death, term, a hold.

The end is written in `instalments`, in the very transaction that makes it so, and with it a release
order for every block order of the case. No vote, no lender, no regulator.

**Cured**: on some date from `paid_on` to the transaction's date every instalment due before that
date is paid. It ends a case in any open state, held too. A payment that leaves something due but
takes the trigger away lapses a case that is not enforced yet.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from ..book.position import Position
from ..calendar import parse_date
from ..verdicts import RuleBroken
from . import index
from .case import BlockOrder, release_id
from .docket import Docket
from .outcome import Addressee, Ending, Release
from .state import CaseFile, CaseState, trigger_holds

WRITTEN_OFF: Final = "written_off"
DEATH: Final = "death"
PAID_OFF: Final = "paid_off"
TRIGGER_GONE: Final = "trigger_gone"
"""Evidence of a case that a payment lapsed."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A case that was ended.

    Attributes:
        ending: cured, lapsed, withdrawn, written_off, death, term, lender_gone, exchanged.
        release: the release order of its first block order, None where nothing was ordered.
        device: whose block it was.
        state: of the case after the transaction.
    """

    case: str
    ending: str
    release: str | None
    device: str
    state: str


def is_cured(after: Position, paid_on: date, today: date) -> bool:
    """Say whether on some date from *paid_on* to *today* all that was due before it is paid.

    Between two dates on which something was paid or another schedule began, what is due only
    rises; so those dates and the first one are all that need to be looked at.
    """
    first, last = paid_on.isoformat(), today.isoformat()
    changes = [day for day in after.days_of_change if first < day <= last]
    return any(after.is_due_paid_before(day) for day in [paid_on, *map(parse_date, changes)])


def end(
    docket: Docket, file: CaseFile, state: CaseState, kind: str, by: str, evidence: str = ""
) -> Moved:
    """End an open case, with a release of everything that was ordered in it."""
    record, moment = file.record, docket.moment
    orders = record.orders
    ending = Ending(
        record.case,
        record.agreement,
        kind,
        moment.day,
        moment.at,
        by,
        evidence,
        state.beneath,
        tuple([order.order for order in orders]),
    )
    releases = tuple([_release_of(docket, file, order, kind) for order in orders])
    docket.put_ending(ending, releases)
    for hold in file.holds:
        if hold.case == record.case:
            index.remove_hold(docket.stub, hold)
    return _moved(file, ending, releases)


def _moved(file: CaseFile, ending: Ending, releases: tuple[Release, ...]) -> Moved:
    state = ending.kind
    if releases:
        state = "released" if all(release.is_done for release in releases) else "releasing"
    return Moved(
        ending.case,
        ending.kind,
        releases[0].release if releases else None,
        file.record.orders[0].device if releases else "",
        state,
    )


def _release_of(docket: Docket, file: CaseFile, order: BlockOrder, kind: str) -> Release:
    at = docket.moment.at
    return Release(
        release_id(order.order),
        order.order,
        file.record.case,
        file.record.agreement,
        order.tier,
        order.device,
        order.identifiers,
        kind,
        at,
        docket.moment.day,
        file.policy.release_hours,
        tuple([Addressee(executor, 1, at) for executor in order.executors]),
    )


def after_payment(
    docket: Docket, file: CaseFile, after: Position, paid_on: date, by: str
) -> Moved | None:
    """End a case that a payment or a milder schedule cured, or whose trigger it took away."""
    docket.with_position(after)
    state = docket.state(file.record.case)
    day = docket.moment.day
    if state.is_over:
        return _cured_after_all(docket, file, after, paid_on)
    if is_cured(after, min(paid_on, day), day):
        return end(docket, file, state, "cured", by)
    if state.beneath != "enforced" and not trigger_holds(
        after, day, file.policy.trigger_days_past_due, file.held_ever
    ):
        return end(docket, file, state, "lapsed", by, TRIGGER_GONE)
    return None


def _cured_after_all(
    docket: Docket, file: CaseFile, after: Position, paid_on: date
) -> Moved | None:
    """Let a payment cure what another of the same day only lapsed.

    So it makes no difference in which order the payments of a day come in.
    """
    lapsed, day = file.ending, docket.moment.day
    if lapsed is None or (lapsed.evidence, lapsed.on) != (TRIGGER_GONE, day):
        return None
    if lapsed.kind != "lapsed" or not is_cured(after, min(paid_on, day), day):
        return None
    ending = replace(lapsed, kind="cured", evidence="")
    releases = tuple([replace(release, reason="cured") for release in file.releases])
    docket.put_ending(ending, releases)
    return _moved(file, ending, releases)


def by_date(docket: Docket, file: CaseFile, by: str) -> Moved:
    """Write down the end that a date has brought to a case with a block.

    Raises:
        RuleBroken: nothing ends it today.
    """
    record = file.record
    state = docket.state(record.case)
    if state.due is None:
        raise RuleBroken(
            f"case {record.case}",
            f"is {state.state}, and no date ends it today",
            4,
            "see CasesActionable and HoldsDue",
        )
    return end(docket, file, state, state.due.kind, by, state.due.evidence)


def withdraw(docket: Docket, file: CaseFile, by: str, evidence: str) -> Moved:
    """End an open case by the word of the lender, or of the regulator about a hold.

    Raises:
        RuleBroken: it ended otherwise.
    """
    record = file.record
    state = docket.state(record.case)
    if state.is_over:
        raise RuleBroken(
            f"case {record.case}", f"ended already: {state.ended} on {state.ended_on}", 4
        )
    return end(docket, file, state, "withdrawn", by, evidence)
