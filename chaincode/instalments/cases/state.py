"""What state a case is in on a day: one pure function, `state_of`.

It looks at both namespaces, the holds, the policy and the date, and at nothing else; so a deadline
binds by date, whether or not anybody swept. The rows of the rulebook's table (4):

| state | what it follows from | over by date |
|---|---|---|
| triggered | the case record | `lapsed` after the days for a notice |
| notified | a notice | `lapsed` after the days for a proposal |
| voting | a proposal | `lapsed` after the voting days |
| waiting | carried, no slot | `lapsed` after the waiting days |
| ordered | an order, nobody APPLIED | `lapsed` when nobody SUBMITTED in the hours for it |
| enforced | a receipt APPLIED | – |
| held | a hold that covers the day | a dispute unanswered: `withdrawn` |
| releasing, released | an ending with release orders | – |
| rejected, cured, withdrawn … | the vote, the ending | – |

Before an order the date alone ends a case. Once an executor may have acted, it only makes an ending
*due* (`CaseState.due`): somebody must write it down (`EndBlocksByTerm`), since with it goes the
release order. A further round that lapses ends nothing but itself: the lower tier stays in force.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from ..book.position import Position
from ..calendar import pkt_date
from ..policy import Policy
from .case import BlockOrder, CaseRecord, Receipts, Round
from .clock import (
    Moment,
    Span,
    counted,
    held_days_since,
    merged,
    over_on,
)
from .outcome import Ending, Hold, Release

_DAY: Final = timedelta(days=1)

BEFORE_ORDER: Final = ("triggered", "notified", "voting", "waiting")
WITH_BLOCK: Final = ("ordered", "enforced")


@dataclass(frozen=True, slots=True)
class CaseFile:
    """Everything about one case.

    Attributes:
        record: what was decided.
        receipts: of the block orders, by order.
        holds: all of the agreement.
        ending: how it ended in `instalments`, if it did.
        releases: the release orders of that ending.
        policy: what binds the case on the day asked: its own version and what is milder since.
        off_since: by tier, the first day since the trigger on which it was off.
        moratorium_since: the first day since the trigger in a moratorium.
        eased: (first day, days past due) of later versions with a trigger that is milder.
        lender_gone: the first day on which nobody stands for the lender any more.
        position: the agreement; needed only where `eased` is not empty.
    """

    record: CaseRecord
    receipts: Mapping[str, tuple[Receipts, ...]]
    holds: tuple[Hold, ...]
    ending: Ending | None
    releases: tuple[Release, ...]
    policy: Policy
    off_since: Mapping[int, date]
    moratorium_since: date | None
    eased: tuple[tuple[date, int], ...]
    lender_gone: date | None
    position: Position | None = None

    @property
    def held(self) -> tuple[Span, ...]:
        """The days under a hold of this case: no deadline counts them.

        A hold that came when the case was over is not one of them: it must not revive it.
        """
        case = self.record.case
        return merged([hold.span for hold in self.holds if hold.case == case])

    @property
    def held_ever(self) -> tuple[Span, ...]:
        """The days under any hold of the agreement: no trigger counts them."""
        return merged([hold.span for hold in self.holds])

    def applied_on(self, order: BlockOrder) -> date | None:
        """Return the day of an order's first APPLIED."""
        steps = [each.find("APPLIED") for each in self.receipts.get(order.order, ())]
        days = [pkt_date(step.at) for step in steps if step is not None]
        return min(days) if days else None

    def is_started(self, order: BlockOrder) -> bool:
        """Say whether an executor has SUBMITTED it and not refused."""
        return any(
            each.find("SUBMITTED") is not None and each.find("REFUSED") is None
            for each in self.receipts.get(order.order, ())
        )


