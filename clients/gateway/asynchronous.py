"""The SDK for asyncio programs: the same methods as ``blocking.py``, to be awaited.

A test compares the two faces method by method. A gateway belongs to the event
loop in which it was made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import grpc
from fabric_protos.gateway import gateway_pb2_grpc
from fabric_protos.peer import events_pb2_grpc

from clients.gateway import bulk, operations
from clients.gateway.bulk import BulkOutcome, BulkRequest
from clients.gateway.connection import Endpoint, Timeouts, gateway_error
from clients.gateway.drafting import (
    Argument,
    Clock,
    ContractDrafting,
    NetworkDrafting,
    OfflineDrafting,
    Transient,
)
from clients.gateway.errors import EventsError, GatewayError
from clients.gateway.events import ChaincodeEvent, checked_delivery, events_of
from clients.gateway.messages import CommitRequest, ProposalDraft, TransactionDraft
from clients.gateway.operations import (
    METHODS,
    Call,
    CommitStatus,
    Operation,
    Outcome,
    Pause,
    StandIns,
    T,
)
from clients.gateway.ports import Checkpointer, Signer
from clients.gateway.profile import ConnectionProfile
from clients.gateway.requests import BlocksRequest, EventsRequest
from clients.gateway.retry import Refusals, RetryPolicy
from clients.gateway.rota import Line, Rota, endpoints_of, is_for_another_gateway, unreachable
from network.calls import CallLine


class _Stubs:
    """A connection to one gateway and what calls are made with."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.channel = grpc.aio.secure_channel(
            endpoint.address, endpoint.credentials(), options=endpoint.options()
        )
        self.calls = CallLine(self.channel)
        self.gateway = gateway_pb2_grpc.GatewayStub(self.channel)
        self.deliver = events_pb2_grpc.DeliverStub(self.channel)


