"""The queries of the cases: through indices by date, in pages, equal to looking at every case."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.book_ledger import pseudonym
from tests.support.case_ledger import (
    IN_WORDS,
    PROPOSED,
    TRIGGER,
    VOTERS,
    CaseLedger,
    order_of,
    verdicts,
)

DAY = timedelta(days=1)
DUE = [("2026-04-05", 100), ("2026-05-05", 100), ("2026-06-05", 100)]
LATER = [("2026-04-15", 100), ("2026-05-15", 100)]
KINDS = ("notice", "proposal", "vote", "waiting", "term", "closing")


def _actionable(ledger: CaseLedger, day: date, kind: str, limit: int = 100) -> list[str]:
    rows: list[str] = []
    bookmark = ""
    while True:
        page = ledger.ask("CasesActionable", day.isoformat(), kind, limit, bookmark)
        rows += [row["case"] for row in page["cases"]]
        bookmark = page["bookmark"]
        if not bookmark:
            return rows


def _open_cases(ledger: CaseLedger, state: str = "", limit: int = 100) -> list[str]:
    found: list[str] = []
    bookmark = ""
    while True:
        page = ledger.ask("Cases", state, limit, bookmark)
        found += [case["case"] for case in page["cases"]]
        bookmark = page["bookmark"]
        if not bookmark:
            return found


@pytest.fixture
def ledger() -> CaseLedger:
    """Seven agreements whose cases are in seven states on PROPOSED + 1."""
    ledger = CaseLedger(begin="2026-01-05", orders_per_month_percent=100)
    names = ["TRIG", "NOTI", "VOTE", "WAIT", "ORDE", "ENFO", "REJE"]
    ledger.open(*names[2:], opened_on="2026-01-05", instalments=DUE)
    ledger.open(*names[:2], opened_on="2026-01-05", instalments=LATER)
    ledger.today(TRIGGER)
    ledger.decide("OpenMonth", "2026-05", by=("MakerMSP", "auditor"))
    ledger.sweep(*names[2:])
    cases = [_case(name) for name in names]
    ledger.notify(*cases[2:])
    ledger.today(TRIGGER + 10 * DAY)
    ledger.sweep("TRIG", "NOTI")
    ledger.notify(cases[1])
    ledger.today(PROPOSED)
    ledger.propose(*cases[2:])
    ledger.vote(_case("REJE"), by="PtaMSP", choice="no")
    for voter in VOTERS:
        ledger.vote(_case("ORDE"), _case("ENFO"), by=voter)
    ledger.stop(PROPOSED)
    for voter in VOTERS:
        ledger.vote(_case("WAIT"), by=voter)
    ledger.today(PROPOSED + DAY)
    ledger.report(order_of(_case("ENFO")), "SUBMITTED", "APPLIED")
    return ledger


def _case(name: str) -> str:
    return f"C-{name}-1"


def test_actionable_lists_each_kind_on_its_day(ledger: CaseLedger) -> None:
    """Each kind finds what may be done on that day, and nothing else."""
    day = PROPOSED + DAY
    found = {kind: _actionable(ledger, day, kind) for kind in KINDS}
    assert found == {
        "notice": [_case("TRIG")],
        "proposal": [],
        "vote": [_case("VOTE")],
        "waiting": [_case("WAIT")],
        "term": [],
        "closing": [_case("REJE")],
    }


@pytest.mark.parametrize(
    ("kind", "name", "first", "last"),
    [
        ("notice", "TRIG", TRIGGER + 10 * DAY, TRIGGER + 24 * DAY),
        ("proposal", "NOTI", TRIGGER + 24 * DAY, TRIGGER + 40 * DAY),
        ("vote", "VOTE", PROPOSED, PROPOSED + 7 * DAY),
        ("waiting", "WAIT", PROPOSED, PROPOSED + 7 * DAY),
    ],
)
def test_actionable_from_the_first_to_the_last_day(
    ledger: CaseLedger, kind: str, name: str, first: date, last: date
) -> None:
    """A query for any day lists a case from its first day to its last, and says both."""
    for day, listed in ((first - DAY, False), (first, True), (last, True), (last + DAY, False)):
        assert (_case(name) in _actionable(ledger, day, kind)) is listed, day
    assert _case(name) in _actionable(ledger, last + DAY, "closing")
    page = ledger.ask("CasesActionable", first.isoformat(), kind, 10, "")
    row = next(row for row in page["cases"] if row["case"] == _case(name))
    assert (row["from"], row["until"]) == (first.isoformat(), last.isoformat())


def test_actionable_terms_come_with_their_day(ledger: CaseLedger) -> None:
    """A block is due to end 180 days after its first APPLIED."""
    term = PROPOSED + 181 * DAY
    assert _actionable(ledger, term - DAY, "term") == []
    assert _actionable(ledger, term, "term") == [_case("ENFO")]
    ledger.today(term)
    ended = ledger.change("EndBlocksByTerm", [_case("ENFO")], by=("MakerMSP", "auditor"))
    assert verdicts(ended)[0]["state"] == "releasing"
    assert _actionable(ledger, term, "term") == []


def test_closing_finds_what_ended_in_the_other_namespace(ledger: CaseLedger) -> None:
    """A cure is found by its day, and later by the case's own entry; once closed, never again."""
    ledger.pay("ENFO", 300, ledger.tx_day)
    ledger.report_release(order_of(_case("ENFO")), *IN_WORDS)
    for days in (0, 1, 7, 200):
        assert _case("ENFO") in _actionable(ledger, ledger.tx_day + days * DAY, "closing")
    found = ledger.decide("CloseCases", [_case("ENFO"), _case("VOTE")], by=("BankMSP", "auditor"))
    assert [(each["ok"], each["state"]) for each in verdicts(found)] == [
        (True, "released"), (False, "voting"),
    ]  # fmt: skip
    for days in (0, 1, 7, 200):
        assert _case("ENFO") not in _actionable(ledger, ledger.tx_day + days * DAY, "closing")
    again = ledger.decide("CloseCases", [_case("ENFO")], by=("BankMSP", "auditor"))
    assert verdicts(again)[0]["written"] is False


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_cases_lists_the_open_ones_in_pages(ledger: CaseLedger, limit: int) -> None:
    """Every open case once, whatever the pages; a state narrows it."""
    names = ["ENFO", "NOTI", "ORDE", "TRIG", "VOTE", "WAIT"]
    assert sorted(_open_cases(ledger, "", limit)) == [_case(name) for name in names]
    assert _open_cases(ledger, "enforced", limit) == [_case("ENFO")]
    assert _open_cases(ledger, "rejected", limit) == [_case("REJE")]
    assert _open_cases(ledger, "cured", limit) == []


