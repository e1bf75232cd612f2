"""The founding (rulebook 1): members, affiliates and a first policy that is active at once.

Once only: refused as soon as a member exists. That every organisation of the genesis endorses it is
the business of those who send it and of the definition of the contract; here it is told apart only
by being the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from chaincode.contract import Context

from .. import ledger_day, members, officers, policy, records
from ..cases.inputs import MemberInput
from ..members import Member, Roster
from ..policy import Policy, Version
from ..verdicts import RuleBroken


def found(
    ctx: Context, given: Sequence[MemberInput], parameters: Mapping[str, object]
) -> tuple[Roster, Version]:
    """Write the first roster, the first policy and the ledger day.

    Raises:
        RuleBroken: a member exists, a name stands twice, there is no regulator, the signer is no
            governance officer of a founding member, or a parameter is wrong.
    """
    stub = ctx.stub
    if members.find(stub) is not None:
        raise RuleBroken(
            "the consortium", "is founded already", 1, "changes are made by governance ballots"
        )
    roster = Roster(1, [_member(each) for each in given])
    if len({each.msp_id for each in given}) != len(given):
        raise RuleBroken("the founding", "names a member twice", 1, "name each once")
    if not roster.regulators:
        raise RuleBroken("the founding", "names no regulator", 1, "name at least one")
    first = Version(1, ctx.tx_date, policy.changed(Policy(), parameters))
    officers.require(ctx, roster, "governance")
    write_roster(ctx, roster)
    write_policies(ctx, (first,))
    stub.put_state(ledger_day.LEDGER_DAY_KEY, ledger_day.encode_day(ctx.tx_date))
    return roster, first


def _member(given: MemberInput) -> Member:
    member = Member(
        given.msp_id, given.member_class, given.affiliate_group, given.name or given.msp_id
    )
    members.check_member(member)
    return member


def write_roster(ctx: Context, roster: Roster) -> None:
    """Write a roster as the one in force, and for ever under its version."""
    value = records.encode(roster.plain())
    ctx.stub.put_state(members.ROSTER_KEY, value)
    ctx.stub.put_state(members.roster_key(roster.version), value)


def write_policies(ctx: Context, versions: tuple[Version, ...]) -> None:
    """Write the list of policy versions, and the newest of them."""
    newest = max(versions, key=lambda version: version.number)
    ctx.stub.put_state(policy.policy_key(newest.number), records.encode(newest.plain()))
    ctx.stub.put_state(policy.POLICIES_KEY, policy.encode_list(versions))


def move_day(ctx: Context) -> tuple[date, bool]:
    """Move the ledger day forward to the transaction's date; return it and whether it moved."""
    day = ledger_day.current(ctx.stub)
    if ctx.tx_date <= day:
        return day, False
    ctx.stub.put_state(ledger_day.LEDGER_DAY_KEY, ledger_day.encode_day(ctx.tx_date))
    return ctx.tx_date, True
