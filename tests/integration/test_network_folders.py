"""Folders of organisations, nodes and whole networks as the commands make them on disk."""

from __future__ import annotations

import re
import shutil
import socket
import stat
import tomllib
from pathlib import Path

import pytest

import qist
from clients.files.keyrings import load_keyrings
from clients.gateway.profile import load_profile
from ledger.errors import Refusal
from network.configuration import ChannelConfiguration
from nodes.cli import network_folder
from nodes.cli.channels import create_channel
from nodes.cli.members_description import USUAL_MEMBERS, MembersDescription, NetworkMember
from nodes.cli.network_folder import NetworkFolder, create_network
from nodes.cli.node_folder import load_genesis
from nodes.configuration import load_configuration
from tests.support import processes

USERS = {"admin", "lending", "enforcement", "executor", "governance", "auditor"}
TWO = MembersDescription(
    members=(
        NetworkMember(msp_id="BankMSP", member_class="bank", group="bank"),
        NetworkMember(msp_id="PtaMSP", member_class="regulator", group="pta"),
    )
)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> NetworkFolder:
    folder = tmp_path_factory.mktemp("made") / "net"
    return create_network(folder, USUAL_MEMBERS, base_port=0)


def test_network_has_every_file_of_every_member(network: NetworkFolder) -> None:
    """The layout is what the documentation and other programs rely on."""
    assert (network.path / "channel" / "genesis.block").is_file()
    for member in ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP"):
        own = network.path / member
        assert (own / "connection.json").is_file()
        assert {each.name for each in (own / "org" / "users").iterdir()} == USERS
        for part in ("node.toml", "genesis.block", "msp/keystore/key.pem", "tls/server.key"):
            assert (own / "node" / part).is_file(), part
        assert (own / "node" / "contracts").is_dir()
        assert load_configuration(own / "node").msp_id == member


def test_channel_made_again_has_the_configuration_in_another_block(
    network: NetworkFolder, tmp_path: Path
) -> None:
    """Even at the same time: what was signed on the one means nothing on the other."""
    description = network.path / "channel" / "channel.toml"
    timed = description.with_name("timed.toml")
    timed.write_text("time = 2026-01-01T00:00:00Z\n" + description.read_text())
    one, other = (create_channel(timed, tmp_path / name) for name in ("one", "other"))
    configurations = [ChannelConfiguration.from_block(each).config for each in (one, other)]
    assert configurations[0] == configurations[1]
    assert one.header.hash() != other.header.hash()


def test_network_keeps_every_secret_to_its_owner(network: NetworkFolder) -> None:
    """Private keys and pseudonym keys have the mode 0600."""
    secrets = [
        each
        for pattern in ("key.pem", "ca-key.pem", "server.key", "pseudonym-keys.toml")
        for each in network.path.rglob(pattern)
    ]
    assert len(secrets) == 4 * (6 + 2 + 2 + 2 + 1)
    readable = [each for each in secrets if stat.S_IMODE(each.stat().st_mode) != 0o600]
    assert not readable


def test_network_profiles_open_with_our_own_reader(network: NetworkFolder) -> None:
    """Every member's profile leads to its node and gives the keys of its users."""
    for member in network.content.members:
        profile = load_profile(network.path / member.msp_id / "connection.json")
        assert profile.msp_id == member.msp_id
        assert profile.endpoints()[0].address == member.client
        assert set(profile.user_names()) == USERS
        identity = profile.user("lending")
        assert identity.msp_id == member.msp_id


def test_network_pseudonym_keys_open_with_the_importers_reader(network: NetworkFolder) -> None:
    """What is made here is what imports read."""
    rings = load_keyrings(network.path / "PtaMSP" / "pseudonym-keys.toml")
    assert set(rings.lenders) == {"BankMSP", "OperatorMSP"}
    bank = load_keyrings(network.path / "BankMSP" / "pseudonym-keys.toml")
    assert bank.device == rings.device
    assert bank.lender("BankMSP") == rings.lender("BankMSP")


