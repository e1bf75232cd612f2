"""Money that came and went: payments, refunds, reversals.

Layout in `instalments`, for everybody to read:

    payment/<institution>/<reference>   {"institution","reference","agreement","paid_on","channel",
                                         "posted_by","posted_on","reversed"?}
    refund/<lender>/<reference>         {"reference","agreement","on"}

The amounts stand as bookings in the agreement's account, in the lender's private collection
(`money`); so whoever endorses one of these transactions is a member of that collection.

Invariants: what a payment touches is its own key, the summary of its agreement and that one's
account; so it needs neither the lender nor the regulator, and two payments about different
agreements never conflict. Money is never lost: what is above the schedule stands as credit.

What the receiving institution says itself prevails over what the lender said for it, and over the
lender's reversal of that: the institution knows whether it has the money. Once it has said the very
same, it is the poster, and only it may reverse the payment.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from chaincode.contract import Malformed, Stub

from .. import records
from .. import terms as commercial
from ..identifiers import check_reference
from ..money import MAX_PAISA
from ..verdicts import RuleBroken
from .accounts import Accounts
from .bulk import Entry, named, unknown
from .desk import Desk
from .devices import Plain, read_plain
from .inputs import PaymentInput, RefundInput, ReversalInput
from .money import Booking
from .ports import Cases, Moved
from .position import Position


def payment_key(institution: str, reference: str) -> str:
    """Return the key of a payment."""
    return f"payment/{institution}/{reference}"


def refund_key(lender: str, reference: str) -> str:
    """Return the key of a refund."""
    return f"refund/{lender}/{reference}"


class Cashier:
    """Working copies of the payments and refunds of one transaction, and of their agreements."""

    __slots__ = ("_accounts", "_cases", "_desk", "_known", "_stub")

    def __init__(
        self, desk: Desk, accounts: Accounts, cases: Cases | None, keys: Iterable[str]
    ) -> None:
        self._desk = desk
        self._stub: Stub = desk.ctx.stub
        self._accounts = accounts
        self._cases = cases
        names = list(dict.fromkeys(keys))
        self._known: dict[str, Plain | None] = dict(
            zip(names, read_plain(self._stub, names), strict=True)
        )
        accounts.load([plain["agreement"] for plain in self._known.values() if plain], money=True)

    # ---- payments
    def post(self, given: PaymentInput, amount: int | Malformed) -> Entry:
        """Weigh a payment and write it (rulebook 2, Payment)."""
        desk = self._desk
        check_reference(given.reference)
        thing = f"payment {given.reference}"
        position = self._accounts.position(given.agreement)
        institution = given.institution or desk.msp_id
        if institution != desk.msp_id:
            self._check_on_behalf(thing, position, institution)
        paisa = _positive(amount, thing)
        desk.require_not_future(thing, "was paid", given.paid_on)
        if given.paid_on < position.opened_on:
            raise RuleBroken(
                thing,
                f"was paid on {given.paid_on}, before the agreement was opened on "
                f"{position.opened_on}",
                2,
                "check the date and the agreement",
            )
        key = payment_key(institution, given.reference)
        content: Plain = {
            "institution": institution,
            "reference": given.reference,
            "agreement": given.agreement,
            "paid_on": given.paid_on.isoformat(),
            "channel": given.channel,
        }
        position.check_money()
        known = self._known[key]
        if known is None:
            return self._book(key, content, given.paid_on, paisa)
        own_word = institution == desk.msp_id and known["posted_by"] != institution
        is_same = (
            all(known[name] == value for name, value in content.items())
            and self._paisa_of("payment", known) == paisa
        )
        if is_same and not (own_word and known.get("reversed")):
            return self._own(key, known) if own_word else Entry(False, "", given.agreement)
        if not own_word:
            raise RuleBroken(
                thing,
                f"is known with other content, posted by {known['posted_by']} on "
                f"{known['posted_on']}",
                2,
                "see the query Payment; give another payment a reference of its own",
            )
        return self._prevail(key, known, content, given.paid_on, paisa)

    def _check_on_behalf(self, thing: str, position: Position, institution: str) -> None:
        if self._desk.roster.find(institution) is None:
            raise RuleBroken(thing, "names an institution that is no member", 2, "name its MSP id")
        if not self._desk.is_lender_of(position):
            raise RuleBroken(
                thing,
                f"was received by {institution}, and {self._desk.msp_id} is not its lender",
                2,
                "let the institution or the lender post it",
            )
        if institution not in position.facts["receiving_institutions"]:
            raise RuleBroken(
                thing,
                f"names {institution}, which is no receiving institution of the agreement",
                2,
                "let the institution post it itself",
            )

    def _book(self, key: str, content: Plain, paid_on: date, paisa: int) -> Entry:
        desk = self._desk
        plain = content | {"posted_by": desk.msp_id, "posted_on": desk.day}
        self._put(key, plain)
        moved = self._credit(content, paid_on, paisa)
        facts = {"institution": content["institution"], "paid_on": content["paid_on"]}
        return Entry(True, "", content["agreement"], moved, facts)

    def _own(self, key: str, known: Plain) -> Entry:
        """Make the institution the poster of what the lender had posted for it, word for word.

        Else the lender alone could still take back money that the institution has.
        """
        self._put(key, known | {"posted_by": self._desk.msp_id, "posted_on": self._desk.day})
        facts = {"institution": known["institution"], "paid_on": known["paid_on"]}
        return Entry(True, "", known["agreement"], None, facts)

    def _credit(self, content: Plain, paid_on: date, paisa: int) -> Moved | None:
        position = self._accounts.position(content["agreement"])
        booking = Booking(
            "payment", content["institution"], content["reference"], content["paid_on"], paisa
        )
        after = position.with_booking(booking, paid_on)
        self._accounts.put(after)
        return None if self._cases is None else self._cases.after_payment(after, paid_on)

    def _prevail(self, key: str, known: Plain, content: Plain, paid_on: date, paisa: int) -> Entry:
        """Put the institution's own content in the place of the lender's."""
        if not known.get("reversed"):
            self._refuse_after_clearance(known, content, paisa)
            self._take_out(known)
        return self._book(key, content, paid_on, paisa)

    def _refuse_after_clearance(self, known: Plain, content: Plain, paisa: int) -> None:
        earlier = self._accounts.position(known["agreement"])
        is_less = content["agreement"] != known["agreement"] or paisa < self._paisa_of(
            "payment", known
        )
        if is_less and earlier.closed == "paid_off":
            raise _cleared(f"payment {known['reference']}", earlier)

    def _take_out(self, known: Plain) -> None:
        position = self._accounts.position(known["agreement"])
        paisa = -self._paisa_of("payment", known)
        booking = Booking(
            "reversal", known["institution"], known["reference"], self._desk.day, paisa
        )
        self._accounts.put(position.with_booking(booking, date.fromisoformat(known["paid_on"])))

    # ---- refunds
    def refund(self, given: RefundInput, amount: int | Malformed) -> Entry:
        """Weigh a refund of credit and write it (rulebook 2, Refund)."""
        desk = self._desk
        check_reference(given.reference)
        thing = f"refund {given.reference}"
        position = self._accounts.position(given.agreement)
        desk.require_lender(position, "refunded")
        paisa = _positive(amount, thing)
        key = refund_key(desk.msp_id, given.reference)
        content: Plain = {"reference": given.reference, "agreement": given.agreement}
        credit = position.money.credit_paisa
        known = self._known[key]
        if known is not None:
            if (
                any(known[name] != value for name, value in content.items())
                or self._paisa_of("refund", known | {"institution": desk.msp_id}) != -paisa
            ):
                raise RuleBroken(
                    thing,
                    "is known with other content",
                    2,
                    "see the query Payments; give another refund a reference of its own",
                )
            return Entry(False, "", given.agreement)
        if paisa > credit:
            raise RuleBroken(
                thing, "is above the credit of its agreement", 2, "see the query Standing"
            )
        self._put(key, content | {"on": desk.day})
        booking = Booking("refund", desk.msp_id, given.reference, desk.day, -paisa)
        self._accounts.put(position.with_booking(booking, desk.today))
        return Entry(True, "", given.agreement, None, {"institution": desk.msp_id})

    # ---- reversals
    def reverse(self, given: ReversalInput) -> Entry:
        """Weigh a reversal and write it; it never blocks anything (rulebook 2, Reversal; 4)."""
        desk = self._desk
        institution = given.institution or desk.msp_id
        key = payment_key(institution, given.reference)
        known = self._known[key]
        if known is None:
            raise unknown("payment", given.reference, "name the institution that received it")
        thing = f"payment {given.reference}"
        if not desk.roster.acts_for(desk.msp_id, known["posted_by"], desk.today):
            raise RuleBroken(
                thing,
                f"can be reversed by {known['posted_by']} only, who posted it",
                2,
                "ask that member",
            )
        agreement = known["agreement"]
        reversed_before = known.get("reversed")
        if reversed_before:
            if reversed_before["evidence"] != given.evidence:
                raise RuleBroken(
                    thing,
                    f"was reversed on {reversed_before['on']} with other evidence",
                    2,
                    "see the query Payment",
                )
            return Entry(False, "", agreement)
        position = self._accounts.position(agreement)
        if position.closed == "paid_off":
            raise _cleared(thing, position)
        self._take_out(known)
        self._put(key, known | {"reversed": {"on": desk.day, "evidence": given.evidence}})
        facts = {"institution": institution, "evidence": given.evidence}
        return Entry(True, "", agreement, None, facts)

    # ---- the ledger
    def _paisa_of(self, kind: str, known: Plain) -> int:
        """Return the amount of a payment or refund that is on the ledger."""
        booking = self._accounts.booking(
            kind, known["agreement"], known["institution"], known["reference"]
        )
        return booking.paisa

    def _put(self, key: str, plain: Plain) -> None:
        self._known[key] = plain
        self._stub.put_state(key, records.encode(plain))


def _positive(amount: int | Malformed, thing: str) -> int:
    paisa = commercial.well_formed(amount, thing)
    if not 0 < paisa <= MAX_PAISA:
        raise RuleBroken(
            thing, "has an amount that is not positive or too large", 2, "give it in paisa, above 0"
        )
    return paisa


def _cleared(thing: str, position: Position) -> RuleBroken:
    return RuleBroken(
        thing,
        f"counts for {named('agreement', position.agreement)}, which has a clearance certificate "
        f"since {position.closed_on}",
        2,
        "the claim is now against the payer",
    )
