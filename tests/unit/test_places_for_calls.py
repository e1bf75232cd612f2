"""Who gets a place when there are fewer places than calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import pytest

from nodes.errors import ChannelUnavailable, TooManyRequests
from nodes.rpc.callers import caller_to_be_known
from nodes.rpc.concurrency import AGAIN_MS, LATE_S, RECENT_S, FairLimit
from nodes.rpc.pace import CALM, Pace
from nodes.rpc.places import NOBODY, Client, Places

GREEDY, MODEST = Client("BankMSP", "greedy"), Client("BankMSP", "modest")
OTHER = Client("PtaMSP", "other")
PLACES = 12


def filled(client: Client, places: int = PLACES) -> Places:
    """Return places that one client has taken all."""
    taken = Places()
    while taken.has_room(client, places):
        taken.take(client)
    return taken


def test_client_alone_gets_every_place() -> None:
    """Nothing is kept free for those who may come."""
    places = filled(GREEDY)
    assert (places.at_work, places.of(GREEDY)) == (PLACES, PLACES)
    assert not places.has_room(GREEDY, PLACES)


@pytest.mark.parametrize("newcomer", [MODEST, OTHER])
def test_client_that_has_all_places_keeps_no_other_out(newcomer: Client) -> None:
    """Whoever comes gets half of them at once, whether of the same member or of another."""
    places = filled(GREEDY)
    while places.has_room(newcomer, PLACES):
        places.take(newcomer)
    assert places.of(newcomer) == PLACES // 2
    for _ in range(PLACES // 2):
        assert not places.has_room(GREEDY, PLACES)
        places.give_back(GREEDY)
    assert not places.has_room(GREEDY, PLACES)
    places.give_back(GREEDY)
    assert places.has_room(GREEDY, PLACES)


def test_member_with_many_clients_takes_from_its_own_alone() -> None:
    """A hundred identities of one member leave the one client of another half of the places."""
    places = Places()
    crowd = [Client("BankMSP", str(number)) for number in range(100)]
    for client in crowd:
        if places.has_room(client, PLACES):
            places.take(client)
    assert places.at_work == PLACES
    assert places.share_of(crowd[0], PLACES) == 1
    assert places.share_of(OTHER, PLACES) == PLACES // 2
    while places.has_room(OTHER, PLACES):
        places.take(OTHER)
    assert places.of(OTHER) == PLACES // 2


def test_callers_that_prove_nothing_are_one_client_together() -> None:
    """However many names they forge, the client that they name loses nothing by it."""
    places = filled(NOBODY)
    assert places.share_of(MODEST, PLACES) == PLACES // 2
    while places.has_room(MODEST, PLACES):
        places.take(MODEST)
    assert places.of(MODEST) == PLACES // 2


def test_work_that_was_begun_finds_room_beyond_the_places() -> None:
    """As much as is said, and no more."""
    places = filled(GREEDY)
    for _ in range(3):
        assert places.has_room(GREEDY, PLACES, beyond=3)
        places.take(GREEDY)
    assert not places.has_room(GREEDY, PLACES, beyond=3)


def test_no_order_of_calls_fills_more_than_twice_the_places() -> None:
    """And what is given back is counted exactly: in the end nobody is known any more."""
    choose = random.Random(7)
    clients = [Client(f"M{member}", str(each)) for member in range(5) for each in range(4)]
    places, at_work = Places(), Counter[Client]()
    for _ in range(20_000):
        client = choose.choice(clients[: choose.randint(1, len(clients))])
        if choose.random() < 0.6:
            if places.has_room(client, PLACES):
                places.take(client)
                at_work[client] += 1
        elif at_work[client]:
            places.give_back(client)
            at_work[client] -= 1
        assert places.at_work == at_work.total() <= 2 * PLACES
        assert places.of(client) == at_work[client]
    for client in list(at_work.elements()):
        places.give_back(client)
    assert places.at_work == 0
    assert places.share_of(MODEST, PLACES) == PLACES


class Hands:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_refusal_says_that_nothing_was_done_and_when_to_come_again() -> None:
    """In Fabric's words first; a place is free again however a call ends."""
    limit = FairLimit("gateway", 1)
    with limit.enter(GREEDY), pytest.raises(TooManyRequests) as refused, limit.enter(GREEDY):
        raise AssertionError("it is at work")
    assert str(refused.value) == (
        "too many requests for gateway, exceeding concurrency limit (1); nothing was done, try "
        f"again in {AGAIN_MS} ms"
    )
    assert (refused.value.again_ms, refused.value.outcome_definite) == (AGAIN_MS, True)
    with pytest.raises(ValueError, match="broken"), limit.enter(GREEDY):
        raise ValueError("broken")
    await limit.idle()
    assert (limit.at_work, limit.refused) == (0, 1)


async def test_node_that_stops_takes_no_call_and_waits_for_those_at_work() -> None:
    """Whoever calls is told to go elsewhere."""
    limit = FairLimit("gateway", 1)
    limit.close()
    with pytest.raises(ChannelUnavailable, match="ask another member's node"), limit.enter(MODEST):
        raise AssertionError("it is at work")
    await limit.idle()


