"""Private write sets on disk: what is refused, forgotten, found damaged, and copied in use."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ledger.blocks.segments import sync_directory
from ledger.channel import ChannelLedger
from ledger.errors import CorruptionError, FormatVersionError, StorageError
from ledger.faults import WriteStep
from ledger.fsck import FindingKind, check_ledger
from ledger.state import keys, private_keys
from ledger.state.copying import copy_database
from ledger.state.leveldb import LevelDB
from ledger.state.private import (
    NOTHING,
    BlockPrivate,
    MissingPrivate,
    PrivateDataError,
)
from ledger.state.private_keys import SetPlace, StoredSet
from ledger.state.version import Version
from ledger.transactions.private import PrivateWrite, hash_key
from ledger.transactions.rwset import CollectionRWSet, HashedWrite, NamespaceRWSet, TxRWSet
from tests.support.chain import commit, make_config_envelope, make_envelope, next_block, prepare
from tests.support.faults import Steps
from tests.support.private_chain import (
    SHOP,
    Op,
    definition_envelope,
    hashed_set,
    plain_set,
    private_envelope,
    private_write,
)

SECRET = b"a price that nobody may see"
PRICE = Op("put", "price of item 1", SECRET)
NAME = Op("put", "name of item 1", SECRET)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def ledger(path: Path) -> Iterator[ChannelLedger]:
    opened = ChannelLedger.open(path)
    commit(opened, [make_config_envelope(0)])
    commit(opened, [definition_envelope()])
    yield opened
    opened.close()


def commit_sets(
    ledger: ChannelLedger, sets: dict[str, Sequence[Op]], held: Sequence[str] = ()
) -> int:
    """Commit a block of one transaction; *held*: the collections of which the set is there."""
    number = ledger.height
    prepared = prepare(ledger, next_block(ledger, [private_envelope(sets, b"%d" % number)]))
    writes = tuple(private_write(name, sets[name]) for name in held)
    ledger.commit(prepared, BlockPrivate({0: writes}) if writes else NOTHING)
    return number


def plain(ledger: ChannelLedger, collection: str = "terms") -> dict[str, bytes]:
    with ledger.snapshot() as state:
        found = state.range_private(SHOP, collection, "", "")
        return {key: entry.value for key, entry in found}


def test_set_that_the_block_does_not_name_is_refused_with_its_place(
    ledger: ChannelLedger,
) -> None:
    """Nothing of the block is stored then, and the ledger takes it again with the right data."""
    envelope = private_envelope({"terms": [PRICE]}, b"one")
    prepared = prepare(ledger, next_block(ledger, [envelope]))
    right = private_write("terms", [PRICE])
    missing = MissingPrivate(2, 0, SHOP, "brief", True)
    for private, reason in (
        (BlockPrivate({0: (private_write("terms", [NAME]),)}), "another hash"),
        (BlockPrivate({0: (private_write("brief", [PRICE]),)}), "names none"),
        (BlockPrivate({1: (right,)}), "names none"),
        (BlockPrivate({0: (right,)}, [missing]), "names none"),
        (BlockPrivate({}, [missing._replace(collection="terms", block_num=3)]), "names none"),
    ):
        with pytest.raises(PrivateDataError, match=reason) as refused:
            ledger.commit(prepared, private)
        assert "'shop'" in str(refused.value)
        assert "price" not in str(refused.value)
    assert ledger.height == 2
    ledger.commit(prepared, BlockPrivate({0: (right,)}))
    assert ledger.private_data(2) == {0: (right,)}
    assert plain(ledger) == {PRICE.key: SECRET}


def test_channel_without_private_data_has_no_folder_and_no_step_more(tmp_path: Path) -> None:
    """A block without collections meets the write steps that it met before there were any."""
    steps = Steps()
    ledger = ChannelLedger.open(tmp_path / "ledger", faults=steps)
    commit(ledger, [make_config_envelope(0)])
    steps.heard.clear()
    commit(ledger, [make_config_envelope(1)])
    assert [step for when, step in steps.heard if when == "before"] == [
        WriteStep.SEGMENT_APPEND,
        WriteStep.SEGMENT_SYNC,
        WriteStep.BATCH,
    ]
    # Nor does a node that holds nothing of a collection write anything but the block's own batch.
    commit(ledger, [definition_envelope()])
    steps.heard.clear()
    commit_sets(ledger, {"terms": [PRICE], "brief": [NAME]})
    for _ in range(4):
        commit(ledger, [make_config_envelope(ledger.height)])
    assert WriteStep.PRIVATE not in {step for _, step in steps.heard}
    assert not (tmp_path / "ledger" / "private").exists()
    assert ledger.private_data(3) == {}
    assert ledger.missing_private(5) == []
    ledger.close()
    assert check_ledger(tmp_path / "ledger").findings == ()


def test_collection_that_the_node_becomes_entitled_to_is_awaited(ledger: ChannelLedger) -> None:
    """All that is missing of it counts as awaited from then on; saying it twice changes nothing."""
    first = commit_sets(ledger, {"terms": [PRICE]})
    second = commit_sets(ledger, {"terms": [NAME], "brief": [NAME]}, ["brief"])
    assert ledger.missing_private(10) == []
    for _ in range(2):
        assert ledger.become_eligible([(SHOP, "terms"), (SHOP, "brief")]) == 2
        assert ledger.missing_private(10) == [
            MissingPrivate(second, 0, SHOP, "terms", True),
            MissingPrivate(first, 0, SHOP, "terms", True),
        ]
    assert ledger.add_private([(first, 0, private_write("terms", [PRICE]))]) == []
    assert ledger.missing_private(10) == [MissingPrivate(second, 0, SHOP, "terms", True)]
    assert plain(ledger) == {PRICE.key: SECRET}
    assert ledger.become_eligible([(SHOP, "terms")]) == 1


def test_late_data_of_a_key_that_has_changed_since_are_held_but_not_in_force(
    ledger: ChannelLedger,
) -> None:
    """An older value does not come back; the snapshot that a reader holds does not change."""
    first = commit_sets(ledger, {"terms": [PRICE, NAME]})
    commit_sets(ledger, {"terms": [Op("put", PRICE.key, b"new")]}, ["terms"])
    with ledger.snapshot() as before:
        late = private_write("terms", [PRICE, NAME])
        assert ledger.add_private([(first, 0, late), (first, 0, late)])[0].reason
        assert ledger.private_data(first) == {0: (late,)}
        assert plain(ledger) == {PRICE.key: b"new", NAME.key: SECRET}
        assert [key for key, _ in before.range_private(SHOP, "terms", "", "")] == [PRICE.key]
    (refused,) = ledger.add_private([(first, 0, late)])
    assert "held" in refused.reason
    (refused,) = ledger.add_private([(99, 0, late)])
    assert refused[:4] == (99, 0, SHOP, "terms")


def test_value_whose_hash_is_overwritten_by_a_missing_set_is_not_shown(
    ledger: ChannelLedger,
) -> None:
    """A stale value goes with its hash; the delete that nobody sent takes it away as well."""
    commit_sets(ledger, {"terms": [PRICE, NAME]}, ["terms"])
    second = commit_sets(ledger, {"terms": [Op("put", PRICE.key, b"new")]})
    assert plain(ledger) == {NAME.key: SECRET}
    commit_sets(ledger, {"terms": [Op("delete", NAME.key)]})
    assert plain(ledger) == {}
    ledger.add_private([(second, 0, private_write("terms", [Op("put", PRICE.key, b"new")]))])
    assert plain(ledger) == {PRICE.key: b"new"}


def test_purge_leaves_nothing_of_a_value_in_the_write_sets(
    ledger: ChannelLedger, path: Path
) -> None:
    """After a purge neither key nor value is under any key of the store."""
    first = commit_sets(ledger, {"terms": [PRICE, NAME]}, ["terms"])
    policy = Op("policy", PRICE.key, b"policy")
    second = commit_sets(ledger, {"terms": [policy, Op("put", "other", b"x")]}, ["terms"])
    purge = commit_sets(ledger, {"terms": [Op("purge", PRICE.key)]}, ["terms"])
    assert ledger.private_data(first) == {0: (private_write("terms", [NAME]),)}
    assert ledger.private_data(second) == {0: (private_write("terms", [Op("put", "other", b"x")]),)}
    assert ledger.private_data(purge) == {0: (PrivateWrite(SHOP, "terms", b""),)}
    assert plain(ledger) == {NAME.key: SECRET, "other": b"x"}
    ledger.close()
    for folder in ("private", "state"):
        database = LevelDB(path / folder)
        with database.reading():
            snapshot = database.snapshot()
            for key, value in snapshot.items(b"", None):
                assert PRICE.key.encode() not in key + value
            snapshot.close()
        database.close()


def test_expired_set_stays_for_a_key_in_force_and_goes_with_it(
    ledger: ChannelLedger, path: Path
) -> None:
    """A policy renews a key's time: value stays readable, its set unseen, until both go."""
    first = commit_sets(ledger, {"brief": [PRICE, NAME]}, ["brief"])
    commit_sets(ledger, {"brief": [Op("policy", PRICE.key, b"policy")]})
    commit(ledger, [make_config_envelope(4)])
    assert plain(ledger, "brief") == {PRICE.key: SECRET, NAME.key: SECRET}
    commit(ledger, [make_config_envelope(5)])
    assert plain(ledger, "brief") == {PRICE.key: SECRET}
    assert ledger.private_data(first) == {}
    ledger.close()
    report = check_ledger(path)
    assert (report.findings, report.counts.private_sets) == ((), 1)
    again = ChannelLedger.open(path)
    commit(again, [make_config_envelope(6)])
    assert plain(again, "brief") == {}
    again.close()
    report = check_ledger(path)
    assert (report.findings, report.counts.private_sets) == ((), 0)


