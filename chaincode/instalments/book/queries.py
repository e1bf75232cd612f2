"""The queries of namespace `instalments` about the book.

They need no role. Money is answered by a node that holds the collection of the lender's terms to a
caller whose member belongs to it; to anybody else it is null, and `Payments`, which is nothing but
money, is refused. What a query costs follows what it answers: a list of agreements is read in one
call, what is overdue through its index, page by page.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Annotated, Final

from chaincode.contract import Bounds, Context, query

from .. import circles
from ..calendar import parse_date
from ..verdicts import RuleBroken
from . import money as purse
from . import views
from .accounts import DUE_INDEX, due_key
from .agreements import confirmation_key
from .bulk import unknown
from .devices import Plain, Register, read_plain, tac_key
from .endings import clearance_key
from .functions import cases_of
from .inputs import MAX_RECORDS, Agreements, Pseudonyms
from .money import Money
from .payments import payment_key
from .position import Position, load, load_held, plan_key
from .totals import TotalsView, fold
from .track import Plan

_BOOKMARK: Final = re.compile(r"(\d{4}-\d{2}-\d{2})/([A-Z0-9-]{1,32})")

Limit = Annotated[int, Bounds(1, MAX_RECORDS)]
Days = Annotated[int, Bounds(0, 36_500)]


def _position(ctx: Context, agreement: str) -> Position:
    position = load_held(ctx.stub, [agreement])[0]
    if position is None:
        raise unknown("agreement", agreement, "open it first, or correct its id")
    return position


def _day(ctx: Context, text: str) -> date:
    return parse_date(text) if text else ctx.tx_date


class BookQueries:
    """What reads the book; a mixin of the contract `instalments`."""

    # ---- agreements
    @query
    def agreement(self, ctx: Context, agreement: str) -> views.AgreementView:
        """Return an agreement with its terms."""
        return views.view_of_agreement(_position(ctx, agreement))

    @query
    def agreements(self, ctx: Context, agreements: Agreements) -> list[views.AgreementView | None]:
        """Return several agreements, null where there is none."""
        return [
            None if position is None else views.view_of_agreement(position)
            for position in load_held(ctx.stub, agreements)
        ]

    @query
    def schedules(self, ctx: Context, agreement: str) -> list[views.ScheduleView]:
        """Return all versions of a schedule."""
        position, plan = _position(ctx, agreement), _read(ctx, plan_key(agreement))
        assert plan is not None
        return views.view_of_schedules(position, Plan.read(plan))

    @query
    def confirmation(self, ctx: Context, agreement: str) -> views.ConfirmationView | None:
        """Return the confirmation of a sale."""
        plain = _read(ctx, confirmation_key(agreement))
        return None if plain is None else views.ConfirmationView(**plain)

    @query
    def clearance(self, ctx: Context, agreement: str) -> views.ClearanceView | None:
        """Return the clearance certificate of an agreement."""
        plain = _read(ctx, clearance_key(agreement))
        return None if plain is None else views.ClearanceView(**plain)

    @query
    def totals(self, ctx: Context, lender: str, until: str) -> TotalsView:
        """Return how many agreements a lender has, counted up to a day."""
        enforcement = ctx.stub.reading("enforcement")
        return fold(enforcement, ctx.stub, lender, _day(ctx, until), ctx.tx_date)

    # ---- money
    @query
    def payments(self, ctx: Context, agreement: str) -> list[views.BookingView]:
        """Return an agreement's account in order of recording."""
        position = _position(ctx, agreement)
        money = position.held
        if money is None:
            raise RuleBroken(
                f"the account of agreement {position.agreement}",
                f"is kept in {circles.terms_of(position.lender)}, which this node does not hold or "
                "the caller's member does not belong to",
                2,
                "ask the node of a member of that collection as one of its officers",
            )
        older = [_page(ctx, position, page) for page in range(1, money.pages + 1)]
        text = "".join((*older, money.bookings))
        return [views.BookingView(*booking) for booking in purse.bookings_of(text)]

    @query
    def payment(self, ctx: Context, institution: str, reference: str) -> views.PaymentView:
        """Return a payment."""
        plain = _read(ctx, payment_key(institution, reference))
        if plain is None:
            raise unknown("payment", reference, "name the institution that received it")
        reversal = plain.get("reversed")
        return views.PaymentView(
            institution=plain["institution"],
            reference=plain["reference"],
            agreement=plain["agreement"],
            paid_on=plain["paid_on"],
            amount_paisa=_amount_of(ctx, plain),
            channel=plain["channel"],
            posted_by=plain["posted_by"],
            posted_on=plain["posted_on"],
            reversed=None if reversal is None else views.ReversedView(**reversal),
        )

    # ---- standing
    @query
    def standing(self, ctx: Context, agreement: str, as_of: str) -> views.StandingAnswer:
        """Return the standing of an agreement on a day."""
        position = _position(ctx, agreement)
        tier = cases_of(ctx, [agreement]).tier(agreement)
        return views.view_of_standing(position, _day(ctx, as_of), tier)

    @query
    def standings(
        self, ctx: Context, agreements: Agreements, as_of: str
    ) -> list[views.StandingAnswer | None]:
        """Return the standing of several agreements on a day, null where there is none."""
        day, positions = _day(ctx, as_of), load_held(ctx.stub, agreements)
        cases = cases_of(ctx, [position.agreement for position in positions if position])
        return [
            None
            if position is None
            else views.view_of_standing(position, day, cases.tier(position.agreement))
            for position in positions
        ]

    @query
    def due(
        self,
        ctx: Context,
        as_of: str,
        minimum_days_past_due: Days,
        limit: Limit,
        bookmark: str,
    ) -> views.DuePage:
        """Return what is overdue, longest overdue first, from the book as it stands now."""
        stub, day = ctx.stub, _day(ctx, as_of)
        latest = (day - timedelta(days=minimum_days_past_due)).isoformat()
        page = stub.get_state_by_partial_composite_key_with_pagination(
            DUE_INDEX, (), limit, _start_of(ctx, bookmark)
        )
        found = [tuple(stub.split_composite_key(key)[1]) for key, _value in page.entries]
        names = [agreement for due, agreement in found if due <= latest]
        rows = [views.row_of_due(each, day) for each in load_held(stub, names) if each is not None]
        if len(names) < len(found) or not page.bookmark:
            return views.DuePage(rows, "")
        due, agreement = stub.split_composite_key(page.bookmark)[1]
        return views.DuePage(rows, "" if due > latest else f"{due}/{agreement}")

    # ---- devices
    @query
    def device_status(self, ctx: Context, device: Pseudonyms) -> views.DeviceStatusView:
        """Return what a second-hand buyer may know of a phone."""
        register = Register(ctx.stub, device, pledges=True)
        plain = register.find(device)
        if plain is None:
            return views.DeviceStatusView(False, "", "", "", "", False, "", "none", [], None, None)
        pledge = register.pledge_of(plain["device"])
        position = load(ctx.stub, [pledge])[0] if pledge else None
        financed = _is_financing(position, plain["device"])
        return views.DeviceStatusView(
            registered=True,
            device=plain["device"],
            maker=plain["maker"],
            model=plain["model"],
            country=plain["country"],
            financed=financed,
            lender=position.lender if position is not None and financed else "",
            blocked=_blocked(ctx, position, plain["device"]),
            pay_to=list(position.receiving_institutions) if position and financed else [],
            cleared_on=_cleared_on(position),
            exchanged_for=plain.get("exchanged_for"),
        )

    @query
    def is_encumbered(self, ctx: Context, device: Pseudonyms) -> views.EncumbranceView:
        """Say whether a phone is financed or blocked."""
        status = self.device_status(ctx, device)
        return views.EncumbranceView(status.financed or status.blocked != "none")

    @query
    def tac(self, ctx: Context, tac: str) -> views.TacView | None:
        """Return a type of the regulator's list."""
        plain = _read(ctx, tac_key(tac))
        return None if plain is None else views.TacView(**plain)


