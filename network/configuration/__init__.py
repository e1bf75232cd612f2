"""The channel configuration: what members have agreed on, and the genesis block that begins it."""

from network.configuration.acls import LOCAL_ADMINS, LOCAL_MEMBERS
from network.configuration.changes import Change, describe_changes
from network.configuration.channel import (
    REHEARSAL,
    Capabilities,
    ChannelConfiguration,
    Consenter,
    Organisation,
    config_of_block,
    verify_channel_id,
)
from network.configuration.consenters import COMETBFT, SOLO
from network.configuration.difference import compute_update
from network.configuration.genesis import OrganisationSpec, build_genesis
from network.configuration.signing import read_update_envelope, sign_update, update_envelope
from network.configuration.update import apply_update, verify_config_envelope
from network.configuration.values import BatchParameters

__all__ = [
    "COMETBFT",
    "LOCAL_ADMINS",
    "LOCAL_MEMBERS",
    "REHEARSAL",
    "SOLO",
    "BatchParameters",
    "Capabilities",
    "Change",
    "ChannelConfiguration",
    "Consenter",
    "Organisation",
    "OrganisationSpec",
    "apply_update",
    "build_genesis",
    "compute_update",
    "config_of_block",
    "describe_changes",
    "read_update_envelope",
    "sign_update",
    "update_envelope",
    "verify_channel_id",
    "verify_config_envelope",
]
