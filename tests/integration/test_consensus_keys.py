"""Consensus keys on disk: made, given to a node, replaced in steps that may break off."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519

import qist
from ledger.errors import Refusal
from network.certificates import Organisation, consensus, create_organisation, rotate_authorities
from network.certificates.authority import identity_subject
from network.certificates.consensus import (
    ConsensusKeys,
    add_consensus,
    consensus_keys,
    public_bytes,
    retire_consensus,
    rotate_consensus,
)
from network.certificates.stored import issued_certificates
from network.certificates.writing import move_file
from network.configuration import (
    ChannelConfiguration,
    Consenter,
    OrganisationSpec,
    build_genesis,
)
from network.configuration.consenters import consensus_key, link_key
from network.errors import CertificateError
from network.msp import MSP, Certificate
from nodes.cli.members_description import USUAL_MEMBERS
from nodes.cli.network_folder import create_network
from nodes.cli.node_consensus import take_consensus_keys
from nodes.cli.node_folder import NodePorts, init_node, issue_node, load_genesis
from nodes.cli.node_identity import take_certificates
from nodes.configuration import ConsensusSection, Endpoint, load_configuration
from nodes.operations.backup import restore_backup, write_backup
from tests.support.consenters import (
    Ed25519,
    comet_genesis,
    consensus_certificate,
    consenter,
    four_members,
    link_certificate,
)
from tests.support.members import NOW, Member

PORTS = NodePorts(client=Endpoint(listen="127.0.0.1:9050"), node=Endpoint(listen="127.0.0.1:9051"))

Run = Callable[..., Any]


@pytest.fixture
def bank(tmp_path: Path) -> Organisation:
    """A member with a node that has taken no part in consensus so far."""
    made = create_organisation(tmp_path / "org", "BankMSP")
    init_node(
        tmp_path / "node",
        msp_id="BankMSP",
        name="bank",
        channel_id="qist",
        ports=PORTS,
        identity=issue_node(made, "bank", PORTS),
    )
    return made


@pytest.fixture
def node(tmp_path: Path, bank: Organisation) -> Path:
    return tmp_path / "node"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; returns its JSON, or the message of its error if it is to be refused."""

    def go(*words: str | Path, refused: bool = False) -> Any:
        code = qist.main([*map(str, words), "--json"])
        said = capsys.readouterr()
        if refused:
            assert code == 1, said
            return json.loads(said.err.splitlines()[-1])["error"]["message"]
        assert code == 0, said.err
        return json.loads(said.out)

    return go


def modes(folder: Path) -> dict[str, str]:
    return {each.name: oct(each.stat().st_mode & 0o777) for each in folder.iterdir()}


def publics(keys: ConsensusKeys) -> list[bytes]:
    return [public_bytes(each) for each in keys.voting]


def genesis_naming(public_key: bytes, place: Path, link: bytes = b"") -> Path:
    """Write the genesis block of a channel in which the bank votes with a key, and has a link's."""
    members = four_members()
    named = consenter(members[0], 1)
    key = ed25519.Ed25519PublicKey.from_public_bytes(public_key)
    named = replace(named, identity=consensus_certificate(members[0], key))
    if link:
        shown = ed25519.Ed25519PublicKey.from_public_bytes(link)
        named = replace(named, server_tls_cert=link_certificate(members[0], shown))
    place.write_bytes(comet_genesis(members, [named]).encode())
    return place


