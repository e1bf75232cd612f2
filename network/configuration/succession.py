"""Which configuration may follow which, beyond what its elements' signatures say.

A member keeps the MSP id that its group began with: a group of that name with another MSP would be
another member under the first one's policies. Consortiums neither come nor go. A rehearsal stays
one, and a real network never becomes one: whose time stands in the records could not be told
otherwise. The engine CometBFT comes once and stays, and its consenters change one at a time
(`consenters.py`).

Everything else that a configuration must have is checked when it is read (`channel.py`): both
groups, every MSP, every policy, usable batches, and endpoints of every orderer from V3_0 on.

Source: Fabric common/channelconfig/bundle.go (`ValidateNew`).
"""

from __future__ import annotations

from network.configuration.channel import CONSORTIUMS, ChannelConfiguration
from network.configuration.consenters import verify_consenters_may_follow
from network.errors import ConfigurationError

__all__ = ["verify_may_follow"]


def verify_may_follow(current: ChannelConfiguration, following: ChannelConfiguration) -> None:
    """Check *following* against the configuration in force.

    Raises:
        ConfigurationError: a member's group has another MSP id than before, consortiums have come
            or gone, a rehearsal would begin or end, or consenters change as they may not.
    """
    if current.is_rehearsal != following.is_rehearsal:
        raise ConfigurationError(
            f"channel {current.channel_id} is {'a' if current.is_rehearsal else 'no'} rehearsal "
            "and stays so: create another network"
        )
    for path, msp_id in sorted(current.member_groups.items()):
        found = following.member_groups.get(path, msp_id)
        if found != msp_id:
            raise ConfigurationError(
                f"org {path} attempted to change MSP ID from {msp_id} to {found}: add the other "
                "MSP as a new member, and remove this one"
            )
    had, has = (CONSORTIUMS in each.config.channel_group.groups for each in (current, following))
    if had != has:
        raise ConfigurationError(
            f"current config has {'a' if had else 'no'} {CONSORTIUMS} section, but new config "
            f"has {'one' if has else 'none'}: leave it as it is"
        )
    verify_consenters_may_follow(current, following)
