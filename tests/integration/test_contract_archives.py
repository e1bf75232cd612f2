"""Contract packages as one file: packed, and as wheels; both are the package of their folder."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from chaincode.errors import DeterminismError, PackageError
from chaincode.packages import PackageStore, read_package, unpack
from chaincode.packages.package import make_package
from tests.support.toy_package import toy_files, write_package

PACKED = make_package(toy_files()).packed


def wheel(folder: Path, files: dict[str, bytes]) -> Path:
    """Write a wheel of these files."""
    path = folder / "toy-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def built(**more: bytes) -> dict[str, bytes]:
    """Return what a build tool puts into the toy's wheel."""
    files = {f"toy/{path}": content for path, content in toy_files().items()}
    files["toy-1.dist-info/METADATA"] = b"Name: toy\n"
    files["toy-1.dist-info/RECORD"] = b""
    return files | {name.replace("__", "/"): content for name, content in more.items()}


def test_packed_file_is_the_package_of_its_folder(tmp_path: Path) -> None:
    """Its id is the label and the SHA-256 of the file, and installing it is installing the
    folder.
    """
    folder = write_package(tmp_path / "toy", toy_files())
    (tmp_path / "toy.package").write_bytes(PACKED)
    found = read_package(tmp_path / "toy.package")
    assert found.package_id == read_package(folder).package_id
    assert found.package_id == f"toy:{hashlib.sha256(PACKED).hexdigest()}"
    store = PackageStore(tmp_path / "contracts")
    installed = store.install_packed(PACKED)
    assert store.install(folder) == installed
    assert store.packed(installed.package_id) == PACKED


def test_wheel_is_the_package_of_its_folder(tmp_path: Path) -> None:
    """Whatever else a build tool adds, and in whatever order."""
    names = sorted(built(), reverse=True)
    path = wheel(tmp_path, {name: built()[name] for name in names})
    assert read_package(path).packed == PACKED
    assert PackageStore(tmp_path / "contracts").install(path).contracts == ("toy",)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (built(other__module=b""), r"2 top-level packages \(other, toy\)"),
        (built() | {"toy/fast.so": b"\x7fELF"}, "toy/fast.so is machine code"),
        ({n: c for n, c in built().items() if "contract.toml" not in n}, "no toy/contract.toml"),
        ({"toy-1.dist-info/METADATA": b""}, "0 top-level packages"),
        (built() | {"toy/big.py": b"#" * (9 * 1024 * 1024)}, "unpacks to more than"),
        (built() | {f"toy/m{n}.py": b"" for n in range(2100)}, "leave out what is no contract"),
        (built() | {"toy/../../x.py": b""}, "cannot be imported"),
    ],
    ids=["two packages", "machine code", "no manifest", "empty", "bomb", "many", "way out"],
)
def test_wheel_that_is_no_contract_package_is_refused(
    tmp_path: Path, files: dict[str, bytes], words: str
) -> None:
    """One package of pure Python with a manifest, and no more than any package may be."""
    with pytest.raises(PackageError, match=words):
        read_package(wheel(tmp_path, files))


def test_damaged_wheel_is_refused_wherever_it_is_damaged(tmp_path: Path) -> None:
    """A byte anywhere: refused, or a package with every file's content whole, since a wheel checks
    contents and not names; never an error that escapes.
    """
    sound = wheel(tmp_path, built()).read_bytes()
    path = tmp_path / "damaged.whl"
    refused = 0
    for place in range(0, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x55]) + sound[place + 1 :])
        try:
            found = read_package(path)
        except PackageError:
            refused += 1
        else:
            assert set(found.files.values()) <= set(toy_files().values())
    assert refused > len(sound) // 14
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(PackageError, match="is no wheel that can be read"):
        read_package(path)


def test_packed_file_damaged_or_cut_is_refused_or_another_package() -> None:
    """Every byte is in the id: what still reads has another one."""
    sound = make_package(toy_files())
    for place in range(0, len(PACKED), 3):
        damaged = PACKED[:place] + bytes([PACKED[place] ^ 0x01]) + PACKED[place + 1 :]
        for raw in (damaged, PACKED[:place]):
            try:
                found = unpack(raw)
            except PackageError:
                continue
            assert found.hash != sound.hash
            assert found.packed == raw


