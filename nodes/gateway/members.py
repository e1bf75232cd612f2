"""The other members' nodes: where they are, how they are reached, and which of them are up.

One long-lived gRPC channel to the node port of each member, by mutual TLS, trusting for each member
only that member's own TLS authority, so that no other can stand in for it. Addresses are the anchor
peers of the channel configuration and follow it; a connection is made anew when an address, the
member's TLS authorities or this node's own certificate have become others, and calls at work on the
old one are finished.

A node that fails to answer is *down* for a moment that doubles with each failure; it is then asked
only when no others would do. That is a hint for choosing, never a verdict.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from fabric_protos.peer import proposal_response_pb2
from google.protobuf.message import DecodeError

from ledger.errors import Unavailable
from network.calls import CallLine
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError
from network.tls import tls_authorities
from nodes.endorser.service import PROCESS_PROPOSAL
from nodes.rpc.failures import again_ms_of
from nodes.rpc.pace import LONGEST_PAUSE_S

log = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 10.0
_DOWN = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)

Dial = Callable[[str, str], grpc.aio.Channel]
"""Opens a channel to (``host:port``, MSP id)."""

_LONGEST_BUSY_MS = int(1000 * LONGEST_PAUSE_S)
"""An honest node asks for no longer pause; this one's clients need not wait as long as another node
likes.
"""

_LAST_CALLS_S = 30.0
"""How long calls may be at work on a connection that another has replaced."""


class MemberUnavailable(Unavailable):
    """A member's node did not answer; another may be asked."""


class MemberBusy(MemberUnavailable):
    """A member's node takes no more calls at this moment, and did nothing.

    Attributes:
        again_ms: after which it may be asked again.
    """

    def __init__(self, message: str, again_ms: int) -> None:
        super().__init__(message)
        self.again_ms = again_ms


class MemberRefused(Unavailable):
    """A member's node answered, and refused the proposal."""


@dataclass(slots=True)
class Member:
    """One member's node.

    Attributes:
        msp_id: the member.
        address: ``host:port`` of its node port.
    """

    msp_id: str
    address: str
    _channel: grpc.aio.Channel
    _rests_on: object = None
    _line: CallLine = field(init=False)
    _down_until: float = 0.0
    _pause_s: float = 0.0

    def __post_init__(self) -> None:
        self._line = CallLine(self._channel)

    @property
    def is_up(self) -> bool:
        """Whether nothing speaks against asking it."""
        return self._down_until <= asyncio.get_running_loop().time()

    async def process_proposal(
        self, signed_proposal: Any, timeout_s: float, height: int = 0
    ) -> tuple[Any, int]:
        """Ask for an endorsement.

        Args:
            signed_proposal: ``protos.SignedProposal``, sent as it came.
            timeout_s: seconds for the answer.
            height: the node is asked to wait until it has this many blocks; 0 for no matter.
        Returns:
            The ``protos.ProposalResponse``, and the height the node simulated at (0 if unsaid).
        Raises:
            MemberUnavailable: no answer in time, or no connection.
            MemberRefused: the node refused the proposal.
        """
        request = signed_proposal.SerializeToString()
        try:
            raw, told = await self._line.call(PROCESS_PROPOSAL, request, timeout_s, height)
        except grpc.RpcError as error:
            raise self._failure(error) from error
        self._mark_up()
        try:
            response = proposal_response_pb2.ProposalResponse.FromString(raw)
        except DecodeError as error:
            raise MemberRefused("its answer is no ProposalResponse; ask its operator") from error
        return response, told

    async def ask(
        self, method: str, request: bytes, timeout_s: float, *, marks: bool = True
    ) -> bytes:
        """Make one call to another service of the node.

        Args:
            method: full name, for example ``/qist.PrivateData/Pull``.
            request: the marshalled request.
            timeout_s: seconds for the answer.
            marks: whether the outcome tells if the node is up; not that of a call which is slow or
                unknown there while all others are answered.
        Returns:
            The marshalled answer.
        Raises:
            MemberUnavailable: no answer in time, or no connection.
            MemberRefused: the node refused.
        """
        try:
            answer, _ = await self._line.call(method, request, timeout_s)
        except grpc.RpcError as error:
            raise self._failure(error, marks=marks) from error
        if marks:
            self._mark_up()
        return answer

    def _failure(
        self, error: grpc.RpcError, *, marks: bool = True
    ) -> MemberUnavailable | MemberRefused:
        text = error.details() or error.code().name
        if error.code() not in _DOWN:
            return MemberRefused(text)
        again_ms = again_ms_of(error.trailing_metadata() or ())
        if again_ms:
            # It lives, and says when to come again.
            return MemberBusy(text, min(again_ms, _LONGEST_BUSY_MS))
        if marks:
            self._mark_down(text)
        return MemberUnavailable(text)

    def _mark_down(self, reason: str) -> None:
        if self._pause_s == 0:
            log.warning("member %s at %s does not answer: %s", self.msp_id, self.address, reason)
        self._pause_s = min(max(_FIRST_PAUSE_S, self._pause_s * 2), _LONGEST_PAUSE_S)
        self._down_until = asyncio.get_running_loop().time() + self._pause_s

    def _mark_up(self) -> None:
        if self._pause_s:
            log.info("member %s at %s answers again", self.msp_id, self.address)
            self._pause_s = self._down_until = 0.0

    def is_made_of(self, address: str, rests_on: object) -> bool:
        """Tell whether the connection goes there, and on the same terms."""
        return (address, rests_on) == (self.address, self._rests_on)

    async def close(self, grace_s: float | None = None) -> None:
        """Give the connection up, after the calls that are at work if they end in time."""
        await self._line.close(grace_s)
        await self._channel.close(grace_s)


