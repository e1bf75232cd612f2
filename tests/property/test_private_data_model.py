"""Private data on disk against a naive world: held, missing, late, purged, expired, reopened."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import event, given, settings
from hypothesis import strategies as st

from ledger.channel import ChannelLedger
from ledger.fsck import check_ledger
from ledger.state.private import BlockPrivate, MissingPrivate
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.private import PrivateWrite, TxPrivate, hash_key, hash_value
from tests.support.chain import make_config_envelope, next_block, prepare
from tests.support.private_chain import (
    LIVES,
    SHOP,
    Op,
    definition_envelope,
    plain_set,
    private_envelope,
    private_write,
)

KEYS = ("a", "b", "ü")
VALUES = (b"one", b"two")

ops = st.builds(
    lambda kind, key, value: Op(kind, key, value if kind in ("put", "policy") else b""),
    st.sampled_from(["put", "put", "put", "delete", "purge", "policy"]),
    st.sampled_from(KEYS),
    st.sampled_from(VALUES),
)
sets = st.lists(ops, min_size=1, max_size=3, unique_by=lambda op: op.key).map(tuple)


@dataclass(frozen=True)
class Write:
    """One transaction's set, and what becomes of it: held, awaited, or nothing said of it."""

    collection: str
    ops: tuple[Op, ...]
    fate: str


@dataclass(frozen=True)
class Step:
    """A block, and what happens behind it.

    Attributes:
        transactions: each its sets and whether it is valid.
        late: which of the missing sets come now, by their order; more than there are: none.
        after: nothing, ``reopen``, or ``rebuild`` the state.
    """

    transactions: tuple[tuple[tuple[Write, ...], bool], ...]
    late: tuple[int, ...]
    after: str


writes = st.builds(
    Write,
    st.sampled_from(sorted(LIVES)),
    sets,
    st.sampled_from(["held", "held", "awaited", "foreign"]),
)
transactions = st.tuples(
    st.lists(writes, min_size=1, max_size=2, unique_by=lambda write: write.collection).map(tuple),
    st.sampled_from([True, True, True, False]),
)
steps = st.builds(
    Step,
    st.lists(transactions, max_size=3).map(tuple),
    st.lists(st.integers(0, 8), max_size=3, unique=True).map(tuple),
    st.sampled_from(["", "", "", "reopen", "rebuild"]),
)


@dataclass
class World:
    """Private data in dictionaries, by the rules that the page of formats tells.

    Attributes:
        hashed: value and version in force, by collection and key.
        sets: every set of every block; by place and collection: its ops, and whether it is valid.
        held: the places and collections of which the plain set is here.
        awaited: those of which it is not, but should be.
        purges: the last purge, by collection and key.
        kept: values of expired sets that stay, being in force: collection, key, value.
        turns: when a key's time comes: block of expiry, collection, key.
    """

    hashed: dict[tuple[str, str], tuple[bytes, Version]] = field(default_factory=dict)
    sets: dict[tuple[Version, str], tuple[tuple[Op, ...], bool]] = field(default_factory=dict)
    held: set[tuple[Version, str]] = field(default_factory=set)
    awaited: set[tuple[Version, str]] = field(default_factory=set)
    purges: dict[tuple[str, str], Version] = field(default_factory=dict)
    kept: set[tuple[str, str, bytes]] = field(default_factory=set)
    turns: set[tuple[int, int, str, str]] = field(default_factory=set)

    def commit(self, number: int, step: Step) -> None:
        touched = {}
        for tx_num, (written, valid) in enumerate(step.transactions):
            place = Version(number, tx_num)
            for write in written:
                self.sets[place, write.collection] = (write.ops, valid)
                if write.fate == "held":
                    self.held.add((place, write.collection))
                elif write.fate == "awaited":
                    self.awaited.add((place, write.collection))
                for op in write.ops if valid else ():
                    if self._apply(write.collection, op, place):
                        touched[write.collection, op.key] = place
        for collection, key in touched:
            if LIVES[collection] and (collection, key) in self.hashed:
                self.turns.add((number + LIVES[collection] + 1, number, collection, key))
        self._expire(number, set(touched))

    def _apply(self, collection: str, op: Op, place: Version) -> bool:
        known = self.hashed.get((collection, op.key))
        if op.kind == "policy" and known is None:
            return False
        if op.kind == "policy" and known is not None:
            self.hashed[collection, op.key] = (known[0], place)
        elif op.kind == "put":
            self.hashed[collection, op.key] = (op.value, place)
        else:
            self.hashed.pop((collection, op.key), None)
        if op.kind == "purge":
            self.purges[collection, op.key] = place
            self.kept = {each for each in self.kept if each[:2] != (collection, op.key)}
        return True

    def _expire(self, number: int, touched: set[tuple[str, str]]) -> None:
        turns = {turn for turn in self.turns if turn[0] == number}
        for _, written, collection, key in turns:
            known = self.hashed.get((collection, key))
            if known and known[1].block_num == written and (collection, key) not in touched:
                del self.hashed[collection, key]
        for place, collection in list(self.sets):
            if LIVES[collection] and place.block_num + LIVES[collection] + 1 == number:
                self._expire_set(place, collection)
        for _, _, collection, key in turns:
            self.kept = {
                each
                for each in self.kept
                if each[:2] != (collection, key) or self._is_in_force(*each)
            }

    def _expire_set(self, place: Version, collection: str) -> None:
        if (place, collection) in self.held:
            self.kept.update(
                (collection, key, value)
                for key, value in self._values(place, collection)
                if self._is_in_force(collection, key, value)
            )
        for known in (self.held, self.awaited):
            known.discard((place, collection))
        del self.sets[place, collection]

    def _is_in_force(self, collection: str, key: str, value: bytes) -> bool:
        return self.hashed.get((collection, key), (None,))[0] == value

    def _unpurged(self, place: Version, collection: str) -> tuple[Op, ...]:
        return tuple(
            op
            for op in self.sets[place, collection][0]
            if self.purges.get((collection, op.key), Version(0, 0)) < place
        )

    def _values(self, place: Version, collection: str) -> Iterator[tuple[str, bytes]]:
        if self.sets[place, collection][1]:
            for op in self._unpurged(place, collection):
                if op.kind == "put":
                    yield op.key, op.value

    def plain(self, collection: str) -> dict[str, tuple[bytes, Version]]:
        """Return the plain state of a collection."""
        known = {each[1:] for each in self.kept if each[0] == collection}
        for place, name in self.held:
            if name == collection:
                known.update(self._values(place, collection))
        return {
            key: entry
            for (name, key), entry in self.hashed.items()
            if name == collection and (key, entry[0]) in known
        }

    def private_data(self, number: int) -> dict[int, TxPrivate]:
        """Return what is held of a block."""
        found: dict[int, list[PrivateWrite]] = {}
        for place, collection in sorted(self.held):
            if place.block_num == number:
                write = PrivateWrite(SHOP, collection, plain_set(self._unpurged(place, collection)))
                found.setdefault(place.tx_num, []).append(write)
        return {tx_num: tuple(each) for tx_num, each in found.items()}

    def missing(self) -> list[tuple[Version, str]]:
        return sorted(self.sets.keys() - self.held)


