"""The supervised process: started whatever it ended with, ended with its owner, heard in full.

Where the way it ends matters a script stands for CometBFT; where what it does matters it is real.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from network.ordering.cometbft.errors import HomeError
from network.ordering.cometbft.process.binary import find_binary
from network.ordering.cometbft.process.home import write_home
from network.ordering.cometbft.process.process import (
    CometProcess,
    Exit,
    LogLine,
    Restarts,
    parse_line,
)
from tests.support.comet import CometNode, until
from tests.support.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 20.0
QUICK = Restarts(first_s=0.02, longest_s=0.08, well_s=30)


class Pretended:
    """A script in CometBFT's place, and what was heard of it."""

    def __init__(self, folder: Path, script: str, restarts: Restarts = QUICK) -> None:
        self.program = folder / "cometbft"
        self.program.write_text(f"#!/bin/sh\n{script}\n")
        self.program.chmod(0o755)
        self.lines: list[LogLine] = []
        self.exits: list[Exit] = []
        self.process = CometProcess(
            self.program,
            folder,
            folder / "rpc.sock",
            on_line=self.lines.append,
            on_exit=self.exits.append,
            restarts=restarts,
        )

    async def ended(self, times: int) -> None:
        async def so_often() -> bool:
            return len(self.exits) >= times

        await until(so_often, f"{times} ends", deadline_s=DEADLINE_S)

    async def said(self, message: str) -> None:
        async def is_said() -> bool:
            return any(each.message == message for each in self.lines)

        await until(is_said, message, deadline_s=DEADLINE_S)


@pytest.mark.parametrize("end", ["exit 0", "exit 3", "kill -9 $$"])
async def test_comet_process_that_ends_is_started_again_whatever_its_code(
    tmp_path: Path, end: str
) -> None:
    """Also after a clean exit, which is how CometBFT ends without its application."""
    made = Pretended(tmp_path, end)
    await made.process.start()
    await made.ended(3)
    await made.process.stop()
    codes = {"exit 0": 0, "exit 3": 3, "kill -9 $$": -signal.SIGKILL}
    assert {each.code for each in made.exits} == {codes[end]}
    assert made.process.restarts >= 2
    assert not made.process.running


async def test_comet_process_puts_aside_in_its_own_folder_which_is_empty_at_each_start(
    tmp_path: Path,
) -> None:
    """What a killed one has left, up to a whole snapshot, does not pile up."""
    made = Pretended(tmp_path, 'ls "$TMPDIR" | wc -l; touch "$TMPDIR/chunk"; echo "$TMPDIR"')
    await made.process.start()
    await made.ended(2)
    await made.process.stop()
    said = [each.message for each in made.lines]
    assert said[:4] == ["0", str(tmp_path / "tmp")] * 2


async def test_comet_process_of_a_relative_folder_is_told_where_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node may be started from anywhere, by a path from there."""
    (tmp_path / "node/comet").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    made = Pretended(Path("node/comet"), 'echo "$3"; echo "$TMPDIR"')
    await made.process.start()
    await made.ended(1)
    await made.process.stop()
    home = tmp_path / "node/comet"
    assert [each.message for each in made.lines][:2] == [str(home), str(home / "tmp")]


async def test_comet_process_that_ends_at_once_is_started_after_longer_and_longer(
    tmp_path: Path,
) -> None:
    """The pause doubles up to its bound."""
    made = Pretended(tmp_path, "exit 1")
    await made.process.start()
    await made.ended(5)
    await made.process.stop()
    assert [each.pause_s for each in made.exits[:5]] == [0.02, 0.04, 0.08, 0.08, 0.08]


def test_comet_process_that_ran_well_is_started_soon() -> None:
    """An old trouble does not slow the next start down."""
    restarts = Restarts(first_s=1, longest_s=60, well_s=30)
    assert restarts.pause_after(ran_s=0.1, previous_s=32) == 60
    assert restarts.pause_after(ran_s=31, previous_s=60) == 1
    assert restarts.pause_after(ran_s=0.1, previous_s=0) == 1


async def test_comet_process_stopped_during_a_pause_stops_at_once(tmp_path: Path) -> None:
    """Stopping does not wait for the next start."""
    made = Pretended(tmp_path, "exit 1", Restarts(first_s=600))
    await made.process.start()
    await made.ended(1)
    began = time.monotonic()
    await made.process.stop()
    assert time.monotonic() - began < DEADLINE_S
    assert made.process.restarts == 0


async def test_comet_process_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """It is asked first, and has its time."""
    made = Pretended(tmp_path, "trap '' TERM\necho deaf\nwhile :; do sleep 0.02; done")
    await made.process.start()
    await made.said("deaf")
    pid = made.process.pid
    await made.process.stop(grace_s=0.1)
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert made.exits == []


async def test_comet_process_that_nobody_hears_any_more_is_killed(tmp_path: Path) -> None:
    """A callback that raises is a mistake of ours: it shows, and leaves no process behind."""
    made = Pretended(tmp_path, "echo one\nwhile :; do sleep 0.02; done")

    def cannot(line: LogLine) -> None:
        raise ValueError(f"cannot hear {line.message}")

    process = CometProcess(made.program, tmp_path, tmp_path / "rpc.sock", on_line=cannot)
    await process.start()
    pid = process.pid
    assert pid is not None
    await until(lambda: _is_gone(pid), "the end of the process", deadline_s=DEADLINE_S)
    with pytest.raises(ValueError, match="cannot hear one"):
        await process.stop()


async def _is_gone(pid: int) -> bool:
    return not psutil.pid_exists(pid)


async def test_comet_process_that_cannot_be_run_is_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    """The first start says what is wrong; nothing goes on in the background."""
    made = Pretended(tmp_path, "exit 0")
    made.program.unlink()
    with pytest.raises(HomeError, match="make cometbft"):
        await made.process.start()
    await made.process.stop()
    assert made.exits == []


async def test_comet_process_whose_program_vanishes_goes_on_trying(tmp_path: Path) -> None:
    """While the program is being replaced there may be none for a moment."""
    made = Pretended(tmp_path, "exit 0")
    await made.process.start()
    script = made.program.read_text()
    made.program.unlink()
    await until(lambda: _has_code(made, None), "a start that failed", deadline_s=DEADLINE_S)
    made.program.write_text(script)
    made.program.chmod(0o755)
    before = len([each for each in made.exits if each.code == 0])
    await until(lambda: _has_more(made, before), "a start that went well", deadline_s=DEADLINE_S)
    await made.process.stop()
    assert any("make cometbft" in each for each in made.process.last_words)


async def _has_code(made: Pretended, code: int | None) -> bool:
    return any(each.code == code for each in made.exits)


async def _has_more(made: Pretended, before: int) -> bool:
    return len([each for each in made.exits if each.code == 0]) > before


async def test_comet_process_is_heard_in_full_and_in_bounds(tmp_path: Path) -> None:
    """Levels are ours, a panic is an error, a line without end is cut, none blocks the process."""
    script = """
