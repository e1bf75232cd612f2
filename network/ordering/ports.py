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

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import grpc

from ledger.blocks.block import Block
from ledger.errors import Fatal
from network.configuration import ChannelConfiguration

__all__ = [
    "Begun",
    "BlockSink",
    "Clock",
    "ConsensusState",
    "ExpectedOutcome",
    "NodeTls",
    "OrderingEngine",
    "OrderingStatus",
    "OtherNodes",
    "Staged",
    "StagingSink",
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
class ConsensusState:
    """How the agreement of several members stands, as one of them sees it.

    Attributes:
        height: of the agreement, which also counts what made no block; 0 before the first.
        round: attempts at the next height so far; 0 is the first.
        lag: heights that this node is known to be behind the others; 0 if none is known.
        validators: members whose votes count.
        reachable: those of them that are connected to this node, itself included.
        peers: MSP ids of the members that are connected.
        misbehaviour: proven double signing, counted by MSP id.
        restarts: of the consensus process, since this node's start.
        unproven: committed blocks whose proof of being final is not stored yet.
        unproven_why: why the next of these proofs could not be stored, in words; empty if it could.
        unrecorded: older blocks without a proof of their own, which no member gives now.
        unrecorded_from: number of the first of them; 0 if there is none.
    """

    height: int
    round: int
    lag: int
    validators: int
    reachable: int
    peers: tuple[str, ...]
    misbehaviour: Mapping[str, int]
    restarts: int
    unproven: int
    unproven_why: str
    unrecorded: int
    unrecorded_from: int


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
        consensus: what an engine of several members knows of their agreement; None for others.
    """

    engine: str
    role: str
    accepting: bool
    reason: str
    queued: int
    endpoint: str
    consensus: ConsensusState | None = None


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


class Begun:
    """What a sink has begun with envelopes; it means something to that sink alone."""

    __slots__ = ()


class Staged(Protocol):
    """A block whose outcome has been worked out, nothing of it written yet."""

    @property
    def block(self) -> Block:
        """The block as it will be stored, with its verdicts and its commit hash."""

    @property
    def configuration(self) -> ChannelConfiguration | None:
        """The configuration that comes into force with it; None if it brings none."""


class StagingSink(BlockSink, Protocol):
    """The committer, for an engine that agrees on what comes of a block before it is written."""

    def begin(self, envelopes: Sequence[bytes]) -> Begun:
        """Begin with what hangs on envelopes alone, before the turn of their block.

        Takes them apart in this thread, any thread, and has their signatures verified in others.
        """

    async def stage(self, block: Block, begun: Sequence[Begun]) -> Staged:
        """Work out what comes of the next block; writes nothing, gives the same when done again.

        Args:
            block: as it was ordered.
            begun: what `begin` returned for its envelopes, together all of them in their order;
                what is missing is only slower.
        Raises:
            BlockError: the block is refused as a whole.
            Fatal: the channel has halted.
        """

    async def write_staged(self, staged: Staged) -> None:
        """Make a staged block durable; when this returns, `height` and the rest count it.

        Raises:
            BlockError: it is not the next block any more; nothing was written.
            Fatal: a write failed; the channel has halted.
        """

    def stored_block(self, number: int) -> Block | None:
        """Read a committed block, None at or above the height; from the disk, so in a thread."""

    def evidence(self, number: int, kind: str) -> bytes | None:
        """Read the evidence of one kind about a block, None without; in a thread, too."""

    def has_evidence(self, number: int, kind: str) -> bool:
        """Tell whether there is evidence of one kind about a block; in a thread, too."""

    async def add_evidence(self, number: int, kind: str, data: bytes) -> None:
        """File evidence about a committed block, durably; the same twice changes nothing.

        Raises:
            Refusal: there is no such block, or other evidence of this kind about it.
            Fatal: a write failed; the channel has halted.
        """


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
