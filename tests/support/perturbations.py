"""What is done to a network ordered by CometBFT while everybody posts payments, and what must hold.

    outcomes = [await perturb(network, load, each, random) for each in PERTURBATIONS]

While at most f of the 3f+1 members are faulty, the others make progress within `PROGRESS_S`. While
more are, nobody makes any, nobody forks, queries are answered, and the nodes say in plain words why
nothing is ordered. Afterwards all of them go on without a hand, and have the same chain.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import combinations

from nodes.cli.control_client import NodeNotRunning
from tests.support.node_network import CHANNEL, MEMBERS
from tests.support.payment_load import DEADLINE_S, Load
from tests.support.perturbed_network import PerturbedNetwork, why_no_small_disk

log = logging.getLogger(__name__)

PROGRESS_S = 15.0
"""Until members that are not faulty have another payment recorded."""
STANDSTILL_S = 4.0
"""How long it is watched that nothing is ordered."""
ROUNDS_WHEN_SLOW = 5
LOOK_S = 0.1
"""Between two looks at a height."""


@dataclass
class Scene:
    """A network under load, and the chance by which it is perturbed."""

    network: PerturbedNetwork
    load: Load
    chance: random.Random
    pause_s: float
    notes: list[str] = field(default_factory=list)

    def victims(self, count: int = 1) -> list[str]:
        """Choose members."""
        return self.chance.sample(MEMBERS, count)


Faulty = Sequence[str]
Act = Callable[[Scene], AbstractAsyncContextManager[Faulty]]
"""Perturbs when it is entered, yields the members that are faulty until it is left."""


@dataclass(frozen=True)
class Perturbation:
    """A kind of fault.

    Attributes:
        name: in words.
        act: what is done, and undone.
    """

    name: str
    act: Act


@dataclass(frozen=True)
class Outcome:
    """What came of one.

    Attributes:
        name: of the perturbation.
        faulty: the members that were.
        progress_s: until each of the others had another payment recorded; None if more than a
            third were faulty, and so nothing was to be ordered.
        recovery_s: from the end of the fault until everybody had another payment recorded.
        height: of all nodes, when they had settled.
        notes: what else was seen.
    """

    name: str
    faulty: tuple[str, ...]
    progress_s: float | None
    recovery_s: float
    height: int
    notes: tuple[str, ...]


async def perturb(
    network: PerturbedNetwork,
    load: Load,
    perturbation: Perturbation,
    chance: random.Random,
    pause_s: float = 30.0,
) -> Outcome:
    """Do one thing to a network and check what must hold during it and after it.

    Args:
        pause_s: how long a member that is stopped or cut off stays so.
    """
    scene = Scene(network, load, chance, pause_s)
    progress: float | None = None
    async with perturbation.act(scene) as faulty:
        others = [each for each in MEMBERS if each not in faulty]
        if 3 * len(faulty) < len(MEMBERS):
            progress = await _timed(load.another_round(*others))
            assert progress <= PROGRESS_S, f"{perturbation.name}: {others} after {progress:.1f} s"
        else:
            await _stands_still(scene, faulty)
    recovery = await _timed(_everybody_goes_on(network, load, faulty))
    height = await _settled(network, load)
    return Outcome(perturbation.name, tuple(faulty), progress, recovery, height, tuple(scene.notes))


async def _everybody_goes_on(network: PerturbedNetwork, load: Load, faulty: Faulty) -> None:
    """Return when every client has another payment acknowledged.

    A member that joins anew first takes a chain as long as the network's, and is waited for while
    it comes nearer to it.
    """
    for msp_id in faulty:
        await _catches_up(network, msp_id)
    await load.another_round()


async def _catches_up(network: PerturbedNetwork, msp_id: str) -> None:
    """Return when a member has the height that another has now; fail where it stands still."""
    wanted = max(network.height(each) for each in MEMBERS)
    height, since = -1, time.monotonic()
    while (now := network.height(msp_id)) < wanted:
        if now > height:
            height, since = now, time.monotonic()
        waited = time.monotonic() - since
        assert waited < DEADLINE_S, f"{msp_id} stays at {height} of {wanted} blocks"
        await asyncio.sleep(LOOK_S)


async def _timed(waiting: object) -> float:
    begin = time.monotonic()
    await waiting  # type: ignore[misc]
    return time.monotonic() - begin


async def _settled(network: PerturbedNetwork, load: Load) -> int:
    """Let the load pause, wait for equal heights and compare the hashes; return the height."""
    await load.pause()
    try:
        return await asyncio.to_thread(network.settled)
    finally:
        load.resume()


async def _stands_still(scene: Scene, faulty: Faulty) -> None:
    """Nothing is ordered without two thirds, what is asked is answered, and the reason is said."""
    alive = [each for each in MEMBERS if each not in faulty] or list(MEMBERS)
    network = scene.network

    def says_why() -> bool:
        return all(not network.status(each)["ordering"]["accepting"] for each in alive)

    await scene.load.until("a plain word that nothing can be ordered", says_why)
    before = {each: network.height(each) for each in alive}
    await asyncio.sleep(STANDSTILL_S)
    assert {each: network.height(each) for each in alive} == before
    for msp_id in alive:
        reason = network.status(msp_id)["ordering"]["reason"]
        assert "third" in reason, reason
        async with network.gateway(msp_id) as gateway:
            answer = await gateway.network(CHANNEL).contract("enforcement").evaluate("Members")
        assert all(each in answer.decode() for each in MEMBERS)
    scene.notes.append(reason)


# ---- processes


@asynccontextmanager
async def _node_killed(scene: Scene) -> AsyncIterator[Faulty]:
    (victim,) = scene.victims()
    scene.network.kill(victim)
    yield [victim]
    await asyncio.to_thread(scene.network.restart, victim)


@asynccontextmanager
async def _comet_killed(scene: Scene) -> AsyncIterator[Faulty]:
    (victim,) = scene.victims()
    scene.network.kill_comet(victim)
    yield [victim]


@asynccontextmanager
async def _both_killed(scene: Scene) -> AsyncIterator[Faulty]:
    (victim,) = scene.victims()
    scene.network.kill_comet(victim)
    scene.network.kill(victim)
    yield [victim]
    await asyncio.to_thread(scene.network.restart, victim)


@asynccontextmanager
async def _all_killed(scene: Scene) -> AsyncIterator[Faulty]:
    scene.network.kill(*MEMBERS)
    await asyncio.to_thread(scene.network.restart, *MEMBERS)
    yield []


@asynccontextmanager
async def _all_restarted(scene: Scene) -> AsyncIterator[Faulty]:
    await asyncio.to_thread(scene.network.stop, *MEMBERS)
    await asyncio.to_thread(scene.network.restart, *MEMBERS)
    yield []


@asynccontextmanager
async def _two_killed(scene: Scene) -> AsyncIterator[Faulty]:
    victims = scene.victims(2)
    scene.network.kill(*victims)
    yield victims
    await asyncio.to_thread(scene.network.restart, *victims)


@asynccontextmanager
async def _paused(scene: Scene) -> AsyncIterator[Faulty]:
    (victim,) = scene.victims()
    scene.network.pause(victim)
    try:
        yield [victim]
        await asyncio.sleep(scene.pause_s)
    finally:
        scene.network.resume(victim)


# ---- links


@asynccontextmanager
async def _disconnected(scene: Scene) -> AsyncIterator[Faulty]:
    links = scene.network.links
    assert links is not None
    (victim,) = scene.victims()
    links.isolate(victim)
    try:
        yield [victim]
        await asyncio.sleep(scene.pause_s)
    finally:
        links.heal()


@asynccontextmanager
async def _halved(scene: Scene) -> AsyncIterator[Faulty]:
    links = scene.network.links
    assert links is not None
    one = scene.chance.choice(list(combinations(MEMBERS, 2)))
    links.partition(one, [each for each in MEMBERS if each not in one])
    try:
        # Neither half has two thirds: nobody orders, and nobody is down.
        yield MEMBERS
    finally:
        links.heal()


@asynccontextmanager
async def _moving_partition(scene: Scene) -> AsyncIterator[Faulty]:
    """One member after the other is cut off; somebody is always behind, nobody for ever."""
    links = scene.network.links
    assert links is not None
    try:
        for victim in scene.victims(len(MEMBERS)):
            links.isolate(victim)
            others = [each for each in MEMBERS if each != victim]
            took = await _timed(scene.load.another_round(*others))
            scene.notes.append(f"without {victim} {took:.1f} s")
            links.heal()
        yield []
    finally:
        links.heal()


@asynccontextmanager
async def _slow_and_lossy(scene: Scene) -> AsyncIterator[Faulty]:
    with scene.network.slow_links(0.2, 5) as left_out:
        rounds = [await _timed(scene.load.another_round()) for _ in range(ROUNDS_WHEN_SLOW)]
        scene.notes.append(f"a round of payments in {min(rounds):.1f} to {max(rounds):.1f} s")
        scene.notes.extend(filter(None, [left_out]))
        yield []


# ---- disks


@asynccontextmanager
async def _disk_full(scene: Scene) -> AsyncIterator[Faulty]:
    """The member whose disk is small stops taking blocks, says so, and comes back by a restart."""
    network, victim = scene.network, SMALL_DISK_MEMBER
    network.fill_disk(victim)
    yield [victim]

    words = ""

    def says_so() -> bool:
        nonlocal words
        try:
            status = network.status(victim)
        except NodeNotRunning as gone:
            words = str(gone)
            return not network.is_running(victim)
        words = status["halted"] or status["ordering"]["reason"]
        return bool(words)

    await scene.load.until("that the node with a full disk says why it takes nothing", says_so)
    scene.notes.append(words)
    network.free_disk(victim)
    if network.is_running(victim):
        await asyncio.to_thread(network.stop, victim)
    await asyncio.to_thread(network.restart, victim)


SMALL_DISK_MEMBER = "MakerMSP"
HALVED = Perturbation("a partition 2|2", _halved)
SLOW_AND_LOSSY = Perturbation("200 ms latency and 5 % loss", _slow_and_lossy)
_FULL_DISK = Perturbation("a full disk", _disk_full)

PERTURBATIONS = (
    Perturbation("kill -9 of a node", _node_killed),
    Perturbation("kill -9 of a CometBFT", _comet_killed),
    Perturbation("kill -9 of a node and its CometBFT", _both_killed),
    Perturbation("kill -9 of everything at once", _all_killed),
    Perturbation("restart of everything at once", _all_restarted),
    Perturbation("two of four members killed", _two_killed),
    Perturbation("a member paused", _paused),
    Perturbation("a member disconnected (3|1)", _disconnected),
    HALVED,
    Perturbation("a moving partition", _moving_partition),
    SLOW_AND_LOSSY,
    _FULL_DISK,
)
"""What happens to members who tell no lies."""


def possible_here(
    perturbations: Sequence[Perturbation],
) -> tuple[list[Perturbation], list[str]]:
    """Leave out what this machine does not let us do, and say it.

    Returns:
        the others, and the members whose disk must be small.
    """
    if reason := why_no_small_disk():
        log.warning("no disk gets full: %s", reason)
        return [each for each in perturbations if each is not _FULL_DISK], []
    return list(perturbations), [SMALL_DISK_MEMBER] if _FULL_DISK in perturbations else []
