"""A follower: a node of a `solo` channel that does not order.

It forwards its clients' envelopes to the sequencer and takes the sequencer's committed blocks, each
with the codes and the commit hash that came out of it there. It trusts none of that: the block's
signature must satisfy the channel's policy, the committer checks and validates everything for
itself, and the outcomes are compared.

Invariants:
- At the first difference (another chain, another code, another commit hash) the channel halts with
  a message that names it; a person must look.
- A block that is refused as a whole was not recorded; the follower says so, drops the connection
  and asks again, for the connection may be at fault.
- While the sequencer is away `submit` refuses at once and says plainly that nothing can be
  submitted; what the node has is still there to be read.
- Before each attempt, and after each configuration block, it is looked up where the sequencer is,
  whom to trust there and what to show: renewed certificates and new addresses need no restart.

Absent: ordering itself (`sequencer.py`), choosing another sequencer: a `solo` channel has one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from ledger.blocks.block import Block
from ledger.blocks.metadata import TRANSACTIONS_FILTER, commit_hash_of
from ledger.errors import BlockError, Fatal, Refusal, Unavailable
from network.configuration.values import target_of
from network.errors import OrderingUnavailable
from network.msp import SigningIdentity
from network.ordering.ports import BlockSink, Clock, ExpectedOutcome, NodeTls, OrderingStatus
from network.ordering.solo.broadcast import BroadcastStream
from network.ordering.solo.chain import verify_next_block
from network.ordering.solo.engine import CONSENSUS_TYPE
from network.ordering.solo.seek import DELIVER, SERVED, blocks_from, signed_seek
from network.ordering.statuses import status_name

__all__ = ["Follower"]

BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A cable that was pulled shows within fifteen seconds.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # How long one attempt to connect may take, TLS handshake with a busy node included.
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)

logger = logging.getLogger(__name__)


class _Interrupted(Exception):
    """The stream of blocks ended; the message says why."""


class Follower:
    """The ordering engine of a node that follows.

    Args:
        sink: this node's committer.
        signer: the node's identity, with which it asks for blocks.
        tls: tells how to reach the sequencer's node port now.
        clock: what goes into the requests as their time.
        endpoint: tells host and port of the sequencer's node port; by default the first of the
            channel configuration's orderer endpoints.
    """

    def __init__(
        self,
        sink: BlockSink,
        signer: SigningIdentity,
        tls: Callable[[], NodeTls],
        clock: Clock,
        *,
        endpoint: Callable[[], tuple[str, int]] | None = None,
    ) -> None:
        self._sink = sink
        self._signer = signer
        self._tls_now = tls
        self._tls: NodeTls | None = None
        self._clock = clock
        self._endpoint_now = endpoint or self._configured_endpoint
        self._endpoint = ""
        self._why_not = "the follower has not been started"
        self._halted: Fatal | None = None
        self._task: asyncio.Task[None] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._broadcast: BroadcastStream | None = None

    async def start(self) -> None:
        """Begin to follow, from the sink's height on."""
        if self._task is not None:
            return
        await self._dial()
        self._why_not = f"the sequencer {self._endpoint} has not answered yet"
        self._task = asyncio.create_task(self._follow(), name=f"follow {self._endpoint}")
        self._task.add_done_callback(self._ended)

    async def _dial(self) -> None:
        """Open the connection, anew if anything that it rests on has changed.

        Raises:
            OrderingUnavailable, ConfigurationError: the channel names no orderer that can be
                reached; an open connection stays.
        """
        endpoint, tls = self._where()
        if self._is_dialled(endpoint, tls):
            return
        before, broadcast_before = self._channel, self._broadcast
        self._endpoint, self._tls = endpoint, tls
        self._channel = grpc.aio.secure_channel(
            target_of(endpoint), tls.credentials, options=(*CHANNEL_OPTIONS, *tls.options)
        )
        self._broadcast = BroadcastStream(self._channel, endpoint)
        if broadcast_before is not None:
            await broadcast_before.close()
        if before is not None:
            logger.info("the sequencer is reached anew, at %s", endpoint)
            await before.close(None)

    def _where(self) -> tuple[str, NodeTls]:
        host, port = self._endpoint_now()
        return f"{host}:{port}", self._tls_now()

    def _is_dialled(self, endpoint: str, tls: NodeTls) -> bool:
        """Tell whether the connection goes there, and rests on the same certificates."""
        return self._tls is not None and (endpoint, tls.rests_on) == (
            self._endpoint,
            self._tls.rests_on,
        )

    async def stop(self) -> None:
        """End both streams; envelopes without an answer are told that their outcome is unknown."""
        task, channel, broadcast = self._task, self._channel, self._broadcast
        self._task = self._channel = self._broadcast = self._tls = None
        self._why_not = "the follower is being stopped"
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if broadcast is not None:
            await broadcast.close()
        if channel is not None:
            await channel.close(None)

    async def submit(self, envelope: bytes) -> None:
        """Have the sequencer order one envelope; return when its block is durable there."""
        broadcast = self._broadcast
        if self._why_not or broadcast is None:
            raise OrderingUnavailable(
                f"nothing can be submitted now: {self._why_not}; queries go on"
            )
        await broadcast.send(envelope)

    def status(self) -> OrderingStatus:
        """Return whether the sequencer is there, and what is on its way to it."""
        return OrderingStatus(
            engine="solo",
            role="follower",
            accepting=not self._why_not,
            reason=self._why_not,
            queued=0 if self._broadcast is None else self._broadcast.under_way,
            endpoint=self._endpoint,
        )

    def _configured_endpoint(self) -> tuple[str, int]:
        endpoints = self._sink.configuration.orderer_endpoints
        if not endpoints:
            raise OrderingUnavailable(
                f"the configuration of channel {self._sink.channel_id} names no orderer endpoint; "
                "create the network with the sequencer's node port in it"
            )
        _msp_id, host, port = endpoints[0]
        return host, port

    @property
    def _has_sequencer(self) -> bool:
        return self._sink.configuration.consensus_type == CONSENSUS_TYPE

    async def _follow(self) -> None:
        """Keep the stream of blocks alive until told to stop, or until the channel must halt."""
        pause = BACKOFF_FIRST_S
        # What comes behind a change of the engine is signed by nobody, and not to be followed.
        while self._has_sequencer:
            height = self._sink.height
            try:
                await self._dial()
                await self._take_blocks()
            except _Interrupted as interrupted:
                self._away(str(interrupted))
            except grpc.aio.AioRpcError as broken:
                details = broken.details() or broken.code().name
                self._away(f"the sequencer {self._endpoint} is away ({details})")
            except BlockError as refused:
                self._away(f"a block of the sequencer {self._endpoint} was refused: {refused}")
            except Unavailable as closed:
                self._away(f"this node takes no blocks now: {closed}")
            except Refusal as wrong:
                self._away(f"the sequencer cannot be reached: {wrong}")
            except Fatal as fatal:
                self._halt(fatal)
                return
            if self._sink.height > height:
                pause = BACKOFF_FIRST_S
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, BACKOFF_MOST_S)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Say so if following ended by an error that nobody foresaw; it must not look alive."""
        if task.cancelled() or task.exception() is None:
            return
        self._why_not = f"the follower stopped: {task.exception()!r}; restart the node"
        logger.critical("%s", self._why_not, exc_info=task.exception())

    def _away(self, reason: str) -> None:
        if not self._why_not:
            logger.warning("%s", reason)
        self._why_not = reason

    def _halt(self, fatal: Fatal) -> None:
        self._halted = fatal
        self._why_not = f"channel {self._sink.channel_id} has halted: {fatal}"
        self._sink.halt(fatal)
        logger.critical("%s", self._why_not)

    async def _take_blocks(self) -> None:
        """Ask for all blocks from our height on and commit them as they come.

        Raises:
            _Interrupted: the sequencer ended the stream or refused the request.
            grpc.aio.AioRpcError: the connection broke.
            BlockError: a block was refused as a whole.
            Fatal: the channel must halt.
        """
        if self._channel is None or self._tls is None:
            raise _Interrupted("the follower is being stopped")
        tls = self._tls
        call = self._channel.stream_stream(DELIVER, None, None)(None)
        try:
            request = await asyncio.to_thread(self._request, tls)
            try:
                await call.write(request)
            except asyncio.InvalidStateError:
                # The call had failed before anything could be written on it.
                words = await call.details()
                raise _Interrupted(f"the sequencer {self._endpoint} is away ({words})") from None
            # They come before any block, as soon as the request is accepted or refused.
            if SERVED in tuple(map(tuple, await call.initial_metadata())) and not call.done():
                self._why_not = ""
            async for raw in call:
                response = self._decode(raw)
                if response.WhichOneof("Type") != "block":
                    raise _Interrupted(self._refused(int(response.status)))
                await self._take(Block.from_message(response.block))
                self._why_not = ""
        finally:
            call.cancel()
        raise _Interrupted(f"the sequencer {self._endpoint} ended the stream of blocks")

    def _decode(self, raw: bytes) -> ab_pb2.DeliverResponse:
        try:
            return ab_pb2.DeliverResponse.FromString(raw)
        except DecodeError:
            raise _Interrupted(
                f"the sequencer {self._endpoint} sent what is no DeliverResponse"
            ) from None

    def _request(self, tls: NodeTls) -> bytes:
        return signed_seek(
            blocks_from(self._sink.height),
            channel_id=self._sink.channel_id,
            signer=self._signer,
            certificate_der=tls.certificate_der,
            now=self._clock.now(),
        )

    def _refused(self, status: int) -> str:
        if status == common_pb2.NOT_FOUND:
            return (
                f"the sequencer {self._endpoint} has not got as far as this node (height "
                f"{self._sink.height}), or does not know channel {self._sink.channel_id}; "
                "if its ledger was restored, it takes what it lacks before it orders: see its "
                "status"
            )
        if status == common_pb2.SERVICE_UNAVAILABLE:
            return (
                f"the sequencer {self._endpoint} gives no blocks now: its channel has halted or is "
                "stopping; see its log"
            )
        return (
            f"the sequencer {self._endpoint} refuses to deliver blocks: {status_name(status)}; "
            "see its log, and this node's certificates and clock"
        )

    async def _take(self, block: Block) -> None:
        await verify_next_block(block, self._sink, f"the sequencer {self._endpoint}")
        number = block.header.number
        codes = b"".join(block.metadata[TRANSACTIONS_FILTER : TRANSACTIONS_FILTER + 1])
        if len(codes) != len(block.data):
            raise BlockError(
                f"block {number} came without the sequencer's validation codes; "
                "only committed blocks can be followed"
            )
        before = self._sink.configuration
        await self._sink.accept(block, ExpectedOutcome(codes, commit_hash_of(block)))
        if not self._has_sequencer:
            raise _Interrupted(f"block {number} gives the channel another engine than solo")
        if self._sink.configuration is not before and not self._is_dialled(*self._where()):
            raise _Interrupted(f"block {number} names another way to the node that orders")
