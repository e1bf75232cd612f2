"""Signature policies against a naive evaluator, and against every possible pairing of signers."""

from __future__ import annotations

from collections.abc import Sequence

from fabric_protos.common import policies_pb2
from hypothesis import given
from hypothesis import strategies as st

from network.msp import Identity, MSPManager
from network.policy import SignaturePolicy, SignedData, role_principal, valid_identities
from tests.support.members import Member

MEMBERS = [Member(name) for name in ("AMSP", "BMSP", "CMSP")]
MANAGER = MSPManager([member.msp() for member in MEMBERS])
SIGNERS = [
    member.identity(f"{unit}{number}", unit)
    for member in MEMBERS
    for unit in ("peer", "client")
    for number in range(2)
]
IDENTITIES = [MANAGER.deserialize(signer.serialized) for signer in SIGNERS]
OUTSIDER = Member("AMSP").identity()
NAMES = [
    f"{member.msp_id}.{role}"
    for member in MEMBERS
    for role in ("member", "peer", "client", "admin")
]

Rule = int | tuple[int, tuple["Rule", ...]]

leaves = st.integers(0, len(NAMES) - 1)
rules = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4).flatmap(
        lambda found: st.tuples(st.integers(0, len(found) + 1), st.just(tuple(found)))
    ),
    max_leaves=8,
)
gates = st.lists(rules, min_size=1, max_size=4).flatmap(
    lambda found: st.tuples(st.integers(0, len(found) + 1), st.just(tuple(found)))
)
signers = st.lists(st.sampled_from(range(len(IDENTITIES))), unique=True, max_size=6)


def _message(rule: Rule):
    if isinstance(rule, int):
        return policies_pb2.SignaturePolicy(signed_by=rule)
    needed, inner = rule
    gate = policies_pb2.SignaturePolicy.NOutOf(n=needed, rules=[_message(each) for each in inner])
    return policies_pb2.SignaturePolicy(n_out_of=gate)


def _policy(rule: Rule) -> SignaturePolicy:
    envelope = policies_pb2.SignaturePolicyEnvelope(
        rule=_message(rule), identities=[role_principal(name) for name in NAMES]
    )
    return SignaturePolicy(envelope.SerializeToString(), MANAGER)


def _fits(identity: Identity, principal: int) -> bool:
    msp_id, role = NAMES[principal].split(".")
    return identity.msp_id == msp_id and (role == "member" or role in identity.certificate.units)


def naive(rule: Rule, identities: Sequence[Identity], used: list[bool]) -> bool:
    """Evaluate as Fabric does, with a list of flags that is copied before every try."""
    if isinstance(rule, int):
        for at, identity in enumerate(identities):
            if not used[at] and _fits(identity, rule):
                used[at] = True
                return True
        return False
    needed, inner = rule
    satisfied = 0
    for each in inner:
        attempt = list(used)
        if naive(each, identities, attempt):
            satisfied += 1
            used[:] = attempt
    return satisfied >= needed


def pairings(rule: Rule, identities: Sequence[Identity], free: frozenset[int]) -> set[frozenset]:
    """Return every set of signers that could be left over when the rule is satisfied."""
    if isinstance(rule, int):
        return {free - {at} for at in free if _fits(identities[at], rule)}
    needed, inner = rule
    states = {(0, free)}
    for each in inner:
        further = {
            (count + 1, left)
            for count, before in states
            for left in pairings(each, identities, before)
        }
        states |= further
    return {left for count, left in states if count >= needed}


@given(rule=gates, chosen=signers)
def test_policy_agrees_with_the_naive_evaluator(rule, chosen) -> None:
    """Nested gates, thresholds from zero to one too many, signers in any order."""
    identities = [IDENTITIES[number] for number in chosen]
    expected = naive(rule, identities, [False] * len(identities))
    policy = _policy(rule)
    assert policy.is_satisfied(identities) == expected
    assert policy.is_satisfied(identities) == expected  # from the cache


@given(rule=gates, chosen=signers)
def test_satisfied_policy_has_a_signer_of_its_own_for_every_demand(rule, chosen) -> None:
    """Nobody is counted twice: some pairing of signers and demands satisfies the policy."""
    identities = [IDENTITIES[number] for number in chosen]
    if _policy(rule).is_satisfied(identities):
        assert pairings(rule, identities, frozenset(range(len(identities))))


@given(chosen=signers, needed=st.integers(1, 3))
def test_order_of_signers_is_nothing_to_a_policy_over_members(chosen, needed) -> None:
    """Where no signer fits two demands, their order cannot matter."""
    peers = [NAMES.index(f"{member.msp_id}.peer") for member in MEMBERS]
    policy = _policy((needed, tuple(peers)))
    identities = [IDENTITIES[number] for number in chosen]
    expected = len({each.msp_id for each in identities if "peer" in each.roles}) >= needed
    assert policy.is_satisfied(identities) == expected
    assert policy.is_satisfied(identities[::-1]) == expected


@given(
    st.lists(
        st.tuples(
            st.sampled_from(range(len(SIGNERS) + 1)),
            st.sampled_from(["good", "other bytes", "empty"]),
            st.booleans(),
        ),
        max_size=8,
    )
)
def test_signers_count_once_and_only_with_a_valid_signature(signatures) -> None:
    """Invalid signatures and strangers neither count nor harm; a signer's first signature counts.

    A later signature of a signer who has counted is not looked at; one of a signer whose earlier
    signature was wrong is.
    """
    signed, expected = [], []
    for number, kind, padded in signatures:
        signer = OUTSIDER if number == len(SIGNERS) else SIGNERS[number]
        signature = b"" if kind == "empty" else signer.sign(kind.encode())
        raw = signer.serialized + (b"\x1a\x00" if padded else b"")
        signed.append(SignedData(b"good", raw, signature))
        if signer is not OUTSIDER and kind == "good" and number not in expected:
            expected.append(number)
    found = valid_identities(signed, MANAGER)
    assert [each.identity_id for each in found] == [
        IDENTITIES[number].identity_id for number in expected
    ]
