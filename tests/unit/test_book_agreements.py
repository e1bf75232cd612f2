"""Rulebook 2, Agreement and Confirmation of sale."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2

from chaincode.instalments.members import Member
from chaincode.instalments.policy import Policy
from ledger.state.ports import VALIDATION_PARAMETER
from tests.support.book_ledger import (
    BANK,
    BANK_PAY,
    MAKER,
    MEMBERS,
    OPENED,
    OPERATOR,
    PTA,
    THREE_EQUAL,
    BookLedger,
    agreement,
    officer,
    pseudonym,
    salted,
    terms_of,
)


@pytest.fixture
def book() -> BookLedger:
    return BookLedger()


def confirm(book: BookLedger, name: str, handed_over_on: str = OPENED, by=MAKER) -> dict[str, Any]:
    record = {"agreement": name, "handed_over_on": handed_over_on}
    return book.verdicts("ConfirmSales", [record], by)[0]


def open_with(book: BookLedger, terms: dict[str, Any], **changes: Any) -> dict[str, Any]:
    book.register("A")
    return book.verdicts("OpenAgreements", [agreement("A", **changes)], terms=[terms])[0]


# ---- opening


def test_agreement_opened_by_its_lender_stands_in_the_book(book: BookLedger) -> None:
    """Who and what, terms, standing, the device's status, the totals: all from one transaction."""
    verdict = book.open("A")
    assert (verdict["id"], verdict["ok"], verdict["written"]) == ("A", True, True)
    assert verdict["state"] == "open"
    found = book.ask("Agreement", "A")
    assert found == {
        "agreement": "A",
        "lender": "BankMSP",
        "operator": "OperatorMSP",
        "borrower": pseudonym("A/borrower"),
        "sim": pseudonym("A/sim"),
        "device": pseudonym("A/0"),
        "contract_type": "conventional",
        "receiving_institutions": ["BankMSP", "OperatorMSP"],
        "consent": {"statement": salted("A"), "language": "ur", "block": True},
        "opened_on": OPENED,
        "imported": False,
        "recorded_on": OPENED,
        "confirmed_on": None,
        "schedule_version": 1,
        "closed": "",
        "terms": {
            "price_paisa": 350,
            "down_payment_paisa": 50,
            "currency": "PKR",
            "instalments": [{"due": due, "amount_paisa": paisa} for due, paisa in THREE_EQUAL],
        },
    }
    assert book.ask("Agreements", ["X", "A"]) == [None, found]
    status = book.ask("DeviceStatus", [pseudonym("A/1")])
    assert (status["financed"], status["lender"]) == (True, "BankMSP")
    assert status["pay_to"] == ["BankMSP", "OperatorMSP"]
    assert book.ask("IsEncumbered", [pseudonym("A/0")]) == {"encumbered": True}
    assert book.ask("Totals", "BankMSP", OPENED) == {
        "lender": "BankMSP",
        "opened": 1,
        "closed": 0,
        "open": 1,
    }
    assert book.ask("Totals", "BankMSP", "2026-03-04")["opened"] == 0


def test_agreement_event_holds_no_amount_and_no_pseudonym_of_a_person(book: BookLedger) -> None:
    """What stands in an event everybody reads."""
    book.register("A")
    outcome = book.call(
        "OpenAgreements", [agreement("A")], BANK, {"terms": [terms_of(THREE_EQUAL)]}
    )
    assert outcome.event == (
        "OpenAgreements",
        {
            "version": 1,
            "function": "OpenAgreements",
            "day": OPENED,
            "records": [
                {
                    "id": "A",
                    "kind": "agreement",
                    "state": "open",
                    "agreement": "A",
                    "lender": "BankMSP",
                    "opened_on": OPENED,
                }
            ],
        },
    )


def test_agreement_and_terms_carry_a_policy_of_the_lender_and_another_group(
    book: BookLedger,
) -> None:
    """Terms and schedules additionally need their lender, by a key-level policy (rulebook 1)."""
    book.open("A")
    raws = [
        book.state.metadata_of("instalments", key)[VALIDATION_PARAMETER]
        for key in ("agreement/A", "plan/A")
    ]
    for raw in (*raws, book.policy_of("terms-BankMSP", "terms/A")):
        policy = policies_pb2.SignaturePolicyEnvelope.FromString(raw)
        roles = [
            msp_principal_pb2.MSPRole.FromString(identity.principal)
            for identity in policy.identities
        ]
        assert [role.msp_identifier for role in roles] == [
            "BankMSP",
            "MakerMSP",
            "OperatorMSP",
            "PtaMSP",
        ]
        assert {role.role for role in roles} == {msp_principal_pb2.MSPRole.PEER}
        assert policy.rule.n_out_of.n == 2
        lender, another = policy.rule.n_out_of.rules
        assert lender.signed_by == 0
        assert another.n_out_of.n == 1
        assert [rule.signed_by for rule in another.n_out_of.rules] == [1, 2, 3]
    assert book.state.metadata_of("instalments", "standing/A") == {}
    assert book.policy_of("terms-BankMSP", "account/A") == b""


