"""Every RPC of a node, and the requests that a hostile client makes of honest ones.

Nothing here speaks to anybody: see `tests.support.hostile` for that.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2

from clients.gateway.ports import Signer
from ledger.transactions.private import PrivateWrite
from network.certificates.key_pairs import make_key
from network.msp.keys import sign
from nodes.private_data.digests import Digest, Pushed, encode_push, encode_request
from tests.support.local_network import CHANNEL

BANK, PTA = "BankMSP", "PtaMSP"
SUCCESS, BAD_REQUEST, FORBIDDEN, NOT_FOUND, TOO_LARGE = 200, 400, 403, 404, 413


@dataclass(frozen=True)
class Rpc:
    """One RPC: on which port it is, and whether requests and answers are streams."""

    path: str
    port: str
    kind: str


RPCS = {
    "Evaluate": Rpc("/gateway.Gateway/Evaluate", "client", "unary_unary"),
    "Endorse": Rpc("/gateway.Gateway/Endorse", "client", "unary_unary"),
    "Submit": Rpc("/gateway.Gateway/Submit", "client", "unary_unary"),
    "CommitStatus": Rpc("/gateway.Gateway/CommitStatus", "client", "unary_unary"),
    "ChaincodeEvents": Rpc("/gateway.Gateway/ChaincodeEvents", "client", "unary_stream"),
    "Deliver": Rpc("/protos.Deliver/Deliver", "client", "stream_stream"),
    "DeliverFiltered": Rpc("/protos.Deliver/DeliverFiltered", "client", "stream_stream"),
    "DeliverWithPrivateData": Rpc(
        "/protos.Deliver/DeliverWithPrivateData", "client", "stream_stream"
    ),
    "ProcessProposal": Rpc("/protos.Endorser/ProcessProposal", "node", "unary_unary"),
    "Broadcast": Rpc("/orderer.AtomicBroadcast/Broadcast", "node", "stream_stream"),
    "orderer's Deliver": Rpc("/orderer.AtomicBroadcast/Deliver", "node", "stream_stream"),
    "Push": Rpc("/qist.PrivateData/Push", "node", "unary_unary"),
    "Pull": Rpc("/qist.PrivateData/Pull", "node", "unary_unary"),
}
DELIVERS = ("Deliver", "DeliverFiltered", "DeliverWithPrivateData", "orderer's Deliver")
PROPOSALS = ("Evaluate", "Endorse", "ProcessProposal")
ENVELOPES = ("Submit", "Broadcast")
REQUESTS = ("CommitStatus", "ChaincodeEvents")
PRIVATE = ("Push", "Pull")
"""Between members' nodes: the TLS certificate alone says who asks."""
REFUSING = (*PROPOSALS, *ENVELOPES, *REQUESTS, *DELIVERS)
"""All that look at who signed."""


@dataclass
class Impostor:
    """Says that it is somebody, and signs with whatever key it has.

    Attributes:
        serialized: who it says it is.
        key: a new one by default.
    """

    serialized: bytes
    key: Any = field(default_factory=lambda: make_key("P-256"))
    msp_id: str = BANK

    def sign(self, message: bytes) -> bytes:
        """Sign as its key can."""
        return sign(self.key, message)


def wrap_proposal(name: str, signed: Any) -> bytes:
    """Return the request of an RPC that carries a SignedProposal."""
    if name == "ProcessProposal":
        return bytes(signed.SerializeToString())
    kind = gateway_pb2.EvaluateRequest if name == "Evaluate" else gateway_pb2.EndorseRequest
    return bytes(kind(proposed_transaction=signed).SerializeToString())


def wrap_envelope(name: str, envelope: bytes, channel_id: str = CHANNEL) -> bytes:
    """Return the request of an RPC that carries a transaction to be ordered."""
    if name == "Broadcast":
        return envelope
    request = gateway_pb2.SubmitRequest(channel_id=channel_id)
    request.prepared_transaction.MergeFromString(envelope)
    return bytes(request.SerializeToString())


def ask_for_private_data(name: str, channel_id: str) -> bytes:
    """Return the request of an RPC about private data."""
    if name == "Pull":
        return encode_request(channel_id, [Digest("ab" * 32, "counter", "secrets", 1, 0)])
    write = PrivateWrite("counter", "secrets", b"\x1a\x05\x0a\x01k\x1a\x00")
    return encode_push(channel_id, Pushed("ab" * 32, write, 1), b"")


def seek(
    signer: Signer,
    *,
    channel_id: str = CHANNEL,
    now: datetime | None = None,
    tls_cert_hash: bytes = b"",
    data: bytes | None = None,
    stop: int = 0,
) -> bytes:
    """Return a request for the blocks from the genesis block to *stop*."""
    header = common_pb2.ChannelHeader(
        type=common_pb2.DELIVER_SEEK_INFO, channel_id=channel_id, tls_cert_hash=tls_cert_hash
    )
    if now is not None:
        header.timestamp.FromDatetime(now)
    seeking = ab_pb2.SeekInfo()
    seeking.start.specified.number, seeking.stop.specified.number = 0, stop
    seeking.start.SetInParent()
    asked = seeking.SerializeToString()
    payload = common_pb2.Payload(data=asked if data is None else data)
    payload.header.channel_header = header.SerializeToString()
    payload.header.signature_header = common_pb2.SignatureHeader(
        creator=signer.serialized, nonce=os.urandom(24)
    ).SerializeToString()
    raw = payload.SerializeToString()
    return bytes(common_pb2.Envelope(payload=raw, signature=signer.sign(raw)).SerializeToString())
