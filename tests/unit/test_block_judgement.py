"""Verdicts inside a block, what its transactions leave behind, and the record of range scans."""

from __future__ import annotations

import hashlib

import pytest
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import (
    CONFIG,
    ENDORSER_TRANSACTION,
    ParsedTransaction,
)
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedWrite,
    KVRead,
    KVWrite,
    MerkleSummary,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
    TxRWSet,
    encode_metadata,
)
from ledger.validation.commit_hash import compute_commit_hash
from ledger.validation.duplicates import mark_duplicates
from ledger.validation.judgement import CONFIG_KEY, Judgement, judge_block
from ledger.validation.ranges import RangeResults
from ledger.validation.updates import BlockUpdates
from ledger.varints import encode_varint
from tests.support.naive_world import NaiveWorld

VALID = TxValidationCode.VALID
DUPLICATE = TxValidationCode.DUPLICATE_TXID
MVCC = TxValidationCode.MVCC_READ_CONFLICT
PHANTOM = TxValidationCode.PHANTOM_READ_CONFLICT


def _transaction(tx_id: str, *namespaces: NamespaceRWSet) -> ParsedTransaction:
    return ParsedTransaction(
        b"",
        header_type=ENDORSER_TRANSACTION,
        tx_id=tx_id,
        index_id=tx_id,
        rwset=TxRWSet(namespaces),
    )


def _put(*keys: str) -> NamespaceRWSet:
    return NamespaceRWSet("shop", writes=tuple(KVWrite(key, False, b"new") for key in keys))


def _scan(*reads: KVRead, end: str = "z", exhausted: bool = True) -> NamespaceRWSet:
    return NamespaceRWSet(
        "shop", range_queries=(RangeQuery("a", end, exhausted, tuple(reads), None),)
    )


def _world(**versions: Version) -> NaiveWorld:
    entries = {key: VersionedValue(b"old", version) for key, version in versions.items()}
    return NaiveWorld(public={"shop": entries})


def _judge(world: NaiveWorld, *rwsets: NamespaceRWSet) -> Judgement:
    transactions = [_transaction(str(index), rwset) for index, rwset in enumerate(rwsets)]
    return judge_block(9, transactions, [VALID] * len(rwsets), world)


def test_id_is_claimed_by_the_first_that_is_valid_so_far() -> None:
    """A claim stands even if the claimant falls to MVCC; a failed one before it claims nothing."""
    stale = NamespaceRWSet("shop", reads=(KVRead("a", Version(1, 0)),))
    transactions = [
        _transaction("one", _put("a")),
        _transaction("one", _put("b")),
        _transaction("two", _put("c")),
        _transaction("two", stale),
        _transaction("two", _put("d")),
    ]
    before = [TxValidationCode.ENDORSEMENT_POLICY_FAILURE, VALID, DUPLICATE, VALID, VALID]
    judged = judge_block(9, transactions, before, _world())
    assert judged.codes == (before[0], VALID, DUPLICATE, MVCC, DUPLICATE)
    assert [entry.update.key for entry in judged.updates.entries()] == [b"b"]


def test_configurations_claim_no_ids() -> None:
    """Only endorser transactions have ids that can be claimed twice."""
    configuration = ParsedTransaction(b"", header_type=CONFIG)
    assert mark_duplicates([configuration] * 2, [VALID] * 2) == [VALID, VALID]


def test_configuration_is_put_as_received() -> None:
    """A valid configuration stands in the state; it takes no part in history or commit hash."""
    configuration = ParsedTransaction(b"", header_type=CONFIG, config_envelope=b"config")
    judged = judge_block(9, [configuration], [VALID], _world())
    (entry,) = judged.updates.entries()
    assert (entry.namespace, entry.update.key) == ("", CONFIG_KEY.encode())
    assert (entry.update.value, entry.update.version) == (b"config", Version(9, 0))
    assert judged.updates.history == []
    bare = compute_commit_hash([VALID], [], b"")
    assert compute_commit_hash([VALID], judged.updates.entries(), b"") == bare


def test_verdicts_must_be_one_for_each_transaction() -> None:
    """A caller that brings fewer has made a mistake."""
    with pytest.raises(AssertionError):
        judge_block(9, [_transaction("one")], [], _world())


def test_read_of_a_key_that_the_block_has_touched_fails() -> None:
    """A delete of an absent key touches it too, though nothing is there before or after."""
    reads = NamespaceRWSet("shop", reads=(KVRead("a", None),))
    delete = NamespaceRWSet("shop", writes=(KVWrite("a", True, b""),))
    assert _judge(_world(), reads, delete, reads).codes == (VALID, VALID, MVCC)


