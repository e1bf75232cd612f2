"""Channels unlike the recorded one: replayed as a Fabric peer would, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import collection_pb2, policy_pb2

from ledger.blocks.block import Block
from ledger.blocks.metadata import COMMIT_HASH, LAST_CONFIG, SIGNATURES, TRANSACTIONS_FILTER
from ledger.channel import ChannelLedger
from ledger.errors import Refusal
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    HashedWrite,
    KVWrite,
    MetadataWrite,
    NamespaceRWSet,
)
from network.errors import ConfigurationError
from network.msp import SigningIdentity
from network.policy.language import parse_policy
from nodes.committer.signatures import SignaturePool
from nodes.replay.difference import Recount
from nodes.replay.support import UnsupportedChannel
from tests.support.fabric_chain import CONTRACT, FabricChain
from tests.support.members import CHANNEL, Member, signed_envelope
from tests.support.replaying import replay_all

MEMBERS = [Member("BankMSP"), Member("PtaMSP", intermediate=True), Member("MakerMSP")]
BOTH = "AND('BankMSP.peer', 'PtaMSP.peer')"
VALID = {"VALID": 1}
POLICY_FAILURE = {"ENDORSEMENT_POLICY_FAILURE": 1}


@pytest.fixture(scope="module")
def signatures() -> Iterator[SignaturePool]:
    pool = SignaturePool(2)
    yield pool
    pool.close()


@pytest.fixture
def judge(tmp_path: Path, signatures: SignaturePool) -> Callable[[FabricChain], list[Recount]]:
    def judged(chain: FabricChain) -> list[Recount]:
        ledger = ChannelLedger.open(tmp_path / f"ledger {len(list(tmp_path.iterdir()))}")
        try:
            return replay_all(chain.raw, ledger, signatures)
        finally:
            ledger.close()

    return judged


def codes(recounts: Sequence[Recount]) -> list[dict[str, int]]:
    for each in recounts:
        assert each.difference is None, each.difference
    return [each.ours for each in recounts[1:]]


def capabilities(group: Any, *names: str) -> None:
    message = configuration_pb2.Capabilities()
    for name in names:
        message.capabilities[name].SetInParent()
    group.values["Capabilities"].value = message.SerializeToString()


def peers(chain: FabricChain, *names: str) -> list[SigningIdentity]:
    return [chain.peers[name] for name in names]


def hashed(collection: str, key: bytes = b"k") -> NamespaceRWSet:
    write = HashedWrite(sha256(key).digest(), False, sha256(b"v").digest(), False)
    return NamespaceRWSet(CONTRACT, collections=(CollectionRWSet(collection, (), (write,)),))


@pytest.mark.parametrize("channel", [["V2_0"], ["V1_4_3"], ["V3_0"], ["V1_3", "V1_4_2", "V2_0"]])
@pytest.mark.parametrize("application", [["V2_0"], ["V2_5"], ["V1_3", "V2_0"]])
def test_channel_of_each_supported_capability_is_replayed(judge, channel, application) -> None:
    """Older names beside the newer ones ask for nothing more."""
    levels = {"channel": channel, "application": application}
    chain = FabricChain(MEMBERS, capabilities=levels)
    chain.add([chain.definition(BOTH)])
    chain.add([chain.put("a", b"1"), chain.put("a", b"2", endorsers=peers(chain, "BankMSP"))])
    assert codes(judge(chain)) == [VALID, {"VALID": 1, "ENDORSEMENT_POLICY_FAILURE": 1}]


@pytest.mark.parametrize(
    ("level", "names", "words"),
    [
        ("Application", ["V1_4_2"], "only channels at V2_0 or V2_5"),
        ("Application", ["V2_0", "V9_9"], "application capability V9_9"),
        ("", ["V2_0", "V4_0"], "channel capability V4_0"),
    ],
)
def test_capability_that_is_not_here_is_refused_by_name(judge, level, names, words) -> None:
    """In the genesis block, and in an update on its way."""

    def change(root: Any) -> None:
        capabilities(root.groups[level] if level else root, *names)

    with pytest.raises(UnsupportedChannel, match=words):
        judge(FabricChain(MEMBERS, change=change))
    chain = FabricChain(MEMBERS, capabilities={"channel": ["V2_0"]})
    chain.add_update(change, list(chain.admins.values()))
    with pytest.raises(UnsupportedChannel, match=words):
        judge(chain)


def test_capability_that_only_orderers_must_have_is_nothing_to_a_peer(judge) -> None:
    """A peer does not look at the orderers' capabilities."""
    chain = FabricChain(
        MEMBERS, change=lambda root: capabilities(root.groups["Orderer"], "V2_0", "V7_0")
    )
    chain.add([chain.definition(BOTH)])
    assert codes(judge(chain)) == [VALID]


