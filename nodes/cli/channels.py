"""``qist channel …``: the genesis block of a channel, and what a configuration says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.blocks.block import Block
from network.certificates.writing import write_new
from network.configuration import ChannelConfiguration
from network.configuration.values import format_endpoint
from network.policy.words import policies_in_words
from nodes.cli.channel_description import ChannelDescription, make_genesis
from nodes.cli.node_folder import load_genesis
from nodes.cli.terminal import AsJson, Terminal
from nodes.toml_file import load_toml

app = typer.Typer(no_args_is_help=True, help="The genesis block of a channel, and what it says.")


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
    value = describe_channel(block)
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


@app.command("show")
def show(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="FILE|NODE", help="A genesis block, or a node's folder.")
    ],
    as_json: AsJson = False,
) -> None:
    """Show what a configuration block says, to be compared before one joins."""
    terminal = Terminal.of(context, as_json)
    value = describe_channel(load_genesis(source))
    terminal.speak_of_rehearsal(value["rehearsal"])
    terminal.result(value, _lines(value))


def describe_channel(block: Block) -> dict[str, Any]:
    """Return what a configuration block says, as JSON values.

    Raises:
        ConfigurationError: no configuration block, or one that breaks a rule.
    """
    channel = ChannelConfiguration.from_block(block)
    endpoints: dict[str, list[str]] = {}
    for msp_id, host, port in channel.orderer_endpoints:
        endpoints.setdefault(msp_id, []).append(format_endpoint(host, port))
    batch = channel.batch
    return {
        "channel_id": channel.channel_id,
        "rehearsal": channel.is_rehearsal,
        "block_num": block.header.number,
        "header_hash": block.header.hash().hex(),
        "sequence": channel.sequence,
        "members": [
            {
                "msp_id": each.msp_id,
                "nodes": [format_endpoint(host, port) for host, port in each.anchor_peers],
                "orders_at": endpoints.get(each.msp_id, []),
            }
            for each in channel.organisations.values()
        ],
        "consensus": channel.consensus_type,
        "batch": {
            "max_message_count": batch.max_message_count,
            "absolute_max_bytes": batch.absolute_max_bytes,
            "preferred_max_bytes": batch.preferred_max_bytes,
            "timeout_s": batch.timeout_s,
        },
        "capabilities": {
            "channel": sorted(channel.capabilities.channel),
            "orderer": sorted(channel.capabilities.orderer),
            "application": sorted(channel.capabilities.application),
        },
        "policies": dict(policies_in_words(channel.config.channel_group)),
        "acls": dict(channel.acls),
    }


def _lines(value: dict[str, Any]) -> Iterator[str]:
    yield f"channel      {value['channel_id']}, configuration {value['sequence']}"
    yield f"header hash  {value['header_hash']}"
    yield f"ordering     {value['consensus']}"
    batch = value["batch"]
    yield (
        f"blocks       {batch['max_message_count']} transactions, {batch['preferred_max_bytes']} "
        f"bytes (one of {batch['absolute_max_bytes']} at most), after {batch['timeout_s']:g} s"
    )
    for level, names in value["capabilities"].items():
        yield f"capabilities {level}: {', '.join(names)}"
    for member in value["members"]:
        orders = f", orders at {', '.join(member['orders_at'])}" if member["orders_at"] else ""
        yield f"member       {member['msp_id']} at {', '.join(member['nodes']) or '-'}{orders}"
    for path, rule in value["policies"].items():
        yield f"policy       {path}: {rule}"
    for resource, policy in value["acls"].items():
        yield f"access       {resource}: {policy}"
