"""One agreement as the ledger has it now: what every other rule asks.

Layout in `instalments`, canonical JSON, for everybody to read:

    agreement/<agreement>   who and what, written once (key-level policy: the lender and another)
    plan/<agreement>        due dates by schedule version, see `track` (the same policy)
    standing/<agreement>    the one summary that changes: the track, confirmed, closed

    standing: {"track":[[day,covered,whole]…],"due":day?,"paid_in_full_on":day?,
               "confirmed_on":day?,"device":id?,
               "closed":kind?,"closed_on":day?,"closed_by":msp?,"evidence":hash?}

Its money stands in the lender's private collection and is there only for those who ask for it
(`money`). A `Position` never changes: what a transaction does to it gives a new one, which is how
several records about one agreement see each other, since a transaction does not see its own writes.

Invariant: whoever changes the money brings the track up to date with it, so that nobody who reads
the track needs the money. Deliberately absent: writing (`accounts`), cases (`cases`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from chaincode.contract import ReadOnlyStub

from .. import circles, records
from ..arrears import StandingView
from ..terms import Terms
from ..verdicts import RuleBroken
from . import money as purse
from . import track as tracks
from .money import Booking, Money
from .track import DueDates, Plan, Track


def agreement_key(agreement: str) -> str:
    """Return the key of who and what."""
    return f"agreement/{agreement}"


def standing_key(agreement: str) -> str:
    """Return the key of the summary."""
    return f"standing/{agreement}"


def plan_key(agreement: str) -> str:
    """Return the key of the due dates."""
    return f"plan/{agreement}"


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary key of an agreement.

    Attributes:
        track: see `track`.
        due: ISO date under which the agreement stands in the index of what is due, "" if nowhere.
        paid_in_full_on: ISO date from which on the newest schedule was and stayed paid; "" if not.
        confirmed_on: ISO date on which the confirmation of sale was recorded, "" before.
        closed: "", "paid_off", "written_off" or "death".
        closed_on: ISO date of that, and
        closed_by: the member that recorded it, and
        evidence: its hash.
        device: id of the device that took the place of the first one; "" if none did.
    """

    track: Track = ()
    due: str = ""
    paid_in_full_on: str = ""
    confirmed_on: str = ""
    closed: str = ""
    closed_on: str = ""
    closed_by: str = ""
    evidence: str = ""
    device: str = ""

    def encode(self) -> bytes:
        """Return the state value."""
        plain: dict[str, Any] = {"track": self.track}
        for name in _TEXTS:
            value = getattr(self, name)
            if value:
                plain[name] = value
        return records.encode(plain)

    @classmethod
    def decode(cls, raw: bytes) -> Summary:
        """Return the summary of a state value."""
        plain = records.decode(raw)
        get = plain.get
        track = tuple([(day, covered, whole) for day, covered, whole in plain["track"]])
        return cls(track, *[get(name, "") for name in _TEXTS])

    def moved(self, track: Track, paid_in_full_on: str, due: str) -> Summary:
        """Return it after money came or went, or with another place among what is due."""
        # Spelled out: `replace` takes three times as long, for every payment.
        return Summary(
            track,
            due,
            paid_in_full_on,
            self.confirmed_on,
            self.closed,
            self.closed_on,
            self.closed_by,
            self.evidence,
            self.device,
        )


_TEXTS = (
    "due",
    "paid_in_full_on",
    "confirmed_on",
    "closed",
    "closed_on",
    "closed_by",
    "evidence",
    "device",
)


def _optional(day: str) -> date | None:
    return date.fromisoformat(day) if day else None


