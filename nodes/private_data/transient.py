"""Private write sets between endorsement and commit, durable, beside the ledger.

    V                                             format version, 4 bytes
    s ‖ len(tx id) ‖ tx id ‖ unique ‖ height      transientstore.TxPvtReadWriteSetWithConfigInfo
    h ‖ height ‖ len(tx id) ‖ tx id ‖ unique      (empty): what was received at which height

Lengths are 2 bytes and heights 8, big-endian; *unique* is 8 bytes that say whose it is (a hash of
the MSP id: of who pushed, or whose client asked; zeros for this member's own) and 8 of chance. One
record holds what came in at once: an endorser's whole simulation, or the set of one collection that
another node pushed. What a transaction has more than once (two endorsers push the same) is kept
once.

Invariants: what `put` returned from is on disk; nothing here is believed, whoever takes a set out
compares its hash with the block; a set goes with its transaction's block, or when it is older than
the retention.

Bounded: bytes in all; and for each other member a share of what it pushes and a smaller one of what
its clients have endorsed here and need not submit, so that none can take the room of the others or
of this one; of one transaction it pushes `MOST_RECORDS` and `MOST_SET_BYTES` at most.

Source: Fabric, core/transientstore/{store,store_helper}.go.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from fabric_protos.transientstore import transientstore_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.errors import CorruptionError, FormatVersionError, Refusal, Unavailable
from ledger.faults import FaultPort
from ledger.state.leveldb import LevelDB
from ledger.transactions.private import (
    MAX_PRIVATE_BYTES,
    PrivateWrite,
    TxPrivate,
    decode_tx_private,
    encode_tx_private,
)

__all__ = ["TransientFull", "TransientRefusal", "TransientStore"]

MOST_RECORDS: Final = 64
MOST_BYTES: Final = 4 * 1024 * 1024 * 1024
MOST_SET_BYTES: Final = MAX_PRIVATE_BYTES // 2
"""Of what one member pushes of one transaction."""
_SHARES: Final = 8
"""One member that pushes may take one of so many parts of the store."""
_CLIENTS_SHARES: Final = 16
"""And its clients one of so many: what they have endorsed here is pushed in this member's name."""
_CLIENTS: Final = "clients of "
MOST_TX_ID_BYTES: Final = 256
FORMAT_VERSION: Final = 1
_FORMAT: Final = b"V"
_SET: Final = b"s"
_HEIGHT: Final = b"h"
_REMEDY: Final = "move it away and start again: what it held is pulled from other members"
_CACHE_BYTES: Final = 4 * 1024 * 1024
_WRITE_BUFFER_BYTES: Final = 4 * 1024 * 1024
_SENDER_BYTES: Final = 8
_UNIQUE_BYTES: Final = 16
_OWN: Final = bytes(_SENDER_BYTES)
_NUMBER_BYTES: Final = 8


class TransientRefusal(Refusal):
    """What should be kept is not what a transaction's private data can be."""


class TransientFull(Unavailable):
    """The store holds as much as it may; it empties as blocks are committed."""


@dataclass(slots=True)
class _Waiting:
    """A record that waits for its batch."""

    key: bytes
    index: bytes
    value: bytes
    written: bool = False
    error: Exception | None = None


