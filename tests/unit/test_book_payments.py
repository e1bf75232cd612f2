"""Rulebook 2, Payment, Refund and Reversal; rulebook 3, what a payment does to a standing."""

from __future__ import annotations

from typing import Any

import pytest

from chaincode.instalments.members import Member
from tests.support.book_ledger import (
    BANK,
    BANK_PAY,
    MAKER,
    MEMBERS,
    OPERATOR,
    PTA,
    BookLedger,
    officer,
    payment,
    pseudonym,
    salted,
)

NOW = "2026-05-20"


@pytest.fixture
def book() -> BookLedger:
    """Agreement A of the bank, three instalments of 100, on 20 May: two are due."""
    ledger = BookLedger()
    ledger.open("A")
    ledger.today(NOW)
    return ledger


def reverse(book: BookLedger, reference: str, by=OPERATOR, **changes: Any) -> dict[str, Any]:
    record = {"reference": reference, "evidence": salted("reversal")} | changes
    return book.verdicts("ReversePayments", [record], by)[0]


def refund(book: BookLedger, amount: int, reference: str = "R-1", by=BANK) -> dict[str, Any]:
    record = {"agreement": "A", "reference": reference}
    return book.verdicts("RefundCredit", [record], by, amounts=[amount])[0]


def arrears(book: BookLedger, as_of: str = "") -> tuple[int, int, int]:
    found = book.standing("A", as_of)
    return found["unpaid_instalments"], found["days_past_due"], found["arrears_paisa"]


# ---- payments


def test_payment_is_allotted_to_the_oldest_unpaid_instalment(book: BookLedger) -> None:
    """Oldest first, parts allowed."""
    assert arrears(book) == (2, 45, 200)
    verdict = book.pay("A", 60, "2026-05-01", OPERATOR)
    assert (verdict["id"], verdict["state"]) == ("P-A-2026-05-01", "30-59")
    assert arrears(book) == (2, 45, 140)
    assert book.pay("A", 60, "2026-05-02", OPERATOR)["state"] == "1-29"
    assert arrears(book) == (1, 15, 80)
    assert book.pay("A", 80, "2026-05-03", OPERATOR)["state"] == "current"
    assert arrears(book) == (0, 0, 0)


def test_payment_counts_from_the_day_it_was_paid_however_late_it_arrives(book: BookLedger) -> None:
    """A late-arriving payment counts from its paid_on, past dates included."""
    assert arrears(book, "2026-04-20") == (1, 15, 100)
    book.pay("A", 100, "2026-04-20", OPERATOR)
    assert arrears(book, "2026-04-19") == (1, 14, 100)
    assert arrears(book, "2026-04-20") == (0, 0, 0)


def test_payment_record_says_who_posted_it_and_its_event_no_amount(book: BookLedger) -> None:
    """The amount is transient: not in the proposal's arguments, not in the event."""
    record = payment("A", "2026-05-01", channel="raast")
    outcome = book.call("PostPayments", [record], OPERATOR, {"amounts": [6017]})
    assert outcome.event == (
        "PostPayments",
        {
            "version": 1,
            "function": "PostPayments",
            "day": NOW,
            "records": [
                {
                    "id": "P-A-2026-05-01",
                    "kind": "payment",
                    "state": "current",
                    "agreement": "A",
                    "institution": "OperatorMSP",
                    "paid_on": "2026-05-01",
                }
            ],
        },
    )
    assert book.ask("Payment", "OperatorMSP", "P-A-2026-05-01") == {
        "institution": "OperatorMSP",
        "reference": "P-A-2026-05-01",
        "agreement": "A",
        "paid_on": "2026-05-01",
        "amount_paisa": 6017,
        "channel": "raast",
        "posted_by": "OperatorMSP",
        "posted_on": NOW,
        "reversed": None,
    }