def test_orders_open_until_verified_refused_or_over(ledger: CaseLedger) -> None:
    """An executor's list holds what it has not VERIFIED or REFUSED, while the case goes on."""

    def listed(executor: str) -> list[str]:
        return [each["order"] for each in ledger.ask("OrdersOpen", executor, 10, "")["orders"]]

    both = [order_of(_case("ENFO")), order_of(_case("ORDE"))]
    assert sorted(listed("OperatorMSP")) == sorted(listed("")) == both
    assert listed("MakerMSP") == []
    ledger.report(both[0], "VERIFIED")
    assert listed("OperatorMSP") == both[1:]
    ledger.today(PROPOSED + 4 * DAY)
    assert ledger.state_of(_case("ORDE")) == "lapsed"
    assert listed("OperatorMSP") == []


def test_case_history_tells_every_change_in_both_namespaces(ledger: CaseLedger) -> None:
    """Oldest first: trigger, notice, proposal, ballots, receipts, end, release."""
    ledger.pay("ENFO", 300, ledger.tx_day)
    ledger.report_release(order_of(_case("ENFO")), *IN_WORDS)
    entries = ledger.ask("CaseHistory", _case("ENFO"))
    keys = [(each["namespace"], each["key"].partition("/")[0]) for each in entries]
    assert keys == [
        *[("enforcement", "case")] * 6,
        ("enforcement", "receipt"),
        ("instalments", "ending"),
        ("instalments", "release"),
        ("instalments", "release"),
    ]
    assert all(len(each["tx_id"]) == 64 and each["value"] for each in entries)
    assert [each["at"] for each in entries] == sorted(each["at"] for each in entries)


