"""Who has agreed to an update, and who must still sign it, in words for people.

Each changed element names the policy by which it may be changed; the same few policies come again
and again, so they are listed once each. What counts is judged by the policies themselves
(`update.py`); here it is only told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import configtx_pb2

from network.configuration.channel import ChannelConfiguration
from network.configuration.elements import build_group
from network.configuration.update import modification_policy, signed_data_of, update_delta
from network.errors import IdentityError
from network.msp import Certificate, Identity, split_identity
from network.policy import (
    ImplicitMetaPolicy,
    Policy,
    SignaturePolicy,
    valid_identities,
    why_not_valid,
)
from network.policy.words import signature_policy_in_words

__all__ = ["Agreement", "Demand", "Signature", "preview_update", "read_agreement"]


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature on an update.

    Attributes:
        msp_id: the member that it claims to be of; empty if that cannot be read.
        name: common name in the certificate; empty if that cannot be read.
        fault: why it does not count; empty if it does.
    """

    msp_id: str
    name: str
    fault: str


@dataclass(frozen=True, slots=True)
class Demand:
    """A policy that an update must satisfy.

    Attributes:
        policy: its path.
        elements: paths of what is changed under it.
        lacking: what is lacking, a line for each policy in it that is not satisfied; empty if it
            is satisfied.
    """

    policy: str
    elements: tuple[str, ...]
    lacking: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far an update has been agreed to.

    Attributes:
        signatures: those that it bears.
        demands: the policies that it must satisfy.
    """

    signatures: tuple[Signature, ...]
    demands: tuple[Demand, ...]

    @property
    def is_complete(self) -> bool:
        """Whether nobody needs to sign any more."""
        return not any(demand.lacking for demand in self.demands)


def preview_update(current: ChannelConfiguration, config_update: bytes) -> Any:
    """Return the `common.Config` that would come of an update if those who must agree to it.

    Args:
        current: the configuration in force.
        config_update: a marshalled ConfigUpdate.
    Raises:
        ConfigurationError: the update breaks a rule, or would make an impossible configuration.
        PolicyError: it would make a policy that is malformed.
    """
    delta = update_delta(current, config_update)
    config = configtx_pb2.Config(
        sequence=current.sequence + 1,
        channel_group=build_group({**current.elements, **delta}),
    )
    ChannelConfiguration(current.channel_id, config)
    return config


def read_agreement(
    current: ChannelConfiguration, config_update: bytes, signatures: Sequence[Any]
) -> Agreement:
    """Return who has signed an update, and what is lacking.

    Args:
        current: the configuration in force.
        config_update: a marshalled ConfigUpdate.
        signatures: the ConfigSignature messages on it.
    Raises:
        ConfigurationError: the update breaks a rule, or a signature's header cannot be read.
        PolicyError: an element is changed that names no policy that there is.
    """
    envelope = configtx_pb2.ConfigUpdateEnvelope(config_update=config_update, signatures=signatures)
    signed = signed_data_of(envelope)
    identities = valid_identities(signed, current.msps)
    told = tuple(
        Signature(*_claimed(each.identity), why_not_valid(each, current.msps)) for each in signed
    )
    elements: dict[str, list[str]] = {}
    policies: dict[str, Policy] = {}
    for key in update_delta(current, config_update):
        existing = current.elements.get(key)
        if existing is None:
            continue
        policy = modification_policy(current, existing)
        name = _name(policy) or existing.mod_policy
        policies[name] = policy
        elements.setdefault(name, []).append(existing.path)
    demands = tuple(
        Demand(name, tuple(elements[name]), tuple(_lacking(policies[name], identities)))
        for name in sorted(policies)
    )
    return Agreement(told, demands)


def _claimed(identity: bytes) -> tuple[str, str]:
    try:
        msp_id, pem = split_identity(identity)
        return msp_id, Certificate.from_pem(pem).common_name
    except IdentityError:
        return "", ""


def _lacking(policy: Policy, identities: Sequence[Identity]) -> Iterator[str]:
    """Yield what a policy lacks: of policies that count others, what those lack, if all must be."""
    if policy.is_satisfied(identities):
        return
    if isinstance(policy, ImplicitMetaPolicy):
        yield from _lacking_below(policy, identities)
    elif isinstance(policy, SignaturePolicy):
        yield f"{policy.name} asks for {signature_policy_in_words(policy.envelope)}"
    else:
        yield "a policy of an unknown kind is not satisfied"


def _lacking_below(policy: ImplicitMetaPolicy, identities: Sequence[Identity]) -> Iterator[str]:
    below = [each for each in policy.policies if each is not None]
    counted = [each for each in below if isinstance(each, SignaturePolicy)]
    if len(counted) < len(below):
        # Groups of groups: what is lacking is said by those below.
        yield from sorted(line for each in below for line in _lacking(each, identities))
        return
    done: list[str] = []
    open_ones: list[str] = []
    for each in counted:
        (done if each.is_satisfied(identities) else open_ones).append(_member(each))
    needed = policy.threshold - len(done)
    who = ", ".join(sorted(open_ones)) or "nobody, for no member has such a policy"
    has = f"signed: {', '.join(sorted(done))}" if done else "nobody of them has signed"
    yield (
        f"{policy.name} needs {policy.threshold} of {len(policy.policies)} {policy.sub_policy}; "
        f"{has}; {needed} more of: {who}"
    )


def _name(policy: Policy) -> str:
    return policy.name if isinstance(policy, ImplicitMetaPolicy | SignaturePolicy) else ""


def _member(policy: SignaturePolicy) -> str:
    """Return the group whose policy this is, usually a member: the last but one in its path."""
    return policy.name.strip("/").split("/")[-2]
