"""Signature policies: n out of several, nested, each signer for one demand only.

Evaluation goes by Fabric's order, on which the result depends: the rules of a gate from the first
to the last, for each demand the first signer that satisfies it and was not used yet. What a rule
has used stays used only if the rule was satisfied; nothing is tried a second way. So a policy can
fail although some other pairing of signers and demands would satisfy it.

Source: Fabric common/cauthdsl/cauthdsl.go (`compile`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from fabric_protos.common import policies_pb2

from network.decoding import decode_message
from network.errors import PolicyError
from network.msp import Identity
from network.msp.bounded import BoundedCache
from network.msp.principals import Predicate, compile_principal
from network.policy.signed_data import Identities

RESULTS_CACHED: Final = 256
"""Sets of signers per policy whose result is remembered."""

SHARED_RULES: Final = 4
SHARED_BYTES: Final = 64
"""Gates of so few rules and bytes are compiled once, however often a policy repeats them."""

_UNSATISFIED: Final = -1

# Signers, and the bits of those that are used already; the bits that are used now, or -1.
_Rule = Callable[[Sequence[Identity], int], int]


def describe_signers(identities: Sequence[Identity]) -> str:
    """Name signers by member and roles, as the text of an error may."""
    if not identities:
        return "nobody with a valid identity and signature"
    return ", ".join(
        f"{each.msp_id} ({'/'.join(sorted(each.roles - {'member'})) or 'member'})"
        for each in identities
    )


class SignaturePolicy:
    """A SignaturePolicyEnvelope, ready to be evaluated.

    Attributes:
        envelope: the message it was made of.
    """

    def __init__(self, envelope: Any, msps: Identities, name: str = "") -> None:
        """Compile a policy.

        Args:
            envelope: a SignaturePolicyEnvelope, marshalled or not.
            msps: members of the channel whose policy it is.
            name: its path, for messages.
        Raises:
            PolicyError: malformed, or a rule names a principal that is not listed.
        """
        if isinstance(envelope, bytes):
            envelope = decode_message(
                policies_pb2.SignaturePolicyEnvelope, envelope, "the policy", PolicyError
            )
        self.envelope = envelope
        self.name = name
        # A message of a few bytes each may repeat principals and rules a million times: equal ones
        # become one object.
        known: dict[bytes, Predicate] = {}
        principals = []
        for each in envelope.identities:
            raw = each.SerializeToString()
            if raw not in known:
                known[raw] = compile_principal(each, msps.deserialize)
            principals.append(known[raw])
        self._rule = _compile(envelope.rule, principals, {})
        self._results: BoundedCache[tuple[str, ...], bool] = BoundedCache(RESULTS_CACHED)

    def is_satisfied(self, identities: Sequence[Identity]) -> bool:
        """See Policy."""
        key = tuple([each.identity_id for each in identities])
        result = self._results.get(key)
        if result is None:
            result = self._rule(identities, 0) != _UNSATISFIED
            self._results.put(key, result)
        return result

    def evaluate(self, identities: Sequence[Identity]) -> None:
        """See Policy."""
        if not self.is_satisfied(identities):
            raise PolicyError(
                f"signature set did not satisfy policy {self.name}: signed by "
                f"{describe_signers(identities)}; have the members sign that the policy names"
            )


def _compile(
    rule: Any, principals: Sequence[Predicate], known: dict[tuple[int, bytes], _Rule]
) -> _Rule:
    kind = rule.WhichOneof("Type")
    if kind == "signed_by":
        place = (rule.signed_by, b"")
        if place not in known:
            known[place] = _compile_signed_by(rule.signed_by, principals)
        return known[place]
    if kind == "n_out_of":
        inner = rule.n_out_of.rules
        place = (rule.n_out_of.n, rule.SerializeToString() if len(inner) <= SHARED_RULES else b"")
        if place[1] and place in known:
            return known[place]
        gate = _compile_gate(rule.n_out_of.n, [_compile(each, principals, known) for each in inner])
        if place[1] and len(place[1]) <= SHARED_BYTES:
            known[place] = gate
        return gate
    raise PolicyError("a rule of the policy is empty: give it signed_by or n_out_of")


def _compile_signed_by(index: int, principals: Sequence[Predicate]) -> _Rule:
    if not 0 <= index < len(principals):
        raise PolicyError(
            f"identity index out of range, requested {index}, but identities length is "
            f"{len(principals)}: list the principal"
        )
    satisfies = principals[index]

    def signed_by(identities: Sequence[Identity], used: int) -> int:
        bit = 1
        for identity in identities:
            if not used & bit and satisfies(identity):
                return used | bit
            bit <<= 1
        return _UNSATISFIED

    return signed_by


def _compile_gate(needed: int, rules: Sequence[_Rule]) -> _Rule:
    def gate(identities: Sequence[Identity], used: int) -> int:
        satisfied = 0
        for rule in rules:
            after = rule(identities, used)
            if after != _UNSATISFIED:
                used = after
                satisfied += 1
        return used if satisfied >= needed else _UNSATISFIED

    return gate
