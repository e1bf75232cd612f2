"""The engine of a node that keeps a `cometbft` channel and has no consenter: it follows.

It takes committed blocks from the nodes of all consenters. A block counts when f + 1 of them have
given the same one, byte for byte with verdicts and commit hash, where at most f may be faulty
(n ≥ 3f + 1): at least one of them is honest then, and an honest node gives only what the validators
agreed on. The committer validates it all the same and compares the outcomes. What this node's
clients submit goes to one consenter's node, and to the next where one takes nothing.

Invariants:
- No consenter's node is believed alone, unless there are so few that none may be faulty.
- Of each node at most one block is kept that is not committed yet.
- A channel whose committer finds another outcome than those f + 1 halts.

Finality records come from the same nodes, a moment after the blocks (`finality.gaps`); no block
waits for one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import grpc
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from ledger.blocks.block import Block
from ledger.blocks.metadata import TRANSACTIONS_FILTER, commit_hash_of
from ledger.errors import BlockError, Fatal, LedgerError, Refusal, Unavailable
from network.configuration import ChannelConfiguration
from network.configuration.values import target_of
from network.errors import OrderingUnavailable
from network.msp import SigningIdentity
from network.ordering.cometbft.finality.gaps import RecordGaps
from network.ordering.cometbft.genesis import starting_block
from network.ordering.cometbft.ports import RecordGivers, RecordSink
from network.ordering.cometbft.validators import CONSENSUS_TYPE
from network.ordering.ports import BlockSink, Clock, ExpectedOutcome, NodeTls, OrderingStatus
from network.ordering.solo.broadcast import BroadcastStream
from network.ordering.solo.follower import CHANNEL_OPTIONS
from network.ordering.solo.seek import DELIVER, SERVED, blocks_from, signed_seek
from network.ordering.statuses import status_name

__all__ = ["FullNode"]

BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MOST_S: Final = 5.0
RECORDS_S: Final = 5.0
"""Between two looks for finality records, which come a moment after their blocks."""

logger = logging.getLogger(__name__)


class FollowingSink(BlockSink, RecordSink, Protocol):
    """The committer of a node that follows, and what it keeps beside the blocks."""


class FullNode:
    """Implements `network.ordering.ports.OrderingEngine` by the consenters' nodes.

    Args:
        sink: this node's committer.
        signer: the node's identity, with which it asks for blocks.
        clock: what goes into the requests as their time.
        tls: how a member's node is reached.
        newest: the newest configuration that the node knows of.
        records: other members' nodes, which give finality records; left out, none are kept.
    """

    def __init__(
        self,
        sink: FollowingSink,
        signer: SigningIdentity,
        clock: Clock,
        *,
        tls: Callable[[str], NodeTls],
        newest: Callable[[], ChannelConfiguration],
        records: RecordGivers | None = None,
    ) -> None:
        self._sink = sink
        self._signer = signer
        self._clock = clock
        self._tls = tls
        self._newest = newest
        self._records = records
        self._sources: dict[str, _Source] = {}
        self._offers: dict[str, Block] = {}
        self._offered = asyncio.Event()
        self._committed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._over = "the engine has not been started"

    async def start(self) -> None:
        """Begin to follow, from the sink's height on."""
        if self._tasks:
            return
        self._over = ""
        self._spawn(self._keep_sources(), "full node: whom it asks")
        self._spawn(self._commit_blocks(), "full node: commit")
        if self._records is not None:
            self._spawn(self._keep_records(self._records), "full node: finality records")

    async def stop(self) -> None:
        """End all streams; envelopes without an answer are told that their outcome is unknown."""
        tasks, self._tasks = self._tasks, []
        self._over = self._over or "the engine is being stopped"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._drop(*self._sources)

    async def submit(self, envelope: bytes) -> None:
        """Have a consenter order one envelope; return when its block is durable there."""
        if self._over:
            raise OrderingUnavailable(f"nothing can be submitted now: {self._over}")
        problem = OrderingUnavailable(
            f"nothing can be submitted now: {self._why_not() or 'no node of a consenter answers'}"
        )
        present = [each for each in self._sources.values() if each.is_served]
        for source in random.sample(present, len(present)):
            try:
                await source.broadcast.send(envelope)
            except OrderingUnavailable as away:
                problem = away
                if not away.outcome_definite:
                    break
            else:
                return
        raise problem

    def status(self) -> OrderingStatus:
        """Return whether consenters' nodes are there."""
        reason = self._over or self._why_not()
        served = [each.endpoint for each in self._sources.values() if each.is_served]
        return OrderingStatus(
            engine=CONSENSUS_TYPE,
            role="full node",
            accepting=not reason,
            reason=reason,
            queued=sum(each.broadcast.under_way for each in self._sources.values()),
            endpoint=served[0] if served else "",
        )

    def _needed(self) -> int:
        """How many nodes must give the same block."""
        return (len(self._sink.configuration.consenters) - 1) // 3 + 1

    def _why_not(self) -> str:
        served = sum(each.is_served for each in self._sources.values())
        if served >= self._needed():
            return ""
        return (
            f"{served} of {len(self._sources)} nodes of members that order answer, and this node, "
            f"which only follows, needs {self._needed()}"
        )

    async def _keep_records(self, records: RecordGivers) -> None:
        """File the finality records that those who order have."""
        sink = self._sink
        starting = await asyncio.to_thread(starting_block, sink.stored_block, sink.height - 1)
        gaps = RecordGaps(records, sink, starting, until=lambda: sink.height, pause_s=RECORDS_S)
        try:
            await gaps.run()
        except Unavailable:
            return

    # Whom it asks

    async def _keep_sources(self) -> None:
        """Ask the consenters' nodes of the newest configuration, whichever that is."""
        while True:
            sequence = self._sink.configuration.sequence
            found = _endpoints(self._newest())
            gone = [
                name for name, each in self._sources.items() if found.get(name) != each.endpoint
            ]
            await self._drop(*gone)
            for msp_id, endpoint in found.items():
                if msp_id not in self._sources:
                    source = self._sources[msp_id] = _Source(self, msp_id, endpoint)
                    source.start()
            try:
                await self._sink.wait_for_configuration(sequence)
            except Unavailable:
                return

    async def _drop(self, *msp_ids: str) -> None:
        for msp_id in msp_ids:
            self._offers.pop(msp_id, None)
            await self._sources.pop(msp_id).stop()

    # What they give

    async def offer(self, msp_id: str, block: Block) -> None:
        """Hear that a member's node has committed *block*; return when this node has, too."""
        self._offers[msp_id] = block
        self._offered.set()
        while self._sink.height <= block.number:
            await self._committed.wait()

    async def _commit_blocks(self) -> None:
        while True:
            block = self._agreed()
            if block is None:
                await self._offered.wait()
                self._offered.clear()
                continue
            codes = b"".join(block.metadata[TRANSACTIONS_FILTER : TRANSACTIONS_FILTER + 1])
            try:
                await self._sink.accept(block, ExpectedOutcome(codes, commit_hash_of(block)))
            except Unavailable as closed:
                self._over = f"this node takes no blocks now: {closed}"
                return
            self._offers = {
                name: each
                for name, each in self._offers.items()
                if each.number >= self._sink.height
            }
            committed, self._committed = self._committed, asyncio.Event()
            committed.set()

    def _agreed(self) -> Block | None:
        """Return the next block if enough consenters' nodes have given it."""
        consenters = {each.msp_id for each in self._sink.configuration.consenters}
        given: dict[bytes, list[str]] = {}
        for msp_id, block in self._offers.items():
            if block.number == self._sink.height and msp_id in consenters:
                given.setdefault(block.encode(), []).append(msp_id)
        if len(given) > 1:
            logger.error(
                "members' nodes give different blocks %d: %s",
                self._sink.height,
                "; ".join(" and ".join(sorted(names)) for names in given.values()),
            )
        for raw, names in given.items():
            if len(names) >= self._needed():
                return Block.decode(raw)
        return None

    def request(self, tls: NodeTls) -> bytes:
        """Return the signed request for the blocks from the sink's height on."""
        return signed_seek(
            blocks_from(self._sink.height),
            channel_id=self._sink.channel_id,
            signer=self._signer,
            certificate_der=tls.certificate_der,
            now=self._clock.now(),
        )

    def tls_to(self, msp_id: str) -> NodeTls:
        """Return how a member's node is reached now."""
        return self._tls(msp_id)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Say so if following ended by an error; it must not look alive."""
        if task.cancelled() or task.exception() is None:
            return
        error = task.exception()
        self._over = f"the engine stopped: {error}; when its cause is mended, restart the node"
        logger.critical("%s", self._over, exc_info=None if isinstance(error, Fatal) else error)
        if isinstance(error, Fatal):
            self._sink.halt(error)


class _Source:
    """One consenter's node: its stream of blocks, and the stream on which it takes envelopes."""

    def __init__(self, engine: FullNode, msp_id: str, endpoint: str) -> None:
        self.endpoint = endpoint
        self.is_served = False
        self._engine = engine
        self._msp_id = msp_id
        self._said = ""
        self._tls = engine.tls_to(msp_id)
        self._channel = self._dialled()
        self.broadcast = BroadcastStream(self._channel, endpoint)
        self._task: asyncio.Task[None] | None = None

    def _dialled(self) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(
            target_of(self.endpoint),
            self._tls.credentials,
            options=(*CHANNEL_OPTIONS, *self._tls.options),
        )

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._follow(), name=f"full node: {self.endpoint}")

    async def stop(self) -> None:
        """End both streams."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.broadcast.close()
        await self._channel.close(None)

    async def _follow(self) -> None:
        pause = BACKOFF_FIRST_S
        while True:
            try:
                await self._renew()
                await self._take_blocks()
                reason = "it ended the stream of blocks"
            except grpc.aio.AioRpcError as broken:
                reason = broken.details() or broken.code().name
            except (asyncio.InvalidStateError, DecodeError, LedgerError) as error:
                reason = str(error) or type(error).__name__
            if self.is_served:
                pause = BACKOFF_FIRST_S
            self.is_served = False
            if reason != self._said:
                logger.warning("the node of %s gives no blocks: %s", self._msp_id, reason)
            self._said = reason
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(2 * pause, BACKOFF_MOST_S)

    async def _renew(self) -> None:
        """Dial anew where certificates have changed on which the connection rests."""
        tls = self._engine.tls_to(self._msp_id)
        if tls.rests_on == self._tls.rests_on:
            return
        before, broadcast, self._tls = self._channel, self.broadcast, tls
        self._channel = self._dialled()
        self.broadcast = BroadcastStream(self._channel, self.endpoint)
        await broadcast.close()
        await before.close(None)

    async def _take_blocks(self) -> None:
        call = self._channel.stream_stream(DELIVER, None, None)(None)
        try:
            await call.write(await asyncio.to_thread(self._engine.request, self._tls))
            self.is_served = SERVED in tuple(map(tuple, await call.initial_metadata()))
            async for raw in call:
                response = ab_pb2.DeliverResponse.FromString(raw)
                if response.WhichOneof("Type") != "block":
                    raise Refusal(f"it refuses to deliver: {status_name(int(response.status))}")
                self.is_served, self._said = True, ""
                block = Block.from_message(response.block)
                if len(b"".join(block.metadata[TRANSACTIONS_FILTER:][:1])) != len(block.data):
                    raise BlockError(f"block {block.number} came without validation codes")
                await self._engine.offer(self._msp_id, block)
        finally:
            call.cancel()


def _endpoints(configuration: ChannelConfiguration) -> dict[str, str]:
    """Return for each consenter's member the address of its node."""
    found: dict[str, str] = {}
    consenters = {each.msp_id for each in configuration.consenters}
    for msp_id, host, port in configuration.orderer_endpoints:
        if msp_id in consenters:
            found.setdefault(msp_id, f"{host}:{port}")
    return found
