"""``qist org …``: a member's authorities, nodes and users (network/certificates)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from ledger.errors import Refusal
from network.certificates import (
    Organisation,
    Validity,
    create_organisation,
    issued_before,
    retire_authorities,
    rotate_authorities,
)
from network.certificates.organisation import LOCAL_HOSTS
from network.certificates.revocation import all_revoked
from network.msp import Certificate
from nodes.cli.terminal import AsJson, Terminal

app = typer.Typer(no_args_is_help=True, help="A member's authorities, nodes and users.")

Folder = Annotated[Path, typer.Option("--dir", help="The organisation's folder.")]

ROLE = "qist.role"
"""Attribute of a certificate that the contracts read (docs/contracts.md, Roles)."""

ROLES = ("lending", "enforcement", "executor", "governance", "auditor")


@app.command("create")
def create(
    context: typer.Context,
    msp_id: Annotated[str, typer.Argument(metavar="MSPID", help="Its MSP id, as BankMSP.")],
    folder: Annotated[Path, typer.Option("--dir", help="Where; made new.")],
    intermediate: Annotated[
        bool, typer.Option(help="Put an authority below the root, which may then be kept away.")
    ] = False,
    algorithm: Annotated[
        str, typer.Option(help="Of the keys: P-256, P-384, or Ed25519 for identities.")
    ] = "P-256",
    identity_days: Annotated[
        int, typer.Option(help="Validity of identities and TLS certificates.")
    ] = Validity().identity_days,
    as_json: AsJson = False,
) -> None:
    """Make a member's authorities and its public MSP folder."""
    terminal = Terminal.of(context, as_json)
    validity = Validity(identity_days=identity_days, tls_days=identity_days)
    made = create_organisation(
        folder, msp_id, intermediate=intermediate, algorithm=algorithm, validity=validity
    )
    terminal.result(
        {"msp_id": made.msp_id, "folder": str(folder), "msp": str(made.msp_folder)},
        [
            f"{msp_id} is made in {folder}",
            f"give the other members {made.msp_folder}; "
            f"keep {folder / 'ca'} and {folder / 'tlsca'} to yourself",
        ],
    )


