"""Our state against a peer's own snapshot, entry by entry.

Compared are the snapshot's hashes of itself, the names of channel and last blocks, every public
entry and every private hash with value, version and metadata, every transaction id, and the history
of collections. Values are shown by length and hash, never themselves.

The comparison takes place when the last block of the snapshot has been committed; later blocks are
replayed as ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from fabric_protos.peer.lifecycle import db_pb2
from google.protobuf.message import DecodeError

from chaincode.system.definitions import LIFECYCLE, METADATA_PREFIX, field_key
from ledger.channel import ChannelLedger
from ledger.state.listing import (
    list_collections,
    list_hashed,
    list_namespaces,
    list_public,
    list_transaction_ids,
)
from ledger.state.ports import VersionedValue
from ledger.state.snapshot import LedgerSnapshot
from network.configuration import config_of_block
from nodes.replay.difference import Difference, Disagreement, RecordingError
from nodes.replay.snapshot_files import (
    CONFIG_HISTORY,
    PRIVATE_HASHES,
    PUBLIC_STATE,
    TX_IDS,
    ConfigHistoryEntry,
    SnapshotFolder,
)

__all__ = ["SnapshotComparison"]

_JOINER = "$$h"
_ALL_BITS = (1 << 64) - 1


class SnapshotComparison:
    """Compares a ledger that is being replayed with one snapshot, at the snapshot's height.

    Args:
        path: the snapshot's folder.
        ledger: ours.
    """

    def __init__(self, path: Path, ledger: ChannelLedger) -> None:
        self._folder = SnapshotFolder(path)
        self._ledger = ledger
        self._counts: dict[str, int] = {}
        self._last = self._folder.metadata.last_block
        if ledger.height > self._last + 1:
            raise RecordingError(
                f"{path} is of block {self._last}, and the ledger given to --ledger has "
                f"{ledger.height} blocks already: compare with a new ledger"
            )
        if ledger.height == self._last + 1:
            self.after_block(self._last)

    def after_block(self, number: int) -> None:
        """Compare, if *number* is the snapshot's last block.

        Raises:
            Disagreement: the first entry that is not the same.
            RecordingError: a file of the snapshot cannot be read.
        """
        if number != self._last:
            return
        self._compare_files()
        with self._ledger.snapshot() as state:
            self._compare_state(
                state,
                PUBLIC_STATE,
                {name: list_public(state, name) for name in list_namespaces(state)},
            )
            self._compare_state(
                state,
                PRIVATE_HASHES,
                {
                    f"{namespace}{_JOINER}{collection}": list_hashed(state, namespace, collection)
                    for namespace, collection in list_collections(state)
                },
            )
            self._compare_ids(state)
            self._compare_history(state)

    def verify_done(self) -> None:
        """Check that the blocks reached the snapshot.

        Raises:
            RecordingError: they did not.
        """
        if not self._counts:
            raise RecordingError(
                f"{self._folder.path} is of block {self._last}, and the blocks end at height "
                f"{self._ledger.height}: give the blocks up to it"
            )

    def lines(self) -> Iterator[str]:
        """Return what was compared, for people."""
        if not self._counts:
            yield f"snapshot {self._folder.path}: not compared"
            return
        counts = ", ".join(f"{count} {name}" for name, count in self._counts.items())
        yield f"snapshot {self._folder.path} at block {self._last}: the same in {counts}"

    def as_json(self) -> dict[str, object]:
        """Return what was compared, for programs."""
        return {"folder": str(self._folder.path), "block": self._last, "compared": self._counts}

    def _differs(self, check: str, key: str, ours: str, theirs: str) -> Disagreement:
        return Disagreement(Difference(self._last, f"snapshot: {check}", ours, theirs, key))

    def _compare_files(self) -> None:
        for name, found, expected in self._folder.damaged_files():
            raise self._differs("hash of a file", name, found, expected)
        metadata, ledger = self._folder.metadata, self._ledger
        block = ledger.block(self._last)
        assert block is not None
        channel = self._channel()
        for what, ours, theirs in (
            ("channel", channel, metadata.channel),
            ("last_block_hash", ledger.last_header_hash.hex(), metadata.last_block_hash),
            ("previous_block_hash", block.header.previous_hash.hex(), metadata.previous_block_hash),
            ("last_block_commit_hash", ledger.commit_hash.hex(), metadata.commit_hash),
        ):
            if ours != theirs:
                raise self._differs("its metadata", what, ours, theirs)
        self._counts["files"] = len(metadata.files) + 2

    def _channel(self) -> str:
        genesis = self._ledger.block(0)
        found = None if genesis is None else config_of_block(genesis)
        return "" if found is None else found[0]

    def _compare_state(
        self,
        state: LedgerSnapshot,
        kind: str,
        ours: dict[str, Iterator[tuple[bytes, VersionedValue]]],
    ) -> None:
        words = "public state" if kind == PUBLIC_STATE else "private hashes"
        records = self._folder.records(kind)
        compared = 0
        for namespace, count in self._folder.namespaces(kind):
            mine = ours.pop(namespace, iter(()))
            self._compare_namespace(words, namespace, mine, islice(records, count), count)
            compared += count
        for key, entry in records:
            raise self._differs(words, _key("?", key), "no such namespace", _entry(entry))
        for namespace, mine in sorted(ours.items()):
            for key, entry in mine:
                raise self._differs(words, _key(namespace, key), _entry(entry), "absent")
        self._counts["public entries" if kind == PUBLIC_STATE else words] = compared

    def _compare_namespace(
        self,
        words: str,
        namespace: str,
        ours: Iterator[tuple[bytes, VersionedValue]],
        theirs: Iterable[tuple[bytes, VersionedValue]],
        count: int,
    ) -> None:
        seen = 0
        for key, entry in theirs:
            seen += 1
            mine = next(ours, None)
            if mine is not None and mine[0] < key:
                raise self._differs(words, _key(namespace, mine[0]), _entry(mine[1]), "absent")
            if mine is None or mine[0] != key:
                raise self._differs(words, _key(namespace, key), "absent", _entry(entry))
            if mine[1] != entry:
                raise self._differs(words, _key(namespace, key), _entry(mine[1]), _entry(entry))
        if seen != count:
            raise self._differs(words, namespace, f"{count} entries listed", f"{seen} found")
        for key, entry in ours:
            raise self._differs(words, _key(namespace, key), _entry(entry), "absent")

    def _compare_ids(self, state: LedgerSnapshot) -> None:
        theirs: set[bytes] = set()
        for tx_id in self._folder.transaction_ids():
            if tx_id in theirs:
                raise self._differs(TX_IDS, tx_id.decode(errors="replace"), "once", "twice")
            theirs.add(tx_id)
        ours = 0
        for tx_id in list_transaction_ids(state):
            ours += 1
            if tx_id not in theirs:
                raise self._differs(TX_IDS, tx_id.decode(errors="replace"), "filed", "absent")
            theirs.discard(tx_id)
        for tx_id in sorted(theirs):
            raise self._differs(TX_IDS, tx_id.decode(errors="replace"), "absent", "filed")
        self._counts["transaction ids"] = ours

    def _compare_history(self, state: LedgerSnapshot) -> None:
        ours = sorted(_collection_history(state))
        theirs = list(self._folder.config_history())
        for mine, other in zip(ours, theirs, strict=False):
            if mine != other:
                raise self._differs(
                    CONFIG_HISTORY, repr(other.key), _bytes(mine.value), _bytes(other.value)
                )
        if len(ours) != len(theirs):
            odd = (ours if len(ours) > len(theirs) else theirs)[min(len(ours), len(theirs))]
            raise self._differs(
                CONFIG_HISTORY, repr(odd.key), f"{len(ours)} entries", f"{len(theirs)} entries"
            )
        self._counts["collection definitions"] = len(ours)


def _collection_history(state: LedgerSnapshot) -> Iterator[ConfigHistoryEntry]:
    """Yield what a peer files whenever a block defines a contract that has collections.

    Source: Fabric, core/ledger/confighistory/{mgr,db_helper}.go.
    """
    for key, _ in list_public(state, LIFECYCLE):
        if not key.startswith(METADATA_PREFIX.encode()):
            continue
        name = key[len(METADATA_PREFIX) :].decode()
        packages = [
            (entry.version.block_num, b"" if entry.is_delete else entry.value)
            for entry in state.history(LIFECYCLE, field_key(name, "Collections"))
        ]
        defined = {
            entry.version.block_num
            for entry in state.history(LIFECYCLE, field_key(name, "Sequence"))
        }
        for block_num in defined:
            value = next((value for number, value in packages if number <= block_num), b"")
            package = _content(value)
            if package:
                place = (_ALL_BITS - block_num).to_bytes(8, "big")
                yield ConfigHistoryEntry(
                    b"slscc\0" + name.encode() + b"~collection" + place, package
                )


def _content(field: bytes) -> bytes:
    try:
        content: bytes = db_pb2.StateData.FromString(field).Bytes
    except DecodeError:
        return b""
    return content


def _key(namespace: str, key: bytes) -> str:
    shown = key.hex() if _JOINER in namespace else repr(key.decode(errors="replace"))
    return f"{namespace}: {shown}"


def _entry(entry: VersionedValue) -> str:
    metadata = f", metadata {_bytes(entry.metadata)}" if entry.metadata else ""
    version = f"[{entry.version.block_num}, {entry.version.tx_num}]"
    return f"value of {_bytes(entry.value)} at version {version}{metadata}"


def _bytes(raw: bytes) -> str:
    return f"{len(raw)} bytes with SHA-256 {hashlib.sha256(raw).hexdigest()[:16]}…"
