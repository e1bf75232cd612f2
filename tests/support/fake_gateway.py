"""A gateway in the test's own process: real gRPC over TLS, and behind it a few dictionaries.

It checks what a client must get right (transaction id, signatures, the order of the stages), runs
*chaincode* functions written as plain callables, and can be told to misbehave: to fail a stage
before or after it took effect, to commit a transaction with another code, to hold a stage back.

    with FakeGateway(authority, {"Echo": lambda call: call.args[0]}) as gateway:
        gateway.commit_as(TxValidationCode.MVCC_READ_CONFLICT)
        gateway.fail("Submit", grpc.StatusCode.UNAVAILABLE, after=True)

A function's effect takes place when its transaction is committed as VALID: it may return a pair of
the result and a callable that makes the change. A transaction is a block.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.msp import identities_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    events_pb2,
    events_pb2_grpc,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import status_pb2

from clients.gateway.connection import Endpoint
from ledger.transactions.codes import TxValidationCode
from network.certificates import Organisation, create_organisation
from network.msp import SigningIdentity
from network.msp.certificate import Certificate
from network.msp.keys import verifying_key

WAIT_S = 20.0
MSP_ID = "BankMSP"


class Member:
    """A member with certificates for gateways and users, made once for a test session."""

    def __init__(self, folder: Path, msp_id: str = MSP_ID) -> None:
        self.organisation: Organisation = create_organisation(folder / msp_id, msp_id)
        self.msp_id = msp_id
        self.node = self.organisation.add_node("gateway", hosts=("localhost", "127.0.0.1"))
        self.users: dict[str, SigningIdentity] = {}

    def user(self, name: str = "lending") -> SigningIdentity:
        """A user of the member, by the name of its role."""
        if name not in self.users:
            folder = self.organisation.add_user(name, attributes={"qist.role": name})
            self.users[name] = SigningIdentity.load(folder / "msp", self.msp_id)
        return self.users[name]

    def tls(self, name: str) -> bytes:
        """One of the node's TLS files."""
        return (self.node / "tls" / name).read_bytes()


@dataclass(frozen=True)
class Call:
    """What a function of the contract is called with."""

    function: str
    args: tuple[str, ...]
    transient: dict[str, bytes]
    tx_id: str
    creator: str


class Refused(Exception):
    """The contract refuses, with its status and message."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """One misbehaviour, used up by the first call of its stage."""

    code: grpc.StatusCode
    message: str
    after: bool
    details: tuple[tuple[str, str, str], ...] = ()


@dataclass
class Transaction:
    """A transaction that was endorsed, and later committed."""

    tx_id: str
    event: tuple[str, bytes] | None
    effect: Callable[[], None] | None
    envelope: bytes = b""
    code: TxValidationCode = TxValidationCode.NOT_VALIDATED
    block_num: int = -1


Function = Callable[[Call], Any]


@dataclass
class FakeChannel:
    """What all gateways of one fake channel share."""

    functions: dict[str, Function]
    transactions: dict[str, Transaction] = field(default_factory=dict)
    blocks: list[list[Transaction]] = field(default_factory=lambda: [[]])
    codes: deque[TxValidationCode] = field(default_factory=deque)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def commit(self, transaction: Transaction, envelope: bytes) -> None:
        """Make a block of one transaction; one that is recorded already is a duplicate there."""
        with self.changed:
            if transaction.block_num >= 0:
                again = Transaction(transaction.tx_id, None, None, envelope)
                again.code, again.block_num = TxValidationCode.DUPLICATE_TXID, len(self.blocks)
                self.blocks.append([again])
                self.changed.notify_all()
                return
            transaction.code = self.codes.popleft() if self.codes else TxValidationCode.VALID
            transaction.envelope = envelope
            transaction.block_num = len(self.blocks)
            if transaction.code is TxValidationCode.VALID and transaction.effect is not None:
                transaction.effect()
            self.blocks.append([transaction])
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], context: Any) -> None:
        """Wait until *condition* holds; the call's own end ends the wait."""
        with self.changed:
            while not condition():
                if not context.is_active():
                    raise RuntimeError("the client has gone")
                self.changed.wait(timeout=0.05)

    def wait_for_block(self, number: int, context: Any) -> None:
        """Wait until the block is there."""
        self.wait_for(lambda: len(self.blocks) > number, context)