def test_idemix_member_is_refused_by_name(judge) -> None:
    """X.509 is what we have."""

    def change(root: Any) -> None:
        group = root.groups["Application"].groups["MakerMSP"]
        config = msp_config_pb2.MSPConfig(type=1, config=b"")
        group.values["MSP"].value = config.SerializeToString()

    with pytest.raises(ConfigurationError, match=r"of type 1 \(Idemix\)"):
        judge(FabricChain(MEMBERS, change=change))


def test_contract_with_rules_of_its_own_is_refused_by_name_when_it_matters(judge) -> None:
    """Its definition is like any other's; a verdict on its transactions cannot be ours."""
    chain = FabricChain(MEMBERS)
    chain.add([chain.definition(BOTH, plugin="house-rules")])
    assert codes(judge(chain)) == [VALID]
    chain.add([chain.put("a", b"1")])
    with pytest.raises(UnsupportedChannel, match="validated by the plugin 'house-rules'"):
        judge(chain)


def test_channel_without_lifecycle_policy_asks_members_of_more_than_half(judge) -> None:
    """Any identity of two of three organisations may define a contract then, as in Fabric."""
    chain = FabricChain(
        MEMBERS,
        change=lambda root: root.groups["Application"].policies.pop("LifecycleEndorsement"),
    )
    clients = list(chain.clients.values())
    chain.add([chain.definition(BOTH, endorsers=clients[:1])])
    chain.add([chain.definition(BOTH, endorsers=[clients[0], chain.admins["BankMSP"]])])
    chain.add([chain.definition(BOTH, endorsers=clients[1:])])
    assert codes(judge(chain)) == [POLICY_FAILURE, POLICY_FAILURE, VALID]


def test_implicit_collection_of_a_member_without_policy_asks_any_of_its_identities(judge) -> None:
    """With an Endorsement policy it is that one."""
    chain = FabricChain(
        MEMBERS,
        change=lambda root: root.groups["Application"].groups["PtaMSP"].policies.pop("Endorsement"),
    )
    chain.add([chain.definition("OR('BankMSP.peer')")])
    by_client = [chain.clients["PtaMSP"], chain.clients["BankMSP"]]
    for collection in ("_implicit_org_PtaMSP", "_implicit_org_BankMSP", "_implicit_org_Nobody"):
        chain.add([chain.transaction([hashed(collection)], endorsers=by_client)])
    assert codes(judge(chain)) == [VALID, VALID, POLICY_FAILURE, POLICY_FAILURE]


def test_contract_with_a_policy_of_the_channel_follows_its_changes(judge) -> None:
    """A reference, absolute or below /Channel, is looked up in the configuration in force."""
    for reference in ("/Channel/Application/Endorsement", "Application/Endorsement"):
        chain = FabricChain(MEMBERS)
        policy = policy_pb2.ApplicationPolicy(channel_config_policy_reference=reference)
        chain.add([chain.definition(policy.SerializeToString())])
        two = peers(chain, "BankMSP", "MakerMSP")
        chain.add([chain.put("a", b"1", endorsers=two)])

        def all_of_them(root: Any) -> None:
            meta = policies_pb2.ImplicitMetaPolicy(sub_policy="Endorsement", rule=1)
            changed = root.groups["Application"].policies["Endorsement"].policy
            changed.value = meta.SerializeToString()

        chain.add_update(all_of_them, list(chain.admins.values()))
        chain.add([chain.put("a", b"2", endorsers=two), chain.put("b", b"1")])
        assert codes(judge(chain)) == [
            VALID,
            VALID,
            VALID,
            {"VALID": 1, "ENDORSEMENT_POLICY_FAILURE": 1},
        ]


def test_several_orderer_organisations_may_sign(judge) -> None:
    """ANY Writers of the group Orderer, whoever of its members it is."""
    pta = MEMBERS[1]

    def change(root: Any) -> None:
        groups = root.groups["Orderer"].groups
        groups["PtaMSP"].CopyFrom(groups["BankMSP"])
        groups["PtaMSP"].values["MSP"].value = pta.msp_config().SerializeToString()
        for name in ("Readers", "Writers", "Admins"):
            envelope = policies_pb2.SignaturePolicyEnvelope.FromString(
                groups["PtaMSP"].policies[name].policy.value
            )
            for each in envelope.identities:
                each.principal = each.principal.replace(b"\x0a\x07BankMSP", b"\x0a\x06PtaMSP")
            groups["PtaMSP"].policies[name].policy.value = envelope.SerializeToString()

    chain = FabricChain(MEMBERS, change=change)
    chain.add([chain.definition(BOTH)], signers=[(1, pta.identity("orderer", "orderer"))])
    chain.add([chain.put("a", b"1")])
    assert codes(judge(chain)) == [VALID, VALID]


