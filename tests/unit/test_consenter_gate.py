"""What the orderer's gate asks of an update where CometBFT orders, beyond what committers ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from fabric_protos.common import configuration_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from network.configuration import ChannelConfiguration, consenter_edits, edits
from network.configuration.consenters import consensus_key
from network.configuration.genesis import config_policy
from network.errors import OrderingRefusal
from network.msp import SigningIdentity
from network.ordering.reconfiguration import make_configuration, verify_orderable
from tests.support.consenters import (
    comet_genesis,
    consensus_certificate,
    consenter,
    four_members,
    link_certificate,
)
from tests.support.members import NOW, Member, genesis
from tests.support.updates import Edit, config_envelope_of, signed_update

BANK, MAKER, OPERATOR, PTA = MEMBERS = four_members()
ADMINS = [each.identity("admin", "admin") for each in MEMBERS]


@pytest.fixture(scope="module")
def current() -> ChannelConfiguration:
    return ChannelConfiguration.from_block(comet_genesis(MEMBERS))


@pytest.fixture(scope="module")
def solo() -> ChannelConfiguration:
    return ChannelConfiguration.from_block(genesis(MEMBERS, orderers=["OperatorMSP"]))


@pytest.fixture(scope="module")
def node() -> SigningIdentity:
    return OPERATOR.identity("node", "peer")


def made(
    current: ChannelConfiguration,
    edit: Edit,
    node: SigningIdentity,
    admins: Sequence[SigningIdentity] = ADMINS,
) -> ChannelConfiguration:
    """Have the gate make the configuration that comes of an edit."""
    envelope = make_configuration(current, signed_update(current, edit, admins), node, NOW)
    raw = config_envelope_of(envelope).SerializeToString()
    following = ChannelConfiguration.from_config_envelope(raw, current.channel_id)
    verify_orderable(current, following)
    return following


def migration(config: Any) -> None:
    consenter_edits.set_engine(config, "cometbft")
    for member in MEMBERS:
        consenter_edits.add_consenter(
            config,
            member.msp_id,
            (f"{member.msp_id.lower()}.example", 7052),
            consensus_certificate(member),
            link_certificate(member),
        )


def test_members_come_among_those_who_order_with_the_engine(solo, node) -> None:
    """One update puts everybody's node and consenter in; the sequencer puts it into a block."""
    found = made(solo, migration, node)
    assert found.consensus_type == "cometbft"
    assert [(each.number, each.msp_id) for each in found.consenters] == [
        (1, "BankMSP"),
        (2, "MakerMSP"),
        (3, "OperatorMSP"),
        (4, "PtaMSP"),
    ]
    assert {each[0] for each in found.orderer_endpoints} == {each.msp_id for each in MEMBERS}


def test_migration_needs_no_other_signature_than_of_those_who_order(solo, node) -> None:
    """The group Orderer is governed by the members in it, as in Fabric."""
    made(solo, migration, node, [ADMINS[2]])
    with pytest.raises(OrderingRefusal, match=r"policy for .*Orderer"):
        made(solo, migration, node, [ADMINS[0]])