@app.command("add-user")
def add_user(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the person or program.")],
    folder: Folder,
    role: Annotated[
        str, typer.Option(help=f"What the contracts let it do: {', '.join(ROLES)}.")
    ] = "",
    admin: Annotated[
        bool, typer.Option("--admin", help="An administrator of the member, not a client.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Issue the identity of a person or program."""
    terminal = Terminal.of(context, as_json)
    made = issue_user(Organisation.open(folder), name, role=role, admin=admin)
    unit = "admin" if admin else "client"
    terminal.result(
        {"user": name, "role": role, "unit": unit, "folder": str(made)},
        [f"{name} is made; certificate and key are in {made}"],
    )


def issue_user(organisation: Organisation, name: str, *, role: str, admin: bool = False) -> Path:
    """Issue the identity of a user with a role for the contracts; return its folder.

    Raises:
        Refusal: the role is none, or the name is taken.
    """
    if role and role not in ROLES:
        raise Refusal(f"{role!r} is no role: give one of {', '.join(ROLES)}, or none")
    return organisation.add_user(
        name, unit="admin" if admin else "client", attributes={ROLE: role} if role else None
    )


@app.command("add-node")
def add_node(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Of the node.")],
    folder: Folder,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", help="DNS name or IP address by which it is reached; repeatable."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Issue identity and TLS certificate of a node."""
    terminal = Terminal.of(context, as_json)
    names = tuple(dict.fromkeys([*(hosts or ()), *LOCAL_HOSTS]))
    made = Organisation.open(folder).add_node(name, hosts=names)
    terminal.result(
        {"node": name, "hosts": list(names), "folder": str(made)},
        [f"{name} is made; certificates and keys are in {made}"],
    )


@app.command("renew")
def renew(
    context: typer.Context,
    folder: Folder,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Of the node or user.")] = "",
    everybody: Annotated[
        bool, typer.Option("--all", help="Every node and user that has not been revoked.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Issue the certificates of a node or user anew, with the same keys."""
    terminal = Terminal.of(context, as_json)
    organisation = Organisation.open(folder)
    if bool(name) == everybody:
        raise Refusal("give the name of a node or user, or --all")
    renewed = {each: organisation.renew(each) for each in _valid_names(organisation, name)}
    terminal.result(
        {"renewed": {each: str(place) for each, place in renewed.items()}},
        [f"{each} has new certificates in {place}" for each, place in renewed.items()]
        + ["a node takes them up by `qist node renew`"],
    )


def _valid_names(organisation: Organisation, name: str) -> list[str]:
    """Return the name that was given, or those of all that have not been revoked."""
    if name:
        return [name]
    told = describe_organisation(organisation)["certificates"]
    return [each["name"] for each in told if each["state"] == "valid"]


@app.command("revoke")
def revoke(
    context: typer.Context,
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME|CERT.pem", help="Node or user, or the file of one certificate."
        ),
    ],
    folder: Folder,
    as_json: AsJson = False,
) -> None:
    """Revoke one certificate, or every one that was ever issued to a node or user."""
    terminal = Terminal.of(context, as_json)
    organisation = Organisation.open(folder)
    if name.endswith((".pem", ".crt")):
        lists = organisation.revoke_certificate(Path(name))
    else:
        lists = organisation.revoke(name)
    terminal.result(
        {"name": name, "revocation_lists": str(lists)},
        [
            f"{name} is revoked in {lists}",
            "a channel refuses it as soon as its configuration takes the lists over: "
            f"qist channel propose --crl {organisation.msp_id}={lists}",
        ],
    )


@app.command("rotate")
def rotate(context: typer.Context, folder: Folder, as_json: AsJson = False) -> None:
    """Make new authorities beside the old ones; the new ones issue from now on."""
    terminal = Terminal.of(context, as_json)
    made = rotate_authorities(folder)
    msp_id = made.msp_id
    terminal.result(
        {"msp_id": msp_id, "msp": str(made.msp_folder), "renew": issued_before(made)},
        [
            f"{msp_id} has new authorities; {made.msp_folder} holds them and the old ones",
            f"now: qist channel propose --replace-ca {msp_id}={made.msp_folder}; when the channel "
            f"has it, renew {', '.join(issued_before(made)) or 'nothing'}, then `qist org retire`",
        ],
    )


@app.command("retire")
def retire(
    context: typer.Context,
    folder: Folder,
    abandon: Annotated[
        bool,
        typer.Option("--abandon", help="Also if somebody still has certificates of theirs."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the authorities out that were there before a rotation, with their keys."""
    terminal = Terminal.of(context, as_json)
    made = retire_authorities(folder, abandon=abandon)
    terminal.result(
        {"msp_id": made.msp_id, "msp": str(made.msp_folder)},
        [
            f"the authorities before are gone from {folder}",
            f"the channel trusts them until it takes over {made.msp_folder}: "
            f"qist channel propose --replace-ca {made.msp_id}={made.msp_folder}",
        ],
    )


@app.command("show")
def show(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The organisation's folder.")],
    as_json: AsJson = False,
) -> None:
    """Show a member's authorities, nodes and users, and until when they are valid."""
    terminal = Terminal.of(context, as_json)
    value = describe_organisation(Organisation.open(folder))
    rows = [
        ("authority", each["name"], each["of"], "", each["expires"], each["fingerprint"][:16])
        for each in value["authorities"]
    ] + [
        (
            each["kind"],
            each["name"],
            each["unit"],
            each["role"],
            each["expires"][:10],
            each["state"],
        )
        for each in value["certificates"]
    ]
    heads = (f"{value['msp_id']}", "name", "unit", "role", "valid until", "state")
    terminal.table(value, heads, rows)


def describe_organisation(organisation: Organisation) -> dict[str, Any]:
    """Return what an organisation has issued, as JSON values."""
    revoked = all_revoked(organisation.msp_folder / "crls", "ca")
    certificates = []
    for kind in ("nodes", "users"):
        for place in sorted((organisation.folder / kind).iterdir()):
            pem = (place / "msp" / "signcerts" / "cert.pem").read_bytes()
            certificate = Certificate.from_pem(pem)
            certificates.append(
                {
                    "kind": kind.removesuffix("s"),
                    "name": place.name,
                    "unit": ", ".join(certificate.units),
                    "role": certificate.attributes.get(ROLE, ""),
                    "expires": f"{certificate.not_after:%Y-%m-%d}",
                    "state": "revoked" if certificate.serial_number in revoked else "valid",
                }
            )
    return {
        "msp_id": organisation.msp_id,
        "folder": str(organisation.folder),
        "authorities": [
            {
                "name": authority.common_name,
                "of": kind,
                "expires": f"{authority.not_after:%Y-%m-%d}",
                "fingerprint": hashlib.sha256(authority.der).hexdigest(),
            }
            for kind, folder in (("identities", "cacerts"), ("tls", "tlscacerts"))
            for place in sorted((organisation.msp_folder / folder).iterdir())
            for authority in [Certificate.from_pem(place.read_bytes())]
        ],
        "certificates": certificates,
    }
