"""What an operator does with a node: start, watch, stop, save, restore, and put right."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import zstandard

from ledger.channel import ChannelLedger
from ledger.errors import LedgerError, LedgerLocked, Refusal
from ledger.fsck import check_ledger
from ledger.state.private import BlockPrivate
from nodes.cli.control_client import node_status, request_stop, set_clock
from nodes.node import Node
from nodes.operations.backup import BackupRefusal, restore_backup, write_backup
from tests.support.chain import next_block, prepare
from tests.support.counter import Counter
from tests.support.local_network import (
    CHANNEL,
    DEADLINE_S,
    MEMBERS,
    local_network,
    make_network,
    until,
)
from tests.support.private_chain import SHOP, Op, private_envelope, private_write

TWO = MEMBERS[:2]


async def test_status_of_a_node_tells_readiness_heights_hashes_peers_and_certificates(
    tmp_path: Path,
) -> None:
    """The control socket answers what the command line shows; it is its owner's alone."""
    async with local_network(tmp_path, [Counter()], members=TWO) as network:
        height = await network.settled()
        folder = network.members["OperatorMSP"].folder
        assert stat.S_IMODE((folder / "control.sock").stat().st_mode) == 0o600
        value = await asyncio.to_thread(node_status, folder)
        node = network.node("OperatorMSP")
        assert (value["ready"], value["halted"], value["height"]) == (True, "", height)
        assert value["header_hash"] == node.channel.last_header_hash.hex()
        assert value["commit_hash"] == network.node("BankMSP").channel.commit_hash.hex()
        assert value["ordering"] | {"queued": 0} == {
            "engine": "solo",
            "role": "follower",
            "accepting": True,
            "reason": "",
            "queued": 0,
            "endpoint": f"localhost:{network.members['BankMSP'].node_port}",
            "consensus": None,
        }
        assert [peer["msp_id"] for peer in value["peers"]] == ["BankMSP"]
        assert {each["name"]: each["warning"] for each in value["certificates"]} == {
            "identity": "",
            "tls": "",
            "authority": "",
            "tls authority": "",
        }
        assert value["configuration"] == 0
        with pytest.raises(Refusal, match="is no rehearsal"):
            await asyncio.to_thread(set_clock, folder, "2031-01-31T09:00:00+05:00")
        await network.verify()


async def test_status_warns_of_a_certificate_that_ends_soon(tmp_path: Path) -> None:
    """The days before the end from which it warns are the node's to choose."""
    async with local_network(
        tmp_path, members=TWO, limits="[warn]\ncertificate_days = 3650\n"
    ) as network:
        told = {each.name: each for each in network.node("BankMSP").status().certificates}
        for name in ("identity", "tls"):
            assert f"the {name} certificate expires on" in told[name].warning
        for name in ("authority", "tls authority"):
            assert told[name].days_left > 3650
            assert told[name].warning == ""


@pytest.mark.parametrize("gateway_of", TWO)
async def test_stop_of_the_orderers_node_finishes_what_is_at_work(
    tmp_path: Path, gateway_of: str
) -> None:
    """Transactions at work, of its own clients or a follower's, are finished or refused; what was
    acknowledged is there after a restart, and the socket is gone as the sign of the end.
    """
    async with local_network(tmp_path, [Counter()], members=TWO) as network:
        async with network.gateway(gateway_of) as gateway:
            contract = gateway.network(CHANNEL).contract("counter")
            await contract.submit("Add", "first", "1")
            work = [
                asyncio.create_task(contract.submit("Add", f"k{number}", "1"))
                for number in range(20)
            ]
            await until(lambda: network.node(gateway_of).servers.calls.at_work > 0)
            member = network.members["BankMSP"]
            await asyncio.to_thread(request_stop, member.folder)
            assert member.task is not None
            async with asyncio.timeout(DEADLINE_S):
                await member.task
            outcomes = await asyncio.gather(*work, return_exceptions=True)
        member.node = member.task = None
        assert not (member.folder / "control.sock").exists()
        await network.start("BankMSP")
        ledger = network.node("BankMSP").channel
        assert network.node("BankMSP").status().recovered == ""
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, LedgerError)
            else:
                found = await ledger.transaction_status(outcome.status.tx_id)
                assert found is not None
                assert found.block_num == outcome.status.block_num
        await network.verify()


