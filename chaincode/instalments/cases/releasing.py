"""The transaction functions of namespace `instalments` that end cases and release phones.

They ask for a member, not for an active one, and only that the transaction is not of a day before
the ledger day: nobody whose word is needed elsewhere may hold up a release (rulebook 1).
"""

from __future__ import annotations

from chaincode.contract import Context, transaction

from .. import ledger_day, officers
from ..officers import Officer
from ..verdicts import BulkResult
from . import bulk, ending, hold, inputs, release
from .bulk import Outcome
from .case import cases_of_orders
from .docket import Docket
from .outcome import agreements_of_holds


def attend(ctx: Context, docket: Docket, *roles: str) -> Officer:
    """Return the signer, an officer of a member, of a transaction that is not of the past.

    Raises:
        RuleBroken: a stranger, another role, a day before the ledger day.
    """
    officer = officers.require(ctx, docket.roster, *roles, active=False)
    ledger_day.require_not_past(ctx, ledger_day.current(docket.enforcement))
    return officer


class ReleaseFunctions:
    """What ends cases and releases phones; a mixin of the contract `instalments`."""

    # ---- holds
    @transaction
    def place_holds(self, ctx: Context, holds: inputs.HoldInputs) -> BulkResult:
        """Put agreements under a hold."""
        docket = Docket.of_instalments(ctx)
        officer = attend(ctx, docket, "lending", "enforcement")
        names = [given.agreement for given in bulk.well_formed(holds)]
        docket.load_agreements(names)
        docket.load_holds(names)
        docket.load_positions(names)
        return bulk.run(
            ctx, "PlaceHolds", holds, "agreement", lambda given: hold.place(docket, officer, given)
        )

    @transaction
    def lift_holds(self, ctx: Context, lifts: inputs.LiftInputs) -> BulkResult:
        """End holds before their time."""
        docket = Docket.of_instalments(ctx)
        officer = attend(ctx, docket, "lending", "enforcement")
        names = agreements_of_holds([given.hold for given in bulk.well_formed(lifts)])
        docket.load_holds(names)
        docket.load_agreements(names)
        return bulk.run(
            ctx, "LiftHolds", lifts, "hold", lambda given: hold.lift(docket, officer, given)
        )

    @transaction
    def answer_disputes(self, ctx: Context, answers: inputs.AnswerInputs) -> BulkResult:
        """Answer disputes of borrowers."""
        docket = Docket.of_instalments(ctx)
        officer = attend(ctx, docket, "lending")
        docket.load_holds(agreements_of_holds([given.hold for given in bulk.well_formed(answers)]))
        return bulk.run(
            ctx,
            "AnswerDisputes",
            answers,
            "hold",
            lambda given: hold.answer(docket, officer, given),
        )

    @transaction
    def confirm_holds(self, ctx: Context, confirmations: inputs.ConfirmationInputs) -> BulkResult:
        """Confirm holds; the cases end in the same transaction."""
        docket = Docket.of_instalments(ctx)
        officer = attend(ctx, docket, "enforcement")
        names = agreements_of_holds([given.hold for given in bulk.well_formed(confirmations)])
        docket.load_holds(names)
        docket.load_agreements(names)
        return bulk.run(
            ctx,
            "ConfirmHolds",
            confirmations,
            "hold",
            lambda given: hold.confirm(docket, officer, given),
        )

    # ---- endings
    @transaction
    def withdraw_cases(self, ctx: Context, withdrawals: inputs.WithdrawalInputs) -> BulkResult:
        """Give cases up."""
        docket = Docket.of_instalments(ctx)
        officer = attend(ctx, docket, "lending")
        docket.load_cases([given.case for given in bulk.well_formed(withdrawals)])

        def weigh(given: inputs.WithdrawalInput) -> Outcome:
            file = docket.file(given.case)
            docket.check_lender(file, officer.msp_id)
            known = file.ending
            if known is not None and (known.kind, known.evidence) == ("withdrawn", given.reason):
                return Outcome(False, docket.state(given.case).state)
            return ended(
                file.record.agreement, ending.withdraw(docket, file, officer.msp_id, given.reason)
            )

        return bulk.run(ctx, "WithdrawCases", withdrawals, "case", weigh)

    @transaction
    def end_blocks_by_term(self, ctx: Context, case_ids: inputs.RecordIds) -> BulkResult:
        """Write down the ends that dates have brought to cases with a block, and release."""
        docket = Docket.of_instalments(ctx)
        officer = attend(ctx, docket)
        docket.load_cases(bulk.well_formed(case_ids))

        def weigh(case: str) -> Outcome:
            file = docket.file(case)
            state = docket.state(case)
            if state.is_over:
                return Outcome(False, state.state)
            return ended(file.record.agreement, ending.by_date(docket, file, officer.msp_id))

        return bulk.run(ctx, "EndBlocksByTerm", case_ids, "", weigh)

    # ---- releases
    @transaction
    def acknowledge_releases(
        self, ctx: Context, receipts: inputs.ReleaseReceiptInputs
    ) -> BulkResult:
        """Write down what an executor did about releases."""
        docket = Docket.of_instalments(ctx)
        officer = attend(ctx, docket, "executor")
        docket.load_cases(cases_of_orders([given.order for given in bulk.well_formed(receipts)]))
        return bulk.run(
            ctx,
            "AcknowledgeReleases",
            receipts,
            "order",
            lambda given: release.acknowledge(docket, officer, given),
        )

    @transaction
    def reissue_releases(self, ctx: Context, orders: inputs.RecordIds) -> BulkResult:
        """Issue releases again after which a block receipt came."""
        docket = Docket.of_instalments(ctx)
        attend(ctx, docket)
        docket.load_cases(cases_of_orders(bulk.well_formed(orders)))
        return bulk.run(
            ctx, "ReissueReleases", orders, "", lambda order: release.reissue(docket, order)
        )

    @transaction
    def escalate_releases(self, ctx: Context, orders: inputs.RecordIds) -> BulkResult:
        """Escalate releases that wait for too long to the regulator."""
        docket = Docket.of_instalments(ctx)
        attend(ctx, docket)
        docket.load_cases(cases_of_orders(bulk.well_formed(orders)))
        return bulk.run(
            ctx, "EscalateReleases", orders, "", lambda order: release.escalate(docket, order)
        )


def ended(agreement: str, moved: ending.Moved) -> Outcome:
    """Return the outcome of an end."""
    facts = {"agreement": agreement, "ending": moved.ending, "release": moved.release}
    return Outcome(True, moved.state, facts=facts)
