"""A network of real nodes inside one test: certificates, genesis block, folders, N running nodes.

    async with local_network(tmp_path, [Counter()]) as network:
        async with network.gateway("BankMSP") as gateway:
            contract = gateway.network(network.channel_id).contract("counter")
            await contract.submit("Add", "k", "1")
        await network.verify()

- The nodes run on the test's own event loop and speak gRPC over TLS on loopback; ledgers are on
  disk under the folder. The first member's node orders, the others follow it.
- `local_network` takes contracts as instances of `chaincode.contract.Contract` and defines each on
  the channel, by `_lifecycle` and with the endorsement of every node, under *policy*. Without any,
  the nodes run what packages are installed in their folders.
- `network.gateway(msp_id, user)` is a client (`AsyncGateway`) of that member's node,
  `network.signer(msp_id, user)` the identity alone. Users are made when first asked for, with the
  attribute ``qist.role`` equal to their name; "admin" gets the unit admin.
- `network.stop(msp_id)` and `network.start(msp_id)` take one node down in order and up again;
  `network.node(msp_id)` is the running `nodes.node.Node`.
- `network.settled()` waits until all running nodes have the same height. `network.verify()` stops
  every node and makes the closing checks of a network test: equal heights, header hashes and commit
  hashes, and a clean fsck of every ledger.
- `network.set_clock(now)` sets a rehearsal's time on all running nodes.
- *prepare* is given each organisation before the genesis block is made, to issue or revoke what the
  block shall know of; *founded* is when the organisations' certificates begin.
- `until(condition)` waits for what no node announces.

Leaving the block stops what still runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.contract import Contract
from chaincode.packages import ContractStanding, InstalledPackage
from chaincode.simulator import Chaincode, ContractChaincode
from clients.gateway.asynchronous import AsyncGateway
from clients.gateway.connection import Endpoint as GatewayEndpoint
from ledger.errors import Refusal
from ledger.fsck import check_ledger
from ledger.state.ports import StateReader
from network.certificates import Organisation, create_organisation
from network.configuration import BatchParameters, OrganisationSpec, build_genesis
from network.msp import SigningIdentity
from network.policy import parse_policy
from network.policy.collection_file import read_collections
from nodes.channel import Channel
from nodes.configuration import Endpoint, load_configuration, render_configuration
from nodes.contracts import NodeContracts, installed_contracts, system_contracts
from nodes.node import Node
from tests.support.ports import free_ports

CHANNEL = "qist"
MEMBERS = ("BankMSP", "OperatorMSP", "MakerMSP", "PtaMSP")
DEADLINE_S = 120.0
"""Of what comes sooner or later, on a machine that many tests share; nothing waits it out."""
VERSION = "1"


class FixedContracts:
    """Contracts given by a test, in the place of installed packages."""

    def __init__(self, msp_id: str, chaincodes: Sequence[Chaincode], channel: Channel) -> None:
        self._given = {each.name: each for each in chaincodes}
        self._system = {each.name: each for each in system_contracts(msp_id, self, channel)}

    def offers(self, name: str, version: str) -> bool:
        """Say whether contract *name* can be run here in *version*."""
        return name in self._given and self._given[name].version == version

    def standings(self, state: StateReader) -> Sequence[ContractStanding]:
        """Say nothing: what was given is always run."""
        return ()

    def installed(self) -> Sequence[InstalledPackage]:
        """There are no packages, only what was given."""
        return ()

    def install_packed(self, raw: bytes) -> InstalledPackage:
        """Refuse: what was given is all there is."""
        raise Refusal("the contracts of this test are fixed")

    def packed(self, package_id: str) -> bytes:
        """Refuse: there are no packages."""
        raise Refusal("the contracts of this test are fixed")

    def resolve(self, name: str, state: StateReader) -> Chaincode | None:
        """Return the contract of that name."""
        return self._system.get(name) or self._given.get(name)

    def explain(self, name: str, state: StateReader) -> str:
        """Say why there is none."""
        return f"chaincode {name} not found among those of the test"


@dataclass
class Member:
    """One member of the network: its certificates, its node's folder, its node while it runs."""

    organisation: Organisation
    folder: Path
    client_port: int
    node_port: int
    node: Node | None = None
    task: asyncio.Task[None] | None = None
    users: dict[str, SigningIdentity] = field(default_factory=dict)


