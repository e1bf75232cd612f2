"""The transaction functions of namespace `enforcement` that decide cases.

Names, arguments and results are those of docs/contracts.md. Each reads the ledger day, so that what
was endorsed yesterday is invalid today; reads what all its records need in a few calls; weighs them
one by one; and sets one event. Deliberately absent: rules; each has its module here.
"""

from __future__ import annotations

from chaincode.contract import Context, transaction

from .. import ledger_day, officers
from ..officers import Officer
from ..verdicts import BulkResult
from . import bulk, inputs, notice, order, proposal, receipt, trigger, vote
from .breaker import Breaker, Tickets
from .bulk import Outcome
from .case import cases_of_orders
from .docket import Docket


def sit(ctx: Context, docket: Docket, *roles: str, active: bool = True) -> Officer:
    """Return the signer of a transaction of the ledger day.

    Args:
        active: whether the member must be active; not to report what was done.

    Raises:
        RuleBroken: a stranger, another role, another day.
    """
    officer = officers.require(ctx, docket.roster, *roles, active=active)
    ledger_day.require_today(ctx, ledger_day.current(docket.enforcement))
    return officer


def _breaker(docket: Docket) -> Breaker:
    day = docket.moment.day
    orders_per_day = docket.policies.in_force(day).policy.orders_per_day
    return Breaker(docket.stub, day, orders_per_day)


class CaseFunctions:
    """What opens and decides cases; a mixin of the contract `enforcement`."""

    @transaction
    def sweep(self, ctx: Context, agreement_ids: inputs.SweepInputs) -> BulkResult:
        """Open the cases of the agreements named that are far enough in arrears."""
        docket = Docket.of_enforcement(ctx)
        sit(ctx, docket)
        trigger.check_length(docket, len(agreement_ids))
        names = bulk.well_formed(agreement_ids)
        docket.load_positions(names)
        docket.load_agreements(names)
        docket.load_holds(names)
        return bulk.run(
            ctx, "Sweep", agreement_ids, "", lambda name: trigger.open_case(docket, name)
        )

    @transaction
    def serve_notices(self, ctx: Context, notices: inputs.NoticeInputs) -> BulkResult:
        """Write down notices that were served on borrowers."""
        docket = Docket.of_enforcement(ctx)
        officer = sit(ctx, docket, "lending")
        docket.load_cases([given.case for given in bulk.well_formed(notices)])
        return bulk.run(
            ctx, "ServeNotices", notices, "case", lambda given: notice.serve(docket, officer, given)
        )

    @transaction
    def propose_cases(self, ctx: Context, proposals: inputs.ProposalInputs) -> BulkResult:
        """Propose cases for a vote."""
        docket = Docket.of_enforcement(ctx)
        officer = sit(ctx, docket, "lending")
        _load_with_positions(docket, [given.case for given in bulk.well_formed(proposals)])
        tickets = Tickets(ctx.tx_id)
        return bulk.run(
            ctx,
            "ProposeCases",
            proposals,
            "case",
            lambda given: proposal.propose(docket, officer, tickets, given),
        )

    @transaction
    def cast_ballots(self, ctx: Context, ballots: inputs.BallotInputs) -> BulkResult:
        """Vote in cases; the deciding ballot orders in the same transaction."""
        docket = Docket.of_enforcement(ctx)
        officer = sit(ctx, docket, "enforcement")
        _load_with_positions(docket, [given.case for given in bulk.well_formed(ballots)])
        breaker = _breaker(docket)
        return bulk.run(
            ctx,
            "CastBallots",
            ballots,
            "case",
            lambda given: vote.cast(docket, officer, ctx.tx_id, breaker, given),
        )

    @transaction
    def free_waiting(self, ctx: Context, case_ids: inputs.RecordIds) -> BulkResult:
        """Order cases that wait: by a free slot, or by the regulator's word."""
        docket = Docket.of_enforcement(ctx)
        officer = sit(ctx, docket)
        _load_with_positions(docket, bulk.well_formed(case_ids))
        breaker = None if officer.is_of_regulator("enforcement") else _breaker(docket)
        return bulk.run(
            ctx, "FreeWaiting", case_ids, "", lambda case: order.free(docket, case, breaker)
        )

    @transaction
    def acknowledge_orders(self, ctx: Context, receipts: inputs.BlockReceiptInputs) -> BulkResult:
        """Write down what an executor did about block orders."""
        docket = Docket.of_enforcement(ctx, receipts_of=ctx.creator.msp_id)
        officer = sit(ctx, docket, "executor", active=False)
        docket.load_cases(cases_of_orders([each.order for each in bulk.well_formed(receipts)]))
        return bulk.run(
            ctx,
            "AcknowledgeOrders",
            receipts,
            "order",
            lambda given: receipt.acknowledge(docket, officer, given),
        )

    @transaction
    def close_cases(self, ctx: Context, case_ids: inputs.RecordIds) -> BulkResult:
        """Write down how cases ended and clear them from the indices."""
        docket = Docket.of_enforcement(ctx)
        sit(ctx, docket)
        docket.load_cases(bulk.well_formed(case_ids))

        def weigh(case: str) -> Outcome:
            record = docket.file(case).record
            state = docket.state(case)
            written = trigger.close(docket, record, state)
            return Outcome(written, state.state, facts={"agreement": record.agreement})

        return bulk.run(ctx, "CloseCases", case_ids, "", weigh)


def _load_with_positions(docket: Docket, names: list[str]) -> None:
    docket.load_cases(names)
    files = [docket.find_loaded(case) for case in names]
    docket.load_positions([file.record.agreement for file in files if file is not None])
