"""Envelopes and blocks made by hand: well formed, with signatures that nobody verifies.

For tests of the ledger, which takes the verdict on signatures and policies from its caller.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.timestamp_pb2 import Timestamp

from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.channel import ChannelLedger, PreparedBlock
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import compute_tx_id, parse_transaction
from ledger.transactions.rwset import TxRWSet, encode_tx_rwset

CHANNEL = "test"
CREATOR = b"a creator"
TIME = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def make_envelope(
    rwset: TxRWSet,
    nonce: bytes,
    *,
    chaincode: str = "shop",
    time: datetime = TIME,
    event: tuple[str, bytes] | None = None,
) -> bytes:
    """Return an endorser transaction; its id is that of *nonce* and the one creator."""
    tx_id = compute_tx_id(nonce, CREATOR)
    stamp = Timestamp()
    stamp.FromDatetime(time)
    extension = proposal_pb2.ChaincodeHeaderExtension()
    extension.chaincode_id.name = chaincode
    channel_header = common_pb2.ChannelHeader(
        type=common_pb2.ENDORSER_TRANSACTION,
        timestamp=stamp,
        channel_id=CHANNEL,
        tx_id=tx_id,
        extension=extension.SerializeToString(),
    ).SerializeToString()
    signature_header = common_pb2.SignatureHeader(creator=CREATOR, nonce=nonce).SerializeToString()
    proposal = proposal_pb2.ChaincodeProposalPayload(input=b"input").SerializeToString()
    action = proposal_pb2.ChaincodeAction(results=encode_tx_rwset(rwset))
    action.response.status = 200
    action.chaincode_id.name = chaincode
    action.chaincode_id.version = "1"
    if event is not None:
        action.events = chaincode_event_pb2.ChaincodeEvent(
            chaincode_id=chaincode, tx_id=tx_id, event_name=event[0], payload=event[1]
        ).SerializeToString()
    response = proposal_response_pb2.ProposalResponsePayload(
        proposal_hash=hashlib.sha256(channel_header + signature_header + proposal).digest(),
        extension=action.SerializeToString(),
    )
    endorsed = transaction_pb2.ChaincodeActionPayload(chaincode_proposal_payload=proposal)
    endorsed.action.proposal_response_payload = response.SerializeToString()
    endorsed.action.endorsements.add(endorser=b"an endorser", signature=b"a signature")
    transaction = transaction_pb2.Transaction()
    transaction.actions.add(header=signature_header, payload=endorsed.SerializeToString())
    return _envelope(channel_header, signature_header, transaction.SerializeToString())


def make_config_envelope(sequence: int) -> bytes:
    """Return a CONFIG envelope that says nothing but its sequence number."""
    channel_header = common_pb2.ChannelHeader(type=common_pb2.CONFIG, channel_id=CHANNEL)
    signature_header = common_pb2.SignatureHeader(
        creator=b"an orderer", nonce=b"config %d" % sequence
    )
    config = configtx_pb2.ConfigEnvelope(config=configtx_pb2.Config(sequence=sequence))
    return _envelope(
        channel_header.SerializeToString(),
        signature_header.SerializeToString(),
        config.SerializeToString(),
    )


def _envelope(channel_header: bytes, signature_header: bytes, data: bytes) -> bytes:
    payload = common_pb2.Payload(data=data)
    payload.header.channel_header = channel_header
    payload.header.signature_header = signature_header
    envelope = common_pb2.Envelope(payload=payload.SerializeToString(), signature=b"signature")
    raw: bytes = envelope.SerializeToString()
    return raw


def make_block(number: int, previous_hash: bytes, envelopes: Sequence[bytes]) -> Block:
    """Return a block as an orderer would make it, without its signature."""
    header = BlockHeader(number, previous_hash, compute_data_hash(envelopes))
    return Block(header, tuple(envelopes), (b"", b"", b"", b"", b""))


def next_block(ledger: ChannelLedger, envelopes: Sequence[bytes]) -> Block:
    """Return a block that follows the last one of *ledger*."""
    return make_block(ledger.height, ledger.last_header_hash, envelopes)


def prepare(ledger: ChannelLedger, block: Block) -> PreparedBlock:
    """Prepare *block* with the verdicts that its bytes and the ids in the ledger decide."""
    transactions = tuple(parse_transaction(raw) for raw in block.data)
    codes = []
    for each in transactions:
        code = each.format_code or each.structure_code or each.content_code
        if code is None and each.tx_id and ledger.has_transaction(each.tx_id):
            code = TxValidationCode.DUPLICATE_TXID
        codes.append(TxValidationCode.VALID if code is None else code)
    return ledger.prepare(block, transactions, codes)


def commit(ledger: ChannelLedger, envelopes: Sequence[bytes]) -> PreparedBlock:
    """Prepare and commit the next block with *envelopes*."""
    prepared = prepare(ledger, next_block(ledger, envelopes))
    ledger.commit(prepared)
    return prepared
