"""A member's own certificates in one folder: authorities, nodes, users, what was revoked.

Invariants:
- No key is ever overwritten; a node's or user's folder appears whole or not at all.
- Every certificate issued is filed before anybody can use it, so that `revoke` finds it.
- A name stands for one node or one user, never for both: it is what `revoke` and `renew` take.
- Identities and TLS have different root authorities.
- While authorities are being rotated (`rotation.py`) the new ones issue, and both are in the MSP
  folder that the other members get.

With an intermediate authority the root's key is not needed to issue, and may be taken away from
this machine. Revocation lists take effect on a channel when its configuration takes them over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from network.certificates.authority import (
    Authority,
    PublicKey,
    Validity,
    alternative_names,
    identity_subject,
    tls_subject,
)
from network.certificates.key_pairs import (
    ED25519,
    P256,
    encode_key,
    make_key,
    verify_algorithm,
)
from network.certificates.layout import (
    AUTHORITY_FILE,
    DESCRIPTION_FILE,
    FINISHING,
    INTERMEDIATE_FILE,
    NEXT_FOLDER,
    Description,
    Trust,
    load_description,
    renew_msp_folder,
    write_msp_folder,
)
from network.certificates.revocation import add_to_lists, all_revoked, named, the_one
from network.certificates.stored import (
    load_authority,
    load_certificate,
    public_key,
    read_file,
)
from network.certificates.writing import make_folder, new_folder, replace_file, write_new
from network.errors import CertificateError
from network.msp import load_msp_folder
from network.msp.certificate import Certificate

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1")

_MSP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,57}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
KINDS: Final = ("nodes", "users")

PARTS: Final = ("ca", "tlsca")
"""Folders of the authorities: of identities, and of TLS."""


def present_time() -> datetime:
    """Return the machine's time, aware."""
    return datetime.now(UTC)


def create_organisation(
    folder: Path,
    msp_id: str,
    *,
    intermediate: bool = False,
    algorithm: str = P256,
    validity: Validity | None = None,
    now: Callable[[], datetime] = present_time,
) -> Organisation:
    """Make a member's authorities and its MSP folder.

    Args:
        folder: where; it must not exist, or be empty.
        msp_id: the member's MSP id.
        intermediate: whether an authority below the root issues identities.
        algorithm: of the keys: ``P-256`` or ``P-384``, or ``Ed25519`` for identities (the
            authorities then have P-256).
        validity: how long certificates are valid.
        now: tells the time at which certificates begin.
    Raises:
        CertificateError: a name is not allowed, or the folder holds something already.
    """
    if not _MSP_ID.fullmatch(msp_id):
        raise CertificateError(
            f"the MSP id {msp_id[:80]!r} is not allowed: use letters, digits, dots and dashes, "
            "a letter or digit first, at most 58 of them"
        )
    verify_algorithm(algorithm)
    validity = validity or Validity()
    description = Description(msp_id, algorithm, validity)
    with new_folder(folder) as made:
        write_new(made / DESCRIPTION_FILE, description.encode())
        for part in PARTS:
            place = make_folder(made / part, private=True)
            write_authorities(place, part, description, intermediate=intermediate, now=now())
            make_folder(place / "issued")
        write_msp_folder(made / "msp", [read_trust(made / "ca", made / "tlsca")])
        make_folder(made / "nodes")
        make_folder(made / "users")
    return Organisation.open(folder, now=now)