@pytest.mark.parametrize(
    ("amount", "paid_on", "reason"),
    [
        (100, "2026-05-21", "after today"),
        (100, "2026-03-04", "before the agreement was opened"),
        (0, "2026-05-01", "not positive"),
        (-5, "2026-05-01", "not positive"),
        ("100", "2026-05-01", "not of its form"),
        (1.5, "2026-05-01", "not of its form"),
        (None, "2026-05-01", "not of its form"),
    ],
)
def test_payment_that_breaks_a_rule_is_refused(
    book: BookLedger, amount: Any, paid_on: str, reason: str
) -> None:
    """Paid in the future or before opening; amount not positive, or no amount."""
    verdict = book.pay("A", amount, paid_on, OPERATOR)
    assert not verdict["ok"]
    assert reason in verdict["message"]
    assert arrears(book) == (2, 45, 200)


def test_payment_on_the_day_of_opening_or_today_is_taken(book: BookLedger) -> None:
    """The bounds are days themselves allowed."""
    assert book.pay("A", 1, "2026-03-05", OPERATOR)["ok"]
    assert book.pay("A", 1, NOW, OPERATOR)["ok"]


@pytest.mark.parametrize(
    "reference",
    ["4111-1111-1111-1111", "03001234567", "PK36SCBL0000001123456702", "1234567890", "low-1", ""],
)
def test_payment_reference_that_may_be_a_persons_number_is_refused_unrepeated(
    book: BookLedger, reference: str
) -> None:
    """Never a card, account, wallet or phone number; neither id nor message repeats it."""
    verdict = book.pay("A", 100, "2026-05-01", OPERATOR, reference=reference)
    assert not verdict["ok"]
    assert verdict["id"] == ""
    assert not reference or reference not in verdict["message"]


def test_payment_sent_again_is_a_success_and_writes_nothing(book: BookLedger) -> None:
    """The same content: success, nothing written."""
    book.pay("A", 100, "2026-05-01", OPERATOR)
    again = book.call("PostPayments", [payment("A", "2026-05-01")], OPERATOR, {"amounts": [100]})
    verdict = again.value["verdicts"][0]
    assert (verdict["ok"], verdict["written"], verdict["state"]) == (True, False, "1-29")
    assert not again.result.writes
    assert again.event is None


@pytest.mark.parametrize(
    ("amount", "changes"),
    [
        (101, {}),
        (100, {"channel": "wallet"}),
        (100, {"paid_on": "2026-05-02"}),
        (100, {"agreement": "B"}),
    ],
)
def test_payment_known_with_other_content_is_refused(
    book: BookLedger, amount: int, changes: dict[str, Any]
) -> None:
    """A reference of an institution names one payment for ever."""
    book.register("B")
    book.open("B", register=False, imported=True)
    book.pay("A", 100, "2026-05-01", OPERATOR)
    record = payment("A", "2026-05-01") | changes
    verdict = book.verdicts("PostPayments", [record], OPERATOR, amounts=[amount])[0]
    assert not verdict["ok"]
    assert "known with other content" in verdict["message"]
    assert book.standing("A")["paid_paisa"] == 100


def test_payments_of_one_reference_at_two_institutions_are_two(book: BookLedger) -> None:
    """References are the institution's own."""
    book.pay("A", 100, "2026-05-01", OPERATOR)
    assert book.pay("A", 100, "2026-05-01", BANK)["written"]
    assert book.standing("A")["paid_paisa"] == 200


def test_payments_of_one_list_about_one_agreement_see_each_other(book: BookLedger) -> None:
    """A transaction does not see its own writes; its records do. Two on one day add up."""
    records = [
        payment("A", "2026-05-01", reference="P-1"),
        payment("A", "2026-05-01", reference="P-2"),
        payment("A", "2026-04-01", reference="P-3"),
        payment("A", "2026-05-01", reference="P-2"),
        payment("A", "2026-05-02", reference="P-2"),
    ]
    verdicts = book.verdicts("PostPayments", records, OPERATOR, amounts=[50, 30, 70, 30, 30])
    assert [(verdict["ok"], verdict["written"]) for verdict in verdicts] == [
        (True, True),
        (True, True),
        (True, True),
        (True, False),
        (False, False),
    ]
    assert [verdict["state"] for verdict in verdicts] == ["1-29"] * 4 + [""]
    assert book.standing("A")["paid_paisa"] == 150
    assert book.standing("A", "2026-04-30")["paid_paisa"] == 70
    assert [entry["reference"] for entry in book.ask("Payments", "A")] == ["P-1", "P-2", "P-3"]


