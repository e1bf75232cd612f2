"""Fabric's own library for channel configurations reads ours, and we read what it writes.

A small Go program (tests/go-config) stands on github.com/hyperledger/fabric-config; it is built
with the Go of the machine, or of the wheel that `make setup` installs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ledger.blocks.block import Block
from network.certificates import Organisation, create_organisation
from network.certificates.consensus import (
    PUBLIC_FILES,
    add_consensus,
    consensus_keys,
    public_bytes,
    rotate_consensus,
)
from network.configuration import (
    COMETBFT,
    BatchParameters,
    ChannelConfiguration,
    Consenter,
    OrganisationSpec,
    apply_update,
    build_genesis,
    consenter_edits,
    edits,
    read_update_envelope,
)
from network.errors import IdentityError, PolicyError
from network.msp import SigningIdentity, serialize_identity
from network.ordering.block_signature import verify_block_signature
from network.ordering.solo.building import BlockBuilder, Submission
from tests.support.members import CHANNEL, NOW
from tests.support.toolchains import ToolchainMissing, go_configuration
from tests.support.updates import Edit, edited, signed_update

pytestmark = [pytest.mark.official_client, pytest.mark.slow]

MEMBERS = ("BankMSP", "OperatorMSP", "PtaMSP")


@cache
def command() -> list[str]:
    """Build the Go program; skip where the machine has no Go, and say so."""
    try:
        return go_configuration()
    except ToolchainMissing as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI has Go, but: {missing}", pytrace=False)
        pytest.skip(str(missing))


def run(*words: str | Path) -> Any:
    """Run the program and return what it printed; fails with the library's words."""
    done = subprocess.run(
        [*command(), *map(str, words)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@dataclass(frozen=True)
class World:
    """Three members with their certificates in folders, and the channel that they have begun."""

    folder: Path
    organisations: dict[str, Organisation]
    genesis: Block

    @property
    def configuration(self) -> ChannelConfiguration:
        return ChannelConfiguration.from_block(self.genesis)

    def write(self, block: Block) -> Path:
        path = self.folder / f"{block.number}.block"
        path.write_bytes(block.encode())
        return path

    def admin(self, msp_id: str) -> dict[str, str]:
        """An admin in files, as the Go program takes one."""
        return _files(msp_id, self.organisations[msp_id].user_folder("admin") / "msp")

    @property
    def orderer(self) -> SigningIdentity:
        folder = self.organisations["BankMSP"].node_folder("node0")
        return SigningIdentity.load(folder / "msp", "BankMSP")

    def signer(self, msp_id: str) -> SigningIdentity:
        folder = self.organisations[msp_id].user_folder("admin")
        return SigningIdentity.load(folder / "msp", msp_id)

    def theirs(self, *changes: dict[str, Any], signers: Sequence[str] = MEMBERS) -> bytes:
        """Have the library compute an update, signed by admins; return its envelope."""
        request = {
            "block": str(self.write(self.genesis)),
            "channel": CHANNEL,
            "changes": changes,
            "signers": [self.admin(each) for each in signers],
            "out": str(self.folder / "update.pb"),
        }
        run("update", self._request(request))
        return (self.folder / "update.pb").read_bytes()

    def compare(self, edit: Edit) -> Any:
        """Have the library read our update for an edit, and compute its own."""
        (self.folder / "updated.pb").write_bytes(
            edited(self.configuration, edit).SerializeToString()
        )
        (self.folder / "ours.pb").write_bytes(
            signed_update(self.configuration, edit, [self.signer(each) for each in MEMBERS])
        )
        request = {
            "block": str(self.write(self.genesis)),
            "channel": CHANNEL,
            "updated": str(self.folder / "updated.pb"),
            "update": str(self.folder / "ours.pb"),
        }
        return run("compare", self._request(request))

    def _request(self, request: dict[str, Any]) -> Path:
        path = self.folder / "request.json"
        path.write_text(json.dumps(request))
        return path


def _files(msp_id: str, msp: Path) -> dict[str, str]:
    return {
        "msp": msp_id,
        "certificate": str(msp / "signcerts" / "cert.pem"),
        "key": str(msp / "keystore" / "key.pem"),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    organisations = {
        each: create_organisation(folder / each, each) for each in (*MEMBERS, "NayaMSP")
    }
    organisations["BankMSP"].add_node("node0", hosts=("localhost",))
    for organisation in organisations.values():
        organisation.add_user("admin", unit="admin")
        organisation.add_user("lending")
    specs = [
        OrganisationSpec(
            each,
            organisations[each].msp_config(),
            anchor_peers=[("localhost", 7052)],
            orderer_endpoints=[("localhost", 7052)] if each == "BankMSP" else [],
        )
        for each in MEMBERS
    ]
    genesis = build_genesis(
        CHANNEL,
        specs,
        orderers=["BankMSP"],
        when=NOW,
        batch=BatchParameters(timeout_s=0.7),
        acls={"event/Block": "/Channel/Application/Writers"},
    )
    return World(folder, organisations, genesis)


class MachineTime:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def block_of(world: World, current: ChannelConfiguration, update: bytes, number: int) -> Block:
    """The block that the bank's orderer makes of an update."""
    sink: Any = SimpleNamespace(
        channel_id=CHANNEL, configuration=current, last_config_block=number - 1
    )
    done: Any = None
    builder = BlockBuilder(sink, world.orderer, MachineTime())
    submission = Submission(update, 0.0, done)
    assert builder.check([submission]) == [None]
    block, refusals = builder.build([submission], number, b"\1" * 32)
    assert (refusals, submission.alone) == ([None], True)
    assert block is not None
    verify_block_signature(block, current)
    return block


# ---- (a) ours, read by Fabric's library


def test_genesis_block_of_ours_is_read_by_fabrics_library(world) -> None:
    """Members, endpoints, policies, ACLs, batch: what we wrote is what it finds."""
    (found,) = run("read", world.write(world.genesis))
    assert (found["number"], found["channel"], found["sequence"]) == (0, CHANNEL, 0)
    assert found["capabilities"] == ["V3_0"]
    assert set(found["members"]) == set(MEMBERS)
    pta = found["members"]["PtaMSP"]
    assert (pta["msp"], pta["anchors"]) == ("PtaMSP", ["localhost:7052"])
    assert pta["policies"]["Endorsement"].startswith("Signature")
    assert found["orderers"]["BankMSP"]["endpoints"] == ["localhost:7052"]
    assert found["policies"]["Admins"] == "ImplicitMeta MAJORITY Admins"
    assert found["acls"] == {"event/Block": "/Channel/Application/Writers"}
    assert (found["consensus"], found["messages"], found["timeoutMs"]) == ("solo", 500, 700)


def test_configuration_block_of_ours_is_read_by_fabrics_library(world) -> None:
    """With the update inside; and so is the one after it."""
    naya = OrganisationSpec("NayaMSP", world.organisations["NayaMSP"].msp_config(), [("h", 1)])
    world.organisations["PtaMSP"].revoke("lending")
    crls = world.organisations["PtaMSP"].msp_folder / "crls"
    lists = [each.read_bytes() for each in sorted(crls.iterdir())]
    signers = [world.signer(each) for each in MEMBERS]
    first = block_of(
        world,
        world.configuration,
        signed_update(world.configuration, lambda config: edits.add_member(config, naya), signers),
        1,
    )
    current = ChannelConfiguration.from_block(first)
    second = block_of(
        world,
        current,
        signed_update(
            current, lambda config: edits.add_revocation_lists(config, "PtaMSP", lists), signers
        ),
        2,
    )
    one, two = run("read", world.write(first), world.write(second))
    assert (one["sequence"], two["sequence"]) == (1, 2)
    assert set(one["members"]) == {*MEMBERS, "NayaMSP"}
    assert one["members"]["NayaMSP"]["anchors"] == ["h:1"]
    assert (one["members"]["PtaMSP"]["revoked"], two["members"]["PtaMSP"]["revoked"]) == (0, 1)


@pytest.fixture(scope="module")
def comet(world) -> World:
    """The same members on a channel that CometBFT orders, and one that is to join."""
    consenters = []
    for number, each in enumerate(MEMBERS, start=1):
        organisation = world.organisations[each]
        if each != "BankMSP":
            organisation.add_node("node0")
        keys = add_consensus(organisation, "node0")
        certificates = [(keys / name).read_bytes() for name in PUBLIC_FILES]
        consenters.append(
            Consenter(number, each, certificates[0], "localhost", 7060 + number, certificates[1])
        )
    world.organisations["NayaMSP"].add_node("node0")
    add_consensus(world.organisations["NayaMSP"], "node0")
    specs = [
        OrganisationSpec(
            each,
            world.organisations[each].msp_config(),
            anchor_peers=[("localhost", 7052)],
            orderer_endpoints=[("localhost", 7052)],
        )
        for each in MEMBERS
    ]
    genesis = build_genesis(
        CHANNEL,
        specs,
        orderers=MEMBERS,
        when=NOW,
        consensus=COMETBFT,
        consenters=consenters,
        batch=BatchParameters(timeout_s=0.7),
        acls={"event/Block": "/Channel/Application/Writers"},
    )
    return World(world.folder, world.organisations, genesis)


def keys_of(organisation: Organisation) -> tuple[str, str]:
    keys = consensus_keys(organisation.node_folder("node0"))
    return public_bytes(keys.voting[0]).hex(), public_bytes(keys.links[0]).hex()


def test_consenters_of_ours_are_read_by_fabrics_library(comet) -> None:
    """Every field of them decodes, and comes back the same from the JSON that people edit."""
    (found,) = run("read", comet.write(comet.genesis))
    assert found["consensus"] == "cometbft"
    assert set(found["orderers"]) == set(MEMBERS)
    assert (found["messages"], found["timeoutMs"]) == (500, 700)
    assert [(each["id"], each["msp"], each["address"]) for each in found["consenters"]] == [
        (number, msp_id, f"localhost:{7060 + number}")
        for number, msp_id in enumerate(MEMBERS, start=1)
    ]
    for each in found["consenters"]:
        assert (each["voting"], each["link"]) == keys_of(comet.organisations[each["msp"]])


def join(organisation: Organisation) -> Edit:
    """The edit by which a member joins with its consenter."""

    def change(config: Any) -> None:
        spec = OrganisationSpec("NayaMSP", organisation.msp_config(), [("h", 1)])
        edits.add_member(config, spec)
        place = organisation.node_folder("node0") / "consensus"
        identity, link = ((place / name).read_bytes() for name in PUBLIC_FILES)
        consenter_edits.add_consenter(config, "NayaMSP", ("naya.example", 7), identity, link)

    return change


def leave(config: Any) -> None:
    """The edit by which a member goes with its consenter."""
    consenter_edits.remove_consenter(config, "PtaMSP")
    edits.remove_member(config, "PtaMSP")


def take_another_key(organisation: Organisation) -> Edit:
    """The edit by which a member's consenter takes its next key."""
    pem = rotate_consensus(organisation, "node0").read_bytes()

    def change(config: Any) -> None:
        consenter_edits.replace_consensus_certificate(config, "BankMSP", pem)

    return change


def test_changes_of_consenters_are_the_ones_that_fabrics_library_computes(comet) -> None:
    """It reads our updates, and computes the same from the configurations before and after."""
    organisations = comet.organisations
    rotate = take_another_key(organisations["BankMSP"])
    for edit in (join(organisations["NayaMSP"]), leave, rotate):
        assert comet.compare(edit) == {"equal": True, "signatures": len(MEMBERS)}


# ---- (b) theirs, taken here


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        (
            {"kind": "batchSize", "count": 7},
            lambda found: found.batch.max_message_count == 7,
        ),
        (
            {"kind": "batchTimeout", "timeoutMs": 1500},
            lambda found: found.batch.timeout_s == 1.5,
        ),
        (
            {"kind": "anchorPeer", "name": "PtaMSP", "host": "pta.example", "port": 9},
            lambda found: ("pta.example", 9) in found.organisations["PtaMSP"].anchor_peers,
        ),
        (
            {"kind": "acl", "name": "qscc/GetChainInfo", "rule": "/Channel/Application/Admins"},
            lambda found: found.acls == {"qscc/GetChainInfo": "/Channel/Application/Admins"},
        ),
        (
            {"kind": "policy", "name": "Endorsement", "rule": "ANY Endorsement"},
            lambda found: found.elements["[Policy] /Channel/Application/Endorsement"].version == 1,
        ),
        (
            {"kind": "capability", "name": "V2_0"},
            lambda found: found.capabilities.application == {"V2_5", "V2_0"},
        ),
        (
            {"kind": "removeOrganisation", "name": "OperatorMSP"},
            lambda found: set(found.organisations) == {"BankMSP", "PtaMSP"},
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_update_of_fabrics_library_is_taken_here(world, change, holds) -> None:
    """Computed, signed and put into its envelope by the library alone."""
    envelope, following = apply_update(world.configuration, world.theirs(change))
    assert holds(following)
    assert following.sequence == envelope.config.sequence == 1


def test_member_added_by_fabrics_library_is_one_here(world) -> None:
    """Its identities are valid, and its policies stand."""
    naya = world.organisations["NayaMSP"]
    change = {
        "kind": "addOrganisation",
        "name": "NayaMSP",
        "host": "naya.example",
        "port": 7052,
        "authority": {"certificate": str(naya.folder / "ca" / "ca-cert.pem")},
        "tlsAuthority": str(naya.folder / "tlsca" / "ca-cert.pem"),
    }
    following = apply_update(world.configuration, world.theirs(change))[1]
    identity = following.msps.deserialize(world.signer("NayaMSP").serialized)
    assert identity.roles == {"member", "admin"}
    following.policies.policy("/Channel/Application/NayaMSP/Admins").evaluate([identity])


def test_certificate_revoked_by_fabrics_library_is_revoked_here(world) -> None:
    """By a list that the library made with the member's own authority."""
    bank = world.organisations["BankMSP"]
    certificate = bank.user_folder("lending") / "msp" / "signcerts" / "cert.pem"
    change = {
        "kind": "revoke",
        "name": "BankMSP",
        "certificate": str(certificate),
        "authority": {
            "msp": "BankMSP",
            "certificate": str(bank.folder / "ca" / "ca-cert.pem"),
            "key": str(bank.folder / "ca" / "ca-key.pem"),
        },
    }
    lending = serialize_identity("BankMSP", certificate.read_bytes())
    world.configuration.msps.deserialize(lending)
    # The bank stands in both groups; the library changes one, and both must agree.
    with pytest.raises(Exception, match="define it alike"):
        apply_update(world.configuration, world.theirs(change))
    operator = world.organisations["OperatorMSP"]
    certificate = operator.user_folder("lending") / "msp" / "signcerts" / "cert.pem"
    change = {
        "kind": "revoke",
        "name": "OperatorMSP",
        "certificate": str(certificate),
        "authority": {
            "msp": "OperatorMSP",
            "certificate": str(operator.folder / "ca" / "ca-cert.pem"),
            "key": str(operator.folder / "ca" / "ca-key.pem"),
        },
    }
    following = apply_update(world.configuration, world.theirs(change))[1]
    with pytest.raises(IdentityError, match="revoked"):
        following.msps.deserialize(serialize_identity("OperatorMSP", certificate.read_bytes()))


def test_update_of_fabrics_library_that_too_few_signed_is_refused(world) -> None:
    """Signatures of the library's count as ours do, no more."""
    sent = world.theirs({"kind": "removeOrganisation", "name": "OperatorMSP"}, signers=["BankMSP"])
    with pytest.raises(PolicyError, match="requires 2 of the 'Admins' sub-policies"):
        apply_update(world.configuration, sent)


# ---- (c) our updates, read by Fabric's library


def _new_msp(world: World) -> Edit:
    config = world.organisations["NayaMSP"].msp_config()
    return lambda each: edits.add_member(each, OrganisationSpec("NayaMSP", config, [("n", 1)]))


@pytest.mark.parametrize(
    "edit",
    [
        lambda world: _new_msp(world),
        lambda world: lambda config: edits.remove_member(config, "PtaMSP"),
        lambda world: lambda config: edits.set_batch(config, {"max_message_count": "9"}),
        lambda world: lambda config: edits.set_acl(config, "event/Block", "Readers"),
        lambda world: (
            lambda config: edits.set_policy(config, "/Channel/Application/Odd", "OR('PtaMSP.peer')")
        ),
        lambda world: lambda config: edits.set_capability(config, "application", "V2_0"),
        lambda world: lambda config: edits.set_anchor_peers(config, "BankMSP", []),
    ],
    ids=["add", "remove", "batch", "acl", "policy", "capability", "anchors"],
)
def test_update_of_ours_is_the_one_that_fabrics_library_computes(world, edit) -> None:
    """It decodes to the last field, and read set and write set are equal."""
    assert world.compare(edit(world)) == {"equal": True, "signatures": len(MEMBERS)}


def test_update_of_the_library_is_the_one_that_is_computed_here(world) -> None:
    """The other way round: from its result we come to its update."""
    sent = world.theirs({"kind": "batchSize", "count": 7})
    found, signatures = read_update_envelope(sent)
    assert len(signatures) == len(MEMBERS)
    following = apply_update(world.configuration, sent)[1]
    ours = signed_update(
        world.configuration,
        lambda config: config.CopyFrom(following.config),
        [world.signer("BankMSP")],
    )
    assert read_update_envelope(ours)[0] == found