def write_authorities(
    folder: Path, part: str, description: Description, *, intermediate: bool, now: datetime
) -> None:
    """Make a root authority in *folder*, and an intermediate one below it if asked for.

    Args:
        folder: empty.
        part: ``ca`` or ``tlsca``; the latter has no intermediate authority.
        description: of the organisation.
        intermediate: whether an authority below the root issues identities.
        now: the present time, aware.
    """
    msp_id, validity = description.msp_id, description.validity
    algorithm = P256 if description.algorithm == ED25519 else description.algorithm
    # Each generation has its own name: two authorities of one name are hard to tell apart.
    number = "" if description.generation == 1 else str(description.generation)
    root = Authority.make_root(
        msp_id, f"{part}{number}.{msp_id}", algorithm, validity.authority_days, now
    )
    write_new(folder / AUTHORITY_FILE, root.pem)
    write_new(folder / "ca-key.pem", encode_key(root.key), private=True)
    if intermediate and part == "ca":
        issuing = root.make_intermediate(
            msp_id, f"ica{number}.{msp_id}", algorithm, validity.intermediate_days, now
        )
        write_new(folder / INTERMEDIATE_FILE, issuing.pem)
        write_new(folder / "intermediate-key.pem", encode_key(issuing.key), private=True)


def read_trust(identities: Path, tls: Path) -> Trust:
    """Read the public certificates of the authorities in two folders.

    Raises:
        CertificateError: one of them is missing.
    """
    below = identities / INTERMEDIATE_FILE
    return Trust(
        root=read_file(identities / AUTHORITY_FILE),
        intermediate=read_file(below) if below.exists() else b"",
        tls_root=read_file(tls / AUTHORITY_FILE),
    )