def test_collection_whose_blocks_to_live_are_beyond_all_numbers_lives_for_ever(
    tmp_path: Path,
) -> None:
    """A block number has 64 bits; what would expire behind the last never does, as in Fabric."""
    opened = ChannelLedger.open(tmp_path / "ledger")
    commit(opened, [make_config_envelope(0)])
    for lives in (2**64 - 1, 2**64 - 4):
        name = b"definition %d" % lives
        commit(opened, [definition_envelope(name, {"terms": 0, "brief": lives})])
        commit_sets(opened, {"brief": [PRICE]}, ["brief"])
        for _ in range(3):
            commit(opened, [make_config_envelope(opened.height)])
        assert plain(opened, "brief") == {PRICE.key: SECRET}
    opened.close()
    assert check_ledger(tmp_path / "ledger").findings == ()


def test_value_that_was_purged_is_not_found_again_by_its_hash(
    ledger: ChannelLedger, path: Path
) -> None:
    """A block purges a key and writes the same value anew: the old set must not stand in for it."""
    commit_sets(ledger, {"terms": [PRICE]}, ["terms"])
    envelopes = [
        private_envelope({"terms": [op]}, op.kind.encode())
        for op in (Op("purge", PRICE.key), PRICE)
    ]
    ledger.commit(prepare(ledger, next_block(ledger, envelopes)))
    assert plain(ledger) == {}
    assert ledger.private_data(2) == {0: (PrivateWrite(SHOP, "terms", b""),)}
    assert ledger.add_private([(3, 1, private_write("terms", [PRICE]))]) == []
    assert plain(ledger) == {PRICE.key: SECRET}
    ledger.close()
    assert check_ledger(path).findings == ()


