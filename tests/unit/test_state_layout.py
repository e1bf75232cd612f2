"""Keys and values of the database: they come back as they went in, and stand in the right order."""

from __future__ import annotations

import pytest

from ledger.blocks.segments import Location, Position
from ledger.errors import Refusal
from ledger.state import keys
from ledger.state.composite import (
    CompositeKeyError,
    composite_range,
    create_composite_key,
    split_composite_key,
)
from ledger.state.descriptions import describe_key, describe_value
from ledger.state.ports import VersionedValue
from ledger.state.version import Version, encode_version
from ledger.transactions.rwset import decode_metadata, encode_metadata
from ledger.validation.ports import Mark
from ledger.validation.updates import Update

LAST = Version(2**40 - 1, 2**24 - 1)


@pytest.mark.parametrize("version", [Version(0, 0), Version(7, 2), LAST])
@pytest.mark.parametrize("metadata", [b"", b"m", bytes(70_000)])
@pytest.mark.parametrize("value", [b"", b"v", bytes(70_000)])
def test_entry_comes_back_as_it_went_in(version: Version, metadata: bytes, value: bytes) -> None:
    """Value, version and metadata of an entry are kept, whatever they hold."""
    raw = keys.encode_entry(Update(b"key", value, version, metadata))
    assert keys.decode_entry(raw) == VersionedValue(value, version, metadata)
    assert keys.decode_mark(raw) == Mark(version, metadata)


def test_indexes_come_back_as_they_went_in() -> None:
    """Places, numbers and savepoints are kept."""
    location = Location(2**32 - 1, 2**63, 2**32 - 1)
    assert keys.decode_location(keys.encode_location(location)) == location
    assert keys.decode_position(keys.encode_position(Position(3, 2**40))) == Position(3, 2**40)
    assert keys.decode_number(keys.encode_number(2**64 - 1)) == 2**64 - 1
    assert keys.decode_transaction(keys.encode_transaction(*LAST, 255)) == (LAST, 255)
    assert keys.decode_format(keys.encode_format()) == keys.FORMAT_VERSION
    assert keys.decode_format(b"") == 0
    for commit_hash in (b"", b"c" * 32):
        savepoint = (9, b"h" * 32, commit_hash)
        assert keys.decode_savepoint(keys.encode_savepoint(*savepoint)) == savepoint
    key = keys.expiry_key(9, 4, "shop", "térms", b"\x00" * 32)
    assert keys.decode_expiry(key) == (4, "shop", "térms", b"\x00" * 32)
    assert key.startswith(keys.expiry_prefix(9))


def test_history_of_a_key_stands_newest_first() -> None:
    """A later place has a smaller key, and gives its version back."""
    versions = [Version(0, 0), Version(0, 1), Version(1, 0), Version(1, 300), Version(256, 0), LAST]
    stored = [keys.history_key("shop", b"a", *version) for version in versions]
    assert sorted(stored, reverse=True) == stored
    assert [keys.decode_history_version(key) for key in stored] == versions
    assert all(key.startswith(keys.history_of("shop", b"a")) for key in stored)


def test_names_never_run_into_one_another() -> None:
    """Namespaces, collections and keys are told apart whatever their letters."""
    spaces = [keys.public_prefix(name) for name in ("", "a", "ab", "b", "a\x00", "é")]
    for one in spaces:
        for other in spaces:
            assert one == other or not other.startswith(one)
    assert keys.hashed_prefix("ab", "c") != keys.hashed_prefix("a", "bc")
    assert not keys.history_of("shop", b"ab").startswith(keys.history_of("shop", b"a"))
    assert not keys.history_of("shop", b"a\x00\x00\x00\x01b").startswith(
        keys.history_of("shop", b"a")
    )


def test_end_of_a_prefix_stands_behind_all_its_keys() -> None:
    """Every key under a prefix is before its end, and no other prefix is."""
    for name in ("", "shop", "\U0010ffff"):
        prefix = keys.public_prefix(name)
        assert prefix < prefix + b"\xff" * 50 < keys.after(prefix)
    assert keys.after(keys.public_prefix("shop")) <= keys.public_prefix("shoq")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (Version(0, 0), "0000"),
        (Version(1, 0), "010100"),
        (Version(0, 1), "000101"),
        (Version(255, 256), "01ff020100"),
        (Version(2**64 - 1, 1), "08ffffffffffffffff0101"),
    ],
)
def test_version_is_encoded_as_the_commit_hash_has_it(version: Version, expected: str) -> None:
    """A length and the shortest form; zero has length zero, which is the one byte 00."""
    assert encode_version(version).hex() == expected


def test_composite_key_comes_apart_as_it_was_made() -> None:
    """Type and attributes come back, empty ones too."""
    for attributes in ([], ["A1"], ["A1", "0001"], ["", ""], ["é", "\U0001f600"]):
        key = create_composite_key("pay", attributes)
        assert split_composite_key(key) == ("pay", attributes)


