"""To whom an endorser pushes private data, whoever is up, down or refusing."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ledger.transactions.private import PrivateWrite, encode_tx_private
from nodes.gateway.members import MemberRefused, MemberUnavailable
from nodes.private_data.access import Collection
from nodes.private_data.distribution import Distribution, DistributionFailed

OWN = "OwnMSP"
EVERYBODY = tuple(f"M{number}MSP" for number in range(6))
TX = "ab" * 32
THREADS = ThreadPoolExecutor(1)
WRITES = encode_tx_private((PrivateWrite("book", "terms", b"\x1a\x05\x0a\x01k\x1a\x00"),))


@dataclass
class Node:
    """Another member's node, as `nodes.gateway.members.Member` shows it."""

    msp_id: str
    is_up: bool
    takes: bool
    asked: int = 0

    async def ask(self, _method: str, _request: bytes, timeout_s: float) -> bytes:
        assert 0 < timeout_s <= 3
        self.asked += 1
        if self.takes:
            return b""
        raise MemberUnavailable("down") if self.is_up else MemberRefused("no")


@dataclass
class World:
    """Everything that a distribution asks."""

    nodes: dict[str, Node]
    members: tuple[str, ...]
    required: int
    maximum: int
    kept: list[tuple[str, Any]] = field(default_factory=list)
    channel_id = "qist"
    height = 7

    def others(self) -> dict[str, Node]:
        return self.nodes

    def snapshot(self) -> World:
        return self

    def close(self) -> None: ...

    def put(self, tx_id: str, _height: int, writes: Any, *, creator: str) -> None:
        assert not creator, "asked by a client of its own member"
        self.kept.append((tx_id, writes))

    def find(self, _state: Any, namespace: str, name: str) -> Collection:
        return Collection(
            namespace, name, self.members, self.required, self.maximum, 0, False, False,
            b"", b"", None,
        )  # fmt: skip


nodes = st.fixed_dictionaries(
    {each: st.builds(Node, st.just(each), st.booleans(), st.booleans()) for each in EVERYBODY}
)
worlds = st.builds(
    World,
    nodes,
    st.lists(st.sampled_from((*EVERYBODY, OWN)), unique=True).map(tuple),
    st.integers(0, 4),
    st.integers(0, 6),
)


def distribute(world: World) -> str:
    """Distribute one set; return why it failed, nothing if it did not."""
    made: Any = world
    distribution = Distribution(made, OWN, made, made, THREADS)
    try:
        asyncio.run(distribution.distribute(made, TX, WRITES, OWN))
    except DistributionFailed as error:
        return str(error)
    return ""


@given(worlds)
def test_distribution_asks_members_only_and_succeeds_exactly_if_enough_took_it(
    world: World,
) -> None:
    """Outsiders never hear of it; nobody is asked twice; acknowledgements decide."""
    failed = distribute(world)
    able = [each for each in world.nodes.values() if each.msp_id in world.members]
    asked = [each for each in world.nodes.values() if each.asked]
    took = [each for each in asked if each.takes]
    assert all(each in able and each.asked == 1 for each in asked)
    assert bool(failed) == (len(took) < world.required)
    # It fails only if there was nobody left to ask.
    if failed and len(able) >= world.required:
        assert len([each for each in able if each.takes]) < world.required
        assert "Failed disseminating 1 out of 1 private dissemination plans" in failed
    elif failed:
        assert f"know of only {len(able)} eligible peers" in failed
        assert not asked


@given(worlds)
def test_distribution_reaches_no_more_members_than_it_may_and_spares_those_that_are_down(
    world: World,
) -> None:
    """maximum bounds who takes it, unless more are required; one that is down is asked only where
    the others are too few.
    """
    failed = distribute(world)
    most = max(world.maximum, world.required)
    took = [each for each in world.nodes.values() if each.asked and each.takes]
    assert len(took) <= most
    up = [each for each in world.nodes.values() if each.msp_id in world.members and each.is_up]
    if not failed and len([each for each in up if each.takes]) == len(up) >= world.required:
        assert not [each for each in world.nodes.values() if each.asked and not each.is_up]
        assert len(took) == min(len(up), most)


@given(worlds)
def test_distribution_keeps_the_data_itself_before_it_ends(world: World) -> None:
    """The own store has them, whatever the others say, unless it was clear before anybody was
    asked.
    """
    failed = distribute(world)
    if "know of only" not in failed:
        ((tx_id, writes),) = world.kept
        assert tx_id == TX
        assert encode_tx_private(writes) == WRITES
