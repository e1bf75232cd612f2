"""The notice (rulebook 4): delivered not before the trigger, within the days for it, else lapsed.

The notice period runs from the later of the delivery and the ledger day on which the notice was
written, so a notice dated back gains nothing. A higher tier needs a notice of its own, served while
the lower tier's block is in force; it begins a new round of the case.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from ..officers import Officer
from ..policy import TIERS
from ..verdicts import RuleBroken
from .bulk import Outcome, StateRefused
from .case import Notice, Round
from .docket import Docket
from .inputs import NoticeInput
from .state import CaseFile, CaseState, settled_on


def serve(docket: Docket, officer: Officer, given: NoticeInput) -> Outcome:
    """Weigh a notice and write it."""
    file = docket.file(given.case)
    docket.check_lender(file, officer.msp_id)
    record, day = file.record, docket.moment.day
    state = docket.state(given.case)
    notice = Notice(
        given.delivered_on, day, given.channel, given.language, given.proof, officer.msp_id
    )
    known = record.current.notice
    if known is not None and replace(notice, written_on=known.written_on, by=known.by) == known:
        return Outcome(False, state.step or state.state)
    earliest = _earliest_delivery(docket, file, state)
    thing = f"case {record.case}"
    if given.delivered_on > day:
        raise RuleBroken(
            thing,
            f"has a notice delivered on {given.delivered_on}, after today, {day}",
            4,
            "send it when it was delivered",
        )
    if given.delivered_on < earliest:
        raise RuleBroken(
            thing,
            f"needs a notice delivered from {earliest} on, not on {given.delivered_on}",
            4,
            "serve it again",
        )
    if state.step == "triggered":
        docket.put_case(record.with_round(replace(record.current, notice=notice)))
    else:
        further = Round(record.current.number + 1, day, notice)
        docket.put_case(replace(record, rounds=(*record.rounds, further)))
    return Outcome(True, "notified", facts={"agreement": record.agreement, "lender": record.lender})


def _earliest_delivery(docket: Docket, file: CaseFile, state: CaseState) -> date:
    """Return the first day of delivery that counts.

    Raises:
        RuleBroken: the case takes no notice now.
    """
    record, day = file.record, docket.moment.day
    thing = f"case {record.case}"
    if state.takes_steps:
        if state.step == "triggered":
            return record.triggered_on
        if state.beneath == "enforced" and state.step in ("enforced", "lapsed", "rejected"):
            assert state.applied_on is not None
            if not any(file.policy.is_tier_on(tier) for tier in TIERS if tier > state.tier):
                raise StateRefused(
                    thing,
                    f"takes no notice: no tier above {state.tier} is switched on",
                    5,
                    state=state.state,
                )
            since = settled_on(file, record.current)
            pause = file.policy.retrigger_pause_days
            if state.step != "enforced" and (day - since).days <= pause:
                raise RuleBroken(
                    thing,
                    f"had a vote on a higher tier that ended {since}; another needs more than "
                    f"{pause} days",
                    4,
                )
            return max(state.applied_on, day - timedelta(days=file.policy.delivery_days))
    raise StateRefused(
        thing,
        f"takes no notice: it is {state.shown}",
        4,
        "a notice is served after the trigger, or on a block in force for a higher tier",
        state=state.state,
    )
