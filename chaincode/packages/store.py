"""The packages installed on one node: a folder with one folder a package, named by package id.

Invariants: a package appears whole or not at all; what is used was verified against the hash in
its name at that moment, from the very bytes that are then run; no two installed packages offer the
same contract in the same version, so that a definition leads to one package.

Absent: removing one. A definition may name it again, and history is read by whoever comes later.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from chaincode.determinism import verify_determinism
from chaincode.errors import PackageError
from chaincode.packages.archive import read_package, unpack
from chaincode.packages.loader import load_package
from chaincode.packages.package import ContractPackage, read_folder
from chaincode.simulator.chaincode import ContractChaincode

_PACKAGE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}:[0-9a-f]{64}")
_UNFINISHED: Final = ".installing-"


@dataclass(frozen=True, slots=True)
class InstalledPackage:
    """A package of a node.

    Attributes:
        package_id: `label:hash`.
        version: which definitions it serves.
        contracts: the names it offers, sorted.
        folder: where its files lie.
    """

    package_id: str
    version: str
    contracts: tuple[str, ...]
    folder: Path


def examine_package(source: Path) -> ContractPackage:
    """Read the package in *source* and check that it gives the same result everywhere.

    Raises:
        DeterminismError: it uses what would make two endorsers differ; every place is named.
        PackageError: it is no sound package.
    """
    package = read_package(source)
    verify_determinism(package.files)
    return package


class PackageStore:
    """The installed packages under *folder*, which need not exist yet. Safe on several threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._seen: tuple[str, ...] = ()
        self._installed: tuple[InstalledPackage, ...] = ()
        self._faults: tuple[str, ...] = ()

    def install(self, source: Path) -> InstalledPackage:
        """Copy the package in *source* here; one that is here already is left as it is.

        Raises:
            DeterminismError: it uses what would make two endorsers differ; every place is named.
            PackageError: it is no sound package, or another one offers the same contract in the
                same version.
        """
        return self.add(examine_package(source))

    def install_packed(self, raw: bytes) -> InstalledPackage:
        """Install a package from its packed form; see `install`.

        None of its code is run, since nobody has approved it yet: what breaks when it is loaded
        says so then.
        """
        package = unpack(raw)
        verify_determinism(package.files)
        return self.add(package, load=False)

    def add(self, package: ContractPackage, *, load: bool = True) -> InstalledPackage:
        """Do what `install` does, with a package that `examine_package` has returned.

        Args:
            package: examined.
            load: whether it is loaded first, so that what breaks is never installed.
        Raises:
            PackageError: it breaks when it is loaded, or another one offers the same contract in
                the same version.
        """
        with self._lock:
            for installed in self._scan():
                if installed.package_id == package.package_id:
                    return installed
                _refuse_same_version(package, installed)
            folder = self.folder / package.package_id
            if load:
                load_package(package, folder)
            try:
                self._write(package)
            except OSError as error:
                if folder.exists():
                    # Another process was quicker, or it was damaged: then this says so.
                    return _describe(_read_verified(folder), folder)
                raise PackageError(
                    f"package {package.package_id} cannot be written to {self.folder}: {error}"
                ) from error
        return _describe(package, folder)

    def installed(self) -> tuple[InstalledPackage, ...]:
        """Return the sound packages, sorted by id."""
        with self._lock:
            return self._scan()

    def faults(self) -> tuple[str, ...]:
        """Return what is wrong with folders here that are no sound packages, one text each."""
        with self._lock:
            self._scan()
            return self._faults

    def find(self, name: str, version: str) -> InstalledPackage | None:
        """Return the package that offers contract *name* in *version*, None if none does."""
        for installed in self.installed():
            if installed.version == version and name in installed.contracts:
                return installed
        return None

    def get(self, package_id: str) -> InstalledPackage | None:
        """Return the sound package of that id, None if there is none."""
        for installed in self.installed():
            if installed.package_id == package_id:
                return installed
        return None

    def offers(self, name: str, version: str) -> bool:
        """Say whether contract *name* can be run here in *version*."""
        return self.find(name, version) is not None

    def load(self, package_id: str) -> Mapping[str, ContractChaincode]:
        """Return the contracts of an installed package by name, verified and loaded.

        Raises:
            PackageError: it is not installed, was changed after it was installed, or breaks.
        """
        folder = self._folder_of(package_id)
        return load_package(_read_verified(folder), folder)

    def packed(self, package_id: str) -> bytes:
        """Return an installed package as one file, verified.

        Raises:
            PackageError: it is not installed, or was changed after it was installed.
        """
        return _read_verified(self._folder_of(package_id)).packed

    def _folder_of(self, package_id: str) -> Path:
        if not _PACKAGE_ID.fullmatch(package_id):
            raise PackageError(f"{package_id[:80]!r} is no package id; it is label:hash")
        folder = self.folder / package_id
        if not folder.is_dir():
            raise PackageError(f"package {package_id} is not installed here; install it")
        return folder

    def _scan(self) -> tuple[InstalledPackage, ...]:
        """Read the packages again if one came or went since the last time."""
        try:
            names = tuple(sorted(name for name in os.listdir(self.folder) if name[0] != "."))
        except FileNotFoundError:
            names = ()
        if names != self._seen:
            sound, faults = [], []
            for name in names:
                folder = self.folder / name
                try:
                    sound.append(_describe(_read_verified(folder), folder))
                except PackageError as error:
                    faults.append(str(error))
            self._installed, self._faults, self._seen = tuple(sound), tuple(faults), names
        return self._installed

    def _write(self, package: ContractPackage) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(_UNFINISHED + "*"):
            shutil.rmtree(left)
        unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.folder))
        unfinished.chmod(0o755)
        folders = [unfinished]
        for path, content in package.files.items():
            file = unfinished / path
            if not file.parent.exists():
                file.parent.mkdir(parents=True)
                folders.append(file.parent)
            with file.open("xb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
        for folder in folders:
            _sync_folder(folder)
        unfinished.rename(self.folder / package.package_id)
        _sync_folder(self.folder)


def _refuse_same_version(package: ContractPackage, installed: InstalledPackage) -> None:
    same = [name for name in package.manifest.contracts if name in installed.contracts]
    if same and package.manifest.version == installed.version:
        raise PackageError(
            f"contract {same[0]} is installed in version {installed.version} already, with other "
            f"content ({installed.package_id}); give the new package another version"
        )


def _read_verified(folder: Path) -> ContractPackage:
    if not _PACKAGE_ID.fullmatch(folder.name):
        raise PackageError(f"{folder} is no installed package; move it away")
    package = read_folder(folder)
    if package.package_id != folder.name:
        raise PackageError(
            f"package {folder.name} was changed after it was installed: its files now make "
            f"{package.package_id}; remove {folder} and install the package again"
        )
    return package


def _describe(package: ContractPackage, folder: Path) -> InstalledPackage:
    manifest = package.manifest
    return InstalledPackage(package.package_id, manifest.version, tuple(manifest.contracts), folder)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
