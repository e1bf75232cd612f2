"""``qist node renew|profile``: a node's certificates replaced, and its clients' way to it.

What is replaced is checked before anything is touched: whose it is, that certificate and key belong
together, that the member's authorities issued it, that its TLS certificate names the hosts by which
the node is reached. Whether the channel takes it, the channel says (`status`, field `outside`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography import x509
from cryptography.x509.oid import NameOID

from ledger.errors import LedgerError, Refusal
from network.certificates import Organisation
from network.certificates.writing import make_folder, remove_file, replace_file, write_new
from network.errors import IdentityError
from network.msp import MSP, ORDERER, PEER, Certificate, SigningIdentity, load_msp_folder
from network.msp.certificate import MALFORMED
from network.tls import TlsIdentity
from nodes.cli.connection_profile import Gateway, render_profile
from nodes.cli.terminal import AsJson, Terminal
from nodes.configuration import NodeConfiguration, load_configuration

app = typer.Typer(no_args_is_help=True, help="A node's certificates, and its clients' way to it.")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The node's folder.")]

_PARTS = ("msp", "tls")
_PRIVATE = ("key.pem", "server.key")


@app.command("renew")
def renew(
    context: typer.Context,
    folder: Folder,
    identity: Annotated[
        Path,
        typer.Option("--from", help="Its new certificates, as ORG/nodes/NAME holds them."),
    ],
    as_json: AsJson = False,
) -> None:
    """Give a node new certificates and keys in the place of those that it has."""
    terminal = Terminal.of(context, as_json)
    signer = take_certificates(folder, identity)
    terminal.result(
        {
            "folder": str(folder),
            "msp_id": signer.msp_id,
            "serial": f"{signer.certificate.serial_number:x}",
            "expires": f"{signer.not_after:%Y-%m-%d}",
        },
        [
            f"the node in {folder} has certificates until {signer.not_after:%Y-%m-%d}",
            "TLS shows them on its next connections; its identity at the next start: "
            f"qist node stop {folder}, then qist node start {folder}",
        ],
    )


@app.command("profile")
def profile(
    context: typer.Context,
    folder: Folder,
    org: Annotated[Path, typer.Option(help="Folder of the organisation, with its users.")],
    out: Annotated[Path, typer.Option(help="The profile, as connection.json.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Bring a profile that exists up to date.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the connection profile with which the member's users find the node."""
    terminal = Terminal.of(context, as_json)
    users = write_profile(folder, Organisation.open(org), out, replace=replace)
    terminal.result(
        {"file": str(out), "users": users},
        [f"{out} leads {', '.join(users) or 'nobody yet'} to the node in {folder}"],
    )


def take_certificates(folder: Path, identity: Path) -> SigningIdentity:
    """Put new certificates and keys into a node's folder.

    Raises:
        Refusal: they are incomplete, of another member, or not fit for this node; the folder is
            unchanged.
    """
    configuration = load_configuration(folder)
    signer = _verified(configuration, identity)
    _verify_issuer(folder, identity, signer)
    for part in _PARTS:
        for place in sorted(_files(identity / part)):
            target = folder / part / place.relative_to(identity / part)
            if not target.parent.exists():
                make_folder(target.parent)
            replace_file(target, place.read_bytes(), private=place.name in _PRIVATE)
        for place in list(_files(folder / part)):
            if not (identity / part / place.relative_to(folder / part)).exists():
                remove_file(place)
    return signer


def _files(folder: Path) -> Iterator[Path]:
    return (place for place in folder.rglob("*") if place.is_file())


