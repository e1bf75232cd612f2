"""Installing contract packages in the folders of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from chaincode.packages import InstalledPackage, PackageStore, examine_package
from nodes.cli.node_folder import CONTRACTS_FOLDER
from nodes.configuration import load_configuration


def consortium_package() -> Path:
    """Return the folder of the consortium's contracts, which come with this program."""
    spec = find_spec("chaincode.instalments")
    if spec is None or spec.origin is None:
        raise RuntimeError("chaincode.instalments is not on this machine as files")
    return Path(spec.origin).parent


def install_package(folders: Sequence[Path], package: Path | None = None) -> InstalledPackage:
    """Install a package in nodes' folders; a running node finds it there.

    Args:
        folders: of the nodes; one at least.
        package: folder of the package; the consortium's by default. It is examined once.
    Raises:
        Refusal: a folder is no node's.
        PackageError, DeterminismError: no sound package.
    """
    for folder in folders:
        load_configuration(folder)
    examined = examine_package(package or consortium_package())
    installed = [PackageStore(folder / CONTRACTS_FOLDER).add(examined) for folder in folders]
    return installed[0]
