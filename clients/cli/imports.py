"""``qist import agreements|payments FILE``: a nightly file into the ledger.

The exit code is 0 if every row stands on the ledger, 5 if the import ended and rows were rejected
or refused, and that of the error if it broke off; it is then taken up by the same command.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from clients.cli.calling import Caller, command
from clients.cli.session import plainly
from clients.files.channel import PATIENCE_S, GatewayLedger
from clients.files.errors import FileRefused
from clients.files.jobs import AGREEMENT_STEPS, AgreementsJob, Job, PaymentsJob
from clients.files.keyrings import load_keyrings
from clients.files.loader import IN_FLIGHT, Import, ImportReport, Watcher
from clients.files.mapping import load_mapping
from clients.files.requests import MOST_RECORDS, Facts
from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.errors import GatewayError
from ledger.errors import Refusal

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Import nightly files.")

ROWS_REJECTED: Final = 5
KEYS_FILE: Final = "pseudonym-keys.toml"

File = Annotated[Path, typer.Argument(metavar="FILE", help="A CSV file in UTF-8.")]
Mapping = Annotated[
    Path | None,
    typer.Option("--mapping", help="TOML: other column names, formats, constants."),
]
Keys = Annotated[
    Path | None,
    typer.Option("--keys", help=f"Pseudonym keys; left out: {KEYS_FILE} beside the profile."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check every row and send nothing.")]
InFlight = Annotated[int, typer.Option(min=1, max=64, help="Transactions at a time.")]
Patience = Annotated[
    float, typer.Option(min=0, help="Seconds to bear with a gateway or endorser that is away.")
]
Batch = Annotated[int, typer.Option(min=1, max=MOST_RECORDS, help="Records of a transaction.")]


@dataclass(frozen=True, slots=True)
class Pace:
    """How an import goes about it.

    Attributes:
        dry_run: send nothing.
        in_flight: transactions at a time.
        batch: records of a transaction.
        patience_s: seconds to bear with a gateway or an endorser that is away.
    """

    dry_run: bool
    in_flight: int
    batch: int
    patience_s: float


@command(app, "payments")
def payments(
    caller: Caller,
    file: File,
    mapping: Mapping = None,
    keys: Keys = None,
    dry_run: DryRun = False,
    in_flight: InFlight = IN_FLIGHT,
    batch: Batch = MOST_RECORDS,
    patience: Patience = PATIENCE_S,
) -> None:
    """Post the payments of a file, and take back those that it reverses."""
    path = _keys_path(caller, keys)
    keyrings = load_keyrings(path) if keys or path.exists() else None
    job = PaymentsJob(caller.profile.msp_id, load_mapping(mapping), keyrings)
    _run(caller, file, job, Pace(dry_run, in_flight, batch, patience))


@command(app, "agreements")
def agreements(
    caller: Caller,
    file: File,
    step: Annotated[
        str,
        typer.Option(
            help="open (a lender), tacs (the regulator), devices (a maker), confirm (a member "
            "outside the lender's group)."
        ),
    ] = "open",
    mapping: Mapping = None,
    keys: Keys = None,
    operator: Annotated[str, typer.Option(help="MSP id, where no column says it.")] = "",
    maker: Annotated[str, typer.Option(help="MSP id, where no column says it.")] = "",
    country: Annotated[str, typer.Option(help="Of manufacture, as PK.")] = "",
    receiving: Annotated[
        list[str] | None, typer.Option(help="MSP id of who receives payments; repeatable.")
    ] = None,
    language: Annotated[str, typer.Option(help="Of the consents, as ur.")] = "",
    block_consent: Annotated[
        bool, typer.Option(help="Every consent covers a block; without it no case can open.")
    ] = False,
    imported: Annotated[bool, typer.Option(help="The file is an older book.")] = False,
    dry_run: DryRun = False,
    in_flight: InFlight = IN_FLIGHT,
    batch: Batch = MOST_RECORDS,
    patience: Patience = PATIENCE_S,
) -> None:
    """Import a file of agreements: one step of it, as the member whose step it is."""
    if step not in AGREEMENT_STEPS:
        raise Refusal(f"--step {step} is not known; it is one of {', '.join(AGREEMENT_STEPS)}")
    facts = Facts(
        operator, maker, country, tuple(receiving or ()), language, block_consent, imported
    )
    needs_keys = step in ("open", "devices")
    keyrings = load_keyrings(_keys_path(caller, keys)) if needs_keys else None
    job = AgreementsJob(step, caller.profile.msp_id, load_mapping(mapping), facts, keyrings)
    _run(caller, file, job, Pace(dry_run, in_flight, batch, patience))


def _keys_path(caller: Caller, keys: Path | None) -> Path:
    return keys or caller.profile.path.parent / KEYS_FILE


def _run(caller: Caller, file: Path, job: Job, pace: Pace) -> None:
    if not file.is_file():
        raise FileRefused(f"there is no file {file}")
    with _progress_bar(caller) as watch:
        try:
            report = asyncio.run(_import(caller, file, job, pace, watch))
        except GatewayError as error:
            raise plainly(error) from error
    _print(caller, report)
    if report.rejects is not None:
        raise typer.Exit(ROWS_REJECTED)


async def _import(
    caller: Caller, file: Path, job: Job, pace: Pace, watch: Watcher | None
) -> ImportReport:
    if pace.dry_run:
        return await Import(file, job, None, watch=watch).run()
    async with AsyncGateway.from_profile(
        caller.profile, caller.user, clock=caller.clock
    ) as gateway:
        ledger = await GatewayLedger.connect(gateway, caller.channel_id, patience_s=pace.patience_s)
        if isinstance(job, AgreementsJob):
            job.keepers = ledger.keepers
        return await Import(
            file, job, ledger, in_flight=pace.in_flight, batch=pace.batch, watch=watch
        ).run()


@contextmanager
def _progress_bar(caller: Caller) -> Iterator[Watcher | None]:
    """A bar on standard error while it is a terminal; nothing for programs."""
    if caller.terminal.as_json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("importing", total=None)

        def watch(settled_bytes: int, whole_bytes: int) -> None:
            progress.update(task, completed=settled_bytes, total=whole_bytes)

        yield watch


def _print(caller: Caller, report: ImportReport) -> None:
    value = {
        "file": str(report.file),
        "job": report.job,
        "dry_run": report.dry_run,
        "resumed_at_line": report.resumed_at,
        "note": report.note,
        "rejects": str(report.rejects) if report.rejects else None,
        **report.tally.encode(),
    }
    lines = [f"{'checked' if report.dry_run else 'imported'} {report.file} ({report.job})"]
    if report.resumed_at:
        lines.append(f"taken up at line {report.resumed_at:,} of an interrupted run")
    if report.note:
        lines.append(report.note)
    table = report.tally.lines()
    wide, wider = (max(len(row[column]) for row in table) for column in (1, 2))
    lines += [
        f"  {what:<26}{rows:>{wide}} rows  {paisa:>{wider}} PKR" for what, rows, paisa in table
    ]
    if report.tally.unreadable_amounts:
        lines.append(
            f"  of the rejected rows {report.tally.unreadable_amounts:,} have no amount that can "
            "be read; they are not in the sums"
        )
    if report.rejects:
        lines.append(f"what is wrong with the others, and the way out: {report.rejects}")
    caller.terminal.result(value, lines)
