"""One channel of a node: its ledger, its committer, and the writer thread between them.

Blocks come in one at a time: in one step, from an engine that takes finished blocks (`accept`) or
a test (`commit`), or in two, from an engine whose members agree on what comes of a block before it
is written (`stage`, `write_staged`). One writer thread works on them. What has been committed is
announced on the event loop (`nodes.announced`), always and in order, also if whoever brought the
block has gone away meanwhile.

Invariants:
- The event loop never waits for the disk or for a signature: both happen in threads.
- Staging writes nothing, and gives the same as often as it is done.
- A halted channel refuses blocks; readers go on.

Absent: how clients speak to it (gateway, deliver), how blocks are ordered (network.ordering).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ledger.blocks.block import Block
from ledger.channel import ChannelLedger
from ledger.errors import Fatal
from ledger.state.snapshot import LedgerSnapshot
from ledger.transactions.parse import parse_transaction
from network.errors import ConfigurationError
from network.ordering.ports import Begun, ExpectedOutcome, Staged
from nodes.announced import AnnouncedChain
from nodes.committer.committer import Committer, LookAhead, StagedBlock, write_genesis
from nodes.committer.configuration import ConfigurationRule, verify_update
from nodes.committer.outcome import CommittedBlock
from nodes.committer.ports import PrivateData
from nodes.committer.signatures import SignaturePool
from nodes.errors import ChannelHalted, ChannelUnavailable
from nodes.statuses import TransactionStatus

__all__ = ["Channel", "CommittedBlock", "TransactionStatus"]

_T = TypeVar("_T")

LedgerOpener = Callable[[Path], ChannelLedger]
"""From a folder to the ledger that is kept there."""


class Channel(AnnouncedChain):
    """A channel of this node; made by `open`, used on one event loop after `start`."""

    def __init__(self, ledger: ChannelLedger, committer: Committer) -> None:
        super().__init__(ledger, committer.configuration, committer.last_config_block)
        self._committer = committer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"commit {self.channel_id}")
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
        return await self._on_writer(
            lambda: self._announced(self._committer.commit(block, expected))
        )

    async def accept(self, block: Block, expected: ExpectedOutcome | None = None) -> None:
        """Do what `commit` does, for an ordering engine."""
        await self.commit(block, expected)

    def begin(self, envelopes: Sequence[bytes]) -> Begun:
        """Begin with what hangs on envelopes alone: the threads verify, nobody waits."""
        return self._committer.look_ahead(envelopes)

    async def stage(self, block: Block, begun: Sequence[Begun]) -> Staged:
        """Work out what comes of *block* without writing anything; may be done again.

        Args:
            block: the next one.
            begun: what `begin` returned for its envelopes; together they are those of the block,
                in its order.
        Raises:
            BlockError: the block is refused as a whole.
            Fatal: the outcome cannot be worked out; channel halted.
            ChannelHalted, ChannelUnavailable: no blocks are taken now.
        """
        ahead = [each for each in begun if isinstance(each, LookAhead)]
        return await self._on_writer(lambda: self._committer.stage(block, ahead=ahead))

    async def write_staged(self, staged: Staged) -> None:
        """Commit a staged block durably and announce it.

        Raises:
            BlockError: it is not the next block any more; nothing was written.
            Fatal: a write failed; channel halted.
            ChannelHalted, ChannelUnavailable: no blocks are taken now.
        """
        if not isinstance(staged, StagedBlock):
            raise TypeError(f"{staged!r} was not staged by this channel")
        await self._on_writer(lambda: self._announced(self._committer.write(staged)))

    async def restore(self, block: Block) -> None:
        """Commit the next block with the verdicts that stand in it, and announce it.

        Args:
            block: as it is stored elsewhere; whoever brings it has verified every byte.
        Raises:
            BlockError: it does not follow, or is refused as a whole; nothing was written.
            Divergence: it has another outcome here; nothing was written, channel halted.
            Fatal: a write failed; channel halted.
            ChannelHalted, ChannelUnavailable: no blocks are taken now.
        """
        await self._on_writer(lambda: self._announced(self._committer.restore(block)))

    def stored_block(self, number: int) -> Block | None:
        """Read a committed block from the disk, None at or above the height; not on the loop."""
        return self.ledger.block(number)

    def evidence(self, number: int, kind: str) -> bytes | None:
        """Read the evidence of one kind about a block from the disk; not on the loop."""
        return self.ledger.evidence(number, kind)

    def block_bytes(self, number: int) -> bytes | None:
        """Read a committed block as it is stored, None at or above the height; not on the loop."""
        return self.ledger.block_bytes(number)

    def block_size(self, number: int) -> int | None:
        """Look up how many bytes a committed block is stored in; not on the loop."""
        return self.ledger.block_size(number)

    def has_evidence(self, number: int, kind: str) -> bool:
        """Look up whether there is evidence of one kind about a block; not on the loop."""
        return self.ledger.has_evidence(number, kind)

    async def add_evidence(self, number: int, kind: str, data: bytes) -> None:
        """File evidence about a committed block, durably; the same twice changes nothing.

        Raises:
            Refusal: there is no such block, or other evidence of this kind about it.
            Fatal: a write failed; channel halted.
            ChannelHalted, ChannelUnavailable: nothing is written now.
        """
        await self.write(lambda ledger: ledger.add_evidence(number, kind, data))

    async def write(self, work: Callable[[ChannelLedger], _T]) -> _T:
        """Change the ledger between two blocks, on the thread that writes, and return the result.

        Raises:
            ChannelHalted, ChannelUnavailable: nothing is written now.
            Fatal: a write failed; channel halted.
        """
        return await self._on_writer(lambda: self._write_now(work))

    def _write_now(self, work: Callable[[ChannelLedger], _T]) -> _T:
        if self.halted is not None:
            raise ChannelHalted(f"channel {self.channel_id} has halted: {self.halted}")
        return work(self.ledger)

    async def _on_writer(self, work: Callable[[], _T]) -> _T:
        """Do *work* on the writer thread; what is fatal there halts the channel."""
        if self._loop is None or self._closing:
            raise ChannelUnavailable(f"channel {self.channel_id} takes nothing now")
        return await self._loop.run_in_executor(self._writer, self._guarded, self._loop, work)

    def _guarded(self, loop: asyncio.AbstractEventLoop, work: Callable[[], _T]) -> _T:
        try:
            return work()
        except Fatal as fatal:
            loop.call_soon_threadsafe(self.halt, fatal)
            raise

    def halt(self, fatal: Fatal) -> None:
        """Refuse every further block because of *fatal*; what is stored can still be read."""
        self._committer.halt(fatal)
        self._statuses.fail(ChannelHalted(f"channel {self.channel_id} has halted: {fatal}"))
        self._wake()

    def snapshot(self) -> LedgerSnapshot:
        """Return the world state at the present height; give it back soon."""
        return self.ledger.snapshot()

    def _announced(self, committed: CommittedBlock) -> CommittedBlock:
        """Have a block announced that the writer thread has committed, whoever waits for it."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(
                self._announce,
                committed,
                self._committer.configuration,
                self._committer.last_config_block,
            )
        return committed


def _verify_genesis(ledger: ChannelLedger, genesis: Block, path: Path) -> None:
    stored = ledger.block(0)
    if stored is not None and stored.header.hash() != genesis.header.hash():
        raise ConfigurationError(
            f"the ledger in {path} begins with another genesis block than the one given; "
            "each channel needs a folder of its own"
        )
