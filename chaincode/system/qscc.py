"""`qscc`: blocks and transactions of the channel, asked through Evaluate.

Functions, arguments and results are Fabric's (core/scc/qscc/query.go); the first argument is always
the channel:

    GetChainInfo(channel)                 common.BlockchainInfo
    GetBlockByNumber(channel, number)     common.Block; 2**64-1 is the newest
    GetBlockByHash(channel, header hash)  common.Block; the 32 bytes themselves
    GetBlockByTxID(channel, tx id)        common.Block
    GetTransactionByID(channel, tx id)    protos.ProcessedTransaction: envelope and code

Answers are those of the moment, not of the proposal's snapshot, and nothing is recorded: two nodes
may answer differently, so nobody endorses them and no contract may call them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fabric_protos.common import ledger_pb2
from fabric_protos.peer import transaction_pb2

from chaincode.contract.context import Context
from chaincode.errors import ContractRefusal
from chaincode.system.functions import SystemChaincode, verify_channel
from chaincode.system.ports import BlockArchive
from ledger.blocks.block import Block

NAME: Final = "qscc"
_NEWEST: Final = 2**64 - 1


class BlockQueries(SystemChaincode):
    """The contract `qscc` of one channel."""

    def __init__(self, archive: BlockArchive) -> None:
        super().__init__(
            NAME,
            {
                "GetChainInfo": self._chain_info,
                "GetBlockByNumber": self._block_by_number,
                "GetBlockByHash": self._block_by_hash,
                "GetBlockByTxID": self._block_by_tx_id,
                "GetTransactionByID": self._transaction_by_id,
            },
            {},
        )
        self._archive = archive

    def _chain_info(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        verify_channel(ctx, args)
        newest = self._block(self._archive.height - 1)
        raw: bytes = ledger_pb2.BlockchainInfo(
            height=newest.number + 1,
            currentBlockHash=newest.header.hash(),
            previousBlockHash=newest.header.previous_hash,
        ).SerializeToString()
        return raw

    def _block_by_number(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = _text(ctx, args, "GetBlockByNumber", "Block number must not be nil.")
        if not (asked.isascii() and asked.isdigit() and len(asked) <= 20) or int(asked) > _NEWEST:
            raise ContractRefusal(
                "the query",
                "Failed to parse block number",
                "write it in decimal digits, below 2**64",
            )
        number = int(asked)
        return self._block(self._archive.height - 1 if number == _NEWEST else number).encode()

    def _block_by_hash(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        asked = _third(ctx, args, "GetBlockByHash", "Block hash must not be nil.")
        block = self._archive.block_by_hash(asked)
        if block is None:
            raise _absent(
                f"Failed to get block hash {asked[:32].hex()}",
                "no such block hash in index",
                "give the 32 bytes of a block's header hash",
            )
        return block.encode()

    def _block_by_tx_id(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        tx_id = _text(ctx, args, "GetBlockByTxID", "Transaction ID must not be nil.")
        place = self._archive.transaction(tx_id)
        if place is None:
            raise _unknown_transaction("Failed to get block for txID", tx_id)
        return self._block(place.block_num).encode()

    def _transaction_by_id(self, ctx: Context, args: Sequence[bytes]) -> bytes:
        tx_id = _text(ctx, args, "GetTransactionByID", "Transaction ID must not be nil.")
        place = self._archive.transaction(tx_id)
        if place is None:
            raise _unknown_transaction("Failed to get transaction with id", tx_id)
        message = transaction_pb2.ProcessedTransaction(validationCode=int(place.code))
        message.transactionEnvelope.MergeFromString(self._block(place.block_num).data[place.tx_num])
        raw: bytes = message.SerializeToString()
        return raw

    def _block(self, number: int) -> Block:
        block = self._archive.block(number)
        if block is None:
            raise _absent(
                f"Failed to get block number {number}",
                f"no such block number [{number}] in index",
                f"the newest block here is {self._archive.height - 1}",
            )
        return block


def _third(ctx: Context, args: Sequence[bytes], function: str, absent: str) -> bytes:
    verify_channel(ctx, args)
    if len(args) < 2:
        raise ContractRefusal("the query", f"missing 3rd argument for {function}", "add it")
    if not args[1]:
        raise ContractRefusal("the query", absent, "fill the third argument")
    return args[1]


def _text(ctx: Context, args: Sequence[bytes], function: str, absent: str) -> str:
    return _third(ctx, args, function, absent).decode("utf-8", "replace")


def _absent(what: str, reason: str, way_out: str) -> ContractRefusal:
    return ContractRefusal(what, f"error {reason}", way_out, status=404)


def _unknown_transaction(what: str, tx_id: str) -> ContractRefusal:
    shown = tx_id if len(tx_id) <= 64 and tx_id.isalnum() else "as given"
    return _absent(
        f"{what} {shown}",
        f"no such transaction ID [{shown}] in index",
        "it is not committed on this node, or not yet",
    )
