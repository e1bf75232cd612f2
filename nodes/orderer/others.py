"""The blocks of the other members' nodes, for the sequencer's comparison before it orders.

They are asked over their node ports, by the Deliver that followers use, each connection made for
the one question. Each is trusted to be the member whose TLS authority it shows, and no further.

The file `restored` in the node's folder says that its ledger came from a backup (`node restore`
writes it); it is removed once the ledger has been compared with that of another member.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from ledger.blocks.block import Block
from ledger.errors import LedgerError, Unavailable
from network.configuration.values import target_of
from network.msp import SigningIdentity
from network.ordering.ports import NodeTls
from network.ordering.solo.follower import CHANNEL_OPTIONS
from network.ordering.solo.seek import DELIVER, blocks_between, newest_block, signed_seek
from network.ordering.statuses import status_name
from nodes.clock import Clock
from nodes.gateway.members import Members

__all__ = ["RESTORED_FILE", "OtherMembersNodes"]

RESTORED_FILE = "restored"
ANSWER_S = 3.0
"""How long one node may take for its next block, connection included."""


class OtherMembersNodes:
    """Implements `network.ordering.ports.OtherNodes`.

    Args:
        channel_id: of the channel.
        members: where the others are.
        signer: this node's identity, with which it asks.
        tls: how a member's node is reached, by MSP id.
        clock: what goes into the requests as their time.
        folder: of this node.
    """

    def __init__(
        self,
        channel_id: str,
        members: Members,
        signer: SigningIdentity,
        tls: Callable[[str], NodeTls],
        clock: Clock,
        folder: Path,
    ) -> None:
        self._channel_id = channel_id
        self._members = members
        self._signer = signer
        self._tls = tls
        self._clock = clock
        self._mark = folder / RESTORED_FILE

    @property
    def restored(self) -> bool:
        """Whether the mark of a restore stands."""
        return self._mark.exists()

    def compared(self) -> None:
        """Remove the mark of a restore."""
        self._mark.unlink(missing_ok=True)

    def msp_ids(self) -> Sequence[str]:
        """The other members whose nodes have an address."""
        return tuple(self._members.others())

    async def newest(self, msp_id: str) -> Block:
        """Return the newest block of a member's node."""
        async with aclosing(self._deliver(msp_id, newest_block())) as blocks:
            async for block in blocks:
                return block
        raise Unavailable(f"the node of {msp_id} sent no block")

    async def blocks(self, msp_id: str, first: int, last: int) -> AsyncIterator[Block]:
        """Yield the blocks from *first* to *last*, as far as a member's node has them."""
        async with aclosing(self._deliver(msp_id, blocks_between(first, last))) as blocks:
            async for block in blocks:
                yield block

    async def _deliver(self, msp_id: str, seek: ab_pb2.SeekInfo) -> AsyncGenerator[Block, None]:
        address = self._members.others()[msp_id].address
        try:
            tls = self._tls(msp_id)
        except LedgerError as error:
            raise Unavailable(f"{address} cannot be reached: {error}") from error
        options = (*CHANNEL_OPTIONS, *tls.options)
        target = target_of(address)
        async with grpc.aio.secure_channel(target, tls.credentials, options=options) as channel:
            request = await asyncio.to_thread(self._signed, seek, tls)
            call = channel.stream_stream(DELIVER, None, None)(_once(request))
            answers = aiter(call)
            try:
                while True:
                    async with asyncio.timeout(ANSWER_S):
                        raw = await anext(answers, None)
                    block = None if raw is None else _block_of(raw, address)
                    if block is None:
                        return
                    yield block
            except TimeoutError:
                raise Unavailable(f"{address} has not answered within {ANSWER_S:g} s") from None
            except grpc.aio.AioRpcError as error:
                words = error.details() or error.code().name
                raise Unavailable(f"{address} does not answer: {words}") from error
            finally:
                call.cancel()

    def _signed(self, seek: ab_pb2.SeekInfo, tls: NodeTls) -> bytes:
        return signed_seek(
            seek,
            channel_id=self._channel_id,
            signer=self._signer,
            certificate_der=tls.certificate_der,
            now=self._clock.now(),
        )


async def _once(request: bytes) -> AsyncIterator[bytes]:
    yield request


def _block_of(raw: Any, address: str) -> Block | None:
    """Return the block in a response; None where the server says that this was all.

    Raises:
        Unavailable: the server refused, or sent something else.
        BlockError: the block cannot be read.
    """
    try:
        response = ab_pb2.DeliverResponse.FromString(raw)
    except DecodeError:
        raise Unavailable(f"{address} sent what is no DeliverResponse") from None
    if response.WhichOneof("Type") == "block":
        return Block.from_message(response.block)
    if response.status not in (common_pb2.SUCCESS, common_pb2.NOT_FOUND):
        raise Unavailable(
            f"{address} delivers no blocks: {status_name(int(response.status))}; see its log, and "
            "this node's certificates and clock"
        )
    return None