async def test_node_that_is_saved_while_it_runs_is_restored_and_goes_on(tmp_path: Path) -> None:
    """Blocks, keys and configuration come back, the state is made from the blocks, and the node
    takes the blocks that it missed.
    """
    archive = tmp_path / "operator.backup"
    async with local_network(tmp_path / "net", [Counter()], members=TWO) as network:
        member = network.members["OperatorMSP"]
        async with network.gateway("BankMSP") as gateway:
            contract = gateway.network(CHANNEL).contract("counter")
            await contract.submit("Add", "k", "1")
            height = await network.settled()
            saved = await asyncio.to_thread(write_backup, member.folder, archive)
            await contract.submit("Add", "k", "1")
            await network.settled()
        assert stat.S_IMODE(archive.stat().st_mode) == 0o600
        await network.stop("OperatorMSP")
        shutil.rmtree(member.folder)
        restored = await asyncio.to_thread(restore_backup, archive, member.folder)
        assert (restored.height, restored.entries, restored.msp_id) == (
            height,
            saved.entries,
            "OperatorMSP",
        )
        key = member.folder / "msp" / "keystore" / "key.pem"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        await network.start("OperatorMSP")
        await network.settled(height + 1)
        await network.verify()


def test_restore_into_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    """Nothing is ever overwritten, neither a node by an archive nor an archive by a node."""
    network = make_network(tmp_path / "net", members=TWO)
    folder = network.members["BankMSP"].folder
    archive = tmp_path / "bank.backup"
    write_backup(folder, archive)
    with pytest.raises(Refusal, match="never overwritten"):
        restore_backup(archive, folder)
    with pytest.raises(BackupRefusal, match="never overwritten"):
        write_backup(folder, archive)
    assert restore_backup(archive, tmp_path / "other").height == 0
    assert (tmp_path / "other" / "node.toml").read_text() == (folder / "node.toml").read_text()


def test_archive_of_a_node_carries_its_private_data(tmp_path: Path) -> None:
    """They follow from no block, so they are saved, even while the node has them open."""
    network = make_network(tmp_path / "net", members=TWO)
    folder = network.members["BankMSP"].folder
    Node.open(folder).close()
    ops = [Op("put", "price", b"1000"), Op("put", "name", b"a lamp")]
    ledger = ChannelLedger.open(folder / "ledger")
    for number in range(1, 4):
        held = BlockPrivate({0: (private_write("terms", ops),)})
        envelope = private_envelope({"terms": ops}, b"%d" % number)
        ledger.commit(prepare(ledger, next_block(ledger, [envelope])), held)
    archive = tmp_path / "bank.backup"
    write_backup(folder, archive)
    assert not list((folder / "ledger").glob("backup-*"))
    restored = tmp_path / "other"
    assert restore_backup(archive, restored).height == ledger.height == 4
    copy = ChannelLedger.open(restored / "ledger")
    for number in range(4):
        assert copy.private_data(number) == ledger.private_data(number)
        assert bool(copy.private_data(number)) == bool(number)
    with copy.snapshot() as state:
        assert [key for key, _ in state.range_private(SHOP, "terms", "", "")] == ["name", "price"]
    copy.close()
    ledger.close()
    assert check_ledger(restored / "ledger").findings == ()


