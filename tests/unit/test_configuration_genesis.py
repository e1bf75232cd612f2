"""Our genesis block: what it says of members, batches, access, and what it refuses to say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ledger.blocks.block import Block
from ledger.blocks.structure import is_config_block, verify_block_structure
from ledger.transactions.parse import compute_tx_id, parse_transaction
from network.configuration import (
    LOCAL_ADMINS,
    LOCAL_MEMBERS,
    BatchParameters,
    ChannelConfiguration,
    build_genesis,
    config_of_block,
)
from network.errors import ConfigurationError, IdentityError, PolicyError
from network.policy import SignedData
from tests.support.members import CHANNEL, NOW, Member, genesis

NAMES = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
BLOCK_VALIDATION = "/Channel/Orderer/BlockValidation"


@pytest.fixture(scope="module")
def members() -> list[Member]:
    return [Member(name) for name in NAMES]


def _signed(signer) -> list[SignedData]:
    return [SignedData(b"data", signer.serialized, signer.sign(b"data"))]


def test_genesis_is_block_zero_and_well_formed(members) -> None:
    """A node commits it as it stands; it has the five metadata entries and no signature."""
    block = genesis(members)
    verify_block_structure(block, 0, b"")
    assert is_config_block(block)
    transaction = parse_transaction(block.data[0])
    assert transaction.timestamp == NOW
    assert transaction.creator == b""
    assert len(transaction.tx_id) == 64
    assert Block.decode(block.encode()) == block


def test_same_arguments_give_the_same_bytes(members) -> None:
    """Members compare what they were given; only the nonce is random."""
    one, two = (genesis(members, nonce=b"n" * 24).encode() for _ in range(2))
    assert one == two
    assert genesis(members).encode() != genesis(members).encode()
    transaction = parse_transaction(Block.decode(one).data[0])
    assert transaction.tx_id == compute_tx_id(b"n" * 24, b"")


def test_every_members_node_address_stands_in_the_configuration(members) -> None:
    """Nodes find each other by the anchor peers, and the orderer by its endpoint."""
    specs = [member.spec(7000 + at, orders=at == 0) for at, member in enumerate(members)]
    block = build_genesis(CHANNEL, specs, orderers=["BankMSP"], when=NOW)
    configuration = ChannelConfiguration.from_block(block)
    assert {
        msp_id: organisation.anchor_peers
        for msp_id, organisation in configuration.organisations.items()
    } == {name: (("localhost", 7000 + at),) for at, name in enumerate(NAMES)}
    assert configuration.orderer_endpoints == (("BankMSP", "localhost", 7000),)
    assert configuration.orderer_organisations == ("BankMSP",)


def test_ipv6_address_of_an_orderer_comes_back(members) -> None:
    """It is written with brackets, as Fabric's tools write it."""
    specs = [replace(members[0].spec(orders=True), orderer_endpoints=[("::1", 7050)])]
    block = build_genesis(CHANNEL, specs, orderers=["BankMSP"], when=NOW)
    endpoints = ChannelConfiguration.from_block(block).orderer_endpoints
    assert endpoints == (("BankMSP", "::1", 7050),)


def test_defaults_are_those_of_the_documentation(members) -> None:
    """Solo, 500 envelopes, 10 and 2 MiB, one second, Fabric's newest capabilities."""
    configuration = ChannelConfiguration.from_block(genesis(members))
    assert configuration.channel_id == CHANNEL
    assert configuration.sequence == 0
    assert configuration.consensus_type == "solo"
    assert configuration.batch == BatchParameters(500, 10 * 2**20, 2 * 2**20, 1.0)
    assert configuration.capabilities.channel == {"V3_0"}
    assert configuration.capabilities.orderer == {"V2_0"}
    assert configuration.capabilities.application == {"V2_5"}
    assert not configuration.is_rehearsal
    configuration.verify_capabilities()


def test_batch_parameters_come_back(members) -> None:
    """Count, both sizes, and a timeout in milliseconds."""
    batch = BatchParameters(7, 5000, 4000, 0.25)
    assert ChannelConfiguration.from_block(genesis(members, batch=batch)).batch == batch


def test_rehearsal_is_said_by_a_capability(members) -> None:
    """And this program has the capability."""
    configuration = ChannelConfiguration.from_block(genesis(members, rehearsal=True))
    assert configuration.is_rehearsal
    assert "QIST_REHEARSAL" in configuration.capabilities.channel
    configuration.verify_capabilities()


