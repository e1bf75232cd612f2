"""From a node's settings and a channel configuration to what its CometBFT is told.

Invariants: the same configuration and keys give the same settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from network.certificates.consensus import ConsensusKeys, public_bytes
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError
from network.ordering.cometbft.bundles.bundle import limits_of
from network.ordering.cometbft.bundles.quota import BUNDLES_PER_MEMBER, BYTES_PER_MEMBER
from network.ordering.cometbft.joining.beginning import With
from network.ordering.cometbft.joining.snapshot_chain import SnapshotSettings
from network.ordering.cometbft.process.home import HomeSettings
from network.ordering.cometbft.validators import Validator, node_id_of, validators_of

__all__ = [
    "EngineSettings",
    "changes_own_keys",
    "home_settings",
    "needs_restart",
    "own_validator",
]

ABCI_SOCKET: Final = "abci.sock"
RPC_SOCKET: Final = "rpc.sock"
LEAST_WAITING: Final = 1_000
"""Bundles for which CometBFT's pool has room, however few members there are."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What a node says of its CometBFT.

    Attributes:
        name: of the node, in CometBFT's log.
        msp_id: of its member.
        home: CometBFT's folder.
        binary: path of the program; empty to look for it.
        listen: "host:port" where other members' CometBFT reach it on this machine.
        address: "host:port" by which they know it.
        profile: how patient it is (`home.PROFILES`).
        marks: the folder of its keys, in which is noted that they sign (`sign_guard.py`).
        restored: the file that says that the node came from a backup.
        snapshots: which ones are given to other nodes.
        begin_with: what is wanted where CometBFT has nothing.
    """

    name: str
    msp_id: str
    home: Path
    binary: str
    listen: str
    address: str
    profile: str
    marks: Path
    restored: Path
    snapshots: SnapshotSettings
    begin_with: With = "auto"

    @property
    def abci_socket(self) -> Path:
        """Where the node serves ABCI."""
        return self.home / ABCI_SOCKET

    @property
    def rpc_socket(self) -> Path:
        """Where CometBFT serves its RPC."""
        return self.home / RPC_SOCKET


def own_validator(configuration: ChannelConfiguration, msp_id: str) -> Validator:
    """Return the validator of a member.

    Raises:
        ConfigurationError: it has no consenter.
    """
    for each in validators_of(configuration):
        if each.msp_id == msp_id:
            return each
    raise ConfigurationError(
        f"{msp_id} has no consenter on channel {configuration.channel_id}, so this node cannot "
        "take part in ordering: have the members add it with `qist channel propose`"
    )


def home_settings(
    settings: EngineSettings,
    configuration: ChannelConfiguration,
    keys: ConsensusKeys,
    genesis: bytes,
) -> HomeSettings:
    """Return what CometBFT is told.

    Args:
        settings: of the node.
        configuration: the newest that the node knows.
        keys: in the node's folder.
        genesis: CometBFT's genesis file.
    Raises:
        ConfigurationError: the node's member has no consenter, or one with other keys.
    """
    own = own_validator(configuration, settings.msp_id)
    voting = keys.voting_key(own.public_key)
    link = next(
        (key for key in keys.links if node_id_of(public_bytes(key)) == own.node_id),
        None,
    )
    if voting is None or link is None:
        what = "consensus key" if voting is None else "link key"
        raise ConfigurationError(
            f"channel {configuration.channel_id} has another {what} for {settings.msp_id} than "
            f"this node's folder: put the key back that belongs to the certificate in the "
            "channel, or have the members take over the certificate of this one"
        )
    validators = validators_of(configuration)
    limits = limits_of(configuration.batch)
    return HomeSettings(
        moniker=settings.name,
        genesis=genesis,
        consensus_key=voting,
        p2p_key=link,
        listen=settings.listen,
        external_address=settings.address,
        persistent_peers=tuple(
            sorted(
                f"{each.node_id}@{_host_in_address(each.host)}:{each.port}"
                for each in validators
                if each.msp_id != settings.msp_id
            )
        ),
        abci_socket=settings.abci_socket,
        rpc_socket=settings.rpc_socket,
        profile=settings.profile,
        max_tx_bytes=limits.bundle_bytes,
        max_waiting_bytes=len(validators) * (BYTES_PER_MEMBER + limits.bundle_bytes),
        max_waiting=max(LEAST_WAITING, len(validators) * BUNDLES_PER_MEMBER),
    )


def _host_in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def needs_restart(before: HomeSettings, after: HomeSettings) -> bool:
    """Tell whether CometBFT must be started anew for other settings to count.

    A peer that comes connects by itself; one that has gone, or moved, is let go by a restart.
    """
    return (
        changes_own_keys(before, after)
        or bool(set(before.persistent_peers) - set(after.persistent_peers))
        or before.max_tx_bytes != after.max_tx_bytes
    )


def changes_own_keys(before: HomeSettings, after: HomeSettings) -> bool:
    """Tell whether this node is known by another key than before."""
    return _public(before.consensus_key) != _public(after.consensus_key) or _public(
        before.p2p_key
    ) != _public(after.p2p_key)


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
