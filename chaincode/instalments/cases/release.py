"""Releases (rulebook 4): to every addressee of the block, until each is VERIFIED or proved that
nothing was applied.

A release that is REFUSED is issued again at once, with a new number; one that is followed by a
block receipt of an addressee that had answered it is issued again by anybody. Who has not answered
an issue in the hours for it is escalated to the regulator. Nothing here asks the lender, the
regulator or the ledger day's keeper.
"""

from __future__ import annotations

from dataclasses import replace

from ..officers import Officer
from ..verdicts import RuleBroken
from .bulk import Outcome
from .case import case_of_order
from .docket import Docket
from .inputs import ReleaseReceiptInput
from .outcome import Addressee, Release, ReleaseStep
from .receipt import REFUSED, check_step
from .state import CaseFile

NOT_APPLIED = "NOT_APPLIED"


def find(docket: Docket, order: str) -> tuple[CaseFile, Release]:
    """Return the case of a block order and the release of that order.

    Raises:
        RuleBroken: nothing was released.
    """
    file = docket.find(case_of_order(order))
    found = None if file is None else [each for each in file.releases if each.order == order]
    if file is None or not found:
        raise RuleBroken(f"order {order}", "has no release", 4, "see ReleasesOpen")
    return file, found[0]


def acknowledge(docket: Docket, officer: Officer, given: ReleaseReceiptInput) -> Outcome:
    """Weigh one step of an addressee and write it."""
    file, release = find(docket, given.order)
    thing = f"release {release.release}"
    addressee = _addressee_of(docket, release, officer)
    case, known = release.case, [each.step for each in addressee.answered]
    if _is_repeated(addressee, given):
        return Outcome(False, _state(release), case)
    if given.step == NOT_APPLIED:
        is_new = _check_not_applied(file, addressee, given, known)
    elif NOT_APPLIED in known:
        raise RuleBroken(thing, f"is NOT_APPLIED already, {given.step} comes too late", 4)
    else:
        is_new = check_step(thing, known, given.step, given.reason)
    if not is_new:
        return Outcome(False, _state(release), case)
    at, was_done = docket.moment.at, release.is_done
    step = ReleaseStep(
        addressee.issue, given.step, at, officer.name, given.reason or "", given.evidence or ""
    )
    changed = replace(addressee, steps=(*addressee.steps, step))
    if given.step == REFUSED:
        changed = _issued_again(docket, changed)
    release = release.with_addressee(changed)
    docket.put_release(release, was_done=was_done)
    facts = {
        "agreement": release.agreement,
        "release": release.release,
        "executor": addressee.executor,
        "step": given.step,
        "issue": changed.issue,
    }
    return Outcome(True, _state(release), case, facts=facts)


def _state(release: Release) -> str:
    return "released" if release.is_done else "releasing"


def _addressee_of(docket: Docket, release: Release, officer: Officer) -> Addressee:
    """Return the addressee that a member is or has taken over."""
    own = release.find(officer.msp_id)
    if own is not None:
        return own
    day = docket.moment.day
    for each in release.addressees:
        if docket.roster.acts_for(officer.msp_id, each.executor, day):
            return each
    raise RuleBroken(
        f"release {release.release}", f"is not addressed to {officer.msp_id}", 4, "see ReleasesOpen"
    )


def _is_repeated(addressee: Addressee, given: ReleaseReceiptInput) -> bool:
    """Say whether it is the very refusal that led to the newest issue."""
    if given.step != REFUSED or addressee.answered or not addressee.steps:
        return False
    last = addressee.steps[-1]
    return last.step == REFUSED and (last.reason, last.evidence) == (
        given.reason or "",
        given.evidence or "",
    )


def _check_not_applied(
    file: CaseFile, addressee: Addressee, given: ReleaseReceiptInput, known: list[str]
) -> bool:
    thing = f"release of order {given.order}"
    if NOT_APPLIED in known:
        return False
    if "VERIFIED" in known:
        raise RuleBroken(thing, "is VERIFIED already, NOT_APPLIED comes too late", 4)
    if not given.evidence:
        raise RuleBroken(thing, "is NOT_APPLIED without evidence", 4, "name the proof's hash")
    receipts = [each for each in file.receipts[given.order] if each.executor == addressee.executor]
    if any(each.find("APPLIED") is not None for each in receipts):
        raise RuleBroken(
            thing,
            f"cannot be NOT_APPLIED: {addressee.executor} reported the block APPLIED",
            4,
            "release it and report VERIFIED",
        )
    return True


def _issued_again(docket: Docket, addressee: Addressee) -> Addressee:
    return replace(
        addressee, issue=addressee.issue + 1, issued_at=docket.moment.at, escalated_at=None
    )


def reissue(docket: Docket, order: str) -> Outcome:
    """Issue a release again to whom a block receipt came from after it had begun to answer."""
    file, release = find(docket, order)
    was_done, changed = release.is_done, release
    for addressee in release.addressees:
        answered = addressee.answered
        late = [
            step.at
            for receipts in file.receipts[order]
            if receipts.executor == addressee.executor
            for step in receipts.steps
            if step.step != REFUSED and answered and step.at > answered[0].at
        ]
        if late:
            changed = changed.with_addressee(_issued_again(docket, addressee))
    if changed == release:
        raise RuleBroken(
            f"release {release.release}",
            "needs no new issue: no block receipt came after an answer to it",
            4,
        )
    docket.put_release(changed, was_done=was_done)
    facts = {"agreement": release.agreement, "release": release.release}
    return Outcome(True, "releasing", release.case, facts=facts)


def escalate(docket: Docket, order: str) -> Outcome:
    """Escalate to the regulator whom a release has waited for too long."""
    _, release = find(docket, order)
    at = docket.moment.at
    overdue = [each for each in release.addressees if release.is_overdue(each, at)]
    fresh = [each for each in overdue if each.escalated_at is None]
    if not overdue:
        raise RuleBroken(
            f"release {release.release}",
            f"has no addressee that is overdue by {release.hours} hours",
            4,
        )
    if not fresh:
        return Outcome(False, "escalated", release.case)
    changed = release
    for addressee in fresh:
        changed = changed.with_addressee(replace(addressee, escalated_at=at))
    docket.put_release(changed, was_done=release.is_done)
    facts = {
        "agreement": release.agreement,
        "release": release.release,
        "executors": [each.executor for each in fresh],
    }
    return Outcome(True, "escalated", release.case, facts=facts)
