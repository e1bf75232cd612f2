"""The two gRPC servers of a node: which services stand on which port, within which limits.

client port (TLS)       gateway.Gateway, protos.Deliver, qist.Calls, qist.Proofs
node port (mutual TLS)  protos.Endorser, orderer.AtomicBroadcast, qist.PrivateData, qist.Calls,
                        qist.Consensus; members' nodes only
"""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import grpc

from network.ordering.ports import OrderingEngine
from network.tls import client_port_credentials, node_port_credentials
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.configuration import ConfigurationRefusal, NodeConfiguration
from nodes.deliver.service import DeliverService, add_deliver_service
from nodes.endorser.endorser import Endorser
from nodes.endorser.service import (
    EndorserService,
    add_endorser_service,
    endorser_endpoints,
)
from nodes.gateway.endorsing import Endorsing
from nodes.gateway.members import Members
from nodes.gateway.service import Gateway, add_gateway_service, gateway_endpoints
from nodes.orderer.consensus import ConsensusService, ServedComet, add_consensus_service
from nodes.orderer.service import OrdererService, add_orderer_service
from nodes.private_data.room import PrivateDataRoom
from nodes.private_data.service import add_private_data_service, private_data_endpoints
from nodes.proofs import ProofService, add_proof_service
from nodes.rpc.calls import CallService, add_call_service
from nodes.rpc.concurrency import FairLimit
from nodes.rpc.connections import MemberGuard, calling_member, server_options
from nodes.rpc.pace import Pace

__all__ = ["Servers"]

LAST_ANSWERS_S = 0.2
"""How long answers that have been given may take to leave before the ports close."""
HEADERS_BYTES = 64 * 1024
"""What an envelope of the largest allowed size may have around it."""


