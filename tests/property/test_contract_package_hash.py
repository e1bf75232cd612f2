"""Any change of any byte of a package changes its hash."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from chaincode.packages.package import make_package
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