@dataclass(frozen=True, slots=True)
class Position:
    """One agreement.

    Attributes:
        facts: the JSON object under `agreement/<agreement>`; read it, never change it.
        plan: its due dates.
        summary: how far it is paid, confirmed and closed.
        held: its money, None where it was not asked for or may not be read.
    """

    facts: Mapping[str, Any]
    plan: DueDates
    summary: Summary
    held: Money | None = None

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

    # ---- standing
    def standing(self, day: date) -> StandingView:
        """Return the standing on *day*, by the schedule version then in force (rulebook 3)."""
        return tracks.standing_on(self.plan, self.summary.track, day)

    def is_due_paid_before(self, day: date) -> bool:
        """Say whether every instalment due before *day* is paid by payments up to *day*.

        By the schedule version in force on that day (rulebook 4, cured).
        """
        return tracks.is_due_paid_before(self.plan, self.summary.track, day)

    @property
    def days_of_change(self) -> tuple[str, ...]:
        """ISO dates on which something was covered or a schedule version began."""
        return (*self.plan.begins, *[step[0] for step in self.summary.track])

    @property
    def oldest_due(self) -> str:
        """ISO date of the oldest instalment of the newest schedule not paid yet, "" if none."""
        return tracks.oldest_unpaid(self.plan, self.summary.track)

    @property
    def paid_in_full_on(self) -> date | None:
        """The day from which on the newest schedule's total was and stayed paid."""
        return _optional(self.summary.paid_in_full_on)

    # ---- money
    @property
    def money(self) -> Money:
        """Its money.

        Raises:
            RuleBroken: the caller is no member of the collection that keeps it.
        """
        if self.held is None:
            raise RuleBroken(
                f"agreement {self.agreement}",
                f"has its terms in {circles.terms_of(self.lender)}, which is closed to the caller",
                2,
                "let a member of that collection send this: the lender, a receiving institution "
                "that it names, or a regulator",
            )
        return self.held

    def check_money(self) -> None:
        """Refuse a record that needs the money of an agreement of a closed collection.

        Raises:
            RuleBroken: see `money`.
        """
        _ = self.money

    # ---- what a transaction does to it, in memory
    def with_booking(self, booking: Booking, counts_on: date) -> Position:
        """Return it with a booking more, whose amount counts on a day."""
        since = counts_on.isoformat()
        money = self.money.with_booking(booking, since)
        known = self.summary
        track = tracks.track_of(money.terms, money.paid, known.track, since)
        summary = known.moved(track, money.paid_in_full_on, known.due)
        return Position(self.facts, self.plan, summary, money)

    def with_terms(self, terms: Terms) -> Position:
        """Return it with a schedule version more."""
        money = self.money.with_terms(terms)
        track = tracks.track_of(terms, money.paid)
        summary = self.summary.moved(track, money.paid_in_full_on, self.summary.due)
        return Position(self.facts, terms, summary, money)

    def with_due(self, due: str) -> Position:
        """Return it with another place among what is due."""
        known = self.summary
        summary = known.moved(known.track, known.paid_in_full_on, due)
        return Position(self.facts, self.plan, summary, self.held)

    def with_summary(self, **changes: Any) -> Position:
        """Return it with fields of its summary changed."""
        return replace(self, summary=replace(self.summary, **changes))

    def with_closed(self, kind: str, on: date, by: str, evidence: str) -> Position:
        """Return it closed."""
        return self.with_summary(
            closed=kind, closed_on=on.isoformat(), closed_by=by, evidence=evidence
        )


def opened(facts: Mapping[str, Any], terms: Terms) -> Position:
    """Return a new agreement."""
    return Position(facts, terms, Summary(), Money(terms))


def load(stub: ReadOnlyStub, agreements: Sequence[str]) -> list[Position | None]:
    """Return the positions of several agreements without their money, None where there is none.

    Args:
        stub: reads `instalments`; asked once for all keys.
    """
    count = len(agreements)
    keys = [key(agreement) for key in _PUBLIC for agreement in agreements]
    found = stub.get_states(keys)
    positions: list[Position | None] = []
    for facts, summary, plan in zip(
        found[:count], found[count : 2 * count], found[2 * count :], strict=True
    ):
        if facts is None or summary is None or plan is None:
            positions.append(None)
        else:
            positions.append(
                Position(
                    records.decode(facts),
                    Plan.read(records.decode(plan)),
                    Summary.decode(summary),
                )
            )
    return positions


_PUBLIC = (agreement_key, standing_key, plan_key)


def load_held(stub: ReadOnlyStub, agreements: Sequence[str]) -> list[Position | None]:
    """The same for a query, each with its money where this node holds it and the caller may."""
    return _load_with_money(stub, agreements, is_query=True)


def load_with_money(stub: ReadOnlyStub, agreements: Sequence[str]) -> list[Position | None]:
    """The same with the money for a transaction that changes it.

    Raises:
        PrivateDataMissing: this node is no member of a collection, or lacks something of it.
    """
    return _load_with_money(stub, agreements, is_query=False)


def _load_with_money(
    stub: ReadOnlyStub, agreements: Sequence[str], *, is_query: bool
) -> list[Position | None]:
    """The due dates stand in the terms too: the plan is read only where those are closed."""
    count = len(agreements)
    found = stub.get_states(
        [key(agreement) for key in (agreement_key, standing_key) for agreement in agreements]
    )
    facts = [None if raw is None else records.decode(raw) for raw in found[:count]]
    lenders = {str(each["agreement"]): str(each["lender"]) for each in facts if each is not None}
    held = purse.load(stub, lenders, is_query=is_query)
    closed = [agreement for agreement in lenders if agreement not in held]
    without = dict(zip(closed, load(stub, closed), strict=True)) if closed else {}
    positions: list[Position | None] = []
    for plain, summary in zip(facts, found[count:], strict=True):
        if plain is None or summary is None:
            positions.append(None)
            continue
        money = held.get(plain["agreement"])
        if money is None:
            positions.append(without[plain["agreement"]])
        else:
            positions.append(Position(plain, money.terms, Summary.decode(summary), money))
    return positions
