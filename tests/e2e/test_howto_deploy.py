"""docs/howto/deploy-four-members.md: members who share nothing but what it has them send.

The page is run once, with real node and CometBFT processes, each member's in a network namespace
behind the page's firewall where this machine lets us; what it promises is looked at afterwards.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from clients.files.keyrings import load_keyrings
from ledger.fsck import check_ledger
from nodes.cli.control_client import node_status
from tests.support.four_machines import MEMBERS, NAMES, FourMachines
from tests.support.namespaces import SETTINGS, need
from tests.support.processes import BIN, wait_for

CLIENTS, NODES, CONSENSUS = 7050, 7051, 7052
PEM_KEY = b"PRIVATE KEY"


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FourMachines]:
    """The machines after all that the page says."""
    with FourMachines.made(tmp_path_factory.mktemp("four")) as machines:
        assert machines.run_page() >= 30
        yield machines


def test_all_four_order_and_hold_the_same(four: FourMachines) -> None:
    """Each is a validator in touch with all, with one height and equal hashes."""

    def agreed() -> bool:
        told = [node_status(each.node_folder) for each in four.machines.values()]
        ends = {(each["height"], each["header_hash"], each["commit_hash"]) for each in told}
        in_touch = {each["ordering"]["consensus"]["reachable"] for each in told}
        return len(ends) == 1 and in_touch == {len(MEMBERS)}

    wait_for(agreed, "the members to agree")
    for each in four.machines.values():
        status = node_status(each.node_folder)
        assert status["ordering"]["role"] == "validator"
        assert [name["name"] for name in status["contracts"]] == ["enforcement", "instalments"]
        assert {peer["msp_id"] for peer in status["peers"]} == set(MEMBERS) - {each.msp_id}


def test_every_field_to_be_watched_is_there(four: FourMachines) -> None:
    """The page's table names fields as `--json` prints them."""
    table = four.page.split("## Watch")[1].split("With one member away")[0]
    fields = [name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in row.split(", ")]
    assert len(fields) > 5
    for field in fields:
        value = node_status(four.machines["bank"].node_folder)
        for name in field.strip("`").split("."):
            value = value[name]


def test_nothing_that_was_sent_holds_a_key(four: FourMachines) -> None:
    """The archives have certificates only; what a member received is what others have made public.

    The pseudonym keys, which members share by another way, were removed from there.
    """
    for machine in four.machines.values():
        received = machine.folder / "received"
        assert {each.name for each in received.iterdir()} == {
            "genesis.block",
            *(f"{name}.tar.gz" for name in NAMES),
        }
        for name in NAMES:
            with tarfile.open(received / f"{name}.tar.gz") as archive:
                for entry in archive.getmembers():
                    assert not entry.name.endswith("key.pem")
                    content = archive.extractfile(entry)
                    assert content is None or PEM_KEY not in content.read(), entry.name
    for machine in four.machines.values():
        own = {each.read_bytes() for each in machine.folder.rglob("*key.pem")}
        for other in four.machines.values():
            if other is not machine:
                assert own.isdisjoint(each.read_bytes() for each in other.folder.rglob("*key.pem"))


def test_keys_are_for_their_owner_alone(four: FourMachines) -> None:
    """Mode 0600: keys, the pseudonyms' keys and backups."""
    for machine in four.machines.values():
        secrets = [
            *machine.folder.rglob("*key.pem"),
            machine.folder / "pseudonym-keys.toml",
            *machine.folder.glob("*.backup"),
        ]
        assert len(secrets) > 10
        assert {each.stat().st_mode & 0o777 for each in secrets} == {0o600}


def test_pseudonym_keys_are_with_those_who_may_have_them(four: FourMachines) -> None:
    """All have the one of devices; a lender its own, the regulator every lender's."""
    rings = {
        name: load_keyrings(machine.folder / "pseudonym-keys.toml")
        for name, machine in four.machines.items()
    }
    assert {ring.device.keys[0].secret for ring in rings.values()} == {
        rings["pta"].device.keys[0].secret
    }
    assert {name: set(ring.lenders) for name, ring in rings.items()} == {
        "bank": {"BankMSP"},
        "operator": {"OperatorMSP"},
        "maker": set(),
        "pta": {"BankMSP", "OperatorMSP"},
    }


@pytest.fixture
def _networks() -> None:
    """Networks of the machines' own, in which alone a firewall can be in force."""
    need()


@pytest.mark.usefixtures("_networks")
def test_firewall_lets_members_in_and_nobody_else(four: FourMachines) -> None:
    """Nodes and CometBFT of members reach each other; clients' ports are for offices only."""
    assert four.links is not None
    bank, pta = four.machines["bank"], four.machines["pta"]
    for port in (NODES, CONSENSUS):
        assert _connects(bank.inside, pta.address, port)
        assert not _connects((), pta.address, port)
    assert not _connects(bank.inside, pta.address, CLIENTS)
    assert not _connects((), pta.address, CLIENTS)
    assert _connects(pta.inside, pta.address, CLIENTS)


def _connects(inside: tuple[str, ...], address: str, port: int) -> bool:
    """Tell whether a connection is taken; a packet that is dropped is given a second."""
    script = f"exec 3<>/dev/tcp/{address}/{port}"
    done = subprocess.run(
        [*inside, "timeout", "1", "bash", "-c", script], capture_output=True, check=False
    )
    return done.returncode == 0


def test_lines_break_in_tests_as_on_machines_of_the_page(four: FourMachines) -> None:
    """What perturbed networks show of recovery is what the page's kernels do."""
    assert four.kernel == SETTINGS
    for name in four.kernel:
        assert Path("/proc/sys", *name.split(".")).is_file()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_unit_is_one_that_systemd_takes(four: FourMachines, tmp_path: Path) -> None:
    """Every name and value of it is known."""
    text = four.page.split("```ini\n")[1].split("```")[0]
    unit = tmp_path / "qist-node.service"
    unit.write_text(text.replace("/opt/qist/.venv/bin", str(BIN)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    about = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, about) == (0, [])


def test_stopping_by_the_unit_ends_everything_and_leaves_sound_ledgers(four: FourMachines) -> None:
    """SIGTERM to the node alone ends its CometBFT too; every ledger is clean and the same."""
    assert four.unit["KillMode"] == ["mixed"]
    with ExitStack() as ends:
        for machine in four.machines.values():
            ends.callback(four.stop_node, machine)
    reports = [check_ledger(each.node_folder / "ledger") for each in four.machines.values()]
    assert [each.findings for each in reports] == [()] * len(reports)
    assert len({(each.height, each.header_hash, each.commit_hash) for each in reports}) == 1
