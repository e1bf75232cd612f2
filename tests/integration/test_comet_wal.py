"""CometBFT's write-ahead log when its process ended between two files of it."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from network.ordering.cometbft.process import process
from network.ordering.cometbft.process.wal import undo_rotation
from tests.support.comet import CometNode

EMPTY = {"missing": False, "empty": True}
"""Whether the newest file is there, without content."""


def log_of(data: Path, files: dict[str, bytes]) -> Path:
    """A log of these files, beside a database that nobody has open."""
    (data / "state.db").mkdir(parents=True)
    log = data / "cs.wal"
    log.mkdir()
    for name, content in files.items():
        (log / name).write_bytes(content)
    return log


def files_of(log: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in log.iterdir()}


def begins_with_height_0(log: bytes) -> bool:
    """Whether the first record, behind checksum and length, says that height 0 has ended."""
    record = log[8 : 8 + int.from_bytes(log[4:8])]
    return record.endswith(b"\x12\x02\x22\x00")


async def rotated_log(folder: Path) -> Path:
    """The log of a node that ordered something, rotated when all of it was written."""
    node = CometNode(folder)
    async with node:
        await node.answers()
        await node.ordered(b"one")
    log = node.home / "data/cs.wal"
    (log / "wal").rename(log / "wal.000")
    return log


@pytest.mark.parametrize("newest", EMPTY)
async def test_comet_that_ended_between_two_files_goes_on_in_the_last(
    tmp_path: Path, newest: str
) -> None:
    """By itself it would begin its log as a new one, and then read all of it again and again."""
    log = await rotated_log(tmp_path)
    written = (log / "wal.000").read_bytes()
    if EMPTY[newest]:
        (log / "wal").touch()
    node = CometNode(tmp_path)
    async with node:
        await node.answers()
        await node.ordered(b"two")
    assert (log / "wal").read_bytes().startswith(written)
    assert [each.name for each in log.iterdir()] == ["wal"]


async def test_comet_by_itself_begins_a_log_anew_whose_last_file_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what makes it read on: the day it does not, nothing has to be undone any more."""
    monkeypatch.setattr(process, "undo_rotation", lambda _data: None)
    log = await rotated_log(tmp_path)
    node = CometNode(tmp_path)
    async with node:
        await node.answers()
        await node.ordered(b"two")
    assert begins_with_height_0((log / "wal").read_bytes())


def test_last_full_file_is_the_one_with_the_highest_number(tmp_path: Path) -> None:
    """Numbers have three digits until they need four; a second time changes nothing."""
    full = {"wal.998": b"a", "wal.999": b"b", "wal.1000": b"c"}
    log = log_of(tmp_path, full | {"wal": b""})
    for _ in range(2):
        undo_rotation(tmp_path)
        assert files_of(log) == {"wal.998": b"a", "wal.999": b"b", "wal": b"c"}


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"wal": b""},
        {"wal": b"a"},
        {"wal.000": b"a", "wal": b"b"},
        {"wal.bak": b"a", "wal": b""},
    ],
    ids=["nothing", "a new one", "a first one", "two", "a stranger's"],
)
def test_log_that_was_not_just_rotated_is_left_alone(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    """Only an empty newest file behind full ones is what a rotation leaves."""
    log = log_of(tmp_path, files)
    undo_rotation(tmp_path)
    assert files_of(log) == files


def test_log_of_a_running_comet_is_left_alone(tmp_path: Path) -> None:
    """Whoever has the database open may be writing the log."""
    files = {"wal.000": b"a", "wal": b""}
    log = log_of(tmp_path, files)
    with (tmp_path / "state.db/LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        undo_rotation(tmp_path)
    assert files_of(log) == files


def test_folder_that_is_not_there_is_nothing_to_undo(tmp_path: Path) -> None:
    """Before its first start CometBFT has none."""
    undo_rotation(tmp_path / "data")
    assert not (tmp_path / "data").exists()
