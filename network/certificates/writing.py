"""Writing certificates and keys to disk so that a crash leaves the old state or the new one.

A new folder is filled beside its place under a name that begins with a dot and then takes its place
in one step, which fails if something is there already: so no key is ever overwritten. A single file
is replaced in one step too. Private folders have the mode 0700 and keys 0600 from the moment they
exist; what everybody may read has 0755 and 0644, whatever the process's umask.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from network.errors import CertificateError

PRIVATE_FOLDER: Final = 0o700
PUBLIC_FOLDER: Final = 0o755
PRIVATE_FILE: Final = 0o600
PUBLIC_FILE: Final = 0o644


@contextmanager
def _disk(place: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error of ours that names *place*."""
    try:
        yield
    except OSError as reason:
        raise CertificateError(
            f"{place} cannot be written ({reason.strerror}): make room, or have access given"
        ) from reason


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, private: bool = False) -> Path:
    """Make *folder*, which must not exist, below one that does; return it."""
    folder.mkdir(mode=PRIVATE_FOLDER)
    if not private:
        folder.chmod(PUBLIC_FOLDER)
    return folder


def write_new(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file that must not exist yet, in a folder that appears only when all is written.

    Raises:
        CertificateError: it exists, and nothing was changed; or the disk refuses.
    """
    with _disk(path):
        _write_new(path, content, private=private)


def _write_new(path: Path, content: bytes, *, private: bool) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    except FileExistsError as reason:
        raise CertificateError(
            f"{path} exists already and is never overwritten: move it away first"
        ) from reason
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), PRIVATE_FILE if private else PUBLIC_FILE)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes, *, private: bool = False) -> None:
    """Put *content*, which everybody may read unless it is private, in the place of *path*.

    It is done in one step.

    Raises:
        CertificateError: the disk refuses.
    """
    with _disk(path):
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), PRIVATE_FILE if private else PUBLIC_FILE)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def remove_file(path: Path) -> None:
    """Take a file away; one that is not there is no fault.

    Raises:
        CertificateError: the disk refuses.
    """
    with _disk(path):
        path.unlink(missing_ok=True)
        _sync_folder(path.parent)


def move_file(source: Path, target: Path) -> None:
    """Put a file, with its mode, in the place of another in one step; both on one disk.

    Raises:
        CertificateError: the disk refuses.
    """
    with _disk(target):
        source.replace(target)
        _sync_folder(target.parent)


@contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """Give a folder to fill, which becomes *place* in one step if the block ends without error.

    Raises:
        CertificateError: there is something at *place* already, which was not touched; or the disk
            refuses.
    """
    with _disk(place), _new_folder(place) as made:
        yield made


@contextmanager
def _new_folder(place: Path) -> Iterator[Path]:
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise CertificateError(
            f"{place} exists already and is never overwritten: choose another name, or move it away"
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        yield temporary
        temporary.chmod(PUBLIC_FOLDER)
        for folder, _, _ in os.walk(temporary):
            _sync_folder(Path(folder))
        try:
            temporary.rename(place)
        except OSError as reason:
            raise CertificateError(
                f"{place} has appeared meanwhile and is never overwritten: choose another name"
            ) from reason
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(place.parent)
