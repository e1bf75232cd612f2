"""Ordering engines of several nodes on loopback, each with a ledger in memory behind it.

`MemorySink` stands where a node's committer stands: it checks the structure of blocks, gives every
transaction the verdict VALID unless told otherwise, and compares outcomes. `OrdererEndpoint` is the
node port of the one that orders: Broadcast and Deliver over mutual TLS. A network of another engine
offers what `OrderingNetwork` lists, and goes through the same contract suite.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from ledger.blocks.block import Block
from ledger.blocks.metadata import codes_of, commit_hash_of, with_validation
from ledger.blocks.structure import verify_block_structure
from ledger.errors import Fatal, LedgerError, Unavailable
from ledger.transactions.codes import TxValidationCode
from network.configuration import (
    BatchParameters,
    ChannelConfiguration,
    build_genesis,
    config_of_block,
    verify_config_envelope,
)
from network.errors import Divergence, OrderingRefusal, OrderingUnavailable
from network.msp import Certificate, SigningIdentity
from network.ordering.block_signature import verify_block_signature
from network.ordering.ports import Begun, ExpectedOutcome, NodeTls, OrderingEngine, Staged
from network.ordering.solo import Follower, Sequencer
from network.ordering.solo.seek import SERVED
from network.policy import SignedData
from network.tls import CERTIFICATE_FILE, KEY_FILE, TlsIdentity, node_port_credentials
from tests.support.members import CHANNEL, NOW, Member

DEADLINE_S = 30.0
MSP_IDS = ("BankMSP", "OperatorMSP", "PtaMSP")


class MachineTime:
    """The time of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class StagedInMemory:
    """A block with its outcome."""

    block: Block
    configuration: ChannelConfiguration | None


