"""The proposal (rulebook 4): the lender asks for a tier, and fixes the electorate by it.

Not before the notice period is over, not after the days for a proposal, while the trigger still
holds, for a tier that is switched on, with a legal instrument where the tier needs one, and only if
a vote could be carried at all. Tiers rise: a case begins with tier 1, and a higher one is proposed
while a lower block is in force.
"""

from __future__ import annotations

from dataclasses import replace

from ..book.position import Position
from ..governance.instruments import find as find_instrument
from ..officers import Officer
from ..verdicts import RuleBroken
from . import vote
from .breaker import Tickets
from .bulk import Outcome, StateRefused
from .case import Proposal
from .clock import reached
from .docket import Docket
from .inputs import ProposalInput
from .order import DEVICE_SCOPE, executors_of
from .state import CaseFile, CaseState


def propose(docket: Docket, officer: Officer, tickets: Tickets, given: ProposalInput) -> Outcome:
    """Weigh a proposal and write it."""
    file = docket.file(given.case)
    docket.check_lender(file, officer.msp_id)
    record, day = file.record, docket.moment.day
    state = docket.state(given.case)
    known = record.current.proposal
    if known is not None and _is_same(known, given):
        return Outcome(False, state.step or state.state)
    _check_time(docket, file, state)
    position = docket.position(record.agreement)
    if not docket.has_trigger(file):
        raise StateRefused(
            f"case {record.case}", "has lost its trigger", 4, "no proposal", state=state.step
        )
    scope, instrument = _check_tier(docket, file, state, position, given)
    electorate = vote.electorate(docket.roster, docket.roster.group_of(record.lender))
    if not vote.is_reachable(electorate, docket.roster, file.policy.quorum_classes(given.tier)):
        raise RuleBroken(
            f"case {record.case}",
            f"cannot reach the quorum of tier {given.tier}: too few classes are active outside "
            "its lender's group",
            5,
        )
    proposal = Proposal(
        given.tier,
        given.reason,
        scope,
        instrument,
        day,
        officer.msp_id,
        electorate,
        tickets.draw(),
    )
    docket.put_case(record.with_round(replace(record.current, proposal=proposal)))
    facts = {"agreement": record.agreement, "lender": record.lender, "tier": given.tier}
    return Outcome(True, "voting", facts=facts)


def _is_same(known: Proposal, given: ProposalInput) -> bool:
    return (
        known.tier == given.tier
        and known.reason == given.reason
        and (given.scope is None or known.scope == given.scope)
        and known.instrument == (given.instrument or "")
    )


def _check_time(docket: Docket, file: CaseFile, state: CaseState) -> None:
    record, notice = file.record, file.record.current.notice
    thing = f"case {record.case}"
    if state.step != "notified" or not state.takes_steps:
        raise StateRefused(
            thing,
            f"cannot be proposed: it is {state.shown}",
            4,
            state=state.state,
        )
    assert notice is not None
    days = file.policy.notice_period_days
    earliest = reached(notice.runs_from, days, file.held)
    if docket.moment.day < earliest:
        raise StateRefused(
            thing,
            f"cannot go to a vote before {earliest}: notice served {notice.runs_from}, {days} days",
            4,
            f"propose it from {earliest} on",
            state=state.state,
        )


def _check_tier(
    docket: Docket, file: CaseFile, state: CaseState, position: Position, given: ProposalInput
) -> tuple[str, str]:
    """Return scope and instrument.

    Raises:
        RuleBroken: the tier is off, out of turn, or lacks what it needs.
    """
    thing, policy, tier = f"case {file.record.case}", file.policy, given.tier
    if not policy.is_tier_on(tier):
        raise RuleBroken(thing, f"cannot go to tier {tier}, which is switched off", 5)
    is_first = len(file.record.rounds) == 1
    if is_first != (tier == 1) or (not is_first and tier <= state.tier):
        raise RuleBroken(
            thing,
            f"cannot go to tier {tier} now: tiers rise, from tier 1",
            4,
            "propose a higher tier while the block of a lower one is in force",
        )
    scope = DEVICE_SCOPE
    if tier == 1 and given.scope is not None:
        raise RuleBroken(thing, "has a scope, which only tier 2 has", 5, "leave it out")
    if tier == 2:
        scope = policy.tier2_scope
        if scope == "none" or given.scope not in (None, scope):
            raise RuleBroken(thing, f"can have tier 2 with the scope {scope} only", 5)
        group = docket.roster.group_of
        if scope == "own_sim" and group(position.operator) != group(file.record.lender):
            raise RuleBroken(
                thing,
                f"cannot go to tier 2: the SIM is of {position.operator}, and the policy allows "
                "the lender-operator's own SIM only",
                5,
            )
    if tier == 3:
        scope = "referral"
    instrument = given.instrument or ""
    if policy.needs_instrument(tier) or instrument:
        _check_instrument(docket, thing, tier, instrument)
    if tier < 3 and not executors_of(docket, tier, position, policy):
        raise RuleBroken(thing, f"has no active executor for tier {tier}", 5)
    return scope, instrument


def _check_instrument(docket: Docket, thing: str, tier: int, reference: str) -> None:
    found = find_instrument(docket.enforcement, reference) if reference else None
    day = docket.moment.day
    if found is None or found.tier != tier or not found.valid_from <= day <= found.valid_until:
        raise RuleBroken(
            thing,
            f"needs a legal instrument for tier {tier} that is valid on {day}",
            4,
            "the regulator records it with RecordInstruments",
        )
