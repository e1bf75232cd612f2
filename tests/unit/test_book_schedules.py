"""Rulebook 2, Schedule version; rulebook 3, the version in force on a past date."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.book_ledger import BANK, OPERATOR, THREE_EQUAL, BookLedger, payment, salted

CONSENT = {"statement": salted("new terms"), "language": "en-PK", "block": True}
LATER = [("2026-06-05", 100), ("2026-07-05", 100), ("2026-08-05", 100)]


@pytest.fixture
def book() -> BookLedger:
    """Agreement A, three instalments of 100 from April; it is 10 May."""
    ledger = BookLedger()
    ledger.open("A")
    ledger.open("M", contract_type="murabaha")
    ledger.today("2026-05-10")
    return ledger


def plain(instalments: Any) -> dict[str, Any]:
    return {"instalments": [{"due": due, "amount_paisa": paisa} for due, paisa in instalments]}


def revise(
    book: BookLedger, instalments: Any, name: str = "A", version: int = 2, by=BANK, **changes: Any
) -> dict[str, Any]:
    record = {"agreement": name, "version": version, "reason": "restructured"} | changes
    return book.verdicts("ReviseSchedules", [record], by, terms=[plain(instalments)])[0]


def test_revision_that_eases_counts_from_the_day_it_is_recorded(book: BookLedger) -> None:
    """A past date uses the schedule version then in force."""
    assert book.standing("A")["bucket"] == "30-59"
    verdict = revise(book, LATER)
    assert (verdict["ok"], verdict["written"], verdict["state"]) == (True, True, "current")
    now = book.standing("A")
    assert (now["unpaid_instalments"], now["schedule_version"]) == (0, 2)
    before = book.standing("A", "2026-05-09")
    assert (before["unpaid_instalments"], before["schedule_version"]) == (2, 1)
    assert before["arrears_paisa"] == 200
    assert book.ask("Schedules", "A") == [
        {"version": 1, "in_force_from": "2026-03-05", "reason": "", **plain(THREE_EQUAL)},
        {"version": 2, "in_force_from": "2026-05-10", "reason": "restructured", **plain(LATER)},
    ]
    assert book.ask("Agreement", "A")["schedule_version"] == 2
    assert book.ask("Agreement", "A")["terms"]["instalments"] == plain(LATER)["instalments"]


def test_revision_moves_the_agreement_in_the_index_of_what_is_due(book: BookLedger) -> None:
    """The index stands under the oldest unpaid instalment of the newest schedule."""
    assert [row["agreement"] for row in book.ask("Due", "", 1, 10, "")["rows"]] == ["A", "M"]
    revise(book, LATER)
    assert [row["agreement"] for row in book.ask("Due", "", 1, 10, "")["rows"]] == ["M"]
    found = book.ask("Due", "2026-06-20", 1, 10, "")["rows"]
    assert [(row["agreement"], row["days_past_due"]) for row in found] == [("M", 76), ("A", 15)]


@pytest.mark.parametrize(
    ("instalments", "reason"),
    [
        ([("2026-04-05", 101), ("2026-05-05", 99), ("2026-06-05", 100)], "more by 2026-04-05"),
        ([("2026-04-04", 100), ("2026-05-05", 100), ("2026-06-05", 100)], "more by 2026-04-04"),
        ([("2026-06-05", 301)], "more by 2026-06-05"),
        ([("2026-06-05", 300), ("2026-07-05", 1)], "rise in total"),
        ([("2026-07-05", 300), ("2026-06-05", 1)], "do not rise"),
        ([], "no instalment"),
        ([("2026-07-05", 0)], "not positive"),
    ],
)
def test_revision_that_asks_for_more_is_refused(
    book: BookLedger, instalments: Any, reason: str
) -> None:
    """The sum due rises at no date up to the old last one; the total does not rise."""
    verdict = revise(book, instalments)
    assert not verdict["ok"]
    assert reason in verdict["message"]
    assert verdict["rule"] == "rulebook 2"
    assert len(book.ask("Schedules", "A")) == 1


def test_revision_with_a_higher_total_needs_a_new_consent_and_a_conventional_contract(
    book: BookLedger,
) -> None:
    """The price of a Murabaha and its like is frozen, consent or not."""
    longer = [("2026-06-05", 300), ("2026-07-05", 50)]
    assert "rise in total" in revise(book, longer)["message"]
    assert "rise in total" in revise(book, longer, "M", consent=CONSENT)["message"]
    assert revise(book, longer, consent=CONSENT)["ok"]
    assert book.standing("A")["outstanding_paisa"] == 350


@pytest.mark.parametrize("kind", ["murabaha", "musawamah", "ijarah", "qardh_e_hasna"])
def test_revision_of_a_frozen_price_may_fall_or_move_but_never_rise(
    book: BookLedger, kind: str
) -> None:
    """Whatever eases is open to every contract type."""
    book.open("K", contract_type=kind, imported=True)
    assert not revise(book, [("2026-08-05", 301)], "K", consent=CONSENT)["ok"]
    assert revise(book, [("2026-08-05", 250)], "K")["ok"]


def test_revision_that_is_not_the_next_version_is_refused(book: BookLedger) -> None:
    """Versions count up by one; the way out names the number."""
    verdict = revise(book, LATER, version=3)
    assert "revise it as version 2" in verdict["message"]
    revise(book, LATER)
    other = revise(book, [("2026-09-05", 300)], version=2)
    assert "revise it as version 3" in other["message"]
    assert not revise(book, THREE_EQUAL, version=1)["ok"]
    assert not revise(book, THREE_EQUAL, version=0)["ok"]
    assert not revise(book, THREE_EQUAL, version=-1)["ok"]


def test_revision_sent_again_is_a_success(book: BookLedger) -> None:
    """The same request twice does nothing twice, on a later day too."""
    revise(book, LATER)
    book.today("2026-05-12")
    again = revise(book, LATER)
    assert (again["ok"], again["written"]) == (True, False)
    assert len(book.ask("Schedules", "A")) == 2


def test_revisions_of_one_list_build_on_each_other(book: BookLedger) -> None:
    """Records of one list see each other."""
    records = [
        {"agreement": "A", "version": version, "reason": "restructured"} for version in (2, 3)
    ]
    terms = [plain(LATER), plain([("2026-09-05", 300)])]
    verdicts = book.verdicts("ReviseSchedules", records, BANK, terms=terms)
    assert [verdict["ok"] for verdict in verdicts] == [True, True]
    assert book.standing("A")["schedule_version"] == 3


def test_revision_by_anybody_but_the_lender_is_refused(book: BookLedger) -> None:
    """The schedule is the lender's word."""
    assert "its lender BankMSP only" in revise(book, LATER, by=OPERATOR)["message"]
    assert "is not known" in revise(book, LATER, "Z")["message"]


