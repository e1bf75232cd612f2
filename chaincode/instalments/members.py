"""The members of the consortium (rulebook 1).

A member has an MSP id, a class, an affiliate group (a bank and its operator count once) and a
status. The roster is one record, `roster`, read by nearly every transaction and changed only by
the founding and by governance ballots; each version stays readable as `roster/<version>`, so that
the electorate of a vote can be told years later.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final, Literal, get_args

from chaincode.contract import ReadOnlyStub

from . import records
from .verdicts import RuleBroken

ROSTER_KEY: Final = "roster"

MemberClass = Literal["bank", "investment_firm", "operator", "manufacturer", "regulator"]
Status = Literal["active", "suspended", "leaving"]
CLASSES: Final[tuple[str, ...]] = get_args(MemberClass)
STATUSES: Final[tuple[str, ...]] = get_args(Status)
REGULATOR: Final = "regulator"

_MSP_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True)
class Member:
    """One organisation of the consortium.

    Attributes:
        msp_id: of its MSP in the channel's configuration.
        member_class: bank, investment_firm, operator, manufacturer or regulator.
        group: its affiliate group; members of one group have one vote together.
        name: for people.
        status: active, suspended or leaving; only an active one votes, opens and proposes.
        leaves_on: of a leaving one, its last day.
        successor: the member that takes over its agreements; None: nobody.
    """

    msp_id: str
    member_class: str
    group: str
    name: str = ""
    status: str = "active"
    leaves_on: date | None = None
    successor: str | None = None

    @property
    def is_active(self) -> bool:
        """Say whether it votes, opens agreements and proposes."""
        return self.status == "active"

    @property
    def is_regulator(self) -> bool:
        """Say whether it is of the class regulator."""
        return self.member_class == REGULATOR

    def is_gone(self, day: date) -> bool:
        """Say whether it has left for good by *day*."""
        return self.status == "leaving" and self.leaves_on is not None and self.leaves_on < day

    def plain(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "msp_id": self.msp_id,
            "member_class": self.member_class,
            "affiliate_group": self.group,
            "name": self.name,
            "status": self.status,
            "leaves_on": None if self.leaves_on is None else self.leaves_on.isoformat(),
            "successor": self.successor,
        }

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Member:
        """Return the member of a JSON form."""
        leaves_on = plain["leaves_on"]
        return cls(
            plain["msp_id"],
            plain["member_class"],
            plain["affiliate_group"],
            plain["name"],
            plain["status"],
            None if leaves_on is None else date.fromisoformat(leaves_on),
            plain["successor"],
        )


class Roster:
    """All members at one version, in the order of their MSP ids."""

    __slots__ = ("_by_msp", "members", "version")

    def __init__(self, version: int, members: Iterable[Member]) -> None:
        self.version = version
        self.members = tuple(sorted(members, key=lambda member: member.msp_id))
        self._by_msp = {member.msp_id: member for member in self.members}

    def find(self, msp_id: str) -> Member | None:
        """Return the member of an MSP, whatever its status; None for a stranger."""
        return self._by_msp.get(msp_id)

    def member(self, msp_id: str) -> Member:
        """Return the member of an MSP, whatever its status.

        Raises:
            RuleBroken: there is none.
        """
        found = self._by_msp.get(msp_id)
        if found is None:
            raise RuleBroken(
                f"organisation {msp_id}",
                "is no member",
                1,
                "have it admitted by a governance ballot",
            )
        return found

    def active(self, msp_id: str) -> Member:
        """Return the member of an MSP.

        Raises:
            RuleBroken: there is none, or it is not active.
        """
        member = self.member(msp_id)
        if not member.is_active:
            raise RuleBroken(
                f"member {msp_id}", f"is {member.status}", 1, "only active members may do this"
            )
        return member

    def group_of(self, msp_id: str) -> str:
        """Return the affiliate group of a member."""
        return self.member(msp_id).group

    @property
    def regulators(self) -> tuple[Member, ...]:
        """The members of the class regulator."""
        return tuple(member for member in self.members if member.is_regulator)

    @property
    def active_members(self) -> tuple[Member, ...]:
        """The members that vote."""
        return tuple(member for member in self.members if member.is_active)

    def acts_for(self, msp_id: str, owner: str, day: date) -> bool:
        """Say whether *msp_id* may act for *owner*: itself, or its successor once it has gone.

        A successor that has gone as well is followed by its own.
        """
        return msp_id == owner or msp_id in [each.msp_id for each in self._line_of(owner, day)[1:]]

    def left_without_successor(self, msp_id: str, day: date) -> date | None:
        """Return the first day on which nobody stands for *msp_id* any more, None before it."""
        line = self._line_of(msp_id, day)
        lasts = [each.leaves_on for each in line if each.leaves_on is not None]
        if not line or not line[-1].is_gone(day):
            return None
        return max(lasts) + timedelta(days=1)

    def _line_of(self, msp_id: str, day: date) -> list[Member]:
        """Return a member, its successor if it has gone by *day*, that one's, and so on."""
        line: list[Member] = []
        following: str | None = msp_id
        while following is not None:
            member = self._by_msp.get(following)
            if member is None or member in line:
                break
            line.append(member)
            following = member.successor if member.is_gone(day) else None
        return line

    def with_member(self, member: Member) -> Roster:
        """Return the next version, with *member* put in or changed."""
        others = [known for known in self.members if known.msp_id != member.msp_id]
        return Roster(self.version + 1, [*others, member])

    def plain(self) -> dict[str, Any]:
        """Return its JSON form."""
        return {
            "version": self.version,
            "members": [member.plain() for member in self.members],
        }