class TransientStore:
    """The store of one channel; safe on any thread.

    Args:
        path: its folder, made if absent.
        most_bytes: of all sets together.
        faults: hears of every write; for tests.
    Raises:
        FormatVersionError: another program wrote it.
        LedgerLocked, CorruptionError, StorageError: see `LevelDB`.
    """

    def __init__(
        self, path: Path, *, most_bytes: int = MOST_BYTES, faults: FaultPort | None = None
    ) -> None:
        self._database = LevelDB(
            path,
            faults=faults,
            remedy=_REMEDY,
            cache_bytes=_CACHE_BYTES,
            write_buffer_bytes=_WRITE_BUFFER_BYTES,
        )
        self._verify_format(path)
        self._most_bytes = most_bytes
        self._guard = threading.Lock()
        self._writer = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._bytes = 0
        self._of_sender: dict[bytes, int] = {}
        for key, value in self._items(_SET, _after(_SET)):
            self._count(key, len(value))

    def _verify_format(self, path: Path) -> None:
        expected = FORMAT_VERSION.to_bytes(4, "big")
        found = self._database.get(_FORMAT)
        if found is None:
            self._database.write([(_FORMAT, expected)])
        elif found != expected:
            self._database.close()
            raise FormatVersionError(
                f"the transient store {path} has format {int.from_bytes(found, 'big')}, this "
                f"program knows {FORMAT_VERSION}: start the version that wrote it"
            )

    @property
    def size_bytes(self) -> int:
        """Bytes of all sets that are kept."""
        return self._bytes

    def verify_room(self, creator: str, size: int) -> None:
        """Check that the clients of another member may have *size* bytes more endorsed here.

        Raises:
            TransientFull: they may not.
        """
        with self._guard:
            self._verify_share(f"{_CLIENTS}{creator}", _CLIENTS_SHARES, size)

    def put(
        self, tx_id: str, height: int, writes: TxPrivate, *, sender: str = "", creator: str = ""
    ) -> None:
        """Keep *writes* of a transaction, durably; what is kept already is not kept again.

        Args:
            tx_id: the transaction.
            height: of this node's channel when they came.
            sender: MSP id of the member whose node pushed them, "" for what was simulated here.
            creator: MSP id of the other member whose client had it simulated here, "" for an own.
        Raises:
            TransientRefusal: no transaction has such an id, or the sender pushed too much of it.
            TransientFull: there is no room, or none for the sender.
            StorageError: the disk refused.
        """
        owner = sender or (f"{_CLIENTS}{creator}" if creator else "")
        prefix, mark = _prefix(tx_id), _mark(owner)
        known: set[bytes] = set()
        records = size = 0
        for key, value in self._items(prefix, _after(prefix)):
            if _sender_of(key) == mark:
                records += 1
                size += len(value)
            known.update(_digest(each) for each in _decode(self._database.path, value))
        new = tuple(each for each in writes if _digest(each) not in known)
        if not new:
            return
        value = _encode(height, new)
        if sender and (records >= MOST_RECORDS or size + len(value) > MOST_SET_BYTES):
            raise TransientRefusal(
                f"{sender} has pushed {records} private write sets of {size} bytes for "
                f"transaction {tx_id}, and no more than {MOST_RECORDS} of {MOST_SET_BYTES} bytes "
                "are kept; endorse it anew under another id, or write less in one transaction"
            )
        unique = mark + uuid.uuid4().bytes[: _UNIQUE_BYTES - _SENDER_BYTES]
        entry = _Waiting(set_key(tx_id, unique, height), height_key(tx_id, unique, height), value)
        self._take_room(owner, _SHARES if sender else _CLIENTS_SHARES, entry)
        try:
            self._write(entry)
        except BaseException:
            with self._guard:
                self._count(entry.key, -len(value))
            raise

    def _take_room(self, owner: str, shares: int, entry: _Waiting) -> None:
        size = len(entry.value)
        with self._guard:
            if self._bytes + size > self._most_bytes:
                raise TransientFull(
                    f"the transient store of this node holds {self._bytes} bytes and takes no more "
                    "before blocks are committed; try again"
                )
            if owner:
                self._verify_share(owner, shares, size)
            self._count(entry.key, size)

    def _verify_share(self, owner: str, shares: int, size: int) -> None:
        theirs = self._of_sender.get(_mark(owner), 0)
        if theirs + size > self._most_bytes // shares:
            raise TransientFull(
                f"the transient store of this node holds {theirs} bytes of {owner} and takes no "
                "more of them before their transactions are committed; submit what is endorsed, "
                "and try again"
            )

    def _count(self, key: bytes, size: int) -> None:
        """Count the bytes of a record that comes, or, with a negative *size*, goes."""
        self._bytes += size
        mark = _sender_of(key)
        left = self._of_sender.get(mark, 0) + size
        if left:
            self._of_sender[mark] = left
        else:
            self._of_sender.pop(mark, None)

    def get(self, tx_id: str) -> TxPrivate:
        """Return every set that is kept of a transaction, two of one collection if they differ."""
        return tuple(self.sets(tx_id))

    def sets(self, tx_id: str) -> Iterator[PrivateWrite]:
        """The same, one after the other, those that were simulated here first.

        Others may have pushed much that is no transaction's; who looks for one set should not hold
        all of them.

        Raises:
            TransientRefusal: no transaction has such an id.
        """
        prefix = _prefix(tx_id)
        for _key, value in self._items(prefix, _after(prefix)):
            yield from _decode(self._database.path, value)

    def find(self, tx_id: str, namespace: str, collection: str) -> Iterator[bytes]:
        """Iterate over the sets of one collection that are kept of a transaction."""
        for each in self.sets(tx_id):
            if each.namespace == namespace and each.collection == collection:
                yield each.rwset

    def ids(self) -> list[str]:
        """Return the transactions of which something is kept."""
        found: dict[str, None] = {}
        for key, _value in self._items(_SET, _after(_SET)):
            size = int.from_bytes(key[1:3], "big")
            found[key[3 : 3 + size].decode("utf-8", "surrogatepass")] = None
        return list(found)

    def purge(self, tx_ids: Iterable[str]) -> None:
        """Let go what is kept of these transactions, which are in a block."""
        gone: list[tuple[bytes, int]] = []
        for tx_id in tx_ids:
            try:
                prefix = _prefix(tx_id)
            except TransientRefusal:
                continue  # a transaction with such an id has nothing here
            for key, value in self._items(prefix, _after(prefix)):
                gone.append((key, len(value)))
                gone.append((_index_of(key, prefix), 0))
        self._delete(gone)

    def purge_below(self, height: int) -> None:
        """Let go what came when the channel was lower than *height*."""
        gone: list[tuple[bytes, int]] = []
        stop = _HEIGHT + height.to_bytes(_NUMBER_BYTES, "big")
        for index, _empty in self._items(_HEIGHT, stop):
            number = index[1 : 1 + _NUMBER_BYTES]
            key = _SET + index[1 + _NUMBER_BYTES :] + number
            value = self._database.get(key)
            gone.append((key, len(value or b"")))
            gone.append((index, 0))
        self._delete(gone)

    def close(self) -> None:
        """Close the database; safe to repeat."""
        self._database.close()

    def _write(self, entry: _Waiting) -> None:
        """Write *entry*, in one batch with those that wait by then: a disk's sync serves all."""
        with self._guard:
            self._waiting.append(entry)
        with self._writer:
            if not entry.written:
                with self._guard:
                    batch, self._waiting = self._waiting, []
                self._write_batch(batch)
        if entry.error is not None:
            raise entry.error

    def _write_batch(self, batch: Sequence[_Waiting]) -> None:
        puts = [(each.key, each.value) for each in batch]
        puts += [(each.index, b"") for each in batch]
        error: Exception | None = None
        try:
            self._database.write(puts)
        except Exception as reason:  # noqa: BLE001 - handed to each of those that wait
            error = reason
        for each in batch:
            each.written = True
            each.error = error

    def _delete(self, gone: Sequence[tuple[bytes, int]]) -> None:
        if not gone:
            return
        with self._writer:
            # What a crash brings back goes when the node starts again.
            self._database.write((), [key for key, _size in gone], durable=False)
        with self._guard:
            for key, size in gone:
                if size:
                    self._count(key, -size)

    def _items(self, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        snapshot = self._database.snapshot()
        try:
            yield from snapshot.items(start, stop)
        finally:
            snapshot.close()


def _prefix(tx_id: str) -> bytes:
    raw = tx_id.encode("utf-8", "surrogatepass")
    if not 0 < len(raw) <= MOST_TX_ID_BYTES:
        raise TransientRefusal(
            f"a transaction id has from 1 to {MOST_TX_ID_BYTES} bytes, this one {len(raw)}; send "
            "the id of a transaction"
        )
    return _SET + len(raw).to_bytes(2, "big") + raw


def set_key(tx_id: str, unique: bytes, height: int) -> bytes:
    """Return the key of a record; *height* is that at which it came."""
    return _prefix(tx_id) + unique + height.to_bytes(_NUMBER_BYTES, "big")


def height_key(tx_id: str, unique: bytes, height: int) -> bytes:
    """Return the key that says at which height a record came."""
    return _HEIGHT + height.to_bytes(_NUMBER_BYTES, "big") + _prefix(tx_id)[1:] + unique


def _after(prefix: bytes) -> bytes:
    """The first key after all that begin with *prefix*, whose last byte is not 0xff."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _index_of(key: bytes, prefix: bytes) -> bytes:
    unique = key[len(prefix) : len(prefix) + _UNIQUE_BYTES]
    return _HEIGHT + key[len(prefix) + _UNIQUE_BYTES :] + prefix[1:] + unique


def _mark(sender: str) -> bytes:
    """What stands in a key for the member whose node pushed."""
    return sha256(sender.encode()).digest()[:_SENDER_BYTES] if sender else _OWN


def _sender_of(key: bytes) -> bytes:
    """Return the mark in a record's key."""
    end = len(key) - _NUMBER_BYTES - (_UNIQUE_BYTES - _SENDER_BYTES)
    return key[end - _SENDER_BYTES : end]


def _digest(write: PrivateWrite) -> bytes:
    digest = sha256()
    for part in (write.namespace.encode(), write.collection.encode(), write.rwset):
        digest.update(len(part).to_bytes(_NUMBER_BYTES, "big"))
        digest.update(part)
    return digest.digest()


def _encode(height: int, writes: TxPrivate) -> bytes:
    message = transientstore_pb2.TxPvtReadWriteSetWithConfigInfo(endorsed_at=height)
    message.pvt_rwset.MergeFromString(encode_tx_private(writes))
    raw: bytes = message.SerializeToString()
    return raw


def _decode(path: Path, value: bytes) -> TxPrivate:
    try:
        message = transientstore_pb2.TxPvtReadWriteSetWithConfigInfo.FromString(value)
        return decode_tx_private(message.pvt_rwset.SerializeToString())
    except (ProtobufDecodeError, Refusal) as error:
        raise CorruptionError(
            f"the transient store {path} is damaged ({error}); {_REMEDY}"
        ) from error
