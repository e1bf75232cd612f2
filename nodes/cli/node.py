"""``qist node …``: create, join, run, watch and steer one node.

Imports stand in the commands: a node's process loads what a node needs, and asking it loads less.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ledger.errors import Refusal
from nodes.cli.control_client import node_status, set_clock
from nodes.cli.node_lock import already_running, hold, running_node
from nodes.cli.status_lines import status_lines, warnings_in
from nodes.cli.terminal import AsJson, Terminal, Wait

app = typer.Typer(no_args_is_help=True, help="Create, join, run, watch and save one node.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")]


@app.command("init")
def init(
    context: typer.Context,
    folder: Folder,
    name: Annotated[str, typer.Option(help="Of the node.")],
    channel: Annotated[str, typer.Option(help="The channel it will keep.")] = "qist",
    org: Annotated[
        Path | None, typer.Option(help="Folder of the organisation, which issues its certificates.")
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option(help="Certificates issued elsewhere by `qist org add-node`; with --msp-id."),
    ] = None,
    msp_id: Annotated[str, typer.Option(help="The member's MSP id; with --identity.")] = "",
    client: Annotated[
        str, typer.Option(help="host:port to listen on for applications.")
    ] = "127.0.0.1:7050",
    node: Annotated[
        str, typer.Option(help="host:port to listen on for other nodes.")
    ] = "127.0.0.1:7051",
    client_address: Annotated[
        str, typer.Option(help="host:port by which applications reach it, if another.")
    ] = "",
    node_address: Annotated[
        str, typer.Option(help="host:port by which other nodes reach it, if another.")
    ] = "",
    consensus: Annotated[
        str,
        typer.Option(help="host:port to listen on for consensus, where CometBFT orders."),
    ] = "",
    consensus_address: Annotated[
        str, typer.Option(help="host:port by which others' consensus reaches it, if another.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make the folder of a node: configuration, identity, TLS key."""
    from network.certificates import Organisation
    from nodes.cli.node_folder import NodePorts, init_node, issue_node, refuse_existing
    from nodes.cli.organisation_consensus import describe_keys
    from nodes.configuration import ConsensusSection, Endpoint

    terminal = Terminal.of(context, as_json)
    if (org is None) == (identity is None):
        raise Refusal("give --org, which issues the certificates, or --identity with issued ones")
    refuse_existing(folder)
    ports = NodePorts(
        client=Endpoint(listen=client, address=client_address),
        node=Endpoint(listen=node, address=node_address),
        consensus=(
            ConsensusSection(listen=consensus, address=consensus_address) if consensus else None
        ),
    )
    if org is not None:
        organisation = Organisation.open(org)
        msp_id = organisation.msp_id
        identity = issue_node(organisation, name, ports)
    if not msp_id or identity is None:
        raise Refusal("--identity needs --msp-id, the member's MSP id")
    made = init_node(
        folder, msp_id=msp_id, name=name, channel_id=channel, ports=ports, identity=identity
    )
    keys = describe_keys(folder) if made.consensus else {}
    voting = f", and its voting key {keys['consensus_key']}" if keys else ""
    terminal.result(
        {
            "folder": str(folder),
            "name": made.name,
            "msp_id": made.msp_id,
            "channel_id": made.channel_id,
            "client_address": made.client.reachable,
            "node_address": made.node.reachable,
            "consensus_address": made.consensus.reachable if made.consensus else "",
            **keys,
        },
        [
            f"node {made.name} of {made.msp_id} is made in {folder}",
            f"the channel's genesis block must name its node port, {made.node.reachable}{voting}; "
            f"then: qist node join {folder} --genesis FILE",
        ],
    )