def test_agreement_sent_again_is_a_success_however_late(book: BookLedger) -> None:
    """The same content: success, nothing written; also when the window has passed."""
    book.open("A")
    book.today("2026-04-01")
    again = book.call("OpenAgreements", [agreement("A")], BANK, {"terms": [terms_of(THREE_EQUAL)]})
    verdict = again.value["verdicts"][0]
    assert (verdict["ok"], verdict["written"], verdict["state"]) == (True, False, "open")
    assert not again.result.writes
    assert again.event is None


@pytest.mark.parametrize(
    "changes",
    [
        {"borrower": pseudonym("other")},
        {"consent": None},
        {"contract_type": "murabaha"},
        {"receiving_institutions": ["PtaMSP"]},
        {"opened_on": "2026-03-04"},
    ],
)
def test_agreement_known_with_other_content_is_refused(
    book: BookLedger, changes: dict[str, Any]
) -> None:
    """An id names one agreement for ever."""
    book.open("A")
    verdict = book.open("A", register=False, **changes)
    assert not verdict["ok"]
    assert "known with other content" in verdict["message"]


def test_agreement_known_with_other_terms_or_of_another_lender_is_refused(book: BookLedger) -> None:
    """Terms are content too, and so is who lends."""
    book.open("A")
    other = book.open("A", [("2026-04-05", 300)], register=False)
    assert "known with other content" in other["message"]
    theirs = book.open("A", by=OPERATOR, register=False)
    assert "known with other content" in theirs["message"]


def test_agreements_of_one_list_about_one_device_let_only_the_first_stand(book: BookLedger) -> None:
    """Records of one list see each other."""
    book.register("A")
    records = [agreement("A"), agreement("B", device=[pseudonym("A/1")])]
    verdicts = book.verdicts("OpenAgreements", records, terms=[terms_of(THREE_EQUAL)] * 2)
    assert [verdict["ok"] for verdict in verdicts] == [True, False]
    assert "financed already" in verdicts[1]["message"]


def test_agreement_about_a_financed_device_is_refused_until_that_one_is_closed(
    book: BookLedger,
) -> None:
    """Device already financed; a certificate frees it."""
    book.open("A")
    again = book.open("B", device=[pseudonym("A/0")], by=OPERATOR, register=False)
    assert "financed already" in again["message"]
    book.today("2026-03-10")
    book.pay("A", 300, "2026-03-10", OPERATOR)
    assert book.verdicts("IssueClearance", [{"agreement": "A"}], BANK)[0]["ok"]
    freed = book.open(
        "B", device=[pseudonym("A/0")], by=OPERATOR, register=False, opened_on="2026-03-10"
    )
    assert freed["ok"], freed


