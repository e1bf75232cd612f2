"""The records of a case that `instalments` holds: holds, its end, release orders.

    holds/<agreement>   one `HoldBook`: every hold ever placed on the agreement
    ending/<case>       one `Ending`, written once: cured, withdrawn, written off …
    release/<order>     one `Release`, named after the block order it takes back, with its receipts

They stand in this namespace so that neither lender nor regulator is needed to end a case or to
release a phone. Deliberately absent: the rules (`hold`, `ending`, `release`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final, Literal

from chaincode.contract import decode_json, encode_json

from ..book.bulk import is_safe
from ..verdicts import RuleBroken
from .clock import Span

HoldKind = Literal["dispute", "stolen", "wrong_person", "death", "court_stay", "disaster"]
HoldState = Literal["active", "answered", "confirmed", "lifted", "over"]

ACKNOWLEDGED: Final = ("VERIFIED", "NOT_APPLIED")
"""Steps that end a release for one addressee."""

_HOLD: Final = re.compile(r"H-([A-Z0-9-]{1,32})-([1-9][0-9]{0,5})")
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Hold:
    """A pause of an agreement's enforcement.

    Attributes:
        case: open when it was placed, "" if none was.
        until: its last day, unless it is lifted before or a dispute waits for an answer.
        answer_by: of a dispute, the last day for the lender's answer.
        confirm_by: the last day for the regulator's word, before silence releases a block.
    """

    hold: str
    case: str
    kind: HoldKind
    by: str
    placed_on: date
    until: date
    evidence: str
    confirm_by: date
    answer_by: date | None = None
    answered_on: date | None = None
    answer: str = ""
    confirmed_on: date | None = None
    confirmed_by: str = ""
    confirmation: str = ""
    lifted_on: date | None = None
    lifted_by: str = ""
    lift_reason: str = ""

    @property
    def last_day(self) -> date:
        """The last day that it covers; an unanswered dispute goes on until the answer is due."""
        last = self.until
        if self.answer_by is not None:
            last = max(last, self.answered_on or self.answer_by)
        return last if self.lifted_on is None else min(last, self.lifted_on - _DAY)

    @property
    def span(self) -> Span:
        """The days that it covers; none if it was lifted on the day it was placed."""
        return Span(self.placed_on, self.last_day)

    def state(self, day: date) -> HoldState:
        """Return its state on a day."""
        if self.lifted_on is not None:
            return "lifted"
        if self.confirmed_on is not None:
            return "confirmed"
        if day > self.last_day:
            return "over"
        return "answered" if self.answered_on is not None else "active"

    def is_running(self, day: date) -> bool:
        """Say whether it may still be lifted, answered or confirmed."""
        return self.state(day) in ("active", "answered")


@dataclass(frozen=True, slots=True)
class HoldBook:
    """All holds of an agreement, the oldest first."""

    agreement: str
    holds: tuple[Hold, ...] = ()

    def find(self, hold: str) -> Hold | None:
        """Return one of them."""
        return next((each for each in self.holds if each.hold == hold), None)

    def with_hold(self, hold: Hold) -> HoldBook:
        """Return it with a hold put in or changed."""
        if self.find(hold.hold) is None:
            return HoldBook(self.agreement, (*self.holds, hold))
        changed = tuple([hold if each.hold == hold.hold else each for each in self.holds])
        return HoldBook(self.agreement, changed)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a case ended, written by the transaction that ended it.

    Attributes:
        kind: cured, lapsed, withdrawn, written_off, death, term, lender_gone, exchanged.
        on: PKT date of the transaction.
        by: MSP id of its signer.
        evidence: hash, code or hold that it rests on; may be "".
        reached: state that the case had reached.
        orders: the block orders that are taken back, each by a release of its own.
    """

    case: str
    agreement: str
    kind: str
    on: date
    at: datetime
    by: str
    evidence: str
    reached: str
    orders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseStep:
    """One step of an addressee's ladder, with the issue of the release that it answers."""

    issue: int
    step: str
    at: datetime
    by: str
    reason: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Addressee:
    """One addressee of a release.

    Attributes:
        issue: 1, and one more at each re-issue.
        issued_at: of the newest issue.
        escalated_at: when the newest issue was escalated to the regulator.
    """

    executor: str
    issue: int
    issued_at: datetime
    steps: tuple[ReleaseStep, ...] = ()
    escalated_at: datetime | None = None

    @property
    def answered(self) -> tuple[ReleaseStep, ...]:
        """The steps that answer the newest issue."""
        return tuple([step for step in self.steps if step.issue == self.issue])

    @property
    def done_at(self) -> datetime | None:
        """When it reported the release done, None before."""
        done = [step.at for step in self.answered if step.step in ACKNOWLEDGED]
        return done[-1] if done else None


