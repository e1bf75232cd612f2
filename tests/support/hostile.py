"""What a hostile client needs: every RPC of both ports as bytes, and the checks at the end.

    async with hostile_network(folder) as network, Doors.of(network) as doors:
        ending = await doors.call("Endorse", b"any bytes")
        ending = await doors.ask("Endorse", signer)  # a request like an honest one, by *signer*

- `Doors` are the RPCs of one node; an `Ending` is how a call ended there, whatever its kind.
- `hostile_network` is a local network with the contract `Counter`, whose nodes' log is kept in
  `network.log` as it would be written. Leaving it makes the closing checks: every node still serves
  an honest client and agrees with the others, nothing failed unexpectedly, and none of `SECRETS`
  stands in the log in clear.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2
from google.rpc import status_pb2

from clients.gateway import messages
from clients.gateway.ports import Signer
from network.tls import TlsIdentity
from nodes.operations.logs import JsonFormatter
from nodes.rpc.failures import DETAILS_KEY
from tests.support.counter import Counter
from tests.support.envelopes import transaction_envelope
from tests.support.hostile_requests import (
    BANK,
    ENVELOPES,
    PRIVATE,
    PROPOSALS,
    PTA,
    RPCS,
    SUCCESS,
    ask_for_private_data,
    seek,
    wrap_envelope,
    wrap_proposal,
)
from tests.support.local_network import CHANNEL, DEADLINE_S, LocalNetwork, local_network

CNIC, MSISDN, TERMS = "42101-1234567-1", "+923001234567", "loan of 987654321 paisa"
SECRETS = (CNIC, MSISDN, TERMS, "4210112345671", "923001234567")
"""What tests send as transient data; it may stand nowhere in clear."""
TRANSIENT = {"secret": f"{CNIC} {MSISDN} {TERMS}"}

EOF: Any = vars(grpc.aio)["EOF"]  # the stubs do not know it


@dataclass(frozen=True)
class Ending:
    """How a call ended.

    Attributes:
        code: of gRPC.
        words: all that the caller was told: message, details of nodes, info of the orderer; for
            Deliver, which has no room for words, what the node's log says.
        status: of the last answer of Broadcast or Deliver; 0 without one.
        answers: what came, as bytes.
    """

    code: grpc.StatusCode
    words: str
    status: int = 0
    answers: tuple[bytes, ...] = ()


class Log(logging.Handler):
    """Keeps the log of all nodes of a test, each line as a node writes it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter("node0"))
        self.lines: list[str] = []
        self.severe: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        line = self.format(record)
        self.lines.append(line)
        foreign = record.name == "asyncio" and record.levelno >= logging.ERROR
        if foreign or record.levelno >= logging.CRITICAL or "unexpectedly" in line:
            self.severe.append(line)

    def last(self, words: str) -> str:
        """The newest line with these words; empty without one."""
        return next((line for line in reversed(self.lines) if words in line), "")


@contextmanager
def kept_log() -> Iterator[Log]:
    """Keep all that is logged meanwhile, at every level."""
    log, root = Log(), logging.getLogger()
    ours = [logging.getLogger(name) for name in ("ledger", "network", "chaincode", "nodes")]
    levels = [each.level for each in ours]
    root.addHandler(log)
    for each in ours:
        each.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        for each, level in zip(ours, levels, strict=True):
            each.setLevel(level)
        root.removeHandler(log)


