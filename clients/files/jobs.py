"""The jobs that import a file: which rows are read, and which record each becomes for whom.

A job belongs to one member, since each of these functions is open to one kind of member: a
regulator lists TACs, a maker registers handsets, a lender opens agreements, a member outside the
lender's group confirms sales, and whoever received money posts payments. So one file of agreements
goes through up to four jobs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clients.files import requests
from clients.files.agreements import AgreementRow, AgreementSchema
from clients.files.errors import RowRefused
from clients.files.keyrings import Keyrings
from clients.files.mapping import ColumnMapping
from clients.files.payments import PaymentRow, PaymentSchema
from clients.files.reading import Position
from clients.files.requests import Facts, Request
from clients.files.rows import Reject, Row, read_rows

AGREEMENT_STEPS = ("open", "tacs", "devices", "confirm")


@dataclass(frozen=True, slots=True)
class Weighed:
    """A good row with what is to be sent for it.

    Attributes:
        request: the record; None where an earlier row of the file has sent the very same.
        lane: rows of one lane are sent in the order of the file.
    """

    line: int
    reference: str
    amount_paisa: int
    lane: str
    request: Request | None


class Job(Protocol):
    """Reads a file's rows and makes records of them."""

    @property
    def name(self) -> str:
        """``payments`` or ``agreements``, with the step where it is not the first one."""
        ...

    @property
    def description(self) -> str:
        """Everything on which the records depend but the file, as one text without secrets."""
        ...

    def rows(self, path: Path, start: Position | None) -> Iterator[Row[Any]]:
        """The rows of the file, from a position on."""
        ...

    def weigh(self, row: Any) -> Weighed:
        """What is to be sent for a good row.

        Raises:
            RowRefused: it is not this member's to send, or a fact is missing.
        """
        ...

    def rejected(self, row: Any, refused: RowRefused) -> Reject:
        """The reject for a row that `weigh` refused."""
        ...


@dataclass(slots=True)
class PaymentsJob:
    """Posts payments and reversals of the member that received them, or on its behalf.

    Attributes:
        member: MSP id of the importing member.
        keyrings: for the evidence of reversals that carry none; only a lender needs them.
    """

    member: str
    mapping: ColumnMapping
    keyrings: Keyrings | None = None
    name: str = "payments"

    @property
    def description(self) -> str:
        """See :class:`Job`."""
        return _described(self.name, self.member, self.mapping)

    def rows(self, path: Path, start: Position | None) -> Iterator[Row[PaymentRow]]:
        """See :class:`Job`."""
        return read_rows(path, PaymentSchema(), self.mapping, start)

    def weigh(self, row: PaymentRow) -> Weighed:
        """See :class:`Job`."""
        if not row.reverses:
            request = requests.payment_request(row)
        elif row.evidence or (self.keyrings and self.member in self.keyrings.lenders):
            request = requests.reversal_request(row, self.keyrings, self.member)
        else:
            raise RowRefused(
                "evidence",
                "is empty, and there is no key of this member to make it with",
                "give the salted hash of what proves the reversal",
            )
        return Weighed(row.line, row.reference, row.amount_paisa, row.agreement, request)

    def rejected(self, row: PaymentRow, refused: RowRefused) -> Reject:
        """See :class:`Job`."""
        return _rejected(row.line, row.reference, row.amount_paisa, refused, self.mapping)


@dataclass(slots=True)
class AgreementsJob:
    """One of the four steps of a file of agreements.

    Attributes:
        step: ``open``, ``tacs``, ``devices`` or ``confirm``.
        keepers: MSP ids of those who keep the lender's terms; empty where nobody knows.
    """

    step: str
    member: str
    mapping: ColumnMapping
    facts: Facts
    keyrings: Keyrings | None
    keepers: frozenset[str] = frozenset()
    _tacs: set[tuple[str, str]] = field(default_factory=set, init=False)

    @property
    def name(self) -> str:
        """See :class:`Job`."""
        return "agreements" if self.step == "open" else f"agreements.{self.step}"

    @property
    def description(self) -> str:
        """See :class:`Job`."""
        return _described(self.name, self.member, self.mapping, self.facts)

    def rows(self, path: Path, start: Position | None) -> Iterator[Row[AgreementRow]]:
        """See :class:`Job`."""
        return read_rows(path, AgreementSchema(), self.mapping, start)

    def weigh(self, row: AgreementRow) -> Weighed:
        """See :class:`Job`."""
        lane, request = self._request(row)
        return Weighed(row.line, row.agreement, row.amount_paisa, lane, request)

    def rejected(self, row: AgreementRow, refused: RowRefused) -> Reject:
        """See :class:`Job`."""
        return _rejected(row.line, row.agreement, row.amount_paisa, refused, self.mapping)

    def _request(self, row: AgreementRow) -> tuple[str, Request | None]:
        if self.step == "confirm":
            if row.lender == self.member:
                raise RowRefused(
                    "lender_msp",
                    "is the importing member itself",
                    "a sale is confirmed by a member outside the lender's group",
                )
            return row.agreement, requests.confirmation_request(row)
        if self.step == "tacs":
            request = requests.tac_request(row, self.facts)
            tac = (row.tac, request.argument["maker"])
            if tac in self._tacs:
                return row.tac, None
            self._tacs.add(tac)
            return row.tac, request
        assert self.keyrings is not None, "handsets and agreements need the pseudonym keys"
        if self.step == "devices":
            return row.agreement, requests.device_request(row, self.facts, self.keyrings)
        if row.lender != self.member:
            raise RowRefused(
                "lender_msp",
                f"is another member than {self.member}, who imports",
                "leave the row to its lender",
            )
        request = requests.agreement_request(row, self.facts, self.keyrings)
        self._refuse_strangers(request.argument["receiving_institutions"])
        return row.agreement, request

    def _refuse_strangers(self, receiving: Sequence[str]) -> None:
        """Refuse a row by which somebody would receive payments and could not post them."""
        strangers = [each for each in receiving if self.keepers and each not in self.keepers]
        if strangers:
            raise RowRefused(
                "receiving_msps",
                f"names {strangers[0]}, who keeps no terms of {self.member} and can post nothing",
                f"name some of {', '.join(sorted(self.keepers))}, or have the definition of the "
                "contract name it too",
            )


def _rejected(
    line: int, reference: str, amount_paisa: int, refused: RowRefused, mapping: ColumnMapping
) -> Reject:
    column = mapping.columns.get(refused.column, refused.column)
    return Reject(line, reference, column, refused.rule, refused.way_out, amount_paisa)


def _described(name: str, member: str, mapping: ColumnMapping, *more: object) -> str:
    # The keys are left out: a hash of them would stand in a file that anybody may read.
    whole = repr((name, member, mapping, more))
    return f"{name}/{member}/{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
