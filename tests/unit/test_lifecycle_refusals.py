"""What `_lifecycle` refuses, each in Fabric's words, and what a node agrees to."""

from __future__ import annotations

from typing import Any

import pytest
from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer import collection_pb2, policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.simulator import SimulationResult
from chaincode.system import LIFECYCLE, load_definition
from ledger.state.version import Version
from ledger.transactions.rwset import decode_tx_rwset
from tests.support.consortium import Consortium, first_definition
from tests.support.memory_state import MemoryState
from tests.support.toy_package import define

BANK, OPERATOR, PTA = "BankMSP", "OperatorMSP", "PtaMSP"


@pytest.fixture
def world() -> Consortium:
    """Three organisations; the bank's node has toy and its sister in versions 1 and 2."""
    world = Consortium()
    world.packages[BANK].offered = {
        (name, version) for name in ("toy", "sister") for version in ("1", "2")
    }
    return world


def found(world: Consortium, **changes: Any) -> SimulationResult:
    """Ask the bank's node for the first definition of toy, with changes."""
    return world.found(BANK, first_definition(**changes))


def collection(name: str = "terms", **changes: Any) -> collection_pb2.CollectionConfigPackage:
    """Return a package of one collection of the bank's, with changes."""
    config = collection_pb2.StaticCollectionConfig(
        **({"name": name, "maximum_peer_count": 1, "block_to_live": 7} | changes)
    )
    if "member_orgs_policy" not in changes:
        config.member_orgs_policy.signature_policy.CopyFrom(alternatives(role(BANK), role(PTA)))
    package = collection_pb2.CollectionConfigPackage()
    package.config.add().static_collection_config.CopyFrom(config)
    return package


def role(msp_id: str) -> msp_principal_pb2.MSPPrincipal:
    """Return the principal of an organisation's members."""
    member = msp_principal_pb2.MSPRole(msp_identifier=msp_id)
    return msp_principal_pb2.MSPPrincipal(principal=member.SerializeToString())


def alternatives(*principals: Any, n: int = 1) -> policies_pb2.SignaturePolicyEnvelope:
    """Return a policy that asks for *n* of these principals."""
    policy = policies_pb2.SignaturePolicyEnvelope(identities=principals)
    policy.rule.n_out_of.n = n
    for number in range(len(principals)):
        policy.rule.n_out_of.rules.add(signed_by=number)
    return policy


def with_policy(policy: policies_pb2.SignaturePolicyEnvelope) -> dict[str, Any]:
    """Return the change of a collection that gives it a policy."""
    return {"member_orgs_policy": {"signature_policy": policy}}


def both(*packages: Any) -> collection_pb2.CollectionConfigPackage:
    """Return one package of the collections of several."""
    joined = collection_pb2.CollectionConfigPackage()
    for package in packages:
        joined.config.extend(package.config)
    return joined


# ---- first definitions, which nobody approves


