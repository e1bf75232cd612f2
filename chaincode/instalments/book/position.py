"""One agreement as the ledger has it now, with its money: what every other rule asks.

Layout in `instalments`, canonical JSON:

    agreement/<agreement>   who and what, written once (key-level policy: the lender and another)
    terms/<agreement>       price and schedules, see `terms` (the same policy)
    standing/<agreement>    the one summary that changes: what was paid by day, confirmed, closed

    standing: {"amounts":[[day,paisa]…],"bookings":n,"due":day?,"confirmed_on":day?,"device":id?,
               "closed":kind?,"closed_on":day?,"closed_by":msp?,"evidence":hash?}

Invariants: the days of `amounts` rise and each is the sum of what was paid on it, reversed payments
taken out and refunds taken off on their own day; nothing else of an agreement is written by a
payment. A `Position` never changes: what a transaction does to it gives a new one, which is how
several records about one agreement see each other, since a transaction does not see its own writes.

Deliberately absent: writing (`accounts`), cases (`cases`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from chaincode.contract import ReadOnlyStub

from .. import records
from .. import terms as commercial
from ..arrears import StandingView, standing_on
from ..terms import Terms

Paid = tuple[tuple[str, int], ...]
"""What was paid: (ISO date, paisa), dates rising."""


def agreement_key(agreement: str) -> str:
    """Return the key of who and what."""
    return f"agreement/{agreement}"


def standing_key(agreement: str) -> str:
    """Return the key of the summary."""
    return f"standing/{agreement}"


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary key of an agreement.

    Attributes:
        paid: by day, see the module.
        bookings: payments, refunds and reversals booked so far; numbers their entries.
        due: ISO date under which the agreement stands in the index of what is due, "" if nowhere.
        confirmed_on: ISO date on which the confirmation of sale was recorded, "" before.
        closed: "", "paid_off", "written_off" or "death".
        closed_on: ISO date of that, and
        closed_by: the member that recorded it, and
        evidence: its hash.
        device: id of the device that took the place of the first one; "" if none did.
    """

    paid: Paid = ()
    bookings: int = 0
    due: str = ""
    confirmed_on: str = ""
    closed: str = ""
    closed_on: str = ""
    closed_by: str = ""
    evidence: str = ""
    device: str = ""

    def encode(self) -> bytes:
        """Return the state value."""
        plain: dict[str, Any] = {"bookings": self.bookings}
        for name in ("due", "confirmed_on", "closed", "closed_on", "closed_by", "evidence"):
            value = getattr(self, name)
            if value:
                plain[name] = value
        if self.device:
            plain["device"] = self.device
        commercial.put_amounts(plain, self.paid)
        return records.encode(plain)

    @classmethod
    def decode(cls, raw: bytes) -> Summary:
        """Return the summary of a state value."""
        plain = records.decode(raw)
        get = plain.get
        return cls(
            tuple([(day, paisa) for day, paisa in commercial.amounts_of(plain)]),
            plain["bookings"],
            get("due", ""),
            get("confirmed_on", ""),
            get("closed", ""),
            get("closed_on", ""),
            get("closed_by", ""),
            get("evidence", ""),
            get("device", ""),
        )


def _optional(day: str) -> date | None:
    return date.fromisoformat(day) if day else None


