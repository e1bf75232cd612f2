"""A contract package as bytes, and the hash that names it.

A package consists of `contract.toml` in its folder and of every `*.py` in the folder and below it.
Nothing else belongs to it, since a contract can read no file: other files, names that begin with a
dot and `__pycache__` are left out. Links are refused, so that a package is what its folder holds.

    package id = label ‖ ":" ‖ hex SHA-256 of its packed form:
        "qist contract package 1" 00, then for each file in the order of its path's bytes
        u32 length of path ‖ path (UTF-8, "/" between parts) ‖ u64 length of content ‖ content

Numbers are big-endian. Every byte of every file is in the hash, the manifest's too.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from chaincode.errors import PackageError
from chaincode.packages.manifest import MANIFEST, Manifest, decode_manifest

DOMAIN: Final = b"qist contract package 1\x00"
MAX_FILES: Final = 500
MAX_BYTES: Final = 8 * 1024 * 1024
_PART: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.py)?")
PATH_LENGTH: Final = struct.Struct(">I")
CONTENT_LENGTH: Final = struct.Struct(">Q")


@dataclass(frozen=True)
class ContractPackage:
    """A package in memory.

    Attributes:
        manifest: its `contract.toml`, read.
        files: content by path inside the package, in the order of the hash.
    """

    manifest: Manifest
    files: Mapping[str, bytes]

    @property
    def packed(self) -> bytes:
        """The package as one file; see `archive`."""
        parts = [DOMAIN]
        for path, content in self.files.items():
            raw = path.encode()
            parts += (PATH_LENGTH.pack(len(raw)), raw, CONTENT_LENGTH.pack(len(content)), content)
        return b"".join(parts)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the packed form, 64 hexadecimal digits."""
        return hashlib.sha256(self.packed).hexdigest()

    @property
    def package_id(self) -> str:
        """`label:hash`, as Fabric writes it."""
        return f"{self.manifest.label}:{self.hash}"


def make_package(files: Mapping[str, bytes]) -> ContractPackage:
    """Return the package of these files.

    Raises:
        PackageError: the manifest is missing or wrong, a path or the whole is not as it must be.
    """
    if MANIFEST not in files:
        raise PackageError(f"a contract package needs a {MANIFEST}; write one")
    if len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_BYTES:
        raise PackageError(
            f"a contract package holds at most {MAX_FILES} files and {MAX_BYTES} bytes; "
            "leave out what is no contract"
        )
    folders = {""}
    for path in files:
        if path != MANIFEST:
            _verify_path(path)
            folders.add(path.rpartition("/")[0])
    for folder in sorted(folders):
        initial = f"{folder}/__init__.py".lstrip("/")
        if initial not in files:
            raise PackageError(f"{initial} is missing; every folder of a package needs one")
    manifest = decode_manifest(files[MANIFEST])
    ordered = dict(sorted(files.items(), key=lambda item: item[0].encode()))
    return ContractPackage(manifest, ordered)


def _verify_path(path: str) -> None:
    *folders, name = path.split("/")
    sound = name.endswith(".py") and all(_PART.fullmatch(part) for part in (*folders, name))
    if not sound or any(part.endswith(".py") for part in folders):
        raise PackageError(
            f"{path!r} cannot be imported; name modules and folders with letters, digits and _"
        )


def read_folder(folder: Path) -> ContractPackage:
    """Read the package that *folder* holds.

    Raises:
        PackageError: there is none, or it is not as it must be; the message names the place.
    """
    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} is no contract package: it has no {MANIFEST}; write one")
    try:
        files = {path: file.read_bytes() for path, file in _files_of(folder)}
        return make_package(files)
    except OSError as error:
        raise PackageError(f"{folder} cannot be read: {error}; repair it") from error
    except PackageError as error:
        raise PackageError(f"{folder}: {error}") from None


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for found, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not _is_left_out(name))
        for name in (*folders, *names):
            if (Path(found) / name).is_symlink() and not _is_left_out(name):
                raise PackageError(f"{name} is a link; put the file itself into the package")
        for name in names:
            file = Path(found) / name
            path = file.relative_to(folder).as_posix()
            if path == MANIFEST or (name.endswith(".py") and not _is_left_out(name)):
                yield path, file


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _raise(error: OSError) -> None:
    raise error
