"""Where a gateway is and how to reach it: address, trust, deadlines, and errors as the SDK's own.

Deliberately absent: any policy about repeating a call; see ``retry.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from fabric_protos.gateway import gateway_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from clients.gateway.errors import ErrorDetail, GatewayError

_DETAILS_KEY = "grpc-status-details-bin"
_NOTHING_DONE = ("qist-outcome", "nothing-was-done")
_AGAIN_KEY = "grpc-retry-pushback-ms"
_INDEFINITE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)
_UNDECIDED_STAGES = frozenset({"submit", "commit status"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One gateway.

    Attributes:
        address: ``host:port`` of a node's client port.
        tls_ca_pem: certificates of the authorities that may vouch for it.
        server_name: name in its certificate, where it differs from the host.
        client_certificate_pem, client_key_pem: for a gateway that asks for mutual TLS.
    """

    address: str
    tls_ca_pem: bytes
    server_name: str = ""
    client_certificate_pem: bytes = b""
    client_key_pem: bytes = b""

    def credentials(self) -> grpc.ChannelCredentials:
        """TLS credentials for this gateway."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.tls_ca_pem,
            private_key=self.client_key_pem or None,
            certificate_chain=self.client_certificate_pem or None,
        )

    def options(self) -> list[tuple[str, Any]]:
        """gRPC channel options: message size, keep-alive, reconnecting, name override."""
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 120_000),
            ("grpc.keepalive_timeout_ms", 20_000),
            # gRPC's own pauses between attempts grow to two minutes: a gateway that is back would
            # long go on looking dead.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 3_000),
            # Its name hides it: how long one attempt may take, TLS handshake included.
            ("grpc.min_reconnect_backoff_ms", 10_000),
        ]
        if self.server_name:
            options.append(("grpc.ssl_target_name_override", self.server_name))
            options.append(("grpc.default_authority", self.server_name))
        return options


MAX_MESSAGE_BYTES = 100 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds after which each stage is given up.

    A call that an overloaded gateway refuses, saying when to come again, is made again until it was
    waited for ``refused_s``; with 0 it fails at once. After ``withheld_s`` without a commit status
    a gateway to which others stand in is taken to keep the transaction back.
    """

    evaluate_s: float = 15.0
    endorse_s: float = 30.0
    submit_s: float = 15.0
    commit_status_s: float = 60.0
    withheld_s: float = 10.0
    refused_s: float = 30.0

    def of(self, rpc: str) -> float:
        """The deadline of the RPC named *rpc*."""
        return {
            "Evaluate": self.evaluate_s,
            "Endorse": self.endorse_s,
            "Submit": self.submit_s,
            "CommitStatus": self.commit_status_s,
        }[rpc]


def gateway_error(kind: type[GatewayError], error: grpc.RpcError, tx_id: str) -> GatewayError:
    """Turn a failed RPC into the error of its stage, with what each peer said.

    A broken connection or a deadline leaves the outcome of a submission open, unless the gateway
    itself says that nothing was sent to an orderer (docs/formats.md, section 16).
    """
    code = error.code()
    trailing: tuple[Any, ...] = tuple(error.trailing_metadata() or ())
    nothing_done = any((key, value) == _NOTHING_DONE for key, value in trailing)
    undecided = kind.stage in _UNDECIDED_STAGES and code in _INDEFINITE
    if kind.stage == "submit" and nothing_done:
        undecided = False
    return kind(
        f"{error.details() or 'no reason given'} ({code.name})",
        code=code,
        tx_id=tx_id,
        details=tuple(_details_of(trailing)),
        outcome_definite=not undecided,
        again_in_s=_again_in_s(trailing) if nothing_done else None,
    )


def _again_in_s(metadata: Iterable[Any]) -> float | None:
    for key, value in metadata:
        if key == _AGAIN_KEY and str(value).isdecimal() and len(str(value)) < 8:
            return int(value) / 1000
    return None


def _details_of(metadata: Iterable[Any]) -> Iterable[ErrorDetail]:
    for key, value in metadata:
        if key != _DETAILS_KEY or not isinstance(value, bytes):
            continue
        try:
            status = status_pb2.Status.FromString(value)
            for packed in status.details:
                detail = gateway_pb2.ErrorDetail()
                if packed.Unpack(detail):
                    yield ErrorDetail(detail.address, detail.msp_id, detail.message)
        except DecodeError:
            yield ErrorDetail("", "", "the gateway's error details could not be decoded")