def test_network_genesis_names_every_member_and_the_orderer(network: NetworkFolder) -> None:
    """The channel knows its members' nodes, and one of them orders."""
    channel = ChannelConfiguration.from_block(load_genesis(network.path / "channel/genesis.block"))
    assert not channel.is_rehearsal
    assert set(channel.organisations) == {each.msp_id for each in network.content.members}
    assert channel.orderer_organisations == ("OperatorMSP",)
    for member in network.content.members:
        (anchor,) = channel.organisations[member.msp_id].anchor_peers
        assert f"{anchor[0]}:{anchor[1]}" == member.node


def test_network_files_hold_what_the_formats_say(network: NetworkFolder) -> None:
    """docs/formats.md names every field of the files that are ours."""
    page = Path(qist.__file__).parent / "docs" / "formats.md"
    section = page.read_text("utf-8").split("## 13. The folder of a network")[1]
    described = set(re.findall(r"\w+", section.split("channel/channel.toml")[0]))
    content = tomllib.loads((network.path / "network.toml").read_text("utf-8"))
    held = {*content, *content["members"][0], *content["contracts"][0], "policy"}
    assert held <= described
    keys = tomllib.loads((network.path / "PtaMSP" / "pseudonym-keys.toml").read_text("utf-8"))
    assert set(keys) == {"device", "lender"}
    assert set(keys["device"][0]) == {"id", "secret"}
    assert len(bytes.fromhex(keys["device"][0]["secret"])) == 32


def test_network_ports_are_all_different(network: NetworkFolder) -> None:
    """Two ports a node, none of them twice, none that an outgoing connection may be given."""
    addresses = [each.client for each in network.content.members]
    addresses += [each.node for each in network.content.members]
    ports = {int(each.rpartition(":")[2]) for each in addresses}
    assert len(ports) == 8
    assert max(ports) < 32_768


def test_members_hosts_are_where_their_nodes_listen_and_are_reached(tmp_path: Path) -> None:
    """A network may lie on several addresses; a member that names none is on this machine alone."""
    hosted = [
        member.model_copy(update={"host": host} if host else {})
        for member, host in zip(
            USUAL_MEMBERS.members, ("10.0.0.1", "bank.example", "", ""), strict=True
        )
    ]
    description = USUAL_MEMBERS.model_copy(update={"members": tuple(hosted)})
    made = create_network(tmp_path / "net", description, base_port=0)
    first, second, third, _ = (load_configuration(path) for path in made.node_folders.values())
    assert first.node.listen == first.node.reachable
    assert first.node.listen.startswith("10.0.0.1:")
    assert second.client.listen.startswith("bank.example:")
    assert third.node.listen.startswith("127.0.0.1:")
    assert third.node.reachable.startswith("localhost:")


def test_network_in_a_used_folder_is_refused(network: NetworkFolder) -> None:
    """Nothing that exists is ever overwritten."""
    before = sorted(network.path.rglob("*"))
    with pytest.raises(Refusal, match="exists already"):
        create_network(network.path, TWO, base_port=0)
    assert sorted(network.path.rglob("*")) == before


def test_network_that_cannot_be_finished_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder appears whole or not at all."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(network_folder, "render_key_files", fail)
    with pytest.raises((OSError, Refusal), match="No space"):
        create_network(tmp_path / "net", TWO, base_port=0)
    assert not list(tmp_path.iterdir())


def test_network_with_a_taken_port_is_refused_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other ports are never chosen silently."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = ["network", "create", str(tmp_path / "net"), "--base-port", str(port)]
        assert qist.main(words) == 1
    said = capsys.readouterr().err
    assert f"port {port}" in said
    assert "--base-port" in said
    assert not (tmp_path / "net").exists()


def test_network_beyond_the_last_port_is_refused(tmp_path: Path) -> None:
    """The reason is told, not an overflow."""
    with pytest.raises(Refusal, match="1 to 65535"):
        create_network(tmp_path / "net", TWO, base_port=65530)


def test_rehearsal_begins_at_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The genesis block says that it is one, and when it begins."""
    folder = tmp_path / "net"
    start = ["--rehearsal", "--start", "2026-01-01T09:00:00+05:00", "--base-port", "0"]
    assert qist.main(["network", "create", str(folder), *start]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("REHEARSAL")
    genesis = str(folder / "channel" / "genesis.block")
    assert qist.main(["channel", "show", genesis, "--json"]) == 0
    assert '"rehearsal": true' in capsys.readouterr().out
    text = (folder / "channel" / "channel.toml").read_text("utf-8")
    assert tomllib.loads(text)["time"].isoformat() == "2026-01-01T04:00:00+00:00"


def test_start_without_a_zone_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A date has no meaning without its zone."""
    words = ["network", "create", str(tmp_path / "net"), "--start", "2026-01-01"]
    assert qist.main(words) == 1
    assert "has no zone" in capsys.readouterr().err


