"""One rehearsal from beginning to end: network, days, report.

The network's folder and the reports lie in the output folder: ``network/``, ``report.json``,
``cases.csv`` and the rejects of the two files. A folder that holds something is refused, since a
rehearsal cannot be taken up again: its clocks only go forward.
"""

from __future__ import annotations

import calendar
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final, Protocol

from clients.files.keyrings import load_keyrings
from clients.rehearsal.clock import RehearsalClock
from clients.rehearsal.day import DayByDay, morning_of
from clients.rehearsal.desks import Desks
from clients.rehearsal.expectation import Comparison, compare
from clients.rehearsal.network import CHANNEL, SOLO, NodeState, RehearsalNetwork, start_network
from clients.rehearsal.origination import Origination
from clients.rehearsal.plan import Plan
from clients.rehearsal.portfolio import Portfolio
from clients.rehearsal.report import (
    CaseMonth,
    CaseRow,
    MonthRow,
    case_month,
    case_rows,
    month_row,
)
from clients.rehearsal.story import Step, tell
from clients.rehearsal.tally import Tally

NETWORK_FOLDER: Final = "network"


class Observer(Protocol):
    """Who watches a rehearsal while it runs."""

    def network_is_up(self, seconds: float) -> None:
        """Four nodes run, contracts are defined, the consortium is founded."""

    def day_is_over(self, day: date, tally: Tally) -> None:
        """A day was lived."""

    def month_is_over(self, month: MonthRow) -> None:
        """A month has ended, or the last day."""


@dataclass(slots=True)
class Outcome:
    """Everything that came out.

    Attributes:
        months: the book at each month's end.
        case_months: cases, orders and releases, month by month.
        comparison: with what was expected, None if nothing was.
        story: steps of the borrower told of, and its agreement; empty if nobody was.
        nodes: at the end.
        seconds: of living through the days, the making of the network left out.
        transactions: submitted and committed in them.
    """

    first_day: date
    last_day: date
    plan: Plan
    tally: Tally
    months: list[MonthRow] = field(default_factory=list)
    cases: list[CaseRow] = field(default_factory=list)
    case_months: list[CaseMonth] = field(default_factory=list)
    comparison: Comparison | None = None
    story_of: str = ""
    story: list[Step] = field(default_factory=list)
    nodes: list[NodeState] = field(default_factory=list)
    seconds: float = 0.0
    transactions: int = 0

    @property
    def records(self) -> int:
        """Rows that went to the contracts."""
        files = (self.tally.agreements, self.tally.payments)
        return sum(counts.taken + counts.repeated for counts in files)

    @property
    def nodes_agree(self) -> bool:
        """Whether all nodes have the same height and hashes."""
        return len({(n.height, n.header_hash, n.commit_hash) for n in self.nodes}) == 1

    @property
    def is_as_it_should_be(self) -> bool:
        """Whether the nodes agree, no step was refused, and every expected row came out."""
        as_expected = self.comparison is None or self.comparison.holds
        return self.nodes_agree and as_expected and not self.tally.refused

    @property
    def block_days(self) -> int:
        """Midnights with a blocked phone, all phones together."""
        return sum(month.block_days for month in self.case_months)


async def rehearse(
    portfolio: Portfolio,
    plan: Plan,
    until: date,
    output: Path,
    observer: Observer,
    *,
    expected: Path | None = None,
    with_story: bool = False,
    ordering: str = SOLO,
) -> Outcome:
    """Live through *portfolio* up to and including *until*, in a network of its own.

    Args:
        output: folder for the network; it does not exist, or is empty.
        expected: file of arrears to compare with.
        with_story: whether to tell one borrower's story.
        ordering: the engine that orders.
    Raises:
        RehearsalFailed: the network or a step did not do what it should.
    """
    began = time.monotonic()
    start = morning_of(portfolio.first_day)
    network = await start_network(output / NETWORK_FOLDER, plan, start, ordering)
    try:
        observer.network_is_up(time.monotonic() - began)
        clock = RehearsalClock(network.nodes, start)
        desks = Desks(network.profiles, CHANNEL, plan.regulator.msp_id, clock)
        try:
            run = _Run(portfolio, plan, until, network, desks, clock, observer)
            outcome = await run.live()
            await run.look_back(outcome, expected, with_story)
        finally:
            await desks.close()
        outcome.nodes = await network.states()
        return outcome
    finally:
        await network.stop()


class _Run:
    """The parts of one rehearsal while it runs."""

    def __init__(
        self,
        portfolio: Portfolio,
        plan: Plan,
        until: date,
        network: RehearsalNetwork,
        desks: Desks,
        clock: RehearsalClock,
        observer: Observer,
    ) -> None:
        self._portfolio = portfolio
        self._until = until
        self._desks = desks
        self._clock = clock
        self._observer = observer
        self._tally = Tally()
        self._tally.agreements.bad += portfolio.bad_agreements
        self._tally.payments.bad += portfolio.bad_payments
        keys = load_keyrings(network.pseudonym_keys(plan.regulator.msp_id))
        origination = Origination(desks, plan, keys, self._tally)
        self._days = DayByDay(desks, plan, origination, self._tally)
        self._opened = origination.opened
        self._regulator = desks.of(plan.regulator.msp_id, "auditor")
        self._outcome = Outcome(portfolio.first_day, until, plan, self._tally)

    async def live(self) -> Outcome:
        outcome, began = self._outcome, time.monotonic()
        for day in self._portfolio.days(self._until):
            await self._clock.set(morning_of(day))
            await self._days.live(
                day,
                self._portfolio.sold.get(day, ()),
                self._portfolio.received.get(day, ()),
            )
            self._observer.day_is_over(day, self._tally)
            if is_month_end(day) or day == self._until:
                month = await month_row(self._regulator, list(self._opened), day)
                outcome.months.append(month)
                self._observer.month_is_over(month)
        outcome.seconds = time.monotonic() - began
        outcome.transactions = self._desks.transactions
        return outcome

    async def look_back(self, outcome: Outcome, expected: Path | None, with_story: bool) -> None:
        outcome.cases = await case_rows(self._regulator, self._tally.cases)
        before = date.min
        for month in outcome.months:
            outcome.case_months.append(case_month(outcome.cases, before, month.as_of))
            before = month.as_of
        if expected is not None:
            outcome.comparison = await compare(self._regulator, expected)
        if with_story:
            outcome.story_of = worth_telling(outcome.cases)
        if outcome.story_of:
            outcome.story = await tell(await self._regulator.blocks(), outcome.story_of)


def is_month_end(day: date) -> bool:
    """Say whether *day* is the last of its month."""
    return day.day == calendar.monthrange(day.year, day.month)[1]


def worth_telling(cases: Sequence[CaseRow]) -> str:
    """Return the agreement of a case that went all the way and ended well; "" if there is none."""
    for case in sorted(cases, key=lambda row: (row.triggered_on, row.agreement)):
        if case.ended_as == "cured" and case.applied_on and case.released_on:
            return case.agreement
    return cases[0].agreement if cases else ""
