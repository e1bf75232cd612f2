"""Who ordered a block of a recording, where the engine is or becomes cometbft."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger.blocks.block import Block
from ledger.blocks.metadata import SIGNATURES
from network.configuration import ChannelConfiguration
from nodes.replay.difference import Disagreement
from nodes.replay.orderers import Orderers, remarks_on_orderers
from tests.support.voted_chain import VotedChain


def verify_all(chain: VotedChain, orderers: Orderers, blocks: list[Block]) -> list[str]:
    """Check blocks from the genesis block on, each under the configuration before it."""
    configuration = ChannelConfiguration.from_block(blocks[0])
    remarks: list[str] = []
    for block in blocks[1:]:
        remarks += orderers.verify(block, configuration)
        if block.number == chain.last_config:
            configuration = ChannelConfiguration.from_block(block)
    return remarks


def test_chain_that_moves_to_cometbft_is_checked_by_each_engines_rules() -> None:
    """Signatures before, the word of the block itself after; the configuration says so."""
    chain = VotedChain(solo=True)
    chain.transactions()
    assert remarks_on_orderers(chain.configuration) == []
    chain.migrate()
    chain.transactions()
    chain.transactions()
    assert verify_all(chain, Orderers(), chain.blocks) == []
    (remark,) = remarks_on_orderers(chain.configuration)
    assert "qist blocks verify" in remark


def test_block_of_a_solo_channel_without_signatures_is_refused() -> None:
    """That it says that CometBFT ordered it is nothing to a channel of another engine."""
    chain = VotedChain(solo=True)
    chain.transactions()
    chain.migrate()
    unsigned = chain.transactions()
    with pytest.raises(Disagreement, match="signatures do not satisfy"):
        Orderers().verify(unsigned, ChannelConfiguration.from_block(chain.blocks[0]))


def test_block_that_does_not_say_how_it_was_ordered_is_refused() -> None:
    """Nothing else ties it to a height of CometBFT."""
    chain = VotedChain()
    block = chain.transactions()
    entries = list(block.metadata)
    entries[SIGNATURES] = b""
    with pytest.raises(Disagreement, match="does not say that CometBFT ordered it"):
        Orderers().verify(replace(block, metadata=tuple(entries)), chain.configuration)


def test_heights_of_cometbft_must_rise_from_block_to_block() -> None:
    """One height makes one block."""
    chain = VotedChain()
    first, second = chain.transactions(), chain.transactions()
    orderers = Orderers()
    orderers.verify(second, chain.configuration)
    with pytest.raises(Disagreement, match="was ordered at CometBFT's height"):
        orderers.verify(first, chain.configuration)
