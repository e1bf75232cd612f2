"""Policy versions: every figure of the rulebook as a governed parameter (rulebook 1).

A version is a record, `policy/<version>`; `policies` lists which is active from when. A version
stands for ever, so that an old case can be judged by the rules of its day. A case keeps the
version in force when it was triggered, but what is milder binds open cases too: `Policies.terms`
folds every version in force since then, each parameter to the side that is better for the
borrower. Once milder, milder for that case.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date, timedelta
from typing import Any, Final

from chaincode.contract import ReadOnlyStub

from . import records
from .calendar import parse_date
from .members import CLASSES
from .verdicts import RuleBroken

POLICIES_KEY: Final = "policies"
SCOPES: Final = ("none", "own_sim", "financed_sim")
TIERS: Final = (1, 2, 3)


def _figure(default: int, least: int, most: int, milder: Callable[[int, int], int] | None) -> int:
    """Declare a whole-number parameter: default, bounds, which of two figures is milder."""
    figure: int = field(default=default, metadata={"least": least, "most": most, "milder": milder})
    return figure


@dataclass(frozen=True, slots=True)
class Policy:
    """The parameters of one version, with the rulebook's defaults.

    Days are PKT dates and "within n days" includes day n. Where a figure cannot be milder or
    harder in itself, the version that is in force decides, whatever the case.

    Attributes:
        trigger_days_past_due: from which a case may open (4).
        sweep_agreements: named by one sweep at most (4).
        delivery_days: after the trigger in which the notice must be delivered and written (4).
        notice_period_days: between notice and proposal (4).
        proposal_days: since the notice in which the lender must propose (4).
        voting_days: then silence lapses the case (4).
        waiting_days: behind a circuit breaker, then the case lapses (4).
        start_hours: in which an executor must have SUBMITTED (4).
        longest_block_days: then the phone is released (4).
        retrigger_pause_days: after a lapsed, rejected or withdrawn case (4).
        imported_pause_days: of an imported book without a case (2).
        opening_window_days: in which an agreement must be registered (2).
        hold_days: longest hold (2).
        dispute_days: in which the lender must answer a dispute (4).
        hold_silence_days: of the regulator, then a hold releases a block (4).
        release_hours: in which an executor must have acknowledged a release (4).
        tier1_quorum_classes: classes beside the regulator that must say yes (5); tiers 2, 3 too.
        orders_per_day: block orders of an affiliate group a PKT day (5).
        orders_per_month_percent: of its aged open agreements, at least one (5).
        breaker_age_days: agreements older than this count for the month's limit (5).
        activation_days: between the adoption of a version and its first day (1).
        adoption_numerator, adoption_denominator: share of the active members that adopts (1).
        governance_days: a proposal of policy or membership is open for voting (1).
        stop_days: longest stop of all block orders (1).
        tier1_on, tier2_on, tier3_on: whether the tier is switched on (5).
        tier2_needs_instrument: whether tier 2 needs the regulator's legal instrument; 3 always.
        tier2_scope: none, own_sim (the lender-operator's own) or financed_sim (in the phone).
        executor_classes: classes whose active members execute a tier 1 order (5).
        moratorium_until: last day of a moratorium that begins with this version; None: none.
    """

    trigger_days_past_due: int = _figure(30, 1, 3650, max)
    sweep_agreements: int = _figure(50, 1, 500, None)
    delivery_days: int = _figure(14, 1, 365, min)
    notice_period_days: int = _figure(14, 1, 365, max)
    proposal_days: int = _figure(30, 1, 365, min)
    voting_days: int = _figure(7, 1, 60, min)
    waiting_days: int = _figure(7, 1, 60, min)
    start_hours: int = _figure(72, 1, 720, min)
    longest_block_days: int = _figure(180, 1, 365, min)
    retrigger_pause_days: int = _figure(30, 1, 3650, max)
    imported_pause_days: int = _figure(30, 0, 365, max)
    opening_window_days: int = _figure(7, 0, 60, None)
    hold_days: int = _figure(30, 1, 365, max)
    dispute_days: int = _figure(15, 1, 60, min)
    hold_silence_days: int = _figure(5, 1, 30, min)
    release_hours: int = _figure(2, 1, 72, min)
    tier1_quorum_classes: int = _figure(2, 1, 4, max)
    tier2_quorum_classes: int = _figure(3, 1, 4, max)
    tier3_quorum_classes: int = _figure(3, 1, 4, max)
    orders_per_day: int = _figure(200, 0, 1_000_000, None)
    orders_per_month_percent: int = _figure(5, 0, 100, None)
    breaker_age_days: int = _figure(60, 0, 3650, None)
    activation_days: int = _figure(7, 1, 365, None)
    adoption_numerator: int = _figure(2, 1, 100, None)
    adoption_denominator: int = _figure(3, 1, 100, None)
    governance_days: int = _figure(30, 1, 365, None)
    stop_days: int = _figure(30, 1, 365, None)
    tier1_on: bool = field(default=True, metadata={"milder": min})
    tier2_on: bool = field(default=False, metadata={"milder": min})
    tier3_on: bool = field(default=False, metadata={"milder": min})
    tier2_needs_instrument: bool = field(default=True, metadata={"milder": max})
    tier2_scope: str = field(default="none", metadata={"choices": SCOPES})
    executor_classes: tuple[str, ...] = field(default=("operator",), metadata={"choices": CLASSES})
    moratorium_until: date | None = None

    def is_tier_on(self, tier: int) -> bool:
        """Say whether *tier* is switched on."""
        return (self.tier1_on, self.tier2_on, self.tier3_on)[tier - 1]

    def quorum_classes(self, tier: int) -> int:
        """Return how many classes beside the regulator must say yes."""
        quorums = (self.tier1_quorum_classes, self.tier2_quorum_classes, self.tier3_quorum_classes)
        return quorums[tier - 1]

    def needs_instrument(self, tier: int) -> bool:
        """Say whether a proposal of *tier* must name a legal instrument."""
        return tier == 3 or (tier == 2 and self.tier2_needs_instrument)

    def plain(self) -> dict[str, Any]:
        """Return its JSON form: every parameter by name."""
        plain: dict[str, Any] = {}
        for parameter in fields(self):
            value = getattr(self, parameter.name)
            if isinstance(value, date):
                value = value.isoformat()
            plain[parameter.name] = list(value) if isinstance(value, tuple) else value
        return plain

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Policy:
        """Return the policy of a JSON form; parameters that are missing have their defaults."""
        given = dict(plain)
        if given.get("moratorium_until"):
            given["moratorium_until"] = date.fromisoformat(given["moratorium_until"])
        if "executor_classes" in given:
            given["executor_classes"] = tuple(given["executor_classes"])
        return cls(**given)


def changed(policy: Policy, parameters: Mapping[str, object]) -> Policy:
    """Return *policy* with some parameters changed, all of them checked.

    Args:
        parameters: by name, as JSON has them.

    Raises:
        RuleBroken: there is no such parameter, or it cannot have that value.
    """
    known = {parameter.name: parameter for parameter in fields(Policy)}
    given: dict[str, Any] = {}
    for name in sorted(parameters):
        parameter = known.get(name)
        if parameter is None:
            raise RuleBroken(
                "the policy", "has no parameter of one of the given names", 1, "see PolicyInForce"
            )
        given[name] = _checked(parameter, parameters[name])
    result = replace(policy, **given)
    if result.proposal_days < result.notice_period_days:
        raise RuleBroken("the policy", "has proposal_days below notice_period_days", 4)
    if result.adoption_numerator > result.adoption_denominator:
        raise RuleBroken("the policy", "has an adoption share above the whole", 1)
    return result


def _checked(parameter: dataclasses.Field[Any], value: object) -> object:
    thing, bounds = f"policy parameter {parameter.name}", parameter.metadata
    if "least" in bounds:
        if type(value) is not int or not bounds["least"] <= value <= bounds["most"]:
            span = f"{bounds['least']} to {bounds['most']}"
            raise RuleBroken(thing, f"must be a whole number from {span}", 1)
        return value
    if parameter.name == "moratorium_until":
        try:
            return None if value is None else parse_date(str(value))
        except RuleBroken:
            raise RuleBroken(thing, "must be a date as YYYY-MM-DD or null", 1) from None
    if "choices" in bounds:
        choices = bounds["choices"]
        is_list = parameter.name == "executor_classes"
        words = list(value) if is_list and isinstance(value, list | tuple) else [value]
        if not words or any(word not in choices for word in words):
            raise RuleBroken(thing, f"must be one of {', '.join(choices)}", 1)
        return tuple(sorted({str(word) for word in words})) if is_list else value
    if type(value) is not bool:
        raise RuleBroken(thing, "must be true or false", 1)
    return value


def milder(one: Policy, other: Policy) -> Policy:
    """Return, parameter by parameter, what is better for the borrower.

    Parameters that are neither milder nor harder in themselves are those of *other*.
    """
    folded: dict[str, Any] = {}
    for parameter in fields(Policy):
        theirs = getattr(other, parameter.name)
        fold = parameter.metadata.get("milder")
        mine = getattr(one, parameter.name)
        folded[parameter.name] = theirs if fold is None else fold(mine, theirs)
    if folded["tier2_scope"] != one.tier2_scope and one.tier2_scope == "none":
        folded["tier2_scope"] = "none"
    return Policy(**folded)


@dataclass(frozen=True, slots=True)
class Version:
    """One adopted version.

    Attributes:
        number: 1 for the founding one.
        active_from: its first day.
        policy: its parameters.
    """

    number: int
    active_from: date
    policy: Policy

    def plain(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "version": self.number,
            "active_from": self.active_from.isoformat(),
            "parameters": self.policy.plain(),
        }


@dataclass(frozen=True, slots=True)
class Terms:
    """What binds one case on one day: the milder of all versions in force since its trigger.

    Attributes:
        policy: the folded parameters.
        tier_off_since: by tier, the first day since the trigger on which it was off.
        moratorium_since: the first day since the trigger that lay in a moratorium.
    """

    policy: Policy
    tier_off_since: Mapping[int, date]
    moratorium_since: date | None


class Policies:
    """All adopted versions, by the day from which they are active."""

    __slots__ = ("_active_from", "_terms", "versions")

    def __init__(self, versions: tuple[Version, ...]) -> None:
        self.versions = tuple(sorted(versions, key=lambda v: (v.active_from, v.number)))
        self._active_from = [version.active_from for version in self.versions]
        self._terms: dict[tuple[int, date, date], Terms] = {}

    def in_force(self, day: date) -> Version:
        """Return the version in force on *day*.

        Raises:
            RuleBroken: none was yet.
        """
        place = bisect_right(self._active_from, day)
        if place == 0:
            raise RuleBroken(f"the policy of {day}", "does not exist", 1, "submit Found first")
        return self.versions[place - 1]

    def is_moratorium(self, day: date) -> bool:
        """Say whether *day* lies in a moratorium of the version in force."""
        until = self.in_force(day).policy.moratorium_until
        return until is not None and day <= until

    def terms(self, number: int, triggered_on: date, today: date) -> Terms:
        """Return what binds a case of version *number*, triggered and seen on these days."""
        key = (number, triggered_on, today)
        found = self._terms.get(key)
        if found is None:
            found = self._terms[key] = self._fold(number, triggered_on, today)
        return found

    def eased_triggers(
        self, number: int, triggered_on: date, today: date
    ) -> tuple[tuple[date, int], ...]:
        """Return (first day, days past due) of each later version that eased a case's trigger."""
        asked = self.terms(number, triggered_on, triggered_on).policy.trigger_days_past_due
        found: list[tuple[date, int]] = []
        for version in self.versions:
            if triggered_on < version.active_from <= today:
                folded = self.terms(number, triggered_on, version.active_from).policy
                if folded.trigger_days_past_due > asked:
                    asked = folded.trigger_days_past_due
                    found.append((version.active_from, asked))
        return tuple(found)

    def _fold(self, number: int, triggered_on: date, today: date) -> Terms:
        first = next(place for place, v in enumerate(self.versions) if v.number == number)
        policy = self.versions[first].policy
        off: dict[int, date] = {}
        moratorium: date | None = None
        for version in self.versions[first:]:
            if version.active_from > today:
                break
            policy = milder(policy, version.policy)
            since = max(version.active_from, triggered_on)
            for tier in TIERS:
                if not version.policy.is_tier_on(tier):
                    off.setdefault(tier, since)
            until = version.policy.moratorium_until
            if moratorium is None and until is not None and since <= until:
                moratorium = since
        return Terms(policy, off, moratorium)


def policy_key(number: int) -> str:
    """Return the key of a version."""
    return f"policy/{number}"


def load(stub: ReadOnlyStub) -> Policies:
    """Return all versions; *stub* reads `enforcement`.

    Raises:
        RuleBroken: the consortium was not founded.
    """
    raw = stub.get_state(POLICIES_KEY)
    if raw is None:
        raise RuleBroken("the policy", "does not exist yet", 1, "submit Found first")
    listed = records.decode(raw)["versions"]
    values = stub.get_states([policy_key(entry["version"]) for entry in listed])
    versions = []
    for entry, value in zip(listed, values, strict=True):
        if value is None:
            raise RuleBroken(f"policy {entry['version']}", "does not exist", 1)
        parameters = records.decode(value)["parameters"]
        active_from = date.fromisoformat(entry["active_from"])
        versions.append(Version(entry["version"], active_from, Policy.of(parameters)))
    return Policies(tuple(versions))


def in_force(stub: ReadOnlyStub, day: date) -> Policy:
    """Return the parameters in force on *day*; *stub* reads `enforcement`."""
    return load(stub).in_force(day).policy


def encode_list(versions: tuple[Version, ...]) -> bytes:
    """Return the state value of the list of versions."""
    listed = [
        {"version": version.number, "active_from": version.active_from.isoformat()}
        for version in versions
    ]
    return records.encode({"versions": listed})


def first_active_day(adopted_on: date, policy: Policy, wanted: date | None) -> date:
    """Return the first day of a version adopted on *adopted_on* under *policy*."""
    earliest = adopted_on + timedelta(days=policy.activation_days)
    return earliest if wanted is None else max(earliest, wanted)
