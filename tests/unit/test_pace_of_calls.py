"""How many calls may be at work so that none takes much longer than usual, on a clock of its own.

The node is a simulated one: a call takes `fixed_s` at least, and all calls at work share so many
calls a second.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

import pytest

from nodes.rpc.pace import (
    CALM,
    KINDS,
    LEAST,
    LONGEST_PAUSE_S,
    LONGEST_WINDOW_S,
    SHORTEST_PAUSE_S,
    Pace,
)

MOST, SLOWDOWN = 500, 2.5
PAY = ("Endorse", "qist", b"Pay")


@dataclass
class SimulatedNode:
    """Serves calls in their order, so many a second, each no sooner than its fixed time.

    Attributes:
        rate: calls a second.
        fixed_s: what one alone takes.
        at_work: calls at work.
    """

    rate: float
    fixed_s: float
    now: float = 0.0
    at_work: int = 0
    _free_at: float = 0.0
    _ends: list[tuple[float, float, int]] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def begin(self) -> None:
        """Take one more call."""
        self.at_work += 1
        self._free_at = max(self._free_at, self.now) + 1 / self.rate
        ends = max(self._free_at, self.now + self.fixed_s)
        heapq.heappush(self._ends, (ends, self.now, self.at_work))

    def end_next(self, pace: Pace) -> float:
        """Go on to the end of the next call; return how long it took."""
        ends, began, at_work = heapq.heappop(self._ends)
        self.now = max(self.now, ends)
        self.at_work -= 1
        pace.ended(PAY, ends - began, at_work)
        if not self.at_work:
            pace.rest()
        return ends - began


def pace_of(node: SimulatedNode, most: int = MOST) -> Pace:
    return Pace(most, SLOWDOWN, node.clock)


def keep_at_work(node: SimulatedNode, pace: Pace, callers: int, seconds: float) -> list[float]:
    """Have so many callers at work, as far as the pace lets them; return what calls took."""
    until, took = node.now + seconds, deque[float]()
    while node.now < until:
        while node.at_work < min(callers, pace.limit):
            node.begin()
        took.append(node.end_next(pace))
    return list(took)


def end_all(node: SimulatedNode, pace: Pace) -> None:
    while node.at_work:
        node.end_next(pace)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("rate", [24.0, 250.0, 2_000.0])
@pytest.mark.parametrize("fixed_s", [0.005, 0.07, 0.6])
def test_overload_is_held_to_three_times_what_is_usual(rate: float, fixed_s: float) -> None:
    """Whatever the node can carry, and however long a call takes on an idle one."""
    node = SimulatedNode(rate, fixed_s)
    pace = pace_of(node)
    keep_at_work(node, pace, 1, 10)
    usual = mean(keep_at_work(node, pace, CALM // 2, 30))
    overload = keep_at_work(node, pace, 10 * CALM, 60)
    assert mean(overload[len(overload) // 4 :]) < 3 * max(usual, 1 / rate)
    assert pace.limit >= LEAST
    # What the node can carry, it still carries: the pipeline is full.
    assert len(overload) / 60 > 0.9 * min(rate, LEAST / fixed_s)


def test_node_that_becomes_slow_takes_less_and_recovers() -> None:
    """The limit falls with what the node can carry, and rises within ten seconds after."""
    node = SimulatedNode(300.0, 0.07)
    pace = pace_of(node)
    usual = mean(keep_at_work(node, pace, CALM, 60))
    node.rate = 60.0
    slow = keep_at_work(node, pace, 10 * CALM, 120)
    assert mean(slow[len(slow) // 2 :]) < 3.2 * usual
    assert pace.limit < CALM
    node.rate = 300.0
    after = keep_at_work(node, pace, CALM, 10)
    assert mean(after[len(after) // 2 :]) < 1.2 * usual


def test_limit_is_back_at_once_when_nothing_is_at_work_any_more() -> None:
    """What held the calls up has gone."""
    node = SimulatedNode(300.0, 0.07)
    pace = pace_of(node)
    keep_at_work(node, pace, CALM, 60)
    node.rate = 60.0
    keep_at_work(node, pace, 10 * CALM, 30)
    assert pace.limit < CALM
    assert pace.slowed > 1.5
    end_all(node, pace)
    assert CALM <= pace.limit <= SLOWDOWN * CALM
    assert (pace.slowed, pace.pause_s) == (1.0, SHORTEST_PAUSE_S)


def test_usual_load_is_never_limited() -> None:
    """Up to the calls at work from which it is learned what is usual."""
    node = SimulatedNode(250.0, 0.07)
    pace = pace_of(node)
    keep_at_work(node, pace, 1, 60)
    for callers in (16, CALM, 16, CALM):
        keep_at_work(node, pace, callers, 30)
        assert pace.limit >= callers


def test_two_minutes_of_overload_move_little_what_is_usual() -> None:
    """Or an overload would become what is usual while it lasts."""
    node = SimulatedNode(300.0, 0.07)
    pace = pace_of(node)
    keep_at_work(node, pace, CALM, 120)
    before = pace.usual_s(PAY)
    node.rate = 40.0
    keep_at_work(node, pace, 10 * CALM, 120)
    after = pace.usual_s(PAY)
    assert before is not None
    assert after is not None
    assert before <= after < 1.6 * before


def test_flood_that_comes_at_once_is_let_in_step_by_step() -> None:
    """Of those who come while nobody knows how long it will take, as many as what was learned says;
    and where more of them do not slow each other down, more are taken.
    """
    node = SimulatedNode(24.0, 0.005)
    pace = pace_of(node)
    assert pace.limit == CALM
    usual = mean(keep_at_work(node, pace, 24, 60))
    end_all(node, pace)
    flood = keep_at_work(node, pace, MOST, 30)
    assert mean(flood) < 3 * usual
    assert max(flood) < 4 * usual
    node = SimulatedNode(1e6, 0.2)
    pace = pace_of(node)
    keep_at_work(node, pace, MOST, 60)
    assert pace.limit == MOST


def test_what_is_usual_follows_a_node_that_stays_slow() -> None:
    """After a while the new time is the usual one, and nothing is held back for it."""
    node = SimulatedNode(300.0, 0.07)
    pace = pace_of(node)
    keep_at_work(node, pace, CALM, 60)
    node.rate = 60.0
    keep_at_work(node, pace, CALM, 3600)
    assert pace.limit >= CALM


def test_nothing_is_made_of_calls_of_which_too_little_is_known() -> None:
    """A single slow call of a new kind is no overload."""
    node = SimulatedNode(300.0, 0.07)
    pace = pace_of(node)
    keep_at_work(node, pace, CALM, 20)
    before = pace.limit
    for _ in range(200):
        node.now += 0.1
        pace.ended(("Endorse", "qist", b"Report"), 30.0, CALM + 1)
    assert pace.limit == before
    assert pace.usual_s(("Endorse", "qist", b"Report")) is None


def test_few_calls_are_judged_after_a_longer_window() -> None:
    """Where a call takes seconds, some of them must do."""
    node = SimulatedNode(4.0, 1.0)
    pace = pace_of(node)
    keep_at_work(node, pace, 4, 400)
    assert pace.usual_s(PAY) is not None
    keep_at_work(node, pace, MOST, 120 + LONGEST_WINDOW_S)
    assert pace.limit < 2 * LEAST


def test_pause_that_is_asked_for_is_as_long_as_calls_take_and_bounded() -> None:
    """Whoever was refused comes again when those at work have ended."""
    node = SimulatedNode(250.0, 0.4)
    pace = pace_of(node)
    assert pace.pause_s == SHORTEST_PAUSE_S
    keep_at_work(node, pace, 32, 5)
    assert pace.pause_s == pytest.approx(0.4, rel=0.1)
    node.fixed_s = 30.0
    keep_at_work(node, pace, 32, 90)
    assert pace.pause_s == LONGEST_PAUSE_S


def test_kinds_that_are_remembered_are_bounded() -> None:
    """Whoever invents names of functions fills no memory, and those in use stay."""
    node = SimulatedNode(250.0, 0.07)
    pace = pace_of(node)
    keep_at_work(node, pace, CALM, 5)
    for number in range(3 * KINDS):
        pace.ended(("Evaluate", "qist", str(number).encode()), 0.001, CALM)
        if number % 100 == 0:
            keep_at_work(node, pace, CALM, 0.1)
    assert len(pace._usual) <= KINDS
    assert pace.usual_s(PAY) is not None


def test_node_with_few_places_keeps_within_them() -> None:
    """The least is never more than the most."""
    node = SimulatedNode(250.0, 0.07)
    pace = pace_of(node, most=4)
    assert pace.limit == 4
    keep_at_work(node, pace, 100, 10)
    assert pace.limit <= 4
