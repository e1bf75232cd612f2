"""Contract packages as files and in the folders of nodes; ``qist contract package``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from chaincode.packages import (
    ContractPackage,
    InstalledPackage,
    PackageStore,
    examine_package,
    load_package,
)
from ledger.errors import Refusal
from nodes.cli.node_folder import CONTRACTS_FOLDER
from nodes.cli.terminal import AsJson, Terminal
from nodes.configuration import load_configuration

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Contract packages.")


@app.callback()
def packages() -> None:
    """Make a group of the one command, whose words are added to ``qist contract``."""


@app.command("package")
def package(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="Folder of the package, or a wheel.")
    ],
    out: Annotated[Path, typer.Option(help="The file to write, as counting.package.")],
    as_json: AsJson = False,
) -> None:
    """Check a contract package and pack it into one file; its id is told."""
    terminal = Terminal.of(context, as_json)
    examined = write_package(source, out)
    terminal.result(
        {
            "file": str(out),
            "package_id": examined.package_id,
            "version": examined.manifest.version,
            "contracts": list(examined.manifest.contracts),
        },
        [
            f"{examined.package_id} is in {out}: it offers "
            f"{', '.join(examined.manifest.contracts)} {examined.manifest.version}",
        ],
    )


def write_package(source: Path, out: Path) -> ContractPackage:
    """Check the package in *source*, load it, and write its packed form to a new file.

    Raises:
        Refusal: the file is there already, with other content.
        PackageError, DeterminismError: no sound package.
    """
    examined = examine_package(source)
    load_package(examined, source)
    if out.exists() and out.read_bytes() != examined.packed:
        raise Refusal(f"{out} is there already, with other content; name another file")
    out.write_bytes(examined.packed)
    return examined


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
        package: the package's folder, wheel or packed file; the consortium's by default. It is
            examined once.
    Raises:
        Refusal: a folder is no node's.
        PackageError, DeterminismError: no sound package.
    """
    for folder in folders:
        load_configuration(folder)
    examined = examine_package(package or consortium_package())
    installed = [PackageStore(folder / CONTRACTS_FOLDER).add(examined) for folder in folders]
    return installed[0]
