"""What a request for blocks says, and which blocks that means.

Pure. Each refusal has the status with which Fabric ends the stream; its reason goes into the log,
since a `DeliverResponse` has no room for words.

Source: Fabric, common/deliver/{deliver,binding}.go;
common/ledger/blockledger/fileledger/impl.go `Iterator`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from ledger.errors import Refusal
from ledger.transactions.parse import timestamp_of
from network.policy import SignedData

__all__ = ["BlockRange", "DeliverRefusal", "SeekEnvelope", "block_range", "read_envelope"]

TIME_WINDOW = timedelta(minutes=15)

BAD_REQUEST = 400
FORBIDDEN = 403
NOT_FOUND = 404
SERVICE_UNAVAILABLE = 503


class DeliverRefusal(Refusal):
    """A request for blocks ends with this status.

    Attributes:
        status: a value of `common.Status`.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class SeekEnvelope:
    """A request whose headers were read; nothing of it is checked yet.

    Attributes:
        signed: the payload, its creator and the signature.
        seek_info: marshalled ``orderer.SeekInfo``.
        timestamp: of the channel header, aware UTC; None if absent or out of range.
        tls_cert_hash: SHA-256 of the certificate the request is bound to; may be empty.
    """

    channel_id: str
    signed: SignedData
    seek_info: bytes
    timestamp: datetime | None
    tls_cert_hash: bytes

    def verify_time(self, now: datetime) -> None:
        """Check that the request was made within 15 minutes of *now*.

        Raises:
            DeliverRefusal: it was not, or does not say when.
        """
        if self.timestamp is None:
            raise DeliverRefusal(BAD_REQUEST, "channel header in envelope must contain timestamp")
        if abs(self.timestamp - now) > TIME_WINDOW:
            raise DeliverRefusal(
                BAD_REQUEST,
                f"envelope timestamp {self.timestamp.isoformat(timespec='seconds')} is more than "
                f"15 minutes apart from current server time {now.isoformat(timespec='seconds')}",
            )

    def verify_binding(self, certificate_der: bytes) -> None:
        """Check that the request was made for this connection.

        Args:
            certificate_der: the caller's TLS certificate.
        Raises:
            DeliverRefusal: it names no certificate, or another one.
        """
        if not self.tls_cert_hash:
            raise DeliverRefusal(BAD_REQUEST, "client didn't include its TLS cert hash")
        if self.tls_cert_hash != hashlib.sha256(certificate_der).digest():
            raise DeliverRefusal(
                BAD_REQUEST,
                "claimed TLS cert hash is not that of this connection's client certificate",
            )


@dataclass(frozen=True, slots=True)
class BlockRange:
    """Which blocks were asked for.

    Attributes:
        start: first block.
        stop: last block, included.
        waits: whether blocks that do not exist yet are waited for; if not, the stream ends there.
    """

    start: int
    stop: int
    waits: bool


def read_envelope(envelope: Any) -> SeekEnvelope:
    """Read payload and headers of a ``common.Envelope``.

    Raises:
        DeliverRefusal: one of them is not what it should be.
    """
    try:
        payload = common_pb2.Payload.FromString(envelope.payload)
        channel_header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        signature_header = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    except DecodeError as error:
        raise DeliverRefusal(
            BAD_REQUEST, f"received an envelope that cannot be read: {error}"
        ) from error
    if not payload.HasField("header"):
        raise DeliverRefusal(BAD_REQUEST, "malformed envelope received with bad header")
    return SeekEnvelope(
        channel_id=channel_header.channel_id,
        signed=SignedData(envelope.payload, signature_header.creator, envelope.signature),
        seek_info=payload.data,
        timestamp=timestamp_of(channel_header),
        tls_cert_hash=channel_header.tls_cert_hash,
    )


def read_seek_info(raw: bytes) -> Any:
    """Parse an ``orderer.SeekInfo``.

    Raises:
        DeliverRefusal: it is none.
    """
    try:
        return ab_pb2.SeekInfo.FromString(raw)
    except DecodeError as error:
        raise DeliverRefusal(BAD_REQUEST, f"malformed seekInfo payload: {error}") from error


def block_range(seek: Any, height: int) -> BlockRange:
    """Say which blocks *seek* means in a chain of *height* blocks.

    A start that names no position is not found, as in Fabric; a stop that names none can never be
    reached and is refused, where Fabric would deliver for ever.

    Raises:
        DeliverRefusal: start or stop is missing, beyond the chain, or the wrong way round.
    """
    if not seek.HasField("start") or not seek.HasField("stop"):
        raise DeliverRefusal(BAD_REQUEST, "seekInfo message with missing start or stop")
    start = _start(seek.start, height)
    kind = seek.stop.WhichOneof("Type")
    if kind == "oldest" or (kind == "newest" and seek.start == seek.stop):
        stop = start
    elif kind == "newest":
        stop = height - 1
    elif kind == "specified":
        stop = int(seek.stop.specified.number)
    else:
        raise DeliverRefusal(BAD_REQUEST, "seekInfo message with a stop that names no block")
    if stop < start:
        raise DeliverRefusal(
            BAD_REQUEST, f"invalid seekInfo message: start number {start} greater than stop {stop}"
        )
    waits = seek.behavior == ab_pb2.SeekInfo.BLOCK_UNTIL_READY
    return BlockRange(start, stop, waits)


def _start(position: Any, height: int) -> int:
    kind = position.WhichOneof("Type")
    if kind == "oldest":
        return 0
    if kind == "newest":
        return height - 1
    if kind == "next_commit":
        return height
    number = int(position.specified.number)
    if kind is None or number > height:
        raise DeliverRefusal(
            NOT_FOUND, f"block {number} is not there: this node has {height} blocks"
        )
    return number