def test_payment_by_the_lender_for_an_institution_named_in_the_agreement_is_taken(
    book: BookLedger,
) -> None:
    """That institution, or the lender on its behalf."""
    verdict = book.pay("A", 100, "2026-05-01", BANK, institution="OperatorMSP")
    assert verdict["written"]
    assert book.ask("Payment", "OperatorMSP", verdict["id"])["posted_by"] == "BankMSP"


def test_payment_on_behalf_of_an_institution_not_named_or_by_no_lender_is_refused(
    book: BookLedger,
) -> None:
    """The lender for one named in the agreement; nobody else for anybody."""
    stranger = book.pay("A", 100, "2026-05-01", BANK, institution="MakerMSP")
    assert "no receiving institution" in stranger["message"]
    other = book.pay("A", 100, "2026-05-01", OPERATOR, institution="BankMSP")
    assert "is not its lender" in other["message"]


def test_payment_received_by_a_member_that_is_not_named_counts_for_the_borrower(
    book: BookLedger,
) -> None:
    """Any member for what it received itself: it answers for its word, the money is not lost."""
    assert book.pay("A", 200, "2026-05-01", MAKER)["state"] == "current"


def test_payment_told_again_by_the_institution_itself_prevails_over_the_lenders_word(
    book: BookLedger,
) -> None:
    """The institution's own content prevails, whatever it changes: amount, day, agreement."""
    book.register("B")
    book.open("B", register=False, imported=True)
    book.pay("A", 40, "2026-05-02", BANK, institution="OperatorMSP", reference="P-1")
    record = payment("B", "2026-05-01", reference="P-1")
    verdict = book.verdicts("PostPayments", [record], OPERATOR, amounts=[100])[0]
    assert (verdict["written"], verdict["state"]) == (True, "1-29")
    assert book.standing("A")["paid_paisa"] == 0
    assert book.standing("B")["paid_paisa"] == 100
    found = book.ask("Payment", "OperatorMSP", "P-1")
    assert (found["agreement"], found["amount_paisa"], found["posted_by"]) == (
        "B",
        100,
        "OperatorMSP",
    )
    assert [(row["kind"], row["amount_paisa"]) for row in book.ask("Payments", "A")] == [
        ("payment", 40),
        ("reversal", -40),
    ]
    back = book.pay("A", 40, "2026-05-02", BANK, institution="OperatorMSP", reference="P-1")
    assert "known with other content" in back["message"]


def test_payment_told_by_the_institution_just_as_the_lender_did_becomes_its_own(
    book: BookLedger,
) -> None:
    """The institution's word is written down, so that the lender cannot take the money back."""
    book.pay("A", 100, "2026-05-01", BANK, institution="OperatorMSP")
    verdict = book.pay("A", 100, "2026-05-01", OPERATOR)
    assert (verdict["ok"], verdict["written"]) == (True, True)
    assert book.standing("A")["paid_paisa"] == 100
    assert len(book.ask("Payments", "A")) == 1
    refused = reverse(book, "P-A-2026-05-01", BANK, institution="OperatorMSP")
    assert "can be reversed by OperatorMSP only" in refused["message"]
    for by in (OPERATOR, BANK):
        again = book.pay("A", 100, "2026-05-01", by, institution="OperatorMSP")
        assert (again["ok"], again["written"]) == (True, False)


def test_payment_of_the_institution_revives_what_the_lender_reversed(book: BookLedger) -> None:
    """The institution knows whether it has the money: its word prevails over a reversal too."""
    book.pay("A", 100, "2026-05-01", BANK, institution="OperatorMSP")
    assert reverse(book, "P-A-2026-05-01", BANK, institution="OperatorMSP")["written"]
    assert book.standing("A")["paid_paisa"] == 0
    assert book.pay("A", 100, "2026-05-01", OPERATOR)["written"]
    assert book.standing("A")["paid_paisa"] == 100
    assert book.ask("Payment", "OperatorMSP", "P-A-2026-05-01")["reversed"] is None
    refused = reverse(book, "P-A-2026-05-01", BANK, institution="OperatorMSP")
    assert "OperatorMSP only" in refused["message"]


