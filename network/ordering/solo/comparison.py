"""What a sequencer does before it orders: compare its ledger with those of the other members.

A sequencer whose ledger was restored from an old copy would give numbers out a second time, to
other blocks: a fork, at which every follower halts. So it asks the other members' nodes for their
newest blocks. What they hold above its own height it signed itself; it takes it, verified as a
follower verifies it, and only then orders.

Invariants:
- While a member holds a validly signed block that is not here, nothing is ordered.
- After a restore nothing is ordered until another member's node has been compared with. Otherwise
  a member that does not answer is passed over: a node that was away can be behind, and one that
  hangs must not stop the channel.
- What others say came out of a block is not believed: this node judges it for itself, so that no
  single member can halt the one that orders.

Absent: comparing with members that are away. A restored sequencer that reaches only members which
are behind themselves cannot know of the blocks that it lacks.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping

from ledger.blocks.block import Block
from ledger.errors import BlockError, Unavailable
from network.ordering.block_signature import verify_block_signature
from network.ordering.ports import BlockSink, OtherNodes
from network.ordering.solo.chain import verify_next_block, verify_same_block

__all__ = ["compare_with_others"]

PAUSE_FIRST_S = 0.2
PAUSE_MOST_S = 5.0

logger = logging.getLogger(__name__)

Wait = Callable[[str], None]
"""Told why nothing can be ordered yet, in words for the operator."""


async def compare_with_others(sink: BlockSink, others: OtherNodes, wait: Wait) -> None:
    """Return as soon as this node may order, with all blocks taken that it lacked.

    Raises:
        Fatal: another member holds another chain, or a block cannot be written.
    """
    pause = PAUSE_FIRST_S
    while True:
        reason = await _compare_once(sink, others, wait)
        if not reason:
            others.compared()
            return
        wait(reason)
        await asyncio.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(pause * 2, PAUSE_MOST_S)


async def _compare_once(sink: BlockSink, others: OtherNodes, wait: Wait) -> str:
    """Ask everybody once and take what is lacking; return why nothing may be ordered, or ''."""
    asked = others.msp_ids()
    newest = await _newest_blocks(others)
    compared = 0
    for msp_id, block in sorted(newest.items(), key=lambda found: -found[1].header.number):
        try:
            if block.header.number >= sink.height:
                await _take(sink, others, msp_id, block.header.number, wait)
            elif block.header.number == sink.height - 1:
                await verify_same_block(block, sink, _node_of(msp_id))
            compared += 1
        except (BlockError, Unavailable) as error:
            logger.warning("comparing with %s failed: %s", _node_of(msp_id), error)
    lacking = [msp_id for msp_id, block in newest.items() if await _is_lacking(block, sink)]
    if lacking:
        return (
            f"{_node_of(lacking[0])} holds blocks of this orderer that this node lacks, and they "
            f"could not be taken yet (height {sink.height}); see the log"
        )
    if asked and not compared and others.restored:
        return (
            "this node's ledger was restored from a backup, and no other member's node has been "
            "reached that could hold newer blocks: start one of "
            f"{', '.join(sorted(asked))}, or look at the log"
        )
    return ""


async def _newest_blocks(others: OtherNodes) -> Mapping[str, Block]:
    """Ask all members at once; those that do not answer are left out."""

    async def ask(msp_id: str) -> tuple[str, Block | None]:
        try:
            return msp_id, await others.newest(msp_id)
        except (BlockError, Unavailable) as error:
            logger.info("%s cannot be compared with: %s", _node_of(msp_id), error)
            return msp_id, None

    answers = await asyncio.gather(*(ask(msp_id) for msp_id in others.msp_ids()))
    return {msp_id: block for msp_id, block in answers if block is not None}


async def _take(sink: BlockSink, others: OtherNodes, msp_id: str, last: int, wait: Wait) -> None:
    """Commit the blocks up to *last* that a member's node holds and this one lacks.

    Raises:
        BlockError: it sent one that is none of this channel's, or not the next one.
        Unavailable: it stopped answering.
        Fatal: there are two chains, or a block cannot be written.
    """
    first = sink.height
    async for block in others.blocks(msp_id, first, last):
        await verify_next_block(block, sink, _node_of(msp_id))
        if block.header.number == first:
            wait(f"taking blocks {first} to {last}, which this node lacks, from {_node_of(msp_id)}")
        await sink.accept(block)
    if sink.height <= last:
        raise Unavailable(f"its blocks ended at {sink.height - 1}, before {last}")
    logger.warning("took blocks %d to %d from %s", first, last, _node_of(msp_id))


async def _is_lacking(block: Block, sink: BlockSink) -> bool:
    """Tell whether orderers signed *block* and it is not here."""
    if block.header.number < sink.height:
        return False
    try:
        await asyncio.to_thread(verify_block_signature, block, sink.configuration)
    except BlockError:
        return False
    return True


def _node_of(msp_id: str) -> str:
    return f"the node of {msp_id}"
