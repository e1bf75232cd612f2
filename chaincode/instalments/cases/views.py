"""What the queries answer about cases, orders and releases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from ..calendar import pkt_date
from .case import BlockOrder, Notice, Round, Step
from .clock import Moment, last_day, reached
from .docket import Docket
from .outcome import Hold, Release, ReleaseStep
from .state import CaseFile, CaseState, deadline, start_before, state_of

_ACTIONS = {"triggered": "notice", "notified": "proposal", "voting": "vote", "waiting": "waiting"}


@dataclass(frozen=True, slots=True)
class NextView:
    """What may be done next; the JSON form has `from` for *since*."""

    action: str
    since: date | None
    until: date | None

    def plain(self) -> dict[str, object]:
        """Return its JSON form."""
        return {"action": self.action, "from": self.since, "until": self.until}


@dataclass(frozen=True, slots=True)
class ProposalView:
    """A proposal, its electorate by group."""

    tier: int
    reason: str
    scope: str
    instrument: str
    proposed_on: date
    by: str
    electorate: list[str]


@dataclass(frozen=True, slots=True)
class RoundView:
    """One round of a case."""

    round: int
    state: str
    opened_on: date
    notice: Notice | None
    proposal: ProposalView | None
    waiting_since: date | None
    rejected_on: date | None
    referred_on: date | None
    ordered_on: date | None
    order: str | None


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case as it is at the moment of the query."""

    case: str
    agreement: str
    lender: str
    number: int
    policy: int
    state: str
    ended_by: str
    ended_on: date | None
    triggered_on: date
    applied_on: date | None
    notice: Notice | None
    proposal: ProposalView | None
    order: str | None
    release: str | None
    hold: str | None
    next: dict[str, object]
    rounds: list[RoundView]


@dataclass(frozen=True, slots=True)
class ExecutorView:
    """What one executor reported about an order."""

    executor: str
    steps: list[Step]


@dataclass(frozen=True, slots=True)
class OrderView:
    """A block order with its receipts."""

    order: str
    case: str
    agreement: str
    tier: int
    scope: str
    device: str
    identifiers: list[str]
    executors: list[str]
    legal_basis: str
    policy: int
    issued_at: datetime
    start_before: datetime
    state: str
    receipts: list[ExecutorView]


@dataclass(frozen=True, slots=True)
class AddresseeView:
    """What one addressee reported about a release."""

    executor: str
    issue: int
    done: bool
    escalated_at: datetime | None
    steps: list[ReleaseStep]


@dataclass(frozen=True, slots=True)
class ReleaseView:
    """A release with its receipts."""

    release: str
    order: str
    case: str
    agreement: str
    device: str
    identifiers: list[str]
    executors: list[str]
    reason: str
    issued_at: datetime
    escalate_at: datetime
    state: str
    overdue: bool
    receipts: list[AddresseeView]


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold with its state on the day of the query."""

    hold: str
    agreement: str
    case: str | None
    kind: str
    by: str
    placed_on: date
    until: date
    evidence: str
    state: str
    confirmed_on: date | None
    lifted_on: date | None
    answered_on: date | None


def next_of(file: CaseFile, state: CaseState, moment: Moment) -> NextView:
    """Return what may be done next in a case."""
    record, held = file.record, file.held
    if state.is_over:
        return NextView("" if record.closed is not None else "closing", state.ended_on, None)
    if state.due is not None:
        return NextView("term", state.due.on, None)
    current = record.current
    running = deadline(file, current, state.step)
    if running is not None:
        since = running[0]
        if state.step == "notified":
            since = reached(since, file.policy.notice_period_days, held)
        return NextView(_ACTIONS[state.step], since, last_day(*running, held))
    order = record.rounds[0].order
    if order is None:
        return NextView("", None, None)
    if state.beneath == "ordered":
        return NextView("start", order.issued_on, pkt_date(start_before(order, held)))
    applied = state.applied_on or order.issued_on
    term = applied + timedelta(days=file.policy.longest_block_days)
    return NextView("term", term, term)


def _proposal(current: Round) -> ProposalView | None:
    proposal = current.proposal
    if proposal is None:
        return None
    return ProposalView(
        proposal.tier, proposal.reason, proposal.scope, proposal.instrument, proposal.proposed_on,
        proposal.by, [elector.group for elector in proposal.electorate],
    )  # fmt: skip


def _round(file: CaseFile, current: Round, state: CaseState) -> RoundView:
    step = state.step if current is file.record.current else "enforced"
    return RoundView(
        current.number,
        step or state.ended,
        current.opened_on,
        current.notice,
        _proposal(current),
        current.waiting_since,
        current.rejected_on,
        current.referred_on,
        None if current.order is None else current.order.issued_on,
        None if current.order is None else current.order.order,
    )


def case_view(docket: Docket, file: CaseFile) -> CaseView:
    """Return what a query says of a case."""
    record, state = file.record, state_of(file, docket.moment)
    orders = record.orders
    first = record.rounds[0].order
    return CaseView(
        record.case,
        record.agreement,
        record.lender,
        record.number,
        record.policy,
        state.state,
        state.ended,
        state.ended_on,
        record.triggered_on,
        None if first is None else file.applied_on(first),
        record.current.notice,
        _proposal(record.current),
        orders[-1].order if orders else None,
        file.releases[-1].release if file.releases else None,
        None if state.hold is None else state.hold.hold,
        next_of(file, state, docket.moment).plain(),
        [_round(file, each, state) for each in record.rounds],
    )


def order_state(file: CaseFile, order: BlockOrder, state: CaseState) -> str:
    """Return the state of an order: that of its case, or of its round."""
    if state.is_over:
        return state.state
    if file.applied_on(order) is not None:
        return "enforced"
    is_current = file.record.current.order is order
    return state.step if is_current else "ordered"


def order_view(docket: Docket, file: CaseFile, order: BlockOrder) -> OrderView:
    """Return what a query says of an order."""
    state = state_of(file, docket.moment)
    known = {each.executor: each.steps for each in file.receipts[order.order]}
    return OrderView(
        order.order,
        file.record.case,
        file.record.agreement,
        order.tier,
        order.scope,
        order.device,
        list(order.identifiers),
        list(order.executors),
        order.legal_basis,
        order.policy,
        order.issued_at,
        start_before(order, file.held),
        order_state(file, order, state),
        [ExecutorView(each, list(known.get(each, ()))) for each in order.executors],
    )


def release_view(release: Release, moment: Moment) -> ReleaseView:
    """Return what a query says of a release."""
    waiting = [each for each in release.addressees if each.done_at is None] or list(
        release.addressees
    )
    return ReleaseView(
        release.release,
        release.order,
        release.case,
        release.agreement,
        release.device,
        list(release.identifiers),
        [each.executor for each in release.addressees],
        release.reason,
        release.issued_at,
        min(release.escalate_at(each) for each in waiting),
        "released" if release.is_done else "releasing",
        any(release.is_overdue(each, moment.at) for each in release.addressees),
        [
            AddresseeView(
                each.executor,
                each.issue,
                each.done_at is not None,
                each.escalated_at,
                list(each.steps),
            )
            for each in release.addressees
        ],
    )


def hold_view(hold: Hold, agreement: str, day: date) -> HoldView:
    """Return what a query says of a hold."""
    return HoldView(
        hold.hold, agreement, hold.case or None, hold.kind, hold.by, hold.placed_on, hold.last_day,
        hold.evidence, hold.state(day), hold.confirmed_on, hold.lifted_on, hold.answered_on,
    )  # fmt: skip
