"""The SDK for programs that wait: one call returns when its answer is there.

Mirrors ``asynchronous.py`` method by method (a test compares them). A gateway
may be shared by threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
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
from clients.gateway.operations import Call, CommitStatus, Operation, Outcome, Pause, StandIns, T
from clients.gateway.ports import Checkpointer, Signer
from clients.gateway.profile import ConnectionProfile
from clients.gateway.requests import BlocksRequest, EventsRequest
from clients.gateway.retry import Refusals, RetryPolicy
from clients.gateway.rota import Line, Rota, endpoints_of, is_for_another_gateway, unreachable


class _Stubs:
    """A connection to one gateway and what calls are made with."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.channel = grpc.secure_channel(
            endpoint.address, endpoint.credentials(), options=endpoint.options()
        )
        self.gateway = gateway_pb2_grpc.GatewayStub(self.channel)
        self.deliver = events_pb2_grpc.DeliverStub(self.channel)


class Gateway(OfflineDrafting):
    """A connection to a member's gateways for one identity; close it, or use ``with``."""

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
    ) -> Gateway:
        """Connect as a user of a profile to the gateways of its member, in the profile's order.

        Args:
            stand_ins: members whose gateways get what the member's own do not pass on.
        """
        own, others = profile.endpoints(), profile.stand_ins(stand_ins)
        return cls(own, profile.user(user), timeouts=timeouts, clock=clock, stand_ins=others)

    def __enter__(self) -> Gateway:
        """The gateway itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; streams end."""
        for line in (*self._rota.lines, *self._others):
            line.stubs.channel.close()

    def wait_until_ready(self, timeout_s: float) -> None:
        """Wait until the gateway answers, or another of the member's does.

        Raises:
            GatewayUnreachable: none does within *timeout_s*.
        """
        each_s = timeout_s / len(self._rota.lines)
        for line in self._rota.attempts():
            try:
                grpc.channel_ready_future(line.stubs.channel).result(each_s)
                return
            except grpc.FutureTimeoutError:
                continue
        raise unreachable(self._rota, timeout_s)

    def network(self, channel_id: str) -> Network:
        """The channel named *channel_id*."""
        return Network(self, channel_id)

    def evaluate(self, proposal: ProposalDraft) -> bytes:
        """Run a drafted query."""
        return self._run(operations.evaluate(proposal))

    def endorse(self, proposal: ProposalDraft) -> TransactionDraft:
        """Gather endorsements for a drafted proposal."""
        return self._run(operations.endorse(proposal))

    def submit(self, transaction: TransactionDraft) -> CommitRequest:
        """Hand an endorsed transaction to the orderer; it is not yet committed."""
        return self._run(operations.submit(transaction, self._stand_ins))

    def commit_status(self, request: CommitRequest) -> CommitStatus:
        """Wait for the commit; an invalid transaction is a result, not an error."""
        return self._run(operations.commit_status(request, self._stand_ins))

    def commit(self, transaction: TransactionDraft) -> CommitStatus:
        """Submit and wait for the commit, through gateways that stand in if need be."""
        return self._run(operations.commit(transaction, self._stand_ins))

    def _run(self, operation: Operation[T]) -> T:
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
                time.sleep(step.seconds)
                continue
            try:
                answer = self._admitted(step)
            except GatewayError as error:
                failure = error

    def _admitted(self, call: Call) -> Any:
        """Make a call; again, after a while, if the gateway is overloaded and did nothing."""
        refusals = Refusals(self._timeouts.refused_s)
        while True:
            try:
                return self._call(call)
            except GatewayError as error:
                pause_s = refusals.pause_s(error)
                if pause_s is None:
                    raise
            time.sleep(pause_s)

    def _call(self, call: Call) -> Any:
        timeout_s = self._timeouts.of(call.rpc) if call.within_s is None else call.within_s
        failure: GatewayError | None = None
        for line in [self._others[call.stand_in - 1]] if call.stand_in else self._rota.attempts():
            try:
                return getattr(line.stubs.gateway, call.rpc)(call.request, timeout=timeout_s)
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

    def chaincode_events(
        self, request: EventsRequest, *, timeout_s: float | None = None
    ) -> Iterator[ChaincodeEvent]:
        """Events that a drafted request asks for, in order; without *timeout_s*, without end."""
        line = self._rota.current
        call = line.stubs.gateway.ChaincodeEvents(request.signed(), timeout=timeout_s)
        try:
            for response in call:
                yield from events_of(response)
        except grpc.RpcError as error:
            raise self._broken(line, error) from error
        finally:
            call.cancel()

    def block_events(
        self, request: BlocksRequest, *, timeout_s: float | None = None
    ) -> Iterator[Any]:
        """Blocks that a drafted request asks for, in order, as the request's kind has them."""
        line = self._rota.current
        deliver = getattr(line.stubs.deliver, request.rpc)
        call = deliver(iter([request.signed()]), timeout=timeout_s)
        try:
            for response in call:
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


class Network(NetworkDrafting):
    """One channel, seen through one gateway.

    Streams end with EventsError DEADLINE_EXCEEDED after *timeout_s*, if one is given.
    """

    def __init__(self, gateway: Gateway, channel_id: str) -> None:
        super().__init__(gateway.identity, channel_id, gateway._clock)
        self._gateway = gateway

    def contract(self, chaincode: str, contract: str = "") -> Contract:
        """A contract of the channel."""
        return Contract(self._gateway, self.channel_id, chaincode, contract)

    def chaincode_events(
        self,
        chaincode: str,
        *,
        start_block: int | None = None,
        checkpoint: Checkpointer | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[ChaincodeEvent]:
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
    ) -> Iterator[Any]:
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
    ) -> Iterator[Any]:
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
    ) -> Iterator[Any]:
        """Blocks (``protos.BlockAndPrivateData``) with the private data that the member may see."""
        request = self.new_private_block_events_request(
            start_block=start_block, stop_block=stop_block, checkpoint=checkpoint
        )
        return self._gateway.block_events(request, timeout_s=timeout_s)


class Contract(ContractDrafting):
    """One contract of a channel."""

    def __init__(self, gateway: Gateway, channel_id: str, chaincode: str, contract: str) -> None:
        super().__init__(gateway.identity, channel_id, chaincode, contract, gateway._clock)
        self._gateway = gateway

    def evaluate(
        self,
        transaction: str,
        *arguments: Argument,
        transient: Transient | None = None,
        endorsing_organisations: Sequence[str] = (),
    ) -> bytes:
        """Run a query and return its result."""
        return self._gateway.evaluate(
            self.new_proposal(
                transaction,
                *arguments,
                transient=transient,
                endorsing_organisations=endorsing_organisations,
            )
        )

    def submit(
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
        return self._gateway._run(
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

    def submit_bulk(
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

        return self._gateway._run(
            bulk.submit_bulk(new_draft, len(records), most, retry, self._gateway._stand_ins)
        )
