"""The transaction functions of namespace `enforcement` for founding, day and governance.

Names, arguments and results are those of docs/contracts.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from chaincode.contract import Context, MaxItems, MaxLength, transaction

from .. import ledger_day, members, officers, policy
from ..book.inputs import Code, Hash
from ..calendar import parse_date
from ..cases import bulk, inputs
from ..cases.bulk import Outcome
from ..officers import Officer
from ..policy import Policies
from ..verdicts import BulkResult
from . import founding, instruments, months, stop
from .instruments import Instrument
from .motion import MEMBER, POLICY, Chamber, Motion
from .stop import Request, Stop

Parameters = Annotated[dict[str, object], MaxItems(64)]


@dataclass(frozen=True, slots=True)
class FoundingResult:
    """What was founded: the ledger day, how many members, the number of the first policy."""

    day: date
    members: int
    policy: int


@dataclass(frozen=True, slots=True)
class DayResult:
    """The ledger day, and whether this transaction moved it."""

    day: date
    moved: bool


@dataclass(frozen=True, slots=True)
class MotionResult:
    """A proposal about policy or membership."""

    id: str
    state: str


@dataclass(frozen=True, slots=True)
class StopResult:
    """Whether a stop is in force, or only asked for, and its last day."""

    state: str
    until: date | None


@dataclass(frozen=True, slots=True)
class ResumeResult:
    """Whether orders run again, or that is only asked for."""

    state: str


@dataclass(frozen=True, slots=True)
class MonthResult:
    """The limits of a month, group by group; where they are not complete, open it once more."""

    month: str
    limits: list[months.MonthLimit]
    complete: bool


def _sit(ctx: Context, *roles: str) -> tuple[Officer, members.Roster, Policies]:
    roster = members.load(ctx.stub)
    officer = officers.require(ctx, roster, *roles)
    ledger_day.require_today(ctx, ledger_day.current(ctx.stub))
    return officer, roster, policy.load(ctx.stub)


class GovernanceFunctions:
    """How the consortium decides about itself; a mixin of the contract `enforcement`."""

    @transaction
    def found(
        self,
        ctx: Context,
        members: inputs.MemberInputs,
        policy: Parameters,
    ) -> FoundingResult:
        """Found the consortium: members, affiliates, a first policy. Once."""
        roster, first = founding.found(ctx, members, policy)
        names = [member.msp_id for member in roster.members]
        bulk.set_event(ctx, "Found", [{"id": "founding", "state": "founded", "members": names}])
        return FoundingResult(first.active_from, len(roster.members), first.number)

    @transaction
    def advance_day(self, ctx: Context) -> DayResult:
        """Move the ledger day forward to the date of this transaction."""
        officers.require(ctx, members.load(ctx.stub), active=False)
        day, moved = founding.move_day(ctx)
        if moved:
            bulk.set_event(ctx, "AdvanceDay", [{"id": day.isoformat(), "state": "moved"}])
        return DayResult(day, moved)

    # ---- motions
    @transaction
    def propose_policy(
        self,
        ctx: Context,
        id: inputs.RecordId,
        parameters: Parameters,
        reason: Code,
        active_from: inputs.DayOrNone = "",
    ) -> MotionResult:
        """Propose a policy version."""
        chamber = Chamber(ctx, *_sit(ctx, "governance"))
        motion, is_new = chamber.propose_policy(
            id, parameters, reason, parse_date(active_from) if active_from else None
        )
        return _proposed(ctx, "ProposePolicy", motion, is_new)

    @transaction
    def cast_policy_ballots(
        self, ctx: Context, ballots: inputs.GovernanceBallotInputs
    ) -> BulkResult:
        """Vote on policy versions."""
        chamber = Chamber(ctx, *_sit(ctx, "governance"))
        return bulk.run(
            ctx,
            "CastPolicyBallots",
            ballots,
            "proposal",
            lambda given: chamber.cast(POLICY, given),
        )

    @transaction
    def propose_member(
        self, ctx: Context, id: inputs.RecordId, change: inputs.MemberChangeInput, reason: Code
    ) -> MotionResult:
        """Propose a change of membership."""
        chamber = Chamber(ctx, *_sit(ctx, "governance"))
        motion, is_new = chamber.propose_member(id, change, reason)
        return _proposed(ctx, "ProposeMember", motion, is_new)

    @transaction
    def cast_member_ballots(
        self, ctx: Context, ballots: inputs.GovernanceBallotInputs
    ) -> BulkResult:
        """Vote on changes of membership."""
        chamber = Chamber(ctx, *_sit(ctx, "governance"))
        return bulk.run(
            ctx,
            "CastMemberBallots",
            ballots,
            "proposal",
            lambda given: chamber.cast(MEMBER, given),
        )

    # ---- stopping
    @transaction
    def stop_orders(
        self, ctx: Context, until: inputs.Day, reason: Code, evidence: Hash
    ) -> StopResult:
        """Ask that all block orders be stopped; in force when the regulator and another ask."""
        officer, roster, policies = _sit(ctx, "governance")
        day, last_day = ctx.tx_date, parse_date(until)
        request = Request(
            officer.msp_id, officer.member.member_class, day, last_day, reason, evidence
        )
        longest = policies.in_force(day).policy.stop_days
        stopped, changed = stop.ask_stop(ctx.stub, roster, day, longest, request)
        state = "asked" if stopped.until is None else "stopped"
        result = StopResult(state, stopped.until or last_day)
        if changed:
            _announce(ctx, "StopOrders", state, officer, stopped)
        return result

    @transaction
    def resume_orders(self, ctx: Context, reason: Code) -> ResumeResult:
        """Ask that block orders run again; so when the regulator and another ask."""
        officer, roster, _ = _sit(ctx, "governance")
        day = ctx.tx_date
        request = Request(officer.msp_id, officer.member.member_class, day, day, reason)
        stopped, changed = stop.ask_resume(ctx.stub, roster, day, request)
        state = "running" if stopped.until is None else "asked"
        if changed:
            _announce(ctx, "ResumeOrders", state, officer, stopped)
        return ResumeResult(state)

    # ---- instruments, limits
    @transaction
    def record_instruments(self, ctx: Context, instruments: inputs.InstrumentInputs) -> BulkResult:
        """Record legal instruments of the regulator."""
        officer, _, _ = _sit(ctx, "governance")
        return bulk.run(
            ctx,
            "RecordInstruments",
            instruments,
            "reference",
            lambda given: _recorded(ctx, officer, given),
        )

    @transaction
    def open_month(self, ctx: Context, month: Annotated[str, MaxLength(7)]) -> MonthResult:
        """Count every group's limit of block orders in a month that has begun."""
        _, roster, policies = _sit(ctx)
        limits, is_complete = months.open_month(ctx, roster, policies, month)
        listed = [
            {"id": each.group, "state": "open", "month": month, "limit": each.limit}
            for each in limits
            if each.written
        ]
        if not is_complete:
            listed.append({"id": month, "state": "counting"})
        if listed:
            bulk.set_event(ctx, "OpenMonth", listed)
        return MonthResult(month, limits, is_complete)


def _proposed(ctx: Context, function: str, motion: Motion, is_new: bool) -> MotionResult:
    state = motion.state_on(ctx.tx_date)
    if is_new:
        bulk.set_event(ctx, function, [{"id": motion.id, "state": state, "by": motion.by}])
    return MotionResult(motion.id, state)


def _announce(ctx: Context, function: str, state: str, officer: Officer, stopped: Stop) -> None:
    until = None if stopped.until is None else stopped.until.isoformat()
    record = {"id": "block-orders", "state": state, "by": officer.msp_id, "until": until}
    bulk.set_event(ctx, function, [record])


def _recorded(ctx: Context, officer: Officer, given: inputs.InstrumentInput) -> Outcome:
    instrument = Instrument(
        given.reference, given.tier, given.valid_from, given.valid_until, given.territory,
        given.document, officer.msp_id, ctx.tx_date,
    )  # fmt: skip
    written = instruments.record(ctx.stub, officer, instrument)
    return Outcome(written, "recorded", facts={"tier": given.tier})
