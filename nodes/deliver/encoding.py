"""The responses of Deliver, as bytes.

``protos.DeliverResponse`` and ``orderer.DeliverResponse`` have the same first two fields: status 1
and block 2; a block with private data is the former's field 4. A full block is encoded once,
whoever follows; a filtered block says of each transaction its id, type, verdict and events without
their payload, and nothing else.

Source: Fabric, core/peer/deliverevents.go `toFilteredBlock`; fabric-protos, peer/events.proto,
orderer/ab.proto.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric_protos.peer import events_pb2

from ledger.transactions.parse import ENDORSER_TRANSACTION
from ledger.transactions.private import TxPrivate, encode_tx_private
from ledger.varints import encode_varint
from nodes.committer.outcome import CommittedBlock, CommittedTransaction

__all__ = [
    "encode_block",
    "encode_block_and_private_data",
    "encode_filtered_block",
    "encode_status",
]

_BLOCK_FIELD = b"\x12"
_BLOCK_AND_PRIVATE_FIELD = b"\x22"
_INNER_BLOCK_FIELD = b"\x0a"


def encode_status(status: int) -> bytes:
    """The response that ends the answer to a request."""
    raw: bytes = events_pb2.DeliverResponse(status=status).SerializeToString()
    return raw


def encode_block(committed: CommittedBlock) -> bytes:
    """The response that carries the whole block, this node's codes and commit hash included."""
    encoded = committed.encoded
    return b"".join((_BLOCK_FIELD, encode_varint(len(encoded)), encoded))


def encode_block_and_private_data(
    committed: CommittedBlock, private: Mapping[int, TxPrivate]
) -> bytes:
    """The response that carries the whole block and private data of its transactions.

    Args:
        committed: the block.
        private: what the caller may have, by number of the transaction.
    """
    encoded = committed.encoded
    rest = events_pb2.BlockAndPrivateData()
    for tx_num, writes in sorted(private.items()):
        rest.private_data_map[tx_num].MergeFromString(encode_tx_private(writes))
    tail = rest.SerializeToString(deterministic=True)
    head = _INNER_BLOCK_FIELD + encode_varint(len(encoded))
    size = len(head) + len(encoded) + len(tail)
    return b"".join((_BLOCK_AND_PRIVATE_FIELD, encode_varint(size), head, encoded, tail))


def encode_filtered_block(committed: CommittedBlock) -> bytes:
    """The response that carries what may be said of a block without its content."""
    filtered = events_pb2.FilteredBlock(number=committed.number)
    for transaction, code in zip(committed.transactions, committed.codes, strict=True):
        if transaction.header_type < 0:
            # Fabric leaves out what has no header as well: there is nothing to say of it.
            continue
        filtered.channel_id = transaction.channel_id
        entry = filtered.filtered_transactions.add(
            txid=transaction.tx_id, type=transaction.header_type, tx_validation_code=int(code)
        )
        if transaction.header_type == ENDORSER_TRANSACTION:
            _add_actions(entry.transaction_actions, transaction)
    response = events_pb2.DeliverResponse(filtered_block=filtered)
    raw: bytes = response.SerializeToString()
    return raw


def _add_actions(
    actions: events_pb2.FilteredTransactionActions, transaction: CommittedTransaction
) -> None:
    actions.SetInParent()
    event = transaction.event
    if event is not None and event.chaincode_id:
        action = actions.chaincode_actions.add()
        action.chaincode_event.chaincode_id = event.chaincode_id
        action.chaincode_event.tx_id = event.tx_id
        action.chaincode_event.event_name = event.event_name