def test_payment_above_everything_owed_is_taken_as_credit(book: BookLedger) -> None:
    """An overpayment is accepted, shows as credit and is never lost."""
    assert book.pay("A", 350, "2026-05-01", OPERATOR)["ok"]
    found = book.standing("A")
    assert (found["credit_paisa"], found["outstanding_paisa"], found["paid_paisa"]) == (50, 0, 350)


def test_payment_by_a_suspended_member_is_recorded(book: BookLedger) -> None:
    """Money received is a fact; the record of it asks only for a member."""
    suspended = Member("OperatorMSP", "operator", "operator", status="suspended")
    others = [member for member in MEMBERS if member.msp_id != "OperatorMSP"]
    ledger = BookLedger([*others, suspended])
    ledger.open("A")
    assert ledger.pay("A", 100, "2026-03-05", OPERATOR)["ok"]


def test_payment_by_a_stranger_or_another_role_is_refused_as_a_whole(book: BookLedger) -> None:
    """Members only, in the role lending."""
    for by in (officer("NobodyMSP"), officer("OperatorMSP", "auditor")):
        outcome = book.call("PostPayments", [payment("A", NOW)], by, {"amounts": [1]})
        assert outcome.status == 400
        assert "rulebook 1" in outcome.message


def test_payments_about_different_agreements_in_one_block_are_all_valid(book: BookLedger) -> None:
    """No hot keys; about the same agreement, the later one is invalid by MVCC."""
    book.open("B", imported=True)
    simulated = [
        book.simulate(
            "instalments",
            "PostPayments",
            [payment(name, NOW, reference=reference)],
            creator=OPERATOR,
            transient={"amounts": [10]},
        )
        for name, reference in (("A", "P-1"), ("B", "P-2"), ("A", "P-3"))
    ]
    assert [outcome.valid for outcome in book.commit(simulated)] == [True, True, False]


def test_payment_endorsed_before_the_day_moved_stays_valid(book: BookLedger) -> None:
    """Payments do not read the ledger day."""
    held = book.simulate(
        "instalments",
        "PostPayments",
        [payment("A", NOW)],
        creator=OPERATOR,
        transient={"amounts": [10]},
    )
    book.today("2026-05-21")
    assert book.commit([held])[0].valid


def test_payment_touches_no_key_that_needs_the_lender(book: BookLedger) -> None:
    """With the lender's node down, a payment is endorsed by any two groups."""
    _, result = book.simulate(
        "instalments",
        "PostPayments",
        [payment("A", NOW)],
        creator=OPERATOR,
        transient={"amounts": [100]},
    )
    assert result.namespaces == ("instalments",)
    book.commit([("x", result)])
    written = book.newest
    assert written == {
        f"payment/OperatorMSP/P-A-{NOW}",
        "standing/A",
        "\x00due\x002026-05-05\x00A\x00",
    }
    assert all(not book.state.metadata_of("instalments", key) for key in written)
    assert book.newest_private == {"account/A"}
    assert book.policy_of("terms-BankMSP", "account/A") == b""


# ---- refunds


def test_refund_of_credit_is_booked_and_no_more_than_that(book: BookLedger) -> None:
    """Above the credit is refused; the lender refunds."""
    book.pay("A", 350, "2026-05-01", OPERATOR)
    assert "above the credit" in refund(book, 51)["message"]
    verdict = refund(book, 50)
    assert (verdict["id"], verdict["written"], verdict["state"]) == ("R-1", True, "current")
    assert book.standing("A")["credit_paisa"] == 0
    assert book.standing("A", "2026-05-19")["credit_paisa"] == 50
    assert "above the credit" in refund(book, 1, "R-2")["message"]
    assert book.ask("Payments", "A")[-1] == {
        "kind": "refund",
        "institution": "BankMSP",
        "reference": "R-1",
        "on": NOW,
        "amount_paisa": -50,
    }


