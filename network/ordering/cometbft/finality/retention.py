"""How far back CometBFT must keep its own blocks.

The node keeps the channel's blocks itself and for ever, so CometBFT's copies may go once nobody
needs them: a record of finality that is still to be fetched, a node that lags and catches up by
block sync, one that joins and checks headers up to a snapshot, evidence of a double vote. For the
latter CometBFT keeps headers and commits of its own accord as long as they count, however far its
blocks are pruned (its `PruneBlocks`).

Source: CometBFT v0.38 store/store.go, spec/abci/abci++_methods.md (`retain_height`).
"""

from __future__ import annotations

from typing import Final

from network.ordering.cometbft.genesis import EVIDENCE_AGE_BLOCKS

__all__ = ["KEPT_HEIGHTS", "retain_height"]

KEPT_HEIGHTS: Final = EVIDENCE_AGE_BLOCKS
"""Heights that are kept in any case: a node that lags by fewer catches up by block sync."""


def retain_height(
    committed: int, recorded: int, oldest_snapshot: int | None, *, kept: int = KEPT_HEIGHTS
) -> int:
    """Return the lowest height that CometBFT must keep, as a Commit answers it.

    Args:
        committed: CometBFT's height that is committed.
        recorded: up to which height every block has its finality record, `FinalityKeeper.recorded`;
            0 if that is not known yet.
        oldest_snapshot: CometBFT's height of the oldest snapshot that this node offers, if any.
        kept: how many heights are kept in any case.
    Returns:
        0 where nothing may be pruned.
    """
    lowest = min(committed - kept, recorded)
    if oldest_snapshot is not None:
        lowest = min(lowest, oldest_snapshot)
    return max(lowest, 0)
