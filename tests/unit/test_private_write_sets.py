"""Private write sets: taken apart, put together, compared with the hashes in a block."""

from __future__ import annotations

import hashlib
import shutil
import tracemalloc
from pathlib import Path

import pytest
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from ledger.errors import DecodeError, Unavailable
from ledger.state import copying, private_keys
from ledger.state.descriptions import describe_key, describe_value
from ledger.state.keys import (
    absent_prefix,
    encode_entry,
    encode_place,
    expiry_key,
    private_prefix,
    purged_key,
)
from ledger.state.private import PrivateDataError
from ledger.state.private_check import Verified, verify_private
from ledger.state.private_keys import (
    OF_INVALID,
    OUTLIVED,
    TRIMMED,
    Changes,
    SetPlace,
    StoredSet,
)
from ledger.state.version import Version
from ledger.transactions import private
from ledger.transactions.private import (
    PrivateRWSet,
    PrivateWrite,
    decode_private_rwset,
    decode_tx_private,
    encode_private_rwset,
    encode_tx_private,
    hash_key,
    matches,
    private_collections,
)
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    HashedRead,
    HashedWrite,
    KVWrite,
    NamespaceRWSet,
    TxRWSet,
)
from ledger.validation.updates import Update
from tests.support.private_chain import Op, hashed_set, plain_set

LAST = Version(2**40 - 1, 2**24 - 1)
A, B = Op("put", "a", b"one"), Op("put", "b", b"two")


def test_sets_of_a_transaction_come_back_sorted_by_name() -> None:
    """The bytes are those of Fabric's message, namespaces and collections in order."""
    sets = (
        PrivateWrite("shop", "terms", b"3"),
        PrivateWrite("bank", "terms", b"1"),
        PrivateWrite("shop", "brief", b"2"),
    )
    raw = encode_tx_private(sets)
    assert decode_tx_private(raw) == tuple(sorted(sets, key=lambda each: each.rwset))
    message = rwset_pb2.TxPvtReadWriteSet.FromString(raw)
    assert [each.namespace for each in message.ns_pvt_rwset] == ["bank", "shop"]
    assert message.data_model == rwset_pb2.TxReadWriteSet.KV
    assert encode_tx_private(()) == b""
    assert decode_tx_private(b"") == ()


def _tx(*names: tuple[str, str]) -> bytes:
    message = rwset_pb2.TxPvtReadWriteSet()
    for namespace, collection in names:
        message.ns_pvt_rwset.add(namespace=namespace).collection_pvt_rwset.add(
            collection_name=collection
        )
    raw: bytes = message.SerializeToString()
    return raw


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"\xff", "do not parse"),
        (_tx(("shop", "terms"), ("shop", "terms")), "twice"),
        (_tx(("", "terms")), "no namespace"),
        (_tx(("shop", "")), "without a name"),
        (b"\x08\x07", "data model 7"),
    ],
)
def test_sets_that_are_none_are_refused(raw: bytes, reason: str) -> None:
    """What another member sends is no private data before it parses and has names."""
    with pytest.raises(DecodeError, match=reason):
        decode_tx_private(raw)


def test_set_comes_back_with_its_keys() -> None:
    """Values, deletes and the keys of metadata are kept; the keys are named once."""
    rwset = PrivateRWSet((KVWrite("a", False, b"1"), KVWrite("b", True, b"")), ("a", "ü"))
    assert decode_private_rwset(encode_private_rwset(rwset)) == rwset
    assert rwset.keys == ("a", "b", "ü")
    assert decode_private_rwset(b"") == PrivateRWSet()


@pytest.mark.parametrize("field", ["writes", "metadata_writes"])
def test_set_with_an_empty_key_is_refused(field: str) -> None:
    """No contract can write it, and two bytes would make an entry in memory."""
    message = kv_rwset_pb2.KVRWSet()
    getattr(message, field).add()
    with pytest.raises(DecodeError, match="empty key"):
        decode_private_rwset(message.SerializeToString())


