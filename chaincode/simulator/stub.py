# ruff: noqa: D102 - what each method promises stands at its name in `chaincode.contract.stub`.
"""The stub that records: every read into the read set, every write into the write set.

One `Simulation` belongs to one transaction and one thread; each contract that takes part in the
transaction has a `RecordingStub` over its own namespace. There is no way to another's: reading
goes through `reading`, writing only through the other contract's own code (`invoke_chaincode`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

from chaincode.contract.stub import KeyModification, Page, ReadOnlyStub, Response
from chaincode.errors import AccessRefused, ContractRefusal, SimulationLimit
from chaincode.simulator.limits import Limits
from chaincode.simulator.recorder import NamespaceRecord, RangeScan
from ledger.state.composite import composite_range, create_composite_key, split_composite_key
from ledger.state.ports import VALIDATION_PARAMETER, StateReader

LIFECYCLE = "_lifecycle"
_FIRST_SIMPLE_KEY = "\x01"
"""Where a range over simple keys begins when none is named, so that it never enters the composite
ones (Fabric's shim, emptyKeySubstitute)."""


MAX_KEY = 4096
"""Bytes of a key that is written."""
MAX_EVENT_NAME = 256
"""Bytes of an event's name."""


def sequence_key(name: str) -> str:
    """Return the key in `_lifecycle` whose version changes with the definition of *name*."""
    return f"namespaces/fields/{name}/Sequence"


class Stopped(BaseException):
    """Ends a simulation from outside; not an Exception, so that no contract catches it by the
    way.
    """


class Simulation:
    """What all stubs of one transaction share.

    Attributes:
        stopped: set by the watchdog once the deadline has passed; the next stub call ends it.
        gate: held while the node does what no exception from outside may cut off.
    """

    __slots__ = (
        "_call",
        "event",
        "gate",
        "limits",
        "paginated",
        "reads",
        "records",
        "state",
        "stopped",
        "transient",
        "write_bytes",
        "writes",
    )

    def __init__(
        self,
        state: StateReader,
        limits: Limits,
        transient: Mapping[str, bytes],
        call: Callable[[str, Sequence[bytes], bool], Response],
    ) -> None:
        self.state = state
        self.limits = limits
        self.transient = transient
        self.records: dict[str, NamespaceRecord] = {}
        self.event: tuple[str, bytes] | None = None
        self.stopped = False
        self.gate = threading.Lock()
        self.paginated = False
        self.reads = 0
        self.writes = 0
        self.write_bytes = 0
        self._call = call

    def record(self, namespace: str) -> NamespaceRecord:
        """Return the record of *namespace*, made at its first use."""
        found = self.records.get(namespace)
        if found is None:
            found = self.records[namespace] = NamespaceRecord()
        return found

    def read_sequence(self, name: str) -> bytes | None:
        """Read and record the sequence of a contract's definition, as Fabric's peers do."""
        key = sequence_key(name)
        entry = self.state.get(LIFECYCLE, key)
        self.record(LIFECYCLE).reads.setdefault(key, None if entry is None else entry.version)
        return None if entry is None else entry.value

    def call(self, name: str, args: Sequence[bytes], writable: bool) -> Response:
        """Run another contract within this transaction."""
        return self._call(name, args, writable)

    def count_reads(self, keys: int) -> None:
        """Count keys read against the limit, and end the simulation if its time is up."""
        if self.stopped:
            raise Stopped
        self.reads += keys
        if self.reads > self.limits.reads:
            raise SimulationLimit(
                "the transaction",
                f"reads more than {self.limits.reads} keys",
                "ask for less at a time",
            )

    def check_write(self, size: int) -> None:
        """Count a write of *size* bytes against the limits."""
        if self.stopped:
            raise Stopped
        self.writes += 1
        self.write_bytes += size
        limits = self.limits
        if self.writes > limits.writes or self.write_bytes > limits.write_bytes:
            raise SimulationLimit(
                "the transaction",
                f"writes more than {limits.writes} keys or {limits.write_bytes} bytes",
                "send fewer records at a time",
            )
        if self.paginated:
            raise AccessRefused(
                "the transaction", "writes after a paginated query", "page in a query of its own"
            )

    def begin_page(self, page_size: int) -> None:
        """Note that the transaction is read in pages, which excludes writes."""
        if self.writes:
            raise AccessRefused(
                "the transaction", "asks for a page after a write", "page in a query of its own"
            )
        if not 1 <= page_size <= self.limits.page_size:
            raise AccessRefused(
                "the page size", f"must be from 1 to {self.limits.page_size}", "ask for fewer"
            )
        self.paginated = True


class ReadingStub:
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
            _size_of_text(key)
        entry = self._get(self._namespace, key)
        if entry is None:
            self._record.reads[key] = None
            return None
        self._record.reads[key] = entry.version
        return entry.value

    def get_states(self, keys: Sequence[str]) -> list[bytes | None]:
        self._simulation.count_reads(len(keys))
        _size_of_text("".join(keys))
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
                _refuse_key("a range over simple keys begins or ends in the composite keys")
        return self._scan(start_key or _FIRST_SIMPLE_KEY, end_key)

    def get_state_by_partial_composite_key(
        self, object_type: str, attributes: Sequence[str]
    ) -> Iterator[tuple[str, bytes]]:
        return self._scan(*composite_range(object_type, attributes))

    def get_state_by_range_with_pagination(
        self, start_key: str, end_key: str, page_size: int, bookmark: str = ""
    ) -> Page:
        for key in (start_key, end_key, bookmark):
            if key.startswith("\x00"):
                _refuse_key("a range over simple keys begins or ends in the composite keys")
        return self._page(bookmark or start_key or _FIRST_SIMPLE_KEY, end_key, page_size)

    def get_state_by_partial_composite_key_with_pagination(
        self, object_type: str, attributes: Sequence[str], page_size: int, bookmark: str = ""
    ) -> Page:
        start_key, end_key = composite_range(object_type, attributes)
        if bookmark and not start_key <= bookmark < end_key:
            _refuse_key("the bookmark does not belong to this query")
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
        _size_of_text(start_key + end_key)
        scan = RangeScan(start_key, end_key)
        self._record.ranges.append(scan)
        for key, entry in self._state.range(self._namespace, start_key, end_key):
            simulation.count_reads(1)
            scan.add(key, entry.version)
            yield key, entry.value
        scan.exhausted = True

    def get_history_for_key(self, key: str) -> Iterator[KeyModification]:
        _size_of_text(key)
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
        _size_of_text(key)
        entry = self._get(self._namespace, key)
        self._record.reads[key] = None if entry is None else entry.version
        if entry is None or not entry.metadata:
            return None
        return self._state.metadata_of(self._namespace, key).get(VALIDATION_PARAMETER) or None

    def create_composite_key(self, object_type: str, attributes: Sequence[str]) -> str:
        return create_composite_key(object_type, attributes)

    def split_composite_key(self, key: str) -> tuple[str, list[str]]:
        return split_composite_key(key)


class RecordingStub(ReadingStub):
    """Reads and writes of a contract over its own namespace, recorded."""

    __slots__ = ("_writable",)

    def __init__(self, simulation: Simulation, namespace: str, *, writable: bool) -> None:
        super().__init__(simulation, namespace)
        self._writable = writable

    def put_state(self, key: str, value: bytes) -> None:
        if not self._writable:
            _refuse_write()
        if type(value) is not bytes:
            raise TypeError(f"a value must be bytes, not {type(value).__name__}")
        self._simulation.check_write(_size_of_key(key) + len(value))
        self._record.writes[key] = value

    def del_state(self, key: str) -> None:
        if not self._writable:
            _refuse_write()
        self._simulation.check_write(_size_of_key(key))
        self._record.writes[key] = None

    def set_state_validation_parameter(self, key: str, policy: bytes | None) -> None:
        if not self._writable:
            _refuse_write()
        self._simulation.check_write(_size_of_key(key) + len(policy or b""))
        self._record.metadata_writes[key] = ((VALIDATION_PARAMETER, policy or b""),)

    def set_event(self, name: str, payload: bytes) -> None:
        if not name or _size_of_text(name) > MAX_EVENT_NAME:
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


def _size_of_text(text: str) -> int:
    """Return the bytes of a text in UTF-8, refusing one that has none."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        _refuse_key("a text holds half of a character")


def _size_of_key(key: str) -> int:
    """Return the bytes of a key that is to be written, refusing one that cannot be."""
    if not key:
        _refuse_key("the empty key cannot be written")
    size = _size_of_text(key)
    if size > MAX_KEY:
        _refuse_key(f"a key of more than {MAX_KEY} bytes cannot be written")
    return size


def _refuse_write() -> NoReturn:
    raise AccessRefused("a query", "must not write", "mark the function @transaction")


def _refuse_key(reason: str) -> NoReturn:
    raise ContractRefusal("a key", reason, "use another key")
