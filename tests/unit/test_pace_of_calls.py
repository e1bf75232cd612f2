"""How many calls may be at work so that none takes much longer than usual, on a clock of its own.

The node is a simulated one: the calls at work share its processors, which do so much work a second,
and when its work is done each call waits for something else, such as a block.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest

from nodes.rpc.pace import (
    CALM,
    ENOUGH,
    KINDS,
    LONGEST_PAUSE_S,
    LONGEST_WINDOW_S,
    SHORTEST_PAUSE_S,
    Pace,
)

MOST, SLOWDOWN = 500, 2.5


@dataclass(frozen=True)
class Work:
    """Calls of a kind.

    Attributes:
        kind: as the pace knows them.
        size: work that each of them makes.
    """

    kind: tuple[str, ...]
    size: float = 1.0


PAY = Work(("Endorse", "qist", "Pay"))
PAY_MANY = Work(("Endorse", "qist", "Pay"), 200.0)
"""Of the same kind, as far as the pace can tell."""
REPORT = Work(("Endorse", "qist", "Report"), 30.0)


@dataclass
class Call:
    """A call at work."""

    work: Work
    began: float
    at_work: int


@dataclass
class SimulatedNode:
    """Shares its processors among the calls at work.

    Attributes:
        rate: work that it does in a second.
        wait_s: what a call waits for besides.
        most, slowdown: of its pace.
        at_work: calls at work.
        refused: calls that found no room.
    """

    rate: float
    wait_s: float
    most: int = MOST
    now: float = 0.0
    at_work: int = 0
    refused: int = 0
    _done: float = 0.0
    """Work done for each of those that were at work all the time."""
    _working: list[tuple[float, int, Call]] = field(default_factory=list)
    _waiting: list[tuple[float, int, Call]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.pace = Pace(self.most, SLOWDOWN, lambda: self.now)

    def call(self, work: Work) -> bool:
        """Take one more call, if there is room."""
        if self.at_work >= self.pace.limit:
            self.refused += 1
            self.pace.refused()
            return False
        self.at_work += 1
        call = Call(work, self.now, self.at_work)
        heapq.heappush(self._working, (self._done + work.size, next(self._numbers), call))
        return True

    def end_next(self, until: float = float("inf")) -> float | None:
        """Go on to the end of the next call; return how long it took, None if it ends later."""
        while True:
            worked_s = waited_s = float("inf")
            if self._working:
                worked_s = (self._working[0][0] - self._done) * len(self._working) / self.rate
            if self._waiting:
                waited_s = self._waiting[0][0] - self.now
            step_s = min(worked_s, waited_s, until - self.now)
            self.now += step_s
            if self._working:
                self._done += step_s * self.rate / len(self._working)
            if waited_s <= step_s:
                return self._end(heapq.heappop(self._waiting)[2])
            if worked_s > step_s:
                return None
            done, number, call = heapq.heappop(self._working)
            self._done = done
            heapq.heappush(self._waiting, (self.now + self.wait_s, number, call))

    def _end(self, call: Call) -> float:
        at_work = max(self.at_work, call.at_work)
        self.at_work -= 1
        took_s = self.now - call.began
        self.pace.ended(call.work.kind, took_s, at_work)
        if not self.at_work:
            self.pace.rest()
        return took_s

    def end_all(self) -> None:
        """Have nothing at work."""
        while self.at_work:
            self.end_next()


def closed(node: SimulatedNode, callers: int, seconds: float, work: Work = PAY) -> list[float]:
    """Have so many callers, each with a call at work as far as there is room; return what the calls
    took. Whoever found none comes again when the next call has ended.
    """
    until, took = node.now + seconds, list[float]()
    while node.now < until:
        while node.at_work < callers and node.call(work):
            pass
        took_s = node.end_next(until)
        if took_s is not None:
            took.append(took_s)
    return took


def opened(node: SimulatedNode, rate: float, seconds: float, work: Work = PAY) -> list[float]:
    """Have so many calls come in a second, whatever becomes of them; return what the calls took."""
    took = list[float]()
    begin = node.now
    for number in range(int(rate * seconds)):
        comes = begin + number / rate
        while (took_s := node.end_next(comes)) is not None:
            took.append(took_s)
        node.call(work)
    return took


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def settled(values: list[float]) -> float:
    """The mean of what came after the first quarter."""
    return mean(values[len(values) // 4 :])


def nothing(_node: SimulatedNode) -> None:
    """Nothing was there before."""


def lonely(node: SimulatedNode) -> None:
    """One caller of small calls."""
    closed(node, 1, 60)


def few(node: SimulatedNode) -> None:
    """Few callers of small calls."""
    closed(node, 10, 60)


def busy(node: SimulatedNode) -> None:
    """As many small calls as are usual."""
    closed(node, CALM, 30)


def others(node: SimulatedNode) -> None:
    """Hundreds that call something else."""
    closed(node, 300, 120, REPORT)


def overload(node: SimulatedNode) -> None:
    """Ten times as many small calls as are usual."""
    closed(node, 10 * CALM, 30)


BEFORE = [nothing, lonely, few, busy, others, overload]


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("work", [PAY, PAY_MANY, REPORT])
def test_calm_callers_are_never_refused_whatever_their_work_and_whatever_was_learned(
    before: Callable[[SimulatedNode], None], work: Work
) -> None:
    """Though each takes two hundred times as long as one of those before; nor when the node becomes
    ten times as slow.
    """
    node = SimulatedNode(250.0, 0.07)
    before(node)
    node.end_all()
    node.refused = 0
    closed(node, CALM, 100, work)
    node.rate = 25.0
    closed(node, CALM, 300, work)
    assert node.refused == 0
    assert node.pace.limit >= CALM


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("rate", [24.0, 250.0])
@pytest.mark.parametrize("wait_s", [0.005, 0.07, 0.6])
def test_ten_times_the_load_is_held_to_what_calm_callers_usually_take(
    before: Callable[[SimulatedNode], None], rate: float, wait_s: float
) -> None:
    """Whatever the node can carry, however long a call takes on an idle one, and whatever was
    learned before; and what the node can carry, it still carries.
    """
    alone = SimulatedNode(rate, wait_s)
    usual = settled(closed(alone, CALM, 60))
    carried = len(closed(alone, CALM, 60)) / 60
    node = SimulatedNode(rate, wait_s)
    before(node)
    node.end_all()
    took = opened(node, 10 * rate, 40)
    assert settled(took) < 1.1 * SLOWDOWN * usual
    assert node.refused > 0
    assert node.pace.limit >= CALM
    assert len(took) / 40 > 0.9 * carried


def test_calls_of_another_size_are_held_to_their_own_usual_time() -> None:
    """A kind that had another size before has it forgotten when calm callers come."""
    node = SimulatedNode(5_000.0, 0.07)
    closed(node, CALM, 60)
    usual = settled(closed(node, CALM, 300, PAY_MANY))
    took = closed(node, 10 * CALM, 300, PAY_MANY)
    assert usual < settled(took) < 1.1 * SLOWDOWN * usual
    assert node.pace.limit > CALM


def test_more_than_calm_callers_are_let_in_when_lonely_ones_came_before() -> None:
    """What a lonely call takes says nothing about a busy node."""
    node = SimulatedNode(250.0, 0.07)
    closed(node, 1, 60, PAY)
    assert node.pace.usual_s(PAY.kind) is None
    node.end_all()
    larger = Work(PAY.kind, 10.0)
    closed(node, 2 * CALM, 60, larger)
    node.refused = 0
    closed(node, 2 * CALM, 60, larger)
    assert node.refused == 0


def test_node_that_becomes_slow_takes_no_more_than_calm_and_recovers() -> None:
    """The limit falls with what the node can carry, and rises within ten seconds after."""
    node = SimulatedNode(300.0, 0.07)
    usual = settled(closed(node, CALM, 60))
    closed(node, 10 * CALM, 30)
    assert node.pace.limit > 2 * CALM
    node.rate = 60.0
    slow = closed(node, 10 * CALM, 120)
    assert node.pace.limit == CALM
    assert settled(slow) < 1.1 * CALM / node.rate + node.wait_s
    node.rate = 300.0
    after = closed(node, CALM, 10)
    assert mean(after[len(after) // 2 :]) < 1.2 * usual
    assert node.pace.limit > 2 * CALM


def test_limit_begins_anew_when_nothing_is_at_work_any_more() -> None:
    """Where calls do not slow each other down many get in, but those that come after may be
    heavier; and what held calls up has gone.
    """
    node = SimulatedNode(1e6, 0.2)
    closed(node, CALM, 10)
    closed(node, MOST, 60)
    assert node.pace.limit == MOST
    node.end_all()
    assert node.pace.limit == SLOWDOWN * CALM
    node.rate = 100.0
    closed(node, MOST, 12)
    assert node.pace.slowed > SLOWDOWN
    node.end_all()
    assert node.pace.limit == SLOWDOWN * CALM
    assert (node.pace.slowed, node.pace.pause_s) == (1.0, SHORTEST_PAUSE_S)


def test_callers_that_all_come_at_once_and_pause_then_find_room() -> None:
    """As those do who wait for the same block, with nothing at work between two of them."""
    node = SimulatedNode(1_000.0, 0.01)
    callers = 2 * CALM
    for _ in range(100):
        for _ in range(callers):
            node.call(PAY)
        node.end_all()
        node.now += 0.1
    assert node.refused == 0


def test_two_minutes_of_overload_move_little_what_is_usual() -> None:
    """Or an overload would become what is usual while it lasts."""
    node = SimulatedNode(300.0, 0.07)
    closed(node, CALM, 120)
    before = node.pace.usual_s(PAY.kind)
    node.rate = 40.0
    closed(node, 10 * CALM, 120)
    after = node.pace.usual_s(PAY.kind)
    assert before is not None
    assert after is not None
    assert before <= after < 2.5 * before


def test_flood_that_comes_at_once_is_let_in_step_by_step() -> None:
    """Of those who come while nobody knows how long it will take, as many as take no longer than
    they may if they share the processors; and where they do not even that, more are taken.
    """
    node = SimulatedNode(24.0, 0.005)
    flood = closed(node, MOST, 30)
    assert max(flood) < 1.1 * SLOWDOWN * CALM / node.rate
    node = SimulatedNode(1e6, 0.2)
    closed(node, MOST, 60)
    assert node.pace.limit == MOST


def test_what_is_usual_follows_a_node_that_stays_slow() -> None:
    """At once where nobody is refused; after a while where many are."""
    node = SimulatedNode(300.0, 0.07)
    closed(node, CALM, 60)
    node.rate = 60.0
    closed(node, CALM, 30)
    assert node.pace.usual_s(PAY.kind) == pytest.approx(CALM / 60, rel=0.1)
    node.rate = 12.0
    closed(node, 2 * CALM, 60)
    assert node.pace.limit == CALM
    closed(node, 2 * CALM, 3600)
    assert node.pace.limit > CALM


def test_nothing_is_made_of_calls_of_which_too_little_is_known() -> None:
    """Slow calls of a new kind are no overload; while no other is known, no more get in than calm
    callers are.
    """
    node = SimulatedNode(300.0, 0.07)
    closed(node, CALM, 20)
    before = node.pace.limit
    for _ in range(ENOUGH - 1):
        node.now += 0.1
        node.pace.ended(REPORT.kind, 30.0, CALM)
    assert node.pace.limit == before > CALM
    assert node.pace.usual_s(REPORT.kind) is None
    for _ in range(200):
        node.now += 0.1
        node.pace.ended(REPORT.kind, 0.1, CALM + 1)
    assert node.pace.limit == CALM
    assert node.pace.usual_s(REPORT.kind) is None


def test_few_calls_are_judged_after_a_longer_window() -> None:
    """Where a call takes seconds, some of them must do."""
    node = SimulatedNode(16.0, 1.0)
    closed(node, CALM, 60)
    node.rate = 2.0
    closed(node, MOST, 120 + LONGEST_WINDOW_S)
    assert node.pace.limit == CALM


def test_pause_that_is_asked_for_is_as_long_as_calls_take_and_bounded() -> None:
    """Whoever was refused comes again when those at work have ended."""
    node = SimulatedNode(2_500.0, 0.4)
    assert node.pace.pause_s == SHORTEST_PAUSE_S
    closed(node, 32, 5)
    assert node.pace.pause_s == pytest.approx(0.4, rel=0.1)
    node.wait_s = 30.0
    closed(node, 32, 90)
    assert node.pace.pause_s == LONGEST_PAUSE_S


def test_kinds_that_are_remembered_are_bounded() -> None:
    """Whoever invents names of functions fills no memory, and those in use stay."""
    node = SimulatedNode(250.0, 0.07)
    closed(node, CALM, 5)
    for number in range(3 * KINDS):
        node.pace.ended(("Evaluate", "qist", str(number)), 0.001, CALM)
        if number % 100 == 0:
            closed(node, CALM, 0.1)
    assert len(node.pace._usual) <= KINDS
    assert node.pace.usual_s(PAY.kind) is not None


def test_node_with_few_places_keeps_within_them() -> None:
    """What is calm is never more than the most."""
    node = SimulatedNode(250.0, 0.07, most=4)
    assert node.pace.limit == 4
    closed(node, 100, 10)
    assert node.pace.limit == 4
