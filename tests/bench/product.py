"""The consortium's own contracts under measurement: a book opened, paid, swept and voted on.

Rows of `make bench FULL=1`, on a network of their own. Weeks lie between a default and the vote on
it, so it is a rehearsal, whose clock is set; its nodes run the same code as all others. The officers
are those of a rehearsal too (clients/rehearsal/desks.py): each member's through its own node, four
transactions of one officer under way at once.

| work | a record is | done by |
|---|---|---|
| `originate` | an agreement with its schedule, opened (`OpenAgreements`, terms private) | the bank |
| `post` | a payment (`PostPayments`, amounts private) | the bank |
| `sweep` | an overdue agreement swept, which opens a case (`Sweep`, 50 in each) | PTA |
| `vote` | a ballot (`CastBallots`); a round is 1,000 cases on which three members vote | all but the bank |

A record that a contract refuses ends the run.
"""  # noqa: E501 - rows of a table

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

from chaincode.instalments.calendar import PKT
from clients.rehearsal.clock import RehearsalClock
from clients.rehearsal.desks import ENFORCEMENT, INSTALMENTS, Desk, Desks, plain_json
from tests.bench.network import CHANNEL, MEMBERS, BenchFailed, Tree, bench_network
from tests.bench.plan import BULK, Row
from tests.bench.results import Measured
from tests.bench.rounds import Window
from tests.bench.run import Say, fresh
from tests.bench.usage import Meter
from tests.support.book_ledger import TAC, agreement, device, payment, salted, terms_of

OPENED = date(2026, 3, 5)
FIRST_DUE = date(2026, 4, 5)
TRIGGER = FIRST_DUE + timedelta(days=30)
VOTED = TRIGGER + timedelta(days=14)
SCHEDULE = [("2026-04-05", 500_000), ("2026-05-05", 500_000), ("2026-06-05", 500_000)]
AMOUNT = 10_000
AT_ONCE = 4
SWEPT_AT_ONCE = 50
VOTERS = ("OperatorMSP", "MakerMSP", "PtaMSP")


@dataclass(frozen=True)
class Sizes:
    """How much is done in each round, in multiples of what a transaction takes.

    Attributes:
        rounds: of every work.
        opened: agreements.
        paid: payments.
        cases: overdue agreements swept, and voted on.
    """

    rounds: int = 3
    opened: int = 5_000
    paid: int = 5_000
    cases: int = 1_000


def measure_product(
    engine: str, tree: Tree, folder: Path, say: Say, sizes: Sizes | None = None
) -> list[Measured]:
    """Measure all four works on a rehearsal network in *folder*.

    Raises:
        BenchFailed: a contract refused a record, or the nodes disagree.
    """
    place = fresh(folder / "product")
    start = _at(OPENED).isoformat()
    with bench_network(tree, place / "network", engine, rehearsal_start=start) as network:
        say(f"{engine}: a rehearsal of four nodes for the consortium's contracts")
        meter = Meter(network.nodes)
        meter.watch_load([os.getpid()])
        clock = RehearsalClock(list(network.nodes.values()), _at(OPENED))
        profiles = {each: network.folder / each / "connection.json" for each in MEMBERS}
        book = Book(engine, meter, sizes or Sizes(), clock, say)
        measured = asyncio.run(book.live(Desks(profiles, CHANNEL, "PtaMSP", clock)))
        network.status()
    return measured