echo '{"level":"info","ts":"2026","_msg":"made","module":"state","height":7}'
echo '{"level":"error","_msg":"gone","module":"p2p"}'
echo '{"level":"error","_msg":"wrong","module":"consensus"}'
echo 'panic: it cannot be' >&2
head -c 300000 /dev/zero | tr '\\0' x; echo
echo last
exit 1"""
    made = Pretended(tmp_path, script)
    await made.process.start()
    await made.ended(1)
    await made.process.stop()
    first, second, third, panic, long, last = made.lines[:6]
    assert first == LogLine(logging.INFO, "state", "made", {"height": "7"})
    assert str(first) == "state: made height=7"
    assert (second.level, third.level) == (logging.WARNING, logging.ERROR)
    assert (panic.level, panic.message) == (logging.ERROR, "panic: it cannot be")
    assert len(long.message) < 1_000
    assert last.message == "last"
    assert made.exits[0].last_words[-1] == "last"
    assert len(made.exits[0].last_words) == 6


async def test_comet_process_is_told_nothing_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What CometBFT would take for settings from there does not reach it; all else does."""
    monkeypatch.setenv("CMT_P2P_PEX", "true")
    monkeypatch.setenv("CMTHOME", "/elsewhere")
    monkeypatch.setenv("QIST_TEST_VARIABLE", "seen")
    made = Pretended(
        tmp_path,
        'echo "pex ${CMT_P2P_PEX-unset}, ${CMTHOME-unset}"\n'
        'echo "other $QIST_TEST_VARIABLE"; pwd; exit 1',
    )
    await made.process.start()
    await made.ended(1)
    await made.process.stop()
    said = [line.message for line in made.lines[:3]]
    assert said == ["pex unset, unset", "other seen", str(tmp_path)]


def test_comet_line_of_any_form_is_read() -> None:
    """A line is never lost because it is not as expected."""
    assert parse_line(b"[1, 2]").message == "[1, 2]"
    assert parse_line(b"[" * 16_000).level == logging.ERROR
    assert parse_line(b"\xff\xfe").level == logging.ERROR
    assert parse_line(b'{"level":"odd","_msg":5}') == LogLine(logging.ERROR, "", "5")


OWNER = """
import asyncio, sys
from pathlib import Path
from network.ordering.cometbft.process.process import CometProcess

async def main() -> None:
    home = Path(sys.argv[2])
    process = CometProcess(Path(sys.argv[1]), home, home / "rpc.sock")
    await process.start()
    print(process.pid, flush=True)
    await asyncio.Event().wait()

if sys.argv[3] == "uvloop":
    import uvloop

    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_comet_process_ends_when_its_owner_is_killed(tmp_path: Path, loop: str) -> None:
    """Also one that waits for its application to come, and would otherwise wait for ever."""
    node = CometNode(tmp_path)
    write_home(node.home, node.settings)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(find_binary()), str(node.home), loop],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    comet = psutil.Process(pid)
    try:
        wait_for(lambda: comet.name() == "cometbft", "CometBFT in the launcher's place")
        assert comet.is_running()
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait(DEADLINE_S)
        wait_for(lambda: not is_alive(comet), "the end of CometBFT", DEADLINE_S)
    finally:
        owner.kill()
        owner.wait(DEADLINE_S)
        owner.stdout.close()
        if is_alive(comet):
            comet.kill()


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
