"""The money of one agreement: its terms, what was paid by day, and its account.

Layout in the private collection of its lender's terms (`circles`), canonical JSON:

    terms/<agreement>            see `terms`; key-level policy: the lender and another
    account/<agreement>          {"salt","paid":[[day,paisa]…],"bookings","pages":n?}
    account/<agreement>/<page>   {"salt","bookings"}: older bookings; four digits, from 1

    bookings: one text, each with a semicolon behind it: kind, institution, reference, ISO date and
    paisa, with blanks between; refunds and reversals negative. A payment adds to the text without
    reading it.

Invariants: the days of `paid` rise and each is the sum of what was paid on it, reversed payments
taken out and refunds taken off on their own day. A payment writes the account and never the terms,
so it needs no lender. Every record holds the salt of its agreement, without which an amount could
be found by trying, since the hash of the record stands in the block.

Deliberately absent: what everybody may see of it (`track`), writing the working copy (`accounts`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final, NamedTuple

from chaincode.contract import AccessRefused, PrivateDataMissing, ReadOnlyStub, Stub

from .. import circles, records
from .. import terms as commercial
from ..terms import Terms
from .track import Paid

Older = Callable[[int], str]
"""Returns the bookings of a page that was put away."""

PAGE_CHARACTERS: Final = 4096
"""Of bookings that an account keeps before they are put away as a page: some sixty of them."""


class Booking(NamedTuple):
    """One entry of an account.

    Attributes:
        kind: payment, refund or reversal.
        institution: that received or paid it.
        on: ISO date: of a payment that of the payment, else of the recording.
        paisa: negative for what is taken off.
    """

    kind: str
    institution: str
    reference: str
    on: str
    paisa: int

    def text(self) -> str:
        """Return its part of an account's text."""
        return f"{self.kind} {self.institution} {self.reference} {self.on} {self.paisa};"


def bookings_of(text: str) -> list[Booking]:
    """Return the bookings of an account's text, the oldest first."""
    return [
        Booking(kind, institution, reference, on, int(paisa))
        for kind, institution, reference, on, paisa in map(str.split, text.split(";")[:-1])
    ]


@dataclass(frozen=True, slots=True)
class Money:
    """What an agreement costs and what was paid.

    Attributes:
        terms: all versions of the schedule.
        paid: by day, see the module.
        bookings: text of those that are not put away yet.
        pages: how many pages are put away.
    """

    terms: Terms
    paid: Paid = ()
    bookings: str = ""
    pages: int = 0

    # ---- asking
    def paid_by(self, day: date) -> int:
        """Return what payments with `paid_on` on or before *day* come to, in paisa; never below 0.

        Reversed payments do not count, refunds are taken off from their day on.
        """
        return paid_by(self.paid, day.isoformat())

    @property
    def paid_in_all(self) -> int:
        """Everything paid, in paisa; never below 0."""
        return max(0, sum([paisa for _, paisa in self.paid]))

    @property
    def credit_paisa(self) -> int:
        """What was paid above the newest schedule's total."""
        return max(0, self.paid_in_all - self.terms.schedule().total)

    def arrears_on(self, day: date) -> int:
        """Return what is unpaid of the instalments due by *day*, in paisa (rulebook 3)."""
        text = day.isoformat()
        return max(0, self.terms.schedule_on(text).due_by(text) - paid_by(self.paid, text))

    @property
    def paid_in_full_on(self) -> str:
        """The ISO date from which on the newest schedule's total was and stayed paid; "" if not."""
        total = self.terms.schedule().total
        money, since = sum([paisa for _, paisa in self.paid]), ""
        if money < total:
            return ""
        for day, paisa in reversed(self.paid):
            if money < total:
                break
            since = day
            money -= paisa
        return since

    # ---- what a transaction does to it, in memory
    def with_booking(self, booking: Booking, counts_on: str) -> Money:
        """Return it with a booking more, whose amount counts on a day."""
        return Money(
            self.terms,
            paid_with(self.paid, counts_on, booking.paisa),
            self.bookings + booking.text(),
            self.pages,
        )

    def with_terms(self, terms: Terms) -> Money:
        """Return it with other terms."""
        return replace(self, terms=terms)


def paid_by(paid: Paid, day: str) -> int:
    """Return what was paid up to and including an ISO date; never below 0."""
    return max(0, sum([paisa for paid_on, paisa in paid if paid_on <= day]))


