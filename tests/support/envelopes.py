"""Transactions written by hand: any read/write set, endorsed with the nodes' own keys.

What no honest gateway would make: too few endorsements, another creator, a set that no contract
wrote. Everything else about it is right.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from fabric_protos.common import common_pb2
from fabric_protos.peer import (
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)

from network.msp import SigningIdentity


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
