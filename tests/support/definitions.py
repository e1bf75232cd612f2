"""Definitions of contracts as a transaction: what a test network's block 1 holds.

Written by hand in Fabric's keys and bytes and endorsed with the nodes' own keys, so that tests of
nodes need no contract of the system.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import (
    chaincode_pb2,
    policy_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2

from network.msp import SigningIdentity
from network.policy import parse_policy

LIFECYCLE = "_lifecycle"


def definition_writes(name: str, version: str, policy: str) -> list[kv_rwset_pb2.KVWrite]:
    """Return the writes in `_lifecycle` that define a contract under a signature policy."""
    fields = ("Sequence", "EndorsementInfo", "ValidationInfo", "Collections")
    application = policy_pb2.ApplicationPolicy(signature_policy=parse_policy(policy))
    endorsement = chaincode_definition_pb2.ChaincodeEndorsementInfo(
        version=version, endorsement_plugin="escc"
    )
    validation = chaincode_definition_pb2.ChaincodeValidationInfo(
        validation_plugin="vscc", validation_parameter=application.SerializeToString()
    )
    values = {
        "Sequence": db_pb2.StateData(Int64=1),
        "EndorsementInfo": db_pb2.StateData(Bytes=endorsement.SerializeToString()),
        "ValidationInfo": db_pb2.StateData(Bytes=validation.SerializeToString()),
        "Collections": db_pb2.StateData(Bytes=b""),
    }
    metadata = db_pb2.StateMetadata(datatype="ChaincodeDefinition", fields=fields)
    writes = {
        f"namespaces/fields/{name}/{each}": values[each].SerializeToString() for each in fields
    }
    writes[f"namespaces/metadata/{name}"] = metadata.SerializeToString()
    return [kv_rwset_pb2.KVWrite(key=key, value=value) for key, value in sorted(writes.items())]


def definition_envelope(
    contracts: Sequence[tuple[str, str]],
    policy: str,
    *,
    channel_id: str,
    creator: SigningIdentity,
    endorsers: Sequence[SigningIdentity],
    now: datetime,
) -> bytes:
    """Return a signed transaction that defines contracts (name, version) under one policy."""
    writes = [
        write for name, version in contracts for write in definition_writes(name, version, policy)
    ]
    kv_rwset = kv_rwset_pb2.KVRWSet(writes=sorted(writes, key=lambda write: write.key.encode()))
    rwset = rwset_pb2.TxReadWriteSet(
        data_model=rwset_pb2.TxReadWriteSet.KV,
        ns_rwset=[
            rwset_pb2.NsReadWriteSet(namespace=LIFECYCLE, rwset=kv_rwset.SerializeToString())
        ],
    )
    return transaction_envelope(
        LIFECYCLE,
        ["CommitChaincodeDefinition"],
        rwset.SerializeToString(),
        version="syscc",
        channel_id=channel_id,
        creator=creator,
        endorsers=endorsers,
        now=now,
    )


def transaction_envelope(
    chaincode: str,
    args: Sequence[str],
    rwset: bytes,
    *,
    version: str,
    channel_id: str,
    creator: SigningIdentity,
    endorsers: Sequence[SigningIdentity],
    now: datetime,
) -> bytes:
    """Return a signed transaction with a read/write set written by hand, properly endorsed."""
    nonce = os.urandom(24)
    header = common_pb2.ChannelHeader(
        type=common_pb2.ENDORSER_TRANSACTION,
        channel_id=channel_id,
        tx_id=sha256(nonce + creator.serialized).hexdigest(),
        extension=proposal_pb2.ChaincodeHeaderExtension(
            chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode)
        ).SerializeToString(),
    )
    header.timestamp.FromDatetime(now)
    channel_header = header.SerializeToString()
    signature_header = common_pb2.SignatureHeader(
        creator=creator.serialized, nonce=nonce
    ).SerializeToString()
    spec = chaincode_pb2.ChaincodeInvocationSpec(
        chaincode_spec=chaincode_pb2.ChaincodeSpec(
            chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode),
            input=chaincode_pb2.ChaincodeInput(args=[each.encode() for each in args]),
        )
    )
    proposal = proposal_pb2.ChaincodeProposalPayload(
        input=spec.SerializeToString()
    ).SerializeToString()
    action = proposal_pb2.ChaincodeAction(
        results=rwset,
        response=proposal_response_pb2.Response(status=200),
        chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode, version=version),
    )
    response = proposal_response_pb2.ProposalResponsePayload(
        proposal_hash=sha256(channel_header + signature_header + proposal).digest(),
        extension=action.SerializeToString(),
    ).SerializeToString()
    endorsed = transaction_pb2.ChaincodeActionPayload(
        chaincode_proposal_payload=proposal,
        action=transaction_pb2.ChaincodeEndorsedAction(
            proposal_response_payload=response,
            endorsements=[
                proposal_response_pb2.Endorsement(
                    endorser=each.serialized, signature=each.sign(response + each.serialized)
                )
                for each in endorsers
            ],
        ),
    )
    transaction = transaction_pb2.Transaction(
        actions=[
            transaction_pb2.TransactionAction(
                header=signature_header, payload=endorsed.SerializeToString()
            )
        ]
    )
    payload = common_pb2.Payload(
        header=common_pb2.Header(channel_header=channel_header, signature_header=signature_header),
        data=transaction.SerializeToString(),
    ).SerializeToString()
    raw: bytes = common_pb2.Envelope(
        payload=payload, signature=creator.sign(payload)
    ).SerializeToString()
    return raw
