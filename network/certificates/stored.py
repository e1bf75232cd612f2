"""What an organisation's folder holds: certificates, authorities with their keys, revocation lists.

Absent: writing, which `organisation.py`, `revocation.py` and `rotation.py` do.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from network.certificates.authority import Authority, PublicKey
from network.errors import CertificateError, ConfigurationError
from network.msp.certificate import MALFORMED
from network.msp.identity import load_private_key


def read_file(path: Path) -> bytes:
    """Return what a file holds.

    Raises:
        CertificateError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as reason:
        raise CertificateError(
            f"{path} cannot be read ({reason.strerror}): put the file back from a copy"
        ) from reason


def load_certificate(path: Path) -> x509.Certificate:
    """Read a certificate in PEM.

    Raises:
        CertificateError: there is none.
    """
    try:
        return x509.load_pem_x509_certificate(read_file(path))
    except MALFORMED as reason:
        raise CertificateError(f"{path} holds no certificate in PEM: put it back") from reason


def load_authority(folder: Path, which: str) -> Authority:
    """Read an authority's certificate and key.

    Args:
        folder: where it lies.
        which: ``ca`` or ``intermediate``.
    Raises:
        CertificateError: one of the two is missing, or they do not belong together.
    """
    certificate = load_certificate(folder / f"{which}-cert.pem")
    place = folder / f"{which}-key.pem"
    try:
        key = load_private_key(read_file(place), str(place))
    except ConfigurationError as reason:
        raise CertificateError(str(reason)) from reason
    if not isinstance(key, ec.EllipticCurvePrivateKey) or (
        key.public_key() != certificate.public_key()
    ):
        raise CertificateError(
            f"{place} is not the key of {which}-cert.pem beside it: put the right one back"
        )
    return Authority(certificate, key)


def public_key(certificate: x509.Certificate) -> PublicKey:
    """Return the public key of a certificate that an authority of ours has issued."""
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise CertificateError("the certificate has a key that this authority did not make")
    return key


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether *authority* has issued *certificate*."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, *MALFORMED):
        return False
    return True


def issued_certificates(folder: Path) -> Iterator[x509.Certificate]:
    """Yield all certificates that were filed in *folder* when they were issued."""
    for path in sorted(folder.glob("*.pem")):
        yield load_certificate(path)


def revoked_serials(place: Path) -> dict[int, datetime]:
    """Return the serial numbers in a list, and when each was revoked; none if there is no list."""
    crl = _load_list(place)
    return {} if crl is None else {each.serial_number: each.revocation_date_utc for each in crl}


def list_number(place: Path) -> int:
    """Return the number of a list, 0 if there is none."""
    crl = _load_list(place)
    if crl is None:
        return 0
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def is_list_of(place: Path, authority: x509.Certificate) -> bool:
    """Tell whether *authority* made the list in a file."""
    crl = _load_list(place)
    return crl is not None and crl.is_signature_valid(public_key(authority))


def _load_list(place: Path) -> x509.CertificateRevocationList | None:
    if not place.exists():
        return None
    try:
        return x509.load_pem_x509_crl(read_file(place))
    except MALFORMED as reason:
        raise CertificateError(f"{place} is no revocation list in PEM: put it back") from reason
