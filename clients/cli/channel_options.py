"""Options of ``qist channel propose``; `clients.configuration.wishes` reads what they say."""

from __future__ import annotations

from typing import Annotated

import typer

Many = list[str] | None
AddOrganisation = Annotated[
    Many, typer.Option(help="A new member: MSPID=FOLDER with its public MSP folder.")
]
RemoveOrganisation = Annotated[Many, typer.Option(help="MSP id of a member that goes.")]
ReplaceCa = Annotated[
    Many,
    typer.Option("--replace-ca", help="MSPID=FOLDER: its authorities, as its MSP folder has them."),
]
Crl = Annotated[Many, typer.Option("--crl", help="MSPID=FILE or folder: its revocation lists.")]
Anchor = Annotated[Many, typer.Option(help="MSPID=host:port of its node, for other nodes.")]
OrdererEndpoint = Annotated[Many, typer.Option(help="MSPID=host:port of its node that orders.")]
SetBatch = Annotated[Many, typer.Option(help="max_message_count=200, timeout=500ms, and such.")]
Acl = Annotated[Many, typer.Option("--acl", help="RESOURCE=POLICY; without POLICY: the usual one.")]
Policy = Annotated[Many, typer.Option(help="PATH=RULE in words, as '/Channel/X=ANY Admins'.")]
Capability = Annotated[Many, typer.Option(help="LEVEL=NAME, as application=V2_5.")]
Ordering = Annotated[
    str, typer.Option(help="cometbft: it orders from now on, with the consenters that are given.")
]
Consenters = Annotated[
    Many,
    typer.Option(
        "--consenter",
        help="A member that orders from now on: MSPID=host:port=FOLDER, with the address of its "
        "consensus process and the folder of its two consensus certificates.",
    ),
]
ConsenterKey = Annotated[
    Many, typer.Option(help="MSPID=CERT.pem: the certificate over its next consensus key.")
]
ConsenterLink = Annotated[
    Many, typer.Option(help="MSPID=CERT.pem: the certificate over another key of its links.")
]
ConsenterAddress = Annotated[
    Many, typer.Option(help="MSPID=host:port, where its consensus process is reached.")
]
RemoveConsenter = Annotated[Many, typer.Option(help="MSP id of a member that orders no longer.")]
