"""Motions (rulebook 1): proposals about policy and membership, and the ballots on them.

    motion/<id>   in `enforcement`, one `Motion` with its ballots

Adopted by the policy's share of the active members (two thirds), a regulator among them; rejected
as soon as that is impossible; lapsed after the days for it. Each member has one vote here,
affiliates too; the member that a change concerns has none. The deciding ballot puts the change into
force in its own transaction: membership at once, a policy version some days later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Annotated, Any, Final

from chaincode.contract import Context, MaxLength, ReadOnlyStub, decode_json, encode_json

from .. import members, policy
from ..cases.bulk import Outcome, StateRefused
from ..cases.inputs import GovernanceBallotInput, MemberChangeInput
from ..members import Member, Roster
from ..officers import Officer
from ..policy import Policies, Version
from ..verdicts import RuleBroken
from .founding import write_policies, write_roster

POLICY: Final = "policy"
MEMBER: Final = "member"
_PREFIX: Final = {POLICY: "P-", MEMBER: "M-"}


@dataclass(frozen=True, slots=True)
class MotionBallot:
    """The vote of one member."""

    msp_id: str
    officer: str
    choice: str
    reason: str
    on: date


@dataclass(frozen=True, slots=True)
class Motion:
    """A proposal about policy or membership.

    Attributes:
        kind: policy or member.
        content: the parameters, or the fields of the member, that change.
        open_until: last day for ballots.
        state: open, adopted or rejected, as last written; `state_on` also knows lapsed.
    """

    id: str
    kind: str
    content: dict[str, object]
    reason: str
    by: str
    proposed_on: date
    open_until: date
    ballots: tuple[MotionBallot, ...] = ()
    state: str = "open"
    decided_on: date | None = None
    active_from: date | None = None
    version: int | None = None

    def state_on(self, day: date) -> str:
        """Return its state on a day."""
        return "lapsed" if self.state == "open" and day > self.open_until else self.state

    @property
    def concerns(self) -> str:
        """The member that it is about, "" for a policy."""
        return str(self.content["msp_id"]) if self.kind == MEMBER else ""


def motion_key(motion_id: str) -> str:
    """Return the key of a motion."""
    return f"motion/{motion_id}"


def find(stub: ReadOnlyStub, motion_id: str) -> Motion | None:
    """Return a motion, None where there is none; *stub* reads `enforcement`."""
    raw = stub.get_state(motion_key(motion_id))
    return None if raw is None else decode_json(Motion, raw, "a motion on the ledger")


Reason = Annotated[str, MaxLength(40)]


class Chamber:
    """One transaction's working copies of what the members decide about."""

    def __init__(self, ctx: Context, officer: Officer, roster: Roster, policies: Policies) -> None:
        self._ctx = ctx
        self._officer = officer
        self._roster = roster
        self._policies = policies
        self._motions: dict[str, Motion | None] = {}

    def _find(self, motion_id: str) -> Motion | None:
        if motion_id not in self._motions:
            self._motions[motion_id] = find(self._ctx.stub, motion_id)
        return self._motions[motion_id]

    def _put(self, motion: Motion) -> None:
        self._motions[motion.id] = motion
        self._ctx.stub.put_state(motion_key(motion.id), encode_json(motion))

    # ---- proposing
    def propose_policy(
        self, motion_id: str, parameters: Mapping[str, object], reason: str, wanted: date | None
    ) -> tuple[Motion, bool]:
        """Propose a policy version; return the motion and whether it is new."""
        if self._find(motion_id) is None:
            newest = self._policies.versions[-1].policy
            if policy.changed(newest, parameters) == newest:
                raise RuleBroken(f"motion {motion_id}", "changes nothing", 1)
        return self._propose(motion_id, POLICY, dict(parameters), reason, wanted)

    def propose_member(
        self, motion_id: str, change: MemberChangeInput, reason: str
    ) -> tuple[Motion, bool]:
        """Propose a change of membership; return the motion and whether it is new."""
        content = _given(change)
        known = self._find(motion_id)
        if known is None:
            self._changed_roster(motion_id, content)
        return self._propose(motion_id, MEMBER, content, reason, None)

    def _propose(
        self, motion_id: str, kind: str, content: dict[str, object], reason: str, day: date | None
    ) -> tuple[Motion, bool]:
        thing = f"motion {motion_id}"
        if not motion_id.startswith(_PREFIX[kind]):
            raise RuleBroken("the motion", f"needs an id that begins with {_PREFIX[kind]}", 1)
        today = self._ctx.tx_date
        open_until = today + timedelta(days=self._policies.in_force(today).policy.governance_days)
        motion = Motion(
            motion_id, kind, content, reason, self._officer.msp_id, today, open_until,
            active_from=day,
        )  # fmt: skip
        known = self._find(motion_id)
        if known is None:
            self._put(motion)
            return motion, True
        same = (known.kind, known.content, known.reason, known.by)
        if same != (motion.kind, motion.content, motion.reason, motion.by):
            raise RuleBroken(thing, "is known with other content", 1, "give it an id of its own")
        return known, False

    # ---- voting
    def cast(self, kind: str, given: GovernanceBallotInput) -> Outcome:
        """Weigh a ballot and write it, with what it decides."""
        motion = self._find(given.proposal)
        if motion is None or motion.kind != kind:
            raise RuleBroken(
                "the motion", f"is no proposal about {kind} on the ledger", 1, "propose it first"
            )
        thing, officer, day = f"motion {motion.id}", self._officer, self._ctx.tx_date
        known = next((each for each in motion.ballots if each.msp_id == officer.msp_id), None)
        if known is not None:
            if known.choice == given.choice:
                return Outcome(False, motion.state_on(day))
            raise RuleBroken(
                thing, f"has the vote {known.choice} of {officer.msp_id} of {known.on}", 1,
                "a ballot stands",
            )  # fmt: skip
        if motion.state_on(day) != "open":
            state = motion.state_on(day)
            raise StateRefused(thing, f"takes no ballot: it is {state}", 1, state=state)
        if officer.msp_id == motion.concerns:
            raise RuleBroken(thing, f"is about {officer.msp_id}, which has no vote on itself", 1)
        ballot = MotionBallot(officer.msp_id, officer.name, given.choice, given.reason or "", day)
        motion = replace(motion, ballots=(*motion.ballots, ballot))
        decision = self._decision(motion)
        if decision == "adopted":
            motion = self._adopt(motion)
        elif decision == "rejected":
            motion = replace(motion, state="rejected", decided_on=day)
        self._put(motion)
        facts = {"by": officer.msp_id, "choice": given.choice, "kind": kind}
        return Outcome(True, motion.state, facts=facts)

    def _decision(self, motion: Motion) -> str:
        voters = [each for each in self._roster.active_members if each.msp_id != motion.concerns]
        rules = self._policies.in_force(self._ctx.tx_date).policy
        cast = {ballot.msp_id: ballot.choice for ballot in motion.ballots}
        yes = [each for each in voters if cast.get(each.msp_id) == "yes"]
        possible = [each for each in voters if cast.get(each.msp_id) != "no"]

        def carries(side: list[Member]) -> bool:
            enough = len(side) * rules.adoption_denominator
            return enough >= len(voters) * rules.adoption_numerator and any(
                each.is_regulator for each in side
            )

        if carries(yes):
            return "adopted"
        return "open" if carries(possible) else "rejected"

    def _adopt(self, motion: Motion) -> Motion:
        day = self._ctx.tx_date
        if motion.kind == MEMBER:
            self._roster = self._changed_roster(motion.id, motion.content)
            write_roster(self._ctx, self._roster)
            return replace(
                motion, state="adopted", decided_on=day, active_from=day,
                version=self._roster.version,
            )  # fmt: skip
        rules = self._policies.in_force(day).policy
        newest = self._policies.versions[-1]
        first_day = policy.first_active_day(day, rules, motion.active_from)
        version = Version(
            max(each.number for each in self._policies.versions) + 1,
            # Never before a version adopted earlier, on whose parameters it builds.
            max(first_day, newest.active_from),
            policy.changed(newest.policy, motion.content),
        )
        versions = (*self._policies.versions, version)
        self._policies = Policies(versions)
        write_policies(self._ctx, versions)
        return replace(
            motion, state="adopted", decided_on=day, active_from=version.active_from,
            version=version.number,
        )  # fmt: skip

    # ---- what it would change
    def _changed_roster(self, motion_id: str, content: Mapping[str, object]) -> Roster:
        """Return the roster after a change.

        Raises:
            RuleBroken: a new member lacks its class or group, nothing changes, the successor is no
                member, or no active regulator would be left.
        """
        change, thing = _typed(content), f"motion {motion_id}"
        known = self._roster.find(change["msp_id"])
        if known is None:
            if "member_class" not in change or "affiliate_group" not in change:
                raise RuleBroken(thing, "admits a member without class and affiliate group", 1)
            member = Member(
                change["msp_id"], change["member_class"], change["affiliate_group"],
                change.get("name", change["msp_id"]),
            )  # fmt: skip
            members.check_member(member)
        else:
            member = known
            if known.is_gone(self._ctx.tx_date):
                raise RuleBroken(
                    thing, f"is about {known.msp_id}, which left on {known.leaves_on}", 1,
                    "admit it anew under another MSP id",
                )  # fmt: skip
        fields = {
            {"affiliate_group": "group"}.get(name, name): value
            for name, value in change.items()
            if name != "msp_id"
        }
        member = members.changed(member, fields)
        members.check_member(member)
        if member == known:
            raise RuleBroken(thing, "changes nothing", 1)
        if member.successor is not None and (
            member.successor == member.msp_id or self._roster.find(member.successor) is None
        ):
            raise RuleBroken(thing, "names a successor that is no other member", 1)
        roster = self._roster.with_member(member)
        if not any(each.is_regulator for each in roster.active_members):
            raise RuleBroken(thing, "would leave no active regulator", 1, "admit another first")
        return roster


def _given(change: MemberChangeInput) -> dict[str, object]:
    names = (
        "msp_id", "member_class", "affiliate_group", "name", "status", "leaves_on", "successor",
    )  # fmt: skip
    content: dict[str, object] = {}
    for name in names:
        value = getattr(change, name)
        if value is not None:
            content[name] = value.isoformat() if isinstance(value, date) else value
    return content


def _typed(content: Mapping[str, object]) -> dict[str, Any]:
    change: dict[str, Any] = dict(content)
    if "leaves_on" in change:
        change["leaves_on"] = date.fromisoformat(change["leaves_on"])
    return change
