"""A peer's snapshot of a channel, read from its files.

    _snapshot_signable_metadata.json    channel, last block, and SHA-256 of each other file
    _snapshot_additional_metadata.json  SHA-256 of the file before, and the last commit hash
    public_state.data                   SnapshotRecord messages: key 1, value 2, metadata 3,
                                        version 4
    public_state.metadata               number of namespaces; of each its name and its records
    private_state_hashes.data, .metadata   the same; a namespace is ``NAMESPACE$$hCOLLECTION``
    txids.data, .metadata               transaction ids; how many
    confighistory.data, .metadata       keys and values of the collections' history; how many

A data or metadata file begins with the byte 01; a number is a varint, bytes stand behind their
length. A file that would be empty is not written at all. A version is encoded as in the commit
hash.

Invariants: files are read as streams, and nothing is believed of a length that the file is too
short for.

Source: Fabric, core/ledger/kvledger/snapshot.go, common/ledger/snapshot/file.go,
core/ledger/kvledger/txmgmt/privacyenabledstate/snapshot.go.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ledger.state.ports import VersionedValue
from ledger.state.version import Version
from nodes.replay.difference import RecordingError

__all__ = ["ConfigHistoryEntry", "SnapshotFolder"]

SIGNABLE = "_snapshot_signable_metadata.json"
ADDITIONAL = "_snapshot_additional_metadata.json"
PUBLIC_STATE = "public_state"
PRIVATE_HASHES = "private_state_hashes"
TX_IDS = "txids"
CONFIG_HISTORY = "confighistory"
LEVELDB = "SimpleKeyValueDB"

_FORMAT = b"\x01"
_MAX_JSON_BYTES = 1024 * 1024
_MAX_VARINT_BYTES = 10
_PIECE = 1024 * 1024
_LENGTH_DELIMITED = 2
_MAX_PART_BYTES = 512 * 1024 * 1024
"""Of one record, as of one block."""


class ConfigHistoryEntry(NamedTuple):
    """The collections that a contract's definition had from a block on, as the peer files them."""

    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class _Metadata:
    """What the two JSON files say."""

    channel: str
    last_block: int
    last_block_hash: str
    previous_block_hash: str
    files: dict[str, str]
    state_database: str
    snapshot_hash: str
    commit_hash: str