def test_same_package_packed_otherwise_is_refused() -> None:
    """Files in another order, or one twice: there is one packed form."""
    entries = []
    for path, content in make_package(toy_files()).files.items():
        raw = path.encode()
        entries.append(
            len(raw).to_bytes(4, "big") + raw + len(content).to_bytes(8, "big") + content
        )
    begin = PACKED[: len(PACKED) - sum(map(len, entries))]
    assert begin + b"".join(entries) == PACKED
    with pytest.raises(PackageError, match="not in their order"):
        unpack(begin + b"".join(reversed(entries)))
    with pytest.raises(PackageError, match="is damaged"):
        unpack(begin + b"".join([*entries, entries[-1]]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "this is no packed contract package"),
        (b"qist contract package 2\x00", "this is no packed contract package"),
        (b"qist contract package 1\x00", "needs a contract.toml"),
        (b"qist contract package 1\x00\xff\xff\xff\xff", "is damaged"),
    ],
)
def test_file_that_is_no_package_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """The message names the file and the way out."""
    path = tmp_path / "nothing.package"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=rf"nothing\.package: .*{words}"):
        read_package(path)
    with pytest.raises(PackageError, match="cannot be read"):
        read_package(tmp_path / "absent.package")


def test_wheel_with_a_manifest_of_another_name_is_read_by_its_manifest(tmp_path: Path) -> None:
    """Label and version come from the manifest, not from the wheel's own name."""
    path = wheel(tmp_path, built())
    renamed = path.rename(tmp_path / "renamed-7-py3-none-any.whl")
    assert read_package(renamed).manifest.version == "1"
    with zipfile.ZipFile(io.BytesIO(renamed.read_bytes())) as archive:
        assert "toy/contract.toml" in archive.namelist()


def test_packed_package_is_not_run_when_it_is_installed(tmp_path: Path) -> None:
    """Nobody has approved it; that it breaks is said when it is to be run."""
    broken = make_package(toy_files("1", "x", main="raise OSError"))
    store = PackageStore(tmp_path / "contracts")
    installed = store.install_packed(broken.packed)
    assert store.installed() == (installed,)
    with pytest.raises(PackageError, match="broke while it was loaded"):
        store.load(installed.package_id)
    with pytest.raises(PackageError, match="broke while it was loaded"):
        PackageStore(tmp_path / "others").add(broken)


def test_packed_package_that_differs_between_endorsers_is_refused(tmp_path: Path) -> None:
    """The guard looks at it without running it."""
    package = make_package(toy_files("1", "x", main="import random"))
    with pytest.raises(DeterminismError, match=r"main\.py:1"):
        PackageStore(tmp_path / "contracts").install_packed(package.packed)


@pytest.mark.parametrize(
    "files",
    [
        {"contract.toml": b"x = " + b"[" * 900 + b"]" * 900},
        {"contract.toml": b"x = " + b"9" * 10_000},
        {"contract.toml": b"#" * 70_000},
        {"contract.toml": b"\xff"},
        {"main.py": b"x = " + b"+".join([b"a"] * 900)},
        {"main.py": b"x = a" + b".b" * 900},
        {"main.py": b"x = " + b"not " * 3000 + b"a"},
        {"main.py": b"x = " + b"9" * 10_000},
        {"main.py": b"\x00"},
        {"main.py": b"# coding: nonsense\n"},
    ],
)
def test_packed_package_that_cannot_be_checked_is_refused(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    """Nested too deep, numbers too long, no text: a refusal, whatever the parser makes of it."""
    package = _packed_anyhow(toy_files() | files)
    with pytest.raises(PackageError):
        PackageStore(tmp_path / "contracts").install_packed(package)


def _packed_anyhow(files: dict[str, bytes]) -> bytes:
    """Return the packed form of files that may be no package."""
    parts = [b"qist contract package 1\x00"]
    for path, content in sorted(files.items()):
        parts += (len(path).to_bytes(4, "big"), path.encode())
        parts += (len(content).to_bytes(8, "big"), content)
    return b"".join(parts)