def test_definition_that_names_no_plugins_gets_fabrics(world: Consortium) -> None:
    """Empty plugins and an empty policy become Fabric's defaults."""
    result = found(world, validation_parameter=b"")
    assert (result.status, result.namespaces) == (200, (LIFECYCLE,))
    world.write(result)
    definition = load_definition(world.state, "toy")
    assert definition is not None
    assert definition.endorsement_plugin == "escc"
    assert definition.validation_plugin == "vscc"
    policy = policy_pb2.ApplicationPolicy.FromString(definition.policy)
    assert policy.channel_config_policy_reference == "/Channel/Application/Endorsement"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "invalid chaincode name ''. Names can only consist of alphanumerics"),
    ({"name": "-toy"}, "invalid chaincode name '-toy'"),
    ({"name": "to.y"}, "invalid chaincode name"),
    ({"name": "t" * 65}, "invalid chaincode name"),
    ({"name": "qscc"}, "chaincode name 'qscc' is the name of a system chaincode"),
    ({"version": ""}, "invalid chaincode version ''. Versions can only consist of"),
    ({"version": "1 0"}, "invalid chaincode version '1 0'"),
    ({"endorsement_plugin": "mine"}, "plugins that no node has"),
    ({"validation_plugin": "mine"}, "plugins that no node has"),
    ({"validation_parameter": b"\xff\xff"}, "is no ApplicationPolicy"),
    ({"collections": {"config": [{}]}}, "collection config contains unexpected payload type"),
    ({"collections": collection("_x")}, "invalid collection name '_x'. Names can only consist"),
    ({"collections": both(collection(), collection())},
     "collection-name: terms -- found duplicate in collection configuration"),
    ({"collections": collection(required_peer_count=2)},
     "collection-name: terms -- maximum peer count (1) cannot be less than the required peer "
     "count (2)"),
    ({"collections": collection(required_peer_count=-1)},
     "collection-name: terms -- requiredPeerCount (-1) cannot be less than zero"),
    ({"collections": collection(member_orgs_policy=None)},
     "collection member policy is not set for collection 'terms'"),
    ({"collections": collection(member_orgs_policy={})},
     "collection member org policy is empty for collection 'terms'"),
    ({"collections": collection(**with_policy(policies_pb2.SignaturePolicyEnvelope()))},
     "invalid member org policy for collection 'terms'"),
    ({"collections": collection(**with_policy(alternatives(role(BANK), role(PTA), n=2)))},
     "collection-name: terms -- error in member org policy: signature policy is not an OR "
     "concatenation, NOutOf 2"),
    ({"collections": collection(**with_policy(alternatives(role("OtherMSP"))))},
     "collection-name: terms -- collection member 'OtherMSP' is not part of the channel"),
    ({"collections": collection(**with_policy(alternatives(
        {"principal_classification": 2, "principal": b"unknown"})))},
     "collection-name: terms -- contains an identity that is not part of the channel"),
    ({"collections": collection(**with_policy(alternatives(
        {"principal_classification": 3, "principal": b""})))},
     "collection-name: terms -- principal type 3 is not supported"),
    ({"collections": collection(**with_policy(alternatives({"principal": b"\xff"})))},
     "collection-name: terms -- cannot unmarshal identity bytes into MSPRole"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *WRONG,
        ({"version": "3"}, "chaincode definition not agreed to by this org (BankMSP)"),
        ({"name": "other"}, "chaincode definition not agreed to by this org (BankMSP)"),
        ({"sequence": 0}, "requested sequence is 0, but new definition must be sequence 1"),
        ({"sequence": 2}, "requested sequence is 2, but new definition must be sequence 1"),
        ({"sequence": -1}, "requested sequence is -1, but"),
    ],
)
def test_first_definition_that_could_not_be_used_is_refused(
    world: Consortium, changes: dict[str, Any], words: str
) -> None:
    """Names, plugins, policy, collections, sequence and version are checked before anything is
    written.
    """
    result = found(world, **changes)
    assert 400 <= result.status < 500
    assert words in result.message
    assert result.rwset == b""


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_approval_and_commit_of_what_could_not_be_used_are_refused(
    world: Consortium, changes: dict[str, Any], words: str
) -> None:
    """An approval and a commit are under the same rules as a first definition."""
    for result in (world.approve(BANK, **changes), world.commit(BANK, **changes)):
        assert 400 <= result.status < 500
        assert words in result.message
        assert (result.rwset, result.private) == (b"", b"")


def test_definition_without_policy_needs_the_channels(world: Consortium) -> None:
    """Fabric's default policy must exist in the channel."""
    world.channel.policies.clear()
    result = world.approve(BANK, validation_parameter=b"")
    assert result.status == 400
    assert (
        "policy '/Channel/Application/Endorsement' must be defined for the channel"
        in result.message
    )


def test_first_definition_that_stands_is_not_founded_again(world: Consortium) -> None:
    """Neither sequence 1 nor the next is founded over it; the next needs approvals."""
    world.write(found(world))
    again, following = found(world), found(world, sequence=2, version="2")
    assert again.status == following.status == 409
    assert "requested sequence is 1, but new definition must be sequence 2" in again.message
    assert "is no first one, or organisations have begun to approve it" in following.message


def test_first_definition_that_somebody_approves_is_not_founded(world: Consortium) -> None:
    """Once approvals have begun, only a commit that counts them defines the contract."""
    world.write(world.approve(PTA, version="2"))
    result = found(world)
    assert result.status == 409
    assert "organisations have begun to approve it" in result.message