@dataclass
class Hostile:
    """A network under attack.

    Attributes:
        network: its nodes.
        log: of all of them.
        known_tx: the id of a committed transaction.
        forgiven: words of severe lines that a test has looked at itself.
        clock: tells honest clients the time of a rehearsal.
    """

    network: LocalNetwork
    log: Log
    known_tx: str = ""
    forgiven: list[str] = field(default_factory=list)
    clock: Callable[[], datetime] | None = None

    async def serves(self) -> None:
        """Check that every node still serves an honest client, and that all agree."""
        for msp_id, member in self.network.members.items():
            if member.node is None:
                continue
            options: dict[str, Any] = {} if self.clock is None else {"clock": self.clock}
            async with (
                self.network.gateway(msp_id, **options) as gateway,
                asyncio.timeout(DEADLINE_S),
            ):
                contract = gateway.network(CHANNEL).contract("counter")
                before = int(await contract.evaluate("Get", f"honest {msp_id}"))
                outcome = await contract.submit("Add", f"honest {msp_id}", "1")
                assert outcome.status.is_valid
                self.known_tx = outcome.status.tx_id
                assert int(await contract.evaluate("Get", f"honest {msp_id}")) == before + 1
        await self.network.settled()

    def verify_log(self) -> None:
        """Check that nothing failed unexpectedly and that no secret stands in the log."""
        severe = [line for line in self.log.severe if not any(a in line for a in self.forgiven)]
        assert not severe, severe[:3]
        text = "\n".join(self.log.lines)
        assert text, "nothing was logged, so nothing was checked"
        assert [secret for secret in SECRETS if secret in text] == []

    async def verify(self) -> None:
        """Make the closing checks of a module."""
        await self.serves()
        await self.network.verify()
        self.verify_log()


@asynccontextmanager
async def hostile_network(
    folder: Path, *, members: Sequence[str] = (BANK, PTA), **options: Any
) -> AsyncIterator[Hostile]:
    """Run a network, and make the closing checks when it is left without an error."""
    with kept_log() as log:
        async with local_network(folder, [Counter()], members=members, **options) as network:
            hostile = Hostile(network, log)
            await hostile.serves()
            yield hostile
            await hostile.verify()


