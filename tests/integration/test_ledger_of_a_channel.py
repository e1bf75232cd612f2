"""The ledger of one channel in use: preparing, committing, reading beside it, evidence."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ledger.channel import ChannelLedger
from ledger.errors import BlockError, CorruptionError
from ledger.state.evidence import EvidenceError
from ledger.state.keys import history_key
from ledger.state.leveldb import LevelDB
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import compute_tx_id, parse_transaction
from ledger.transactions.rwset import (
    KVRead,
    KVWrite,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
    TxRWSet,
)
from ledger.validation.judgement import CONFIG_KEY, CONFIG_NAMESPACE
from tests.support.chain import (
    CREATOR,
    commit,
    make_config_envelope,
    make_envelope,
    next_block,
    prepare,
)

VALID = TxValidationCode.VALID


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ChannelLedger]:
    opened = ChannelLedger.open(tmp_path / "ledger", segment_size_bytes=4000)
    commit(opened, [make_config_envelope(0)])
    yield opened
    opened.close()


def _put(nonce: str, *writes: tuple[str, bytes], reads: dict | None = None) -> bytes:
    rwset = NamespaceRWSet(
        "shop",
        tuple(KVRead(*each) for each in sorted((reads or {}).items())),
        tuple(KVWrite(key, not value, value) for key, value in sorted(writes)),
    )
    return make_envelope(TxRWSet((rwset,)), nonce.encode())


def _id(nonce: str) -> str:
    return compute_tx_id(nonce.encode(), CREATOR)


def test_preparing_writes_nothing_and_can_be_repeated(ledger: ChannelLedger) -> None:
    """A prepared block changes nothing until it is committed; preparing again gives the same."""
    block = next_block(ledger, [_put("one", ("a", b"1"))])
    first, second = prepare(ledger, block), prepare(ledger, block)
    assert (first.block, first.codes, first.commit_hash) == (
        second.block,
        second.codes,
        second.commit_hash,
    )
    assert ledger.height == 1
    assert not ledger.has_transaction(_id("one"))
    ledger.commit(first)
    assert ledger.height == 2
    with pytest.raises(BlockError, match="block 1 was prepared for another height than 2"):
        ledger.commit(second)
    with pytest.raises(BlockError, match="block 1 cannot be prepared at height 2; bring block 2"):
        prepare(ledger, block)


def test_commit_hash_is_chained_and_recorded_in_the_block(ledger: ChannelLedger) -> None:
    """The hash after a block covers the one before, and stands in the block's metadata."""
    assert ledger.commit_hash == b""
    seen = set()
    for number in range(3):
        prepared = commit(ledger, [_put(f"tx {number}", ("a", b"same"))])
        assert ledger.commit_hash == prepared.commit_hash
        assert ledger.block(ledger.height - 1) == prepared.block
        seen.add(prepared.commit_hash)
    assert len(seen) == 3


def test_snapshot_stays_at_its_height_while_blocks_are_committed(ledger: ChannelLedger) -> None:
    """Readers see one height, never a part of a block, whatever is committed meanwhile."""
    commit(ledger, [_put("one", ("a", b"1"), ("b", b"1"))])
    with ledger.snapshot() as old:
        scan = old.range("shop", "", "")
        assert next(scan)[0] == "a"
        commit(ledger, [_put("two", ("a", b"2"), ("b", b""))])
        assert next(scan) == ("b", old.get("shop", "b"))
        assert old.height == 2
        assert old.get("shop", "a") == (b"1", Version(1, 0), b"")
        assert [each.value for each in old.history("shop", "a")] == [b"1"]
    with ledger.snapshot() as new:
        assert new.height == 3
        assert new.get("shop", "b") is None
        assert [each.value for each in new.history("shop", "a")] == [b"2", b"1"]
        assert [each.is_delete for each in new.history("shop", "b")] == [True, False]


def test_readers_on_other_threads_always_see_a_whole_block(ledger: ChannelLedger) -> None:
    """Both keys of each block have the same value, at every height that a reader meets."""
    done = False

    def read() -> int:
        seen = 0
        while not done:
            with ledger.snapshot() as state:
                one, two = state.get_many("shop", ["a", "z"])
                if one is not None and two is not None:
                    assert one.value == two.value == b"%d" % (state.height - 1)
                    assert one.version.block_num == state.height - 1
                    seen += 1
                last = ledger.block(state.height - 1)
                assert last is not None
                assert last.number == state.height - 1
        return seen

    with ThreadPoolExecutor(2) as readers:
        futures = [readers.submit(read) for _ in range(2)]
        try:
            for number in range(1, 60):
                value = b"%d" % number
                commit(ledger, [_put(f"tx {number}", ("a", value), ("z", value))])
        finally:
            done = True
        assert all(future.result(timeout=30) for future in futures)