@dataclass(frozen=True, slots=True)
class Release:
    """The release of one block order, to every addressee of that order.

    Attributes:
        tier: of the block, and
        identifiers: what was blocked.
        reason: kind of the ending.
        hours: in which an addressee must have acknowledged.
    """

    release: str
    order: str
    case: str
    agreement: str
    tier: int
    device: str
    identifiers: tuple[str, ...]
    reason: str
    issued_at: datetime
    issued_on: date
    hours: int
    addressees: tuple[Addressee, ...]

    @property
    def is_done(self) -> bool:
        """Say whether every addressee has reported it done."""
        return all(each.done_at is not None for each in self.addressees)

    def escalate_at(self, addressee: Addressee) -> datetime:
        """Return when an addressee that has not acknowledged is overdue."""
        return addressee.issued_at + timedelta(hours=self.hours)

    def is_overdue(self, addressee: Addressee, at: datetime) -> bool:
        """Say whether an addressee has not answered the newest issue in time."""
        return not addressee.answered and at > self.escalate_at(addressee)

    def find(self, executor: str) -> Addressee | None:
        """Return one of its addressees."""
        return next((each for each in self.addressees if each.executor == executor), None)

    def with_addressee(self, addressee: Addressee) -> Release:
        """Return it with one addressee changed."""
        changed = tuple(
            [addressee if each.executor == addressee.executor else each for each in self.addressees]
        )
        return replace(self, addressees=changed)


# ---- ids and keys -------------------------------------------------------------------------------


def hold_id(agreement: str, number: int) -> str:
    """Return the id of an agreement's hold."""
    return f"H-{agreement}-{number}"


def agreement_of_hold(hold: str) -> str:
    """Return the agreement of a hold.

    Raises:
        RuleBroken: it is no id of a hold.
    """
    match = _HOLD.fullmatch(hold)
    if match is None or not is_safe(match[1]):
        raise RuleBroken("the hold", "is not named as H-<agreement>-<number>", 2, "see Holds")
    return match[1]


def agreements_of_holds(holds: Iterable[str]) -> list[str]:
    """Return the agreements of holds; what is no id of a hold is left out."""
    matches = [_HOLD.fullmatch(hold) for hold in holds]
    return [match[1] for match in matches if match is not None]


def holds_key(agreement: str) -> str:
    """Return the key of an agreement's holds."""
    return f"holds/{agreement}"


def ending_key(case: str) -> str:
    """Return the key of a case's end."""
    return f"ending/{case}"


def release_key(order: str) -> str:
    """Return the key of the release of a block order."""
    return f"release/{order}"


def encode(record: HoldBook | Ending | Release) -> bytes:
    """Return the state value of a record."""
    return encode_json(record)


def decode_holds(agreement: str, raw: bytes | None) -> HoldBook:
    """Return the holds of a state value; an empty book where the key is absent."""
    if raw is None:
        return HoldBook(agreement)
    return decode_json(HoldBook, raw, "holds on the ledger")


def decode_ending(raw: bytes | None) -> Ending | None:
    """Return the end of a state value, None where the key is absent."""
    return None if raw is None else decode_json(Ending, raw, "an ending on the ledger")


def decode_release(raw: bytes | None) -> Release | None:
    """Return the release of a state value, None where the key is absent."""
    return None if raw is None else decode_json(Release, raw, "a release on the ledger")