class LocalNetwork:
    """See the module's docstring."""

    def __init__(
        self, folder: Path, contracts: Sequence[Contract], members: Mapping[str, Member]
    ) -> None:
        self.folder = folder
        self.channel_id = CHANNEL
        self.members = members
        self._chaincodes = [ContractChaincode(each, VERSION) for each in contracts]

    # ---- nodes
    def node(self, msp_id: str) -> Node:
        """Return the running node of a member."""
        node = self.members[msp_id].node
        assert node is not None, f"the node of {msp_id} does not run"
        return node

    @property
    def running(self) -> list[Node]:
        """The nodes that run, in the order of the members."""
        return [member.node for member in self.members.values() if member.node is not None]

    async def start(self, *msp_ids: str) -> None:
        """Start the nodes of these members, of all by default, and wait until they serve."""
        for msp_id in msp_ids or self.members:
            member = self.members[msp_id]
            assert member.node is None, f"the node of {msp_id} runs already"
            contracts = self._contracts if self._chaincodes else installed_contracts
            node = await asyncio.to_thread(Node.open, member.folder, contracts=contracts)
            task = asyncio.create_task(node.serve(), name=f"node of {msp_id}")
            started = asyncio.create_task(node.started.wait())
            await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
            if not node.started.is_set():
                started.cancel()
                await task
            member.node, member.task = node, task

    async def stop(self, *msp_ids: str) -> None:
        """Stop the nodes of these members in order, of all that run by default."""
        stopping = []
        for msp_id in msp_ids or self.members:
            member = self.members[msp_id]
            if member.node is not None and member.task is not None:
                member.node.request_stop()
                stopping.append(member.task)
                member.node = member.task = None
        await asyncio.gather(*stopping)

    async def settled(self, height: int = 0) -> int:
        """Wait until all running nodes have the same height, at least *height*; return it."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                heights = [node.channel.height for node in self.running]
                goal = max(height, *heights)
                if min(heights) == goal:
                    return goal
                for node in self.running:
                    await node.channel.wait_above(goal - 1)

    def set_clock(self, now: datetime) -> None:
        """Set the time of a rehearsal on all running nodes."""
        for node in self.running:
            node.set_clock(now)

    def _contracts(self, folder: Path, channel: Channel) -> NodeContracts:
        msp_id = load_configuration(folder).msp_id
        return FixedContracts(msp_id, self._chaincodes, channel)

    # ---- clients
    def signer(self, msp_id: str, user: str = "lending") -> SigningIdentity:
        """Return the identity of a member's user; made when first asked for."""
        member = self.members[msp_id]
        if user not in member.users:
            unit = "admin" if user == "admin" else "client"
            folder = member.organisation.add_user(user, unit=unit, attributes={"qist.role": user})
            member.users[user] = SigningIdentity.load(folder / "msp", msp_id)
        return member.users[user]

    def endpoint(self, msp_id: str) -> GatewayEndpoint:
        """Return where a member's gateway is reached, and whom to trust there."""
        member = self.members[msp_id]
        authority = (member.organisation.folder / "tlsca" / "ca-cert.pem").read_bytes()
        return GatewayEndpoint(f"localhost:{member.client_port}", authority)

    def gateway(self, msp_id: str, user: str = "lending", **options: Any) -> AsyncGateway:
        """Return a client of a member's node; close it, or use ``async with``."""
        return AsyncGateway(self.endpoint(msp_id), self.signer(msp_id, user), **options)

    def node_signer(self, msp_id: str) -> SigningIdentity:
        """Return the identity of a member's node, to make what only a node can sign."""
        return SigningIdentity.load(self.members[msp_id].folder / "msp", msp_id)

    async def define(
        self, policy: str, collections: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Define the contracts on the channel, endorsed by every member.

        Args:
            collections: texts of collections files by contract.
        """
        application = policy_pb2.ApplicationPolicy(signature_policy=parse_policy(policy))
        async with self.gateway(next(iter(self.members)), "admin") as gateway:
            lifecycle = gateway.network(self.channel_id).contract("_lifecycle")
            for each in self._chaincodes:
                arguments = lifecycle_pb2.CommitChaincodeDefinitionArgs(
                    name=each.name,
                    version=each.version,
                    sequence=1,
                    validation_parameter=application.SerializeToString(),
                    collections=read_collections(collections.get(each.name, "[]")),
                )
                await lifecycle.submit(
                    "CommitChaincodeDefinitions",
                    arguments.SerializeToString(),
                    endorsing_organisations=tuple(self.members),
                )
        await self.settled()

    async def redefine(self, name: str, sequence: int, policy: str, collections: str) -> None:
        """Have every member approve a contract's next definition, and commit it."""
        rule = policy_pb2.ApplicationPolicy(signature_policy=parse_policy(policy))
        content: dict[str, Any] = {
            "name": name,
            "version": VERSION,
            "sequence": sequence,
            "validation_parameter": rule.SerializeToString(),
            "collections": read_collections(collections),
        }
        approval = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(**content)
        for msp_id in self.members:
            await self._lifecycle(msp_id, "ApproveChaincodeDefinitionForMyOrg", approval, (msp_id,))
        commit = lifecycle_pb2.CommitChaincodeDefinitionArgs(**content)
        members = tuple(self.members)
        await self._lifecycle(members[0], "CommitChaincodeDefinition", commit, members)

    async def _lifecycle(
        self, msp_id: str, function: str, arguments: Any, endorsers: Sequence[str]
    ) -> None:
        async with self.gateway(msp_id, "admin") as gateway:
            contract = gateway.network(self.channel_id).contract("_lifecycle")
            await contract.submit(
                function, arguments.SerializeToString(), endorsing_organisations=endorsers
            )
        await self.settled()

    # ---- the end
    async def verify(self) -> None:
        """Stop all nodes and compare their ledgers; see the module's docstring."""
        await self.settled()
        await self.stop()
        ends = {}
        for msp_id, member in self.members.items():
            report = await asyncio.to_thread(check_ledger, member.folder / "ledger")
            assert report.is_clean, f"{msp_id}: {[str(each) for each in report.findings]}"
            ends[msp_id] = (report.height, report.header_hash, report.commit_hash)
        assert len(set(ends.values())) == 1, f"the ledgers differ: {ends}"


@asynccontextmanager
async def local_network(
    folder: Path,
    contracts: Sequence[Contract] = (),
    *,
    members: Sequence[str] = MEMBERS,
    policy: str = "",
    collections: Mapping[str, str] = MappingProxyType({}),
    batch: BatchParameters | None = None,
    rehearsal: bool = False,
    limits: str = "",
    prepare: Callable[[Organisation], None] | None = None,
    founded: datetime | None = None,
) -> AsyncIterator[LocalNetwork]:
    """Make a network under *folder*, start it, define *contracts*, and stop it at the end.

    Args:
        folder: an empty one.
        contracts: of the test.
        members: MSP ids; the first one's node orders.
        policy: endorsement policy of the contracts; any two of the members by default.
        collections: texts of collections files by contract.
        batch: when blocks are cut.
        rehearsal: whether the network is a rehearsal.
        limits: further lines of every node.toml, for example a section [limits].
        prepare: called with each organisation before the genesis block is made.
        founded: when the organisations' certificates begin; now by default.
    """
    made = make_network(
        folder,
        contracts,
        members=members,
        batch=batch,
        rehearsal=rehearsal,
        prepare=prepare,
        founded=founded,
    )
    if limits:
        for member in made.members.values():
            path = member.folder / "node.toml"
            text = path.read_text()
            path.write_text(text[: text.index("[limits]")] + limits)
    try:
        await made.start()
        if contracts:
            peers = ", ".join(f"'{msp_id}.peer'" for msp_id in members)
            await made.define(policy or f"OutOf({min(2, len(members))}, {peers})", collections)
        yield made
    finally:
        await made.stop()


def make_network(
    folder: Path,
    contracts: Sequence[Contract] = (),
    *,
    members: Sequence[str] = MEMBERS,
    batch: BatchParameters | None = None,
    rehearsal: bool = False,
    prepare: Callable[[Organisation], None] | None = None,
    founded: datetime | None = None,
) -> LocalNetwork:
    """Make the folders of a network and start nothing."""
    begin = founded or datetime.now(UTC)
    ports = iter(free_ports(2 * len(members)))
    made = {
        msp_id: Member(
            create_organisation(folder / msp_id / "org", msp_id, now=lambda: begin),
            folder / msp_id / "node",
            next(ports),
            next(ports),
        )
        for msp_id in members
    }
    if prepare is not None:
        for member in made.values():
            prepare(member.organisation)
    specs = [
        OrganisationSpec(
            msp_id,
            member.organisation.msp_config(),
            anchor_peers=(("localhost", member.node_port),),
            orderer_endpoints=(("localhost", member.node_port),) if msp_id == members[0] else (),
        )
        for msp_id, member in made.items()
    ]
    genesis = build_genesis(
        CHANNEL,
        specs,
        orderers=members[:1],
        when=datetime.now(UTC),
        batch=batch,
        rehearsal=rehearsal,
    )
    for msp_id, member in made.items():
        issued = member.organisation.add_node("node0", hosts=("localhost", "127.0.0.1"))
        member.folder.mkdir()
        for part in ("msp", "tls"):
            (issued / part).rename(member.folder / part)
        (member.folder / "genesis.block").write_bytes(genesis.encode())
        (member.folder / "node.toml").write_text(
            render_configuration(
                name="node0",
                msp_id=msp_id,
                channel_id=CHANNEL,
                client=Endpoint(listen=f"localhost:{member.client_port}"),
                node=Endpoint(listen=f"localhost:{member.node_port}"),
            )
        )
    return LocalNetwork(folder, contracts, made)


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as *condition* holds; fails at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - of foreign parts, which have no event for it
            await asyncio.sleep(0.01)
