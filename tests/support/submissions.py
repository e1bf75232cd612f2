"""Submissions to a bundler before a scripted CometBFT, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from network.configuration import ChannelConfiguration
from network.errors import OrderingUnavailable
from tests.support.bundles import comet_channel
from tests.support.consenters import four_members
from tests.support.scripted_comet import DEADLINE_S, ScriptedComet
from tests.support.updates import signed_update

NEVER_S = 3600.0


@asynccontextmanager
async def bundling(
    configuration: ChannelConfiguration | None = None, *, again_s: float = NEVER_S, **options: Any
) -> AsyncIterator[ScriptedComet]:
    """A bundler at work; each bundle is given once, unless something happens or *again_s* pass."""
    made = ScriptedComet(configuration or comet_channel(), again_s=again_s, **options)
    made.bundler.start()
    try:
        yield made
    finally:
        await made.bundler.stop()


def submit(comet: ScriptedComet, *inside: bytes) -> list[asyncio.Task[None]]:
    """Begin to submit each of them."""
    return [asyncio.create_task(comet.bundler.submit(each)) for each in inside]


async def outcome(task: asyncio.Task[None]) -> BaseException | None:
    """Return what a submission ended with, None if its envelope was ordered."""
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([task])
    return task.exception()


async def ordered(tasks: list[asyncio.Task[None]]) -> None:
    """Wait until all have been ordered."""
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*tasks)


async def drain(
    comet: ScriptedComet, tasks: list[asyncio.Task[None]], look: Callable[[], None] = lambda: None
) -> None:
    """Make blocks of whatever is taken until all have been ordered."""
    async with asyncio.timeout(DEADLINE_S):
        while not all(task.done() for task in tasks):
            look()
            if comet.pool:
                comet.block()
            await asyncio.sleep(0.002)
    await ordered(tasks)


async def unavailable(task: asyncio.Task[None], *, definite: bool) -> str:
    """Check that a submission ended without its envelope being ordered; return the words."""
    error = await outcome(task)
    assert isinstance(error, OrderingUnavailable)
    assert error.outcome_definite is definite, error
    return str(error)


async def gathered(comet: ScriptedComet, count: int) -> None:
    """Wait until that many wait for a bundle."""
    async with asyncio.timeout(DEADLINE_S):
        while comet.bundler.gathered != count:  # noqa: ASYNC110 - the examination has no event
            await asyncio.sleep(0.002)


def update_of(
    configuration: ChannelConfiguration, field: bytes, name: str = "BatchTimeout"
) -> bytes:
    """Return an update of one value of the orderer's, signed by all members' admins."""

    def edit(config: Any) -> None:
        config.channel_group.groups["Orderer"].values[name].value = field

    admins = [each.identity("admin", "admin") for each in four_members()]
    return signed_update(configuration, edit, admins)
