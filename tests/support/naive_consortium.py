"""A second opinion on the rulebook: the whole scheme in plain Python over two CSV files.

No ledger, no contracts, none of the product's code. It reads the same folder and
the same policy file as a rehearsal and says, day by day, which case opens, what is
voted, ordered, applied and released. It is slow and simple on purpose: every
standing is computed again from the payments, every day.

What one day does, in this order: sales and confirmations; what ran out on the day
before ends by date; the executors' receipts for blocks ordered before; payments and
reversals, row by row, with the releases they cause; blocks whose term is over; sweep;
notices; proposals; waiting orders; ballots.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

DAY = timedelta(days=1)


@dataclass
class Rules:
    """The policy's figures, by the rulebook's defaults."""

    trigger_days_past_due: int = 30
    notice_period_days: int = 14
    voting_days: int = 7
    waiting_days: int = 7
    retrigger_pause_days: int = 30
    orders_per_day: int = 200
    orders_per_month_percent: int = 5
    breaker_age_days: int = 60
    longest_block_days: int = 180


@dataclass
class Policy:
    """What a policy file says: rules, members, who votes how, what the regulator does."""

    rules: Rules
    classes: dict[str, str]
    groups: dict[str, str]
    votes: dict[str, str]
    frees_waiting: bool

    @property
    def regulator(self) -> str:
        return next(msp for msp, kind in self.classes.items() if kind == "regulator")


@dataclass
class Case:
    """One case with the day of each step; None where the step was not taken."""

    agreement_ref: str
    lender: str
    triggered_on: date
    notified_on: date | None = None
    proposed_on: date | None = None
    waiting_since: date | None = None
    ordered_on: date | None = None
    applied_on: date | None = None
    ended_as: str = ""
    ended_on: date | None = None
    ended_from: str = ""
    released_on: date | None = None
    lapsed_by_payment_on: date | None = None
    ballots: list[tuple[date, str, str]] = field(default_factory=list)

    @property
    def state(self) -> str:
        if self.released_on:
            return "released"
        if self.ended_as:
            return self.ended_as
        if self.applied_on:
            return "enforced"
        if self.ordered_on:
            return "ordered"
        if self.waiting_since:
            return "waiting"
        if self.proposed_on:
            return "voting"
        return "notified" if self.notified_on else "triggered"


@dataclass
class Loan:
    """An agreement: due dates with amounts, and what came in (paid on, paisa)."""

    ref: str
    lender: str
    opened_on: date
    instalments: list[tuple[date, int]]
    consents: bool = True
    paid: list[tuple[date, int]] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)

    def paid_by(self, day: date) -> int:
        return sum(amount for paid_on, amount in self.paid if paid_on <= day)

    def unpaid(self, day: date) -> list[tuple[date, int, int]]:
        """(due date, missing paisa, whole amount) of each instalment due and not fully paid."""
        left = self.paid_by(day)
        result = []
        for due, amount in self.instalments:
            covered = min(left, amount)
            left -= covered
            if due <= day and covered < amount:
                result.append((due, amount - covered, amount))
        return result

    def standing(self, day: date) -> tuple[int, int, int]:
        """(unpaid instalments, days past due, arrears in paisa)."""
        unpaid = self.unpaid(day)
        past_due = (day - unpaid[0][0]).days if unpaid else 0
        return len(unpaid), past_due, sum(missing for _, missing, _ in unpaid)

    def trigger_holds(self, day: date, rules: Rules) -> bool:
        unpaid = self.unpaid(day)
        if not unpaid:
            return False
        oldest_due, _, oldest_amount = unpaid[0]
        arrears = sum(missing for _, missing, _ in unpaid)
        return (day - oldest_due).days >= rules.trigger_days_past_due and arrears >= oldest_amount

    def is_cured(self, first: date, last: date) -> bool:
        """On some date from *first* to *last* everything due before that date is paid."""
        day = first
        while day <= last:
            if not [due for due, _, _ in self.unpaid(day) if due < day]:
                return True
            day += DAY
        return False

    def is_open(self, day: date) -> bool:
        """Not paid off before *day*."""
        return self.paid_by(day - DAY) < sum(amount for _, amount in self.instalments)


@dataclass
class Result:
    """Everything that happened."""

    loans: dict[str, Loan]
    cases: list[Case]

    def rows(self) -> list[tuple[str, ...]]:
        """One row a case, sorted: what a rehearsal's report must equal."""
        rows = []
        for case in self.cases:
            days = (
                case.triggered_on,
                case.notified_on,
                case.proposed_on,
                case.waiting_since,
                case.ordered_on,
                case.applied_on,
                case.ended_on,
                case.released_on,
            )
            votes = ";".join(f"{day}:{msp}:{choice}" for day, msp, choice in sorted(case.ballots))
            texts = (day.isoformat() if day else "" for day in days)
            rows.append((case.agreement_ref, *texts, case.ended_as, case.state, votes))
        return sorted(rows)

    def block_days(self, until: date) -> int:
        """Midnights, up to the end of *until*, with a block applied and no release verified."""
        total = 0
        for case in self.cases:
            if case.applied_on:
                total += ((case.released_on or until + DAY) - case.applied_on).days
        return total


