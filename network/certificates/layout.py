"""Where the files of an organisation lie: Fabric's MSP folders, and ours around them.

    ORG/organisation.toml                       format, MSP id, validities, algorithm, rotation
    ORG/msp/{cacerts,tlscacerts,config.yaml[,intermediatecerts][,crls]}
    ORG/ca/{ca-cert.pem,ca-key.pem[,intermediate-cert.pem,intermediate-key.pem],issued[,next]}
    ORG/tlsca/{ca-cert.pem,ca-key.pem,issued[,next]}
    ORG/nodes/NAME/msp/{…,signcerts/cert.pem,keystore/key.pem}
    ORG/nodes/NAME/tls/{server.crt,server.key,ca.crt}
    ORG/users/NAME/msp/{…,signcerts/cert.pem,keystore/key.pem}

`issued` holds every certificate that an authority has issued, by serial number, so that all that
were ever issued to a name can be revoked. While authorities are being rotated, `next` holds the new
ones, which issue; the public files of theirs have `next-` before their names.

Source: Fabric msp/configbuilder.go, internal/cryptogen/msp/generator.go.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from network.certificates.authority import Validity
from network.certificates.writing import make_folder, remove_file, replace_file, write_new
from network.errors import CertificateError

FORMAT: Final = 1
DESCRIPTION_FILE: Final = "organisation.toml"
AUTHORITY_FILE: Final = "ca-cert.pem"
INTERMEDIATE_FILE: Final = "intermediate-cert.pem"
TLS_AUTHORITY_FILE: Final = "tlsca-cert.pem"
REVOCATION_FILE: Final = "crl.pem"
TLS_REVOCATION_FILE: Final = "tls-crl.pem"
NEXT_FOLDER: Final = "next"
NEXT: Final = "next-"
"""Before the names of public files of the authorities that a rotation has brought."""

BOTH: Final = "both"
"""Rotation: the authorities before and the new ones are trusted; the new ones issue."""
FINISHING: Final = "finishing"
"""Rotation: the authorities before are being taken out."""

AUTHORITY_FOLDERS: Final = ("cacerts", "intermediatecerts", "tlscacerts")

UNITS: Final = ("client", "peer", "admin", "orderer")
"""Organisational units that give a role, by the names that config.yaml declares."""


@dataclass(frozen=True, slots=True)
class Description:
    """What `organisation.toml` says.

    Attributes:
        msp_id: the member.
        algorithm: of keys where nothing else is asked for.
        validity: of certificates where nothing else is asked for.
        generation: of the authorities that issue; 1, and one more with each rotation.
        rotation: empty, `BOTH` or `FINISHING`.
    """

    msp_id: str
    algorithm: str
    validity: Validity
    generation: int = 1
    rotation: str = ""

    def encode(self) -> bytes:
        """Return the text of the file."""
        validity = "\n".join(
            f"{name} = {getattr(self.validity, name)}" for name in Validity.__slots__
        )
        return (
            f"# A member's certificates; made by `qist org create`.\n"
            f'format = {FORMAT}\nmsp_id = "{self.msp_id}"\nalgorithm = "{self.algorithm}"\n'
            f'generation = {self.generation}\nrotation = "{self.rotation}"\n\n'
            f"[validity]\n{validity}\n"
        ).encode()


def load_description(folder: Path) -> Description:
    """Read `organisation.toml`.

    Raises:
        CertificateError: no such file, or not of its form; the message says what to do.
    """
    path = folder / DESCRIPTION_FILE
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as reason:
        raise CertificateError(
            f"{folder} is no organisation: it has no {DESCRIPTION_FILE}; "
            f"make one with `qist org create MSPID --dir {folder}`"
        ) from reason
    except (OSError, ValueError) as reason:
        raise CertificateError(f"{path} cannot be read: {reason}") from reason
    if content.get("format") != FORMAT:
        raise CertificateError(
            f"{path} is of format {content.get('format')!r} and this program knows {FORMAT}: "
            "use the program that made it"
        )
    try:
        return Description(
            str(content["msp_id"]),
            str(content["algorithm"]),
            Validity(**content["validity"]),
            int(content.get("generation", 1)),
            str(content.get("rotation", "")),
        )
    except (KeyError, TypeError) as reason:
        raise CertificateError(f"{path} lacks a value or has an unknown one: {reason}") from reason


@dataclass(frozen=True, slots=True)
class Trust:
    """The public certificates of an organisation's authorities, in PEM.

    Attributes:
        root: the identities' root authority.
        intermediate: the authority below it that issues; empty if the root issues.
        tls_root: the TLS authority.
    """

    root: bytes
    intermediate: bytes
    tls_root: bytes


def write_msp_folder(
    folder: Path, trusts: Sequence[Trust], certificate: bytes = b"", key: bytes = b""
) -> None:
    """Make an MSP folder: of an organisation, or of one identity with its key.

    Args:
        folder: it must not exist, and its parent must.
        trusts: the authorities; two while they are being rotated, those that issue last.
        certificate, key: of the identity, in PEM; empty for the organisation's own folder.
    """
    make_folder(folder)
    for name, content in public_files(trusts).items():
        place = folder / name
        if not place.parent.exists():
            make_folder(place.parent)
        write_new(place, content)
    if certificate:
        write_new(make_folder(folder / "signcerts") / "cert.pem", certificate)
        write_new(make_folder(folder / "keystore", private=True) / "key.pem", key, private=True)


def renew_msp_folder(folder: Path, trusts: Sequence[Trust]) -> None:
    """Make the authorities in an MSP folder those of *trusts*; a second call changes nothing.

    New ones come before old ones go, so that nothing that was trusted is not in between.
    """
    wanted = public_files(trusts)
    for name, content in wanted.items():
        place = folder / name
        if not place.parent.exists():
            make_folder(place.parent)
        replace_file(place, content)
    for kind in AUTHORITY_FOLDERS:
        for place in sorted((folder / kind).glob("*.pem")):
            if f"{kind}/{place.name}" not in wanted:
                remove_file(place)


def public_files(trusts: Sequence[Trust]) -> dict[str, bytes]:
    """Return the public files of an MSP folder by their paths in it."""
    files = {}
    for prefix, trust in zip(("", NEXT), trusts, strict=False):
        files[f"cacerts/{prefix}{AUTHORITY_FILE}"] = trust.root
        files[f"tlscacerts/{prefix}{TLS_AUTHORITY_FILE}"] = trust.tls_root
        if trust.intermediate:
            files[f"intermediatecerts/{prefix}{INTERMEDIATE_FILE}"] = trust.intermediate
    issuing = (
        f"intermediatecerts/{INTERMEDIATE_FILE}"
        if trusts[0].intermediate
        else f"cacerts/{AUTHORITY_FILE}"
    )
    files["config.yaml"] = node_units_yaml(issuing if len(trusts) == 1 else "")
    return files


def node_units_yaml(issuing: str) -> bytes:
    """Return config.yaml, which declares that organisational units give roles.

    Args:
        issuing: path in the MSP folder of the authority that must have given the unit; empty if
            every authority of the member may, as while they are being rotated.
    """
    lines = ["NodeOUs:", "  Enable: true"]
    for unit in UNITS:
        lines.append(f"  {unit.capitalize()}OUIdentifier:")
        if issuing:
            lines.append(f"    Certificate: {issuing}")
        lines.append(f"    OrganizationalUnitIdentifier: {unit}")
    return ("\n".join(lines) + "\n").encode()