@dataclass(frozen=True, slots=True)
class Organisation:
    """The folder of a member's certificates.

    Attributes:
        folder: of the organisation.
        msp_id: the member's MSP id.
    """

    folder: Path
    msp_id: str
    _description: Description
    _trusts: tuple[Trust, ...]
    _now: Callable[[], datetime]

    @classmethod
    def open(cls, folder: Path, *, now: Callable[[], datetime] = present_time) -> Organisation:
        """Open the folder that `create_organisation` made.

        Raises:
            CertificateError: it is none, or a certificate of an authority is missing.
        """
        description = load_description(folder)
        if description.rotation == FINISHING:
            raise CertificateError(
                f"taking the authorities before out of {folder} was broken off: finish it with "
                f"`qist org retire --dir {folder}`"
            )
        trusts = [read_trust(folder / "ca", folder / "tlsca")]
        if description.rotation:
            trusts.append(read_trust(folder / "ca" / NEXT_FOLDER, folder / "tlsca" / NEXT_FOLDER))
        return cls(folder, description.msp_id, description, tuple(trusts), now)

    @property
    def is_rotating(self) -> bool:
        """Whether authorities before those that issue are still trusted."""
        return len(self._trusts) > 1

    @property
    def msp_folder(self) -> Path:
        """The public MSP folder, which the other members get."""
        return self.folder / "msp"

    @property
    def validity(self) -> Validity:
        """How long its certificates are valid where nothing else is asked for."""
        return self._description.validity

    def msp_config(self) -> Any:
        """Return the MSPConfig message for a channel configuration."""
        return load_msp_folder(self.msp_folder, self.msp_id)

    def node_folder(self, name: str) -> Path:
        """Return where a node's certificates are, or would be."""
        return self.folder / "nodes" / name

    def user_folder(self, name: str) -> Path:
        """Return where a user's certificates are, or would be."""
        return self.folder / "users" / name

    def add_node(
        self,
        name: str,
        *,
        hosts: Sequence[str] = LOCAL_HOSTS,
        unit: str = "peer",
        algorithm: str = "",
        identity_days: int = 0,
        tls_days: int = 0,
    ) -> Path:
        """Issue identity and TLS certificate of a node; return its folder.

        Args:
            name: of the node; its common name and one of the names in its TLS certificate.
            hosts: DNS names and IP addresses by which it is reached.
            unit: ``peer``, or ``orderer`` for one that only orders.
            algorithm: of its identity's key; the organisation's own by default. The TLS key is
                always ECDSA.
            identity_days, tls_days: other validities than the organisation's; 0 for those.
        Raises:
            CertificateError: a name or value is not allowed, or the name is taken.
        """
        self._verify_name(name, unit, ("peer", "orderer"))
        hosts = (*((name,) if re.fullmatch(r"[A-Za-z0-9.-]+", name) else ()), *hosts)
        alternative_names(hosts)
        algorithm = algorithm or self._description.algorithm
        key, tls_key = make_key(algorithm), make_key(P256 if algorithm == ED25519 else algorithm)
        with new_folder(self.node_folder(name)) as made:
            subject = identity_subject(self.msp_id, unit, name)
            certificate = self.issue_identity(subject, key.public_key(), {}, identity_days)
            write_msp_folder(made / "msp", self._trusts, certificate, encode_key(key))
            tls = make_folder(made / "tls", private=True)
            write_new(
                tls / "server.crt",
                self.issue_tls(name, tls_key.public_key(), hosts, tls_days),
            )
            write_new(tls / "server.key", encode_key(tls_key), private=True)
            write_new(tls / "ca.crt", self.tls_roots)
        return self.node_folder(name)

    def add_user(
        self,
        name: str,
        *,
        unit: str = "client",
        attributes: Mapping[str, str] | None = None,
        algorithm: str = "",
        identity_days: int = 0,
    ) -> Path:
        """Issue the identity of a person or program; return its folder.

        Args:
            name: of the user; its common name.
            unit: ``client`` or ``admin``.
            attributes: for the contracts, e.g. ``{"qist.role": "lending"}``.
            algorithm: of its key; the organisation's own by default.
            identity_days: another validity than the organisation's; 0 for that.
        Raises:
            CertificateError: a name or value is not allowed, or the name is taken.
        """
        self._verify_name(name, unit, ("client", "admin"))
        key = make_key(algorithm or self._description.algorithm)
        with new_folder(self.user_folder(name)) as made:
            subject = identity_subject(self.msp_id, unit, name)
            certificate = self.issue_identity(
                subject, key.public_key(), attributes or {}, identity_days
            )
            write_msp_folder(made / "msp", self._trusts, certificate, encode_key(key))
        return self.user_folder(name)

    def revoke(self, name: str) -> Path:
        """Revoke every certificate ever issued to a node or user; return the folder of the lists.

        A node's TLS certificates are revoked with it. Revoking twice changes nothing.

        Raises:
            CertificateError: nothing was ever issued to that name.
        """
        chosen = {part: named(self.folder / part / "issued", name) for part in PARTS}
        if not any(chosen.values()):
            raise CertificateError(
                f"{self.msp_id} has issued nothing to {name[:80]!r}: "
                f"look into {self.folder / 'ca' / 'issued'}"
            )
        return self._revoke(chosen)

    def revoke_certificate(self, certificate: Path) -> Path:
        """Revoke the one certificate in a file, of a user or a node or for TLS; see `revoke`.

        Raises:
            CertificateError: the file holds no certificate, or one that this member never issued.
        """
        wanted = load_certificate(certificate)
        chosen = {part: the_one(self.folder / part / "issued", wanted) for part in PARTS}
        if not any(chosen.values()):
            raise CertificateError(
                f"{self.msp_id} has not issued the certificate in {certificate}: "
                "the member whose authority issued it revokes it"
            )
        return self._revoke(chosen)

    def _revoke(self, chosen: Mapping[str, Sequence[x509.Certificate]]) -> Path:
        lists = self.msp_folder / "crls"
        for part, certificates in chosen.items():
            authorities = [load_authority(*place) for place in self._authorities(part)]
            add_to_lists(lists, part, authorities, certificates, self._now())
        return lists

    def renew(self, name: str) -> Path:
        """Issue the certificates of a node or user anew, with the same keys, names, attributes.

        They begin now and end as new ones would. The old ones stay valid until they expire.

        Returns:
            the folder of the node or user.
        Raises:
            CertificateError: no such node or user, or its certificates have been revoked.
        """
        folder = self._folder_of(name)
        place = folder / "msp" / "signcerts" / "cert.pem"
        old = load_certificate(place)
        if old.serial_number in all_revoked(self.msp_folder / "crls", "ca"):
            raise CertificateError(
                f"the certificates of {name} of {self.msp_id} have been revoked and are not "
                "renewed: issue new ones under another name"
            )
        replace_file(place, self._issue_again(old))
        tls_place = folder / "tls" / "server.crt"
        if tls_place.exists():
            old = load_certificate(tls_place)
            names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            hosts = [str(each.value) for each in names]
            replace_file(tls_place, self.issue_tls(name, public_key(old), hosts, 0))
            replace_file(folder / "tls" / "ca.crt", self.tls_roots)
        renew_msp_folder(folder / "msp", self._trusts)
        return folder

    @property
    def tls_roots(self) -> bytes:
        """The TLS authorities in PEM: two while they are being rotated."""
        return b"".join(trust.tls_root for trust in self._trusts)

    def _issue_again(self, old: x509.Certificate) -> bytes:
        attributes = Certificate(old.public_bytes(serialization.Encoding.DER)).attributes
        return self.issue_identity(old.subject, public_key(old), attributes, 0)

    def _verify_name(self, name: str, unit: str, units: Sequence[str]) -> None:
        if not _NAME.fullmatch(name):
            raise CertificateError(
                f"the name {name[:80]!r} is not allowed: use letters, digits, dots, dashes, _ and "
                "@, a letter or digit first, at most 63 of them"
            )
        if unit not in units:
            raise CertificateError(
                f"the unit {unit[:40]!r} is not allowed here: use one of {', '.join(units)}"
            )
        for kind in KINDS:
            if (self.folder / kind / name).exists():
                raise CertificateError(
                    f"{self.msp_id} has {name} among its {kind} already: choose another name, or "
                    "renew its certificates"
                )

    def _folder_of(self, name: str) -> Path:
        if _NAME.fullmatch(name):
            for kind in KINDS:
                if (self.folder / kind / name).is_dir():
                    return self.folder / kind / name
        raise CertificateError(
            f"{self.msp_id} has no node or user {name[:80]!r}: look into {self.folder}"
        )

    def _authorities(self, part: str) -> list[tuple[Path, str]]:
        """Return where the authorities are that issue, or issued, the certificates of *part*."""
        places = [self.folder / part]
        if self.is_rotating:
            places.append(self.folder / part / NEXT_FOLDER)
        return [
            (place, "intermediate" if part == "ca" and trust.intermediate else "ca")
            for place, trust in zip(places, self._trusts, strict=True)
        ]

    @property
    def issuing_certificate(self) -> x509.Certificate:
        """The certificate of the authority that issues identities."""
        folder, which = self._authorities("ca")[-1]
        return load_certificate(folder / f"{which}-cert.pem")

    def _issuing_authority(self, part: str) -> Authority:
        return load_authority(*self._authorities(part)[-1])

    def issue_identity(
        self, subject: x509.Name, key: PublicKey, attributes: Mapping[str, str], days: int
    ) -> bytes:
        """Issue and file the certificate of an identity; 0 days for the usual validity."""
        days = days or self._description.validity.identity_days
        made = self._issuing_authority("ca").issue_identity(
            subject, key, attributes, days, self._now()
        )
        return self._file(made, "ca")

    def issue_tls(self, name: str, key: PublicKey, hosts: Sequence[str], days: int) -> bytes:
        """Issue and file a TLS certificate; 0 days for the usual validity."""
        days = days or self._description.validity.tls_days
        subject = tls_subject(self.msp_id, name)
        made = self._issuing_authority("tlsca").issue_tls(subject, key, hosts, days, self._now())
        return self._file(made, "tlsca")

    def _file(self, pem: bytes, authority: str) -> bytes:
        """Put a certificate among the issued ones before anybody gets it."""
        serial = x509.load_pem_x509_certificate(pem).serial_number
        replace_file(self.folder / authority / "issued" / f"{serial:040x}.pem", pem)
        return pem
