"""Which members must endorse, so that every policy a transaction falls under is met.

A transaction falls under the policies of all namespaces it writes and under the key-level policies
of the keys it writes. Here a policy is looked at as a statement about members: a principal is met
by the node of the member it names. Signatures are judged by the validator, not here.

Invariants: layouts come in the order of fewest members to ask; each is minimal in number, not
merely sufficient. Pure.

Hot path: the first layout of a set of policies is remembered, 2 µs after 27 for four members.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import combinations, islice
from typing import Any

from fabric_protos.common import policies_pb2
from fabric_protos.msp import identities_pb2, msp_principal_pb2
from google.protobuf.message import DecodeError

from ledger.errors import Refusal
from network.msp.bounded import BoundedCache
from network.policy import ImplicitMetaPolicy, Policy, SignaturePolicy

_ASKABLE_ROLES = frozenset(
    {
        msp_principal_pb2.MSPRole.MEMBER,
        msp_principal_pb2.MSPRole.PEER,
    }
)
_MOST_LAYOUTS = 5000
_REMEMBERED = 4096


class LayoutRefusal(Refusal):
    """No members at all could meet the policies."""


Requirement = Callable[[Collection[str]], bool]
"""Says if nodes of these members, one each, meet a policy."""


def requirement_of_signature_policy(raw: bytes) -> Requirement:
    """Read a marshalled ``SignaturePolicyEnvelope`` as a statement about members.

    As in Fabric's cauthdsl an identity counts once, so two principals of one member need two nodes
    of it, and there is one node a member.

    Raises:
        LayoutRefusal: the bytes are no signature policy.
    """
    try:
        envelope = policies_pb2.SignaturePolicyEnvelope.FromString(raw)
    except DecodeError as error:
        raise LayoutRefusal(f"an endorsement policy cannot be decoded: {error}") from error
    members = [_member_of(principal) for principal in envelope.identities]

    def met_by(rule: Any, free: frozenset[str]) -> frozenset[str] | None:
        """The members left unused if *rule* is met by some of *free*, else None."""
        kind = rule.WhichOneof("Type")
        if kind == "signed_by":
            member = members[rule.signed_by] if 0 <= rule.signed_by < len(members) else None
            return free - {member} if member is not None and member in free else None
        if kind != "n_out_of":
            return None
        needed = rule.n_out_of.n
        for part in rule.n_out_of.rules:
            left = met_by(part, free)
            if left is not None:
                needed -= 1
                free = left
        return free if needed <= 0 else None

    return lambda endorsers: met_by(envelope.rule, frozenset(endorsers)) is not None


def _member_of(principal: Any) -> str | None:
    """The member whose node meets *principal*; None if no node can."""
    kinds = msp_principal_pb2.MSPPrincipal
    try:
        if principal.principal_classification == kinds.ROLE:
            role = msp_principal_pb2.MSPRole.FromString(principal.principal)
            return str(role.msp_identifier) if role.role in _ASKABLE_ROLES else None
        if principal.principal_classification == kinds.ORGANIZATION_UNIT:
            unit = msp_principal_pb2.OrganizationUnit.FromString(principal.principal)
            return str(unit.msp_identifier)
        if principal.principal_classification == kinds.IDENTITY:
            identity = identities_pb2.SerializedIdentity.FromString(principal.principal)
            return str(identity.mspid)
    except DecodeError:
        return None
    return None


def requirement_of_policy(policy: Policy | None) -> Requirement:
    """Read a policy of the channel configuration as a statement about members."""
    if isinstance(policy, SignaturePolicy):
        return requirement_of_signature_policy(policy.envelope.SerializeToString())
    if isinstance(policy, ImplicitMetaPolicy):
        below = [requirement_of_policy(each) for each in policy.policies]
        needed = policy.threshold
        return lambda endorsers: sum(1 for each in below if each(endorsers)) >= needed
    return lambda _endorsers: False


def layouts(
    requirements: Sequence[Requirement], members: Sequence[str], own: str, rotation: int = 0
) -> Iterator[tuple[str, ...]]:
    """Yield sets of members that meet all *requirements*, those with fewest remote calls first.

    Args:
        requirements: what must hold, all together.
        members: MSP ids with a node that can be asked, *own* among them if it can endorse.
        own: the member whose endorsement costs no call; it joins a layout only where it is needed.
        rotation: any number; spreads the load over layouts of equal size.
    """
    others = sorted(member for member in members if member != own)
    if others:
        turn = rotation % len(others)
        others = others[turn:] + others[:turn]
    bases = ((own,), ()) if own in members else ((),)

    def candidates() -> Iterator[tuple[str, ...]]:
        for size in range(len(others) + 1):
            for base in bases:
                for chosen in combinations(others, size):
                    yield base + chosen

    found: list[frozenset[str]] = []
    # The bound is a guard against policies over very many members, not a rule.
    for candidate in islice(candidates(), _MOST_LAYOUTS):
        asked = frozenset(candidate)
        if not asked or any(smaller <= asked for smaller in found):
            continue
        if _is_minimal(asked, requirements):
            found.append(asked)
            yield candidate


class FirstLayouts:
    """Finds the first layout, and remembers it.

    Policies, members and the turn are few, and the same for thousands of transactions; to find one
    anew takes 27 µs for four members. Requirements are those of one configuration, so what is
    remembered of an old one is asked for no more and goes.
    """

    def __init__(self) -> None:
        self._known: BoundedCache[tuple[object, ...], tuple[str, ...]] = BoundedCache(_REMEMBERED)

    def find(
        self, requirements: Sequence[Requirement], members: Sequence[str], own: str, rotation: int
    ) -> tuple[str, ...] | None:
        """Return the first of `layouts`, None if there is none."""
        turn = rotation % max(1, sum(member != own for member in members))
        place = (tuple(requirements), tuple(members), own, turn)
        found = self._known.get(place)
        if found is None:
            # A layout has a member at least, so nothing stands for none.
            found = next(layouts(requirements, members, own, turn), ())
            self._known.put(place, found)
        return found or None


def _is_minimal(asked: frozenset[str], requirements: Sequence[Requirement]) -> bool:
    """Whether *asked* meets all *requirements*, and would not with any one of them less."""
    if not all(requirement(asked) for requirement in requirements):
        return False
    if not requirements:
        return len(asked) == 1
    return not any(
        all(requirement(asked - {member}) for requirement in requirements) for member in asked
    )
