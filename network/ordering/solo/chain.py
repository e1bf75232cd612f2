"""Whether a block that another node sends belongs to the chain of this one.

A block that orderers of the channel signed and that follows another block than this node's last one
proves that there are two chains, which nobody but a person can put right.
"""

from __future__ import annotations

import asyncio

from ledger.blocks.block import Block
from network.errors import Divergence
from network.ordering.block_signature import verify_block_signature
from network.ordering.ports import BlockSink

__all__ = ["verify_next_block", "verify_same_block"]


async def verify_next_block(block: Block, sink: BlockSink, source: str) -> None:
    """Check the signature of *block*, and that it follows the last block of *sink* if it is next.

    Args:
        source: who sent it, for the messages.
    Raises:
        BlockError: its signatures do not satisfy the channel's policy.
        Divergence: it follows another block than this node's last one.
    """
    await asyncio.to_thread(verify_block_signature, block, sink.configuration)
    number = block.header.number
    if number == sink.height and block.header.previous_hash != sink.last_header_hash:
        raise _two_chains(number, source, number - 1, block.header.previous_hash, sink)


async def verify_same_block(block: Block, sink: BlockSink, source: str) -> None:
    """Check that *block*, of the number of this node's last block, is that block.

    Raises:
        BlockError: it is another one that no orderer signed.
        Divergence: it is another one, and signed.
    """
    found = block.header.hash()
    if found != sink.last_header_hash:
        await asyncio.to_thread(verify_block_signature, block, sink.configuration)
        raise _two_chains(block.header.number, source, block.header.number, found, sink)


def _two_chains(
    number: int, source: str, differing: int, header_hash: bytes, sink: BlockSink
) -> Divergence:
    what = "is" if differing == number else f"follows a block {differing}"
    return Divergence(
        f"block {number}, which {source} sent and an orderer signed, {what} with header hash "
        f"{header_hash.hex()}; this node's has {sink.last_header_hash.hex()}. There are two "
        "chains: compare them with those of the other members before anything else"
    )
