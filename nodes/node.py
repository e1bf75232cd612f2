"""One member's node: every part of it, put together from its folder.

    FOLDER/node.toml       what the node is told (nodes/configuration.py)
    FOLDER/msp, tls        its identity and its TLS certificate
    FOLDER/genesis.block   the first block of its channel
    FOLDER/configuration.block  the configuration with which it joined, if that was not the first
    FOLDER/ledger          blocks and state
    FOLDER/transient       private data between endorsement and commit
    FOLDER/contracts       installed contract packages
    FOLDER/clock           the operator's time, in a rehearsal only
    FOLDER/restored        the ledger came from a backup (nodes/orderer/others.py)
    FOLDER/control.sock    the operator's socket (nodes/operations/control.py)

A node lives on one event loop: two gRPC servers, the ordering engine and the control socket. It is
*opened* before the loop is busy (that may take as long as a recovery), *started*, and *stopped* in
the reverse order: no new calls, those at work finished, waiting ones told, the block in work
committed, the ledger closed.

Which engine orders, and this node's part in it, is said by the channel configuration in force
(nodes/engines.py).

A node that is behind goes by the configuration with which it joined until its ledger has come so
far. It is ready as soon as the channel takes its identity.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import grpc
import psutil
import uvloop

from chaincode.packages import ContractStanding
from ledger.channel import ChannelLedger
from ledger.errors import LedgerError
from network.configuration import ChannelConfiguration
from network.configuration.values import target_of
from network.msp import SigningIdentity
from network.ordering.ports import OrderingEngine
from network.tls import OwnTls
from nodes.allocator import keep_few_heaps
from nodes.channel import Channel, LedgerOpener
from nodes.clock import CLOCK_FILE, Clock, ClockRefusal, RealClock, RehearsalClock
from nodes.committer.signatures import SignaturePool
from nodes.configuration import NodeConfiguration, load_configuration
from nodes.contracts import NodeContracts, installed_contracts
from nodes.endorser.endorser import Endorser
from nodes.engines import Engines
from nodes.errors import exit_code
from nodes.garbage import search_seldom
from nodes.gateway.members import Members
from nodes.membership import Membership, newest_of
from nodes.opening import (
    CONFIGURATION_FILE,
    load_genesis,
    load_joined_configuration,
    verify_channel,
    verify_channel_id,
)
from nodes.operations.control import CONTROL_SOCKET, ControlServer, bind_control_socket
from nodes.operations.logs import start_logging
from nodes.operations.status import (
    CertificateState,
    NodeStatus,
    PeerState,
    certificate_state,
    program_version,
)
from nodes.private_data.room import PrivateDataRoom
from nodes.rpc.connections import call_options
from nodes.servers import Servers

__all__ = ["Node", "run"]

GENESIS_FILE = "genesis.block"
LEDGER_FOLDER = "ledger"
TRANSIENT_FOLDER = "transient"
MSP_FOLDER = "msp"
TLS_FOLDER = "tls"

log = logging.getLogger(__name__)

Contracts = Callable[[Path, Channel], NodeContracts]
"""From a node's folder and its channel to the contracts that it can run."""


