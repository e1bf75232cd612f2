"""``qist rehearse``: try a policy on past months before it is enforced."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import tempfile
from collections.abc import Coroutine
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from clients.files.rejects import RejectsFile
from clients.rehearsal.case_file import write_cases
from clients.rehearsal.errors import RehearsalRefused
from clients.rehearsal.plan import POLICY_FILE, load_plan
from clients.rehearsal.portfolio import AGREEMENTS_FILE, PAYMENTS_FILE, load_portfolio
from clients.rehearsal.rehearsal import NETWORK_FOLDER, Outcome, rehearse
from clients.rehearsal.show import Teller, as_json, print_outcome
from clients.rehearsal.tally import Counts

app = typer.Typer(add_completion=False)
DEFAULT_POLICY: Final = Path(__file__).with_name("default_policy.toml")
REPORT_FILE: Final = "report.json"
CASES_FILE: Final = "cases.csv"


class Ordering(StrEnum):
    """Engines that put records in order."""

    SOLO = "solo"
    COMETBFT = "cometbft"


@app.command()
def rehearse_folder(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help=f"Holds {AGREEMENTS_FILE} and {PAYMENTS_FILE}.")
    ],
    until: Annotated[
        str, typer.Option(metavar="DATE", help="Last day; left out: the last day of the files.")
    ] = "",
    policy: Annotated[
        Path | None,
        typer.Option(help=f"Policy file; left out: DIR/{POLICY_FILE}, else the rulebook's."),
    ] = None,
    expect: Annotated[
        Path | None, typer.Option(help="Arrears that must come out; exit code 1 if they do not.")
    ] = None,
    story: Annotated[bool, typer.Option("--story", help="Tell the story of one borrower.")] = False,
    ordering: Annotated[
        Ordering, typer.Option(help="The engine by which the network's nodes agree on the order.")
    ] = Ordering.SOLO,
    output: Annotated[
        Path | None,
        typer.Option(help="Keep network, reports and rejects in this folder (new or empty)."),
    ] = None,
    as_json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Live through past months of a portfolio under a policy, on a network of its own.

    Nothing of a rehearsal leaves it: its genesis says that it is one. Exit code 0 if the nodes
    agree and every expected row came out, else 1.
    """
    context.find_root().obj.rehearsal = True
    portfolio = load_portfolio(folder)
    plan = load_plan(policy or _policy_of(folder))
    last = _day(until) if until else portfolio.last_day
    if last < portfolio.first_day:
        raise RehearsalRefused(
            f"--until {last} is before the first agreement of {portfolio.first_day}; choose another"
        )
    if expect is not None and not expect.is_file():
        raise RehearsalRefused(f"--expect {expect}: no such file")
    _refuse_used(output)
    kept = output or Path(tempfile.mkdtemp(prefix="qist-rehearsal-"))
    teller = Teller(last, quiet=as_json_)
    try:
        outcome = asyncio.run(
            _until_ended(
                rehearse(
                    portfolio,
                    plan,
                    last,
                    kept,
                    teller,
                    expected=expect,
                    with_story=story,
                    ordering=ordering.value,
                )
            )
        )
    except BaseException as error:
        # The nodes' logs are what explains it; they stay also where nobody asked for a folder.
        teller.close()
        typer.echo(f"REHEARSAL: the nodes' logs are under {kept / NETWORK_FOLDER}", err=True)
        if isinstance(error, asyncio.CancelledError):
            raise KeyboardInterrupt from None
        raise
    teller.close()
    _write_reports(kept, outcome)
    if output is None:
        shutil.rmtree(kept / NETWORK_FOLDER)
    if as_json_:
        typer.echo(json.dumps(as_json(outcome, kept), ensure_ascii=False))
    else:
        print_outcome(outcome, kept)
    if not outcome.is_as_it_should_be:
        raise typer.Exit(1)


async def _until_ended(living: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Let SIGTERM cancel the rehearsal as Ctrl-C does, so that it stops its nodes."""
    task = asyncio.ensure_future(living)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def _policy_of(folder: Path) -> Path:
    own = folder / POLICY_FILE
    return own if own.exists() else DEFAULT_POLICY


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RehearsalRefused(f"--until {text}: is no date; write it as 2026-09-30") from None


def _refuse_used(output: Path | None) -> None:
    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise RehearsalRefused(f"--output {output} holds something; name a new or an empty folder")


def _write_reports(folder: Path, outcome: Outcome) -> None:
    report = as_json(outcome, folder)
    (folder / REPORT_FILE).write_text(
        json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
    )
    write_cases(folder / CASES_FILE, outcome.cases)
    for name, counts in (
        (AGREEMENTS_FILE, outcome.tally.agreements),
        (PAYMENTS_FILE, outcome.tally.payments),
    ):
        _write_rejects(folder / f"{name}.rejects.csv", counts)


def _write_rejects(path: Path, counts: Counts) -> None:
    refused = [(reject, "file") for reject in counts.bad]
    refused += [(reject, "contract") for reject in counts.refused]
    with RejectsFile(path, 0) as file:
        for reject, by in sorted(refused, key=lambda pair: pair[0].line):
            file.add(reject, by)
        file.sync()
