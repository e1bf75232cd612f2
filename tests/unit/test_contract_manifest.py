"""The manifest of a contract package, and the hash that names a package."""

from __future__ import annotations

import hashlib

import pytest

from chaincode.errors import PackageError
from chaincode.packages import decode_manifest
from chaincode.packages.package import make_package
from tests.support.toy_package import toy_files

GOOD = 'label = "toy"\nversion = "1"\n[contracts]\ntoy = "main:Toy"\n'


def test_manifest_that_is_whole_gives_what_it_says() -> None:
    """Label, version and contracts, sorted by name."""
    manifest = decode_manifest(GOOD.encode() + b'a-b = "x.y:Z"\n')
    assert (manifest.label, manifest.version) == ("toy", "1")
    assert list(manifest.contracts.items()) == [("a-b", "x.y:Z"), ("toy", "main:Toy")]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('label = "toy"', "label = 1", "needs label"),
        ('label = "toy"', "", "needs label"),
        ('label = "toy"', 'label = "a:b"', "needs label"),
        ('label = "toy"', f'label = "{"x" * 65}"', "needs label"),
        ('version = "1"', 'version = ""', "needs version"),
        ('version = "1"', "version = 1.0", "needs version"),
        ('toy = "main:Toy"', "", "names no contract"),
        ("[contracts]", "[[contracts]]", "names no contract"),
        ('toy = "main:Toy"', '"_lifecycle" = "main:Toy"', "contract's name"),
        ('toy = "main:Toy"', '"a--b" = "main:Toy"', "contract's name"),
        ('toy = "main:Toy"', f'"{"x" * 65}" = "main:Toy"', "contract's name"),
        ('toy = "main:Toy"', 'toy = "main"', "module:Class"),
        ('toy = "main:Toy"', 'toy = "../main:Toy"', "module:Class"),
        ('toy = "main:Toy"', "toy = 1", "module:Class"),
        ('label = "toy"', 'labels = "x"\nlabel = "toy"', "'labels', which nobody reads"),
        ("[contracts]", "[contracts", "is not TOML"),
        ("toy", "t\\u00f6y", "is not TOML"),
    ],
)
def test_manifest_that_is_wrong_is_refused_with_the_word(old: str, new: str, words: str) -> None:
    """What is missing, misspelt or malformed is refused, and the message says which word it is."""
    with pytest.raises(PackageError, match=words):
        decode_manifest(GOOD.replace(old, new).encode())


def test_manifest_that_is_no_text_is_refused() -> None:
    """Bytes that are no UTF-8 are no TOML."""
    with pytest.raises(PackageError, match="is not TOML"):
        decode_manifest(b"\xff\xfe")


def test_package_id_is_the_documented_hash() -> None:
    """The bytes of docs/formats.md, put together here a second time."""
    files = toy_files()
    raw = b"qist contract package 1\x00"
    for path in ("__init__.py", "contract.toml", "main.py", "rules.py"):
        raw += len(path).to_bytes(4, "big") + path.encode()
        raw += len(files[path]).to_bytes(8, "big") + files[path]
    assert make_package(files).package_id == "toy:" + hashlib.sha256(raw).hexdigest()


def test_package_hash_does_not_depend_on_the_order_of_files() -> None:
    """Files are hashed in the order of their paths' bytes."""
    files = toy_files()
    turned = dict(reversed(files.items()))
    assert make_package(files).hash == make_package(turned).hash


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"contract.toml": None}, "needs a contract.toml"),
        ({"__init__.py": None}, "__init__.py is missing"),
        ({"below/rules.py": b""}, "below/__init__.py is missing"),
        ({"a-b.py": b""}, "cannot be imported"),
        ({"1st.py": b""}, "cannot be imported"),
        ({"../rules.py": b""}, "cannot be imported"),
        ({"a.py/rules.py": b""}, "cannot be imported"),
        ({"data.json": b""}, "cannot be imported"),
        ({"big.py": b"#" * (8 * 1024 * 1024)}, "at most 500 files"),
        ({f"m{number}.py": b"" for number in range(500)}, "at most 500 files"),
    ],
)
def test_package_that_is_not_as_it_must_be_is_refused(
    files: dict[str, bytes | None], words: str
) -> None:
    """A manifest, an `__init__.py` in each folder, importable names, bounded size."""
    changed = toy_files() | files
    with pytest.raises(PackageError, match=words):
        make_package({path: content for path, content in changed.items() if content is not None})
