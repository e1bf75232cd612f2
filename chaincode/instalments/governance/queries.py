"""The queries of namespace `enforcement` about members, policy, day and limits.

Names, arguments and results are those of docs/contracts.md; anybody may ask.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from chaincode.contract import Context, query

from .. import ledger_day, members, policy
from ..calendar import month_of, parse_date
from ..cases import breaker
from ..cases.inputs import DayOrNone, RecordId
from ..verdicts import RuleBroken
from . import motion, stop
from .motion import Motion, MotionBallot

Plain = dict[str, object]


@dataclass(frozen=True, slots=True)
class MotionView:
    """A proposal about policy or membership, with its ballots."""

    id: str
    kind: str
    content: dict[str, object]
    reason: str
    by: str
    proposed_on: date
    open_until: date
    state: str
    decided_on: date | None
    active_from: date | None
    version: int | None
    ballots: list[MotionBallot]


@dataclass(frozen=True, slots=True)
class LedgerDayView:
    """The ledger day."""

    day: date


@dataclass(frozen=True, slots=True)
class LimitsView:
    """Block orders of a group: allowed and used, in a day and its month."""

    day_limit: int
    day_used: int
    month_limit: int
    month_used: int


@dataclass(frozen=True, slots=True)
class StoppedView:
    """Whether all block orders are stopped, until when, and who asked."""

    stopped: bool
    until: date | None
    asked_by: list[str]


def day_of(ctx: Context, day: DayOrNone) -> date:
    """Return the day of a query's argument, the ledger day for ""."""
    return parse_date(day) if day else ledger_day.current(ctx.stub)


class GovernanceQueries:
    """What anybody may know of the consortium; a mixin of the contract `enforcement`."""

    @query
    def members(self, ctx: Context) -> Plain:
        """Return the members at the newest version of the roster."""
        return dict(members.load(ctx.stub).plain())

    @query
    def policy_in_force(self, ctx: Context, day: DayOrNone) -> Plain:
        """Return the policy version in force on a day."""
        return dict(policy.load(ctx.stub).in_force(day_of(ctx, day)).plain())

    @query
    def policy_versions(self, ctx: Context) -> list[Plain]:
        """Return all adopted policy versions, the first one first."""
        return [dict(version.plain()) for version in policy.load(ctx.stub).versions]

    @query
    def governance_proposal(self, ctx: Context, id: RecordId) -> MotionView:
        """Return a proposal about policy or membership."""
        found: Motion | None = motion.find(ctx.stub, id)
        if found is None:
            raise RuleBroken("the proposal", "is not known", 1, "check its id")
        return MotionView(
            found.id, found.kind, found.content, found.reason, found.by, found.proposed_on,
            found.open_until, found.state_on(ctx.tx_date), found.decided_on, found.active_from,
            found.version, list(found.ballots),
        )  # fmt: skip

    @query
    def ledger_day(self, ctx: Context) -> LedgerDayView:
        """Return the ledger day."""
        return LedgerDayView(ledger_day.current(ctx.stub))

    @query
    def limits(self, ctx: Context, group: str, day: DayOrNone) -> LimitsView:
        """Return what a group's circuit breakers allow and have used."""
        on = day_of(ctx, day)
        if all(member.group != group for member in members.load(ctx.stub).members):
            raise RuleBroken("the affiliate group", "is not known", 5, "see Members")
        month = month_of(on)
        return LimitsView(
            policy.in_force(ctx.stub, on).orders_per_day,
            breaker.used(ctx.stub, breaker.day_prefix(group, on)),
            breaker.month_limit(ctx.stub, group, month),
            breaker.used(ctx.stub, breaker.month_prefix(group, month)),
        )

    @query
    def orders_stopped(self, ctx: Context) -> StoppedView:
        """Say whether all block orders are stopped today."""
        found = stop.find(ctx.stub)
        until = found.until_if_stopped(ctx.tx_date)
        current = found.until is None or until is not None
        asked = [request.msp_id for request in found.asked] if current else []
        return StoppedView(until is not None, until, asked)
