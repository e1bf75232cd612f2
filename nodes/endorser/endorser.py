"""Runs a proposal's contract on a snapshot and signs what came out (Fabric's ESCC).

Where a simulation runs: small calls that have proved quick run where they are, on the event loop,
since a change of threads costs more than they do; everything else, and everything not yet known,
runs in a thread. A call that was taken for quick and is not is ended after `LONGEST_ON_LOOP_S` and
run again in a thread, so the loop waits for no contract longer than that.

Invariants: bytes that are signed are marshalled once and sent as signed; a status of 400 or more is
never endorsed (Fabric core/endorser/endorser.go); a channel that has halted endorses nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from fabric_protos.peer import proposal_pb2, proposal_response_pb2

from chaincode.contract import Creator
from chaincode.errors import ContractRefusal
from chaincode.simulator import (
    ChaincodeRegistry,
    Invocation,
    Limits,
    SimulationResult,
    Simulator,
)
from ledger.state.ports import StateReader
from network.msp import Identity, SigningIdentity, split_identity
from nodes.channel import Channel
from nodes.clock import Clock
from nodes.endorser.admission import Admission
from nodes.endorser.interest import Interest, interest_of
from nodes.endorser.ports import PrivateData
from nodes.endorser.proposals import UnpackedProposal
from nodes.errors import ChannelHalted

ERROR_THRESHOLD = 400
ERROR = 500
LONGEST_ON_LOOP_S = 0.05
_TIMED_OUT = "timeout expired while executing transaction"
_SMALL_ARGUMENTS_BYTES = 4096
_QUICK_S = 0.001
_FUNCTIONS_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Simulated:
    """A proposal that was admitted and run.

    Attributes:
        proposal: what was asked.
        result: what the contract answered and recorded.
        height: of the snapshot it ran on.
        payload: marshalled ``ProposalResponsePayload``, what an endorser signs; empty for a status
            from 400 to 499 or without a run.
        interest: what the writes fall under; None unless it was asked for.
    """

    proposal: UnpackedProposal
    result: SimulationResult
    height: int
    payload: bytes
    interest: Interest | None


@dataclass(frozen=True, slots=True)
class Endorsed:
    """A signed simulation.

    Attributes:
        simulated: what was signed.
        endorser: SerializedIdentity bytes of this node.
        signature: over payload ‖ endorser.
    """

    simulated: Simulated
    endorser: bytes
    signature: bytes


class Endorser:
    """Simulates and endorses for one channel.

    Args:
        channel: ledger and configuration.
        contracts: what can be run.
        signer: the node's identity.
        clock: what proposals' timestamps are compared with.
        private: who may use which collection, and how their data reach other members.
        deadline_s: for one run of a contract.
        threads: simulations in threads at once.
    """

    def __init__(
        self,
        channel: Channel,
        contracts: ChaincodeRegistry,
        signer: SigningIdentity,
        clock: Clock,
        private: PrivateData,
        *,
        deadline_s: float = 30.0,
        threads: int = 2,
    ) -> None:
        self.channel = channel
        self._contracts = contracts
        self._simulator = Simulator(contracts, Limits(deadline_s=deadline_s))
        self._quick_simulator = Simulator(contracts, Limits(deadline_s=LONGEST_ON_LOOP_S))
        self._signer = signer
        self._private = private
        self._admission = Admission(channel, clock, signer.msp_id)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="simulation")
        self._seconds: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    @property
    def msp_id(self) -> str:
        """The member this node endorses for."""
        return self._signer.msp_id

    def is_query(self, proposal: UnpackedProposal) -> bool:
        """Say whether a proposal calls what may not write, or what is not known here."""
        state = self.channel.snapshot()
        try:
            chaincode = self._contracts.resolve(proposal.chaincode, state)
            return chaincode is None or chaincode.reads_only(proposal.args)
        except ContractRefusal:
            return True
        finally:
            state.close()

    async def simulate(
        self,
        proposal: UnpackedProposal,
        *,
        query: bool = False,
        with_interest: bool = False,
        height: int = 0,
    ) -> Simulated:
        """Admit *proposal* and run its contract.

        Args:
            proposal: parsed, nothing of it checked yet.
            query: nothing will be endorsed, so a channel that has halted may be asked too, and the
                result comes without read/write sets.
            with_interest: also say which policies the writes fall under.
            height: wait a moment until the channel has this many blocks.
        Raises:
            ProposalRefusal: it may not be simulated.
            ChannelHalted: this node's channel has stopped.
        """
        if self.channel.halted is not None and not query:
            raise ChannelHalted(
                f"channel {self.channel.channel_id} has stopped on this node: "
                f"{self.channel.halted}; ask another member's node"
            )
        creator = self._admission.admit(proposal)
        if self.channel.height < height:
            await self._wait_for_height(height)
        function = (proposal.chaincode, proposal.args[0] if proposal.args else b"")
        if self._is_quick(function, proposal):
            simulated = self._run(
                self._quick_simulator, function, proposal, creator, with_interest, query
            )
            if not simulated.result.message.startswith(_TIMED_OUT):
                return simulated
        return await asyncio.get_running_loop().run_in_executor(
            self._pool,
            self._run,
            self._simulator,
            function,
            proposal,
            creator,
            with_interest,
            query,
        )

    async def endorse(self, simulated: Simulated) -> Endorsed:
        """Sign the payload of *simulated*, whose status is below 400.

        What it writes to private collections is kept here and with other members before.

        Raises:
            Unavailable: fewer members took the private data than their collection demands.
        """
        if simulated.result.private:
            proposal = simulated.proposal
            creator, _pem = split_identity(proposal.creator)
            await self._private.distribute(proposal.tx_id, simulated.result.private, creator)
        endorser = self._signer.serialized
        signature = self._signer.sign(simulated.payload + endorser)
        return Endorsed(simulated, endorser, signature)

    def close(self) -> None:
        """Wait for the simulations at work and let the threads go."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _wait_for_height(self, height: int, longest_s: float = 2.0) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self.channel.wait_above(height - 1)

    def _is_quick(self, function: tuple[str, bytes], proposal: UnpackedProposal) -> bool:
        if self._seconds.get(function, 1.0) > _QUICK_S:
            return False
        size = sum(map(len, proposal.args)) + sum(map(len, proposal.transient.values()))
        return size <= _SMALL_ARGUMENTS_BYTES

    def _remember(self, function: tuple[str, bytes], seconds: float) -> None:
        """Keep the slowest recent run of a function; it fades by a tenth with each quicker one."""
        before = self._seconds.pop(function, 0.0)
        self._seconds[function] = max(seconds, before * 0.9)
        while len(self._seconds) > _FUNCTIONS_REMEMBERED:
            self._seconds.popitem(last=False)

    def _run(
        self,
        simulator: Simulator,
        function: tuple[str, bytes],
        proposal: UnpackedProposal,
        creator: Identity,
        with_interest: bool,
        query: bool,
    ) -> Simulated:
        # This thread's own time: on a busy machine the clock on the wall would make all look slow.
        started = time.thread_time()
        state = self.channel.snapshot()
        try:
            invocation = self._invocation(proposal, creator, state, query)
            result = simulator.simulate(state, invocation)
            interest = None
            if with_interest and result.status < ERROR_THRESHOLD:
                interest = interest_of(state, result, self._private)
            height = state.height
        finally:
            state.close()
        self._remember(function, time.thread_time() - started)
        return Simulated(proposal, result, height, _payload(proposal, result), interest)

    def _invocation(
        self, proposal: UnpackedProposal, creator: Identity, state: StateReader, query: bool
    ) -> Invocation:
        return Invocation(
            channel_id=proposal.channel_id,
            tx_id=proposal.tx_id,
            chaincode=proposal.chaincode,
            args=proposal.args,
            creator=Creator(
                creator.msp_id, creator.common_name, creator.attributes, creator.identity_id
            ),
            timestamp=proposal.timestamp or datetime.fromtimestamp(0, UTC),
            transient=proposal.transient,
            proposal=proposal.proposal_bytes,
            access=self._private.access_of(creator, state),
            is_init=proposal.is_init,
            is_asked_only=query,
        )


def _payload(proposal: UnpackedProposal, result: SimulationResult) -> bytes:
    """Marshal the ``ProposalResponsePayload`` as Fabric's endorser does."""
    if ERROR_THRESHOLD <= result.status < ERROR or (result.status >= ERROR and not result.version):
        return b""
    action = proposal_pb2.ChaincodeAction(results=result.rwset, events=result.event or b"")
    action.response.status = result.status
    action.response.message = result.message
    action.response.payload = result.payload
    action.chaincode_id.name = result.chaincode
    action.chaincode_id.version = result.version
    payload = proposal_response_pb2.ProposalResponsePayload(
        proposal_hash=proposal.proposal_hash,
        extension=action.SerializeToString(deterministic=True),
    )
    serialized: bytes = payload.SerializeToString(deterministic=True)
    return serialized
