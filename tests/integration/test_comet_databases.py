"""CometBFT killed while it makes its databases: what is left, what is cleared, what is never.

The states are those between two system calls of the real program, in the order of its calls; that
it refuses them is asked of itself, without the node beside it.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from network.ordering.cometbft.errors import HomeError
from network.ordering.cometbft.process.binary import find_binary
from network.ordering.cometbft.process.databases import clear_unborn_databases
from network.ordering.cometbft.process.home import SIGN_STATE, write_home
from network.ordering.cometbft.process.process import Restarts
from tests.support import comet
from tests.support.comet import DEADLINE_S, CometNode, consensus_key, genesis

Files = dict[str, bytes]

POINTER = b"MANIFEST-000000\n"
# As CometBFT writes it: one record, with the order of keys and the next numbers of files.
MANIFEST = bytes.fromhex(
    "b8305446220001011a6c6576656c64622e4279746577697365436f6d70617261746f72020003010400"
)
REFUSED: Mapping[str, Files] = {
    "an empty manifest": {"MANIFEST-000000": b""},
    "half a manifest": {"MANIFEST-000000": MANIFEST[:20]},
    "a manifest": {"MANIFEST-000000": MANIFEST},
    "an empty pointer": {"MANIFEST-000000": MANIFEST, "CURRENT.0": b""},
    "half a pointer": {"MANIFEST-000000": MANIFEST, "CURRENT.0": POINTER[:9]},
}
"""What CometBFT makes nothing of any more."""
UNBORN: Mapping[str, Files] = {
    **REFUSED,
    "a pointer": {"MANIFEST-000000": MANIFEST, "CURRENT.0": POINTER},
}
"""What never was a database."""
OPENED: Mapping[str, Files] = {
    "nothing": {},
    "a lock": {"LOCK": b""},
    "an entry point": {"LOCK": b"", "MANIFEST-000000": MANIFEST, "CURRENT": POINTER},
}
"""What it completes by itself."""
HISTORY: Mapping[str, Files] = {
    "a journal": {"MANIFEST-000000": MANIFEST, "000001.log": b"heights"},
    "a journal alone": {"000001.log": b"heights"},
    "a table": {"MANIFEST-000000": MANIFEST, "CURRENT.0": POINTER, "000004.ldb": b"heights"},
    "a later manifest": {"MANIFEST-000007": MANIFEST},
}
"""What no start that was cut short leaves, without the entry point."""


def leave(home: Path, files: Files, database: str = "blockstore") -> Path:
    """Have *files* in a database, as a process that was killed left them."""
    folder = home / "data" / f"{database}.db"
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def bare_comet(home: Path) -> subprocess.CompletedProcess[str]:
    """Run CometBFT without what the node does before it starts it."""
    command = [str(find_binary()), "start", "--home", str(home)]
    return subprocess.run(
        command, cwd=home, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("left", REFUSED)
async def test_comet_that_refuses_what_a_killed_one_left_goes_on_with_its_node(
    tmp_path: Path, left: str
) -> None:
    """By itself CometBFT ends at each start; the node clears what was never a database."""
    node = CometNode(tmp_path)
    write_home(node.home, node.settings)
    leave(node.home, {"LOCK": b"", "LOG": b""} | REFUSED[left])
    ended = bare_comet(node.home)
    assert ended.returncode == 1
    assert "corrupted" in ended.stdout + ended.stderr
    async with node:
        await node.answers()
        await node.ordered(b"one")
    assert node.exits == []


@pytest.mark.parametrize("database", ["state", "evidence"])
async def test_comet_whose_other_databases_are_there_goes_on_with_them(
    tmp_path: Path, database: str
) -> None:
    """It was killed at a later one of them, which alone is made anew; what is signed stays."""
    # Another's genesis: it has nothing to sign.
    node = CometNode(tmp_path, genesis_bytes=genesis([consensus_key(1)]))
    write_home(node.home, node.settings)
    signed = b'{"height": "7", "round": 1, "step": 3}'
    (node.home / SIGN_STATE).write_bytes(signed)
    leave(node.home, REFUSED["an empty pointer"], database)
    async with node:
        await node.answers()
    assert node.exits == []
    assert (node.home / SIGN_STATE).read_bytes() == signed
    assert (node.home / f"data/{database}.db/CURRENT").exists()


@pytest.mark.parametrize("left", OPENED)
async def test_comet_completes_what_has_or_needs_no_entry_point(tmp_path: Path, left: str) -> None:
    """That is its own affair: the node takes nothing away of it."""
    node = CometNode(tmp_path)
    write_home(node.home, node.settings)
    folder = leave(node.home, OPENED[left])
    clear_unborn_databases(node.home / "data")
    assert files_of(folder) == OPENED[left]
    async with node:
        await node.answers()
    assert node.exits == []


async def test_comet_killed_in_the_midst_of_its_first_start_comes_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, each time as soon as a further file of its databases is there."""
    monkeypatch.setattr(comet, "QUICK_RESTARTS", Restarts(first_s=0.02, longest_s=0.02))
    node = CometNode(tmp_path)
    awaited = [
        node.home / f"data/{database}.db/{name}"
        for database in ("blockstore", "state", "evidence")
        for name in ("LOCK", "MANIFEST-000000", "CURRENT.0", "CURRENT")
    ]
    async with node:
        for path in awaited:
            await asyncio.to_thread(_kill_once_there, node, path)
        await node.answers()
        await node.ordered(b"one")
    assert {each.code for each in node.exits} == {-signal.SIGKILL}


