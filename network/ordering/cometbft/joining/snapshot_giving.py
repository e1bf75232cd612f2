"""The snapshots that a node can give to others: which there are, and their chunks.

What can be given follows from the chain alone, so nothing is made beforehand and nothing is kept;
where the chunks begin is planned once and remembered.

Invariant: whoever has begun with a snapshot can finish it, though newer ones are offered by now.
"""

from __future__ import annotations

import logging
from threading import Lock
from typing import Final

from ledger.blocks.block import Block
from ledger.errors import CorruptionError
from network.ordering.cometbft.blocks.ordered import comet_height_of
from network.ordering.cometbft.joining.snapshot_chain import (
    FINALITY,
    Snapshot,
    SnapshotChain,
    SnapshotSettings,
)
from network.ordering.cometbft.joining.snapshot_format import (
    MAX_CHUNK_BYTES,
    SnapshotDescription,
    StoredBlock,
    encode_chunk,
    format_of,
    tail_of,
)
from network.ordering.cometbft.joining.snapshot_plan import MAX_CHUNKS, ChunkPlan, Tail

__all__ = ["GivenSnapshots", "block_of"]

log = logging.getLogger(__name__)

_HEADERS_BEHIND: Final = 2
"""CometBFT needs the headers of two heights behind a snapshot's."""


def block_of(chain: SnapshotChain, number: int) -> Block:
    """Return a block that must be there."""
    block = chain.stored_block(number)
    if block is None:
        raise CorruptionError(f"block {number} is missing; run fsck on the ledger")
    return block


class GivenSnapshots:
    """The snapshots of one chain; called in threads, any of them.

    Args:
        chain: the chain of this node.
        genesis_hash: header hash of its genesis block.
        settings: which snapshots there are.
    """

    def __init__(
        self, chain: SnapshotChain, genesis_hash: bytes, settings: SnapshotSettings
    ) -> None:
        self._chain = chain
        self._genesis_hash = genesis_hash
        self._settings = settings
        self._plans: list[ChunkPlan] = []
        self._planning = Lock()
        self._first_ordered = 0
        self._complete = 1

    def snapshots(self) -> list[Snapshot]:
        """Return those that others may take: whole and tails of the newest, then older ones."""
        with self._planning:
            found: list[Snapshot] = []
            for number in self._numbers():
                height = comet_height_of(block_of(self._chain, number))
                plan, tails = self._tails(number)
                # Who is joining asks for the newest first, and for an older one seldom.
                for tail in tails if not found else tails[:1]:
                    described = SnapshotDescription(
                        self._genesis_hash, tail.first, number, plan.target_bytes
                    )
                    found.append(
                        Snapshot(
                            height, format_of(tail.number), tail.chunks, described.hash,
                            described.encode(),
                        )
                    )  # fmt: skip
            return found

    def newest_block(self) -> int:
        """Return the last block of the newest one; 0 if there is none."""
        with self._planning:
            return max(self._numbers(), default=0)

    def oldest_height(self) -> int:
        """Return CometBFT's height of the oldest one; 0 if there is none."""
        with self._planning:
            numbers = self._numbers()
            return comet_height_of(block_of(self._chain, numbers[-1])) if numbers else 0

    def _numbers(self) -> list[int]:
        """Return the last blocks of the snapshots that can be offered now, newest first."""
        interval = self._settings.interval_blocks
        # Each block is a height of CometBFT at least, so two more blocks are two more headers.
        newest = (self._chain.height - 1 - _HEADERS_BEHIND) // interval * interval
        first_ordered = self._find_first_ordered()
        if not first_ordered or newest < first_ordered:
            return []
        self._complete = max(self._complete, first_ordered)
        while self._complete <= newest and self._chain.has_evidence(self._complete, FINALITY):
            self._complete += 1
        newest = min(newest, (self._complete - 1) // interval * interval)
        oldest = max(newest - (self._settings.kept - 1) * interval, first_ordered)
        return list(range(newest, oldest - 1, -interval))

    def _find_first_ordered(self) -> int:
        """Return the number of the first block that CometBFT ordered, 0 if there is none yet."""
        low, high = 1, self._chain.height
        if not self._first_ordered:
            while low < high:
                middle = (low + high) // 2
                if comet_height_of(block_of(self._chain, middle)):
                    high = middle
                else:
                    low = middle + 1
            self._first_ordered = low if low < self._chain.height else 0
        return self._first_ordered

    def _tails(self, last: int) -> tuple[ChunkPlan, list[Tail]]:
        """Return the cuts of a snapshot, by the smallest target that keeps within the bound."""
        if not self._plans:
            first = self._find_first_ordered()
            targets = self._settings.targets_bytes
            self._plans = [ChunkPlan(self._chain, each, first) for each in targets]
        plan = next((each for each in self._plans if each.chunks(last) <= MAX_CHUNKS), None)
        plan = plan or self._plans[-1]
        return plan, [each for each in plan.tails(last) if each.chunks <= MAX_CHUNKS]

    def load_chunk(self, height: int, form: int, chunk: int) -> bytes:
        """Return a chunk, empty if there is none such; see `Snapshots.load_chunk`."""
        with self._planning:
            last = self._number_at(height)
            if last is None:
                return b""
            plan, tails = self._tails(last)
            tail = next((each for each in tails if each.number == tail_of(form)), None)
            if tail is None or not 0 <= chunk < tail.chunks:
                return b""
            numbers = plan.blocks(tail.start + chunk, last)
        raw = encode_chunk(self._stored_blocks(numbers))
        if len(raw) > MAX_CHUNK_BYTES:
            log.error(
                "blocks %d to %d take %d bytes compressed, more than CometBFT carries: a new node "
                "must begin with a copy of a member's backup that holds them",
                numbers[0], numbers[-1], len(raw),
            )  # fmt: skip
            return b""
        return raw

    def _stored_blocks(self, numbers: range) -> list[StoredBlock]:
        found: list[StoredBlock] = []
        for number in numbers:
            raw = self._chain.block_bytes(number)
            if raw is None:
                raise CorruptionError(f"block {number} is missing; run fsck on the ledger")
            found.append(StoredBlock(raw, self._chain.evidence(number, FINALITY) or b""))
        return found

    def _number_at(self, height: int) -> int | None:
        """Return the block of a snapshot by CometBFT's height, None if none ends there.

        Found by search, so that who has begun with a snapshot can finish though newer ones are
        offered by now.
        """
        interval = self._settings.interval_blocks
        low, high = 1, (self._chain.height - 1) // interval
        while low <= high:
            middle = (low + high) // 2
            found = comet_height_of(block_of(self._chain, middle * interval))
            if found == height and found:
                return middle * interval
            if found < height:
                low = middle + 1
            else:
                high = middle - 1
        return None
