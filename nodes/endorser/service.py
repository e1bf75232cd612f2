"""``protos.Endorser`` on the node port: endorsements for the gateways of other members.

Bad proposals are answered with gRPC status UNKNOWN and the reason, as Fabric's peers do; what a
contract refuses is a response without endorsement. The answer's trailing metadata tell the height
that was simulated at, and a caller may ask for a least height, so that two gateways with different
heights can agree (`nodes.gateway.endorsing`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from fabric_protos.peer import proposal_pb2, proposal_response_pb2

from ledger.errors import Refusal, Unavailable
from network.calls.line import HEIGHT_KEY
from nodes.endorser.endorser import ERROR, ERROR_THRESHOLD, Endorser
from nodes.endorser.proposals import ProposalRefusal, unpack_proposal
from nodes.rpc.callers import arrival
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.failures import RpcFailure
from nodes.rpc.handlers import Endpoint, Guard
from nodes.rpc.places import Client

SERVICE = "protos.Endorser"
PROCESS_PROPOSAL = f"/{SERVICE}/ProcessProposal"


class EndorserService:
    """Answers ``ProcessProposal``.

    Args:
        endorser: returns the endorser of a channel, None for a channel that is not kept here.
        work: limit of calls at once, with a share for each member whose node calls.
        member: returns the member whose node makes a call.
    """

    def __init__(
        self,
        endorser: Callable[[str], Endorser | None],
        work: FairLimit,
        member: Callable[[Any], str],
    ) -> None:
        self._endorser = endorser
        self._work = work
        self._member = member

    async def process_proposal(self, signed: Any, context: Any) -> Any:
        """Check, simulate and sign one proposal."""
        with self._work.enter(Client(self._member(context)), since=arrival(context)):
            try:
                proposal = unpack_proposal(signed.proposal_bytes, signed.signature)
                endorser = self._endorser(proposal.channel_id)
                if endorser is None:
                    return _failed(
                        f"channel '{proposal.channel_id}' not found; name one that this node keeps"
                    )
                simulated = await endorser.simulate(
                    proposal, height=read_height(context.invocation_metadata())
                )
            except ProposalRefusal as error:
                raise RpcFailure(grpc.StatusCode.UNKNOWN, str(error)) from error
            context.set_trailing_metadata(((HEIGHT_KEY, str(simulated.height)),))
            result = simulated.result
            response = proposal_response_pb2.ProposalResponse()
            response.response.status = result.status
            response.response.message = result.message
            response.response.payload = result.payload
            response.payload = simulated.payload
            if result.status >= ERROR_THRESHOLD:
                return response
            try:
                endorsed = await endorser.endorse(simulated)
            except (Refusal, Unavailable) as error:
                return _failed(str(error))
            response.version = 1
            response.endorsement.endorser = endorsed.endorser
            response.endorsement.signature = endorsed.signature
            return response


def _failed(message: str) -> Any:
    response = proposal_response_pb2.ProposalResponse()
    response.response.status = ERROR
    response.response.message = message
    return response


def read_height(metadata: Any) -> int:
    """The height in a call's metadata; 0 without one, or for what is none."""
    for key, value in metadata or ():
        if key == HEIGHT_KEY and str(value).isdigit() and len(str(value)) < 19:
            return int(value)
    return 0


def endorser_endpoints(service: EndorserService, guard: Guard) -> dict[str, Endpoint]:
    """Return the RPC of *service*, for callers that pass *guard*, by full name."""
    kind = proposal_pb2.SignedProposal
    return {
        PROCESS_PROPOSAL: Endpoint("ProcessProposal", kind, service.process_proposal, guard),
    }


def add_endorser_service(server: grpc.aio.Server, service: EndorserService, guard: Guard) -> None:
    """Offer *service* on *server* to callers that pass *guard*."""
    handler = endorser_endpoints(service, guard)[PROCESS_PROPOSAL].handler()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"ProcessProposal": handler}),)
    )