@dataclass(frozen=True, slots=True)
class Due:
    """An end that a date has brought."""

    kind: str
    on: date
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class CaseState:
    """The state of a case at a moment.

    Attributes:
        state: triggered, notified, voting, waiting, ordered, enforced, held, releasing, released,
            or how it ended without a release: cured, lapsed, rejected, withdrawn …
        beneath: the same without a hold; "" once it is over.
        step: state of the newest round: as `beneath` in the first; later rounds also rejected,
            lapsed, referred.
        ended: how it ended; "" while it is open.
        ended_on: the day of it.
        due: an end that somebody must write down, since a release order goes with it.
        hold: the hold that covers the day.
        applied_on: the day of the first APPLIED.
        tier: of the highest block that is applied; 0 without one and once the case is over.
    """

    state: str
    beneath: str
    step: str
    ended: str = ""
    ended_on: date | None = None
    due: Due | None = None
    hold: Hold | None = None
    applied_on: date | None = None
    tier: int = 0

    @property
    def is_over(self) -> bool:
        """Say whether it ended."""
        return self.ended != ""

    @property
    def shown(self) -> str:
        """What a refusal calls it: a later round's state too, where nothing covers it."""
        return self.state if self.is_over or self.hold is not None else self.step

    @property
    def takes_steps(self) -> bool:
        """Say whether it is open, under no hold, and no date has brought its end."""
        return not self.is_over and self.hold is None and self.due is None

    @property
    def is_blocking(self) -> bool:
        """Say whether a block is ordered or in force and not taken back yet."""
        return self.beneath in WITH_BLOCK


def state_of(file: CaseFile, moment: Moment) -> CaseState:
    """Return the state of a case at a moment."""
    record, held = file.record, file.held
    if file.ending is not None:
        return _ended(file, file.ending.kind, file.ending.on)
    if record.closed is not None:
        return _ended(file, record.closed.kind, record.closed.on)
    first = record.rounds[0]
    beneath = _step(file, first)
    over = _over_by_date(file, first, beneath, moment, held)
    order = first.order
    if order is None or (over is not None and over.kind == "unstarted"):
        if over is not None:
            return _ended(file, _KINDS.get(over.kind, over.kind), over.on)
        over = None
    step = beneath
    if len(record.rounds) > 1:
        step = _later_step(file, record.current, moment, held)
    hold = next((each for each in file.holds if each.span.holds(moment.day)), None)
    return CaseState(
        state="held" if hold is not None else beneath,
        beneath=beneath,
        step=step,
        due=over,
        hold=hold,
        applied_on=None if order is None else file.applied_on(order),
        tier=max([each.tier for each in record.orders if file.applied_on(each)], default=0),
    )


_KINDS: Final = {"unstarted": "lapsed"}


def _ended(file: CaseFile, kind: str, on: date) -> CaseState:
    state = kind
    if file.releases:
        done = all(release.is_done for release in file.releases)
        state = "released" if done else "releasing"
    return CaseState(state, "", "", kind, on)


def _step(file: CaseFile, current: Round) -> str:
    """Return how far a round has come, deadlines aside."""
    if current.order is not None:
        return "enforced" if file.applied_on(current.order) is not None else "ordered"
    if current.rejected_on is not None:
        return "rejected"
    if current.referred_on is not None:
        return "referred"
    if current.waiting_since is not None:
        return "waiting"
    if current.proposal is not None:
        return "voting"
    return "notified" if current.notice is not None else "triggered"


def deadline(file: CaseFile, current: Round, step: str) -> tuple[date, int] | None:
    """Return where the deadline of a step runs from and its days; None for a step without one."""
    policy = file.policy
    if step == "triggered":
        return current.opened_on, policy.delivery_days
    if step == "notified" and current.notice is not None:
        return current.notice.runs_from, policy.proposal_days
    if step == "voting" and current.proposal is not None:
        return current.proposal.proposed_on, policy.voting_days
    if step == "waiting" and current.waiting_since is not None:
        return current.waiting_since, policy.waiting_days
    return None


def start_before(order: BlockOrder, held: Sequence[Span]) -> datetime:
    """Return until when an executor may start; days under a hold do not count.

    A hold placed on the very day on which the hours run out, or later, prolongs nothing: it would
    let those start again who are too late.
    """
    ends = order.issued_at + timedelta(hours=order.start_hours)
    for span in held:
        if span.first >= pkt_date(ends):
            break
        ends += timedelta(days=held_days_since(order.issued_on, (span,)))
    return ends


