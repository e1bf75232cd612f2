"""A whole network by commands alone: four node processes created, founded, killed, started, saved.

Every check of a network test stands at its end: equal heights and hashes, a clean fsck everywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodes.cli.node_process import stop_nodes
from tests.support.processes import (
    network_down_at_the_end,
    process_of,
    qist,
    wait_for,
)

MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
PAGE = Path(__file__).parents[2] / "docs/howto/run-a-node.md"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four members on this machine, founded and running."""
    with network_down_at_the_end(tmp_path_factory.mktemp("e2e") / "net") as folder:
        made = qist("network", "create", folder, "--base-port", "0", "--json")
        assert made.code == 0, made.err
        up = qist("network", "up", folder, "--json")
        assert up.code == 0, up.err
        assert up.json["founded"]
        yield folder


@pytest.fixture
def running(network: Path) -> Path:
    """The network with all its nodes up, whatever a test before has done to it."""
    up = qist("network", "up", network, "--json")
    assert up.code == 0, up.err
    return network


def settled(network: Path) -> list[dict[str, Any]]:
    """The nodes' states once all have the same height; their hashes must agree then."""
    states: list[dict[str, Any]] = []

    def equal() -> bool:
        states[:] = qist("network", "status", network, "--json").json["nodes"]
        return len({each["height"] for each in states}) == 1 and all(
            each["ready"] for each in states
        )

    wait_for(equal, "equal heights")
    assert len({(each["header_hash"], each["commit_hash"]) for each in states}) == 1
    return states


def profile(network: Path, msp_id: str = "BankMSP") -> list[str]:
    return ["--profile", str(network / msp_id / "connection.json"), "--user", "auditor", "--json"]


def test_first_start_defines_the_contracts_and_founds_the_consortium(running: Path) -> None:
    """The members of the genesis are the members of the consortium, by one transaction."""
    defined = qist("contract", "list", *profile(running))
    assert {each["name"] for each in defined.json["contracts"]} == {"instalments", "enforcement"}
    for msp_id in ("BankMSP", "PtaMSP"):
        asked = qist("evaluate", "enforcement", "Members", *profile(running, msp_id))
        assert asked.code == 0, asked.err
        members = asked.json["result"]["members"]
        told = {each["msp_id"]: (each["member_class"], each["affiliate_group"]) for each in members}
        assert told == {
            "BankMSP": ("bank", "bank"),
            "OperatorMSP": ("operator", "operator"),
            "MakerMSP": ("manufacturer", "maker"),
            "PtaMSP": ("regulator", "pta"),
        }
    settled(running)


def test_block_1_defines_all_contracts_by_one_transaction_of_every_member(running: Path) -> None:
    """One VALID transaction of `_lifecycle` writes both definitions, endorsed by all of them."""
    (tx_id,) = transactions_of(running, 1)
    told = qist("tx", tx_id, *profile(running)).json
    assert (told["code"], told["chaincode"]) == ("VALID", "_lifecycle")
    assert told["function"] == "CommitChaincodeDefinitions"
    assert {each.partition("/")[0] for each in told["endorsers"]} == set(MEMBERS)
    assert {(each["namespace"], each["key"]) for each in told["writes"]} == {
        ("_lifecycle", f"namespaces/{kind}")
        for name in ("instalments", "enforcement")
        for kind in (
            f"metadata/{name}",
            f"fields/{name}/Sequence",
            f"fields/{name}/EndorsementInfo",
            f"fields/{name}/ValidationInfo",
            f"fields/{name}/Collections",
        )
    }


def test_founding_is_block_2_and_endorsed_by_every_member(running: Path) -> None:
    """What makes a consortium is agreed to by all of it (rulebook 1)."""
    (tx_id,) = transactions_of(running, 2)
    told = qist("tx", tx_id, *profile(running)).json
    assert (told["code"], told["chaincode"], told["function"]) == ("VALID", "enforcement", "Found")
    assert {each.partition("/")[0] for each in told["endorsers"]} == set(MEMBERS)


