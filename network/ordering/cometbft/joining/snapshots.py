"""State sync: giving other nodes the chain as it is stored here, and taking it from them.

What is given is the blocks that CometBFT ordered, with their verdicts, and the finality record of
each. What is taken is judged block by block before it is written:

    decode → follows the last header → finality record verified under the configuration before it,
    its app hash is that of the block → committed with the recorded verdicts → record filed

So nothing that a lying node sends is ever written; the node is refused, and the chunk is asked of
another one. Blocks that are here already are passed over; a node that was killed in the middle
goes on where it stopped. The blocks before CometBFT's first are here before its process starts,
since its chain begins with the last of them (`genesis.py`).

Invariants: at most one chunk is in memory; a snapshot is offered only if every record up to its
last block is here, and CometBFT has the two headers behind it; what was restored is said to
CometBFT (`restored`) only once the app hash of its last block is the one that its light client
has verified.

Absent: the world state, which follows from the blocks; private data, which the reconciler asks
for; CometBFT's own blocks, of which it fetches those behind the snapshot itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of
from ledger.blocks.structure import is_config_block
from ledger.errors import Refusal
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration
from network.errors import Divergence
from network.ordering.cometbft.blocks.app_hash import compute_app_hash
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.finality.records import verify_record
from network.ordering.cometbft.genesis import configuration_blocks
from network.ordering.cometbft.joining.snapshot_chain import (
    FINALITY,
    Snapshot,
    SnapshotChain,
    SnapshotSettings,
    VerifyBlock,
)
from network.ordering.cometbft.joining.snapshot_format import (
    SnapshotDescription,
    SnapshotError,
    StoredBlock,
    decode_chunk,
    tail_of,
)
from network.ordering.cometbft.joining.snapshot_giving import GivenSnapshots, block_of

__all__ = [
    "FINALITY",
    "AppliedChunk",
    "ApplyResult",
    "OfferResult",
    "Restored",
    "Snapshot",
    "SnapshotChain",
    "SnapshotSettings",
    "Snapshots",
    "VerifyBlock",
    "record_verifier",
]

log = logging.getLogger(__name__)


class OfferResult(IntEnum):
    """The answer to a snapshot that is offered; numbers of ABCI."""

    ACCEPT = 1
    ABORT = 2
    REJECT = 3
    REJECT_FORMAT = 4
    REJECT_SENDER = 5


class ApplyResult(IntEnum):
    """The answer to a chunk; numbers of ABCI."""

    ACCEPT = 1
    ABORT = 2
    RETRY = 3
    RETRY_SNAPSHOT = 4
    REJECT_SNAPSHOT = 5


@dataclass(frozen=True, slots=True)
class AppliedChunk:
    """What came of a chunk.

    Attributes:
        refetch: places of chunks that CometBFT is to fetch again.
        reject_senders: ids of nodes that it is to ask no more.
    """

    result: ApplyResult
    refetch: tuple[int, ...] = ()
    reject_senders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """Where CometBFT goes on after a state sync, also where the chain here is longer.

    Attributes:
        height: CometBFT's.
        app_hash: after it.
    """

    height: int
    app_hash: bytes


class _Gap(SnapshotError):
    """Blocks are missing before the ones that were sent."""


@dataclass(slots=True)
class _Sync:
    """A snapshot that is being taken.

    Attributes:
        previous: place and sender of the chunk that was taken last.
    """

    description: SnapshotDescription
    target: Restored
    chunks: int
    previous: tuple[int, str] | None = None


class Snapshots:
    """The snapshots of one channel.

    Args:
        chain: the chain of this node.
        genesis_hash: header hash of its genesis block.
        verify: judges blocks that are taken.
        settings: which snapshots there are.
        on_restored: told CometBFT's height of a snapshot when it has been taken, in a thread, and
            before CometBFT hears of it.

    Attributes:
        restored: where CometBFT goes on; None unless a snapshot was taken since the start.
    """

    def __init__(
        self,
        chain: SnapshotChain,
        genesis_hash: bytes,
        verify: VerifyBlock,
        settings: SnapshotSettings,
        on_restored: Callable[[int], None] = lambda _height: None,
    ) -> None:
        self.restored: Restored | None = None
        self._chain = chain
        self._genesis_hash = genesis_hash
        self._verify = verify
        self._on_restored = on_restored
        self._given = GivenSnapshots(chain, genesis_hash, settings)
        self._sync: _Sync | None = None

    # ---- giving

    async def list_snapshots(self) -> list[Snapshot]:
        """Return the snapshots that others may take: whole and tails of the newest, then older."""
        return await asyncio.to_thread(self._given.snapshots)

    async def load_chunk(self, height: int, format: int, chunk: int) -> bytes:
        """Return a chunk of a snapshot, empty if this node has none such.

        Args:
            height: CometBFT's, of the snapshot.
            format: of the snapshot.
            chunk: place of the chunk, from 0.
        """
        return await asyncio.to_thread(self._given.load_chunk, height, format, chunk)

    async def newest_block(self) -> int:
        """Return the number of the last block of the newest snapshot, 0 if there is none."""
        return await asyncio.to_thread(self._given.newest_block)

    async def oldest_height(self) -> int:
        """Return CometBFT's height of the oldest snapshot that is offered; 0 if none is.

        What CometBFT needs to go on behind it must not be pruned.
        """
        return await asyncio.to_thread(self._given.oldest_height)

    # ---- taking

    async def offer(self, snapshot: Snapshot, app_hash: bytes) -> OfferResult:
        """Decide whether a snapshot is taken.

        Args:
            snapshot: as other nodes offer it.
            app_hash: at its height, as CometBFT's light client has verified it.
        Raises:
            Divergence: its last block is here, and is another one than the validators signed.
        """
        self._sync = None
        if tail_of(snapshot.format) is None:
            return OfferResult.REJECT_FORMAT
        try:
            description = SnapshotDescription.decode(snapshot.metadata)
        except SnapshotError as error:
            log.warning("a snapshot was offered that is none: %s", error)
            return OfferResult.REJECT_SENDER
        if description.genesis_hash != self._genesis_hash or description.hash != snapshot.hash:
            log.warning("a snapshot of another channel was offered, or one of a wrong hash")
            return OfferResult.REJECT_SENDER
        if description.first > self._chain.height:
            # A tail of what is not here; a longer one is offered too.
            return OfferResult.REJECT
        sync = _Sync(description, Restored(snapshot.height, app_hash), snapshot.chunks)
        if description.last < self._chain.height:
            try:
                await asyncio.to_thread(self._verify_end, sync)
            except SnapshotError as error:
                log.warning("a snapshot was offered that is none: %s", error)
                return OfferResult.REJECT_SENDER
        self._sync = sync
        log.info(
            "taking the snapshot of blocks %d to %d in %d chunks; the blocks below %d are here",
            description.first, description.last, snapshot.chunks, self._chain.height,
        )  # fmt: skip
        return OfferResult.ACCEPT

    async def apply_chunk(self, index: int, chunk: bytes, sender: str) -> AppliedChunk:
        """Take a chunk of the snapshot that was accepted last.

        Args:
            index: place of the chunk, from 0; they come in order.
            chunk: its bytes.
            sender: id of the node that sent it.
        Raises:
            Divergence: this chain is another one than the validators signed.
            Fatal: a write failed.
        """
        sync = self._sync
        if sync is None:
            return AppliedChunk(ApplyResult.ABORT)
        try:
            blocks = await asyncio.to_thread(decode_chunk, chunk)
            for each in blocks:
                await self._take(each, sync.description.last)
            is_last = index + 1 == sync.chunks
            if is_last and self._chain.height <= sync.description.last:
                raise SnapshotError(
                    f"the last chunk ends before block {sync.description.last}: blocks are missing"
                )
        except Refusal as error:
            return _refuse(sync, index, sender, error)
        sync.previous = index, sender
        if is_last:
            try:
                await asyncio.to_thread(self._verify_end, sync)
            except SnapshotError as error:
                # What was taken is true all the same, each block by its record.
                log.warning("the snapshot of %s is refused: %s", sender, error)
                self._sync = None
                return AppliedChunk(ApplyResult.REJECT_SNAPSHOT, reject_senders=(sender,))
            await asyncio.to_thread(self._on_restored, sync.target.height)
            self.restored, self._sync = sync.target, None
            log.info("the snapshot is restored up to block %d", sync.description.last)
        return AppliedChunk(ApplyResult.ACCEPT)

    def _verify_end(self, sync: _Sync) -> None:
        """Compare the last block with what the light client verified.

        Raises:
            SnapshotError: it is of another height, so whoever made the snapshot lied about it.
            Divergence: it is another one than the validators signed at its height.
        """
        last = sync.description.last
        block = block_of(self._chain, last)
        if comet_height_of(block) != sync.target.height:
            raise SnapshotError(
                f"a snapshot of CometBFT's height {sync.target.height} ends with block {last}, "
                f"which was ordered at height {comet_height_of(block)}"
            )
        if compute_app_hash(block) != sync.target.app_hash:
            raise Divergence(
                f"block {last} of this node is not the one that the validators signed at height "
                f"{sync.target.height} of CometBFT: this ledger is of another history. Move it "
                "away and let the node join anew"
            )

    async def _take(self, sent: StoredBlock, last: int) -> None:
        """Judge one block and commit it, or pass over it."""
        block = Block.decode(sent.raw)
        number, height = block.number, self._chain.height
        if number > last or number > height:
            raise _Gap(
                f"block {number} was sent where block {height} comes next and block {last} is last"
            )
        if number < height:
            await self._complete_evidence(block, sent)
            return
        if block.encode() != sent.raw:
            raise SnapshotError(f"block {number} is not encoded as it is stored")
        configuration = self._chain.configuration
        await asyncio.to_thread(self._verify, block, sent.record, configuration)
        await self._chain.restore(block)
        await self._file(number, sent.record)

    async def _complete_evidence(self, block: Block, sent: StoredBlock) -> None:
        """File the record of a block that is here without: killed in between, or from a backup."""
        number = block.number
        if not comet_height_of(block) or await asyncio.to_thread(self._has_record, number):
            return
        if block != await asyncio.to_thread(block_of, self._chain, number):
            raise SnapshotError(f"block {number} is another one here")
        configuration = await asyncio.to_thread(self._configuration_before, number)
        await asyncio.to_thread(self._verify, block, sent.record, configuration)
        await self._file(number, sent.record)

    async def _file(self, number: int, record: bytes) -> None:
        try:
            await self._chain.add_evidence(number, FINALITY, record)
        except Refusal:
            # One that proves as much may have been filed meanwhile.
            if not await asyncio.to_thread(self._has_record, number):
                raise

    def _has_record(self, number: int) -> bool:
        return self._chain.has_evidence(number, FINALITY)

    def _configuration_before(self, number: int) -> ChannelConfiguration:
        blocks = configuration_blocks(self._chain.stored_block, number - 1)
        return ChannelConfiguration.from_block(next(blocks))


def record_verifier(chain_id: str) -> VerifyBlock:
    """Return what judges the blocks of a chain of CometBFT by their finality records."""

    def verify(block: Block, record: bytes, before: ChannelConfiguration) -> None:
        after = None
        if is_config_block(block) and codes_of(block) == (TxValidationCode.VALID,):
            after = ChannelConfiguration.from_block(block)
        verify_record(record, block, chain_id, before, after)

    return verify


def _refuse(sync: _Sync, index: int, sender: str, error: Refusal) -> AppliedChunk:
    """Have a chunk fetched from another node.

    Where blocks are missing between two chunks, the earlier one may have ended too soon as well as
    the later one begun too late: both are fetched anew.
    """
    refetch, senders = [index], [sender]
    if isinstance(error, _Gap) and sync.previous is not None and sync.previous[0] == index - 1:
        refetch.insert(0, index - 1)
        senders.insert(0, sync.previous[1])
    log.warning(
        "chunk %d of the snapshot is refused, and %s no longer asked: %s",
        index, " and ".join(dict.fromkeys(senders)), error,
    )  # fmt: skip
    return AppliedChunk(ApplyResult.RETRY, tuple(refetch), tuple(dict.fromkeys(senders)))
