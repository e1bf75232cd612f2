"""Blocks that are replayed out of memory, with the damage that a test wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ledger.channel import ChannelLedger
from nodes.committer.signatures import SignaturePool
from nodes.replay.difference import Recount
from nodes.replay.recording import DeliveredBlock, Recording
from nodes.replay.replay import Replay
from tests.support.recording import recorded_blocks


class BlocksAtHand(Recording):
    """A recording whose blocks are in memory."""

    def __init__(self, blocks: Sequence[bytes]) -> None:
        self.path = Path("memory")
        self.files = ()
        self._blocks = blocks

    def __iter__(self) -> Iterator[DeliveredBlock]:
        for number, raw in enumerate(self._blocks):
            yield DeliveredBlock(f"{number:06}.block", raw)


def recorded_raw(height: int) -> list[bytes]:
    """Return the first blocks of the recorded chain as the peer delivered them."""
    return [each.raw for each in recorded_blocks()[:height]]


def replay_all(
    blocks: Sequence[bytes], ledger: ChannelLedger, signatures: SignaturePool
) -> list[Recount]:
    """Replay blocks to the end or to the first difference."""
    return list(Replay(BlocksAtHand(blocks), ledger, signatures).run())
