"""When a node asks again for private data that it could not get."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ledger.state.private import MissingPrivate
from nodes.private_data.reconciler import LONGEST_PAUSE_S, Reconciler

WANTED = MissingPrivate(7, 0, "book", "terms", True)


class World:
    """A channel that lacks one set, and members of whom none has it."""

    def __init__(self, *, up: bool) -> None:
        self.up = up
        self.rounds = 0
        self.ledger = self

    def missing_private(self, _limit: int, older: MissingPrivate | None) -> list[MissingPrivate]:
        return [] if older else [WANTED]

    def snapshot(self) -> World:
        return self

    def close(self) -> None: ...

    def find(self, *_place: Any) -> None:
        return None

    at_block = find

    def is_any_up(self, _members: Any) -> bool:
        return self.up

    async def pull(self, *_arguments: Any) -> set[Any]:
        self.rounds += 1
        return set()


def reconciler(world: World, interval_s: float) -> Reconciler:
    made: Any = world
    return Reconciler(made, "OwnMSP", made, lambda: made, interval_s)


@pytest.mark.parametrize("interval_s", [30.0, 0.2])
async def test_reconciler_waits_twice_as_long_where_a_member_that_is_up_has_it_not(
    interval_s: float,
) -> None:
    """The first pause is a moment, since the other may not have the block yet; none is too long."""
    world = World(up=True)
    made = reconciler(world, interval_s)
    pauses = []
    for _ in range(14):
        await made.round()
        ((missing, turn),) = made._turns.items()
        assert missing == WANTED
        pauses.append(turn.pause_s)
        turn.at = 0.0
    first = min(1.0, interval_s)
    assert pauses == [min(first * 2**number, LONGEST_PAUSE_S) for number in range(14)]
    assert world.rounds == 14
    assert made.missing == 1


async def test_reconciler_asks_in_every_round_while_all_members_are_down() -> None:
    """Their silence says nothing of what they have, so the pause does not grow, nor does it end."""
    world = World(up=False)
    made = reconciler(world, 5.0)
    now = asyncio.get_running_loop().time
    for _ in range(3):
        await made.round()
        ((_, turn),) = made._turns.items()
        assert turn.pause_s == 0
        assert 4.0 < turn.at - now() <= 5.0
        assert 4.0 < made._wait_s() <= 5.0
        turn.at = 0.0
    assert world.rounds == 3


async def test_reconciler_leaves_a_set_alone_until_its_turn() -> None:
    """Rounds that begin for another reason do not ask for it."""
    world = World(up=True)
    made = reconciler(world, 30.0)
    for _ in range(3):
        await made.round()
    assert world.rounds == 1
    assert made.missing == 1