class Doors:
    """Every RPC of one node.

    Args:
        hostile: the network.
        msp_id: whose node.
        client, node: connections to its ports.
        tls: what was shown on the node port.
    """

    def __init__(
        self, hostile: Hostile, msp_id: str, client: Any, node: Any, tls: TlsIdentity
    ) -> None:
        self.hostile = hostile
        self.network = hostile.network
        self.msp_id = msp_id
        self._channels = {"client": client, "node": node}
        self._tls = tls

    @classmethod
    @asynccontextmanager
    async def of(
        cls, hostile: Hostile, msp_id: str = BANK, *, caller: str = PTA
    ) -> AsyncIterator[Doors]:
        """Connect to both ports of a node, to the node port with the TLS key of *caller*'s node."""
        member = hostile.network.members[msp_id]
        endpoint = hostile.network.endpoint(msp_id)
        tls = TlsIdentity.load(hostile.network.members[caller].folder / "tls")
        authority = (member.organisation.folder / "tlsca" / "ca-cert.pem").read_bytes()
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        async with (
            grpc.aio.secure_channel(
                endpoint.address, endpoint.credentials(), options=unlimited
            ) as client,
            grpc.aio.secure_channel(
                f"localhost:{member.node_port}", tls.credentials([authority]), options=unlimited
            ) as node,
        ):
            yield cls(hostile, msp_id, client, node, tls)

    def open(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Begin a call and return gRPC's handle; messages are bytes both ways."""
        rpc = RPCS[name]
        return getattr(self._channels[rpc.port], rpc.kind)(rpc.path, None, None)(
            *arguments, **options
        )

    async def call(self, name: str, *requests: bytes) -> Ending:
        """Send *requests*, close the way there, and return how the call ended."""
        answers: list[bytes] = []
        first = len(self.hostile.log.lines)
        async with asyncio.timeout(DEADLINE_S):
            if RPCS[name].kind == "stream_stream":
                call = self.open(name)
                try:
                    for request in requests:
                        await call.write(request)
                    await call.done_writing()
                except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
                    pass  # refused before everything was sent; the code says how
            else:
                call = self.open(name, *requests)
            try:
                if RPCS[name].kind == "unary_unary":
                    answers.append(await call)
                else:
                    while (answer := await call.read()) is not EOF:
                        answers.append(answer)
            except grpc.aio.AioRpcError as error:
                return Ending(error.code(), _words(error), answers=tuple(answers))
            return self._ended(name, await call.code(), tuple(answers), first)

    def _ended(self, name: str, code: Any, answers: tuple[bytes, ...], first: int) -> Ending:
        if not answers or RPCS[name].kind != "stream_stream":
            return Ending(code, "", answers=answers)
        if name == "Broadcast":
            response = ab_pb2.BroadcastResponse.FromString(answers[-1])
            return Ending(code, response.info, response.status, answers)
        status = events_pb2.DeliverResponse.FromString(answers[-1]).status
        said = [line for line in self.hostile.log.lines[first:] if "request for blocks" in line]
        return Ending(code, " ".join(said), status, answers)

    async def ask(self, name: str, signer: Signer, **changes: Any) -> Ending:
        """Make a request like an honest client's in *signer*'s name."""
        return await self.call(name, self.request(name, signer, **changes))

    def request(self, name: str, signer: Signer, **changes: Any) -> bytes:
        """Return the bytes of a request that would be served if *signer* were honest.

        Args:
            name: of the RPC.
            signer: who asks.
            changes: `channel_id`, `chaincode`, `function`, `arguments`, `transient`, `now`,
                `tls_cert_hash`, `envelope`, `stop`.
        """
        channel_id = changes.get("channel_id", CHANNEL)
        if name in PROPOSALS:
            return wrap_proposal(name, self.proposal(signer, **changes).signed())
        if name in ENVELOPES:
            envelope = changes.get("envelope") or self.envelope(signer, channel_id=channel_id)
            return wrap_envelope(name, envelope, channel_id)
        if name == "CommitStatus":
            asked = messages.commit_request(signer, channel_id, self.hostile.known_tx)
            return bytes(asked.signed().SerializeToString())
        if name == "ChaincodeEvents":
            events = messages.chaincode_events_request(
                signer, channel_id, "counter", start_block=0, after_tx_id=""
            )
            return bytes(events.SerializeToString())
        if name in PRIVATE:
            return ask_for_private_data(name, channel_id)
        bound = hashlib.sha256(self._tls.certificate_der).digest() if "ord" in name else b""
        return seek(
            signer,
            channel_id=channel_id,
            now=changes.get("now", datetime.now(UTC)),
            tls_cert_hash=changes.get("tls_cert_hash", bound),
            stop=changes.get("stop", 0),
        )

    def proposal(self, signer: Signer, **changes: Any) -> messages.ProposalDraft:
        """Return a proposal."""
        return messages.new_proposal(
            signer,
            changes.get("channel_id", CHANNEL),
            changes.get("chaincode", "counter"),
            changes.get("function", "Get"),
            changes.get("arguments", ("k",)),
            changes.get("transient"),
            now=changes.get("now"),
        )

    def envelope(self, creator: Any, **changes: Any) -> bytes:
        """Return a transaction that would be valid, without writes unless `rwset` says others."""
        endorsers = [self.network.node_signer(each) for each in self.network.members]
        return transaction_envelope(
            changes.get("chaincode", "counter"),
            changes.get("arguments", ["Get", "k"]),
            changes.get("rwset", b""),
            version="1",
            channel_id=changes.get("channel_id", CHANNEL),
            creator=creator,
            endorsers=changes.get("endorsers", endorsers),
            now=changes.get("now", datetime.now(UTC)),
        )

    async def ordered(self, *envelopes: bytes) -> list[str]:
        """Have envelopes ordered, and return the names of their validation codes."""
        return [code for block in await self.blocks(*envelopes) for code in block]

    async def blocks(self, *envelopes: bytes) -> list[list[str]]:
        """Do as `ordered`, and return the codes block by block."""
        before = await self.network.settled()
        stream = self.open("Broadcast")
        async with asyncio.timeout(DEADLINE_S):
            for envelope in envelopes:
                await stream.write(envelope)
            for _ in envelopes:
                response = ab_pb2.BroadcastResponse.FromString(await stream.read())
                assert response.status == SUCCESS, response.info
            await stream.done_writing()
            assert await stream.read() is EOF
        blocks = []
        for number in range(before, await self.network.settled(before + 1)):
            committed = await self.network.node(self.msp_id).channel.block(number)
            assert committed is not None
            blocks.append([code.name for code in committed.codes])
        return blocks


def _words(error: grpc.aio.AioRpcError) -> str:
    """The message, and what each node said."""
    words = [error.details() or ""]
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == DETAILS_KEY:
            for each in status_pb2.Status.FromString(value).details:
                detail = gateway_pb2.ErrorDetail()
                each.Unpack(detail)
                words.append(detail.message)
    return "\n".join(words)