class Node:
    """A node; made by `open`, which blocks, then driven on one event loop.

    Attributes:
        folder: where it lives.
        configuration: what `node.toml` says.
        channel: the channel it keeps.
        clock: the machine's, or in a rehearsal the operator's.
        contracts: what it can run.
        private: private data: kept, pushed, pulled and reconciled.
        engines: make the engine, and ask this node's CometBFT.
        engine: orders, or follows who does.
        servers: both ports, with their limits.
        started: set as soon as both ports take calls.
    """

    def __init__(
        self,
        folder: Path,
        configuration: NodeConfiguration,
        signer: SigningIdentity,
        tls: OwnTls,
        channel: Channel,
        signatures: SignaturePool,
        contracts: Contracts,
        control: socket.socket,
        joined: ChannelConfiguration | None = None,
    ) -> None:
        self.folder = folder
        self.configuration = configuration
        self.channel = channel
        self.clock = _clock_of(folder, channel)
        self._signer = signer
        self._tls = tls
        self._membership = Membership(channel, joined, signer, tls)
        self._signatures = signatures
        limits = configuration.limits
        self._members = Members(
            configuration.msp_id,
            self._membership.configuration,
            self._dial,
            self._membership.own_certificate,
        )
        self.private = PrivateDataRoom(
            channel,
            folder / TRANSIENT_FOLDER,
            configuration.msp_id,
            self._members,
            configuration.private_data,
        )
        channel.use_private_data(self.private)
        self.contracts = contracts(folder, channel)
        self.endorser = Endorser(
            channel,
            self.contracts,
            signer,
            self.clock,
            self.private,
            deadline_s=limits.simulation_deadline_s,
            threads=limits.simulation_threads,
        )
        self.engines = Engines(
            folder,
            configuration,
            channel=channel,
            membership=self._membership,
            members=self._members,
            signer=signer,
            clock=self.clock,
        )
        self.engine: OrderingEngine = self.engines.chosen()
        self.servers = Servers(
            configuration,
            folder / TLS_FOLDER,
            channel=channel,
            endorser=self.endorser,
            members=self._members,
            engine=self.engine,
            clock=self.clock,
            private=self.private,
            comet=self.engines,
        )
        self._control = ControlServer(self, control, folder / CONTROL_SOCKET)
        self._opened = datetime.now(UTC)
        self._serving = False
        self.started = asyncio.Event()
        self._stop_asked = asyncio.Event()

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        contracts: Contracts = installed_contracts,
        open_ledger: LedgerOpener = ChannelLedger.open,
    ) -> Node:
        """Read a node's folder and open its ledger, recovering what a crash left. Blocks.

        Args:
            folder: made by `qist node init`.
            contracts: where contracts come from; by default the packages installed in the folder.
            open_ledger: how its ledger is opened.
        Raises:
            Refusal: the folder or the configuration is not right, or a node runs there already.
            LedgerLocked: another process has the ledger open.
            Fatal: what is stored is damaged.
        """
        configuration = load_configuration(folder)
        signer = SigningIdentity.load(folder / MSP_FOLDER, configuration.msp_id)
        tls = OwnTls(folder / TLS_FOLDER)
        genesis = load_genesis(folder / GENESIS_FILE)
        control = bind_control_socket(folder)
        signatures = SignaturePool()
        channel = None
        try:
            if genesis is not None:
                # Before it is written: a block of the wrong channel must not begin a ledger.
                verify_channel_id(configuration, genesis, folder)
            channel = Channel.open(
                folder / LEDGER_FOLDER, genesis, signatures=signatures, open_ledger=open_ledger
            )
            joined = load_joined_configuration(folder / CONFIGURATION_FILE, channel.channel_id)
            verify_channel(newest_of(channel.configuration, joined), signer, folder)
            return cls(
                folder, configuration, signer, tls, channel, signatures, contracts, control, joined
            )
        except BaseException:
            if channel is not None:
                channel.ledger.close()
            signatures.close()
            control.close()
            (folder / CONTROL_SOCKET).unlink(missing_ok=True)
            raise

    def close(self) -> None:
        """Give up a node that was opened and is not to serve."""
        self.endorser.close()
        self.private.close()
        self._signatures.close()
        self.channel.ledger.close()
        self._control.close()

    async def serve(self) -> None:
        """Serve until `request_stop`, then stop in order; `started` is set in between.

        Raises:
            ExceptionGroup: of what kept the node from starting or serving, for example a
                ConfigurationRefusal for a port that is taken.
        """
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as parts:
            # Closed in the reverse order; the control socket goes last, as the sign of the end.
            tasks.create_task(self._control.serve(), name="control socket")
            parts.callback(self._control.stop)
            parts.push_async_callback(asyncio.to_thread, self._signatures.close)
            parts.push_async_callback(asyncio.to_thread, self.endorser.close)
            parts.push_async_callback(asyncio.to_thread, self.private.close)
            await self.channel.start()
            parts.push_async_callback(self.channel.close)
            parts.push_async_callback(self._members.close)
            self.private.start()
            parts.push_async_callback(self.private.stop)
            await self.engine.start()
            parts.push_async_callback(self.engine.stop)
            parts.push_async_callback(self._finish_calls)
            await self.servers.start()
            self._serving = True
            self._tell_start()
            self.started.set()
            await self._stop_asked.wait()
            self._serving = False
            log.info("node %s is stopping", self.configuration.name)
        log.info("node %s has stopped at height %d", self.configuration.name, self.channel.height)

    def _tell_start(self) -> None:
        log.info(
            "node %s of %s serves clients on %s and nodes on %s as %s, channel %s at height %d%s",
            self.configuration.name,
            self.configuration.msp_id,
            self.configuration.client.listen,
            self.configuration.node.listen,
            self.engine.status().role,
            self.channel.channel_id,
            self.channel.height,
            ", in a rehearsal" if self.is_rehearsal else "",
        )
        for certificate in self._certificates():
            if certificate.warning:
                log.warning("%s", certificate.warning)

    def _certificates(self) -> tuple[CertificateState, ...]:
        warn = self.configuration.warn.certificate_days
        # Connections are made by the machine's time, also in a rehearsal.
        machine = datetime.now(UTC)
        return (
            certificate_state("identity", self._signer.not_after, self.clock.now(), warn),
            certificate_state("tls", self._tls.identity.not_after, machine, warn),
            *(
                certificate_state(name, end, machine, warn)
                for name, end in self._membership.authorities_end().items()
            ),
        )

    async def _finish_calls(self) -> None:
        """Take no more calls and finish those at work; those that only wait are told to go."""
        self._serving = False
        self.channel.release_waiting()
        grace_s = self.configuration.limits.stop_grace_s
        try:
            async with asyncio.timeout(grace_s):
                await self.servers.finish()
        except TimeoutError:
            log.warning("calls were still at work after %g s and are given up", grace_s)
        await self.servers.end()

    @property
    def is_rehearsal(self) -> bool:
        """Whether the network is a rehearsal."""
        return self.channel.configuration.is_rehearsal

    def status(self) -> NodeStatus:
        """Return the present status."""
        channel, outside = self.channel, self._membership.outside()
        return NodeStatus(
            name=self.configuration.name,
            msp_id=self.configuration.msp_id,
            version=program_version(),
            channel_id=channel.channel_id,
            height=channel.height,
            configuration=channel.configuration.sequence,
            header_hash=channel.last_header_hash.hex(),
            commit_hash=channel.commit_hash.hex(),
            ready=self._serving and channel.halted is None and not outside,
            halted="" if channel.halted is None else str(channel.halted),
            outside=outside,
            rehearsal=self.is_rehearsal,
            clock=self.clock.now().isoformat(),
            started=self._opened.isoformat(timespec="seconds"),
            recovered="; ".join(channel.ledger.recovered),
            client_address=self.configuration.client.reachable,
            node_address=self.configuration.node.reachable,
            ordering=self.engine.status(),
            peers=tuple(
                PeerState(msp_id, member.address, member.is_up)
                for msp_id, member in self._members.others().items()
            ),
            certificates=self._certificates(),
            private_data=self.private.state(),
            contracts=self._standings(),
            memory_bytes=psutil.Process().memory_info().rss,
        )

    def _standings(self) -> tuple[ContractStanding, ...]:
        state = self.channel.snapshot()
        try:
            return tuple(self.contracts.standings(state))
        finally:
            state.close()

    def set_clock(self, now: datetime) -> datetime:
        """Set the time of a rehearsal and return it.

        Raises:
            ClockRefusal: this is no rehearsal, or the time lies before the present one.
        """
        if not isinstance(self.clock, RehearsalClock):
            raise ClockRefusal(
                f"channel {self.channel.channel_id} is no rehearsal, so its nodes take the time "
                "from the machine; create a rehearsal to set it"
            )
        self.clock.set(now)
        log.info("rehearsal: the clock stands at %s", self.clock.now().isoformat())
        return self.clock.now()

    def request_stop(self) -> None:
        """Let `serve` stop the node; returns at once."""
        self._stop_asked.set()

    def _dial(self, address: str, msp_id: str) -> grpc.aio.Channel:
        return grpc.aio.secure_channel(
            target_of(address),
            self._membership.tls_to(msp_id).credentials,
            options=call_options(self.configuration.limits.max_message_bytes),
        )