def test_maintenance_is_refused(solo, node) -> None:
    """A change of engine needs no state before it."""

    def change(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["ConsensusType"]
        value.value = orderer_pb2.ConsensusType(type="solo", state=1).SerializeToString()

    with pytest.raises(OrderingRefusal, match="needs no maintenance to be exchanged"):
        made(solo, change, node)


def test_consenter_whose_node_nobody_finds_is_refused(current, node) -> None:
    """Clients and other nodes look for it among the orderer endpoints, and its member's peers."""

    def elsewhere(config: Any) -> None:
        edits.set_orderer_endpoints(config, "PtaMSP", [("pta.example", 1)])

    words = "consenter 4 of PtaMSP has no orderer endpoint at which the member has an anchor peer"
    with pytest.raises(OrderingRefusal, match=words):
        made(current, elsewhere, node)

    def nowhere(config: Any) -> None:
        group = config.channel_group.groups["Application"].groups["PtaMSP"]
        group.values["AnchorPeers"].value = peer_pb2.AnchorPeers().SerializeToString()

    with pytest.raises(OrderingRefusal, match=words):
        made(current, nowhere, node)

    def both(config: Any) -> None:
        edits.set_orderer_endpoints(config, "PtaMSP", [("pta.example", 1)])
        edits.set_anchor_peers(config, "PtaMSP", [("pta.example", 1)])

    made(current, both, node)


def test_first_endpoint_is_nobodys_privilege_under_cometbft(current, node) -> None:
    """In solo it names the node that orders; here a member in front may go."""

    def first_leaves(config: Any) -> None:
        consenter_edits.remove_consenter(config, "BankMSP")

    found = made(current, first_leaves, node)
    assert "BankMSP" not in {each[0] for each in found.orderer_endpoints}
    assert "BankMSP" in found.organisations


def test_member_that_leaves_may_ask_for_it_at_its_own_node(current, node) -> None:
    """Its node need not be able to order under what follows."""

    def leave(config: Any) -> None:
        consenter_edits.remove_consenter(config, "OperatorMSP")

    made(current, leave, node)


def test_update_that_keeps_this_consenter_from_ordering_is_refused(current, node) -> None:
    """A slip in the policy of blocks would leave the channel mute."""

    def clients_only(config: Any) -> None:
        policy = config.channel_group.groups["Orderer"].policies["BlockValidation"]
        policy.policy.CopyFrom(config_policy("OR('OperatorMSP.client')").policy)

    with pytest.raises(OrderingRefusal, match="may not sign blocks"):
        made(current, clients_only, node)


def test_every_validator_judges_an_update_alike(current) -> None:
    """What the gate asks of a configuration alone needs no identity of the node that asks."""
    capabilities = configuration_pb2.Capabilities()
    capabilities.capabilities["V9_9"].SetInParent()

    def change(config: Any) -> None:
        group = config.channel_group.groups["Orderer"]
        group.values["Capabilities"].value = capabilities.SerializeToString()

    for signer in (OPERATOR.identity("node", "peer"), PTA.identity("node", "peer")):
        with pytest.raises(OrderingRefusal, match="V9_9"):
            made(current, change, signer)


def test_member_joins_with_its_consenter_by_one_update(current, node) -> None:
    """It becomes a member of both groups, found at the first address of its nodes."""
    naya = Member("NayaMSP")

    def join(config: Any) -> None:
        edits.add_member(config, naya.spec(9999))
        consenter_edits.add_consenter(
            config,
            "NayaMSP",
            ("naya.example", 7052),
            consensus_certificate(naya),
            link_certificate(naya),
        )

    found = made(current, join, node)
    assert [each.number for each in found.consenters] == [1, 2, 3, 4, 5]
    assert ("NayaMSP", "localhost", 9999) in found.orderer_endpoints
    admins = [*ADMINS, naya.identity("admin", "admin")]

    def expel(config: Any) -> None:
        consenter_edits.remove_consenter(config, "BankMSP")
        edits.remove_member(config, "BankMSP")

    after = made(found, expel, node, admins)
    assert [each.number for each in after.consenters] == [2, 3, 4, 5]
    assert "BankMSP" not in after.organisations
    # A number that was given is not given to another member while a higher one is there.
    again = made(after, _rejoin, node, admins)
    assert [each.number for each in again.consenters] == [2, 3, 4, 5, 6]


def _rejoin(config: Any) -> None:
    edits.add_member(config, BANK.spec(7052))
    wanted = consenter(BANK, 0)
    consenter_edits.add_consenter(
        config,
        "BankMSP",
        (wanted.host, wanted.port),
        wanted.identity,
        wanted.server_tls_cert,
    )


def test_edits_of_one_consenter_leave_the_others(current, node) -> None:
    """Key, link and address of a member's consenter, each by itself."""
    pem, link = consensus_certificate(PTA), link_certificate(PTA)

    def change(config: Any) -> None:
        consenter_edits.replace_consensus_certificate(config, "PtaMSP", pem)
        consenter_edits.replace_link_certificate(config, "PtaMSP", link)
        consenter_edits.set_consenter_address(config, "PtaMSP", ("10.0.0.9", 99))

    found = made(current, change, node)
    assert found.consenters[:3] == current.consenters[:3]
    last = found.consenters[3]
    assert (last.number, last.host, last.port) == (4, "10.0.0.9", 99)
    assert (last.identity, last.server_tls_cert) == (pem, link)
    assert consensus_key(last) != consensus_key(current.consenters[3])