def test_scan_sees_the_block_before_it() -> None:
    """Keys put, changed or deleted by earlier transactions of the block are seen in a range."""
    world = _world(b=Version(1, 0), d=Version(2, 0))
    same = _scan(KVRead("b", Version(1, 0)), KVRead("d", Version(2, 0)))
    delete = NamespaceRWSet("shop", writes=(KVWrite("d", True, b""),))
    for between in (_put("a"), _put("c"), _put("e"), _put("b"), delete):
        assert _judge(world, same, between, same).codes == (VALID, VALID, PHANTOM)
    for outside in (_put("z"), _put("A"), NamespaceRWSet("bank", writes=_put("c").writes)):
        assert _judge(world, same, outside, same).codes == (VALID, VALID, VALID)


def test_scan_does_not_see_what_came_and_went() -> None:
    """A key that the block deletes is absent for a scan, whatever the state before had there."""
    world = _world(b=Version(1, 0), c=Version(8, 0))
    delete = NamespaceRWSet("shop", writes=(KVWrite("c", True, b""),))
    before_c = _scan(KVRead("b", Version(1, 0)))
    assert _judge(world, before_c).codes == (PHANTOM,)
    assert _judge(world, delete, before_c).codes == (VALID, VALID)


def test_scan_that_stopped_early_includes_its_last_key() -> None:
    """It ends at the last key that was read, itself included; what lies behind does not count."""
    world = _world(b=Version(1, 0), d=Version(2, 0))
    read = (KVRead("b", Version(1, 0)), KVRead("d", Version(2, 0)))
    early = _scan(*read, end="d", exhausted=False)
    assert _judge(world, _put("e"), early).codes == (VALID, VALID)
    assert _judge(world, _put("d"), early).codes == (VALID, PHANTOM)
    delete = NamespaceRWSet("shop", writes=(KVWrite("d", True, b""),))
    assert _judge(world, delete, early).codes == (VALID, PHANTOM)
    assert _judge(world, _scan(*read, end="d")).codes == (PHANTOM,), "a full range ends before d"


def test_scan_without_results_recorded_is_an_empty_one() -> None:
    """No record of reads is the record of none."""
    bare = NamespaceRWSet("shop", range_queries=(RangeQuery("a", "z", True, None, None),))
    assert _judge(_world(), bare).codes == (VALID,)
    assert _judge(_world(b=Version(1, 0)), bare).codes == (PHANTOM,)


def _query_reads(rows: list[tuple[str, Version]]) -> bytes:
    """Hash a run of results as Fabric's own message, made by protobuf itself."""
    message = kv_rwset_pb2.QueryReads(
        kv_reads=[
            kv_rwset_pb2.KVRead(
                key=key,
                version=kv_rwset_pb2.Version(block_num=version[0], tx_num=version[1]),
            )
            for key, version in rows
        ]
    )
    return hashlib.sha256(message.SerializeToString()).digest()


def _record(rows: list[tuple[str, Version]], degree: int) -> MerkleSummary | None:
    results = RangeResults(degree)
    for row in rows:
        results.add(*row)
    raw, summary = results.finish()
    assert (raw is None) != (summary is None)
    assert raw is None or raw == tuple(KVRead(*row) for row in rows)
    return summary


def test_results_up_to_fifty_are_recorded_as_they_are() -> None:
    """The fifty-first turns the record into a summary."""
    rows = [(f"{index:03}", Version(index, index % 3)) for index in range(52)]
    assert _record(rows[:50], 50) is None
    assert _record(rows[:51], 50) == MerkleSummary(50, 1, (_query_reads(rows[:51]),))
    expected = (_query_reads(rows[:51]), _query_reads(rows[51:]))
    assert _record(rows, 50) == MerkleSummary(50, 1, expected)


def test_summary_of_many_results_is_a_tree() -> None:
    """Runs of three under degree two; three hashes of a level make one of the next."""

    def combine(*hashes: bytes) -> bytes:
        return hashlib.sha256(b"".join(hashes)).digest()

    rows = [(f"{index:03}", Version(0, index)) for index in range(28)]
    runs = [_query_reads(rows[start : start + 3]) for start in range(0, 28, 3)]
    assert _record(rows[:6], 2) == MerkleSummary(2, 1, (runs[0], runs[1]))
    level_2 = [combine(*runs[start : start + 3]) for start in (0, 3, 6)]
    assert _record(rows[:9], 2) == MerkleSummary(2, 2, (level_2[0],))
    assert _record(rows[:12], 2) == MerkleSummary(2, 2, (level_2[0], runs[3]))
    assert _record(rows[:15], 2) == MerkleSummary(2, 2, (level_2[0], combine(runs[3], runs[4])))
    level_3 = combine(*level_2)
    assert _record(rows[:27], 2) == MerkleSummary(2, 3, (level_3,))
    assert _record(rows, 2) == MerkleSummary(2, 3, (level_3, runs[9]))