def test_refunds_of_one_list_share_the_credit(book: BookLedger) -> None:
    """Records of one list see each other."""
    book.pay("A", 350, "2026-05-01", OPERATOR)
    records = [{"agreement": "A", "reference": f"R-{place}"} for place in range(3)]
    verdicts = book.verdicts("RefundCredit", records, BANK, amounts=[30, 30, 20])
    assert [verdict["ok"] for verdict in verdicts] == [True, False, True]


def test_refund_sent_again_stands_and_with_other_content_is_refused(book: BookLedger) -> None:
    """Known with other content is refused, the same is a success."""
    book.pay("A", 350, "2026-05-01", OPERATOR)
    refund(book, 20)
    again = refund(book, 20)
    assert (again["ok"], again["written"]) == (True, False)
    assert "known with other content" in refund(book, 21)["message"]


@pytest.mark.parametrize("by", [OPERATOR, BANK_PAY, PTA])
def test_refund_by_anybody_but_the_lender_is_refused(book: BookLedger, by: Any) -> None:
    """Refunds are the lender's."""
    book.pay("A", 350, "2026-05-01", OPERATOR)
    assert "its lender BankMSP only" in refund(book, 10, by=by)["message"]


# ---- reversals


def test_reversal_takes_the_payment_out_from_the_day_it_was_paid(book: BookLedger) -> None:
    """A payment that did not stand never counted; nothing is blocked by it."""
    book.pay("A", 100, "2026-04-20", OPERATOR)
    outcome = book.call(
        "ReversePayments",
        [{"reference": "P-A-2026-04-20", "evidence": salted("reversal")}],
        OPERATOR,
    )
    assert outcome.value["verdicts"][0]["state"] == "30-59"
    assert arrears(book, "2026-04-20") == (1, 15, 100)
    found = book.ask("Payment", "OperatorMSP", "P-A-2026-04-20")
    assert found["reversed"] == {"on": NOW, "evidence": salted("reversal")}
    assert [(row["kind"], row["amount_paisa"]) for row in book.ask("Payments", "A")] == [
        ("payment", 100),
        ("reversal", -100),
    ]
    assert outcome.event is not None
    assert "case" not in outcome.event[1]["records"][0]


def test_reversal_sent_again_stands_and_with_other_evidence_is_refused(book: BookLedger) -> None:
    """Already reversed is refused, unless it is the very same."""
    book.pay("A", 100, "2026-05-01", OPERATOR)
    reverse(book, "P-A-2026-05-01")
    again = reverse(book, "P-A-2026-05-01")
    assert (again["ok"], again["written"]) == (True, False)
    other = reverse(book, "P-A-2026-05-01", evidence=salted("other"))
    assert "was reversed on 2026-05-20 with other evidence" in other["message"]
    assert book.standing("A")["paid_paisa"] == 0


def test_reversal_of_a_reversed_payment_posted_again_does_not_bring_it_back(
    book: BookLedger,
) -> None:
    """The same request twice does nothing: new money has a new reference."""
    book.pay("A", 100, "2026-05-01", OPERATOR)
    reverse(book, "P-A-2026-05-01")
    again = book.pay("A", 100, "2026-05-01", OPERATOR)
    assert (again["ok"], again["written"]) == (True, False)
    assert book.standing("A")["paid_paisa"] == 0


def test_reversal_by_anybody_but_the_poster_or_of_nothing_is_refused(book: BookLedger) -> None:
    """Who posted it reverses it."""
    book.pay("A", 100, "2026-05-01", OPERATOR)
    foreign = reverse(book, "P-A-2026-05-01", BANK, institution="OperatorMSP")
    assert "OperatorMSP only" in foreign["message"]
    assert "is not known" in reverse(book, "P-9")["message"]


def test_reversal_without_evidence_is_refused(book: BookLedger) -> None:
    """No evidence, no reversal."""
    book.pay("A", 100, "2026-05-01", OPERATOR)
    record = {"reference": "P-A-2026-05-01"}
    verdict = book.verdicts("ReversePayments", [record], OPERATOR)[0]
    assert (verdict["ok"], verdict["id"]) == (False, "P-A-2026-05-01")
    assert "evidence: is missing" in verdict["message"]
    assert "not of its form" in reverse(book, "P-A-2026-05-01", evidence="")["message"]


