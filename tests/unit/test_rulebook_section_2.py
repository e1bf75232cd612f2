"""Rulebook 2: the records, row by row, and that no two agreements meet in a key."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from chaincode.instalments.policy import Policy
from tests.support.book_ledger import (
    OPENED,
    agreement,
    device,
    officer,
    payment,
    pseudonym,
    salted,
    terms_of,
)
from tests.support.case_ledger import PROPOSED, TRIGGER, CaseLedger, order_of, verdicts
from tests.support.rulebook import missing_tests, namespaces_of

SHOWN = [
    (
        "device: an IMEI already registered; a TAC not listed for its maker; numbers that are none",
        "test_device_with_an_imei_of_another_is_refused "
        "test_device_of_a_type_not_listed_for_its_maker_is_refused "
        "test_device_whose_raw_numbers_are_wrong_is_refused_without_them "
        "test_imei_that_is_none_is_refused_without_it",
    ),
    (
        "exchange: agreement and case follow, old IMEIs are released",
        "test_exchange_gives_the_agreement_the_new_device "
        "test_exchange_of_a_phone_without_an_order_takes_the_case_along "
        "test_exchange_of_a_blocked_phone_releases_the_old_one_and_leaves_the_new_one_free",
    ),
    (
        "agreement: financed or blocked, due dates, sum, window of 7 days",
        "test_agreement_about_a_financed_device_is_refused_until_that_one_is_closed "
        "test_end_of_an_agreement_releases_its_phone_and_frees_it_only_then "
        "test_agreement_with_terms_that_do_not_add_up_is_refused "
        "test_agreement_is_recorded_within_seven_days_or_marked_as_imported",
    ),
    (
        "confirmation of sale: a member outside the group; none, no case, ever",
        "test_confirmation_by_a_member_outside_the_group_stands "
        "test_confirmation_by_the_lenders_group_is_refused "
        "test_trigger_without_consent_or_confirmation_never_opens",
    ),
    (
        "payment: the institution, or the lender on its behalf; known with other content",
        "test_payment_told_again_by_the_institution_itself_prevails_over_the_lenders_word "
        "test_payment_told_by_the_institution_just_as_the_lender_did_becomes_its_own "
        "test_payment_known_with_other_content_is_refused "
        "test_payment_that_breaks_a_rule_is_refused "
        "test_payment_on_the_day_of_opening_or_today_is_taken",
    ),
    ("refund: above the credit", "test_refund_of_credit_is_booked_and_no_more_than_that"),
    (
        "reversal: who posted it; already reversed; no evidence; a certificate",
        "test_reversal_by_anybody_but_the_poster_or_of_nothing_is_refused "
        "test_reversal_without_evidence_is_refused "
        "test_reversal_after_a_clearance_certificate_is_refused",
    ),
    (
        "schedule version: nothing rises up to the old last date, nor in total",
        "test_revision_that_asks_for_more_is_refused test_revision_never_brings_a_case_nearer "
        "test_revision_with_a_higher_total_needs_a_new_consent_and_a_conventional_contract "
        "test_revision_of_a_frozen_price_may_fall_or_move_but_never_rise",
    ),
    (
        "hold: who, evidence, 30 days, a second of a kind",
        "test_hold_is_placed_by_those_named test_hold_without_evidence_is_refused "
        "test_hold_lasts_from_today_to_thirty_days test_hold_second_of_a_kind_is_the_regulators",
    ),
    (
        "payments to the oldest first; an overpayment is credit",
        "test_payment_is_allotted_to_the_oldest_unpaid_instalment "
        "test_payment_above_everything_owed_is_taken_as_credit",
    ),
    ("a bulk writes the good ones", "test_bulk_of_good_and_bad_records_writes_the_good_ones"),
    (
        "references are never a number of a person",
        "test_reference_that_may_be_a_persons_number_is_refused_without_it "
        "test_payment_reference_that_may_be_a_persons_number_is_refused_unrepeated",
    ),
    (
        "totals are a key per transaction",
        "test_totals_of_a_lender_count_its_own_and_fold_all_transactions "
        "test_limits_over_two_years_are_those_of_counting_everything",
    ),
    (
        "what must be limited claims slot keys",
        "test_a_hundred_deciding_ballots_at_once_are_all_valid "
        "test_proposals_of_one_lender_at_once_are_all_valid",
    ),
]

DAY = timedelta(days=1)
DUE = [("2026-04-05", 100), ("2026-05-05", 100)]


def test_section_2_names_tests_that_exist() -> None:
    """What is shown elsewhere is shown."""
    assert missing_tests(SHOWN) == []


def test_figures_of_the_records_are_parameters_of_the_policy() -> None:
    """7 days to record an agreement, 30 of an imported book, 30 of a hold."""
    policy = Policy()
    assert (policy.opening_window_days, policy.imported_pause_days, policy.hold_days) == (7, 30, 30)


# ---- imported books -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "imported", "ok"),
    [(7, False, True), (8, False, False), (8, True, True), (400, True, True), (-1, True, False)],
)
def test_agreement_of_an_older_book_is_marked_as_such(days: int, imported: bool, ok: bool) -> None:
    """More than 7 days before the ledger day only as imported; in the future never."""
    ledger = CaseLedger()
    opened_on = (ledger.tx_day - days * DAY).isoformat()
    assert _opened(ledger, opened_on=opened_on, imported=imported)["ok"] is ok


def _opened(ledger: CaseLedger, **changes: Any) -> dict[str, Any]:
    tac = {"tac": "35209900", "maker": "Acme", "registrants": ["MakerMSP"]}
    ledger.change("RegisterTacs", [tac], by=("PtaMSP", "lending"))
    ledger.change("RegisterDevices", [device("A1")], by=("MakerMSP", "lending"))
    terms = [terms_of([("2026-12-05", 100)])]
    records = [agreement("A1", **changes)]
    outcome = ledger.change("OpenAgreements", records, by=("BankMSP", "lending"), terms=terms)
    return verdicts(outcome)[0]


def test_imported_book_waits_from_the_day_it_was_recorded_whatever_the_lender_says() -> None:
    """Thirty days for the borrower to show what was paid, though the arrears are a year old; a
    payment dated back within them counts from its day.
    """
    ledger = CaseLedger(begin="2026-05-01")
    ledger.open(
        "A1", "A2", opened_on="2025-01-05", imported=True, instalments=[("2025-04-05", 100)]
    )
    ledger.today(date(2026, 5, 1) + 30 * DAY)
    assert [each["state"] for each in ledger.sweep("A1", "A2")] == ["imported"] * 2
    ledger.pay("A1", 100, "2025-04-01")
    ledger.today(date(2026, 5, 1) + 31 * DAY)
    assert [each["state"] for each in ledger.sweep("A1", "A2")] == ["below_trigger", "triggered"]


# ---- who receives and who tells -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("institutions", "ok"),
    [
        (["BankMSP"], False),
        (["BankMSP", "BankPayMSP"], False),
        (["OperatorMSP"], True),
        (["BankPayMSP", "PtaMSP"], True),
        (["NobodyMSP"], False),
        ([], False),
    ],
)
def test_agreement_names_one_receiver_outside_the_lenders_group(
    institutions: list[str], ok: bool
) -> None:
    """One at least outside the affiliate group, or the regulator's escrow."""
    assert _opened(CaseLedger(), receiving_institutions=institutions)["ok"] is ok