def test_summary_that_was_made_up_is_no_reason_to_fail() -> None:
    """A degree that no tree can have, or hashes that fit nothing, is a phantom."""
    world = _world(b=Version(1, 0), c=Version(1, 0), d=Version(1, 0))
    for summary in (
        MerkleSummary(0, 0, ()),
        MerkleSummary(1, 1, (b"h",)),
        MerkleSummary(2, 1, (b"h" * 32,)),
        MerkleSummary(2, 9, ()),
        MerkleSummary(50, 1, ()),
    ):
        query = RangeQuery("a", "z", True, None, summary)
        scanned = NamespaceRWSet("shop", range_queries=(query,))
        assert _judge(world, scanned).codes == (PHANTOM,)


@pytest.mark.parametrize(
    ("writes", "metadata", "expected"),
    [
        # Each key once: plain rules.
        (["put"], [], (b"new", b"")),
        (["delete"], [], None),
        ([], ["set"], (b"old", b"set")),
        ([], ["clear"], (b"old", b"")),
        (["put"], ["set"], (b"new", b"set")),
        (["put"], ["clear"], (b"new", b"")),
        (["delete"], ["set"], None),
        # Named twice, the flags add up, as Fabric's peers add them.
        (["put", "put"], [], (b"old", b"")),
        (["delete", "put"], [], None),
        (["put", "delete"], [], None),
        (["delete", "delete"], [], (b"old", b"")),
    ],
)
def test_writes_of_one_transaction_to_one_key_are_composed_as_fabric_does(
    writes: list[str], metadata: list[str], expected: tuple[bytes, bytes] | None
) -> None:
    """The outcome of value and metadata writes together, also for sets no honest peer makes."""
    rwset = NamespaceRWSet(
        "shop",
        writes=tuple(KVWrite("a", each == "delete", b"new") for each in writes),
        metadata_writes=tuple(
            MetadataWrite("a", (("n", b"set"),) if each == "set" else ()) for each in metadata
        ),
    )
    (entry,) = _judge(_world(a=Version(1, 0)), rwset).updates.entries()
    assert entry.update.version == Version(9, 0)
    if expected is None:
        assert entry.update.value is None
        return
    value, stored = expected
    assert entry.update.value == value
    assert entry.update.metadata == (encode_metadata((("n", stored),)) if stored else b"")


def test_purge_of_a_private_key_is_a_delete() -> None:
    """A purged key leaves the hashed state like a deleted one."""
    world = NaiveWorld(private={"shop": {b"k": VersionedValue(b"h", Version(1, 0))}})
    purge = CollectionRWSet("secrets", hashed_writes=(HashedWrite(b"k", True, b"", True),))
    judged = _judge(world, NamespaceRWSet("shop", collections=(purge,)))
    (entry,) = judged.updates.entries()
    assert (entry.collection, entry.update.value) == ("secrets", None)


def test_updates_stand_in_the_order_of_their_bytes() -> None:
    """Namespaces; in each public keys, then collections, in each the key hashes."""
    updates = BlockUpdates(NaiveWorld())
    collections = tuple(
        CollectionRWSet(
            name,
            hashed_writes=tuple(HashedWrite(key, False, b"v" * 32, False) for key in (b"z", b"a")),
        )
        for name in ("secrets",)
    )
    for name in ("shop", "bank"):
        rwset = NamespaceRWSet(
            name,
            writes=tuple(KVWrite(key, False, b"1") for key in ("\U0001f600", "￿", "a")),
            collections=collections,
        )
        updates.apply(TxRWSet((rwset,)), Version(1, 0))
    order = [(e.namespace, e.collection, e.update.key) for e in updates.entries()]
    assert order == sorted(order)
    assert len(order) == 10


@pytest.mark.parametrize(
    ("number", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (2**64 - 1, "ffffffffffffffffff01")],
)
def test_varint_is_protobufs(number: int, encoded: str) -> None:
    """Seven bits a byte, the lowest first."""
    assert encode_varint(number).hex() == encoded


def test_varint_of_a_negative_number_is_refused() -> None:
    """Nothing here has one to write, and other bytes in its place would go unseen."""
    for number in (-1, -300):
        with pytest.raises(ValueError, match="byte must be in range"):
            encode_varint(number)
