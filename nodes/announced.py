"""What a channel has announced: its newest block and configuration, and who waits for the next.

The half of a channel that readers see. It lives on the event loop: the writing half
(`nodes.channel`) announces each committed block here, in order.

Invariants:
- `height`, `last_header_hash` and `configuration` are those after the last announced block, and
  every block below `height` can be read.
- Nothing is kept per client but a place to wake it; a slow subscriber reads stored blocks at its
  own pace, so no queue grows.
- Readers of a halted channel go on; who waits for a block is told that none will come.

Absent: how blocks are validated and written.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable

from ledger.channel import ChannelLedger
from ledger.errors import Fatal
from ledger.transactions.codes import TxValidationCode
from network.configuration import ChannelConfiguration
from nodes.access import ChannelAccess
from nodes.committer.outcome import CommittedBlock, RecentBlocks
from nodes.errors import ChannelHalted, ChannelUnavailable
from nodes.statuses import Statuses, TransactionStatus

__all__ = ["AnnouncedChain"]

log = logging.getLogger(__name__)

RECENT_BYTES = 8 * 1024 * 1024
"""Envelopes of the newest blocks that are kept in memory for those who follow closely."""


class AnnouncedChain(ChannelAccess):
    """The reading half of a channel; see the module's docstring.

    Args:
        ledger: what the channel is kept in.
        configuration: the one in force.
        last_config_block: the block that holds it.
    """

    def __init__(
        self, ledger: ChannelLedger, configuration: ChannelConfiguration, last_config_block: int
    ) -> None:
        self.ledger = ledger
        self.channel_id = configuration.channel_id
        self._configuration = configuration
        self._last_config_block = last_config_block
        self._height = ledger.height
        self._last_header_hash = ledger.last_header_hash
        self._commit_hash = ledger.commit_hash
        self._recent = RecentBlocks(RECENT_BYTES)
        self._statuses = Statuses()
        self._grown = asyncio.Event()
        self._reconfigured = asyncio.Event()
        self._leaving = False

    def release_waiting(self) -> None:
        """Tell everybody who waits for a block that this node is going; blocks are still taken."""
        self._leaving = True
        self._statuses.fail(self._gone())
        self._wake()

    def _wake(self) -> None:
        """Let everybody who waits look again."""
        self._grown.set()
        self._reconfigured.set()

    @property
    @abstractmethod
    def halted(self) -> Fatal | None:
        """Why the channel takes no more blocks, None while it does."""

    def _gone(self) -> ChannelUnavailable:
        return ChannelUnavailable(
            f"this node is leaving channel {self.channel_id}; ask again when it is back, "
            "or ask another member's node"
        )

    @property
    def configuration(self) -> ChannelConfiguration:
        """The configuration in force after the last announced block."""
        return self._configuration

    @property
    def last_config_block(self) -> int:
        """Number of the block that holds the configuration in force."""
        return self._last_config_block

    @property
    def height(self) -> int:
        """Number of blocks committed and announced."""
        return self._height

    @property
    def last_header_hash(self) -> bytes:
        """Header hash of the last announced block."""
        return self._last_header_hash

    @property
    def commit_hash(self) -> bytes:
        """Commit hash of the last announced block; empty if that is the genesis block."""
        return self._commit_hash

    async def block(self, number: int) -> CommittedBlock | None:
        """Return a committed block, None at or above the height."""
        if number >= self._height:
            return None
        recent = self._recent.get(number)
        if recent is not None:
            return recent
        stored = await asyncio.to_thread(self.ledger.block, number)
        return None if stored is None else CommittedBlock(stored)

    async def subscribe(self, start: int) -> AsyncIterator[CommittedBlock]:
        """Yield the blocks from *start* on, stored ones first, then each as it is committed.

        Raises:
            ChannelHalted, ChannelUnavailable: no further block will come.
        """
        number = start
        while True:
            committed = await self.block(number)
            if committed is not None:
                yield committed
                number += 1
            else:
                await self.wait_above(number)

    async def wait_above(self, height: int, sequence: int | None = None) -> None:
        """Return as soon as the height is above *height*.

        Args:
            height: in blocks.
            sequence: of a configuration; return at once, too, if another is in force.
        Raises:
            ChannelHalted, ChannelUnavailable: it will never be.
        """
        while self._height <= height and sequence in (None, self._configuration.sequence):
            self._verify_goes_on()
            await self._grown.wait()

    async def wait_for_configuration(self, sequence: int) -> ChannelConfiguration:
        """Return the configuration in force as soon as its sequence is above *sequence*.

        Raises:
            ChannelHalted, ChannelUnavailable: it will never be.
        """
        while self._configuration.sequence <= sequence:
            self._verify_goes_on()
            await self._reconfigured.wait()
        return self._configuration

    def _verify_goes_on(self) -> None:
        if self._leaving:
            raise self._gone()
        if self.halted is not None:
            raise ChannelHalted(f"channel {self.channel_id} has halted: {self.halted}")

    def remembered_status(self, tx_id: str) -> TransactionStatus | None:
        """Return the status of a transaction if it is in memory: those of the newest are."""
        return self._statuses.get(tx_id)

    async def transaction_status(self, tx_id: str) -> TransactionStatus | None:
        """Look a transaction up; None if it is in no block of this node."""
        status = self._statuses.get(tx_id)
        if status is not None:
            return status
        found = await asyncio.to_thread(self.ledger.transaction, tx_id)
        return None if found is None else TransactionStatus(found.code, found.block_num)

    async def wait_for_transaction(
        self, tx_id: str, verify: Callable[[], None] | None = None
    ) -> TransactionStatus:
        """Return the status of a transaction as soon as it is in a block.

        Listens first and looks then, so that nothing is missed in between. Waits without end: put
        a deadline on it.

        Args:
            tx_id: of the transaction.
            verify: called again with every new configuration; what it raises ends the waiting.
        Raises:
            ChannelHalted, ChannelUnavailable: no block will come.
        """
        with self._statuses.listen(tx_id, verify) as future:
            status = await self.transaction_status(tx_id)
            if future.done():
                return future.result()
            if status is not None:
                return status
            self._verify_goes_on()
            return await future

    def _announce(
        self, committed: CommittedBlock, configuration: ChannelConfiguration, config_block: int
    ) -> None:
        is_new = configuration is not self._configuration
        self._configuration = configuration
        self._last_config_block = config_block
        self._last_header_hash = committed.block.header.hash()
        self._commit_hash = committed.commit_hash
        self._height = committed.number + 1
        self._recent.add(committed)
        for transaction, code in zip(committed.transactions, committed.codes, strict=True):
            # A duplicate never changes what its id means: an earlier one has it.
            if code is not TxValidationCode.DUPLICATE_TXID and transaction.index_id:
                self._statuses.settle(
                    transaction.index_id, TransactionStatus(code, committed.number)
                )
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()
        if is_new:
            self._reconfigure()
        self._tell(committed)

    def _reconfigure(self) -> None:
        """Let everybody look at the new configuration who waits for something."""
        log.info(
            "the channel configuration of sequence %d is in force", self._configuration.sequence,
            extra={"channel_id": self.channel_id, "block_num": self._last_config_block},
        )  # fmt: skip
        self._statuses.verify_waiting()
        reconfigured, self._reconfigured = self._reconfigured, asyncio.Event()
        reconfigured.set()

    def _tell(self, committed: CommittedBlock) -> None:
        """Log the block, and each transaction that was not valid."""
        place = {"channel_id": self.channel_id, "block_num": committed.number}
        invalid = 0
        for transaction, code in zip(committed.transactions, committed.codes, strict=True):
            if code is not TxValidationCode.VALID:
                invalid += 1
                about = {**place, "tx_id": transaction.index_id or None}
                log.info("transaction is invalid: %s", code.name, extra=about)
        log.info(
            "block %d is committed: %d transactions, %d of them invalid",
            committed.number, len(committed.codes), invalid, extra=place,
        )  # fmt: skip
