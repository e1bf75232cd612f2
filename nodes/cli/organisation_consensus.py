"""``qist org add-consensus|rotate-consensus|retire-consensus``: a node's keys for CometBFT.

How a key is replaced, step by step, is in docs/howto/rotate-and-revoke.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.errors import Refusal
from network.certificates import Organisation
from network.certificates.consensus import (
    PUBLIC_FILES,
    add_consensus,
    consensus_keys,
    public_bytes,
    retire_consensus,
    rotate_consensus,
)
from network.configuration import COMETBFT, ChannelConfiguration, Consenter
from network.configuration.consenters import consensus_key, link_key
from nodes.cli.node_folder import load_genesis
from nodes.cli.organisations import Folder
from nodes.cli.terminal import AsJson, Terminal

app = typer.Typer(no_args_is_help=True, help="A node's keys for CometBFT.")

Node = Annotated[str, typer.Argument(metavar="NAME", help="Of the node.")]


@app.command("add-consensus")
def add(context: typer.Context, name: Node, folder: Folder, as_json: AsJson = False) -> None:
    """Make the consensus keys of a node, and certificates over them."""
    terminal = Terminal.of(context, as_json)
    made = add_consensus(Organisation.open(folder), name)
    terminal.result(
        {"node": name, "folder": str(made), **describe_keys(made.parent)},
        [
            f"{name} has consensus keys in {made}",
            f"give the other members {' and '.join(PUBLIC_FILES)}, and the node all of it: "
            f"qist node consensus NODE --from {made.parent}",
        ],
    )


@app.command("rotate-consensus")
def rotate(
    context: typer.Context,
    name: Node,
    folder: Folder,
    link: Annotated[
        bool, typer.Option("--link", help="The key of its links, and not the one of its votes.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the next key of a node beside the one that it has."""
    terminal = Terminal.of(context, as_json)
    organisation = Organisation.open(folder)
    certificate = rotate_consensus(organisation, name, link=link)
    node = organisation.node_folder(name)
    option = "--consenter-link" if link else "--consenter-key"
    terminal.result(
        {"node": name, "certificate": str(certificate), **describe_keys(node)},
        [
            f"the next key of {name} is made; the one before counts until the channel has it",
            f"now: qist node consensus NODE --from {node}, and then "
            f"qist channel propose {option} {organisation.msp_id}={certificate}",
        ],
    )


@app.command("retire-consensus")
def retire(
    context: typer.Context,
    name: Node,
    folder: Folder,
    block: Annotated[
        Path,
        typer.Option(help="The configuration in force; see `qist channel fetch config`."),
    ],
    as_json: AsJson = False,
) -> None:
    """Put the next key into the place of the one before, which is destroyed."""
    terminal = Terminal.of(context, as_json)
    organisation = Organisation.open(folder)
    own = _consenter(ChannelConfiguration.from_block(load_genesis(block)), organisation.msp_id)
    place = retire_consensus(organisation, name, voting=consensus_key(own), link=link_key(own))
    terminal.result(
        {"node": name, "folder": str(place), **describe_keys(place.parent)},
        [
            f"{name} has the keys that the channel names, and no other",
            f"the node forgets the one before by: qist node consensus NODE --from {place.parent}",
        ],
    )


def _consenter(channel: ChannelConfiguration, msp_id: str) -> Consenter:
    for each in channel.consenters if channel.consensus_type == COMETBFT else ():
        if each.msp_id == msp_id:
            return each
    raise Refusal(
        f"channel {channel.channel_id} has no consenter of {msp_id} in configuration "
        f"{channel.sequence}: give the block of the configuration that names it"
    )


def describe_keys(folder: Path) -> dict[str, Any]:
    """Return the public halves of the consensus keys in a folder, as JSON values."""
    keys = consensus_keys(folder)
    voting, links = (
        [public_bytes(each).hex() for each in own] for own in (keys.voting, keys.links)
    )
    return {
        "consensus_key": voting[0],
        "next_consensus_key": voting[1] if len(voting) > 1 else None,
        "link_key": links[0],
        "next_link_key": links[1] if len(links) > 1 else None,
    }
