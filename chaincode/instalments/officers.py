"""Who signs: officers of a member, by the attribute `qist.role` of their certificates (rulebook 1).

`lending` keeps agreements and payments and writes notices and proposals, `enforcement` votes in
cases, `executor` signs receipts, `governance` votes on policy and membership, `auditor` reads.
Votes are cast by persons: a certificate marked `qist.machine=true` never votes, whatever its role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from chaincode.contract import Context

from .members import Member, Roster
from .verdicts import RuleBroken

ROLES: Final = ("lending", "enforcement", "executor", "governance", "auditor")
_PERSONS_ONLY: Final = frozenset({"enforcement", "governance"})


@dataclass(frozen=True, slots=True)
class Officer:
    """The signer of a transaction.

    Attributes:
        name: common name of the certificate.
        member: of which it is an officer.
        role: the attribute `qist.role`.
    """

    name: str
    member: Member
    role: str

    @property
    def msp_id(self) -> str:
        """The MSP id of the member."""
        return self.member.msp_id

    def is_of_regulator(self, role: str) -> bool:
        """Say whether the signer is an officer of the regulator with this role."""
        return self.member.is_regulator and self.role == role


def require(ctx: Context, roster: Roster, *roles: str, active: bool = True) -> Officer:
    """Return the signer, who must have one of *roles* (any role when none is named).

    Args:
        active: whether the member must be active. What ends or releases a case, and the record
            of money received, asks only for a member.

    Raises:
        RuleBroken: a stranger, another role, a machine that would vote.
    """
    creator = ctx.creator
    member = roster.active(creator.msp_id) if active else roster.member(creator.msp_id)
    role = creator.role
    if role not in (roles or ROLES):
        wanted = " or ".join(roles or ROLES)
        raise RuleBroken(
            f"officer {creator.common_name or '(unnamed)'} of {creator.msp_id}",
            f"has the role {role or '(none)'}, this takes {wanted}",
            1,
            f"sign with a certificate whose attribute qist.role is {wanted}",
        )
    if role in _PERSONS_ONLY and creator.attributes.get("qist.machine") == "true":
        raise RuleBroken(
            f"machine account {creator.common_name} of {creator.msp_id}",
            f"cannot act as {role}: votes are cast by persons",
            1,
        )
    return Officer(creator.common_name, member, role)
