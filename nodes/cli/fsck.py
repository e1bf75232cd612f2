"""``qist fsck``: check everything that stopped nodes have stored (ledger/fsck.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.fsck import FsckReport, check_ledger
from nodes.cli.network_folder import NETWORK_FILE, NetworkFolder
from nodes.cli.node_folder import LEDGER_FOLDER, is_rehearsal
from nodes.cli.node_lock import refuse_while_running
from nodes.cli.terminal import AsJson, Terminal
from nodes.configuration import load_configuration

app = typer.Typer(help="Check everything that a stopped node has stored.")


@app.command()
def fsck(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A node's folder, or a whole network's.")
    ],
    scratch: Annotated[
        Path | None,
        typer.Option(help="Folder with room for a second state; left out: the ledger's own."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every block, make the state anew from the blocks and compare it with the stored one.

    Ends with 1 if anything is damaged. What a crash has left undone is reported and no damage.
    """
    terminal = Terminal.of(context, as_json)
    nodes = [folder]
    if (folder / NETWORK_FILE).exists():
        nodes = list(NetworkFolder.open(folder).node_folders.values())
    for each in nodes:
        load_configuration(each)
        terminal.speak_of_rehearsal(is_rehearsal(each))
        refuse_while_running(each, "nothing can be checked")
    reports = {each: check_ledger(each / LEDGER_FOLDER, scratch=scratch) for each in nodes}
    clean = all(report.is_clean for report in reports.values())
    lines = [line for each, report in reports.items() for line in _lines(each, report)]
    terminal.result(
        {"clean": clean, "nodes": [_as_json(each, report) for each, report in reports.items()]},
        lines,
    )
    if not clean:
        raise typer.Exit(1)


def _lines(folder: Path, report: FsckReport) -> list[str]:
    counts = report.counts
    word = "clean" if report.is_clean else f"DAMAGED in {counts.damage} places"
    return [
        f"{folder}: {word}; height {report.height}, {counts.transactions} transactions, "
        f"{counts.keys} keys, {counts.evidence} records of evidence, "
        f"{counts.private_sets} private write sets",
        f"  header hash {report.header_hash.hex()}",
        f"  commit hash {report.commit_hash.hex() or '-'}",
        *(f"  {finding}" for finding in report.findings),
    ]


def _as_json(folder: Path, report: FsckReport) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "clean": report.is_clean,
        "height": report.height,
        "header_hash": report.header_hash.hex(),
        "commit_hash": report.commit_hash.hex(),
        "transactions": report.counts.transactions,
        "keys": report.counts.keys,
        "private_sets": report.counts.private_sets,
        "damage": report.counts.damage,
        "pending": report.counts.pending,
        "findings": [
            {"kind": str(each.kind), "where": each.where, "what": each.what}
            for each in report.findings
        ],
    }
