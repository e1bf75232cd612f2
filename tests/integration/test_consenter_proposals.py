"""`qist channel propose` for consenters: what it writes, shows and refuses, on files alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import qist
from clients.configuration.update_file import UpdateFile
from network.certificates import Organisation, create_organisation
from network.certificates.consensus import add_consensus, consensus_keys, rotate_consensus
from network.configuration import ChannelConfiguration
from network.configuration.agreement import preview_update
from network.configuration.consenters import consensus_key
from network.configuration.description import configuration_lines, describe_block
from nodes.cli.members_description import USUAL_MEMBERS
from nodes.cli.network_folder import NetworkFolder, create_network
from nodes.cli.node_folder import load_genesis

MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")


@dataclass
class Told:
    """What a command printed: its JSON, the notes beside it, the message of its refusal."""

    value: Any
    notes: str
    refusal: str


Run = Callable[..., Told]


@pytest.fixture(scope="module")
def comet(tmp_path_factory: pytest.TempPathFactory) -> NetworkFolder:
    wanted = USUAL_MEMBERS.model_copy(update={"ordering": "cometbft"})
    return create_network(tmp_path_factory.mktemp("made") / "net", wanted, base_port=0)


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory) -> NetworkFolder:
    made = create_network(tmp_path_factory.mktemp("solo") / "net", USUAL_MEMBERS, base_port=0)
    for member in made.content.members:
        add_consensus(org(made, member.msp_id), member.node_name)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Propose a change of a network's first configuration."""

    def go(network: NetworkFolder, *wishes: str | Path, refused: bool = False) -> Told:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.update"
        words = ["channel", "propose", *wishes, "--out", out, "--block", genesis(network), "--json"]
        code = qist.main([str(each) for each in words])
        said = capsys.readouterr()
        if refused:
            assert code == 1, said
            assert not out.exists(), "what could not follow is not written"
            message = json.loads(said.err.splitlines()[-1])["error"]["message"]
            return Told(None, said.err, message)
        assert code == 0, said.err
        return Told(json.loads(said.out), said.err, "")

    return go


def genesis(network: NetworkFolder) -> Path:
    return network.path / "channel/genesis.block"


def org(network: NetworkFolder, msp_id: str) -> Organisation:
    return Organisation.open(network.member_folder(msp_id) / "org")


def comes_of(network: NetworkFolder, told: Told) -> ChannelConfiguration:
    """Return the configuration that the proposed update leads to."""
    current = ChannelConfiguration.from_block(load_genesis(genesis(network)))
    update = UpdateFile.load(Path(told.value["file"]))
    return ChannelConfiguration(current.channel_id, preview_update(current, update.config_update))


def paths(told: Told) -> list[str]:
    return [each["path"] for each in told.value["changes"]]


def consenter_words(network: NetworkFolder) -> list[str]:
    return [
        word
        for port, member in enumerate(network.content.members, start=20_001)
        for word in (
            "--consenter",
            f"{member.msp_id}=localhost:{port}="
            f"{org(network, member.msp_id).node_folder(member.node_name)}",
        )
    ]


def test_solo_channel_is_moved_by_one_proposal(solo: NetworkFolder, run: Run) -> None:
    """The engine, everybody's consenter, and those who had not ordered among those who order."""
    told = run(solo, "--ordering", "cometbft", *consenter_words(solo))
    found = comes_of(solo, told)
    assert found.consensus_type == "cometbft"
    assert [(each.number, each.msp_id, each.port) for each in found.consenters] == [
        (number, msp_id, 20_000 + number) for number, msp_id in enumerate(MEMBERS, start=1)
    ]
    assert set(found.orderer_organisations) == set(MEMBERS)
    change = next(each for each in told.value["changes"] if each["path"].endswith("/type"))
    assert (change["before"], change["after"]) == ("solo", "cometbft")
    assert "consenters none of them may be down" not in told.notes
    lacking = [line for each in told.value["demands"] for line in each["lacking"]]
    assert any("OperatorMSP" in line for line in lacking), "the operator's admin decides it alone"


def test_half_a_move_is_not_proposed(solo: NetworkFolder, run: Run) -> None:
    """Neither the engine without consenters, nor another engine."""
    told = run(solo, "--ordering", "cometbft", refused=True)
    assert "has no consenter" in told.refusal
    comet = ("--ordering", "cometbft", *consenter_words(solo)[:6])
    told = run(solo, *comet)
    assert "with 3 consenters none of them may be down or lie: have 4 at least" in told.notes


def test_channel_of_cometbft_is_not_moved_back(comet: NetworkFolder, run: Run) -> None:
    """It is said before anybody is asked to sign."""
    told = run(comet, "--ordering", "solo", refused=True)
    assert "from cometbft to solo, transition not supported" in told.refusal