@pytest.fixture
def org(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert qist.main(["org", "create", "BankMSP", "--dir", str(tmp_path / "org")]) == 0
    capsys.readouterr()
    return tmp_path / "org"


def init(org: Path, folder: Path, *more: str) -> int:
    return qist.main(["node", "init", str(folder), "--org", str(org), "--name", "n1", *more])


def genesis_of(tmp_path: Path, org: Path, msp_id: str = "BankMSP", channel: str = "qist") -> Path:
    """Make a genesis block of a channel with one member."""
    description = tmp_path / f"{channel}-{msp_id}.toml"
    description.write_text(
        f'channel_id = "{channel}"\norderers = ["{msp_id}"]\n[[members]]\nmsp_id = "{msp_id}"\n'
        f'msp = "{org / "msp"}"\nnodes = ["127.0.0.1:7051"]\n'
    )
    out = description.with_suffix(".block")
    assert qist.main(["channel", "create", str(description), "--out", str(out)]) == 0
    return out


def test_node_init_in_a_used_folder_issues_no_certificate(tmp_path: Path, org: Path) -> None:
    """A refusal leaves no trace, not in the authorities' books either."""
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "notes.txt").write_text("mine")
    assert init(org, tmp_path / "node") == 1
    assert not list((org / "nodes").iterdir())
    assert [each.name for each in (tmp_path / "node").iterdir()] == ["notes.txt"]


def test_node_init_puts_its_addresses_into_the_certificate(tmp_path: Path, org: Path) -> None:
    """A node is reached under the names that its TLS certificate has."""
    from cryptography import x509

    assert init(org, tmp_path / "node", "--node-address", "node.bank.example:7051") == 0
    raw = (tmp_path / "node" / "tls" / "server.crt").read_bytes()
    names = x509.load_pem_x509_certificate(raw).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert "node.bank.example" in names.value.get_values_for_type(x509.DNSName)
    assert load_configuration(tmp_path / "node").node.reachable == "node.bank.example:7051"