class Servers:
    """Both ports of one node; made on the event loop that serves them.

    Args:
        configuration: addresses and limits.
        tls_folder: the node's TLS certificate and key.
        channel, endorser, members, engine, clock, private, comet: what the services stand on.

    Attributes:
        calls: limit of Evaluate, Endorse and Submit at once.
        endorsements: of endorsements for other members' gateways.
        waits, events, deliveries: of CommitStatus, and of streams of events and of blocks.
        followers: of streams of other nodes.
    """

    def __init__(
        self,
        configuration: NodeConfiguration,
        tls_folder: Path,
        *,
        channel: Channel,
        endorser: Endorser,
        members: Members,
        engine: OrderingEngine,
        clock: Clock,
        private: PrivateDataRoom,
        comet: ServedComet,
    ) -> None:
        self._configuration = configuration
        self._tls_folder = tls_folder
        self._channel = channel
        self._endorser = endorser
        self._members = members
        self._engine = engine
        self._clock = clock
        self._private = private
        limits = configuration.limits
        most, slowdown = limits.gateway_concurrency, limits.gateway_slowdown
        self.calls = FairLimit("gateway", most, Pace(most, slowdown, time.monotonic))
        self.endorsements = FairLimit("endorser", limits.endorser_concurrency)
        self.waits = FairLimit("CommitStatus", limits.deliver_concurrency)
        self.events = FairLimit("ChaincodeEvents", limits.deliver_concurrency)
        self.deliveries = FairLimit("deliver", limits.deliver_concurrency)
        self.followers = FairLimit("orderer", limits.deliver_concurrency)
        self._orderer = OrdererService(
            self._find_channel,
            engine,
            clock,
            self.followers,
            self._calling_member,
            limits.first_request_s,
        )
        self._consensus = ConsensusService(channel, comet)
        self._started: list[grpc.aio.Server] = []

    async def start(self) -> None:
        """Bind both ports and take calls.

        Raises:
            ConfigurationRefusal: a port cannot be bound.
        """
        for make in (self._client_port, self._node_port):
            server = make()
            await server.start()
            self._started.append(server)

    async def finish(self) -> None:
        """Take no more calls; return when no query, endorsement or submission is at work."""
        for limit in (
            self.calls,
            self.endorsements,
            self.waits,
            self.events,
            self.deliveries,
            self.followers,
            self._consensus.limit,
            *self._private.limits,
        ):
            limit.close()
        await self.calls.idle()
        await self.endorsements.idle()
        # They wait for nothing any more: each is being told that this node is going.
        await self.waits.idle()
        await self._orderer.finish()

    async def end(self) -> None:
        """Close both ports and give up the calls still at work."""
        await asyncio.gather(*(server.stop(LAST_ANSWERS_S) for server in self._started))

    def _find_channel(self, channel_id: str) -> Channel | None:
        return self._channel if channel_id == self._channel.channel_id else None

    def _find_endorser(self, channel_id: str) -> Endorser | None:
        return self._endorser if channel_id == self._channel.channel_id else None

    def _calling_member(self, context: Any) -> str:
        return calling_member(context, self._channel.configuration)

    def _client_port(self) -> grpc.aio.Server:
        limits = self._configuration.limits
        options = server_options(limits.max_message_bytes, connections=limits.connections)
        server = grpc.aio.server(options=options)
        own = self._configuration.client.reachable
        gateway = Gateway(
            channel=self._find_channel,
            endorser=self._endorser,
            endorsing=Endorsing(self._endorser, self._members, own, limits.endorsement_timeout_s),
            members=self._members,
            engine=self._engine,
            clock=self._clock,
            address=own,
            work=self.calls,
            waiting=self.waits,
            streams=self.events,
            broadcast_timeout_s=limits.broadcast_timeout_s,
            commit_status_wait_s=limits.commit_status_wait_s,
            endorsement_timeout_s=limits.endorsement_timeout_s,
        )
        add_gateway_service(server, gateway)
        add_call_service(server, CallService(gateway_endpoints(gateway)))
        add_deliver_service(
            server,
            DeliverService(
                self._find_channel,
                self._clock,
                self._private.delivery.encode,
                self.deliveries,
                limits.first_request_s,
            ),
        )
        proofs = ProofService(self._find_channel, self._clock, self.calls)
        add_proof_service(server, proofs)
        credentials = client_port_credentials(self._tls_folder)
        _bind(server, self._configuration.client.listen, credentials)
        return server

    def _node_port(self) -> grpc.aio.Server:
        # Blocks go out here, as large as the channel's limits let them be; what comes in is no
        # larger than what a client or an orderer's channel allows.
        largest = max(
            self._configuration.limits.max_message_bytes,
            self._channel.configuration.batch.absolute_max_bytes + HEADERS_BYTES,
        )
        server = grpc.aio.server(options=server_options(largest, most_sent_bytes=-1))
        guard = MemberGuard(
            lambda: self._channel.configuration, self._channel.wait_for_configuration
        )
        endorsing = EndorserService(self._find_endorser, self.endorsements, self._calling_member)
        add_endorser_service(server, endorsing, guard)
        called = endorser_endpoints(endorsing, guard)
        called |= private_data_endpoints(self._private.service, guard)
        add_call_service(server, CallService(called), guard, guard.watch)
        add_orderer_service(server, self._orderer, guard)
        add_private_data_service(server, self._private.service, guard)
        add_consensus_service(server, self._consensus, guard)
        credentials = node_port_credentials(self._tls_folder, lambda: self._channel.configuration)
        _bind(server, self._configuration.node.listen, credentials)
        return server


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> None:
    """Bind every address that the host of *address* has.

    gRPC is content with one of them, and callers that resolve the name to another would then talk
    to whoever has that one; so all of them are tried before.
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        for family, kind, protocol, _name, place in found:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        bound = server.add_secure_port(address, credentials)
    except (OSError, RuntimeError) as error:
        raise ConfigurationRefusal(
            f"the port {address} cannot be bound ({error}): another process has it, or the host "
            "is not this machine's; name another in node.toml"
        ) from error
    if not bound:
        raise ConfigurationRefusal(f"the port {address} cannot be bound; name another in node.toml")