def test_transaction_is_filed_with_its_verdict(ledger: ChannelLedger) -> None:
    """Valid or not, every transaction is found by its id; the first place of an id stands."""
    commit(ledger, [_put("one", ("a", b"1"))])
    twice = _put("two", ("b", b"1"))
    stale = _put("stale", ("c", b"1"), reads={"a": None})
    prepared = commit(ledger, [twice, twice, stale])
    assert prepared.codes == (
        VALID,
        TxValidationCode.DUPLICATE_TXID,
        TxValidationCode.MVCC_READ_CONFLICT,
    )
    assert ledger.transaction(_id("two")) == (VALID, 2, 0)
    assert ledger.transaction(_id("stale")) == (TxValidationCode.MVCC_READ_CONFLICT, 2, 2)
    again = commit(ledger, [stale, twice])
    assert set(again.codes) == {TxValidationCode.DUPLICATE_TXID}
    assert ledger.transaction(_id("two")) == (VALID, 2, 0)
    assert ledger.transaction(_id("stale")) == (TxValidationCode.MVCC_READ_CONFLICT, 2, 2)
    assert ledger.transaction(_id("never")) is None


def test_number_of_no_block_finds_nothing(ledger: ChannelLedger) -> None:
    """Whatever number somebody asks for, the answer is that there is no such block."""
    for number in (-1, 1, 2**64 - 1, 2**64, 10**30):
        assert ledger.block(number) is None
        assert ledger.evidence(number, "seal") is None
    assert ledger.block(0) is not None


def test_history_of_a_key_that_one_block_changes_often(ledger: ChannelLedger) -> None:
    """Every change of a block is told, newest first, beside those of other blocks."""
    commit(ledger, [_put("one", ("a", b"0"))])
    commit(ledger, [_put(f"tx {number}", ("a", b"%d" % number)) for number in range(1, 4)])
    commit(ledger, [_put("last", ("a", b""))])
    with ledger.snapshot() as state:
        found = [(tuple(each.version), each.value) for each in state.history("shop", "a")]
    assert found == [((3, 0), b""), ((2, 2), b"3"), ((2, 1), b"2"), ((2, 0), b"1"), ((1, 0), b"0")]


def test_history_that_the_blocks_do_not_bear_out_is_corruption(
    ledger: ChannelLedger, tmp_path: Path
) -> None:
    """An index that names a write which is not in the block is damaged, and said to be."""
    commit(ledger, [_put("one", ("a", b"1"))])
    ledger.close()
    path = tmp_path / "ledger"
    for block_num, tx_num in ((1, 1), (9, 0), (0, 0)):
        database = LevelDB(path / "state")
        database.write([(history_key("shop", b"b", block_num, tx_num), b"")])
        database.close()
        opened = ChannelLedger.open(path)
        with (
            opened.snapshot() as state,
            pytest.raises(CorruptionError, match=rf"transaction {tx_num} of block {block_num}"),
        ):
            list(state.history("shop", "b"))
        opened.close()
        database = LevelDB(path / "state")
        database.write([], [history_key("shop", b"b", block_num, tx_num)])
        database.close()


def test_configuration_is_filed_and_kept_in_the_state(ledger: ChannelLedger) -> None:
    """A configuration has an id computed for it, and stands in the state as it was received."""
    envelope = make_config_envelope(1)
    commit(ledger, [envelope])
    transaction = parse_transaction(envelope)
    assert transaction.tx_id == ""
    assert ledger.transaction(transaction.index_id) == (VALID, 1, 0)
    with ledger.snapshot() as state:
        entry = state.get(CONFIG_NAMESPACE, CONFIG_KEY)
        assert entry == (transaction.config_envelope, Version(1, 0), b"")
        assert list(state.history(CONFIG_NAMESPACE, CONFIG_KEY)) == []


