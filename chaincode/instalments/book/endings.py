"""How agreements end: written off, by death, or paid off with a clearance certificate.

Layout in `instalments`:

    clearance/<agreement>   {"agreement","device","issued_on","issued_by","paid_in_full_on"}

Three different ends: only paying off gives a certificate, and a certificate stands for ever
(rulebook 2, 4). Invariant: an agreement is closed once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from .. import records
from ..verdicts import RuleBroken
from .accounts import Accounts
from .bulk import Entry, named
from .desk import Desk
from .inputs import ClearanceInput, EndingInput
from .ports import Cases
from .position import Position
from .totals import Counter

PAID_OFF: Final = "paid_off"
OTHERS_MAY_CLEAR_AFTER: Final = timedelta(days=7)
"""A lender that stays silent so long no longer keeps the certificate from the borrower."""


def clearance_key(agreement: str) -> str:
    """Return the key of a clearance certificate."""
    return f"clearance/{agreement}"


def end_agreement(
    desk: Desk, accounts: Accounts, cases: Cases, counter: Counter, given: EndingInput
) -> Entry:
    """Close an agreement as written off or by the borrower's death (rulebook 4)."""
    position = accounts.position(given.agreement)
    thing = named("agreement", given.agreement)
    if not (given.kind == "death" and desk.officer.member.is_regulator):
        desk.require_lender(position, "ended")
    if position.closed:
        if position.closed == given.kind and position.summary.evidence == given.evidence:
            return Entry(False, given.kind, given.agreement)
        raise RuleBroken(
            thing,
            f"was closed as {position.closed} on {position.closed_on}",
            4,
            "the first ending stands",
        )
    if position.paid_in_full_on is not None:
        raise RuleBroken(
            thing, "is paid in full", 4, "issue its clearance certificate with IssueClearance"
        )
    after = position.with_closed(given.kind, desk.today, desk.msp_id, given.evidence)
    accounts.put(after)
    counter.closed(position.lender, position.opened_on.isoformat())
    moved = cases.after_ending(after, given.kind, given.evidence)
    return Entry(True, given.kind, given.agreement, moved, {"evidence": given.evidence})


def issue_clearance(
    desk: Desk, accounts: Accounts, cases: Cases, counter: Counter, given: ClearanceInput
) -> Entry:
    """Certify that an agreement is paid in full, and close it (rulebook 4)."""
    position = accounts.position(given.agreement)
    thing = named("agreement", given.agreement)
    if position.closed == PAID_OFF:
        return Entry(False, PAID_OFF, given.agreement)
    paid_in_full_on = position.paid_in_full_on
    if paid_in_full_on is None:
        raise RuleBroken(thing, "is not paid in full", 4, "see the query Standing")
    if position.closed and position.summary.closed_on < paid_in_full_on.isoformat():
        raise RuleBroken(
            thing,
            f"was closed as {position.closed} on {position.closed_on}, before it was paid in full",
            4,
            "only paying off gives a certificate",
        )
    _check_issuer(desk, position, thing)
    plain: dict[str, Any] = {
        "agreement": given.agreement,
        "device": position.device,
        "issued_on": desk.day,
        "issued_by": desk.msp_id,
        "paid_in_full_on": paid_in_full_on.isoformat(),
    }
    if not position.closed:
        counter.closed(position.lender, position.opened_on.isoformat())
    desk.ctx.stub.put_state(clearance_key(given.agreement), records.encode(plain))
    after = position.with_closed(PAID_OFF, desk.today, desk.msp_id, "")
    accounts.put(after)
    moved = cases.after_ending(after, PAID_OFF, "")
    facts = {"issued_by": desk.msp_id, "paid_in_full_on": plain["paid_in_full_on"]}
    return Entry(True, PAID_OFF, given.agreement, moved, facts)


def _check_issuer(desk: Desk, position: Position, thing: str) -> None:
    if desk.is_lender_of(position):
        return
    member = desk.officer.member
    if not member.is_regulator and desk.msp_id not in position.facts["receiving_institutions"]:
        raise RuleBroken(
            thing,
            f"can be cleared by its lender, a receiving institution named in it or a regulator, "
            f"not by {desk.msp_id}",
            4,
            "ask one of those",
        )
    paid_in_full_on = position.paid_in_full_on
    assert paid_in_full_on is not None
    from_day = paid_in_full_on + OTHERS_MAY_CLEAR_AFTER
    if desk.today < from_day:
        raise RuleBroken(
            thing,
            f"was paid in full on {paid_in_full_on}; until {from_day} only its lender may clear it",
            4,
            f"ask the lender, or clear it from {from_day}",
        )
