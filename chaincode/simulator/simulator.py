"""Simulate one proposal: run the contract it names and return what it answered and recorded.

Synchronous; one call uses one thread and one snapshot. A refusal by the contract is a result with
status 400 to 499, a contract that broke or ran out of time one with status 500; only faults of the
node itself (a snapshot that cannot be read) are raised.

For a status of 400 or more nothing was recorded: there is no read/write set to endorse.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from fabric_protos.peer import chaincode_event_pb2

from chaincode.contract.context import Context, Creator
from chaincode.contract.stub import Response
from chaincode.errors import (
    FAILED,
    REFUSED,
    AccessRefused,
    ContractDefinitionError,
    ContractRefusal,
    PrivateDataMissing,
    SimulationLimit,
)
from chaincode.simulator.chaincode import Chaincode, ChaincodeRegistry
from chaincode.simulator.limits import Limits
from chaincode.simulator.ports import EVERY_COLLECTION, CollectionAccess
from chaincode.simulator.recorder import build_sets
from chaincode.simulator.simulation import Simulation, Stopped
from chaincode.simulator.stub import RecordingStub
from chaincode.simulator.watchdog import Watchdog
from ledger.errors import Fatal, Refusal, Unavailable
from ledger.state.ports import StateReader
from ledger.transactions.rwset import TxRWSet, encode_tx_rwset

log = logging.getLogger(__name__)
INITIALIZED = "\x00\U0010ffffinitialized"
"""The key in a contract's namespace that holds the version last initialised (Fabric)."""
_NO_SETS = TxRWSet()
_MAX_MESSAGE = 4096
"""Characters of a refusal that reach the caller."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """What a proposal asks, checked by the endorser before.

    Attributes:
        chaincode: the contract called.
        args: the function's name and its arguments.
        timestamp: the proposal's, UTC.
        proposal: the SignedProposal as received, for system contracts that check access again.
        access: what the creator may do with private collections.
        is_init: whether the call is meant to initialise the contract.
        is_asked_only: nobody will endorse the result, so no sets are made of what was recorded.
    """

    channel_id: str
    tx_id: str
    chaincode: str
    args: tuple[bytes, ...]
    creator: Creator
    timestamp: datetime
    transient: Mapping[str, bytes] = field(default_factory=dict)
    proposal: bytes = b""
    access: CollectionAccess = EVERY_COLLECTION
    is_init: bool = False
    is_asked_only: bool = False


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """What an endorser signs, or why it does not.

    Attributes:
        status: of the contract's response; below 400 there is something to endorse.
        rwset: marshalled `TxReadWriteSet`; without content where the result was only asked for, and
            empty for a status of 400 or more.
        event: marshalled `ChaincodeEvent`, None without one.
        writes: whether the transaction changes anything.
        namespaces: whose keys it writes, private ones included, sorted.
        chaincode: name of the called contract, and
        version: its version, as the endorsed response states them.
        private: marshalled `TxPvtReadWriteSet`: what it writes to private collections, in plain;
            empty without such a write. It never enters a transaction.
        collections: namespace and name of the collections that it reads or writes, in plain or by
            hash, sorted.
        private_reads: those of them of which it reads plain data, so that only a node that holds
            it can endorse.
        is_query: whether the called function may not write.
        sets: what *rwset* says, before it was marshalled.
    """

    status: int
    message: str
    payload: bytes
    rwset: bytes
    event: bytes | None
    writes: bool
    namespaces: tuple[str, ...]
    chaincode: str
    version: str
    private: bytes = b""
    collections: tuple[tuple[str, str], ...] = ()
    private_reads: frozenset[tuple[str, str]] = frozenset()
    is_query: bool = False
    sets: TxRWSet = _NO_SETS


class Simulator:
    """Runs the contracts of a registry within limits."""

    def __init__(self, registry: ChaincodeRegistry, limits: Limits | None = None) -> None:
        self._registry = registry
        self._limits = limits or Limits()
        self._watchdog = Watchdog()

    def simulate(self, state: StateReader, invocation: Invocation) -> SimulationResult:
        """Run *invocation* on *state*, which is left open.

        Raises:
            Fatal: the state cannot be read.
            Unavailable: the state cannot be read now.
        """
        run = _Run(self._registry, self._limits, state, invocation)
        # Before the guard: finding a contract may load it, which must not be cut off.
        chaincode = run.find()
        if chaincode is None:
            return run.result(run.not_found(invocation.chaincode))
        deadline = self._watchdog.deadline(run.simulation, self._limits.deadline_s)
        try:
            try:
                deadline.begin()
                response = run.top(chaincode)
            finally:
                deadline.ending = True
                while not deadline.ended:
                    try:  # not `suppress`: nothing but this call may stand in the way
                        deadline.end()
                    except Stopped:
                        continue
        except Stopped:
            response = Response(
                FAILED,
                f"timeout expired while executing transaction: {invocation.chaincode} took more "
                f"than {self._limits.deadline_s:g} s; send fewer records at a time",
            )
        return run.result(response)


class _Run:
    """One simulation: the contracts that take part in it and their shared record."""

    def __init__(
        self,
        registry: ChaincodeRegistry,
        limits: Limits,
        state: StateReader,
        invocation: Invocation,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._state = state
        self._invocation = invocation
        self._depth = 0
        self._version = ""
        self._is_query = False
        self.simulation = Simulation(
            invocation.channel_id,
            state,
            limits,
            invocation.transient,
            self._nested,
            invocation.access,
        )

    def find(self) -> Chaincode | None:
        """Return the called contract, None if it cannot be run here."""
        chaincode = self._resolve(self._invocation.chaincode)
        if chaincode is not None:
            self._version = chaincode.version
        return chaincode

    def top(self, chaincode: Chaincode) -> Response:
        """Run the called contract; every word of a contract becomes a response."""
        asked = self._invocation
        try:
            size = sum(map(len, asked.args)) + sum(map(len, asked.transient.values()))
            if size > self._limits.arguments_bytes:
                raise SimulationLimit(
                    "the arguments",
                    f"are larger than {self._limits.arguments_bytes} bytes",
                    "send fewer records at a time",
                )
            if chaincode.is_system:
                with self.simulation.gate:
                    response = self._invoke(chaincode, asked.args, writable=True)
            else:
                response = self._invoke(chaincode, asked.args, writable=True)
            if len(response.payload) > self._limits.payload_bytes:
                raise SimulationLimit(
                    "the result",
                    f"is larger than {self._limits.payload_bytes} bytes",
                    "ask for less at a time",
                )
            return response
        except ContractRefusal as refusal:
            return Response(refusal.status, _printable(refusal))
        except ContractDefinitionError as error:  # found out only while it ran: its own fault
            return self._broken(error)
        except Refusal as refusal:
            return Response(REFUSED, _printable(refusal))
        except PrivateDataMissing as error:
            return Response(FAILED, str(error))
        except (Fatal, Unavailable):
            raise
        except Exception as error:  # noqa: BLE001 - a contract is foreign code: this is its edge
            return self._broken(error)

    def _resolve(self, name: str) -> Chaincode | None:
        chaincode = self._registry.resolve(name, self._state)
        if chaincode is None or chaincode.is_system:
            return chaincode
        return chaincode if self.simulation.read_sequence(name) is not None else None

    def not_found(self, name: str) -> Response:
        """Say why a contract cannot be run."""
        reason = self._registry.explain(name, self._state)
        return Response(
            FAILED,
            f"make sure the chaincode {name} has been successfully defined on channel "
            f"{self._invocation.channel_id} and try again: {reason}",
        )

    def _invoke(self, chaincode: Chaincode, args: Sequence[bytes], *, writable: bool) -> Response:
        asked = self._invocation
        self._initialise(chaincode, asked.is_init and self._depth == 0)
        is_query = chaincode.reads_only(args)
        if self._depth == 0:
            self._is_query = is_query
        writable = writable and not is_query
        stub = RecordingStub(self.simulation, chaincode.name, writable=writable)
        context = Context(stub, asked.creator, asked.channel_id, asked.tx_id, asked.timestamp)
        return chaincode.invoke(context, args)

    def _initialise(self, chaincode: Chaincode, is_init: bool) -> None:
        """Hold a contract to 'initialised once in each version', where its definition asks for it.

        Source: Fabric, core/chaincode/chaincode_support.go, `CheckInvocation`.
        """
        what, name = "the transaction", chaincode.name
        needed = False
        if chaincode.init_required:
            stub = RecordingStub(self.simulation, name, writable=True)
            version = chaincode.version.encode()
            needed = stub.get_state(INITIALIZED) != version
            if is_init and needed:
                stub.put_state(INITIALIZED, version)
                return
        if is_init:
            rule = (
                f"chaincode '{name}' is already initialized but called as init"
                if chaincode.init_required
                else f"chaincode '{name}' does not require initialization but called as init"
            )
            raise AccessRefused(what, rule, "call it without")
        if needed:
            raise AccessRefused(
                what,
                f"chaincode '{name}' has not been initialized for this version, must call as init "
                "first",
                "send one transaction with is_init",
            )

    def _nested(self, name: str, args: Sequence[bytes], writable: bool) -> Response:
        with self.simulation.gate:
            chaincode = self._resolve(name)
            if chaincode is None:
                return self.not_found(name)
        if chaincode.is_system:
            return Response(FAILED, f"{name} cannot be called by a contract")
        if self._depth >= self._limits.call_depth:
            raise SimulationLimit(
                "the transaction",
                f"calls contracts more than {self._limits.call_depth} deep",
                "call them from the client",
            )
        event = self.simulation.event
        self._depth += 1
        try:
            return self._invoke(chaincode, args, writable=writable)
        finally:
            self._depth -= 1
            self.simulation.event = event

    def _broken(self, error: Exception) -> Response:
        """Log where a contract broke; neither log nor answer holds the exception's own text, which
        may quote what it was given.
        """
        asked = self._invocation
        frames = traceback.extract_tb(error.__traceback__)
        place = " < ".join(
            f"{frame.name} ({frame.filename}:{frame.lineno})" for frame in reversed(frames[-6:])
        )
        kind = type(error).__name__
        with self.simulation.gate:
            log.error(
                "contract %s broke: %s at %s tx=%s", asked.chaincode, kind, place, asked.tx_id
            )
        return Response(
            FAILED,
            f"contract {asked.chaincode} broke ({kind}); this is a fault of the contract, its "
            f"place is in the node's log under transaction {asked.tx_id}",
        )

    def result(self, response: Response) -> SimulationResult:
        """Return *response* with what was recorded, if there is something to endorse."""
        asked, simulation = self._invocation, self.simulation
        if response.status >= REFUSED:
            return SimulationResult(
                response.status, response.message, response.payload, b"", None, False, (),
                asked.chaincode, self._version,
            )  # fmt: skip
        event = None
        if simulation.event is not None:
            name, payload = simulation.event
            event = chaincode_event_pb2.ChaincodeEvent(
                chaincode_id=asked.chaincode, tx_id=asked.tx_id, event_name=name, payload=payload
            ).SerializeToString(deterministic=True)
        written = tuple(
            [name for name, record in sorted(simulation.records.items()) if record.is_writing()]
        )
        sets = build_sets({} if asked.is_asked_only else simulation.records)
        return SimulationResult(
            response.status, response.message, response.payload, encode_tx_rwset(sets.public),
            event, bool(written), written, asked.chaincode, self._version, sets.private,
            sets.collections, sets.plain_reads, self._is_query, sets.public,
        )  # fmt: skip


def _printable(refusal: Refusal) -> str:
    """Return a refusal's words in a form that any message can carry."""
    return str(refusal)[:_MAX_MESSAGE].encode("utf-8", "replace").decode("utf-8")
