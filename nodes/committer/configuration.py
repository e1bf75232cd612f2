"""Which configuration may follow the one in force.

A block that holds a CONFIG envelope replaces the channel configuration for all blocks after it.
Whoever commits such a block applies the signed update inside once more and compares: an orderer
that sends another configuration than the members signed for is not believed.

A `ConfigurationRule` makes that judgement; `verify_update` is that of every node and of a replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from network.configuration import ChannelConfiguration, verify_config_envelope
from network.errors import ConfigurationError
from nodes.errors import UpgradeNeeded

__all__ = ["ConfigurationRule", "verify_update"]

ConfigurationRule: TypeAlias = Callable[[ChannelConfiguration, bytes], ChannelConfiguration]
"""From the configuration in force and a marshalled `ConfigEnvelope` to the next configuration.

Raises:
    ConfigurationError, PolicyError: it may not follow; the transaction is invalid then, and the
        configuration in force stays.
    UpgradeNeeded: it may, and this program cannot honour it, so the channel halts.
"""


def verify_update(current: ChannelConfiguration, config_envelope: bytes) -> ChannelConfiguration:
    """Accept what comes of the signed update inside, and nothing else.

    Source: Fabric core/peer/channel.go (`Apply`).
    """
    following = verify_config_envelope(current, config_envelope)
    try:
        following.verify_capabilities()
    except ConfigurationError as unknown:
        raise UpgradeNeeded(str(unknown)) from unknown
    return following