def _read(ctx: Context, key: str) -> Plain | None:
    return read_plain(ctx.stub, [key])[0]


def _page(ctx: Context, position: Position, page: int) -> str:
    return purse.older_bookings(ctx.stub, position.lender, position.agreement, page)


def _amount_of(ctx: Context, payment: Plain) -> int | None:
    """Return the amount of a payment, None where the account is closed to this query."""
    position = _position(ctx, payment["agreement"])
    money: Money | None = position.held
    if money is None:
        return None
    found = purse.newest_booking(
        money,
        "payment",
        payment["institution"],
        payment["reference"],
        lambda page: _page(ctx, position, page),
    )
    return None if found is None else found.paisa


def _start_of(ctx: Context, bookmark: str) -> str:
    if not bookmark:
        return ""
    match = _BOOKMARK.fullmatch(bookmark)
    if match is None:
        raise RuleBroken(
            "the bookmark", "is none of this query", 6, "give the one of the page before"
        )
    return due_key(ctx.stub, match[1], match[2])


def _is_financing(position: Position | None, device: str) -> bool:
    return position is not None and not position.closed and position.device == device


def _blocked(ctx: Context, position: Position | None, device: str) -> str:
    if position is None:
        return "none"
    return cases_of(ctx, [position.agreement]).blocked(position.agreement, device)


def _cleared_on(position: Position | None) -> str | None:
    if position is None or position.closed != "paid_off":
        return None
    return position.summary.closed_on