def test_consensus_keys_are_private_and_certified_by_the_member(bank: Organisation) -> None:
    """Keys 0600 in a folder 0700; the vote's certificate of the CA, the link's of the TLS CA."""
    place = add_consensus(bank, "bank")
    assert oct(place.stat().st_mode & 0o777) == "0o700"
    assert modes(place) == {
        "key.pem": "0o600",
        "cert.pem": "0o644",
        "p2p-key.pem": "0o600",
        "p2p-cert.pem": "0o644",
    }
    msp = MSP.from_config(bank.msp_config(), ed25519_allowed=True)
    keys = consensus_keys(bank.node_folder("bank"))
    for name, key, tls in (
        ("cert.pem", keys.voting[0], False),
        ("p2p-cert.pem", keys.links[0], True),
    ):
        certificate = Certificate.from_pem((place / name).read_bytes())
        assert certificate.public_key == key.public_key()
        msp.verify_issued(certificate, tls=tls)
        with pytest.raises(Refusal, match="signed by no authority"):
            msp.verify_issued(certificate, tls=not tls)
        authority = x509.load_pem_x509_certificate(
            (bank.folder / ("tlsca" if tls else "ca") / "ca-cert.pem").read_bytes()
        )
        assert certificate.not_after == authority.not_valid_after_utc
    filed = {each.serial_number for each in issued_certificates(bank.folder / "ca" / "issued")}
    mine = Certificate.from_pem((place / "cert.pem").read_bytes())
    assert mine.serial_number in filed


def test_consensus_keys_are_never_made_over(bank: Organisation) -> None:
    """A second call changes nothing, and a name without a node gets none."""
    place = add_consensus(bank, "bank")
    before = {each.name: each.read_bytes() for each in place.iterdir()}
    with pytest.raises(CertificateError, match=r"consensus keys in .* rotate-consensus bank"):
        add_consensus(bank, "bank")
    with pytest.raises(CertificateError, match="has no node 'other'"):
        add_consensus(bank, "other")
    assert {each.name: each.read_bytes() for each in place.iterdir()} == before


def test_node_that_took_no_part_gets_keys_and_a_port(bank, node, run) -> None:
    """`node.toml` keeps what it said, and says where the node listens for consensus."""
    before = (node / "node.toml").read_text()
    run("org", "add-consensus", "bank", "--dir", bank.folder)
    told = run(
        *("node", "consensus", node, "--from", bank.node_folder("bank")),
        *("--listen", "0.0.0.0:9052", "--address", "bank.example:9052"),
    )
    keys = consensus_keys(node)
    assert told == {
        "folder": str(node),
        "address": "bank.example:9052",
        "consensus_key": publics(keys)[0].hex(),
        "next_consensus_key": None,
        "link_key": public_bytes(keys.links[0]).hex(),
        "next_link_key": None,
    }
    assert (node / "node.toml").read_text().startswith(before.rstrip())
    section = load_configuration(node).consensus
    assert section is not None
    assert (section.listen, section.reachable, section.profile) == (
        "0.0.0.0:9052",
        "bank.example:9052",
        "local",
    )
    assert oct((node / "consensus").stat().st_mode & 0o777) == "0o700"
    assert modes(node / "consensus")["key.pem"] == "0o600"
    refused = run(
        *("node", "consensus", node, "--from", bank.node_folder("bank")),
        *("--listen", "0.0.0.0:9053"),
        refused=True,
    )
    assert "says already where the node listens" in refused


def test_node_without_consensus_keys_says_how_to_get_them(bank, node, run) -> None:
    """For the engine, and for whoever gives the wrong folder or no port."""
    with pytest.raises(CertificateError, match="qist org add-consensus NAME"):
        consensus_keys(node)
    add_consensus(bank, "bank")
    source = bank.node_folder("bank")
    told = run("node", "consensus", node, "--from", source, refused=True)
    assert "has no section [consensus]: say with --listen" in told
    told = run("node", "consensus", node, "--from", source, "--listen", "nowhere", refused=True)
    assert "is not host:port" in told
    assert not (node / "consensus").exists()


def test_keys_of_another_member_are_refused(bank, node, tmp_path) -> None:
    """The node would vote for nobody that the channel knows."""
    other = create_organisation(tmp_path / "other", "BankMSP")
    other.add_node("bank")
    add_consensus(other, "bank")
    with pytest.raises(Refusal, match="signed by no authority of this MSP"):
        take_consensus_keys(node, other.node_folder("bank"), "127.0.0.1:9052")
    assert not (node / "consensus").exists()


