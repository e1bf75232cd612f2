"""Whatever is sent to `_lifecycle` is answered: a result, or a refusal in words, never a fault."""

from __future__ import annotations

from typing import Any

from fabric_protos.peer import collection_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from hypothesis import given
from hypothesis import strategies as st

from tests.support.consortium import MEMBERS, POLICY, Consortium

KINDS = {
    "ApproveChaincodeDefinitionForMyOrg": lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs,
    "CheckCommitReadiness": lifecycle_pb2.CheckCommitReadinessArgs,
    "CommitChaincodeDefinition": lifecycle_pb2.CommitChaincodeDefinitionArgs,
    "CommitChaincodeDefinitions": lifecycle_pb2.CommitChaincodeDefinitionArgs,
    "GetInstalledChaincodePackage": lifecycle_pb2.GetInstalledChaincodePackageArgs,
    "InstallChaincode": lifecycle_pb2.InstallChaincodeArgs,
    "QueryApprovedChaincodeDefinition": lifecycle_pb2.QueryApprovedChaincodeDefinitionArgs,
    "QueryApprovedChaincodeDefinitions": lifecycle_pb2.QueryApprovedChaincodeDefinitionsArgs,
    "QueryChaincodeDefinition": lifecycle_pb2.QueryChaincodeDefinitionArgs,
    "QueryChaincodeDefinitions": lifecycle_pb2.QueryChaincodeDefinitionsArgs,
    "QueryInstalledChaincode": lifecycle_pb2.QueryInstalledChaincodeArgs,
    "QueryInstalledChaincodes": lifecycle_pb2.QueryInstalledChaincodesArgs,
}
FUNCTIONS = st.sampled_from(sorted(KINDS))
NAMES = st.sampled_from(["toy", "toy", "toy", "", "t#1", "_lifecycle", "a" * 70, "\x00", "🦉"])
ROLES = st.sampled_from([b"\n\x07BankMSP", b"\n\x05OtherX", b"\xff", b""])
RULES = st.recursive(
    st.builds(lambda n: {"signed_by": n}, st.integers(-1, 3)),
    lambda inner: st.builds(
        lambda n, rules: {"n_out_of": {"n": n, "rules": rules}},
        st.integers(-1, 3),
        st.lists(inner, max_size=3),
    ),
    max_leaves=5,
)
COLLECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["terms", "kyc", "_x", "", "a b"]),
        "required_peer_count": st.integers(-(2**31), 2**31 - 1),
        "maximum_peer_count": st.integers(-(2**31), 2**31 - 1),
        "block_to_live": st.integers(0, 2**64 - 1),
        "member_orgs_policy": st.builds(
            lambda rule, principals: {
                "signature_policy": {
                    "rule": rule,
                    "identities": [
                        {"principal_classification": kind, "principal": raw}
                        for kind, raw in principals
                    ],
                }
            },
            RULES,
            st.lists(st.tuples(st.integers(0, 4), ROLES), max_size=3),
        ),
    },
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "sequence": st.sampled_from([1, 2, 1, 2, 0, -1, 2**63 - 1, -(2**63)]),
    "name": NAMES,
    "version": st.sampled_from(["1", "2", "", " ", "v" * 65, "\u0000"]),
    "endorsement_plugin": st.sampled_from(["", "escc", "mine"]),
    "validation_plugin": st.sampled_from(["", "vscc", "mine"]),
    "validation_parameter": st.sampled_from([POLICY, b"", b"\xff", b"\n\x00"]),
    "init_required": st.booleans(),
    "collections": st.lists(COLLECTIONS, max_size=3).map(
        lambda found: {"config": [{"static_collection_config": each} for each in found]}
    ),
    "source": st.sampled_from([{}, {"unavailable": {}}, {"local_package": {"package_id": "x"}}]),
    "package_id": st.sampled_from(["", "toy:1", "../x", "\x00", f"toy:{'0' * 64}"]),
    "chaincode_install_package": st.binary(max_size=40),
}


@st.composite
def arguments(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return a function and the marshalled message that it takes, of odd fields."""
    function = draw(FUNCTIONS)
    kind = KINDS[function]
    fields = {
        name: draw(FIELDS[name])
        for name in kind.DESCRIPTOR.fields_by_name
        if name in FIELDS and draw(st.booleans() | st.just(True))
    }
    return function, kind(**fields).SerializeToString()


def is_answered(world: Consortium, function: str, *args: bytes) -> None:
    """Call it, and commit what it wrote; a refusal has words and no sets."""
    result = world.call(MEMBERS[0], function, *args)
    assert result.status == 200 or 400 <= result.status < 500, result.message
    if result.status == 200:
        if result.writes:
            world.write(result)
        return
    assert result.message.isprintable() or "\n" in result.message
    assert (result.rwset, result.private) == (b"", b"")


@given(st.lists(arguments(), min_size=1, max_size=6))
def test_odd_fields_are_answered_one_after_the_other(calls: list[tuple[str, bytes]]) -> None:
    """Each call meets what those before it have written."""
    world = Consortium()
    world.packages[MEMBERS[0]].offered = {("toy", "1"), ("toy", "2")}
    for function, raw in calls:
        is_answered(world, function, raw)


@given(FUNCTIONS, st.lists(st.binary(max_size=60), max_size=3))
def test_bytes_of_any_kind_are_answered(function: str, args: list[bytes]) -> None:
    """No protobuf, the wrong number of arguments, nothing at all."""
    is_answered(Consortium(), function, *args)


@given(st.data())
def test_damaged_approval_is_answered(data: st.DataObject) -> None:
    """One byte of a good call is changed, taken away or added."""
    package = collection_pb2.CollectionConfigPackage()
    config = package.config.add().static_collection_config
    config.name = "terms"
    config.maximum_peer_count = 1
    policy = config.member_orgs_policy.signature_policy
    policy.rule.n_out_of.n = 1
    policy.rule.n_out_of.rules.add(signed_by=0)
    policy.identities.add(principal=b"\n\x07BankMSP")
    asked = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        sequence=1, name="toy", version="1", validation_parameter=POLICY, collections=package
    )
    raw = bytearray(asked.SerializeToString())
    place = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["change", "add", "remove"])):
        case "change":
            raw[place] ^= data.draw(st.integers(1, 255))
        case "add":
            raw.insert(place, data.draw(st.integers(0, 255)))
        case "remove":
            del raw[place]
    is_answered(Consortium(), "ApproveChaincodeDefinitionForMyOrg", bytes(raw))