def test_next_key_is_shown_as_the_key_that_it_is(comet: NetworkFolder, run: Run) -> None:
    """Members compare the key by another way than the file came."""
    owner = org(comet, "BankMSP")
    place = rotate_consensus(owner, "bank")
    told = run(comet, "--consenter-key", f"BankMSP={place}")
    assert paths(told) == ["/Channel/Orderer/Orderers/consenter_mapping/1/identity"]
    next_key = consensus_keys(owner.node_folder("bank")).voting[1].public_key().public_bytes_raw()
    assert next_key.hex() in told.value["changes"][0]["after"]
    assert consensus_key(comes_of(comet, told).consenters[0]) == next_key
    (demand,) = told.value["demands"]
    assert demand["policy"] == "/Channel/Orderer/Admins"


def test_member_joins_with_its_consenter_by_one_proposal(
    comet: NetworkFolder, run: Run, tmp_path: Path
) -> None:
    """Member, address of its node and consenter; only its public files are needed."""
    made = create_organisation(tmp_path / "naya", "NayaMSP")
    made.add_node("naya1")
    keys = add_consensus(made, "naya1")
    given = tmp_path / "given"
    given.mkdir()
    for name in ("cert.pem", "p2p-cert.pem"):
        (given / name).write_bytes((keys / name).read_bytes())
    joins = (
        *("--add-organisation", f"NayaMSP={made.msp_folder}"),
        *("--consenter", f"NayaMSP=naya.example:7052={given}"),
    )
    told = run(comet, *joins, refused=True)
    assert "does not know where the node of NayaMSP is" in told.refusal
    told = run(comet, *joins, "--anchor", "NayaMSP=naya.example:7051")
    found = comes_of(comet, told)
    assert found.consenters[-1].msp_id == "NayaMSP"
    assert found.consenters[-1].number == 5
    assert ("NayaMSP", "naya.example", 7051) in found.orderer_endpoints


def test_consenter_goes_with_its_member_and_without(comet: NetworkFolder, run: Run) -> None:
    """Expelled, nothing of it is left; a member that stops ordering stays a member."""
    found = comes_of(comet, run(comet, "--remove-organisation", "MakerMSP"))
    assert "MakerMSP" not in found.organisations
    assert [each.number for each in found.consenters] == [1, 2, 4]
    told = run(comet, "--remove-consenter", "MakerMSP")
    found = comes_of(comet, told)
    assert "MakerMSP" in found.organisations
    assert "MakerMSP" not in found.orderer_organisations
    assert "with 3 consenters none of them may be down or lie" in told.notes


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        (("--remove-consenter", "BankMSP", "--remove-consenter", "PtaMSP"), "2 consenters would"),
        (("--remove-consenter", "NayaMSP"), "'NayaMSP' has no consenter .*BankMSP, MakerMSP"),
        (("--consenter", "BankMSP"), "not of the form NAME=VALUE"),
        (("--consenter", "BankMSP=localhost:7052"), "lacks an address or a folder"),
        (("--consenter-address", "BankMSP=localhost"), "write HOST:PORT"),
        (("--consenter-address", "BankMSP=a,b:1"), "neither a name nor an address"),
        (("--consenter-key", "BankMSP=/dev/null"), "consensus certificate .* cannot be read"),
    ],
)
def test_wishes_that_cannot_be_are_refused(comet, run, wishes, words) -> None:
    """With what is wrong, and no file."""
    told = run(comet, *wishes, refused=True)
    assert re.search(words, told.refusal), told.refusal


def test_second_consenter_of_a_member_is_refused(comet: NetworkFolder, run: Run) -> None:
    """It is told what to do instead."""
    place = org(comet, "BankMSP").node_folder("bank")
    told = run(comet, "--consenter", f"BankMSP=localhost:1={place}", refused=True)
    assert "a member has one at most: give it another key with --consenter-key" in told.refusal


def test_only_consenter_cannot_be_proposed_away(run: Run, tmp_path: Path) -> None:
    """Nor its member."""
    wanted = USUAL_MEMBERS.model_copy(update={"ordering": "cometbft", "orderers": ("PtaMSP",)})
    network = create_network(tmp_path / "net", wanted, base_port=0)
    assert [each.consensus != "" for each in network.content.members] == [False] * 3 + [True]
    for wish in ("--remove-consenter", "--remove-organisation"):
        told = run(network, wish, "PtaMSP", refused=True)
        assert "PtaMSP has the only consenter" in told.refusal


def test_configuration_shows_its_consenters(comet: NetworkFolder) -> None:
    """By number, member, address and key, for people and for programs."""
    value = describe_block(load_genesis(genesis(comet)))
    lines = [line for line in configuration_lines(value) if line.startswith("consenter ")]
    assert len(lines) == len(value["consenters"]) == 4
    placed = {each.msp_id: each for each in comet.content.members}
    for line, each in zip(lines, value["consenters"], strict=True):
        assert each["address"] == placed[each["msp_id"]].consensus
        assert {each["msp_id"], each["address"] + ",", each["consensus_key"]} <= set(line.split())