def test_ed25519_creator_is_nobody_below_v3(judge) -> None:
    """And a creator from channel capability V3_0 on."""
    for level, expected in (("V2_0", {"BAD_CREATOR_SIGNATURE": 1}), ("V3_0", VALID)):
        chain = FabricChain(MEMBERS, capabilities={"channel": [level]})
        chain.add([chain.definition(BOTH)])
        creator = MEMBERS[0].identity("edwards", algorithm="Ed25519")
        chain.add([chain.put("a", b"1", creator=creator)])
        assert codes(judge(chain)) == [VALID, expected]


def test_members_without_units_have_no_roles_but_member_and_admin(judge) -> None:
    """MSPs without node units: members and named admins exist, peers do not."""
    plain = {each.msp_id: each.identity("an admin") for each in MEMBERS}

    def change(root: Any) -> None:
        application = root.groups["Application"]
        application.policies.pop("LifecycleEndorsement")
        for each in MEMBERS[1:]:
            config = each.msp_config(
                fabric_node_ous=None, admins=[plain[each.msp_id].certificate.pem]
            )
            application.groups[each.msp_id].values["MSP"].value = config.SerializeToString()

    chain = FabricChain(MEMBERS, change=change)
    for policy in (
        "AND('PtaMSP.member', 'MakerMSP.member')",
        "OR('PtaMSP.peer', 'MakerMSP.peer')",
        "AND('PtaMSP.admin', 'MakerMSP.admin')",
    ):
        chain.add([chain.definition(policy)])
        chain.add([chain.put("a", b"1", endorsers=list(plain.values()))])
    assert codes(judge(chain)) == [VALID, VALID, VALID, POLICY_FAILURE, VALID, VALID]


def test_channel_before_v1_4_3_knows_clients_and_peers_by_their_units_only(judge) -> None:
    """An admin is one that the member names, and a unit of orderers makes nobody one."""
    named = {each.msp_id: each.identity("named") for each in MEMBERS}

    def change(root: Any) -> None:
        capabilities(root, "V1_4_2")
        for group in ("Application", "Orderer"):
            for name, inner in root.groups[group].groups.items():
                member = next(each for each in MEMBERS if each.msp_id == name)
                config = member.msp_config(admins=[named[name].certificate.pem])
                inner.values["MSP"].value = config.SerializeToString()

    chain = FabricChain(MEMBERS, change=change)
    by_unit = dict(chain.consenters)
    chain.consenters = {1: MEMBERS[0].identity("orderer", "peer")}
    chain.add([chain.definition("OR('BankMSP.admin', 'PtaMSP.peer')")])
    for endorser in (chain.peers["PtaMSP"], chain.admins["BankMSP"], named["BankMSP"]):
        chain.add([chain.put("a", b"1", endorsers=[endorser])])
    chain.add([chain.put("a", b"1", creator=chain.admins["BankMSP"])])
    assert codes(judge(chain)) == [
        VALID,
        VALID,
        POLICY_FAILURE,
        VALID,
        {"BAD_CREATOR_SIGNATURE": 1},
    ]
    chain.add([chain.put("b", b"1")], signers=list(by_unit.items()))
    found = judge(chain)[-1].difference
    assert found is not None
    assert found.check == "the orderers' signatures"


def test_last_configuration_in_the_old_place_alone_is_read(judge) -> None:
    """Orderers before 1.4.1 signed an empty value and wrote the number into LAST_CONFIG."""
    chain = FabricChain(MEMBERS, capabilities={"channel": ["V2_0"]})
    chain.add([chain.definition(BOTH)])
    block = chain.blocks[-1]
    signed = chain.sign(b"", block.header, 1, chain.consenters[1])
    entries = list(block.metadata)
    entries[SIGNATURES] = common_pb2.Metadata(signatures=[signed]).SerializeToString()
    chain.blocks[-1] = Block(block.header, block.data, tuple(entries))
    assert codes(judge(chain)) == [VALID]
    wrong = common_pb2.LastConfig(index=7).SerializeToString()
    entries[LAST_CONFIG] = common_pb2.Metadata(value=wrong).SerializeToString()
    chain.blocks[-1] = Block(block.header, block.data, tuple(entries))
    found = judge(chain)[-1].difference
    assert found is not None
    assert found.check == "number of the last configuration block"


