"""``qist channel create``: the genesis block of a channel, made of its members' folders.

Absent: what a configuration says and how it is changed, which clients do (`clients.cli.channel`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.blocks.block import Block
from network.certificates.writing import write_new
from network.configuration.description import describe_block
from nodes.cli.channel_description import ChannelDescription, make_genesis
from nodes.cli.terminal import AsJson, Terminal
from nodes.toml_file import load_toml

app = typer.Typer(no_args_is_help=True, help="The genesis block of a channel.")


@app.callback()
def channels() -> None:
    """The genesis block of a channel."""


@app.command("create")
def create(
    context: typer.Context,
    description: Annotated[Path, typer.Argument(help="TOML file that describes the channel.")],
    out: Annotated[Path, typer.Option(help="Where the genesis block is written.")] = Path(
        "genesis.block"
    ),
    as_json: AsJson = False,
) -> None:
    """Make the genesis block of a channel from its members' MSP folders."""
    terminal = Terminal.of(context, as_json)
    block = create_channel(description, out)
    value = describe_block(block)
    terminal.speak_of_rehearsal(value["rehearsal"])
    members = ", ".join(each["msp_id"] for each in value["members"])
    terminal.result(
        {"file": str(out), **value},
        [
            f"channel {value['channel_id']} of {members} begins with {out}",
            f"its header hash, to be compared by all members: {value['header_hash']}",
        ],
    )


def create_channel(description: Path, out: Path) -> Block:
    """Make a genesis block from a description and write it to *out*, which must not exist.

    Raises:
        Refusal: the description is faulty, or *out* exists.
    """
    block = make_genesis(load_toml(description, ChannelDescription), description.parent)
    write_new(out, block.encode())
    return block
