"""What a network is made of, before anything is on disk: policies, keys, profiles, names."""

from __future__ import annotations

import json
import tomllib
from itertools import combinations
from pathlib import Path

import pytest
from fabric_protos.common import policies_pb2

from chaincode.instalments.identifiers import PseudonymKey
from network.policy import parse_policy
from network.policy.words import policy_in_words
from nodes import contracts, node
from nodes.cli import control_client, node_folder
from nodes.cli.connection_profile import Gateway, render_profile
from nodes.cli.members_description import USUAL_MEMBERS, NetworkMember
from nodes.cli.network_folder import endorsement_policies, node_name
from nodes.cli.network_run import NodeState, disagreements
from nodes.cli.pseudonym_keys import render_key_files
from nodes.operations import control


def member(msp_id: str, member_class: str, group: str) -> NetworkMember:
    return NetworkMember(msp_id=msp_id, member_class=member_class, group=group)


def satisfied_by(words: str, signers: set[str]) -> bool:
    """Judge a policy naively: peers of these members have signed, each once."""
    envelope = parse_policy(words)
    principals = [str(each.principal) for each in envelope.identities]

    def judge(rule: object, left: set[str]) -> bool:
        if rule.WhichOneof("Type") == "signed_by":  # type: ignore[attr-defined]
            text = principals[rule.signed_by]  # type: ignore[attr-defined]
            return any(each in text for each in left)
        gate = rule.n_out_of  # type: ignore[attr-defined]
        return sum(judge(each, left) for each in gate.rules) >= gate.n

    return judge(envelope.rule, signers)


def test_instalments_policy_takes_any_two_groups_and_no_single_one() -> None:
    """A bank and its operator count once (rulebook 1)."""
    members = [
        member("BankMSP", "bank", "city"),
        member("WalletMSP", "operator", "city"),
        member("MakerMSP", "manufacturer", "maker"),
        member("PtaMSP", "regulator", "pta"),
    ]
    words = endorsement_policies(members)["instalments"]
    groups = {each.msp_id: each.group for each in members}
    for one, other in combinations(groups, 2):
        assert satisfied_by(words, {one, other}) == (groups[one] != groups[other]), (one, other)
    assert not any(satisfied_by(words, {one}) for one in groups)


def test_enforcement_policy_takes_the_regulator_and_another_class() -> None:
    """Without the regulator nothing is enforced, nor by regulators alone (rulebook 1)."""
    members = [*USUAL_MEMBERS.members, member("FiaMSP", "regulator", "fia")]
    words = endorsement_policies(members)["enforcement"]
    regulators = {"PtaMSP", "FiaMSP"}
    for one, other in combinations([each.msp_id for each in members], 2):
        pair = {one, other}
        assert satisfied_by(words, pair) == (len(pair & regulators) == 1), pair


@pytest.mark.parametrize(
    "words",
    [
        "OutOf(2, 'A.peer', 'B.peer', 'C.admin')",
        "AND('A.peer', OR('B.client', 'C.member'))",
        "OR('A.orderer', 'B.peer')",
    ],
)
def test_signature_policy_in_words_reads_back_the_same(words: str) -> None:
    """What `channel show` prints is what somebody would write."""
    envelope = parse_policy(words)
    policy = policies_pb2.Policy(
        type=policies_pb2.Policy.SIGNATURE, value=envelope.SerializeToString()
    )
    assert policy_in_words(policy, "p") == words


def test_policy_of_an_unknown_kind_says_so() -> None:
    """Nothing is passed over silently."""
    assert policy_in_words(policies_pb2.Policy(type=9), "p") == "(policy of type 9)"


