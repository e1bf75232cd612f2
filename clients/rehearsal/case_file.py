"""`cases.csv` of a rehearsal: one line a case, with every date and every ballot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clients.rehearsal.report import CaseRow

CASE_COLUMNS: Final = (
    "agreement_ref",
    "case",
    "lender_msp",
    "triggered_on",
    "notified_on",
    "proposed_on",
    "waiting_since",
    "ordered_on",
    "applied_on",
    "ended_on",
    "released_on",
    "ended_as",
    "state",
    "ballots",
)


def case_columns(case: CaseRow) -> tuple[str, ...]:
    """Return the columns of a case: dates in ISO form, ballots as ``day:member:choice;…``."""
    ballots = ";".join(f"{day}:{msp_id}:{choice}" for day, msp_id, choice in case.ballots)
    dates = (
        case.triggered_on,
        case.notified_on,
        case.proposed_on,
        case.waiting_since,
        case.ordered_on,
        case.applied_on,
        case.ended_on,
        case.released_on,
    )
    texts = ("" if day is None else day.isoformat() for day in dates)
    return (case.agreement, case.case, case.lender, *texts, case.ended_as, case.state, ballots)


def write_cases(path: Path, cases: Sequence[CaseRow]) -> None:
    """Write one line a case, sorted as they are given."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CASE_COLUMNS)
        writer.writerows(map(case_columns, cases))
