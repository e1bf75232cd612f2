"""The messages in which an update is signed and sent.

Each who agrees signs ``signature header ‖ update`` and adds a `ConfigSignature`, in any order;
whoever sends the update to the orderer signs the envelope around it. The bytes of the update stay
as they were when the first one signed.

Source: Fabric internal/peer/channel/signconfigtx.go, protoutil/txutils.go.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2

from network.configuration.update import read_update
from network.decoding import decode_message
from network.errors import ConfigurationError
from network.msp import SigningIdentity

__all__ = ["read_update_envelope", "sign_update", "update_envelope"]

NONCE_BYTES: Final = 24


def sign_update(
    config_update: bytes, signer: SigningIdentity, *, nonce: bytes | None = None
) -> Any:
    """Return the ConfigSignature of *signer* over a marshalled ConfigUpdate.

    Args:
        config_update: the bytes, as they are sent.
        signer: who agrees.
        nonce: 24 bytes; random if absent.
    """
    header = _signature_header(signer, nonce)
    return configtx_pb2.ConfigSignature(
        signature_header=header, signature=signer.sign(header + config_update)
    )


def update_envelope(
    channel_id: str,
    config_update: bytes,
    signatures: Iterable[Any],
    signer: SigningIdentity | None,
    when: datetime,
    *,
    nonce: bytes | None = None,
) -> bytes:
    """Return the marshalled Envelope in which an update travels.

    Args:
        channel_id: the channel.
        config_update: a marshalled ConfigUpdate.
        signatures: the ConfigSignature messages of those who agree.
        signer: who sends it; None while it is passed round to be signed.
        when: the time of the envelope, aware.
        nonce: 24 bytes; random if absent.
    """
    header = common_pb2.ChannelHeader(
        type=common_pb2.CONFIG_UPDATE, version=0, channel_id=channel_id
    )
    header.timestamp.FromDatetime(when)
    payload = common_pb2.Payload(
        header=common_pb2.Header(
            channel_header=header.SerializeToString(),
            signature_header=b"" if signer is None else _signature_header(signer, nonce),
        ),
        data=configtx_pb2.ConfigUpdateEnvelope(
            config_update=config_update, signatures=signatures
        ).SerializeToString(),
    ).SerializeToString()
    envelope = common_pb2.Envelope(
        payload=payload, signature=b"" if signer is None else signer.sign(payload)
    )
    raw: bytes = envelope.SerializeToString()
    return raw


def read_update_envelope(raw: bytes) -> tuple[bytes, list[Any]]:
    """Return the marshalled ConfigUpdate and the ConfigSignatures in a marshalled Envelope.

    Raises:
        ConfigurationError: it is no envelope of type CONFIG_UPDATE.
    """
    envelope = decode_message(
        common_pb2.Envelope, raw, "the configuration update", ConfigurationError
    )
    found = read_update(envelope)
    return bytes(found.config_update), list(found.signatures)


def _signature_header(signer: SigningIdentity, nonce: bytes | None) -> bytes:
    header = common_pb2.SignatureHeader(
        creator=signer.serialized, nonce=nonce or secrets.token_bytes(NONCE_BYTES)
    )
    raw: bytes = header.SerializeToString()
    return raw