def test_two_first_definitions_conflict_by_what_they_read(world: Consortium) -> None:
    """Metadata and sequence are read as absent, so the second of two in one block is invalid."""
    first, second = found(world), found(world, version="2")
    assert second.status == 200
    world.write(first)
    assert world.state.conflicts(second)


def test_approval_in_flight_makes_a_founding_invalid(world: Consortium) -> None:
    """That nobody has approved is read, so an approval before it in the block is a conflict."""
    founding, approval = found(world), world.approve(OPERATOR)
    world.write(approval)
    assert world.state.conflicts(founding)


def test_several_definitions_write_what_each_alone_would(world: Consortium) -> None:
    """One transaction reads and writes, for each contract, what a definition alone does."""
    together = world.found(BANK, first_definition(), first_definition("sister"))
    assert (together.status, together.payload) == (200, b"")
    (joined,) = decode_tx_rwset(together.rwset).namespaces
    alone = [
        decode_tx_rwset(found(world, name=name).rwset).namespaces[0] for name in ("sister", "toy")
    ]
    assert sorted(joined.reads, key=str) == sorted((*alone[0].reads, *alone[1].reads), key=str)
    assert sorted(joined.writes, key=str) == sorted((*alone[0].writes, *alone[1].writes), key=str)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (first_definition("sister", version="3"), "definition of sister: chaincode"),
        (first_definition("sister", sequence=2), "new definition must be sequence 1"),
        (first_definition(), "the definition of toy: is asked for twice in one transaction"),
        (b"\xff", "the argument: failed to decode input arg"),
    ],
)
def test_one_definition_that_is_refused_takes_the_others_with_it(
    world: Consortium, second: bytes, words: str
) -> None:
    """All or nothing: the refusal names the one that is wrong, and nothing is written."""
    result = world.found(BANK, first_definition(), second)
    assert 400 <= result.status < 500
    assert words in result.message
    assert result.rwset == b""


def test_call_for_several_definitions_without_any_is_refused(world: Consortium) -> None:
    """A transaction that defines nothing is a mistake."""
    result = world.found(BANK)
    assert result.status == 400
    assert "requires at least one argument" in result.message


# ---- approvals


@pytest.mark.parametrize(
    ("defined", "sequence", "words"),
    [
        (0, 0, "requested sequence is 0, but first definable sequence number is 1"),
        (0, -1, "currently defined sequence 0 is larger than requested sequence -1"),
        (0, 2, "requested sequence 2 is larger than the next available sequence number 1"),
        (2, 1, "currently defined sequence 2 is larger than requested sequence 1"),
        (2, 4, "requested sequence 4 is larger than the next available sequence number 3"),
    ],
)
def test_approval_of_another_sequence_is_refused(
    world: Consortium, defined: int, sequence: int, words: str
) -> None:
    """The definition in force and the next one can be approved, nothing else."""
    for number in range(1, defined + 1):
        world.define(sequence=number, version=str(number))
    result = world.approve(BANK, sequence=sequence)
    assert result.status == 409
    assert words in result.message


def test_approval_in_force_with_other_parameters_is_refused(world: Consortium) -> None:
    """What stands can be approved late, but only as it stands."""
    world.define(collections=collection())
    for changes, words in (
        ({"version": "2"}, "expected Version '1' does not match passed Version '2'"),
        ({"init_required": True}, "expected InitRequired 'false' does not match passed"),
        ({"validation_parameter": b""}, "expected ValidationParameter"),
        ({"collections": collection(maximum_peer_count=3)}, "Collections do not match"),
    ):
        result = world.approve(OPERATOR, **({"collections": collection()} | changes))
        assert result.status == 409
        assert (
            "attempted to redefine the current committed sequence (1) for namespace toy with "
            "different parameters" in result.message
        )
        assert words in result.message