def _clock_of(folder: Path, channel: Channel) -> Clock:
    if not channel.configuration.is_rehearsal:
        return RealClock()
    return RehearsalClock(folder / CLOCK_FILE, channel.created)


def run(folder: Path, *, open_ledger: LedgerOpener = ChannelLedger.open) -> int:
    """Run a node in this process until SIGTERM, SIGINT or `POST /stop`; return its exit code.

    0 after an orderly stop, else what `exit_code` gives for the errors that the log tells.

    Args:
        folder: of the node.
        open_ledger: how its ledger is opened; a test listens to the write steps by it.
    """
    keep_few_heaps()
    start_logging(folder.resolve().name, "info")
    ended_by: list[LedgerError] = []
    try:
        node = Node.open(folder, open_ledger=open_ledger)
        configuration = node.configuration
        start_logging(configuration.name, configuration.log.level, rehearsal=node.is_rehearsal)
        for words in node.channel.ledger.recovered:
            log.warning("recovered: %s", words)
        search_seldom()
        _raise_file_limit()
        uvloop.run(_serve(node))
    except* LedgerError as errors:
        ended_by.extend(_flattened(errors))
        for error in ended_by:
            log.critical("%s", error)
    return exit_code(ended_by)


def _raise_file_limit() -> None:
    """Take as many open files as the system gives: connections and LevelDB's files need them."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _flattened(group: BaseExceptionGroup[LedgerError]) -> Iterator[LedgerError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flattened(error)
        else:
            yield error


async def _serve(node: Node) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, node.request_stop)
    await node.serve()


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