def roster_key(version: int) -> str:
    """Return the key of an older roster."""
    return f"{ROSTER_KEY}/{version}"


def decode_roster(raw: bytes) -> Roster:
    """Return the roster of a state value."""
    plain = records.decode(raw)
    return Roster(plain["version"], map(Member.of, plain["members"]))


def find(stub: ReadOnlyStub) -> Roster | None:
    """Return the roster in force, None before the founding; *stub* reads `enforcement`."""
    raw = stub.get_state(ROSTER_KEY)
    return None if raw is None else decode_roster(raw)


def load(stub: ReadOnlyStub) -> Roster:
    """Return the roster in force; *stub* reads `enforcement`.

    Raises:
        RuleBroken: the consortium was not founded.
    """
    roster = find(stub)
    if roster is None:
        raise RuleBroken("the consortium", "has no members yet", 1, "submit Found first")
    return roster


def load_version(stub: ReadOnlyStub, version: int) -> Roster:
    """Return an older roster; *stub* reads `enforcement`."""
    raw = stub.get_state(roster_key(version))
    if raw is None:
        raise RuleBroken(f"roster {version}", "does not exist", 1)
    return decode_roster(raw)


def check_member(member: Member) -> None:
    """Check the words of a member that is to be entered.

    Raises:
        RuleBroken: a name is not of its kind.
    """
    thing = "a member"
    if _MSP_ID.fullmatch(member.msp_id) is None:
        raise RuleBroken(thing, "needs an MSP id of letters, digits, '.', '_' and '-'", 1)
    thing = f"member {member.msp_id}"
    if member.member_class not in CLASSES:
        raise RuleBroken(thing, f"needs a class: one of {', '.join(CLASSES)}", 1)
    if _GROUP.fullmatch(member.group) is None:
        raise RuleBroken(thing, "needs an affiliate group of letters, digits, '_' and '-'", 1)
    if member.status not in STATUSES:
        raise RuleBroken(thing, f"needs a status: one of {', '.join(STATUSES)}", 1)
    if len(member.name) > 128:
        raise RuleBroken(thing, "has a name of more than 128 characters", 1)
    if (member.status == "leaving") != (member.leaves_on is not None):
        raise RuleBroken(thing, "has a last day if and only if it is leaving", 1)
    if member.successor is not None and member.status != "leaving":
        raise RuleBroken(thing, "names a successor only when it is leaving", 1)


def changed(member: Member, change: dict[str, Any]) -> Member:
    """Return *member* with the fields of *change* that are not None."""
    given = {name: value for name, value in change.items() if value is not None}
    if given.get("status") not in (None, "leaving"):
        given |= {"leaves_on": None, "successor": None}
    return replace(member, **given)
