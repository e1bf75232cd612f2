"""Who may have the data of a collection: members' nodes, and creators of proposals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer import collection_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2

from chaincode.system.definitions import LIFECYCLE, field_key, metadata_key
from ledger.state.ports import HistoryEntry, VersionedValue
from ledger.state.version import Version
from network.configuration import ChannelConfiguration
from network.policy import parse_policy
from nodes.private_data.access import Collections, CreatorAccess
from tests.support.members import Member, genesis

BANK, MAKER, PTA = Member("BankMSP"), Member("MakerMSP"), Member("PtaMSP")
CONFIGURATION = ChannelConfiguration.from_block(genesis([BANK, MAKER, PTA]))


def config(name: str, policy: Any, **options: Any) -> Any:
    """A collection; *policy* in words, or as the message."""
    made = collection_pb2.CollectionConfig()
    static = made.static_collection_config
    static.name = name
    envelope = parse_policy(policy) if isinstance(policy, str) else policy
    static.member_orgs_policy.signature_policy.CopyFrom(envelope)
    for option, value in options.items():
        setattr(static, option, value)
    return made


def package(*configs: Any) -> bytes:
    raw: bytes = collection_pb2.CollectionConfigPackage(config=configs).SerializeToString()
    return raw


def field_of(raw: bytes) -> bytes:
    made: bytes = db_pb2.StateData(Bytes=raw).SerializeToString()
    return made


@dataclass
class State:
    """A state with definitions; each names the block that wrote it."""

    definitions: dict[str, list[tuple[int, bytes]]]
    entries: dict[str, VersionedValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        metadata = db_pb2.StateMetadata(datatype="ChaincodeDefinition").SerializeToString()
        validation = chaincode_definition_pb2.ChaincodeValidationInfo(validation_plugin="vscc")
        for name, written in self.definitions.items():
            version = Version(written[-1][0], 0)
            values = {
                metadata_key(name): metadata,
                field_key(name, "Sequence"): db_pb2.StateData(Int64=1).SerializeToString(),
                field_key(name, "EndorsementInfo"): field_of(b""),
                field_key(name, "ValidationInfo"): field_of(validation.SerializeToString()),
                field_key(name, "Collections"): field_of(written[-1][1]),
            }
            for key, value in values.items():
                self.entries[key] = VersionedValue(value, version)

    def get(self, namespace: str, key: str) -> VersionedValue | None:
        assert namespace == LIFECYCLE
        return self.entries.get(key)

    def range(self, namespace: str, start: str, end: str) -> Iterator[tuple[str, VersionedValue]]:
        for key in sorted(self.entries):
            if start <= key < end:
                yield key, self.entries[key]

    def history(self, namespace: str, key: str) -> Iterator[HistoryEntry]:
        name = key.split("/")[2]
        for number, raw in reversed(self.definitions.get(name, [])):
            yield HistoryEntry("tx", Version(number, 0), field_of(raw), False, None)


TERMS = config("terms", "OR('BankMSP.member', 'PtaMSP.peer')")
STATE: Any = State({"book": [(5, package(TERMS))]})
COLLECTIONS = Collections(CONFIGURATION)


def identity(member: Member, unit: str = "client") -> Any:
    return CONFIGURATION.msps.deserialize(member.identity(unit=unit).serialized)


def test_collection_names_as_members_all_msps_of_its_principals() -> None:
    """A node is entitled by its member, whatever role the principal asks for."""
    found = COLLECTIONS.find(STATE, "book", "terms")
    assert found is not None
    assert found.members == ("BankMSP", "PtaMSP")


def test_collection_judges_an_identity_by_the_whole_principal() -> None:
    """A client is a member where the policy says member, and is none where it says peer."""
    found = COLLECTIONS.find(STATE, "book", "terms")
    assert found is not None
    assert found.is_member(identity(BANK))
    assert not found.is_member(identity(PTA))
    assert found.is_member(identity(PTA, "peer"))
    assert not found.is_member(identity(MAKER))


def test_collection_with_principals_of_other_kinds_names_their_members() -> None:
    """Units and identities name a member too; what cannot be read names nobody."""
    policy = parse_policy("OR('BankMSP.member', 'BankMSP.peer', 'BankMSP.admin', 'PtaMSP.client')")
    kinds = msp_principal_pb2.MSPPrincipal
    unit = msp_principal_pb2.OrganizationUnit(msp_identifier="MakerMSP")
    policy.identities[0].principal_classification = kinds.ORGANIZATION_UNIT
    policy.identities[0].principal = unit.SerializeToString()
    policy.identities[1].principal_classification = kinds.IDENTITY
    policy.identities[1].principal = PTA.identity().serialized
    policy.identities[2].principal_classification = kinds.IDENTITY
    policy.identities[2].principal = Member("BankMSP").identity().serialized
    policy.identities[3].principal = b"\xff"
    found = COLLECTIONS.of(package(config("odd", policy)), "book", "odd")
    assert found is not None
    assert found.members == ("MakerMSP", "PtaMSP")


@pytest.mark.parametrize(
    ("namespace", "name"),
    [("book", "nothing"), ("nobody", "terms"), ("nobody", "_implicit_org_BankMSP")],
)
def test_collection_that_nothing_defines_is_none(namespace: str, name: str) -> None:
    """Neither an unknown name nor any name of an unknown contract."""
    assert COLLECTIONS.find(STATE, namespace, name) is None


@pytest.mark.parametrize("namespace", ["book", LIFECYCLE])
def test_implicit_collection_belongs_to_one_member_alone(namespace: str) -> None:
    """Every contract has one for each member, `_lifecycle` too; its owner endorses."""
    found = COLLECTIONS.find(STATE, namespace, "_implicit_org_PtaMSP")
    assert found is not None
    assert found.members == ("PtaMSP",)
    assert found.is_member(identity(PTA))
    assert not found.is_member(identity(BANK))
    assert b"/Channel/Application/PtaMSP/Endorsement" in found.endorsement_policy
    assert (found.required_peer_count, found.maximum_peer_count) == (0, 1)
    assert COLLECTIONS.find(STATE, namespace, "_implicit_org_StrangerMSP") is None


def test_policy_that_cannot_be_read_entitles_nobody() -> None:
    """It does not stop a node either."""
    broken = parse_policy("OR('BankMSP.member')")
    broken.rule.n_out_of.rules[0].signed_by = 7
    found = COLLECTIONS.of(package(config("broken", broken)), "book", "broken")
    assert found is not None
    assert found.members == ()
    assert not found.is_member(identity(BANK))
    assert COLLECTIONS.of(b"\xff", "book", "terms") is None


def test_first_of_two_collections_of_one_name_counts() -> None:
    """As in Fabric's search."""
    second = config("terms", "OR('MakerMSP.member')")
    found = COLLECTIONS.of(package(TERMS, second), "book", "terms")
    assert found is not None
    assert found.members == ("BankMSP", "PtaMSP")


