"""TLS of a node: its certificate and key, whom it trusts, and gRPC's credentials made of them.

Two ports: the clients' (TLS, the client shows no certificate) and the nodes' (mutual TLS; a caller
must show a certificate of a TLS authority of some member of the channel). What a handshake cannot
know is asked afterwards: `MSPManager.member_of_tls_certificate` says whose a certificate is.

Certificates are read again for new connections when their files have changed, and the members'
authorities when the channel's configuration has, so neither a renewal nor a new member needs a
restart.

gRPC offers TLS 1.2 and 1.3 and takes the higher one that both ends have; it has no switch for it.

Absent: revocation lists in the handshake (`member_of_tls_certificate` looks at them), and clients'
own TLS, which needs no more than the authority's certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import grpc

from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError, IdentityError
from network.msp import MSP, Certificate
from network.msp.der import encode_pem
from network.msp.identity import SigningIdentity
from network.ordering.ports import NodeTls

__all__ = ["OwnTls", "TlsIdentity", "client_port_credentials", "node_port_credentials"]

CERTIFICATE_FILE: Final = "server.crt"
KEY_FILE: Final = "server.key"

Configuration = Callable[[], ChannelConfiguration]


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """A node's TLS certificate and key.

    Attributes:
        certificate_pem: the certificate, with what is between it and its root, if anything is.
        key_pem: the private key.
        certificate_der: the certificate alone, to whose hash Deliver requests are bound.
        not_after: when it expires.
    """

    certificate_pem: bytes
    key_pem: bytes
    certificate_der: bytes
    not_after: datetime

    @classmethod
    def load(cls, folder: Path) -> TlsIdentity:
        """Read `server.crt` and `server.key` of a node's TLS folder.

        Raises:
            ConfigurationError: one is missing or unreadable, or they do not belong together.
        """
        certificate_pem = _read(folder / CERTIFICATE_FILE)
        key_pem = _read(folder / KEY_FILE)
        try:
            certificate = Certificate.from_pem(certificate_pem)
        except IdentityError as reason:
            raise ConfigurationError(f"{folder / CERTIFICATE_FILE}: {reason}") from reason
        # Raises if the key is not the certificate's; a TLS certificate is no identity otherwise.
        SigningIdentity.from_pem("TLS", certificate_pem, key_pem)
        return cls(certificate_pem, key_pem, certificate.der, certificate.not_after)

    def credentials(self, roots: Iterable[bytes]) -> grpc.ChannelCredentials:
        """Return what this node shows, and whom it trusts, when it connects to a node port.

        Args:
            roots: TLS authorities in PEM of those who may answer.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=join_pem(roots),
            private_key=self.key_pem,
            certificate_chain=self.certificate_pem,
        )

    def to_member(self, configuration: ChannelConfiguration, msp_id: str) -> NodeTls:
        """Return how this node reaches a node of the member *msp_id* and of no other.

        Raises:
            IdentityError: the channel has no such member.
            ConfigurationError: the member's MSP names no TLS authority.
        """
        roots = join_pem(tls_authorities(configuration.msps.msp(msp_id)))
        return NodeTls(self.credentials([roots]), self.certificate_der, trusted=roots)

    def to_orderer(self, configuration: ChannelConfiguration) -> NodeTls:
        """Return how this node reaches the channel's first orderer endpoint.

        Raises:
            ConfigurationError: the channel names no orderer endpoint of a member, or the member's
                MSP names no TLS authority.
        """
        owners = [msp_id for msp_id, _, _ in configuration.orderer_endpoints if msp_id]
        if not owners:
            raise ConfigurationError(
                f"the configuration of channel {configuration.channel_id} names no orderer "
                "endpoint of a member: create the network with the sequencer's node port in it"
            )
        return self.to_member(configuration, owners[0])


