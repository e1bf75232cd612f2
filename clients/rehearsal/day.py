"""What happens on one day of a rehearsal, in the order of the rulebook (section 7).

Ledger day, receipts, sales, payments with the releases they cause, deadlines, sweep, notices,
proposals, waiting orders, ballots. Every step asks the ledger what is due and has the officer whose
turn it is sign it; nothing is decided here. What the policy file says of the actors (how they vote,
whether the regulator frees waiting orders) is all that is taken from elsewhere.

Kept between days is only what spares needless questions: which agreements have an open case, so
that they are not swept again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from typing import Any, Final

from chaincode.instalments.calendar import PKT
from clients.files.agreements import AgreementRow
from clients.files.payments import PaymentRow
from clients.rehearsal.desks import ENFORCEMENT, INSTALMENTS, Desk, Desks
from clients.rehearsal.origination import Origination
from clients.rehearsal.plan import Plan
from clients.rehearsal.tally import Tally

_MORNING: Final = time(9, 0)
_SWEEP: Final = 50
_DONE: Final = ("SUBMITTED", "APPLIED", "VERIFIED")
_RECEIPTS: Final = 500 // len(_DONE)


class DayByDay:
    """Lives through the days; one instance a rehearsal.

    Args:
        desks: the officers.
        plan: the policy file.
        origination: turns rows into the records of sale and payment.
        tally: counts what was taken in and refused.
    """

    def __init__(self, desks: Desks, plan: Plan, origination: Origination, tally: Tally) -> None:
        self._desks = desks
        self._plan = plan
        self._origination = origination
        self._tally = tally
        self._with_case: dict[str, str] = {}
        self._month = ""
        self._trigger_days = 0

    async def live(
        self, day: date, sold: Sequence[AgreementRow], received: Sequence[PaymentRow]
    ) -> None:
        """Live through *day*.

        Args:
            sold: agreements opened on that day.
            received: payments and reversals that came in on that day, in the order of the file.
        """
        await self._begin(day)
        await self._acknowledge_blocks(day)
        if sold:
            await self._origination.sell(sold)
        if received:
            self._note(await self._origination.receive(received))
            await self._origination.certify(row.agreement for row in received)
        await self._end_by_date(day)
        await self._acknowledge_releases()
        await self._sweep(day)
        await self._serve_notices(day)
        await self._propose(day)
        await self._free_waiting(day)
        await self._vote(day)

    # Beginning

    async def _begin(self, day: date) -> None:
        regulator = self._desk(self._plan.regulator.msp_id, "lending")
        await regulator.act(ENFORCEMENT, "AdvanceDay")
        month = day.strftime("%Y-%m")
        if month != self._month:
            await regulator.act(ENFORCEMENT, "OpenMonth", month)
            self._month = month
        if not self._trigger_days:
            policy = await regulator.ask(ENFORCEMENT, "PolicyInForce", "")
            self._trigger_days = policy["parameters"]["trigger_days_past_due"]

    # Executors

    async def _acknowledge_blocks(self, day: date) -> None:
        """Executors report the blocks that were ordered on the days before."""
        for desk in self._executors():
            orders = await desk.pages(ENFORCEMENT, "OrdersOpen", "orders", desk.msp_id)
            due = [each["order"] for each in orders if _day_of(each["issued_at"]) < day]
            await self._report(desk, ENFORCEMENT, "AcknowledgeOrders", due)

    async def _acknowledge_releases(self) -> None:
        """Executors report the releases that were ordered today, and every one still open."""
        for desk in self._executors():
            releases = await desk.pages(INSTALMENTS, "ReleasesOpen", "releases")
            due = [
                each["order"]
                for each in releases
                if any(
                    receipt["executor"] == desk.msp_id and not receipt["done"]
                    for receipt in each["receipts"]
                )
            ]
            self._note(await self._report(desk, INSTALMENTS, "AcknowledgeReleases", due))

    async def _report(
        self, desk: Desk, namespace: str, function: str, orders: Sequence[str]
    ) -> list[dict[str, Any]]:
        if not orders:
            return []
        receipts = [{"order": order, "step": step} for order in orders for step in _DONE]
        return await desk.act_on(namespace, function, receipts, most=_RECEIPTS * len(_DONE))

    def _executors(self) -> Iterable[Desk]:
        for member in self._plan.members:
            if member.member_class in self._executor_classes:
                yield self._desk(member.msp_id, "executor")

    @property
    def _executor_classes(self) -> Sequence[str]:
        given = self._plan.parameters.get("executor_classes", ("operator",))
        return given if isinstance(given, (list, tuple)) else (given,)

    # What the date alone decides

    async def _end_by_date(self, day: date) -> None:
        regulator = self._desk(self._plan.regulator.msp_id, "lending")
        term = await self._actionable(regulator, day, "term")
        if term:
            cases = [each["case"] for each in term]
            self._note(await regulator.act_on(INSTALMENTS, "EndBlocksByTerm", cases))
        closing = await self._actionable(regulator, day, "closing")
        if closing:
            cases = [each["case"] for each in closing]
            await regulator.act_on(ENFORCEMENT, "CloseCases", cases)
            self._forget(each["agreement"] for each in closing)

    async def _actionable(self, desk: Desk, day: date, kind: str) -> list[dict[str, Any]]:
        return await desk.pages(ENFORCEMENT, "CasesActionable", "cases", day.isoformat(), kind)

    # The case

    async def _sweep(self, day: date) -> None:
        regulator = self._desk(self._plan.regulator.msp_id, "lending")
        due = await regulator.pages(
            INSTALMENTS, "Due", "rows", day.isoformat(), str(self._trigger_days)
        )
        agreements = sorted(
            each["agreement"] for each in due if each["agreement"] not in self._with_case
        )
        if not agreements:
            return
        verdicts = await regulator.act_on(ENFORCEMENT, "Sweep", agreements, most=_SWEEP)
        for verdict in verdicts:
            if verdict["ok"]:
                self._with_case[verdict["id"]] = verdict["case"]
                self._tally.cases[verdict["case"]] = verdict["id"]

    async def _serve_notices(self, day: date) -> None:
        assumed = self._plan.assumed
        for desk, cases in await self._by_lender(day, "notice"):
            notices = [
                {
                    "case": case,
                    "delivered_on": day.isoformat(),
                    "channel": assumed.notice_channel,
                    "language": assumed.language,
                    "proof": self._origination.proof(case),
                }
                for case in cases
            ]
            self._tally.refuse(await desk.act_on(ENFORCEMENT, "ServeNotices", notices))

    async def _propose(self, day: date) -> None:
        for desk, cases in await self._by_lender(day, "proposal"):
            proposals = [{"case": case, "tier": 1, "reason": "arrears"} for case in cases]
            self._tally.refuse(await desk.act_on(ENFORCEMENT, "ProposeCases", proposals))

    async def _by_lender(self, day: date, kind: str) -> list[tuple[Desk, list[str]]]:
        regulator = self._desk(self._plan.regulator.msp_id, "lending")
        by_lender: dict[str, list[tuple[str, str]]] = {}
        for each in await self._actionable(regulator, day, kind):
            if _day_text(each["from"]) <= day.isoformat():
                by_lender.setdefault(each["lender"], []).append((each["agreement"], each["case"]))
        return [
            (self._desk(lender, "lending"), [case for _, case in sorted(cases)])
            for lender, cases in sorted(by_lender.items())
        ]

    async def _free_waiting(self, day: date) -> None:
        """Orders that have waited since an earlier day: the regulator's word, or a free slot."""
        regulator = self._plan.regulator.msp_id
        role = "enforcement" if self._plan.frees_waiting else "lending"
        desk = self._desk(regulator, role)
        waiting = [
            (_day_text(each["from"]), each["agreement"], each["case"])
            for each in await self._actionable(desk, day, "waiting")
            if _day_text(each["from"]) < day.isoformat()
        ]
        if waiting:
            cases = [case for _, _, case in sorted(waiting)]
            await desk.act_on(ENFORCEMENT, "FreeWaiting", cases)

    async def _vote(self, day: date) -> None:
        for member in self._plan.members:
            choice = self._plan.votes[member.msp_id]
            if choice == "silent":
                continue
            desk = self._desk(member.msp_id, "enforcement")
            open_votes = await desk.pages(
                ENFORCEMENT, "VotesOpen", "cases", day.isoformat(), member.msp_id
            )
            cases = [
                (each["agreement"], each["case"])
                for each in open_votes
                if _day_text(each["from"]) == day.isoformat()
            ]
            if not cases:
                continue
            ballots = [
                {"case": case, "choice": choice, "reason": "arrears"} for _, case in sorted(cases)
            ]
            verdicts = await desk.act_on(ENFORCEMENT, "CastBallots", ballots)
            self._tally.refuse(verdicts)
            ended = {each["id"] for each in verdicts if each["state"] == "rejected"}
            self._forget(agreement for agreement, case in cases if case in ended)

    # Which agreements have a case

    def _note(self, verdicts: Iterable[dict[str, Any]]) -> None:
        """Take the agreements out whose case a payment, a date or a receipt has ended."""
        ended = {each["case"] for each in verdicts if each.get("case")}
        self._forget(
            agreement for agreement, case in list(self._with_case.items()) if case in ended
        )

    def _forget(self, agreements: Iterable[str]) -> None:
        for agreement in list(agreements):
            self._with_case.pop(agreement, None)

    def _desk(self, msp_id: str, role: str) -> Desk:
        return self._desks.of(msp_id, role)


def morning_of(day: date) -> datetime:
    """Return the time at which a day of the rehearsal is lived: nine in the morning, PKT."""
    return datetime.combine(day, _MORNING, PKT)


def _day_text(value: str) -> str:
    """The date of an ISO date or time."""
    return value[:10]


def _day_of(value: str) -> date:
    """The PKT date of an ISO time."""
    return datetime.fromisoformat(value).astimezone(PKT).date()