def paid_with(paid: Paid, day: str, paisa: int) -> Paid:
    """Return what was paid with an amount more on a day; a day that comes to nothing goes."""
    if not paid or day > paid[-1][0]:
        return (*paid, (day, paisa)) if paisa else paid
    place = bisect_left(paid, (day,))
    if place < len(paid) and paid[place][0] == day:
        rest = paid[place][1] + paisa
        return (*paid[:place], *(((day, rest),) if rest else ()), *paid[place + 1 :])
    return (*paid[:place], (day, paisa), *paid[place:]) if paisa else paid


# ---- on the ledger ------------------------------------------------------------------------------


def terms_key(agreement: str) -> str:
    """Return the private key of an agreement's terms."""
    return f"terms/{agreement}"


def account_key(agreement: str) -> str:
    """Return the private key of an agreement's account."""
    return f"account/{agreement}"


def page_key(agreement: str, page: int) -> str:
    """Return the private key of a page of older bookings."""
    return f"account/{agreement}/{page:04d}"


def load(
    stub: ReadOnlyStub, lenders: Mapping[str, str], *, is_query: bool = False
) -> dict[str, Money]:
    """Return the money of agreements; those whose collection the caller may not read are left out.

    Args:
        stub: reads `instalments`; asked once a lender.
        lenders: of each agreement.
        is_query: leave also out what this node does not hold. What is to be endorsed must not
            depend on that, so there it is an error.
    """
    by_lender: dict[str, list[str]] = {}
    for agreement, lender in lenders.items():
        by_lender.setdefault(lender, []).append(agreement)
    found: dict[str, Money] = {}
    for lender, agreements in by_lender.items():
        collection = circles.terms_of(lender)
        try:
            found |= _read(stub, collection, agreements)
        except AccessRefused:
            continue
        except PrivateDataMissing:
            if not is_query:
                raise
            for agreement in agreements:
                with suppress(PrivateDataMissing):
                    found |= _read(stub, collection, [agreement])
    return found


def _read(stub: ReadOnlyStub, collection: str, agreements: Sequence[str]) -> dict[str, Money]:
    keys = [terms_key(agreement) for agreement in agreements]
    keys += [account_key(agreement) for agreement in agreements]
    raws = stub.get_private_data_many(collection, keys)
    count = len(agreements)
    return {
        agreement: _decode(terms, account)
        for agreement, terms, account in zip(agreements, raws[:count], raws[count:], strict=True)
        if terms is not None and account is not None
    }


def _decode(terms: bytes, account: bytes) -> Money:
    plain = records.decode(account)
    return Money(
        commercial.decode(terms),
        tuple([(day, paisa) for day, paisa in plain["paid"]]),
        plain["bookings"],
        plain.get("pages", 0),
    )


def save_terms(stub: Stub, lender: str, agreement: str, terms: Terms) -> None:
    """Write the terms of an agreement."""
    value = records.encode(terms.plain())
    stub.put_private_data(circles.terms_of(lender), terms_key(agreement), value)


def protect_terms(stub: Stub, lender: str, agreement: str, policy: bytes) -> None:
    """Put the terms of an agreement under the lender's key-level policy."""
    stub.set_private_data_validation_parameter(
        circles.terms_of(lender), terms_key(agreement), policy
    )


def save_account(stub: Stub, lender: str, agreement: str, money: Money) -> None:
    """Write the account of an agreement; many bookings are put away as a page first."""
    collection, salt = circles.terms_of(lender), money.terms.salt
    bookings, pages = money.bookings, money.pages
    if len(bookings) >= PAGE_CHARACTERS:
        pages += 1
        page = records.encode({"salt": salt, "bookings": bookings})
        stub.put_private_data(collection, page_key(agreement, pages), page)
        bookings = ""
    plain: dict[str, Any] = {"salt": salt, "paid": money.paid, "bookings": bookings}
    if pages:
        plain["pages"] = pages
    stub.put_private_data(collection, account_key(agreement), records.encode(plain))


def older_bookings(stub: ReadOnlyStub, lender: str, agreement: str, page: int) -> str:
    """Return the bookings of a page that was put away, as text."""
    raw = stub.get_private_data(circles.terms_of(lender), page_key(agreement, page))
    return "" if raw is None else str(records.decode(raw)["bookings"])


def newest_booking(
    money: Money, kind: str, institution: str, reference: str, older: Older
) -> Booking | None:
    """Return the newest booking of a payment or refund, None if there is none."""
    wanted = f"{kind} {institution} {reference} "
    text, page = money.bookings, money.pages
    while True:
        if wanted in text:
            for booking in reversed(bookings_of(text)):
                if booking[:3] == (kind, institution, reference):
                    return booking
        if not page:
            return None
        text, page = older(page), page - 1
