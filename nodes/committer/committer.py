"""The committer of one channel: what its one writer thread does with a block.

    whole-block checks → parse → verdicts (validator.py) → MVCC and commit hash (ledger, pure)
    → compare with the outcome elsewhere → append, fsync, one atomic batch → switch configuration

Invariants:
- Every method runs on the channel's writer thread, or before it exists.
- Nothing is written before the outcomes were compared.
- After a fatal error no block is taken until the data has been opened again.

Absent: threads and waiting clients (`nodes.channel`), the orderer's signature over the block,
which whoever brings the block has verified.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of, commit_hash_of
from ledger.blocks.structure import verify_block_structure
from ledger.channel import ChannelLedger, PreparedBlock
from ledger.errors import CorruptionError, Fatal
from ledger.state.private import NOTHING, BlockPrivate
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import CONFIG, ParsedTransaction, parse_transaction
from ledger.transactions.private import private_collections
from ledger.validation.judgement import CONFIG_KEY, CONFIG_NAMESPACE
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError, Divergence, PolicyError
from network.ordering.ports import Begun, ExpectedOutcome
from nodes.committer.configuration import ConfigurationRule
from nodes.committer.endorsement import Unsatisfied
from nodes.committer.outcome import CommittedBlock, verify_outcome
from nodes.committer.ports import PrivateData
from nodes.committer.signatures import SignaturePool
from nodes.committer.validator import AskedAhead, TransactionValidator
from nodes.errors import ChannelHalted

__all__ = ["Committer", "LookAhead", "StagedBlock"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StagedBlock:
    """A block with its outcome, nothing of it written yet.

    Attributes:
        configuration: that of a configuration block; None in every other.
    """

    prepared: PreparedBlock
    transactions: tuple[ParsedTransaction, ...]
    configuration: ChannelConfiguration | None

    @property
    def block(self) -> Block:
        """The block with its verdicts and its commit hash, as it will be stored."""
        return self.prepared.block


@dataclass(frozen=True, slots=True)
class LookAhead(Begun):
    """What was begun of envelopes before the turn of their block.

    Attributes:
        transactions: the envelopes, taken apart.
        signatures: theirs.
    """

    transactions: tuple[ParsedTransaction, ...]
    signatures: AskedAhead


class Committer:
    """Validates and commits the blocks of one channel, one after another.

    Args:
        ledger: opened; it holds the genesis block at least.
        signatures: the threads that verify.
        rule: which configuration may follow the one in force.

    Attributes:
        private: where private data come from; without it blocks are committed with their hashes.
    """

    def __init__(
        self, ledger: ChannelLedger, signatures: SignaturePool, rule: ConfigurationRule
    ) -> None:
        self._ledger = ledger
        self._signatures = signatures
        self._rule = rule
        self.halted: Fatal | None = None
        self.private: PrivateData | None = None
        self.last_config_block, self.configuration = _configuration_in_force(ledger)
        self._validator = TransactionValidator(self.configuration, signatures)

    def commit(self, block: Block, expected: ExpectedOutcome | None = None) -> CommittedBlock:
        """Take the next block: validate, compare, write.

        Raises:
            BlockError: the block is refused as a whole; nothing was written.
            Divergence: the outcome is not the expected one; nothing was written, channel halted.
            Fatal: a write failed; channel halted.
            ChannelHalted: it had halted before.
        """
        return self.write(self.stage(block, expected))

    @property
    def unsatisfied(self) -> Mapping[int, Unsatisfied]:
        """Of the block staged last, why writes do not stand, by the transaction's place."""
        return self._validator.unsatisfied

    def look_ahead(self, envelopes: Sequence[bytes]) -> LookAhead:
        """Begin with what hangs on envelopes alone, before the turn of their block.

        On any thread: it touches nothing that a block changes but the configuration, and that is
        read once.
        """
        transactions = tuple(parse_transaction(raw) for raw in envelopes)
        return LookAhead(transactions, self._validator.begin(transactions))

    def stage(
        self,
        block: Block,
        expected: ExpectedOutcome | None = None,
        ahead: Sequence[LookAhead] = (),
    ) -> StagedBlock:
        """Work out what comes of *block* without writing anything; may be done again.

        Args:
            block: the next one.
            expected: the outcome elsewhere, if it is known.
            ahead: what `look_ahead` returned, for all envelopes of the block in their order, or
                nothing. A configuration may have changed since: then the signatures are verified
                anew.
        """
        self._verify_goes_on()
        try:
            return self._stage(block, expected, ahead)
        except Fatal as fatal:
            self.halt(fatal)
            raise

    def restore(self, block: Block) -> CommittedBlock:
        """Take the next block with the verdicts recorded in it, which are not judged again.

        What is not at hand of its private data is noted as missing; nobody is asked meanwhile.

        Args:
            block: as it is stored elsewhere; whoever brings it has verified every byte.

        Raises:
            BlockError: it is refused as a whole; nothing was written.
            Divergence: verdicts or commit hash are others here; nothing was written.
            Fatal, ChannelHalted: as `commit`.
        """
        self._verify_goes_on()
        verify_block_structure(block, self._ledger.height, self._ledger.last_header_hash)
        transactions = tuple(parse_transaction(raw) for raw in block.data)
        codes = list(codes_of(block))
        configuration = self._judge_configurations(block.number, transactions, codes)
        prepared = self._ledger.prepare(block, transactions, codes)
        if prepared.block != block:
            raise Divergence(
                f"block {block.number} gives other verdicts here, or the commit hash "
                f"{prepared.commit_hash.hex()} where {commit_hash_of(block).hex()} is recorded and "
                "proven; nothing of it was written. The state of this node is wrong: run fsck, "
                "move the ledger away and let the node join anew"
            )
        return self.write(StagedBlock(prepared, transactions, configuration), ask_others=False)

    def write(self, staged: StagedBlock, *, ask_others: bool = True) -> CommittedBlock:
        """Make a staged block durable and let its configuration, if it has one, take effect.

        Private data come with it as far as they can be had in the time that a block may wait.

        Args:
            staged: made by `stage` of this height.
            ask_others: whether the block may wait for the other members' nodes at all.
        """
        prepared = staged.prepared
        try:
            private = self._gather(prepared, ask_others)
            self._ledger.commit(prepared, private)
        except Fatal as fatal:
            self.halt(fatal)
            raise
        committed = CommittedBlock(staged.prepared.block, staged.transactions)
        if staged.configuration is not None:
            self.last_config_block = committed.number
            self.configuration = staged.configuration
            # The caches of identities and policies go with the configuration they belong to.
            self._validator = TransactionValidator(staged.configuration, self._signatures)
        if self.private is not None:
            self.private.committed(committed.number, prepared.transactions, prepared.codes, private)
        return committed

    def _gather(self, prepared: PreparedBlock, ask_others: bool) -> BlockPrivate:
        """Return the private data of a block; nothing is asked for one that writes to none."""
        if self.private is None or not any(
            each.rwset is not None and any(private_collections(each.rwset))
            for each in prepared.transactions
        ):
            return NOTHING
        with self._ledger.snapshot() as state:
            return self.private.gather(
                prepared.block.number,
                prepared.transactions,
                prepared.codes,
                state,
                self.configuration,
                ask_others=ask_others,
            )

    def _verify_goes_on(self) -> None:
        if self.halted is not None:
            raise ChannelHalted(
                f"channel {self.configuration.channel_id} has halted and takes no blocks: "
                f"{self.halted}"
            )

    def halt(self, fatal: Fatal) -> None:
        """Take no more blocks because of *fatal*; the first reason stays."""
        if self.halted is None:
            self.halted = fatal
            logger.critical(
                "channel %s has halted at height %d: %s",
                self.configuration.channel_id,
                self._ledger.height,
                fatal,
            )

    def _stage(
        self, block: Block, expected: ExpectedOutcome | None, ahead: Sequence[LookAhead]
    ) -> StagedBlock:
        verify_block_structure(block, self._ledger.height, self._ledger.last_header_hash)
        transactions = tuple(each for part in ahead for each in part.transactions)
        signatures = [part.signatures for part in ahead]
        if tuple(each.raw for each in transactions) != block.data:
            # Nothing was begun, or for other envelopes than those of this block.
            transactions = tuple(parse_transaction(raw) for raw in block.data)
            signatures = []
        with self._ledger.snapshot() as state:
            codes = self._validator.validate(
                transactions, state, self._ledger.has_transaction, signatures
            )
        configuration = self._judge_configurations(block.number, transactions, codes)
        prepared = self._ledger.prepare(block, transactions, codes)
        if expected is not None:
            verify_outcome(block.number, bytes(prepared.codes), prepared.commit_hash, expected)
        return StagedBlock(prepared, transactions, configuration)

    def _judge_configurations(
        self,
        number: int,
        transactions: Sequence[ParsedTransaction],
        codes: list[TxValidationCode],
    ) -> ChannelConfiguration | None:
        """Return the configuration that the block brings, and mark in *codes* what may not follow.

        A configuration that stands among other transactions, or that may not follow the one in
        force, is INVALID_CONFIG_TRANSACTION and changes nothing. Fabric's peer would judge the
        first kind in an order of chance and stop for ever at the second.
        """
        for index, transaction in enumerate(transactions):
            if transaction.header_type != CONFIG or codes[index] is not TxValidationCode.VALID:
                continue
            reason = "it stands among other transactions; a configuration stands alone in its block"
            if len(transactions) == 1:
                try:
                    return self._rule(self.configuration, transaction.config_envelope)
                except (ConfigurationError, PolicyError) as refused:
                    reason = str(refused)
            codes[index] = TxValidationCode.INVALID_CONFIG_TRANSACTION
            logger.warning(
                "block %d of channel %s: the configuration in transaction %d does not count: %s",
                number,
                self.configuration.channel_id,
                index,
                reason,
            )
        return None


def write_genesis(ledger: ChannelLedger, genesis: Block) -> None:
    """Commit the genesis block, which is valid because the operator trusts it.

    Raises:
        BlockError: it is not block 0, or malformed.
        ConfigurationError: its configuration cannot be read.
    """
    verify_block_structure(genesis, 0, b"")
    ChannelConfiguration.from_block(genesis)
    transactions = tuple(parse_transaction(raw) for raw in genesis.data)
    codes = [TxValidationCode.VALID] * len(transactions)
    ledger.commit(ledger.prepare(genesis, transactions, codes))


def _configuration_in_force(ledger: ChannelLedger) -> tuple[int, ChannelConfiguration]:
    """Read the newest configuration block's number and content."""
    with ledger.snapshot() as state:
        entry = state.get(CONFIG_NAMESPACE, CONFIG_KEY)
    number = 0 if entry is None else entry.version.block_num
    block = ledger.block(number)
    if block is None:
        raise CorruptionError(
            f"block {number}, which holds the channel configuration in force, is not in the "
            "ledger; restore the node from a backup"
        )
    return number, ChannelConfiguration.from_block(block)