class MemorySink:
    """A committer without disk; see the module's docstring.

    Attributes:
        blocks: committed, with codes and commit hash.
        judge: gives the codes of a block.
        fail: what the next `accept` raises instead of committing.
        gate: while it is not set, `accept` waits.
        filed: evidence by the block's number and kind.
    """

    def __init__(self, genesis: Block) -> None:
        self.configuration = ChannelConfiguration.from_block(genesis)
        self.channel_id = CHANNEL
        self.last_config_block = 0
        self.blocks = [genesis]
        self.halted: Fatal | None = None
        self.judge: Callable[[Block], list[TxValidationCode]] = lambda block: [
            TxValidationCode.VALID for _ in block.data
        ]
        self.fail: LedgerError | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.busy = asyncio.Event()
        self.filed: dict[tuple[int, str], bytes] = {}
        self._old = 1
        self._changed = asyncio.Condition()

    @property
    def height(self) -> int:
        return len(self.blocks)

    @property
    def last_header_hash(self) -> bytes:
        return self.blocks[-1].header.hash()

    async def accept(self, block: Block, expected: ExpectedOutcome | None = None) -> None:
        await self._open()
        staged = self._staged(block)
        outcome = ExpectedOutcome(bytes(codes_of(staged.block)), commit_hash_of(staged.block))
        if expected is not None and expected != outcome:
            raise Divergence(f"block {block.number}: the outcome here is another one")
        await self._append(staged)

    async def _open(self) -> None:
        """Return when blocks are taken; raise what the next one meets."""
        if self.halted is not None:
            raise Unavailable(f"halted: {self.halted}")
        self.busy.set()
        await self.gate.wait()
        if self.fail is not None:
            raise self.fail

    def _staged(self, block: Block) -> StagedInMemory:
        verify_block_structure(block, self.height, self.last_header_hash)
        codes = self.judge(block)
        commit_hash = hashlib.sha256(
            commit_hash_of(self.blocks[-1]) + block.header.data_hash + bytes(codes)
        ).digest()
        found = config_of_block(block)
        following = None
        if found is not None:
            following = verify_config_envelope(self.configuration, found[1])
        return StagedInMemory(with_validation(block, codes, commit_hash), following)

    async def _append(self, staged: StagedInMemory) -> None:
        async with self._changed:
            if staged.configuration is not None:
                self.configuration = staged.configuration
                self.last_config_block = staged.block.number
            self.blocks.append(staged.block)
            self._changed.notify_all()

    def begin(self, envelopes: Sequence[bytes]) -> Begun:
        """Begin with nothing: there are no signatures to verify."""
        return Begun()

    async def stage(self, block: Block, begun: Sequence[Begun]) -> StagedInMemory:
        """Work out what comes of a block."""
        if self.halted is not None:
            raise Unavailable(f"halted: {self.halted}")
        return self._staged(block)

    async def write_staged(self, staged: Staged) -> None:
        """Take a staged block."""
        await self._open()
        assert isinstance(staged, StagedInMemory)
        await self._append(staged)

    def stored_block(self, number: int) -> Block | None:
        """Return a block, None at or above the height."""
        return self.blocks[number] if number < self.height else None

    def evidence(self, number: int, kind: str) -> bytes | None:
        """Return evidence that was filed."""
        return self.filed.get((number, kind))

    async def add_evidence(self, number: int, kind: str, data: bytes) -> None:
        """File evidence, for good."""
        assert number < self.height
        async with self._changed:
            assert self.filed.setdefault((number, kind), data) == data
            self._changed.notify_all()

    def has_evidence(self, number: int, kind: str) -> bool:
        """Tell whether evidence was filed."""
        return (number, kind) in self.filed

    def block_bytes(self, number: int) -> bytes | None:
        """Return a block as it would be stored."""
        block = self.stored_block(number)
        return None if block is None else block.encode()

    def block_size(self, number: int) -> int | None:
        """Return the size of a block as it would be stored."""
        raw = self.block_bytes(number)
        return None if raw is None else len(raw)

    async def restore(self, block: Block) -> None:
        """Take a block with the verdicts that stand in it."""
        await self.accept(block)
        assert self.blocks[-1] == block

    async def wait_for_evidence(self, number: int, kind: str) -> bytes:
        """Return evidence as soon as it is filed."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: (number, kind) in self.filed)
        return self.filed[number, kind]

    def halt(self, fatal: Fatal) -> None:
        self.halted = fatal

    async def wait_for_configuration(self, sequence: int) -> ChannelConfiguration:
        """Wait until the configuration has a sequence above *sequence*."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.configuration.sequence > sequence)
        return self.configuration

    async def wait_for_height(self, height: int) -> None:
        """Wait until there are *height* blocks."""
        async with asyncio.timeout(DEADLINE_S), self._changed:
            await self._changed.wait_for(lambda: self.height >= height)

    def begin_anew(self) -> None:
        """Count what comes from now on as new."""
        self._old = self.height

    @property
    def new_blocks(self) -> list[Block]:
        """The blocks that came since `begin_anew`, by default those behind the genesis block."""
        return self.blocks[self._old :]

    @property
    def envelopes(self) -> list[bytes]:
        """The envelopes of all new blocks, in order."""
        return [raw for block in self.new_blocks for raw in block.data]