def test_agreement_about_a_device_nobody_registered_or_exchanged_is_refused(
    book: BookLedger,
) -> None:
    """The device must be known, and the handset that is in the borrower's hand."""
    assert "not registered" in book.open("A", register=False)["message"]
    book.register("B", "N")
    record = {"old": [pseudonym("B/0")], "new": [pseudonym("N/0")], "reason": "repair"}
    assert book.verdicts("ExchangeDevices", [record], MAKER)[0]["ok"]
    assert "was exchanged" in book.open("B", register=False)["message"]


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        (terms_of([("2026-05-05", 100), ("2026-04-05", 100)]), "do not rise"),
        (terms_of([("2026-04-05", 100), ("2026-04-05", 100)]), "do not rise"),
        (terms_of([("2026-03-04", 100)]), "not due after it was opened"),
        (terms_of([("2026-03-05", 100)]), "not due after it was opened"),
        (terms_of([("2026-04-05", 0), ("2026-05-05", 10)]), "not positive"),
        (terms_of(THREE_EQUAL) | {"price_paisa": 351}, "differs from price less down payment"),
        (terms_of(THREE_EQUAL) | {"instalments": []}, "no instalment"),
        (terms_of(THREE_EQUAL) | {"currency": "USD"}, "currency"),
        (terms_of(THREE_EQUAL) | {"down_payment_paisa": 350}, "down payment"),
        (terms_of(THREE_EQUAL) | {"down_payment_paisa": -1}, "down payment"),
        (terms_of(THREE_EQUAL) | {"price_paisa": 0}, "positive price"),
        ({"price_paisa": 350}, "not of its form"),
    ],
)
def test_agreement_with_terms_that_do_not_add_up_is_refused(
    book: BookLedger, terms: dict[str, Any], reason: str
) -> None:
    """Due dates rise and follow the opening; the sum is price less down payment."""
    verdict = open_with(book, terms)
    assert not verdict["ok"]
    assert reason in verdict["message"]
    assert verdict["rule"] == "rulebook 2"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"operator": "NobodyMSP"}, "operator that is no member"),
        ({"receiving_institutions": ["BankMSP", "BankPayMSP"]}, "outside the lender's group"),
        ({"receiving_institutions": []}, "outside the lender's group"),
        ({"receiving_institutions": ["NobodyMSP", "PtaMSP"]}, "no member"),
        ({"opened_on": "2026-03-06"}, "after today"),
        ({"agreement": "60460-0000001-5"}, "identity card number"),
    ],
)
def test_agreement_that_breaks_a_rule_is_refused_with_its_section(
    book: BookLedger, changes: dict[str, Any], reason: str
) -> None:
    """Operator and receivers are members, one receiver outside the group; not of the future."""
    verdict = open_with(book, terms_of(THREE_EQUAL), **changes)
    assert not verdict["ok"]
    assert reason in verdict["message"]
    assert "(rulebook 2)" in verdict["message"]
    assert "60460" not in verdict["message"] + verdict["id"]


def test_agreement_with_the_regulators_escrow_as_receiver_is_opened(book: BookLedger) -> None:
    """One receiving institution at least outside the lender's group, or the regulator's escrow."""
    assert open_with(book, terms_of(THREE_EQUAL), receiving_institutions=["PtaMSP"])["ok"]


@pytest.mark.parametrize(
    ("day", "imported", "is_opened"),
    [
        ("2026-03-12", False, True),
        ("2026-03-13", False, False),
        ("2026-03-13", True, True),
        ("2026-09-01", True, True),
    ],
)
def test_agreement_is_recorded_within_seven_days_or_marked_as_imported(
    book: BookLedger, day: str, imported: bool, is_opened: bool
) -> None:
    """Opened on more than 7 days before the ledger day: only an imported older book."""
    book.today(day)
    verdict = open_with(book, terms_of(THREE_EQUAL), imported=imported)
    assert verdict["ok"] is is_opened
    if not is_opened:
        assert "more than 7 days before the ledger day 2026-03-13" in verdict["message"]
        assert "mark an older book as imported" in verdict["message"]


def test_agreement_window_is_the_ledger_days_and_the_policys() -> None:
    """The window is a governed parameter, and the ledger day counts, not the transaction's."""
    book = BookLedger(rules=Policy(opening_window_days=2))
    book.register("A")
    book.at("2026-03-20")  # the ledger day stays behind
    assert book.open("A", register=False)["ok"]
    book.today("2026-03-08")
    assert not book.open("B")["ok"]


@pytest.mark.parametrize("by", [MAKER, PTA])
def test_agreement_of_a_member_that_cannot_lend_is_refused(book: BookLedger, by: Any) -> None:
    """The lender is a bank, an investment firm or an operator."""
    book.register("A")
    outcome = book.call("OpenAgreements", [agreement("A")], by, {"terms": [terms_of(THREE_EQUAL)]})
    assert outcome.status == 400
    assert "cannot lend" in outcome.message


def test_agreement_of_a_suspended_member_is_refused() -> None:
    """Only an active member opens agreements."""
    suspended = Member("BankMSP", "bank", "bank", status="suspended")
    book = BookLedger((suspended, *MEMBERS[1:]))
    book.register("A")
    outcome = book.call(
        "OpenAgreements", [agreement("A")], BANK, {"terms": [terms_of(THREE_EQUAL)]}
    )
    assert outcome.status == 400
    assert "suspended" in outcome.message


def test_agreement_by_another_role_is_refused_as_a_whole(book: BookLedger) -> None:
    """A missing role refuses the transaction, with the role that is needed."""
    book.register("A")
    by = officer("BankMSP", "executor")
    outcome = book.call("OpenAgreements", [agreement("A")], by, {"terms": [terms_of(THREE_EQUAL)]})
    assert outcome.status == 400
    assert "qist.role is lending" in outcome.message