class FakeGateway:
    """One gateway on a port of its own; several may share a channel.

    Attributes:
        calls: how many of each stage came.
        withholds: whether it takes submissions and drops them.
        takes_duplicates: whether it orders again what is recorded, as orderers do, or refuses it.
    """

    def __init__(
        self,
        member: Member,
        functions: dict[str, Function] | None = None,
        *,
        channel: FakeChannel | None = None,
        name: str = "qist",
    ) -> None:
        self.member = member
        self.name = name
        self.channel = channel or FakeChannel(dict(functions or {}))
        self.calls: dict[str, int] = defaultdict(int)
        self.proposals: list[Call] = []
        self.timestamps: list[Any] = []
        self.withholds = False
        self.takes_duplicates = False
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)
        self._gates: dict[str, threading.Event] = {}
        self._server = grpc.server(ThreadPoolExecutor(max_workers=24))
        gateway_pb2_grpc.add_GatewayServicer_to_server(_Gateway(self), self._server)
        events_pb2_grpc.add_DeliverServicer_to_server(_Deliver(self), self._server)
        pair = (member.tls("server.key"), member.tls("server.crt"))
        credentials = grpc.ssl_server_credentials([pair])
        self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self._server.start()

    def __enter__(self) -> FakeGateway:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop answering."""
        for gate in self._gates.values():
            gate.set()
        self._server.stop(grace=None).wait(WAIT_S)

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""
        return Endpoint(f"127.0.0.1:{self.port}", self.member.tls("ca.crt"), "localhost")

    def commit_as(self, *codes: TxValidationCode) -> None:
        """Commit the next transactions with these codes."""
        self.channel.codes.extend(codes)

    def fail(
        self,
        stage: str,
        code: grpc.StatusCode,
        message: str = "told to fail",
        *,
        after: bool = False,
        details: tuple[tuple[str, str, str], ...] = (),
        times: int = 1,
    ) -> None:
        """Fail the next calls of a stage, before or after they took effect."""
        self._faults[stage].extend([Fault(code, message, after, details)] * times)

    def hold(self, stage: str) -> threading.Event:
        """Hold back calls of a stage until the event is set."""
        gate = self._gates[stage] = threading.Event()
        return gate

    def entered(self, stage: str, context: Any) -> Fault | None:
        """Count a call; fail it now, or give back the fault that follows its effect."""
        self.calls[stage] += 1
        gate = self._gates.get(stage)
        if gate is not None:
            gate.wait(WAIT_S)
        fault = self._faults[stage].popleft() if self._faults[stage] else None
        if fault is not None and not fault.after:
            self.abort(context, fault)
        return fault

    def abort(self, context: Any, fault: Fault) -> None:
        """End a call with a fault, its details packed as Go's gRPC does."""
        if fault.details:
            status = status_pb2.Status(code=fault.code.value[0], message=fault.message)
            for address, msp_id, message in fault.details:
                packed = Packed()
                packed.Pack(
                    gateway_pb2.ErrorDetail(address=address, msp_id=msp_id, message=message)
                )
                status.details.append(packed)
            context.set_trailing_metadata(
                (("grpc-status-details-bin", status.SerializeToString()),)
            )
        context.abort(fault.code, fault.message)

    def check_channel(self, channel_id: str, context: Any) -> None:
        """Refuse another channel."""
        if channel_id != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"channel '{channel_id}' not found")

    def run(self, signed: Any, context: Any) -> tuple[Call, Any, Any]:
        """Check a signed proposal and run its function."""
        proposal = proposal_pb2.Proposal.FromString(signed.proposal_bytes)
        header = common_pb2.Header.FromString(proposal.header)
        channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
        signature_header = common_pb2.SignatureHeader.FromString(header.signature_header)
        verify(signature_header.creator, signed.proposal_bytes, signed.signature, context)
        digest = hashlib.sha256(signature_header.nonce + signature_header.creator).hexdigest()
        if digest != channel_header.tx_id:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "incorrectly computed txid")
        self.check_channel(channel_header.channel_id, context)
        self.timestamps.append(channel_header.timestamp.ToDatetime())
        payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
        spec = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input).chaincode_spec
        name, *args = (bytes(arg).decode() for arg in spec.input.args)
        creator = identities_pb2.SerializedIdentity.FromString(signature_header.creator)
        call = Call(
            name, tuple(args), dict(payload.TransientMap), channel_header.tx_id, creator.mspid
        )
        self.proposals.append(call)
        function = self.channel.functions.get(name)
        if function is None:
            context.abort(grpc.StatusCode.UNKNOWN, f"chaincode response 500, no function {name}")
            raise AssertionError
        try:
            return call, function(call), header
        except Refused as refused:
            message = f"chaincode response {refused.status}, {refused}"
            detail = (("peer:7051", self.member.msp_id, message),)
            self.abort(
                context,
                Fault(
                    grpc.StatusCode.UNKNOWN,
                    "failed to endorse transaction, see attached details for more info",
                    False,
                    detail,
                ),
            )
            raise


