"""The queries of namespace `enforcement` about cases, ballots and block orders.

Lists come in pages and follow an index by date: what they cost follows what is due. A page may hold
fewer than was asked for, even none; only an empty bookmark says that the list is at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from chaincode.contract import Context, query

from .. import records
from ..book.inputs import AgreementId
from ..calendar import parse_date
from ..verdicts import RuleBroken
from . import case as cases
from . import outcome, views
from .clock import Moment
from .docket import Docket
from .index import ENDED, KINDS, NEXT, ORDER, Walk, walk_all
from .inputs import Day, Kind, Limit, RecordId
from .state import CaseFile, CaseState, state_of
from .views import CaseView, OrderView, next_of

Plain = dict[str, object]

OPEN: Final = ("triggered", "notified", "voting", "waiting", "ordered", "enforced", "held")
_STEPS: Final = {
    "notice": "triggered", "proposal": "notified", "vote": "voting", "waiting": "waiting",
}  # fmt: skip
_RECENT: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class CasesPage:
    """Cases, and where the next page begins."""

    cases: list[CaseView]
    bookmark: str


@dataclass(frozen=True, slots=True)
class RowsPage:
    """Short rows of cases, and where the next page begins."""

    cases: list[Plain]
    bookmark: str


@dataclass(frozen=True, slots=True)
class OrdersPage:
    """Block orders, and where the next page begins."""

    orders: list[OrderView]
    bookmark: str


@dataclass(frozen=True, slots=True)
class BallotView:
    """One ballot in a case."""

    round: int
    group: str
    msp_id: str
    member_class: str
    officer: str
    choice: str
    reason: str
    on: date
    tx_id: str


class CaseQueries:
    """What anybody may know of cases; a mixin of the contract `enforcement`."""

    @query
    def case(self, ctx: Context, case_id: RecordId) -> CaseView:
        """Return a case."""
        docket = Docket.of_enforcement(ctx)
        return views.case_view(docket, docket.file(case_id))

    @query
    def case_of(self, ctx: Context, agreement_id: AgreementId) -> CaseView | None:
        """Return the latest case of an agreement."""
        docket = Docket.of_enforcement(ctx)
        file = docket.latest(agreement_id)
        return None if file is None else views.case_view(docket, file)

    @query
    def cases(self, ctx: Context, state: str, limit: Limit, bookmark: str) -> CasesPage:
        """Return the cases in a state, all open ones for ""."""
        docket = Docket.of_enforcement(ctx)
        if state and state not in OPEN:
            return _ended_cases(docket, state, limit, bookmark)
        walks = [Walk(ctx.stub, NEXT, (kind,), "", "") for kind in KINDS]

        def pick(number: int, ids: Sequence[str]) -> list[str]:
            files = _files(docket, ids)
            return [
                each.record.case
                for each in files
                if each.record.indexed[0][0] == KINDS[number]
                and _is_in(state_of(each, docket.moment), state)
            ]

        found, bookmark = walk_all(walks, limit, bookmark, pick)
        listed = [views.case_view(docket, docket.file(case)) for case in found]
        return CasesPage(listed, bookmark)

    @query
    def case_history(self, ctx: Context, case_id: RecordId) -> list[Plain]:
        """Return every change of a case's records, the oldest first."""
        docket = Docket.of_enforcement(ctx)
        record = docket.file(case_id).record
        keys = [(docket.enforcement, "enforcement", cases.case_key(case_id))]
        for order in record.orders:
            for executor in order.executors:
                key = cases.receipts_key(order.order, executor)
                keys.append((docket.enforcement, "enforcement", key))
        keys.append((docket.instalments, "instalments", outcome.holds_key(record.agreement)))
        keys.append((docket.instalments, "instalments", outcome.ending_key(case_id)))
        for order in record.orders:
            keys.append((docket.instalments, "instalments", outcome.release_key(order.order)))
        entries: list[Plain] = []
        for stub, namespace, key in keys:
            for change in reversed(list(stub.get_history_for_key(key))):
                value = None if change.is_delete else records.decode(change.value)
                entries.append(
                    {
                        "tx_id": change.tx_id,
                        "at": change.timestamp,
                        "namespace": namespace,
                        "key": key,
                        "value": value,
                    }
                )
        return sorted(entries, key=lambda entry: (entry["at"] is not None, str(entry["at"])))

    @query
    def cases_actionable(
        self, ctx: Context, day: Day, kind: Kind, limit: Limit, bookmark: str
    ) -> RowsPage:
        """Return the cases in which something may be done on a day."""
        on = parse_date(day)
        docket = _docket_on(ctx, on)
        if kind == "closing":
            return _closing(docket, limit, bookmark)
        last = _last_term(docket, on) if kind == "term" else day
        walk = Walk(ctx.stub, NEXT, (kind,), "", last)

        def pick(_number: int, ids: Sequence[str]) -> list[str]:
            return [
                each.record.case
                for each in _files(docket, ids)
                if _is_actionable(each, docket.moment, kind)
            ]

        return _rows(docket, *walk_all([walk], limit, bookmark, pick))

    @query
    def votes_open(
        self, ctx: Context, day: Day, msp_id: str, limit: Limit, bookmark: str
    ) -> RowsPage:
        """Return the cases in which the group of a member has not voted yet."""
        docket = _docket_on(ctx, parse_date(day))
        group = docket.roster.group_of(msp_id)

        def pick(_number: int, ids: Sequence[str]) -> list[str]:
            return [
                each.record.case
                for each in _files(docket, ids)
                if _is_actionable(each, docket.moment, "vote")
                and _may_vote(docket, each, msp_id, group)
            ]

        walk = Walk(ctx.stub, NEXT, ("vote",), "", day)
        return _rows(docket, *walk_all([walk], limit, bookmark, pick))

    @query
    def orders_open(self, ctx: Context, executor: str, limit: Limit, bookmark: str) -> OrdersPage:
        """Return the block orders that an executor has not VERIFIED or REFUSED."""
        docket = Docket.of_enforcement(ctx)
        asked = [executor] if executor else [each.msp_id for each in docket.roster.members]
        walks = [Walk(ctx.stub, ORDER, (each,), "", "") for each in asked]

        def pick(_number: int, ids: Sequence[str]) -> list[str]:
            docket.load_cases([cases.case_of_order(order) for order in ids])
            return [order for order in ids if not docket.state(cases.case_of_order(order)).is_over]

        found, bookmark = walk_all(walks, limit, bookmark, pick)
        return OrdersPage([_order_view(docket, order) for order in found], bookmark)

    @query
    def order(self, ctx: Context, order_id: RecordId) -> OrderView:
        """Return a block order with its receipts."""
        return _order_view(Docket.of_enforcement(ctx), order_id)

    @query
    def ballots(self, ctx: Context, case_id: RecordId) -> list[BallotView]:
        """Return the ballots of a case, round by round."""
        record = Docket.of_enforcement(ctx).file(case_id).record
        return [
            BallotView(
                current.number,
                each.group,
                each.msp_id,
                each.member_class,
                each.officer,
                each.choice,
                each.reason,
                each.on,
                each.tx_id,
            )
            for current in record.rounds
            for each in current.ballots
        ]