def _kill_once_there(node: CometNode, path: Path) -> None:
    """Kill CometBFT as soon as a file is there; return when it has ended."""
    ends, until = len(node.exits), time.monotonic() + DEADLINE_S
    # A file that is renamed at once is mostly not seen, but what it became.
    while node.process.pid is None or not (path.exists() or path.with_name("CURRENT").exists()):
        assert time.monotonic() < until, f"{path} does not appear"
        time.sleep(0.0001)
    os.kill(node.process.pid, signal.SIGKILL)
    while len(node.exits) == ends:
        assert time.monotonic() < until, "CometBFT was killed and does not end"
        time.sleep(0.001)


@pytest.mark.parametrize("left", UNBORN)
def test_what_was_never_a_database_is_cleared_and_nothing_else(tmp_path: Path, left: str) -> None:
    """Its lock and log stay, and so does everything around it; a second time changes nothing."""
    leave(tmp_path, {"LOCK": b"", "LOG": b"opening"} | UNBORN[left])
    whole = leave(tmp_path, HISTORY["a table"] | {"CURRENT": POINTER}, "state")
    kept = files_of(whole)
    state = tmp_path / SIGN_STATE
    state.write_bytes(b'{"height": "7", "round": 1, "step": 3}')
    (tmp_path / "data/cs.wal").mkdir()
    for _ in range(2):
        clear_unborn_databases(tmp_path / "data")
        assert files_of(tmp_path / "data/blockstore.db") == {"LOCK": b"", "LOG": b"opening"}
        assert files_of(whole) == kept
        assert state.read_bytes() == b'{"height": "7", "round": 1, "step": 3}'


@pytest.mark.parametrize("left", HISTORY)
@pytest.mark.parametrize("entry", ["CURRENT", "CURRENT.bak", "CURRENT.3"])
def test_database_with_an_entry_point_is_never_touched(
    tmp_path: Path, left: str, entry: str
) -> None:
    """However little the rest may look like one: what is wrong with it CometBFT says itself."""
    folder = leave(tmp_path, HISTORY[left] | {entry: b"torn"})
    before = files_of(folder)
    clear_unborn_databases(tmp_path / "data")
    assert files_of(folder) == before


@pytest.mark.parametrize("left", HISTORY)
def test_database_that_lost_its_entry_point_is_refused_and_not_touched(
    tmp_path: Path, left: str
) -> None:
    """It may hold heights: the operator hears what to do, and what must stay."""
    folder = leave(tmp_path, HISTORY[left] | {"LOCK": b""})
    before = files_of(folder)
    with pytest.raises(HomeError, match="lost the file CURRENT") as refused:
        clear_unborn_databases(tmp_path / "data")
    assert str(folder) in str(refused.value)
    assert "priv_validator_state.json, which must stay" in str(refused.value)
    assert files_of(folder) == before


async def test_comet_with_a_database_that_lost_its_entry_point_is_not_started(
    tmp_path: Path,
) -> None:
    """It would end at every start, for ever; once all but what was signed is away, it begins."""
    node = CometNode(tmp_path)
    write_home(node.home, node.settings)
    folder = leave(node.home, HISTORY["a journal"])
    with pytest.raises(HomeError, match="lost the file CURRENT"):
        async with node:
            pass
    assert not node.process.running
    folder.rename(tmp_path / "elsewhere")
    async with node:
        await node.answers()


def test_database_that_another_process_holds_is_left_alone(tmp_path: Path) -> None:
    """It may be about to complete it."""
    folder = leave(tmp_path, {"LOCK": b""} | REFUSED["a manifest"])
    before = files_of(folder)
    with (folder / "LOCK").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        clear_unborn_databases(tmp_path / "data")
        assert files_of(folder) == before
    clear_unborn_databases(tmp_path / "data")
    assert files_of(folder) == {"LOCK": b""}


def test_files_that_are_no_databases_are_passed_over(tmp_path: Path) -> None:
    """A folder that is not there yet, too."""
    clear_unborn_databases(tmp_path / "data")
    folder = leave(tmp_path, {"notes": b"mine"})
    (tmp_path / "data/file.db").write_bytes(b"no folder")
    clear_unborn_databases(tmp_path / "data")
    assert files_of(folder)["notes"] == b"mine"
