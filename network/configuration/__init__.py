"""The channel configuration: what members have agreed on, and the genesis block that begins it."""

from network.configuration.acls import LOCAL_ADMINS, LOCAL_MEMBERS
from network.configuration.channel import (
    REHEARSAL,
    Capabilities,
    ChannelConfiguration,
    Organisation,
    config_of_block,
    verify_channel_id,
)
from network.configuration.genesis import OrganisationSpec, build_genesis
from network.configuration.values import BatchParameters

__all__ = [
    "LOCAL_ADMINS",
    "LOCAL_MEMBERS",
    "REHEARSAL",
    "BatchParameters",
    "Capabilities",
    "ChannelConfiguration",
    "Organisation",
    "OrganisationSpec",
    "build_genesis",
    "config_of_block",
    "verify_channel_id",
]
