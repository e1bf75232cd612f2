"""One write of one key, found in an envelope: what the history of a key is made of.

The history of a key opens many envelopes, bulk ones among them, for one write in each. So this
takes the shortest way through the bytes, and judges nothing: the transaction is valid already.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fabric_protos.common import common_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2, transaction_pb2
from google.protobuf.message import DecodeError as ProtobufDecodeError

from ledger.transactions.parse import timestamp_of
from ledger.transactions.rwset import find_write


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction did to one public key.

    Attributes:
        is_delete: an empty value counts as a delete.
        timestamp: of the channel header, UTC; None if it carries none.
    """

    tx_id: str
    value: bytes
    is_delete: bool
    timestamp: datetime | None


def find_change(envelope: bytes, namespace: str, key: str) -> Change | None:
    """Return what the transaction in *envelope* wrote to a key, None if it wrote nothing to it."""
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        actions = transaction_pb2.Transaction.FromString(payload.data).actions
        if len(actions) != 1:
            return None
        action = transaction_pb2.ChaincodeActionPayload.FromString(actions[0].payload).action
        response = proposal_response_pb2.ProposalResponsePayload.FromString(
            action.proposal_response_payload
        )
        results = proposal_pb2.ChaincodeAction.FromString(response.extension).results
        write = find_write(results, namespace, key)
    except ProtobufDecodeError:
        return None
    if write is None:
        return None
    return Change(header.tx_id, write.value, write.deletes, timestamp_of(header))
