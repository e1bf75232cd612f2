"""A contract package as one file: what is sent to nodes, and what a wheel holds.

The packed form is the very bytes that the package's hash is taken of (`package`), so that the id of
a file is `label:SHA-256 of the file`, as Fabric forms it. There is one packed form of a package: a
file that says the same otherwise is refused.

A wheel (PEP 427) brings a package along as its one top-level Python package, `contract.toml`
included; it is read for these files alone, so a wheel and the folder it was built of are the same
package.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Final

from chaincode.errors import PackageError
from chaincode.packages.manifest import MANIFEST
from chaincode.packages.package import (
    CONTENT_LENGTH,
    DOMAIN,
    MAX_BYTES,
    MAX_FILES,
    PATH_LENGTH,
    ContractPackage,
    make_package,
    read_folder,
)

WHEEL: Final = ".whl"
MAX_PACKED: Final = MAX_BYTES + MAX_FILES * 1024
_MAX_PATH: Final = 1000
_NATIVE: Final = (".so", ".pyd", ".dll", ".dylib")
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError,
    ValueError,
)  # fmt: skip
"""What reading a damaged archive may raise."""


def read_package(source: Path) -> ContractPackage:
    """Read the package that a folder, a wheel or a packed file holds.

    Raises:
        PackageError: there is none, or it is not as it must be; the message names the place.
    """
    if source.is_dir():
        return read_folder(source)
    try:
        if source.suffix == WHEEL:
            return _read_wheel(source)
        with source.open("rb") as opened:
            raw = opened.read(MAX_PACKED + 1)
        return unpack(raw)
    except OSError as error:
        raise PackageError(
            f"{source} cannot be read: {error}; name the folder of a package, a wheel, or a file "
            "that `qist contract package` has written"
        ) from error
    except PackageError as error:
        raise PackageError(f"{source}: {error}") from None


def unpack(raw: bytes) -> ContractPackage:
    """Read the packed form of a package.

    Raises:
        PackageError: it is not the packed form of a sound package.
    """
    if len(raw) > MAX_PACKED:
        raise PackageError(f"a packed package has at most {MAX_PACKED} bytes; leave files out")
    if not raw.startswith(DOMAIN):
        raise PackageError(
            "this is no packed contract package; make one with `qist contract package`"
        )
    files: dict[str, bytes] = {}
    place = len(DOMAIN)
    while place < len(raw):
        path, place = _take(raw, place, PATH_LENGTH.size, _MAX_PATH)
        content, place = _take(raw, place, CONTENT_LENGTH.size, MAX_BYTES)
        try:
            name = path.decode("utf-8")
        except UnicodeDecodeError:
            raise _damaged() from None
        if name in files or len(files) >= MAX_FILES:
            raise _damaged()
        files[name] = content
    package = make_package(files)
    if package.packed != raw:
        raise PackageError("the files are not in their order; pack with `qist contract package`")
    return package


def _take(raw: bytes, place: int, size: int, most: int) -> tuple[bytes, int]:
    """Return the bytes behind a length of *size* bytes at *place*, and the place behind them."""
    begin = place + size
    length = int.from_bytes(raw[place:begin], "big")
    if begin > len(raw) or length > most or begin + length > len(raw):
        raise _damaged()
    return raw[begin : begin + length], begin + length


def _damaged() -> PackageError:
    return PackageError("the packed contract package is damaged; pack it again and compare its id")


def _read_wheel(source: Path) -> ContractPackage:
    try:
        with zipfile.ZipFile(source) as archive:
            files = _wheel_files(archive)
    except PackageError:
        raise
    except _BROKEN as error:
        raise PackageError(f"is no wheel that can be read: {error}; build it again") from error
    return make_package(files)


def _wheel_files(archive: zipfile.ZipFile) -> dict[str, bytes]:
    """Return the files of the one contract package in a wheel, without its folder's name."""
    entries = [each for each in archive.infolist() if not each.is_dir()]
    if len(entries) > 4 * MAX_FILES:
        raise PackageError(f"the wheel has {len(entries)} files; leave out what is no contract")
    own = [each for each in entries if ".dist-info/" not in each.filename]
    native = [each.filename for each in own if each.filename.endswith(_NATIVE)]
    if native:
        raise PackageError(f"{native[0]} is machine code; a contract is pure Python")
    roots = {each.filename.partition("/")[0] for each in own}
    if len(roots) != 1:
        raise PackageError(
            f"the wheel holds {len(roots)} top-level packages ({', '.join(sorted(roots)[:5])}); a "
            "contract package is one, and imports nothing but itself"
        )
    root = f"{roots.pop()}/"
    if not any(each.filename == root + MANIFEST for each in own):
        raise PackageError(f"the wheel has no {root}{MANIFEST}; add it to the wheel's package data")
    files: dict[str, bytes] = {}
    left = MAX_BYTES
    for each in own:
        path = each.filename.removeprefix(root)
        if path == MANIFEST or path.endswith(".py"):
            with archive.open(each) as opened:
                content = opened.read(left + 1)
            left -= len(content)
            if left < 0 or path in files:
                raise PackageError(
                    f"the wheel unpacks to more than {MAX_BYTES} bytes, or holds {path} twice"
                )
            files[path] = content
    return files
