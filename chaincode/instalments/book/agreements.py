"""Agreements: opening, the confirmation of sale, revisions of the schedule.

Prices and schedules go into the lender's private collection (`money`), due dates into the plan that
everybody reads.

Layout in `instalments`, beside what `position` says:

    confirmation/<agreement>   {"agreement","by","handed_over_on","recorded_on"}

Opening is the one function here that reads the ledger day and the policy: an agreement must come
into the book within days of its contract, or be marked as of an older book (rulebook 2).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chaincode.contract import Malformed, Stub

from .. import records
from .. import terms as commercial
from ..calendar import days_between
from ..identifiers import check_reference
from ..terms import RawInput, ScheduleInput, ScheduleVersion, Terms, TermsInput
from ..verdicts import RuleBroken
from . import money as purse
from . import raw
from .accounts import Accounts
from .bulk import Entry, named
from .desk import Desk
from .devices import Plain, Register, require_not_exchanged
from .inputs import AgreementInput, ConfirmationInput, ConsentInput, RevisionInput
from .ports import Cases, Moved
from .position import Position, agreement_key, opened, plan_key
from .totals import Counter
from .track import Plan, PlanVersion


def confirmation_key(agreement: str) -> str:
    """Return the key of a confirmation of sale."""
    return f"confirmation/{agreement}"


def _consent(given: ConsentInput | None) -> dict[str, Any] | None:
    if given is None:
        return None
    return {"statement": given.statement, "language": given.language, "block": given.block}


class Opening:
    """Opens the agreements of one transaction (rulebook 2, Agreement)."""

    def __init__(self, desk: Desk, inputs: Sequence[AgreementInput]) -> None:
        stub: Stub = desk.ctx.stub
        self._desk = desk
        self._stub = stub
        self._accounts = Accounts(stub, [given.agreement for given in inputs], money=True)
        pseudonyms = [name for given in inputs for name in given.device]
        self._register = Register(stub, pseudonyms, pledges=True)
        self._accounts.load(self._register.pledges())
        self._counter = Counter()
        self._ledger_day = desk.ledger_day()
        self._window_days = desk.opening_window_days(self._ledger_day)
        self._policy = commercial.policy_of(desk.roster, desk.msp_id)
        member = desk.officer.member
        if member.member_class not in ("bank", "investment_firm", "operator"):
            raise RuleBroken(
                f"member {member.msp_id}",
                f"is of class {member.member_class} and cannot lend",
                2,
                "a bank, an investment firm or an operator opens agreements",
            )

    @property
    def pledges(self) -> list[str]:
        """Earlier agreements about the devices of this list."""
        return self._register.pledges()

    def open(
        self,
        cases: Cases | None,
        given: AgreementInput,
        terms: TermsInput | Malformed,
        numbers: RawInput | Malformed | None,
    ) -> Entry:
        """Weigh one agreement and write it, with its raw identifiers where they came along."""
        check_reference(given.agreement)
        thing = f"agreement {given.agreement}"
        first = commercial.first_version(
            given.agreement, commercial.well_formed(terms, thing), given.opened_on
        )
        device = self._register.device(given.device)
        facts = self._facts(given, device)
        known = self._accounts.find(given.agreement)
        if known is not None:
            if not _is_same(known, facts, first):
                raise RuleBroken(
                    thing, "is known with other content", 2, "give a new agreement a new id"
                )
            return Entry(False, known.closed or "open", given.agreement)
        self._check_opened_on(thing, given)
        self._check_members(thing, given)
        self._check_device(thing, device, cases)
        checked = None if numbers is None else raw.checked(thing, numbers, device)
        self._write(given, facts, first)
        if checked is not None:
            raw.save(self._stub, facts["lender"], given.agreement, device["device"], checked)
        self._register.pledge(device["device"], given.agreement)
        facts_of_event = {"lender": facts["lender"], "opened_on": facts["opened_on"]}
        return Entry(True, "open", given.agreement, None, facts_of_event)

    def save(self) -> None:
        """Write what is kept once a transaction."""
        self._accounts.save()
        self._counter.save(self._desk)

    def _check_opened_on(self, thing: str, given: AgreementInput) -> None:
        desk = self._desk
        desk.require_not_future(thing, "was opened", given.opened_on)
        age = days_between(given.opened_on, self._ledger_day)
        if age > self._window_days and not given.imported:
            raise RuleBroken(
                thing,
                f"was opened on {given.opened_on}, more than {self._window_days} days before the "
                f"ledger day {self._ledger_day}",
                2,
                "mark an older book as imported",
            )

    def _check_members(self, thing: str, given: AgreementInput) -> None:
        roster, lender = self._desk.roster, self._desk.msp_id
        if roster.find(given.operator) is None:
            raise RuleBroken(
                thing, "names an operator that is no member", 2, "name the operator's MSP id"
            )
        group = roster.group_of(lender)
        named_ones = [roster.find(msp_id) for msp_id in given.receiving_institutions]
        if None in named_ones:
            raise RuleBroken(
                thing, "names a receiving institution that is no member", 2, "name members only"
            )
        if all(member is None or member.group == group for member in named_ones):
            raise RuleBroken(
                thing,
                "has no receiving institution outside the lender's group",
                2,
                "name one more, or the regulator for its escrow",
            )

    def _facts(self, given: AgreementInput, device: Plain) -> dict[str, Any]:
        return {
            "agreement": given.agreement,
            "lender": self._desk.msp_id,
            "operator": given.operator,
            "device": device["device"],
            "borrower": given.borrower,
            "sim": given.sim,
            "contract_type": given.contract_type,
            "receiving_institutions": list(dict.fromkeys(given.receiving_institutions)),
            "consent": _consent(given.consent),
            "opened_on": given.opened_on.isoformat(),
            "imported": given.imported,
            "recorded_on": self._desk.day,
        }

    def _check_device(self, thing: str, device: Plain, cases: Cases | None) -> None:
        require_not_exchanged(device)
        pledge = self._register.pledge_of(device["device"])
        if not pledge:
            return
        earlier = self._accounts.position(pledge)
        if not earlier.closed:
            raise RuleBroken(
                thing,
                "is about a device that is financed already",
                2,
                "see the query DeviceStatus; the earlier agreement must be closed first",
            )
        if cases is not None and cases.blocked(pledge, device["device"]) != "none":
            raise RuleBroken(
                thing,
                "is about a device that is blocked or not yet released",
                2,
                "open it once the release is verified",
            )

    def _write(self, given: AgreementInput, facts: dict[str, Any], terms: Terms) -> None:
        stub, agreement = self._stub, given.agreement
        stub.put_state(agreement_key(agreement), records.encode(facts))
        stub.put_state(plan_key(agreement), _plan_of(terms))
        for key in (agreement_key(agreement), plan_key(agreement)):
            stub.set_state_validation_parameter(key, self._policy)
        lender = facts["lender"]
        purse.save_terms(stub, lender, agreement, terms)
        purse.protect_terms(stub, lender, agreement, self._policy)
        self._accounts.put(opened(facts, terms))
        self._counter.opened(lender, facts["opened_on"])


def _is_same(known: Position, facts: Mapping[str, Any], first: Terms) -> bool:
    """Say whether the ledger has the very same agreement; the day of recording is no content."""
    theirs = dict(known.facts)
    mine = dict(facts)
    del theirs["recorded_on"], mine["recorded_on"]
    terms = known.money.terms
    return (
        theirs == mine
        and terms.currency == first.currency
        and terms.price_paisa == first.price_paisa
        and terms.down_payment_paisa == first.down_payment_paisa
        and terms.versions[0].plain() == first.versions[0].plain()
    )


def _plan_of(terms: Terms) -> bytes:
    """Return the state value of the due dates that everybody may read."""
    versions = [
        PlanVersion(version.in_force_from, terms.dues(number), version.reason)
        for number, version in enumerate(terms.versions, 1)
    ]
    return records.encode(Plan(versions).plain())


def confirm_sale(
    desk: Desk, accounts: Accounts, known: dict[str, dict[str, Any]], given: ConfirmationInput
) -> Entry:
    """Record that handset and SIM were handed over (rulebook 2, Confirmation of sale).

    Args:
        known: confirmations by agreement; the new one is put in.
    """
    position = accounts.position(given.agreement)
    thing = named("agreement", given.agreement)
    roster = desk.roster
    if roster.group_of(position.lender) == desk.officer.member.group:
        raise RuleBroken(
            thing,
            "cannot be confirmed by a member of its lender's group",
            2,
            "a member outside it confirms the sale",
        )
    desk.require_not_future(thing, "was handed over", given.handed_over_on)
    handed_over_on = given.handed_over_on.isoformat()
    earlier = known.get(given.agreement)
    if earlier is not None:
        if earlier["by"] == desk.msp_id and earlier["handed_over_on"] != handed_over_on:
            raise RuleBroken(
                thing,
                f"was confirmed by {desk.msp_id} with another date",
                2,
                "the first confirmation stands",
            )
        return Entry(False, "confirmed", given.agreement)
    plain = {
        "agreement": given.agreement,
        "by": desk.msp_id,
        "handed_over_on": handed_over_on,
        "recorded_on": desk.day,
    }
    known[given.agreement] = plain
    desk.ctx.stub.put_state(confirmation_key(given.agreement), records.encode(plain))
    accounts.put(position.with_summary(confirmed_on=desk.day))
    facts = {"by": desk.msp_id, "handed_over_on": handed_over_on}
    return Entry(True, "confirmed", given.agreement, None, facts)


def revise_schedule(
    desk: Desk,
    accounts: Accounts,
    cases: Cases,
    given: RevisionInput,
    schedule: ScheduleInput | Malformed,
) -> Entry:
    """Write the next version of a schedule (rulebook 2, Schedule version)."""
    position = accounts.position(given.agreement)
    thing = named("agreement", given.agreement)
    desk.require_lender(position, "revised")
    asked = commercial.well_formed(schedule, thing)
    terms = position.money.terms
    version = ScheduleVersion(
        desk.day, commercial.check_schedule(thing, asked.instalments), given.reason,
        _consent(given.consent),
    )  # fmt: skip
    if 1 < given.version <= len(terms.versions):
        known = terms.versions[given.version - 1]
        if _content_of(known) == _content_of(version):
            return Entry(False, "", given.agreement)
    if given.version != len(terms.versions) + 1:
        raise RuleBroken(
            thing,
            f"has {len(terms.versions)} schedule versions, so {given.version} is not the next",
            2,
            f"revise it as version {len(terms.versions) + 1}",
        )
    if position.closed:
        raise RuleBroken(
            thing, f"is closed ({position.closed})", 2, "a closed agreement has no new schedule"
        )
    may_rise = position.contract_type == "conventional" and given.consent is not None
    revised = commercial.next_version(
        given.agreement, terms, asked, version, may_rise_in_total=may_rise
    )
    after = position.with_terms(revised)
    desk.ctx.stub.put_state(plan_key(given.agreement), _plan_of(revised))
    purse.save_terms(desk.ctx.stub, position.lender, given.agreement, revised)
    accounts.put(after)
    moved: Moved | None = cases.after_change(after)
    facts = {"version": given.version, "reason": given.reason}
    return Entry(True, "", given.agreement, moved, facts)


def _content_of(version: ScheduleVersion) -> dict[str, Any]:
    plain = version.plain()
    del plain["from"]
    return plain
