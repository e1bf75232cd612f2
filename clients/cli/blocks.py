"""``qist blocks fetch``: the blocks of a channel, from any peer's Deliver service into a folder.

Made for peers of Fabric networks, so it takes what such a network hands out: an address, the
certificate of a TLS authority, an MSP folder of a user. No connection profile is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clients.blocks.fetching import BlockFolder, fetch_blocks
from clients.cli.terminal import Terminal
from clients.gateway.blocking import Gateway
from clients.gateway.connection import Endpoint
from ledger.errors import Refusal
from network.configuration import ChannelConfiguration
from network.msp import Certificate, SigningIdentity

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Fetch the blocks of a channel from a peer."
)

PROGRESS_EVERY = 100


@app.callback()
def blocks() -> None:
    """Fetch the blocks of a channel from a peer, ours or Fabric's."""


@app.command()
def fetch(
    folder: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Where the blocks go.")],
    peer: Annotated[str, typer.Option(help="HOST:PORT of a peer of the channel.")],
    tls_ca: Annotated[Path, typer.Option(help="Certificate of its TLS authority, in PEM.")],
    msp: Annotated[Path, typer.Option(help="MSP folder of a user: signcerts/ and keystore/.")],
    msp_id: Annotated[str, typer.Option(help="MSP id of that user's organisation.")],
    channel: Annotated[str, typer.Option(help="The channel.")],
    first: Annotated[int, typer.Option(min=0, help="First block.")] = 0,
    last: Annotated[
        int | None, typer.Option(min=0, help="Last block; left out: the peer's newest.")
    ] = None,
    server_name: Annotated[
        str, typer.Option(help="Name in the peer's TLS certificate, where it is not the host.")
    ] = "",
    client_cert: Annotated[
        Path | None, typer.Option(help="Own TLS certificate, for a peer that asks for one.")
    ] = None,
    client_key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fetch blocks, check that each follows the one before, and write one file for each.

    Run again, it goes on behind the last file.
    """
    if (client_cert is None) != (client_key is None):
        raise Refusal("--client-cert and --client-key belong together: give both or none")
    certificate = b"" if client_cert is None else client_cert.read_bytes()
    endpoint = Endpoint(
        peer,
        tls_ca.read_bytes(),
        server_name,
        certificate,
        b"" if client_key is None else client_key.read_bytes(),
    )
    signer = SigningIdentity.load(msp, msp_id)
    stored = BlockFolder(folder)
    terminal = Terminal(as_json, is_rehearsal=False)
    count = 0
    with Gateway(endpoint, signer) as gateway:
        for block in fetch_blocks(
            gateway,
            channel,
            stored,
            first=first,
            last=last,
            client_certificate=Certificate.from_pem(certificate).der if certificate else b"",
        ):
            count += 1
            if count % PROGRESS_EVERY == 0:
                terminal.note(f"fetched up to block {block.number}")
    there = stored.numbers()
    if there and there[0] == 0:
        genesis = ChannelConfiguration.from_block(stored.load(0))
        terminal.is_rehearsal = genesis.is_rehearsal
    newest = there[-1] if there else -1
    digest = stored.load(newest).header.hash().hex() if there else ""
    terminal.result(
        {"folder": str(folder), "fetched": count, "newest": newest, "header_hash": digest},
        [
            f"fetched {count} {'block' if count == 1 else 'blocks'} into {folder}",
            f"newest block {newest}, header hash {digest}",
        ],
    )
