"""The conversation with a gateway, without any input or output of its own.

Each operation is a generator: it yields a :class:`Call` to be made or a
:class:`Pause` to be waited for, is sent the answer, and returns its result.
The blocking and the asyncio face (``blocking.py``, ``asynchronous.py``) only
drive these generators, so both do exactly the same.

Invariant: an operation that submits yields the same envelope at most once; a
repeat after an MVCC conflict is a new proposal with a new transaction id.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from fabric_protos.gateway import gateway_pb2

from clients.gateway import messages
from clients.gateway.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    GatewayError,
    SubmitError,
)
from clients.gateway.messages import CommitRequest, ProposalDraft, TransactionDraft
from clients.gateway.retry import RetryPolicy
from ledger.transactions.codes import TxValidationCode


@dataclass(frozen=True, slots=True)
class Call:
    """One unary RPC to make.

    Attributes:
        rpc: name of the method of ``gateway.Gateway``.
        request: the protobuf message.
        error: class to raise when the RPC fails.
        tx_id: transaction concerned.
        is_repeatable: whether it changes nothing, so that another gateway may be asked instead.
    """

    rpc: str
    request: Any
    error: type[GatewayError]
    tx_id: str
    is_repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds before going on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class CommitStatus:
    """What became of a transaction: its code and the block in which it stands."""

    tx_id: str
    code: TxValidationCode
    block_num: int

    @property
    def is_valid(self) -> bool:
        """Whether its writes took effect."""
        return self.code is TxValidationCode.VALID


@dataclass(frozen=True, slots=True)
class Outcome:
    """A submitted and committed transaction: the contract's result and where it stands."""

    result: bytes
    status: CommitStatus


METHODS = {
    "Evaluate": ("/gateway.Gateway/Evaluate", gateway_pb2.EvaluateResponse),
    "Endorse": ("/gateway.Gateway/Endorse", gateway_pb2.EndorseResponse),
    "Submit": ("/gateway.Gateway/Submit", gateway_pb2.SubmitResponse),
    "CommitStatus": ("/gateway.Gateway/CommitStatus", gateway_pb2.CommitStatusResponse),
}
"""Full name and answer of each RPC that is made by a `Call`."""

T = TypeVar("T")
Operation = Generator[Call | Pause, Any, T]


def evaluate(draft: ProposalDraft) -> Operation[bytes]:
    """Run a query on one peer; nothing is written. Returns the contract's payload."""
    request = gateway_pb2.EvaluateRequest(
        transaction_id=draft.tx_id,
        channel_id=draft.channel_id,
        proposed_transaction=draft.signed(),
        target_organizations=draft.endorsing_organisations,
    )
    answer = yield Call("Evaluate", request, EvaluateError, draft.tx_id)
    return bytes(answer.result.payload)


def endorse(draft: ProposalDraft) -> Operation[TransactionDraft]:
    """Gather endorsements. Returns the transaction to sign and submit."""
    request = gateway_pb2.EndorseRequest(
        transaction_id=draft.tx_id,
        channel_id=draft.channel_id,
        proposed_transaction=draft.signed(),
        endorsing_organizations=draft.endorsing_organisations,
    )
    answer = yield Call("Endorse", request, EndorseError, draft.tx_id)
    return messages.transaction_from_envelope(
        draft.signer, draft.channel_id, draft.tx_id, answer.prepared_transaction
    )


def submit(draft: TransactionDraft) -> Operation[CommitRequest]:
    """Hand the envelope to the orderer. Returns what to ask the commit status with."""
    request = gateway_pb2.SubmitRequest(
        transaction_id=draft.tx_id,
        channel_id=draft.channel_id,
        prepared_transaction=draft.signed(),
    )
    yield Call("Submit", request, SubmitError, draft.tx_id, is_repeatable=False)
    return messages.commit_request(draft.signer, draft.channel_id, draft.tx_id)


def commit_status(request: CommitRequest) -> Operation[CommitStatus]:
    """Wait until the transaction is committed; an invalid one is a result, not an error."""
    answer = yield Call("CommitStatus", request.signed(), CommitStatusError, request.tx_id)
    code = TxValidationCode(answer.result)
    return CommitStatus(request.tx_id, code, int(answer.block_number))


def submit_and_wait(
    new_draft: Callable[[], ProposalDraft], retry: RetryPolicy | None = None
) -> Operation[Outcome]:
    """Endorse, submit and wait for the commit; acknowledged only by CommitStatus.

    Args:
        new_draft: makes a fresh proposal; called again for every attempt.
        retry: how often a call that its caller declares idempotent is endorsed
            again after a conflict, or while its gateway is out of reach; None: never.
    Raises:
        EndorseError, SubmitError, CommitStatusError: by stage.
        CommitError: committed as invalid, for another reason or once too often.
    """
    attempt, paused_s = 1, 0.0
    while True:
        failure: GatewayError | CommitError
        try:
            return (yield from _attempt(new_draft()))
        except GatewayError as error:
            failure = error
            again = retry is not None and retry.allows_after(error, attempt, paused_s)
        except CommitError as error:
            failure = error
            again = retry is not None and retry.allows(error.code, attempt)
        if retry is None or not again:
            raise failure
        pause_s = retry.pause_s(attempt)
        yield Pause(pause_s)
        attempt += 1
        paused_s += pause_s


def _attempt(draft: ProposalDraft) -> Operation[Outcome]:
    transaction = yield from endorse(draft)
    request = yield from submit(transaction)
    status = yield from commit_status(request)
    if not status.is_valid:
        raise CommitError(status.tx_id, status.code, status.block_num)
    return Outcome(transaction.result, status)