def verify(creator: bytes, message: bytes, signature: bytes, context: Any) -> None:
    """Refuse a call whose signature does not verify."""
    identity = identities_pb2.SerializedIdentity.FromString(creator)
    certificate = Certificate.from_pem(identity.id_bytes)
    try:
        verifying_key(certificate.public_key, "SHA2").verify(message, signature)
    except Exception as error:  # noqa: BLE001 -- the edge of a call: whatever is wrong is refused
        context.abort(grpc.StatusCode.PERMISSION_DENIED, f"signature refused: {error}")


class _Gateway(gateway_pb2_grpc.GatewayServicer):  # type: ignore[misc]  # has no types
    """The service itself."""

    def __init__(self, gateway: FakeGateway) -> None:
        self._gateway = gateway
        self._channel = gateway.channel

    def Evaluate(self, request: Any, context: Any) -> Any:
        self._gateway.entered("Evaluate", context)
        _, result, _ = self._gateway.run(request.proposed_transaction, context)
        response = proposal_response_pb2.Response(status=200, payload=_payload(result))
        return gateway_pb2.EvaluateResponse(result=response)

    def Endorse(self, request: Any, context: Any) -> Any:
        fault = self._gateway.entered("Endorse", context)
        call, result, header = self._gateway.run(request.proposed_transaction, context)
        effect = result[1] if isinstance(result, tuple) else None
        event = (call.function, _payload(result))
        self._channel.transactions[call.tx_id] = Transaction(call.tx_id, event, effect)
        if fault is not None:
            self._gateway.abort(context, fault)
        action = proposal_pb2.ChaincodeAction(
            response=proposal_response_pb2.Response(status=200, payload=_payload(result))
        )
        payload = proposal_response_pb2.ProposalResponsePayload(
            extension=action.SerializeToString()
        )
        endorsed = transaction_pb2.ChaincodeActionPayload(
            action=transaction_pb2.ChaincodeEndorsedAction(
                proposal_response_payload=payload.SerializeToString()
            )
        )
        transaction = transaction_pb2.Transaction(
            actions=[transaction_pb2.TransactionAction(payload=endorsed.SerializeToString())]
        )
        whole = common_pb2.Payload(header=header, data=transaction.SerializeToString())
        envelope = common_pb2.Envelope(payload=whole.SerializeToString())
        return gateway_pb2.EndorseResponse(prepared_transaction=envelope)

    def Submit(self, request: Any, context: Any) -> Any:
        fault = self._gateway.entered("Submit", context)
        envelope = request.prepared_transaction
        payload = common_pb2.Payload.FromString(envelope.payload)
        header = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
        verify(header.creator, envelope.payload, envelope.signature, context)
        transaction = self._channel.transactions[request.transaction_id]
        if self._gateway.withholds:
            return gateway_pb2.SubmitResponse()
        if transaction.block_num >= 0 and not self._gateway.takes_duplicates:
            context.abort(grpc.StatusCode.ABORTED, "submitted twice")
        self._channel.commit(transaction, envelope.SerializeToString())
        if fault is not None:
            self._gateway.abort(context, fault)
        return gateway_pb2.SubmitResponse()

    def CommitStatus(self, request: Any, context: Any) -> Any:
        fault = self._gateway.entered("CommitStatus", context)
        asked = gateway_pb2.CommitStatusRequest.FromString(request.request)
        verify(asked.identity, request.request, request.signature, context)
        if fault is not None:
            self._gateway.abort(context, fault)
        found = self._channel.transactions

        def committed() -> bool:
            return asked.transaction_id in found and found[asked.transaction_id].block_num >= 0

        self._channel.wait_for(committed, context)
        transaction = found[asked.transaction_id]
        return gateway_pb2.CommitStatusResponse(
            result=int(transaction.code), block_number=transaction.block_num
        )

    def ChaincodeEvents(self, request: Any, context: Any) -> Iterator[Any]:
        self._gateway.entered("ChaincodeEvents", context)
        asked = gateway_pb2.ChaincodeEventsRequest.FromString(request.request)
        verify(asked.identity, request.request, request.signature, context)
        number = _start(asked.start_position, self._channel)
        after = asked.after_transaction_id
        while context.is_active():
            self._channel.wait_for_block(number, context)
            events = []
            for transaction in self._channel.blocks[number]:
                if after:
                    after = "" if transaction.tx_id == after else after
                    continue
                if transaction.code is TxValidationCode.VALID and transaction.event:
                    events.append(
                        chaincode_event_pb2.ChaincodeEvent(
                            chaincode_id=asked.chaincode_id,
                            tx_id=transaction.tx_id,
                            event_name=transaction.event[0],
                            payload=transaction.event[1],
                        )
                    )
            if events:
                yield gateway_pb2.ChaincodeEventsResponse(events=events, block_number=number)
                fault = self._gateway._faults["EventStream"]
                if fault:
                    self._gateway.abort(context, fault.popleft())
            number += 1


