"""A node's place in its channel: does the channel take its identity, and where is the orderer?

A node that is behind goes by the configuration with which it joined (`nodes.opening`) until its
ledger has come so far: in the configuration of its own height it may be no member yet, or have
other authorities, and the orderer may be elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from network.configuration import ChannelConfiguration
from network.errors import IdentityError
from network.msp import Certificate, SigningIdentity
from network.ordering.ports import NodeTls
from network.tls import OwnTls
from nodes.channel import Channel

__all__ = ["Membership", "newest_of"]


class Membership:
    """What a node knows of its channel's configuration, and of itself in it.

    Args:
        channel: of the node.
        joined: the configuration with which it joined, if that was not the first.
        signer: its identity.
        tls: its TLS certificate.
    """

    def __init__(
        self,
        channel: Channel,
        joined: ChannelConfiguration | None,
        signer: SigningIdentity,
        tls: OwnTls,
    ) -> None:
        self._channel = channel
        self._joined = joined
        self._signer = signer
        self._tls = tls

    def configuration(self) -> ChannelConfiguration:
        """Return the newest configuration that this node knows of."""
        return newest_of(self._channel.configuration, self._joined)

    def newest(self, configuration: ChannelConfiguration) -> ChannelConfiguration:
        """Return the later one of *configuration* and that with which the node joined."""
        return newest_of(configuration, self._joined)

    def outside(self) -> str:
        """Say why the channel does not take this node's identity now; empty if it does."""
        known = self.configuration()
        try:
            self._channel.configuration.msps.deserialize(self._signer.serialized)
        except IdentityError as error:
            if known is not self._channel.configuration:
                return (
                    f"it is catching up with configuration {known.sequence}: at height "
                    f"{self._channel.height} the channel does not take its identity yet"
                )
            return f"the channel does not take this node's identity: {error}"
        return ""

    def orderer_endpoint(
        self, configuration: ChannelConfiguration | None = None
    ) -> tuple[str, int]:
        """Return host and port of the node that orders.

        Args:
            configuration: the one in force; by default that of the channel now.
        """
        known = newest_of(configuration or self._channel.configuration, self._joined)
        _msp_id, host, port = known.orderer_endpoints[0]
        return host, port

    def authorities_end(self) -> Mapping[str, datetime]:
        """Return when the first of the own member's authorities ends, by what it issues.

        Nothing for a node whose member is not in the channel.
        """
        msps = self.configuration().msps.msps
        msp = msps.get(self._signer.msp_id)
        if msp is None:
            return {}
        issued = {
            "authority": (*msp.roots, *msp.intermediates),
            "tls authority": (*msp.tls_roots, *msp.tls_intermediates),
        }
        return {
            name: min(Certificate.from_pem(pem).not_after for pem in pems)
            for name, pems in issued.items()
            if pems
        }

    def own_certificate(self) -> bytes:
        """Return the TLS certificate, DER, that is shown on new connections."""
        return self._tls.identity.certificate_der

    def tls_to(self, msp_id: str) -> NodeTls:
        """Return how a member's node is reached now; see `TlsIdentity.to_member`."""
        return self._tls.identity.to_member(self.configuration(), msp_id)

    def tls_to_orderer(self) -> NodeTls:
        """Return how the node that orders is reached now; see `TlsIdentity.to_orderer`."""
        return self._tls.identity.to_orderer(self.configuration())


def newest_of(
    channel: ChannelConfiguration, joined: ChannelConfiguration | None
) -> ChannelConfiguration:
    """Return the later of two configurations of a channel."""
    return channel if joined is None or joined.sequence <= channel.sequence else joined
