"""Where a node finds contracts: the packages installed in its folder, and those of the system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chaincode.packages import PackageRegistry, PackageStore
from chaincode.simulator import Chaincode, ChaincodeRegistry
from chaincode.system import BlockQueries, ConfigurationQueries, Lifecycle
from chaincode.system.ports import InstalledContracts
from nodes.channel import Channel

__all__ = ["CONTRACTS_FOLDER", "installed_contracts", "system_contracts"]

CONTRACTS_FOLDER = "contracts"


def installed_contracts(folder: Path, channel: Channel) -> ChaincodeRegistry:
    """Return the contracts that the node in *folder* can run on *channel*."""
    store = PackageStore(folder / CONTRACTS_FOLDER)
    return PackageRegistry(store, system_contracts(store, channel))


def system_contracts(installed: InstalledContracts, channel: Channel) -> Sequence[Chaincode]:
    """Return `_lifecycle`, `qscc` and `cscc` as a node runs them.

    Args:
        installed: what the node could run, and so agrees to be defined.
        channel: whose blocks and configuration are asked for.
    """
    return (
        Lifecycle(installed),
        BlockQueries(channel.ledger),
        ConfigurationQueries(channel, channel.ledger),
    )
