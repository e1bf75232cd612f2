"""Principals: what a policy may ask of one signer.

A principal is read once, when its policy is, and becomes a function from identity to bool. One that
is malformed or of an unknown kind is satisfied by nobody, as in Fabric, where it fails each time it
is evaluated.

Source: Fabric msp/mspimpl.go (`SatisfiesPrincipal`, `collectPrincipals`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fabric_protos.msp import msp_principal_pb2

from network.decoding import decode_message
from network.errors import IdentityError
from network.msp.identity import ADMIN, CLIENT, MEMBER, ORDERER, PEER, Identity

Predicate = Callable[[Identity], bool]

ROLES: Final = {0: MEMBER, 1: ADMIN, 2: CLIENT, 3: PEER, 4: ORDERER}
"""MSPRole.MSPRoleType by its number."""

MAX_COMBINED: Final = 1000
"""Principals inside combined principals that are looked at; one with more satisfies nobody."""

_ROLE, _UNIT, _IDENTITY, _ANONYMITY, _COMBINED = range(5)
_NOMINAL = 0


def _nobody(identity: Identity) -> bool:
    return False


def _everybody(identity: Identity) -> bool:
    return True


def compile_principal(principal: Any, deserialize: Callable[[bytes], Identity]) -> Predicate:
    """Turn an MSPPrincipal message into a test of identities.

    Args:
        principal: the message.
        deserialize: reads the identity that an IDENTITY principal names.
    """
    try:
        parts = _flatten(principal)
        tests = [_compile_one(part, deserialize) for part in parts]
    except IdentityError:
        return _nobody
    if len(tests) == 1:
        return tests[0]
    return lambda identity: all(test(identity) for test in tests)


def _flatten(principal: Any) -> list[Any]:
    """Return the principals that a combined one demands together, without nesting."""
    waiting, found, seen = [principal], [], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if seen > MAX_COMBINED:
            raise IdentityError("a combined principal is too large")
        if part.principal_classification != _COMBINED:
            found.append(part)
            continue
        inner = decode_message(
            msp_principal_pb2.CombinedPrincipal, part.principal, "a principal", IdentityError
        )
        if not inner.principals:
            raise IdentityError("a combined principal combines nothing")
        waiting.extend(inner.principals)
    return found


def _compile_one(part: Any, deserialize: Callable[[bytes], Identity]) -> Predicate:
    kind, raw = part.principal_classification, part.principal
    if kind == _ROLE:
        return _compile_role(raw)
    if kind == _UNIT:
        return _compile_unit(raw)
    if kind == _IDENTITY:
        named = deserialize(raw).identity_id
        return lambda identity: identity.identity_id == named
    if kind == _ANONYMITY:
        anonymity = decode_message(
            msp_principal_pb2.MSPIdentityAnonymity, raw, "a principal", IdentityError
        )
        # X.509 identities are never anonymous.
        return _everybody if anonymity.anonymity_type == _NOMINAL else _nobody
    return _nobody


def _compile_role(raw: bytes) -> Predicate:
    message = decode_message(msp_principal_pb2.MSPRole, raw, "a principal", IdentityError)
    msp_id: str = message.msp_identifier
    role = ROLES.get(message.role)
    if role is None:
        return _nobody
    return lambda identity: identity.msp_id == msp_id and role in identity.roles


def _compile_unit(raw: bytes) -> Predicate:
    message = decode_message(msp_principal_pb2.OrganizationUnit, raw, "a principal", IdentityError)
    msp_id: str = message.msp_identifier
    unit: str = message.organizational_unit_identifier
    certifiers: bytes = message.certifiers_identifier
    return lambda identity: (
        identity.msp_id == msp_id
        and unit in identity.units
        and identity.certifiers_identifier == certifiers
    )
