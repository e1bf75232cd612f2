"""`qist channel propose|sign|show` on files, without a node: what they write and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2, configtx_pb2

import qist
from clients.cli import channel
from clients.configuration.update_file import UpdateFile
from ledger.blocks.block import METADATA_ENTRIES, Block, BlockHeader, compute_data_hash
from network.certificates import create_organisation
from network.configuration import ChannelConfiguration, apply_update, update_envelope
from network.msp import SigningIdentity
from nodes.cli.members_description import USUAL_MEMBERS
from nodes.cli.network_folder import create_network

Run = Callable[..., Any]


@dataclass(frozen=True)
class Place:
    """A network's folder, its genesis block, and a folder for files."""

    network: Path
    files: Path

    @property
    def genesis(self) -> Path:
        return self.network / "channel/genesis.block"

    def who(self, msp_id: str, user: str = "admin") -> list[str]:
        return ["--profile", str(self.network / msp_id / "connection.json"), "--user", user]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_network(tmp_path_factory.mktemp("made") / "net", USUAL_MEMBERS, base_port=0).path


@pytest.fixture
def place(network: Path, tmp_path: Path) -> Place:
    return Place(network, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; returns its JSON, or the message of its error if it is to be refused."""

    def go(*words: str | Path, refused: bool = False) -> Any:
        code = qist.main(["channel", *map(str, words), "--json"])
        said = capsys.readouterr()
        if refused:
            assert code == 1, said
            return json.loads(said.err.splitlines()[-1])["error"]["message"]
        assert code == 0, said.err
        return json.loads(said.out)

    return go


def propose(run: Run, place: Place, *wishes: str | Path, name: str = "one.update") -> Path:
    out = place.files / name
    run("propose", *wishes, "--out", out, "--block", place.genesis)
    return out


def next_block(place: Place, update: Path) -> Path:
    """The block of the configuration that comes of a signed update."""
    before = Block.decode(place.genesis.read_bytes())
    current = ChannelConfiguration.from_block(before)
    found = UpdateFile.load(update)
    sender = SigningIdentity.load(place.network / "BankMSP/org/users/admin/msp", "BankMSP")
    sent = update_envelope(
        found.channel_id, found.config_update, found.signatures, sender, datetime.now(UTC)
    )
    config, _following = apply_update(current, sent)
    header = common_pb2.Header(
        channel_header=common_pb2.ChannelHeader(
            type=common_pb2.CONFIG, channel_id=current.channel_id
        ).SerializeToString()
    )
    payload = common_pb2.Payload(header=header, data=config.SerializeToString())
    raw = common_pb2.Envelope(payload=payload.SerializeToString()).SerializeToString()
    head = BlockHeader(1, before.header.hash(), compute_data_hash([raw]))
    path = place.files / "next.block"
    path.write_bytes(Block(head, (raw,), (b"",) * METADATA_ENTRIES).encode())
    return path


def test_proposal_tells_what_changes_and_who_must_sign(place: Place, run: Run) -> None:
    """In words for the reader, the same in JSON for programs, and the file says it again."""
    out = place.files / "one.update"
    told = run("propose", "--set-batch", "timeout=250ms", "--out", out, "--block", place.genesis)
    assert told["changes"] == [
        {"path": "/Channel/Orderer/BatchTimeout/timeout", "before": "1000ms", "after": "250ms"}
    ]
    assert told["demands"][0]["policy"] == "/Channel/Orderer/Admins"
    assert "OperatorMSP" in told["demands"][0]["lacking"][0]
    assert not told["complete"]
    assert run("show", out, "--block", place.genesis) == told


def test_signatures_are_added_until_they_suffice(place: Place, run: Run) -> None:
    """Each signature stands in the file; the update's bytes stay as they were."""
    file = propose(run, place, "--acl", "event/Block=/Channel/Application/Admins")
    before = UpdateFile.load(file).config_update
    complete = []
    for msp_id in ("BankMSP", "MakerMSP", "PtaMSP"):
        told = run("sign", file, "--yes", "--block", place.genesis, *place.who(msp_id))
        complete.append(told["complete"])
        assert told["signatures"][-1] == {"msp_id": msp_id, "name": "admin", "fault": ""}
    assert complete == [False, False, True]
    assert UpdateFile.load(file).config_update == before


def test_new_member_is_proposed_from_its_folder_or_its_msp(place: Place, run: Run) -> None:
    """The folder of an organisation says whose it is; a bare MSP folder does not."""
    naya = create_organisation(place.files / "naya", "NayaMSP")
    for number, words in enumerate((naya.folder, f"NayaMSP={naya.msp_folder}")):
        out = place.files / f"{number}.update"
        told = run("propose", "--add-organisation", words, "--anchor", "NayaMSP=naya.example:7051",
                   "--out", out, "--block", place.genesis)  # fmt: skip
        paths = [each["path"] for each in told["changes"]]
        assert "/Channel/Application/NayaMSP/AnchorPeers/anchor_peers" in paths
    refused = run("propose", "--add-organisation", naya.msp_folder, "--out", place.files / "x",
                  "--block", place.genesis, refused=True)  # fmt: skip
    assert "does not say which member it is" in refused


def test_edited_json_is_proposed(place: Place, run: Run, capsys) -> None:
    """What is printed for editing comes back as just the change that was made."""
    assert qist.main(["channel", "show", str(place.genesis), "--edit"]) == 0
    edited = place.files / "edited.json"
    edited.write_text(
        capsys.readouterr().out.replace('"max_message_count": 500', '"max_message_count": 7')
    )
    told = run("propose", "--from", edited, "--out", place.files / "e", "--block", place.genesis)
    assert [each["after"] for each in told["changes"]] == ["7"]


def test_files_of_fabrics_tools_are_read(place: Place, run: Run) -> None:
    """A ConfigUpdateEnvelope and a bare ConfigUpdate say the same as our file."""
    found = UpdateFile.load(propose(run, place, "--set-batch", "max_message_count=9"))
    envelope = configtx_pb2.ConfigUpdateEnvelope(config_update=found.config_update)
    for number, raw in enumerate((envelope.SerializeToString(), found.config_update)):
        other = place.files / f"{number}.pb"
        other.write_bytes(raw)
        told = run("sign", other, "--yes", "--block", place.genesis, *place.who("OperatorMSP"))
        assert told["complete"]
        assert UpdateFile.load(other).config_update == found.config_update


def test_signature_is_asked_for_or_insisted_on(place: Place, run: Run) -> None:
    """Where nobody can be asked, nothing is signed without --yes."""
    file = propose(run, place, "--set-batch", "max_message_count=9")
    before = file.read_bytes()
    refused = run("sign", file, "--block", place.genesis, *place.who("OperatorMSP"), refused=True)
    assert "--yes" in refused
    assert file.read_bytes() == before


def test_second_signature_of_one_identity_is_refused(place: Place, run: Run) -> None:
    """It would look like two who agree."""
    file = propose(run, place, "--acl", "event/Block=/Channel/Application/Admins")
    words = ["sign", file, "--yes", "--block", place.genesis, *place.who("BankMSP")]
    run(*words)
    assert "has signed this update already" in run(*words, refused=True)


def test_update_of_an_older_configuration_is_refused(place: Place, run: Run) -> None:
    """Somebody was quicker: the message says to propose it anew."""
    first = propose(run, place, "--set-batch", "max_message_count=9")
    second = propose(run, place, "--set-batch", "max_message_count=8", name="two.update")
    run("sign", first, "--yes", "--block", place.genesis, *place.who("OperatorMSP"))
    newer = next_block(place, first)
    assert run("show", newer)["batch"]["max_message_count"] == 9
    refused = run(
        "sign", second, "--yes", "--block", newer, *place.who("OperatorMSP"), refused=True
    )
    assert "does not fit configuration 1 of qist" in refused
    assert "anew" in refused


def test_update_of_another_channel_is_refused(place: Place, run: Run) -> None:
    """It names both channels."""
    file = propose(run, place, "--set-batch", "max_message_count=9")
    found = UpdateFile.load(file)
    update = configtx_pb2.ConfigUpdate.FromString(found.config_update)
    update.channel_id = "elsewhere"
    UpdateFile("elsewhere", update.SerializeToString()).save(file, new=False)
    refused = run("show", file, "--block", place.genesis, refused=True)
    assert "is an update of channel elsewhere" in refused


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("genesis", "it is block 0"),
        ("pem", "in PEM"),
        ("json", "--from"),
        ("empty", "it is empty"),
        ("noise", "qist channel propose"),
    ],
)
def test_wrong_kind_of_file_is_named(place: Place, run: Run, content: str, words: str) -> None:
    """The message says what the file is, and which command it belongs to."""
    file = place.files / "wrong"
    made = {
        "genesis": place.genesis.read_bytes(),
        "pem": (place.network / "BankMSP/org/ca/ca-cert.pem").read_bytes(),
        "json": b'{"channel_id": "qist"}',
        "empty": b"",
        "noise": b"\x07nonsense\xff" * 9,
    }
    file.write_bytes(made[content])
    refused = run(
        "sign", file, "--yes", "--block", place.genesis, *place.who("BankMSP"), refused=True
    )
    assert "is no configuration update" in refused
    assert words in refused


