"""A small contract with private collections, for tests of nodes, and a network that has it defined.

    async with terms_network(tmp_path) as network:
        async with network.gateway("BankMSP") as gateway:
            await terms(gateway).submit("Put", "terms", "A-1", transient={"value": b"…"}, …)

Collections by default, with any two members' endorsement as the contract's policy:

    terms    BankMSP and PtaMSP
    closed   the same members, memberOnlyRead and memberOnlyWrite
    short    the same, and its data live for three blocks
    own      OperatorMSP and PtaMSP, and a policy of its own: OperatorMSP endorses
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fabric_protos.peer import collection_pb2, policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from chaincode.contract import Context, Contract, query, transaction
from clients.gateway.asynchronous import AsyncContract, AsyncGateway
from network.policy import parse_policy
from tests.support.local_network import CHANNEL, MEMBERS, LocalNetwork, make_network

NAME = "terms"
BANK, OPERATOR, MAKER, PTA = MEMBERS


class Terms(Contract):
    """Keeps values in private collections; what is written comes as transient data."""

    name = NAME

    @transaction
    def Put(self, ctx: Context, collection: str, key: str) -> None:
        """Write the transient `value` without reading."""
        ctx.stub.put_private_data(collection, key, ctx.stub.get_transient()["value"])

    @transaction
    def PutTwo(self, ctx: Context, first: str, second: str, key: str) -> None:
        """Write to two collections."""
        for collection in (first, second):
            ctx.stub.put_private_data(collection, key, ctx.stub.get_transient()[collection])

    @transaction
    def Copy(self, ctx: Context, collection: str, key: str, to: str) -> None:
        """Read a value in plain and write it under another key."""
        value = ctx.stub.get_private_data(collection, key)
        ctx.stub.put_private_data(collection, to, value or b"nothing")

    @transaction
    def PutUnless(self, ctx: Context, collection: str, key: str, other: str) -> None:
        """Write the transient `value` if another collection has none under the key."""
        if ctx.stub.get_private_data_hash(other, key) is None:
            ctx.stub.put_private_data(collection, key, ctx.stub.get_transient()["value"])

    @transaction
    def PutAfter(self, ctx: Context, collection: str, key: str) -> None:
        """Write the transient `value` after a look at what is there, by hash."""
        ctx.stub.get_private_data_hash(collection, key)
        ctx.stub.put_private_data(collection, key, ctx.stub.get_transient()["value"])

    @transaction
    def Delete(self, ctx: Context, collection: str, key: str) -> None:
        """Delete a value."""
        ctx.stub.del_private_data(collection, key)

    @transaction
    def Purge(self, ctx: Context, collection: str, key: str) -> None:
        """Purge a value and all that was ever written under its key."""
        ctx.stub.purge_private_data(collection, key)

    @transaction
    def Note(self, ctx: Context, key: str) -> None:
        """Write a public key, to fill a block."""
        ctx.stub.put_state(key, b"noted")

    @query
    def Get(self, ctx: Context, collection: str, key: str) -> str:
        """Return a value in plain; empty if there is none."""
        return (ctx.stub.get_private_data(collection, key) or b"").decode()

    @query
    def Hash(self, ctx: Context, collection: str, key: str) -> str:
        """Return the hash of a value; empty if there is none."""
        return (ctx.stub.get_private_data_hash(collection, key) or b"").hex()


def collection(
    name: str,
    *members: str,
    required: int = 0,
    maximum: int = 3,
    policy: str = "",
    **options: Any,
) -> Any:
    """A collection of these members; *policy* is its own endorsement policy."""
    config = collection_pb2.CollectionConfig()
    static = config.static_collection_config
    static.name = name
    static.required_peer_count, static.maximum_peer_count = required, maximum
    words = ", ".join(f"'{each}.member'" for each in members)
    static.member_orgs_policy.signature_policy.CopyFrom(parse_policy(f"OR({words})"))
    if policy:
        static.endorsement_policy.signature_policy.CopyFrom(parse_policy(policy))
    for option, value in options.items():
        setattr(static, option, value)
    return config


DEFAULTS = (
    collection("terms", BANK, PTA),
    collection("closed", BANK, PTA, member_only_read=True, member_only_write=True),
    collection("short", BANK, PTA, block_to_live=3),
    collection("own", OPERATOR, PTA, policy=f"OR('{OPERATOR}.peer')"),
)


def terms(gateway: AsyncGateway) -> AsyncContract:
    """The contract, through a member's gateway."""
    return gateway.network(CHANNEL).contract(NAME)


def definition(
    collections: Sequence[Any],
    policy: str = "",
    sequence: int = 1,
    members: Sequence[str] = MEMBERS,
) -> Any:
    """The arguments that define the contract."""
    peers = ", ".join(f"'{msp_id}.peer'" for msp_id in members)
    application = policy_pb2.ApplicationPolicy(
        signature_policy=parse_policy(policy or f"OutOf(2, {peers})")
    )
    return lifecycle_pb2.CommitChaincodeDefinitionArgs(
        name=NAME,
        version="1",
        sequence=sequence,
        validation_parameter=application.SerializeToString(),
        collections=collection_pb2.CollectionConfigPackage(config=collections),
    )


async def define(network: LocalNetwork, arguments: Any) -> None:
    """Define the contract, endorsed by every member."""
    async with network.gateway(BANK, "admin") as gateway:
        lifecycle = gateway.network(CHANNEL).contract("_lifecycle")
        await lifecycle.submit(
            "CommitChaincodeDefinitions",
            arguments.SerializeToString(),
            endorsing_organisations=tuple(network.members),
        )
    await network.settled()


@asynccontextmanager
async def terms_network(
    folder: Path,
    collections: Sequence[Any] = DEFAULTS,
    *,
    policy: str = "",
    settings: str = "[private_data]\nreconcile_interval_s = 0.2\n",
    members: Sequence[str] = MEMBERS,
) -> AsyncIterator[LocalNetwork]:
    """A running network with the contract defined; *settings* end every node.toml."""
    network = make_network(folder, [Terms()], members=members)
    for member in network.members.values():
        path = member.folder / "node.toml"
        path.write_text(path.read_text() + "\n" + settings)
    try:
        await network.start()
        await define(network, definition(collections, policy, members=members))
        yield network
    finally:
        await network.stop()
