"""The ledger on LevelDB against a naive world: state, ranges, metadata, history, indexes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.channel import ChannelLedger
from ledger.fsck import check_ledger
from ledger.state.ports import VersionedValue
from ledger.state.snapshot import LedgerSnapshot
from ledger.transactions.parse import compute_tx_id
from ledger.transactions.rwset import decode_metadata
from tests.support.chain import (
    CREATOR,
    TIME,
    make_config_envelope,
    make_envelope,
    next_block,
    prepare,
)
from tests.support.naive_world import (
    COLLECTION,
    KEYS,
    NAMESPACES,
    NaiveWorld,
    Program,
    chains,
    key_hash,
)


@given(chains, st.booleans())
@settings(max_examples=60)
def test_ledger_reads_what_a_naive_world_holds(
    chain: list[list[tuple[Program, int]]], reopens: bool
) -> None:
    """Every read of every snapshot, also an old one, is that of a world kept in dictionaries."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        ledger = ChannelLedger.open(path, segment_size_bytes=4000)
        worlds = [NaiveWorld()]
        block = next_block(ledger, [make_config_envelope(0)])
        ledger.commit(prepare(ledger, block))
        snapshots = [ledger.snapshot()]
        for block_num, programs in enumerate(chain, start=1):
            world = worlds[-1].copy()
            simulated = [
                (program, worlds[max(0, len(worlds) - 1 - age)].simulate(program))
                for program, age in programs
            ]
            block = next_block(
                ledger,
                [
                    make_envelope(rwset, b"%d %d" % (block_num, tx_num))
                    for tx_num, (_, rwset) in enumerate(simulated)
                ],
            )
            prepared = prepare(ledger, block)
            assert list(prepared.codes) == world.judge_and_apply(block_num, simulated)
            ledger.commit(prepared)
            for tx_num, code in enumerate(prepared.codes):
                tx_id = compute_tx_id(b"%d %d" % (block_num, tx_num), CREATOR)
                assert ledger.transaction(tx_id) == (code, block_num, tx_num)
            worlds.append(world)
            snapshots.append(ledger.snapshot())
        for height, (snapshot, world) in enumerate(zip(snapshots, worlds, strict=True), start=1):
            with snapshot:
                assert snapshot.height == height
                _verify(snapshot, world)
        if reopens:
            ledger.close()
            ledger = ChannelLedger.open(path)
            assert ledger.recovered == ()
            with ledger.snapshot() as snapshot:
                _verify(snapshot, worlds[-1])
        ledger.close()
        assert check_ledger(path).findings == ()


def _verify(state: LedgerSnapshot, world: NaiveWorld) -> None:
    for namespace in NAMESPACES:
        public = world.public.get(namespace, {})
        assert state.get_many(namespace, KEYS) == [public.get(key) for key in KEYS]
        assert state.marks(namespace, KEYS) == world.marks(namespace, KEYS)
        for key in KEYS:
            entry = public.get(key)
            assert state.get(namespace, key) == entry
            metadata = decode_metadata(entry.metadata) if entry is not None else {}
            assert state.metadata_of(namespace, key) == metadata
            assert state.get_hashed(namespace, COLLECTION, key_hash(key)) == world.private.get(
                namespace, {}
            ).get(key_hash(key))
            _verify_history(state, world, namespace, key)
            for end in KEYS:
                _verify_range(state, public, namespace, key, end)
        if any(entry.metadata for entry in public.values()):
            assert state.has_metadata(namespace)
    assert list(state.range("sho", "", "")) == []
    assert list(state.range("shopp", "", "")) == []


def _verify_range(
    state: LedgerSnapshot, public: dict[str, VersionedValue], namespace: str, start: str, end: str
) -> None:
    expected = [
        (key, public[key])
        for key in sorted(public, key=str.encode)
        if key >= start and (not end or key < end)
    ]
    assert list(state.range(namespace, start, end)) == expected
    assert list(state.range_versions(namespace, start, end)) == [
        (key, entry.version) for key, entry in expected
    ]


def _verify_history(state: LedgerSnapshot, world: NaiveWorld, namespace: str, key: str) -> None:
    expected = [
        (compute_tx_id(b"%d %d" % version, CREATOR), version, value, is_delete, TIME)
        for name, written, version, value, is_delete in reversed(world.writes)
        if (name, written) == (namespace, key)
    ]
    found = [
        (each.tx_id, each.version, each.value, each.is_delete, each.timestamp)
        for each in state.history(namespace, key)
    ]
    assert found == expected
