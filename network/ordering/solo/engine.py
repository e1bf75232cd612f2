"""The engine `solo` of one node: it orders or it follows, as the channel configuration says.

The configuration names the node that orders by its first orderer endpoint. When an update moves
that, the configuration block is the last one that the old node makes: it stops ordering with it,
and the new one begins as soon as it has committed it, after comparing its ledger with the others'.
Every other node goes on following, at the new address. When an update gives the channel another
engine, this one's part stays as it is until it is stopped.

Invariants: at most one of sequencer and follower is at work; what is submitted while one gives way
to the other is refused as unavailable, never lost unsaid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from network.configuration import ChannelConfiguration
from network.ordering.ports import BlockSink, OrderingEngine
from network.ordering.switch import Choice, EngineSwitch

__all__ = ["CONSENSUS_TYPE", "SoloEngine"]

CONSENSUS_TYPE: Final = "solo"
"""Name of the engine in a channel configuration's ConsensusType."""


class SoloEngine(EngineSwitch[bool]):
    """Implements `network.ordering.ports.OrderingEngine` by one of two others.

    Args:
        sink: this node's committer.
        orders: whether a configuration lets this node order.
        sequencer: makes the engine that orders, for one time of ordering.
        follower: makes the engine that follows.
    """

    def __init__(
        self,
        sink: BlockSink,
        orders: Callable[[ChannelConfiguration], bool],
        sequencer: Callable[[], OrderingEngine],
        follower: Callable[[], OrderingEngine],
    ) -> None:
        def part(configuration: ChannelConfiguration) -> bool:
            if configuration.consensus_type != CONSENSUS_TYPE:
                return self._present
            return orders(configuration)

        self._present = orders(sink.configuration)
        super().__init__(
            sink,
            part,
            {
                True: Choice(sequencer, "this node begins to order"),
                False: Choice(follower, "this node begins to follow"),
            },
        )