def test_update_in_the_place_of_a_block_is_named(place: Place, run: Run) -> None:
    """`--block` wants a block."""
    file = propose(run, place, "--set-batch", "max_message_count=9")
    refused = run(
        "propose", "--acl", "a=b", "--out", place.files / "x", "--block", file, refused=True
    )
    assert "is no block: it is a configuration update" in refused


def test_signer_whom_the_channel_does_not_take_is_refused(place: Place, run: Run) -> None:
    """Of no member, or of a member's other authority; nothing is added to the file."""
    file = propose(run, place, "--acl", "event/Block=/Channel/Application/Admins")
    strangers = create_network(place.files / "net", USUAL_MEMBERS, base_port=0).path
    profile = strangers / "BankMSP/connection.json"
    refused = run("sign", file, "--yes", "--block", place.genesis, "--profile", profile,
                  "--user", "admin", refused=True)  # fmt: skip
    assert "channel qist does not take the identity of admin of BankMSP" in refused
    text = profile.read_text().replace("BankMSP", "StrangeMSP")
    profile.write_text(text)
    refused = run("sign", file, "--yes", "--block", place.genesis, "--profile", profile,
                  "--user", "admin", refused=True)  # fmt: skip
    assert "of StrangeMSP" in refused
    assert UpdateFile.load(file).signatures == ()


