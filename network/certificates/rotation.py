"""New authorities in the place of those that a member has, without a day on which none is trusted.

    rotate   new roots beside the old ones: both are in the MSP folder, the new ones issue
             (the channel takes the folder over; nodes and users get new certificates)
    retire   the old ones go, and with them every certificate and list that they made
             (the channel takes the folder over)

Each step may be broken off anywhere and is then simply repeated: `organisation.toml` says how far
it has come, and is written before the first file that could not be put back, and after the last.

Absent: what a channel trusts, which its configuration says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cryptography import x509

from network.certificates.layout import (
    AUTHORITY_FILE,
    BOTH,
    DESCRIPTION_FILE,
    FINISHING,
    INTERMEDIATE_FILE,
    NEXT,
    NEXT_FOLDER,
    Description,
    load_description,
    renew_msp_folder,
)
from network.certificates.organisation import (
    KINDS,
    PARTS,
    Organisation,
    present_time,
    read_trust,
    write_authorities,
)
from network.certificates.revocation import LIST_FILES, all_revoked
from network.certificates.stored import is_issued_by, is_list_of, load_certificate
from network.certificates.writing import move_file, new_folder, remove_file, replace_file
from network.errors import CertificateError

__all__ = ["issued_before", "retire_authorities", "rotate_authorities"]


def rotate_authorities(folder: Path, *, now: Callable[[], datetime] = present_time) -> Organisation:
    """Make new authorities, which issue from now on, beside those that are trusted.

    Args:
        folder: of the organisation.
        now: tells the time at which they begin.
    Returns:
        the organisation with both.
    Raises:
        CertificateError: the last rotation has not been finished, or the disk refuses.
    """
    description = load_description(folder)
    if description.rotation:
        raise CertificateError(
            f"{folder} has authorities of a rotation that is not finished: when every node and "
            "user has new certificates, take the old ones out with "
            f"`qist org retire --dir {folder}`"
        )
    following = replace(description, generation=description.generation + 1, rotation=BOTH)
    trust = read_trust(folder / "ca", folder / "tlsca")
    for part in PARTS:
        place = folder / part / NEXT_FOLDER
        if not place.exists():
            with new_folder(place) as made:
                write_authorities(
                    made, part, following, intermediate=bool(trust.intermediate), now=now()
                )
    coming = read_trust(folder / "ca" / NEXT_FOLDER, folder / "tlsca" / NEXT_FOLDER)
    renew_msp_folder(folder / "msp", [trust, coming])
    _describe(folder, following)
    return Organisation.open(folder, now=now)


def issued_before(organisation: Organisation) -> list[str]:
    """Return the nodes and users whose certificates are of the authorities before the new ones.

    Those whose certificates have been revoked are left out. Outside a rotation there are none.
    """
    if not organisation.is_rotating:
        return []
    issuing = organisation.issuing_certificate
    revoked = all_revoked(organisation.msp_folder / "crls", "ca")
    found = []
    for kind in KINDS:
        for place in sorted((organisation.folder / kind).iterdir()):
            certificate = load_certificate(place / "msp" / "signcerts" / "cert.pem")
            if certificate.serial_number not in revoked and not is_issued_by(certificate, issuing):
                found.append(place.name)
    return found


def retire_authorities(
    folder: Path, *, abandon: bool = False, now: Callable[[], datetime] = present_time
) -> Organisation:
    """Take the authorities before the new ones out, with the keys of theirs.

    Args:
        folder: of the organisation.
        abandon: also if nodes or users still have certificates of theirs, which end with them.
        now: given to the organisation that is returned.
    Raises:
        CertificateError: nothing has been rotated, somebody still has certificates of the old
            authorities, or the disk refuses.
    """
    description = load_description(folder)
    if not description.rotation:
        raise CertificateError(
            f"{folder} has no authorities but those that issue: there is nothing to take out; "
            f"new ones are made by `qist org rotate --dir {folder}`"
        )
    if description.rotation == BOTH:
        left = [] if abandon else issued_before(Organisation.open(folder, now=now))
        if left:
            raise CertificateError(
                f"the certificates of {', '.join(left)} would end with the authority that issued "
                "them: renew them with `qist org renew`, revoke those that nobody needs, or give "
                "--abandon"
            )
        _describe(folder, replace(description, rotation=FINISHING))
    for part, name in LIST_FILES.items():
        _promote(folder / part)
        _replace_list(folder / "msp" / "crls", name, _issuing_certificate(folder / part))
    trust = read_trust(folder / "ca", folder / "tlsca")
    renew_msp_folder(folder / "msp", [trust])
    for place in (place for kind in KINDS for place in sorted((folder / kind).iterdir())):
        renew_msp_folder(place / "msp", [trust])
        if (place / "tls").exists():
            replace_file(place / "tls" / "ca.crt", trust.tls_root)
    _describe(folder, replace(description, rotation=""))
    return Organisation.open(folder, now=now)


def _describe(folder: Path, description: Description) -> None:
    replace_file(folder / DESCRIPTION_FILE, description.encode())


def _issuing_certificate(authorities: Path) -> x509.Certificate:
    below = authorities / INTERMEDIATE_FILE
    return load_certificate(below if below.exists() else authorities / AUTHORITY_FILE)


def _promote(authorities: Path) -> None:
    """Put the files of the new authority in the places of the old ones."""
    coming = authorities / NEXT_FOLDER
    if not coming.exists():
        return
    for place in sorted(coming.iterdir()):
        move_file(place, authorities / place.name)
    coming.rmdir()


def _replace_list(lists: Path, name: str, issuing: x509.Certificate) -> None:
    """Put the new authority's list in the place of the old one's, or take that one away."""
    if (lists / f"{NEXT}{name}").exists():
        move_file(lists / f"{NEXT}{name}", lists / name)
    elif (lists / name).exists() and not is_list_of(lists / name, issuing):
        remove_file(lists / name)
