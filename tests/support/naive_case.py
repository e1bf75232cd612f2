"""The state machine of a case told a second time: one agreement, day by day, with loops and sets.

Nothing of the product's code. Days are counted one by one, the held ones left out; a deadline is
looked at on every day that comes. One executor, one ballot a group, the default figures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

DAY = timedelta(days=1)
VOTERS = ("pta", "operator", "maker")
OPEN_STEPS = ("triggered", "notified", "voting", "ordered", "enforced")


@dataclass
class NaiveHold:
    """A hold; *last* moves when it is answered or lifted."""

    kind: str
    by: str
    placed: date
    until: date
    case: int | None
    lifted: date | None = None
    answered: date | None = None
    confirmed: bool = False

    @property
    def last(self) -> date:
        last = self.until
        if self.kind == "dispute":
            last = max(last, self.answered or self.placed + 15 * DAY)
        return last if self.lifted is None else min(last, self.lifted - DAY)

    def covers(self, day: date) -> bool:
        return self.placed <= day <= self.last

    def is_running(self, day: date) -> bool:
        return self.lifted is None and not self.confirmed and day <= self.last


@dataclass
class NaiveCase:
    """A case with the day of every step."""

    number: int
    triggered: date
    notice: date | None = None
    proposed: date | None = None
    ballots: dict[str, str] = field(default_factory=dict)
    ordered: date | None = None
    submitted: bool = False
    applied: date | None = None
    ended: str = ""
    ended_on: date | None = None
    releasing: bool = False
    released: bool = False
    lapsed_by_payment: date | None = None

    @property
    def step(self) -> str:
        if self.applied:
            return "enforced"
        if self.ordered:
            return "ordered"
        if self.proposed:
            return "voting"
        return "notified" if self.notice else "triggered"


class NaiveAgreement:
    """One agreement with its payments, holds and cases; `today` moves by `pass_day`."""

    def __init__(self, today: date, dues: list[tuple[date, int]]) -> None:
        self.today = today
        self.dues = dues
        self.paid: list[tuple[date, int]] = []
        self.holds: list[NaiveHold] = []
        self.cases: list[NaiveCase] = []

    # ---- arithmetic, day by day
    def unpaid(self, day: date) -> list[tuple[date, int, int]]:
        left = sum(amount for paid_on, amount in self.paid if paid_on <= day)
        rows = []
        for due, amount in self.dues:
            covered = min(left, amount)
            left -= covered
            if due <= day and covered < amount:
                rows.append((due, amount - covered, amount))
        return rows

    def _days(self, start: date, end: date, case: NaiveCase | None) -> int:
        """Days after *start* up to *end* that lie under no hold (of *case*, if one is given)."""
        count, day = 0, start + DAY
        while day <= end:
            held = any(
                hold.covers(day) and (case is None or hold.case == case.number)
                for hold in self.holds
            )
            count += not held
            day += DAY
        return count

    def trigger_holds(self) -> bool:
        rows = self.unpaid(self.today)
        if not rows:
            return False
        arrears = sum(missing for _, missing, _ in rows)
        return self._days(rows[0][0], self.today, None) >= 30 and arrears >= rows[0][2]

    def is_held(self) -> bool:
        return any(hold.covers(self.today) for hold in self.holds)

    @property
    def case(self) -> NaiveCase | None:
        return self.cases[-1] if self.cases and not self.cases[-1].ended else None

    def state(self) -> str:
        if not self.cases:
            return "none"
        case = self.cases[-1]
        if case.ended:
            if case.releasing:
                return "released" if case.released else "releasing"
            return case.ended
        return "held" if self.is_held() else case.step

    def due(self) -> str:
        """The end that the date has brought to a case with a block, "" without one."""
        case = self.case
        if case is None or case.ordered is None:
            return ""
        since = case.applied or case.ordered
        found = []
        if (self.today - since).days >= 180:
            found.append((since + 180 * DAY, "term"))
        for hold in self.holds:
            if hold.case != case.number or hold.confirmed:
                continue
            # Silence ends a block after five whole days under the hold.
            silent = hold.placed + 6 * DAY
            if silent <= self.today and hold.last >= hold.placed + 5 * DAY:
                found.append((silent, "withdrawn"))
            unanswered = hold.placed + 16 * DAY
            if (
                hold.kind == "dispute"
                and hold.answered is None
                and unanswered <= self.today
                and (hold.lifted is None or hold.lifted >= unanswered)
            ):
                found.append((unanswered, "withdrawn"))
        return min(found)[1] if found else ""

    def _end(self, kind: str, on: date, *, release: bool) -> None:
        case = self.cases[-1]
        case.ended, case.ended_on = kind, on
        case.releasing = release and case.ordered is not None

    # ---- time
    def pass_day(self) -> None:
        """Let a day begin: what is over by date ends on it."""
        self.today += DAY
        case = self.case
        if case is None:
            return
        for hold in self.holds:
            unanswered = hold.kind == "dispute" and hold.answered is None and hold.lifted is None
            if (
                unanswered
                and hold.case == case.number
                and not hold.confirmed
                and case.ordered is None
                and self.today == hold.placed + 16 * DAY
            ):
                self._end("withdrawn", self.today, release=False)
                return
        starts = {
            "triggered": (case.triggered, 14),
            "notified": (case.notice, 30),
            "voting": (case.proposed, 7),
        }
        start, days = starts.get(case.step, (None, 0))
        if start is not None and self._days(start, self.today, case) > days:
            self._end("lapsed", self.today, release=False)
        elif case.step == "ordered" and not case.submitted and not self.due():
            self._lapse_unstarted(case)

    def _lapse_unstarted(self, case: NaiveCase) -> None:
        """72 hours after the order, at its time of day, plus a day for every day under a hold."""
        last = self._last_start(case)
        if self.today > last:
            self._end("lapsed", last, release=False)

    def _last_start(self, case: NaiveCase) -> date:
        """A held day puts the last day off by one, unless the hold began only on the last day."""
        assert case.ordered is not None
        last, day = case.ordered + 3 * DAY, case.ordered
        began: date | None = None
        while day <= last:
            if any(hold.covers(day) and hold.case == case.number for hold in self.holds):
                began = began or day
                if began >= last:
                    break
                last += DAY
            else:
                began = None
            day += DAY
        return last

    # ---- steps; each says whether it is taken
    def sweep(self) -> bool:
        last = self.cases[-1] if self.cases else None
        if last is not None and not last.ended:
            return last.triggered == self.today and self.state() == "triggered"
        if last is not None and last.releasing and not last.released:
            return False
        if last is not None and last.ended in ("lapsed", "rejected", "withdrawn"):
            assert last.ended_on is not None
            if (self.today - last.ended_on).days <= 30:
                return False
        if self.is_held() or not self.trigger_holds():
            return False
        self.cases.append(NaiveCase(len(self.cases) + 1, self.today))
        return True

    def _takes(self, step: str) -> NaiveCase | None:
        case = self.case
        if case is None or case.step != step or self.is_held() or self.due():
            return None
        return case

    def serve(self, delivered: date) -> bool:
        case = self._takes("triggered")
        if case is None or not case.triggered <= delivered <= self.today:
            return False
        case.notice = self.today
        return True

    def propose(self) -> bool:
        case = self._takes("notified")
        if case is None or not self.trigger_holds():
            return False
        assert case.notice is not None
        if self._days(case.notice, self.today, case) < 14:
            return False
        case.proposed = self.today
        return True

    def vote(self, group: str, choice: str) -> bool:
        case = self.cases[-1] if self.cases else None
        if case is not None and group in case.ballots:
            return case.ballots[group] == choice
        case = self._takes("voting")
        if case is None:
            return False
        case.ballots[group] = choice
        out = len(VOTERS) - len(case.ballots)
        yes = [name for name, cast in case.ballots.items() if cast == "yes"]
        no = sum(cast == "no" for cast in case.ballots.values())
        if len(yes) == 3:
            case.ordered = self.today
        elif len(yes) + out < 3 or no:
            self._end("rejected", self.today, release=False)
        return True

    def report(self, step: str) -> bool:
        case = self.cases[-1] if self.cases else None
        if case is None or case.ordered is None:
            return False
        if step == "SUBMITTED":
            if case.submitted:
                return True
            if case.ended or self.is_held() or self.due() or not self._in_time(case):
                return False
            case.submitted = True
            return True
        if not case.submitted:
            return False
        case.applied = case.applied or self.today
        return True

    def _in_time(self, case: NaiveCase) -> bool:
        return self.today <= self._last_start(case)

    def pay(self, amount: int, paid_on: date) -> None:
        self.paid.append((paid_on, amount))
        case = self.cases[-1] if self.cases else None
        if case is None or (case.ended and case.lapsed_by_payment != self.today):
            return
        day = paid_on
        while day <= self.today:
            if not any(due < day for due, _, _ in self.unpaid(day)):
                if case.ended:
                    case.ended = "cured"
                else:
                    self._end("cured", self.today, release=True)
                case.lapsed_by_payment = None
                return
            day += DAY
        if not case.ended and case.applied is None and not self.trigger_holds():
            self._end("lapsed", self.today, release=True)
            case.lapsed_by_payment = self.today

    def place(self, kind: str, by: str, until: date) -> bool:
        case = self.case
        number = None if case is None else case.number
        for hold in self.holds:
            same = (hold.kind, hold.by, hold.until) == (kind, by, until)
            if same and hold.is_running(self.today):
                return True
        if not self.today <= until <= self.today + 30 * DAY:
            return False
        for hold in self.holds:
            if by == "pta" or hold.kind != kind:
                continue
            if (number is not None and hold.case == number) or (
                number is None and hold.is_running(self.today)
            ):
                return False
        self.holds.append(NaiveHold(kind, by, self.today, until, number))
        return True

    def lift(self, place: int) -> bool:
        hold = self.holds[place]
        if hold.lifted is not None and hold.by == "bank":
            return True
        if hold.by != "bank" or not hold.is_running(self.today):
            return False
        hold.lifted = self.today
        return True

    def answer(self, place: int) -> bool:
        hold = self.holds[place]
        if hold.kind != "dispute":
            return False
        if hold.answered is not None:
            return True
        if self.today > hold.placed + 15 * DAY or not hold.is_running(self.today):
            return False
        hold.answered = self.today
        return True

    def confirm(self, place: int) -> bool:
        hold = self.holds[place]
        if hold.confirmed:
            return True
        if not hold.is_running(self.today):
            return False
        hold.confirmed = True
        if self.case is not None:
            self._end("withdrawn", self.today, release=True)
        return True

    def withdraw(self) -> bool:
        if self.case is None:
            return bool(self.cases) and self.cases[-1].ended == "withdrawn" and self._by_lender
        self._end("withdrawn", self.today, release=True)
        self._by_lender = True
        return True

    _by_lender = False

    def end_by_term(self) -> bool:
        if not self.cases:
            return False
        kind = self.due()
        if self.case is None:
            return True
        if not kind:
            return False
        self._end(kind, self.today, release=True)
        return True

    def release(self) -> bool:
        case = self.cases[-1] if self.cases else None
        if case is None or not case.releasing:
            return False
        case.released = True
        return True