def _private(number: int, step: Step) -> BlockPrivate:
    held: dict[int, TxPrivate] = {}
    missing = []
    for tx_num, (written, _) in enumerate(step.transactions):
        for write in written:
            if write.fate == "held":
                held[tx_num] = (*held.get(tx_num, ()), private_write(write.collection, write.ops))
            elif write.fate == "awaited":
                missing.append(MissingPrivate(number, tx_num, SHOP, write.collection, True))
    return BlockPrivate(held, missing)


@given(st.lists(steps, min_size=1, max_size=9))
@settings(max_examples=40)
def test_private_data_are_those_of_a_naive_world(chain: list[Step]) -> None:
    """Plain state, write sets and what is missing are as told, however they came to be there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        ledger = ChannelLedger.open(path)
        for envelope in (make_config_envelope(0), definition_envelope()):
            ledger.commit(prepare(ledger, next_block(ledger, [envelope])))
        world = World()
        for number, step in enumerate(chain, start=2):
            envelopes = [
                private_envelope(
                    {write.collection: write.ops for write in written},
                    b"%d %d" % (number, tx_num),
                    valid=valid,
                )
                for tx_num, (written, valid) in enumerate(step.transactions)
            ]
            envelopes.append(make_config_envelope(number))
            prepared = prepare(ledger, next_block(ledger, envelopes))
            assert [code is TxValidationCode.VALID for code in prepared.codes] == [
                *(valid for _, valid in step.transactions),
                True,
            ]
            ledger.commit(prepared, _private(number, step))
            world.commit(number, step)
            _verify(ledger, world)
            ledger = _live_on(ledger, path, world, step)
        ledger.close()
        report = check_ledger(path)
        assert report.findings == ()
        assert report.counts.private_sets >= len(world.held)


def _live_on(ledger: ChannelLedger, path: Path, world: World, step: Step) -> ChannelLedger:
    missing = world.missing()
    late = [missing[each] for each in step.late if each < len(missing)]
    refused = ledger.add_private(
        [
            (*place, private_write(collection, world.sets[place, collection][0]))
            for place, collection in late
        ]
    )
    assert refused == []
    world.held.update(late)
    world.awaited.difference_update(late)
    if late:
        event("late data")
        _verify(ledger, world)
    if step.after:
        ledger.close()
        if step.after == "rebuild":
            shutil.rmtree(path / "state")
        ledger = ChannelLedger.open(path)
        _verify(ledger, world)
    return ledger


def _verify(ledger: ChannelLedger, world: World) -> None:
    with ledger.snapshot() as state:
        for collection in LIVES:
            plain = world.plain(collection)
            found = [
                (key, (entry.value, entry.version))
                for key, entry in state.range_private(SHOP, collection, "", "")
            ]
            assert found == sorted(plain.items(), key=lambda each: each[0].encode())
            entries = state.get_private_many(SHOP, collection, KEYS)
            hashed = state.get_hashed_many(SHOP, collection, [hash_key(key) for key in KEYS])
            for key, entry, digest in zip(KEYS, entries, hashed, strict=True):
                assert entry == state.get_private(SHOP, collection, key)
                assert (entry and (entry.value, entry.version)) == plain.get(key)
                known = world.hashed.get((collection, key))
                expected = known and (hash_value(known[0]), known[1])
                assert (digest and (digest.value, digest.version)) == expected
    for number in range(ledger.height):
        assert ledger.private_data(number) == world.private_data(number)
    awaited = [(Version(*each[:2]), each.collection) for each in ledger.missing_private(1000)]
    assert awaited == sorted(
        world.awaited, key=lambda each: (-each[0].block_num, -each[0].tx_num, len(each[1]), each[1])
    )
