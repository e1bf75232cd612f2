"""The engine `cometbft` of one node, as the node sees it.

CometBFT goes by the channel configuration in force, or by the one with which the node joined while
its ledger has not come so far: peers, keys and sizes. When a configuration changes one of them,
CometBFT is started anew, on one node after another, so that the others can agree meanwhile; at once
where it is this node's own key that changes.

Invariants:
- An error of the application ends the engine: CometBFT is stopped, nothing is taken any more and
  the reason is said. Only what is fatal halts the channel.
- CometBFT saying that the validators agreed on another state than this node's halts the channel.

Absent: the parts at work (`running.py`), the channel's other engine and the change between them
(`network.ordering.switch`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from ledger.errors import Fatal, LedgerError, Unavailable
from network.certificates.consensus import ConsensusKeys
from network.configuration import ChannelConfiguration
from network.errors import OrderingUnavailable
from network.msp import SigningIdentity
from network.ordering.cometbft.errors import CometUnavailable
from network.ordering.cometbft.genesis import chain_id_of, render_genesis, starting_block
from network.ordering.cometbft.joining.beginning import Beginning
from network.ordering.cometbft.joining.light_rpc import OtherComets
from network.ordering.cometbft.joining.snapshot_chain import JoinableSink
from network.ordering.cometbft.joining.snapshots import Snapshots, record_verifier
from network.ordering.cometbft.ports import BundleTakers, RecordGivers
from network.ordering.cometbft.process.binary import find_binary, verify_protocols
from network.ordering.cometbft.process.home import HomeSettings
from network.ordering.cometbft.process.settings import (
    EngineSettings,
    changes_own_keys,
    home_settings,
    needs_restart,
)
from network.ordering.cometbft.running import RunningComet
from network.ordering.cometbft.validators import CONSENSUS_TYPE, validators_of
from network.ordering.ports import Clock, OrderingStatus

__all__ = ["CometEngine"]

STAGGER_S: Final = 5.0
"""Between the restarts of CometBFT on two nodes, when a configuration demands them."""

logger = logging.getLogger(__name__)


class CometEngine:
    """Implements `network.ordering.ports.OrderingEngine` by a CometBFT process of this node.

    Args:
        sink: this node's committer.
        signer: the node's identity; it signs bundles.
        clock: what certificates of what waits are compared with.
        settings: what the node says of its CometBFT.
        keys: reads the consensus keys in the node's folder.
        newest: the newest configuration that the node knows of.
        others: the CometBFTs beside the other members' nodes.
        records: these nodes, for finality records that this one lacks; left out, none are asked.
        takers: these nodes, which are given the bundles of this one; left out, none are.
    """

    def __init__(
        self,
        sink: JoinableSink,
        signer: SigningIdentity,
        clock: Clock,
        settings: EngineSettings,
        *,
        keys: Callable[[], ConsensusKeys],
        newest: Callable[[], ChannelConfiguration],
        others: OtherComets,
        records: RecordGivers | None = None,
        takers: BundleTakers | None = None,
    ) -> None:
        self._sink = sink
        self._signer = signer
        self._clock = clock
        self._settings = settings
        self._keys = keys
        self._newest = newest
        self._others = others
        self._records = records
        self._takers = takers
        self._running: RunningComet | None = None
        self._over = "the engine has not been started"
        self._following: asyncio.Task[None] | None = None
        self._giving_up: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to take part; CometBFT comes up in the background.

        Raises:
            ConfigurationError: the channel has no consenter with this node's keys.
            HomeError: CometBFT cannot be run here.
            Fatal: the ledger is damaged.
        """
        if self._running is not None:
            return
        running = await asyncio.to_thread(self._make)
        self._over = ""
        self._running = running
        try:
            await running.start()
        except BaseException:
            self._running = None
            await running.stop()
            raise
        self._following = asyncio.create_task(
            self._follow_configuration(running), name="CometBFT: configuration"
        )
        self._following.add_done_callback(self._ended)

    def _make(self) -> RunningComet:
        """Make everything from the ledger, which is read for it."""
        binary = find_binary(self._settings.binary)
        verify_protocols(binary)
        starting = starting_block(self._sink.stored_block, self._sink.height - 1)
        genesis = render_genesis(self._sink.channel_id, starting)
        first = self._sink.stored_block(0)
        assert first is not None, "a channel begins with its genesis block"
        settings = self._settings
        chain_id = chain_id_of(self._sink.channel_id, starting)
        beginning = Beginning(
            settings.home,
            self._sink,
            chain_id,
            settings.marks,
            settings.restored,
            self._others,
            settings.begin_with,
        )
        return RunningComet(
            self._sink,
            self._signer,
            self._clock,
            starting,
            binary=binary,
            home=settings.home,
            told=self._told(genesis),
            msp_id=settings.msp_id,
            may_connect=self._may_connect,
            on_failure=self._failed,
            beginning=beginning,
            snapshots=Snapshots(
                self._sink,
                first.header.hash(),
                record_verifier(chain_id),
                settings.snapshots,
                beginning.restored,
            ),
            records=self._records,
            takers=self._takers,
        )

    async def stop(self) -> None:
        """Take no more, end CometBFT, then the application."""
        running, self._running = self._running, None
        if running is None:
            return
        self._over = self._over or "the engine is being stopped"
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        if self._giving_up is not None:
            await asyncio.gather(self._giving_up, return_exceptions=True)
        await running.stop()

    async def submit(self, envelope: bytes) -> None:
        """Have one envelope ordered; return when its block is durable in this node's ledger."""
        if self._over or self._running is None:
            raise OrderingUnavailable(f"nothing can be submitted now: {self._over}")
        await self._running.submit(envelope)

    async def call(self, method: str, params: Mapping[str, Any]) -> Any:
        """Return the result of a method of CometBFT's RPC.

        Raises:
            CometUnavailable: CometBFT does not answer, or does not run.
            CometRefusal: it answers with an error.
        """
        if self._running is None:
            raise CometUnavailable("this node's CometBFT does not run")
        return await self._running.call(method, params)

    def take_bundle(self, msp_id: str, raw: bytes) -> None:
        """Take a bundle that another member's node gives."""
        if self._running is not None:
            self._running.take_bundle(msp_id, raw)

    async def newest_snapshot(self) -> int:
        """Return the number of the last block of the newest snapshot, 0 if there is none."""
        if self._running is None or self._running.snapshots is None:
            return 0
        return await self._running.snapshots.newest_block()

    def status(self) -> OrderingStatus:
        """Return how the agreement stands."""
        running = self._running
        reason = self._over or ("" if running is None else running.bundler.why_not)
        members = {each.msp_id for each in self._sink.configuration.consenters}
        return OrderingStatus(
            engine=CONSENSUS_TYPE,
            role="validator" if self._settings.msp_id in members else "full node",
            accepting=not reason,
            reason=reason,
            queued=0 if running is None else running.bundler.queued,
            endpoint="",
            consensus=None if running is None else running.state(),
        )

    def _told(self, genesis: bytes) -> HomeSettings:
        return home_settings(self._settings, self._newest(), self._keys(), genesis)

    def _may_connect(self, node_id: str) -> bool:
        return any(each.node_id == node_id for each in validators_of(self._newest()))

    async def _follow_configuration(self, running: RunningComet) -> None:
        """Start CometBFT anew whenever a configuration changes what it was told."""
        sequence = self._sink.configuration.sequence
        while True:
            try:
                sequence = (await self._sink.wait_for_configuration(sequence)).sequence
            except Unavailable:
                return
            try:
                told = await asyncio.to_thread(self._told, running.told.genesis)
            except LedgerError as error:
                logger.error("CometBFT keeps its settings: %s", error)
                continue
            if not needs_restart(running.told, told):
                continue
            if not changes_own_keys(running.told, told):
                # While its ledger is behind, its member may not be among them.
                members = {each.msp_id for each in validators_of(self._sink.configuration)}
                turn = sum(each < self._settings.msp_id for each in members)
                await asyncio.sleep(turn * STAGGER_S)
            logger.info("CometBFT is started anew, with the settings of the new configuration")
            running.restart(told)

    def _failed(self, error: Exception) -> None:
        """Hear that the work cannot go on."""
        if self._over:
            return
        self._over = f"the engine stopped: {error}; when its cause is mended, restart the node"
        logger.critical("%s", self._over, exc_info=None if isinstance(error, Fatal) else error)
        if isinstance(error, Fatal):
            self._sink.halt(error)
        if self._running is not None:
            self._giving_up = asyncio.create_task(self._running.stop(), name="CometBFT: the end")

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Say so if watching ended by an error; it must not look alive."""
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, Exception):
            self._failed(error)
