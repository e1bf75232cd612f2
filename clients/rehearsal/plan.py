"""The policy file of a rehearsal: members, parameters, how the actors act, and what is assumed.

TOML; only `members` must be there, everything else has the rulebook's defaults::

    [members.BankMSP]              # MSP id
    class = "bank"                 # bank, investment_firm, operator, manufacturer, regulator
    affiliate_group = "bank"       # a bank and its operator share one
    name = "A bank"                # may be left out

    [parameters]                   # parameters of the policy that differ from the defaults
    notice_period_days = 14

    [votes]                        # of a member: yes (default), no, abstain, silent
    MakerMSP = "no"

    [actors]
    regulator_frees_waiting = "next_day"   # or "never"

    [assumed]                      # facts that the input lacks; the report names them
    operator = "OperatorMSP"       # whose SIM is sold with the phone
    maker = "MakerMSP"             # who registers the devices
    country = "PK"                 # where they were made
    language = "ur"                # of consent and notice
    notice_channel = "sms"

    [assumed.received_by]          # which member receives a channel's payments; else the lender
    wallet = "OperatorMSP"

The order of the members is the order in which they vote.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from clients.rehearsal.errors import RehearsalRefused

CLASSES: Final = ("bank", "investment_firm", "operator", "manufacturer", "regulator")
LENDERS: Final = ("bank", "investment_firm", "operator")
CHOICES: Final = ("yes", "no", "abstain", "silent")
POLICY_FILE: Final = "policy.toml"
_SECTIONS: Final = frozenset({"members", "parameters", "votes", "actors", "assumed"})
_ASSUMED: Final = frozenset(
    {"operator", "maker", "country", "language", "notice_channel", "received_by"}
)


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """One member as the policy file has it."""

    msp_id: str
    member_class: str
    affiliate_group: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Assumed:
    """Facts that the input lacks.

    Attributes:
        operator: member whose SIM is sold with every phone.
        maker: member that registers the devices.
        country: of manufacture, two letters.
        language: of consent and notice.
        notice_channel: how notices are served.
        received_by: member that receives the payments of a channel; where a channel is not named,
            the lender does.
    """

    operator: str
    maker: str
    country: str = "PK"
    language: str = "ur"
    notice_channel: str = "sms"
    received_by: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Plan:
    """A policy file that was read and found well-formed.

    Attributes:
        members: in the order in which they vote.
        parameters: of the policy, by name; checked by the contract when it is founded.
        votes: how each member's officer votes.
        frees_waiting: whether the regulator frees waiting orders on the next day.
    """

    members: tuple[MemberPlan, ...]
    parameters: Mapping[str, Any]
    votes: Mapping[str, str]
    frees_waiting: bool
    assumed: Assumed

    @property
    def regulator(self) -> MemberPlan:
        """The first member of the class regulator."""
        return next(member for member in self.members if member.member_class == "regulator")

    def member(self, msp_id: str) -> MemberPlan | None:
        """Return the member of an MSP, None for a stranger."""
        return next((member for member in self.members if member.msp_id == msp_id), None)

    def group_of(self, msp_id: str) -> str:
        """Return the affiliate group of a member, "" for a stranger."""
        member = self.member(msp_id)
        return member.affiliate_group if member else ""

    def receiver(self, channel: str, lender: str) -> str:
        """Return who receives a payment that came by *channel*."""
        return self.assumed.received_by.get(channel, lender)

    def receivers(self, lender: str) -> list[str]:
        """Return the receiving institutions of a lender's agreements, one outside its group."""
        named = sorted({lender, *self.assumed.received_by.values()})
        if all(self.group_of(msp_id) == self.group_of(lender) for msp_id in named):
            named.append(self.regulator.msp_id)
        return named

    def keepers(self, lender: str) -> list[str]:
        """Return who keeps a lender's terms beside itself and the regulators.

        Those who receive its payments, since only they can post them, and the operator. Empty where
        nobody is left: then the network chooses.
        """
        regulators = [each.msp_id for each in self.members if each.member_class == "regulator"]
        named = {*self.receivers(lender), self.assumed.operator}
        return sorted(named - {lender, *regulators})

    def confirmer(self, lender: str) -> str:
        """Return who confirms a lender's sales: the operator, else the maker or the regulator."""
        for msp_id in (self.assumed.operator, self.assumed.maker):
            if self.group_of(msp_id) != self.group_of(lender):
                return msp_id
        return self.regulator.msp_id


