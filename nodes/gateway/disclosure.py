"""No answer that tells private data is put into a transaction that does nothing else.

What a contract answers stands in the block for everybody to read. A function that may write is made
to be recorded, also when the same stood already and nothing is written, and its contract answers
for what it says; a query that looked private data up was sent by mistake, and would publish what
its collection keeps from others.

Fabric's gateway sends it on. Here Endorse refuses it; who means to publish has a gateway of its
own, and no rule of the channel is changed by this one.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc
from fabric_protos.peer import proposal_pb2, proposal_response_pb2
from google.protobuf.message import DecodeError

from ledger.errors import Refusal
from ledger.transactions.rwset import decode_tx_rwset
from nodes.endorser.endorser import Simulated
from nodes.rpc.failures import RpcFailure

__all__ = ["verify_answer", "verify_simulated"]


def verify_simulated(simulated: Simulated) -> None:
    """Check what this node has simulated.

    Raises:
        RpcFailure: it is a query and tells private data.
    """
    result = simulated.result
    if result.is_query and result.private_reads and result.payload:
        raise _refused(f"{namespace}/{name}" for namespace, name in sorted(result.private_reads))


def verify_answer(payload: bytes) -> None:
    """Check a marshalled ``ProposalResponsePayload`` of other members' nodes about a query.

    In it reads in plain look like reads of hashes, so these are refused too.

    Raises:
        RpcFailure: it may tell private data and writes nothing.
    """
    try:
        response = proposal_response_pb2.ProposalResponsePayload.FromString(payload)
        action = proposal_pb2.ChaincodeAction.FromString(response.extension)
        namespaces = decode_tx_rwset(action.results).namespaces
    except (DecodeError, Refusal):
        return  # whoever validates it says what is wrong with it
    read = [
        f"{each.namespace}/{collection.collection}"
        for each in namespaces
        for collection in each.collections
        if collection.hashed_reads
    ]
    if read and action.response.payload and not any(each.is_writing for each in namespaces):
        raise _refused(read)


def _refused(collections: Iterable[str]) -> RpcFailure:
    return RpcFailure(
        grpc.StatusCode.FAILED_PRECONDITION,
        f"the transaction writes nothing and answers with what it read of {', '.join(collections)}"
        ", which would stand in a block for everybody to read; evaluate it instead",
    )
