"""Holds (rulebook 2, 4): a pause for dispute, theft, wrong person, death, court stay or disaster.

Lender, operator, a receiving institution of the agreement and the regulator may place one, with
evidence. Its days count to no deadline and no trigger. The regulator's confirmation ends the case
as withdrawn; a block is also released when the regulator is silent for its days, and a dispute that
the lender leaves unanswered ends the case: both bind by date (`state`) and are written down by
`EndBlocksByTerm`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from ..book.position import Position
from ..officers import Officer
from ..policy import Policy
from ..verdicts import RuleBroken
from . import ending, index, outcome
from .bulk import Outcome
from .docket import Docket
from .inputs import AnswerInput, ConfirmationOfHoldInput, HoldInput, LiftInput
from .outcome import Hold, HoldBook, hold_id

DISPUTE = "dispute"


def place(docket: Docket, officer: Officer, given: HoldInput) -> Outcome:
    """Weigh a hold and write it."""
    position = docket.position(given.agreement)
    thing = f"agreement {given.agreement}"
    _check_placer(docket, officer, position)
    book, day = docket.holds(given.agreement), docket.moment.day
    file = docket.latest(given.agreement)
    case, policy = "", docket.policies.in_force(day).policy
    if file is not None and not docket.state(file.record.case).is_over:
        case, policy = file.record.case, file.policy
    for known in book.holds:
        same = (given.kind, given.evidence, given.until, officer.msp_id)
        if same == (known.kind, known.evidence, known.until, known.by) and known.is_running(day):
            return Outcome(False, "active", known.case or None, known.hold)
    if given.until < day or (given.until - day).days > policy.hold_days:
        raise RuleBroken(
            thing,
            f"cannot be held until {given.until}: a hold ends from today on, within "
            f"{policy.hold_days} days",
            2,
            "choose another last day",
        )
    _check_first_of_kind(officer, book, given, case, docket)
    hold = _hold(given, officer, policy, case, day, len(book.holds) + 1)
    docket.put_holds(book.with_hold(hold))
    if case:
        index.add_hold(docket.stub, hold)
    facts = {"kind": hold.kind, "until": hold.until.isoformat(), "by": hold.by}
    return Outcome(True, "active", case or None, hold.hold, facts)


def _hold(
    given: HoldInput, officer: Officer, policy: Policy, case: str, day: date, number: int
) -> Hold:
    answer_by = None
    if given.kind == DISPUTE:
        answer_by = day + timedelta(days=policy.dispute_days)
    return Hold(
        hold_id(given.agreement, number),
        case,
        given.kind,
        officer.msp_id,
        day,
        given.until,
        given.evidence,
        day + timedelta(days=policy.hold_silence_days),
        answer_by,
    )


def _check_placer(docket: Docket, officer: Officer, position: Position) -> None:
    if officer.member.is_regulator:
        return
    msp_id, day = officer.msp_id, docket.moment.day
    named = (position.lender, position.operator, *position.receiving_institutions)
    if not any(docket.roster.acts_for(msp_id, each, day) for each in named):
        raise RuleBroken(
            f"agreement {position.agreement}",
            f"can be held by its lender, its operator, a receiving institution named in it or a "
            f"regulator, not by {msp_id}",
            2,
        )


def _check_first_of_kind(
    officer: Officer, book: HoldBook, given: HoldInput, case: str, docket: Docket
) -> None:
    if officer.member.is_regulator:
        return
    day = docket.moment.day
    for known in book.holds:
        if known.kind == given.kind and (
            (case and known.case == case) or (not case and known.is_running(day))
        ):
            raise RuleBroken(
                f"agreement {given.agreement}",
                f"had a hold of kind {given.kind} since {known.placed_on}",
                2,
                "a second one of a kind is the regulator's to place",
            )


def _found(docket: Docket, hold: str) -> tuple[HoldBook, Hold]:
    book = docket.holds(outcome.agreement_of_hold(hold))
    found = book.find(hold)
    if found is None:
        raise RuleBroken(f"hold {hold}", "does not exist", 2, "see Holds")
    return book, found


def _check_running(docket: Docket, hold: Hold) -> None:
    state = hold.state(docket.moment.day)
    if state not in ("active", "answered"):
        raise RuleBroken(f"hold {hold.hold}", f"is {state} and not active any more", 2)


def lift(docket: Docket, officer: Officer, given: LiftInput) -> Outcome:
    """End a hold before its time; what a date has brought by it stands."""
    book, hold = _found(docket, given.hold)
    if hold.lifted_on is not None and hold.lifted_by == officer.msp_id:
        return Outcome(False, "lifted", hold.case or None)
    day = docket.moment.day
    may = officer.member.is_regulator or docket.roster.acts_for(officer.msp_id, hold.by, day)
    if not may:
        raise RuleBroken(
            f"hold {hold.hold}", f"can be lifted by {hold.by}, who placed it, or a regulator", 2
        )
    _check_running(docket, hold)
    lifted = replace(hold, lifted_on=day, lifted_by=officer.msp_id, lift_reason=given.reason)
    docket.put_holds(book.with_hold(lifted))
    if hold.case and not _has_ended_a_block(docket, hold):
        index.remove_hold(docket.stub, hold)
    return Outcome(True, "lifted", hold.case or None, facts={"agreement": book.agreement})


def _has_ended_a_block(docket: Docket, hold: Hold) -> bool:
    """Say whether a date has brought an end by this hold that nobody has written down yet."""
    due = docket.state(hold.case).due
    return due is not None and due.evidence == hold.hold


def answer(docket: Docket, officer: Officer, given: AnswerInput) -> Outcome:
    """Write down the lender's answer to a dispute."""
    book, hold = _found(docket, given.hold)
    thing = f"hold {hold.hold}"
    position = docket.position(book.agreement)
    if not docket.roster.acts_for(officer.msp_id, position.lender, docket.moment.day):
        raise RuleBroken(thing, f"is answered by the lender {position.lender}", 4)
    if hold.answer_by is None:
        raise RuleBroken(thing, f"is no dispute but of kind {hold.kind}", 4)
    if hold.answered_on is not None and hold.answer == given.evidence:
        return Outcome(False, "answered", hold.case or None)
    if hold.answered_on is not None or docket.moment.day > hold.answer_by:
        late = "was answered otherwise before"
        if hold.answered_on is None:
            late = f"had to be answered by {hold.answer_by}"
        raise RuleBroken(thing, late, 4)
    _check_running(docket, hold)
    answered = replace(hold, answered_on=docket.moment.day, answer=given.evidence)
    docket.put_holds(book.with_hold(answered))
    return Outcome(True, "answered", hold.case or None, facts={"agreement": book.agreement})


def confirm(docket: Docket, officer: Officer, given: ConfirmationOfHoldInput) -> Outcome:
    """Confirm a hold, and end the open case with it."""
    book, hold = _found(docket, given.hold)
    thing = f"hold {hold.hold}"
    if not officer.member.is_regulator:
        raise RuleBroken(thing, "can be confirmed by a regulator only", 4)
    if hold.confirmed_on is not None:
        return Outcome(False, "confirmed", hold.case or None)
    _check_running(docket, hold)
    docket.load_agreements((book.agreement,))
    confirmed = replace(
        hold,
        confirmed_on=docket.moment.day,
        confirmed_by=officer.msp_id,
        confirmation=given.evidence or "",
    )
    file = docket.latest(book.agreement)
    facts: dict[str, object] = {"agreement": book.agreement, "kind": hold.kind}
    if file is not None and not docket.state(file.record.case).is_over:
        moved = ending.withdraw(docket, file, officer.msp_id, hold.hold)
        facts |= {"ending": moved.ending, "release": moved.release}
    docket.put_holds(book.with_hold(confirmed))
    if hold.case:
        index.remove_hold(docket.stub, hold)
    return Outcome(True, "confirmed", hold.case or None, facts=facts)
