"""The vote (rulebook 5): electorate, quorum, the deciding ballot.

Electorate: the members active when the proposal was written, one vote an affiliate group, the
originator's group out. Carried when a regulator and the policy's number of further classes, in
different groups, say yes, and yes exceeds no plus the ballots still out; rejected as soon as that
is impossible. Abstentions and ballots of members no longer active count nowhere: a group whose
member lost its standing after voting may vote again through another that was active then.

`tally` is pure. `cast` writes the ballot, and with the deciding one the order, in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..members import REGULATOR, Roster
from ..officers import Officer
from ..verdicts import RuleBroken
from . import order as orders
from .breaker import Breaker
from .bulk import Outcome, StateRefused
from .case import Ballot, CaseRecord, Elector, Round
from .docket import Docket
from .inputs import BallotInput

Decision = Literal["carried", "rejected", "open"]


@dataclass(frozen=True, slots=True)
class Out:
    """A group that may still vote, by the classes of its members that may."""

    classes: frozenset[str]


def electorate(roster: Roster, originator_group: str) -> tuple[Elector, ...]:
    """Return who votes on a proposal written now."""
    groups: dict[str, list[str]] = {}
    for member in roster.active_members:
        if member.group != originator_group:
            groups.setdefault(member.group, []).append(member.msp_id)
    return tuple([Elector(group, tuple(groups[group])) for group in sorted(groups)])


def counting(ballots: Iterable[Ballot], roster: Roster) -> list[Ballot]:
    """Return the ballots of members that are still active."""
    return [ballot for ballot in ballots if _is_active(roster, ballot.msp_id)]


def still_out(electors: Sequence[Elector], ballots: Sequence[Ballot], roster: Roster) -> list[Out]:
    """Return the groups without a counting ballot that have a member left to cast one."""
    cast = {ballot.group for ballot in ballots}
    out = []
    for elector in electors:
        classes = frozenset(
            [
                roster.member(msp_id).member_class
                for msp_id in elector.members
                if _is_active(roster, msp_id)
            ]
        )
        if elector.group not in cast and classes:
            out.append(Out(classes))
    return out


def _is_active(roster: Roster, msp_id: str) -> bool:
    member = roster.find(msp_id)
    return member is not None and member.is_active


def tally(ballots: Sequence[Ballot], out: Sequence[Out], classes_needed: int) -> Decision:
    """Say whether a vote is carried, rejected or open.

    Args:
        ballots: those that count, one a group.
        out: the groups that may still vote.
        classes_needed: beside the regulator's.
    """
    yes = [ballot.member_class for ballot in ballots if ballot.choice == "yes"]
    no = sum(ballot.choice == "no" for ballot in ballots)
    if _suffices(yes, [], classes_needed) and len(yes) > no + len(out):
        return "carried"
    if not _suffices(yes, out, classes_needed) or len(yes) + len(out) <= no:
        return "rejected"
    return "open"


def _suffices(yes: Sequence[str], out: Sequence[Out], needed: int) -> bool:
    """Say whether the regulator and enough classes say yes if all of *out* do as is best."""
    had = set(yes)
    if REGULATOR in had:
        return _most_classes(had, out) >= needed
    return any(
        _most_classes(had, [*out[:place], *out[place + 1 :]]) >= needed
        for place, group in enumerate(out)
        if REGULATOR in group.classes
    )


def _most_classes(had: set[str], out: Sequence[Out]) -> int:
    """Return how many classes beside the regulator's can be reached, each group lending one.

    All sets of classes that can be reached are kept, in the order found; there are few classes, so
    few sets, however many groups there are.
    """
    reachable = [sorted(had - {REGULATOR})]
    for group in out:
        for known in tuple(reachable):
            for new in sorted(group.classes - {REGULATOR}):
                wider = sorted({*known, new})
                if wider not in reachable:
                    reachable.append(wider)
    return max([len(classes) for classes in reachable])


def is_reachable(electors: Sequence[Elector], roster: Roster, classes_needed: int) -> bool:
    """Say whether a vote could be carried if every group said yes."""
    return tally([], still_out(electors, [], roster), classes_needed) != "rejected"


# ---- casting ------------------------------------------------------------------------------------


def cast(
    docket: Docket, officer: Officer, tx_id: str, breaker: Breaker, given: BallotInput
) -> Outcome:
    """Weigh a ballot and write it, with what it decides."""
    file = docket.file(given.case)
    record, state = file.record, docket.state(given.case)
    current, group = record.current, officer.member.group
    known = next((each for each in current.ballots if each.group == group), None)
    if known is not None and _is_active(docket.roster, known.msp_id):
        if known.choice == given.choice:
            return Outcome(False, state.step or state.state)
        raise RuleBroken(
            f"group {group}", f"voted {known.choice} in case {record.case} on {known.on}", 5,
            "a ballot stands",
        )  # fmt: skip
    if state.step != "voting" or not state.takes_steps:
        raise StateRefused(
            f"case {record.case}",
            f"takes no ballot: it is {state.shown}",
            5,
            state=state.state,
        )
    _check_elector(record, current, officer)
    if current.number > 1 and not docket.has_trigger(file):
        # In the first round a payment has ended the case; a block in force outlives its trigger.
        raise StateRefused(
            f"case {record.case}", "has lost its trigger", 4, "no higher tier", state=state.state
        )
    ballot = Ballot(
        group, officer.msp_id, officer.member.member_class, officer.name,
        given.choice, given.reason, docket.moment.day, tx_id,
    )  # fmt: skip
    others = tuple([each for each in current.ballots if each.group != group])
    decided, state_after = _decide(docket, record, (*others, ballot), breaker)
    facts: Mapping[str, object] = {
        "agreement": record.agreement,
        "group": group,
        "choice": given.choice,
        "order": decided.order.order if decided.order is not None else None,
    }
    docket.put_case(record.with_round(decided))
    return Outcome(True, state_after, facts=facts)


def _check_elector(record: CaseRecord, current: Round, officer: Officer) -> None:
    assert current.proposal is not None
    electors = current.proposal.electorate
    group = officer.member.group
    if any(officer.msp_id in elector.members for elector in electors if elector.group == group):
        return
    raise RuleBroken(
        f"case {record.case}",
        f"takes no ballot of {officer.msp_id}: its group {group} is the lender's, or it was no "
        f"active member on {current.proposal.proposed_on}",
        5,
    )


def _decide(
    docket: Docket, record: CaseRecord, ballots: tuple[Ballot, ...], breaker: Breaker
) -> tuple[Round, str]:
    """Return the round with its ballots and what they decide, and the state after it."""
    current = replace(record.current, ballots=ballots)
    assert current.proposal is not None
    roster, day = docket.roster, docket.moment.day
    tier = current.proposal.tier
    counted = counting(ballots, roster)
    out = still_out(current.proposal.electorate, counted, roster)
    needed = docket.file(record.case).policy.quorum_classes(tier)
    decision = tally(counted, out, needed)
    if decision == "rejected":
        return replace(current, rejected_on=day), "rejected"
    if decision == "open":
        return current, "voting"
    if tier == 3:
        return replace(current, referred_on=day), "referred"
    issued = orders.issue(docket, record, current, breaker)
    if issued is None:
        return replace(current, waiting_since=day), "waiting"
    return issued, "ordered"