def test_node_is_made_with_certificates_that_were_issued_elsewhere(
    tmp_path: Path, org: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The machine of the node needs no authority; another member's identity does not pass."""
    assert qist.main(["org", "add-node", "n1", "--dir", str(org)]) == 0
    carried = tmp_path / "carried"
    shutil.copytree(org / "nodes" / "n1", carried)
    words = ["--identity", str(carried), "--name", "n1"]
    node = tmp_path / "node"
    assert qist.main(["node", "init", str(node), *words]) == 1
    assert "--msp-id" in capsys.readouterr().err
    assert not node.exists()
    assert qist.main(["node", "init", str(node), *words, "--msp-id", "BankMSP"]) == 0
    block = str(genesis_of(tmp_path, org))
    assert qist.main(["node", "join", str(node), "--genesis", block]) == 0
    (carried / "tls" / "server.crt").unlink()
    words += ["--msp-id", "BankMSP"]
    assert qist.main(["node", "init", str(tmp_path / "two"), *words]) == 1
    assert "has no tls/server.crt" in capsys.readouterr().err


def test_node_with_the_certificate_of_a_user_does_not_join(
    tmp_path: Path, org: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only an identity of the unit peer or orderer may endorse and sign blocks."""
    node = tmp_path / "node"
    assert init(org, node) == 0
    assert qist.main(["org", "add-user", "lena", "--role", "lending", "--dir", str(org)]) == 0
    shutil.rmtree(node / "msp")
    shutil.copytree(org / "users" / "lena" / "msp", node / "msp")
    block = str(genesis_of(tmp_path, org))
    capsys.readouterr()
    assert qist.main(["node", "join", str(node), "--genesis", block]) == 1
    assert "that of a user" in capsys.readouterr().err


def test_node_joins_the_channel_of_its_member(
    tmp_path: Path, org: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Joining twice with the same block is harmless, with another one it is refused."""
    node = tmp_path / "node"
    assert init(org, node) == 0
    first = genesis_of(tmp_path, org)
    for _ in range(2):
        assert qist.main(["node", "join", str(node), "--genesis", str(first)]) == 0
    (tmp_path / "again").mkdir()
    second = genesis_of(tmp_path / "again", org)
    capsys.readouterr()
    assert qist.main(["node", "join", str(node), "--genesis", str(second)]) == 1
    assert "another genesis block" in capsys.readouterr().err
    assert (node / "genesis.block").read_bytes() == first.read_bytes()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("channel", "is of channel other"),
        ("stranger", "BankMSP is no member of channel qist"),
        ("authority", "does not take the identity"),
        ("garbage", "is no block"),
        ("missing", "does not exist"),
    ],
)
def test_node_refuses_a_block_that_is_not_for_it(
    tmp_path: Path, org: Path, case: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Channel, member and authorities are checked before anything is written."""
    node = tmp_path / "node"
    assert init(org, node) == 0
    block = tmp_path / "some.block"
    if case == "channel":
        block = genesis_of(tmp_path, org, channel="other")
    elif case in ("stranger", "authority"):
        msp_id = "OtherMSP" if case == "stranger" else "BankMSP"
        assert qist.main(["org", "create", msp_id, "--dir", str(tmp_path / "two")]) == 0
        block = genesis_of(tmp_path, tmp_path / "two", msp_id)
    elif case == "garbage":
        block.write_bytes(b"\x00\x01garbage")
    capsys.readouterr()
    assert qist.main(["node", "join", str(node), "--genesis", str(block)]) == 1
    assert words in capsys.readouterr().err
    assert not (node / "genesis.block").exists()


def test_node_that_has_joined_nothing_is_not_started(
    tmp_path: Path, org: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says which step is missing."""
    assert init(org, tmp_path / "node") == 0
    capsys.readouterr()
    assert qist.main(["node", "start", str(tmp_path / "node"), "--detach"]) == 1
    assert "qist node join" in capsys.readouterr().err


def test_genesis_file_is_never_overwritten(tmp_path: Path, org: Path) -> None:
    """A second block of the same description is another channel."""
    block = genesis_of(tmp_path, org)
    before = block.read_bytes()
    words = ["channel", "create", str(tmp_path / "qist-BankMSP.toml"), "--out", str(block)]
    assert qist.main(words) == 1
    assert block.read_bytes() == before


def test_org_show_tells_who_has_what_and_until_when(
    org: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Role, unit and revocation of every certificate are told."""
    import json

    folder = ["--dir", str(org)]
    assert qist.main(["org", "add-user", "lena", "--role", "lending", *folder]) == 0
    assert qist.main(["org", "add-user", "boss", "--admin", *folder]) == 0
    assert qist.main(["org", "add-node", "n9", "--host", "n9.example", *folder]) == 0
    assert qist.main(["org", "revoke", "lena", *folder]) == 0
    capsys.readouterr()
    assert qist.main(["org", "show", str(org), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["certificates"]
    told = {each["name"]: (each["unit"], each["role"], each["state"]) for each in shown}
    assert told == {
        "n9": ("peer", "", "valid"),
        "boss": ("admin", "", "valid"),
        "lena": ("client", "lending", "revoked"),
    }


def test_user_of_an_unknown_role_is_refused(org: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt role would be an officer without any right."""
    assert qist.main(["org", "add-user", "x", "--role", "lendng", "--dir", str(org)]) == 1
    assert "lending" in capsys.readouterr().err
    assert not (org / "users" / "x").exists()


def test_collections_for_machines_apart_are_those_of_a_network_on_one(
    network: NetworkFolder, tmp_path: Path
) -> None:
    """The file is the same, and the policies shown are those that `network create` defines."""
    out = tmp_path / "collections.json"
    told = processes.qist("network", "collections", "--out", out, "--json").json
    assert out.read_bytes() == (network.path / "collections.json").read_bytes()
    assert told["contracts"] == {each.name: each.endorsement for each in network.content.contracts}
    again = processes.qist("network", "collections", "--out", out, "--json")
    assert again.code == 1
    assert "exists" in again.error["message"]
