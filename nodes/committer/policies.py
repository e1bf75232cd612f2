"""Whether the endorsers of a transaction satisfy a policy, under one channel configuration.

Two kinds of bytes are judged: an `ApplicationPolicy` (contract, collection, lifecycle: a signature
policy or the name of a channel policy) and a `SignaturePolicyEnvelope` (key-level). Many
transactions of a block carry the same endorsers, so both compiled policies and verdicts are
remembered, within bounds, for as long as the configuration is in force.

Invariants: bytes that are no policy are satisfied by nobody; they never raise. (For a key-level
policy Fabric's peer would halt instead; contracts write those bytes, so ours records a verdict.)

Source: Fabric, core/policy/application.go; core/handlers/validation/builtin/v20
`toApplicationPolicyTranslator`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2
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
        self._implicit: dict[str, bytes] = {}
        self._lifecycle: bytes | None = None

    def application(self, policy: bytes, endorsers: Endorsers) -> bool:
        """Judge a marshalled `ApplicationPolicy`, of a contract or a collection."""
        return self._judge("application", policy, endorsers)

    def key_level(self, policy: bytes, endorsers: Endorsers) -> bool:
        """Judge a marshalled `SignaturePolicyEnvelope`, the policy of one key."""
        return self._judge("signature", policy, endorsers)

    def lifecycle(self, endorsers: Endorsers) -> bool:
        """Judge the channel's policy for contract definitions."""
        return self._judge("application", self.lifecycle_policy, endorsers)

    @property
    def lifecycle_policy(self) -> bytes:
        """The policy for contract definitions, as a marshalled `ApplicationPolicy`.

        A channel that has no such policy asks a member of more than half of its organisations.
        Source: Fabric, core/chaincode/lifecycle/lifecycle.go `LifecycleEndorsementPolicyAsBytes`.
        """
        if self._lifecycle is None:
            members = sorted(self._configuration.organisations)
            self._lifecycle = self._reference(LIFECYCLE_ENDORSEMENT) or _members_policy(
                len(members) // 2 + 1, members
            )
        return self._lifecycle

    def implicit_collection(self, collection: str) -> bytes | None:
        """Return the policy of a member's own collection, as a marshalled `ApplicationPolicy`.

        It is the member's Endorsement policy; any of its identities where it has none.

        Returns:
            None if *collection* is not the implicit collection of a member of the channel.
        Source: Fabric, core/chaincode/lifecycle/deployedcc_infoprovider.go
        `ImplicitCollectionEndorsementPolicyAsBytes`.
        """
        msp_id = collection.removeprefix(IMPLICIT_COLLECTION)
        organisation = self._configuration.organisations.get(msp_id)
        if organisation is None:
            return None
        if msp_id not in self._implicit:
            path = f"/Channel/Application/{organisation.name}/Endorsement"
            self._implicit[msp_id] = self._reference(path) or _members_policy(1, [msp_id])
        return self._implicit[msp_id]

    def _reference(self, path: str) -> bytes:
        """Return the policy that names a policy of the channel; empty if the channel has it not."""
        try:
            self._configuration.policies.policy(path)
        except PolicyError:
            return b""
        policy: bytes = policy_pb2.ApplicationPolicy(
            channel_config_policy_reference=path
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


def _members_policy(needed: int, msp_ids: Sequence[str]) -> bytes:
    """Return the policy that asks *needed* of these members for a signature of any identity."""
    application = policy_pb2.ApplicationPolicy()
    envelope = application.signature_policy
    for place, msp_id in enumerate(msp_ids):
        role = msp_principal_pb2.MSPRole(role=msp_principal_pb2.MSPRole.MEMBER)
        role.msp_identifier = msp_id
        envelope.identities.add(
            principal_classification=msp_principal_pb2.MSPPrincipal.ROLE,
            principal=role.SerializeToString(),
        )
        envelope.rule.n_out_of.rules.add().signed_by = place
    envelope.rule.n_out_of.n = needed
    raw: bytes = application.SerializeToString()
    return raw
