"""Any change of any byte of a package changes its hash, and any bytes are a package or refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaincode.errors import PackageError
from chaincode.packages import unpack
from chaincode.packages.package import DOMAIN, make_package
from tests.support.toy_package import toy_files

MODULES = st.sampled_from(["__init__.py", "main.py", "rules.py"])


@given(path=MODULES, data=st.data())
def test_package_hash_changes_with_any_byte(path: str, data: st.DataObject) -> None:
    """A byte changed, added or taken away anywhere gives another hash."""
    files = toy_files()
    content = bytearray(files[path])
    place = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["change", "add", "remove"])):
        case "change":
            content[place] ^= data.draw(st.integers(1, 255))
        case "add":
            content.insert(place, data.draw(st.integers(0, 255)))
        case "remove":
            del content[place]
    assert make_package(files | {path: bytes(content)}).hash != make_package(files).hash


@given(st.data())
def test_package_hash_changes_when_bytes_move_between_files(data: st.DataObject) -> None:
    """Lengths are part of the hash: moving bytes from one file's end to the next one's beginning
    gives another hash.
    """
    files = toy_files()
    moved = data.draw(st.integers(1, len(files["main.py"])))
    main, rules = files["main.py"], files["rules.py"]
    changed = files | {"main.py": main[:-moved], "rules.py": main[-moved:] + rules}
    assert make_package(changed).hash != make_package(files).hash


PARTS = st.one_of(
    st.binary(max_size=12),
    st.integers(0, 2**32 - 1).map(lambda number: number.to_bytes(4, "big")),
    st.integers(0, 2**64 - 1).map(lambda number: number.to_bytes(8, "big")),
    st.sampled_from([b"\x00\x00\x00\x07", b"main.py", b"contract.toml", bytes(8), DOMAIN]),
)


@given(st.lists(PARTS, max_size=12).map(b"".join), st.booleans())
def test_bytes_of_any_kind_are_a_package_or_refused(content: bytes, begins: bool) -> None:
    """Lengths that lie, names that are no text, nothing at all."""
    raw = DOMAIN + content if begins else content
    try:
        found = unpack(raw)
    except PackageError:
        return
    assert found.packed == raw


@given(st.data())
def test_packed_package_with_a_byte_changed_is_another_or_refused(data: st.DataObject) -> None:
    """What still reads has another id."""
    sound = make_package(toy_files())
    raw = bytearray(sound.packed)
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(raw) == sound.packed:
        return
    try:
        found = unpack(bytes(raw))
    except PackageError:
        return
    assert found.hash != sound.hash