def test_approval_that_changes_nothing_is_refused(world: Consortium) -> None:
    """Before and after the commit; another package is a change."""
    world.write(world.approve(BANK, package_id="toy:1"))
    again = world.approve(BANK, package_id="toy:1")
    assert (
        "attempted to redefine uncommitted sequence (1) for namespace toy with unchanged content"
        in again.message
    )
    world.write(world.approve(BANK, package_id="toy:2"))
    world.write(world.commit(BANK))
    after = world.approve(BANK, package_id="toy:2")
    assert (
        "attempted to redefine the current committed sequence (1) for namespace toy"
        in after.message
    )
    third = world.write(world.approve(BANK, package_id="toy:3"))
    hashed = decode_tx_rwset(third.rwset).namespaces[0].collections[0]
    assert len(hashed.hashed_writes) == 1


def test_approval_is_written_for_the_own_organisation_alone(world: Consortium) -> None:
    """It touches one collection, and nothing of it is public."""
    result = world.approve(OPERATOR, package_id="toy:1")
    (found_in,) = decode_tx_rwset(result.rwset).namespaces
    assert [each.collection for each in found_in.collections] == ["_implicit_org_OperatorMSP"]
    assert found_in.writes == ()
    assert result.namespaces == (LIFECYCLE,)


def test_approvals_of_the_own_organisation_are_answered(world: Consortium) -> None:
    """One by its sequence, without one the newest that counts, and all."""
    world.define(package_id="toy:1", collections=collection())
    world.write(world.approve(BANK, package_id="toy:2", sequence=2, collections=collection()))
    one = lifecycle_pb2.QueryApprovedChaincodeDefinitionArgs
    newest = world.call(BANK, "QueryApprovedChaincodeDefinition", one(name="toy"))
    answer = lifecycle_pb2.QueryApprovedChaincodeDefinitionResult.FromString(newest.payload)
    assert (answer.sequence, answer.source.local_package.package_id) == (2, "toy:2")
    assert answer.collections == collection()
    first = world.call(BANK, "QueryApprovedChaincodeDefinition", one(name="toy", sequence=1))
    answer = lifecycle_pb2.QueryApprovedChaincodeDefinitionResult.FromString(first.payload)
    assert answer.source.local_package.package_id == "toy:1"
    every = world.call(BANK, "QueryApprovedChaincodeDefinitions", b"")
    listed = lifecycle_pb2.QueryApprovedChaincodeDefinitionsResult.FromString(every.payload)
    assert [(each.name, each.sequence) for each in listed.approved_chaincode_definitions] == [
        ("toy", 1),
        ("toy", 2),
    ]
    other = world.call(PTA, "QueryApprovedChaincodeDefinition", one(name="toy", sequence=2))
    assert other.status == 404
    assert (
        "could not fetch approved chaincode definition (name: 'toy', sequence: '2') on channel "
        "'qist'" in other.message
    )


def test_approval_without_a_package_says_so(world: Consortium) -> None:
    """An organisation may approve what it does not run."""
    world.write(world.approve(PTA))
    asked = lifecycle_pb2.QueryApprovedChaincodeDefinitionArgs(name="toy")
    result = world.call(PTA, "QueryApprovedChaincodeDefinition", asked)
    answer = lifecycle_pb2.QueryApprovedChaincodeDefinitionResult.FromString(result.payload)
    assert answer.source.WhichOneof("Type") == "unavailable"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("namespaces/metadata/toy#1", b"\xff"),
        ("namespaces/metadata/toy#1", b"\n\x05Other"),
        ("namespaces/fields/toy#1/EndorsementInfo", b"\xff"),
        ("namespaces/fields/toy#1/EndorsementInfo", b"\x12\x01\xff"),
        ("namespaces/fields/toy#1/ValidationInfo", b"\x12\x01\xff"),
        ("namespaces/fields/toy#1/Collections", b"\x12\x01\xff"),
        ("chaincode-sources/metadata/toy#1", b"\xff"),
        ("chaincode-sources/fields/toy#1/PackageID", b"\xff"),
    ],
)
def test_approval_that_cannot_be_read_is_said_and_can_be_given_again(
    world: Consortium, key: str, value: bytes
) -> None:
    """Whatever an organisation's own node once wrote there; the next approval writes all of it."""
    world.write(world.approve(BANK, package_id="toy:1"))
    world.state.put_private(LIFECYCLE, "_implicit_org_BankMSP", key, value, Version(8, 0))
    asked = lifecycle_pb2.QueryApprovedChaincodeDefinitionArgs(name="toy", sequence=1)
    for result in (
        world.call(BANK, "QueryApprovedChaincodeDefinition", asked),
        world.call(BANK, "QueryApprovedChaincodeDefinitions", b""),
    ):
        assert result.status == 400
        assert "approve it again" in result.message
    world.write(world.approve(BANK, package_id="toy:1"))
    assert world.call(BANK, "QueryApprovedChaincodeDefinition", asked).status == 200
    assert world.commit(BANK).status == 200


