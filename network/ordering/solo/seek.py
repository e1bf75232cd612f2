"""The signed request for a channel's blocks, and what comes back on a Deliver stream.

The request is an envelope of type DELIVER_SEEK_INFO. Its channel header carries the time, which
the server compares with its own, and the SHA-256 of the caller's TLS certificate, so that nobody
else can send it over another connection. Source: Fabric, common/deliver/{deliver,binding}.go,
protoutil/commonutils.go; FP:orderer/ab.proto.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime

from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from network.msp import SigningIdentity

__all__ = ["DELIVER", "SERVED", "blocks_between", "blocks_from", "newest_block", "signed_seek"]

DELIVER = "/orderer.AtomicBroadcast/Deliver"
SERVED = ("qist-served", "1")
"""Leading metadata of a stream whose request was accepted, though no block may be there yet."""
WITHOUT_END = 2**64 - 1
NONCE_BYTES = 24
_DELIVER_SEEK_INFO = 5


def blocks_from(number: int) -> ab_pb2.SeekInfo:
    """Ask for all blocks from *number* on, without end; the server waits until they are there."""
    return ab_pb2.SeekInfo(
        start=_block(number),
        stop=_block(WITHOUT_END),
        behavior=ab_pb2.SeekInfo.BLOCK_UNTIL_READY,
    )


def blocks_between(first: int, last: int) -> ab_pb2.SeekInfo:
    """Ask for the blocks from *first* to *last* that are there now."""
    return ab_pb2.SeekInfo(
        start=_block(first), stop=_block(last), behavior=ab_pb2.SeekInfo.FAIL_IF_NOT_READY
    )


def newest_block() -> ab_pb2.SeekInfo:
    """Ask for the last block that is there now."""
    newest = ab_pb2.SeekPosition(newest=ab_pb2.SeekNewest())
    return ab_pb2.SeekInfo(start=newest, stop=newest, behavior=ab_pb2.SeekInfo.FAIL_IF_NOT_READY)


def _block(number: int) -> ab_pb2.SeekPosition:
    return ab_pb2.SeekPosition(specified=ab_pb2.SeekSpecified(number=number))


def signed_seek(
    seek: ab_pb2.SeekInfo,
    *,
    channel_id: str,
    signer: SigningIdentity,
    certificate_der: bytes,
    now: datetime,
) -> bytes:
    """Return the signed envelope that asks for blocks.

    Args:
        seek: which blocks are wanted.
        channel_id: of which channel.
        signer: who asks; it must be a reader of the channel.
        certificate_der: the TLS certificate of the connection the request is sent over.
        now: the time that goes into the request, aware UTC.
    """
    timestamp = Timestamp()
    timestamp.FromDatetime(now)
    channel_header = common_pb2.ChannelHeader(
        type=_DELIVER_SEEK_INFO,
        channel_id=channel_id,
        timestamp=timestamp,
        tls_cert_hash=hashlib.sha256(certificate_der).digest(),
    )
    signature_header = common_pb2.SignatureHeader(
        creator=signer.serialized, nonce=secrets.token_bytes(NONCE_BYTES)
    )
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=channel_header.SerializeToString(),
            signature_header=signature_header.SerializeToString(),
        ),
        data=seek.SerializeToString(),
    ).SerializeToString()
    envelope = common_pb2.Envelope(payload=payload, signature=signer.sign(payload))
    raw: bytes = envelope.SerializeToString()
    return raw
