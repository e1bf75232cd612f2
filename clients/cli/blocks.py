"""``qist blocks …``: the blocks of a channel fetched from a peer, and proofs of single ones.

``fetch`` is made for peers of Fabric networks, so it takes what such a network hands out: an
address, the certificate of a TLS authority, an MSP folder of a user. No connection profile is
needed. ``prove`` asks a node of ours in the same way; ``verify`` asks nobody.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clients.blocks.fetching import BlockFolder, fetch_blocks
from clients.blocks.proving import describe, fetch_proof, proved_lines
from clients.cli.terminal import Terminal
from clients.gateway.blocking import Gateway
from clients.gateway.connection import Endpoint
from ledger.blocks.block import Block
from ledger.errors import LedgerError, Refusal
from network.configuration import ChannelConfiguration
from network.msp import Certificate, SigningIdentity
from network.ordering.cometbft.finality.proofs import ProvedBlock, verify_proof

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Fetch the blocks of a channel, prove single ones, and verify such proofs.",
)

PROGRESS_EVERY = 100
MOST_DIGITS = 19

Peer = Annotated[str, typer.Option(help="HOST:PORT of a peer of the channel.")]
TlsCa = Annotated[Path, typer.Option(help="Certificate of its TLS authority, in PEM.")]
Msp = Annotated[Path, typer.Option(help="MSP folder of a user: signcerts/ and keystore/.")]
MspId = Annotated[str, typer.Option(help="MSP id of that user's organisation.")]
ServerName = Annotated[
    str, typer.Option(help="Name in the peer's TLS certificate, where it is not the host.")
]
ClientCert = Annotated[
    Path | None, typer.Option(help="Own TLS certificate, for a peer that asks for one.")
]
ClientKey = Annotated[Path | None, typer.Option(help="Its private key.")]
Genesis = Annotated[Path, typer.Option(help="The genesis block of the channel.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback()
def blocks() -> None:
    """Fetch the blocks of a channel from a peer, ours or Fabric's; prove and verify single ones."""


@app.command()
def fetch(
    folder: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Where the blocks go.")],
    peer: Peer,
    tls_ca: TlsCa,
    msp: Msp,
    msp_id: MspId,
    channel: Annotated[str, typer.Option(help="The channel.")],
    first: Annotated[int, typer.Option(min=0, help="First block.")] = 0,
    last: Annotated[
        int | None, typer.Option(min=0, help="Last block; left out: the peer's newest.")
    ] = None,
    server_name: ServerName = "",
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    as_json: AsJson = False,
) -> None:
    """Fetch blocks, check that each follows the one before, and write one file for each.

    Run again, it goes on behind the last file.
    """
    endpoint, certificate = _endpoint(peer, tls_ca, server_name, client_cert, client_key)
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
            client_certificate=certificate,
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


@app.command()
def prove(
    which: Annotated[str, typer.Argument(metavar="CHANNEL/NUMBER", help="The block.")],
    peer: Peer,
    tls_ca: TlsCa,
    msp: Msp,
    msp_id: MspId,
    genesis: Genesis,
    out: Annotated[Path, typer.Option(help="The file to write, as 17.proof.")],
    server_name: ServerName = "",
    client_cert: ClientCert = None,
    client_key: ClientKey = None,
    as_json: AsJson = False,
) -> None:
    """Have a node of ours prove a block, verify what it sends, and write it to a file.

    The file proves the block to whoever has the channel's genesis block: `qist blocks verify`.
    """
    channel_id, slash, digits = which.rpartition("/")
    if not slash or not channel_id or not digits.isdecimal() or len(digits) > MOST_DIGITS:
        raise Refusal(f"{which[:80]!r} names no block: write CHANNEL/NUMBER, as qist/17")
    endpoint, certificate = _endpoint(peer, tls_ca, server_name, client_cert, client_key)
    signer = SigningIdentity.load(msp, msp_id)
    raw = fetch_proof(endpoint, signer, channel_id, int(digits), certificate)
    proved = verify_proof(_genesis(genesis), raw)
    if (proved.channel_id, proved.block.number) != (channel_id, int(digits)):
        raise Refusal(
            f"the node proves block {proved.block.number} of channel {proved.channel_id}, and "
            f"{which} was asked for: ask another node"
        )
    out.write_bytes(raw)
    _show(proved, out, len(raw), as_json)


@app.command()
def verify(
    proof: Annotated[Path, typer.Argument(metavar="PROOF", help="The file of a proof.")],
    genesis: Genesis,
    as_json: AsJson = False,
) -> None:
    """Verify the proof of a block with the channel's genesis block and nothing else.

    What is printed is what is proved: the block, and, where validators decided on it, its verdicts.
    """
    try:
        raw = proof.read_bytes()
    except OSError as error:
        raise Refusal(f"{proof} cannot be read ({error.strerror}): give a proof's file") from error
    _show(verify_proof(_genesis(genesis), raw), proof, len(raw), as_json)


def _endpoint(
    peer: str, tls_ca: Path, server_name: str, client_cert: Path | None, client_key: Path | None
) -> tuple[Endpoint, bytes]:
    """Return how the peer is reached, and the DER of the certificate that is shown to it."""
    if (client_cert is None) != (client_key is None):
        raise Refusal("--client-cert and --client-key belong together: give both or none")
    certificate = b"" if client_cert is None else client_cert.read_bytes()
    key = b"" if client_key is None else client_key.read_bytes()
    endpoint = Endpoint(peer, tls_ca.read_bytes(), server_name, certificate, key)
    return endpoint, Certificate.from_pem(certificate).der if certificate else b""


def _genesis(path: Path) -> Block:
    try:
        return Block.decode(path.read_bytes())
    except OSError as error:
        raise Refusal(
            f"{path} cannot be read ({error.strerror}): get the channel's genesis block from a "
            "member whom you believe"
        ) from error
    except LedgerError as error:
        raise Refusal(f"{path} is no block: {error}") from error


def _show(proved: ProvedBlock, file: Path, size: int, as_json: bool) -> None:
    terminal = Terminal(as_json, is_rehearsal=proved.configuration.is_rehearsal)
    terminal.result(
        {"file": str(file), "size_bytes": size, **describe(proved)}, proved_lines(proved)
    )