def test_scan_of_a_namespace_never_leaves_it(ledger: ChannelLedger) -> None:
    """An open end is the end of the namespace, also for one whose name begins another's."""
    names = ("", "a", "aa", "b", "shop")
    rwset = TxRWSet(
        tuple(
            NamespaceRWSet(name, writes=(KVWrite(f"key of {name}", False, b"1"),)) for name in names
        )
    )
    commit(ledger, [make_envelope(rwset, b"wide")])
    with ledger.snapshot() as state:
        for name in names[1:]:
            assert [key for key, _ in state.range(name, "", "")] == [f"key of {name}"]
        assert list(state.range("shop", "z", "a")) == []


def test_metadata_alone_gives_a_new_version_and_keeps_the_value(ledger: ChannelLedger) -> None:
    """A policy set on a key is read with it; history tells values only, and so stays as it was."""
    commit(ledger, [_put("one", ("a", b"1"))])
    entries = (("VALIDATION_PARAMETER", b"a policy"),)
    only = NamespaceRWSet("shop", metadata_writes=(MetadataWrite("a", entries),))
    commit(ledger, [make_envelope(TxRWSet((only,)), b"two")])
    with ledger.snapshot() as state:
        entry = state.get("shop", "a")
        assert entry is not None
        assert (entry.value, entry.version) == (b"1", Version(2, 0))
        assert state.metadata_of("shop", "a") == dict(entries)
        assert state.metadata_of("shop", "absent") == {}
        assert len(list(state.history("shop", "a"))) == 1
        assert state.has_metadata("shop")
        assert not state.has_metadata("bank")
    commit(ledger, [_put("three", ("a", b"2"))])
    with ledger.snapshot() as state:
        assert state.metadata_of("shop", "a") == dict(entries), "a value alone keeps the metadata"


def test_phantom_in_the_same_block_is_found(ledger: ChannelLedger) -> None:
    """A key that an earlier transaction of the block puts into a scanned range is a phantom."""
    commit(ledger, [_put("one", ("a", b"1"), ("c", b"1"))])
    reads = (KVRead("a", Version(1, 0)), KVRead("c", Version(1, 0)))
    scanned = NamespaceRWSet("shop", range_queries=(RangeQuery("a", "d", True, reads, None),))
    before = make_envelope(TxRWSet((scanned,)), b"before")
    after = make_envelope(TxRWSet((scanned,)), b"after")
    codes = commit(ledger, [before, _put("two", ("b", b"1")), after]).codes
    assert codes == (VALID, VALID, TxValidationCode.PHANTOM_READ_CONFLICT)


def test_deleted_key_in_a_scanned_range_was_never_seen(ledger: ChannelLedger) -> None:
    """A key that came and, earlier in the same block, went is no phantom for a scan before both."""
    commit(ledger, [_put("one", ("a", b"1"))])
    commit(ledger, [_put("two", ("b", b"1"))])
    reads = (KVRead("a", Version(1, 0)),)
    scanned = NamespaceRWSet("shop", range_queries=(RangeQuery("a", "d", True, reads, None),))
    late = make_envelope(TxRWSet((scanned,)), b"late")
    assert commit(ledger, [_put("three", ("b", b"")), late]).codes == (VALID, VALID)


def test_evidence_is_kept_by_block_and_kind(ledger: ChannelLedger) -> None:
    """Evidence comes back as filed; the same again changes nothing, other is refused."""
    ledger.add_evidence(0, "seal", b"sealed")
    ledger.add_evidence(0, "commit", b"")
    before = (ledger.path / "evidence" / "000000000.seg").read_bytes()
    ledger.add_evidence(0, "seal", b"sealed")
    assert (ledger.path / "evidence" / "000000000.seg").read_bytes() == before
    assert ledger.evidence(0, "seal") == b"sealed"
    assert ledger.evidence(0, "commit") == b""
    assert ledger.evidence(0, "other") is None
    assert ledger.evidence(1, "seal") is None
    with pytest.raises(EvidenceError, match="block 0 has other evidence of kind 'seal'"):
        ledger.add_evidence(0, "seal", b"another")
    with pytest.raises(EvidenceError, match=r"there is no block 1 .* the height is 1"):
        ledger.add_evidence(1, "seal", b"early")
    with pytest.raises(EvidenceError, match="1 to 255 bytes"):
        ledger.add_evidence(0, "", b"x")
    assert (ledger.path / "evidence" / "000000000.seg").read_bytes() == before
