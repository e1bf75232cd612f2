# ruff: noqa: D102 - what each method promises stands at its name in `chaincode.contract.stub`.
"""The stub's half over private collections.

Rules (Fabric, core/chaincode/handler.go and core/ledger/kvledger/txmgmt/txmgr):

* A collection must be defined, and the proposal's creator must have access to it.
* Plain data is read only where the copy held here has the version that the hashed state names. The
  read goes into the hashed read set; so does a read of the hash alone, which asks for no plain
  data.
* Ranges over plain data are not protected, so a transaction that made one writes nothing.
* A write stands twice: in plain in the private write set, by hashes in the public one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chaincode.errors import AccessRefused, PrivateDataMissing
from chaincode.simulator.recorder import CollectionRecord, NamespaceRecord
from chaincode.simulator.simulation import (
    FIRST_SIMPLE_KEY,
    Simulation,
    refuse_key,
    refuse_write,
    size_of_key,
    size_of_text,
)
from ledger.state.composite import composite_range
from ledger.state.ports import VALIDATION_PARAMETER, StateReader, VersionedValue
from ledger.state.version import Version
from ledger.transactions.rwset import decode_metadata


class PrivateReader:
    """Reads of the collections of one namespace, recorded."""

    __slots__ = ()

    _namespace: str
    _record: NamespaceRecord
    _simulation: Simulation
    _state: StateReader

    def get_private_data(self, collection: str, key: str) -> bytes | None:
        record = self._readable(collection)
        self._simulation.count_reads(1)
        size_of_text(key)
        plain = self._state.get_private(self._namespace, collection, key)
        hashed = self._state.get_hashed(self._namespace, collection, record.hash_of(key))
        return self._take(record, key, plain, hashed)

    def get_private_data_many(self, collection: str, keys: Sequence[str]) -> list[bytes | None]:
        record = self._readable(collection)
        self._simulation.count_reads(len(keys))
        size_of_text("".join(keys))
        hashes = [record.hash_of(key) for key in keys]
        plain = self._state.get_private_many(self._namespace, collection, keys)
        hashed = self._state.get_hashed_many(self._namespace, collection, hashes)
        return [self._take(record, *each) for each in zip(keys, plain, hashed, strict=True)]

    def get_private_data_hash(self, collection: str, key: str) -> bytes | None:
        record = self._collection(collection)
        entry = self._read_hashed(record, collection, key)
        return None if entry is None else entry.value

    def get_private_data_validation_parameter(self, collection: str, key: str) -> bytes | None:
        record = self._readable(collection, plain=False)
        entry = self._read_hashed(record, collection, key)
        if entry is None or not entry.metadata:
            return None
        return decode_metadata(entry.metadata).get(VALIDATION_PARAMETER) or None

    def get_private_data_by_range(
        self, collection: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, bytes]]:
        for key in (start_key, end_key):
            if key.startswith("\x00"):
                refuse_key("a range over simple keys begins or ends in the composite keys")
        return self._scan_private(collection, start_key or FIRST_SIMPLE_KEY, end_key)

    def get_private_data_by_partial_composite_key(
        self, collection: str, object_type: str, attributes: Sequence[str]
    ) -> Iterator[tuple[str, bytes]]:
        return self._scan_private(collection, *composite_range(object_type, attributes))

    def _collection(self, collection: str) -> CollectionRecord:
        """Return the record of a collection that exists."""
        found = self._record.collections.get(collection)
        return found or self._simulation.open_collection(self._namespace, self._record, collection)

    def _readable(self, collection: str, *, plain: bool = True) -> CollectionRecord:
        """Return the record of a collection that the creator may read, and note that it is read."""
        record = self._collection(collection)
        if not record.may_read:
            raise AccessRefused(
                "the transaction",
                "tx creator does not have read access permission on privatedata in "
                f"chaincodeName:{self._namespace} collectionName: {collection}",
                "send it as a client of a member of the collection",
            )
        record.plain_read |= plain
        return record

    def _read_hashed(
        self, record: CollectionRecord, collection: str, key: str
    ) -> VersionedValue | None:
        self._simulation.count_reads(1)
        size_of_text(key)
        entry = self._state.get_hashed(self._namespace, collection, record.hash_of(key))
        record.reads[key] = None if entry is None else entry.version
        return entry

    def _take(
        self,
        record: CollectionRecord,
        key: str,
        plain: VersionedValue | None,
        hashed: VersionedValue | None,
    ) -> bytes | None:
        """Record a read of plain data and return the value, if it is that of the hashed state."""
        version = None if plain is None else plain.version
        public = None if hashed is None else hashed.version
        if version != public:
            raise PrivateDataMissing(
                "private data matching public hash version is not available. Public hash version = "
                f"{_shown(public)}, Private data version = {_shown(version)}; ask a node of a "
                "member of the collection, or again once this one has fetched what it lacks"
            )
        record.reads[key] = version
        return None if plain is None else plain.value

    def _scan_private(
        self, collection: str, start_key: str, end_key: str
    ) -> Iterator[tuple[str, bytes]]:
        self._readable(collection)
        simulation = self._simulation
        simulation.begin_private_query()
        size_of_text(start_key + end_key)
        for key, entry in self._state.range_private(
            self._namespace, collection, start_key, end_key
        ):
            simulation.count_reads(1)
            yield key, entry.value


class PrivateWriter(PrivateReader):
    """Reads and writes of the collections of one namespace, recorded."""

    __slots__ = ()

    _writable: bool

    def put_private_data(self, collection: str, key: str, value: bytes) -> None:
        if type(value) is not bytes:
            raise TypeError(f"a value must be bytes, not {type(value).__name__}")
        self._written(collection, key, len(value)).writes[key] = (value, False)

    def del_private_data(self, collection: str, key: str) -> None:
        self._written(collection, key, 0).writes[key] = (b"", False)

    def purge_private_data(self, collection: str, key: str) -> None:
        self._written(collection, key, 0).writes[key] = (b"", True)

    def set_private_data_validation_parameter(
        self, collection: str, key: str, policy: bytes | None
    ) -> None:
        record = self._written(collection, key, len(policy or b""))
        record.metadata_writes[key] = ((VALIDATION_PARAMETER, policy or b""),)

    def _written(self, collection: str, key: str, size: int) -> CollectionRecord:
        """Count a write and return the record of the collection that takes it."""
        if not self._writable:
            refuse_write()
        record = self._collection(collection)
        if not record.may_write:
            raise AccessRefused(
                "the transaction",
                "tx creator does not have write access permission on privatedata in "
                f"chaincodeName:{self._namespace} collectionName: {collection}",
                "send it as a client of a member of the collection",
            )
        self._simulation.check_write(size_of_key(key) + size)
        return record


def _shown(version: Version | None) -> str:
    """Return a version as Fabric writes it."""
    if version is None:
        return "<nil>"
    return f"{{BlockNum: {version.block_num}, TxNum: {version.tx_num}}}"