def test_archive_of_a_node_holds_what_formats_md_says_in_that_order(tmp_path: Path) -> None:
    """Head, files, checksums; no world state, no log, no socket."""
    network = make_network(tmp_path / "net", members=TWO, rehearsal=True)
    folder = network.members["BankMSP"].folder
    (folder / "clock").write_text("2031-01-31T04:00:00+00:00\n")
    Node.open(folder).close()
    (folder / "node.log").write_text("private")
    archive = tmp_path / "bank.backup"
    summary = write_backup(folder, archive)
    with (
        archive.open("rb") as file,
        zstandard.ZstdDecompressor().stream_reader(file) as stream,
        tarfile.open(fileobj=stream, mode="r|") as tar,
    ):
        contents = {
            entry.name: opened.read() for entry in tar if (opened := tar.extractfile(entry))
        }
    names = list(contents)
    assert names[:4] == ["backup.json", "node.toml", "genesis.block", "clock"]
    assert names[-1] == "checksums.json"
    checksums = json.loads(contents["checksums.json"])
    assert set(checksums) == set(names[1:-1])
    assert len(checksums) == summary.entries
    assert all(sha256(contents[name]).hexdigest() == checksums[name] for name in checksums)
    assert any(name.startswith("ledger/blocks/") for name in names)
    assert not any("state" in name or "log" in name or "sock" in name for name in names)
    assert json.loads(contents["backup.json"])["format"] == 1


def test_archive_with_a_file_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    """An archive is foreign bytes: only files that a node has are written, below its folder."""
    for name in ("../evil", "/etc/evil", "msp/../../evil", "bin/evil"):
        archive = tmp_path / "evil.backup"
        with (
            archive.open("wb") as file,
            zstandard.ZstdCompressor().stream_writer(file) as stream,
            tarfile.open(fileobj=stream, mode="w|") as tar,
        ):
            for path, content in (("backup.json", b'{"format": 1}'), (name, b"evil")):
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                tar.addfile(entry, BytesIO(content))
        with pytest.raises(BackupRefusal, match="does not belong into a node's folder"):
            restore_backup(archive, tmp_path / "restored")
    assert [path.name for path in tmp_path.iterdir()] == ["evil.backup"]


def cut(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def flipped(raw: bytes) -> bytes:
    place = len(raw) // 2
    return raw[:place] + bytes((raw[place] ^ 1,)) + raw[place + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda _raw: b"", lambda _raw: b"no archive"])
def test_restore_of_a_damaged_archive_is_refused_and_leaves_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    """Every file is compared with its checksum before the folder takes its place."""
    network = make_network(tmp_path / "net", members=TWO)
    archive = tmp_path / "bank.backup"
    write_backup(network.members["BankMSP"].folder, archive)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(BackupRefusal, match="take another copy"):
        restore_backup(archive, tmp_path / "restored")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bank.backup", "net"]


