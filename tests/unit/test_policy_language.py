"""The words in which people write signature policies, and the messages they become."""

from __future__ import annotations

import pytest
from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2

from network.errors import PolicyError
from network.policy import parse_policy, role_principal
from network.policy.language import MAX_DEPTH, MAX_LENGTH


def _rule(rule) -> object:
    """Return a rule as nested lists: [n, rules…] or the number of a principal."""
    if rule.WhichOneof("Type") == "signed_by":
        return rule.signed_by
    return [rule.n_out_of.n, *(_rule(each) for each in rule.n_out_of.rules)]


def _names(envelope) -> list[str]:
    found = []
    for each in envelope.identities:
        role = msp_principal_pb2.MSPRole.FromString(each.principal)
        name = msp_principal_pb2.MSPRole.MSPRoleType.Name(role.role).lower()
        found.append(f"{role.msp_identifier}.{name}")
    return found


@pytest.mark.parametrize(
    ("text", "rule", "names"),
    [
        ("AND('A.peer', 'B.peer')", [2, 0, 1], ["A.peer", "B.peer"]),
        ("OR('A.admin')", [1, 0], ["A.admin"]),
        ("OutOf(2, 'A.client', 'B.orderer', 'C.member')", [2, 0, 1, 2], None),
        ("outof(2,\"A.peer\",'B.peer')", [2, 0, 1], None),
        (
            "And('A.peer', or('B.peer', 'C.peer'))",
            [2, 2, [1, 0, 1]],
            ["B.peer", "C.peer", "A.peer"],
        ),
        ("AND('A.peer', 'A.peer')", [2, 0, 1], ["A.peer", "A.peer"]),
        ("OutOf('1', 'A.peer')", [1, 0], None),
        ("OutOf(0, 'A.peer')", [0, 0], None),
        ("OutOf(2, 'A.peer')", [2, 0], None),
        ("OR('Some-Org.1.peer')", [1, 0], ["Some-Org.1.peer"]),
        ("  AND ( 'A.peer' , 'B.peer' )  ", [2, 0, 1], None),
    ],
)
def test_policy_becomes_fabrics_message(text, rule, names) -> None:
    """Principals of inner gates are numbered first, and not merged."""
    envelope = parse_policy(text)
    assert envelope.version == 0
    assert _rule(envelope.rule) == rule
    if names is not None:
        assert _names(envelope) == names
    raw = envelope.SerializeToString()
    assert policies_pb2.SignaturePolicyEnvelope.FromString(raw) == envelope


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a gate"),
        ("'A.peer'", "a gate"),
        ("NOT('A.peer')", "a gate"),
        ("aNd('A.peer')", "a gate"),
        ("AND('A.peer'", "closing parenthesis"),
        ("AND('A.peer' 'B.peer')", "closing parenthesis"),
        ("AND()", "a gate"),
        ("AND('A.peer') x", "follows its end"),
        ("AND('A.king')", "no principal"),
        ("AND('peer')", "no principal"),
        ("AND('.peer')", "no principal"),
        ("OutOf('A.peer')", "number and a comma"),
        ("OutOf(3, 'A.peer')", "t-out-of-n"),
        ("OutOf(-1, 'A.peer')", "t-out-of-n"),
        ("AND('A.peer', %)", "unrecognized token"),
        ("AND('A.peer',", "ends inside"),
    ],
)
def test_text_that_is_no_policy_is_refused(text, message) -> None:
    """The message shows the text and says what is wrong with it."""
    with pytest.raises(PolicyError, match=message):
        parse_policy(text)


def test_policy_that_is_too_deep_or_too_long_is_refused() -> None:
    """Before it costs anything."""
    deep = "OR(" * (MAX_DEPTH + 1) + "'A.peer'" + ")" * (MAX_DEPTH + 1)
    with pytest.raises(PolicyError, match="deeper"):
        parse_policy(deep)
    with pytest.raises(PolicyError, match="longer"):
        parse_policy(" " * MAX_LENGTH + "OR('A.peer')")


@pytest.mark.parametrize("text", ["A", "A.king", ".peer", "A B.peer", "A.peer\n"])
def test_text_that_is_no_principal_is_refused(text) -> None:
    """MEMBER.ROLE, nothing else."""
    with pytest.raises(PolicyError, match="no principal"):
        role_principal(text)
