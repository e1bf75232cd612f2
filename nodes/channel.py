"""One channel of a node: its ledger, its configuration in force, its committer, who waits for it.

Blocks come in one at a time, from an ordering engine (`accept`) or a test (`commit`), and are
worked on by one writer thread. What has been committed is announced on the event loop, always and
in order, also if whoever brought the block has gone away meanwhile. Everything else here reads.

Invariants:
- `height`, `last_header_hash` and `configuration` are those after the last announced block, and
  every block below `height` can be read.
- The event loop never waits for the disk or for a signature: both happen in threads.
- Nothing is kept per client but a place to wake it; a slow subscriber reads stored blocks at its
  own pace, so no queue grows.
- A halted channel refuses blocks; readers go on.

Absent: how clients speak to it (gateway, deliver), how blocks are ordered (network.ordering).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ledger.blocks.block import Block
from ledger.channel import ChannelLedger
from ledger.errors import Fatal
from ledger.state.snapshot import LedgerSnapshot
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import parse_transaction
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError, IdentityError, PolicyError
from network.msp import Identity
from network.ordering.ports import ExpectedOutcome
from network.policy import SignedData, why_not_valid
from nodes.committer.committer import Committer, write_genesis
from nodes.committer.configuration import ConfigurationRule, verify_update
from nodes.committer.outcome import CommittedBlock, RecentBlocks
from nodes.committer.ports import PrivateData
from nodes.committer.signatures import SignaturePool
from nodes.errors import AccessDenied, ChannelHalted, ChannelUnavailable
from nodes.statuses import Statuses, TransactionStatus

__all__ = ["Channel", "CommittedBlock", "TransactionStatus"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

LedgerOpener = Callable[[Path], ChannelLedger]
"""From a folder to the ledger that is kept there."""

RECENT_BYTES = 8 * 1024 * 1024
"""Envelopes of the newest blocks that are kept in memory for those who follow closely."""


class Channel:
    """A channel of this node; made by `open`, used on one event loop after `start`."""

    def __init__(self, ledger: ChannelLedger, committer: Committer) -> None:
        self.ledger = ledger
        self.channel_id: str = committer.configuration.channel_id
        self._committer = committer
        self._configuration = committer.configuration
        self._last_config_block = committer.last_config_block
        self._height = ledger.height
        self._last_header_hash = ledger.last_header_hash
        self._commit_hash = ledger.commit_hash
        self._recent = RecentBlocks(RECENT_BYTES)
        self._statuses = Statuses()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"commit {self.channel_id}")
        self._leaving = False
        self._closing = False

    @classmethod
    def open(
        cls,
        path: Path,
        genesis: Block | None,
        *,
        signatures: SignaturePool,
        rule: ConfigurationRule = verify_update,
        open_ledger: LedgerOpener = ChannelLedger.open,
    ) -> Channel:
        """Open the ledger of a channel, recovering what a crash left, and read its configuration.

        Blocks the thread; call it before the loop runs, or in a thread.

        Args:
            path: folder of the channel's ledger.
            genesis: the channel's first block; written if the ledger is empty, else compared.
            signatures: the threads that verify.
            rule: which configuration may follow the one in force.
            open_ledger: how its ledger is opened.

        Raises:
            ConfigurationError: the ledger is empty and there is no genesis block, or it holds
                another one.
            Fatal: what is stored is damaged.
        """
        ledger = open_ledger(path)
        try:
            if ledger.height == 0:
                if genesis is None:
                    raise ConfigurationError(
                        f"the ledger in {path} is empty and there is no genesis block; "
                        "join the channel with the genesis block of its members"
                    )
                write_genesis(ledger, genesis)
            elif genesis is not None:
                _verify_genesis(ledger, genesis, path)
            return cls(ledger, Committer(ledger, signatures, rule))
        except BaseException:
            ledger.close()
            raise

    def use_private_data(self, private: PrivateData) -> None:
        """Take the private data of blocks from *private*; to be called before the first block."""
        self._committer.private = private

    async def start(self) -> None:
        """Bind the channel to the running loop; blocks can be taken from now on."""
        self._loop = asyncio.get_running_loop()
        self._grown = asyncio.Event()
        self._reconfigured = asyncio.Event()

    def release_waiting(self) -> None:
        """Tell everybody who waits for a block that this node is going; blocks are still taken."""
        self._leaving = True
        self._statuses.fail(self._gone())
        if self._loop is not None:
            self._grown.set()
            self._reconfigured.set()

    async def close(self) -> None:
        """Finish the block in work, release who waits, and close the ledger."""
        if self._closing:
            return
        self._closing = True
        await asyncio.to_thread(self._writer.shutdown)
        # Announcements of the last block were put on the loop before the thread ended.
        await asyncio.sleep(0)
        self.release_waiting()
        await asyncio.to_thread(self.ledger.close)

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

    @property
    def created(self) -> datetime:
        """The time in the genesis block, aware UTC."""
        genesis = self.ledger.block(0)
        stamp = None if genesis is None else parse_transaction(genesis.data[0]).timestamp
        return stamp or datetime.fromtimestamp(0, UTC)

    @property
    def halted(self) -> Fatal | None:
        """Why the channel takes no more blocks, None while it does."""
        return self._committer.halted

    async def commit(self, block: Block, expected: ExpectedOutcome | None = None) -> CommittedBlock:
        """Validate *block*, commit it durably and announce it.

        Args:
            block: the next block; its signature has been verified by whoever brings it.
            expected: what another node says came out of it.

        Raises:
            BlockError: the block is refused as a whole; nothing was written.
            Divergence: the outcome is not the expected one; nothing was written, channel halted.
            Fatal: a write failed; channel halted.
            ChannelHalted, ChannelUnavailable: no blocks are taken now.
        """
        if self._loop is None or self._closing:
            raise ChannelUnavailable(f"channel {self.channel_id} takes no blocks now")
        return await self._loop.run_in_executor(self._writer, self._commit, block, expected)

    async def accept(self, block: Block, expected: ExpectedOutcome | None = None) -> None:
        """Do what `commit` does, for an ordering engine."""
        await self.commit(block, expected)

    async def write(self, work: Callable[[ChannelLedger], _T]) -> _T:
        """Change the ledger between two blocks, on the thread that writes, and return the result.

        Raises:
            ChannelHalted, ChannelUnavailable: nothing is written now.
            Fatal: a write failed; channel halted.
        """
        if self._loop is None or self._closing:
            raise ChannelUnavailable(f"channel {self.channel_id} takes nothing now")
        return await self._loop.run_in_executor(self._writer, self._write_now, work)

    def _write_now(self, work: Callable[[ChannelLedger], _T]) -> _T:
        if self.halted is not None:
            raise ChannelHalted(f"channel {self.channel_id} has halted: {self.halted}")
        try:
            return work(self.ledger)
        except Fatal as fatal:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self.halt, fatal)
            raise

    def halt(self, fatal: Fatal) -> None:
        """Refuse every further block because of *fatal*; what is stored can still be read."""
        self._committer.halt(fatal)
        self._statuses.fail(ChannelHalted(f"channel {self.channel_id} has halted: {fatal}"))
        if self._loop is not None:
            self._grown.set()
            self._reconfigured.set()

    def snapshot(self) -> LedgerSnapshot:
        """Return the world state at the present height; give it back soon."""
        return self.ledger.snapshot()

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

    def check_access(self, resource: str, signed: SignedData) -> Identity:
        """Check that a signature gives access to *resource*; verifies it in this thread.

        Args:
            resource: in Fabric's names, for example "event/Block" or "peer/Propose".
            signed: what was signed, by whom, and the signature.

        Raises:
            AccessDenied: it does not.
        """
        return self.check_policy(self._configuration.acl_policy(resource), resource, signed)

    def check_policy(self, policy: str, resource: str, signed: SignedData) -> Identity:
        """Check that a signature satisfies *policy*, a path of the channel configuration.

        Raises:
            AccessDenied: it does not; the message names *resource* as what was asked for.
        """
        msps = self._configuration.msps
        try:
            msps.deserialize_at_door(signed.identity)
            identities = self._configuration.policies.evaluate(policy, [signed])
        except (IdentityError, PolicyError) as refused:
            reason = str(refused)
            if isinstance(refused, PolicyError):
                reason = why_not_valid(signed, msps) or reason
            raise AccessDenied(
                f"access denied for [{resource}][{self.channel_id}]: {policy} is not satisfied: "
                f"{reason}"
            ) from refused
        return identities[0]

    async def authorise(self, resource: str, signed: SignedData) -> Identity:
        """Do what `check_access` does, with the signature verified in another thread."""
        return await asyncio.to_thread(self.check_access, resource, signed)

    async def authorise_by(self, policy: str, resource: str, signed: SignedData) -> Identity:
        """Do what `check_policy` does, with the signature verified in another thread."""
        return await asyncio.to_thread(self.check_policy, policy, resource, signed)

    def _commit(self, block: Block, expected: ExpectedOutcome | None) -> CommittedBlock:
        """Commit in the writer thread; the announcement does not hang on who waits for it."""
        if self._loop is None:
            raise ChannelUnavailable(f"channel {self.channel_id} takes no blocks now")
        try:
            committed = self._committer.commit(block, expected)
        except Fatal as fatal:
            self._loop.call_soon_threadsafe(self.halt, fatal)
            raise
        self._loop.call_soon_threadsafe(
            self._announce,
            committed,
            self._committer.configuration,
            self._committer.last_config_block,
        )
        return committed

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


def _verify_genesis(ledger: ChannelLedger, genesis: Block, path: Path) -> None:
    stored = ledger.block(0)
    if stored is not None and stored.header.hash() != genesis.header.hash():
        raise ConfigurationError(
            f"the ledger in {path} begins with another genesis block than the one given; "
            "each channel needs a folder of its own"
        )