class _Deliver(events_pb2_grpc.DeliverServicer):  # type: ignore[misc]  # has no types
    """Full and filtered blocks."""

    def __init__(self, gateway: FakeGateway) -> None:
        self._gateway = gateway
        self._channel = gateway.channel

    def Deliver(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for number, transactions in self._blocks(requests, context):
            block = common_pb2.Block(header=common_pb2.BlockHeader(number=number))
            block.data.data.extend(each.envelope for each in transactions)
            codes = bytes(int(each.code) for each in transactions)
            block.metadata.metadata.extend([b"", b"", codes, b"", b""])
            yield events_pb2.DeliverResponse(block=block)
        yield events_pb2.DeliverResponse(status=common_pb2.SUCCESS)

    def DeliverFiltered(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        for number, transactions in self._blocks(requests, context):
            block = events_pb2.FilteredBlock(channel_id=self._gateway.name, number=number)
            for each in transactions:
                block.filtered_transactions.add(txid=each.tx_id, tx_validation_code=int(each.code))
            yield events_pb2.DeliverResponse(filtered_block=block)
        yield events_pb2.DeliverResponse(status=common_pb2.SUCCESS)

    def _blocks(
        self, requests: Iterator[Any], context: Any
    ) -> Iterator[tuple[int, list[Transaction]]]:
        self._gateway.entered("Deliver", context)
        payload = common_pb2.Payload.FromString(next(requests).payload)
        seek = ab_pb2.SeekInfo.FromString(payload.data)
        number = _start(seek.start, self._channel)
        while context.is_active() and number <= seek.stop.specified.number:
            self._channel.wait_for_block(number, context)
            yield number, self._channel.blocks[number]
            number += 1


def _start(position: Any, channel: FakeChannel) -> int:
    if position.WhichOneof("Type") == "specified":
        return int(position.specified.number)
    return len(channel.blocks)


def _payload(result: Any) -> bytes:
    value = result[0] if isinstance(result, tuple) else result
    return value if isinstance(value, bytes) else str(value).encode()
