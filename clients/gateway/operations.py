"""The conversation with a gateway, without any input or output of its own.

Each operation is a generator: it yields a :class:`Call` to be made or a
:class:`Pause` to be waited for, is sent the answer, and returns its result.
The blocking and the asyncio face (``blocking.py``, ``asynchronous.py``) only
drive these generators, so both do exactly the same.

Where other members' gateways stand in (`StandIns`), the same signed envelope is
handed to several gateways. It stays one transaction: its id is recorded once,
whatever else is ordered of it is a duplicate without effect, and every gateway
tells the status of the one that counts.

Invariant: an operation that submits yields the same envelope at most once to a
gateway (its face makes a call again that was refused and not looked at); a
repeat after an MVCC conflict is a new proposal with a new id.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
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
        stand_in: which of the other members' gateways is called, from 1; 0: the member's own.
        within_s: after how long it is given up; None: the time of its stage.
    """

    rpc: str
    request: Any
    error: type[GatewayError]
    tx_id: str
    is_repeatable: bool = True
    stand_in: int = 0
    within_s: float | None = None


@dataclass(frozen=True, slots=True)
class StandIns:
    """Other members' gateways, for when one's own does not pass a transaction on.

    Attributes:
        count: how many there are.
        withheld_s: how long a commit status is waited for before the next one gets the envelope.
    """

    count: int = 0
    withheld_s: float = 0.0


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


NOBODY = StandIns()

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


def submit(draft: TransactionDraft, stand_ins: StandIns = NOBODY) -> Operation[CommitRequest]:
    """Hand the envelope to the orderer. Returns what to ask the commit status with."""
    failures: list[GatewayError] = []
    for stand_in in range(stand_ins.count + 1):
        try:
            yield _submission(draft, stand_in)
            return messages.commit_request(draft.signer, draft.channel_id, draft.tx_id)
        except GatewayError as error:
            failures.append(error)
            if not _may_be_kept_back(error):
                break
    raise _told(failures)


def commit_status(request: CommitRequest, stand_ins: StandIns = NOBODY) -> Operation[CommitStatus]:
    """Wait until the transaction is committed; an invalid one is a result, not an error."""
    failures: list[GatewayError] = []
    for stand_in in range(stand_ins.count + 1):
        try:
            return (yield from _status(request, stand_in))
        except GatewayError as error:
            failures.append(error)
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                break
    raise _told(failures)


def commit(draft: TransactionDraft, stand_ins: StandIns = NOBODY) -> Operation[CommitStatus]:
    """Submit the envelope and wait for its commit, through another member's gateway if need be.

    A gateway that knows the commit status when it answers the submission is not asked for it. The
    next one gets it when a gateway is out of reach, or has no commit status to tell in time.
    """
    if not stand_ins.count:
        told = _told_at_once(draft.tx_id, (yield _submission(draft, 0)))
        if told is not None:
            return told
        request = messages.commit_request(draft.signer, draft.channel_id, draft.tx_id)
        return (yield from commit_status(request))
    request = messages.commit_request(draft.signer, draft.channel_id, draft.tx_id)
    failures: list[GatewayError] = []
    for stand_in in range(stand_ins.count + 1):
        try:
            told = _told_at_once(draft.tx_id, (yield _submission(draft, stand_in)))
            if told is not None:
                return told
            return (yield from _status(request, stand_in, stand_ins.withheld_s))
        except GatewayError as error:
            failures.append(error)
            if not _may_be_kept_back(error):
                raise _told(failures) from error
    if all(each.outcome_definite for each in failures):
        raise _told(failures)
    # Everybody has it who could: what is left is to wait.
    return (yield from commit_status(request, stand_ins))


def _submission(draft: TransactionDraft, stand_in: int) -> Call:
    request = gateway_pb2.SubmitRequest(
        transaction_id=draft.tx_id,
        channel_id=draft.channel_id,
        prepared_transaction=draft.signed(),
    )
    return Call("Submit", request, SubmitError, draft.tx_id, is_repeatable=False, stand_in=stand_in)


def _status(
    request: CommitRequest, stand_in: int, within_s: float | None = None
) -> Operation[CommitStatus]:
    answer = yield Call(
        "CommitStatus",
        request.signed(),
        CommitStatusError,
        request.tx_id,
        stand_in=stand_in,
        within_s=within_s,
    )
    return _read_status(request.tx_id, answer)


def _read_status(tx_id: str, answer: Any) -> CommitStatus:
    try:
        code = TxValidationCode(answer.result)
    except ValueError:
        raise CommitStatusError(
            f"the gateway tells the unknown validation code {answer.result}; ask another gateway",
            code=grpc.StatusCode.UNKNOWN,
            tx_id=tx_id,
            outcome_definite=False,
        ) from None
    return CommitStatus(tx_id, code, int(answer.block_number))


def _told_at_once(tx_id: str, answer: Any) -> CommitStatus | None:
    """The commit status in the answer to a submission; Fabric's gateway tells none there.

    It lies where a SubmitResponse has nothing (docs/formats.md, section 16). No transaction of a
    client stands in block 0, so that number says that nothing was told.
    """
    status = gateway_pb2.CommitStatusResponse.FromString(answer.SerializeToString())
    return _read_status(tx_id, status) if status.block_number else None


def _may_be_kept_back(error: GatewayError) -> bool:
    return error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def _told(failures: Sequence[GatewayError]) -> GatewayError:
    """The last failure, as open as the most open of them, with what the others said."""
    *before, last = failures
    last.outcome_definite = all(each.outcome_definite for each in failures)
    for each in before:
        last.add_note(f"before, through another gateway: {each}")
    return last


def submit_and_wait(
    new_draft: Callable[[], ProposalDraft],
    retry: RetryPolicy | None = None,
    stand_ins: StandIns = NOBODY,
) -> Operation[Outcome]:
    """Endorse, submit and wait for the commit; acknowledged only by CommitStatus.

    Args:
        new_draft: makes a fresh proposal; called again for every attempt.
        retry: how often a call that its caller declares idempotent is endorsed
            again after a conflict, or while its gateway is out of reach; None: never.
        stand_ins: other members' gateways, which get the same envelope where one's own fails.
    Raises:
        EndorseError, SubmitError, CommitStatusError: by stage.
        CommitError: committed as invalid, for another reason or once too often.
    """
    attempt, paused_s = 1, 0.0
    while True:
        failure: GatewayError | CommitError
        try:
            return (yield from _attempt(new_draft(), stand_ins))
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


def _attempt(draft: ProposalDraft, stand_ins: StandIns) -> Operation[Outcome]:
    transaction = yield from endorse(draft)
    status = yield from commit(transaction, stand_ins)
    if not status.is_valid:
        raise CommitError(status.tx_id, status.code, status.block_num)
    return Outcome(transaction.result, status)
