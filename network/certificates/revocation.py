"""Revocation lists of a member: one for each authority that has issued what is revoked.

A list takes effect on a channel when its configuration takes it over. Lists only grow while their
authority is trusted; they go with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from network.certificates.authority import Authority
from network.certificates.layout import NEXT, REVOCATION_FILE, TLS_REVOCATION_FILE
from network.certificates.stored import (
    is_issued_by,
    issued_certificates,
    list_number,
    revoked_serials,
)
from network.certificates.writing import make_folder, replace_file

LIST_FILES: Final[Mapping[str, str]] = {"ca": REVOCATION_FILE, "tlsca": TLS_REVOCATION_FILE}
"""The list of the authorities in each folder."""


def named(issued: Path, name: str) -> list[x509.Certificate]:
    """Return all certificates in a folder of issued ones that bear *name*."""
    found = []
    for certificate in issued_certificates(issued):
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if any(each.value == name for each in names):
            found.append(certificate)
    return found


def the_one(issued: Path, wanted: x509.Certificate) -> list[x509.Certificate]:
    """Return *wanted* if it is in a folder of issued ones; else nothing."""
    return [each for each in issued_certificates(issued) if each == wanted][:1]


def all_revoked(lists: Path, part: str) -> frozenset[int]:
    """Return the serial numbers in all lists of the authorities in the folder *part*."""
    name = LIST_FILES[part]
    return frozenset(
        serial for file in (name, f"{NEXT}{name}") for serial in revoked_serials(lists / file)
    )


def add_to_lists(
    lists: Path,
    part: str,
    authorities: Sequence[Authority],
    certificates: Sequence[x509.Certificate],
    moment: datetime,
) -> None:
    """Add certificates to the lists of those who issued them; what stands there stays.

    Args:
        lists: the folder of the lists; made when it is needed.
        part: folder of the authorities.
        authorities: those that are trusted; the one that a rotation has brought last.
        certificates: issued by them; one of an authority that is gone is passed over.
        moment: when they are revoked.
    """
    for prefix, authority in zip(("", NEXT), authorities, strict=False):
        place = lists / f"{prefix}{LIST_FILES[part]}"
        revoked = revoked_serials(place)
        news = {
            each.serial_number: moment
            for each in certificates
            if each.serial_number not in revoked and is_issued_by(each, authority.certificate)
        }
        if not news:
            continue
        if not lists.exists():
            make_folder(lists)
        number = list_number(place) + 1
        replace_file(place, authority.revocation_list({**revoked, **news}, number, moment))
