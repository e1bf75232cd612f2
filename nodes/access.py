"""Who may do what on a channel, by the policies of its configuration in force.

Absent: how a caller's request is read and its signature found (`nodes.rpc`, `nodes.gateway`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from network.configuration import ChannelConfiguration
from network.errors import IdentityError, PolicyError
from network.msp import Identity
from network.policy import SignedData, why_not_valid
from nodes.errors import AccessDenied

__all__ = ["ChannelAccess"]


class ChannelAccess(ABC):
    """The access checks of one channel, always under the configuration in force.

    Attributes:
        channel_id: name of the channel.
    """

    channel_id: str

    @property
    @abstractmethod
    def configuration(self) -> ChannelConfiguration:
        """The configuration in force."""

    def check_access(self, resource: str, signed: SignedData) -> Identity:
        """Check that a signature gives access to *resource*; verifies it in this thread.

        Args:
            resource: in Fabric's names, for example "event/Block" or "peer/Propose".
            signed: what was signed, by whom, and the signature.

        Raises:
            AccessDenied: it does not.
        """
        return self.check_policy(self.configuration.acl_policy(resource), resource, signed)

    def check_policy(self, policy: str, resource: str, signed: SignedData) -> Identity:
        """Check that a signature satisfies *policy*, a path of the channel configuration.

        Raises:
            AccessDenied: it does not; the message names *resource* as what was asked for.
        """
        msps = self.configuration.msps
        try:
            msps.deserialize_at_door(signed.identity)
            identities = self.configuration.policies.evaluate(policy, [signed])
        except (IdentityError, PolicyError) as refused:
            reason = str(refused)
            if isinstance(refused, PolicyError):
                reason = why_not_valid(signed, msps) or reason
            raise AccessDenied(
                f"access denied for [{resource}][{self.channel_id}]: {policy} is not satisfied: "
                f"{reason}"
            ) from refused
        return identities[0]

    async def authorise(self, resource: str, signed: SignedData) -> Identity:
        """Do what `check_access` does, with the signature verified in another thread."""
        return await asyncio.to_thread(self.check_access, resource, signed)

    async def authorise_by(self, policy: str, resource: str, signed: SignedData) -> Identity:
        """Do what `check_policy` does, with the signature verified in another thread."""
        return await asyncio.to_thread(self.check_policy, policy, resource, signed)
