"""A real CometBFT process with our ABCI server: blocks are made, and either side may be killed."""

from __future__ import annotations

from pathlib import Path

from tests.support.comet import CometNode


async def test_comet_chain_given_transactions_makes_blocks(tmp_path: Path) -> None:
    """A transaction is checked, proposed, decided and committed; what is known is said to be."""
    async with CometNode(tmp_path) as node:
        await node.answers()
        first = await node.rpc.broadcast_tx(b"one")
        assert (first.code, first.known) == (0, False)
        await node.reached(1)
        assert node.application.transactions == [b"one"]
        refused = await node.rpc.broadcast_tx(b"no entry")
        assert (refused.code, refused.log) == (7, "refused by its first letters")
        again = await node.rpc.broadcast_tx(b"one")
        assert again.known
    assert node.failures == []
    assert node.exits == []
