"""A world state in memory and a ledger of one contract or several, for testing contracts.

``MemoryState`` is a `StateReader` with versions, metadata and history. ``ContractLedger`` runs
proposals through the real simulator against it and commits each VALID one as a block of its own
(or several as one block, to see conflicts), with Fabric's MVCC rule for single reads and ranges.
No envelopes, endorsements or policies: those belong to the nodes' tests.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import chaincode_event_pb2

from chaincode.contract import PKT, Contract, Creator, encode_json
from chaincode.simulator import (
    Chaincode,
    CollectionAccess,
    ContractChaincode,
    Invocation,
    Limits,
    SimulationResult,
    Simulator,
)
from chaincode.simulator.ports import EVERY_COLLECTION
from ledger.state.ports import HistoryEntry, StateReader, VersionedValue
from ledger.state.version import Version
from ledger.transactions.private import (
    decode_private_rwset,
    decode_tx_private,
    hash_key,
    hash_value,
)
from ledger.transactions.rwset import CollectionRWSet, decode_tx_rwset, encode_metadata

CHANNEL = "qist"


class MemoryState:
    """Public keys by namespace; a write is seen by readers at once, so use one per test."""

    def __init__(self) -> None:
        self.height = 1
        self._values: dict[str, dict[str, VersionedValue]] = {}
        self._sorted: dict[str, list[bytes]] = {}
        self._history: dict[tuple[str, str], list[HistoryEntry]] = {}
        self._hashed: dict[tuple[str, str], dict[bytes, VersionedValue]] = {}
        self._private: dict[tuple[str, str], dict[str, VersionedValue]] = {}

    # ---- StateReader
    def get(self, namespace: str, key: str) -> VersionedValue | None:
        return self._values.get(namespace, {}).get(key)

    def get_many(self, namespace: str, keys: Sequence[str]) -> list[VersionedValue | None]:
        values = self._values.get(namespace, {})
        return [values.get(key) for key in keys]

    def range(
        self, namespace: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, VersionedValue]]:
        keys = self._sorted.get(namespace, [])
        first = bisect_left(keys, start_key.encode())
        last = bisect_left(keys, end_key.encode()) if end_key else len(keys)
        for raw in keys[first:last]:
            key = raw.decode()
            yield key, self._values[namespace][key]

    def get_hashed(self, namespace: str, collection: str, key_hash: bytes) -> VersionedValue | None:
        return self._hashed.get((namespace, collection), {}).get(key_hash)

    def get_hashed_many(
        self, namespace: str, collection: str, key_hashes: Sequence[bytes]
    ) -> list[VersionedValue | None]:
        return [self.get_hashed(namespace, collection, each) for each in key_hashes]

    def get_private(self, namespace: str, collection: str, key: str) -> VersionedValue | None:
        return self._private.get((namespace, collection), {}).get(key)

    def get_private_many(
        self, namespace: str, collection: str, keys: Sequence[str]
    ) -> list[VersionedValue | None]:
        return [self.get_private(namespace, collection, key) for key in keys]

    def range_private(
        self, namespace: str, collection: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, VersionedValue]]:
        entries = self._private.get((namespace, collection), {})
        for key in sorted(entries):
            if key >= start_key and (not end_key or key < end_key):
                yield key, entries[key]

    def has_metadata(self, namespace: str) -> bool:
        public = self._values.get(namespace, {}).values()
        hashed = [
            entry
            for (name, _), entries in self._hashed.items()
            if name == namespace
            for entry in entries.values()
        ]
        return any(entry.metadata for entry in (*public, *hashed))

    def metadata_of(self, namespace: str, key: str) -> dict[str, bytes]:
        entry = self.get(namespace, key)
        if entry is None:
            return {}
        stored = kv_rwset_pb2.KVMetadataWrite.FromString(entry.metadata)
        return {item.name: item.value for item in stored.entries}

    def history(self, namespace: str, key: str) -> Iterator[HistoryEntry]:
        return reversed(self._history.get((namespace, key), []))

    def close(self) -> None:
        pass

    # ---- writing
    def put(
        self, namespace: str, key: str, value: bytes | None, version: Version, metadata: bytes = b""
    ) -> None:
        """Set or remove one key."""
        values = self._values.setdefault(namespace, {})
        keys = self._sorted.setdefault(namespace, [])
        raw = key.encode()
        if value is None:
            if values.pop(key, None) is not None:
                del keys[bisect_left(keys, raw)]
            return
        if key not in values:
            insort(keys, raw)
        values[key] = VersionedValue(value, version, metadata)

    def put_private(
        self,
        namespace: str,
        collection: str,
        key: str,
        value: bytes | None,
        version: Version,
        metadata: bytes = b"",
        *,
        held: bool = True,
    ) -> None:
        """Set or remove one private key; *held*: in plain too, not only by its hashes."""
        hashed = self._hashed.setdefault((namespace, collection), {})
        private = self._private.setdefault((namespace, collection), {})
        private.pop(key, None)
        if value is None:
            hashed.pop(hash_key(key), None)
            return
        hashed[hash_key(key)] = VersionedValue(hash_value(value), version, metadata)
        if held:
            private[key] = VersionedValue(value, version)

    def put_hashed(
        self, namespace: str, collection: str, key_hash: bytes, entry: VersionedValue | None
    ) -> None:
        """Set or remove one private key of which only the hashes are known."""
        hashed = self._hashed.setdefault((namespace, collection), {})
        if entry is None:
            hashed.pop(key_hash, None)
        else:
            hashed[key_hash] = entry

    def apply(
        self, result: SimulationResult, tx_id: str, timestamp: datetime, version: Version
    ) -> None:
        """Apply the writes of a simulation as the transaction *version*."""
        for namespace, rwset in _namespaces(result.rwset):
            for write in rwset.writes:
                removed = write.is_delete or not write.value
                known = self.get(namespace, write.key)
                metadata = b"" if known is None else known.metadata
                value = None if removed else write.value
                self.put(namespace, write.key, value, version, metadata)
                self._history.setdefault((namespace, write.key), []).append(
                    HistoryEntry(tx_id, version, write.value, removed, timestamp)
                )
            for written in rwset.metadata_writes:
                known = self.get(namespace, written.key)
                if known is not None:
                    stored = kv_rwset_pb2.KVMetadataWrite(entries=written.entries)
                    self.put(
                        namespace, written.key, known.value, version, stored.SerializeToString()
                    )
        plain = {
            (each.namespace, each.collection): decode_private_rwset(each.rwset)
            for each in decode_tx_private(result.private)
        }
        for each in decode_tx_rwset(result.rwset).namespaces:
            for collection in each.collections:
                sets = plain.get((each.namespace, collection.collection))
                values = {write.key: write.value for write in sets.writes} if sets else {}
                keys = {hash_key(key): key for key in (sets.keys if sets else ())}
                self._apply_collection(each.namespace, collection, keys, values, version)

    def _apply_collection(
        self,
        namespace: str,
        rwset: CollectionRWSet,
        keys: Mapping[bytes, str],
        values: Mapping[str, bytes],
        version: Version,
    ) -> None:
        metadata = dict(rwset.metadata_writes)
        written = {write.key_hash: write for write in rwset.hashed_writes}
        for key_hash in written.keys() | metadata.keys():
            key = keys[key_hash]
            known = self.get_private(namespace, rwset.collection, key)
            hashed = self.get_hashed(namespace, rwset.collection, key_hash)
            kept = b"" if hashed is None else hashed.metadata
            if key_hash in metadata:
                kept = encode_metadata(metadata[key_hash]) if metadata[key_hash] else b""
            value = None if known is None else known.value
            if key_hash in written:
                value = None if written[key_hash].deletes else values[key]
            self.put_private(namespace, rwset.collection, key, value, version, kept)

    def conflicts(self, result: SimulationResult) -> bool:
        """Say whether anything that *result* read is different now (MVCC and phantoms)."""
        for each in decode_tx_rwset(result.rwset).namespaces:
            for collection in each.collections:
                for key_hash, version in collection.hashed_reads:
                    entry = self.get_hashed(each.namespace, collection.collection, key_hash)
                    if (None if entry is None else entry.version) != version:
                        return True
        for namespace, rwset in _namespaces(result.rwset):
            for read in rwset.reads:
                known = self.get(namespace, read.key)
                if (None if known is None else known.version) != _version(read):
                    return True
            for query in rwset.range_queries_info:
                end = query.end_key if query.itr_exhausted else query.end_key + "\x00"
                found = [
                    (key, entry.version)
                    for key, entry in self.range(namespace, query.start_key, end)
                ]
                if query.HasField("reads_merkle_hashes"):
                    continue  # the summary is the ledger's business
                if found != [(read.key, _version(read)) for read in query.raw_reads.kv_reads]:
                    return True
        return False

    def dump(self, namespace: str) -> dict[str, Any]:
        """Return every key of a namespace with its value, JSON decoded where it is JSON."""
        return {key: _readable(entry.value) for key, entry in self.range(namespace, "", "")}


def _namespaces(raw: bytes) -> list[tuple[str, kv_rwset_pb2.KVRWSet]]:
    return [
        (item.namespace, kv_rwset_pb2.KVRWSet.FromString(item.rwset))
        for item in rwset_pb2.TxReadWriteSet.FromString(raw).ns_rwset
    ]


def _version(read: kv_rwset_pb2.KVRead) -> Version | None:
    if not read.HasField("version"):
        return None
    return Version(read.version.block_num, read.version.tx_num)


def _readable(value: bytes) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


@dataclass(frozen=True)
class Outcome:
    """What became of one proposal.

    Attributes:
        valid: it was committed; False for a refusal and for a conflict.
        result: the simulation's; `payload`, `message` and `status` are its parts.
    """

    tx_id: str
    valid: bool
    result: SimulationResult

    @property
    def status(self) -> int:
        return self.result.status

    @property
    def message(self) -> str:
        return self.result.message

    @property
    def value(self) -> Any:
        """The payload, JSON decoded where it is JSON."""
        return _readable(self.result.payload) if self.result.payload else None

    @property
    def event(self) -> tuple[str, Any] | None:
        if self.result.event is None:
            return None
        event = chaincode_event_pb2.ChaincodeEvent.FromString(self.result.event)
        return event.event_name, _readable(event.payload)


class _Contracts:
    def __init__(self, contracts: Sequence[Contract | Chaincode]) -> None:
        offered = [ContractChaincode(c) if isinstance(c, Contract) else c for c in contracts]
        self.by_name = {chaincode.name: chaincode for chaincode in offered}

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        return self.by_name.get(name)

    def explain(self, name: str, state: StateReader) -> str:
        return f"chaincode {name} not found"


@dataclass
class ContractLedger:
    """Contracts on a ledger in memory.

    Attributes:
        now: the timestamp of the next proposal; move it with `at` or `pass_days`.
        access_of: what a creator may do with private collections.
    """

    contracts: Sequence[Contract | Chaincode]
    creator: Creator = field(default_factory=lambda: Creator("BankMSP", "ayesha"))
    now: datetime = datetime(2026, 1, 1, 6, 0, tzinfo=UTC)
    limits: Limits = field(default_factory=Limits)
    access_of: Callable[[Creator], CollectionAccess] = lambda creator: EVERY_COLLECTION

    def __post_init__(self) -> None:
        self.state = MemoryState()
        registry = _Contracts(self.contracts)
        self.simulator = Simulator(registry, self.limits)
        self._nonce = 0
        for number, name in enumerate(registry.by_name):
            key = f"namespaces/fields/{name}/Sequence"
            self.state.put("_lifecycle", key, b"\x08\x01", Version(1, number))
        self.state.height = 2

    def at(self, day: str | date, clock: str = "11:00") -> None:
        """Set the time of the next proposals to a date (and time) in Pakistan."""
        chosen = date.fromisoformat(day) if isinstance(day, str) else day
        self.now = datetime.combine(chosen, time.fromisoformat(clock), PKT).astimezone(UTC)

    def pass_days(self, days: int) -> None:
        """Move the time of the next proposals."""
        self.now += timedelta(days=days)

    def simulate(
        self,
        contract: str,
        function: str,
        *args: Any,
        creator: Creator | None = None,
        transient: Mapping[str, Any] | None = None,
    ) -> tuple[str, SimulationResult]:
        """Run a proposal and commit nothing. Texts go as they are, other arguments as JSON."""
        self._nonce += 1
        tx_id = hashlib.sha256(b"%d" % self._nonce).hexdigest()
        invocation = Invocation(
            channel_id=CHANNEL,
            tx_id=tx_id,
            chaincode=contract,
            args=(function.encode(), *(_wire(arg) for arg in args)),
            creator=creator or self.creator,
            timestamp=self.now,
            transient={name: _wire(value) for name, value in (transient or {}).items()},
            access=self.access_of(creator or self.creator),
        )
        return tx_id, self.simulator.simulate(self.state, invocation)

    def evaluate(self, contract: str, function: str, *args: Any, **options: Any) -> Outcome:
        """Run a query."""
        tx_id, result = self.simulate(contract, function, *args, **options)
        return Outcome(tx_id, False, result)

    def submit(self, contract: str, function: str, *args: Any, **options: Any) -> Outcome:
        """Run a proposal and commit it as the next block."""
        return self.commit([self.simulate(contract, function, *args, **options)])[0]

    def commit(self, simulated: Sequence[tuple[str, SimulationResult]]) -> list[Outcome]:
        """Commit several simulated transactions as one block, in this order."""
        outcomes = []
        for tx_num, (tx_id, result) in enumerate(simulated):
            valid = result.status < 400 and not self.state.conflicts(result)
            if valid:
                self.state.apply(result, tx_id, self.now, Version(self.state.height, tx_num))
            outcomes.append(Outcome(tx_id, valid, result))
        self.state.height += 1
        return outcomes


def _wire(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else encode_json(value)