def batch_of(count: int) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        value = root.groups["Orderer"].values["BatchSize"]
        message = orderer_pb2.BatchSize.FromString(value.value)
        message.max_message_count = count
        value.value = message.SerializeToString()

    return change


def test_many_configuration_updates_are_followed(judge) -> None:
    """Each is applied once more, with its signatures, and the next one stands on it."""
    chain = FabricChain(MEMBERS)
    chain.add([chain.definition(BOTH)])
    for count in range(20, 32):
        chain.add_update(batch_of(count), [chain.admins["BankMSP"]])
    chain.add([chain.put("a", b"1")])
    assert codes(judge(chain)) == [VALID] * 14
    assert chain.configuration.sequence == 12


def test_configuration_that_may_not_follow_is_invalid_and_changes_nothing(judge) -> None:
    """Where Fabric's peer would stop for ever, the transaction has a code and the chain goes on."""
    chain = FabricChain(MEMBERS)
    chain.add([chain.definition(BOTH)])
    orderer = chain.consenters[1]
    invalid = {"INVALID_CONFIG_TRANSACTION": 1}
    not_agreed = chain.update(batch_of(7), [chain.clients["BankMSP"]])
    chain.add([not_agreed])
    chain.add([signed_envelope(orderer, b"", header_type=common_pb2.CONFIG)])
    chain.add([signed_envelope(orderer, b"garbage", header_type=common_pb2.CONFIG)])
    chain.add([signed_envelope(orderer, chain_config(chain), header_type=common_pb2.CONFIG)])
    by_nobody = Member("OtherMSP").identity()
    chain.add([signed_envelope(by_nobody, b"garbage", header_type=common_pb2.CONFIG)])
    agreed = chain.update(batch_of(8), [chain.admins["BankMSP"]])
    chain.add([chain.put("a", b"1"), agreed, chain.put("b", b"1")])
    chain.add_update(batch_of(9), [chain.admins["BankMSP"]])
    assert codes(judge(chain)) == [
        VALID,
        invalid,
        invalid,
        invalid,
        invalid,
        {"BAD_CREATOR_SIGNATURE": 1},
        {"VALID": 2, "INVALID_CONFIG_TRANSACTION": 1},
        VALID,
    ]


def chain_config(chain: FabricChain) -> bytes:
    """Return the configuration in force as it stands in its block: no next sequence."""
    payload = common_pb2.Payload.FromString(
        common_pb2.Envelope.FromString(chain.blocks[chain.last_config].data[0]).payload
    )
    raw: bytes = payload.data
    return raw


def test_configuration_that_is_said_to_be_valid_and_is_not_is_explained(judge) -> None:
    """With the element and the policy that its signers do not satisfy."""
    chain = FabricChain(MEMBERS)
    chain.add_update(batch_of(7), [chain.clients["BankMSP"]])
    block = chain.blocks[-1]
    entries = list(block.metadata)
    entries[TRANSACTIONS_FILTER] = b"\0"
    entries[COMMIT_HASH] = b"\x0a\x20" + bytes(32)
    chain.blocks[-1] = Block(block.header, block.data, tuple(entries))
    found = judge(chain)[-1].difference
    assert found is not None
    assert (found.ours, found.theirs) == ("6 INVALID_CONFIG_TRANSACTION", "0 VALID")
    assert found.check == "channel configuration"
    assert "BatchSize" in found.detail[0]


def test_organisation_that_leaves_loses_its_identities_with_the_next_block(judge) -> None:
    """And one whose certificate is revoked, too."""
    chain = FabricChain(MEMBERS)
    chain.add([chain.definition("OR('BankMSP.peer')")])
    maker = chain.clients["MakerMSP"]
    chain.add([chain.put("a", b"1", creator=maker)])
    chain.add_update(
        lambda root: root.groups["Application"].groups.pop("MakerMSP"), list(chain.admins.values())
    )
    chain.add([chain.put("b", b"1", creator=maker)])
    assert codes(judge(chain)) == [VALID, VALID, VALID, {"BAD_CREATOR_SIGNATURE": 1}]


