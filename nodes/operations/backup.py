"""The backup of a node in one file, and a node made of it again.

    FILE is a tar archive, compressed with zstd:
        node.toml, genesis.block, clock, msp/…, tls/…, contracts/…   as they lie in the folder
        ledger/evidence/*.seg, ledger/blocks/*.seg                   the ledger without its state
        MANIFEST.json     format, node, time, SHA-256 of every other entry; the last one

The state is left out: opening the ledger makes it anew from the blocks, on the way that every
opening takes. A running node may be saved: blocks are only ever appended, and a record that was
being written counts as a torn tail, which opening cuts off. What arrives about a block comes after
it, so evidence is read before blocks.

Invariants: an archive appears whole or not at all, readable by its owner only, as it holds the
node's keys; a node's folder too, and only if every entry is what was saved.
Absent: the organisation's authorities, and rebuilding the state while restoring.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

import zstandard

from ledger.channel import BLOCKS, EVIDENCE
from ledger.errors import Refusal
from network.certificates.writing import new_folder
from nodes.configuration import CONFIGURATION_FILE, load_configuration

FORMAT = 1
MANIFEST = "MANIFEST.json"
_FILES = (CONFIGURATION_FILE, "genesis.block", "clock")
_FOLDERS = ("msp", "tls", "contracts", f"ledger/{EVIDENCE}", f"ledger/{BLOCKS}")
_PRIVATE_FOLDERS = ("msp/keystore", "tls")
_CHUNK_BYTES = 1024 * 1024
_PRIVATE = 0o600


class BackupRefusal(Refusal):
    """An archive cannot be written, or is none that a node can be made of."""


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What an archive holds.

    Attributes:
        node: name of the node.
        msp_id: its member.
        channel_id: its channel.
        saved: when, ISO, machine time.
        entries: files in it.
        size_bytes: of these files, uncompressed.
    """

    node: str
    msp_id: str
    channel_id: str
    saved: str
    entries: int
    size_bytes: int


class _Hashing(io.RawIOBase):
    """Reads a file, at most as much as it had when it was opened, and hashes what it gives."""

    def __init__(self, source: IO[bytes], size: int) -> None:
        self._source = source
        self._left = size
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._source.read(min(len(buffer), self._left))
        self.digest.update(piece)
        self._left -= len(piece)
        buffer[: len(piece)] = piece
        return len(piece)


