"""The words for Fabric's `common.Status`, with which an orderer answers what it is sent."""

from __future__ import annotations

from fabric_protos.common import common_pb2

__all__ = ["status_name"]


def status_name(status: int) -> str:
    """Return the name of a `common.Status`, or its number where it has none."""
    try:
        name: str = common_pb2.Status.Name(status)
    except ValueError:
        return f"status {status}"
    return name