class AsyncGateway(OfflineDrafting):
    """A connection to a member's gateways for one identity; close it, or use ``async with``."""

    def __init__(
        self,
        endpoint: Endpoint | Sequence[Endpoint],
        signer: Signer,
        *,
        timeouts: Timeouts | None = None,
        clock: Clock | None = None,
        stand_ins: Sequence[Endpoint] = (),
    ) -> None:
        super().__init__(signer)
        self.identity = signer
        self._timeouts = timeouts or Timeouts()
        self._clock = clock
        self._rota = Rota([Line(each, _Stubs(each)) for each in endpoints_of(endpoint)])
        self._others = [Line(each, _Stubs(each)) for each in stand_ins]
        self._stand_ins = StandIns(len(self._others), self._timeouts.withheld_s)

    @classmethod
    def from_profile(
        cls,
        profile: ConnectionProfile,
        user: str,
        *,
        timeouts: Timeouts | None = None,
        clock: Clock | None = None,
        stand_ins: Sequence[str] = (),
    ) -> AsyncGateway:
        """Connect as a user of a profile to the gateways of its member, in the profile's order.

        Args:
            stand_ins: members whose gateways get what the member's own do not pass on.
        """
        own, others = profile.endpoints(), profile.stand_ins(stand_ins)
        return cls(own, profile.user(user), timeouts=timeouts, clock=clock, stand_ins=others)

    async def __aenter__(self) -> AsyncGateway:
        """The gateway itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        await self.close()

    async def close(self) -> None:
        """Close the connection; streams end."""
        for line in (*self._rota.lines, *self._others):
            await line.stubs.calls.close()
            await line.stubs.channel.close(None)

    async def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the gateway answers, or another of the member's does.

        Raises:
            GatewayUnreachable: none does within *timeout_s*.
        """
        each_s = timeout_s / len(self._rota.lines)
        for line in self._rota.attempts():
            try:
                await asyncio.wait_for(line.stubs.channel.channel_ready(), each_s)
                return
            except TimeoutError:
                continue
        raise unreachable(self._rota, timeout_s)

    def network(self, channel_id: str) -> AsyncNetwork:
        """The channel named *channel_id*."""
        return AsyncNetwork(self, channel_id)

    async def evaluate(self, proposal: ProposalDraft) -> bytes:
        """Run a drafted query."""
        return await self._run(operations.evaluate(proposal))

    async def endorse(self, proposal: ProposalDraft) -> TransactionDraft:
        """Gather endorsements for a drafted proposal."""
        return await self._run(operations.endorse(proposal))

    async def submit(self, transaction: TransactionDraft) -> CommitRequest:
        """Hand an endorsed transaction to the orderer; it is not yet committed."""
        return await self._run(operations.submit(transaction, self._stand_ins))

    async def commit_status(self, request: CommitRequest) -> CommitStatus:
        """Wait for the commit; an invalid transaction is a result, not an error."""
        return await self._run(operations.commit_status(request, self._stand_ins))

    async def commit(self, transaction: TransactionDraft) -> CommitStatus:
        """Submit and wait for the commit, through gateways that stand in if need be."""
        return await self._run(operations.commit(transaction, self._stand_ins))

    async def _run(self, operation: Operation[T]) -> T:
        answer: Any = None
        failure: GatewayError | None = None
        while True:
            try:
                # An operation may mend a failure by another attempt; if not, it comes back up here.
                step = operation.throw(failure) if failure else operation.send(answer)
            except StopIteration as finished:
                result: T = finished.value
                return result
            answer = failure = None
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
                continue
            try:
                answer = await self._admitted(step)
            except GatewayError as error:
                failure = error

    async def _admitted(self, call: Call) -> Any:
        """Make a call; again, after a while, if the gateway is overloaded and did nothing."""
        refusals = Refusals(self._timeouts.refused_s)
        while True:
            try:
                return await self._call(call)
            except GatewayError as error:
                pause_s = refusals.pause_s(error)
                if pause_s is None:
                    raise
            await asyncio.sleep(pause_s)

    async def _call(self, call: Call) -> Any:
        timeout_s = self._timeouts.of(call.rpc) if call.within_s is None else call.within_s
        failure: GatewayError | None = None
        for line in [self._others[call.stand_in - 1]] if call.stand_in else self._rota.attempts():
            try:
                method, answer = METHODS[call.rpc]
                raw, _ = await line.stubs.calls.call(
                    method, call.request.SerializeToString(), timeout_s
                )
                return answer.FromString(raw)
            except grpc.RpcError as error:
                failure = gateway_error(call.error, error, call.tx_id)
                failure.__cause__ = error
                if not is_for_another_gateway(failure.code):
                    break
                if not call.is_repeatable:
                    self._rota.leave(line)
                    break
        assert failure is not None
        raise failure

    async def chaincode_events(
        self, request: EventsRequest, *, timeout_s: float | None = None
    ) -> AsyncIterator[ChaincodeEvent]:
        """Events that a drafted request asks for, in order; without *timeout_s*, without end."""
        line = self._rota.current
        call = line.stubs.gateway.ChaincodeEvents(request.signed(), timeout=timeout_s)
        try:
            async for response in call:
                for event in events_of(response):
                    yield event
        except grpc.RpcError as error:
            raise self._broken(line, error) from error
        finally:
            call.cancel()

    async def block_events(
        self, request: BlocksRequest, *, timeout_s: float | None = None
    ) -> AsyncIterator[Any]:
        """Blocks that a drafted request asks for, in order, as the request's kind has them."""
        line = self._rota.current
        deliver = getattr(line.stubs.deliver, request.rpc)
        call = deliver(iter([request.signed()]), timeout=timeout_s)
        try:
            async for response in call:
                delivered = checked_delivery(response)
                if delivered is None:
                    return
                yield delivered
        except grpc.RpcError as error:
            raise self._broken(line, error) from error
        finally:
            call.cancel()

    def _broken(self, line: Line[_Stubs], error: grpc.RpcError) -> GatewayError:
        """The error of a stream; a listener that begins anew finds another gateway if need be."""
        failure = gateway_error(EventsError, error, "")
        if is_for_another_gateway(failure.code):
            self._rota.leave(line)
        return failure


