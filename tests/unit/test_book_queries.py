"""Rulebook 3, Standing, and the queries about the book: what they answer and what they cost."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from chaincode.contract import Creator
from tests.support.book_ledger import (
    OPERATOR,
    THREE_EQUAL,
    BookLedger,
    agreement,
    payment,
    pseudonym,
    terms_of,
)

MANY = 40


@pytest.fixture(scope="module")
def many() -> BookLedger:
    """Forty agreements on 20 June; of every fourth all is paid, of every other the first part."""
    ledger = BookLedger()
    names = [f"A-{place:02d}" for place in range(MANY)]
    ledger.register(*names)
    terms = [terms_of(THREE_EQUAL)] * MANY
    ledger.verdicts("OpenAgreements", [agreement(name) for name in names], terms=terms)
    ledger.today("2026-06-20")
    paid = [(place, 300 if place % 4 == 0 else 100) for place in range(0, MANY, 2)]
    records = [payment(f"A-{place:02d}", "2026-04-01") for place, _ in paid]
    amounts = [amount for _, amount in paid]
    ledger.verdicts("PostPayments", records, OPERATOR, amounts=amounts)
    return ledger


def reads_of(result: Any) -> int:
    """Keys read one by one or in ranges by a simulation."""
    count = 0
    for item in rwset_pb2.TxReadWriteSet.FromString(result.rwset).ns_rwset:
        rwset = kv_rwset_pb2.KVRWSet.FromString(item.rwset)
        count += len(rwset.reads)
        count += sum(len(each.raw_reads.kv_reads) for each in rwset.range_queries_info)
    return count


# ---- standing


@pytest.mark.parametrize(
    ("as_of", "unpaid", "days", "arrears", "bucket", "accounting"),
    [
        ("2026-04-04", 0, 0, 0, "current", "regular"),
        ("2026-04-05", 1, 0, 100, "current", "regular"),
        ("2026-04-06", 1, 1, 100, "1-29", "regular"),
        ("2026-05-04", 1, 29, 100, "1-29", "regular"),
        ("2026-05-05", 2, 30, 200, "30-59", "regular"),
        ("2026-06-03", 2, 59, 200, "30-59", "regular"),
        ("2026-06-04", 2, 60, 200, "60-89", "regular"),
        ("2026-07-03", 3, 89, 300, "60-89", "regular"),
        ("2026-07-04", 3, 90, 300, "90-179", "substandard"),
        ("2026-10-01", 3, 179, 300, "90-179", "substandard"),
        ("2026-10-02", 3, 180, 300, "180+", "loss"),
    ],
)
def test_standing_of_an_unpaid_agreement_on_each_edge_of_the_buckets(
    as_of: str, unpaid: int, days: int, arrears: int, bucket: str, accounting: str
) -> None:
    """Instalments due on or before the day count; on the due date itself 0 days past due."""
    book = BookLedger()
    book.open("A")
    found = book.standing("A", as_of)
    assert found == {
        "agreement": "A",
        "as_of": as_of,
        "unpaid_instalments": unpaid,
        "days_past_due": days,
        "arrears_paisa": arrears,
        "bucket": bucket,
        "accounting_class": accounting,
        "enforcement_tier": 0,
        "oldest_unpaid_due": "2026-04-05" if unpaid else None,
        "schedule_version": 1,
        "paid_paisa": 0,
        "credit_paisa": 0,
        "outstanding_paisa": 300,
        "currency": "PKR",
    }


def test_standing_without_a_day_is_of_the_transactions_date() -> None:
    """As of "" is the date of the transaction, in Pakistan."""
    book = BookLedger()
    book.open("A")
    book.at("2026-05-06", "00:30")
    assert book.standing("A")["as_of"] == "2026-05-06"
    assert book.standing("A") == book.standing("A", "2026-05-06")


def test_standings_of_several_keep_their_order_and_say_null_for_none(many: BookLedger) -> None:
    """The same answers as one by one, in the order asked."""
    names = ["A-03", "X-1", "A-00"]
    answers = many.ask("Standings", names, "2026-05-10")
    assert answers == [
        many.standing("A-03", "2026-05-10"),
        None,
        many.standing("A-00", "2026-05-10"),
    ]


@pytest.mark.parametrize("function", ["Agreement", "Standing", "Schedules", "Payments"])
def test_query_of_an_agreement_nobody_opened_is_refused_with_the_way_out(
    many: BookLedger, function: str
) -> None:
    """The thing is named, unless its name may be a person's number."""
    more = [""] if function == "Standing" else []
    outcome = many.evaluate("instalments", function, "X-1", *more)
    assert outcome.status == 400
    assert "agreement X-1 is not known" in outcome.message
    hidden = many.evaluate("instalments", function, "60460-0000001-5", *more)
    assert hidden.status == 400
    assert "60460" not in hidden.message


# ---- what is due


def all_due(book: BookLedger, as_of: str, least: int, limit: int) -> list[dict[str, Any]]:
    rows, bookmark = [], ""
    while True:
        page = book.ask("Due", as_of, least, limit, bookmark)
        assert len(page["rows"]) <= limit
        rows += page["rows"]
        bookmark = page["bookmark"]
        if not bookmark:
            return rows