def test_recording_of_another_channel_in_its_headers_is_judged_by_the_genesis_block(judge) -> None:
    """A transaction for another channel is nobody's here."""
    chain = FabricChain(MEMBERS)
    other = signed_envelope(chain.clients["BankMSP"], channel_id="other")
    nameless = signed_envelope(chain.clients["BankMSP"], channel_id="")
    chain.add([other, nameless])
    assert CHANNEL != "other"
    assert codes(judge(chain)) == [{"BAD_CREATOR_SIGNATURE": 2}]


def test_genesis_block_that_breaks_a_rule_is_refused_with_the_rule(judge) -> None:
    """No peer could have joined with it."""

    def change(root: Any) -> None:
        root.groups.pop("Orderer")

    with pytest.raises(Refusal, match="it must have Application and Orderer"):
        judge(FabricChain(MEMBERS, change=change))


def test_collection_is_judged_by_its_own_policy_and_then_the_contracts(judge) -> None:
    """In Fabric's order of precedence; a collection that is not defined satisfies nobody."""
    package = collection_pb2.CollectionConfigPackage()
    own = package.config.add().static_collection_config
    own.name = "own"
    own.endorsement_policy.signature_policy.CopyFrom(parse_policy("OR('PtaMSP.peer')"))
    package.config.add().static_collection_config.name = "plain"
    chain = FabricChain(MEMBERS)
    chain.add([chain.definition(BOTH, collections=package.SerializeToString())])
    for names in (("PtaMSP",), ("BankMSP", "PtaMSP")):
        for collection in ("own", "plain", "none"):
            chain.add([chain.transaction([hashed(collection)], endorsers=peers(chain, *names))])
    public = NamespaceRWSet(CONTRACT, writes=(KVWrite("k", False, b"v"),))
    both = NamespaceRWSet(CONTRACT, writes=public.writes, collections=hashed("own").collections)
    chain.add([chain.transaction([both], endorsers=peers(chain, "PtaMSP"))])
    assert codes(judge(chain)) == [
        VALID,
        VALID,
        POLICY_FAILURE,
        POLICY_FAILURE,
        VALID,
        VALID,
        POLICY_FAILURE,
        POLICY_FAILURE,
    ]


def metadata(key: bytes, *policies: str) -> CollectionRWSet:
    entries = tuple(
        ("VALIDATION_PARAMETER", parse_policy(each).SerializeToString()) for each in policies
    )
    write = HashedMetadataWrite(sha256(key).digest(), entries)
    return CollectionRWSet("_implicit_org_MakerMSP", metadata_writes=(write,))


def test_own_policy_of_a_private_key_counts_as_long_as_its_collection_is_there(judge) -> None:
    """With the organisation goes its implicit collection, and what keys in it asked for."""
    chain = FabricChain(MEMBERS)
    chain.add([chain.definition("OR('BankMSP.peer')")])
    mine = "_implicit_org_MakerMSP"
    chain.add([chain.transaction([hashed(mine)])])
    own = NamespaceRWSet(CONTRACT, collections=(metadata(b"k", "OR('PtaMSP.peer')"),))
    chain.add([chain.transaction([own])])
    by_pta = peers(chain, "PtaMSP")
    chain.add([chain.transaction([hashed(mine)], endorsers=by_pta)])
    chain.add([chain.transaction([hashed(mine)], endorsers=peers(chain, "MakerMSP"))])
    chain.add_update(
        lambda root: root.groups["Application"].groups.pop("MakerMSP"), list(chain.admins.values())
    )
    chain.add([chain.transaction([hashed(mine)], endorsers=by_pta)])
    assert codes(judge(chain)) == [
        VALID,
        VALID,
        VALID,
        VALID,
        POLICY_FAILURE,
        VALID,
        POLICY_FAILURE,
    ]


def test_last_of_two_policies_of_a_key_counts(judge) -> None:
    """Metadata are entries by name, and of two with one name the later one stands."""
    chain = FabricChain(MEMBERS)
    chain.add([chain.definition("OR('BankMSP.peer')")])
    chain.add([chain.put("a", b"1")])
    entries = tuple(
        ("VALIDATION_PARAMETER", parse_policy(each).SerializeToString())
        for each in ("OR('PtaMSP.peer')", "OR('MakerMSP.peer')")
    )
    write = NamespaceRWSet(CONTRACT, metadata_writes=(MetadataWrite("a", entries),))
    chain.add([chain.transaction([write])])
    chain.add([chain.put("a", b"2", endorsers=peers(chain, "PtaMSP"))])
    chain.add([chain.put("a", b"2", endorsers=peers(chain, "MakerMSP"))])
    assert codes(judge(chain)) == [VALID, VALID, VALID, POLICY_FAILURE, VALID]