@pytest.mark.parametrize("part", ["key.pem", "p2p-key.pem"])
def test_key_that_is_not_its_certificates_is_refused(bank, node, part) -> None:
    """Before anything of it comes into the node's folder."""
    place = add_consensus(bank, "bank")
    other = {"key.pem": "p2p-key.pem", "p2p-key.pem": "key.pem"}[part]
    (place / part).write_bytes((place / other).read_bytes())
    with pytest.raises(Refusal, match="is not over the key"):
        take_consensus_keys(node, bank.node_folder("bank"), "127.0.0.1:9052")
    assert not (node / "consensus").exists()


@pytest.mark.parametrize("part", ["key.pem", "p2p-key.pem"])
def test_missing_or_broken_key_is_named(bank, part) -> None:
    """The message says which file to put back."""
    place = add_consensus(bank, "bank")
    (place / part).write_bytes((bank.folder / "ca" / "ca-key.pem").read_bytes())
    with pytest.raises(CertificateError, match=f"{part} is no Ed25519 key"):
        consensus_keys(bank.node_folder("bank"))
    (place / part).unlink()
    with pytest.raises(CertificateError, match=f"{part} cannot be read"):
        consensus_keys(bank.node_folder("bank"))


def test_voting_key_is_replaced_in_steps_that_always_keep_the_named_one(
    bank, node, run, tmp_path
) -> None:
    """Both keys are there until the channel names the new one, and then only that one."""
    source = bank.node_folder("bank")
    run("org", "add-consensus", "bank", "--dir", bank.folder)
    run("node", "consensus", node, "--from", source, "--listen", "127.0.0.1:9052")
    (first,) = publics(consensus_keys(node))

    told = run("org", "rotate-consensus", "bank", "--dir", bank.folder)
    assert told["certificate"] == str(source / "consensus" / "next-cert.pem")
    assert told["consensus_key"] == first.hex()
    second = bytes.fromhex(told["next_consensus_key"])
    assert modes(source / "consensus")["next-key.pem"] == "0o600"
    again = run("org", "rotate-consensus", "bank", "--dir", bank.folder, refused=True)
    assert "has its next key" in again

    told = run("node", "consensus", node, "--from", source)
    assert told["next_consensus_key"] == second.hex()
    keys = consensus_keys(node)
    assert publics(keys) == [first, second]
    assert modes(node / "consensus")["next-key.pem"] == "0o600"
    assert keys.voting_key(first) == keys.voting[0]
    assert keys.voting_key(second) == keys.voting[1]
    assert keys.voting_key(b"\0" * 32) is None

    before = genesis_naming(first, tmp_path / "before.block")
    retire = ("org", "retire-consensus", "bank", "--dir", bank.folder, "--block")
    assert "the channel has another key of BankMSP" in run(*retire, before, refused=True)
    assert publics(consensus_keys(source)) == [first, second]
    after = genesis_naming(second, tmp_path / "after.block")
    assert run(*retire, after)["consensus_key"] == second.hex()
    assert set(modes(source / "consensus")) == {
        "key.pem",
        "cert.pem",
        "p2p-key.pem",
        "p2p-cert.pem",
    }
    assert "has no next key" in run(*retire, after, refused=True)
    link = public_bytes(keys.links[0])
    told = run("node", "consensus", node, "--from", source)
    assert (told["consensus_key"], told["next_consensus_key"]) == (second.hex(), None)
    keys = consensus_keys(node)
    assert publics(keys) == [second]
    assert public_bytes(keys.links[0]) == link


