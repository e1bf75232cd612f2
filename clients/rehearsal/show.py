"""How a rehearsal is told: lines while it runs, tables at its end, one JSON object for programs.

Everything printed for people begins with the word REHEARSAL, and every table carries it in its
title.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from chaincode.instalments.calendar import PKT
from chaincode.instalments.money import format_amount
from clients.rehearsal.case_file import CASE_COLUMNS, case_columns
from clients.rehearsal.expectation import Comparison
from clients.rehearsal.plan import Assumed
from clients.rehearsal.portfolio import AGREEMENTS_FILE, PAYMENTS_FILE
from clients.rehearsal.rehearsal import Outcome
from clients.rehearsal.report import BUCKETS, MonthRow, cured_by_stage
from clients.rehearsal.tally import Counts, Tally

WORD: Final = "REHEARSAL"
_WIDEST: Final = 1000
_REJECTS_SHOWN: Final = 5
_CASE_STATES: Final = (
    "triggered",
    "notified",
    "voting",
    "waiting",
    "ordered",
    "enforced",
    "releasing",
    "released",
    "cured",
    "lapsed",
    "rejected",
    "withdrawn",
)


class Teller:
    """Tells a rehearsal while it runs, on standard error.

    Args:
        until: its last day.
        quiet: say nothing, where a program reads the result.
    """

    def __init__(self, until: date, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._until = until
        self._status = self._console.status(f"{WORD}: making the network")
        if not quiet and self._console.is_terminal:
            self._status.start()

    def network_is_up(self, seconds: float) -> None:
        """Say so."""
        self._console.print(f"{WORD}: the members' nodes are up after {seconds:.1f} s")

    def day_is_over(self, day: date, tally: Tally) -> None:
        """Move the line at the bottom of a terminal."""
        records = tally.agreements.taken + tally.payments.taken
        self._status.update(
            f"{WORD}: {day} of {self._until}, {records} records, {len(tally.cases)} cases"
        )

    def month_is_over(self, month: MonthRow) -> None:
        """Say what the book looks like."""
        overdue = "  ".join(f"{bucket}: {month.buckets[bucket]}" for bucket in BUCKETS)
        self._console.print(f"{WORD}: {month.as_of}  days past due  {overdue}", soft_wrap=True)

    def close(self) -> None:
        """Give the terminal back."""
        self._status.stop()


def print_outcome(outcome: Outcome, output: Path | None) -> None:
    """Print all tables.

    Args:
        output: where the reports were written, None if they were not kept.
    """
    console = Console(highlight=False)
    console.print(
        f"[bold]{WORD}[/] of {outcome.first_day} to {outcome.last_day}: the time was set by its "
        "operator, and nothing of it leaves it",
        soft_wrap=True,
    )
    for table in _tables(outcome):
        # Cells are shown whole, whatever the terminal's width.
        wide = console.options.update(max_width=_WIDEST)
        console.width = max(console.width, console.measure(table, options=wide).maximum)
        console.print()
        console.print(table)
    console.print()
    _print_rejects(console, outcome)
    _print_closing(console, outcome, output)


def _tables(outcome: Outcome) -> Iterable[Table]:
    yield _records_table(outcome)
    yield _book_table(outcome)
    yield _case_table(outcome)
    if outcome.story:
        yield _story_table(outcome)
    yield _node_table(outcome)


def _records_table(outcome: Outcome) -> Table:
    rows = [
        (name, counts.rows, counts.taken, counts.repeated, counts.rejected)
        for name, counts in (
            ("agreements", outcome.tally.agreements),
            ("payments", outcome.tally.payments),
        )
    ]
    return _table("records", ("file", "rows", "recorded", "said again", "rejected"), rows)


def _print_rejects(console: Console, outcome: Outcome) -> None:
    """Print the first rejects of both files, with the rule and the way out."""
    for name, counts in (
        (AGREEMENTS_FILE, outcome.tally.agreements),
        (PAYMENTS_FILE, outcome.tally.payments),
    ):
        rejects = sorted([*counts.bad, *counts.refused], key=lambda reject: reject.line)
        for reject in rejects[:_REJECTS_SHOWN]:
            where = f"{name} line {reject.line}"
            what = f"{reject.column}: {reject.rule}" if reject.column else reject.rule
            console.print(f"{where}: {what}; {reject.way_out}", markup=False, soft_wrap=True)
        if len(rejects) > _REJECTS_SHOWN:
            console.print(f"{name}: {len(rejects) - _REJECTS_SHOWN} more, see the file of rejects")


def _book_table(outcome: Outcome) -> Table:
    expected = outcome.comparison.by_day if outcome.comparison else {}
    rows = []
    for month in outcome.months:
        equal, of = expected.get(month.as_of.isoformat(), (0, 0))
        rows.append(
            (
                month.as_of,
                *(month.buckets[bucket] for bucket in BUCKETS),
                month.in_arrears,
                format_amount(month.arrears_paisa),
                f"{equal} of {of}" if of else "-",
            )
        )
    heads = ("as of", *BUCKETS, "in arrears", "arrears PKR", "as expected")
    return _table("agreements by days past due", heads, rows)


def _case_table(outcome: Outcome) -> Table:
    shown = [
        state
        for state in _CASE_STATES
        if any(month.by_state.get(state) for month in outcome.case_months)
    ]
    rows = [
        (
            month.as_of,
            *(month.by_state.get(state, 0) for state in shown),
            month.orders,
            month.releases,
            month.blocked,
            month.block_days,
            month.cured,
        )
        for month in outcome.case_months
    ]
    heads = ("as of", *shown, "orders", "releases", "phones blocked", "block-days", "cures")
    return _table("cases by state, and what happened in the month", heads, rows)


def _story_table(outcome: Outcome) -> Table:
    rows = [
        (
            step.at.astimezone(PKT).date(),
            step.what,
            f"{step.signer} of {step.msp_id}",
            ", ".join(step.endorsers),
            step.block_num,
            step.tx_id[:12],
        )
        for step in outcome.story
    ]
    heads = ("day", "what", "signed by", "endorsed by nodes of", "block", "transaction")
    return _table(f"the story of {outcome.story_of}", heads, rows)


def _node_table(outcome: Outcome) -> Table:
    rows = [
        (
            node.msp_id,
            node.height,
            node.header_hash[:16],
            node.commit_hash,
            f"{node.memory_bytes / 1e6:.0f} MB",
        )
        for node in outcome.nodes
    ]
    return _table("the nodes", ("member", "height", "header hash", "commit hash", "memory"), rows)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = Table(title=f"{WORD}: {title}", title_justify="left", box=None, pad_edge=False)
    numbers = {place for row in rows for place, cell in enumerate(row) if isinstance(cell, int)}
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(str, row))
    return table


def _print_closing(console: Console, outcome: Outcome, output: Path | None) -> None:
    assumed = outcome.plan.assumed
    console.print(
        f"assumed, since the files do not say it: operator {assumed.operator}, maker "
        f"{assumed.maker}, made in {assumed.country}, language {assumed.language}, notices by "
        f"{assumed.notice_channel}, payments received by the lender but "
        + (", ".join(f"{c} by {m}" for c, m in sorted(assumed.received_by.items())) or "no other"),
        soft_wrap=True,
    )
    cured = ", ".join(f"{stage} {n}" for stage, n in cured_by_stage(outcome.cases).items())
    console.print(
        f"{len(outcome.cases)} cases; cured while: {cured or 'none'}; "
        f"{outcome.block_days} block-days"
    )
    rate = outcome.records / outcome.seconds if outcome.seconds else 0.0
    console.print(
        f"{outcome.records} records in {outcome.transactions} transactions, "
        f"{outcome.seconds:.1f} s, {rate:.0f} records/s"
    )
    for refusal in outcome.tally.refused[:10]:
        console.print(f"a step was refused: {refusal}", markup=False)
    if output is not None:
        console.print(f"reports and rejects: {output}", markup=False, soft_wrap=True)
    if outcome.comparison is not None:
        print_comparison(console, outcome.comparison)
    agree = "equal" if outcome.nodes_agree else "NOT EQUAL"
    console.print(f"{len(outcome.nodes)} nodes: heights and commit hashes are {agree}")


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print how many rows are as expected, and the first that are not."""
    for difference in comparison.differences:
        console.print(difference, markup=False, soft_wrap=True)
    console.print(f"{comparison.equal} of {comparison.rows} rows as expected")


