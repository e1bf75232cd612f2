"""`qist node renew`, `node profile`, and `node join` with a newer configuration, on folders."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2, configtx_pb2

import qist
from clients.gateway.profile import load_profile
from ledger.blocks.block import METADATA_ENTRIES, Block, BlockHeader, compute_data_hash
from ledger.errors import Refusal
from network.certificates import Organisation, create_organisation, rotate_authorities
from network.configuration import ChannelConfiguration, OrganisationSpec, edits
from network.msp import SigningIdentity
from network.tls import TlsIdentity
from nodes.cli.members_description import USUAL_MEMBERS
from nodes.cli.network_folder import NetworkFolder, create_network
from nodes.cli.node_folder import NodePorts, init_node, issue_node, join_channel, load_genesis
from nodes.cli.node_identity import take_certificates, write_profile
from nodes.configuration import Endpoint
from nodes.opening import CONFIGURATION_FILE, load_joined_configuration

PORTS = NodePorts(client=Endpoint(listen="127.0.0.1:9050"), node=Endpoint(listen="127.0.0.1:9051"))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> NetworkFolder:
    return create_network(tmp_path_factory.mktemp("made") / "net", USUAL_MEMBERS, base_port=0)


@pytest.fixture
def naya(tmp_path: Path) -> Organisation:
    made = create_organisation(tmp_path / "naya", "NayaMSP")
    init_node(
        tmp_path / "node",
        msp_id="NayaMSP",
        name="naya1",
        channel_id="qist",
        ports=PORTS,
        identity=issue_node(made, "naya1", PORTS),
    )
    return made


@pytest.fixture
def node(tmp_path: Path, naya: Organisation) -> Path:
    return tmp_path / "node"


def content(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in _files(folder)}


def _files(folder: Path) -> list[Path]:
    found = [*(folder / "msp").rglob("*"), *(folder / "tls").rglob("*")]
    return [each for each in found if each.is_file()]


def with_naya(network: NetworkFolder, naya: Organisation) -> Block:
    """A block of a later configuration that names the new member; it is not judged here."""
    genesis = load_genesis(network.path / "channel/genesis.block")
    config = configtx_pb2.Config()
    config.CopyFrom(ChannelConfiguration.from_block(genesis).config)
    config.sequence = 1
    edits.add_member(config, OrganisationSpec("NayaMSP", naya.msp_config()))
    return block_of(config, "qist")


def block_of(config: object, channel_id: str) -> Block:
    header = common_pb2.ChannelHeader(type=common_pb2.CONFIG, channel_id=channel_id)
    payload = common_pb2.Payload(
        header=common_pb2.Header(channel_header=header.SerializeToString()),
        data=configtx_pb2.ConfigEnvelope(config=config).SerializeToString(),
    )
    raw = common_pb2.Envelope(payload=payload.SerializeToString()).SerializeToString()
    head = BlockHeader(5, b"\x01" * 32, compute_data_hash([raw]))
    return Block(head, (raw,), (b"",) * METADATA_ENTRIES)


def test_node_gets_new_certificates_of_new_authorities(naya: Organisation, node: Path) -> None:
    """All files are those that were issued; keys are for the owner only."""
    rotate_authorities(naya.folder).renew("naya1")
    given = naya.node_folder("naya1")
    assert content(node) != content(given)
    signer = take_certificates(node, given)
    assert content(node) == content(given)
    assert SigningIdentity.load(node / "msp", "NayaMSP").serialized == signer.serialized
    TlsIdentity.load(node / "tls")
    for name in ("msp/keystore/key.pem", "tls/server.key"):
        assert stat.S_IMODE((node / name).stat().st_mode) == 0o600


def test_node_takes_the_certificates_of_a_new_name(naya: Organisation, node: Path) -> None:
    """After a revocation the key is another one, too; what is gone is gone."""
    take_certificates(node, naya.add_node("naya2", hosts=PORTS.hosts))
    assert SigningIdentity.load(node / "msp", "NayaMSP").common_name == "naya2"


def test_certificates_that_do_not_fit_leave_the_node_as_it_is(
    naya: Organisation, node: Path, tmp_path: Path
) -> None:
    """Of another member, of a user, for another host, or incomplete."""
    before = content(node)
    other = create_organisation(tmp_path / "other", "OtherMSP").add_node("x", hosts=PORTS.hosts)
    with pytest.raises(Refusal, match="an authority of OtherMSP, and those"):
        take_certificates(node, other)
    user = naya.add_user("clerk")
    (user / "tls").mkdir()
    for name in ("server.crt", "server.key", "ca.crt"):
        (user / "tls" / name).write_bytes((node / "tls" / name).read_bytes())
    with pytest.raises(Refusal, match="that of a user"):
        take_certificates(node, user)
    elsewhere = naya.add_node("naya3", hosts=("elsewhere.example",))
    with pytest.raises(Refusal, match=r"does not name 127\.0\.0\.1"):
        take_certificates(node, elsewhere)
    (elsewhere / "tls" / "server.key").unlink()
    with pytest.raises(Refusal, match=r"server\.key"):
        take_certificates(node, elsewhere)
    assert content(node) == before


def test_profile_leads_the_members_users_to_its_node(
    naya: Organisation, node: Path, tmp_path: Path
) -> None:
    """Our reader, and so every Fabric client, finds address, trust and users in it."""
    naya.add_user("lending")
    out = tmp_path / "deep" / "connection.json"
    out.parent.mkdir()
    assert write_profile(node, naya, out, replace=False) == ["lending"]
    profile = load_profile(out)
    assert profile.endpoints()[0].address == "127.0.0.1:9050"
    assert profile.user("lending").msp_id == "NayaMSP"
    with pytest.raises(Refusal, match="never overwritten"):
        write_profile(node, naya, out, replace=False)


def test_profile_is_brought_up_to_date_and_keeps_other_members(network: NetworkFolder) -> None:
    """After a rotation it trusts both TLS authorities; the others' nodes stay in it."""
    place = network.member_folder("BankMSP")
    bank = rotate_authorities(place / "org")
    bank.add_user("late")
    users = write_profile(place / "node", bank, place / "connection.json", replace=True)
    assert "late" in users
    profile = load_profile(place / "connection.json")
    assert profile.endpoints()[0].tls_ca_pem == bank.tls_roots
    assert profile.endpoints()[0].tls_ca_pem.count(b"BEGIN CERTIFICATE") == 2
    assert profile.endpoints("PtaMSP")
    assert profile.user("admin").msp_id == "BankMSP"


