"""Which calls of clients the gateway takes on, and for whom each counts.

A transaction comes twice: its proposal, and its envelope when it is endorsed. Under overload it is
the proposals that are refused: of an envelope most of the work is done, so there is more room for
it. Whose envelope it is was proved with its proposal, and is remembered until it comes (a
*ticket*); the signature of an envelope without ticket is verified here, or it counts for nobody.

A ticket is good for one submission, of whatever envelope, and for the client alone that it was
given to: who names another one's transaction wins nothing but a place of that client's, and would
have to know an id that only the client and the endorsers have seen.

Invariants: a place is given to a client only for what it has signed; tickets are bounded, the
oldest are forgotten first.

Absent: whether the call is allowed (`nodes.endorser.admission`, the ordering engine).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from contextlib import AbstractContextManager
from typing import Any, Final, NamedTuple

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError

from network.msp import MSPManager
from network.policy import SignedData
from nodes.endorser.proposals import UnpackedProposal
from nodes.rpc.callers import admitted_client, arrival
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.places import NOBODY, Client

__all__ = ["Intake"]

TICKETS: Final = 10_000


class _Ticket(NamedTuple):
    client: Client
    called: Hashable


class Intake:
    """Lets calls of clients in, within a limit.

    Args:
        work: the limit of Evaluate, Endorse and Submit.
    """

    def __init__(self, work: FairLimit) -> None:
        self._work = work
        self._tickets: OrderedDict[str, _Ticket] = OrderedDict()

    def query(
        self, proposal: UnpackedProposal, msps: MSPManager, context: Any
    ) -> AbstractContextManager[None]:
        """Give a query its place.

        Raises:
            TooManyRequests: there is none; nothing was done.
            ChannelUnavailable: the node is stopping; nothing was done.
        """
        return self._proposed("Evaluate", proposal, msps, context)[0]

    def proposal(
        self, proposal: UnpackedProposal, msps: MSPManager, context: Any
    ) -> tuple[AbstractContextManager[None], Client]:
        """Give a proposal that is to be endorsed its place, and say whose it is.

        Raises:
            TooManyRequests, ChannelUnavailable: as `query`.
        """
        return self._proposed("Endorse", proposal, msps, context)

    def _proposed(
        self, rpc: str, proposal: UnpackedProposal, msps: MSPManager, context: Any
    ) -> tuple[AbstractContextManager[None], Client]:
        signed = SignedData(proposal.proposal_bytes, proposal.creator, proposal.signature)
        since = arrival(context)
        client = admitted_client(self._work, msps, signed, since=since)
        kind = (rpc, *_called(proposal))
        return self._work.enter(client, kind, since=since), client

    def endorsed(self, proposal: UnpackedProposal, client: Client) -> None:
        """Expect the envelope of a proposal that was endorsed."""
        if client is NOBODY:
            return
        self._tickets[proposal.tx_id] = _Ticket(client, _called(proposal))
        if len(self._tickets) > TICKETS:
            self._tickets.popitem(last=False)

    def envelope(
        self, tx_id: str, envelope: Any, msps: MSPManager, context: Any
    ) -> AbstractContextManager[None]:
        """Give an envelope that is to be ordered its place.

        Args:
            tx_id: of the transaction, as the request names it.
            envelope: ``common.Envelope``.
            msps: whose identities are known.
            context: of the call.
        Raises:
            TooManyRequests, ChannelUnavailable: as `query`.
        """
        since = arrival(context)
        ticket = self._tickets.get(tx_id)
        if ticket is None:
            signed = SignedData(envelope.payload, _creator(envelope), envelope.signature)
            client = admitted_client(self._work, msps, signed, since=since)
            return self._work.enter(client, since=since)
        self._work.verify_room(ticket.client, continues=True)
        del self._tickets[tx_id]
        kind = ("Submit", ticket.called)
        return self._work.enter(ticket.client, kind, since=since, continues=True)


def _called(proposal: UnpackedProposal) -> tuple[str, bytes, int]:
    """What tells calls apart that take about the same: the function, and the size by powers of four
    (one record, or hundreds).
    """
    size = len(proposal.proposal_bytes).bit_length() // 2
    return proposal.chaincode, proposal.args[0][:64] if proposal.args else b"", size


def _creator(envelope: Any) -> bytes:
    """Who claims to have signed an envelope; empty for what is no transaction."""
    try:
        payload = common_pb2.Payload.FromString(envelope.payload)
        header = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    except DecodeError:
        return b""
    creator: bytes = header.creator
    return creator
