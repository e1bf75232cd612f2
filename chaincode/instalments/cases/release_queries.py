"""The queries of namespace `instalments` about endings, releases and holds, and the one that tells
executors which numbers an order is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from chaincode.contract import AccessRefused, Context, PrivateDataMissing, query

from .. import circles, officers
from ..book import raw
from ..book.inputs import AgreementId
from ..calendar import parse_date
from ..verdicts import RuleBroken
from . import outcome, views
from .case import BlockOrder, case_of_order
from .clock import Moment
from .docket import Docket
from .index import HOLD_DUE, RELEASE, Walk, walk_all
from .inputs import Day, Limit, RecordId
from .release import find
from .state import state_of
from .views import HoldView, ReleaseView


@dataclass(frozen=True, slots=True)
class ReleasesPage:
    """Releases, and where the next page begins."""

    releases: list[ReleaseView]
    bookmark: str


@dataclass(frozen=True, slots=True)
class HoldsPage:
    """Holds, and where the next page begins."""

    holds: list[HoldView]
    bookmark: str


@dataclass(frozen=True, slots=True)
class EndingView:
    """How a case ended."""

    case: str
    kind: str
    on: date
    at: datetime
    by: str
    evidence: str
    releases: list[str]


@dataclass(frozen=True, slots=True)
class IdentifiersView:
    """The numbers that an order is about.

    Attributes:
        imeis: 15 digits each, of a block of the phone; empty for a SIM.
        msisdn: of a block of the SIM; None for a phone.
    """

    order: str
    tier: int
    imeis: list[str] = field(repr=False)
    msisdn: str | None = field(repr=False)


class ReleaseQueries:
    """What anybody may know of endings and releases; a mixin of the contract `instalments`."""

    @query
    def releases_open(self, ctx: Context, limit: Limit, bookmark: str) -> ReleasesPage:
        """Return the releases that are not done, the oldest first."""
        docket = Docket.of_instalments(ctx)

        def pick(_number: int, ids: Sequence[str]) -> list[str]:
            return list(ids)

        walk = Walk(ctx.stub, RELEASE, (), "", "")
        found, bookmark = walk_all([walk], limit, bookmark, pick)
        docket.load_cases([case_of_order(order) for order in found])
        listed = [views.release_view(find(docket, order)[1], docket.moment) for order in found]
        return ReleasesPage(listed, bookmark)

    @query
    def release(self, ctx: Context, order_id: RecordId) -> ReleaseView:
        """Return the release of a block order."""
        docket = Docket.of_instalments(ctx)
        return views.release_view(find(docket, order_id)[1], docket.moment)

    @query
    def identifiers(self, ctx: Context, order_id: RecordId) -> IdentifiersView:
        """Return the raw identifiers of a block order to an executor that it is addressed to."""
        docket = Docket.of_instalments(ctx)
        order = _order_of(docket, ctx, order_id)
        position = docket.position(docket.file(case_of_order(order_id)).record.agreement)
        try:
            if order.tier == 1:
                found = raw.imeis_of(ctx.stub, position, order.device)
                view = IdentifiersView(order.order, order.tier, found, None)
            else:
                view = IdentifiersView(
                    order.order, order.tier, [], raw.msisdn_of(ctx.stub, position) or None
                )
        except (AccessRefused, PrivateDataMissing) as error:
            raise RuleBroken(
                f"order {order.order}",
                f"is about numbers in {circles.identifiers_of(position.lender)}, which this node "
                "does not hold or the caller's member does not belong to",
                5,
                "ask the own node of a member of that collection",
            ) from error
        if not view.imeis and view.msisdn is None:
            raise RuleBroken(
                f"order {order.order}",
                "is about numbers that are not on record",
                5,
                "ask the lender to send them with RecordIdentifiers",
            )
        return view

    @query
    def ending(self, ctx: Context, case_id: RecordId) -> EndingView | None:
        """Return how a case ended by what this namespace says."""
        found = outcome.decode_ending(ctx.stub.get_state(outcome.ending_key(case_id)))
        if found is None:
            return None
        releases = ["R" + order[1:] for order in found.orders]
        return EndingView(
            found.case, found.kind, found.on, found.at, found.by, found.evidence, releases
        )

    @query
    def holds(self, ctx: Context, agreement_id: AgreementId) -> list[HoldView]:
        """Return all holds of an agreement, the oldest first."""
        book = Docket.of_instalments(ctx).holds(agreement_id)
        return [views.hold_view(hold, agreement_id, ctx.tx_date) for hold in book.holds]

    @query
    def holds_due(self, ctx: Context, day: Day, limit: Limit, bookmark: str) -> HoldsPage:
        """Return the holds that end something on or before a day.

        A hold lasts at most a year, so an entry older than that ends nothing any more.
        """
        docket = Docket.of_instalments(ctx)
        on = parse_date(day)
        docket.moment = Moment.on(on, docket.moment)

        def pick(_number: int, ids: Sequence[str]) -> list[str]:
            docket.load_agreements([outcome.agreement_of_hold(hold) for hold in ids])
            return [hold for hold in ids if _ends_something(docket, hold)]

        first = (on - timedelta(days=400)).isoformat()
        walk = Walk(ctx.stub, HOLD_DUE, (), first, day)
        found, bookmark = walk_all([walk], limit, bookmark, pick)
        listed = []
        for hold in found:
            agreement = outcome.agreement_of_hold(hold)
            known = docket.holds(agreement).find(hold)
            assert known is not None
            listed.append(views.hold_view(known, agreement, on))
        return HoldsPage(listed, bookmark)


def _order_of(docket: Docket, ctx: Context, order_id: str) -> BlockOrder:
    """Return a live order that is addressed to the caller's member.

    Raises:
        RuleBroken: there is none of that id, it is another's, or nothing is left to be done.
    """
    officer = officers.require(ctx, docket.roster, "executor", active=False)
    case = case_of_order(order_id)
    orders = [each for each in docket.file(case).record.orders if each.order == order_id]
    if not orders:
        raise RuleBroken(f"order {order_id}", "does not exist", 5, "see OrdersOpen")
    order, day = orders[0], docket.moment.day
    if not any(docket.roster.acts_for(officer.msp_id, each, day) for each in order.executors):
        raise RuleBroken(
            f"order {order_id}", f"is not addressed to {officer.msp_id}", 5, "see OrdersOpen"
        )
    if docket.state(case).state == "released":
        raise RuleBroken(
            f"order {order_id}", "was released, and nobody needs its numbers any more", 5
        )
    return order


def _ends_something(docket: Docket, hold: str) -> bool:
    file = docket.latest(outcome.agreement_of_hold(hold))
    if file is None:
        return False
    due = state_of(file, docket.moment).due
    return due is not None and due.evidence == hold