def test_key_of_links_is_replaced_by_the_same_steps(bank, node, run, tmp_path) -> None:
    """Beside the voting key's, or at the same time; each goes when the channel names its next."""
    source = bank.node_folder("bank")
    run("org", "add-consensus", "bank", "--dir", bank.folder)
    run("node", "consensus", node, "--from", source, "--listen", "127.0.0.1:9052")
    before = consensus_keys(node)
    told = run("org", "rotate-consensus", "bank", "--link", "--dir", bank.folder)
    assert told["certificate"] == str(source / "consensus" / "next-p2p-cert.pem")
    assert told["next_consensus_key"] is None
    run("org", "rotate-consensus", "bank", "--dir", bank.folder)
    run("node", "consensus", node, "--from", source)
    keys = consensus_keys(node)
    assert (len(keys.voting), len(keys.links)) == (2, 2)
    assert modes(node / "consensus")["next-p2p-key.pem"] == "0o600"
    wanted = bytes.fromhex(told["next_link_key"])
    assert keys.link_key(wanted) == keys.links[1]
    assert keys.link_key(public_bytes(before.links[0])) == keys.links[0]
    msp = MSP.from_config(bank.msp_config(), ed25519_allowed=True)
    pem = (node / "consensus" / "next-p2p-cert.pem").read_bytes()
    msp.verify_issued(Certificate.from_pem(pem), tls=True)

    retire = ("org", "retire-consensus", "bank", "--dir", bank.folder, "--block")
    voting = publics(keys)[1]
    half = genesis_naming(voting, tmp_path / "half.block")
    assert "another key of BankMSP" in run(*retire, half, refused=True)
    both = genesis_naming(voting, tmp_path / "both.block", link=wanted)
    told = run(*retire, both)
    assert (told["consensus_key"], told["link_key"]) == (voting.hex(), wanted.hex())
    run("node", "consensus", node, "--from", source)
    keys = consensus_keys(node)
    assert (publics(keys), [public_bytes(each) for each in keys.links]) == ([voting], [wanted])
    assert not [each for each in modes(node / "consensus") if each.startswith("next-")]


def test_retirement_needs_a_channel_that_names_the_member(bank, run, tmp_path) -> None:
    """A block of another channel, or of the time before, destroys no key."""
    add_consensus(bank, "bank")
    rotate_consensus(bank, "bank")
    others = four_members()[1:]
    place = tmp_path / "others.block"
    place.write_bytes(comet_genesis(others).encode())
    told = run(
        "org", "retire-consensus", "bank", "--dir", bank.folder, "--block", place, refused=True
    )
    assert "has no consenter of BankMSP" in told


def test_rotation_broken_off_anywhere_is_repeated(bank, monkeypatch) -> None:
    """A crash between two files leaves keys that load, and the same command goes on."""
    add_consensus(bank, "bank")
    node = bank.node_folder("bank")
    (first,) = publics(consensus_keys(node))
    link = public_bytes(consensus_keys(node).links[0])

    def stop(*_: Any, **__: Any) -> None:
        raise OSError("the machine has stopped")

    with monkeypatch.context() as patched:
        patched.setattr(consensus, "encode_key", stop)
        with pytest.raises(OSError, match="stopped"):
            rotate_consensus(bank, "bank")
    assert publics(consensus_keys(node)) == [first]
    with pytest.raises(CertificateError, match="no next key"):
        retire_consensus(bank, "bank", voting=first, link=link)
    rotate_consensus(bank, "bank")
    _, second = publics(consensus_keys(node))

    moved = move_file

    def once(source: Path, target: Path) -> None:
        moved(source, target)
        raise OSError("the machine has stopped")

    with monkeypatch.context() as patched:
        patched.setattr(consensus, "move_file", once)
        with pytest.raises(OSError, match="stopped"):
            retire_consensus(bank, "bank", voting=second, link=link)
    assert publics(consensus_keys(node)) == [second]
    place = retire_consensus(bank, "bank", voting=second, link=link)
    certificate = Certificate.from_pem((place / "cert.pem").read_bytes())
    assert certificate.public_key == consensus_keys(node).voting[0].public_key()
    assert not (place / "next-cert.pem").exists()


