"""The SDK for programs that wait: one call returns when its answer is there.

Mirrors ``asynchronous.py`` method by method (a test compares them). A gateway
may be shared by threads.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import grpc
from fabric_protos.gateway import gateway_pb2_grpc
from fabric_protos.peer import events_pb2_grpc

from clients.gateway import messages, operations
from clients.gateway.connection import Endpoint, Timeouts, gateway_error
from clients.gateway.drafting import Argument, Clock, ContractDrafting, OfflineDrafting, Transient
from clients.gateway.errors import EventsError
from clients.gateway.events import ChaincodeEvent, checked_delivery, events_of
from clients.gateway.messages import CommitRequest, ProposalDraft, TransactionDraft
from clients.gateway.operations import CommitStatus, Operation, Outcome, Pause, T
from clients.gateway.ports import Checkpointer, Signer
from clients.gateway.retry import RetryPolicy


class Gateway(OfflineDrafting):
    """A connection to one gateway for one identity; close it, or use ``with``."""

    def __init__(
        self,
        endpoint: Endpoint,
        signer: Signer,
        *,
        timeouts: Timeouts | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(signer)
        self.identity = signer
        self._timeouts = timeouts or Timeouts()
        self._clock = clock
        self._channel = grpc.secure_channel(
            endpoint.address, endpoint.credentials(), options=endpoint.options()
        )
        self._stub = gateway_pb2_grpc.GatewayStub(self._channel)
        self._deliver = events_pb2_grpc.DeliverStub(self._channel)

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
        self._channel.close()

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
        return self._run(operations.submit(transaction))

    def commit_status(self, request: CommitRequest) -> CommitStatus:
        """Wait for the commit; an invalid transaction is a result, not an error."""
        return self._run(operations.commit_status(request))

    def _run(self, operation: Operation[T]) -> T:
        answer: Any = None
        while True:
            try:
                step = operation.send(answer)
            except StopIteration as finished:
                result: T = finished.value
                return result
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                answer = None
                continue
            try:
                method = getattr(self._stub, step.rpc)
                answer = method(step.request, timeout=self._timeouts.of(step.rpc))
            except grpc.RpcError as error:
                raise gateway_error(step.error, error, step.tx_id) from error

    def _chaincode_events(self, request: Any) -> Iterator[ChaincodeEvent]:
        try:
            for response in self._stub.ChaincodeEvents(request):
                yield from events_of(response)
        except grpc.RpcError as error:
            raise gateway_error(EventsError, error, "") from error

    def _blocks(self, rpc: str, envelope: Any) -> Iterator[Any]:
        call = getattr(self._deliver, rpc)(iter([envelope]))
        try:
            for response in call:
                delivered = checked_delivery(response)
                if delivered is None:
                    return
                yield delivered
        except grpc.RpcError as error:
            raise gateway_error(EventsError, error, "") from error
        finally:
            call.cancel()


class Network:
    """One channel, seen through one gateway."""

    def __init__(self, gateway: Gateway, channel_id: str) -> None:
        self._gateway = gateway
        self.channel_id = channel_id

    def contract(self, chaincode: str, contract: str = "") -> Contract:
        """A contract of the channel."""
        return Contract(self._gateway, self.channel_id, chaincode, contract)

    def chaincode_events(
        self,
        chaincode: str,
        *,
        start_block: int | None = None,
        checkpoint: Checkpointer | None = None,
    ) -> Iterator[ChaincodeEvent]:
        """Events of a contract in order, without end; from the checkpoint where it has one."""
        request = messages.chaincode_events_request(
            self._gateway.identity,
            self.channel_id,
            chaincode,
            start_block=_start(start_block, checkpoint),
            after_tx_id=checkpoint.tx_id if checkpoint else "",
        )
        return self._gateway._chaincode_events(request)

    def block_events(
        self,
        *,
        start_block: int | None = None,
        stop_block: int | None = None,
        checkpoint: Checkpointer | None = None,
    ) -> Iterator[Any]:
        """Blocks (``common.Block``) in order; without *stop_block*, without end."""
        return self._blocks("Deliver", start_block, stop_block, checkpoint)

    def filtered_block_events(
        self,
        *,
        start_block: int | None = None,
        stop_block: int | None = None,
        checkpoint: Checkpointer | None = None,
    ) -> Iterator[Any]:
        """Filtered blocks (``protos.FilteredBlock``): ids and codes, no content."""
        return self._blocks("DeliverFiltered", start_block, stop_block, checkpoint)

    def _blocks(
        self,
        rpc: str,
        start_block: int | None,
        stop_block: int | None,
        checkpoint: Checkpointer | None,
    ) -> Iterator[Any]:
        envelope = messages.seek_envelope(
            self._gateway.identity,
            self.channel_id,
            _start(start_block, checkpoint),
            stop_block,
            now=self._gateway._clock() if self._gateway._clock else None,
        )
        return self._gateway._blocks(rpc, envelope)


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
    ) -> Outcome:
        """Endorse, submit, and wait until the transaction is committed as valid.

        Args:
            retry: give one only for a request that may be made twice without harm.
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
                ),
                retry,
            )
        )


def _start(start_block: int | None, checkpoint: Checkpointer | None) -> int | None:
    if checkpoint is not None and checkpoint.block_num is not None:
        return checkpoint.block_num
    return start_block