def test_pseudonym_keys_are_held_by_those_entitled() -> None:
    """All share the key of devices; a lender's ring is its own and the regulator's (rulebook 2)."""
    files = {
        msp_id: tomllib.loads(text)
        for msp_id, text in render_key_files(USUAL_MEMBERS.members).items()
    }
    assert len({json.dumps(each["device"]) for each in files.values()}) == 1
    held = {msp_id: set(each.get("lender", {})) for msp_id, each in files.items()}
    assert held == {
        "BankMSP": {"BankMSP"},
        "OperatorMSP": {"OperatorMSP"},
        "MakerMSP": set(),
        "PtaMSP": {"BankMSP", "OperatorMSP"},
    }
    for lender in ("BankMSP", "OperatorMSP"):
        assert files[lender]["lender"][lender] == files["PtaMSP"]["lender"][lender]
    for each in files.values():
        for ring in (each["device"], *each.get("lender", {}).values()):
            PseudonymKey(ring[0]["id"], bytes.fromhex(ring[0]["secret"]))


def test_pseudonym_keys_of_two_networks_differ() -> None:
    """Keys are made, never derived from names."""
    first, second = (render_key_files(USUAL_MEMBERS.members)["PtaMSP"] for _ in range(2))
    secrets = [
        {ring["secret"] for ring in tomllib.loads(text)["device"]} for text in (first, second)
    ]
    assert not secrets[0] & secrets[1]


def test_profile_names_all_gateways_and_only_own_users() -> None:
    """A member's clients reach every gateway, and sign as its own users."""
    gateways = [
        Gateway("AMSP", "a.AMSP", "localhost:1", "pem a"),
        Gateway("BMSP", "b.BMSP", "localhost:2", "pem b"),
    ]
    text = render_profile("n", "qist", "AMSP", gateways, {"lending": "org/users/lending/msp"})
    profile = json.loads(text)
    assert profile["client"]["organization"] == "AMSP"
    assert profile["peers"]["b.BMSP"]["url"] == "grpcs://localhost:2"
    assert set(profile["channels"]["qist"]["peers"]) == {"a.AMSP", "b.BMSP"}
    users = profile["organizations"]["AMSP"]["users"]
    assert users["lending"]["cert"] == "org/users/lending/msp/signcerts/cert.pem"
    assert "users" not in profile["organizations"]["BMSP"]


@pytest.mark.parametrize(
    ("msp_id", "name"), [("BankMSP", "bank"), ("MSP", "msp"), ("a.b-MSP", "a.b"), ("X1", "x1")]
)
def test_name_of_a_node_follows_from_its_member(msp_id: str, name: str) -> None:
    """Names in logs and certificates are short and allowed."""
    assert node_name(msp_id) == name


def test_names_in_a_node_folder_are_those_of_the_running_node() -> None:
    """The commands and the node's process mean the same files, though neither imports the other."""
    assert node_folder.GENESIS_FILE == node.GENESIS_FILE
    assert node_folder.LEDGER_FOLDER == node.LEDGER_FOLDER
    assert node_folder.CONTRACTS_FOLDER == contracts.CONTRACTS_FOLDER
    assert control_client.CONTROL_SOCKET == control.CONTROL_SOCKET


def state(msp_id: str, height: int, header: str = "aa", commit: str = "bb") -> NodeState:
    told = {"height": height, "header_hash": header, "commit_hash": commit}
    return NodeState(msp_id, Path(msp_id), True, told)


def test_nodes_of_different_heights_do_not_disagree() -> None:
    """One that is behind has another last block; a node that is down says nothing."""
    states = [state("A", 5), state("B", 4, "cc", "dd"), NodeState("C", Path("C"), False, None)]
    assert disagreements(states) == []


@pytest.mark.parametrize(
    ("other", "what"),
    [(state("B", 5, header="xx"), "header hash"), (state("B", 5, commit="xx"), "commit hash")],
)
def test_nodes_of_one_height_with_other_hashes_disagree(other: NodeState, what: str) -> None:
    """It is told who differs from whom, in what, and what to do."""
    (said,) = disagreements([state("A", 5), state("C", 4), other])
    assert said.startswith(f"A and B differ in the {what} at height 5")
    assert "qist fsck" in said
