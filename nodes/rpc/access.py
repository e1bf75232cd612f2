"""Access of one caller for as long as it is served, not only when it begins.

A stream, or a call that waits, may outlive the right to it: a certificate expires, or is revoked by
a new channel configuration, or its member is removed. So access is judged when a call begins and at
every new configuration, and expiry at every block that would be sent and when its time has come;
Fabric does so for Deliver alone and there not the last (common/deliver/acl.go), we for everything
that waits.

Absent: Deliver's own answers, which are statuses (`nodes/deliver/session.py`); the callers on the
node port, known by their TLS certificates (`connections.py`).
"""

from __future__ import annotations

from datetime import datetime

import grpc

from ledger.errors import Refusal
from network.errors import IdentityError
from network.policy import SignedData
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.rpc.failures import RpcFailure

__all__ = ["CallerAccess"]


class CallerAccess:
    """What one signed request gives access to.

    Args:
        channel: the channel.
        resource: in Fabric's names, for example "gateway/ChaincodeEvents".
        signed: the request, its creator and the signature.
        clock: what the expiry of the creator's certificate is compared with.
    """

    def __init__(self, channel: Channel, resource: str, signed: SignedData, clock: Clock) -> None:
        self._channel = channel
        self._resource = resource
        self._signed = signed
        self._clock = clock
        self.sequence = -1
        self._ends: datetime | None = None

    def verify(self) -> None:
        """Check that the caller may be served now.

        Raises:
            RpcFailure: PERMISSION_DENIED; it has expired, or the resource's policy, under the
                configuration in force, does not let it.
        """
        try:
            self._verify_policy()
            self._verify_expiry()
        except Refusal as refused:
            raise RpcFailure(grpc.StatusCode.PERMISSION_DENIED, str(refused)) from refused

    def wait_s(self) -> float | None:
        """How long to wait for something before the caller's certificate is looked at again."""
        return None if self._ends is None else self._clock.seconds_until(self._ends)

    def _verify_policy(self) -> None:
        sequence = self._channel.configuration.sequence
        if sequence != self.sequence:
            self._channel.check_access(self._resource, self._signed)
            self.sequence = sequence

    def _verify_expiry(self) -> None:
        ends = self._channel.configuration.msps.deserialize(self._signed.identity).not_after
        self._ends = ends
        if self._clock.now() > ends:
            raise IdentityError(
                f"access denied for [{self._resource}][{self._channel.channel_id}]: client "
                f"identity expired at {ends.isoformat(timespec='seconds')}; have the certificate "
                "renewed by the member's CA"
            )