def _is_live(file: CaseFile, order: BlockOrder, moment: Moment, held: Sequence[Span]) -> bool:
    """Say whether an order was started, or may be: nobody's hours for it are over."""
    return file.is_started(order) or moment.at <= start_before(order, held)


def _over_by_date(
    file: CaseFile, first: Round, step: str, moment: Moment, held: Sequence[Span]
) -> Due | None:
    """Return the earliest end that the dates up to *moment* have brought, None if none did."""
    found: list[Due] = []
    if first.rejected_on is not None:
        return Due("rejected", first.rejected_on)
    running = deadline(file, first, step)
    if running is not None:
        found.append(Due("lapsed", over_on(*running, held)))
    order = first.order
    if step == "ordered" and order is not None and not _is_live(file, order, moment, held):
        found.append(Due("unstarted", pkt_date(start_before(order, held))))
    found += _by_holds(file, step)
    found += _by_policy(file, step, moment, held)
    if order is not None:
        since = file.applied_on(order) or order.issued_on
        found.append(Due("term", since + file.policy.longest_block_days * _DAY))
    if file.lender_gone is not None:
        found.append(Due("lender_gone", file.lender_gone))
    past = [due for due in found if due.on <= moment.day]
    return min(past, key=lambda due: (due.on, due.kind)) if past else None


def _by_holds(file: CaseFile, step: str) -> list[Due]:
    found = []
    for hold in file.holds:
        if hold.case != file.record.case:
            continue
        days = []
        if hold.answer_by is not None and hold.answered_on is None:
            days.append(hold.answer_by + _DAY)
        if step in WITH_BLOCK:
            days.append(hold.confirm_by + _DAY)
        # A hold that ran out or was lifted in time ends nothing; the day after its last day still
        # counts, since that is when an answer or a word was due at the latest. What a date has
        # brought stands, whoever lifts or confirms the hold on that day or later.
        reached = [day for day in days if day <= hold.last_day + _DAY]
        if reached:
            found.append(Due("withdrawn", min(reached), hold.hold))
    return found


def _by_policy(file: CaseFile, step: str, moment: Moment, held: Sequence[Span]) -> list[Due]:
    found = []
    # A case begins with tier 1; a higher tier's block is not taken back alone.
    tiers = {1} | {each.tier for each in file.record.orders if _is_live(file, each, moment, held)}
    for tier in sorted(tiers & set(file.off_since)):
        found.append(Due("lapsed", file.off_since[tier], "tier_off"))
    if file.moratorium_since is not None:
        found.append(Due("lapsed", file.moratorium_since, "moratorium"))
    if step != "enforced" and file.position is not None:
        for day, trigger_days in file.eased:
            if not trigger_holds(file.position, day, trigger_days, file.held_ever):
                found.append(Due("lapsed", day, "milder_policy"))
    return found


def _later_step(file: CaseFile, current: Round, moment: Moment, held: Sequence[Span]) -> str:
    """Return the state of a further round: it may lapse by itself."""
    step = _step(file, current)
    running = deadline(file, current, step)
    if running is not None and over_on(*running, held) <= moment.day:
        return "lapsed"
    if step == "ordered" and current.order is not None:
        return step if _is_live(file, current.order, moment, held) else "lapsed"
    if step in ("notified", "voting", "waiting", "triggered"):
        tier = 0 if current.proposal is None else current.proposal.tier
        off = file.off_since.get(tier)
        if off is not None and off <= moment.day:
            return "lapsed"
    return step


def trigger_holds(position: Position, day: date, days_past_due: int, held: Sequence[Span]) -> bool:
    """Say whether the agreement is far enough in arrears on *day* (rulebook 4)."""
    view = position.standing(day)
    if view.oldest_due is None or not view.has_whole_instalment:
        return False
    return counted(view.oldest_due, day, held) >= days_past_due


def settled_on(file: CaseFile, current: Round) -> date:
    """Return the day on which a round was rejected, or lapsed by its deadline."""
    if current.rejected_on is not None:
        return current.rejected_on
    step = "ordered" if current.order is not None else _step(file, current)
    running = deadline(file, current, step)
    if running is not None:
        return over_on(*running, file.held)
    return current.opened_on if current.order is None else current.order.issued_on