def test_signer_whose_certificate_has_expired_is_refused(
    place: Place, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says when, and that it can be renewed."""
    later = datetime.now(UTC) + timedelta(days=900)
    monkeypatch.setattr(channel, "_now", lambda _caller: later)
    file = propose(run, place, "--acl", "event/Block=/Channel/Application/Admins")
    words = ["sign", file, "--yes", "--block", place.genesis, *place.who("BankMSP")]
    refused = run(*words, refused=True)
    assert "has expired on" in refused
    assert "qist org renew" in refused


def test_signature_that_changes_nothing_is_noted(place: Place, run: Run, capsys) -> None:
    """A client's signature is added, and its owner learns that it does not help."""
    file = propose(run, place, "--acl", "event/Block=/Channel/Application/Admins")
    words = ["channel", "sign", str(file), "--yes", "--block", str(place.genesis)]
    assert qist.main([*words, *place.who("BankMSP", "lending")]) == 0
    assert "satisfies none of the policies" in capsys.readouterr().err


def test_proposal_that_shuts_its_own_user_out_says_so(place: Place, run: Run, capsys) -> None:
    """An admin who leaves out the own authority could not be let in again by anybody else."""
    other = create_organisation(place.files / "other", "BankMSP").msp_folder
    words = ["channel", "propose", "--out", str(place.files / "x"), "--block", str(place.genesis)]
    given = [*words, "--replace-ca", f"BankMSP={other}", *place.who("BankMSP")]
    assert qist.main(given) == 0
    assert "does not take admin of BankMSP any more" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ([], "say what is to change"),
        (["--set-batch", "5"], "not of the form NAME=VALUE"),
        (["--set-batch", "max_message_count=500"], "no differences"),
        (["--remove-organisation", "NoMSP"], "no member of the channel"),
        (["--remove-organisation", "OperatorMSP"], "the only member that orders"),
        (["--anchor", "BankMSP=here"], "HOST:PORT"),
        (["--crl", "BankMSP=nowhere"], "cannot be read"),
        (["--replace-ca", "BankMSP=nowhere"], "no certificate"),
        (["--policy", "/Channel/Application/Admins=most of us"], "policy"),
        (["--acl", "event/Block=/Channel/Nowhere"], "nobody could use event/Block"),
        (["--acl", "a/resource=/Channel/Readers"], "is no resource of a channel"),
    ],
)
def test_wish_that_cannot_be_fulfilled_is_refused(
    place: Place, run: Run, wishes: list[str], words: str
) -> None:
    """Nothing is written, and the message says why."""
    out = place.files / "x.update"
    refused = run("propose", *wishes, "--out", out, "--block", place.genesis, refused=True)
    assert words in refused
    assert not out.exists()


def test_file_that_exists_is_not_overwritten(place: Place, run: Run) -> None:
    """An update may bear signatures that took days to gather."""
    propose(run, place, "--set-batch", "max_message_count=9")
    refused = run("propose", "--set-batch", "max_message_count=8", "--out",
                  place.files / "one.update", "--block", place.genesis, refused=True)  # fmt: skip
    assert "never overwritten" in refused


def test_node_is_needed_where_no_block_is_given(place: Place, run: Run) -> None:
    """The message names both ways."""
    refused = run("show", refused=True)
    assert "--profile" in refused
    assert "--block" in refused
