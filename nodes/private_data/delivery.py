"""Blocks with private data, for the clients of this node: to each what its identity may have.

Source: Fabric, core/peer/deliverevents.go (`getPrivateData`, `CheckCollectionPolicy`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor

from ledger.transactions.private import TxPrivate
from network.policy import SignedData
from nodes.channel import Channel
from nodes.committer.outcome import CommittedBlock
from nodes.deliver.encoding import encode_block_and_private_data
from nodes.private_data.access import Collections

__all__ = ["PrivateDelivery"]


class PrivateDelivery:
    """Encodes blocks for callers whose signature over their request has been verified.

    Args:
        collections: returns those under the configuration in force.
        threads: where the disk is read.
    """

    def __init__(self, collections: Callable[[], Collections], threads: Executor) -> None:
        self._collections = collections
        self._threads = threads

    async def encode(
        self, channel: Channel, caller: SignedData, committed: CommittedBlock
    ) -> bytes:
        """Return the response that carries *committed* to *caller*."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._encode, channel, caller, committed)

    def _encode(self, channel: Channel, caller: SignedData, committed: CommittedBlock) -> bytes:
        held = channel.ledger.private_data(committed.number)
        allowed: dict[int, TxPrivate] = {}
        if held:
            allowed = self._allowed(channel, caller, committed.number, held)
        return encode_block_and_private_data(committed, allowed)

    def _allowed(
        self, channel: Channel, caller: SignedData, number: int, held: Mapping[int, TxPrivate]
    ) -> dict[int, TxPrivate]:
        identity = channel.configuration.msps.deserialize(caller.identity)
        collections = self._collections()
        judged: dict[tuple[str, str], bool] = {}
        allowed: dict[int, TxPrivate] = {}
        state = channel.snapshot()
        try:
            for tx_num, writes in held.items():
                for write in writes:
                    place = (write.namespace, write.collection)
                    if place not in judged:
                        found = collections.at_block(state, *place, number)
                        judged[place] = found is not None and found.is_member(identity)
                mine = tuple(each for each in writes if judged[each.namespace, each.collection])
                if mine:
                    allowed[tx_num] = mine
        finally:
            state.close()
        return allowed
