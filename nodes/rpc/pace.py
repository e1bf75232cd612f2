"""How many calls may be at work at once so that none takes much longer than it usually does.

What a node can carry is known to nobody beforehand: it hangs on the machine, the contract, the size
of transactions, the distance to other members. So it is measured. What calls of a *kind* (an RPC
and a contract's function) usually take is learned while at most `calm` calls are at work, from busy
moments more than from lonely ones. Twice a second, or when enough have come and ended, the time of
the calls is compared with what they would usually have taken. If it is more than `slowdown` times
that, fewer may be at work: as many as would take just so long, since with more of them each only
waits longer. If it is less, more may be. It begins with what would take so long by what was
learned, or with `calm`, and goes beyond that step by step, so that those who come at once do not
all get in before the first of them has shown how long it takes.

Invariants: pure but for the clock that is passed in; the limit lies between `least` and `most`;
what is usual follows a change of load at once, and an overload of some minutes moves it little, for
while calls are held back it is learned slowly; nothing at work, or no kind known, is no overload.
Memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

__all__ = ["Pace"]

LEAST: Final = 16
"""Calls that may always be at work: with fewer of them blocks would be emptier, not sooner."""

CALM: Final = 64
"""Calls at work up to which what is seen is taken for usual."""

WINDOW_S: Final = 0.5
ENOUGH: Final = 20
"""Calls that must have ended in a window before something is made of it."""

LONGEST_WINDOW_S: Final = 4.0
"""With so long a window, fewer will do."""

MOST_WEIGHT: Final = 200.0
"""Of what is usual: of so many busy calls it is an average."""

REMEMBERED_S: Final = 600.0
"""While calls are slow, what is usual is forgotten in about such a time, for what is newer."""

WANTED: Final = 0.8
"""The part of the limit that must be at work before more is tried than is known to be right."""

KINDS: Final = 1_000
SHORTEST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


@dataclass(slots=True)
class _Usual:
    """What is usual of something.

    Attributes:
        value: on average.
        weight: of what has been seen.
        seen_at: when the last one was seen.
    """

    value: float
    weight: float
    seen_at: float

    def learn(self, value: float, weight: float, now: float, *, slowly: bool) -> None:
        """Take in one more: an average of all at first, of the latest later.

        Args:
            value: what was seen.
            weight: how much it tells; 1.0 is all.
            now: on the clock.
            slowly: it may be what an overload makes of it.
        """
        gain = weight * min(now - self.seen_at, 1.0) / REMEMBERED_S
        if not slowly or self.weight < 1.0:
            self.weight = min(MOST_WEIGHT, self.weight + weight)
            gain = max(weight / self.weight, gain)
        self.value += (value - self.value) * gain
        self.seen_at = now


class Pace:
    """Finds the limit for the calls of one service.

    Args:
        most: calls at work at once when all is well.
        slowdown: how many times as long as usual calls may take.
        clock: seconds that only go forward.
        least, calm: see the module.
    """

    def __init__(
        self,
        most: int,
        slowdown: float,
        clock: Callable[[], float],
        *,
        least: int = LEAST,
        calm: int = CALM,
    ) -> None:
        self._most = most
        self._slowdown = slowdown
        self._clock = clock
        self._least = min(least, most)
        self._calm = min(calm, most)
        self._usual: OrderedDict[Hashable, _Usual] = OrderedDict()
        self._calm_at_work = _Usual(0.0, 0.0, clock())
        self.rest()

    @property
    def limit(self) -> int:
        """How many calls may be at work now."""
        return int(self._limit)

    @property
    def pause_s(self) -> float:
        """After how long one that was refused may find room: when those at work have ended."""
        return min(LONGEST_PAUSE_S, max(SHORTEST_PAUSE_S, self._typical_s))

    def usual_s(self, kind: Hashable) -> float | None:
        """Return what calls of a kind usually take, None as long as too little is known."""
        usual = self._usual.get(kind)
        return None if usual is None or usual.weight < 1.0 else usual.value

    def rest(self) -> None:
        """Begin anew with nothing at work: whatever held the calls up has gone."""
        self._limit = self._first_limit
        self._begin_window(self._clock())
        self._limiting = False
        self.slowed = 1.0
        self._typical_s = 0.0

    def ended(self, kind: Hashable, seconds: float, at_work: int) -> None:
        """Hear of a call that has ended well.

        Args:
            kind: calls that take about the same.
            seconds: from its arrival to its answer.
            at_work: calls at work when it came, itself included.
        """
        now = self._clock()
        if at_work <= self._calm:
            weight = at_work / self._calm
            if not self._limiting:
                self._calm_at_work.learn(at_work, weight, now, slowly=False)
            self._learn(kind, seconds, weight, now)
        if now - seconds < self._since:
            # It came under another limit, and says nothing about this one.
            return
        usual_s = self.usual_s(kind)
        self._count += 1
        self._taken_s += seconds
        if usual_s is not None:
            self._known_s += seconds
            self._usual_s += usual_s
            self._at_work += at_work
            self._known += 1
        window_s = now - self._since
        if window_s >= WINDOW_S and (self._count >= ENOUGH or window_s >= LONGEST_WINDOW_S):
            self._judge()
            self._begin_window(now)

    def _begin_window(self, now: float) -> None:
        self._since = now
        self._count = self._known = self._at_work = 0
        self._taken_s = self._known_s = self._usual_s = 0.0

    def _learn(self, kind: Hashable, seconds: float, weight: float, now: float) -> None:
        usual = self._usual.get(kind)
        if usual is None:
            self._usual[kind] = _Usual(seconds, weight, now)
            if len(self._usual) > KINDS:
                self._usual.popitem(last=False)
            return
        self._usual.move_to_end(kind)
        usual.learn(seconds, weight, now, slowly=self._limiting)

    @property
    def _first_limit(self) -> float:
        """So many at work would slow calls down as far as they may be, by what was learned."""
        return min(self._most, max(self._calm, self._slowdown * self._calm_at_work.value))

    def _judge(self) -> None:
        self._typical_s = self._taken_s / self._count
        if not self._usual_s:
            return
        self.slowed = slowed = self._known_s / self._usual_s
        if slowed > self._slowdown:
            fitting = min(self._limit, self._at_work / self._known) * self._slowdown / slowed
            self._limit = max(float(self._least), fitting)
            self._limiting = True
            return
        most = float(self._most)
        if self._at_work / self._known < WANTED * self._limit:
            most = max(self._limit, self._first_limit)
        growth = 1.25 if slowed < self._slowdown / 1.5 else 1.05
        self._limit = min(most, self._limit * growth)
        self._limiting = slowed > self._slowdown / 1.25 or self._limit < self._first_limit
