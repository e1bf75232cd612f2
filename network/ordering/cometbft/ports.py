"""What this engine's parts ask of each other and of a node.

`Application` is what the ABCI server asks: one method for each request of ABCI 2.0. Every method
takes CometBFT's request and returns the response of the same name. What a method raises ends the
server (`server.py`): an application that cannot answer must not be asked again. Echo and Flush are
the server's own. Vote extensions are not in use, so no method answers them.

Source: CometBFT v0.38, spec/abci/abci++_methods.md.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Protocol

from ledger.blocks.block import Block
from ledger.errors import Fatal
from network.configuration import ChannelConfiguration
from network.ordering.cometbft.messages import abci_pb2, types_pb2

if TYPE_CHECKING:
    from network.ordering.cometbft.process.rpc import CometStatus

__all__ = [
    "Application",
    "Broadcast",
    "BundleTakers",
    "CheckedTx",
    "HeaderSource",
    "ProofSource",
    "RecordGivers",
    "RecordSink",
    "Standing",
    "SubmissionSink",
]


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

    async def before_proposal(self, request: abci_pb2.RequestPrepareProposal) -> None:
        """Return when `prepare_proposal` may be called; everything else is answered meanwhile."""

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


class HeaderSource(Protocol):
    """This node's CometBFT, as who keeps finality records asks it."""

    async def status(self) -> CometStatus:
        """Return how far CometBFT is.

        Raises:
            CometUnavailable: it does not answer.
        """

    async def signed_headers(
        self, heights: Sequence[int]
    ) -> Sequence[types_pb2.SignedHeader | None]:
        """Return header and commit of each height; None if it is not reached, or pruned.

        Raises:
            CometUnavailable: CometBFT does not answer.
        """


class RecordSink(Protocol):
    """A channel of this node, as who keeps finality records sees it."""

    @property
    def channel_id(self) -> str:
        """Name of the channel."""

    @property
    def height(self) -> int:
        """Number of blocks committed."""

    def stored_block(self, number: int) -> Block | None:
        """Read a committed block from the disk, None at or above the height; in a thread, too."""

    def evidence(self, number: int, kind: str) -> bytes | None:
        """Read the evidence of one kind about a block, None without; in a thread, too."""

    def has_evidence(self, number: int, kind: str) -> bool:
        """Tell whether there is evidence of one kind about a block; in a thread, too."""

    async def add_evidence(self, number: int, kind: str, data: bytes) -> None:
        """File evidence about a committed block, durably; the same twice changes nothing.

        Raises:
            Refusal: there is no such block, or other evidence of this kind about it.
            Fatal: a write failed.
        """

    def halt(self, fatal: Fatal) -> None:
        """Refuse every further block because of *fatal*."""


class RecordGivers(Protocol):
    """The other members' nodes, as who lacks finality records asks them."""

    def msp_ids(self) -> Sequence[str]:
        """The other members that have a node."""

    async def record(self, msp_id: str, number: int) -> bytes:
        """Return a member's finality record of a block, not verified; empty if it has none.

        Raises:
            Unavailable: its node does not answer.
            Refusal: it does not answer such a question.
        """


class BundleTakers(Protocol):
    """The other members' nodes, as who has made a bundle gives it to them."""

    def msp_ids(self) -> Sequence[str]:
        """The other members that have a node."""

    async def give(self, msp_id: str, raw: bytes) -> None:
        """Give a member's node a bundle; whether it takes it is not told.

        Raises:
            LedgerError: its node does not answer, or not this question.
        """


class ProofSource(Protocol):
    """A ledger, as who makes a proof reads it."""

    @property
    def height(self) -> int:
        """Number of blocks."""

    def block(self, number: int) -> Block | None:
        """Return a block as committed, None at or above the height."""

    def evidence(self, number: int, kind: str) -> bytes | None:
        """Return the evidence of one kind about a block, None without."""


class Standing(Protocol):
    """The chain as the block to come finds it; one object, or a new one for every block."""

    @property
    def channel_id(self) -> str:
        """Name of the channel."""

    @property
    def configuration(self) -> ChannelConfiguration:
        """The configuration in force."""

    @property
    def height(self) -> int:
        """Number of the block to come."""

    @property
    def seen(self) -> Container[bytes]:
        """Ids of the bundles in the last WINDOW blocks (`SeenBundles`)."""


class CheckedTx(Protocol):
    """What CometBFT says of a transaction that it was given (`rpc.TxCheck`)."""

    @property
    def code(self) -> int:
        """0 if it is taken, or was before; else why CheckTx refuses it."""

    @property
    def log(self) -> str:
        """CheckTx's words."""


class Broadcast(Protocol):
    """The node's CometBFT (`rpc.CometRpc`)."""

    async def broadcast_tx(self, raw: bytes) -> CheckedTx:
        """Give it a transaction; giving the same again does no harm.

        Raises:
            Unavailable: it does not answer; `outcome_definite` says if it surely has not taken it.
            Refusal: it takes no such transaction.
        """


class SubmissionSink(Protocol):
    """The node's committer, as far as it matters here (`network.ordering.ports.BlockSink`)."""

    @property
    def height(self) -> int:
        """Number of blocks committed."""

    @property
    def configuration(self) -> ChannelConfiguration:
        """The configuration in force after the last committed block."""