# ---- readiness and commit


def test_readiness_tells_who_has_approved_and_what_others_did(world: Consortium) -> None:
    """Approvals are compared field by field, by their hashes."""
    world.write(world.approve(BANK))
    world.write(world.approve(PTA, version="2", validation_parameter=b""))
    result = world.readiness(OPERATOR)
    answer = lifecycle_pb2.CheckCommitReadinessResult.FromString(result.payload)
    assert dict(answer.approvals) == {BANK: True, OPERATOR: False, PTA: False}
    assert list(answer.mismatches[OPERATOR].items) == ["ChaincodeParameters"]
    assert list(answer.mismatches[PTA].items) == ["EndorsementInfo", "ValidationInfo"]
    wrong = world.readiness(OPERATOR, sequence=2)
    assert "requested sequence is 2, but new definition must be sequence 1" in wrong.message


def test_commit_is_endorsed_only_by_who_has_approved(world: Consortium) -> None:
    """Each organisation answers for itself, whatever the others have approved."""
    world.packages[OPERATOR].offered = {("toy", "1")}
    world.write(world.approve(BANK))
    assert world.commit(BANK).status == 200
    refused = world.commit(OPERATOR)
    assert refused.status == 400
    assert "chaincode definition not agreed to by this org (OperatorMSP)" in refused.message
    other = world.commit(BANK, version="2")
    assert "chaincode definition not agreed to by this org (BankMSP)" in other.message


def test_commit_of_an_approval_that_changes_meanwhile_is_a_conflict(world: Consortium) -> None:
    """The hashes of every approval are read."""
    world.write(world.approve(BANK))
    commit = world.commit(BANK)
    world.write(world.approve(PTA))
    assert world.state.conflicts(commit)


@pytest.mark.parametrize(
    ("collections", "words"),
    [
        (None, "the proposed collection config does not contain previously defined collections"),
        (collection("other"),
         "existing collection [terms] missing in the proposed collection configuration"),
        (collection(block_to_live=8),
         "the BlockToLive in an existing collection [terms] modified. Existing value [7]"),
    ],
)  # fmt: skip
def test_upgrade_that_loses_a_collection_is_refused(
    world: Consortium, collections: Any, words: str
) -> None:
    """Collections stay, and so do their blocks to live; others may be added."""
    world.define(collections=collection())
    for result in (
        world.approve(BANK, sequence=2, collections=collections),
        world.commit(BANK, sequence=2, collections=collections),
    ):
        assert result.status == 400
        assert words in result.message
    more = both(collection(maximum_peer_count=2), collection("more"))
    assert world.approve(BANK, sequence=2, collections=more).status == 200


def test_upgrade_writes_only_what_changes(world: Consortium) -> None:
    """Nobody conflicts over fields that stay as they are."""
    world.define()
    for msp_id in (BANK, OPERATOR, PTA):
        world.write(world.approve(msp_id, sequence=2, collections=collection()))
    result = world.commit(BANK, sequence=2, collections=collection())
    (found_in,) = decode_tx_rwset(result.rwset).namespaces
    assert [write.key for write in found_in.writes] == [
        "namespaces/fields/toy/Collections",
        "namespaces/fields/toy/Sequence",
    ]


def test_organisation_that_has_left_the_channel_commits_nothing(world: Consortium) -> None:
    """Its node is asked in vain."""
    world.write(world.approve(BANK))
    world.channel.member_ids = (OPERATOR, PTA)
    assert "BankMSP is no member of the channel any more" in world.commit(BANK).message


