"""Organisations around one `_lifecycle` in memory: each with a node of its own and its packages.

    world = Consortium()
    world.approve("BankMSP", "toy", package_id="toy:…")
    world.commit("BankMSP", "toy")

Every call runs in the real simulator, on the node of the organisation named first; what it wrote
is committed as a block of its own. Nodes differ in their organisation and packages, not in state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fabric_protos.common import policies_pb2
from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.contract import Creator
from chaincode.errors import PackageError
from chaincode.simulator import Chaincode, Invocation, SimulationResult, Simulator
from chaincode.system import LIFECYCLE, Lifecycle
from ledger.state.ports import StateReader
from ledger.state.version import Version
from tests.support.memory_state import MemoryState

MEMBERS = ("BankMSP", "OperatorMSP", "PtaMSP")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY: bytes = policy_pb2.ApplicationPolicy(
    signature_policy=policies_pb2.SignaturePolicyEnvelope(version=0)
).SerializeToString()


@dataclass(frozen=True)
class Installed:
    """A package that a node has."""

    package_id: str
    version: str
    contracts: tuple[str, ...]


@dataclass
class Packages:
    """The packages of one node: none in bytes, what is offered as told."""

    offered: set[tuple[str, str]] = field(default_factory=set)

    def offers(self, name: str, version: str) -> bool:
        return (name, version) in self.offered

    def installed(self) -> Sequence[Installed]:
        return [
            Installed(f"{name}_{version}:{'0' * 64}", version, (name,))
            for name, version in sorted(self.offered)
        ]

    def install_packed(self, raw: bytes) -> Installed:
        raise PackageError(f"{len(raw)} bytes are no package")

    def packed(self, package_id: str) -> bytes:
        return package_id.encode()


class Members:
    """A channel of these organisations, whose policies are all well."""

    def __init__(self, members: Sequence[str] = MEMBERS) -> None:
        self.member_ids = members
        self.policies = {"/Channel/Application/Endorsement"}

    def has_policy(self, path: str) -> bool:
        return path in self.policies

    def is_msp(self, msp_id: str) -> bool:
        return msp_id in (*self.member_ids, "OrdererMSP")

    def is_identity(self, serialized: bytes) -> bool:
        return serialized == b"known"

    def verify_signature_policy(self, envelope: bytes) -> None:
        read = policies_pb2.SignaturePolicyEnvelope.FromString(envelope)
        if not read.rule.WhichOneof("Type"):
            raise PackageError("a rule of the policy is empty")


class Only:
    """A registry of one contract of the system."""

    def __init__(self, chaincode: Chaincode) -> None:
        self._chaincode = chaincode

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        return self._chaincode if name == self._chaincode.name else None

    def explain(self, name: str, state: StateReader) -> str:
        return f"chaincode {name} not found"


class Consortium:
    """See the module's docstring.

    Attributes:
        state: of `_lifecycle`, as every node has it.
        packages: what the node of each organisation has installed.
    """

    def __init__(self, members: Sequence[str] = MEMBERS) -> None:
        self.state = MemoryState()
        self.channel = Members(members)
        self.packages = {msp_id: Packages() for msp_id in members}
        self.channel_id = "qist"

    def call(self, msp_id: str, function: str, *args: Any) -> SimulationResult:
        """Run a call on the node of an organisation; messages are marshalled, bytes go as are."""
        packages = self.packages.setdefault(msp_id, Packages())
        registry = Only(Lifecycle(msp_id, packages, self.channel))
        raw = [each if isinstance(each, bytes) else each.SerializeToString() for each in args]
        invocation = Invocation(
            self.channel_id, "ab" * 32, LIFECYCLE, (function.encode(), *raw), Creator(msp_id), NOW
        )
        return Simulator(registry).simulate(self.state, invocation)

    def write(self, result: SimulationResult) -> SimulationResult:
        """Commit what a call wrote as the next block."""
        assert result.status == 200, result.message
        self.state.apply(result, "ab" * 32, NOW, Version(self.state.height, 0))
        self.state.height += 1
        return result

    # ---- Fabric's functions
    def approve(
        self, msp_id: str, name: str = "toy", package_id: str = "", **changes: Any
    ) -> SimulationResult:
        """Approve a definition; nothing is committed."""
        asked = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(**_definition(name, changes))
        if package_id:
            asked.source.local_package.package_id = package_id
        return self.call(msp_id, "ApproveChaincodeDefinitionForMyOrg", asked)

    def readiness(self, msp_id: str, name: str = "toy", **changes: Any) -> SimulationResult:
        """Ask who has approved a definition."""
        asked = lifecycle_pb2.CheckCommitReadinessArgs(**_definition(name, changes))
        return self.call(msp_id, "CheckCommitReadiness", asked)

    def commit(self, msp_id: str, name: str = "toy", **changes: Any) -> SimulationResult:
        """Ask for an approved definition; nothing is committed."""
        asked = lifecycle_pb2.CommitChaincodeDefinitionArgs(**_definition(name, changes))
        return self.call(msp_id, "CommitChaincodeDefinition", asked)

    def found(self, msp_id: str, *definitions: bytes) -> SimulationResult:
        """Ask for first definitions that nobody approves; nothing is committed."""
        return self.call(msp_id, "CommitChaincodeDefinitions", *definitions)

    def define(self, name: str = "toy", package_id: str = "", **changes: Any) -> None:
        """Approve a definition as all organisations and commit it."""
        for msp_id in self.channel.member_ids:
            self.write(self.approve(msp_id, name, package_id, **changes))
        self.write(self.commit(self.channel.member_ids[0], name, **changes))


def first_definition(name: str = "toy", **changes: Any) -> bytes:
    """Return the marshalled arguments of a contract's first definition, with changes."""
    asked = lifecycle_pb2.CommitChaincodeDefinitionArgs(**_definition(name, changes))
    raw: bytes = asked.SerializeToString()
    return raw


def _definition(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    fields = {"sequence": 1, "name": name, "version": "1", "validation_parameter": POLICY}
    return fields | changes
