"""Identities: who signed, with what role, and the key that checks or makes the signature.

An ``Identity`` that exists is valid in its MSP: chain, organisational units and revocation were
checked when it was made. It says nothing about expiry; callers compare ``not_after`` with their
clock where Fabric does (proposal, broadcast, Deliver), and never when a block is validated.

Hot path: a signature that was good is not verified again under the same configuration, 3 µs after
86; envelopes are met where they come in, where they are ordered, and in their block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from fabric_protos.msp import identities_pb2

from network.decoding import decode_message
from network.errors import ConfigurationError, IdentityError
from network.msp.bounded import BoundedCache
from network.msp.certificate import MALFORMED, Certificate
from network.msp.keys import CURVE_ORDERS, SigningKey, VerifyingKey, sign

MEMBER: Final = "member"
ADMIN: Final = "admin"
CLIENT: Final = "client"
PEER: Final = "peer"
ORDERER: Final = "orderer"


LONGEST_REMEMBERED: Final = 160
"""Bytes of a signature that is remembered: what ECDSA P-521 takes. Some may carry any number behind
it (`der.decode_ecdsa_signature`), and those must not fill the memory."""

ProvedSignatures: TypeAlias = BoundedCache[tuple[str, bytes, bytes], bool]
"""Good signatures: member and hash of the certificate, SHA-256 of the message, the signature."""


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """A valid identity of one member.

    Attributes:
        msp_id: the member.
        certificate: with the low S, whatever form it came in.
        serialized: the SerializedIdentity as received; another encoding of the same certificate
            is the same identity.
        identity_id: member and hash of the certificate, by which identities are told apart.
        roles: `member` and those of `admin`, `client`, `peer`, `orderer` that the certificate's
            organisational units or the member's list of admins give.
        certifiers_identifier: hash of the authorities above the certificate, 32 bytes with
            SHA-256.
        proved: the good signatures that are remembered by the configuration that the identity was
            read under; without it each is verified anew.
    """

    msp_id: str
    certificate: Certificate
    serialized: bytes
    identity_id: str
    roles: frozenset[str]
    certifiers_identifier: bytes
    key: VerifyingKey
    proved: ProvedSignatures | None = None

    @property
    def common_name(self) -> str:
        """The subject's common name."""
        return self.certificate.common_name

    @property
    def attributes(self) -> Mapping[str, str]:
        """Attributes that the member's authority wrote into the certificate."""
        return self.certificate.attributes

    @property
    def not_after(self) -> datetime:
        """The moment after which the certificate is expired."""
        return self.certificate.not_after

    @property
    def units(self) -> tuple[str, ...]:
        """The organisational units of the subject."""
        return self.certificate.units

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check that this identity signed *message*; what was proved before is not proved again.

        A node meets one signature several times: where an envelope comes in, where it is put in
        order, in its block. A verification takes 92 µs, the look-up about 4.

        Raises:
            SignatureError: it did not, or the signature is malformed or has a high S.
        """
        proved = self.proved
        if proved is None or len(signature) > LONGEST_REMEMBERED:
            self.key.verify(message, signature)
            return
        place = (self.identity_id, sha256(message).digest(), signature)
        if proved.get(place) is None:
            self.key.verify(message, signature)
            proved.put(place, True)


def serialize_identity(msp_id: str, certificate_pem: bytes) -> bytes:
    """Return the SerializedIdentity of a certificate."""
    raw: bytes = identities_pb2.SerializedIdentity(
        mspid=msp_id, id_bytes=certificate_pem
    ).SerializeToString()
    return raw


def split_identity(serialized: bytes) -> tuple[str, bytes]:
    """Return member and PEM of a SerializedIdentity, unchecked.

    Raises:
        IdentityError: the bytes are no SerializedIdentity.
    """
    message = decode_message(
        identities_pb2.SerializedIdentity, serialized, "the identity", IdentityError
    )
    return message.mspid, message.id_bytes


class SigningIdentity:
    """An identity of our own, with its private key.

    Attributes:
        msp_id: the member.
        certificate: as issued.
        serialized: the SerializedIdentity that stands as creator or endorser.
    """

    def __init__(self, msp_id: str, certificate_pem: bytes, key: SigningKey) -> None:
        """Put certificate and key together.

        Raises:
            ConfigurationError: the key is not the certificate's.
        """
        self.msp_id = msp_id
        self.certificate = Certificate.from_pem(certificate_pem)
        self.serialized = serialize_identity(msp_id, self.certificate.pem)
        self._key = key
        if _public_der(key) != self.certificate.public_key_der:
            raise ConfigurationError(
                f"the private key of {msp_id}'s {self.certificate.common_name!r} is not the "
                "certificate's: put the key into keystore/ that was made with the certificate"
            )

    @classmethod
    def from_pem(cls, msp_id: str, certificate_pem: bytes, key_pem: bytes) -> SigningIdentity:
        """Put certificate and key together as a connection profile names them, both in PEM.

        Raises:
            ConfigurationError: one of them is unreadable, or the key is not the certificate's.
        """
        key = load_private_key(key_pem, f"the private key of a user of {msp_id}")
        try:
            return cls(msp_id, certificate_pem, key)
        except IdentityError as reason:
            raise ConfigurationError(f"the certificate of a user of {msp_id}: {reason}") from reason

    @classmethod
    def load(cls, msp_folder: Path, msp_id: str) -> SigningIdentity:
        """Read signcerts/ and keystore/ of an MSP folder.

        Raises:
            ConfigurationError: one of them is missing, unreadable or does not match the other.
        """
        certificate = None
        for path in _files(msp_folder / "signcerts"):
            certificate = path.read_bytes()
            break
        if certificate is None:
            raise ConfigurationError(
                f"{msp_folder}/signcerts has no certificate: put the identity's own there"
            )
        try:
            public = Certificate.from_pem(certificate).public_key_der
        except IdentityError as reason:
            raise ConfigurationError(f"{msp_folder}/signcerts: {reason}") from reason
        for path in _files(msp_folder / "keystore"):
            key = load_private_key(path.read_bytes(), str(path))
            if _public_der(key) == public:
                return cls(msp_id, certificate, key)
        raise ConfigurationError(
            f"{msp_folder}/keystore has no private key of the certificate in signcerts: put the "
            "key there that was made with it"
        )

    @property
    def common_name(self) -> str:
        """The subject's common name."""
        return self.certificate.common_name

    @property
    def not_after(self) -> datetime:
        """The moment after which the certificate is expired."""
        return self.certificate.not_after

    def sign(self, message: bytes) -> bytes:
        """Sign *message*: ECDSA over its SHA-256 with a low S, in DER; or Ed25519, 64 bytes."""
        return sign(self._key, message)


def load_private_key(pem: bytes, place: str) -> SigningKey:
    """Read a private key in PEM, PKCS #8 or SEC 1, without a password.

    Raises:
        ConfigurationError: unreadable, or of an algorithm that an MSP does not take.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except MALFORMED as reason:
        raise ConfigurationError(
            f"{place} holds no private key in PEM without a password: write it as PKCS #8"
        ) from reason
    if isinstance(key, ed25519.Ed25519PrivateKey) or (
        isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVE_ORDERS
    ):
        return key
    raise ConfigurationError(
        f"{place} holds a key that an MSP does not take: use ECDSA P-256, P-384 or Ed25519"
    )


def _public_der(key: SigningKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as reason:
        raise ConfigurationError(
            f"{folder} cannot be read ({reason.strerror}): an MSP folder needs it"
        ) from reason
