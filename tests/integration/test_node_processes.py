"""Processes of nodes from outside: the lock, the last words, waiting, stopping what was started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ledger.errors import Refusal, Unavailable
from nodes.cli import node_process
from nodes.cli.control_client import NodeNotRunning, node_status
from nodes.cli.node_lock import LOCK_FILE, RunningNode, hold, refuse_while_running, running_node
from nodes.cli.node_process import (
    LOG_FILE,
    StartedNode,
    last_words,
    refuse_taken_port,
    stop_nodes,
    stop_started,
    wait_until_ready,
)

HOLDER = """
import sys
from pathlib import Path
from nodes.cli.node_lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs the node of *tmp_path*, as far as the lock tells."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_lock_tells_the_process_that_runs_a_node(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    """Who asks learns the number; who wants to run it too is refused with it."""
    found = running_node(tmp_path)
    assert found is not None
    assert found.pid == holder.pid
    assert found.process() == psutil.Process(holder.pid)
    with (
        pytest.raises(Refusal, match=f"already running in .*, process {holder.pid}"),
        hold(tmp_path),
    ):
        pass
    with pytest.raises(Refusal, match="qist node stop"):
        refuse_while_running(tmp_path, "nothing can be checked")
    assert running_node(tmp_path) == found, "a refused start changes nothing"


def test_lock_goes_with_its_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """After kill -9 the file is still there and means nothing."""
    holder.kill()
    holder.wait()
    assert (tmp_path / LOCK_FILE).exists()
    assert running_node(tmp_path) is None
    with hold(tmp_path):
        pass
    refuse_while_running(tmp_path, "nothing can be checked")


def test_process_that_took_over_a_number_is_left_alone() -> None:
    """A number alone proves nothing; the time at which the process began must fit."""
    own = psutil.Process()
    assert RunningNode(own.pid, own.create_time()).process() == own
    assert RunningNode(own.pid, own.create_time() - 60).process() is None
    assert RunningNode(2**22 + 1, own.create_time()).process() is None


def test_node_that_does_not_answer_is_ended_by_its_number(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    """A process without a socket gets SIGTERM, and is reported."""
    assert stop_nodes([tmp_path], timeout_s=10) == {tmp_path: "stopped"}
    assert not psutil.pid_exists(holder.pid)
    assert stop_nodes([tmp_path]) == {tmp_path: "not running"}


def test_node_that_is_not_there_is_unavailable_with_the_way_out(tmp_path: Path) -> None:
    """Asking a node that does not run names the command that starts it."""
    with pytest.raises(NodeNotRunning, match="qist node start"):
        node_status(tmp_path)


def background(tmp_path: Path, script: str) -> StartedNode:
    log = tmp_path / LOG_FILE
    log.write_text("old line\n")
    with log.open("ab") as output:
        size = output.tell()
        process = subprocess.Popen([sys.executable, "-c", script], stdout=output, stderr=output)
    return StartedNode(tmp_path, process, size)


def test_process_that_ends_is_reported_with_its_last_words(tmp_path: Path) -> None:
    """What went wrong stands in the error, not only in a file."""
    line = json.dumps({"level": "critical", "message": "the disk is full"})
    started = background(tmp_path, f"import sys; print({line!r}); sys.exit(7)")
    with pytest.raises(Unavailable, match=r"exit code 7: the disk is full; its whole log is"):
        wait_until_ready([started], timeout_s=20)


def test_process_that_never_serves_is_reported_in_time(tmp_path: Path) -> None:
    """Waiting has an end, and the outcome is said to be open."""
    started = background(tmp_path, "import signal; signal.pause()")
    try:
        with pytest.raises(Unavailable, match=r"not ready after 0.3 s") as error:
            wait_until_ready([started], timeout_s=0.3)
        assert not error.value.outcome_definite
    finally:
        stop_started([started])
    assert started.process.returncode == -15


def test_process_that_ignores_the_signal_is_killed(tmp_path: Path) -> None:
    """Nothing that was started is left behind."""
    script = "import signal, sys; signal.signal(15, signal.SIG_IGN); print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    stop_started([StartedNode(tmp_path, process, 0)], timeout_s=0.3)
    assert process.returncode == -9
    process.communicate()


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["plain", "words"], ["plain", "words"]),
        ([{"level": "info", "message": "begins"}, "odd"], ["begins", "odd"]),
        (
            [{"level": "error", "message": "bad"}, {"level": "info", "message": "stopping"}],
            ["bad"],
        ),
        ([{"level": "info", "message": str(each)} for each in range(9)], list("45678")),
        (['{"level": 1}', "[]", "\xff"], ['{"level": 1}', "[]", "\xff"]),
        ([], []),
    ],
)
def test_last_words_of_a_log_are_its_worst(tmp_path: Path, lines: list, words: list) -> None:
    """The worst messages if there are any, else the last ones; whatever stands in the file."""
    log = tmp_path / LOG_FILE
    log.write_text(
        "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines)
    )
    assert last_words(log) == words
    assert last_words(log, since=log.stat().st_size) == []
    assert last_words(tmp_path / "none") == []


def test_address_that_is_no_ours_cannot_be_listened_on() -> None:
    """The refusal names the address and the file to correct."""
    with pytest.raises(Refusal, match=r"cannot listen on 192.0.2.1:7050 .*node.toml"):
        refuse_taken_port("192.0.2.1:7050")


def test_start_in_the_background_leaves_the_current_folder_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file beside the user that is called like a module of ours is not taken for it."""
    (tmp_path / "qist.py").write_text("raise SystemExit(99)")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node").mkdir()
    started = node_process.start_in_background(Path("node"))
    with pytest.raises(Unavailable, match=r"exit code 1: qist: .*node.toml does not exist"):
        wait_until_ready([started], timeout_s=20)


def loaded(script: str) -> set[str]:
    """Top-level modules that a process has loaded after *script*."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{script}\nimport sys; sys.stderr.write(chr(10).join(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stderr.split()}


HEAVY = {"grpc", "cryptography", "pydantic", "fastapi", "uvicorn", "plyvel", "fabric_protos"}


@pytest.mark.parametrize(
    ("script", "absent"),
    [
        ("import qist", HEAVY | {"typer", "clients", "nodes", "ledger"}),
        ("import qist; qist.main(['--help'])", HEAVY | {"clients", "nodes"}),
        ("import qist; qist.main(['network', '--wrong'])", {"grpc", "plyvel", "fastapi"}),
        ("from qist import Gateway", {"typer", "plyvel", "fastapi", "nodes"}),
    ],
)
def test_command_loads_only_what_it_needs(script: str, absent: set[str]) -> None:
    """`qist --help` answers at once, and a client's program does not load a node."""
    assert not loaded(script) & absent
