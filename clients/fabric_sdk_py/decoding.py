"""Blocks and transactions as nested dictionaries, in the shape that ``fabric-sdk-py`` gives them.

Hashes and nonces are hexadecimal in bytes, payloads bytes, versions texts, as there. The content of
a configuration transaction is left as bytes.
"""

from __future__ import annotations

from datetime import UTC
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)

from ledger.transactions.codes import TxValidationCode

Decoded = dict[str, Any]


def decode_block(block: Any) -> Decoded:
    """A ``common.Block``."""
    return {
        "header": {
            "number": block.header.number,
            "previous_hash": _hex(block.header.previous_hash),
            "data_hash": _hex(block.header.data_hash),
        },
        "data": {
            "data": [decode_envelope(common_pb2.Envelope.FromString(e)) for e in block.data.data]
        },
        "metadata": {"metadata": _metadata(block.metadata.metadata)},
    }


def decode_filtered_block(block: Any) -> Decoded:
    """A ``protos.FilteredBlock``."""
    return {
        "channel_id": block.channel_id,
        "number": block.number,
        "filtered_transactions": [
            {
                "txid": each.txid,
                "type": common_pb2.HeaderType.Name(each.type),
                "tx_validation_code": TxValidationCode(each.tx_validation_code).name,
                "transaction_actions": {
                    "chaincode_actions": [
                        {"chaincode_event": _event(action.chaincode_event)}
                        for action in each.transaction_actions.chaincode_actions
                    ]
                },
            }
            for each in block.filtered_transactions
        ],
    }


def decode_processed_transaction(raw: bytes) -> Decoded:
    """A ``protos.ProcessedTransaction``, as the query for a transaction answers."""
    processed = transaction_pb2.ProcessedTransaction.FromString(raw)
    return {
        "validation_code": processed.validationCode,
        "transaction_envelope": decode_envelope(processed.transactionEnvelope),
    }


def decode_envelope(envelope: Any) -> Decoded:
    """A ``common.Envelope``."""
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    is_call = header.type == common_pb2.ENDORSER_TRANSACTION
    return {
        "signature": envelope.signature,
        "payload": {
            "header": {
                "channel_header": {
                    "type": header.type,
                    "version": int(header.version),
                    "timestamp": _time(header.timestamp),
                    "channel_id": header.channel_id,
                    "tx_id": header.tx_id,
                    "epoch": header.epoch,
                    "extension": header.extension,
                    "type_string": common_pb2.HeaderType.Name(header.type),
                },
                "signature_header": _signature_header(payload.header.signature_header),
            },
            "data": _transaction(payload.data) if is_call else payload.data,
        },
    }


def _metadata(metadata: Any) -> list[Any]:
    if not metadata:
        return []
    signatures = common_pb2.Metadata.FromString(metadata[common_pb2.SIGNATURES])
    last = common_pb2.Metadata.FromString(metadata[common_pb2.LAST_CONFIG])
    return [
        {"value": signatures.value, "signatures": _signatures(signatures.signatures)},
        {
            "value": {"index": common_pb2.LastConfig.FromString(last.value).index},
            "signatures": _signatures(last.signatures),
        },
        list(metadata[common_pb2.TRANSACTIONS_FILTER]),
    ]


def _signatures(signatures: Any) -> list[Decoded]:
    return [
        {
            "signature_header": _signature_header(each.signature_header),
            "signature": each.signature,
        }
        for each in signatures
    ]


def _signature_header(raw: bytes) -> Decoded:
    header = common_pb2.SignatureHeader.FromString(raw)
    return {"creator": _identity(header.creator), "nonce": _hex(header.nonce)}


def _identity(raw: bytes) -> Decoded:
    identity = identities_pb2.SerializedIdentity.FromString(raw)
    return {"mspid": identity.mspid, "id_bytes": identity.id_bytes.decode("ascii", "replace")}


def _transaction(raw: bytes) -> Decoded:
    transaction = transaction_pb2.Transaction.FromString(raw)
    return {
        "actions": [
            {"header": _signature_header(each.header), "payload": _action(each.payload)}
            for each in transaction.actions
        ]
    }


def _action(raw: bytes) -> Decoded:
    payload = transaction_pb2.ChaincodeActionPayload.FromString(raw)
    proposal = proposal_pb2.ChaincodeProposalPayload.FromString(payload.chaincode_proposal_payload)
    response = proposal_response_pb2.ProposalResponsePayload.FromString(
        payload.action.proposal_response_payload
    )
    action = proposal_pb2.ChaincodeAction.FromString(response.extension)
    return {
        "chaincode_proposal_payload": {"input": proposal.input},
        "action": {
            "proposal_response_payload": {
                "proposal_hash": _hex(response.proposal_hash),
                "extension": {
                    "results": _results(action.results),
                    "events": _event(chaincode_event_pb2.ChaincodeEvent.FromString(action.events)),
                    "response": {
                        "status": action.response.status,
                        "message": action.response.message,
                        "payload": action.response.payload,
                    },
                    "chaincode_id": {
                        "path": action.chaincode_id.path,
                        "name": action.chaincode_id.name,
                        "version": action.chaincode_id.version,
                    },
                },
            },
            "endorsements": [
                {"endorser": _identity(each.endorser), "signature": each.signature}
                for each in payload.action.endorsements
            ],
        },
    }


def _event(event: Any) -> Decoded:
    return {
        "chaincode_id": event.chaincode_id,
        "tx_id": event.tx_id,
        "event_name": event.event_name,
        "payload": event.payload,
    }


def _results(raw: bytes) -> Decoded:
    results = rwset_pb2.TxReadWriteSet.FromString(raw)
    return {
        "data_model": results.data_model,
        "ns_rwset": [
            {
                "namespace": each.namespace,
                "rwset": _keys(kv_rwset_pb2.KVRWSet.FromString(each.rwset)),
            }
            for each in results.ns_rwset
        ],
    }


def _keys(keys: Any) -> Decoded:
    return {
        "reads": [_read(each) for each in keys.reads],
        "range_queries_info": [
            {
                "start_key": each.start_key,
                "end_key": each.end_key,
                "itr_exhausted": each.itr_exhausted,
                "raw_reads": {"kv_reads": [_read(read) for read in each.raw_reads.kv_reads]},
            }
            for each in keys.range_queries_info
        ],
        "writes": [
            {"key": each.key, "is_delete": each.is_delete, "value": each.value}
            for each in keys.writes
        ],
    }


def _read(read: Any) -> Decoded:
    version = None
    if read.HasField("version"):
        version = {
            "block_num": str(read.version.block_num),
            "tx_num": str(read.version.tx_num),
        }
    return {"key": read.key, "version": version}


def _hex(raw: bytes) -> bytes:
    return raw.hex().encode()


def _time(timestamp: Any) -> str:
    return str(timestamp.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M:%S"))