def _verified(configuration: NodeConfiguration, identity: Path) -> SigningIdentity:
    msp_id = configuration.msp_id
    try:
        signer = SigningIdentity.load(identity / "msp", msp_id)
        tls = TlsIdentity.load(identity / "tls")
        msp = MSP.from_config(load_msp_folder(identity / "msp", msp_id), ed25519_allowed=True)
        found = msp.deserialize(signer.serialized)
        if not found.roles & {PEER, ORDERER}:
            raise IdentityError("its certificate is that of a user")
        certificate = Certificate.from_pem(tls.certificate_pem)
        msp.verify_tls_certificate(certificate)
    except LedgerError as error:
        raise Refusal(
            f"{identity} holds no certificates for a node of {msp_id}: {error}; give the folder "
            "that `qist org add-node` or `qist org renew` has filled"
        ) from error
    for endpoint in (configuration.client, configuration.node):
        host = endpoint.reachable.rpartition(":")[0].removeprefix("[").removesuffix("]")
        if host not in _hosts(certificate):
            raise Refusal(
                f"the TLS certificate in {identity} does not name {host}, by which the node is "
                "reached: issue one with `qist org add-node --host`"
            )
    return signer


def _verify_issuer(folder: Path, identity: Path, signer: SigningIdentity) -> None:
    """Check that the issuer is of the organisation that issued what the node has.

    A certificate does not name its member; an authority's subject names whose it is.
    """
    try:
        before = SigningIdentity.load(folder / "msp", signer.msp_id)
    except LedgerError:
        return  # what is broken is mended by what is given
    had, given = _organisation(before.certificate), _organisation(signer.certificate)
    if had != given:
        raise Refusal(
            f"the certificates in {identity} are issued by an authority of {given or 'nobody'}, "
            f"and those of the node in {folder} by one of {had or 'nobody'}: give certificates of "
            "the node's own member"
        )


def _organisation(certificate: Certificate) -> str:
    found = x509.load_der_x509_certificate(certificate.der).issuer
    names = found.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    return ", ".join(str(each.value) for each in names)


def _hosts(certificate: Certificate) -> list[str]:
    """Return the DNS names and addresses that a TLS certificate is good for."""
    try:
        found = x509.load_der_x509_certificate(certificate.der).extensions
        names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *MALFORMED):
        return []
    return [str(each.value) for each in names]


def write_profile(
    folder: Path, organisation: Organisation, out: Path, *, replace: bool
) -> list[str]:
    """Write a member's connection profile for its node; return the users in it.

    Args:
        folder: of the node.
        organisation: whose users are named.
        out: the file.
        replace: whether it may exist. Other members' nodes that it names stay in it.
    Raises:
        Refusal: the node is of another member, or the file exists.
    """
    configuration = load_configuration(folder)
    if configuration.msp_id != organisation.msp_id:
        raise Refusal(
            f"the node in {folder} is of {configuration.msp_id}, and {organisation.folder} of "
            f"{organisation.msp_id}: give both of one member"
        )
    users = sorted(each.name for each in (organisation.folder / "users").iterdir())
    start = out.resolve().parent
    gateway = Gateway(
        configuration.msp_id,
        f"{configuration.name}.{configuration.msp_id}",
        configuration.client.reachable,
        organisation.tls_roots.decode("ascii"),
    )
    text = render_profile(
        configuration.channel_id,
        configuration.channel_id,
        configuration.msp_id,
        [gateway],
        {
            name: os.path.relpath((organisation.user_folder(name) / "msp").resolve(), start)
            for name in users
        },
    )
    if replace and out.exists():
        replace_file(out, _merged(out, json.loads(text)).encode())
    else:
        write_new(out, text.encode())
    return users


def _merged(out: Path, new: dict[str, Any]) -> str:
    """Return an older profile with what is new in it."""
    try:
        old: dict[str, Any] = json.loads(out.read_text("utf-8"))
        for name in ("peers", "organizations"):
            old[name] = {**old[name], **new[name]}
    except (ValueError, KeyError, TypeError) as error:
        raise Refusal(
            f"{out} is no connection profile: move it away, and let one be made anew"
        ) from error
    return json.dumps(old, indent=2) + "\n"
