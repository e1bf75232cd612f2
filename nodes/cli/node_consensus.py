"""``qist node consensus``: the keys with which a node takes part in ordering by CometBFT.

The node votes with whichever of its keys the channel's configuration names. At every moment while
files are replaced, a key that stays is there; so this may be done while the node runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ledger.errors import LedgerError, Refusal
from network.certificates.consensus import (
    CERTIFICATE,
    CONSENSUS_FOLDER,
    KEY,
    LINK_CERTIFICATE,
    LINK_KEY,
    NEXT,
    consensus_keys,
    is_over,
    load_key,
)
from network.certificates.stored import read_file
from network.certificates.writing import (
    PRIVATE_FOLDER,
    new_folder,
    remove_file,
    replace_file,
    write_new,
)
from network.msp import MSP, Certificate, load_msp_folder
from nodes.cli.organisation_consensus import describe_keys
from nodes.cli.terminal import AsJson, Terminal
from nodes.configuration import (
    CONFIGURATION_FILE,
    ConsensusSection,
    load_configuration,
    render_consensus,
)

app = typer.Typer(no_args_is_help=True, help="A node's keys for CometBFT.")

_PAIRS = ((KEY, CERTIFICATE), (LINK_KEY, LINK_CERTIFICATE))
_NEXT_PAIRS = tuple((f"{NEXT}{key}", f"{NEXT}{certificate}") for key, certificate in _PAIRS)


@app.callback()
def node_consensus() -> None:
    """A node's keys for CometBFT."""


@app.command("consensus")
def consensus(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")],
    identity: Annotated[
        Path, typer.Option("--from", help="Where its keys are: ORG/nodes/NAME of its organisation.")
    ],
    listen: Annotated[
        str, typer.Option(help="host:port to listen on for consensus; once, for a new one.")
    ] = "",
    address: Annotated[
        str, typer.Option(help="host:port by which the others reach it, if another.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Give a node its consensus keys, or the next or the only one while they are replaced."""
    terminal = Terminal.of(context, as_json)
    section = take_consensus_keys(folder, identity, listen, address)
    told = describe_keys(folder)
    terminal.result(
        {"folder": str(folder), "address": section.reachable, **told},
        [
            f"the node in {folder} takes part in consensus at {section.reachable}",
            "it votes with the key that the channel names: "
            + told["consensus_key"]
            + (f" or {told['next_consensus_key']}" if told["next_consensus_key"] else ""),
        ],
    )


def take_consensus_keys(
    folder: Path, identity: Path, listen: str = "", address: str = ""
) -> ConsensusSection:
    """Make the consensus keys in a node's folder those that its organisation has for it.

    Args:
        folder: of the node.
        identity: it holds the folder ``consensus``.
        listen: where to listen, for a node that has not taken part before.
        address: how it is reached, if otherwise.
    Returns:
        what `node.toml` says of consensus now.
    Raises:
        Refusal: the keys are incomplete or another member's, or `node.toml` says where it listens
            already, or does not and nothing is given; nothing has been changed.
    """
    configuration = load_configuration(folder)
    section = _section(folder, configuration.consensus, listen, address)
    consensus_keys(identity)
    given = identity / CONSENSUS_FOLDER
    coming = [pair for pair in _NEXT_PAIRS if (given / pair[0]).exists()]
    # What comes first, and what goes last: a key that stays is there all the time.
    pairs = [*coming, *_PAIRS]
    _verify(folder, configuration.msp_id, given, pairs)
    target = folder / CONSENSUS_FOLDER
    if not target.exists():
        with new_folder(target) as made:
            for key, certificate in pairs:
                write_new(made / key, read_file(given / key), private=True)
                write_new(made / certificate, read_file(given / certificate))
        target.chmod(PRIVATE_FOLDER)
    else:
        for key, certificate in pairs:
            replace_file(target / key, read_file(given / key), private=True)
            replace_file(target / certificate, read_file(given / certificate))
        for gone in (file for pair in _NEXT_PAIRS if pair not in coming for file in pair):
            remove_file(target / gone)
    if configuration.consensus is None:
        path = folder / CONFIGURATION_FILE
        text = path.read_text("utf-8")
        replace_file(path, f"{text.rstrip()}\n\n{render_consensus(section)}".encode())
    return section


def _section(
    folder: Path, existing: ConsensusSection | None, listen: str, address: str
) -> ConsensusSection:
    place = folder / CONFIGURATION_FILE
    if existing is None and not listen:
        raise Refusal(
            f"{place} has no section [consensus]: say with --listen where the node is to listen "
            "for the other members' consensus processes, as 0.0.0.0:7052"
        )
    if existing is None:
        try:
            return ConsensusSection(listen=listen, address=address)
        except ValueError as reason:
            raise Refusal(
                f"{listen[:80]!r} or {address[:80]!r} is not host:port: give both as 10.0.0.1:7052"
            ) from reason
    if listen or address:
        raise Refusal(
            f"{place} says already where the node listens for consensus: change it there, and in "
            "the channel with --consenter-address"
        )
    return existing


def _verify(folder: Path, msp_id: str, given: Path, pairs: list[tuple[str, str]]) -> None:
    """Check certificates: over the keys beside them, and new ones by the member's authorities."""
    try:
        msp = MSP.from_config(load_msp_folder(folder / "msp", msp_id), ed25519_allowed=True)
        for key, certificate in pairs:
            if not is_over(given / certificate, load_key(given / key)):
                raise Refusal(f"{given / certificate} is not over the key in {key} beside it")
            raw = read_file(given / certificate)
            held = folder / CONSENSUS_FOLDER / certificate
            if not held.exists() or held.read_bytes() != raw:
                msp.verify_issued(
                    Certificate.from_pem(raw), tls=certificate.endswith(LINK_CERTIFICATE)
                )
    except LedgerError as error:
        raise Refusal(
            f"{given} holds no consensus keys for a node of {msp_id}: {error}; give the folder "
            "ORG/nodes/NAME of the node's own organisation"
        ) from error
