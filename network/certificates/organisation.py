"""A member's own certificates in one folder: authorities, nodes, users, what was revoked.

Invariants:
- No key is ever overwritten; a node's or user's folder appears whole or not at all.
- Every certificate issued is filed before anybody can use it, so that `revoke` finds it.
- A name stands for one node or one user, never for both: it is what `revoke` and `renew` take.
- Identities and TLS have different root authorities.

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
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID

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
    INTERMEDIATE_FILE,
    REVOCATION_FILE,
    TLS_REVOCATION_FILE,
    Description,
    Trust,
    load_description,
    write_msp_folder,
)
from network.certificates.writing import make_folder, new_folder, replace_file, write_new
from network.errors import CertificateError, ConfigurationError
from network.msp import load_msp_folder
from network.msp.certificate import MALFORMED, Certificate
from network.msp.identity import load_private_key

LOCAL_HOSTS: Final = ("localhost", "127.0.0.1")

_MSP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,57}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
_KINDS = ("nodes", "users")


def _now() -> datetime:
    return datetime.now(UTC)


def create_organisation(
    folder: Path,
    msp_id: str,
    *,
    intermediate: bool = False,
    algorithm: str = P256,
    validity: Validity | None = None,
    now: Callable[[], datetime] = _now,
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
    for_authorities = P256 if algorithm == ED25519 else algorithm
    moment = now()
    root = Authority.make_root(
        msp_id, f"ca.{msp_id}", for_authorities, validity.authority_days, moment
    )
    tls = Authority.make_root(
        msp_id, f"tlsca.{msp_id}", for_authorities, validity.authority_days, moment
    )
    below = b""
    with new_folder(folder) as made:
        write_new(made / DESCRIPTION_FILE, Description(msp_id, algorithm, validity).encode())
        _write_authority(make_folder(made / "ca", private=True), root)
        _write_authority(make_folder(made / "tlsca", private=True), tls)
        if intermediate:
            issuing = root.make_intermediate(
                msp_id, f"ica.{msp_id}", for_authorities, validity.intermediate_days, moment
            )
            below = issuing.pem
            write_new(made / "ca" / INTERMEDIATE_FILE, below)
            write_new(made / "ca" / "intermediate-key.pem", encode_key(issuing.key), private=True)
        write_msp_folder(made / "msp", Trust(root.pem, below, tls.pem))
        make_folder(made / "nodes")
        make_folder(made / "users")
    return Organisation.open(folder, now=now)


def _write_authority(folder: Path, authority: Authority) -> None:
    write_new(folder / AUTHORITY_FILE, authority.pem)
    write_new(folder / "ca-key.pem", encode_key(authority.key), private=True)
    make_folder(folder / "issued")


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
    _trust: Trust
    _now: Callable[[], datetime]

    @classmethod
    def open(cls, folder: Path, *, now: Callable[[], datetime] = _now) -> Organisation:
        """Open the folder that `create_organisation` made.

        Raises:
            CertificateError: it is none, or a certificate of an authority is missing.
        """
        description = load_description(folder)
        below = folder / "ca" / INTERMEDIATE_FILE
        trust = Trust(
            root=_read(folder / "ca" / AUTHORITY_FILE),
            intermediate=_read(below) if below.exists() else b"",
            tls_root=_read(folder / "tlsca" / AUTHORITY_FILE),
        )
        return cls(folder, description.msp_id, description, trust, now)

    @property
    def msp_folder(self) -> Path:
        """The public MSP folder, which the other members get."""
        return self.folder / "msp"

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
            certificate = self._issue_identity(subject, key.public_key(), {}, identity_days)
            write_msp_folder(made / "msp", self._trust, certificate, encode_key(key))
            tls = make_folder(made / "tls", private=True)
            write_new(
                tls / "server.crt",
                self._issue_tls(name, tls_key.public_key(), hosts, tls_days),
            )
            write_new(tls / "server.key", encode_key(tls_key), private=True)
            write_new(tls / "ca.crt", self._trust.tls_root)
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
            certificate = self._issue_identity(
                subject, key.public_key(), attributes or {}, identity_days
            )
            write_msp_folder(made / "msp", self._trust, certificate, encode_key(key))
        return self.user_folder(name)

    def revoke(self, name: str) -> Path:
        """Revoke every certificate ever issued to a node or user; return the folder of the lists.

        A node's TLS certificates are revoked with it. Revoking twice changes nothing.

        Raises:
            CertificateError: nothing was ever issued to that name.
        """
        found = False
        for authority_folder, load, list_name in (
            ("ca", self._identity_authority, REVOCATION_FILE),
            ("tlsca", self._tls_authority, TLS_REVOCATION_FILE),
        ):
            serials = _issued_to(self.folder / authority_folder / "issued", name)
            if serials:
                found = True
                self._add_to_list(load(), self.msp_folder / "crls" / list_name, serials)
        if not found:
            raise CertificateError(
                f"{self.msp_id} has issued nothing to {name[:80]!r}: "
                f"look into {self.folder / 'ca' / 'issued'}"
            )
        return self.msp_folder / "crls"

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
        old = _load_certificate(place)
        revoked = _revoked(self.msp_folder / "crls" / REVOCATION_FILE)
        if old.serial_number in revoked:
            raise CertificateError(
                f"the certificates of {name} of {self.msp_id} have been revoked and are not "
                "renewed: issue new ones under another name"
            )
        replace_file(place, self._issue_again(old))
        tls_place = folder / "tls" / "server.crt"
        if tls_place.exists():
            old = _load_certificate(tls_place)
            names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            hosts = [str(each.value) for each in names]
            replace_file(tls_place, self._issue_tls(name, _public_key(old), hosts, 0))
        return folder

    def _issue_again(self, old: x509.Certificate) -> bytes:
        attributes = Certificate(old.public_bytes(serialization.Encoding.DER)).attributes
        return self._issue_identity(old.subject, _public_key(old), attributes, 0)

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
        for kind in _KINDS:
            if (self.folder / kind / name).exists():
                raise CertificateError(
                    f"{self.msp_id} has {name} among its {kind} already: choose another name, or "
                    "renew its certificates"
                )

    def _folder_of(self, name: str) -> Path:
        if _NAME.fullmatch(name):
            for kind in _KINDS:
                if (self.folder / kind / name).is_dir():
                    return self.folder / kind / name
        raise CertificateError(
            f"{self.msp_id} has no node or user {name[:80]!r}: look into {self.folder}"
        )

    def _identity_authority(self) -> Authority:
        which = "intermediate" if self._trust.intermediate else "ca"
        return _load_authority(self.folder / "ca", which)

    def _tls_authority(self) -> Authority:
        return _load_authority(self.folder / "tlsca", "ca")

    def _issue_identity(
        self, subject: x509.Name, key: PublicKey, attributes: Mapping[str, str], days: int
    ) -> bytes:
        days = days or self._description.validity.identity_days
        made = self._identity_authority().issue_identity(
            subject, key, attributes, days, self._now()
        )
        return self._file(made, "ca")

    def _issue_tls(self, name: str, key: PublicKey, hosts: Sequence[str], days: int) -> bytes:
        days = days or self._description.validity.tls_days
        subject = tls_subject(self.msp_id, name)
        made = self._tls_authority().issue_tls(subject, key, hosts, days, self._now())
        return self._file(made, "tlsca")

    def _file(self, pem: bytes, authority: str) -> bytes:
        """Put a certificate among the issued ones before anybody gets it."""
        serial = x509.load_pem_x509_certificate(pem).serial_number
        replace_file(self.folder / authority / "issued" / f"{serial:040x}.pem", pem)
        return pem

    def _add_to_list(self, authority: Authority, place: Path, serials: Sequence[int]) -> None:
        revoked = _revoked(place)
        moment = self._now()
        news = {serial: moment for serial in serials if serial not in revoked}
        if not news:
            return
        if not place.parent.exists():
            make_folder(place.parent)
        number = _list_number(place) + 1
        replace_file(place, authority.revocation_list({**revoked, **news}, number, moment))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as reason:
        raise CertificateError(
            f"{path} cannot be read ({reason.strerror}): put the file back from a copy"
        ) from reason


def _load_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(_read(path))
    except MALFORMED as reason:
        raise CertificateError(f"{path} holds no certificate in PEM: put it back") from reason


def _load_authority(folder: Path, which: str) -> Authority:
    certificate = _load_certificate(folder / f"{which}-cert.pem")
    place = folder / f"{which}-key.pem"
    try:
        key = load_private_key(_read(place), str(place))
    except ConfigurationError as reason:
        raise CertificateError(str(reason)) from reason
    if not isinstance(key, ec.EllipticCurvePrivateKey) or (
        key.public_key() != certificate.public_key()
    ):
        raise CertificateError(
            f"{place} is not the key of {which}-cert.pem beside it: put the right one back"
        )
    return Authority(certificate, key)


def _public_key(certificate: x509.Certificate) -> PublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise CertificateError("the certificate has a key that this authority did not make")
    return key


def _issued_to(folder: Path, name: str) -> list[int]:
    """Return the serial numbers of all certificates issued to *name*."""
    found = []
    for path in sorted(folder.glob("*.pem")):
        certificate = _load_certificate(path)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        if any(each.value == name for each in names):
            found.append(certificate.serial_number)
    return found


def _load_list(place: Path) -> x509.CertificateRevocationList | None:
    if not place.exists():
        return None
    try:
        return x509.load_pem_x509_crl(_read(place))
    except MALFORMED as reason:
        raise CertificateError(f"{place} is no revocation list in PEM: put it back") from reason


def _revoked(place: Path) -> dict[int, datetime]:
    crl = _load_list(place)
    return {} if crl is None else {each.serial_number: each.revocation_date_utc for each in crl}


def _list_number(place: Path) -> int:
    crl = _load_list(place)
    if crl is None:
        return 0
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