def test_case_of_is_the_latest_or_none(ledger: CaseLedger) -> None:
    """The latest case of an agreement; nothing where there is none."""
    assert ledger.ask("CaseOf", "VOTE")["case"] == _case("VOTE")
    assert ledger.ask("CaseOf", "NOBODY") is None


@pytest.mark.parametrize(
    ("function", "args"),
    [
        ("Case", ["C-NOBODY-1"]),
        ("Case", ["X"]),
        ("CaseHistory", ["C-NOBODY-1"]),
        ("Order", ["O-VOTE-1-1"]),
        ("Order", ["O-X"]),
        ("Ballots", ["C-NOBODY-1"]),
        ("CasesActionable", ["2026-05-19", "lunch", 10, ""]),
        ("CasesActionable", ["19.5.2026", "vote", 10, ""]),
        ("CasesActionable", ["2026-05-19", "vote", 0, ""]),
        ("CasesActionable", ["2026-05-19", "vote", 501, ""]),
        ("CasesActionable", ["2026-05-19", "vote", 10, "9:x"]),
        ("CasesActionable", ["2026-05-19", "vote", 10, "0:x"]),
        ("Cases", ["cured", 10, "elsewhere"]),
        ("VotesOpen", ["2026-05-19", "NobodyMSP", 10, ""]),
        ("GovernanceProposal", ["P-9"]),
        ("Limits", ["nobody", ""]),
        ("PolicyInForce", ["2020-01-01"]),
    ],
)
def test_query_of_the_unknown_is_refused(
    ledger: CaseLedger, function: str, args: list[Any]
) -> None:
    """A query for what is not there, or of another form, is a refusal and no fault."""
    outcome = ledger.evaluate("enforcement", function, *args)
    assert outcome.status == 400, outcome.message
    assert outcome.message


def test_views_name_what_comes_next(ledger: CaseLedger) -> None:
    """`next` tells the action and its days in every state."""
    actions = {
        name: ledger.view(_case(name))["next"]["action"]
        for name in ("TRIG", "NOTI", "VOTE", "WAIT", "ORDE", "ENFO", "REJE")
    }
    assert actions == {
        "TRIG": "notice", "NOTI": "proposal", "VOTE": "vote", "WAIT": "waiting",
        "ORDE": "start", "ENFO": "term", "REJE": "closing",
    }  # fmt: skip


def test_device_and_standing_tell_of_the_block(ledger: CaseLedger) -> None:
    """What a second-hand buyer and a lender see of the same block."""

    def status(name: str) -> str:
        found = ledger.ask("DeviceStatus", [pseudonym(f"{name}/0")], of="instalments")
        return str(found["blocked"])

    states = {name: status(name) for name in ("TRIG", "WAIT", "ORDE", "ENFO")}
    assert states == {"TRIG": "none", "WAIT": "none", "ORDE": "ordered", "ENFO": "blocked"}
    tier = ledger.ask("Standing", "ENFO", "", of="instalments")["enforcement_tier"]
    assert (tier, ledger.ask("Standing", "ORDE", "", of="instalments")["enforcement_tier"]) == (
        1,
        0,
    )
    ledger.pay("ENFO", 300, ledger.tx_day)
    assert status("ENFO") == "releasing"
    ledger.report_release(order_of(_case("ENFO")), *IN_WORDS)
    assert status("ENFO") == "none"