class Members:
    """The other members of a channel, as its configuration names them.

    Args:
        own: MSP id of this node's member; it is not among the others.
        configuration: returns the configuration in force.
        dial: opens a connection.
        own_certificate: returns this node's TLS certificate, as it is shown on new connections.
    """

    def __init__(
        self,
        own: str,
        configuration: Callable[[], ChannelConfiguration],
        dial: Dial,
        own_certificate: Callable[[], bytes] = lambda: b"",
    ) -> None:
        self._own = own
        self._configuration = configuration
        self._dial = dial
        self._own_certificate = own_certificate
        self._seen: tuple[object, ...] = ()
        self._members: dict[str, Member] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def others(self) -> dict[str, Member]:
        """The other members that have an address, by MSP id."""
        configuration, certificate = self._configuration(), self._own_certificate()
        # A configuration never changes, so the object stands for what is in it.
        if (configuration, certificate) != self._seen:
            self._seen = configuration, certificate
            self._follow(configuration, certificate)
        return self._members

    def _follow(self, configuration: ChannelConfiguration, certificate: bytes) -> None:
        wanted: dict[str, tuple[str, object]] = {}
        for msp_id, organisation in configuration.organisations.items():
            if msp_id == self._own or not organisation.anchor_peers:
                continue
            host, port = organisation.anchor_peers[0]
            try:
                trusted = tls_authorities(configuration.msps.msp(msp_id))
            except ConfigurationError as error:
                log.warning("the node of %s cannot be reached: %s", msp_id, error)
                continue
            wanted[msp_id] = (f"{host}:{port}", (certificate, trusted))
        for msp_id, member in list(self._members.items()):
            if msp_id not in wanted or not member.is_made_of(*wanted[msp_id]):
                task = asyncio.get_running_loop().create_task(member.close(_LAST_CALLS_S))
                self._closing.add(task)
                task.add_done_callback(self._closing.discard)
                del self._members[msp_id]
        for msp_id, (address, rests_on) in wanted.items():
            if msp_id not in self._members:
                channel = self._dial(address, msp_id)
                self._members[msp_id] = Member(msp_id, address, channel, rests_on)

    async def close(self) -> None:
        """Give all connections up."""
        members, self._members = list(self._members.values()), {}
        for member in members:
            await member.close()
