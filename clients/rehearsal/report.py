"""What came out of a rehearsal, read from the ledger: cases with every date, and months.

A `CaseRow` has the dates of one case as the contracts tell them (`Case`, `Ballots`, `Release`);
what the months show is counted from the rows: cases by state, orders, releases, phones blocked.
A block-day is a PKT midnight with a block applied and no release verified (rulebook 7).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from chaincode.instalments.calendar import PKT
from clients.rehearsal.desks import ENFORCEMENT, INSTALMENTS, Desk

BUCKETS: Final = ("current", "1-29", "30-59", "60-89", "90-179", "180+")
STAGES: Final = ("triggered", "notified", "voting", "waiting", "ordered", "enforced")
_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class CaseRow:
    """One case: the day of each step, None where it was not taken.

    Attributes:
        ended_as: cured, lapsed, rejected, withdrawn …; "" while it is open.
        state: at the end of the rehearsal.
        ballots: (day, MSP id, choice) in the order of the days, then of the ids.
    """

    agreement: str
    case: str
    lender: str
    triggered_on: date
    notified_on: date | None
    proposed_on: date | None
    waiting_since: date | None
    ordered_on: date | None
    applied_on: date | None
    ended_on: date | None
    released_on: date | None
    ended_as: str
    state: str
    ballots: tuple[tuple[date, str, str], ...]

    def stage_on(self, day: date) -> str:
        """Return what the case was at the end of *day*: a stage, "releasing", or how it ended."""
        if self.ended_on is not None and self.ended_on <= day:
            if self.ordered_on is None or self.ended_as in ("lapsed", "rejected"):
                return self.ended_as
            if self.released_on is not None and self.released_on <= day:
                return "released"
            return "releasing"
        return self.last_stage(day)

    def last_stage(self, day: date) -> str:
        """Return the last stage that was reached by *day*, its end left out of account."""
        reached = [
            stage
            for stage, since in zip(
                STAGES,
                (
                    self.triggered_on,
                    self.notified_on,
                    self.proposed_on,
                    self.waiting_since,
                    self.ordered_on,
                    self.applied_on,
                ),
                strict=True,
            )
            if since is not None and since <= day
        ]
        return reached[-1]

    @property
    def ended_from(self) -> str:
        """The stage in which it ended, "" while it is open."""
        return "" if self.ended_on is None else self.last_stage(self.ended_on)

    def is_blocked_at_midnight_after(self, day: date) -> bool:
        """Say whether the phone was blocked at the midnight that ends *day*."""
        return (
            self.applied_on is not None
            and self.applied_on <= day
            and (self.released_on is None or day < self.released_on)
        )

    def block_days(self, until: date) -> int:
        """Return the midnights with a block, up to the one that ends *until*."""
        if self.applied_on is None or self.applied_on > until:
            return 0
        ends = until + timedelta(days=1)
        released = ends if self.released_on is None else min(self.released_on, ends)
        return (released - self.applied_on).days


@dataclass(slots=True)
class MonthRow:
    """The book at the end of a month, or of the last day lived.

    Attributes:
        buckets: agreements by days past due.
        in_arrears: agreements that owe anything, and what together.
    """

    as_of: date
    buckets: Mapping[str, int] = field(default_factory=dict)
    in_arrears: int = 0
    arrears_paisa: int = 0


async def month_row(desk: Desk, agreements: Sequence[str], day: date) -> MonthRow:
    """Ask for the standing of *agreements* at the end of *day*."""
    month = MonthRow(day)
    buckets: Counter[str] = Counter()
    for each in await desk.standings(agreements, day.isoformat()):
        if each is not None:
            buckets[each["bucket"]] += 1
            month.in_arrears += each["arrears_paisa"] > 0
            month.arrears_paisa += each["arrears_paisa"]
    month.buckets = {bucket: buckets[bucket] for bucket in BUCKETS}
    return month


@dataclass(frozen=True, slots=True)
class CaseMonth:
    """Cases, orders and releases in a month.

    Attributes:
        by_state: cases by what they were at its end.
        orders, releases: issued and verified in it.
        blocked: phones blocked at its end.
        block_days: of all phones in it.
        cured: cases cured in it.
    """

    as_of: date
    by_state: Mapping[str, int]
    orders: int
    releases: int
    blocked: int
    block_days: int
    cured: int


def case_month(cases: Iterable[CaseRow], after: date, as_of: date) -> CaseMonth:
    """Count what lies after the day *after*, up to *as_of*."""
    known = [case for case in cases if case.triggered_on <= as_of]

    def within(day: date | None) -> bool:
        return day is not None and after < day <= as_of

    return CaseMonth(
        as_of,
        dict(Counter(case.stage_on(as_of) for case in known)),
        sum(within(case.ordered_on) for case in known),
        sum(within(case.released_on) for case in known),
        sum(case.is_blocked_at_midnight_after(as_of) for case in known),
        sum(case.block_days(as_of) - case.block_days(after) for case in known),
        sum(case.ended_as == "cured" and within(case.ended_on) for case in known),
    )


def cured_by_stage(cases: Iterable[CaseRow]) -> dict[str, int]:
    """Count the cured cases by the stage in which the payment came."""
    counted = Counter(case.ended_from for case in cases if case.ended_as == "cured")
    return {stage: counted[stage] for stage in STAGES if counted[stage]}


async def case_rows(desk: Desk, cases: Iterable[str]) -> list[CaseRow]:
    """Read all cases from the ledger, sorted by agreement and day of the trigger."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(case: str) -> CaseRow:
        async with gate:
            view = await desk.ask(ENFORCEMENT, "Case", case)
            ballots = await desk.ask(ENFORCEMENT, "Ballots", case)
            release = None
            if view["order"] is not None and view["release"] is not None:
                release = await desk.ask(INSTALMENTS, "Release", view["order"])
            return case_row(view, ballots, release)

    rows = await asyncio.gather(*map(one, cases))
    return sorted(rows, key=lambda row: (row.agreement, row.triggered_on))


def case_row(
    view: Mapping[str, Any], ballots: Sequence[Mapping[str, Any]], release: Mapping[str, Any] | None
) -> CaseRow:
    """Put a case together from what the queries `Case`, `Ballots` and `Release` answer."""
    first = view["rounds"][0]
    notice, proposal = first["notice"], first["proposal"]
    return CaseRow(
        agreement=view["agreement"],
        case=view["case"],
        lender=view["lender"],
        triggered_on=date.fromisoformat(view["triggered_on"]),
        notified_on=None if notice is None else date.fromisoformat(notice["written_on"]),
        proposed_on=None if proposal is None else date.fromisoformat(proposal["proposed_on"]),
        waiting_since=_date(first["waiting_since"]),
        ordered_on=_date(first["ordered_on"]),
        applied_on=_date(view["applied_on"]),
        ended_on=_date(view["ended_on"]),
        released_on=None if release is None else _verified_on(release),
        ended_as=view["ended_by"],
        state=view["state"],
        ballots=tuple(
            sorted((date.fromisoformat(b["on"]), b["msp_id"], b["choice"]) for b in ballots)
        ),
    )


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _verified_on(release: Mapping[str, Any]) -> date | None:
    """The day of the last receipt, None while one is missing."""
    if release["state"] != "released":
        return None
    steps = [step["at"] for receipt in release["receipts"] for step in receipt["steps"]]
    return max(datetime.fromisoformat(at).astimezone(PKT).date() for at in steps)
