"""The ordering port: what an engine promises to a node, and what it asks of one.

An engine takes envelopes from this node's clients (`submit`), agrees with the engines of the other
nodes on one order, and hands finished blocks to the node's committer (`BlockSink`). It admits only
envelopes that pass the committer's whole-block checks, so that no envelope can stop a channel.

Invariants:
- `submit` returns only when the envelope is in its place in the order for good: no crash of one
  process can take it out again. It says nothing about the verdict on the transaction.
- Blocks reach the sink in the order of their numbers, each once, without gaps.
- What an engine raises from `submit` is `OrderingRefusal` (definite, the client's fault) or
  `OrderingUnavailable` (may be tried again; says whether the envelope surely was not taken).

Absent: what a record means, how a block is validated or stored, clients' access rights.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import grpc

from ledger.blocks.block import Block
from ledger.errors import Fatal
from network.configuration import ChannelConfiguration

__all__ = [
    "BlockSink",
    "Clock",
    "ExpectedOutcome",
    "NodeTls",
    "OrderingEngine",
    "OrderingStatus",
    "OtherNodes",
]


class Clock(Protocol):
    """The time, which in a rehearsal is set by its operator."""

    def now(self) -> datetime:
        """Return the present time, aware, UTC."""


@dataclass(frozen=True, slots=True)
class ExpectedOutcome:
    """What another node says came out of a block; the sink compares before it commits.

    Attributes:
        codes: the block's TRANSACTIONS_FILTER, one byte for each transaction.
        commit_hash: 32 bytes; empty for the genesis block, which has none.
    """

    codes: bytes
    commit_hash: bytes


@dataclass(frozen=True, slots=True)
class OrderingStatus:
    """What an operator and a gateway want to know of an engine.

    Attributes:
        engine: name of the engine, "solo" or "cometbft".
        role: the part this node has in it, for example "sequencer" or "follower".
        accepting: whether `submit` would try to order an envelope now.
        reason: why not, in plain words; empty while accepting.
        queued: envelopes of this node's clients that wait for their place in a block.
        endpoint: whom this node follows, "host:port"; empty if nobody.
    """

    engine: str
    role: str
    accepting: bool
    reason: str
    queued: int
    endpoint: str


@dataclass(frozen=True, slots=True)
class NodeTls:
    """How this node reaches the node port of another.

    Attributes:
        credentials: mutual TLS with this node's TLS key, trusting the members' TLS CAs.
        certificate_der: this node's TLS certificate; its SHA-256 binds Deliver requests to the
            connection (Fabric, common/deliver/binding.go).
        options: further arguments of the gRPC channel.
        trusted: TLS authorities in PEM that may vouch for the other node.
    """

    credentials: grpc.ChannelCredentials
    certificate_der: bytes
    options: Sequence[tuple[str, str | int]] = field(default=())
    trusted: bytes = b""

    @property
    def rests_on(self) -> tuple[bytes, bytes]:
        """What the connection is made of; where it is another, a new one must be made."""
        return self.certificate_der, self.trusted


class OrderingEngine(Protocol):
    """Puts envelopes in one order for all nodes of a channel."""

    async def start(self) -> None:
        """Begin to order or to follow; returns at once, work goes on in the background."""

    async def stop(self) -> None:
        """Stop the work; envelopes that have no place yet are refused as unavailable."""

    async def submit(self, envelope: bytes) -> None:
        """Have one envelope ordered; return when its place in the order can no longer be lost.

        Raises:
            OrderingRefusal: the envelope breaks a rule; `status` and `info` as Fabric's Broadcast.
            OrderingUnavailable: no orderer can take it now; `outcome_definite` is False if it may
                have been ordered all the same.
        """

    def status(self) -> OrderingStatus:
        """Return the present state, without waiting."""


class BlockSink(Protocol):
    """The committer of this node, as an engine sees it."""

    @property
    def channel_id(self) -> str:
        """Name of the channel."""

    @property
    def height(self) -> int:
        """Number of blocks committed."""

    @property
    def last_header_hash(self) -> bytes:
        """Header hash of the last committed block."""

    @property
    def last_config_block(self) -> int:
        """Number of the last committed block that holds a configuration."""

    @property
    def configuration(self) -> ChannelConfiguration:
        """The configuration in force after the last committed block."""

    async def wait_for_configuration(self, sequence: int) -> ChannelConfiguration:
        """Return the configuration in force as soon as its sequence is above *sequence*.

        Raises:
            Unavailable: no further block will come.
        """

    async def accept(self, block: Block, expected: ExpectedOutcome | None = None) -> None:
        """Validate *block* and commit it durably.

        Raises:
            BlockError: the block is refused as a whole; nothing was written.
            Fatal: the outcome differs from *expected*, or a write failed; the channel has halted.
        """

    def halt(self, fatal: Fatal) -> None:
        """Refuse every further block because of *fatal*; what is stored can still be read."""


class OtherNodes(Protocol):
    """The other members' nodes, as the one that orders asks them before it begins."""

    @property
    def restored(self) -> bool:
        """Whether this node's ledger came from a backup and was compared with nobody's since."""

    def compared(self) -> None:
        """Remember that this node's ledger is behind nobody's that answered."""

    def msp_ids(self) -> Sequence[str]:
        """The other members that have a node."""

    async def newest(self, msp_id: str) -> Block:
        """Return the newest block that a member's node has committed.

        Raises:
            Unavailable: it does not answer in time, or not with a block.
        """

    def blocks(self, msp_id: str, first: int, last: int) -> AsyncIterator[Block]:
        """Yield the blocks from *first* to *last* of a member's node, as far as it has them.

        Raises:
            Unavailable: it does not answer in time, or not with blocks.
        """
