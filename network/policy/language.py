"""The language in which people write signature policies, as Fabric's tools read it.

    AND('BankMSP.peer', OutOf(1, 'PtaMSP.peer', 'MakerMSP.peer'))

A gate is AND, OR or OutOf(n, …), written in capitals, in small letters or as here; a principal is
MEMBER.ROLE in quotes, where the role is one of member, admin, client, peer, orderer. Principals are
numbered in Fabric's order (those of inner gates first), so that the same text gives the same bytes.

Source: Fabric common/policydsl/policyparser.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2

from network.errors import PolicyError
from network.msp.principals import ROLES

MAX_LENGTH: Final = 64 * 1024
MAX_DEPTH: Final = 32

_TOKEN = re.compile(r"""\s*(?:([A-Za-z]+)|(-?\d{1,9})|'([^']*)'|"([^"]*)"|([(),]))""")
_PRINCIPAL = re.compile(r"([A-Za-z0-9.-]+)\.(" + "|".join(ROLES.values()) + r")")
_ROLE_NUMBERS = {name: number for number, name in ROLES.items()}
_GATES = {
    spelling: gate
    for gate in ("And", "Or", "OutOf")
    for spelling in (gate, gate.lower(), gate.upper())
}


@dataclass(frozen=True, slots=True)
class _Gate:
    needed: int
    rules: tuple[_Gate | str, ...]


def parse_policy(text: str) -> Any:
    """Return the SignaturePolicyEnvelope message of a policy in words.

    Raises:
        PolicyError: not a policy; the message says where.
    """
    if len(text) > MAX_LENGTH:
        raise PolicyError(f"the policy is longer than {MAX_LENGTH} characters: write a shorter one")
    tokens = list(_tokens(text))
    gate, end = _parse_gate(text, tokens, 0, 1)
    if end != len(tokens):
        raise _fault(text, f"{tokens[end]!r} follows its end")
    principals: list[Any] = []
    rule = _build(gate, principals)
    return policies_pb2.SignaturePolicyEnvelope(version=0, rule=rule, identities=principals)


def _fault(text: str, what: str) -> PolicyError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return PolicyError(
        f"invalid policy string '{shown}': {what}; write e.g. AND('BankMSP.peer', 'PtaMSP.peer')"
    )


def _tokens(text: str) -> Iterator[str]:
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise _fault(text, f"unrecognized token at character {position + 1}")
        position = match.end()
        word, number, single, double, mark = match.groups()
        quoted = single if single is not None else double
        yield f"'{quoted}" if quoted is not None else word or number or mark


def _parse_gate(text: str, tokens: list[str], at: int, depth: int) -> tuple[_Gate, int]:
    """Read the gate that begins at token *at*; return it and where the next token stands."""
    if depth > MAX_DEPTH:
        raise _fault(text, f"gates lie deeper than {MAX_DEPTH} levels")
    gate = _GATES.get(tokens[at]) if at < len(tokens) else None
    if gate is None or tokens[at + 1 : at + 2] != ["("]:
        raise _fault(text, "a gate AND(…), OR(…) or OutOf(…) is expected")
    at += 2
    rules: list[_Gate | str] = []
    needed = 1
    if gate == "OutOf":
        number = tokens[at].removeprefix("'") if at < len(tokens) else ""
        if not re.fullmatch(r"-?\d{1,9}", number) or tokens[at + 1 : at + 2] != [","]:
            raise _fault(text, "OutOf begins with a number and a comma")
        needed = int(number)
        at += 2
    while True:
        if at >= len(tokens):
            raise _fault(text, "it ends inside a gate")
        if tokens[at].startswith("'"):
            principal = tokens[at][1:]
            if not _PRINCIPAL.fullmatch(principal):
                raise _fault(text, f"'{principal}' is no principal MEMBER.ROLE")
            rules.append(principal)
            at += 1
        else:
            inner, at = _parse_gate(text, tokens, at, depth + 1)
            rules.append(inner)
        mark = tokens[at] if at < len(tokens) else ""
        at += 1
        if mark == ")":
            break
        if mark != ",":
            raise _fault(text, "a comma or a closing parenthesis is missing")
    if gate == "And":
        needed = len(rules)
    # One more than there are rules is allowed, as in Fabric: a policy that nobody can satisfy.
    if not 0 <= needed <= len(rules) + 1:
        raise _fault(text, f"invalid t-out-of-n predicate, t {needed}, n {len(rules)}")
    return _Gate(needed, tuple(rules)), at


def _build(gate: _Gate, principals: list[Any]) -> Any:
    built: list[Any] = [
        _build(rule, principals) if isinstance(rule, _Gate) else None for rule in gate.rules
    ]
    for index, rule in enumerate(gate.rules):
        if isinstance(rule, _Gate):
            continue
        built[index] = policies_pb2.SignaturePolicy(signed_by=len(principals))
        principals.append(role_principal(rule))
    return policies_pb2.SignaturePolicy(
        n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=gate.needed, rules=built)
    )


def role_principal(text: str) -> Any:
    """Return the MSPPrincipal message of MEMBER.ROLE.

    Raises:
        PolicyError: not of that form.
    """
    match = _PRINCIPAL.fullmatch(text)
    if match is None:
        raise PolicyError(f"'{text}' is no principal MEMBER.ROLE: write e.g. BankMSP.peer")
    role = msp_principal_pb2.MSPRole(msp_identifier=match[1], role=_ROLE_NUMBERS[match[2]])
    return msp_principal_pb2.MSPPrincipal(
        principal_classification=msp_principal_pb2.MSPPrincipal.ROLE,
        principal=role.SerializeToString(),
    )
