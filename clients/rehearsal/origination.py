"""Sales and payments of a rehearsal: rows of the files as records that the right members sign.

The regulator lists a model's TAC, the maker registers the handset, the lender opens the agreement,
a member outside the lender's group confirms the sale; each payment is posted by the member that
received it. Rows that a contract refuses join the rejects of their file, with the contract's rule
and way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from clients.files.agreements import AgreementRow
from clients.files.errors import RowRefused
from clients.files.keyrings import Keyrings, document_hash
from clients.files.payments import PaymentRow
from clients.files.requests import (
    Facts,
    Request,
    agreement_request,
    confirmation_request,
    device_request,
    payment_request,
    reversal_request,
    tac_request,
)
from clients.rehearsal.desks import INSTALMENTS, Desk, Desks
from clients.rehearsal.plan import Plan
from clients.rehearsal.tally import Counts, Tally

R = TypeVar("R", AgreementRow, PaymentRow)
Verdicts = list[dict[str, Any]]


class Origination:
    """Submits rows; one instance a rehearsal.

    Args:
        desks: the officers.
        plan: who operates, makes and receives where the rows do not say.
        keyrings: those that the regulator holds, with the rings of all lenders.
        tally: counts, and takes the rows that are refused.
    """

    def __init__(self, desks: Desks, plan: Plan, keyrings: Keyrings, tally: Tally) -> None:
        self._desks = desks
        self._plan = plan
        self._keyrings = keyrings
        self._tally = tally
        self._listed: set[tuple[str, str]] = set()
        self._lenders: dict[str, str] = {}
        self._institutions: dict[str, str] = {}

    @property
    def opened(self) -> Mapping[str, str]:
        """The agreements that stand in the ledger, with their lenders."""
        return self._lenders

    async def sell(self, rows: Sequence[AgreementRow]) -> None:
        """Register the handsets, open the agreements, confirm the sales."""
        counts = self._tally.agreements
        counts.read += len(rows)
        known = self._of_members(counts, rows, lambda row: row.lender, "lender_msp")
        await self._list_models(known)
        maker = self._plan.assumed.maker
        known = await self._submit(
            counts, known, lambda row: row.maker or maker, self._device, counted=False
        )
        opened = await self._submit(counts, known, lambda row: row.lender, self._agreement)
        for row in opened:
            self._lenders[row.agreement] = row.lender
        await self._submit(
            counts,
            opened,
            lambda row: self._plan.confirmer(row.lender),
            lambda row: confirmation_request(row),
            counted=False,
        )

    async def receive(self, rows: Sequence[PaymentRow]) -> Verdicts:
        """Post payments and reversals in the order of the file; returns the verdicts.

        Rows that follow each other and are of one kind go together; a reversal waits for the
        payments before it.
        """
        counts = self._tally.payments
        counts.read += len(rows)
        verdicts: Verdicts = []
        for part, is_reversal in _runs(rows):
            make = self._reversal if is_reversal else self._payment
            named = self._of_members(counts, part, self._receiver, "institution")
            await self._submit(counts, named, self._receiver, make, verdicts=verdicts)
        return verdicts

    async def certify(self, agreements: Iterable[str]) -> None:
        """Have the lenders issue clearance certificates to those who have paid in full."""
        by_lender: dict[str, list[str]] = {}
        for agreement in sorted(set(agreements) & self._lenders.keys()):
            by_lender.setdefault(self._lenders[agreement], []).append(agreement)
        for lender, paid in by_lender.items():
            desk = self._desk(lender)
            cleared = [
                {"agreement": each["agreement"]}
                for each in await desk.standings(paid, "")
                if each is not None and each["outstanding_paisa"] <= 0
            ]
            if cleared:
                await desk.act_on(INSTALMENTS, "IssueClearance", cleared)

    def proof(self, case: str) -> str:
        """Return the salted hash of the proof that a case's notice was delivered."""
        return document_hash(self._keyrings.device.keys[0], "notice", case)

    # Records of rows

    def _facts(self, row: AgreementRow) -> Facts:
        assumed = self._plan.assumed
        return Facts(
            operator=assumed.operator,
            maker=assumed.maker,
            country=assumed.country,
            receiving_institutions=tuple(self._plan.receivers(row.lender)),
            consent_language=assumed.language,
            consent_block=True,
        )

    def _device(self, row: AgreementRow) -> Request:
        return device_request(row, self._facts(row), self._keyrings)

    def _agreement(self, row: AgreementRow) -> Request:
        return agreement_request(row, self._facts(row), self._keyrings)

    def _payment(self, row: PaymentRow) -> Request:
        self._institutions[row.reference] = self._receiver(row)
        return payment_request(row)

    def _reversal(self, row: PaymentRow) -> Request:
        lender = self._lenders.get(row.agreement, self._plan.regulator.msp_id)
        if lender not in self._keyrings.lenders:
            raise RowRefused("agreement_ref", "is not known", "open the agreement first")
        return reversal_request(row, self._keyrings, lender)

    def _receiver(self, row: PaymentRow) -> str:
        if row.institution:
            return row.institution
        if row.reverses in self._institutions:
            return self._institutions[row.reverses]
        lender = self._lenders.get(row.agreement, self._plan.regulator.msp_id)
        return self._plan.receiver(row.channel, lender)

    # Submitting

    async def _list_models(self, rows: Iterable[AgreementRow]) -> None:
        models: dict[tuple[str, str], Request] = {}
        for row in rows:
            model = (row.tac, row.maker or self._plan.assumed.maker)
            if model not in self._listed:
                models.setdefault(model, tac_request(row, self._facts(row)))
        if models:
            desk = self._desk(self._plan.regulator.msp_id)
            tacs = [request.argument for request in models.values()]
            await desk.act_on(INSTALMENTS, "RegisterTacs", tacs)
            self._listed.update(models)

    async def _submit(
        self,
        counts: Counts,
        rows: Sequence[R],
        signer: Callable[[R], str],
        make: Callable[[R], Request],
        *,
        verdicts: Verdicts | None = None,
        counted: bool = True,
    ) -> list[R]:
        """Submit a record for each row, those of one signer together; return the rows taken."""
        by_signer: dict[str, list[tuple[R, Request]]] = {}
        for row in rows:
            try:
                request = make(row)
            except RowRefused as refused:
                self._tally.reject(counts, row, refused.column, refused.rule, refused.way_out)
                continue
            by_signer.setdefault(signer(row), []).append((row, request))
        answers = await asyncio.gather(
            *(self._send(msp_id, part) for msp_id, part in sorted(by_signer.items()))
        )
        taken: list[R] = []
        for (_, part), answer in zip(sorted(by_signer.items()), answers, strict=True):
            for (row, _), verdict in zip(part, answer, strict=True):
                if not verdict["ok"]:
                    self._tally.refuse_row(counts, row, verdict)
                    continue
                taken.append(row)
                if counted:
                    counts.taken += verdict["written"]
                    counts.repeated += not verdict["written"]
            if verdicts is not None:
                verdicts.extend(answer)
        return taken

    async def _send(self, msp_id: str, part: Sequence[tuple[R, Request]]) -> Verdicts:
        requests = [request for _, request in part]
        names = requests[0].transient
        transient: Mapping[str, Sequence[Any]] = {
            name: [request.transient[name] for request in requests] for name in names
        }
        return await self._desk(msp_id).act_on(
            INSTALMENTS,
            requests[0].function,
            [request.argument for request in requests],
            transient,
        )

    def _of_members(
        self, counts: Counts, rows: Sequence[R], member_of: Callable[[R], str], column: str
    ) -> list[R]:
        """Reject the rows that name somebody who is no member."""
        kept = []
        for row in rows:
            if self._plan.member(member_of(row)) is None:
                self._tally.reject(
                    counts, row, column, "is no member", "name a member of the policy file"
                )
            else:
                kept.append(row)
        return kept

    def _desk(self, msp_id: str) -> Desk:
        return self._desks.of(msp_id, "lending")


def _runs(rows: Sequence[PaymentRow]) -> Iterable[tuple[Sequence[PaymentRow], bool]]:
    """Cut rows where payments and reversals alternate."""
    first = 0
    for place in range(1, len(rows) + 1):
        if place == len(rows) or bool(rows[place].reverses) != bool(rows[first].reverses):
            yield rows[first:place], bool(rows[first].reverses)
            first = place
