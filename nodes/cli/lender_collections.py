"""The private collections of a network's lenders, as its description says who belongs to them.

Each lender has two in the definition of `instalments` (chaincode/instalments/circles.py):

    terms-MSPID         the lender, the regulators, and those named in `terms_with`: who receive
                        its payments, and may endorse one while the lender is silent
    identifiers-MSPID   the lender, the regulators, and those named in `identifiers_with`: the
                        executors, who must know which phone and which number

Written in Fabric's form of a collections file, so that a member reads and changes it with either
program; a lender that joins later is added to it by a new definition.

Where the description is silent: terms with the first operator outside the lender's group, an
operator's with the first bank or firm; identifiers with all members of the executors' classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chaincode.instalments import circles
from chaincode.instalments.policy import Policy, changed
from nodes.cli.members_description import NetworkMember

__all__ = ["collections_of", "render_collections"]


def collections_of(
    members: Sequence[NetworkMember], policy: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    """Return the members of every lender's collections by the collection's name.

    Args:
        policy: parameters of the first policy that differ from the rulebook's defaults.
    """
    executors = changed(Policy(), policy).executor_classes
    found: dict[str, tuple[str, ...]] = {}
    for lender in members:
        if not lender.may_lend:
            continue
        terms = lender.terms_with
        if terms is None:
            terms = _usual_receivers(lender, members)
        informed = lender.identifiers_with
        if informed is None:
            informed = tuple([each.msp_id for each in members if each.member_class in executors])
        found[circles.terms_of(lender.msp_id)] = _circle(lender, members, terms)
        found[circles.identifiers_of(lender.msp_id)] = _circle(lender, members, informed)
    return found


def _circle(
    lender: NetworkMember, members: Sequence[NetworkMember], others: Sequence[str]
) -> tuple[str, ...]:
    """Return the lender, the regulators and *others*, in the order of the members."""
    return tuple(
        [
            each.msp_id
            for each in members
            if each.msp_id == lender.msp_id or each.is_regulator or each.msp_id in others
        ]
    )


def _usual_receivers(lender: NetworkMember, members: Sequence[NetworkMember]) -> tuple[str, ...]:
    outside = [each for each in members if each.may_lend and each.group != lender.group]
    is_operator = lender.member_class == "operator"
    fitting = [each for each in outside if (each.member_class == "operator") != is_operator]
    return tuple([each.msp_id for each in (fitting or outside)[:1]])


def render_collections(
    members: Sequence[NetworkMember], collections: Mapping[str, Sequence[str]]
) -> str:
    """Return the text of the collections file.

    An endorser's data must be on one other member's node before it signs, so that no single loss
    loses them, and are pushed to all others, so that nobody need ask for them at commit. Who writes
    to a collection is endorsed by two groups of its members: nobody else could have seen what it is
    about. Blocks do not make data go; what may go is purged by name.
    """
    groups = {each.msp_id: each.group for each in members}
    content = [
        _entry(name, circle, [groups[msp_id] for msp_id in circle])
        for name, circle in collections.items()
    ]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _entry(name: str, circle: Sequence[str], groups: Sequence[str]) -> dict[str, Any]:
    others = len(circle) - 1
    entry: dict[str, Any] = {
        "name": name,
        "policy": f"OR({', '.join([_principal(msp_id, 'member') for msp_id in circle])})",
        "requiredPeerCount": min(1, others),
        "maxPeerCount": others,
        "blockToLive": 0,
        "memberOnlyRead": True,
        "memberOnlyWrite": True,
    }
    peers: dict[str, list[str]] = {}
    for msp_id, group in zip(circle, groups, strict=True):
        peers.setdefault(group, []).append(_principal(msp_id, "peer"))
    if len(peers) > 1:
        rules = [each[0] if len(each) == 1 else f"OR({', '.join(each)})" for each in peers.values()]
        entry["endorsementPolicy"] = {"signaturePolicy": f"OutOf(2, {', '.join(rules)})"}
    return entry


def _principal(msp_id: str, role: str) -> str:
    return f"'{msp_id}.{role}'"
