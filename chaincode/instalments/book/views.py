"""What the book's queries answer: one dataclass a result.

A field without a value stands as null, never left out. Money is null where the caller's member or
the node asked is outside the collection of the lender's terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from ..arrears import accounting_class_of, bucket_of
from ..calendar import days_between, parse_date
from ..terms import Terms
from .position import Position
from .track import Plan


@dataclass(frozen=True, slots=True)
class InstalmentView:
    """One instalment."""

    due: str
    amount_paisa: int | None


@dataclass(frozen=True, slots=True)
class ConsentView:
    """The consent record of an agreement."""

    statement: str
    language: str
    block: bool


@dataclass(frozen=True, slots=True)
class TermsView:
    """Price and schedule in force."""

    price_paisa: int
    down_payment_paisa: int
    currency: str
    instalments: list[InstalmentView]


@dataclass(frozen=True, slots=True)
class AgreementView:
    """An agreement with its terms."""

    agreement: str
    lender: str
    operator: str
    borrower: str
    sim: str
    device: str
    contract_type: str
    receiving_institutions: list[str]
    consent: ConsentView | None
    opened_on: str
    imported: bool
    recorded_on: str
    confirmed_on: str | None
    schedule_version: int
    closed: str
    terms: TermsView | None


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A version of a schedule."""

    version: int
    in_force_from: str
    reason: str
    instalments: list[InstalmentView]


@dataclass(frozen=True, slots=True)
class BookingView:
    """One entry of an agreement's account; refunds and reversals are negative."""

    kind: str
    institution: str
    reference: str
    on: str
    amount_paisa: int


@dataclass(frozen=True, slots=True)
class ReversedView:
    """When a payment was reversed, and the hash of the evidence."""

    on: str
    evidence: str


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A payment."""

    institution: str
    reference: str
    agreement: str
    paid_on: str
    amount_paisa: int | None
    channel: str
    posted_by: str
    posted_on: str
    reversed: ReversedView | None


@dataclass(frozen=True, slots=True)
class StandingAnswer:
    """The standing of an agreement on a day: three fields that never stand for each other are
    `bucket` (the consortium's), `accounting_class` (the State Bank's) and `enforcement_tier`.
    """

    agreement: str
    as_of: str
    unpaid_instalments: int
    days_past_due: int
    arrears_paisa: int | None
    bucket: str
    accounting_class: str
    enforcement_tier: int
    oldest_unpaid_due: str | None
    schedule_version: int
    paid_paisa: int | None
    credit_paisa: int | None
    outstanding_paisa: int | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class DueRow:
    """An agreement with something overdue."""

    agreement: str
    lender: str
    oldest_unpaid_due: str
    days_past_due: int
    unpaid_instalments: int
    arrears_paisa: int | None
    bucket: str


@dataclass(frozen=True, slots=True)
class DuePage:
    """Some rows, longest overdue first, and where the next page begins; "" at the end."""

    rows: list[DueRow]
    bookmark: str


@dataclass(frozen=True, slots=True)
class DeviceStatusView:
    """What a second-hand buyer may know of a phone: no borrower, no amount."""

    registered: bool
    device: str
    maker: str
    model: str
    country: str
    financed: bool
    lender: str
    blocked: str
    pay_to: list[str]
    cleared_on: str | None
    exchanged_for: str | None


@dataclass(frozen=True, slots=True)
class EncumbranceView:
    """Whether a device is financed or blocked."""

    encumbered: bool


@dataclass(frozen=True, slots=True)
class ClearanceView:
    """A clearance certificate."""

    agreement: str
    device: str
    issued_on: str
    issued_by: str
    paid_in_full_on: str


@dataclass(frozen=True, slots=True)
class ConfirmationView:
    """A confirmation of sale."""

    agreement: str
    by: str
    handed_over_on: str
    recorded_on: str


@dataclass(frozen=True, slots=True)
class TacView:
    """A type on the regulator's list."""

    tac: str
    maker: str
    registrants: list[str]


def instalments_of(pairs: Sequence[Sequence[Any]]) -> list[InstalmentView]:
    """Return the instalments of a schedule's (due, paisa) pairs."""
    return [InstalmentView(due, paisa) for due, paisa in pairs]


def view_of_agreement(position: Position) -> AgreementView:
    """Return an agreement with the schedule in force."""
    facts, consent = position.facts, position.facts["consent"]
    terms = None if position.held is None else position.held.terms
    return AgreementView(
        agreement=position.agreement,
        lender=position.lender,
        operator=position.operator,
        borrower=position.borrower,
        sim=position.sim,
        device=position.device,
        contract_type=position.contract_type,
        receiving_institutions=facts["receiving_institutions"],
        consent=None if consent is None else ConsentView(**consent),
        opened_on=facts["opened_on"],
        imported=position.imported,
        recorded_on=facts["recorded_on"],
        confirmed_on=position.summary.confirmed_on or None,
        schedule_version=len(position.plan.begins),
        closed=position.closed,
        terms=None if terms is None else _view_of_terms(terms),
    )


def _view_of_terms(terms: Terms) -> TermsView:
    return TermsView(
        terms.price_paisa,
        terms.down_payment_paisa,
        terms.currency,
        instalments_of(terms.versions[-1].instalments),
    )


def view_of_schedules(position: Position, plan: Plan) -> list[ScheduleView]:
    """Return all versions of a schedule, the first one first."""
    terms = None if position.held is None else position.held.terms
    return [
        ScheduleView(
            place,
            version.in_force_from,
            version.reason,
            [InstalmentView(due, None) for due in version.dues]
            if terms is None
            else instalments_of(terms.versions[place - 1].instalments),
        )
        for place, version in enumerate(plan.versions, 1)
    ]


def view_of_standing(position: Position, as_of: date, tier: int) -> StandingAnswer:
    """Return the standing of an agreement on a day (rulebook 3)."""
    standing, text = position.standing(as_of), as_of.isoformat()
    money, oldest = position.held, standing.oldest_due
    paid = total = None
    if money is not None:
        paid, total = money.paid_by(as_of), money.terms.schedule_on(text).total
    return StandingAnswer(
        agreement=position.agreement,
        as_of=text,
        unpaid_instalments=standing.unpaid,
        days_past_due=standing.days_past_due,
        arrears_paisa=None if money is None else money.arrears_on(as_of),
        bucket=standing.bucket,
        accounting_class=accounting_class_of(standing.days_past_due),
        enforcement_tier=tier,
        oldest_unpaid_due=None if oldest is None else oldest.isoformat(),
        schedule_version=position.plan.version_on(text),
        paid_paisa=paid,
        credit_paisa=None if paid is None or total is None else max(0, paid - total),
        outstanding_paisa=None if paid is None or total is None else max(0, total - paid),
        currency=None if money is None else money.terms.currency,
    )


def row_of_due(position: Position, as_of: date) -> DueRow:
    """Return what is overdue of an agreement, from the book as it stands now."""
    money, due, text = position.held, position.oldest_due, as_of.isoformat()
    days = days_between(parse_date(due), as_of)
    dues = position.plan.dues(len(position.plan.begins))
    return DueRow(
        agreement=position.agreement,
        lender=position.lender,
        oldest_unpaid_due=due,
        days_past_due=days,
        unpaid_instalments=sum(1 for each in dues if due <= each <= text),
        arrears_paisa=None
        if money is None
        else money.terms.schedule().due_by(text) - money.paid_in_all,
        bucket=bucket_of(days),
    )
