"""What the committer asks of the node about private data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.state.ports import StateReader
from ledger.state.private import BlockPrivate
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction
from network.configuration import ChannelConfiguration


class PrivateData(Protocol):
    """The private data of one channel, as its committer sees them; called on the writer thread."""

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
        """Return the private write sets of a block that are at hand, and which are missing.

        Takes a bounded time, whoever is down. Asked only for blocks that write to collections.

        Args:
            number: of the block.
            transactions: its envelopes taken apart.
            codes: the final verdicts.
            state: before the block.
            configuration: before the block.
            ask_others: whether the block may wait for the other members' nodes.
        """

    def committed(
        self,
        number: int,
        transactions: Sequence[ParsedTransaction],
        codes: Sequence[TxValidationCode],
        private: BlockPrivate,
    ) -> None:
        """Learn that a block, any block, is durable, with which private data; returns soon."""
