"""Installing contract packages in a node's folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from chaincode.packages import InstalledPackage, PackageStore
from nodes.configuration import load_configuration
from nodes.contracts import CONTRACTS_FOLDER


def consortium_package() -> Path:
    """Return the folder of the consortium's contracts, which come with this program."""
    spec = find_spec("chaincode.instalments")
    if spec is None or spec.origin is None:
        raise RuntimeError("chaincode.instalments is not on this machine as files")
    return Path(spec.origin).parent


def install_package(folder: Path, package: Path | None = None) -> InstalledPackage:
    """Install a package in a node's folder; a running node finds it there.

    Args:
        folder: of the node.
        package: folder of the package; the consortium's by default.
    Raises:
        Refusal: the folder is no node's.
        PackageError, DeterminismError: no sound package.
    """
    load_configuration(folder)
    return PackageStore(folder / CONTRACTS_FOLDER).install(package or consortium_package())
