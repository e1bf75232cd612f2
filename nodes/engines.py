"""Which engine orders a node's channel, made of the node's parts.

The channel configuration in force says which: `solo`, in which this node orders if the first
orderer endpoint is its own node port and else follows that endpoint, or `cometbft`, in which it
takes part if its member has a consenter and else follows the nodes of those that have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from network.certificates.consensus import CONSENSUS_FOLDER, consensus_keys
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError
from network.msp import SigningIdentity
from network.ordering.cometbft.engine import CometEngine
from network.ordering.cometbft.errors import CometUnavailable
from network.ordering.cometbft.full_node import FullNode
from network.ordering.cometbft.joining.snapshot_chain import SnapshotSettings
from network.ordering.cometbft.process.settings import EngineSettings
from network.ordering.cometbft.validators import CONSENSUS_TYPE as COMETBFT
from network.ordering.ports import OrderingEngine
from network.ordering.solo import CONSENSUS_TYPE as SOLO
from network.ordering.solo import Follower, Sequencer, SoloEngine
from network.ordering.switch import Choice, EngineSwitch
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.configuration import NodeConfiguration
from nodes.gateway.members import Members
from nodes.membership import Membership
from nodes.orderer.consensus import OtherMembersComets
from nodes.orderer.others import RESTORED_FILE, OtherMembersNodes

__all__ = ["COMET_FOLDER", "Engines"]

COMET_FOLDER = "comet"


class Engines:
    """Makes the engine of one node; see the module's docstring.

    It also implements `nodes.orderer.consensus.ServedComet`, since engines come and go.

    Args:
        folder: of the node.
        configuration: what `node.toml` says.
        channel, membership, members, signer, clock: parts of the node.
    """

    def __init__(
        self,
        folder: Path,
        configuration: NodeConfiguration,
        *,
        channel: Channel,
        membership: Membership,
        members: Members,
        signer: SigningIdentity,
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._configuration = configuration
        self._channel = channel
        self._membership = membership
        self._members = members
        self._signer = signer
        self._clock = clock
        self._comet_engine: CometEngine | None = None

    def chosen(self) -> OrderingEngine:
        """Return the engine that follows the configuration's choice."""
        return EngineSwitch(
            self._channel,
            lambda configuration: configuration.consensus_type,
            {
                SOLO: Choice(self._solo, "the channel is ordered by solo from here on"),
                COMETBFT: Choice(self._cometbft, "the channel is ordered by CometBFT from here on"),
            },
        )

    def _solo(self) -> OrderingEngine:
        return SoloEngine(self._channel, self._orders, self._sequencer, self._follower)

    def _cometbft(self) -> OrderingEngine:
        return EngineSwitch(
            self._channel,
            self._has_consenter,
            {
                True: Choice(self._comet, "this node begins to take part in ordering"),
                False: Choice(self._full_node, "this node begins to follow those that order"),
            },
        )

    def _has_consenter(self, configuration: ChannelConfiguration) -> bool:
        """Tell whether this node's member orders, by a configuration or a newer one it knows."""
        known = self._membership.newest(configuration)
        return any(each.msp_id == self._configuration.msp_id for each in known.consenters)

    def _full_node(self) -> OrderingEngine:
        return FullNode(
            self._channel,
            self._signer,
            self._clock,
            tls=self._membership.tls_to,
            newest=self._membership.configuration,
            records=OtherMembersComets(lambda: self._members),
        )

    def _comet(self) -> OrderingEngine:
        consensus = self._configuration.consensus
        if consensus is None:
            raise ConfigurationError(
                f"channel {self._channel.channel_id} is ordered by CometBFT, and node.toml in "
                f"{self._folder} has no section [consensus]: give the node its keys and an address "
                "with `qist node consensus`"
            )
        others = OtherMembersComets(lambda: self._members)
        engine = self._comet_engine = CometEngine(
            self._channel,
            self._signer,
            self._clock,
            EngineSettings(
                name=self._configuration.name,
                msp_id=self._configuration.msp_id,
                home=self._folder / COMET_FOLDER,
                binary=consensus.binary,
                listen=consensus.listen,
                address=consensus.reachable,
                profile=consensus.profile,
                marks=self._folder / CONSENSUS_FOLDER,
                restored=self._folder / RESTORED_FILE,
                snapshots=SnapshotSettings(consensus.snapshot_interval_blocks),
                begin_with=consensus.begin_with,
            ),
            keys=lambda: consensus_keys(self._folder),
            newest=self._membership.configuration,
            others=others,
            records=others,
            takers=others,
        )
        return engine

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Ask this node's CometBFT (`nodes.orderer.consensus.ServedComet`)."""
        if self._comet_engine is None:
            raise CometUnavailable("this node has no CometBFT")
        return await self._comet_engine.call(method, params)

    def take_bundle(self, msp_id: str, raw: bytes) -> None:
        """Take a bundle that a member's node gives; without CometBFT nothing comes of it."""
        if self._comet_engine is not None:
            self._comet_engine.take_bundle(msp_id, raw)

    async def newest_snapshot(self) -> int:
        """Return the last block of the newest snapshot; 0 if there is none."""
        return 0 if self._comet_engine is None else await self._comet_engine.newest_snapshot()

    def _orders(self, configuration: ChannelConfiguration) -> bool:
        """Tell whether a configuration has this node order a solo channel."""
        if configuration.consensus_type != SOLO:
            return False
        host, port = self._membership.orderer_endpoint(configuration)
        return f"{host}:{port}" == self._configuration.node.reachable

    def _sequencer(self) -> OrderingEngine:
        others = OtherMembersNodes(
            self._channel.channel_id,
            self._members,
            self._signer,
            self._membership.tls_to,
            self._clock,
            self._folder,
        )
        return Sequencer(
            self._channel, self._signer, self._clock, others=others, orders=self._orders
        )

    def _follower(self) -> OrderingEngine:
        return Follower(
            self._channel,
            self._signer,
            self._membership.tls_to_orderer,
            self._clock,
            endpoint=self._membership.orderer_endpoint,
        )