def test_set_that_is_no_set_is_held_and_passed_on(ledger: ChannelLedger) -> None:
    """Endorsers may agree on the hash of anything; the block is committed all the same."""
    garbage = b"\xff\xfe no protobuf"
    hashed = CollectionRWSet(
        "terms",
        hashed_writes=(HashedWrite(hash_key("a"), False, bytes(32), False),),
        pvt_rwset_hash=hashlib.sha256(garbage).digest(),
    )
    rwset = TxRWSet((NamespaceRWSet(SHOP, collections=(hashed,)),))
    write = PrivateWrite(SHOP, "terms", garbage)
    for number in (2, 3):
        envelope = make_envelope(rwset, b"garbage %d" % number)
        prepared = prepare(ledger, next_block(ledger, [envelope]))
        ledger.commit(prepared, BlockPrivate({0: (write,)}) if number == 2 else NOTHING)
    assert ledger.private_data(2) == {0: (write,)}
    assert plain(ledger) == {}
    # Late it is not taken: nothing can be told of it but its hash, and that takes a set to use.
    (refused,) = ledger.add_private([(3, 0, write)])
    assert "do not parse" in refused.reason


def _set_place(number: int) -> SetPlace:
    return SetPlace(Version(number, 0), SHOP, "terms")


DAMAGES = {
    "plain value changed": ("state", "p", "another"),
    "plain value gone": ("state", "p", None),
    "lack of a set gone": ("state", "o", None),
    "purge forgotten": ("state", "u", None),
    "write set gone": ("private", "w", None),
    "write set changed": ("private", "w", "another"),
    "index gone": ("private", "i", None),
    "index changed": ("private", "i", "another"),
    "awaited what is held": ("private", "a", "new"),
    "unknown key": ("private", "?", "new"),
    "damaged key": ("private", "w-", "new"),
    "trimmed without a purge": ("private", "w", "trimmed"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_damage_to_private_data_is_found_and_named_without_telling_it(
    ledger: ChannelLedger, path: Path, damage: str
) -> None:
    """fsck compares the plain state and the write sets with the blocks, and shows hashes only."""
    commit_sets(ledger, {"terms": [PRICE, NAME]}, ["terms"])
    commit_sets(ledger, {"terms": [Op("put", "third", SECRET)]})
    commit_sets(ledger, {"terms": [Op("purge", "fourth")]}, ["terms"])
    ledger.close()
    clean = check_ledger(path)
    assert clean.findings == ()
    assert clean.counts.private_sets == 2
    folder, letter, how = DAMAGES[damage]
    place = _set_place(2)
    new = {
        "a": (private_keys.awaited_key(place), b""),
        "?": (b"?", b"x"),
        "w-": (b"w\x00", b""),
    }
    database = LevelDB(path / folder)
    snapshot = database.snapshot()
    if letter in new:
        key, value = new[letter]
    else:
        key, value = next(snapshot.items(letter.encode(), keys.after(letter.encode())))
    snapshot.close()
    if how is None:
        database.write([], [key])
    elif how == "trimmed":
        stored = StoredSet(private_keys.TRIMMED, plain_set([NAME]))
        gone = private_keys.index_key(place, hash_key(PRICE.key))
        database.write([(key, private_keys.encode_set(stored))], [gone])
    else:
        database.write([(key, value if how == "new" else value[:-1] + b"X")])
    database.close()
    report = check_ledger(path)
    assert not report.is_clean
    assert report.counts.damage == len(report.findings)
    for finding in report.findings:
        assert finding.kind is FindingKind.DAMAGE
        assert SECRET.decode() not in str(finding)
        assert PRICE.key not in str(finding)


def test_write_set_that_is_not_what_the_block_says_stops_the_rebuilding(
    ledger: ChannelLedger, path: Path
) -> None:
    """A state is not made of private data that nobody endorsed; the message says the way out."""
    commit_sets(ledger, {"terms": [PRICE]}, ["terms"])
    ledger.close()
    database = LevelDB(path / "private")
    stored = StoredSet(0, plain_set([NAME]))
    database.write([(private_keys.set_key(_set_place(2)), private_keys.encode_set(stored))])
    database.close()
    shutil.rmtree(path / "state")
    with pytest.raises(CorruptionError, match="restore it from a backup") as found:
        ChannelLedger.open(path)
    assert "transaction (2, 0)" in str(found.value)
    shutil.rmtree(path / "private")
    opened = ChannelLedger.open(path)
    assert opened.become_eligible([(SHOP, "terms")]) == 1
    assert opened.add_private([(2, 0, private_write("terms", [PRICE]))]) == []
    assert plain(opened) == {PRICE.key: SECRET}
    opened.close()
    assert check_ledger(path).findings == ()


def test_private_data_of_an_unknown_format_are_not_touched(
    ledger: ChannelLedger, path: Path
) -> None:
    """The database of private data carries a version of its own."""
    commit_sets(ledger, {"terms": [PRICE]}, ["terms"])
    ledger.close()
    database = LevelDB(path / "private")
    database.write([(private_keys.PRIVATE_FORMAT, b"\x00\x00\x00\x02")])
    database.close()
    with pytest.raises(FormatVersionError, match="private has another format"):
        ChannelLedger.open(path)


def test_disk_that_refuses_private_data_stops_the_ledger(tmp_path: Path) -> None:
    """A block whose write sets cannot be stored is not stored either."""
    path = tmp_path / "ledger"
    opened = ChannelLedger.open(path)
    commit(opened, [make_config_envelope(0)])
    opened.close()
    steps = Steps()
    opened = ChannelLedger.open(path, faults=steps)
    (path / "private").write_text("no folder")
    with pytest.raises(StorageError):
        commit_sets(opened, {"terms": [PRICE]}, ["terms"])
    assert opened.height == 1
    with pytest.raises(StorageError, match="open it again"):
        commit(opened, [make_config_envelope(1)])
    opened.close()


def _copy_as_a_backup_does(path: Path, target: Path) -> None:
    target.mkdir()
    for folder in ("evidence", "blocks"):
        shutil.copytree(path / folder, target / folder)
    copy_database(path / "private", target / "private")
    sync_directory(target)


def test_copy_made_while_the_ledger_is_written_holds_all_private_data_of_its_blocks(
    ledger: ChannelLedger, path: Path, tmp_path: Path
) -> None:
    """What a backup holds of blocks it holds of write sets; later blocks find theirs too."""
    big = 100_000
    commit_sets(ledger, {"terms": [PRICE]}, ["terms"])
    stop = threading.Event()
    committed = threading.Semaphore(0)

    def write() -> None:
        while not stop.is_set():
            op = Op("put", f"k{ledger.height % 5}", ledger.height.to_bytes(4, "big") * big)
            commit_sets(ledger, {"terms": [op]}, ["terms"])
            committed.release()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            # Some megabytes, so that the database writes new tables and drops its logs meanwhile.
            assert all(committed.acquire(timeout=60) for _ in range(8))
            _copy_as_a_backup_does(path, tmp_path / f"copy {number}")
    finally:
        stop.set()
        writer.join()
    for number in range(3):
        copy = tmp_path / f"copy {number}"
        restored = ChannelLedger.open(copy)
        height = restored.height
        assert height > 2
        for block in range(2, height):
            assert restored.private_data(block) == ledger.private_data(block)
        assert restored.become_eligible([(SHOP, "terms")]) == 0
        for later in ledger.blocks(height):
            restored.commit(prepare(restored, later))
            if later.number > height + 2:
                break
        restored.close()
        report = check_ledger(copy)
        assert report.is_clean, [str(each) for each in report.findings]
        shutil.rmtree(copy)


def test_ledger_restored_with_newer_private_data_finds_them_with_its_blocks(
    ledger: ChannelLedger, path: Path, tmp_path: Path
) -> None:
    """Blocks of a backup may be older than its write sets: purged and expired ones among them."""
    commit_sets(ledger, {"terms": [PRICE], "brief": [PRICE]}, ["terms", "brief"])
    shutil.copytree(path / "blocks", tmp_path / "copy" / "blocks")
    commit_sets(ledger, {"terms": [NAME], "brief": [NAME]}, ["terms", "brief"])
    commit_sets(ledger, {"terms": [Op("put", PRICE.key, b"new")]}, ["terms"])
    commit_sets(ledger, {"terms": [Op("purge", PRICE.key)], "brief": [PRICE]}, ["terms"])
    commit_sets(ledger, {"brief": [Op("policy", NAME.key, b"policy")]})
    commit_sets(ledger, {"terms": [Op("put", "third", b"x")]}, ["terms"])
    copy_database(path / "private", tmp_path / "copy" / "private")
    restored = ChannelLedger.open(tmp_path / "copy")
    assert (restored.height, restored.recovered) == (
        3,
        ("rebuilt the state from 3 stored blocks",),
    )
    for later in ledger.blocks(3):
        restored.commit(prepare(restored, later))
    for number in range(ledger.height):
        assert restored.private_data(number) == ledger.private_data(number)
    for collection in ("terms", "brief"):
        assert plain(restored, collection) == plain(ledger, collection)
    assert plain(restored) == {NAME.key: SECRET, "third": b"x"}
    restored.close()
    assert check_ledger(tmp_path / "copy").findings == ()


def test_block_that_a_crash_lost_and_that_comes_back_as_another_leaves_nothing_behind(
    ledger: ChannelLedger, path: Path, tmp_path: Path
) -> None:
    """A node that orders cuts the block anew: the write set that was stored for the lost one, and
    the way to it by its keys, give place to those of the new one.
    """
    shutil.copytree(path / "blocks", tmp_path / "copy" / "blocks")
    commit_sets(ledger, {"terms": [PRICE], "brief": [PRICE]}, ["terms", "brief"])
    copy_database(path / "private", tmp_path / "copy" / "private")
    again = ChannelLedger.open(tmp_path / "copy")
    assert again.height == 2
    commit_sets(again, {"terms": [NAME]}, ["terms"])
    commit_sets(again, {"terms": [Op("purge", PRICE.key)]}, ["terms"])
    assert again.private_data(2) == {0: (private_write("terms", [NAME]),)}
    assert plain(again) == {NAME.key: SECRET}
    again.close()
    assert check_ledger(tmp_path / "copy").findings == ()


def test_hashes_of_the_block_are_those_of_the_plain_set() -> None:
    """The chain that these tests are made of carries what the plain sets say."""
    hashed = hashed_set("terms", [PRICE, Op("policy", "a", b"x")])
    assert len(hashed.hashed_writes) == len(hashed.metadata_writes) == 1