# ---- on the way ---------------------------------------------------------------------------------


def _docket_on(ctx: Context, day: date) -> Docket:
    """Return a docket that sees the cases on a day."""
    docket = Docket.of_enforcement(ctx)
    docket.moment = Moment.on(day, docket.moment)
    return docket


def _files(docket: Docket, case_ids: Sequence[str]) -> list[CaseFile]:
    docket.load_cases(case_ids)
    return [docket.file(case) for case in case_ids]


def _is_in(state: CaseState, wanted: str) -> bool:
    return not state.is_over if not wanted else state.state == wanted


def _is_actionable(file: CaseFile, moment: Moment, kind: str) -> bool:
    state = state_of(file, moment)
    if kind == "term":
        return state.due is not None
    if not state.takes_steps or state.step != _STEPS[kind]:
        return False
    since = next_of(file, state, moment).since
    return since is not None and since <= moment.day


def _may_vote(docket: Docket, file: CaseFile, msp_id: str, group: str) -> bool:
    current = file.record.current
    assert current.proposal is not None
    may = any(msp_id in elector.members for elector in current.proposal.electorate)
    cast = [ballot.msp_id for ballot in current.ballots if ballot.group == group]
    active = [name for name in cast if docket.roster.member(name).is_active]
    return may and not active


