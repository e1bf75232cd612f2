"""Commercial terms: prices, schedules and amounts, as they come in and are checked.

Everything that competitors must not learn of each other comes as transient data and passes through
this module; it is kept in the private collection of its lender (`book/money`, `circles`).

An agreement's terms, plan and facts carry a key-level endorsement policy: whoever else endorses,
the lender must (rulebook 1). A payment reads terms and never writes them, so it needs no lender.

    terms, canonical JSON: {"salt","currency","price_paisa","down_payment_paisa",
                            "versions":[{"from","instalments":[[due,paisa]…],"reason"?,"consent"?}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Final, TypeVar, cast

from chaincode.contract import (
    ArgumentRefusal,
    Bounds,
    Context,
    Malformed,
    MaxItems,
    MaxLength,
)

from . import records
from .arrears import Schedule, rises_anywhere, version_on
from .circles import Salt
from .endorsement import lender_and_another_group
from .members import Roster
from .money import DECIMALS, MAX_PAISA
from .verdicts import RuleBroken

MAX_INSTALMENTS: Final = 1200
"""Three years of a daily plan."""

Paisa = Annotated[int, Bounds(-(2**63), 2**63 - 1)]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InstalmentInput:
    """One instalment as a client sends it."""

    due: date
    amount_paisa: Paisa


@dataclass(frozen=True, slots=True)
class TermsInput:
    """Terms of a new agreement, from transient data; *salt* is no part of their content."""

    salt: Salt = field(repr=False)
    price_paisa: Paisa
    down_payment_paisa: Paisa
    currency: Annotated[str, MaxLength(3)]
    instalments: Annotated[list[InstalmentInput], MaxItems(MAX_INSTALMENTS)]


@dataclass(frozen=True, slots=True)
class ScheduleInput:
    """Terms of a revision, from transient data."""

    instalments: Annotated[list[InstalmentInput], MaxItems(MAX_INSTALMENTS)]


@dataclass(frozen=True, slots=True)
class IdentifiersInput:
    """The raw IMEIs of a device, from transient data: looked at and forgotten."""

    imeis: Annotated[list[Annotated[str, MaxLength(32)]], MaxItems(8)] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RawInput:
    """The raw numbers of an agreement, from transient data, for the executors of a block.

    Attributes:
        imeis: of the handset, in the order of its registration.
        msisdn: of the SIM; "" where no tier that needs it is thought of.
    """

    salt: Salt = field(repr=False)
    imeis: Annotated[list[Annotated[str, MaxLength(32)]], MaxItems(8)] = field(repr=False)
    msisdn: Annotated[str, MaxLength(32)] = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ScheduleVersion:
    """A version of a schedule.

    Attributes:
        in_force_from: ISO date; the first version's is that of the opening.
        reason: code of the revision, "" for the first.
        consent: consent record of the revision, if one was needed.
    """

    in_force_from: str
    instalments: Sequence[Sequence[Any]]
    reason: str = ""
    consent: Mapping[str, Any] | None = None

    def plain(self) -> dict[str, Any]:
        """Return its JSON form."""
        plain: dict[str, Any] = {"from": self.in_force_from, "instalments": self.instalments}
        if self.reason:
            plain["reason"] = self.reason
        if self.consent is not None:
            plain["consent"] = self.consent
        return plain


class Terms:
    """The terms of one agreement with all versions of its schedule."""

    __slots__ = (
        "_schedules",
        "begins",
        "currency",
        "down_payment_paisa",
        "price_paisa",
        "salt",
        "versions",
    )

    def __init__(
        self,
        salt: str,
        currency: str,
        price_paisa: int,
        down_payment_paisa: int,
        versions: Sequence[ScheduleVersion],
    ) -> None:
        self.salt = salt
        self.currency = currency
        self.price_paisa = price_paisa
        self.down_payment_paisa = down_payment_paisa
        self.versions = tuple(versions)
        self.begins = [version.in_force_from for version in self.versions]
        self._schedules: dict[int, Schedule] = {}

    def schedule(self) -> Schedule:
        """Return the newest schedule."""
        return self._schedule(len(self.versions))

    def _schedule(self, version: int) -> Schedule:
        found = self._schedules.get(version)
        if found is None:
            found = Schedule(version, self.versions[version - 1].instalments)
            self._schedules[version] = found
        return found

    def schedule_on(self, day: str) -> Schedule:
        """Return the schedule that was in force on a day, the first before the opening."""
        return self._schedule(self.version_on(day))

    def version_on(self, day: str) -> int:
        """Return the number of the version that was in force on a day."""
        return version_on(self.begins, day)

    def dues(self, version: int) -> Sequence[str]:
        """Return the due dates of a version as ISO texts."""
        return self._schedule(version).dues

    def revised(self, version: ScheduleVersion) -> Terms:
        """Return the terms with one more version."""
        return Terms(
            self.salt,
            self.currency,
            self.price_paisa,
            self.down_payment_paisa,
            (*self.versions, version),
        )

    def plain(self) -> dict[str, Any]:
        """Return their JSON form."""
        return {
            "salt": self.salt,
            "currency": self.currency,
            "price_paisa": self.price_paisa,
            "down_payment_paisa": self.down_payment_paisa,
            "versions": [version.plain() for version in self.versions],
        }


def decode(raw: bytes) -> Terms:
    """Return the terms of a state value."""
    plain = records.decode(raw)
    return Terms(
        plain["salt"],
        plain["currency"],
        plain["price_paisa"],
        plain["down_payment_paisa"],
        [
            ScheduleVersion(
                version["from"],
                version["instalments"],
                version.get("reason", ""),
                version.get("consent"),
            )
            for version in plain["versions"]
        ],
    )


def policy_of(roster: Roster, lender: str) -> bytes:
    """Return the key-level policy of what belongs to *lender* (rulebook 1)."""
    group = roster.group_of(lender)
    others = [member.msp_id for member in roster.members if member.group != group]
    return lender_and_another_group(lender, others)


# ---- on their way in ----------------------------------------------------------------------------


def given_terms(ctx: Context, count: int) -> list[TermsInput | Malformed]:
    """Return the transient list `terms` of new agreements."""
    return _transient(ctx, "terms", count, list[TermsInput | Malformed])


def given_schedules(ctx: Context, count: int) -> list[ScheduleInput | Malformed]:
    """Return the transient list `terms` of revisions."""
    return _transient(ctx, "terms", count, list[ScheduleInput | Malformed])


def given_amounts(ctx: Context, count: int) -> list[int | Malformed]:
    """Return the transient list `amounts`, in paisa."""
    return _transient(ctx, "amounts", count, cast(type[list[int | Malformed]], _AMOUNTS))


def given_identifiers(ctx: Context, count: int) -> list[IdentifiersInput | Malformed] | None:
    """Return the transient list `identifiers`, None where it was left out."""
    if not ctx.has_transient("identifiers"):
        return None
    return _transient(ctx, "identifiers", count, list[IdentifiersInput | Malformed])


def given_raw(ctx: Context, count: int) -> list[RawInput | Malformed] | None:
    """Return the transient list `identifiers` of agreements, None where it was left out."""
    if not ctx.has_transient("identifiers"):
        return None
    return _transient(ctx, "identifiers", count, list[RawInput | Malformed])


_AMOUNTS: Final[Any] = list[Paisa | Malformed]


def _transient(ctx: Context, name: str, count: int, kind: type[list[T]]) -> list[T]:
    entries = ctx.transient_json(name, kind)
    if len(entries) != count:
        raise ArgumentRefusal(
            f"transient data {name!r}",
            f"has {len(entries)} entries for {count} records",
            "give one for each record, in the same order",
        )
    return entries


def well_formed(given: T | Malformed, thing: str) -> T:
    """Return an entry of a transient list.

    Raises:
        RuleBroken: it is not of its type; the message holds nothing of it.
    """
    if isinstance(given, Malformed):
        raise RuleBroken(
            thing,
            f"has transient data that is not of its form: {given.message}",
            2,
            "correct it and send it again",
        )
    return given


# ---- checks -------------------------------------------------------------------------------------


def first_version(agreement: str, given: TermsInput, opened_on: date) -> Terms:
    """Return the terms of a new agreement.

    Raises:
        RuleBroken: due dates do not rise or one is not after the opening, an amount is not
            positive, the sum is not price less down payment, the currency is not known.
    Source: rulebook 2, Agreement.
    """
    thing = f"agreement {agreement}"
    if given.currency not in DECIMALS:
        raise RuleBroken(thing, "is in a currency that is not known", 2, f"use {_currencies()}")
    if not 0 < given.price_paisa <= MAX_PAISA:
        raise RuleBroken(thing, "needs a positive price", 2, "check the price")
    if not 0 <= given.down_payment_paisa < given.price_paisa:
        raise RuleBroken(
            thing,
            "needs a down payment from nothing to less than the price",
            2,
            "an agreement with nothing left to pay is no agreement",
        )
    instalments = check_schedule(thing, given.instalments)
    if given.instalments[0].due <= opened_on:
        raise RuleBroken(
            thing,
            f"has an instalment that is not due after it was opened on {opened_on}",
            2,
            "let the first due date follow the opening",
        )
    financed = given.price_paisa - given.down_payment_paisa
    if sum(amount for _, amount in instalments) != financed:
        raise RuleBroken(
            thing,
            "has instalments whose sum differs from price less down payment",
            2,
            "correct the last instalment",
        )
    return Terms(
        given.salt,
        given.currency,
        given.price_paisa,
        given.down_payment_paisa,
        [ScheduleVersion(opened_on.isoformat(), instalments)],
    )


def _currencies() -> str:
    return ", ".join(DECIMALS)


def check_schedule(thing: str, given: Sequence[InstalmentInput]) -> list[list[Any]]:
    """Return the schedule's JSON form.

    Raises:
        RuleBroken: no instalment, dates that do not rise, an amount that is not positive.
    """
    if not given:
        raise RuleBroken(thing, "has no instalment", 2, "give it at least one")
    previous: date | None = None
    for place, instalment in enumerate(given, 1):
        if previous is not None and instalment.due <= previous:
            raise RuleBroken(
                thing,
                f"has due dates that do not rise, at instalment {place}",
                2,
                "put them in order, one a date",
            )
        if not 0 < instalment.amount_paisa <= MAX_PAISA:
            raise RuleBroken(
                thing,
                f"has an amount that is not positive, at instalment {place}",
                2,
                "leave out an instalment of nothing",
            )
        previous = instalment.due
    return [[instalment.due.isoformat(), instalment.amount_paisa] for instalment in given]


def next_version(
    agreement: str,
    terms: Terms,
    given: ScheduleInput,
    version: ScheduleVersion,
    *,
    may_rise_in_total: bool,
) -> Terms:
    """Return the terms with a revised schedule.

    Args:
        version: of the revision; its instalments are taken from *given*.
        may_rise_in_total: whether the contract type and a new consent allow a higher total.
    Raises:
        RuleBroken: the sum due rises at a date up to the old last one, or the total rises.
    Source: rulebook 2, Schedule version.
    """
    thing = f"agreement {agreement}"
    instalments = check_schedule(thing, given.instalments)
    old, new = terms.schedule(), Schedule(len(terms.versions) + 1, instalments)
    risen = rises_anywhere(old, new)
    if risen:
        raise RuleBroken(
            thing,
            f"cannot ask for more by {risen} than its present schedule does",
            2,
            "a revision may only ease what is due up to the old last date",
        )
    if new.total > old.total and not may_rise_in_total:
        raise RuleBroken(
            thing,
            "cannot rise in total",
            2,
            "only a conventional agreement may, with a new consent of the borrower",
        )
    return terms.revised(
        ScheduleVersion(version.in_force_from, instalments, version.reason, version.consent)
    )
