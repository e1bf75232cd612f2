"""Requests for events and for blocks, signed here or elsewhere.

As the drafts in ``messages.py``: a request knows its bytes and its digest. Sign the digest in a
vault, and go on with ``with_signature``, or carry ``encode()`` to another program. Bytes that were
signed are sent as they are.

Source: the shapes are those of Fabric's own gateway clients, so that each side can sign for the
other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2

from clients.gateway import messages
from clients.gateway.ports import Checkpointer, Signer

Deliver = Literal["Deliver", "DeliverFiltered", "DeliverWithPrivateData"]
"""RPC of ``protos.Deliver``: whole blocks, filtered blocks, whole blocks with private data."""


@dataclass(frozen=True, slots=True)
class EventsRequest:
    """A request for a contract's events, signed or to be signed.

    Attributes:
        raw: marshalled ``gateway.ChaincodeEventsRequest``, the bytes that are signed.
        signature: made elsewhere; empty lets the signer make it when it is sent.
    """

    signer: Signer
    raw: bytes
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the bytes, 32 bytes."""
        return hashlib.sha256(self.raw).digest()

    def with_signature(self, signature: bytes) -> EventsRequest:
        """The same request with a signature made elsewhere."""
        return replace(self, signature=signature)

    def signed(self) -> Any:
        """The ``gateway.SignedChaincodeEventsRequest``."""
        signature = self.signature or self.signer.sign(self.raw)
        return gateway_pb2.SignedChaincodeEventsRequest(request=self.raw, signature=signature)

    def encode(self) -> bytes:
        """Bytes to carry to another program."""
        message = gateway_pb2.SignedChaincodeEventsRequest(
            request=self.raw, signature=self.signature
        )
        return bytes(message.SerializeToString())


@dataclass(frozen=True, slots=True)
class BlocksRequest:
    """A request for blocks, signed or to be signed.

    Attributes:
        rpc: which blocks.
        raw: marshalled ``common.Payload``, the bytes that are signed.
        signature: made elsewhere; empty lets the signer make it when it is sent.
    """

    signer: Signer
    rpc: Deliver
    raw: bytes
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the bytes, 32 bytes."""
        return hashlib.sha256(self.raw).digest()

    def with_signature(self, signature: bytes) -> BlocksRequest:
        """The same request with a signature made elsewhere."""
        return replace(self, signature=signature)

    def signed(self) -> Any:
        """The ``common.Envelope``."""
        signature = self.signature or self.signer.sign(self.raw)
        return common_pb2.Envelope(payload=self.raw, signature=signature)

    def encode(self) -> bytes:
        """Bytes to carry to another program."""
        message = common_pb2.Envelope(payload=self.raw, signature=self.signature)
        return bytes(message.SerializeToString())


def events_request(
    signer: Signer,
    channel_id: str,
    chaincode: str,
    start_block: int | None,
    checkpoint: Checkpointer | None,
) -> EventsRequest:
    """Ask for a contract's events: from the checkpoint, else from *start_block*, else from now."""
    raw = messages.events_request_bytes(
        signer,
        channel_id,
        chaincode,
        _start(start_block, checkpoint),
        checkpoint.tx_id if checkpoint else "",
    )
    return EventsRequest(signer, raw)


def blocks_request(
    signer: Signer,
    channel_id: str,
    rpc: Deliver,
    start_block: int | None,
    stop_block: int | None,
    checkpoint: Checkpointer | None,
    *,
    now: datetime | None,
) -> BlocksRequest:
    """Ask for blocks: from the checkpoint, else from *start_block*, else from the next commit."""
    start = _start(start_block, checkpoint)
    raw = messages.seek_payload(signer, channel_id, start, stop_block, now=now)
    return BlocksRequest(signer, rpc, raw)


def decode_events_request(signer: Signer, raw: bytes) -> EventsRequest:
    """Take up a request that :meth:`EventsRequest.encode` wrote, signed or not."""
    message = gateway_pb2.SignedChaincodeEventsRequest.FromString(raw)
    return EventsRequest(signer, message.request, message.signature)


def decode_blocks_request(signer: Signer, rpc: Deliver, raw: bytes) -> BlocksRequest:
    """Take up a request that :meth:`BlocksRequest.encode` wrote, signed or not.

    The bytes do not tell which kind of blocks they ask for.
    """
    message = common_pb2.Envelope.FromString(raw)
    return BlocksRequest(signer, rpc, message.payload, message.signature)


def _start(start_block: int | None, checkpoint: Checkpointer | None) -> int | None:
    if checkpoint is not None and checkpoint.block_num is not None:
        return checkpoint.block_num
    return start_block
