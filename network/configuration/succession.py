"""Which configuration may follow which, beyond what its elements' signatures say.

A member keeps the MSP id that its group began with: a group of that name with another MSP would be
another member under the first one's policies. A rehearsal stays one, and a real network never
becomes one: whose time stands in the records could not be told otherwise.

Everything else that a configuration must have is checked when it is read (`channel.py`): both
groups, every MSP, every policy, usable batches, and endpoints of every orderer from V3_0 on.

Source: Fabric common/channelconfig/bundle.go (`ValidateNew`).
"""

from __future__ import annotations

from collections.abc import Mapping

from network.configuration.channel import ChannelConfiguration
from network.errors import ConfigurationError

__all__ = ["verify_may_follow"]


def verify_may_follow(current: ChannelConfiguration, following: ChannelConfiguration) -> None:
    """Check *following* against the configuration in force.

    Raises:
        ConfigurationError: a member's group has another MSP id than before, or a rehearsal would
            begin or end.
    """
    if current.is_rehearsal != following.is_rehearsal:
        raise ConfigurationError(
            f"channel {current.channel_id} is {'a' if current.is_rehearsal else 'no'} rehearsal "
            "and stays so: create another network"
        )
    _verify_msp_ids("orderer", current.orderer_groups, following.orderer_groups)
    _verify_msp_ids("application", _by_group(current), _by_group(following))


def _by_group(configuration: ChannelConfiguration) -> Mapping[str, str]:
    return {each.name: each.msp_id for each in configuration.organisations.values()}


def _verify_msp_ids(where: str, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    for group in sorted(before):
        found = after.get(group, before[group])
        if found != before[group]:
            raise ConfigurationError(
                f"{where} org {group} attempted to change MSP ID from {before[group]} to {found}: "
                "add the other MSP as a new member, and remove this one"
            )
