"""Range scans: the record of what a scan saw, and the check that it would see the same again.

Up to 50 results are recorded as they are. More are summarised by a tree of hashes: the results are
cut into runs of 51, each run is hashed as a ``kvrwset.QueryReads``; whenever a level holds more
than 50 hashes, their concatenation is hashed into one hash of the level above. The summary is the
highest level. Simulation and validation build it with the same code.

Absent on purpose: where results come from. The simulator feeds ``RangeResults`` with what a
contract read, the validator feeds it with the committed state under the block's own updates.

Source: Fabric, core/ledger/kvledger/txmgmt/rwsetutil/query_results_helper.go and
validation/{rangequery_validator,combined_iterator}.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from ledger.state.version import Version
from ledger.transactions.marshal import encode_reads
from ledger.transactions.rwset import KVRead, MerkleSummary, RangeQuery
from ledger.validation.ports import CommittedState
from ledger.validation.updates import BlockUpdates

MAX_DEGREE = 50
"""Results recorded one by one, and hashes of a level, at most (Fabric's default)."""


class _Tree:
    """The hashes of a growing list of runs; only the right edge of the tree is held."""

    def __init__(self, max_degree: int) -> None:
        self._max_degree = max_degree
        self._levels: dict[int, list[bytes]] = {}
        self.max_level = 1

    @property
    def top(self) -> list[bytes]:
        return self._levels.get(self.max_level, [])

    def add(self, leaf: bytes) -> None:
        level = 1
        self._levels.setdefault(level, []).append(leaf)
        while len(self._levels[level]) > self._max_degree:
            combined = hashlib.sha256(b"".join(self._levels.pop(level))).digest()
            level += 1
            self._levels.setdefault(level, []).append(combined)
            self.max_level = max(self.max_level, level)

    def finish(self) -> None:
        """Lift what is left on lower levels, so that the highest level covers everything."""
        for level in range(1, self.max_level):
            hashes = self._levels.pop(level, [])
            if not hashes:
                continue
            lifted = hashes[0] if len(hashes) == 1 else hashlib.sha256(b"".join(hashes)).digest()
            self._levels.setdefault(level + 1, []).append(lifted)
        if len(self.top) > self._max_degree:
            combined = hashlib.sha256(b"".join(self._levels.pop(self.max_level))).digest()
            self.max_level += 1
            self._levels[self.max_level] = [combined]


class RangeResults:
    """Collects the results of one scan in their order, and gives their record at the end.

    Args:
        max_degree: at least 2; other than 50 only when checking a foreign summary.
    """

    def __init__(self, max_degree: int = MAX_DEGREE) -> None:
        self._max_degree = max_degree
        self._pending: list[KVRead] = []
        self._tree = _Tree(max_degree)

    def add(self, key: str, version: Version) -> None:
        """Take the next result."""
        self._pending.append(KVRead(key, version))
        if len(self._pending) > self._max_degree:
            self._hash_pending()

    def _hash_pending(self) -> None:
        digest = hashlib.sha256()
        # One after another they are the `kv_reads` of a ``kvrwset.QueryReads``.
        digest.update(encode_reads([(key, v or Version(0, 0)) for key, v in self._pending]))
        self._pending.clear()
        self._tree.add(digest.digest())

    def differs_from(self, summary: MerkleSummary) -> bool:
        """Tell whether the results so far already exclude *summary*: a way out of long scans."""
        if self._tree.max_level != summary.max_level:
            return self._tree.max_level > summary.max_level
        top = self._tree.top
        return top != list(summary.max_level_hashes[: len(top)])

    def finish(self) -> tuple[tuple[KVRead, ...] | None, MerkleSummary | None]:
        """Return the results, or their summary if there were more than ``max_degree``."""
        if self._tree.max_level == 1 and not self._tree.top:
            return tuple(self._pending), None
        if self._pending:
            self._hash_pending()
        self._tree.finish()
        return None, MerkleSummary(self._max_degree, self._tree.max_level, tuple(self._tree.top))


def _scan(
    query: RangeQuery, namespace: str, updates: BlockUpdates, state: CommittedState
) -> Iterator[tuple[str, Version]]:
    """Iterate over the range as it would be read after the block's earlier transactions."""
    changed = updates.of(namespace)
    public = changed.public
    pending = iter(changed.public_range(query.start_key, query.end_key))
    next_changed = next(pending, None)
    for key, version in state.range_versions(namespace, query.start_key, query.end_key):
        while next_changed is not None and next_changed < key:
            if public[next_changed].value is not None:
                yield next_changed, public[next_changed].version
            next_changed = next(pending, None)
        if next_changed == key:
            if public[key].value is not None:
                yield key, public[key].version
            next_changed = next(pending, None)
        else:
            yield key, version
    while next_changed is not None:
        if public[next_changed].value is not None:
            yield next_changed, public[next_changed].version
        next_changed = next(pending, None)
    if not query.exhausted:
        # The contract stopped early: end_key is the last key it read, itself included.
        key = query.end_key
        update = public.get(key)
        if update is not None:
            if update.value is not None:
                yield key, update.version
        else:
            mark = updates.committed_marks(namespace, [key])[key]
            if mark is not None:
                yield key, mark.version


def is_range_unchanged(
    query: RangeQuery, namespace: str, updates: BlockUpdates, state: CommittedState
) -> bool:
    """Tell whether the scan would find the same keys in the same versions.

    Args:
        query: as the endorsers recorded it.
        namespace: whose keys were scanned.
        updates: of the block's earlier valid transactions.
        state: before the block.
    """
    results = _scan(query, namespace, updates, state)
    summary = query.merkle
    if summary is None:
        for key, version in query.raw_reads or ():
            if next(results, None) != (key, version):
                return False
        return next(results, None) is None
    if summary.max_degree < 2:
        return False
    found = RangeResults(summary.max_degree)
    for key, version in results:
        found.add(key, version)
        if found.differs_from(summary):
            return False
    return found.finish()[1] == summary
