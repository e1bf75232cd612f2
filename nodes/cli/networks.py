"""``qist network …``: a whole network of several members on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.errors import Refusal
from network.certificates.writing import write_new
from network.configuration import COMETBFT, SOLO
from nodes.cli.lender_collections import collections_of, render_collections
from nodes.cli.members_description import USUAL_MEMBERS, MembersDescription
from nodes.cli.network_folder import (
    USUAL_PORT,
    NetworkFolder,
    create_network,
    endorsement_policies,
)
from nodes.cli.network_run import (
    NodeState,
    disagreements,
    is_founded,
    network_states,
    network_up,
    set_clocks,
    state_as_json,
)
from nodes.cli.node_process import START_S, stop_nodes
from nodes.cli.terminal import AsJson, Terminal, Wait
from nodes.cli.times import parse_time
from nodes.toml_file import load_toml

app = typer.Typer(no_args_is_help=True, help="A whole network of several members on this machine.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The network's folder.")]
Members = Annotated[
    Path | None, typer.Option(help="TOML file of the members; left out: the usual four.")
]


@app.command("create")
def create(
    context: typer.Context,
    folder: Folder,
    members: Members = None,
    rehearsal: Annotated[
        bool, typer.Option("--rehearsal", help="Its time is set by its operator.")
    ] = False,
    start: Annotated[
        str,
        typer.Option(help="Time of the genesis block, where a rehearsal's clocks begin."),
    ] = "",
    base_port: Annotated[
        int, typer.Option(help="Client port of the first member; 0 finds free ports.")
    ] = USUAL_PORT,
    ordering: Annotated[
        str, typer.Option(help="solo or cometbft; left out: what the file says, else solo.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make certificates, channel, nodes, profiles and keys of every member."""
    terminal = Terminal.of(context, as_json)
    terminal.speak_of_rehearsal(rehearsal)
    description = _described(members)
    made = create_network(
        folder,
        _ordered_by(description, ordering),
        base_port=base_port,
        rehearsal=rehearsal,
        start=parse_time(start) if start else None,
    )
    rows = [
        (each.msp_id, each.member_class, each.group, each.client, each.node)
        for each in made.content.members
    ]
    terminal.table(
        {"folder": str(folder), **made.content.model_dump(by_alias=True)},
        ("member", "class", "group", "clients at", "nodes at"),
        rows,
    )
    terminal.progress(f"start it with `qist network up {folder}`")


def _described(members: Path | None) -> MembersDescription:
    return USUAL_MEMBERS if members is None else load_toml(members, MembersDescription)


def _ordered_by(description: MembersDescription, ordering: str) -> MembersDescription:
    if ordering not in ("", SOLO, COMETBFT):
        raise Refusal(f"{ordering[:40]!r} orders nothing: give {SOLO} or {COMETBFT}")
    return description.model_copy(update={"ordering": ordering}) if ordering else description


@app.command("up")
def up(
    context: typer.Context, folder: Folder, wait: Wait = START_S, as_json: AsJson = False
) -> None:
    """Start every node that does not run; at the first start found the network."""
    terminal, network = _opened(context, folder, as_json)
    network_up(network, terminal.progress, timeout_s=wait)
    _show(terminal, network)


@app.command("down")
def down(context: typer.Context, folder: Folder, as_json: AsJson = False) -> None:
    """Stop every node in order; blocks and state stay."""
    terminal, network = _opened(context, folder, as_json)
    outcome = stop_nodes(network.node_folders.values())
    ended = {msp_id: outcome[place] for msp_id, place in network.node_folders.items()}
    terminal.table({"folder": str(folder), "nodes": ended}, ("member", "node"), ended.items())


@app.command("status")
def status(context: typer.Context, folder: Folder, as_json: AsJson = False) -> None:
    """Show every node's height and hashes; fails unless all serve and agree."""
    terminal, network = _opened(context, folder, as_json)
    _show(terminal, network)


@app.command("clock")
def clock(
    context: typer.Context,
    folder: Folder,
    time: Annotated[str, typer.Argument(metavar="TIME", help="As 2025-01-31T09:00:00+05:00.")],
    as_json: AsJson = False,
) -> None:
    """Set the clock of every node of a rehearsal; forward only."""
    terminal, network = _opened(context, folder, as_json)
    times = set_clocks(network, parse_time(time).isoformat())
    terminal.table({"clocks": times}, ("member", "clock"), times.items())


@app.command("collections")
def collections(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The file to write, as collections.json.")],
    members: Members = None,
    as_json: AsJson = False,
) -> None:
    """Write the lenders' private collections, for members who have machines of their own.

    Shown are the contracts with their endorsement policies; `network create` does the same for
    one machine.
    """
    terminal = Terminal.of(context, as_json)
    description = _described(members)
    found = collections_of(description.members, description.policy)
    write_new(out, render_collections(description.members, found).encode())
    policies = endorsement_policies(description.members)
    terminal.table(
        {
            "file": str(out),
            "contracts": policies,
            "collections": {name: list(circle) for name, circle in found.items()},
        },
        ("contract or collection", "endorsed or kept by"),
        [*policies.items(), *((name, ", ".join(circle)) for name, circle in found.items())],
    )


def _opened(context: typer.Context, folder: Path, as_json: bool) -> tuple[Terminal, NetworkFolder]:
    terminal = Terminal.of(context, as_json)
    network = NetworkFolder.open(folder)
    terminal.speak_of_rehearsal(network.content.rehearsal)
    return terminal, network


def _show(terminal: Terminal, network: NetworkFolder) -> None:
    """Print how every node is; exit 1 if nodes disagree, 3 if one does not serve."""
    states = network_states(network)
    differing = disagreements(states)
    serving = [each.status is not None and each.status["ready"] for each in states]
    value: dict[str, Any] = {
        "folder": str(network.path),
        "channel_id": network.content.channel_id,
        "founded": is_founded(network),
        "all_serve": all(serving),
        "disagreements": differing,
        "nodes": [state_as_json(each) for each in states],
    }
    heads = ("member", "state", "height", "header hash", "commit hash", "ordering", "clock")
    terminal.table(value, heads, map(_row, states))
    for line in [*differing, *_warnings(states)]:
        terminal.warn(line)
    if differing:
        raise typer.Exit(1)
    if not all(serving):
        raise typer.Exit(3)


def _row(state: NodeState) -> Sequence[str]:
    status = state.status
    if status is None:
        word = "starting or stuck" if state.running else "not running"
        return (state.msp_id, word, "", "", "", "", "")
    return (
        state.msp_id,
        "ready" if status["ready"] else f"NOT READY: {status['halted'] or 'starting'}",
        str(status["height"]),
        status["header_hash"][:16],
        status["commit_hash"][:16] or "-",
        status["ordering"]["role"],
        status["clock"][:19],
    )


def _warnings(states: Sequence[NodeState]) -> list[str]:
    return [
        f"{state.msp_id}: {each['warning']}"
        for state in states
        if state.status is not None
        for each in state.status["certificates"]
        if each["warning"]
    ]
