"""What the ABCI server asks of an application: one method for each request of ABCI 2.0.

Every method takes CometBFT's request and returns the response of the same name. What a method
raises ends the server (`server.py`): an application that cannot answer must not be asked again.

Echo and Flush are the server's own. Vote extensions are not in use, so no method answers them.
Source: CometBFT v0.38, spec/abci/abci++_methods.md.
"""

from __future__ import annotations

from typing import Protocol

from network.ordering.cometbft.messages import abci_pb2

__all__ = ["Application"]


class Application(Protocol):
    """What CometBFT's transactions mean.

    The server calls `info`, `query`, `list_snapshots` and `load_snapshot_chunk` (reads) whenever
    they come, and beside them at most one of the others (writes) at a time.
    """

    async def info(self, request: abci_pb2.RequestInfo) -> abci_pb2.ResponseInfo:
        """Return height and app hash of what is durably committed."""

    async def query(self, request: abci_pb2.RequestQuery) -> abci_pb2.ResponseQuery:
        """Answer a question about what is committed; also whether a peer may connect."""

    async def init_chain(self, request: abci_pb2.RequestInitChain) -> abci_pb2.ResponseInitChain:
        """Begin with the genesis; may come again while the height is 0."""

    async def check_tx(self, request: abci_pb2.RequestCheckTx) -> abci_pb2.ResponseCheckTx:
        """Tell whether a transaction may wait for its place in a block."""

    async def prepare_proposal(
        self, request: abci_pb2.RequestPrepareProposal
    ) -> abci_pb2.ResponsePrepareProposal:
        """Choose the transactions of a block that this node proposes."""

    async def process_proposal(
        self, request: abci_pb2.RequestProcessProposal
    ) -> abci_pb2.ResponseProcessProposal:
        """Tell whether a proposed block may be voted for; deterministic."""

    async def finalize_block(
        self, request: abci_pb2.RequestFinalizeBlock
    ) -> abci_pb2.ResponseFinalizeBlock:
        """Work out what a decided block gives, and write nothing; may come again."""

    async def commit(self, request: abci_pb2.RequestCommit) -> abci_pb2.ResponseCommit:
        """Make what the last decided block gave durable."""

    async def list_snapshots(
        self, request: abci_pb2.RequestListSnapshots
    ) -> abci_pb2.ResponseListSnapshots:
        """Return the snapshots that another node may begin with."""

    async def offer_snapshot(
        self, request: abci_pb2.RequestOfferSnapshot
    ) -> abci_pb2.ResponseOfferSnapshot:
        """Tell whether this node begins with another one's snapshot."""

    async def load_snapshot_chunk(
        self, request: abci_pb2.RequestLoadSnapshotChunk
    ) -> abci_pb2.ResponseLoadSnapshotChunk:
        """Return a part of a snapshot of this node."""

    async def apply_snapshot_chunk(
        self, request: abci_pb2.RequestApplySnapshotChunk
    ) -> abci_pb2.ResponseApplySnapshotChunk:
        """Take a part of another node's snapshot."""