class OwnTls:
    """A node's TLS certificate and key as they stand in its folder now.

    They are read again when the files have changed. Files that cannot be read, or do not fit, as
    while they are being replaced, leave the ones before in use.

    Args:
        folder: the node's TLS folder.
    Raises:
        ConfigurationError: see `TlsIdentity.load`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen = file_stamps(folder)
        self._identity = TlsIdentity.load(folder)

    @property
    def identity(self) -> TlsIdentity:
        """The certificate and key to be shown on a new connection."""
        try:
            stamps = file_stamps(self._folder)
            if stamps != self._seen:
                self._identity, self._seen = TlsIdentity.load(self._folder), stamps
        except ConfigurationError:
            pass
        return self._identity


def file_stamps(folder: Path) -> tuple[object, ...]:
    """Return what changes when certificate or key in a TLS folder are replaced.

    Raises:
        ConfigurationError: one of them is not there.
    """
    stamps: list[object] = []
    for name in (CERTIFICATE_FILE, KEY_FILE):
        try:
            status = (folder / name).stat()
        except OSError as reason:
            raise ConfigurationError(
                f"{folder / name} cannot be read: {reason.strerror}"
            ) from reason
        stamps += (status.st_mtime_ns, status.st_ino, status.st_size)
    return tuple(stamps)


def join_pem(blocks: Iterable[bytes]) -> bytes:
    """Return PEM blocks one after another, each on lines of its own."""
    return b"".join(block.rstrip(b"\n") + b"\n" for block in blocks)


def tls_authorities(msp: MSP) -> tuple[bytes, ...]:
    """Return the TLS authorities of a member in PEM, roots and intermediates.

    They are written anew: what else stands around a certificate in the configuration, as the
    beginning of another block, would hide from TLS the authorities behind it.

    Raises:
        ConfigurationError: it has none.
    """
    if not msp.tls_roots:
        raise ConfigurationError(
            f"the MSP {msp.msp_id} names no TLS authority: put its certificate into tlscacerts"
        )
    return tuple(encode_pem("CERTIFICATE", each.der) for each in msp.tls_authorities)


def members_tls_authorities(configuration: ChannelConfiguration) -> bytes:
    """Return the TLS authorities of all members in one PEM text.

    A member that names none cannot connect; that is no reason to shut the others out.

    Raises:
        ConfigurationError: no member has one.
    """
    msps = [configuration.msps.msp(msp_id) for msp_id in sorted(configuration.msps.msps)]
    authorities = [each for msp in msps if msp.tls_roots for each in tls_authorities(msp)]
    if not authorities:
        raise ConfigurationError(
            f"no member of channel {configuration.channel_id} names a TLS authority: put its "
            "certificate into tlscacerts of its MSP"
        )
    return join_pem(authorities)


def client_port_credentials(folder: Path) -> grpc.ServerCredentials:
    """Return the credentials of the port for clients, who show no certificate.

    Args:
        folder: the node's TLS folder.
    Raises:
        ConfigurationError: see `TlsIdentity.load`.
    """
    return _port_credentials(_Source(folder, None), mutual=False)


def node_port_credentials(folder: Path, configuration: Configuration) -> grpc.ServerCredentials:
    """Return the credentials of the port for nodes: only members' certificates connect.

    Args:
        folder: the node's TLS folder.
        configuration: gives the channel configuration in force; called from gRPC's threads.
    Raises:
        ConfigurationError: see `TlsIdentity.load`; or no member has a TLS authority.
    """
    return _port_credentials(_Source(folder, configuration), mutual=True)


def _port_credentials(source: _Source, *, mutual: bool) -> grpc.ServerCredentials:
    return grpc.dynamic_ssl_server_credentials(
        source.first(),
        source.changed,  # type: ignore[arg-type]  # the stubs forget that None means "as before"
        require_client_authentication=mutual,
    )


class _Source:
    """What gRPC asks at each handshake: has the certificate changed, or those who are trusted?

    A file that cannot be read, or certificate and key that do not fit, as while they are being
    replaced, leave the old ones in use: an open port stays open.
    """

    def __init__(self, folder: Path, configuration: Configuration | None) -> None:
        self._folder = folder
        self._configuration = configuration
        self._seen: tuple[object, ...] = ()

    def first(self) -> grpc.ServerCertificateConfiguration:
        self._seen = self._state()
        return self._load()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what is new, or None; gRPC takes None for "as before"."""
        try:
            state = self._state()
            if state == self._seen:
                return None
            loaded = self._load()
        except ConfigurationError:
            return None
        self._seen = state
        return loaded

    def _state(self) -> tuple[object, ...]:
        configuration = None if self._configuration is None else self._configuration()
        return (*file_stamps(self._folder), configuration)

    def _load(self) -> grpc.ServerCertificateConfiguration:
        identity = TlsIdentity.load(self._folder)
        roots = (
            None if self._configuration is None else members_tls_authorities(self._configuration())
        )
        return grpc.ssl_server_certificate_configuration(
            [(identity.key_pem, identity.certificate_pem)], root_certificates=roots
        )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as reason:
        raise ConfigurationError(
            f"{path} cannot be read ({reason.strerror}): copy the node's TLS folder from its "
            "organisation"
        ) from reason
