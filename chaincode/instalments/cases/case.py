"""The records of a case, as `enforcement` holds them: triggered, notified, voted on, ordered.

    case/<case>                 one `CaseRecord`: everything that was decided, order included
    receipt/<order>/<executor>  one `Receipts`: what one executor reported about one order

An agreement's cases are numbered: `C-A17-1` is the first of agreement A17, `O-A17-1-1` the order
of its first round, `R-A17-1-1` the release of that order. So every id tells its agreement, and no
index is needed to find it.

A case has one round a tier. The first runs from the trigger to a block of the phone; each further
one has its own notice and vote while the block of the lower tier is in force.

Deliberately absent: how a case ended (`ending`, in the other namespace) and what state it is in,
which follows from the records and the date (`state`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, Literal

from chaincode.contract import decode_json, encode_json

from ..book.bulk import is_safe
from ..verdicts import RuleBroken

Choice = Literal["yes", "no", "abstain"]

_CASE: Final = re.compile(r"C-([A-Z0-9-]{1,32})-([1-9][0-9]{0,5})")
_ORDER: Final = re.compile(r"O-([A-Z0-9-]{1,32})-([1-9][0-9]{0,5})-([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True)
class Notice:
    """What the lender served on the borrower.

    Attributes:
        delivered_on: the day of delivery.
        written_on: the ledger day on which it was written down.
        channel: sms, letter, app, in_person or email.
        language: of the notice.
        proof: salted hash of the proof of delivery.
        by: MSP id of who wrote it.
    """

    delivered_on: date
    written_on: date
    channel: str
    language: str
    proof: str
    by: str

    @property
    def runs_from(self) -> date:
        """The later of delivery and writing: where the notice period begins."""
        return max(self.delivered_on, self.written_on)


@dataclass(frozen=True, slots=True)
class Elector:
    """One affiliate group of the electorate and its members that were active at the proposal."""

    group: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proposal:
    """The lender asks for a tier.

    Attributes:
        electorate: who may vote, fixed for good.
        ticket: where its order begins to look for a slot, see `breaker`.
    """

    tier: int
    reason: str
    scope: str
    instrument: str
    proposed_on: date
    by: str
    electorate: tuple[Elector, ...]
    ticket: int


@dataclass(frozen=True, slots=True)
class Ballot:
    """The vote of an affiliate group, cast by an officer of one of its members."""

    group: str
    msp_id: str
    member_class: str
    officer: str
    choice: Choice
    reason: str
    on: date
    tx_id: str


@dataclass(frozen=True, slots=True)
class BlockOrder:
    """What the deciding ballot issues.

    Attributes:
        tier: 1 the phone, 2 a SIM.
        scope: "device", or of tier 2 `own_sim` or `financed_sim`.
        identifiers: pseudonyms: of all IMEIs of the handset, or of the SIM.
        executors: MSP ids of the addressees.
        legal_basis: reference of the instrument, or "consent": the borrower's, in the agreement.
        policy: version that the case keeps.
        start_hours: within which an executor must have SUBMITTED.
        slots: claimed at the circuit breakers; empty: the regulator's word.
    """

    order: str
    tier: int
    scope: str
    device: str
    identifiers: tuple[str, ...]
    executors: tuple[str, ...]
    legal_basis: str
    policy: int
    issued_at: datetime
    issued_on: date
    start_hours: int
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """Notice, proposal, vote and order of one tier.

    Attributes:
        opened_on: the trigger; of a further round, the day its notice was written.
        waiting_since: carried by the vote, held up by a circuit breaker or a stop.
        rejected_on, referred_on: the other outcomes of a vote.
    """

    number: int
    opened_on: date
    notice: Notice | None = None
    proposal: Proposal | None = None
    ballots: tuple[Ballot, ...] = ()
    waiting_since: date | None = None
    rejected_on: date | None = None
    referred_on: date | None = None
    order: BlockOrder | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """What the dates did to a case, written down.

    Attributes:
        kind: lapsed, rejected, cured …
        on: the day.
    """

    kind: str
    on: date


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One case.

    Attributes:
        number: 1 for the first of its agreement.
        policy: version in force on the day of the trigger.
        indexed: (kind, ISO date) of its entries in the index of what comes next.
        closed: once `CloseCases` or a later trigger wrote the end down.
    """

    case: str
    agreement: str
    lender: str
    number: int
    policy: int
    triggered_on: date
    rounds: tuple[Round, ...]
    indexed: tuple[tuple[str, str], ...] = ()
    closed: Closing | None = None

    @property
    def current(self) -> Round:
        """The newest round."""
        return self.rounds[-1]

    @property
    def orders(self) -> tuple[BlockOrder, ...]:
        """All orders, the oldest first."""
        return tuple([each.order for each in self.rounds if each.order is not None])

    def with_round(self, current: Round) -> CaseRecord:
        """Return it with the newest round changed."""
        return replace(self, rounds=(*self.rounds[:-1], current))

    def find_order(self, order: str) -> BlockOrder | None:
        """Return one of its orders."""
        return next((each for each in self.orders if each.order == order), None)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an executor's ladder, signed by its officer."""

    step: str
    at: datetime
    by: str
    reason: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Receipts:
    """What one executor reported about one block order, the oldest step first."""

    order: str
    executor: str
    steps: tuple[Step, ...] = ()

    def find(self, step: str) -> Step | None:
        """Return a step that was reported."""
        return next((each for each in self.steps if each.step == step), None)


# ---- ids and keys -------------------------------------------------------------------------------


def case_id(agreement: str, number: int) -> str:
    """Return the id of an agreement's case."""
    return f"C-{agreement}-{number}"


def order_id(agreement: str, number: int, round_number: int) -> str:
    """Return the id of the order of a round."""
    return f"O-{agreement}-{number}-{round_number}"


def release_id(order: str) -> str:
    """Return the id of the release of a block order."""
    return "R" + order[1:]


def agreement_of(case: str) -> str:
    """Return the agreement of a case.

    Raises:
        RuleBroken: it is no id of a case.
    """
    match = _CASE.fullmatch(case)
    if match is None or not is_safe(match[1]):
        raise RuleBroken("the case", "is not named as C-<agreement>-<number>", 4, "see CaseOf")
    return match[1]


def case_of_order(order: str) -> str:
    """Return the case of a block order.

    Raises:
        RuleBroken: it is no id of an order.
    """
    match = _ORDER.fullmatch(order)
    if match is None or not is_safe(match[1]):
        raise RuleBroken(
            "the order", "is not named as O-<agreement>-<case>-<round>", 5, "see OrdersOpen"
        )
    return case_id(match[1], int(match[2]))


def cases_of_orders(orders: Iterable[str]) -> list[str]:
    """Return the cases of block orders; what is no id of an order is left out."""
    matches = [_ORDER.fullmatch(order) for order in orders]
    return [case_id(match[1], int(match[2])) for match in matches if match is not None]


def case_key(case: str) -> str:
    """Return the key of a case."""
    return f"case/{case}"


def receipts_key(order: str, executor: str) -> str:
    """Return the key of an executor's receipts for an order."""
    return f"receipt/{order}/{executor}"


def encode(record: CaseRecord | Receipts) -> bytes:
    """Return the state value of a record."""
    return encode_json(record)


def decode_case(raw: bytes) -> CaseRecord:
    """Return the case of a state value."""
    return decode_json(CaseRecord, raw, "a case on the ledger")


def decode_receipts(raw: bytes) -> Receipts:
    """Return the receipts of a state value."""
    return decode_json(Receipts, raw, "receipts on the ledger")