def test_collection_at_a_block_is_the_one_defined_before_it() -> None:
    """A definition counts from the block after it."""
    wider = config("terms", "OR('BankMSP.member', 'PtaMSP.member', 'MakerMSP.member')")
    state: Any = State({"book": [(5, package(TERMS)), (9, package(wider))]})
    assert COLLECTIONS.at_block(state, "book", "terms", 5) is None
    for number, members in ((6, 2), (9, 2), (10, 3)):
        found = COLLECTIONS.at_block(state, "book", "terms", number)
        assert found is not None
        assert len(found.members) == members
    now = COLLECTIONS.find(state, "book", "terms")
    assert now is not None
    assert len(now.members) == 3


def test_collections_of_a_member_are_found_with_its_implicit_ones() -> None:
    """Of all contracts, and of `_lifecycle`."""
    state: Any = State(
        {
            "book": [(5, package(TERMS, config("own", "OR('MakerMSP.member')")))],
            "cases": [(6, b"")],
        }
    )
    found = {(each.namespace, each.name) for each in COLLECTIONS.of_member(state, "PtaMSP")}
    implicit = "_implicit_org_PtaMSP"
    assert found == {
        ("book", "terms"),
        ("book", implicit),
        ("cases", implicit),
        (LIFECYCLE, implicit),
    }


@pytest.mark.parametrize("only_read", [False, True])
@pytest.mark.parametrize("only_write", [False, True])
def test_creator_outside_may_do_what_the_collection_does_not_keep_for_members(
    only_read: bool, only_write: bool
) -> None:
    """memberOnlyRead and memberOnlyWrite each say one thing."""
    made = config(
        "closed", "OR('BankMSP.member')", member_only_read=only_read, member_only_write=only_write
    )
    state: Any = State({"book": [(5, package(made))]})
    outsider = CreatorAccess(COLLECTIONS, state, identity(MAKER))
    assert outsider.exists("book", "closed")
    assert outsider.may_read("book", "closed") is not only_read
    assert outsider.may_write("book", "closed") is not only_write
    member = CreatorAccess(COLLECTIONS, state, identity(BANK))
    assert member.may_read("book", "closed")
    assert member.may_write("book", "closed")
    assert not member.exists("book", "nowhere")
    assert not member.may_read("book", "nowhere")
    assert not member.may_write("book", "nowhere")