def test_keys_of_a_retired_authority_stay_with_the_node(bank, node) -> None:
    """What the node has is not judged again, and what is new is of the new authority."""
    source = bank.node_folder("bank")
    add_consensus(bank, "bank")
    take_consensus_keys(node, source, "127.0.0.1:9052")
    rotated = rotate_authorities(bank.folder)
    rotate_consensus(rotated, "bank")
    with pytest.raises(Refusal, match="signed by no authority"):
        take_consensus_keys(node, source)
    rotated.renew("bank")
    take_certificates(node, source)
    take_consensus_keys(node, source)
    assert len(consensus_keys(node).voting) == 2


def test_keys_in_the_folders_are_those_that_the_channel_names(tmp_path) -> None:
    """`qist network create --ordering cometbft` makes a channel in which every node can vote."""
    wanted = USUAL_MEMBERS.model_copy(update={"ordering": "cometbft"})
    network = create_network(tmp_path / "net", wanted, base_port=0)
    assert network.content.ordering == "cometbft"
    channel = ChannelConfiguration.from_block(load_genesis(network.path / "channel/genesis.block"))
    assert channel.consensus_type == "cometbft"
    ordering = sorted(each.msp_id for each in network.content.members)
    assert list(channel.orderer_organisations) == ordering
    placed = {each.msp_id: each for each in network.content.members}
    assert len(channel.consenters) == 4
    ports = set()
    for each in channel.consenters:
        folder = network.node_folder(each.msp_id)
        keys = consensus_keys(folder)
        assert keys.voting_key(consensus_key(each)) is not None
        assert public_bytes(keys.links[0]) == link_key(each)
        section = load_configuration(folder).consensus
        assert section is not None
        assert section.reachable == placed[each.msp_id].consensus == f"{each.host}:{each.port}"
        ports |= {section.listen, placed[each.msp_id].client, placed[each.msp_id].node}
    assert len(ports) == 12


def test_solo_network_has_no_consensus_keys(tmp_path, run) -> None:
    """The usual network is as it was: two ports for each member, and one member orders."""
    told = run("network", "create", tmp_path / "net", "--base-port", "0")
    assert told["ordering"] == "solo"
    assert [each["consensus"] for each in told["members"]] == ["", "", "", ""]
    assert not (tmp_path / "net" / "BankMSP" / "node" / "consensus").exists()
    assert "[consensus]" not in (tmp_path / "net/BankMSP/node/node.toml").read_text()
    refused = run("network", "create", tmp_path / "no", "--ordering", "raft", refused=True)
    assert "'raft' orders nothing: give solo or cometbft" in refused
    assert not (tmp_path / "no").exists()


