"""Fetching the blocks of a channel from a peer, ours or Fabric's, one file a block.

    OUT/000000.block, OUT/000001.block, …      each the marshalled `common.Block` as delivered

What is fetched is checked as it arrives: the numbers rise by one, each block names the header hash
of the block before, and its data hash is that of its envelopes. So nothing can be missing or
exchanged on the way; whether it was rightly ordered and judged is for `qist replay` to say.

Invariants: a file is there whole or not at all, so a fetch that was cut off goes on behind the last
file; a file that is there is never written again.

Source: Fabric, common/deliver (SeekInfo, statuses), FP:peer/events.proto.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from clients.gateway.blocking import Gateway
from clients.gateway.ports import Signer
from clients.gateway.requests import BlocksRequest
from ledger.blocks.block import Block, compute_data_hash
from ledger.errors import BlockError, Refusal, Unavailable

__all__ = ["BlockFolder", "block_request", "fetch_blocks"]

SUFFIX: Final = ".block"
PIECE: Final = 200
"""Blocks that are asked for in one request."""
PIECE_TIMEOUT_S: Final = 300.0
_NAME = re.compile(rf"(\d{{6,20}})\{SUFFIX}")


@dataclass(frozen=True, slots=True)
class BlockFolder:
    """A folder of fetched blocks."""

    path: Path

    def file(self, number: int) -> Path:
        """Return the file of a block."""
        return self.path / f"{number:06}{SUFFIX}"

    def numbers(self) -> list[int]:
        """Return the numbers of the blocks that are there, sorted."""
        if not self.path.is_dir():
            return []
        found = (_NAME.fullmatch(each.name) for each in self.path.iterdir())
        return sorted(int(each[1]) for each in found if each is not None)

    def load(self, number: int) -> Block:
        """Read one block.

        Raises:
            BlockError: the file holds no block of this number.
        """
        block = Block.decode(self.file(number).read_bytes())
        if block.number != number:
            raise BlockError(
                f"{self.file(number)} holds block {block.number}: remove it and fetch again"
            )
        return block

    def store(self, number: int, raw: bytes) -> None:
        """Write one block; it is on disk, or nothing is there."""
        beside = self.path / f".{number:06}.part"
        with beside.open("wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.file(number))


def fetch_blocks(
    gateway: Gateway,
    channel_id: str,
    folder: BlockFolder,
    *,
    first: int = 0,
    last: int | None = None,
    client_certificate: bytes = b"",
) -> Iterator[Block]:
    """Fetch what the folder does not hold yet, and yield each block that was written.

    Args:
        gateway: a connection to the peer, as the identity that asks.
        channel_id: the channel.
        folder: where the blocks go, and may be in part already.
        first: number of the first block that is wanted.
        last: number of the last one; the peer's newest if left out.
        client_certificate: DER of the TLS certificate that the connection shows; a peer that asks
            for one compares its hash.
    Raises:
        BlockError: what the peer sends does not follow, or the folder holds another chain.
        Unavailable: the peer sent fewer blocks than it has.
        GatewayError: the peer cannot be reached or refuses.
    """
    seek = _Seek(gateway.identity, channel_id, client_certificate)
    newest = _newest(gateway, seek)
    stop = newest if last is None else last
    if stop > newest:
        raise Refusal(
            f"the newest block of channel {channel_id} is {newest}, and up to {stop} was asked "
            "for: ask for fewer, or later"
        )
    folder.path.mkdir(parents=True, exist_ok=True)
    start, previous_hash = _continue(folder, first)
    while start <= stop:
        end = min(stop, start + PIECE - 1)
        request = seek.request(_at(start), _at(end))
        number = start
        for message in gateway.block_events(request, timeout_s=PIECE_TIMEOUT_S):
            if number > end:
                raise BlockError(
                    f"the peer goes on behind block {end}, the last one that was asked for: ask "
                    "another peer"
                )
            block = _verified(message, number, previous_hash)
            folder.store(number, message.SerializeToString())
            previous_hash = block.header.hash()
            number += 1
            yield block
        if number <= end:
            raise Unavailable(
                f"the peer ended with block {number - 1}, and block {end} was asked for: "
                "run the command again"
            )
        start = number


def block_request(
    signer: Signer, channel_id: str, number: int, client_certificate: bytes = b""
) -> BlocksRequest:
    """Return a request for one block that exists; see `fetch_blocks`."""
    position = _at(number)
    return _Seek(signer, channel_id, client_certificate).request(position, position)


def _continue(folder: BlockFolder, first: int) -> tuple[int, bytes | None]:
    """Return the number of the first block that is missing, and the hash that it must name."""
    there = folder.numbers()
    wanted = [number for number in there if number >= first]
    for place, number in enumerate(wanted):
        if number != first + place:
            raise BlockError(
                f"{folder.path} lacks block {first + place} and holds block {number}: fetch into "
                "an empty folder, or remove what is behind the gap"
            )
    number = first + len(wanted)
    before = number - 1
    if before not in there:
        return number, None if number else b""
    return number, folder.load(before).header.hash()


def _verified(message: Any, number: int, previous_hash: bytes | None) -> Block:
    block = Block.from_message(message)
    if block.number != number:
        raise BlockError(f"the peer sent block {block.number} where {number} follows: ask again")
    if previous_hash is not None and block.header.previous_hash != previous_hash:
        raise BlockError(
            f"block {number} does not name the block before as its predecessor: what was fetched "
            "before is of another chain, or this peer's is damaged"
        )
    if compute_data_hash(block.data) != block.header.data_hash:
        raise BlockError(
            f"the data hash of block {number} is not that of its data: ask another peer"
        )
    return block


def _newest(gateway: Gateway, seek: _Seek) -> int:
    position = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    request = seek.request(position, position)
    for message in gateway.block_events(request, timeout_s=PIECE_TIMEOUT_S):
        number: int = message.header.number
        return number
    raise Unavailable("the peer has no block of this channel: ask another one")


def _at(number: int) -> Any:
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=number))


@dataclass(frozen=True, slots=True)
class _Seek:
    """What every request to the peer has in common."""

    signer: Signer
    channel_id: str
    client_certificate: bytes

    def request(self, start: Any, stop: Any) -> BlocksRequest:
        """Return a request that fails at the end of the chain, and does not wait there."""
        header = common_pb2.ChannelHeader(
            type=common_pb2.DELIVER_SEEK_INFO, channel_id=self.channel_id
        )
        header.timestamp.FromDatetime(datetime.now(UTC))
        if self.client_certificate:
            header.tls_cert_hash = hashlib.sha256(self.client_certificate).digest()
        seek = ab_pb2.SeekInfo(start=start, stop=stop, behavior=ab_pb2.SeekInfo.FAIL_IF_NOT_READY)
        signature_header = common_pb2.SignatureHeader(
            creator=self.signer.serialized, nonce=os.urandom(24)
        )
        payload = common_pb2.Payload(
            header=common_pb2.Header(
                channel_header=header.SerializeToString(),
                signature_header=signature_header.SerializeToString(),
            ),
            data=seek.SerializeToString(),
        )
        return BlocksRequest(self.signer, "Deliver", payload.SerializeToString())
