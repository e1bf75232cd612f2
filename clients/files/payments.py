"""The nightly file of payments: one row a payment that came in, or a reversal of one.

Columns: ``payment_ref, agreement_ref, amount_pkr, paid_on, channel``; may be left out:
``received_on`` (the day on which it was posted; the day it was paid on by default),
``institution`` (who received it; the importing member by default), ``reverses`` (the payment_ref
that this row takes back) and ``evidence`` (64 hex digits, the salted hash of what proves a
reversal). The amount of a reversal may be left out, and may carry a minus: a payment is taken back
as a whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Final

from chaincode.instalments.identifiers import IdentifierRefusal, check_reference
from chaincode.instalments.money import parse_amount
from clients.files.errors import RowRefused
from clients.files.rows import Fields, checked

AGREEMENT: Final = re.compile(r"[A-Z0-9-]{1,32}")
MSP_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_CHANNEL: Final = re.compile(r"[a-z0-9_]{1,40}")
_EVIDENCE: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """One good row.

    Attributes:
        line: its line in the file.
        reference: the receiving institution's own reference of this payment or reversal.
        agreement: the agreement paid for.
        amount_paisa: positive; of a reversal what the file says, 0 where it says nothing.
        paid_on: the day the borrower paid, PKT.
        channel: a code, as ``branch``, ``ibft``, ``raast``, ``wallet``.
        received_on: the day it was posted; never before ``paid_on``.
        institution: MSP id of who received it, ``""`` for the importing member.
        reverses: reference of the payment that is taken back, ``""`` for a payment.
        evidence: salted hash of what proves a reversal, ``""`` where the file gives none.
    """

    line: int
    reference: str
    agreement: str
    amount_paisa: int
    paid_on: date
    channel: str
    received_on: date
    institution: str
    reverses: str
    evidence: str


class PaymentSchema:
    """Reads rows of payments; see the module's docstring."""

    required = ("payment_ref", "agreement_ref", "amount_pkr", "paid_on", "channel")
    optional = ("received_on", "institution", "reverses", "evidence")

    def parse(self, line: int, fields: Fields) -> PaymentRow:
        """See :class:`clients.files.rows.Schema`."""
        reference = checked("payment_ref", check_reference, fields.needed("payment_ref"))
        agreement = agreement_of(fields)
        reverses = fields.text("reverses")
        evidence = fields.text("evidence")
        if reverses:
            checked("reverses", check_reference, reverses)
            if reverses == reference:
                raise RowRefused("reverses", "names the row itself", "name the payment taken back")
        if evidence and not _EVIDENCE.fullmatch(evidence):
            raise RowRefused(
                "evidence", "must be 64 hex digits, lower case", "give the document's salted hash"
            )
        amount = _amount(fields, is_reversal=bool(reverses))
        mapping = fields.mapping
        paid_on = mapping.date("paid_on", fields.needed("paid_on"))
        received_on = paid_on
        if received := fields.text("received_on"):
            received_on = mapping.date("received_on", received)
            if received_on < paid_on:
                raise RowRefused(
                    "received_on", "is before paid_on", "correct the one that is wrong"
                )
        institution = fields.text("institution")
        if institution and not MSP_ID.fullmatch(institution):
            raise RowRefused("institution", "is no MSP id", "write the member's id, as BankMSP")
        channel = _channel(fields.needed("channel"))
        return PaymentRow(
            line,
            reference,
            agreement,
            amount,
            paid_on,
            channel,
            received_on,
            institution,
            reverses,
            evidence,
        )

    def reference(self, fields: Fields) -> str:
        """See :class:`clients.files.rows.Schema`."""
        text = fields.text("payment_ref")
        try:
            return check_reference(text)
        except IdentifierRefusal:
            return ""

    def amount_paisa(self, fields: Fields) -> int | None:
        """See :class:`clients.files.rows.Schema`."""
        try:
            return _amount(fields, is_reversal=bool(fields.text("reverses")))
        except RowRefused:
            return None


def agreement_of(fields: Fields) -> str:
    """The agreement's reference of a row.

    Raises:
        RowRefused: empty, or another form than the ledger takes.
    """
    agreement = fields.needed("agreement_ref")
    if not AGREEMENT.fullmatch(agreement):
        raise RowRefused(
            "agreement_ref",
            "must be A–Z, 0–9 and -, at most 32 characters",
            "use the agreement's reference as it was opened",
        )
    return agreement


def _amount(fields: Fields, *, is_reversal: bool) -> int:
    text = fields.mapping.plain_amount(fields.text("amount_pkr"))
    if is_reversal:
        if not text:
            return 0
        text = text.removeprefix("-")
    elif not text:
        raise RowRefused("amount_pkr", "is empty", "fill it in")
    amount = checked("amount_pkr", parse_amount, text)
    if amount == 0 and not is_reversal:
        raise RowRefused("amount_pkr", "must be positive", "leave out rows without a payment")
    return amount


@lru_cache(maxsize=1024)
def _channel(text: str) -> str:
    channel = text.lower()
    if not _CHANNEL.fullmatch(channel):
        raise RowRefused(
            "channel", "must be a code of a–z, 0–9 and _, at most 40", "write wallet, branch, …"
        )
    return channel
