"""The private data of one node: every part of it, put together.

It is what the endorser and the committer see of private data (`nodes.endorser.ports`,
`nodes.committer.ports`), what the node starts and stops, and what its status shows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from chaincode.simulator.ports import CollectionAccess
from chaincode.system.definitions import LIFECYCLE
from ledger.errors import LedgerError
from ledger.state.ports import StateReader
from ledger.state.private import BlockPrivate
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction
from ledger.transactions.private import private_collections
from network.configuration import ChannelConfiguration
from network.msp import Identity
from nodes.channel import Channel
from nodes.configuration import PrivateDataSection
from nodes.gateway.members import Members
from nodes.operations.status import PrivateDataState
from nodes.private_data.access import Collection, Collections, CreatorAccess
from nodes.private_data.delivery import PrivateDelivery
from nodes.private_data.distribution import Distribution
from nodes.private_data.gather import Gathering
from nodes.private_data.pulling import Pulling
from nodes.private_data.reconciler import Reconciler
from nodes.private_data.service import PrivateDataService
from nodes.private_data.transient import TransientStore
from nodes.rpc.concurrency import ConcurrencyLimit

__all__ = ["PrivateDataRoom"]

log = logging.getLogger(__name__)

THREADS: Final = 8
"""For the disk; those that write at once share a sync."""
PULLS_AT_ONCE: Final = 64
"""Each holds an answer in memory until it is sent."""
_SWEEP_EVERY: Final = 100
"""Blocks between two sweeps of what is too old in the transient store."""


class PrivateDataRoom:
    """The private data of one channel of a node.

    Args:
        channel: opened.
        path: folder of the transient store, made if absent.
        own: MSP id of this node's member.
        members: the other members' nodes.
        settings: from `node.toml`.

    Attributes:
        limits: of calls of other nodes at once, pushes and pulls.
        service: what other nodes call.
        delivery: blocks with private data for clients.
        transient: the store between endorsement and commit.
        reconciler: asks for what is missing.
    """

    def __init__(
        self,
        channel: Channel,
        path: Path,
        own: str,
        members: Members,
        settings: PrivateDataSection,
    ) -> None:
        self._channel = channel
        self._own = own
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._made: Collections | None = None
        pushes = ConcurrencyLimit("private data", settings.concurrency)
        pulls = ConcurrencyLimit("pulls of private data", PULLS_AT_ONCE)
        self.limits = (pushes, pulls)
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="private data")
        self._threads = threads
        self.transient = TransientStore(path)
        self._sweeper = ThreadPoolExecutor(1, thread_name_prefix="transient store")
        pulling = Pulling(channel.channel_id, members)
        self._distribution = Distribution(channel, own, self.transient, members, threads)
        self._gathering = Gathering(
            own, self.transient, pulling, lambda: self._loop, settings.pull_s
        )
        self.reconciler = Reconciler(
            channel, own, pulling, self.collections, settings.reconcile_interval_s
        )
        self.delivery = PrivateDelivery(self.collections, threads)
        self.service = PrivateDataService(
            channel, own, self.transient, self.collections, threads, pushes, pulls
        )

    def collections(self) -> Collections:
        """Return the collections under the configuration in force."""
        return self._under(self._channel.configuration)

    def _under(self, configuration: ChannelConfiguration) -> Collections:
        made = self._made
        if made is None or made.configuration is not configuration:
            made = self._made = Collections(configuration)
        return made

    def start(self) -> None:
        """Begin on the running loop; from now on a block may wait for other members."""
        self._loop = asyncio.get_running_loop()
        self._sweep(self._purge_committed)
        self.reconciler.start()

    async def stop(self) -> None:
        """Ask nobody any more; to be called while the loop still runs."""
        self._loop = None
        await self.reconciler.stop()

    def close(self) -> None:
        """Close the store; blocks the thread."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._sweeper.shutdown(wait=True)
        self.transient.close()

    def state(self) -> PrivateDataState:
        """Return what the status shows."""
        reconciler = self.reconciler
        return PrivateDataState(
            missing=reconciler.missing,
            reconciled=reconciler.reconciled,
            last_success=reconciler.last_success.isoformat(timespec="seconds")
            if reconciler.last_success
            else "",
            last_round=reconciler.last_round.isoformat(timespec="seconds")
            if reconciler.last_round
            else "",
            transient_bytes=self.transient.size_bytes,
        )

    # ---- for the endorser
    @property
    def lifecycle_policy(self) -> bytes:
        """The channel's policy for contract definitions."""
        return self.collections().lifecycle_policy

    def collection(self, state: StateReader, namespace: str, name: str) -> Collection | None:
        """Return a collection as *state* defines it; see `nodes.endorser.ports.PrivateData`."""
        return self.collections().find(state, namespace, name)

    def access_of(self, creator: Identity, state: StateReader) -> CollectionAccess:
        """Say what a creator may do; see `nodes.endorser.ports.PrivateData`."""
        return CreatorAccess(self.collections(), state, creator)

    async def distribute(self, tx_id: str, private: bytes, creator: str) -> None:
        """Keep and push what a simulation writes; see `nodes.endorser.ports.PrivateData`."""
        await self._distribution.distribute(self.collections(), tx_id, private, creator)

    # ---- for the committer, on the writer thread
    def gather(
        self,
        number: int,
        transactions: Sequence[ParsedTransaction],
        codes: Sequence[TxValidationCode],
        state: StateReader,
        configuration: ChannelConfiguration,
        *,
        ask_others: bool = True,
    ) -> BlockPrivate:
        """Return what is at hand of a block; see `nodes.committer.ports.PrivateData`."""
        return self._gathering.gather(
            self._under(configuration), number, transactions, codes, state, ask_others=ask_others
        )

    def committed(
        self,
        number: int,
        transactions: Sequence[ParsedTransaction],
        codes: Sequence[TxValidationCode],
        private: BlockPrivate,
    ) -> None:
        """Let go what a durable block makes needless; see `nodes.committer.ports.PrivateData`."""
        ids = [
            each.tx_id
            for each in transactions
            if each.rwset is not None and any(private_collections(each.rwset))
        ]
        if ids:
            self._sweep(lambda: self.transient.purge(ids))
        retention = self._settings.retention_blocks
        if number % _SWEEP_EVERY == 0 and number > retention:
            self._sweep(lambda: self.transient.purge_below(number - retention))
        loop = self._loop
        if loop is None:
            return
        if any(map(_changes_definition, transactions)):
            loop.call_soon_threadsafe(self.reconciler.review)
        elif any(each.eligible for each in private.missing):
            loop.call_soon_threadsafe(self.reconciler.poke)

    def _sweep(self, work: Callable[[], None]) -> None:
        """Do *work* on the store in its own thread; a fault there hinders no block."""

        def run() -> None:
            try:
                work()
            except LedgerError as error:
                log.error("the transient store could not be emptied: %s", error)

        # A block that is committed while the node closes leaves its sets to the next start.
        with suppress(RuntimeError):
            self._sweeper.submit(run)

    def _purge_committed(self) -> None:
        """Let go what a crash between commit and purge has left."""
        ledger = self._channel.ledger
        self.transient.purge(
            [each for each in self.transient.ids() if ledger.has_transaction(each)]
        )


def _changes_definition(transaction: ParsedTransaction) -> bool:
    """Whether a transaction writes a contract's definition, valid or not."""
    return transaction.rwset is not None and any(
        each.namespace == LIFECYCLE and each.writes for each in transaction.rwset.namespaces
    )
