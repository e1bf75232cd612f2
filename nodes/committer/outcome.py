"""What came out of a block, and the comparison with what came out of it elsewhere."""

from __future__ import annotations

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of, commit_hash_of
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction, parse_transaction
from network.errors import Divergence
from network.ordering.ports import ExpectedOutcome

__all__ = ["CommittedBlock", "verify_outcome"]


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
        self._transactions = transactions
        self._encoded: bytes | None = None

    @property
    def transactions(self) -> tuple[ParsedTransaction, ...]:
        """The envelopes of the block, taken apart, in order."""
        if self._transactions is None:
            self._transactions = tuple(parse_transaction(raw) for raw in self.block.data)
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
