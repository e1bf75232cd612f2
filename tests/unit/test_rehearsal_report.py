"""What a rehearsal's report counts: stages, months, block-days, expected rows."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from clients.rehearsal.errors import RehearsalRefused
from clients.rehearsal.expectation import Arrears, Comparison, ExpectedRow, read_expected
from clients.rehearsal.portfolio import load_portfolio
from clients.rehearsal.report import CaseRow, case_month, cured_by_stage

HEADER = "agreement_ref,as_of,unpaid_instalments,days_past_due,arrears_pkr\n"


def case(**days: date | str | None) -> CaseRow:
    given: dict = {
        "agreement": "AG-1",
        "case": "C-AG-1-1",
        "lender": "BankMSP",
        "triggered_on": date(2026, 5, 5),
        "notified_on": date(2026, 5, 5),
        "proposed_on": date(2026, 5, 19),
        "waiting_since": None,
        "ordered_on": date(2026, 5, 19),
        "applied_on": date(2026, 5, 20),
        "ended_on": None,
        "released_on": None,
        "ended_as": "",
        "state": "enforced",
        "ballots": (),
    }
    return CaseRow(**(given | days))


ENFORCED = case()
RELEASED = case(
    ended_on=date(2026, 6, 2), released_on=date(2026, 6, 3), ended_as="cured", state="released"
)
CURED_EARLY = case(
    proposed_on=None,
    ordered_on=None,
    applied_on=None,
    ended_on=date(2026, 5, 11),
    ended_as="cured",
    state="cured",
)


def test_block_day_is_a_midnight_with_a_block_and_no_release() -> None:
    """Applied on the 20th and released on the 3rd: the midnights from the 20th to the 2nd."""
    assert RELEASED.block_days(date(2026, 6, 30)) == 14
    assert RELEASED.block_days(date(2026, 5, 31)) == 12
    assert RELEASED.block_days(date(2026, 5, 19)) == 0
    assert ENFORCED.block_days(date(2026, 5, 20)) == 1
    assert CURED_EARLY.block_days(date(2026, 6, 30)) == 0
    assert RELEASED.is_blocked_at_midnight_after(date(2026, 6, 2))
    assert not RELEASED.is_blocked_at_midnight_after(date(2026, 6, 3))


def test_stage_of_a_case_follows_its_dates() -> None:
    """What a case was on a day can be told afterwards."""
    stages = [
        (date(2026, 5, 5), "notified"),
        (date(2026, 5, 19), "ordered"),
        (date(2026, 5, 20), "enforced"),
        (date(2026, 6, 2), "releasing"),
        (date(2026, 6, 3), "released"),
    ]
    assert [(day, RELEASED.stage_on(day)) for day, _ in stages] == stages
    assert CURED_EARLY.stage_on(date(2026, 6, 1)) == "cured"
    assert cured_by_stage([RELEASED, CURED_EARLY, ENFORCED]) == {"notified": 1, "enforced": 1}


def test_months_add_up_to_the_whole() -> None:
    """Orders, releases and block-days of the months are those of the time."""
    cases = [ENFORCED, RELEASED, CURED_EARLY]
    may = case_month(cases, date.min, date(2026, 5, 31))
    june = case_month(cases, date(2026, 5, 31), date(2026, 6, 30))
    assert (may.orders, june.orders) == (2, 0)
    assert (may.releases, june.releases) == (0, 1)
    assert (may.cured, june.cured) == (1, 1)
    assert (may.blocked, june.blocked) == (2, 1)
    total = sum(each.block_days(date(2026, 6, 30)) for each in cases)
    assert may.block_days + june.block_days == total
    assert may.by_state == {"enforced": 2, "cured": 1}


def test_comparison_holds_only_if_every_row_is_as_expected() -> None:
    """One row that differs, and it says which; no row at all is no success."""
    comparison = Comparison()
    assert not comparison.holds
    row = ExpectedRow(2, "AG-1", "2026-05-31", Arrears(1, 26, 200_000))
    comparison.add(row, Arrears(1, 26, 200_000))
    assert comparison.holds
    comparison.add(row, Arrears(1, 26, 199_999))
    comparison.add(row, None)
    assert not comparison.holds
    assert (comparison.equal, comparison.rows) == (1, 3)
    assert comparison.by_day == {"2026-05-31": (1, 3)}
    assert "expected 1 unpaid, 26 days, 2,000.00, the ledger says" in comparison.differences[0]
    assert "does not know" in comparison.differences[1]


@pytest.mark.parametrize("amount", ["2000", "2000.0", "2000.00", '"2,000.00"'])
def test_expected_amount_is_read_as_spreadsheets_write_it(tmp_path: Path, amount: str) -> None:
    """Zero is an amount here, and decimals may be left out."""
    path = tmp_path / "expected.csv"
    path.write_text(HEADER + f"AG-1,2026-05-31,1,26,{amount}\nAG-2,2026-05-31,0,0,0\n")
    first, second = read_expected(path)
    assert first.arrears == (1, 26, 200_000)
    assert second.arrears == (0, 0, 0)


@pytest.mark.parametrize(
    "row",
    [
        "AG-1,31.5.2026,1,26,2000",
        "AG-1,2026-05-31,one,26,2000",
        "AG-1,2026-05-31,1,26,0.005",
        "AG-1",
    ],
)
def test_expected_row_of_another_form_is_refused_with_its_line(tmp_path: Path, row: str) -> None:
    """A file that cannot be compared is no silent success."""
    path = tmp_path / "expected.csv"
    path.write_text(HEADER + row + "\n")
    with pytest.raises(RehearsalRefused, match="line 2"):
        list(read_expected(path))


def test_expected_file_without_a_column_is_refused(tmp_path: Path) -> None:
    """The missing column is named."""
    path = tmp_path / "expected.csv"
    path.write_text("agreement_ref,as_of\n")
    with pytest.raises(RehearsalRefused, match="arrears_pkr"):
        list(read_expected(path))


def test_portfolio_counts_payments_on_the_day_they_were_received() -> None:
    """A payment that was posted late counts on the day of posting, bad rows nowhere."""
    portfolio = load_portfolio(Path(__file__).resolve().parents[2] / "examples" / "oddities")
    late = [
        row for row in portfolio.received[date(2026, 6, 20)] if row.agreement == "OD-LATE-POSTED"
    ]
    assert [row.paid_on for row in late] == [date(2026, 6, 5)]
    assert portfolio.first_day == date(2026, 3, 5)
    assert portfolio.bad_agreements
    assert portfolio.bad_payments
    assert len(list(portfolio.days(date(2026, 3, 7)))) == 3


def test_portfolio_without_a_good_agreement_is_refused(tmp_path: Path) -> None:
    """There is nothing to live through."""
    examples = Path(__file__).resolve().parents[2] / "examples" / "oddities"
    for name in ("agreements.csv", "payments.csv"):
        header = (examples / name).read_bytes().split(b"\n")[0]
        (tmp_path / name).write_bytes(header + b"\n")
    with pytest.raises(RehearsalRefused, match="no good row"):
        load_portfolio(tmp_path)
