"""Rulebook 3: standing, computed and never declared."""

from __future__ import annotations

import pytest

from chaincode.instalments.book import inputs
from tests.support.book_ledger import BookLedger
from tests.support.case_ledger import CaseLedger
from tests.support.rulebook import missing_tests

SHOWN = [
    (
        "unpaid instalments, days past due, arrears, buckets",
        "test_standing_of_an_unpaid_agreement_on_each_edge_of_the_buckets "
        "test_standings_of_the_repayment_data_agree_with_every_expected_row",
    ),
    (
        "a past date uses the schedule version then in force",
        "test_revision_that_eases_counts_from_the_day_it_is_recorded",
    ),
    (
        "a late-arriving payment counts from its paid_on",
        "test_payment_counts_from_the_day_it_was_paid_however_late_it_arrives "
        "test_standing_on_a_past_date_does_not_change_by_what_was_paid_later",
    ),
]


def test_section_3_names_tests_that_exist() -> None:
    """What is shown elsewhere is shown."""
    assert missing_tests(SHOWN) == []


def test_standing_is_never_declared() -> None:
    """No record that a client sends has a field for it."""
    fields = {
        name
        for kind in vars(inputs).values()
        if isinstance(kind, type) and kind.__module__ == inputs.__name__
        for name in getattr(kind, "__dataclass_fields__", {})
    }
    assert {"agreement", "paid_on"} <= fields
    assert not fields & {"bucket", "days_past_due", "arrears_paisa", "standing", "unpaid"}


@pytest.mark.parametrize(
    ("as_of", "days", "unpaid", "arrears", "bucket"),
    [
        ("2028-02-28", 0, 0, 0, "current"),
        ("2028-02-29", 0, 1, 100, "current"),
        ("2028-03-01", 1, 1, 100, "1-29"),
        ("2028-03-29", 29, 2, 200, "1-29"),
        ("2028-03-30", 30, 2, 200, "30-59"),
        ("2028-04-28", 59, 2, 200, "30-59"),
        ("2028-04-29", 60, 3, 300, "60-89"),
        ("2028-05-28", 89, 3, 300, "60-89"),
        ("2028-05-29", 90, 3, 300, "90-179"),
        ("2028-08-26", 179, 3, 300, "90-179"),
        ("2028-08-27", 180, 3, 300, "180+"),
        ("2029-02-28", 365, 3, 300, "180+"),
    ],
)
def test_standing_of_what_fell_due_on_a_29th_of_february(
    as_of: str, days: int, unpaid: int, arrears: int, bucket: str
) -> None:
    """Days are counted one by one, in leap years too; on its due date nothing is past due yet."""
    book = BookLedger()
    book.today("2028-01-29")
    dues = [("2028-02-29", 100), ("2028-03-29", 100), ("2028-04-29", 100)]
    book.open("A", dues, opened_on="2028-01-29")
    found = book.standing("A", as_of)
    assert (
        found["days_past_due"], found["unpaid_instalments"], found["arrears_paisa"],
        found["bucket"],
    ) == (days, unpaid, arrears, bucket)  # fmt: skip


@pytest.mark.parametrize(("clock", "days"), [("23:59", 29), ("00:00", 30)])
def test_standing_changes_at_midnight_in_pakistan(clock: str, days: int) -> None:
    """19:00 UTC, not midnight in London."""
    book = BookLedger()
    book.open("A")
    book.at("2026-05-04" if days == 29 else "2026-05-05", clock)
    assert book.now.date().isoformat() == "2026-05-04"
    assert book.standing("A")["days_past_due"] == days


def test_three_fields_of_a_standing_never_stand_for_each_other() -> None:
    """Far in arrears without a case: loss for the State Bank, 180+ for the consortium, tier 0;
    blocked and then nearly paid up: tier 1, though regular and below the trigger.
    """
    ledger = CaseLedger()
    ledger.open("A1", "A2", instalments=[("2026-04-05", 100), ("2026-05-05", 100)])
    ledger.bring("A1", "enforced")
    ledger.pay("A1", 199, ledger.tx_day)
    found = ledger.ask("Standing", "A1", "", of="instalments")
    fields = ("bucket", "accounting_class", "enforcement_tier")
    assert tuple(found[name] for name in fields) == ("1-29", "regular", 1)
    far = ledger.ask("Standing", "A2", "2026-10-02", of="instalments")
    assert tuple(far[name] for name in fields) == ("180+", "loss", 0)


@pytest.mark.parametrize(
    ("as_of", "accounting"),
    [("2026-07-03", "regular"), ("2026-07-04", "substandard"), ("2026-10-01", "substandard"),
     ("2026-10-02", "loss")],
)  # fmt: skip
def test_accounting_class_changes_at_90_and_180_days(as_of: str, accounting: str) -> None:
    """The State Bank's classes, on both sides of their limits."""
    book = BookLedger()
    book.open("A")
    assert book.standing("A", as_of)["accounting_class"] == accounting


def test_payment_that_arrives_late_changes_past_days_from_its_own_on() -> None:
    """The day before it was paid stays as it was; a reversal takes it out of the past as well."""
    book = BookLedger()
    book.open("A")
    book.today("2026-06-20")
    book.pay("A", 100, "2026-05-10")
    assert [book.standing("A", day)["days_past_due"] for day in ("2026-05-09", "2026-05-10")] == [
        34, 5,
    ]  # fmt: skip
    record = {"reference": "P-A-2026-05-10", "evidence": "0" * 64}
    assert book.verdicts("ReversePayments", [record])[0]["written"]
    assert book.standing("A", "2026-05-10")["days_past_due"] == 35
