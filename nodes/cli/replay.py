"""``qist replay``: audit a Fabric channel from its blocks alone (nodes/replay).

Needs no node, no configuration and no network: the blocks begin with the channel's genesis block,
and everything else follows from them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.channel import ChannelLedger
from ledger.errors import Refusal
from network.text import visible
from nodes.cli.terminal import AsJson, Terminal
from nodes.committer.signatures import SignaturePool
from nodes.replay.comparison import SnapshotComparison
from nodes.replay.difference import Recount
from nodes.replay.recording import Recording
from nodes.replay.replay import Replay, Totals

app = typer.Typer(help="Replay a Fabric channel's blocks and compare what comes of them.")

SNAPSHOT = "snapshot"
MAX_PATHS = 2


@app.command()
def replay(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR [SNAPSHOT_DIR]",
            help="A folder with the blocks of a channel (*.block, in it or in blocks/ below it, or "
            "a peer's blockfile_*), or one such file; with --compare-snapshot also the folder of "
            "the peer's snapshot, by default DIR/snapshot.",
        ),
    ],
    compare_snapshot: Annotated[
        bool,
        typer.Option("--compare-snapshot", help="Compare our state with a peer's own snapshot."),
    ] = False,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Keep our ledger in this folder, and go on from there the next time."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Validate and commit every block from the genesis block on, and compare with the recording.

    Ends with 1 at the first difference, and names block, transaction, check and key.
    """
    terminal = Terminal.of(context, as_json)
    if len(paths) > (MAX_PATHS if compare_snapshot else 1):
        raise Refusal("give one folder of blocks, and a second folder only to --compare-snapshot")
    recording = Recording(paths[0])
    snapshot = paths[1] if len(paths) > 1 else _snapshot_of(paths[0])
    with _opened(ledger) as opened, _threads() as signatures:
        comparison = SnapshotComparison(snapshot, opened) if compare_snapshot else None
        run = Replay(recording, opened, signatures, comparison.after_block if comparison else None)
        shown: list[Recount] = []
        found: Recount | None = None
        for recount in run.run():
            terminal.speak_of_rehearsal(run.is_rehearsal)
            if as_json:
                shown.append(recount)
            else:
                _print(recount)
            found = recount if recount.difference is not None else found
        if comparison is not None and found is None:
            comparison.verify_done()
        lines = list(_summary(run, opened, comparison))
        terminal.result(_as_json(run, opened, shown, comparison), lines)
    if found is not None and found.difference is not None:
        if not as_json:
            for line in found.difference.lines():
                typer.echo(visible(line))
        raise typer.Exit(1)


def _snapshot_of(blocks: Path) -> Path:
    """Return where the snapshot lies that belongs to blocks: in their folder, or beside it."""
    beside = blocks.resolve().parent / SNAPSHOT
    inside = blocks / SNAPSHOT
    return beside if beside.is_dir() and not inside.is_dir() else inside


@contextmanager
def _opened(folder: Path | None) -> Iterator[ChannelLedger]:
    """Open a ledger that is kept, or one that goes with the command."""
    with tempfile.TemporaryDirectory(prefix="qist-replay-") as scratch:
        opened = ChannelLedger.open(Path(scratch) / "ledger" if folder is None else folder)
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def _threads() -> Iterator[SignaturePool]:
    pool = SignaturePool()
    try:
        yield pool
    finally:
        pool.close()


def _print(recount: Recount) -> None:
    typer.echo(f"block {recount.number}: {_plural(recount.transactions, 'transaction')}")
    typer.echo(f"  ours:   {_words(recount.ours)}; commit hash {recount.commit_hash or 'none'}")
    if recount.theirs is None:
        codes = "no codes in the block"
    else:
        codes = _words(recount.theirs)
    typer.echo(f"  theirs: {codes}; commit hash {recount.their_commit_hash or 'none'}")
    for remark in recount.remarks:
        typer.echo(f"  remark: {visible(remark)}")


def _plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _words(tally: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in tally.items()) or "not judged"


def _summary(
    run: Replay, ledger: ChannelLedger, comparison: SnapshotComparison | None
) -> Iterator[str]:
    totals = run.totals
    yield (
        f"{_plural(totals.blocks, 'block')}, {_plural(totals.transactions, 'transaction')} of "
        f"channel {run.channel_id or '?'} in {totals.seconds:.2f} s: "
        f"{_rate(totals):.0f} transactions per second"
    )
    for code in sorted(totals.codes):
        yield f"  {int(code):3} {code.name} {totals.codes[code]}"
    yield f"height {ledger.height}"
    yield f"last header hash {ledger.last_header_hash.hex() or 'none'}"
    yield f"last commit hash {ledger.commit_hash.hex() or 'none'}"
    if totals.compared or totals.hashes_compared:
        yield f"compared: codes {totals.compared}, commit hashes {totals.hashes_compared}"
    else:
        yield "the blocks carry no codes and no commit hashes: there was nothing to compare"
    if comparison is not None:
        yield from comparison.lines()


def _rate(totals: Totals) -> float:
    return totals.transactions / totals.seconds if totals.seconds else 0.0


def _as_json(
    run: Replay,
    ledger: ChannelLedger,
    shown: list[Recount],
    comparison: SnapshotComparison | None,
) -> dict[str, Any]:
    totals = run.totals
    difference = shown[-1].difference if shown else None
    return {
        "channel": run.channel_id,
        "height": ledger.height,
        "header_hash": ledger.last_header_hash.hex(),
        "commit_hash": ledger.commit_hash.hex(),
        "blocks": [{**asdict(each), "difference": None} for each in shown],
        "transactions": totals.transactions,
        "codes": {code.name: totals.codes[code] for code in sorted(totals.codes)},
        "codes_compared": totals.compared,
        "commit_hashes_compared": totals.hashes_compared,
        "seconds": round(totals.seconds, 3),
        "snapshot": None if comparison is None else comparison.as_json(),
        "difference": None if difference is None else difference.as_json(),
    }