def test_revision_of_a_closed_agreement_is_refused(book: BookLedger) -> None:
    """What is closed has no new schedule."""
    record = {"agreement": "A", "kind": "written_off", "evidence": salted("loss")}
    book.verdicts("EndAgreements", [record], BANK)
    assert "is closed (written_off)" in revise(book, LATER)["message"]


def test_revision_of_one_agreement_answers_with_one_verdict(book: BookLedger) -> None:
    """The single form weighs the same rules; its event names version and reason, no amount."""
    record = {"agreement": "A", "version": 2, "reason": "ramadan"}
    outcome = book.call("ReviseSchedule", record, BANK, {"terms": [plain(LATER)]})
    assert (outcome.value["id"], outcome.value["ok"]) == ("A", True)
    assert outcome.event is not None
    name, event = outcome.event
    assert name == "ReviseSchedule"
    assert event["records"] == [
        {
            "id": "A",
            "kind": "schedule",
            "state": "current",
            "agreement": "A",
            "version": 2,
            "reason": "ramadan",
        }
    ]


def test_revision_below_what_was_paid_leaves_the_rest_as_credit(book: BookLedger) -> None:
    """An early settlement: what was paid above the new total is the borrower's."""
    book.verdicts("PostPayments", [payment("A", "2026-05-01")], OPERATOR, amounts=[250])
    assert revise(book, [("2026-06-05", 240)])["ok"]
    found = book.standing("A")
    assert (found["credit_paisa"], found["outstanding_paisa"]) == (10, 0)
    assert book.ask("Due", "2026-12-31", 0, 10, "")["rows"][0]["agreement"] == "M"


def test_revision_writes_terms_that_need_the_lender_and_leaves_the_policy_alone(
    book: BookLedger,
) -> None:
    """Terms and schedules need their lender: the key keeps its policy."""
    before = book.state.metadata_of("instalments", "plan/A")
    private = book.policy_of("terms-BankMSP", "terms/A")
    assert before
    assert private
    revise(book, LATER)
    assert "plan/A" in book.newest
    assert "terms/A" in book.newest_private
    assert book.state.metadata_of("instalments", "plan/A") == before
    assert book.policy_of("terms-BankMSP", "terms/A") == private
