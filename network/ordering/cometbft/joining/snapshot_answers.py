"""CometBFT's questions about snapshots, put to what gives and takes them (`snapshots.py`).

Absent: the snapshots themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from network.ordering.cometbft.joining.snapshots import Snapshot, Snapshots
from network.ordering.cometbft.messages import abci_pb2

__all__ = ["SnapshotAnswers"]


class SnapshotAnswers(ABC):
    """The part of an application that answers for snapshots.

    Args:
        snapshots: what is given to joining nodes, and taken; None without any.
    """

    def __init__(self, snapshots: Snapshots | None) -> None:
        self._snapshots = snapshots

    @abstractmethod
    async def restored(self, comet_height: int) -> None:
        """Go on from a height of CometBFT, after a snapshot was taken."""

    async def list_snapshots(
        self, request: abci_pb2.RequestListSnapshots
    ) -> abci_pb2.ResponseListSnapshots:
        """Return the snapshots that another node may begin with."""
        if self._snapshots is None:
            return abci_pb2.ResponseListSnapshots()
        found = await self._snapshots.list_snapshots()
        return abci_pb2.ResponseListSnapshots(
            snapshots=[
                abci_pb2.Snapshot(
                    height=each.height,
                    format=each.format,
                    chunks=each.chunks,
                    hash=each.hash,
                    metadata=each.metadata,
                )
                for each in found
            ]
        )

    async def offer_snapshot(
        self, request: abci_pb2.RequestOfferSnapshot
    ) -> abci_pb2.ResponseOfferSnapshot:
        """Tell whether this node begins with another one's snapshot."""
        if self._snapshots is None:
            return abci_pb2.ResponseOfferSnapshot(result=abci_pb2.ResponseOfferSnapshot.ABORT)
        offered = request.snapshot
        result = await self._snapshots.offer(
            Snapshot(
                offered.height, offered.format, offered.chunks, offered.hash, offered.metadata
            ),
            request.app_hash,
        )
        return abci_pb2.ResponseOfferSnapshot(result=result.name)

    async def load_snapshot_chunk(
        self, request: abci_pb2.RequestLoadSnapshotChunk
    ) -> abci_pb2.ResponseLoadSnapshotChunk:
        """Return a part of a snapshot of this node."""
        if self._snapshots is None:
            return abci_pb2.ResponseLoadSnapshotChunk()
        chunk = await self._snapshots.load_chunk(request.height, request.format, request.chunk)
        return abci_pb2.ResponseLoadSnapshotChunk(chunk=chunk)

    async def apply_snapshot_chunk(
        self, request: abci_pb2.RequestApplySnapshotChunk
    ) -> abci_pb2.ResponseApplySnapshotChunk:
        """Take a part of another node's snapshot."""
        if self._snapshots is None:
            return abci_pb2.ResponseApplySnapshotChunk(
                result=abci_pb2.ResponseApplySnapshotChunk.ABORT
            )
        before = self._snapshots.restored
        applied = await self._snapshots.apply_chunk(request.index, request.chunk, request.sender)
        after = self._snapshots.restored
        if after is not None and after is not before:
            await self.restored(after.height)
        return abci_pb2.ResponseApplySnapshotChunk(
            result=applied.result.name,
            refetch_chunks=applied.refetch,
            reject_senders=applied.reject_senders,
        )
