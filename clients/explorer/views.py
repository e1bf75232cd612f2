"""Blocks and transactions as JSON values, with everything that a person may ask about them.

Values of the state are shown as they are on the ledger: the contracts keep no raw identifiers
there. Arguments are left out of overviews and shown with a single transaction.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, transaction_pb2
from google.protobuf.message import DecodeError

from clients.explorer.chain import KeyChange, Recorded, recorded
from clients.gateway.explanations import explain_code
from ledger.blocks.block import Block
from ledger.blocks.metadata import commit_hash_of
from ledger.transactions.codes import TxValidationCode
from ledger.transactions.parse import ParsedTransaction
from network.errors import IdentityError
from network.msp import split_identity
from network.msp.certificate import Certificate


def block_view(block: Block) -> dict[str, Any]:
    """A block: its hashes and one line a transaction."""
    return {
        "number": block.number,
        "hash": block.header.hash().hex(),
        "previous_hash": block.header.previous_hash.hex(),
        "data_hash": block.header.data_hash.hex(),
        "commit_hash": commit_hash_of(block).hex(),
        "transactions": [_line(each) for each in recorded(block)],
    }


def transaction_view(found: Recorded, conflict: str = "") -> dict[str, Any]:
    """A transaction: who, what, when, with which verdict and why, what it read and wrote.

    Args:
        conflict: what is known of the cause of a conflict.
    """
    transaction = found.transaction
    why, way_out = explain_code(found.code)
    spaces = transaction.rwset.namespaces if transaction.rwset else ()
    return {
        **_line(found),
        "block_num": found.block.number,
        "place": found.place,
        "why": conflict or why,
        "way_out": "" if found.code is TxValidationCode.VALID else way_out,
        "arguments": [shown(each) for each in _arguments(transaction)[1:]],
        "endorsers": [_who(each.endorser) for each in transaction.endorsements],
        "reads": [
            {
                "namespace": space.namespace,
                "key": read.key,
                "version": list(read.version) if read.version else None,
            }
            for space in spaces
            for read in space.reads
        ],
        "ranges": [
            {"namespace": space.namespace, "start": query.start_key, "end": query.end_key}
            for space in spaces
            for query in space.range_queries
        ],
        "writes": [
            {
                "namespace": space.namespace,
                "key": write.key,
                "value": None if write.deletes else shown(write.value),
            }
            for space in spaces
            for write in space.writes
        ],
        "event": (
            {"name": transaction.event.event_name, "payload": shown(transaction.event.payload)}
            if transaction.event
            else None
        ),
    }


def change_view(found: KeyChange) -> dict[str, Any]:
    """One entry of a key's history."""
    change = found.change
    return {
        "block_num": found.block_num,
        "tx_id": change.tx_id,
        "at": change.timestamp.isoformat() if change.timestamp else None,
        "value": None if change.is_delete else shown(change.value),
    }


def shown(raw: bytes) -> Any:
    """Bytes as JSON values if they are JSON, else as text, else in base64."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode("ascii")
    try:
        return json.loads(text) if text else ""
    except ValueError:
        return text


def _line(found: Recorded) -> dict[str, Any]:
    transaction = found.transaction
    arguments = _arguments(transaction)
    return {
        "tx_id": transaction.tx_id or transaction.index_id,
        "code": found.code.name,
        "type": _type(transaction.header_type),
        "at": transaction.timestamp.isoformat() if transaction.timestamp else None,
        "creator": _who(transaction.creator),
        "chaincode": transaction.chaincode,
        "function": str(shown(arguments[0])) if arguments else "",
    }


def _type(header_type: int) -> str:
    known = common_pb2.HeaderType.values()
    return str(common_pb2.HeaderType.Name(header_type)) if header_type in known else "unreadable"


def _who(identity: bytes) -> str:
    """Member and common name of an identity."""
    try:
        msp_id, pem = split_identity(identity)
        return f"{msp_id}/{Certificate.from_pem(pem).common_name}"
    except IdentityError:
        return "an identity that cannot be read"


def _arguments(transaction: ParsedTransaction) -> list[bytes]:
    """Function and arguments as proposed; empty for what is no call of a contract."""
    try:
        payload = common_pb2.Payload.FromString(transaction.payload)
        actions = transaction_pb2.Transaction.FromString(payload.data).actions
        if len(actions) != 1:
            return []
        action = transaction_pb2.ChaincodeActionPayload.FromString(actions[0].payload)
        proposal = proposal_pb2.ChaincodeProposalPayload.FromString(
            action.chaincode_proposal_payload
        )
        spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(proposal.input)
    except DecodeError:
        return []
    return [bytes(each) for each in spec.chaincode_spec.input.args]