def _text(value: object) -> str:
    """Return a JSON text; raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"a text, and hold a {type(value).__name__}")
    return value


def _size_of(file: Path) -> int:
    """Return the size of a file; raises OSError for what could be read without end."""
    if not file.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if not file.is_file():
        raise OSError(errno.EINVAL, "no regular file")
    return file.stat().st_size


class SnapshotFolder:
    """A snapshot as a peer left it.

    Attributes:
        path: the folder.
        metadata: what its JSON files say.
    """

    def __init__(self, path: Path) -> None:
        """Read the JSON files.

        Raises:
            RecordingError: they are missing or broken, or the state is not LevelDB's.
        """
        self.path = path
        signable, additional = self._json(SIGNABLE), self._json(ADDITIONAL)
        try:
            self.metadata = _Metadata(
                _text(signable["channel_name"]),
                int(signable["last_block_number"]),
                _text(signable["last_block_hash"]),
                _text(signable["previous_block_hash"]),
                {
                    _text(name): _text(found)
                    for name, found in signable["snapshot_files_raw_hashes"].items()
                },
                _text(signable["state_db_type"]),
                _text(additional["snapshot_hash"]),
                _text(additional["last_block_commit_hash"]),
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise RecordingError(
                f"{path}: the metadata of the snapshot lack {error}: copy the snapshot anew"
            ) from error
        if self.metadata.state_database != LEVELDB:
            raise RecordingError(
                f"{path} is a snapshot of a peer with {self.metadata.state_database[:40]!r}: only "
                f"those with LevelDB ({LEVELDB}) hold values as they were written"
            )

    def _read(self, name: str) -> bytes:
        file = self.path / name
        try:
            if _size_of(file) > _MAX_JSON_BYTES:
                raise RecordingError(f"{file} is too large to be the metadata of a snapshot")
            return file.read_bytes()
        except OSError as error:
            raise RecordingError(
                f"{file} cannot be read ({error.strerror}): give the folder of a peer's snapshot"
            ) from error

    def _json(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(self._read(name))
        except (ValueError, RecursionError) as error:
            raise RecordingError(
                f"{self.path / name} is no JSON: copy the snapshot anew"
            ) from error
        return found if isinstance(found, dict) else {}

    def damaged_files(self) -> Iterator[tuple[str, str, str]]:
        """Yield name, hash as it is and hash as it should be of each file that is damaged."""
        for name, expected in sorted(self.metadata.files.items()):
            if "/" in name or "\0" in name or name.startswith("."):
                yield name, "no name of a snapshot's file", expected
                continue
            found = self._file_hash(name)
            if found != expected:
                yield name, found, expected
        signable = hashlib.sha256(self._read(SIGNABLE)).hexdigest()
        if signable != self.metadata.snapshot_hash:
            yield SIGNABLE, signable, self.metadata.snapshot_hash
        written = json.dumps(
            {
                "snapshot_hash": self.metadata.snapshot_hash,
                "last_block_commit_hash": self.metadata.commit_hash,
            },
            indent=4,
        ).encode()
        if self._read(ADDITIONAL) != written:
            yield ADDITIONAL, "other bytes than a peer writes", hashlib.sha256(written).hexdigest()

    def _file_hash(self, name: str) -> str:
        digest = hashlib.sha256()
        try:
            _size_of(self.path / name)
            with (self.path / name).open("rb") as stream:
                while piece := stream.read(_PIECE):
                    digest.update(piece)
        except OSError as error:
            return error.strerror or "unreadable"
        return digest.hexdigest()

    def namespaces(self, kind: str) -> list[tuple[str, int]]:
        """Return the namespaces of `PUBLIC_STATE` or `PRIVATE_HASHES` with their records."""
        stream = self._open(f"{kind}.metadata")
        if stream is None:
            return []
        with stream:
            found = [
                (stream.text(), stream.varint()) for _ in stream.counted(stream.varint(), least=2)
            ]
            stream.verify_end()
        return found

    def records(self, kind: str) -> Iterator[tuple[bytes, VersionedValue]]:
        """Iterate over the records of `PUBLIC_STATE` or `PRIVATE_HASHES`, in their order."""
        stream = self._open(f"{kind}.data")
        if stream is None:
            return
        with stream:
            while not stream.at_end():
                yield stream.record()

    def transaction_ids(self) -> Iterator[bytes]:
        """Iterate over the transaction ids."""
        yield from self._listed(TX_IDS, 1)

    def config_history(self) -> Iterator[ConfigHistoryEntry]:
        """Iterate over the history of collections."""
        parts = self._listed(CONFIG_HISTORY, 2)
        for key in parts:
            yield ConfigHistoryEntry(key, next(parts))

    def _listed(self, kind: str, parts: int) -> Iterator[bytes]:
        """Iterate over what a data file lists, as often as its metadata file says."""
        metadata, data = self._open(f"{kind}.metadata"), self._open(f"{kind}.data")
        if metadata is None or data is None:
            return
        with metadata, data:
            count = metadata.varint()
            metadata.verify_end()
            for _ in data.counted(count * parts, least=1):
                yield data.part()
            data.verify_end()

    def _open(self, name: str) -> _Stream | None:
        """Open a file that the signable metadata list; None for one that they do not."""
        return _Stream(self.path / name) if name in self.metadata.files else None


class _Stream:
    """One file of a snapshot, read from its beginning to its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._size = _size_of(path)
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise self._broken(error.strerror or "unreadable") from error
        if self._file.read(1) != _FORMAT:
            self._file.close()
            raise self._broken("it is of an unknown format")

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def _broken(self, why: str) -> RecordingError:
        return RecordingError(f"{self._path} is no file of a snapshot: {why}; copy it anew")

    def at_end(self) -> bool:
        return self._file.tell() >= self._size

    def verify_end(self) -> None:
        if not self.at_end():
            raise self._broken("there is more in it than it says")

    def counted(self, count: int, *, least: int) -> range:
        """Return a range of *count*, each of which takes *least* bytes or more."""
        if count * least > self._size:
            raise self._broken("it is too short for what it says")
        return range(count)

    def varint(self) -> int:
        number = shift = 0
        for _ in range(_MAX_VARINT_BYTES):
            byte = self._file.read(1)
            if not byte:
                break
            number |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return number
            shift += 7
        raise self._broken("a number in it is cut short")

    def part(self) -> bytes:
        length = self.varint()
        if length > self._size - self._file.tell():
            raise self._broken("a part of it is cut short")
        if length > _MAX_PART_BYTES:
            raise self._broken(
                f"a part of it has {length} bytes, and no record of a peer has so many"
            )
        return self._file.read(length)

    def text(self) -> str:
        try:
            return self.part().decode()
        except UnicodeDecodeError as error:
            raise self._broken("a name in it is no UTF-8") from error

    def record(self) -> tuple[bytes, VersionedValue]:
        raw = self.part()
        fields = {1: b"", 2: b"", 3: b"", 4: b""}
        at = 0
        while at < len(raw):
            tag, at = self._number(raw, at)
            length, at = self._number(raw, at)
            if tag & 7 != _LENGTH_DELIMITED or tag >> 3 not in fields or at + length > len(raw):
                raise self._broken("a record in it is no SnapshotRecord")
            fields[tag >> 3] = raw[at : at + length]
            at += length
        return fields[1], VersionedValue(fields[2], self._version(fields[4]), fields[3])

    def _number(self, raw: bytes, at: int) -> tuple[int, int]:
        number = shift = 0
        for place in range(at, min(len(raw), at + _MAX_VARINT_BYTES)):
            number |= (raw[place] & 0x7F) << shift
            if raw[place] < 0x80:
                return number, place + 1
            shift += 7
        raise self._broken("a number in it is cut short")

    def _version(self, raw: bytes) -> Version:
        numbers, at = [], 0
        while at < len(raw):
            end = at + 1 + raw[at]
            numbers.append(int.from_bytes(raw[at + 1 : end], "big"))
            at = end
        if at != len(raw) or len(numbers) != len(Version._fields):
            raise self._broken("a version in it cannot be read")
        return Version(*numbers)
