"""What all stubs of one transaction share: its state, its records, its limits and its end.

Here too stands what is asked of keys and texts before they are recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from chaincode.contract.stub import Response
from chaincode.errors import AccessRefused, ContractRefusal, SimulationLimit
from chaincode.simulator.limits import Limits
from chaincode.simulator.ports import CollectionAccess
from chaincode.simulator.recorder import CollectionRecord, NamespaceRecord
from ledger.state.ports import StateReader

LIFECYCLE = "_lifecycle"
FIRST_SIMPLE_KEY = "\x01"
"""Where a range over simple keys begins when none is named, so that it never enters the composite
ones (Fabric's shim, emptyKeySubstitute)."""


MAX_KEY = 4096
"""Bytes of a key that is written."""
MAX_EVENT_NAME = 256
"""Bytes of an event's name."""


def sequence_key(name: str) -> str:
    """Return the key in `_lifecycle` whose version changes with the definition of *name*."""
    return f"namespaces/fields/{name}/Sequence"


def definition_keys(name: str) -> list[str]:
    """Return the keys in `_lifecycle` that say what collections *name* has (all, in Fabric)."""
    fields = ("Sequence", "EndorsementInfo", "ValidationInfo", "Collections")
    return [
        f"namespaces/metadata/{name}", *(f"namespaces/fields/{name}/{field}" for field in fields)
    ]  # fmt: skip


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
        "_access",
        "_call",
        "channel_id",
        "event",
        "gate",
        "limits",
        "paginated",
        "private_query",
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
        channel_id: str,
        state: StateReader,
        limits: Limits,
        transient: Mapping[str, bytes],
        call: Callable[[str, Sequence[bytes], bool], Response],
        access: CollectionAccess,
    ) -> None:
        self.channel_id = channel_id
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
        self.private_query = False
        self._call = call
        self._access = access

    def record(self, namespace: str) -> NamespaceRecord:
        """Return the record of *namespace*, made at its first use."""
        found = self.records.get(namespace)
        if found is None:
            found = self.records[namespace] = NamespaceRecord()
        return found

    def open_collection(
        self, namespace: str, record: NamespaceRecord, collection: str
    ) -> CollectionRecord:
        """Return the record of a collection at its first use; what was refused leaves none.

        The definition that has it is read and recorded, as Fabric's peers do.

        Raises:
            AccessRefused: *namespace* has no such collection.
        """
        if namespace == LIFECYCLE:  # a contract of the system: it runs behind the gate as a whole
            return self._opened(namespace, record, collection)
        if not record.collections:
            reads = self.record(LIFECYCLE).reads
            keys = definition_keys(namespace)
            for key, entry in zip(keys, self.state.get_many(LIFECYCLE, keys), strict=True):
                reads.setdefault(key, None if entry is None else entry.version)
        with self.gate:
            return self._opened(namespace, record, collection)

    def _opened(self, namespace: str, record: NamespaceRecord, collection: str) -> CollectionRecord:
        if not self._access.exists(namespace, collection):
            shown = collection if len(collection) <= 80 and collection.isprintable() else ""
            raise AccessRefused(
                "the transaction",
                f"collection {self.channel_id}/{namespace}/{shown} could not be found",
                "name one that the contract's definition has",
            )
        opened = record.collections[collection] = CollectionRecord(
            may_read=self._access.may_read(namespace, collection),
            may_write=self._access.may_write(namespace, collection),
        )
        return opened

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
        if self.private_query:
            raise AccessRefused(
                "the transaction",
                "has already performed queries on private data; writes are not allowed",
                "read private keys one by one, or query in a transaction of its own",
            )

    def begin_private_query(self) -> None:
        """Note that the transaction ranges over private data, which excludes writes."""
        if self.writes:
            raise AccessRefused(
                "the transaction",
                "asks for a range of private data after a write; queries on private data are "
                "supported only in a read-only transaction",
                "read private keys one by one, or query in a transaction of its own",
            )
        self.private_query = True

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


def size_of_text(text: str) -> int:
    """Return the bytes of a text in UTF-8, refusing one that has none."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode("utf-8"))
    except UnicodeEncodeError:
        refuse_key("a text holds half of a character")


def size_of_key(key: str) -> int:
    """Return the bytes of a key that is to be written, refusing one that cannot be."""
    if not key:
        refuse_key("the empty key cannot be written")
    size = size_of_text(key)
    if size > MAX_KEY:
        refuse_key(f"a key of more than {MAX_KEY} bytes cannot be written")
    return size


def refuse_write() -> NoReturn:
    """Refuse a write in a query."""
    raise AccessRefused("a query", "must not write", "mark the function @transaction")


def refuse_key(reason: str) -> NoReturn:
    """Refuse a key that cannot be read or written."""
    raise ContractRefusal("a key", reason, "use another key")