class OrdererEndpoint:
    """Broadcast and Deliver of the node that orders, for other members' nodes.

    Attributes:
        change: what is done to a block before it is delivered.
        followers: TLS certificates of those who have asked for blocks, in PEM.
        swallow: whether envelopes are taken and never answered.
    """

    def __init__(self, sink: MemorySink, engine: OrderingEngine) -> None:
        self._sink = sink
        self._engine = engine
        self.change: Callable[[Block], Block] = lambda block: block
        self.swallow = False
        self.received = asyncio.Event()
        self.followers: set[bytes] = set()

    def handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "orderer.AtomicBroadcast",
            {
                "Broadcast": grpc.stream_stream_rpc_method_handler(self.broadcast),
                "Deliver": grpc.stream_stream_rpc_method_handler(self.deliver),
            },
        )

    def _caller(self, context: Any) -> tuple[str, bytes]:
        pem = context.auth_context()["x509_pem_cert"][0]
        return self._sink.configuration.msps.member_of_tls_certificate(pem), pem

    async def broadcast(self, requests: Any, context: Any) -> None:
        self._caller(context)
        await context.send_initial_metadata(())
        answers: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue()

        async def read() -> None:
            async for raw in requests:
                self.received.set()
                if not self.swallow:
                    await answers.put(asyncio.create_task(self._order(raw)))
            await answers.put(None)

        reading = asyncio.create_task(read())
        while (answer := await answers.get()) is not None:
            await context.write(await answer)
        await reading

    async def _order(self, raw: bytes) -> bytes:
        try:
            await self._engine.submit(raw)
            response = ab_pb2.BroadcastResponse(status=200)
        except OrderingRefusal as refusal:
            response = ab_pb2.BroadcastResponse(status=refusal.status, info=refusal.info)
        except OrderingUnavailable as away:
            status = 503 if away.outcome_definite else 500
            response = ab_pb2.BroadcastResponse(status=status, info=str(away))
        return bytes(response.SerializeToString())

    async def deliver(self, requests: Any, context: Any) -> None:
        msp_id, pem = self._caller(context)
        self.followers.add(pem)
        await context.send_initial_metadata((SERVED,))
        async for raw in requests:
            status = await self._serve(raw, msp_id, pem, context)
            response = ab_pb2.DeliverResponse(status=status)
            await context.write(response.SerializeToString())
            return

    async def _serve(self, raw: bytes, msp_id: str, pem: bytes, context: Any) -> int:
        envelope = common_pb2.Envelope.FromString(raw)
        payload = common_pb2.Payload.FromString(envelope.payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        creator = common_pb2.SignatureHeader.FromString(payload.header.signature_header).creator
        signed = SignedData(envelope.payload, creator, envelope.signature)
        (identity,) = self._sink.configuration.policies.evaluate("/Channel/Readers", [signed])
        assert identity.msp_id == msp_id
        der = Certificate.from_pem(pem).der
        assert header.tls_cert_hash == hashlib.sha256(der).digest()
        assert abs(header.timestamp.ToDatetime(UTC) - datetime.now(UTC)).total_seconds() < 60
        number = ab_pb2.SeekInfo.FromString(payload.data).start.specified.number
        if number > self._sink.height:
            return 404
        while True:
            await self._sink.wait_for_height(number + 1)
            block = self.change(self._sink.blocks[number]).to_message()
            await context.write(ab_pb2.DeliverResponse(block=block).SerializeToString())
            number += 1


@dataclass
class OrderingNode:
    """One node: its engine and its ledger."""

    msp_id: str
    sink: MemorySink
    engine: OrderingEngine
    signer: SigningIdentity


class OrderingNetwork(Protocol):
    """What the contract suite of the ordering port needs of a network of any engine."""

    @property
    def members(self) -> Sequence[Member]:
        """The members, in the order of their nodes."""

    @property
    def nodes(self) -> Sequence[OrderingNode]:
        """One node of each member."""

    async def start(self) -> None:
        """Start all engines and wait until each accepts envelopes."""

    async def stop(self) -> None:
        """Stop all engines; may be called twice."""

    async def restart(self, node: OrderingNode) -> OrderingNode:
        """Stop one node's engine and put a new one in its place, on the same ledger."""

    async def verify_order(self, node: OrderingNode, block: Block) -> None:
        """Verify who ordered a block of a node, by what the node keeps of it."""


class SoloNetwork:
    """One sequencer and its followers."""

    def __init__(self, folder: Path, batch: BatchParameters | None = None) -> None:
        self._folder = folder
        self.members: Sequence[Member] = [Member(msp_id) for msp_id in MSP_IDS]
        with socket.create_server(("localhost", 0)) as free:
            self.port = free.getsockname()[1]
        specs = [
            member.spec(self.port, orders=member.msp_id == MSP_IDS[0]) for member in self.members
        ]
        self.genesis = build_genesis(CHANNEL, specs, orderers=[MSP_IDS[0]], when=NOW, batch=batch)
        self.tls = {member.msp_id: member.tls_identity() for member in self.members}
        self.nodes: list[OrderingNode] = [self._node(member) for member in self.members]
        self.server: grpc.aio.Server | None = None
        self.endpoint: OrdererEndpoint | None = None

    def _node(self, member: Member) -> OrderingNode:
        sink = MemorySink(self.genesis)
        signer = member.identity("node", "peer")
        node = OrderingNode(member.msp_id, sink, _Unmade(), signer)
        return replace(node, engine=self._engine(node))

    def _engine(self, node: OrderingNode) -> OrderingEngine:
        if node.msp_id == MSP_IDS[0]:
            return Sequencer(node.sink, node.signer, MachineTime())

        def tls() -> NodeTls:
            return self.tls[node.msp_id].to_orderer(node.sink.configuration)

        return Follower(node.sink, node.signer, tls, MachineTime())

    @property
    def orderer(self) -> OrderingNode:
        return self.nodes[0]

    @property
    def followers(self) -> list[OrderingNode]:
        return self.nodes[1:]

    async def start(self) -> None:
        await self.start_orderer()
        for node in self.followers:
            await node.engine.start()
        await self.accepting()

    async def start_orderer(self) -> None:
        """Start the sequencer and its port."""
        await self.orderer.engine.start()
        folder = self._folder / "tls"
        _write_tls(folder, self.tls[MSP_IDS[0]])
        self.endpoint = OrdererEndpoint(self.orderer.sink, self.orderer.engine)
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((self.endpoint.handlers(),))
        credentials = node_port_credentials(folder, lambda: self.orderer.sink.configuration)
        self.server.add_secure_port(f"localhost:{self.port}", credentials)
        await self.server.start()

    async def stop_orderer(self) -> None:
        """Close the port and stop the sequencer."""
        if self.server is not None:
            await self.server.stop(None)
            self.server = None
        await self.orderer.engine.stop()

    async def accepting(self, *nodes: OrderingNode) -> None:
        """Wait until these nodes, or all, accept envelopes."""
        await accepting(*(nodes or self.nodes))

    async def stop(self) -> None:
        for node in self.followers:
            await node.engine.stop()
        await self.stop_orderer()

    async def verify_order(self, node: OrderingNode, block: Block) -> None:
        verify_block_signature(block, node.sink.configuration)

    async def restart(self, node: OrderingNode) -> OrderingNode:
        at = self.nodes.index(node)
        ordering = node is self.orderer
        if ordering:
            await self.stop_orderer()
        else:
            await node.engine.stop()
        self.nodes[at] = replace(node, engine=self._engine(node))
        if ordering:
            await self.start_orderer()
        else:
            await self.nodes[at].engine.start()
        await self.accepting()
        return self.nodes[at]


async def accepting(*nodes: OrderingNode) -> None:
    """Wait until these nodes accept envelopes."""
    for node in nodes:
        await eventually(partial(_accepts, node))


def _accepts(node: OrderingNode) -> bool:
    return node.engine.status().accepting


class _Unmade:
    """Stands where an engine will be."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the engine has not been made: {name}")


def _write_tls(folder: Path, identity: TlsIdentity) -> None:
    folder.mkdir(exist_ok=True)
    (folder / CERTIFICATE_FILE).write_bytes(identity.certificate_pem)
    (folder / KEY_FILE).write_bytes(identity.key_pem)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds, at most DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - what engines say of themselves has no event
            await asyncio.sleep(0.005)


async def settled(nodes: Sequence[OrderingNode]) -> None:
    """Wait until all nodes are as high as the highest, and check that their chains are equal."""
    height = max(node.sink.height for node in nodes)
    for node in nodes:
        await node.sink.wait_for_height(height)
    assert len({node.sink.last_header_hash for node in nodes}) == 1
    assert len({commit_hash_of(node.sink.blocks[-1]) for node in nodes}) == 1