@dataclass(frozen=True, slots=True)
class Position:
    """One agreement with its terms and its summary.

    Attributes:
        facts: the JSON object under `agreement/<agreement>`; read it, never change it.
        terms: all versions of the schedule.
        summary: what was paid, confirmed and closed.
    """

    facts: Mapping[str, Any]
    terms: Terms
    summary: Summary

    # ---- who and what
    @property
    def agreement(self) -> str:
        """Its id."""
        return str(self.facts["agreement"])

    @property
    def lender(self) -> str:
        """MSP id of the lender."""
        return str(self.facts["lender"])

    @property
    def operator(self) -> str:
        """MSP id of the operator."""
        return str(self.facts["operator"])

    @property
    def device(self) -> str:
        """Id of the device it is about now: the one it was exchanged for, if it was."""
        return self.summary.device or str(self.facts["device"])

    @property
    def borrower(self) -> str:
        """Pseudonym of the borrower."""
        return str(self.facts["borrower"])

    @property
    def sim(self) -> str:
        """Pseudonym of the SIM."""
        return str(self.facts["sim"])

    @property
    def contract_type(self) -> str:
        """`conventional`, `murabaha`, `musawamah`, `ijarah` or `qardh_e_hasna`."""
        return str(self.facts["contract_type"])

    @property
    def receiving_institutions(self) -> tuple[str, ...]:
        """MSP ids of those named to receive payments."""
        return tuple(self.facts["receiving_institutions"])

    @property
    def opened_on(self) -> date:
        """Date of the contract with the borrower."""
        return date.fromisoformat(self.facts["opened_on"])

    @property
    def recorded_on(self) -> date:
        """Date on which it came into the book."""
        return date.fromisoformat(self.facts["recorded_on"])

    @property
    def imported(self) -> bool:
        """Say whether it came with an older book."""
        return bool(self.facts["imported"])

    @property
    def has_block_consent(self) -> bool:
        """Say whether the borrower consented explicitly to a block."""
        consent = self.facts["consent"]
        return consent is not None and bool(consent["block"])

    @property
    def confirmed_on(self) -> date | None:
        """Date on which the confirmation of sale was recorded."""
        return _optional(self.summary.confirmed_on)

    @property
    def closed(self) -> str:
        """How it ended: "", "paid_off", "written_off" or "death"."""
        return self.summary.closed

    @property
    def closed_on(self) -> date | None:
        """Date on which that was recorded."""
        return _optional(self.summary.closed_on)

    # ---- money
    def paid_by(self, day: date) -> int:
        """Return what payments with `paid_on` on or before *day* come to, in paisa; never below 0.

        Reversed payments do not count, refunds are taken off from their day on.
        """
        return paid_by(self.summary.paid, day.isoformat())

    @property
    def paid_in_all(self) -> int:
        """Everything paid, in paisa; never below 0."""
        return max(0, sum([paisa for _, paisa in self.summary.paid]))

    @property
    def credit_paisa(self) -> int:
        """What was paid above the newest schedule's total."""
        return max(0, self.paid_in_all - self.terms.schedule().total)

    @property
    def outstanding_paisa(self) -> int:
        """What is still to be paid of the newest schedule, due or not."""
        return max(0, self.terms.schedule().total - self.paid_in_all)

    def standing(self, day: date) -> StandingView:
        """Return the standing on *day*, by the schedule version then in force (rulebook 3)."""
        return standing_on(self.terms.schedule_on(day.isoformat()), self.paid_by(day), day)

    def is_due_paid_before(self, day: date) -> bool:
        """Say whether every instalment due before *day* is paid by payments up to *day*.

        By the schedule version in force on that day (rulebook 4, cured).
        """
        text = day.isoformat()
        schedule = self.terms.schedule_on(text)
        return schedule.due_before(text) <= paid_by(self.summary.paid, text)

    @property
    def days_of_change(self) -> tuple[str, ...]:
        """ISO dates on which something was paid or refunded, or a schedule version began."""
        began = [version.in_force_from for version in self.terms.versions]
        return (*began, *[day for day, _ in self.summary.paid])

    @property
    def oldest_due(self) -> str:
        """ISO date of the oldest instalment of the newest schedule not paid yet, "" if none."""
        return self.terms.schedule().oldest_unpaid(self.paid_in_all)

    @property
    def paid_in_full_on(self) -> date | None:
        """The day from which on the newest schedule's total was and stayed paid."""
        total = self.terms.schedule().total
        paid, since = sum([paisa for _, paisa in self.summary.paid]), ""
        for day, paisa in reversed(self.summary.paid):
            if paid < total:
                break
            since = day
            paid -= paisa
        return _optional(since)

    # ---- what a transaction does to it, in memory
    def with_payment(self, paid_on: date, amount_paisa: int) -> Position:
        """Return it with an amount more (less, if negative) on a day."""
        known = self.summary
        booked = Summary(  # spelled out: `replace` takes three times as long, for every payment
            paid_with(known.paid, paid_on.isoformat(), amount_paisa),
            known.bookings + 1,
            known.due,
            known.confirmed_on,
            known.closed,
            known.closed_on,
            known.closed_by,
            known.evidence,
            known.device,
        )
        return Position(self.facts, self.terms, booked)

    def with_terms(self, terms: Terms) -> Position:
        """Return it with a schedule version more."""
        return Position(self.facts, terms, self.summary)

    def with_summary(self, **changes: Any) -> Position:
        """Return it with fields of its summary changed."""
        return Position(self.facts, self.terms, replace(self.summary, **changes))

    def with_closed(self, kind: str, on: date, by: str, evidence: str) -> Position:
        """Return it closed."""
        return self.with_summary(
            closed=kind, closed_on=on.isoformat(), closed_by=by, evidence=evidence
        )


def paid_by(paid: Paid, day: str) -> int:
    """Return what was paid up to and including an ISO date; never below 0."""
    return max(0, sum([paisa for paid_on, paisa in paid if paid_on <= day]))


def paid_with(paid: Paid, day: str, paisa: int) -> Paid:
    """Return what was paid with an amount more on a day; a day that comes to nothing goes."""
    if not paid or day > paid[-1][0]:
        return (*paid, (day, paisa)) if paisa else paid
    place = bisect_left(paid, (day,))
    if place < len(paid) and paid[place][0] == day:
        rest = paid[place][1] + paisa
        return (*paid[:place], *(((day, rest),) if rest else ()), *paid[place + 1 :])
    return (*paid[:place], (day, paisa), *paid[place:]) if paisa else paid


def load(stub: ReadOnlyStub, agreements: Sequence[str]) -> list[Position | None]:
    """Return the positions of several agreements, None where there is none.

    Args:
        stub: reads `instalments`; asked once for all keys.
    """
    count = len(agreements)
    keys = [agreement_key(agreement) for agreement in agreements]
    keys += [commercial.key_of(agreement) for agreement in agreements]
    keys += [standing_key(agreement) for agreement in agreements]
    found = stub.get_states(keys)
    positions: list[Position | None] = []
    for facts, terms, summary in zip(
        found[:count], found[count : 2 * count], found[2 * count :], strict=True
    ):
        if facts is None or terms is None or summary is None:
            positions.append(None)
        else:
            positions.append(
                Position(records.decode(facts), commercial.decode(terms), Summary.decode(summary))
            )
    return positions
