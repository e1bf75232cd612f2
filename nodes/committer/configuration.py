"""Which configuration may follow the one in force.

A block that holds a CONFIG envelope replaces the channel configuration for all blocks after it.
Whether its content was agreed by those who must (each element's modification policy, the signed
update inside) is a judgement of its own; a `ConfigurationRule` makes it.

`refuse_updates` is the rule of this version's nodes: no engine of theirs orders configuration
updates, so such a block cannot have been agreed. `accept_next_sequence` believes the orderers and
checks only that the sequence number rises by one; it is for reading a chain that others validated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ledger.errors import BlockError
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError

__all__ = ["ConfigurationRule", "accept_next_sequence", "refuse_updates"]

ConfigurationRule: TypeAlias = Callable[[ChannelConfiguration, bytes], ChannelConfiguration]
"""From the configuration in force and a marshalled `ConfigEnvelope` to the next configuration.

Raises:
    BlockError: it may not follow, so the whole block is refused.
"""


def refuse_updates(current: ChannelConfiguration, config_envelope: bytes) -> ChannelConfiguration:
    """Refuse every configuration after the genesis block's."""
    raise BlockError(
        f"a configuration block for channel {current.channel_id}: this version takes no "
        "configuration updates; use the configuration of the genesis block"
    )


def accept_next_sequence(
    current: ChannelConfiguration, config_envelope: bytes
) -> ChannelConfiguration:
    """Accept a configuration of the same channel with the next sequence number."""
    try:
        following = ChannelConfiguration.from_config_envelope(config_envelope, current.channel_id)
    except ConfigurationError as unreadable:
        raise BlockError(f"the configuration in the block cannot be read: {unreadable}") from None
    if following.sequence != current.sequence + 1:
        raise BlockError(
            f"the configuration in the block has sequence {following.sequence}; "
            f"{current.sequence + 1} must follow {current.sequence}"
        )
    return following