@pytest.mark.parametrize("limit", [1, 7, 10, 20, 500])
@pytest.mark.parametrize("least", [0, 1, 30, 46, 47, 75, 76, 77])
def test_due_names_everything_overdue_longest_first_on_any_page_size(
    many: BookLedger, limit: int, least: int
) -> None:
    """The pages together are what the standings say, whatever the page."""
    as_of = "2026-06-20"
    names = [f"A-{place:02d}" for place in range(MANY)]
    wanted = sorted(
        (
            (-found["days_past_due"], name)
            for name, found in zip(names, many.ask("Standings", names, as_of), strict=True)
            if found["unpaid_instalments"] and found["days_past_due"] >= least
        )
    )
    rows = all_due(many, as_of, least, limit)
    assert [(-row["days_past_due"], row["agreement"]) for row in rows] == wanted
    for row in rows:
        found = many.standing(row["agreement"], as_of)
        assert row == {
            "agreement": row["agreement"],
            "lender": "BankMSP",
            "oldest_unpaid_due": found["oldest_unpaid_due"],
            "days_past_due": found["days_past_due"],
            "unpaid_instalments": found["unpaid_instalments"],
            "arrears_paisa": found["arrears_paisa"],
            "bucket": found["bucket"],
        }


def test_due_costs_what_it_answers_and_not_the_book(many: BookLedger) -> None:
    """A page reads its own agreements, whatever else there is."""
    _, result = many.simulate("instalments", "Due", "2026-06-20", 1, 5, "")
    assert result.status == 200
    assert reads_of(result) <= 5 * 6 + 5
    _, nothing = many.simulate("instalments", "Due", "2026-06-20", 200, 5, "")
    assert reads_of(nothing) <= 10


@pytest.mark.parametrize(
    "bookmark", ["x", "2026-06-20", "2026-06-20/a", "\x00due\x00", "2026-06-20/A/B"]
)
def test_due_with_a_bookmark_of_another_query_is_refused(many: BookLedger, bookmark: str) -> None:
    """A bookmark is the one of the page before."""
    outcome = many.evaluate("instalments", "Due", "", 1, 5, bookmark)
    assert outcome.status == 400
    assert "bookmark" in outcome.message


@pytest.mark.parametrize("limit", [0, 501, -1])
def test_due_with_a_limit_out_of_bounds_is_refused(many: BookLedger, limit: int) -> None:
    """At most 500 rows a page."""
    outcome = many.evaluate("instalments", "Due", "", 1, limit, "")
    assert outcome.status == 400
    assert "from 1 to 500" in outcome.message


# ---- account, totals, devices


def test_account_lists_entries_in_order_of_recording() -> None:
    """Order of recording, not of payment."""
    book = BookLedger()
    book.open("A")
    book.today("2026-05-20")
    for place, day in enumerate(("2026-05-03", "2026-05-01", "2026-05-02")):
        book.pay("A", 10 + place, day, OPERATOR)
    assert [(row["on"], row["amount_paisa"]) for row in book.ask("Payments", "A")] == [
        ("2026-05-03", 10),
        ("2026-05-01", 11),
        ("2026-05-02", 12),
    ]


def test_totals_of_a_lender_count_its_own_and_fold_all_transactions(many: BookLedger) -> None:
    """A key per transaction, folded by the query."""
    assert many.ask("Totals", "BankMSP", "2026-06-20")["open"] == MANY
    assert many.ask("Totals", "OperatorMSP", "2026-06-20")["open"] == 0
    assert many.ask("Totals", "BankMSP", "")["opened"] == MANY


def test_device_status_names_no_borrower_and_no_amount(many: BookLedger) -> None:
    """What a second-hand buyer may know."""
    outcome = many.evaluate("instalments", "DeviceStatus", [pseudonym("A-03/0")])
    assert outcome.value["financed"]
    text = outcome.result.payload.decode()
    assert pseudonym("A-03/borrower") not in text
    assert pseudonym("A-03/sim") not in text
    assert "paisa" not in text
    assert "A-03" not in text


def test_query_writes_nothing_and_needs_no_role(many: BookLedger) -> None:
    """Queries need no role."""
    stranger = Creator("AnybodyMSP", "x")
    outcome = many.evaluate("instalments", "Standing", "A-03", "", creator=stranger)
    assert outcome.status == 200
    assert not outcome.result.writes


def test_standing_on_a_past_date_does_not_change_by_what_was_paid_later(many: BookLedger) -> None:
    """Payments after the day do not count on it."""
    book = BookLedger()
    book.open("A")
    book.today("2026-06-20")
    before = book.standing("A", "2026-05-10")
    book.pay("A", 300, "2026-05-11", OPERATOR)
    assert book.standing("A", "2026-05-10") == before
    assert book.standing("A", str(date(2026, 5, 10) + timedelta(days=1)))["arrears_paisa"] == 0
