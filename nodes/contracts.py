"""Where a node finds contracts: the packages installed in its folder, and those of the system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from chaincode.packages import Approvals, ContractStanding, PackageRegistry, PackageStore
from chaincode.simulator import Chaincode, ChaincodeRegistry
from chaincode.system import BlockQueries, ConfigurationQueries, Lifecycle
from chaincode.system.ports import InstalledContracts
from ledger.state.ports import StateReader
from network.errors import IdentityError
from network.policy import SignaturePolicy
from nodes.channel import Channel
from nodes.configuration import load_configuration

__all__ = [
    "CONTRACTS_FOLDER",
    "DefinedOn",
    "NodeContracts",
    "installed_contracts",
    "system_contracts",
]

CONTRACTS_FOLDER = "contracts"


class NodeContracts(ChaincodeRegistry, Protocol):
    """What a node can run, and what it says of it."""

    def standings(self, state: StateReader) -> Sequence[ContractStanding]:
        """Return how the node stands to each definition in force, by name."""


class DefinedOn:
    """A channel as `_lifecycle` asks for it (`chaincode.system.ports.LifecycleChannel`).

    Everything is answered under the configuration that is in force when it is asked.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @property
    def member_ids(self) -> Sequence[str]:
        """MSP ids of the organisations that run contracts, sorted."""
        return sorted(self._channel.configuration.organisations)

    def has_policy(self, path: str) -> bool:
        """Say whether the channel has a policy of this path."""
        return path in self._channel.configuration.policies.paths

    def is_msp(self, msp_id: str) -> bool:
        """Say whether an organisation is part of the channel, as orderer too."""
        return msp_id in self._channel.configuration.msps.msps

    def is_identity(self, serialized: bytes) -> bool:
        """Say whether this is an identity of the channel."""
        try:
            self._channel.configuration.msps.deserialize(serialized)
        except IdentityError:
            return False
        return True

    def verify_signature_policy(self, envelope: bytes) -> None:
        """Check a marshalled `SignaturePolicyEnvelope`; raises Refusal."""
        SignaturePolicy(envelope, self._channel.configuration.msps)


def installed_contracts(folder: Path, channel: Channel) -> NodeContracts:
    """Return the contracts that the node in *folder* can run on *channel*."""
    store = PackageStore(folder / CONTRACTS_FOLDER)
    msp_id = load_configuration(folder).msp_id
    return PackageRegistry(
        store,
        system_contracts(msp_id, store, channel),
        Approvals(msp_id, DefinedOn(channel), channel.channel_id),
    )


def system_contracts(
    msp_id: str, installed: InstalledContracts, channel: Channel
) -> Sequence[Chaincode]:
    """Return `_lifecycle`, `qscc` and `cscc` as a node runs them.

    Args:
        msp_id: the node's member.
        installed: what the node could run, and so agrees to be defined.
        channel: whose blocks and configuration are asked for.
    """
    return (
        Lifecycle(msp_id, installed, DefinedOn(channel)),
        BlockQueries(channel.ledger),
        ConfigurationQueries(channel, channel.ledger),
    )