class AsyncNetwork(NetworkDrafting):
    """One channel, seen through one gateway.

    Streams end with EventsError DEADLINE_EXCEEDED after *timeout_s*, if one is given.
    """

    def __init__(self, gateway: AsyncGateway, channel_id: str) -> None:
        super().__init__(gateway.identity, channel_id, gateway._clock)
        self._gateway = gateway

    def contract(self, chaincode: str, contract: str = "") -> AsyncContract:
        """A contract of the channel."""
        return AsyncContract(self._gateway, self.channel_id, chaincode, contract)

    def chaincode_events(
        self,
        chaincode: str,
        *,
        start_block: int | None = None,
        checkpoint: Checkpointer | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[ChaincodeEvent]:
        """Events of a contract in order, without end; from the checkpoint where it has one."""
        request = self.new_chaincode_events_request(
            chaincode, start_block=start_block, checkpoint=checkpoint
        )
        return self._gateway.chaincode_events(request, timeout_s=timeout_s)

    def block_events(
        self,
        *,
        start_block: int | None = None,
        stop_block: int | None = None,
        checkpoint: Checkpointer | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Any]:
        """Blocks (``common.Block``) in order; without *stop_block*, without end."""
        request = self.new_block_events_request(
            start_block=start_block, stop_block=stop_block, checkpoint=checkpoint
        )
        return self._gateway.block_events(request, timeout_s=timeout_s)

    def filtered_block_events(
        self,
        *,
        start_block: int | None = None,
        stop_block: int | None = None,
        checkpoint: Checkpointer | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Any]:
        """Filtered blocks (``protos.FilteredBlock``): ids and codes, no content."""
        request = self.new_filtered_block_events_request(
            start_block=start_block, stop_block=stop_block, checkpoint=checkpoint
        )
        return self._gateway.block_events(request, timeout_s=timeout_s)

    def private_block_events(
        self,
        *,
        start_block: int | None = None,
        stop_block: int | None = None,
        checkpoint: Checkpointer | None = None,
        timeout_s: float | None = None,
    ) -> AsyncIterator[Any]:
        """Blocks (``protos.BlockAndPrivateData``) with the private data that the member may see."""
        request = self.new_private_block_events_request(
            start_block=start_block, stop_block=stop_block, checkpoint=checkpoint
        )
        return self._gateway.block_events(request, timeout_s=timeout_s)


class AsyncContract(ContractDrafting):
    """One contract of a channel."""

    def __init__(
        self, gateway: AsyncGateway, channel_id: str, chaincode: str, contract: str
    ) -> None:
        super().__init__(gateway.identity, channel_id, chaincode, contract, gateway._clock)
        self._gateway = gateway

    async def evaluate(
        self,
        transaction: str,
        *arguments: Argument,
        transient: Transient | None = None,
        endorsing_organisations: Sequence[str] = (),
    ) -> bytes:
        """Run a query and return its result."""
        return await self._gateway.evaluate(
            self.new_proposal(
                transaction,
                *arguments,
                transient=transient,
                endorsing_organisations=endorsing_organisations,
            )
        )

    async def submit(
        self,
        transaction: str,
        *arguments: Argument,
        transient: Transient | None = None,
        endorsing_organisations: Sequence[str] = (),
        retry: RetryPolicy | None = None,
        is_init: bool = False,
    ) -> Outcome:
        """Endorse, submit, and wait until the transaction is committed as valid.

        Args:
            retry: give one only for a request that may be made twice without harm.
            is_init: it initialises a contract whose definition asks for that.
        Raises:
            EndorseError, SubmitError, CommitStatusError, CommitError: by stage.
        """
        return await self._gateway._run(
            operations.submit_and_wait(
                lambda: self.new_proposal(
                    transaction,
                    *arguments,
                    transient=transient,
                    endorsing_organisations=endorsing_organisations,
                    is_init=is_init,
                ),
                retry,
                self._gateway._stand_ins,
            )
        )

    async def submit_bulk(
        self,
        transaction: str,
        records: Sequence[Any],
        *,
        transient: Mapping[str, Sequence[Any]] | None = None,
        endorsing_organisations: Sequence[str] = (),
        retry: RetryPolicy | None = None,
        most: int = bulk.MOST_RECORDS,
    ) -> BulkOutcome:
        """Submit records through a function that takes a JSON list, and wait for all of them.

        Args:
            records: whatever JSON can say.
            transient: lists parallel to *records*, by their transient name.
            retry: give one only for a function that writes nothing twice. A part that keeps meeting
                conflicts is then halved.
            most: records in one transaction.
        Raises:
            nothing of a stage: what failed stands in its part; see ``raise_for_error``.
        """
        request = BulkRequest(records, transient or {})

        def new_draft(start: int, stop: int) -> ProposalDraft:
            return self.new_proposal(
                transaction,
                request.argument(start, stop),
                transient=request.beside(start, stop),
                endorsing_organisations=endorsing_organisations,
            )

        return await self._gateway._run(
            bulk.submit_bulk(new_draft, len(records), most, retry, self._gateway._stand_ins)
        )
