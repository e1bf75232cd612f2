"""Policies: who must have signed. Pure: no clock, no chance, no file, no socket."""

from network.policy.implicit_meta import ImplicitMetaPolicy, implicit_meta
from network.policy.language import parse_policy, role_principal
from network.policy.ports import Policy
from network.policy.signature import SignaturePolicy
from network.policy.signed_data import (
    Identities,
    SignedData,
    valid_identities,
    why_not_valid,
)
from network.policy.tree import PolicyManager

__all__ = [
    "Identities",
    "ImplicitMetaPolicy",
    "Policy",
    "PolicyManager",
    "SignaturePolicy",
    "SignedData",
    "implicit_meta",
    "parse_policy",
    "role_principal",
    "valid_identities",
    "why_not_valid",
]
