"""The archive of a node: what it cannot be made again without, in one file.

    backup.json         format, node, member, channel, when it was saved
    node.toml  genesis.block  configuration.block  clock  msp/…  tls/…  consensus/…  contracts/…
    ledger/evidence/…  ledger/blocks/…  ledger/private/…
    checksums.json      SHA-256 of every other entry, in hexadecimal

in this order, as a tar archive under zstd. The world state is left out: it follows from the blocks
and the private write sets, and restoring makes it anew, which checks every block's verdicts and
commit hash, and every write set's hash, on the way.

Invariants: an archive and a restored folder appear whole or not at all, and never in the place of
something else; both are readable by their owner only where keys are in them. A node may run while
it is saved, since blocks are only ever appended: what is half written at the end is cut when the
ledger is opened. An archive holds private keys; keep it like them.

Absent: encryption, and increments. Restoring beside a running original gives two nodes with one
identity, which nobody here can notice.
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
from typing import IO

import zstandard

from ledger.channel import ChannelLedger
from ledger.errors import Refusal
from ledger.state.copying import copy_database
from network.certificates.writing import new_folder, write_new
from nodes.configuration import CONFIGURATION_FILE, load_configuration
from nodes.orderer.others import RESTORED_FILE

__all__ = ["BackupRefusal", "BackupSummary", "restore_backup", "write_backup"]

FORMAT = 1
HEAD = "backup.json"
CHECKSUMS = "checksums.json"

FILES = (CONFIGURATION_FILE, "genesis.block", "configuration.block", "clock")
# Evidence before the blocks it is about, and private write sets, which are stored before their
# blocks, behind them: what is appended meanwhile leaves no gap that way round.
FOLDERS = ("msp", "tls", "consensus", "contracts", "ledger/evidence", "ledger/blocks")
PRIVATE = "ledger/private"

_CHUNK = 1024 * 1024
_MOST_OF_A_LIST = 64 * 1024 * 1024


class BackupRefusal(Refusal):
    """A node cannot be saved there, or a file is no sound archive; nothing was changed."""


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """What was saved or restored.

    Attributes:
        node, msp_id, channel_id: of the node.
        saved: when the archive was begun, ISO, machine time.
        entries: files in it, without the two lists.
        size_bytes: of these files.
        height: blocks of the restored ledger; 0 of a node that never had its channel, and in the
            summary of saving, which opens no ledger.
    """

    node: str
    msp_id: str
    channel_id: str
    saved: str
    entries: int
    size_bytes: int
    height: int = 0


def write_backup(folder: Path, archive: Path) -> BackupSummary:
    """Save the node in *folder* to the new file *archive*, mode 0600.

    Raises:
        Refusal: the folder is no node's, or something stands at *archive*.
    """
    configuration = load_configuration(folder)
    if archive.exists():
        raise BackupRefusal(f"{archive} exists and is never overwritten; choose another name")
    saved = datetime.now(UTC).isoformat(timespec="seconds")
    head = {
        "format": FORMAT,
        "node": configuration.name,
        "msp_id": configuration.msp_id,
        "channel_id": configuration.channel_id,
        "saved": saved,
    }
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{archive.name}.", dir=archive.parent)
    except OSError as error:
        raise BackupRefusal(
            f"{archive.parent} takes no files ({error.strerror}); choose another folder"
        ) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            checksums, size = _write(folder, head, file)
            file.flush()
            os.fsync(file.fileno())
        # Fails, other than a rename, if the name was taken meanwhile.
        os.link(temporary, archive)
    except FileExistsError as error:
        raise BackupRefusal(f"{archive} has appeared meanwhile; choose another name") from error
    finally:
        temporary.unlink(missing_ok=True)
    return BackupSummary(
        configuration.name,
        configuration.msp_id,
        configuration.channel_id,
        saved,
        len(checksums),
        size,
    )


def _write(folder: Path, head: dict[str, object], file: IO[bytes]) -> tuple[dict[str, str], int]:
    checksums: dict[str, str] = {}
    size = 0
    with (
        zstandard.ZstdCompressor(level=3).stream_writer(file, closefd=False) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        _add_list(tar, HEAD, head)
        for name, path in _files_of(folder):
            with path.open("rb") as opened:
                status = os.fstat(opened.fileno())
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode, entry.mtime = status.st_size, status.st_mode & 0o777, 0
                reader = _HashingReader(opened)
                tar.addfile(entry, reader)
            checksums[name] = reader.digest.hexdigest()
            size += status.st_size
        _add_list(tar, CHECKSUMS, checksums)
    return checksums, size


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    """Iterate over the files of a node that are saved, with their names in the archive."""
    for name in FILES:
        if (folder / name).is_file():
            yield name, folder / name
    for name in FOLDERS:
        for path in sorted((folder / name).rglob("*")):
            if path.is_file():
                yield path.relative_to(folder).as_posix(), path
    if (folder / PRIVATE / "CURRENT").is_file():
        with tempfile.TemporaryDirectory(prefix="backup-", dir=folder / "ledger") as temporary:
            copy = Path(temporary) / "private"
            copy_database(folder / PRIVATE, copy)
            for path in sorted(copy.iterdir()):
                yield f"{PRIVATE}/{path.name}", path


def _add_list(tar: tarfile.TarFile, name: str, content: object) -> None:
    raw = json.dumps(content, indent=1, sort_keys=True).encode()
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(raw), 0o600
    tar.addfile(entry, io.BytesIO(raw))


class _HashingReader:
    """A file that hashes what is read of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self.digest.update(content)
        return content


