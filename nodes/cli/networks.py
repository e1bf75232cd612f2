"""``qist network …``: a whole network of several members on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nodes.cli.members_description import USUAL_MEMBERS, MembersDescription
from nodes.cli.network_folder import USUAL_PORT, create_network
from nodes.cli.terminal import AsJson, Terminal
from nodes.cli.times import parse_time
from nodes.cli.toml_file import load_toml

app = typer.Typer(no_args_is_help=True, help="A whole network of several members on this machine.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The network's folder.")]


@app.command("create")
def create(
    context: typer.Context,
    folder: Folder,
    members: Annotated[
        Path | None, typer.Option(help="TOML file of the members; left out: the usual four.")
    ] = None,
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
    as_json: AsJson = False,
) -> None:
    """Make certificates, channel, nodes, profiles and keys of every member."""
    terminal = Terminal.of(context, as_json)
    terminal.speak_of_rehearsal(rehearsal)
    made = create_network(
        folder,
        USUAL_MEMBERS if members is None else load_toml(members, MembersDescription),
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
