"""Blocks and transactions of a channel, asked of a gateway through ``qscc`` and Deliver.

Works with any Fabric gateway. Hashes are computed here, not taken from the node's word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import grpc
from fabric_protos.common import ledger_pb2

from clients.gateway.blocking import Network
from clients.gateway.errors import EvaluateError
from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of
from ledger.errors import BlockError, Refusal
from ledger.transactions.change import Change, find_change
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction, parse_transaction

NEWEST: Final = 2**64 - 1
_NOT_THE_NODES_WORD: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
    }
)


class NotRecorded(Refusal):
    """The ledger, as this node has it, does not hold what was asked for."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A transaction where it stands.

    Attributes:
        block: that holds it.
        place: its number in the block, from 0.
        code: the verdict on it.
        transaction: taken apart.
    """

    block: Block
    place: int
    code: TxValidationCode
    transaction: ParsedTransaction


@dataclass(frozen=True, slots=True)
class KeyChange:
    """One write of one key by a valid transaction, and where it stands."""

    block_num: int
    change: Change


class Chain:
    """The chain of one channel, as the gateway's node has it."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._blocks = network.contract("qscc")

    def height(self) -> int:
        """The number of blocks."""
        raw = self._blocks.evaluate("GetChainInfo", self._network.channel_id)
        return int(ledger_pb2.BlockchainInfo.FromString(raw).height)

    def block(self, number: int) -> Block:
        """A block by its number; `NEWEST` for the newest.

        Raises:
            NotRecorded: the chain is not that long.
        """
        return self._ask(f"block {number}", "GetBlockByNumber", str(number))

    def block_by_hash(self, header_hash: bytes) -> Block:
        """A block by the 32 bytes of its header's hash.

        Raises:
            NotRecorded: there is none.
        """
        return self._ask(f"a block with hash {header_hash.hex()}", "GetBlockByHash", header_hash)

    def transaction(self, tx_id: str) -> Recorded:
        """A transaction by its id, valid or not.

        Raises:
            NotRecorded: there is none.
        """
        block = self._ask(f"transaction {tx_id}", "GetBlockByTxID", tx_id)
        for each in recorded(block):
            if tx_id in (each.transaction.tx_id, each.transaction.index_id):
                return each
        raise BlockError(f"block {block.number} was given for {tx_id} but does not hold it")

    def history(self, namespace: str, key: str, first_block: int = 0) -> Iterator[KeyChange]:
        """What valid transactions wrote to a key, oldest first, up to the newest block.

        Reads every block from *first_block* on.
        """
        last = self.height() - 1
        if first_block > last:
            return
        for message in self._network.block_events(start_block=first_block, stop_block=last):
            block = Block.from_message(message)
            for code, envelope in zip(codes_of(block), block.data, strict=True):
                if code is TxValidationCode.VALID:
                    change = find_change(envelope, namespace, key)
                    if change is not None:
                        yield KeyChange(block.number, change)

    def _ask(self, what: str, function: str, argument: str | bytes) -> Block:
        try:
            raw = self._blocks.evaluate(function, self._network.channel_id, argument)
        except EvaluateError as error:
            if error.code in _NOT_THE_NODES_WORD:
                raise
            raise NotRecorded(
                f"the ledger of channel {self._network.channel_id} does not hold {what}, as far as "
                "this node has it; ask again if it was submitted a moment ago"
            ) from error
        return Block.decode(raw)


def recorded(block: Block) -> list[Recorded]:
    """The transactions of a block with their verdicts."""
    return [
        Recorded(block, place, code, parse_transaction(envelope))
        for place, (code, envelope) in enumerate(zip(codes_of(block), block.data, strict=True))
    ]