def restore_backup(archive: Path, folder: Path) -> BackupSummary:
    """Make the node's folder *folder* of an archive, and its state of the blocks in it.

    Args:
        archive: made by `write_backup`.
        folder: it must not exist, or be empty.
    Raises:
        Refusal: the file is no sound archive of this format, or the folder holds something.
        Fatal: the blocks in it are damaged; the message says where.
    """
    with new_folder(folder) as made:
        try:
            head, checksums, size = _extract(archive, made)
        except (OSError, EOFError, tarfile.TarError, zstandard.ZstdError, ValueError) as error:
            raise BackupRefusal(
                f"{archive} cannot be read as a node's archive ({error}); take another copy of it"
            ) from error
        configuration = load_configuration(made)
        height = _rebuild(made)
        # Before it orders, it must ask others for what came after the backup.
        write_new(made / RESTORED_FILE, f"{head.get('saved', '')}\n".encode())
    return BackupSummary(
        configuration.name,
        configuration.msp_id,
        configuration.channel_id,
        str(head.get("saved", "")),
        len(checksums),
        size,
        height,
    )


def _rebuild(folder: Path) -> int:
    """Make the state from the blocks and return the height; 0 if there are none."""
    if not (folder / "ledger" / "blocks").exists():
        return 0
    ledger = ChannelLedger.open(folder / "ledger")
    try:
        return ledger.height
    finally:
        ledger.close()


def _extract(archive: Path, target: Path) -> tuple[dict[str, object], dict[str, str], int]:
    head: dict[str, object] = {}
    found: dict[str, str] = {}
    size = 0
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        for entry in tar:
            content = tar.extractfile(entry)
            if content is None or not entry.isreg():
                raise ValueError(f"{entry.name!r} is no file")
            if entry.name == CHECKSUMS:
                checksums = _read_list(content)
                _verify_complete(found, checksums)
                return head, found, size
            if entry.name == HEAD:
                head = _read_list(content)
                if head.get("format") != FORMAT:
                    raise ValueError(
                        f"it is of format {head.get('format')!r}, and this program knows {FORMAT}"
                    )
                continue
            if not head:
                raise ValueError(f"it does not begin with {HEAD}")
            found[entry.name] = _extract_file(content, target / _safe(entry.name), entry.mode)
            size += entry.size
    raise ValueError(f"it ends before {CHECKSUMS}")


def _read_list(content: IO[bytes]) -> dict[str, object]:
    value = json.loads(content.read(_MOST_OF_A_LIST))
    if not isinstance(value, dict):
        raise ValueError("one of its lists is none")
    return value


def _safe(name: str) -> PurePosixPath:
    """The path of an entry, which must be one that `write_backup` writes."""
    path = PurePosixPath(name)
    allowed = name in FILES or any(name.startswith(f"{each}/") for each in (*FOLDERS, PRIVATE))
    if not allowed or ".." in path.parts:
        raise ValueError(f"{name!r} does not belong into a node's folder")
    return path


def _extract_file(content: IO[bytes], path: Path, mode: int) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fchmod(file.fileno(), mode & 0o755)
        os.fsync(file.fileno())
    return digest.hexdigest()


def _verify_complete(found: dict[str, str], checksums: dict[str, object]) -> None:
    for name in sorted(checksums.keys() | found.keys()):
        if found.get(name) != checksums.get(name):
            raise ValueError(f"{name} is not what was saved")
