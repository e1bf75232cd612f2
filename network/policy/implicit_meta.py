"""Implicit-meta policies: any, all or most of the groups below must be satisfied.

The policy names no signer: it counts the policies of one name in the groups directly below its own.
A group without a policy of that name counts, and is never satisfied.

Source: Fabric common/policies/implicitmeta.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fabric_protos.common import policies_pb2

from network.decoding import decode_message
from network.errors import PolicyError
from network.msp import Identity
from network.policy.ports import Policy
from network.policy.signature import describe_signers

ANY: Final = "ANY"
ALL: Final = "ALL"
MAJORITY: Final = "MAJORITY"


def threshold_of(rule: str, groups: int) -> int:
    """Return how many of *groups* policies must be satisfied; of no groups, none."""
    if groups == 0:
        return 0
    return {ANY: 1, ALL: groups, MAJORITY: groups // 2 + 1}[rule]


class ImplicitMetaPolicy:
    """A rule over the policies of one name in several groups."""

    def __init__(
        self, sub_policy: str, rule: str, policies: Sequence[Policy | None], name: str = ""
    ) -> None:
        """Take the policies that are counted.

        Args:
            sub_policy: their name.
            rule: ANY, ALL or MAJORITY.
            policies: one for each group below; None for a group that has none of that name.
            name: the path of this policy, for messages.
        """
        self.sub_policy = sub_policy
        self.name = name
        self._policies = tuple(policies)
        self.threshold = threshold_of(rule, len(policies))

    @property
    def policies(self) -> tuple[Policy | None, ...]:
        """The policies that are counted, `threshold` of which must be satisfied."""
        return self._policies

    def _count(self, identities: Sequence[Identity]) -> int:
        satisfied = 0
        for policy in self._policies:
            if satisfied == self.threshold:
                break
            if policy is not None and policy.is_satisfied(identities):
                satisfied += 1
        return satisfied

    def is_satisfied(self, identities: Sequence[Identity]) -> bool:
        """See Policy."""
        return self._count(identities) >= self.threshold

    def evaluate(self, identities: Sequence[Identity]) -> None:
        """See Policy."""
        satisfied = self._count(identities)
        if satisfied < self.threshold:
            raise PolicyError(
                f"implicit policy evaluation failed - {satisfied} sub-policies were satisfied, but "
                f"this policy {self.name} requires {self.threshold} of the "
                f"'{self.sub_policy}' sub-policies to be satisfied: signed by "
                f"{describe_signers(identities)}; have more members sign"
            )


def read_implicit_meta(raw: bytes, name: str) -> tuple[str, str]:
    """Return name of the counted policies and rule of a marshalled ImplicitMetaPolicy.

    Raises:
        PolicyError: malformed, or of an unknown rule.
    """
    message: Any = decode_message(
        policies_pb2.ImplicitMetaPolicy, raw, f"the policy {name}", PolicyError
    )
    try:
        rule: str = policies_pb2.ImplicitMetaPolicy.Rule.Name(message.rule)
    except ValueError as reason:
        raise PolicyError(
            f"the policy {name} has the unknown rule {message.rule}: use ANY, ALL or MAJORITY"
        ) from reason
    return message.sub_policy, rule


def implicit_meta(rule: str, sub_policy: str) -> Any:
    """Return an ImplicitMetaPolicy message, e.g. of ``MAJORITY``, ``Admins``."""
    return policies_pb2.ImplicitMetaPolicy(
        sub_policy=sub_policy, rule=policies_pb2.ImplicitMetaPolicy.Rule.Value(rule)
    )
