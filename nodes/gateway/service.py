"""``gateway.Gateway`` (fabric-protos gateway/gateway.proto): the five RPCs of an application.

Checks, codes and messages: Fabric internal/pkg/gateway (evaluate.go, endorse.go, submit.go,
commitstatus.go, chaincodeevents.go). Each RPC is read from top to bottom like its source there.

Invariants: Evaluate and Endorse take channel and contract from inside the signed proposal, never
from the request around it; Submit returns once the transaction is ordered and need not wait until
it is committed; CommitStatus of an unknown transaction waits, and an invalid one is a result.

Hot path: what Submit knows of the commit it tells at once (docs/formats.md, section 16), which
saves our clients a call and a signature, a tenth of all processor time of a payment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import grpc
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2
from google.protobuf.message import DecodeError

from ledger.errors import Refusal, Unavailable
from network.errors import OrderingRefusal, OrderingUnavailable
from network.ordering.ports import OrderingEngine
from network.ordering.statuses import status_name
from network.policy import SignedData
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.endorser.endorser import ERROR, ERROR_THRESHOLD, Endorser
from nodes.endorser.proposals import ProposalRefusal, UnpackedProposal, unpack_proposal
from nodes.gateway.endorsing import Endorsing, describe_response
from nodes.gateway.events import EventRequest, chaincode_events
from nodes.gateway.intake import Intake
from nodes.gateway.members import MemberRefused, Members, MemberUnavailable
from nodes.rpc.access import CallerAccess
from nodes.rpc.callers import admitted_client
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.failures import Detail, RpcFailure
from nodes.rpc.handlers import Endpoint, streaming

SERVICE = "gateway.Gateway"
Code = grpc.StatusCode


class Gateway:
    """The gateway of one node.

    Args:
        channel: returns the channel of that name, None if this node does not keep it.
        endorser: this node's own, for its channel.
        endorsing: collects endorsements.
        members: the other members' nodes.
        engine: orders transactions.
        clock: what the expiry of those who wait or listen is compared with.
        address: under which this node appears in error details.
        work: limit of Evaluate, Endorse and Submit at once.
        waiting: limit of CommitStatus at once.
        streams: limit of ChaincodeEvents at once.
        broadcast_timeout_s: until the orderer must have taken a transaction.
        commit_status_wait_s: until CommitStatus gives up.
        endorsement_timeout_s: for one remote evaluation.
    """

    def __init__(
        self,
        *,
        channel: Callable[[str], Channel | None],
        endorser: Endorser,
        endorsing: Endorsing,
        members: Members,
        engine: OrderingEngine,
        clock: Clock,
        address: str,
        work: FairLimit,
        waiting: FairLimit,
        streams: FairLimit,
        broadcast_timeout_s: float,
        commit_status_wait_s: float,
        endorsement_timeout_s: float,
    ) -> None:
        self._channel = channel
        self._endorser = endorser
        self._endorsing = endorsing
        self._members = members
        self._engine = engine
        self._clock = clock
        self._address = address
        self._intake = Intake(work)
        self._waiting = waiting
        self._streams = streams
        self._broadcast_timeout_s = broadcast_timeout_s
        self._commit_status_wait_s = commit_status_wait_s
        self._endorsement_timeout_s = endorsement_timeout_s

    async def evaluate(self, request: Any, context: Any) -> Any:
        """Run a query on one node and return the contract's answer."""
        signed = request.proposed_transaction
        try:
            proposal = unpack_proposal(signed.proposal_bytes, signed.signature)
            _verify_names(proposal)
        except ProposalRefusal as error:
            raise RpcFailure(
                Code.INVALID_ARGUMENT, f"failed to unpack transaction proposal: {error}"
            ) from error
        channel = self._known_channel(proposal.channel_id, Code.FAILED_PRECONDITION)
        with self._intake.query(proposal, channel.configuration.msps, context):
            targets = list(dict.fromkeys(request.target_organizations))
            if targets and self._endorser.msp_id not in targets:
                return await self._evaluate_elsewhere(proposal, signed, targets, [])
            if targets or proposal.transient:
                return await self._evaluate_here(proposal)
            try:
                return await self._evaluate_here(proposal)
            except RpcFailure as failure:
                # This node cannot run the contract at all; another member's may.
                if failure.code is not Code.ABORTED or not self._members.others():
                    raise
                others = list(self._members.others())
                told = list(failure.details)
                return await self._evaluate_elsewhere(proposal, signed, others, told)

    async def _evaluate_here(self, proposal: UnpackedProposal) -> Any:
        try:
            simulated = await self._endorser.simulate(proposal, query=True)
        except Unavailable as error:
            raise self._evaluate_failed(Code.UNAVAILABLE, str(error)) from error
        except Refusal as error:
            raise self._evaluate_failed(Code.FAILED_PRECONDITION, str(error)) from error
        result = simulated.result
        if result.status >= ERROR_THRESHOLD:
            own_fault = result.status == ERROR and not simulated.payload
            raise self._evaluate_failed(
                Code.ABORTED if own_fault else Code.UNKNOWN,
                describe_response(result.status, result.message, bool(simulated.payload)),
            )
        response = gateway_pb2.EvaluateResponse()
        response.result.status = result.status
        response.result.message = result.message
        response.result.payload = result.payload
        return response

    def _evaluate_failed(self, code: grpc.StatusCode, words: str) -> RpcFailure:
        return RpcFailure(
            code,
            f"evaluate call to endorser returned error: {words}",
            [Detail(self._address, self._endorser.msp_id, words)],
        )

    async def _evaluate_elsewhere(
        self,
        proposal: UnpackedProposal,
        signed: Any,
        targets: list[str],
        details: list[Detail],
    ) -> Any:
        """Ask members in turn, those that are up first; *details* is what was said before."""
        others = self._members.others()
        asked = sorted(
            (others[each] for each in targets if each in others),
            key=lambda member: not member.is_up,
        )
        if not asked:
            raise RpcFailure(
                Code.FAILED_PRECONDITION,
                f"no peers available to evaluate chaincode {proposal.invoked} in channel "
                f"{proposal.channel_id}: none of {', '.join(targets)}; name members whose nodes "
                "the channel configuration names",
            )
        for member in asked:
            try:
                answer, _height = await member.process_proposal(signed, self._endorsement_timeout_s)
            except (MemberUnavailable, MemberRefused) as error:
                details.append(Detail(member.address, member.msp_id, str(error)))
                continue
            result = answer.response
            if 200 <= result.status < ERROR_THRESHOLD:
                try:
                    result.payload = _result_of(answer)
                except DecodeError:
                    words = "the node's answer cannot be read; ask its operator"
                    details.append(Detail(member.address, member.msp_id, words))
                    continue
                return gateway_pb2.EvaluateResponse(result=result)
            words = describe_response(result.status, result.message, bool(answer.payload))
            details.append(Detail(member.address, member.msp_id, words))
            if result.status != ERROR or answer.payload:
                raise RpcFailure(
                    Code.UNKNOWN, f"evaluate call to endorser returned error: {words}", details
                )
        raise RpcFailure(
            Code.UNAVAILABLE,
            "failed to evaluate transaction, see attached details for more info",
            details,
        )

    async def endorse(self, request: Any, context: Any) -> Any:
        """Collect endorsements and return the transaction for the client to sign."""
        signed = request.proposed_transaction
        if not signed.proposal_bytes:
            raise RpcFailure(
                Code.INVALID_ARGUMENT, "the proposed transaction must contain a signed proposal"
            )
        try:
            proposal = unpack_proposal(signed.proposal_bytes, signed.signature)
        except ProposalRefusal as error:
            raise RpcFailure(Code.INVALID_ARGUMENT, str(error)) from error
        channel = self._known_channel(proposal.channel_id, Code.FAILED_PRECONDITION)
        place, client = self._intake.proposal(proposal, channel.configuration.msps, context)
        with place:
            prepared = await self._endorsing.prepare(
                proposal, signed, request.endorsing_organizations
            )
            self._intake.endorsed(proposal, client)
            return gateway_pb2.EndorseResponse(prepared_transaction=prepared)

    async def submit(self, request: Any, context: Any) -> Any:
        """Have a signed transaction ordered."""
        if not request.HasField("prepared_transaction"):
            raise RpcFailure(Code.INVALID_ARGUMENT, "a prepared transaction is required")
        envelope = request.prepared_transaction
        if not envelope.signature:
            raise RpcFailure(Code.INVALID_ARGUMENT, "prepared transaction must be signed")
        channel = self._known_channel(request.channel_id, Code.NOT_FOUND)
        msps = channel.configuration.msps
        with self._intake.envelope(request.transaction_id, envelope, msps, context):
            try:
                async with asyncio.timeout(self._broadcast_timeout_s):
                    await self._engine.submit(envelope.SerializeToString())
            except OrderingRefusal as error:
                status = status_name(error.status)
                if 400 <= error.status < 500:
                    raise RpcFailure(
                        Code.ABORTED,
                        "received unsuccessful response from orderer: "
                        f"status={status}, info={error.info}",
                    ) from error
                raise self._no_orderer(f"status={status}, info={error.info}") from error
            except OrderingUnavailable as error:
                raise self._no_orderer(str(error), error.outcome_definite) from error
            except TimeoutError as error:
                raise RpcFailure(
                    Code.DEADLINE_EXCEEDED,
                    "submit timeout expired while broadcasting to ordering service; the "
                    "transaction may have been ordered: ask for its commit status",
                ) from error
            return self._told_at_once(channel, envelope) or gateway_pb2.SubmitResponse()

    def _told_at_once(self, channel: Channel, envelope: Any) -> Any:
        """Return the commit status of what was just ordered, if it is known and may be told.

        The right to know it is asked of whom the envelope is from: its signature, which admission
        has proved, takes the place of that of a CommitStatus request.
        """
        payload = common_pb2.Payload.FromString(envelope.payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        status = channel.remembered_status(header.tx_id)
        if status is None:
            return None
        author = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
        signed = SignedData(envelope.payload, author.creator, envelope.signature)
        try:
            CallerAccess(channel, "gateway/CommitStatus", signed, self._clock).verify()
        except RpcFailure:
            return None  # who asks for it is told why not
        return gateway_pb2.CommitStatusResponse(
            result=int(status.code), block_number=status.block_num
        )

    def _no_orderer(self, words: str, nothing_done: bool = False) -> RpcFailure:
        endpoint = self._engine.status().endpoint or self._address
        return RpcFailure(
            Code.UNAVAILABLE,
            f"no orderers could successfully process transaction: {words}",
            [Detail(endpoint, "", words)],
            nothing_done=nothing_done,
        )

    async def commit_status(self, request: Any, _context: Any) -> Any:
        """Wait until a transaction is committed and return its validation code."""
        asked = _signed_inside(
            request, gateway_pb2.CommitStatusRequest, "commit status request", "status request"
        )
        if not asked.identity:
            raise RpcFailure(Code.INVALID_ARGUMENT, "no identity provided")
        if not asked.channel_id:
            raise RpcFailure(Code.INVALID_ARGUMENT, "no channel ID provided")
        if not asked.transaction_id:
            raise RpcFailure(Code.INVALID_ARGUMENT, "transaction ID should not be empty")
        signed = SignedData(request.request, asked.identity, request.signature)
        channel = self._known_channel(asked.channel_id, Code.ABORTED)
        client = admitted_client(self._waiting, channel.configuration.msps, signed)
        with self._waiting.enter(client):
            access = CallerAccess(channel, "gateway/CommitStatus", signed, self._clock)
            access.verify()
            wait_s = min(filter(None, (self._commit_status_wait_s, access.wait_s())))
            try:
                async with asyncio.timeout(wait_s):
                    status = await channel.wait_for_transaction(asked.transaction_id, access.verify)
            except TimeoutError as error:
                access.verify()
                raise RpcFailure(
                    Code.DEADLINE_EXCEEDED,
                    f"transaction {asked.transaction_id} is in no block yet; ask again",
                ) from error
            access.verify()
            return gateway_pb2.CommitStatusResponse(
                result=int(status.code), block_number=status.block_num
            )

    async def chaincode_events(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        """Stream the events of one contract, block by block."""
        name = "chaincode events request"
        asked = _signed_inside(request, gateway_pb2.ChaincodeEventsRequest, name, name)
        signed = SignedData(request.request, asked.identity, request.signature)
        channel = self._known_channel(asked.channel_id, Code.NOT_FOUND)
        client = admitted_client(self._streams, channel.configuration.msps, signed)
        with self._streams.enter(client):
            access = CallerAccess(channel, "gateway/ChaincodeEvents", signed, self._clock)
            access.verify()
            events = EventRequest.read(channel, asked)
            # From here on nothing is missed, which a caller may want to know.
            await context.send_initial_metadata(())
            async for response in chaincode_events(channel, events, access):
                yield response

    def _known_channel(self, channel_id: str, code: grpc.StatusCode) -> Channel:
        channel = self._channel(channel_id)
        if channel is None:
            raise RpcFailure(
                code, f"channel '{channel_id}' not found; name one that this node keeps"
            )
        return channel


def _signed_inside(request: Any, kind: Any, name: str, name_if_invalid: str) -> Any:
    """Return the request that a client has signed, by Fabric's two names for it."""
    if not request.request:
        raise RpcFailure(Code.INVALID_ARGUMENT, f"a {name} is required")
    try:
        return kind.FromString(request.request)
    except DecodeError as error:
        raise RpcFailure(
            Code.INVALID_ARGUMENT,
            f"invalid {name_if_invalid}: {error}; send a {kind.DESCRIPTOR.full_name}",
        ) from error


def _verify_names(proposal: UnpackedProposal) -> None:
    if not proposal.channel_id:
        raise ProposalRefusal("no channel id provided")
    if not proposal.invoked:
        raise ProposalRefusal(f"no chaincode name is provided, channel id [{proposal.channel_id}]")


def _result_of(answer: Any) -> bytes:
    """The contract's result inside the endorsed payload."""
    payload = proposal_response_pb2.ProposalResponsePayload.FromString(answer.payload)
    action = proposal_pb2.ChaincodeAction.FromString(payload.extension)
    result: bytes = action.response.payload
    return result


def gateway_endpoints(gateway: Gateway) -> dict[str, Endpoint]:
    """Return the RPCs of *gateway* that answer once, by full name."""
    found = (
        Endpoint("Evaluate", gateway_pb2.EvaluateRequest, gateway.evaluate),
        Endpoint("Endorse", gateway_pb2.EndorseRequest, gateway.endorse),
        Endpoint("Submit", gateway_pb2.SubmitRequest, gateway.submit),
        Endpoint("CommitStatus", gateway_pb2.SignedCommitStatusRequest, gateway.commit_status),
    )
    return {f"/{SERVICE}/{each.name}": each for each in found}


def add_gateway_service(server: grpc.aio.Server, gateway: Gateway) -> None:
    """Offer *gateway* on *server*."""
    handlers = {each.name: each.handler() for each in gateway_endpoints(gateway).values()}
    handlers["ChaincodeEvents"] = streaming(
        "ChaincodeEvents", gateway_pb2.SignedChaincodeEventsRequest, gateway.chaincode_events
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
