# ruff: noqa: D102 - what each method promises stands at its name in `chaincode.contract.stub`.
"""The stub that records: every read into the read set, every write into the write set.

Each contract that takes part in a transaction has a `RecordingStub` over its own namespace. There
is no way to another's: reading goes through `reading`, writing only through the other contract's
own code (`invoke_chaincode`). Private data is in `private`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chaincode.contract.stub import KeyModification, Page, ReadOnlyStub, Response
from chaincode.errors import AccessRefused, SimulationLimit
from chaincode.simulator.private import PrivateReader, PrivateWriter
from chaincode.simulator.recorder import RangeScan
from chaincode.simulator.simulation import (
    FIRST_SIMPLE_KEY,
    MAX_EVENT_NAME,
    MAX_KEY,
    Simulation,
    refuse_key,
    refuse_write,
    size_of_key,
    size_of_text,
)
from ledger.state.composite import composite_range, create_composite_key, split_composite_key
from ledger.state.ports import VALIDATION_PARAMETER


class ReadingStub(PrivateReader):
    """Reads of one namespace, recorded."""

    __slots__ = ("_get", "_history", "_namespace", "_record", "_simulation", "_state")

    def __init__(self, simulation: Simulation, namespace: str) -> None:
        self._simulation = simulation
        self._namespace = namespace
        self._state = simulation.state
        self._get = simulation.state.get
        self._record = simulation.record(namespace)

    def get_state(self, key: str) -> bytes | None:
        self._simulation.count_reads(1)
        if not key.isascii():
            size_of_text(key)
        entry = self._get(self._namespace, key)
        if entry is None:
            self._record.reads[key] = None
            return None
        self._record.reads[key] = entry.version
        return entry.value

    def get_states(self, keys: Sequence[str]) -> list[bytes | None]:
        self._simulation.count_reads(len(keys))
        size_of_text("".join(keys))
        reads = self._record.reads
        values: list[bytes | None] = []
        for key, entry in zip(keys, self._state.get_many(self._namespace, keys), strict=True):
            if entry is None:
                reads[key] = None
                values.append(None)
            else:
                reads[key] = entry.version
                values.append(entry.value)
        return values

    def get_state_by_range(self, start_key: str, end_key: str) -> Iterator[tuple[str, bytes]]:
        for key in (start_key, end_key):
            if key.startswith("\x00"):
                refuse_key("a range over simple keys begins or ends in the composite keys")
        return self._scan(start_key or FIRST_SIMPLE_KEY, end_key)

    def get_state_by_partial_composite_key(
        self, object_type: str, attributes: Sequence[str]
    ) -> Iterator[tuple[str, bytes]]:
        return self._scan(*composite_range(object_type, attributes))

    def get_state_by_range_with_pagination(
        self, start_key: str, end_key: str, page_size: int, bookmark: str = ""
    ) -> Page:
        for key in (start_key, end_key, bookmark):
            if key.startswith("\x00"):
                refuse_key("a range over simple keys begins or ends in the composite keys")
        return self._page(bookmark or start_key or FIRST_SIMPLE_KEY, end_key, page_size)

    def get_state_by_partial_composite_key_with_pagination(
        self, object_type: str, attributes: Sequence[str], page_size: int, bookmark: str = ""
    ) -> Page:
        start_key, end_key = composite_range(object_type, attributes)
        if bookmark and not start_key <= bookmark < end_key:
            refuse_key("the bookmark does not belong to this query")
        return self._page(bookmark or start_key, end_key, page_size)

    def _page(self, start_key: str, end_key: str, page_size: int) -> Page:
        self._simulation.begin_page(page_size)
        entries: list[tuple[str, bytes]] = []
        for key, value in self._scan(start_key, end_key):
            if len(entries) == page_size:
                return Page(tuple(entries), key)
            entries.append((key, value))
        return Page(tuple(entries), "")

    def _scan(self, start_key: str, end_key: str) -> Iterator[tuple[str, bytes]]:
        simulation = self._simulation
        size_of_text(start_key + end_key)
        scan = RangeScan(start_key, end_key)
        self._record.ranges.append(scan)
        for key, entry in self._state.range(self._namespace, start_key, end_key):
            simulation.count_reads(1)
            scan.add(key, entry.version)
            yield key, entry.value
        scan.exhausted = True

    def get_history_for_key(self, key: str) -> Iterator[KeyModification]:
        size_of_text(key)
        entries = self._state.history(self._namespace, key)
        while True:
            self._simulation.count_reads(1)
            with self._simulation.gate:
                entry = next(entries, None)
            if entry is None:
                return
            yield KeyModification(entry.tx_id, entry.value, entry.is_delete, entry.timestamp)

    def get_state_validation_parameter(self, key: str) -> bytes | None:
        self._simulation.count_reads(1)
        size_of_text(key)
        entry = self._get(self._namespace, key)
        self._record.reads[key] = None if entry is None else entry.version
        if entry is None or not entry.metadata:
            return None
        return self._state.metadata_of(self._namespace, key).get(VALIDATION_PARAMETER) or None

    def create_composite_key(self, object_type: str, attributes: Sequence[str]) -> str:
        return create_composite_key(object_type, attributes)

    def split_composite_key(self, key: str) -> tuple[str, list[str]]:
        return split_composite_key(key)


class RecordingStub(ReadingStub, PrivateWriter):
    """Reads and writes of a contract over its own namespace, recorded."""

    __slots__ = ("_writable",)

    def __init__(self, simulation: Simulation, namespace: str, *, writable: bool) -> None:
        super().__init__(simulation, namespace)
        self._writable = writable

    def put_state(self, key: str, value: bytes) -> None:
        if not self._writable:
            refuse_write()
        if type(value) is not bytes:
            raise TypeError(f"a value must be bytes, not {type(value).__name__}")
        size = len(key) if key.isascii() and 0 < len(key) <= MAX_KEY else size_of_key(key)
        self._simulation.check_write(size + len(value))
        self._record.writes[key] = value

    def del_state(self, key: str) -> None:
        if not self._writable:
            refuse_write()
        self._simulation.check_write(size_of_key(key))
        self._record.writes[key] = None

    def set_state_validation_parameter(self, key: str, policy: bytes | None) -> None:
        if not self._writable:
            refuse_write()
        self._simulation.check_write(size_of_key(key) + len(policy or b""))
        self._record.metadata_writes[key] = ((VALIDATION_PARAMETER, policy or b""),)

    def set_event(self, name: str, payload: bytes) -> None:
        if not name or size_of_text(name) > MAX_EVENT_NAME:
            raise AccessRefused(
                "an event", f"needs a name of at most {MAX_EVENT_NAME} bytes", "shorten it"
            )
        if type(payload) is not bytes:
            raise TypeError(f"an event's payload must be bytes, not {type(payload).__name__}")
        if len(payload) > self._simulation.limits.event_bytes:
            raise SimulationLimit(
                "the event",
                f"is larger than {self._simulation.limits.event_bytes} bytes",
                "put the content on the ledger and its key into the event",
            )
        self._simulation.event = (name, payload)

    def get_transient(self) -> Mapping[str, bytes]:
        return self._simulation.transient

    def reading(self, namespace: str) -> ReadOnlyStub:
        if self._simulation.read_sequence(namespace) is None:
            raise AccessRefused(
                f"contract {namespace}", "is not defined on this channel", "commit its definition"
            )
        return ReadingStub(self._simulation, namespace)

    def invoke_chaincode(self, name: str, args: Sequence[bytes], channel: str = "") -> Response:
        if channel:
            raise AccessRefused(
                "a contract", "can call only contracts of its own channel", "leave the channel out"
            )
        return self._simulation.call(name, args, self._writable)
