"""How a client connects: what gRPC is told."""

from __future__ import annotations

from clients.gateway.connection import Endpoint


def test_client_tries_again_within_seconds_however_long_its_gateway_was_away() -> None:
    """gRPC alone would let its pauses grow to two minutes; an attempt itself is given its time."""
    options = dict(Endpoint("localhost:7050", b"").options())
    assert options["grpc.initial_reconnect_backoff_ms"] <= 1_000
    assert options["grpc.max_reconnect_backoff_ms"] <= 5_000
    assert options["grpc.min_reconnect_backoff_ms"] >= 10_000