class Book:
    """Lives through the months of the book and measures what it does in them."""

    def __init__(
        self, engine: str, meter: Meter, sizes: Sizes, clock: RehearsalClock, say: Say
    ) -> None:
        self._engine = engine
        self._meter = meter
        self._sizes = sizes
        self._clock = clock
        self._say = say
        self._measured: list[Measured] = []

    async def live(self, desks: Desks) -> list[Measured]:
        """Do all works in their order."""
        try:
            names = await self._originate(desks)
            await self._post(desks, names)
            await self._day(desks, TRIGGER)
            await desks.of("PtaMSP", "lending").act(ENFORCEMENT, "OpenMonth", f"{TRIGGER:%Y-%m}")
            cases = await self._sweep(desks, names)
            await self._vote(desks, cases)
        finally:
            await desks.close()
        return self._measured

    async def _originate(self, desks: Desks) -> list[list[str]]:
        """Open agreements; enough for the rounds of the other works as well."""
        each = max(self._sizes.opened, self._sizes.cases)
        rounds = [
            [f"B{number}-{place}" for place in range(each)] for number in range(self._sizes.rounds)
        ]
        tac = {"tac": TAC, "maker": "Acme", "registrants": ["MakerMSP"]}
        await _act(desks.of("PtaMSP", "lending"), INSTALMENTS, "RegisterTacs", [tac])
        maker = desks.of("MakerMSP", "lending")
        for names in rounds:
            await _act(maker, INSTALMENTS, "RegisterDevices", [device(each) for each in names])
        bank = desks.of("BankMSP", "lending")
        with_terms = {"terms": [terms_of(SCHEDULE)] * each}
        await self._measure(
            "originate",
            BULK,
            [
                [_Work(bank, INSTALMENTS, "OpenAgreements", _agreements(names), with_terms)]
                for names in rounds
            ],
        )
        for names in rounds:
            handed = [{"agreement": name, "handed_over_on": str(OPENED)} for name in names]
            await _act(maker, INSTALMENTS, "ConfirmSales", handed)
        return rounds

    async def _post(self, desks: Desks, rounds: Sequence[Sequence[str]]) -> None:
        bank = desks.of("BankMSP", "lending")
        amounts = {"amounts": [AMOUNT] * self._sizes.paid}
        works = []
        for number, names in enumerate(rounds):
            payments = [
                payment(names[place % len(names)], str(OPENED), reference=f"R{number}-{place}")
                for place in range(self._sizes.paid)
            ]
            works.append([_Work(bank, INSTALMENTS, "PostPayments", payments, amounts)])
        await self._measure("post", BULK, works)

    async def _sweep(self, desks: Desks, rounds: Sequence[Sequence[str]]) -> list[list[str]]:
        pta = desks.of("PtaMSP", "lending")
        swept = [list(names[: self._sizes.cases]) for names in rounds]
        works = [[_Work(pta, ENFORCEMENT, "Sweep", names)] for names in swept]
        await self._measure("sweep", SWEPT_AT_ONCE, works)
        return [[f"C-{name}-1" for name in names] for names in swept]

    async def _vote(self, desks: Desks, rounds: Sequence[Sequence[str]]) -> None:
        bank = desks.of("BankMSP", "lending")
        for cases in rounds:
            notices = [
                {"case": case, "delivered_on": str(TRIGGER), "channel": "sms",
                 "language": "ur", "proof": salted(case)}
                for case in cases
            ]  # fmt: skip
            await _act(bank, ENFORCEMENT, "ServeNotices", notices)
        await self._day(desks, VOTED)
        for cases in rounds:
            proposals = [{"case": case, "tier": 1, "reason": "arrears"} for case in cases]
            await _act(bank, ENFORCEMENT, "ProposeCases", proposals)
        works = []
        for cases in rounds:
            ballots = [{"case": case, "choice": "yes", "reason": "seen"} for case in cases]
            voters = [desks.of(each, "enforcement") for each in VOTERS]
            works.append([_Work(each, ENFORCEMENT, "CastBallots", ballots) for each in voters])
        await self._measure("vote", BULK, works)

    async def _day(self, desks: Desks, day: date) -> None:
        await self._clock.set(_at(day))
        await desks.of("PtaMSP", "lending").act(ENFORCEMENT, "AdvanceDay")

    async def _measure(self, work: str, most: int, rounds: Sequence[Sequence[_Work]]) -> None:
        """Do the works of each round one after the other; a round is one window."""
        self._meter.forget_peaks()
        disk = self._meter.disk_bytes()
        windows = []
        for works in rounds:
            before, took = self._meter.read(), []
            for each in works:
                took += await each.do(most)
            used = self._meter.read().since(before)
            windows.append(Window(used.at_s, took, {}, used))
        row = Row(work, most, AT_ONCE, self._engine)
        self._measured.append(
            Measured(
                row,
                windows,
                None,
                0,
                self._meter.peaks_mb(),
                self._meter.disk_bytes() - disk,
                sum(len(window.latencies_ms) for window in windows),
                1,
            )
        )
        rates = ", ".join(f"{most * window.tx_per_s:,.0f}" for window in windows)
        self._say(f"  {row}: {rates} records/s")


@dataclass(frozen=True)
class _Work:
    """One bulk call of one officer, of any length."""

    desk: Desk
    namespace: str
    function: str
    records: Sequence[Any]
    transient: Mapping[str, Sequence[Any]] | None = None

    async def do(self, most: int) -> list[float]:
        """Submit it in transactions of *most* records; return how long each took, in ms."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def part(first: int) -> float:
            transient = {
                name: plain_json(values[first : first + most]).encode()
                for name, values in (self.transient or {}).items()
            }
            argument = plain_json(list(self.records[first : first + most]))
            async with gate:
                began = time.perf_counter()
                answer = await self.desk.act(
                    self.namespace, self.function, argument, transient=transient or None
                )
                took = 1000 * (time.perf_counter() - began)
            refused = [each for each in answer["verdicts"] if not each["ok"]]
            if refused:
                raise BenchFailed(f"{self.function} refused {len(refused)} records: {refused[0]}")
            return took

        return await asyncio.gather(*map(part, range(0, len(self.records), most)))


async def _act(desk: Desk, namespace: str, function: str, records: Sequence[Any]) -> None:
    await _Work(desk, namespace, function, records).do(BULK)


def _agreements(names: Sequence[str]) -> list[dict[str, Any]]:
    return [agreement(name) for name in names]


def _at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 11, tzinfo=PKT)