def load_plan(path: Path) -> Plan:
    """Read a policy file.

    Raises:
        RehearsalRefused: unreadable, not TOML, or a name or value that is not known.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RehearsalRefused(
            f"the policy file {path} cannot be read: {error.strerror}; name one with --policy"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RehearsalRefused(f"the policy file {path} is not TOML: {error}") from error
    return _plan(str(path), content)


def _plan(where: str, content: dict[str, Any]) -> Plan:
    _refuse_unknown(where, "", content, _SECTIONS)
    members = tuple(
        _member(where, msp_id, entry) for msp_id, entry in _table(where, content, "members").items()
    )
    if not any(member.member_class == "regulator" for member in members):
        raise RehearsalRefused(f"{where}: members: none is of the class regulator; name one")
    known = {member.msp_id for member in members}
    votes = _table(where, content, "votes")
    for msp_id, choice in votes.items():
        if msp_id not in known or choice not in CHOICES:
            raise RehearsalRefused(
                f"{where}: votes.{msp_id}: must be a member with one of {', '.join(CHOICES)}"
            )
    actors = _table(where, content, "actors")
    _refuse_unknown(where, "actors.", actors, frozenset({"regulator_frees_waiting"}))
    frees = actors.get("regulator_frees_waiting", "next_day")
    if frees not in ("next_day", "never"):
        raise RehearsalRefused(
            f'{where}: actors.regulator_frees_waiting: must be "next_day" or "never"'
        )
    return Plan(
        members,
        MappingProxyType(dict(_table(where, content, "parameters"))),
        MappingProxyType({msp_id: votes.get(msp_id, "yes") for msp_id in known}),
        frees == "next_day",
        _assumed(where, _table(where, content, "assumed"), members),
    )


def _member(where: str, msp_id: str, entry: Any) -> MemberPlan:
    place = f"{where}: members.{msp_id}"
    if not isinstance(entry, dict):
        raise RehearsalRefused(f"{place}: must be a table with class and affiliate_group")
    _refuse_unknown(
        where, f"members.{msp_id}.", entry, frozenset({"class", "affiliate_group", "name"})
    )
    if entry.get("class") not in CLASSES:
        raise RehearsalRefused(f"{place}.class: must be one of {', '.join(CLASSES)}")
    group = entry.get("affiliate_group")
    if not isinstance(group, str) or not group:
        raise RehearsalRefused(f"{place}.affiliate_group: must name the group of the member")
    return MemberPlan(msp_id, entry["class"], group, str(entry.get("name", "")))


def _assumed(where: str, given: dict[str, Any], members: tuple[MemberPlan, ...]) -> Assumed:
    _refuse_unknown(where, "assumed.", given, _ASSUMED)
    received_by = given.get("received_by", {})
    if not isinstance(received_by, dict):
        raise RehearsalRefused(f"{where}: assumed.received_by: must be a table of channel = member")
    texts = {name: value for name, value in given.items() if name != "received_by"}
    for name, value in texts.items():
        if not isinstance(value, str) or not value:
            raise RehearsalRefused(f"{where}: assumed.{name}: must be a text")
    texts.setdefault("operator", _first(members, "operator"))
    texts.setdefault("maker", _first(members, "manufacturer"))
    known = {member.msp_id for member in members}
    for name, msp_id in [
        ("operator", texts["operator"]),
        ("maker", texts["maker"]),
        *((f"received_by.{channel}", msp_id) for channel, msp_id in received_by.items()),
    ]:
        if msp_id not in known:
            raise RehearsalRefused(f"{where}: assumed.{name}: {msp_id} is not among the members")
    return Assumed(received_by=MappingProxyType(dict(received_by)), **texts)


def _first(members: tuple[MemberPlan, ...], member_class: str) -> str:
    for wanted in (member_class, "regulator"):
        for member in members:
            if member.member_class == wanted:
                return member.msp_id
    return members[0].msp_id


def _table(where: str, content: dict[str, Any], name: str) -> dict[str, Any]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise RehearsalRefused(f"{where}: {name}: must be a table")
    return table


def _refuse_unknown(where: str, place: str, given: dict[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise RehearsalRefused(
            f"{where}: {place}{unknown[0]}: is not known here; known are {', '.join(sorted(known))}"
        )