@pytest.mark.parametrize("amount", [1, 99, 300])
def test_payment_told_falsely_by_the_lender_is_set_right_by_the_institution(amount: int) -> None:
    """Too little, too much, another agreement: its own word stands, in standing and in account."""
    ledger = CaseLedger()
    ledger.open("A1", "A2", instalments=DUE)
    record = payment("A2", OPENED, reference="R1", institution="OperatorMSP")
    by = ("BankMSP", "lending")
    assert verdicts(ledger.change("PostPayments", [record], by=by, amounts=[amount]))[0]["ok"]
    own = payment("A1", OPENED, reference="R1")
    told = ledger.change("PostPayments", [own], by=("OperatorMSP", "lending"), amounts=[100])
    assert verdicts(told)[0]["written"]
    paid = [
        each["paid_paisa"] for each in ledger.ask("Standings", ["A1", "A2"], "", of="instalments")
    ]
    assert paid == [100, 0]
    again = ledger.change("PostPayments", [record], by=by, amounts=[amount])
    assert not verdicts(again)[0]["ok"]


# ---- no hot keys --------------------------------------------------------------------------------


class Pair:
    """Two agreements that take every step in one block, each in a transaction of its own."""

    def __init__(self) -> None:
        self.ledger = CaseLedger(begin="2026-02-05", orders_per_month_percent=100)
        self.ledger.open("A1", "A2", opened_on="2026-02-05", instalments=DUE)
        self.ranges: list[str] = []

    def both(
        self,
        function: str,
        by: tuple[str, str],
        *records: Any,
        of: str = "enforcement",
        **transient: Any,
    ) -> list[str]:
        """Simulate a function once for each record on one snapshot; all must be VALID."""
        ledger = self.ledger
        simulated = [
            ledger.simulate(
                of, function, [record], creator=officer(*by), transient=transient or None
            )
            for record in records
        ]
        for _, result in simulated:
            parts = namespaces_of(result).values()
            self.ranges += [function for part in parts if part.range_queries_info]
        outcomes = ledger.commit(simulated)
        assert [each.valid for each in outcomes] == [True] * len(records), function
        found = [each.value["verdicts"][0] for each in outcomes]
        assert all(each["ok"] and each["written"] for each in found), (function, found)
        return [each["state"] for each in found]

    def change(
        self, function: str, by: tuple[str, str], *records: Any, **transient: Any
    ) -> list[str]:
        """The same of `instalments`."""
        return self.both(function, by, *records, of="instalments", **transient)