def load_policy(path: Path) -> Policy:
    """Read a rehearsal's policy file (TOML)."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    given = content.get("parameters", {})
    names = Rules.__dataclass_fields__
    rules = Rules(**{name: given[name] for name in names if name in given})
    members: dict[str, Any] = content["members"]
    votes = content.get("votes", {})
    return Policy(
        rules,
        {msp: member["class"] for msp, member in members.items()},
        {msp: member["affiliate_group"] for msp, member in members.items()},
        {msp: votes.get(msp, "yes") for msp in members},
        content.get("actors", {}).get("regulator_frees_waiting", "next_day") == "next_day",
    )


def run(folder: Path, policy: Policy, until: date, skip: Mapping[str, set[int]]) -> Result:
    """Live through the folder's files up to and including *until*.

    *skip*: file name → line numbers (the header is line 1) that are not to be read,
    because they are bad rows.
    """
    loans = {loan.ref: loan for loan in _loans(folder / "agreements.csv", skip)}
    moves = list(_moves(folder / "payments.csv", skip))
    cases: list[Case] = []
    orders: dict[tuple[str, str], int] = {}
    limits: dict[tuple[str, str], int] = {}
    day = min(loan.opened_on for loan in loans.values())
    by_day: dict[date, list[tuple[str, date, int]]] = {}
    for posted_on, ref, paid_on, amount in moves:
        by_day.setdefault(posted_on, []).append((ref, paid_on, amount))
    while day <= until:
        month = day.strftime("%Y-%m")
        if not any(key[1] == month for key in limits):
            limits.update(_month_limits(loans.values(), policy, day.replace(day=1)))
        opened = [loan for loan in loans.values() if loan.opened_on <= day]
        _expire(cases, day, policy.rules)
        _receipts(cases, day)
        _payments(loans, by_day.get(day, []), day, policy.rules)
        _terms(cases, day, policy.rules)
        _sweep(opened, cases, day, policy.rules)
        _notices_and_proposals(cases, day, policy.rules)
        _waiting(cases, day, policy, orders, limits)
        _ballots(cases, day, policy, orders, limits)
        day += DAY
    return Result(loans, cases)


def _loans(path: Path, skip: Mapping[str, set[int]]) -> Iterable[Loan]:
    for row in _rows(path, skip):
        price = _paisa(row["price_pkr"]) - _paisa(row["down_payment_pkr"])
        count = int(row["instalments"])
        each = price // count // 100 * 100
        amounts = [each] * (count - 1) + [price - each * (count - 1)]
        first = date.fromisoformat(row["first_due_date"])
        dues = [_later(first, row["frequency"], index) for index in range(count)]
        opened = date.fromisoformat(row["opened_on"])
        yield Loan(
            row["agreement_ref"],
            row["lender_msp"],
            opened,
            list(zip(dues, amounts, strict=True)),
            consents=bool(row["consent_ref"]),
        )


def _moves(path: Path, skip: Mapping[str, set[int]]) -> Iterable[tuple[date, str, date, int]]:
    """(posted on, agreement, paid on, paisa); a reversal is a negative amount of the same date."""
    seen: dict[str, tuple[str, date, int]] = {}
    for row in _rows(path, skip):
        paid_on = date.fromisoformat(row["paid_on"])
        posted_on = date.fromisoformat(row.get("received_on") or row["paid_on"])
        reverses = row.get("reverses") or ""
        if reverses:
            ref, original_paid_on, amount = seen[reverses]
            yield posted_on, ref, original_paid_on, -amount
            continue
        if row["payment_ref"] in seen:
            continue
        amount = _paisa(row["amount_pkr"])
        seen[row["payment_ref"]] = (row["agreement_ref"], paid_on, amount)
        yield posted_on, row["agreement_ref"], paid_on, amount


def _rows(path: Path, skip: Mapping[str, set[int]]) -> Iterable[dict[str, str]]:
    bad = skip.get(path.name, set())
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        last = 1
        for row in reader:
            line, last = last + 1, reader.line_num
            if line not in bad:
                yield {key: (value or "").strip() for key, value in row.items() if key}


def _paisa(text: str) -> int:
    return int(Decimal(text.replace(",", "")) * 100)


def _later(first: date, frequency: str, index: int) -> date:
    if frequency == "daily":
        return first + index * DAY
    if frequency == "weekly":
        return first + 7 * index * DAY
    months = first.month - 1 + index
    year, month = first.year + months // 12, months % 12 + 1
    following = date(year + month // 12, month % 12 + 1, 1)
    return date(year, month, min(first.day, (following - DAY).day))


def _month_limits(loans: Iterable[Loan], policy: Policy, first: date) -> dict[tuple[str, str], int]:
    counted = dict.fromkeys(policy.groups.values(), 0)
    for loan in loans:
        old = (first - loan.opened_on).days > policy.rules.breaker_age_days
        if old and loan.is_open(first):
            counted[policy.groups[loan.lender]] += 1
    percent = policy.rules.orders_per_month_percent
    month = first.strftime("%Y-%m")
    return {(group, month): max(1, count * percent // 100) for group, count in counted.items()}


def _end(case: Case, day: date, kind: str) -> None:
    case.ended_from = case.state
    case.ended_as, case.ended_on = kind, day
    if case.ordered_on:
        case.released_on = day


def _receipts(cases: list[Case], day: date) -> None:
    for case in cases:
        if case.ordered_on and not case.ended_as and not case.applied_on:
            case.applied_on = day


def _terms(cases: list[Case], day: date, rules: Rules) -> None:
    for case in cases:
        applied = case.applied_on
        if applied and not case.ended_as and (day - applied).days >= rules.longest_block_days:
            _end(case, day, "term")


def _payments(
    loans: Mapping[str, Loan], today: list[tuple[str, date, int]], day: date, rules: Rules
) -> None:
    """Row by row; what one payment lapsed, another of the same day may still cure."""
    for ref, paid_on, amount in today:
        loan = loans[ref]
        if amount < 0:
            if loan.is_open(day):  # else it was paid off the day before: its certificate stands
                loan.paid.append((paid_on, amount))
            continue
        loan.paid.append((paid_on, amount))
        case = loan.cases[-1] if loan.cases else None
        if case is None or (case.ended_as and case.lapsed_by_payment_on != day):
            continue
        if loan.is_cured(paid_on, day):
            if case.ended_as:
                case.ended_as = "cured"
            else:
                _end(case, day, "cured")
            case.lapsed_by_payment_on = None
        elif not case.ended_as and not case.applied_on and not loan.trigger_holds(day, rules):
            _end(case, day, "lapsed")
            case.lapsed_by_payment_on = day


def _expire(cases: list[Case], day: date, rules: Rules) -> None:
    for case in cases:
        if case.ended_as or case.ordered_on:
            continue
        if (case.waiting_since and (day - case.waiting_since).days > rules.waiting_days) or (
            case.proposed_on
            and not case.waiting_since
            and (day - case.proposed_on).days > rules.voting_days
        ):
            _end(case, day, "lapsed")


def _sweep(opened: list[Loan], cases: list[Case], day: date, rules: Rules) -> None:
    for loan in opened:
        if not loan.consents or any(not case.ended_as for case in loan.cases):
            continue
        if any(
            case.ended_as == "cured" and case.ordered_on and not case.released_on
            for case in loan.cases
        ):
            continue
        recent = [
            case
            for case in loan.cases
            if case.ended_as in ("lapsed", "rejected", "withdrawn")
            and case.ended_on
            and (day - case.ended_on).days <= rules.retrigger_pause_days
        ]
        if not recent and loan.trigger_holds(day, rules):
            case = Case(loan.ref, loan.lender, day)
            loan.cases.append(case)
            cases.append(case)


def _notices_and_proposals(cases: list[Case], day: date, rules: Rules) -> None:
    for case in cases:
        if case.ended_as:
            continue
        if case.notified_on is None:
            case.notified_on = day
        elif case.proposed_on is None and (day - case.notified_on).days >= rules.notice_period_days:
            case.proposed_on = day


def _waiting(
    cases: list[Case],
    day: date,
    policy: Policy,
    orders: dict[tuple[str, str], int],
    limits: dict[tuple[str, str], int],
) -> None:
    waiting = [case for case in cases if case.state == "waiting" and case.waiting_since != day]
    for case in sorted(waiting, key=lambda case: (case.waiting_since, case.agreement_ref)):
        if policy.frees_waiting or _claim(case, day, policy, orders, limits):
            case.ordered_on = day


def _ballots(
    cases: list[Case],
    day: date,
    policy: Policy,
    orders: dict[tuple[str, str], int],
    limits: dict[tuple[str, str], int],
) -> None:
    voting = [case for case in cases if case.state == "voting"]
    for case in sorted(voting, key=lambda case: case.agreement_ref):
        if case.proposed_on == day:
            decision = _vote(case, day, policy)
            if decision == "rejected":
                _end(case, day, "rejected")
            elif decision == "ordered":
                if _claim(case, day, policy, orders, limits):
                    case.ordered_on = day
                else:
                    case.waiting_since = day


def _vote(case: Case, day: date, policy: Policy) -> str:
    """'ordered', 'rejected' or '' while undecided; ballots are cast until it is decided."""
    own = policy.groups[case.lender]
    electors = [msp for msp in policy.classes if policy.groups[msp] != own]
    cast: dict[str, str] = {}
    for msp in [msp for msp in electors if policy.votes[msp] != "silent"]:
        cast[msp] = policy.votes[msp]
        case.ballots.append((day, msp, cast[msp]))
        out = [elector for elector in electors if elector not in cast]
        if _carried(cast, len(out), policy):
            return "ordered"
        if not _carried(cast | dict.fromkeys(out, "yes"), 0, policy):
            return "rejected"
    return ""


def _carried(cast: Mapping[str, str], out: int, policy: Policy) -> bool:
    yes = [msp for msp, choice in cast.items() if choice == "yes"]
    no = sum(choice == "no" for choice in cast.values())
    others = {policy.classes[msp] for msp in yes} - {"regulator"}
    return policy.regulator in yes and len(others) >= 2 and len(yes) > no + out


def _claim(
    case: Case,
    day: date,
    policy: Policy,
    orders: dict[tuple[str, str], int],
    limits: dict[tuple[str, str], int],
) -> bool:
    group = policy.groups[case.lender]
    of_day, of_month = (group, day.isoformat()), (group, day.strftime("%Y-%m"))
    if orders.get(of_day, 0) >= policy.rules.orders_per_day:
        return False
    if orders.get(of_month, 0) >= limits[of_month]:
        return False
    orders[of_day] = orders.get(of_day, 0) + 1
    orders[of_month] = orders.get(of_month, 0) + 1
    return True