def test_profile_of_two_members_is_refused(network: NetworkFolder, naya: Organisation) -> None:
    """Node and organisation must be one member's, and the file a profile."""
    out = naya.folder / "x.json"
    with pytest.raises(Refusal, match="give both of one member"):
        write_profile(network.node_folder("BankMSP"), naya, out, replace=False)
    node = naya.folder.parent / "node"
    for text in ("{", json.dumps({"peers": {}}), "[]"):
        out.write_text(text)
        with pytest.raises(Refusal, match="is no connection profile"):
            write_profile(node, naya, out, replace=True)


def test_later_member_joins_by_the_newest_configuration(
    network: NetworkFolder, naya: Organisation, node: Path
) -> None:
    """The genesis block does not know it; both blocks are kept."""
    genesis = load_genesis(network.path / "channel/genesis.block")
    with pytest.raises(Refusal, match="--configuration"):
        join_channel(node, genesis)
    assert not (node / "genesis.block").exists()
    newest = with_naya(network, naya)
    join_channel(node, genesis, newest)
    assert load_genesis(node / "genesis.block").header == genesis.header
    kept = load_joined_configuration(node / CONFIGURATION_FILE, "qist")
    assert kept is not None
    assert "NayaMSP" in kept.organisations
    join_channel(node, genesis, newest)


def test_configuration_that_does_not_fit_is_refused(
    network: NetworkFolder, naya: Organisation, node: Path
) -> None:
    """Of another channel, no configuration, or one that still does not name the member."""
    genesis = load_genesis(network.path / "channel/genesis.block")
    config = ChannelConfiguration.from_block(with_naya(network, naya)).config
    with pytest.raises(Refusal, match="is of channel other"):
        join_channel(node, genesis, block_of(config, "other"))
    with pytest.raises(Refusal, match="NayaMSP is no member"):
        join_channel(node, genesis, genesis)
    assert not (node / CONFIGURATION_FILE).exists()
    (node / CONFIGURATION_FILE).write_bytes(b"nonsense")
    with pytest.raises(Refusal, match="is no configuration block"):
        load_joined_configuration(node / CONFIGURATION_FILE, "qist")
    (node / CONFIGURATION_FILE).write_bytes(block_of(config, "other").encode())
    with pytest.raises(Refusal, match="is of channel other"):
        load_joined_configuration(node / CONFIGURATION_FILE, "qist")


def test_rotation_by_commands_ends_with_new_certificates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """rotate, renew --all, retire; revoking one certificate by its file; show tells of it all."""

    def run(*words: str) -> Any:
        assert qist.main(["org", *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    folder = tmp_path / "org"
    run("create", "BankMSP", "--dir", str(folder))
    for name in ("boss", "clerk"):
        run("add-user", name, "--dir", str(folder))
    run("revoke", "clerk", "--dir", str(folder))
    assert run("rotate", "--dir", str(folder))["renew"] == ["boss"]
    shown = run("show", str(folder))
    assert [each["of"] for each in shown["authorities"]] == [
        "identities",
        "identities",
        "tls",
        "tls",
    ]
    assert qist.main(["org", "retire", "--dir", str(folder)]) == 1
    assert "certificates of boss would end" in capsys.readouterr().err
    assert set(run("renew", "--all", "--dir", str(folder))["renewed"]) == {"boss"}
    run("retire", "--dir", str(folder))
    shown = run("show", str(folder))
    assert [each["name"] for each in shown["authorities"]] == ["ca2.BankMSP", "tlsca2.BankMSP"]
    lost = folder / "users/boss/msp/signcerts/cert.pem"
    run("revoke", str(lost), "--dir", str(folder))
    states = {each["name"]: each["state"] for each in run("show", str(folder))["certificates"]}
    assert states["boss"] == "revoked"
    assert qist.main(["org", "renew", "--dir", str(folder)]) == 1
    assert "--all" in capsys.readouterr().err