@app.command("join")
def join(
    context: typer.Context,
    folder: Folder,
    genesis: Annotated[Path, typer.Option(help="The channel's genesis block.")],
    configuration: Annotated[
        Path | None,
        typer.Option(
            help="The block of the newest configuration, if the channel has changed since; "
            "see `qist channel fetch config`."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give a node the genesis block of its channel, and the configuration that is in force."""
    from nodes.cli.node_folder import join_channel, load_genesis

    terminal = Terminal.of(context, as_json)
    block = load_genesis(genesis)
    newest = None if configuration is None else load_genesis(configuration)
    channel = join_channel(folder, block, newest)
    terminal.speak_of_rehearsal(channel.is_rehearsal)
    digest = block.header.hash().hex()
    terminal.result(
        {"folder": str(folder), "channel_id": channel.channel_id, "header_hash": digest},
        [
            f"the node in {folder} has joined channel {channel.channel_id}",
            f"header hash of its genesis block, to be compared by all members: {digest}",
        ],
    )


@app.command("install")
def install(
    context: typer.Context,
    folder: Folder,
    package: Annotated[
        Path | None,
        typer.Option(
            help="Folder, wheel or packed file of a contract package; left out: the consortium's."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Install a contract package, so that the node can run and endorse its contracts."""
    from nodes.cli.contract_packages import install_package
    from nodes.cli.node_folder import is_rehearsal

    terminal = Terminal.of(context, as_json)
    terminal.speak_of_rehearsal(is_rehearsal(folder))
    installed = install_package([folder], package)
    terminal.result(
        {
            "folder": str(folder),
            "package_id": installed.package_id,
            "version": installed.version,
            "contracts": list(installed.contracts),
        },
        [f"{installed.package_id} offers {', '.join(installed.contracts)} {installed.version}"],
    )


@app.command("start")
def start(
    context: typer.Context,
    folder: Folder,
    detach: Annotated[
        bool, typer.Option("--detach", help="In the background; returns when it serves.")
    ] = False,
    wait: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Run a node until it is told to stop; its log goes to standard error."""
    terminal = Terminal.of(context, as_json)
    if not detach:
        _check_startable(folder)
        with hold(folder):
            # The transport's own notes are no lines of the node's log.
            os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
            from nodes.node import run

            raise typer.Exit(run(folder))
    from nodes.cli.node_process import start_in_background, wait_until_ready

    _check_startable(folder)
    if running_node(folder) is not None:
        raise already_running(folder)
    wait_until_ready([start_in_background(folder)], wait)
    _show_status(terminal, folder)


def _check_startable(folder: Path) -> None:
    """Check what can be checked before a process is started, for the sake of a clear answer.

    Raises:
        Refusal: the folder is no node's, has not joined a channel, or a port is taken.
    """
    from nodes.cli.node_folder import GENESIS_FILE, LEDGER_FOLDER
    from nodes.cli.node_process import refuse_taken_port
    from nodes.configuration import load_configuration

    configuration = load_configuration(folder)
    if not (folder / GENESIS_FILE).exists() and not (folder / LEDGER_FOLDER).exists():
        raise Refusal(
            f"the node in {folder} has joined no channel: "
            f"give it one with `qist node join {folder} --genesis FILE`"
        )
    if running_node(folder) is None:
        for endpoint in configuration.endpoints:
            refuse_taken_port(endpoint.listen)


@app.command("stop")
def stop(context: typer.Context, folder: Folder, as_json: AsJson = False) -> None:
    """Stop a node in order; one that does not stop in time is ended."""
    from nodes.cli.node_folder import is_rehearsal
    from nodes.cli.node_process import stop_nodes
    from nodes.configuration import load_configuration

    terminal = Terminal.of(context, as_json)
    load_configuration(folder)
    terminal.speak_of_rehearsal(is_rehearsal(folder))
    outcome = stop_nodes([folder])[folder]
    terminal.result({"folder": str(folder), "outcome": outcome}, [f"{folder}: {outcome}"])


@app.command("status")
def status(context: typer.Context, folder: Folder, as_json: AsJson = False) -> None:
    """Show height, hashes, members, ordering, certificates about to expire, clock, memory."""
    from nodes.configuration import load_configuration

    load_configuration(folder)
    _show_status(Terminal.of(context, as_json), folder)


def _show_status(terminal: Terminal, folder: Path) -> None:
    value = node_status(folder)
    terminal.speak_of_rehearsal(value["rehearsal"])
    terminal.result(value, status_lines(value))
    for warning in warnings_in(value):
        terminal.warn(warning)
    if not value["ready"]:
        raise typer.Exit(3)


@app.command("clock")
def clock(
    context: typer.Context,
    folder: Folder,
    time: Annotated[
        str, typer.Argument(metavar="[TIME]", help="As 2025-01-31T09:00:00+05:00.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show the time of a node, or set it in a rehearsal."""
    from nodes.cli.times import parse_time

    terminal = Terminal.of(context, as_json)
    if time:
        now = set_clock(folder, parse_time(time).isoformat())
        terminal.speak_of_rehearsal(True)
    else:
        value = node_status(folder)
        terminal.speak_of_rehearsal(value["rehearsal"])
        now = value["clock"]
    terminal.result({"clock": now}, [f"the clock stands at {now}"])


@app.command("prove")
def prove(
    context: typer.Context,
    folder: Folder,
    number: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Of the block.")],
    out: Annotated[Path, typer.Option(help="The file to write, as 17.proof.")],
    as_json: AsJson = False,
) -> None:
    """Prove a block out of what a stopped node has stored; see `qist blocks verify`.

    A running node is asked with `qist blocks prove`.
    """
    from nodes.cli.node_folder import is_rehearsal
    from nodes.cli.node_proof import write_proof

    terminal = Terminal.of(context, as_json)
    terminal.speak_of_rehearsal(is_rehearsal(folder))
    proved, size = write_proof(folder, number, out)
    digest = proved.block.header.hash().hex()
    terminal.result(
        {"file": str(out), "size_bytes": size, "number": number, "header_hash": digest},
        [
            f"{out} proves block {number} of channel {proved.channel_id} to whoever has its "
            f"genesis block; header hash {digest}"
        ],
    )


@app.command("backup")
def backup(
    context: typer.Context,
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The file to write, as bank.backup.")],
    as_json: AsJson = False,
) -> None:
    """Save blocks, keys and configuration to one file; the node may run meanwhile."""
    from nodes.cli.node_folder import is_rehearsal
    from nodes.operations.backup import write_backup

    terminal = Terminal.of(context, as_json)
    summary = write_backup(folder, out)
    terminal.speak_of_rehearsal(is_rehearsal(folder))
    terminal.result(
        {"file": str(out), **asdict(summary)},
        [
            f"node {summary.node} of {summary.msp_id} is saved in {out}: {summary.entries} files, "
            f"{summary.size_bytes} bytes; it holds the node's keys",
        ],
    )


@app.command("restore")
def restore(
    context: typer.Context,
    folder: Folder,
    archive: Annotated[Path, typer.Option("--from", help="The file that was saved.")],
    as_json: AsJson = False,
) -> None:
    """Make a node's folder of a backup, and its state anew from the blocks."""
    from nodes.cli.node_folder import is_rehearsal
    from nodes.operations.backup import restore_backup

    terminal = Terminal.of(context, as_json)
    summary = restore_backup(archive, folder)
    terminal.speak_of_rehearsal(is_rehearsal(folder))
    terminal.result(
        {"folder": str(folder), **asdict(summary)},
        [
            f"node {summary.node} of {summary.msp_id} is restored in {folder} at height "
            f"{summary.height}, as it was at {summary.saved}",
        ],
    )