def write_backup(folder: Path, archive: Path) -> BackupSummary:
    """Save the node of *folder*, running or not, to the new file *archive*.

    Raises:
        BackupRefusal: the file exists, or cannot be written.
        Refusal: the folder is no node's.
    """
    configuration = load_configuration(folder)
    if archive.exists():
        raise BackupRefusal(f"{archive} exists already and is never overwritten: name another file")
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "node": configuration.name,
        "msp_id": configuration.msp_id,
        "channel_id": configuration.channel_id,
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "entries": {},
    }
    total = 0
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{archive.name}.", dir=archive.parent)
    except OSError as error:
        raise BackupRefusal(f"{archive} cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as raw:
            with (
                zstandard.ZstdCompressor(level=3).stream_writer(raw, closefd=False) as packed,
                tarfile.open(fileobj=packed, mode="w|") as tar,
            ):
                for entry in _entries(folder):
                    size, digest = _add(tar, folder, entry)
                    manifest["entries"][entry] = digest
                    total += size
                content = json.dumps(manifest, indent=1).encode()
                tar.addfile(_header(MANIFEST, len(content)), io.BytesIO(content))
            raw.flush()
            os.fsync(raw.fileno())
        temporary.rename(archive)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return _summary(manifest, total)


def restore_backup(archive: Path, folder: Path) -> BackupSummary:
    """Make the node's folder *folder* of an archive.

    Raises:
        BackupRefusal: no archive of a node, a damaged one, or one of an unknown format.
        Refusal: *folder* holds something already.
    """
    try:
        with archive.open("rb") as raw, new_folder(folder) as made:
            try:
                manifest, found, total = _unpack(raw, made)
            except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
                raise BackupRefusal(
                    f"{archive} is no whole backup of a node ({error}): take another copy"
                ) from error
            _verify(archive, manifest, found)
            for name in _PRIVATE_FOLDERS:
                if (made / name).exists():
                    (made / name).chmod(0o700)
            load_configuration(made)
    except FileNotFoundError as error:
        raise BackupRefusal(f"{error.filename} does not exist: name a backup") from error
    return _summary(manifest, total)


def _entries(folder: Path) -> Iterator[str]:
    for name in _FILES:
        if (folder / name).is_file():
            yield name
    for part in _FOLDERS:
        for path in sorted((folder / part).rglob("*")):
            relative = path.relative_to(folder)
            # Unfinished work begins with a dot; compiled modules are made again.
            hidden = any(each.startswith(".") or each == "__pycache__" for each in relative.parts)
            if path.is_file() and not hidden:
                yield relative.as_posix()


def _add(tar: tarfile.TarFile, folder: Path, entry: str) -> tuple[int, str]:
    with (folder / entry).open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        hashing = _Hashing(source, size)
        header = _header(entry, size, os.fstat(source.fileno()).st_mode & 0o777)
        tar.addfile(header, io.BufferedReader(hashing, _CHUNK_BYTES))
    return size, hashing.digest.hexdigest()


def _header(name: str, size: int, mode: int = _PRIVATE) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size = size
    header.mode = mode
    return header


def _unpack(raw: IO[bytes], made: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """Write the entries below *made*; return the manifest, the hashes found, and their size."""
    found: dict[str, str] = {}
    total = 0
    manifest: dict[str, Any] = {}
    reader = zstandard.ZstdDecompressor().stream_reader(raw, closefd=False)
    with reader as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as tar:
        for header in tar:
            source = tar.extractfile(header) if header.isreg() else None
            if source is None or not _is_ours(header.name):
                raise BackupRefusal(
                    f"the backup has the entry {header.name[:80]!r}, which no node has: "
                    "take one that `qist node backup` has written"
                )
            if header.name == MANIFEST:
                manifest = _read_manifest(source.read(64 * _CHUNK_BYTES))
                continue
            found[header.name] = _write(source, made / header.name, header.mode)
            total += header.size
    return manifest, found, total


def _is_ours(name: str) -> bool:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name:
        return False
    return name in (*_FILES, MANIFEST) or any(name.startswith(f"{part}/") for part in _FOLDERS)


def _read_manifest(content: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise BackupRefusal(
                f"the backup is of format {str(manifest['format'])[:20]!r} and this program knows "
                f"{FORMAT}: restore it with the program that wrote it"
            )
        if not isinstance(manifest["entries"], dict):
            raise TypeError("entries")
    except (ValueError, KeyError, TypeError) as error:
        raise BackupRefusal(f"the backup's {MANIFEST} cannot be read: take another copy") from error
    found: dict[str, Any] = manifest
    return found


def _write(source: IO[bytes], target: Path, mode: int) -> str:
    digest = hashlib.sha256()
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode & 0o755 | 0o200)
        while piece := source.read(_CHUNK_BYTES):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(descriptor)
    return digest.hexdigest()


def _verify(archive: Path, manifest: dict[str, Any], found: dict[str, str]) -> None:
    if not manifest:
        raise BackupRefusal(f"{archive} ends before its {MANIFEST}: take another copy")
    differing = sorted(
        name
        for name in {*found, *manifest["entries"]}
        if found.get(name) != manifest["entries"].get(name)
    )
    if differing:
        raise BackupRefusal(
            f"{archive} is damaged: {', '.join(differing[:5])} is not what was saved: "
            "take another copy"
        )


def _summary(manifest: dict[str, Any], size_bytes: int) -> BackupSummary:
    return BackupSummary(
        node=str(manifest["node"]),
        msp_id=str(manifest["msp_id"]),
        channel_id=str(manifest["channel_id"]),
        saved=str(manifest["saved"]),
        entries=len(manifest["entries"]),
        size_bytes=size_bytes,
    )
