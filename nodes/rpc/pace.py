"""How many calls may be at work at once so that none takes much longer than it usually does.

What a node can carry is known to nobody beforehand: it hangs on the machine, the contract, the size
of transactions, the distance to other members. But `calm` calls at work are no overload, whatever
they are and however long they take; so they are always let in, and what calls take with about so
many at work is what they *usually* take. It is learned by *kind* (an RPC, a contract's function and
how large the call is) while at most `calm` and more than half as many calls are at work: what a
lonely call takes says nothing about a busy node.

Twice a second, or when enough have come and ended, the time of the calls is compared with what they
usually take. If it is more than `slowdown` times that, fewer may be at work: as many as would take
just so long, since with more of them each only waits longer. If it is less, more may be, step by
step. It begins with `slowdown` times `calm`, for so many take no longer than they may if all they
do is to share the processors; more are tried only while so many are wanted. When more than `calm`
are at work and no kind of them is known, it is `calm` until one is.

Invariants: pure but for the clock that is passed in; the limit lies between `calm` and `most`;
what is usual follows a change of load at once, and an overload of some minutes moves it little, for
while calls are refused it is learned slowly. Memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final

__all__ = ["CALM", "Pace"]

CALM: Final = 64
"""Calls that may always be at work: it is hundreds that overload a node."""

WINDOW_S: Final = 0.5
ENOUGH: Final = 20
"""Calls that must have ended in a window, or been seen of a kind, before they count."""

LONGEST_WINDOW_S: Final = 4.0
"""With so long a window, fewer will do."""

AVERAGED: Final = 200
"""Of what is usual: of so many calls it is an average."""

REMEMBERED_S: Final = 600.0
"""While calls are refused, what is usual is forgotten in about such a time, for what is newer."""

REFUSING_S: Final = 10.0
"""So long after a refusal there may be an overload still: those refused come again."""

WANTED: Final = 0.8
"""The part of the limit that must be at work before more is tried than is known to be right."""

KINDS: Final = 1_000
SHORTEST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


@dataclass(slots=True)
class _Usual:
    """What calls of a kind take.

    Attributes:
        seconds: on average.
        calls: that were seen, as far as they count.
        seen_at: when the last one was seen.
    """

    seconds: float
    calls: int
    seen_at: float

    def learn(self, seconds: float, now: float, *, slowly: bool) -> None:
        """Take in one more: an average of all at first, of the latest later.

        Args:
            seconds: what it took.
            now: on the clock.
            slowly: it may be what an overload makes of it.
        """
        gain = min(now - self.seen_at, 1.0) / REMEMBERED_S
        if not slowly or self.calls < ENOUGH:
            self.calls = min(AVERAGED, self.calls + 1)
            gain = max(1 / self.calls, gain)
        self.seconds += (seconds - self.seconds) * gain
        self.seen_at = now


class Pace:
    """Finds the limit for the calls of one service.

    Args:
        most: calls at work at once when all is well.
        slowdown: how many times as long as usual calls may take.
        clock: seconds that only go forward.
        calm: see the module.

    Attributes:
        slowed: how many times as long as usual calls took lately.
    """

    def __init__(
        self, most: int, slowdown: float, clock: Callable[[], float], *, calm: int = CALM
    ) -> None:
        self._most = most
        self._slowdown = slowdown
        self._clock = clock
        self._calm = min(calm, most)
        self._likely = min(float(most), slowdown * self._calm)
        self._usual: OrderedDict[Hashable, _Usual] = OrderedDict()
        self._refused_at = float("-inf")
        self._begin_window(clock())
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
        return None if usual is None or usual.calls < ENOUGH else usual.seconds

    def rest(self) -> None:
        """Begin anew with nothing at work: nothing is held up, and what comes may be heavier."""
        self._limit = self._likely
        self.slowed = 1.0
        self._typical_s = 0.0

    def refused(self) -> None:
        """Hear that a call found no room."""
        self._refused_at = self._clock()

    def ended(self, kind: Hashable, seconds: float, at_work: int) -> None:
        """Hear of a call that has ended well.

        Args:
            kind: calls that take about the same.
            seconds: from its arrival to its answer.
            at_work: calls at work when it came or when it ended, whichever were more, itself
                included.
        """
        now = self._clock()
        if self._calm < 2 * at_work <= 2 * self._calm:
            self._learn(kind, seconds, now)
        if now - seconds < self._since:
            # It came under another limit, and says nothing about this one.
            return
        usual_s = self.usual_s(kind)
        self._count += 1
        self._at_work += at_work
        self._taken_s += seconds
        if usual_s is not None:
            self._known_s += seconds
            self._usual_s += usual_s
        window_s = now - self._since
        if window_s >= WINDOW_S and (self._count >= ENOUGH or window_s >= LONGEST_WINDOW_S):
            self._judge()
            self._begin_window(now)

    def _begin_window(self, now: float) -> None:
        self._since = now
        self._count = self._at_work = 0
        self._taken_s = self._known_s = self._usual_s = 0.0

    def _learn(self, kind: Hashable, seconds: float, now: float) -> None:
        usual = self._usual.get(kind)
        if usual is None:
            self._usual[kind] = _Usual(seconds, 1, now)
            if len(self._usual) > KINDS:
                self._usual.popitem(last=False)
            return
        self._usual.move_to_end(kind)
        usual.learn(seconds, now, slowly=now - self._refused_at < REFUSING_S)

    def _judge(self) -> None:
        self._typical_s = self._taken_s / self._count
        at_work = self._at_work / self._count
        if not self._usual_s:
            if at_work > self._calm:
                self._limit = float(self._calm)
            return
        self.slowed = slowed = self._known_s / self._usual_s
        if slowed > self._slowdown:
            fitting = min(self._limit, at_work) * self._slowdown / slowed
            self._limit = max(float(self._calm), fitting)
            return
        most = float(self._most)
        if at_work < WANTED * self._limit:
            most = max(self._limit, self._likely)
        growth = 1.25 if slowed < self._slowdown / 1.5 else 1.05
        self._limit = min(most, self._limit * growth)