def test_node_is_made_with_consensus_by_one_command(tmp_path, run) -> None:
    """`node init --consensus` has the keys issued with everything else."""
    run("org", "create", "NayaMSP", "--dir", tmp_path / "naya")
    told = run(
        *("node", "init", tmp_path / "node", "--org", tmp_path / "naya", "--name", "naya1"),
        *("--consensus", "127.0.0.1:9052", "--consensus-address", "naya.example:9052"),
    )
    assert told["consensus_address"] == "naya.example:9052"
    issued = consensus_keys(tmp_path / "naya/nodes/naya1")
    assert told["consensus_key"] == public_bytes(issued.voting[0]).hex()
    assert publics(consensus_keys(tmp_path / "node")) == publics(issued)
    certificate = x509.load_pem_x509_certificate((tmp_path / "node/tls/server.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "naya.example" in {str(each.value) for each in names}


def test_identity_without_consensus_keys_makes_no_consensus_node(tmp_path) -> None:
    """What is missing is said before the folder appears."""
    made = create_organisation(tmp_path / "org", "BankMSP")
    identity = issue_node(made, "bank", PORTS)
    ports = NodePorts(PORTS.client, PORTS.node, ConsensusSection(listen="127.0.0.1:9052"))
    with pytest.raises(CertificateError, match="has no consensus keys"):
        init_node(
            tmp_path / "node",
            msp_id="BankMSP",
            name="bank",
            channel_id="qist",
            ports=ports,
            identity=identity,
        )
    assert not (tmp_path / "node").exists()


def test_members_with_other_names_for_units_can_certify_keys_too() -> None:
    """A consensus certificate needs no unit: the authority alone says whose it is."""
    member = Member("BankMSP")
    plain = member.msp(
        ed25519_allowed=True,
        fabric_node_ous=None,
        admins=[member.identity("admin", "admin").certificate.pem],
    )
    plain.verify_issued(Certificate.from_pem(consenter(member, 1).identity))
    with pytest.raises(Refusal, match="an authority's own"):
        plain.verify_issued(Certificate.from_pem(member.root.pem))


def test_backup_of_a_node_holds_its_consensus_keys(bank, node, tmp_path) -> None:
    """Without them the members would have to agree on another key before the node votes again."""
    add_consensus(bank, "bank")
    take_consensus_keys(node, bank.node_folder("bank"), "127.0.0.1:9052")
    (node / "genesis.block").write_bytes(comet_genesis(four_members()).encode())
    write_backup(node, tmp_path / "bank.backup")
    restore_backup(tmp_path / "bank.backup", tmp_path / "restored")
    place = tmp_path / "restored" / "consensus"
    assert publics(consensus_keys(tmp_path / "restored")) == publics(consensus_keys(node))
    assert oct(place.stat().st_mode & 0o777) == "0o700"
    assert modes(place)["key.pem"] == modes(place)["p2p-key.pem"] == "0o600"


def test_node_joins_a_channel_of_cometbft_only_with_the_keys_it_names(
    bank, node, run, tmp_path
) -> None:
    """Said when the node is given the channel, not when it is to vote."""
    place = tmp_path / "genesis.block"

    def joins(public_key: bytes) -> Path:
        """A genesis block in which the bank's own authorities count, and a key of it votes."""
        others = four_members()[1:]
        specs = [each.spec(orders=True) for each in others]
        address = [("localhost", 7051)]
        specs.append(OrganisationSpec("BankMSP", bank.msp_config(), address, address))
        key = ed25519.Ed25519PublicKey.from_public_bytes(public_key)
        subject = identity_subject("BankMSP", "consensus", "bank")
        own = Consenter(
            1,
            "BankMSP",
            bank.issue_identity(subject, key, {}, 0),
            "localhost",
            9052,
            bank.issue_tls("bank", Ed25519.generate().public_key(), ["localhost"], 0),
        )
        block = build_genesis(
            "qist",
            specs,
            orderers=[each.msp_id for each in specs],
            when=NOW,
            consensus="cometbft",
            consenters=[own],
        )
        place.write_bytes(block.encode())
        return place

    stranger = Ed25519.generate().public_key().public_bytes_raw()
    told = run("node", "join", node, "--genesis", joins(stranger), refused=True)
    assert "has no section [consensus]" in told
    add_consensus(bank, "bank")
    take_consensus_keys(node, bank.node_folder("bank"), "127.0.0.1:9052")
    told = run("node", "join", node, "--genesis", joins(stranger), refused=True)
    assert f"the channel names the voting key {stranger.hex()} for BankMSP" in told
    assert not (node / "genesis.block").exists()
    (mine,) = publics(consensus_keys(node))
    run("node", "join", node, "--genesis", joins(mine))


def test_taken_consensus_port_is_said_before_the_node_is_started(bank, node, run) -> None:
    """As for the other two ports: the start of CometBFT would fail much later."""
    add_consensus(bank, "bank")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        take_consensus_keys(node, bank.node_folder("bank"), f"127.0.0.1:{port}")
        (node / "genesis.block").write_bytes(comet_genesis(four_members()).encode())
        told = run("node", "start", node, "--detach", refused=True)
    assert f"the node cannot listen on 127.0.0.1:{port}" in told
