"""Blocks by number: the index in the database over the records of the segment files."""

from __future__ import annotations

from collections.abc import Callable

from ledger.blocks.block import Block
from ledger.blocks.segments import SegmentLog
from ledger.errors import BlockError, CorruptionError
from ledger.state.keys import decode_location, number_key


class StoredBlocks:
    """The blocks of one channel; may be read from several threads.

    Args:
        log: the records, one a block, filed under its number.
    """

    def __init__(self, log: SegmentLog) -> None:
        self._log = log

    def load_bytes(self, get: Callable[[bytes], bytes | None], number: int) -> bytes | None:
        """Return the marshalled block *number* as it is stored, None if *get* finds no such block.

        Raises:
            CorruptionError: what stands at its place is not what was written.
        """
        raw = get(number_key(number))
        return None if raw is None else self._log.read(decode_location(raw), number)

    def load(self, get: Callable[[bytes], bytes | None], number: int) -> Block | None:
        """Return block *number*, None if *get*, which reads the index, finds no such block.

        Raises:
            CorruptionError: what stands at its place is not what was written.
        """
        raw = self.load_bytes(get, number)
        return None if raw is None else decode_stored_block(raw, number)


def decode_stored_block(raw: bytes, number: int) -> Block:
    """Return the block that a record of this log holds.

    Raises:
        CorruptionError: it is none, though its checksum is right.
    """
    try:
        return Block.decode(raw)
    except BlockError as error:
        raise CorruptionError(
            f"the record of block {number} holds no block: {error}; restore the ledger from a "
            "backup, or fetch the channel anew from another member"
        ) from error
