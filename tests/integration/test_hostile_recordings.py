"""A snapshot from somebody who wants its auditor's machine, not its audit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nodes.replay.difference import RecordingError
from nodes.replay.snapshot_files import (
    ADDITIONAL,
    PUBLIC_STATE,
    SIGNABLE,
    TX_IDS,
    SnapshotFolder,
)
from tests.support.recording import FOLDER

TERABYTE = 1 << 40


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """A copy of the recorded snapshot."""
    folder = tmp_path / "snapshot"
    shutil.copytree(FOLDER / "snapshot", folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


def read(snapshot: Path) -> None:
    """Read what the tests spoil."""
    folder = SnapshotFolder(snapshot)
    folder.namespaces(PUBLIC_STATE)
    list(folder.records(PUBLIC_STATE))
    list(folder.transaction_ids())


def told(**changes: Any) -> Callable[[Path], None]:
    """Change what the signable metadata say."""

    def change(folder: Path) -> None:
        plain = json.loads((folder / SIGNABLE).read_bytes()) | changes
        (folder / SIGNABLE).write_text(json.dumps(plain))

    return change


def endless(name: str) -> Callable[[Path], None]:
    """Put a device that never ends in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/dev/zero")

    return change


def pipe(folder: Path) -> None:
    """Put a pipe that nobody fills in the place of a file."""
    (folder / f"{PUBLIC_STATE}.data").unlink()
    os.mkfifo(folder / f"{PUBLIC_STATE}.data")


def sparse(head: bytes) -> Callable[[Path], None]:
    """Make a file of a terabyte, which takes no room on the disk, with a beginning."""

    def change(folder: Path) -> None:
        with (folder / f"{PUBLIC_STATE}.data").open("wb") as file:
            file.write(head)
            file.truncate(TERABYTE)

    return change


def counting(name: str, raw: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_bytes(raw)

    return change


@pytest.mark.parametrize(
    "change",
    [
        told(last_block_number=float("inf")),
        told(last_block_number=[]),
        told(state_db_type=7),
        told(snapshot_files_raw_hashes=[["a", "b"]]),
        told(snapshot_files_raw_hashes={"public_state.data": 1}),
        told(channel_name=None),
        counting(ADDITIONAL, b"[" * 100_000),
        counting(SIGNABLE, b"9" * 1_000_000),
        endless(SIGNABLE),
        endless(ADDITIONAL),
        endless(f"{PUBLIC_STATE}.data"),
        endless(f"{TX_IDS}.metadata"),
        pipe,
        sparse(b"\x01\xff\xff\xff\xff\xff\x0f"),
        counting(f"{TX_IDS}.metadata", b"\x01" + b"\xff" * 9 + b"\x01"),
        counting(f"{PUBLIC_STATE}.metadata", b"\x01" + b"\xff" * 9 + b"\x01"),
        counting(f"{PUBLIC_STATE}.data", b"\x01" + b"\x80" * 100),
    ],
    ids=[
        "a number without end",
        "a number that is none",
        "a state database that is no text",
        "files in pairs",
        "a hash that is no text",
        "a channel without a name",
        "brackets without end",
        "digits without end",
        "metadata without end",
        "further metadata without end",
        "a state without end",
        "counts without end",
        "a pipe",
        "a record of a terabyte",
        "more ids than bytes",
        "more namespaces than bytes",
        "a varint without end",
    ],
)
def test_snapshot_that_is_made_to_harm_is_refused_at_once(
    snapshot: Path, change: Callable[[Path], None]
) -> None:
    """No crash, no wait and no memory beyond what a record may have."""
    change(snapshot)
    with pytest.raises(RecordingError):
        read(snapshot)


@pytest.mark.parametrize("name", ["../state.json", "/etc/passwd", ".", "..", "a\0b", "x" * 4000])
def test_file_that_a_snapshot_names_elsewhere_is_damaged_and_never_opened(
    snapshot: Path, name: str
) -> None:
    """Only names of the folder's own files are looked at."""
    told(snapshot_files_raw_hashes={name: "00"})(snapshot)
    damaged = {each[0]: each[1] for each in SnapshotFolder(snapshot).damaged_files()}
    assert damaged[name] in ("no name of a snapshot's file", "File name too long")


@pytest.mark.parametrize("change", [endless(f"{PUBLIC_STATE}.data"), pipe])
def test_file_that_is_none_is_told_as_damaged(
    snapshot: Path, change: Callable[[Path], None]
) -> None:
    """The hash of a device or of a pipe would never be done."""
    change(snapshot)
    damaged = {each[0]: each[1] for each in SnapshotFolder(snapshot).damaged_files()}
    assert damaged[f"{PUBLIC_STATE}.data"] == "no regular file"
