"""The store of private write sets between endorsement and commit."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.errors import FormatVersionError, StorageError
from ledger.faults import WriteStep
from ledger.state.leveldb import LevelDB
from ledger.transactions.private import PrivateWrite
from nodes.private_data.transient import (
    MOST_RECORDS,
    MOST_SET_BYTES,
    TransientFull,
    TransientRefusal,
    TransientStore,
)

TX = "ab" * 32
OTHER = "cd" * 32


def write(value: str, collection: str = "terms") -> PrivateWrite:
    """A set; the store does not look into it."""
    return PrivateWrite("book", collection, value.encode())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TransientStore]:
    """An open store."""
    made = TransientStore(tmp_path / "transient")
    yield made
    made.close()


def test_transient_store_opened_again_has_what_was_put(tmp_path: Path) -> None:
    """What `put` returned from is on disk."""
    store = TransientStore(tmp_path / "transient")
    store.put(TX, 7, (write("one"), write("two", "kyc")))
    size = store.size_bytes
    store.close()
    again = TransientStore(tmp_path / "transient")
    try:
        assert set(again.get(TX)) == {write("one"), write("two", "kyc")}
        assert list(again.find(TX, "book", "kyc")) == [b"two"]
        assert again.ids() == [TX]
        assert again.size_bytes == size > 0
    finally:
        again.close()


def test_transient_store_keeps_two_sets_of_one_collection_that_differ(
    store: TransientStore,
) -> None:
    """Nothing is believed before its block, so what differs is kept side by side."""
    store.put(TX, 7, (write("one"),))
    store.put(TX, 8, (write("another"),))
    assert sorted(store.find(TX, "book", "terms")) == [b"another", b"one"]


def test_transient_store_keeps_the_same_set_once(store: TransientStore) -> None:
    """Two endorsers push the same set; it takes room once."""
    store.put(TX, 7, (write("one"),))
    size = store.size_bytes
    store.put(TX, 9, (write("one"),))
    assert store.size_bytes == size
    assert store.get(TX) == (write("one"),)


def test_transient_store_purges_a_transaction_and_leaves_others(store: TransientStore) -> None:
    """What is in a block goes; an id that begins alike stays."""
    longer = TX + "00"
    store.put(TX, 7, (write("one"),))
    store.put(longer, 7, (write("two"),))
    store.put(OTHER, 7, (write("three"),))
    store.purge([TX, "unknown"])
    assert store.get(TX) == ()
    assert sorted(store.ids()) == sorted([longer, OTHER])
    store.purge([longer, OTHER])
    assert store.size_bytes == 0


def test_transient_store_purges_what_is_older_than_a_height(store: TransientStore) -> None:
    """A set that came into no block goes by its age, counted in blocks."""
    store.put(TX, 7, (write("one"),))
    store.put(OTHER, 8, (write("two"),))
    store.purge_below(8)
    assert store.get(TX) == ()
    assert store.get(OTHER) == (write("two"),)
    store.purge_below(9)
    assert store.ids() == []
    assert store.size_bytes == 0


def test_transient_store_full_takes_nothing_until_it_is_emptied(tmp_path: Path) -> None:
    """Its bytes are bounded, whoever pushes."""
    store = TransientStore(tmp_path / "transient", most_bytes=600)
    try:
        store.put(TX, 7, (write("x" * 400),))
        with pytest.raises(TransientFull, match="takes no more before blocks are committed"):
            store.put(OTHER, 7, (write("y" * 400),))
        assert store.get(OTHER) == ()
        store.purge([TX])
        store.put(OTHER, 7, (write("y" * 400),))
    finally:
        store.close()


def test_transient_store_takes_a_bounded_number_of_sets_for_one_transaction(
    store: TransientStore,
) -> None:
    """A liar cannot fill it under one id, nor keep an endorser, or another member, from it."""
    for number in range(MOST_RECORDS):
        store.put(TX, 7, (write(str(number)),), sender="LiarMSP")
    with pytest.raises(TransientRefusal, match=r"LiarMSP has pushed 64 .* endorse it anew"):
        store.put(TX, 7, (write("one more"),), sender="LiarMSP")
    assert len(store.get(TX)) == MOST_RECORDS
    # What the node has simulated itself, or an honest member pushes, finds its place in any case.
    store.put(TX, 7, (write("its own"),))
    store.put(TX, 7, (write("true"),), sender="HonestMSP")
    assert store.get(TX)[0] == write("its own")
    assert write("true") in store.get(TX)


def test_transient_store_takes_bounded_bytes_for_one_transaction_of_a_member(
    store: TransientStore,
) -> None:
    """What a block's commit must look through is bounded."""
    half = "x" * (MOST_SET_BYTES // 2 - 200)
    for value in (half, half + "y"):
        store.put(TX, 7, (write(value),), sender="LiarMSP")
    with pytest.raises(TransientRefusal, match="write less in one transaction"):
        store.put(TX, 7, (write("z" * 1000),), sender="LiarMSP")
    store.put(TX, 7, (write("true"),), sender="HonestMSP")
    assert write("true") in store.get(TX)


def test_transient_store_gives_one_member_a_share_and_keeps_room_for_the_others(
    tmp_path: Path,
) -> None:
    """Who pushes without end fills its own share; also after a restart, and until it is purged."""
    store = TransientStore(tmp_path / "transient", most_bytes=80_000)
    taken = [f"{number:064x}" for number in range(9)]
    for tx_id in taken:
        store.put(tx_id, 7, (write("x" * 1000),), sender="LiarMSP")
    store.close()
    store = TransientStore(tmp_path / "transient", most_bytes=80_000)
    try:
        with pytest.raises(TransientFull, match="bytes of LiarMSP and takes no more"):
            store.put(OTHER, 7, (write("x" * 1000),), sender="LiarMSP")
        store.put(OTHER, 7, (write("true"),), sender="HonestMSP")
        for number in range(20):
            store.put(f"{number + 100:064x}", 7, (write("y" * 1000),))
        store.purge(taken)
        store.put(OTHER, 7, (write("x" * 1000),), sender="LiarMSP")
        assert len(store.get(OTHER)) == 2
    finally:
        store.close()


def test_transient_store_gives_a_members_clients_a_smaller_share_of_what_is_endorsed_here(
    tmp_path: Path,
) -> None:
    """Who has much endorsed and submits nothing cannot keep others from endorsing."""
    with closing(TransientStore(tmp_path / "transient", most_bytes=160_000)) as store:
        for number in range(9):
            store.put(f"{number:064x}", 7, (write("x" * 1000),), creator="LiarMSP")
        with pytest.raises(TransientFull, match="bytes of clients of LiarMSP and takes no more"):
            store.put(OTHER, 7, (write("x" * 1000),), creator="LiarMSP")
        with pytest.raises(TransientFull, match="submit what is endorsed"):
            store.verify_room("LiarMSP", 1000)
        store.verify_room("HonestMSP", 1000)
        store.put(OTHER, 7, (write("x" * 1000),), creator="HonestMSP")
        store.put(OTHER, 7, (write("y" * 1000),), sender="LiarMSP")
        store.put(OTHER, 7, (write("z" * 1000),))
        store.purge_below(8)
        store.verify_room("LiarMSP", 1000)


@pytest.mark.parametrize("tx_id", ["", "x" * 257])
def test_transient_store_refuses_an_id_that_is_none(store: TransientStore, tx_id: str) -> None:
    """Ids are bounded."""
    with pytest.raises(TransientRefusal, match="transaction id"):
        store.put(tx_id, 7, (write("one"),))


def test_transient_store_put_by_many_threads_keeps_all(store: TransientStore) -> None:
    """Writers share batches; none returns before its set is there."""
    found: list[bool] = []

    def put(number: int) -> None:
        tx_id = f"{number:064x}"
        store.put(tx_id, number, (write(str(number)),))
        found.append(store.get(tx_id) == (write(str(number)),))

    threads = [threading.Thread(target=put, args=(number,)) for number in range(24)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [True] * 24
    assert len(store.ids()) == 24


def test_transient_store_of_another_format_is_refused(tmp_path: Path) -> None:
    """What another version wrote is not guessed at."""
    TransientStore(tmp_path / "transient").close()
    with LevelDB(tmp_path / "transient") as database:
        database.write([(b"V", (2).to_bytes(4, "big"))])
    with pytest.raises(FormatVersionError, match="has format 2"):
        TransientStore(tmp_path / "transient")


class _Full:
    """A disk without room."""

    is_full = False

    def before(self, step: WriteStep) -> None:
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def after(self, step: WriteStep) -> None: ...


def test_transient_store_on_a_full_disk_says_so_and_counts_nothing(tmp_path: Path) -> None:
    """What is not on disk is not acknowledged; nothing is kept until it is opened again."""
    disk = _Full()
    with closing(TransientStore(tmp_path / "transient", faults=disk)) as store:
        disk.is_full = True
        with pytest.raises(StorageError):
            store.put(TX, 7, (write("one"),))
        assert store.size_bytes == 0
        disk.is_full = False
        with pytest.raises(StorageError, match="start again"):
            store.put(TX, 7, (write("one"),))
        assert store.size_bytes == 0
    with closing(TransientStore(tmp_path / "transient", faults=disk)) as store:
        store.put(TX, 7, (write("one"),))
        assert store.get(TX) == (write("one"),)
