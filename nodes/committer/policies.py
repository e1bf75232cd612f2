"""Whether the endorsers of a transaction satisfy a policy, under one channel configuration.

Three kinds of bytes are judged: an `ApplicationPolicy` (contract or collection: a signature policy
or the name of a channel policy), a `SignaturePolicyEnvelope` (key-level), and channel policies by
name. Many transactions of a block carry the same endorsers, so both compiled policies and verdicts
are remembered, within bounds, for as long as the configuration is in force.

Invariants: bytes that are no policy are satisfied by nobody; they never raise. (For a key-level
policy Fabric's peer would halt instead; contracts write those bytes, so ours records a verdict.)

Source: Fabric, core/policy/application.go; core/handlers/validation/builtin/v20
`toApplicationPolicyTranslator`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from fabric_protos.common import policies_pb2
from fabric_protos.peer import policy_pb2
from google.protobuf.message import DecodeError

from network.configuration import ChannelConfiguration
from network.errors import PolicyError
from network.msp import Identity
from network.policy import SignaturePolicy

__all__ = ["Endorsers", "PolicyEvaluator"]

LIFECYCLE_ENDORSEMENT = "/Channel/Application/LifecycleEndorsement"
IMPLICIT_COLLECTION = "_implicit_org_"
REMEMBERED = 4096
"""Compiled policies, and verdicts, that are kept at most; then the memory starts anew."""

Endorsers = tuple[Identity, ...]
"""Those whose endorsement signature is good, each once, in the order of the endorsements."""


class _Evaluable(Protocol):
    def evaluate(self, identities: Endorsers) -> None:
        """Return if satisfied, raise PolicyError if not."""


class PolicyEvaluator:
    """Judges endorsers under the configuration it was made for; used by one thread at a time."""

    def __init__(self, configuration: ChannelConfiguration) -> None:
        self._configuration = configuration
        self._compiled: dict[tuple[str, bytes], _Evaluable | None] = {}
        self._verdicts: dict[Hashable, bool] = {}
        self._implicit = {
            msp_id: f"/Channel/Application/{organisation.name}/Endorsement"
            for msp_id, organisation in configuration.organisations.items()
        }

    def application(self, policy: bytes, endorsers: Endorsers) -> bool:
        """Judge a marshalled `ApplicationPolicy`, of a contract or a collection."""
        return self._judge("application", policy, endorsers)

    def key_level(self, policy: bytes, endorsers: Endorsers) -> bool:
        """Judge a marshalled `SignaturePolicyEnvelope`, the policy of one key."""
        return self._judge("signature", policy, endorsers)

    def lifecycle(self, endorsers: Endorsers) -> bool:
        """Judge the channel's policy for contract definitions."""
        return self._judge("channel", LIFECYCLE_ENDORSEMENT.encode(), endorsers)

    def implicit_collection(self, collection: str) -> bytes | None:
        """Return the policy of a member's own collection, as a marshalled `ApplicationPolicy`.

        Returns:
            None if *collection* is not the implicit collection of a member of the channel.
        """
        reference = self._implicit.get(collection.removeprefix(IMPLICIT_COLLECTION))
        if reference is None:
            return None
        policy: bytes = policy_pb2.ApplicationPolicy(
            channel_config_policy_reference=reference
        ).SerializeToString()
        return policy

    def _judge(self, kind: str, policy: bytes, endorsers: Endorsers) -> bool:
        question = (kind, policy, tuple(each.serialized for each in endorsers))
        verdict = self._verdicts.get(question)
        if verdict is None:
            verdict = self._evaluate(kind, policy, endorsers)
            if len(self._verdicts) >= REMEMBERED:
                self._verdicts.clear()
            self._verdicts[question] = verdict
        return verdict

    def _evaluate(self, kind: str, policy: bytes, endorsers: Endorsers) -> bool:
        place = (kind, policy)
        if place not in self._compiled:
            if len(self._compiled) >= REMEMBERED:
                self._compiled.clear()
            self._compiled[place] = self._compile(kind, policy)
        compiled = self._compiled[place]
        if compiled is None:
            return False
        try:
            compiled.evaluate(endorsers)
        except PolicyError:
            return False
        return True

    def _compile(self, kind: str, policy: bytes) -> _Evaluable | None:
        try:
            if kind == "channel":
                return self._configuration.policies.policy(policy.decode())
            if kind == "signature":
                return self._signature_policy(
                    policies_pb2.SignaturePolicyEnvelope.FromString(policy)
                )
            application = policy_pb2.ApplicationPolicy.FromString(policy)
            which = application.WhichOneof("Type")
            if which == "signature_policy":
                return self._signature_policy(application.signature_policy)
            if which == "channel_config_policy_reference":
                return self._configuration.policies.policy(
                    application.channel_config_policy_reference
                )
        except (DecodeError, PolicyError):
            return None
        return None

    def _signature_policy(self, envelope: policies_pb2.SignaturePolicyEnvelope) -> _Evaluable:
        return SignaturePolicy(envelope, self._configuration.msps)
