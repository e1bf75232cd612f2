"""Connections between nodes: gRPC's options on both ports, and whose certificate a caller showed.

The node port's handshake takes a certificate of any member's TLS authority (`network.tls`); that
it is one of a member of today, not revoked and not expired, is asked at every call (`MemberGuard`);
again of streams at every new configuration, and when the certificate ends. A connection outlives
its certificate otherwise: the handshake looks at it once.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import grpc

from ledger.errors import Unavailable
from network.configuration import ChannelConfiguration
from network.errors import IdentityError
from network.msp import Certificate
from nodes.rpc.failures import RpcFailure

__all__ = [
    "MemberGuard",
    "call_options",
    "caller_certificate_der",
    "calling_member",
    "server_options",
]


LOOK_AGAIN_S: Final = 3600.0
"""A clock that was set in the meantime shows after this time."""

CALLS_OF_A_CONNECTION: Final = 1_000
PENDING_CALLS: Final = 5_000


def server_options(
    max_message_bytes: int, *, most_sent_bytes: int | None = None, connections: int = 0
) -> list[tuple[str, int]]:
    """gRPC options of a port.

    Args:
        max_message_bytes: a larger message is refused with RESOURCE_EXHAUSTED.
        most_sent_bytes: of an answer, if that is another limit; -1 for none.
        connections: taken at once at each address of the port; one too many is closed as soon as
            it comes. 0 for no limit.
    """
    bounded = [("grpc.max_allowed_incoming_connections", connections)] if connections else []
    sent = max_message_bytes if most_sent_bytes is None else most_sent_bytes
    return [
        *bounded,
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", sent),
        # What one connection has begun at once; gRPC's clients wait for their turn by themselves.
        ("grpc.max_concurrent_streams", CALLS_OF_A_CONNECTION),
        # Calls that nobody has looked at yet. Beyond it gRPC refuses without a word of ours, so
        # there is room for what may come at once; the limits of the services come before it.
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING_CALLS),
        # Two processes on one port would share its callers unnoticed.
        ("grpc.so_reuseport", 0),
        # A caller that is gone without a word gives its places back within eighty seconds.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.max_ping_strikes", 0),
    ]


def call_options(max_message_bytes: int) -> list[tuple[str, int]]:
    """gRPC options of a connection to another node."""
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # A cable that was pulled shows within fifteen seconds.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Its name hides it: how long one attempt to connect may take, TLS handshake included. A
        # busy node answers late, and giving up early looks as if it were down.
        ("grpc.min_reconnect_backoff_ms", 10_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
    ]


def _caller_certificate(context: Any) -> bytes | None:
    for pem in context.auth_context().get("x509_pem_cert", ()):
        found: bytes = pem
        return found
    return None


def caller_certificate_der(context: Any) -> bytes | None:
    """DER of the caller's TLS certificate; None on a connection without one."""
    pem = _caller_certificate(context)
    return None if pem is None else ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))


def calling_member(context: Any, configuration: ChannelConfiguration) -> str:
    """Return the MSP id of the member whose node calls on the node port.

    Args:
        context: of the call.
        configuration: the one in force.
    Raises:
        RpcFailure: PERMISSION_DENIED, the certificate is of no member, or not valid now.
    """
    pem = _caller_certificate(context)
    try:
        if pem is None:
            raise IdentityError("the node port needs a TLS certificate of a member")
        return configuration.msps.member_of_tls_certificate(pem)
    except IdentityError as error:
        raise RpcFailure(
            grpc.StatusCode.PERMISSION_DENIED, f"this port serves members' nodes only: {error}"
        ) from error


@lru_cache(maxsize=256)
def _ends(pem: bytes) -> datetime:
    """When a certificate expires; a connection shows the same one with every call."""
    return Certificate.from_pem(pem).not_after


def machine_time() -> datetime:
    """The machine's time, by which TLS goes, in a rehearsal as well."""
    return datetime.now(UTC)


class MemberGuard:
    """A check for calls on the node port: the caller's certificate is a member's, and valid now.

    Args:
        configuration: returns the configuration in force.
        reconfigured: returns as soon as a configuration above a sequence is in force.
        now: what the end of a certificate is compared with.
    """

    def __init__(
        self,
        configuration: Callable[[], ChannelConfiguration],
        reconfigured: Callable[[int], Awaitable[ChannelConfiguration]],
        now: Callable[[], datetime] = machine_time,
    ) -> None:
        self._configuration = configuration
        self._reconfigured = reconfigured
        self._now = now

    def __call__(self, context: Any) -> None:
        """Check a call when it begins.

        Raises:
            RpcFailure: PERMISSION_DENIED, with the reason.
        """
        self._left_s(context, calling_member(context, self._configuration()))

    async def watch(self, context: Any) -> None:
        """Check a stream again at every new configuration, and when its certificate ends.

        Returns when no more configurations will come.

        Raises:
            RpcFailure: PERMISSION_DENIED; the certificate is of no member any more, is revoked, or
                has expired.
        """
        configuration = self._configuration()
        while True:
            left_s = self._left_s(context, calling_member(context, configuration))
            try:
                async with asyncio.timeout(min(left_s, LOOK_AGAIN_S)):
                    configuration = await self._reconfigured(configuration.sequence)
            except TimeoutError:
                continue
            except Unavailable:
                return

    def _left_s(self, context: Any, msp_id: str) -> float:
        """Return for how long a member's certificate is still valid.

        Raises:
            RpcFailure: PERMISSION_DENIED; it has expired.
        """
        pem = _caller_certificate(context)
        assert pem is not None, "the member is known by it"
        ends = _ends(pem)
        left_s = (ends - self._now()).total_seconds()
        # TLS takes a certificate in the second in which it ends, too.
        if left_s < 0:
            raise RpcFailure(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the TLS certificate of the node of {msp_id} expired at "
                f"{ends.isoformat(timespec='seconds')}, during this connection: have the member "
                "renew it (`qist org renew`, `qist node renew`); its node connects with the new "
                "one by itself",
            )
        return left_s