def test_transactions_about_different_agreements_never_conflict() -> None:
    """From the sale to the release, step by step: in one block both stand. No function reads a
    range, so nothing that others write can come between.
    """
    pair, cases = Pair(), ["C-A1-1", "C-A2-1"]
    ledger, names = pair.ledger, ["A1", "A2"]
    bank, maker, operator = ("BankMSP", "lending"), ("MakerMSP", "auditor"), "OperatorMSP"
    opened = ledger.tx_day.isoformat()
    pair.change(
        "PostPayments",
        bank,
        *[payment(name, opened, reference=name) for name in names],
        amounts=[5],
    )
    pair.change(
        "ReversePayments", bank, *[{"reference": name, "evidence": salted(name)} for name in names]
    )
    ledger.today(TRIGGER)
    assert ledger.decide("OpenMonth", "2026-05", by=maker).valid
    assert pair.both("Sweep", maker, *names) == ["triggered"] * 2
    notice = {"delivered_on": TRIGGER.isoformat(), "channel": "sms", "language": "ur"}
    pair.both(
        "ServeNotices", bank,
        *[notice | {"case": case, "proof": salted(case)} for case in cases],
    )  # fmt: skip
    hold = {"kind": "disaster", "until": (TRIGGER + DAY).isoformat(), "evidence": salted("h")}
    pair.change("PlaceHolds", bank, *[hold | {"agreement": name} for name in names])
    pair.change("LiftHolds", bank, *[{"hold": f"H-{name}-1", "reason": "x"} for name in names])
    hold = {"kind": "dispute", "until": TRIGGER.isoformat(), "evidence": salted("d")}
    pair.change(
        "PlaceHolds", (operator, "lending"), *[hold | {"agreement": name} for name in names]
    )
    pair.change(
        "AnswerDisputes",
        bank,
        *[{"hold": f"H-{name}-2", "evidence": salted("a")} for name in names],
    )
    ledger.today(PROPOSED + DAY)
    ledger.propose(*cases)
    ballot = {"choice": "yes", "reason": "seen"}
    for voter in ("PtaMSP", operator, "MakerMSP"):
        by = (voter, "enforcement")
        states = pair.both("CastBallots", by, *[ballot | {"case": case} for case in cases])
    assert states == ["ordered"] * 2
    executor = (operator, "executor")
    orders = [order_of(case) for case in cases]
    for step in ("SUBMITTED", "APPLIED"):
        pair.both(
            "AcknowledgeOrders", executor, *[{"order": each, "step": step} for each in orders]
        )
    today = ledger.tx_day.isoformat()
    records = [payment(name, today) for name in names]
    pair.change("PostPayments", (operator, "lending"), *records, amounts=[250])
    assert [ledger.state_of(case) for case in cases] == ["releasing"] * 2
    ledger.at(ledger.tx_day, "14:00")
    pair.change("EscalateReleases", maker, *orders)
    for step in ("SUBMITTED", "APPLIED", "VERIFIED"):
        pair.change(
            "AcknowledgeReleases", executor, *[{"order": each, "step": step} for each in orders]
        )
    pair.both("CloseCases", maker, *cases)
    pair.change(
        "RefundCredit", bank, *[{"agreement": name, "reference": name} for name in names],
        amounts=[50],
    )  # fmt: skip
    pair.change("IssueClearance", bank, *[{"agreement": name} for name in names])
    assert pair.ranges == []


def test_sweep_reads_the_keys_of_the_agreements_it_names_and_no_others() -> None:
    """No range, no cursor: another agreement's name stands nowhere in what it read."""
    ledger = CaseLedger()
    ledger.open("A1", "B2", instalments=DUE)
    ledger.today(TRIGGER)
    _, result = ledger.simulate(
        "enforcement", "Sweep", ["A1"], creator=officer("MakerMSP", "auditor")
    )
    parts = namespaces_of(result)
    read = {read.key for part in parts.values() for read in part.reads}
    assert {"docket/A1", "standing/A1", "plan/A1", "agreement/A1", "holds/A1"} <= read
    assert not [key for key in read if "B2" in key]
    assert not [part for part in parts.values() if part.range_queries_info]


def test_rivals_cannot_tell_whether_two_agreements_are_one_borrowers() -> None:
    """Borrower and SIM stand under pseudonyms that only the lender's key makes, never plain, and no
    event repeats them.
    """
    ledger = CaseLedger()
    ledger.open("A1", instalments=DUE)
    facts = ledger.ask("Agreement", "A1", of="instalments")
    assert (facts["borrower"], facts["sim"]) == (pseudonym("A1/borrower"), pseudonym("A1/sim"))
    status = ledger.ask("DeviceStatus", [pseudonym("A1/0")], of="instalments")
    assert not {facts["borrower"], facts["sim"]} & {str(value) for value in status.values()}