@pytest.mark.parametrize("level", ["channel", "orderer", "application"])
def test_capability_that_this_program_lacks_is_named(members, level) -> None:
    """A node must stop then: it would judge blocks by other rules than the rest."""
    capabilities = {"channel": ("V3_0",), "orderer": ("V2_0",), "application": ("V2_5",)}
    block = genesis(members, capabilities={level: (*capabilities[level], "V9_9")})
    with pytest.raises(ConfigurationError, match=rf"{level} capabilities \['V9_9'\].*upgrade"):
        ChannelConfiguration.from_block(block).verify_capabilities()


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("client", {"Readers", "Writers"}),
        ("admin", {"Readers", "Writers"}),
        ("peer", {"Readers", "Endorsement"}),
        ("orderer", set()),
    ],
)
def test_members_policies_give_each_role_what_it_needs(members, unit, expected) -> None:
    """Of a member that does not order: clients write, peers endorse, all but orderers read."""
    policies = ChannelConfiguration.from_block(genesis(members)).policies
    signed = _signed(members[3].identity(unit=unit))
    for name in ("Readers", "Writers", "Endorsement"):
        if name in expected:
            policies.evaluate(f"/Channel/Application/PtaMSP/{name}", signed)
        else:
            with pytest.raises(PolicyError):
                policies.evaluate(f"/Channel/Application/PtaMSP/{name}", signed)


@pytest.mark.parametrize(
    ("number", "unit", "may"),
    [
        (0, "peer", True),
        (0, "orderer", True),
        (0, "client", False),
        (0, "admin", False),
        (1, "peer", False),
        (1, "orderer", False),
    ],
)
def test_blocks_are_signed_by_nodes_of_ordering_members(members, number, unit, may) -> None:
    """A client of the ordering member must not sign a block, nor another member's node."""
    policies = ChannelConfiguration.from_block(genesis(members)).policies
    signed = _signed(members[number].identity(unit=unit))
    if may:
        policies.evaluate(BLOCK_VALIDATION, signed)
    else:
        with pytest.raises(PolicyError):
            policies.evaluate(BLOCK_VALIDATION, signed)


def test_lifecycle_asks_for_a_majority_of_peers(members) -> None:
    """Three of four."""
    policies = ChannelConfiguration.from_block(genesis(members)).policies
    peers = [_signed(member.identity(unit="peer"))[0] for member in members]
    policies.evaluate("/Channel/Application/LifecycleEndorsement", peers[:3])
    with pytest.raises(PolicyError, match="requires 3"):
        policies.evaluate("/Channel/Application/LifecycleEndorsement", peers[:2])


def test_policy_of_our_own_takes_the_place_of_the_usual_one(members) -> None:
    """In words, signature or implicit-meta."""
    block = genesis(
        members,
        policies={
            "Endorsement": "ALL Endorsement",
            "Pair": "AND('BankMSP.peer', 'PtaMSP.peer')",
        },
    )
    policies = ChannelConfiguration.from_block(block).policies
    peers = [_signed(member.identity(unit="peer"))[0] for member in members]
    policies.evaluate("/Channel/Application/Pair", [peers[0], peers[3]])
    with pytest.raises(PolicyError, match="requires 4"):
        policies.evaluate("/Channel/Application/Endorsement", peers[:3])


# --- access ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resource", "policy"),
    [
        ("peer/Propose", "/Channel/Application/Writers"),
        ("event/Block", "/Channel/Application/Readers"),
        ("qscc/GetChainInfo", "/Channel/Application/Readers"),
        ("gateway/CommitStatus", "/Channel/Application/Readers"),
        ("_lifecycle/CommitChaincodeDefinition", "/Channel/Application/Writers"),
        ("_lifecycle/CommitChaincodeDefinitions", "/Channel/Application/Writers"),
        ("_lifecycle/InstallChaincode", LOCAL_ADMINS),
        ("cscc/GetChannels", LOCAL_MEMBERS),
    ],
)
def test_resources_have_fabrics_default_policies(members, resource, policy) -> None:
    """Those of defaultaclprovider.go."""
    assert ChannelConfiguration.from_block(genesis(members)).acl_policy(resource) == policy


def test_channel_may_name_another_policy_but_not_for_what_is_local(members) -> None:
    """What concerns one node only is its own member's business."""
    acls = {
        "peer/Propose": "Readers",
        "event/Block": "/Channel/Admins",
        "_lifecycle/InstallChaincode": "/Channel/Readers",
    }
    configuration = ChannelConfiguration.from_block(genesis(members, acls=acls))
    assert configuration.acl_policy("peer/Propose") == "/Channel/Application/Readers"
    assert configuration.acl_policy("event/Block") == "/Channel/Admins"
    assert configuration.acl_policy("_lifecycle/InstallChaincode") == LOCAL_ADMINS


