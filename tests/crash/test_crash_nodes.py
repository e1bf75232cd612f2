"""Nodes killed at every write step, at random moments and all at once, under load."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Iterator

import pytest

from ledger.blocks.segments import SEGMENT_SIZE_BYTES
from ledger.faults import WriteStep
from tests.support.mortal_node import WHEN, Fault, When
from tests.support.node_network import MEMBERS, NodeNetwork
from tests.support.payment_load import Load, members_file, open_book, payment_load

pytestmark = pytest.mark.slow

SEED_VARIABLE = "QIST_CRASH_SEED"
RANDOM_KILLS = 6
STEPS: list[tuple[When, WriteStep]] = [
    (when, step) for step in WriteStep for when in WHEN if step is not WriteStep.TAIL_CUT
]
REPLAYED = {
    ("after", WriteStep.SEGMENT_APPEND),
    ("before", WriteStep.SEGMENT_SYNC),
    ("after", WriteStep.SEGMENT_SYNC),
    ("before", WriteStep.BATCH),
}
"""Where a death leaves a block that is stored and not yet in the state."""


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeNetwork]:
    """Four node processes with a lender's book of agreements."""
    folder = tmp_path_factory.mktemp("crash") / "net"
    with NodeNetwork.running(folder, *members_file(folder.parent)) as made:
        open_book(made, folder.parent)
        yield made


@pytest.fixture
def running(network: NodeNetwork) -> NodeNetwork:
    """The network with all its nodes up."""
    sleeping = [msp_id for msp_id in MEMBERS if not network.is_running(msp_id)]
    network.start(*sleeping)
    network.all_accept()
    return network


@pytest.fixture
def chance() -> random.Random:
    """Chance that can be repeated: the seed is printed, and taken from the environment."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.randrange(1 << 32))
    print(f"to repeat this: {SEED_VARIABLE}={seed}")  # noqa: T201 - shown by a failing test
    return random.Random(seed)


async def verify(network: NodeNetwork, load: Load) -> None:
    """The closing checks: what clients were told is what the book and all four ledgers hold."""
    network.all_accept()
    assert load.told()["acknowledged"] > 0
    await load.find_open()
    await load.verify_book()
    load.verify(network.verify())


def fault_at(when: When, step: WriteStep, chance: random.Random) -> Fault:
    """A death at a write step of one of the next blocks."""
    # So small that every block begins a segment file, where the steps of beginning one are wanted.
    begins = step in (WriteStep.SEGMENT_CREATE, WriteStep.DIRECTORY_SYNC)
    size = 1 if begins else SEGMENT_SIZE_BYTES
    return Fault(step, when, occurrence=chance.randint(2, 6), segment_size_bytes=size)


async def die_at(network: NodeNetwork, msp_id: str, fault: Fault) -> None:
    """Start a node that will die at a write step, and wait until it has."""
    network.start(msp_id, fault=fault)
    await asyncio.to_thread(network.wait_dead, msp_id)
    assert network.started[msp_id].process.returncode == -signal.SIGKILL, network.log(msp_id)[-3:]
    assert network.log(msp_id)[-1]["message"] == str(fault)


def verify_recovery(network: NodeNetwork, msp_id: str, when: When, step: WriteStep) -> None:
    """What the newest start said it did is what a death at that step makes necessary."""
    said = network.recovered(msp_id)
    if (when, step) in REPLAYED:
        assert len(said) == 1, (when, step, said)
        assert "stored but not yet in the state" in said[0], (when, step, said)
    else:
        assert said == [], (when, step)


@pytest.mark.parametrize("role", ["follower", "sequencer"])
async def test_node_killed_at_every_write_step_under_load_loses_nothing_acknowledged(
    running: NodeNetwork, role: str, chance: random.Random
) -> None:
    """Before and after each write step of a block the node's process ends, is started again in the
    same folder, says what it recovered, and the load goes on.
    """
    sequencer = running.sequencer
    msp_id = sequencer if role == "sequencer" else "MakerMSP"
    assert msp_id == sequencer or role == "follower"
    steps = chance.sample(STEPS, len(STEPS))
    async with payment_load(running, role[0].upper()) as load:
        running.kill(msp_id)
        before: tuple[When, WriteStep] | None = None
        for when, step in steps:
            await die_at(running, msp_id, fault_at(when, step, chance))
            if before is not None:
                verify_recovery(running, msp_id, *before)
            before = when, step
        running.start(msp_id)
        await asyncio.to_thread(running.ready, msp_id)
        assert before is not None
        verify_recovery(running, msp_id, *before)
        said = running.recovered(msp_id)
        assert running.status(msp_id)["recovered"] == "; ".join(said)
        await load.another_round()
    await verify(running, load)


async def test_node_killed_while_it_cuts_a_torn_tail_cuts_it_at_the_next_start(
    running: NodeNetwork, chance: random.Random
) -> None:
    """A tail torn by a loss of power is cut, whenever the cutting breaks off, and that is said."""
    for msp_id in (running.sequencer, "PtaMSP"):
        running.kill(msp_id)
        segment = max((running.node(msp_id) / "ledger" / "blocks").glob("*.seg"))
        whole = segment.read_bytes()
        torn = whole[24 : 24 + chance.randint(1, 200)]
        for when in WHEN:
            segment.write_bytes(whole + torn)
            await die_at(running, msp_id, Fault(WriteStep.TAIL_CUT, when))
            assert segment.read_bytes() == (whole if when == "after" else whole + torn)
        segment.write_bytes(whole + torn)
        running.start(msp_id)
        running.ready(msp_id)
        (said,) = running.recovered(msp_id)
        assert said.startswith("cut off a write that was never finished")
        assert f"{len(torn)} bytes" in said
        assert running.status(msp_id)["recovered"] == said
    async with payment_load(running, "T") as load:
        await load.another_round()
    await verify(running, load)


async def test_nodes_killed_at_random_moments_and_all_at_once_lose_nothing_acknowledged(
    running: NodeNetwork, chance: random.Random
) -> None:
    """One node or several are killed, also while they start; then all four together, twice."""
    async with payment_load(running, "K") as load:
        for _ in range(RANDOM_KILLS):
            victims = chance.sample(MEMBERS, chance.randint(1, 3))
            await asyncio.sleep(chance.uniform(0, 1.5))
            running.kill(*victims)
            running.start(*victims)
        for _ in range(2):
            await asyncio.to_thread(running.all_accept)
            await load.another_round()
            running.kill(*MEMBERS)
            running.start(*MEMBERS)
        await asyncio.to_thread(running.all_accept)
        await load.another_round()
    await verify(running, load)