def as_json(outcome: Outcome, output: Path | None) -> dict[str, Any]:
    """Return the whole outcome as plain JSON values."""
    comparison = outcome.comparison
    return {
        "rehearsal": True,
        "from": outcome.first_day.isoformat(),
        "until": outcome.last_day.isoformat(),
        "output": None if output is None else str(output),
        "records": {
            "agreements": _counts_json(outcome.tally.agreements),
            "payments": _counts_json(outcome.tally.payments),
        },
        "months": [{**asdict(month), "as_of": month.as_of.isoformat()} for month in outcome.months],
        "case_months": [
            {**asdict(month), "as_of": month.as_of.isoformat()} for month in outcome.case_months
        ],
        "expected": None
        if comparison is None
        else {
            "rows": comparison.rows,
            "equal": comparison.equal,
            "differences": comparison.differences,
        },
        "cases": [
            dict(zip(CASE_COLUMNS, case_columns(case), strict=True)) for case in outcome.cases
        ],
        "cured_by_stage": cured_by_stage(outcome.cases),
        "block_days": outcome.block_days,
        "assumed": _assumed_json(outcome.plan.assumed),
        "refused_steps": outcome.tally.refused,
        "story": {
            "agreement": outcome.story_of,
            "steps": [{**asdict(step), "at": step.at.isoformat()} for step in outcome.story],
        },
        "seconds": outcome.seconds,
        "transactions": outcome.transactions,
        "nodes": [asdict(node) for node in outcome.nodes],
        "nodes_agree": outcome.nodes_agree,
    }


def _assumed_json(assumed: Assumed) -> dict[str, Any]:
    plain = {name: getattr(assumed, name) for name in Assumed.__slots__}
    return {**plain, "received_by": dict(assumed.received_by)}


def _counts_json(counts: Counts) -> dict[str, int]:
    return {
        "rows": counts.rows,
        "recorded": counts.taken,
        "said_again": counts.repeated,
        "rejected": counts.rejected,
    }
