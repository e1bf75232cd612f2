"""Policies of a configuration in words, as people write and compare them.

An implicit-meta policy reads ``MAJORITY Admins``, a signature policy
``OutOf(2, 'A.peer', 'B.peer', 'C.peer')``, with its shorter forms ``AND`` and ``OR``. What has no
word reads ``(…)`` with its kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2

from network.decoding import decode_message
from network.errors import PolicyError


def policies_in_words(group: Any, path: str = "/Channel") -> Iterator[tuple[str, str]]:
    """Yield path and words of every policy of a ConfigGroup and the groups below it, sorted.

    Raises:
        PolicyError: one of them cannot be decoded.
    """
    for name in sorted(group.policies):
        yield f"{path}/{name}", policy_in_words(group.policies[name].policy, f"{path}/{name}")
    for name in sorted(group.groups):
        yield from policies_in_words(group.groups[name], f"{path}/{name}")


def policy_in_words(policy: Any, path: str) -> str:
    """Return a `common.Policy` in words.

    Args:
        policy: the message.
        path: where it stands, for the error.
    Raises:
        PolicyError: it cannot be decoded.
    """
    if policy.type == policies_pb2.Policy.IMPLICIT_META:
        meta = decode_message(policies_pb2.ImplicitMetaPolicy, policy.value, path, PolicyError)
        return f"{_name(policies_pb2.ImplicitMetaPolicy.Rule, meta.rule)} {meta.sub_policy}"
    if policy.type == policies_pb2.Policy.SIGNATURE:
        envelope = decode_message(
            policies_pb2.SignaturePolicyEnvelope, policy.value, path, PolicyError
        )
        return signature_policy_in_words(envelope)
    return f"(policy of type {policy.type})"


def signature_policy_in_words(envelope: Any) -> str:
    """Return a SignaturePolicyEnvelope message in words."""
    return _rule(envelope.rule, [_principal(each) for each in envelope.identities])


def _rule(rule: Any, principals: list[str]) -> str:
    if rule.WhichOneof("Type") == "signed_by":
        known = 0 <= rule.signed_by < len(principals)
        return principals[rule.signed_by] if known else f"(principal {rule.signed_by}, unknown)"
    needed, parts = rule.n_out_of.n, [_rule(each, principals) for each in rule.n_out_of.rules]
    if needed == len(parts) == 1:
        return parts[0]
    if needed == len(parts) > 0:
        return f"AND({', '.join(parts)})"
    if needed == 1:
        return f"OR({', '.join(parts)})"
    return f"OutOf({', '.join([str(needed), *parts])})"


def _principal(principal: Any) -> str:
    kinds = msp_principal_pb2.MSPPrincipal
    if principal.principal_classification == kinds.ROLE:
        role = decode_message(
            msp_principal_pb2.MSPRole, principal.principal, "a principal", PolicyError
        )
        name = _name(msp_principal_pb2.MSPRole.MSPRoleType, role.role).lower()
        return f"'{role.msp_identifier}.{name}'"
    return f"({_name(kinds.Classification, principal.principal_classification).lower()})"


def _name(enumeration: Any, number: int) -> str:
    """Return the name of an enumeration's number; one that is unknown stands for itself."""
    known = enumeration.values()
    return str(enumeration.Name(number)) if number in known else f"(unknown {number})"