def test_unknown_resource_is_open_to_nobody(members) -> None:
    """In Fabric's words."""
    with pytest.raises(ConfigurationError, match="Unmapped policy for door/Open"):
        ChannelConfiguration.from_block(genesis(members)).acl_policy("door/Open")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("orderers", [["NobodyMSP"], ["BankMSP", "NobodyMSP"]])
def test_orderer_that_is_no_member_is_refused(members, orderers) -> None:
    """Only members order."""
    with pytest.raises(ConfigurationError, match="must be some of the members"):
        genesis(members, orderers=orderers)


def test_channel_without_orderer_or_with_a_member_twice_is_refused(members) -> None:
    """Both would be unusable."""
    specs = [member.spec(orders=True) for member in members]
    with pytest.raises(ConfigurationError, match="must be some of the members"):
        build_genesis(CHANNEL, specs, orderers=[], when=NOW)
    with pytest.raises(ConfigurationError, match="there once"):
        build_genesis(CHANNEL, [*specs, specs[0]], orderers=["BankMSP"], when=NOW)


def test_orderer_without_endpoint_is_refused(members) -> None:
    """Followers could not find it."""
    specs = [member.spec() for member in members]
    with pytest.raises(ConfigurationError, match="no orderer endpoint"):
        build_genesis(CHANNEL, specs, orderers=["BankMSP"], when=NOW)


def test_definition_of_another_msp_is_refused(members) -> None:
    """The name in the definition is what counts on the channel."""
    spec = replace(members[0].spec(orders=True), msp_config=members[1].msp_config())
    with pytest.raises(IdentityError, match="BankMSP is not defined"):
        build_genesis(CHANNEL, [spec], orderers=["BankMSP"], when=NOW)


def test_definition_may_be_given_in_bytes(members) -> None:
    """As another member sends it; other bytes are refused."""
    spec = members[0].spec(orders=True)
    raw = replace(spec, msp_config=members[0].msp_config().SerializeToString())
    options: dict[str, Any] = {"orderers": ["BankMSP"], "when": NOW, "nonce": b"n" * 24}
    one = build_genesis(CHANNEL, [spec], **options)
    assert build_genesis(CHANNEL, [raw], **options) == one
    with pytest.raises(ConfigurationError, match="MSP definition of BankMSP"):
        build_genesis(CHANNEL, [replace(spec, msp_config=b"\xff\xff")], **options)


@pytest.mark.parametrize("name", ["", "Qist", "1qist", "qist/a", "q" * 250, "qist\n"])
def test_channel_id_that_breaks_fabrics_rule_is_refused(members, name) -> None:
    """A small letter first; small letters, digits, dots and dashes; 249 characters at most."""
    specs = [member.spec(orders=True) for member in members]
    with pytest.raises(ConfigurationError, match="channel id"):
        build_genesis(name, specs, orderers=["BankMSP"], when=NOW)


@pytest.mark.parametrize(
    "values", [(0, 10, 10, 1), (1, 0, 0, 1), (1, 10, 11, 1), (1, 10, 0, 1), (1, 10, 10, 0)]
)
def test_batch_that_no_orderer_could_cut_is_refused(values) -> None:
    """All above zero, and the preferred size at most the absolute one."""
    with pytest.raises(ConfigurationError, match="batch parameters"):
        BatchParameters(*values)


def test_policy_in_words_that_is_none_is_refused(members) -> None:
    """Also a rule of an unknown name."""
    for rule in ("SOME Writers", "AND('BankMSP.king')", ""):
        with pytest.raises(PolicyError, match="policy"):
            genesis(members, policies={"Mine": rule})


def test_access_by_a_policy_or_resource_that_does_not_exist_is_refused(members) -> None:
    """A misspelt name would lock everybody out, or nobody."""
    with pytest.raises(PolicyError, match="no such policy"):
        genesis(members, acls={"peer/Propose": "/Channel/Application/Nowhere"})


def test_block_without_configuration_is_none(members) -> None:
    """`config_of_block` tells; `from_block` refuses."""
    block = replace(genesis(members), data=(b"\x0a\x00", b"\x0a\x00"))
    assert config_of_block(block) is None
    with pytest.raises(ConfigurationError, match="no configuration block"):
        ChannelConfiguration.from_block(block)


def test_time_of_genesis_is_kept(members) -> None:
    """A rehearsal begins in the past."""
    when = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(milliseconds=5)
    specs = [member.spec(orders=True) for member in members]
    block = build_genesis(CHANNEL, specs, orderers=["BankMSP"], when=when, rehearsal=True)
    assert parse_transaction(block.data[0]).timestamp == when
