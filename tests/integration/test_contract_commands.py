"""``qist contract …`` as admins of members run it, against four real nodes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from nodes.cli.contract_packages import write_package as pack
from tests.support.local_network import MEMBERS, LocalNetwork, local_network
from tests.support.member_commands import Commands
from tests.support.toy_package import toy_files, write_package

BANK, OPERATOR, MAKER, PTA = MEMBERS
POLICY = f"OutOf(2, {', '.join(repr(f'{msp_id}.peer') for msp_id in MEMBERS)})"
COLLECTIONS = [{"name": "terms", "policy": "OR('BankMSP.member', 'PtaMSP.member')"}]


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LocalNetwork]:
    async with local_network(tmp_path / "network") as network:
        yield network


@pytest.fixture
def commands(network: LocalNetwork, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(network, capsys)


async def contract(commands: Commands, msp_id: str, *words: str | Path) -> Any:
    """Run a command as the admin of a member; it must succeed."""
    return await commands.ok(msp_id, "admin", "contract", *map(str, words))


async def refused(commands: Commands, msp_id: str, *words: str | Path, user: str = "admin") -> str:
    """Run a command that must be refused and return its words."""
    code, value = await commands.run(msp_id, user, "contract", *map(str, words))
    assert code == 1, value
    assert value["error"]["kind"] == "refused"
    return str(value["error"]["message"])


async def test_contract_goes_from_a_folder_to_its_second_definition_by_commands(
    network: LocalNetwork, commands: Commands, tmp_path: Path
) -> None:
    """Each command says what it did; status says who has approved, what differs, who is missing."""
    folder = write_package(tmp_path / "toy", toy_files())
    file = tmp_path / "toy.package"
    packed = pack(folder, file).package_id
    collections = tmp_path / "collections.json"
    collections.write_text(json.dumps(COLLECTIONS))
    approval = ("approve", "toy", POLICY, "--version", "1", "--collections", collections)

    nothing = await contract(commands, BANK, "status", "toy")
    assert (nothing["in_force"], nothing["next"]) == (None, None)
    words = await refused(commands, BANK, "commit", "toy")
    assert "BankMSP has approved nothing of toy beyond what is in force" in words

    installed = await contract(commands, BANK, "install", file)
    assert installed["package_id"] == packed
    approved = await contract(commands, BANK, *approval, "--package-id", packed)
    assert (approved["sequence"], approved["package_id"]) == (1, packed)
    await contract(commands, OPERATOR, *approval, "--package", file)
    await contract(commands, PTA, "approve", "toy", "/Channel/Application/Endorsement",
                   "--version", "1.1", "--init-required")  # fmt: skip
    await network.settled()
    standing = (await contract(commands, BANK, "status", "toy"))["next"]
    assert standing["approvals"] == {BANK: True, OPERATOR: True, MAKER: False, PTA: False}
    assert standing["mismatches"] == {
        MAKER: ["ChaincodeParameters"],
        PTA: ["EndorsementInfo", "ValidationInfo", "Collections"],
    }
    assert standing["collections"] == ["terms"]
    assert standing["policy"] == POLICY
    early = await refused(commands, BANK, "commit", "toy")
    assert "approved by BankMSP, OperatorMSP; not by MakerMSP, PtaMSP" in early
    assert "chaincode definition not agreed to by this org (MakerMSP)" in early

    await contract(commands, MAKER, *approval)
    await network.settled()
    committed = await contract(commands, OPERATOR, "commit", "toy")
    assert (committed["sequence"], committed["version"]) == (1, "1")
    await network.settled()
    standing = await contract(commands, BANK, "status", "toy")
    assert standing["in_force"]["approvals"] == {
        BANK: True,
        OPERATOR: True,
        MAKER: True,
        PTA: False,
    }
    assert standing["next"] is None
    answer = await commands.run(BANK, "lending", "evaluate", "toy", "Answer")
    assert answer[0] == 0

    lost = await refused(commands, BANK, "approve", "toy", POLICY, "--version", "2")
    assert "does not contain previously defined collections" in lost
    again = await refused(commands, BANK, *approval, "--sequence", "1", "--package-id", packed)
    assert "attempted to redefine the current committed sequence (1) for namespace toy" in again
    for msp_id in (BANK, OPERATOR, MAKER):
        second = await contract(
            commands, msp_id, "approve", "toy", POLICY, "--version", "2", "--init-required",
            "--collections", collections, "--package", file,
        )  # fmt: skip
        assert second["sequence"] == 2
    await network.settled()
    await contract(commands, BANK, "commit", "toy")
    await network.settled()
    keep = ("submit", "toy", "Keep", "k", "v")
    code, early = await commands.run(BANK, "lending", *keep)
    assert code == 1
    assert "has not been initialized for this version, must call as init first" in str(early)
    await commands.ok(BANK, "lending", *keep, "--init")
    await network.settled()
    await commands.ok(BANK, "lending", *keep)
    code, late = await commands.run(BANK, "lending", *keep, "--init")
    assert code == 1
    assert "chaincode 'toy' is already initialized but called as init" in str(late)
    await network.verify()


async def test_command_that_cannot_be_done_says_why(commands: Commands, tmp_path: Path) -> None:
    """Wrong files, wrong words, the wrong user: one line each, and nothing is written."""
    nothing = tmp_path / "nothing.package"
    nothing.write_bytes(b"nothing")
    words = await refused(commands, BANK, "install", nothing)
    assert "could not parse as a chaincode install package" in words
    words = await refused(commands, BANK, "install", tmp_path / "absent.package")
    assert "absent.package" in words
    words = await refused(commands, BANK, "approve", "toy", "AND('BankMSP", "--version", "1")
    assert "policy" in words
    words = await refused(commands, BANK, "approve", "to.y", POLICY, "--version", "1")
    assert "invalid chaincode name 'to.y'" in words
    both = ("--package", nothing, "--package-id", "toy:1")
    words = await refused(commands, BANK, "approve", "toy", POLICY, "--version", "1", *both)
    assert "not both" in words
    collections = tmp_path / "collections.json"
    collections.write_text(json.dumps([{"name": "terms", "policy": "OR('NoneMSP.member')"}]))
    words = await refused(commands, BANK, "approve", "toy", POLICY, "--version", "1",
                          "--collections", collections)  # fmt: skip
    assert "collection member 'NoneMSP' is not part of the channel" in words
    words = await refused(
        commands, BANK, "approve", "toy", POLICY, "--version", "1", "--sequence", "3"
    )
    assert "requested sequence 3 is larger than the next available sequence number 1" in words
    code, value = await commands.run(
        BANK, "lending", "contract", "approve", "toy", POLICY, "--version", "1"
    )
    assert code == 1
    assert "it is for admins of BankMSP" in value["error"]["message"]