FAULTS: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "no node.toml": (lambda own, _other: (own / "node.toml").unlink(), "does not exist"),
    "another channel": (
        lambda own, _other: (own / "node.toml").write_text(
            (own / "node.toml").read_text().replace('"qist"', '"other"')
        ),
        "correct channel_id",
    ),
    "no genesis": (lambda own, _other: (own / "genesis.block").unlink(), "no genesis block"),
    "genesis is junk": (
        lambda own, _other: (own / "genesis.block").write_bytes(b"\xff"),
        "is no genesis block",
    ),
    "no key": (
        lambda own, _other: (own / "msp" / "keystore" / "key.pem").unlink(),
        "has no private key",
    ),
    "another member's identity": (
        lambda own, other: shutil.copytree(other / "msp", own / "msp", dirs_exist_ok=True),
        "is not valid in channel",
    ),
    "another key for TLS": (
        lambda own, other: shutil.copy(other / "tls" / "server.key", own / "tls" / "server.key"),
        "private key",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_node_whose_folder_is_not_right_does_not_open_and_says_what_to_do(
    tmp_path: Path, fault: str
) -> None:
    """Each fault is a refusal that names the file; nothing is begun."""
    network = make_network(tmp_path, members=TWO)
    own, other = (network.members[msp_id].folder for msp_id in TWO)
    change, words = FAULTS[fault]
    change(own, other)
    with pytest.raises(Refusal, match=words):
        Node.open(own).close()
    assert not (own / "control.sock").exists()


async def test_node_whose_port_is_taken_does_not_start_and_releases_everything(
    tmp_path: Path,
) -> None:
    """It says which port; afterwards the folder can be opened again."""
    network = make_network(tmp_path, members=TWO)
    member = network.members["OperatorMSP"]
    with socket.create_server(("localhost", member.node_port)):
        with pytest.raises(ExceptionGroup) as failed:
            await network.start("OperatorMSP")
        assert failed.group_contains(Refusal, match=f"port localhost:{member.node_port} cannot be")
    await network.start("OperatorMSP")
    await network.stop()


async def test_second_process_on_a_running_nodes_folder_is_refused(tmp_path: Path) -> None:
    """One process owns a node's folder and its ledger."""
    async with local_network(tmp_path, members=TWO) as network:
        folder = network.members["BankMSP"].folder
        with pytest.raises(Refusal, match="already running"):
            await asyncio.to_thread(Node.open, folder)
        with pytest.raises(LedgerLocked):
            await asyncio.to_thread(ChannelLedger.open, folder / "ledger")
        assert network.node("BankMSP").status().ready


def test_node_as_a_process_logs_json_and_stops_in_order_on_sigterm(tmp_path: Path) -> None:
    """`python -m nodes.node DIR` serves until SIGTERM, ends with 0, and every line is an object."""
    network = make_network(tmp_path, members=TWO, rehearsal=True)
    folder = network.members["BankMSP"].folder
    process = subprocess.Popen(
        [sys.executable, "-m", "nodes.node", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        lines = [json.loads(process.stderr.readline())]
        assert "serves clients on" in lines[0]["message"]
        client_port = network.members["BankMSP"].client_port
        with socket.create_connection(("localhost", client_port)) as hostile:
            # Foreign bytes at the door leave no line of another form in the log.
            hostile.sendall(b"GET / HTTP/1.1\r\n\r\n")
            hostile.settimeout(DEADLINE_S)
            while hostile.recv(4096):
                pass  # until the node has refused the handshake and closed
        process.terminate()
        _, rest = process.communicate(timeout=DEADLINE_S)
        lines += [json.loads(line) for line in rest.splitlines()]
        assert process.returncode == 0
        assert "has stopped at height 1" in lines[-1]["message"]
        assert all(line["rehearsal"] is True and line["node"] == "node0" for line in lines)
    finally:
        process.kill()
        process.wait()


def test_node_that_was_killed_opens_again_in_the_place_of_its_stale_socket(tmp_path: Path) -> None:
    """What a killed process leaves behind keeps nobody out, and its height is there."""
    network = make_network(tmp_path, members=TWO)
    folder = network.members["BankMSP"].folder
    process = subprocess.Popen(
        [sys.executable, "-m", "nodes.node", str(folder)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        assert "serves clients on" in process.stderr.readline()
        with pytest.raises(Refusal, match="already running"):
            Node.open(folder)
    finally:
        process.kill()
        process.communicate()
    assert (folder / "control.sock").exists()
    node = Node.open(folder)
    assert node.channel.height == 1
    node.close()
    assert not (folder / "control.sock").exists()


def ended(folder: Path) -> tuple[int, str]:
    """Run a node that cannot start; return its exit code and its last words."""
    done = subprocess.run(
        [sys.executable, "-m", "nodes.node", str(folder)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, json.loads(done.stderr.splitlines()[-1])["message"]


def test_node_that_cannot_start_ends_with_one_and_the_reason(tmp_path: Path) -> None:
    """The operator reads the refusal, no traceback."""
    code, words = ended(tmp_path)
    assert code == 1
    assert "qist node init" in words


def test_node_whose_data_are_damaged_ends_with_four(tmp_path: Path) -> None:
    """Whoever watches it need not read to know that starting it again mends nothing."""
    network = make_network(tmp_path, members=TWO)
    folder = network.members["BankMSP"].folder
    Node.open(folder).close()
    (segment,) = (folder / "ledger").rglob("*.seg")
    segment.write_bytes(b"damaged!" + segment.read_bytes()[8:])
    code, words = ended(folder)
    assert code == 4, words
    assert segment.name in words


def test_node_whose_ledger_another_process_has_open_ends_with_three(tmp_path: Path) -> None:
    """It may be started again when the other one is done."""
    network = make_network(tmp_path, members=TWO)
    folder = network.members["BankMSP"].folder
    Node.open(folder).close()
    ledger = ChannelLedger.open(folder / "ledger")
    try:
        code, words = ended(folder)
    finally:
        ledger.close()
    assert code == 3, words
