"""A naive world state, and small programs over it whose reads can simply be made again.

The model of MVCC: a transaction stands if running its program again at its turn finds what it
found when it was simulated. Nothing here is shared with ``ledger.validation``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import strategies as st

from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    HashedRead,
    HashedWrite,
    KVRead,
    KVWrite,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
    TxRWSet,
    encode_metadata,
)
from ledger.validation.ports import Mark
from ledger.validation.ranges import RangeResults

NAMESPACES = ("bank", "shop")
COLLECTION = "secrets"
KEYS = ("", "a", "aa", "ab", "b", "é", "￿", "\U0001f600")


class Step(NamedTuple):
    """One thing that a program does; what the fields mean depends on ``does``."""

    does: str
    key: str = ""
    value: bytes = b""
    end: str = ""
    limit: int | None = None
    degree: int = 50


Program = dict[str, list[Step]]
"""The steps in each namespace."""


def key_hash(key: str) -> bytes:
    """Return the SHA-256 of a private key."""
    return hashlib.sha256(key.encode()).digest()


@dataclass
class NaiveWorld:
    """Public keys by namespace and key; private ones by namespace and key hash."""

    public: dict[str, dict[str, VersionedValue]] = field(default_factory=dict)
    private: dict[str, dict[bytes, VersionedValue]] = field(default_factory=dict)
    writes: list[tuple[str, str, Version, bytes, bool]] = field(default_factory=list)

    # What validation asks (CommittedState)
    def get(self, namespace: str, key: str) -> VersionedValue | None:
        return self.public.get(namespace, {}).get(key)

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        assert collection == COLLECTION
        return self.private.get(namespace, {}).get(key_hash)

    def marks(self, namespace: str, keys: Sequence[str]) -> list[Mark | None]:
        found = [self.get(namespace, key) for key in keys]
        return [None if each is None else Mark(each.version, each.metadata) for each in found]

    def range_versions(
        self, namespace: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, Version]]:
        for key, entry in sorted(self.public.get(namespace, {}).items()):
            if key >= start_key and (not end_key or key < end_key):
                yield key, entry.version

    def has_metadata(self, namespace: str) -> bool:
        return True

    def copy(self) -> NaiveWorld:
        return deepcopy(self)

    # What a program reads
    def scan(self, namespace: str, step: Step) -> RangeQuery:
        """Run a range scan and record it as the simulator would."""
        rows = list(self.range_versions(namespace, step.key, step.end))
        exhausted = step.limit is None or len(rows) < step.limit
        if not exhausted:
            rows = rows[: step.limit]
        results = RangeResults(step.degree)
        for row in rows:
            results.add(*row)
        raw, merkle = results.finish()
        end = step.end if exhausted else rows[-1][0]
        return RangeQuery(step.key, end, exhausted, raw, merkle)

    def simulate(self, program: Program) -> TxRWSet:
        """Run a program on this state and record what it reads and writes."""
        return TxRWSet(
            tuple(self._simulate(name, program[name]) for name in sorted(program) if program[name])
        )

    def _simulate(self, namespace: str, steps: list[Step]) -> NamespaceRWSet:
        reads = {
            step.key: entry.version if (entry := self.get(namespace, step.key)) else None
            for step in steps
            if step.does == "get"
        }
        hashed_reads = {}
        for step in steps:
            if step.does == "get private":
                entry = self.get_hashed(namespace, COLLECTION, key_hash(step.key))
                hashed_reads[key_hash(step.key)] = entry.version if entry else None
        writes = {s.key: KVWrite(s.key, s.does == "delete", s.value) for s in _of(steps, "put")}
        metadata = {s.key: MetadataWrite(s.key, _entries(s)) for s in _of(steps, "metadata")}
        hashed = {}
        hashed_metadata = {}
        for step in steps:
            digest = key_hash(step.key)
            if step.does == "put private":
                value = hashlib.sha256(step.value).digest() if step.value else b""
                hashed[digest] = HashedWrite(digest, not step.value, value, False)
            elif step.does == "metadata private":
                hashed_metadata[digest] = HashedMetadataWrite(digest, _entries(step))
        collections: tuple[CollectionRWSet, ...] = ()
        if hashed_reads or hashed or hashed_metadata:
            collections = (
                CollectionRWSet(
                    COLLECTION,
                    tuple(HashedRead(*each) for each in sorted(hashed_reads.items())),
                    tuple(each for _, each in sorted(hashed.items())),
                    tuple(each for _, each in sorted(hashed_metadata.items())),
                ),
            )
        return NamespaceRWSet(
            namespace,
            tuple(KVRead(*each) for each in sorted(reads.items())),
            tuple(each for _, each in sorted(writes.items())),
            tuple(each for _, each in sorted(metadata.items())),
            tuple(self.scan(namespace, step) for step in steps if step.does == "scan"),
            collections,
        )

    # What a block does
    def judge_and_apply(
        self, block_num: int, simulated: Sequence[tuple[Program, TxRWSet]]
    ) -> list[TxValidationCode]:
        """Judge transactions one after another by running them again; apply those that stand."""
        codes = []
        touched: set[tuple[str, str | bytes]] = set()
        for tx_num, (program, rwset) in enumerate(simulated):
            code = self._judge(program, rwset, touched)
            codes.append(code)
            if code is TxValidationCode.VALID:
                self._apply(rwset, Version(block_num, tx_num), touched)
        return codes

    def _judge(
        self, program: Program, rwset: TxRWSet, touched: set[tuple[str, str | bytes]]
    ) -> TxValidationCode:
        again = self.simulate(program)
        for before, now in zip(rwset.namespaces, again.namespaces, strict=True):
            keys = [(before.namespace, read.key) for read in before.reads]
            if before.reads != now.reads or touched.intersection(keys):
                return TxValidationCode.MVCC_READ_CONFLICT
            for step, query in zip(
                [each for each in program[before.namespace] if each.does == "scan"],
                before.range_queries,
                strict=True,
            ):
                if query != self._scan_again(before.namespace, step, query):
                    return TxValidationCode.PHANTOM_READ_CONFLICT
            for one, other in zip(before.collections, now.collections, strict=True):
                hashes = [(before.namespace, read.key_hash) for read in one.hashed_reads]
                if one.hashed_reads != other.hashed_reads or touched.intersection(hashes):
                    return TxValidationCode.MVCC_READ_CONFLICT
        return TxValidationCode.VALID

    def _scan_again(self, namespace: str, step: Step, query: RangeQuery) -> RangeQuery:
        """Scan again as far as was scanned before: to the last key that was read, it included."""
        if query.exhausted:
            return self.scan(namespace, step._replace(limit=None))
        rows = [
            row
            for row in self.range_versions(namespace, query.start_key, "")
            if row[0] <= query.end_key
        ]
        results = RangeResults(step.degree)
        for row in rows:
            results.add(*row)
        raw_reads, merkle = results.finish()
        return query._replace(raw_reads=raw_reads, merkle=merkle)

    def _apply(
        self, rwset: TxRWSet, version: Version, touched: set[tuple[str, str | bytes]]
    ) -> None:
        for each in rwset.namespaces:
            public = self.public.setdefault(each.namespace, {})
            deleted: set[str | bytes] = set()
            for write in each.writes:
                self.writes.append((each.namespace, write.key, version, write.value, write.deletes))
                touched.add((each.namespace, write.key))
                known = public.pop(write.key, None)
                if write.deletes:
                    deleted.add(write.key)
                else:
                    metadata = known.metadata if known else b""
                    public[write.key] = VersionedValue(write.value, version, metadata)
            for key, entries in each.metadata_writes:
                if key in public and key not in deleted:
                    touched.add((each.namespace, key))
                    metadata = encode_metadata(entries) if entries else b""
                    public[key] = VersionedValue(public[key].value, version, metadata)
            for collection in each.collections:
                self._apply_private(each.namespace, collection, version, touched)

    def _apply_private(
        self,
        namespace: str,
        rwset: CollectionRWSet,
        version: Version,
        touched: set[tuple[str, str | bytes]],
    ) -> None:
        private = self.private.setdefault(namespace, {})
        for write in rwset.hashed_writes:
            touched.add((namespace, write.key_hash))
            known = private.pop(write.key_hash, None)
            if not write.deletes:
                metadata = known.metadata if known else b""
                private[write.key_hash] = VersionedValue(write.value_hash, version, metadata)
        for digest, entries in rwset.metadata_writes:
            if digest in private:
                touched.add((namespace, digest))
                metadata = encode_metadata(entries) if entries else b""
                private[digest] = VersionedValue(private[digest].value, version, metadata)


def _of(steps: list[Step], kind: str) -> list[Step]:
    kinds = ("put", "delete") if kind == "put" else (kind,)
    return [step for step in steps if step.does in kinds]


def _entries(step: Step) -> tuple[tuple[str, bytes], ...]:
    return (("owner", step.value),) if step.value else ()


# As a bound the empty key is the beginning or the end; as a key nobody can write it.
_keys = st.sampled_from(KEYS[1:])
_bounds = st.sampled_from(KEYS)
_values = st.sampled_from((b"", b"1", b"2", b"long" * 20))
_private = st.sampled_from(("get private", "put private", "metadata private"))


def _step(*fields: st.SearchStrategy) -> st.SearchStrategy[Step]:
    """Draw exactly these fields; the others keep their defaults."""
    return st.tuples(*fields).map(lambda drawn: Step(*drawn))


_steps = st.one_of(
    _step(st.just("get"), _keys),
    _step(st.just("put"), _keys, _values),
    _step(st.just("delete"), _keys),
    _step(st.just("metadata"), _keys, _values),
    _step(
        st.just("scan"),
        _bounds,
        st.just(b""),
        _bounds,
        st.sampled_from((None, 1, 2, 5)),
        st.sampled_from((2, 3, 50)),
    ),
    _step(_private, _keys, _values),
)
programs: st.SearchStrategy[Program] = st.fixed_dictionaries(
    {name: st.lists(_steps, max_size=5) for name in NAMESPACES}
)
"""Programs of a few steps in two namespaces."""

chains: st.SearchStrategy[list[list[tuple[Program, int]]]] = st.lists(
    st.lists(st.tuples(programs, st.integers(0, 2)), min_size=1, max_size=5),
    min_size=1,
    max_size=5,
)
"""Blocks of programs; each with how many blocks old the state was that it was simulated on."""
