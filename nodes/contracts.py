"""Where a node finds contracts: the packages installed in its folder, and those of the system."""

from __future__ import annotations

from pathlib import Path

from chaincode.packages import PackageRegistry, PackageStore
from chaincode.simulator import ChaincodeRegistry
from nodes.channel import Channel

__all__ = ["CONTRACTS_FOLDER", "installed_contracts"]

CONTRACTS_FOLDER = "contracts"


def installed_contracts(folder: Path, channel: Channel) -> ChaincodeRegistry:
    """Return the contracts that the node in *folder* can run on *channel*."""
    return PackageRegistry(PackageStore(folder / CONTRACTS_FOLDER))