# ---- confirmation


def test_confirmation_by_a_member_outside_the_group_stands(book: BookLedger) -> None:
    """That handset and SIM were handed over; recorded on the transaction's date."""
    book.open("A")
    book.today("2026-03-07")
    verdict = confirm(book, "A", "2026-03-06")
    assert (verdict["state"], verdict["written"]) == ("confirmed", True)
    assert book.ask("Confirmation", "A") == {
        "agreement": "A",
        "by": "MakerMSP",
        "handed_over_on": "2026-03-06",
        "recorded_on": "2026-03-07",
    }
    assert book.ask("Agreement", "A")["confirmed_on"] == "2026-03-07"


@pytest.mark.parametrize("by", [BANK, BANK_PAY])
def test_confirmation_by_the_lenders_group_is_refused(book: BookLedger, by: Any) -> None:
    """Bank and affiliate count as one: neither confirms its own sale."""
    book.open("A")
    verdict = confirm(book, "A", by=by)
    assert "lender's group" in verdict["message"]
    assert book.ask("Confirmation", "A") is None


def test_confirmation_sent_again_stands_and_with_another_date_is_refused(book: BookLedger) -> None:
    """The same member with another date is refused; a second member's changes nothing."""
    book.open("A")
    book.today("2026-03-08")
    confirm(book, "A", "2026-03-06")
    assert confirm(book, "A", "2026-03-06") | {"ok": True, "written": False} == confirm(
        book, "A", "2026-03-06"
    )
    assert "another date" in confirm(book, "A", "2026-03-07")["message"]
    second = confirm(book, "A", "2026-03-07", OPERATOR)
    assert (second["ok"], second["written"]) == (True, False)
    assert book.ask("Confirmation", "A")["by"] == "MakerMSP"


def test_confirmation_of_the_future_or_of_nothing_is_refused(book: BookLedger) -> None:
    """A day that has not come; an agreement that nobody opened."""
    book.open("A")
    assert "after today" in confirm(book, "A", "2026-03-06")["message"]
    assert "agreement B is not known" in confirm(book, "B")["message"]


def test_bulk_of_good_and_bad_records_writes_the_good_ones(book: BookLedger) -> None:
    """A verdict for each record, in the order of the list; bad ones write nothing."""
    for name in ("A", "B"):
        book.open(name)
    records = [
        {"agreement": "A", "handed_over_on": OPENED},
        {"agreement": "Z", "handed_over_on": OPENED},
        {"agreement": "a b", "handed_over_on": OPENED},
        {"agreement": "B", "handed_over_on": OPENED},
    ]
    outcome = book.call("ConfirmSales", records, MAKER)
    assert [verdict["ok"] for verdict in outcome.value["verdicts"]] == [True, False, False, True]
    assert [verdict["id"] for verdict in outcome.value["verdicts"]] == ["A", "Z", "", "B"]
    assert outcome.event is not None
    assert [record["id"] for record in outcome.event[1]["records"]] == ["A", "B"]


def test_bulk_longer_than_five_hundred_is_refused_as_a_whole(book: BookLedger) -> None:
    """At most 500 records a transaction."""
    records = [{"agreement": f"A-{n}", "handed_over_on": OPENED} for n in range(501)]
    outcome = book.call("ConfirmSales", records, MAKER)
    assert outcome.status == 400
    assert "at most 500" in outcome.message


def test_bulk_whose_transient_list_is_shorter_is_refused_as_a_whole(book: BookLedger) -> None:
    """Transient lists are parallel to the list of records."""
    book.register("A", "B")
    records = [agreement("A"), agreement("B")]
    outcome = book.call("OpenAgreements", records, BANK, {"terms": [terms_of(THREE_EQUAL)]})
    assert outcome.status == 400
    assert "has 1 entries for 2 records" in outcome.message
    missing = book.call("OpenAgreements", records, BANK)
    assert missing.status == 400
    assert "transient data 'terms'" in missing.message


def test_openings_about_different_devices_in_one_block_never_conflict(book: BookLedger) -> None:
    """Transactions about different agreements never conflict: no hot key, totals included."""
    book.register("A", "B")
    simulated = [
        book.simulate(
            "instalments",
            "OpenAgreements",
            [agreement(name)],
            transient={"terms": [terms_of(THREE_EQUAL)]},
        )
        for name in ("A", "B")
    ]
    assert [outcome.valid for outcome in book.commit(simulated)] == [True, True]
    assert book.ask("Totals", "BankMSP", str(date(2026, 3, 5)))["opened"] == 2
