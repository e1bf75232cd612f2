"""What came out of a block, and the comparison with what came out of it elsewhere."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of, commit_hash_of
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ChaincodeEvent, ParsedTransaction, parse_transaction
from network.errors import Divergence
from network.ordering.ports import ExpectedOutcome

__all__ = ["CommittedBlock", "CommittedTransaction", "RecentBlocks", "verify_outcome"]


@dataclass(frozen=True, slots=True)
class CommittedTransaction:
    """What listeners are told of a transaction: little, since many blocks are kept at hand.

    Attributes:
        tx_id: as the channel header has it.
        index_id: the id under which the ledger files it; empty if unreadable.
        channel_id: as the channel header has it.
        header_type: ``common.HeaderType``; -1 if there is no channel header to be read.
        timestamp: of the channel header, UTC; None if there is none.
        event: that of its contract, whatever the verdict; None without one.
    """

    tx_id: str
    index_id: str
    channel_id: str
    header_type: int
    timestamp: datetime | None
    event: ChaincodeEvent | None

    @classmethod
    def of(cls, parsed: ParsedTransaction) -> CommittedTransaction:
        """Take over what is told, and let the rest go."""
        return cls(
            parsed.tx_id,
            parsed.index_id,
            parsed.channel_id,
            parsed.header_type,
            parsed.timestamp,
            parsed.event,
        )


class CommittedBlock:
    """One committed block, shared by everybody who listens; it never changes.

    Parsing and encoding are done when first asked for, and then kept.

    Args:
        block: with the final codes and the commit hash in its metadata.
        transactions: its envelopes taken apart, if that has been done already.
    """

    __slots__ = ("_encoded", "_transactions", "block", "codes", "commit_hash", "number")

    def __init__(
        self, block: Block, transactions: tuple[ParsedTransaction, ...] | None = None
    ) -> None:
        self.block = block
        self.number: int = block.header.number
        self.codes: tuple[TxValidationCode, ...] = codes_of(block)
        self.commit_hash: bytes = commit_hash_of(block)
        self._transactions = (
            None
            if transactions is None
            else tuple(CommittedTransaction.of(each) for each in transactions)
        )
        self._encoded: bytes | None = None

    @property
    def transactions(self) -> tuple[CommittedTransaction, ...]:
        """What is told of the envelopes of the block, in order."""
        if self._transactions is None:
            self._transactions = tuple(
                CommittedTransaction.of(parse_transaction(raw)) for raw in self.block.data
            )
        return self._transactions

    @property
    def encoded(self) -> bytes:
        """The marshalled `common.Block`, metadata of this node included."""
        if self._encoded is None:
            self._encoded = self.block.encode()
        return self._encoded

    @property
    def size_bytes(self) -> int:
        """Length of the envelopes together."""
        return sum(map(len, self.block.data))


class RecentBlocks:
    """The newest blocks, at hand for those who follow closely.

    Args:
        most_bytes: of envelopes together; the newest block stays in any case.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._blocks: OrderedDict[int, CommittedBlock] = OrderedDict()
        self._bytes = 0

    def get(self, number: int) -> CommittedBlock | None:
        """Return a block that is at hand."""
        return self._blocks.get(number)

    def add(self, committed: CommittedBlock) -> None:
        """Take the next block, and let the oldest ones go."""
        self._blocks[committed.number] = committed
        self._bytes += committed.size_bytes
        while len(self._blocks) > 1 and self._bytes > self._most_bytes:
            _number, oldest = self._blocks.popitem(last=False)
            self._bytes -= oldest.size_bytes


def verify_outcome(
    number: int, codes: bytes, commit_hash: bytes, expected: ExpectedOutcome
) -> None:
    """Compare this node's outcome of a block with another node's.

    Args:
        number: of the block.
        codes: this node's final code of every transaction.
        commit_hash: this node's.
    Raises:
        Divergence: naming the first transaction whose code differs, or both hashes.
    """
    if codes != expected.codes:
        if len(codes) != len(expected.codes):
            raise Divergence(
                f"block {number}: this node has verdicts on {len(codes)} transactions, the "
                f"orderer on {len(expected.codes)}; nothing of the block was written. Compare "
                "the versions of both nodes"
            )
        place = next(i for i, code in enumerate(codes) if code != expected.codes[i])
        raise Divergence(
            f"block {number}, transaction {place}: this node says {_name(codes[place])}, the "
            f"orderer says {_name(expected.codes[place])}; nothing of the block was written. "
            "One of the two is wrong: run fsck on both and compare their versions"
        )
    if commit_hash != expected.commit_hash:
        raise Divergence(
            f"block {number}: this node's commit hash is {commit_hash.hex()}, the orderer's is "
            f"{expected.commit_hash.hex()}; nothing of the block was written. The states differ: "
            "run fsck on both, and restore the one that is wrong"
        )


def _name(code: int) -> str:
    try:
        return TxValidationCode(code).name
    except ValueError:
        return f"the unknown code {code}"