def test_reversal_after_a_clearance_certificate_is_refused(book: BookLedger) -> None:
    """The claim is then against the payer; the institution's correction downwards likewise."""
    book.pay("A", 100, "2026-05-01", BANK, institution="OperatorMSP", reference="P-1")
    book.pay("A", 200, "2026-05-01", OPERATOR, reference="P-2")
    assert book.verdicts("IssueClearance", [{"agreement": "A"}], BANK)[0]["ok"]
    for verdict in (
        reverse(book, "P-2"),
        reverse(book, "P-1", BANK, institution="OperatorMSP"),
        book.pay("A", 99, "2026-05-01", OPERATOR, reference="P-1"),
    ):
        assert not verdict["ok"]
        assert "the claim is now against the payer" in verdict["message"]
    assert book.standing("A")["outstanding_paisa"] == 0
    assert book.pay("A", 20, "2026-05-20", OPERATOR, reference="P-3")["ok"]
    assert book.standing("A")["credit_paisa"] == 20
    assert refund(book, 20)["ok"]


def test_correction_after_a_clearance_certificate_may_only_add(book: BookLedger) -> None:
    """The institution's own word prevails where it takes nothing from what was certified."""
    book.open("B", imported=True)
    for reference, amount in (("P-1", 100), ("P-2", 200)):
        book.pay("A", amount, "2026-05-01", BANK, institution="OperatorMSP", reference=reference)
    assert book.verdicts("IssueClearance", [{"agreement": "A"}], BANK)[0]["ok"]
    elsewhere = book.pay("B", 100, "2026-05-01", OPERATOR, reference="P-1")
    assert "the claim is now against the payer" in elsewhere["message"]
    assert book.pay("A", 120, "2026-05-01", OPERATOR, reference="P-1")["written"]
    assert book.standing("A")["credit_paisa"] == 20


def test_reversal_after_a_refund_never_shows_less_than_nothing_paid(book: BookLedger) -> None:
    """Arrears are never above what the instalments come to."""
    book.pay("A", 300, "2026-05-01", OPERATOR, reference="P-1")
    book.pay("A", 60, "2026-05-01", OPERATOR, reference="P-2")
    refund(book, 60)
    reverse(book, "P-1")
    reverse(book, "P-2")
    assert arrears(book) == (2, 45, 200)
    assert book.ask("Due", "", 0, 10, "")["rows"][0]["arrears_paisa"] == 200
    assert book.standing("A")["paid_paisa"] == 0
    assert book.ask("IsEncumbered", [pseudonym("A/0")]) == {"encumbered": True}


# ---- a long account


def test_account_of_many_payments_is_kept_in_pages_and_found_again() -> None:
    """A daily plan: an old payment is known, reversed, and listed in its place."""
    days = [f"2026-{month:02d}-{day:02d}" for month in (4, 5, 6) for day in range(1, 31)]
    book = BookLedger()
    book.open("A", [(day, 10) for day in days])
    book.today("2026-07-01")
    for part in (days[:70], days[70:]):
        records = [payment("A", day) for day in part]
        verdicts = book.verdicts("PostPayments", records, OPERATOR, amounts=[10] * len(part))
        assert all(verdict["written"] for verdict in verdicts)
    again = [payment("A", days[0])]
    assert not book.verdicts("PostPayments", again, OPERATOR, amounts=[10])[0]["written"]
    other = book.verdicts("PostPayments", again, OPERATOR, amounts=[11])[0]
    assert "known with other content" in other["message"]
    assert book.ask("Payment", "OperatorMSP", f"P-A-{days[0]}")["amount_paisa"] == 10
    reversal = [{"reference": f"P-A-{days[0]}", "evidence": salted("bounced")}]
    assert book.verdicts("ReversePayments", reversal, OPERATOR)[0]["written"]
    listed = [(row["kind"], row["on"], row["amount_paisa"]) for row in book.ask("Payments", "A")]
    assert listed == [*(("payment", day, 10) for day in days), ("reversal", "2026-07-01", -10)]
    assert book.standing("A")["arrears_paisa"] == 10