def _last_term(docket: Docket, day: date) -> str:
    """Return up to which date blocks may be due to end on *day*; "" for all of them.

    The entry of a block stands under the term of its day; a later version may have shortened that,
    and a tier that is off, a moratorium or a lender that leaves may end any block at once.
    """
    versions = [each for each in docket.policies.versions if each.active_from <= day]
    if any(each.policy.moratorium_until is not None for each in versions) or not all(
        each.policy.is_tier_on(1) for each in versions
    ):
        return ""
    if any(each.leaves_on is not None for each in docket.roster.members):
        return ""
    if len({each.policy.trigger_days_past_due for each in versions}) > 1:
        return ""
    terms = [each.policy.longest_block_days for each in versions]
    return (day + timedelta(days=max(terms) - min(terms))).isoformat() if terms else ""


def _closing(docket: Docket, limit: int, bookmark: str) -> RowsPage:
    """Return the cases that are over and not written down as such.

    Every case has an entry whose date comes; one that ended before that date is found by the day of
    its end while that is recent, and by its entry later.
    """
    day = docket.moment.day
    last = day.isoformat()
    walks = [Walk(docket.enforcement, NEXT, (kind,), "", last) for kind in KINDS]
    walks.append(Walk(docket.instalments, ENDED, (), (day - _RECENT).isoformat(), last))

    def pick(number: int, ids: Sequence[str]) -> list[str]:
        kept = []
        for each in _files(docket, ids):
            record = each.record
            if record.closed is not None or not state_of(each, docket.moment).is_over:
                continue
            kind, since = record.indexed[0]
            if number == len(KINDS):
                first = all(entry[1] > last for entry in record.indexed)
            else:
                first = kind == KINDS[number] or since > last
            if first:
                kept.append(record.case)
        return kept

    return _rows(docket, *walk_all(walks, limit, bookmark, pick))


def _rows(docket: Docket, case_ids: Sequence[str], bookmark: str) -> RowsPage:
    rows: list[Plain] = []
    for file in _files(docket, case_ids):
        state = state_of(file, docket.moment)
        upcoming = next_of(file, state, docket.moment)
        rows.append(
            {
                "case": file.record.case,
                "agreement": file.record.agreement,
                "lender": file.record.lender,
                "state": state.shown or state.state,
                "from": upcoming.since,
                "until": upcoming.until,
            }
        )
    return RowsPage(rows, bookmark)


def _ended_cases(docket: Docket, state: str, limit: int, bookmark: str) -> CasesPage:
    """Return cases that are over, from all there ever were."""
    if bookmark and not bookmark.startswith("case/"):
        raise RuleBroken("the bookmark", "is not of this query", 6, "begin without one")
    page = docket.enforcement.get_state_by_range_with_pagination("case/", "case0", limit, bookmark)
    files = _files(docket, [key.removeprefix("case/") for key, _ in page.entries])
    found = [each for each in files if state_of(each, docket.moment).state == state]
    return CasesPage([views.case_view(docket, each) for each in found], page.bookmark)


def _order_view(docket: Docket, order_id: str) -> OrderView:
    file = docket.find(cases.case_of_order(order_id))
    order = None if file is None else file.record.find_order(order_id)
    if file is None or order is None:
        raise RuleBroken(f"order {order_id}", "does not exist", 5, "see OrdersOpen")
    return views.order_view(docket, file, order)
