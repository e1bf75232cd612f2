"""The transaction functions of namespace `instalments` that write the book.

Names, arguments and results are those of docs/contracts.md. Each function reads what all its
records need in a few calls, weighs them one by one over working copies, writes each working copy
once and sets one event. Deliberately absent: rules; they stand beside the records they are about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from chaincode.contract import ArgumentRefusal, Context, transaction

from .. import records
from .. import terms as commercial
from ..cases.hook import CaseHook
from ..verdicts import BulkResult, Verdict
from . import inputs, raw
from .accounts import Accounts
from .agreements import Opening, confirm_sale, confirmation_key, revise_schedule
from .bulk import Entry, conclude, weigh_all
from .desk import Desk, well_formed
from .devices import Register, Tacs, exchange_device, register_device, register_tac
from .endings import end_agreement, issue_clearance
from .payments import Cashier, payment_key, refund_key
from .ports import Cases
from .totals import Counter

Outcomes = list[Verdict | tuple[str, Entry]]


def _agreement(raw: Mapping[str, Any]) -> object:
    return raw.get("agreement")


def _reference(raw: Mapping[str, Any]) -> object:
    return raw.get("reference")


def _first(pseudonyms: object) -> object:
    return pseudonyms[0] if isinstance(pseudonyms, list) and pseudonyms else None


def cases_of(ctx: Context, agreements: Iterable[str]) -> Cases:
    """Return the open cases of some agreements."""
    return CaseHook(ctx, list(dict.fromkeys(agreements)))


class BookFunctions:
    """What writes the book; a mixin of the contract `instalments`."""

    # ---- devices
    @transaction
    def register_tacs(self, ctx: Context, tacs: inputs.TacInputs) -> BulkResult:
        """List types with their makers and registrants."""
        desk = Desk(ctx, "lending", "governance", active=True)
        known = Tacs(ctx.stub, [given.tac for given in well_formed(tacs)])
        outcomes = weigh_all(
            tacs,
            lambda given: given.tac,
            lambda raw: raw.get("tac"),
            lambda _place, given: register_tac(desk, known, given),
        )
        return conclude(ctx, "RegisterTacs", "tac", outcomes)

    @transaction
    def register_devices(self, ctx: Context, devices: inputs.DeviceInputs) -> BulkResult:
        """Register handsets by all their IMEIs."""
        desk = Desk(ctx, active=True)
        good = well_formed(devices)
        tacs = Tacs(ctx.stub, [given.tac for given in good])
        names = [name for given in good for imei in given.imeis for name in imei]
        register = Register(ctx.stub, names, pledges=False)
        numbers = commercial.given_identifiers(ctx, len(devices))
        outcomes = weigh_all(
            devices,
            lambda given: given.imeis[0][0] if given.imeis and given.imeis[0] else "",
            lambda plain: _first(_first(plain.get("imeis"))),
            lambda place, given: register_device(
                desk, tacs, register, given, None if numbers is None else numbers[place]
            ),
        )
        return conclude(ctx, "RegisterDevices", "device", outcomes)

    @transaction
    def exchange_devices(self, ctx: Context, exchanges: inputs.ExchangeInputs) -> BulkResult:
        """Let other handsets take the place of repaired ones."""
        return self._exchange(ctx, "ExchangeDevices", exchanges)

    @transaction
    def exchange_device(self, ctx: Context, exchange: inputs.ExchangeInput) -> Verdict:
        """Let another handset take the place of a repaired one."""
        return self._exchange(ctx, "ExchangeDevice", [exchange]).verdicts[0]

    def _exchange(
        self, ctx: Context, function: str, exchanges: inputs.ExchangeInputs
    ) -> BulkResult:
        desk = Desk(ctx, active=False)
        good = well_formed(exchanges)
        names = [name for given in good for name in (*given.old, *given.new)]
        register = Register(ctx.stub, names, pledges=True)
        accounts = Accounts(ctx.stub, register.pledges())
        cases = cases_of(ctx, register.pledges())

        def id_of(given: inputs.ExchangeInput) -> str:
            known = register.find(given.old)
            return str(known["device"]) if known else given.old[0] if given.old else ""

        outcomes = weigh_all(
            exchanges,
            id_of,
            lambda raw: _first(raw.get("old")),
            lambda _place, given: exchange_device(desk, register, accounts, cases, given),
        )
        accounts.save()
        return conclude(ctx, function, "exchange", outcomes)

    # ---- agreements
    @transaction
    def open_agreements(self, ctx: Context, agreements: inputs.AgreementInputs) -> BulkResult:
        """Open agreements; the signer's member is the lender."""
        desk = Desk(ctx, active=True)
        terms = commercial.given_terms(ctx, len(agreements))
        numbers = commercial.given_raw(ctx, len(agreements))
        opening = Opening(desk, well_formed(agreements))
        cases = cases_of(ctx, opening.pledges) if opening.pledges else None
        outcomes = weigh_all(
            agreements,
            lambda given: given.agreement,
            _agreement,
            lambda place, given: opening.open(
                cases, given, terms[place], None if numbers is None else numbers[place]
            ),
        )
        opening.save()
        return conclude(ctx, "OpenAgreements", "agreement", outcomes)

    @transaction
    def confirm_sales(self, ctx: Context, confirmations: inputs.ConfirmationInputs) -> BulkResult:
        """Confirm that handset and SIM were handed over."""
        desk = Desk(ctx, active=True)
        names = list(dict.fromkeys(given.agreement for given in well_formed(confirmations)))
        accounts = Accounts(ctx.stub, names)
        raws = ctx.stub.get_states([confirmation_key(name) for name in names])
        known = {name: records.decode(raw) for name, raw in zip(names, raws, strict=True) if raw}
        outcomes = weigh_all(
            confirmations,
            lambda given: given.agreement,
            _agreement,
            lambda _place, given: confirm_sale(desk, accounts, known, given),
        )
        accounts.save()
        return conclude(ctx, "ConfirmSales", "confirmation", outcomes)

    @transaction
    def revise_schedules(self, ctx: Context, revisions: inputs.RevisionInputs) -> BulkResult:
        """Write the next versions of schedules."""
        return self._revise(ctx, "ReviseSchedules", revisions)

    @transaction
    def revise_schedule(self, ctx: Context, revision: inputs.RevisionInput) -> Verdict:
        """Write the next version of a schedule."""
        return self._revise(ctx, "ReviseSchedule", [revision]).verdicts[0]

    def _revise(self, ctx: Context, function: str, revisions: inputs.RevisionInputs) -> BulkResult:
        desk = Desk(ctx, active=False)
        schedules = commercial.given_schedules(ctx, len(revisions))
        names = [given.agreement for given in well_formed(revisions)]
        accounts, cases = Accounts(ctx.stub, names, money=True), cases_of(ctx, names)
        outcomes = weigh_all(
            revisions,
            lambda given: given.agreement,
            _agreement,
            lambda place, given: revise_schedule(desk, accounts, cases, given, schedules[place]),
        )
        return self._close_books(desk, accounts, function, "schedule", outcomes)

    # ---- raw identifiers
    @transaction
    def record_identifiers(self, ctx: Context, agreements: inputs.NamedAgreements) -> BulkResult:
        """Put raw identifiers on record for the executors of a block."""
        desk = Desk(ctx, active=False)
        numbers = commercial.given_raw(ctx, len(agreements))
        if numbers is None:
            raise ArgumentRefusal(
                "transient data 'identifiers'", "is missing", "send it as transient data"
            )
        accounts = Accounts(ctx.stub, [given.agreement for given in well_formed(agreements)])
        outcomes = weigh_all(
            agreements,
            lambda given: given.agreement,
            _agreement,
            lambda place, given: raw.record(desk, accounts, given, numbers[place]),
        )
        return conclude(ctx, "RecordIdentifiers", "identifiers", outcomes)

    @transaction
    def purge_identifiers(self, ctx: Context, agreements: inputs.NamedAgreements) -> BulkResult:
        """Remove the raw identifiers of closed agreements, everywhere and for good."""
        desk = Desk(ctx, active=False)
        names = [given.agreement for given in well_formed(agreements)]
        accounts, cases = Accounts(ctx.stub, names), cases_of(ctx, names)
        outcomes = weigh_all(
            agreements,
            lambda given: given.agreement,
            _agreement,
            lambda _place, given: raw.purge(desk, accounts, cases, given),
        )
        return conclude(ctx, "PurgeIdentifiers", "identifiers", outcomes)

    # ---- money
    @transaction
    def post_payments(self, ctx: Context, payments: inputs.PaymentInputs) -> BulkResult:
        """Record payments, and end in the same transaction the cases that they cure."""
        desk = Desk(ctx, active=False)
        amounts = commercial.given_amounts(ctx, len(payments))
        good = well_formed(payments)
        accounts = Accounts(ctx.stub, [given.agreement for given in good], money=True)
        cases = cases_of(ctx, [given.agreement for given in good])
        caller = desk.msp_id
        keys = [payment_key(given.institution or caller, given.reference) for given in good]
        cashier = Cashier(desk, accounts, cases, keys)
        outcomes = weigh_all(
            payments,
            lambda given: given.reference,
            _reference,
            lambda place, given: cashier.post(given, amounts[place]),
        )
        return self._close_books(desk, accounts, "PostPayments", "payment", outcomes)

    @transaction
    def refund_credit(self, ctx: Context, refunds: inputs.RefundInputs) -> BulkResult:
        """Record credit that was given back."""
        desk = Desk(ctx, active=False)
        amounts = commercial.given_amounts(ctx, len(refunds))
        good = well_formed(refunds)
        accounts = Accounts(ctx.stub, [given.agreement for given in good], money=True)
        keys = [refund_key(desk.msp_id, given.reference) for given in good]
        cashier = Cashier(desk, accounts, None, keys)
        outcomes = weigh_all(
            refunds,
            lambda given: given.reference,
            _reference,
            lambda place, given: cashier.refund(given, amounts[place]),
        )
        return self._close_books(desk, accounts, "RefundCredit", "refund", outcomes)

    @transaction
    def reverse_payments(self, ctx: Context, reversals: inputs.ReversalInputs) -> BulkResult:
        """Take back payments that did not stand; nothing is blocked by it."""
        desk = Desk(ctx, active=False)
        accounts = Accounts(ctx.stub, ())
        caller = desk.msp_id
        good = well_formed(reversals)
        keys = [payment_key(given.institution or caller, given.reference) for given in good]
        cashier = Cashier(desk, accounts, None, keys)
        outcomes = weigh_all(
            reversals,
            lambda given: given.reference,
            _reference,
            lambda _place, given: cashier.reverse(given),
        )
        return self._close_books(desk, accounts, "ReversePayments", "reversal", outcomes)

    # ---- endings
    @transaction
    def end_agreements(self, ctx: Context, endings: inputs.EndingInputs) -> BulkResult:
        """Close agreements as written off or by the borrower's death."""
        desk, counter = Desk(ctx, active=False), Counter()
        names = [given.agreement for given in well_formed(endings)]
        accounts, cases = Accounts(ctx.stub, names), cases_of(ctx, names)
        outcomes = weigh_all(
            endings,
            lambda given: given.agreement,
            _agreement,
            lambda _place, given: end_agreement(desk, accounts, cases, counter, given),
        )
        counter.save(desk)
        return self._close_books(desk, accounts, "EndAgreements", "ending", outcomes)

    @transaction
    def issue_clearance(self, ctx: Context, clearances: inputs.ClearanceInputs) -> BulkResult:
        """Certify that agreements are paid in full, and close them."""
        desk, counter = Desk(ctx, active=False), Counter()
        names = [given.agreement for given in well_formed(clearances)]
        accounts, cases = Accounts(ctx.stub, names), cases_of(ctx, names)
        outcomes = weigh_all(
            clearances,
            lambda given: given.agreement,
            _agreement,
            lambda _place, given: issue_clearance(desk, accounts, cases, counter, given),
        )
        counter.save(desk)
        return self._close_books(desk, accounts, "IssueClearance", "clearance", outcomes)

    def _close_books(
        self, desk: Desk, accounts: Accounts, function: str, kind: str, outcomes: Outcomes
    ) -> BulkResult:
        accounts.save()
        return conclude(
            desk.ctx, function, kind, outcomes, lambda name: accounts.bucket(name, desk.today)
        )