def test_sets_beyond_the_bound_are_refused_before_they_are_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The size is looked at first."""
    monkeypatch.setattr(private, "MAX_PRIVATE_BYTES", 100)
    for decode in (decode_private_rwset, decode_tx_private):
        with pytest.raises(DecodeError, match="at most 100 are read"):
            decode(b"\xff" * 101)


def _many(kind: str) -> bytes:
    count = 50_000
    if kind == "empty writes":
        return b"\x1a\x00" * count
    if kind == "empty metadata":
        return b"\x22\x00" * count
    if kind == "empty entries":
        return kv_rwset_pb2.KVRWSet(
            metadata_writes=[
                kv_rwset_pb2.KVMetadataWrite(
                    key="a", entries=[kv_rwset_pb2.KVMetadataEntry()] * count
                )
            ]
        ).SerializeToString()
    if kind == "short keys":
        return b"".join(b"\x1a\x04\x0a\x02%02x" % (number % 256) for number in range(count))
    return b"\x12\x02\x0a\x00" * count


@pytest.mark.parametrize(
    "kind", ["empty writes", "empty metadata", "empty entries", "short keys", "empty sets"]
)
def test_memory_of_a_set_stays_within_forty_times_its_bytes(kind: str) -> None:
    """Many tiny parts make no large thing, whether the set is taken or refused."""
    raw = _many(kind)
    decode = decode_tx_private if kind == "empty sets" else decode_private_rwset
    tracemalloc.start()
    try:
        decode(raw)
    except DecodeError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 40 * len(raw)


def test_collections_written_to_are_those_a_set_belongs_to() -> None:
    """Reads alone ask for no set; of a collection named twice the first counts."""
    written = hashed_set("terms", [A])
    metadata = CollectionRWSet("brief", metadata_writes=(HashedMetadataWrite(hash_key("a"), ()),))
    read = CollectionRWSet("read", hashed_reads=(HashedRead(hash_key("a"), None),))
    again = hashed_set("terms", [B])
    rwset = TxRWSet((NamespaceRWSet("shop", collections=(written, metadata, read, again)),))
    assert list(private_collections(rwset)) == [("shop", written), ("shop", metadata)]
    assert matches(PrivateWrite("shop", "terms", plain_set([A])), written)
    assert not matches(PrivateWrite("shop", "terms", plain_set([B])), written)
    assert not matches(PrivateWrite("shop", "other", plain_set([A])), written)


def _sorted_hash(*keys: str) -> set[bytes]:
    return {hash_key(key) for key in keys}


DELETE = Op("delete", "c")
POLICY = Op("policy", "d", b"policy")
WHOLE = [A, B, DELETE, POLICY]


@pytest.mark.parametrize(
    ("sent", "purged", "stored"),
    [
        # Nobody has purged: the hash of the whole decides.
        (WHOLE, (), Verified(plain_set(WHOLE), True)),
        # Purged here, not where it comes from.
        (WHOLE, ("a",), Verified(plain_set([B, DELETE, POLICY]), False)),
        (WHOLE, ("d",), Verified(plain_set([A, B, DELETE]), False)),
        (WHOLE, ("x",), Verified(plain_set(WHOLE), True)),
        # Purged at both.
        ([B, DELETE, POLICY], ("a",), Verified(plain_set([B, DELETE]), False)),
        ([B, DELETE], ("a",), Verified(plain_set([B, DELETE]), False)),
        # More purged here than there.
        ([B, DELETE], ("a", "b"), Verified(plain_set([DELETE]), False)),
        # All purged: whatever it is, nothing is left of it.
        ([Op("put", "x", b"y")], ("a", "b", "c"), Verified(b"", False)),
    ],
)
def test_set_that_says_what_the_block_says_is_taken(
    sent: list[Op], purged: tuple[str, ...], stored: Verified
) -> None:
    """Key by key where a purge has changed the whole; purged keys are taken out."""
    found = verify_private(plain_set(sent), hashed_set("terms", WHOLE), _sorted_hash(*purged))
    assert found == stored


@pytest.mark.parametrize(
    ("sent", "purged", "reason"),
    [
        ([B, DELETE], (), "1 of its keys are missing"),
        ([B], ("a",), "1 of its keys are missing"),
        ([A, Op("put", "b", b"other"), DELETE], (), "the hash of a value"),
        ([Op("put", "b", b"other"), DELETE], ("a",), "the hash of a value"),
        ([B, Op("put", "c", b"x")], ("a",), "a delete in the block"),
        ([Op("delete", "b"), DELETE], ("a",), "a delete in the block"),
        # All keys are right, and still it is not the set that was endorsed.
        ([A, B, DELETE], (), "its hash is not"),
        ([*WHOLE, Op("put", "x", b"y")], (), "its hash is not"),
    ],
)
def test_set_that_says_something_else_is_refused(
    sent: list[Op], purged: tuple[str, ...], reason: str
) -> None:
    """A value that was not endorsed never comes in by the way of a purge."""
    with pytest.raises(PrivateDataError, match=reason):
        verify_private(plain_set(sent), hashed_set("terms", WHOLE), _sorted_hash(*purged))


def test_trimmed_set_that_writes_a_key_twice_is_refused() -> None:
    """Key by key each key counts once."""
    twice = encode_private_rwset(PrivateRWSet((KVWrite("b", False, b"two"),) * 2))
    with pytest.raises(PrivateDataError, match="twice"):
        verify_private(twice, hashed_set("terms", [A, B]), _sorted_hash("a"))


def test_set_of_metadata_alone_is_compared_by_its_hash() -> None:
    """There is no value in it that could be compared."""
    hashed = hashed_set("terms", [POLICY])
    assert verify_private(plain_set([POLICY]), hashed, ()).is_whole
    with pytest.raises(PrivateDataError, match="its hash is not"):
        verify_private(b"", hashed, ())


@pytest.mark.parametrize("version", [Version(0, 0), Version(7, 2), LAST])
def test_keys_of_the_store_come_back_as_they_went_in(version: Version) -> None:
    """Places, names and hashes are kept, whatever the letters."""
    place = SetPlace(version, "shöp", "té\x00rms")
    key_hash = hashlib.sha256(b"key").digest()
    assert private_keys.decode_set_key(private_keys.set_key(place)) == place
    assert private_keys.decode_awaited_key(private_keys.awaited_key(place)) == place
    index = private_keys.index_key(place, key_hash)
    assert private_keys.decode_index_key(index) == (place, key_hash)
    assert index.startswith(private_keys.index_prefix(place.namespace, place.collection, key_hash))
    start, stop = private_keys.awaited_range(version.block_num)
    assert start <= private_keys.awaited_key(place) < stop
    assert private_keys.sets_from(version.block_num) <= private_keys.set_key(place)
    assert private_keys.decode_changes_key(private_keys.changes_key(version.block_num)) == (
        version.block_num
    )


def test_awaited_sets_stand_newest_first() -> None:
    """The node asks for what is new before what is old."""
    places = [
        SetPlace(version, "shop", "terms")
        for version in (Version(0, 0), Version(0, 1), Version(1, 0), Version(256, 0), LAST)
    ]
    stored = [private_keys.awaited_key(place) for place in places]
    assert sorted(stored, reverse=True) == stored


@pytest.mark.parametrize("kind", [0, TRIMMED, OUTLIVED, OF_INVALID, TRIMMED | OF_INVALID])
def test_stored_set_says_what_kind_it_is(kind: int) -> None:
    """Whole or not, expired or not, of a valid transaction or not."""
    stored = private_keys.decode_set(private_keys.encode_set(StoredSet(kind, b"set")))
    assert stored == StoredSet(kind, b"set")
    assert stored.is_trimmed == (kind in (TRIMMED, OUTLIVED, TRIMMED | OF_INVALID))
    assert stored.is_outlived == (kind == OUTLIVED)
    assert stored.is_valid == (kind in (0, TRIMMED, OUTLIVED))


def test_changes_come_back_as_they_went_in_or_not_at_all() -> None:
    """A note that is cut short anywhere but between two keys is damage, and said to be."""
    changes = Changes(((b"w1", b"value"), (b"w2", b"")), (b"i1", b"a1"))
    raw = private_keys.encode_changes(changes)
    assert private_keys.decode_changes(raw) == changes
    assert private_keys.decode_keys(private_keys.encode_keys([b"w1", b""])) == [b"w1", b""]
    assert private_keys.decode_changes(b"") == Changes()
    ends = {len(private_keys.encode_changes(Changes(changes.puts[:1])))}
    ends.add(len(private_keys.encode_changes(Changes(changes.puts))))
    ends.add(len(private_keys.encode_changes(Changes(changes.puts, changes.deletes[:1]))))
    for length in set(range(1, len(raw))) - ends:
        with pytest.raises(ValueError, match=r"cut short|missing"):
            private_keys.decode_changes(raw[:length])
    with pytest.raises(ValueError, match="no kind"):
        private_keys.decode_set(b"")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            private_prefix("shop", "terms") + b"3520212345678",
            encode_entry(Update(b"k", b"red", Version(7, 2), b"")),
            ("plain state of key ", "version (7, 2), value 3 bytes"),
        ),
        (
            absent_prefix("shop", "terms") + encode_place(Version(7, 2)),
            b"",
            ("lack of the write set of transaction (7, 2) to 'shop'/'terms'", "nothing"),
        ),
        (
            purged_key("shop", "terms", bytes(32)),
            encode_place(Version(7, 2)),
            (f"last purge of key {'00' * 32} of 'shop'/'terms'", "transaction (7, 2)"),
        ),
        (
            expiry_key(11, 7, "shop", "terms", b""),
            b"",
            ("expiry in block 11 of the write sets of 'shop'/'terms'", "nothing"),
        ),
        (b"o\x00", b"", ("damaged key 6f00", "nothing")),
        (b"p\x00", b"\x01", ("damaged key 7000", "1 bytes")),
        (b"u\x00", b"\x01", ("damaged key 7500", "1 bytes")),
    ],
)
def test_private_keys_are_described_by_hashes_alone(
    key: bytes, value: bytes, words: tuple[str, str]
) -> None:
    """A plain private key may be what nobody may see, so it is never shown."""
    assert words[0] in describe_key(key)
    assert words[1] in describe_value(key, value)
    assert "3520212345678" not in describe_key(key)


def test_copy_of_a_database_that_changes_meanwhile_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that grows, or a table that goes, while files are copied spoils the attempt."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("CURRENT", "MANIFEST-000002", "000003.log", "000005.ldb", "LOCK", "LOG"):
        (source / name).write_text(name)
    copied: list[str] = []
    real = shutil.copyfile

    def copyfile(one: Path, other: Path) -> None:
        copied.append(one.name)
        if len(copied) == 2:
            with (source / "MANIFEST-000002").open("a") as manifest:
                manifest.write("an edit")
        if len(copied) == 5:
            (source / "000005.ldb").rename(source / "000006.ldb")
        real(one, other)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    copying.copy_database(source, tmp_path / "copy")
    assert len(copied) == 9, "three attempts of three files that are no tables"
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "000003.log",
        "000006.ldb",
        "CURRENT",
        "MANIFEST-000002",
    ]
    assert (tmp_path / "copy" / "MANIFEST-000002").read_text() == "MANIFEST-000002an edit"


def test_database_that_never_rests_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some attempts the caller is told to come again; nothing is left behind."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("CURRENT", "999999.log"):
        (source / name).write_text("x")
    attempts = iter(range(1000))

    def copyfile(one: Path, other: Path) -> None:
        other.write_text("x")
        if one.name == "CURRENT":
            for log in source.glob("*.log"):
                log.rename(source / f"{next(attempts):06}.log")

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(Unavailable, match="has less to do"):
        copying.copy_database(source, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_purge_in_the_hashes_is_a_delete_in_plain() -> None:
    """The mark of a purge stands in the block alone."""
    purge = Op("purge", "a")
    assert plain_set([purge]) == plain_set([Op("delete", "a")])
    assert hashed_set("terms", [purge]).hashed_writes == (
        HashedWrite(hash_key("a"), True, b"", True),
    )
