"""Who put a block in order: its signatures, or, where CometBFT orders, how it says it was ordered.

Blocks that CometBFT ordered carry no signatures. What proves them is kept beside them (`qist blocks
prove`, `qist blocks verify`) and is no part of a recording; here it is checked that they say of
themselves what such a block must.
"""

from __future__ import annotations

from ledger.blocks.block import Block
from ledger.errors import BlockError
from network.configuration import ChannelConfiguration
from network.ordering.block_signature import (
    BLOCK_VALIDATION_POLICY,
    has_bft_quorum,
    verify_block_signature,
    weak_signatures,
)
from network.ordering.cometbft.blocks.ordered import ordered_of
from network.ordering.cometbft.validators import CONSENSUS_TYPE as COMETBFT
from nodes.replay.difference import Difference, Disagreement

__all__ = ["Orderers", "remarks_on_orderers"]

BFT = "BFT"


class Orderers:
    """Checks the blocks of one channel, one after another."""

    def __init__(self) -> None:
        self._comet_height = 0

    def verify(self, block: Block, configuration: ChannelConfiguration) -> list[str]:
        """Check who ordered the next block; return what no peer checks, and is odd all the same.

        Args:
            block: with a number above 0.
            configuration: in force before it.
        Raises:
            Disagreement: nobody who may has ordered it.
        """
        if configuration.consensus_type == COMETBFT:
            try:
                self._verify_ordered(block)
            except BlockError as error:
                raise _refused(block.number, "how CometBFT ordered it", error) from error
            return []
        try:
            verify_block_signature(block, configuration)
        except BlockError as error:
            raise _refused(block.number, "the orderers' signatures", error) from error
        return weak_signatures(block, configuration)

    def _verify_ordered(self, block: Block) -> None:
        ordered = ordered_of(block)
        if ordered is None:
            raise BlockError(f"block {block.number} does not say that CometBFT ordered it")
        if ordered.comet_height <= self._comet_height:
            raise BlockError(
                f"block {block.number} was ordered at CometBFT's height {ordered.comet_height}, "
                f"and the one before at {self._comet_height}"
            )
        self._comet_height = ordered.comet_height


def _refused(number: int, check: str, error: BlockError) -> Disagreement:
    return Disagreement(
        Difference(number, check, f"refused: {error}", "committed by the peer", "SIGNATURES")
    )


def remarks_on_orderers(configuration: ChannelConfiguration) -> list[str]:
    """Say what no peer checks of a configuration, and its orderers would."""
    if configuration.consensus_type == COMETBFT:
        return [
            "CometBFT orders behind this configuration and its blocks carry no signatures; that "
            "the validators agreed on them is proven by `qist blocks verify`, not by a replay"
        ]
    if configuration.consensus_type != BFT or has_bft_quorum(configuration):
        return []
    return [
        f"{BLOCK_VALIDATION_POLICY} is not the quorum of {len(configuration.consenters)} "
        "consenters that BFT orderers demand; peers take what it says"
    ]
