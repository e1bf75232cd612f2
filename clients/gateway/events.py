"""Events of a channel as plain values, and checkpoints from which a listener goes on.

A stream delivers each event at least once: a listener that writes its
checkpoint after handling an event, and starts again from it, misses none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.common import common_pb2

from clients.gateway.errors import EventsError, ProfileError


@dataclass(frozen=True, slots=True)
class ChaincodeEvent:
    """An event that a contract set in a valid transaction.

    Attributes:
        block_num: block of the transaction.
        tx_id: the transaction.
        chaincode: name of the contract.
        name: the event's name.
        payload: the event's content, as the contract wrote it.
    """

    block_num: int
    tx_id: str
    chaincode: str
    name: str
    payload: bytes


@dataclass(slots=True)
class InMemoryCheckpointer:
    """A checkpoint that lives as long as the program."""

    block_num: int | None = None
    tx_id: str = ""

    def checkpoint(self, block_num: int, tx_id: str) -> None:
        """See :class:`clients.gateway.ports.Checkpointer`."""
        self.block_num = block_num
        self.tx_id = tx_id


class FileCheckpointer:
    """A checkpoint in a small JSON file, replaced atomically and synced.

    Raises:
        ProfileError: the file exists and is no checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._block_num: int | None = None
        self._tx_id = ""
        if path.exists():
            self._load()

    @property
    def block_num(self) -> int | None:
        """Block to go on with; None before the first event."""
        return self._block_num

    @property
    def tx_id(self) -> str:
        """Last transaction of that block already handled."""
        return self._tx_id

    def checkpoint(self, block_num: int, tx_id: str) -> None:
        """Write the position; durable when this returns."""
        beside = self._path.with_name(self._path.name + ".new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump({"blockNumber": block_num, "transactionId": tx_id}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        self._block_num, self._tx_id = block_num, tx_id

    def _load(self) -> None:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            self._block_num = int(content["blockNumber"])
            self._tx_id = str(content["transactionId"])
        except (ValueError, KeyError, TypeError) as error:
            raise ProfileError(
                f"{self._path} is no checkpoint file; remove it to listen from the next commit on"
            ) from error


def events_of(response: Any) -> Iterator[ChaincodeEvent]:
    """The events in one ``gateway.ChaincodeEventsResponse``, in the block's order."""
    for event in response.events:
        yield ChaincodeEvent(
            int(response.block_number),
            event.tx_id,
            event.chaincode_id,
            event.event_name,
            bytes(event.payload),
        )


def checked_delivery(response: Any) -> Any | None:
    """The block, filtered block or block with private data in a ``DeliverResponse``.

    Returns None when the service says that the last block asked for was sent.

    Raises:
        EventsError: the service refused, with its status.
    """
    kind = response.WhichOneof("Type")
    if kind != "status":
        return getattr(response, kind)
    if response.status == common_pb2.SUCCESS:
        return None
    name = common_pb2.Status.Name(response.status)
    codes = {
        common_pb2.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
        common_pb2.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
        common_pb2.BAD_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
        common_pb2.SERVICE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    }
    raise EventsError(
        f"the node refused to deliver blocks: {name} ({response.status})",
        code=codes.get(response.status, grpc.StatusCode.UNKNOWN),
    )
