"""Verifies finality records of one channel and files them beside their blocks.

Invariants: what is filed has been verified against the configuration in force before the block; a
record that is there already, from wherever it came, is left as it is.

Absent: where a record comes from (`keeper.py`, `gaps.py`).
"""

from __future__ import annotations

import asyncio

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of, last_config_of
from ledger.blocks.structure import is_config_block
from ledger.errors import CorruptionError, Refusal
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration
from network.ordering.cometbft.finality.finality import FINALITY
from network.ordering.cometbft.finality.records import verify_record
from network.ordering.cometbft.genesis import chain_id_of, configuration_blocks
from network.ordering.cometbft.ports import RecordSink

__all__ = ["RecordFiler"]


class RecordFiler:
    """Files the records of one channel, one at a time.

    Args:
        sink: the channel.
        starting: the block by which the channel became `cometbft`.

    Attributes:
        first: number of the block that the first record is about.
    """

    def __init__(self, sink: RecordSink, starting: Block) -> None:
        self.first = starting.number + 1
        self._sink = sink
        self._chain_id = chain_id_of(sink.channel_id, starting)
        self._named = -1
        self._configuration: ChannelConfiguration | None = None

    def stored(self, number: int) -> Block:
        """Return a committed block; reads the disk."""
        block = self._sink.stored_block(number)
        if block is None:
            raise CorruptionError(
                f"block {number} of channel {self._sink.channel_id} cannot be read, though the "
                f"height is {self._sink.height}; run fsck on the ledger"
            )
        return block

    async def file(self, block: Block, record: bytes) -> None:
        """File the record of a block, if it proves it.

        Raises:
            OtherAppHash: validators decided on another outcome of the block.
            FinalityError, DecodeError: it proves nothing.
            Fatal, Unavailable: the channel takes no evidence any more.
        """
        await asyncio.to_thread(self._verify, record, block)
        try:
            await self._sink.add_evidence(block.number, FINALITY, record)
        except Refusal:
            # Another record of the block may have come meanwhile; each proves it.
            if not await asyncio.to_thread(self._sink.evidence, block.number, FINALITY):
                raise

    def _verify(self, record: bytes, block: Block) -> None:
        after = None
        if is_config_block(block) and codes_of(block) == (TxValidationCode.VALID,):
            after = ChannelConfiguration.from_block(block)
        verify_record(record, block, self._chain_id, self._before(block.number), after)

    def _before(self, number: int) -> ChannelConfiguration:
        """Return the configuration in force before a block; the same one as long as it is."""
        named = last_config_of(self.stored(number - 1))
        if self._configuration is None or named != self._named:
            newest = next(configuration_blocks(self._sink.stored_block, number - 1))
            self._configuration = ChannelConfiguration.from_block(newest)
            self._named = named
        return self._configuration