async def test_node_that_is_behind_serves_whom_it_has_served_less() -> None:
    """A call that came long ago is refused to a client that had its part of the last second; one
    that had less is served, and everybody as soon as the node has caught up.
    """
    clock = Hands()
    limit = FairLimit("gateway", 100, clock=clock)
    for client, times in ((GREEDY, CALM), (MODEST, 2)):
        for _ in range(times):
            with limit.enter(client, since=clock.now):
                pass
    long_ago = clock.now - 2 * LATE_S
    with pytest.raises(TooManyRequests, match=r"which it begins 2\.0 s late; nothing was done"):
        limit.verify_room(GREEDY, since=long_ago)
    limit.verify_room(MODEST, since=long_ago)
    limit.verify_room(OTHER, since=long_ago)
    limit.verify_room(GREEDY, since=long_ago, continues=True)
    limit.verify_room(GREEDY, since=clock.now)
    clock.now += 2 * RECENT_S
    limit.verify_room(GREEDY, since=long_ago)


async def test_node_that_is_behind_counts_what_it_has_served_by_member_first() -> None:
    """A hundred identities of one member make the one client of another no greedy one."""
    clock = Hands()
    limit = FairLimit("gateway", 100, clock=clock)
    crowd = [Client("BankMSP", str(number)) for number in range(100)]
    for client in (*crowd, OTHER):
        with limit.enter(client, since=clock.now):
            pass
    long_ago = clock.now - 2 * LATE_S
    limit.verify_room(OTHER, since=long_ago)
    for client in crowd:
        with pytest.raises(TooManyRequests, match="late"):
            limit.verify_room(client, since=long_ago)


async def test_client_alone_is_refused_too_while_its_own_calls_hold_the_node_up() -> None:
    """Or what waits in the process would grow without end."""
    clock = Hands()
    limit = FairLimit("gateway", 100, clock=clock)
    for _ in range(CALM):
        with limit.enter(GREEDY):
            pass
    with pytest.raises(TooManyRequests, match="late"):
        limit.verify_room(GREEDY, since=clock.now - 2 * LATE_S)


async def test_call_that_waited_behind_no_more_than_calm_ones_is_served_however_late() -> None:
    """So few callers are no overload, though each holds the node up for a second. Of a crowd that
    comes at once those behind are refused, and they count as having been before others.
    """
    clock = Hands()
    limit = FairLimit("gateway", 2 * CALM, clock=clock)
    for _ in range(3):
        came = clock.now
        for _ in range(CALM):
            with limit.enter(GREEDY, since=came):
                clock.now += RECENT_S / 10
    assert limit.refused == 0
    came = clock.now
    for _ in range(CALM):
        with limit.enter(GREEDY, since=came):
            clock.now += 2 * LATE_S / CALM
    for _ in range(2 * CALM):
        with pytest.raises(TooManyRequests, match="late"):
            limit.verify_room(GREEDY, since=came)
        clock.now += RECENT_S / 1000


class Heard(Pace):
    """Keeps what it is told."""

    def __init__(self, clock: Hands) -> None:
        super().__init__(CALM, 2.5, clock)
        self.told: list[tuple[str, int]] = []

    def refused(self) -> None:
        self.told.append(("refused", 0))

    def ended(self, kind: Hashable, seconds: float, at_work: int) -> None:
        self.told.append((str(kind), at_work))


async def test_pace_hears_of_refusals_and_among_how_many_a_call_was_at_work() -> None:
    """When it came or when it ended, whichever were more; a call that failed tells nothing."""
    clock = Hands()
    pace = Heard(clock)
    limit = FairLimit("gateway", 3, pace, clock)
    first, second, third = (limit.enter(GREEDY, kind) for kind in ("first", "second", "third"))
    for call in (first, second, third):
        call.__enter__()
    with pytest.raises(TooManyRequests):
        limit.verify_room(GREEDY)
    first.__exit__(None, None, None)
    broken = ValueError("broken")
    third.__exit__(ValueError, broken, None)
    second.__exit__(None, None, None)
    assert pace.told == [("refused", 0), ("first", 3), ("second", 2)]


@dataclass
class Caller:
    """An identity, and the context of its call."""

    msp_id: str
    identity_id: str

    def peer(self) -> str:
        return "ipv4:192.0.2.1:4711"


async def test_caller_counts_for_its_host_until_it_is_known_and_keeps_its_place_then() -> None:
    """A stream of one who has more than its share is recognised at every request; it gets no
    further place, and loses none.
    """
    limit, caller = FairLimit("deliver", 2), Caller(*GREEDY)
    same: Any = caller
    with caller_to_be_known(limit, caller) as recognise:
        assert limit._places.of(Client("", "ipv4:192.0.2.1")) == 1
        recognise(same)
        assert (limit._places.of(GREEDY), limit.at_work) == (1, 1)
        with limit.enter(GREEDY), limit.enter(OTHER):
            recognise(same)
            assert (limit._places.of(GREEDY), limit.at_work) == (2, 3)
            other: Any = Caller(*OTHER)
            with pytest.raises(TooManyRequests):
                recognise(other)
    assert limit.at_work == 0