def test_query_of_a_definition_tells_who_has_approved_it(world: Consortium) -> None:
    """Also of one that nobody had to approve."""
    world.write(found(world))
    world.write(world.approve(PTA, package_id="toy:1"))
    asked = lifecycle_pb2.QueryChaincodeDefinitionArgs(name="toy")
    result = world.call(OPERATOR, "QueryChaincodeDefinition", asked)
    answer = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(result.payload)
    assert dict(answer.approvals) == {BANK: False, OPERATOR: False, PTA: True}


# ---- packages, and arguments that are none


def test_packages_of_a_node_are_told_with_what_they_serve(world: Consortium) -> None:
    """A first definition is served by name and version, an approved one by its package id."""
    package_id = f"toy_1:{'0' * 64}"
    world.write(found(world))
    asked = lifecycle_pb2.QueryInstalledChaincodeArgs(package_id=package_id)
    result = world.call(BANK, "QueryInstalledChaincode", asked)
    answer = lifecycle_pb2.QueryInstalledChaincodeResult.FromString(result.payload)
    assert (answer.package_id, answer.label) == (package_id, "toy_1")
    assert [each.name for each in answer.references["qist"].chaincodes] == ["toy"]
    every = world.call(BANK, "QueryInstalledChaincodes", b"")
    listed = lifecycle_pb2.QueryInstalledChaincodesResult.FromString(every.payload)
    assert len(listed.installed_chaincodes) == 4
    kept = lifecycle_pb2.GetInstalledChaincodePackageArgs(package_id=package_id)
    answered = world.call(BANK, "GetInstalledChaincodePackage", kept).payload
    package = lifecycle_pb2.GetInstalledChaincodePackageResult.FromString(answered)
    assert package.chaincode_install_package == package_id.encode()


def test_package_that_is_not_installed_is_not_found(world: Consortium) -> None:
    """404, as Fabric's peer answers."""
    for function, asked in (
        ("QueryInstalledChaincode", lifecycle_pb2.QueryInstalledChaincodeArgs(package_id="x:1")),
        (
            "GetInstalledChaincodePackage",
            lifecycle_pb2.GetInstalledChaincodePackageArgs(package_id="x:1"),
        ),
    ):
        result = world.call(BANK, function, asked)
        assert result.status == 404
        assert "chaincode install package 'x:1' not found" in result.message


def test_install_of_what_is_no_package_is_refused(world: Consortium) -> None:
    """The reason follows Fabric's words."""
    asked = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=b"nothing")
    result = world.call(BANK, "InstallChaincode", asked)
    assert result.status == 400
    assert "could not parse as a chaincode install package: 7 bytes are no" in result.message


@pytest.mark.parametrize(
    "function",
    [
        "ApproveChaincodeDefinitionForMyOrg",
        "CheckCommitReadiness",
        "CommitChaincodeDefinition",
        "GetInstalledChaincodePackage",
        "InstallChaincode",
        "QueryApprovedChaincodeDefinition",
        "QueryApprovedChaincodeDefinitions",
        "QueryChaincodeDefinition",
        "QueryChaincodeDefinitions",
        "QueryInstalledChaincode",
        "QueryInstalledChaincodes",
    ],
)
@pytest.mark.parametrize("args", [(), (b"\xff",), (b"", b"")])
def test_arguments_that_cannot_be_read_are_refused(
    world: Consortium, function: str, args: tuple[bytes, ...]
) -> None:
    """None, two, or bytes that are no protobuf."""
    result = world.call(BANK, function, *args)
    assert result.status == 400
    assert "argument" in result.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("metadata", b"\xff"),
        ("metadata", b""),
        ("fields/Sequence", b"\xff"),
        ("fields/EndorsementInfo", b"\xff"),
        ("fields/ValidationInfo", b"\x12\x02\xff\xff"),
        ("fields/Collections", b"\x12\x01\xff"),
    ],
)
def test_definition_that_cannot_be_read_defines_nothing(field: str, value: bytes) -> None:
    """Bytes that are no definition define nothing, and reading them never fails."""
    state = MemoryState()
    define(state, "toy", "1")
    assert load_definition(state, "toy") is not None
    kind, _, name = field.partition("/")
    key = f"namespaces/{kind}/toy" + (f"/{name}" if name else "")
    state.put(LIFECYCLE, key, value, Version(9, 0))
    assert load_definition(state, "toy") is None