def transactions_of(network: Path, number: int) -> list[str]:
    shown = qist("block", str(number), *profile(network)).json
    return [each["tx_id"] for each in shown["transactions"]]


def test_second_up_changes_nothing(running: Path) -> None:
    """`up` is harmless: the same processes, the same height."""
    before = settled(running)
    processes = {msp_id: process_of(running / msp_id / "node") for msp_id in MEMBERS}
    again = qist("network", "up", running, "--json")
    assert again.code == 0, again.err
    assert {msp_id: process_of(running / msp_id / "node") for msp_id in MEMBERS} == processes
    assert settled(running)[0]["height"] == before[0]["height"]


def test_running_node_is_not_started_twice_nor_checked(running: Path) -> None:
    """The refusal names the process; nothing touches a ledger that is in use."""
    node = running / "BankMSP" / "node"
    for more in ([], ["--detach"]):
        refused = qist("node", "start", node, *more)
        assert refused.code == 1
        assert f"already running in {node}, process {process_of(node)}" in refused.err
    refused = qist("fsck", node, "--json")
    assert refused.code == 1
    assert "qist node stop" in refused.error["message"]
    assert qist("node", "status", node).code == 0


def test_status_says_what_the_documentation_lists(running: Path) -> None:
    """Every field of a node's status is described, and no other."""
    status = qist("node", "status", running / "OperatorMSP" / "node", "--json").json
    table = PAGE.read_text("utf-8").split("## What status says")[1].split("\nThe control")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert described == set(status)
    assert status["ordering"]["role"] == "sequencer"
    assert {each["msp_id"] for each in status["peers"]} == set(MEMBERS) - {"OperatorMSP"}
    assert status["memory_bytes"] < 300_000_000


def test_killed_node_recovers_at_the_next_up(running: Path) -> None:
    """After kill -9 the network says who is missing, and the same command brings it back."""
    node = running / "MakerMSP" / "node"
    os.kill(process_of(node), signal.SIGKILL)
    wait_for(lambda: qist("node", "status", node).code == 3, "the end of the killed node")
    assert (node / "control.sock").exists(), "a killed process leaves its socket behind"
    status = qist("network", "status", running)
    assert status.code == 3
    assert re.search(r"MakerMSP +not running", status.out)
    up = qist("network", "up", running)
    assert up.code == 0, up.err
    assert "1 of 4 nodes started" in up.err
    settled(running)


def test_node_that_hangs_is_ended(running: Path) -> None:
    """A process that neither answers nor stops is ended after its time, and only that one."""
    node = running / "MakerMSP" / "node"
    os.kill(process_of(node), signal.SIGSTOP)
    assert stop_nodes([node], timeout_s=0.5) == {node: "ended"}
    assert qist("node", "stop", node).out.strip().endswith("not running")
    states = qist("network", "status", running, "--json").json["nodes"]
    assert [each["msp_id"] for each in states if each["running"]] == [
        "BankMSP",
        "OperatorMSP",
        "PtaMSP",
    ]


def test_node_is_saved_while_it_runs_and_restored(running: Path, tmp_path: Path) -> None:
    """The restored ledger has the height and hashes of the saved one, and is clean."""
    node = running / "PtaMSP" / "node"
    before = settled(running)[0]
    saved = qist("node", "backup", node, "--out", tmp_path / "pta.backup", "--json")
    assert saved.code == 0, saved.err
    assert (tmp_path / "pta.backup").stat().st_mode & 0o077 == 0
    again = qist("node", "backup", node, "--out", tmp_path / "pta.backup")
    assert again.code == 1, "a backup is never overwritten"
    restored = qist("node", "restore", tmp_path / "r", "--from", tmp_path / "pta.backup", "--json")
    assert restored.code == 0, restored.err
    checked = qist("fsck", tmp_path / "r", "--json")
    assert checked.code == 0, checked.out
    found = checked.json["nodes"][0]
    names = ("height", "header_hash", "commit_hash")
    assert {name: found[name] for name in names} == {name: before[name] for name in names}