@pytest.mark.parametrize("part", ["\x00", "a\x00b", "\U0010ffff"])
def test_composite_key_of_forbidden_characters_is_refused(part: str) -> None:
    """U+0000 separates and U+10FFFF ends a range; neither may stand in a part."""
    for make in (
        lambda: create_composite_key(part, []),
        lambda: create_composite_key("pay", ["A1", part]),
        lambda: composite_range("pay", [part]),
    ):
        with pytest.raises(CompositeKeyError, match="leave those characters out"):
            make()
    assert issubclass(CompositeKeyError, Refusal)


@pytest.mark.parametrize("key", ["", "simple", "\x00", "\x00open", "a\x00"])
def test_simple_key_is_not_split(key: str) -> None:
    """Only composite keys have parts."""
    with pytest.raises(CompositeKeyError, match="this is a simple key"):
        split_composite_key(key)


def test_composite_range_holds_the_keys_of_its_prefix_alone() -> None:
    """A range over a prefix of attributes finds those keys, and no longer attribute."""
    inside = [create_composite_key("pay", ["A1", each]) for each in ("", "0001", "~", "\U0010fffe")]
    outside = [
        create_composite_key("pay", ["A"]),
        create_composite_key("pay", ["A10", "0001"]),
        create_composite_key("pay", ["A2", "0001"]),
        create_composite_key("payment", ["A1", "0001"]),
        "simple",
    ]
    start, end = composite_range("pay", ["A1"])
    assert all(start.encode() <= key.encode() < end.encode() for key in inside)
    assert not any(start.encode() <= key.encode() < end.encode() for key in outside)


def test_metadata_comes_back_as_it_went_in() -> None:
    """Metadata are entries by name; none is no bytes."""
    entries = (("VALIDATION_PARAMETER", b"policy"), ("owner", b""))
    assert decode_metadata(encode_metadata(entries)) == dict(entries)
    assert decode_metadata(b"") == {}
    with pytest.raises(Refusal, match="run fsck"):
        decode_metadata(b"\xff")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (b"F", keys.encode_format(), ("format version", "4 bytes")),
        (b"S", keys.encode_savepoint(8, b"h" * 32, b""), ("savepoint", "height 8")),
        (
            keys.public_prefix("shop") + b"item",
            keys.encode_entry(Update(b"item", b"red", Version(7, 2), b"")),
            ("state of key 'item' of 'shop'", "version (7, 2), value 3 bytes"),
        ),
        (
            keys.hashed_prefix("shop", "terms") + bytes(32),
            keys.encode_entry(Update(bytes(32), b"red", Version(7, 2), b"m")),
            (f"hashed state of key {'00' * 32} of 'shop'/'terms'", "metadata 1 bytes"),
        ),
        (
            keys.history_key("shop", b"item", 7, 2),
            b"",
            ("history of key 'item' of 'shop' at (7, 2)", "nothing"),
        ),
        (
            keys.number_key(7),
            keys.encode_location(Location(1, 48, 9)),
            ("place of block 7", "segment 1, offset 48, length 9"),
        ),
        (b"b" + bytes(32), keys.encode_number(7), ("number of the block", "block 7")),
        (
            keys.transaction_key("ab12"),
            keys.encode_transaction(7, 2, 11),
            ("place of transaction 'ab12'", "place (7, 2), code 11"),
        ),
        (b"mshop", b"", ("use of metadata in 'shop'", "nothing")),
        (
            keys.expiry_key(9, 4, "shop", "terms", bytes(32)),
            b"",
            ("expiry in block 9 of ", "nothing"),
        ),
        (
            keys.evidence_key(7, "seal"),
            keys.encode_location(Location(0, 48, 9)),
            ("place of evidence 'seal' about block 7", "offset 48"),
        ),
        (
            b"E",
            keys.encode_position(Position(0, 59)),
            ("end of the evidence", "segment 0, offset 59"),
        ),
        (b"?", b"x", ("unknown key 3f", "1 bytes")),
        (b"", b"x", ("unknown key ", "1 bytes")),
        # Damaged ones are described as well.
        (b"S", b"short", ("savepoint", "5 bytes")),
        (b"d\x00\x00\x00\x01", b"", ("state of key '' of ''", "nothing")),
        (b"d\x00", b"\x01", ("damaged key 6400", "1 bytes")),
        (b"d\x00\x00\x00\x01\xff\xff", b"\x01", ("damaged key", "1 bytes")),
        (b"k\x00\x00\x00\x01a", b"", ("damaged key", "nothing")),
        (b"t\xff", b"\x01", ("damaged key 74ff", "1 bytes")),
        (b"x\x00", b"", ("damaged key 7800", "nothing")),
        (b"n", b"", ("damaged key 6e", "nothing")),
    ],
)
def test_key_and_value_are_described_in_words(
    key: bytes, value: bytes, words: tuple[str, str]
) -> None:
    """Findings name keys as people know them, and values by what can be told of them."""
    assert words[0] in describe_key(key)
    assert words[1] in describe_value(key, value)
    assert "red" not in describe_value(key, value), "values are never shown"
