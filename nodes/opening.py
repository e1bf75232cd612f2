"""What a node reads and checks in its folder before it opens for anybody."""

from __future__ import annotations

from pathlib import Path

from ledger.blocks.block import Block
from ledger.errors import BlockError
from network.configuration import COMETBFT, SOLO, ChannelConfiguration
from network.errors import ConfigurationError, IdentityError
from network.msp import SigningIdentity
from nodes.configuration import ConfigurationRefusal, NodeConfiguration

__all__ = [
    "CONFIGURATION_FILE",
    "load_genesis",
    "load_joined_configuration",
    "verify_channel",
    "verify_channel_id",
]

CONFIGURATION_FILE = "configuration.block"
"""The configuration with which a member joined a channel that had changed since its genesis."""


def load_genesis(path: Path) -> Block | None:
    """Read the genesis block; None if there is none, which the ledger may not need any more."""
    try:
        return Block.decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, BlockError) as error:
        raise ConfigurationRefusal(f"{path} is no genesis block: {error}") from error


def load_joined_configuration(path: Path, channel_id: str) -> ChannelConfiguration | None:
    """Read the configuration that the operator gave the node to join with; None if there is none.

    A node that is behind needs it: in the configuration of its own height it may be no member yet,
    or have other authorities, and the orderer may be elsewhere.

    Raises:
        ConfigurationRefusal: the file holds no configuration block, or one of another channel.
    """
    try:
        block = Block.decode(path.read_bytes())
        found = ChannelConfiguration.from_block(block)
    except FileNotFoundError:
        return None
    except (OSError, BlockError, ConfigurationError) as error:
        raise ConfigurationRefusal(
            f"{path} is no configuration block: {error}; take the file away, or fetch it anew with "
            "`qist channel fetch config`"
        ) from error
    if found.channel_id != channel_id:
        raise ConfigurationRefusal(
            f"{path} is of channel {found.channel_id}, and the node keeps {channel_id}: take the "
            "file away"
        )
    return found


def verify_channel_id(configuration: NodeConfiguration, genesis: Block, folder: Path) -> None:
    """Check that *genesis* begins the channel that the node is configured for.

    Raises:
        Refusal: it does not, or cannot be read.
    """
    channel = ChannelConfiguration.from_block(genesis)
    if channel.channel_id != configuration.channel_id:
        raise ConfigurationRefusal(
            f"{folder} is configured for channel {configuration.channel_id}, and its genesis "
            f"block begins channel {channel.channel_id}; correct channel_id in node.toml"
        )


def verify_channel(
    channel: ChannelConfiguration,
    signer: SigningIdentity,
    folder: Path,
) -> None:
    """Check that this node can keep this channel.

    Raises:
        Refusal: naming what does not fit.
    """
    channel.verify_capabilities()
    if channel.consensus_type not in (SOLO, COMETBFT):
        raise ConfigurationError(
            f"channel {channel.channel_id} is ordered by {channel.consensus_type!r}, which this "
            f"version does not have; it has the engines {SOLO} and {COMETBFT}"
        )
    if not channel.orderer_endpoints:
        raise ConfigurationError(
            f"the configuration of channel {channel.channel_id} names no orderer endpoint; "
            "create the network with the sequencer's node port in it"
        )
    try:
        channel.msps.deserialize(signer.serialized)
    except IdentityError as error:
        raise ConfigurationRefusal(
            f"the identity in {folder / 'msp'} is not valid in channel {channel.channel_id}: "
            f"{error}; if the channel has changed since this node was last up to date, give it the "
            "newest configuration with `qist node join --configuration`"
        ) from error