def test_clock_of_a_real_network_cannot_be_set(running: Path) -> None:
    """Only a rehearsal's time is its operator's."""
    node = running / "BankMSP" / "node"
    refused = qist("node", "clock", node, "2026-01-01T00:00:00Z", "--json")
    assert refused.code == 1
    assert "is no rehearsal" in refused.error["message"]
    assert "REHEARSAL" not in qist("network", "status", running).out


def test_down_ends_in_order_and_leaves_clean_ledgers(running: Path) -> None:
    """All nodes stop, every ledger is clean and equal, and the next up serves at that height."""
    before = settled(running)[0]
    down = qist("network", "down", running, "--json")
    assert down.code == 0
    assert set(down.json["nodes"].values()) == {"stopped"}
    assert qist("network", "down", running).code == 0, "down twice is harmless"
    checked = qist("fsck", running, "--json")
    assert checked.code == 0, checked.out
    assert checked.json["clean"]
    told = {
        (each["height"], each["header_hash"], each["commit_hash"]) for each in checked.json["nodes"]
    }
    assert told == {(before["height"], before["header_hash"], before["commit_hash"])}
    up = qist("network", "up", running)
    assert up.code == 0, up.err
    assert settled(running)[0]["height"] == before["height"]


def test_taken_port_keeps_the_network_down(running: Path) -> None:
    """The refusal names the port before any process is started."""
    address = qist("node", "status", running / "BankMSP" / "node", "--json").json["client_address"]
    port = address.rpartition(":")[2]
    assert qist("network", "down", running).code == 0
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", int(port)))
        taken.listen()
        refused = qist("network", "up", running)
    assert refused.code == 1
    assert port in refused.err
    assert qist("network", "down", running).out.count("not running") == 4


def test_node_that_breaks_at_its_start_says_why_and_takes_no_other_down(running: Path) -> None:
    """The last words of its log are shown; those that `up` had started are stopped again."""
    survivor = process_of(running / "OperatorMSP" / "node")
    for msp_id in ("BankMSP", "MakerMSP"):
        assert qist("node", "stop", running / msp_id / "node").code == 0
    node = running / "MakerMSP" / "node"
    shutil.copytree(node / "msp", node / "msp.right")
    shutil.copytree(running / "BankMSP" / "node" / "msp", node / "msp", dirs_exist_ok=True)
    try:
        failed = qist("network", "up", running, "--json")
    finally:
        shutil.rmtree(node / "msp")
        (node / "msp.right").rename(node / "msp")
    assert failed.code == 3
    message = failed.error["message"]
    assert f"the node in {node} ended with exit code 1" in message
    assert "identity" in message, message
    assert "Traceback" not in failed.err
    states = qist("network", "status", running, "--json").json["nodes"]
    assert {each["msp_id"]: each["running"] for each in states} == {
        "BankMSP": False,
        "OperatorMSP": True,
        "MakerMSP": False,
        "PtaMSP": True,
    }
    assert process_of(running / "OperatorMSP" / "node") == survivor


def test_damaged_ledger_fails_the_check(running: Path) -> None:
    """fsck names the place and ends with 1."""
    assert qist("network", "down", running).code == 0
    segment = next((running / "MakerMSP" / "node" / "ledger" / "blocks").glob("*.seg"))
    whole = segment.read_bytes()
    try:
        segment.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
        checked = qist("fsck", running, "--json")
    finally:
        segment.write_bytes(whole)
    assert checked.code == 1
    damaged = [each for each in checked.json["nodes"] if not each["clean"]]
    assert [Path(each["folder"]).parent.name for each in damaged] == ["MakerMSP"]
    assert damaged[0]["findings"][0]["where"]
    assert qist("fsck", running).code == 0
