"""A running network whose configuration is updated: what takes effect, on whom, and when.

Streams that are open when an update takes their caller's access end with it, without another block
and without a word from the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2, gateway_pb2_grpc
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import events_pb2

from clients.gateway.errors import EndorseError, SubmitError
from clients.gateway.messages import seek_envelope
from network.configuration import OrganisationSpec, edits
from network.configuration.genesis import orderer_member_group
from network.errors import OrderingRefusal
from network.msp import SigningIdentity
from network.ordering.solo.seek import blocks_between, signed_seek
from tests.support.counter import Counter
from tests.support.local_network import CHANNEL, DEADLINE_S, LocalNetwork, local_network, until
from tests.support.members import Member
from tests.support.updates import Edit, signed_update

MEMBERS = ("BankMSP", "OperatorMSP", "PtaMSP")
FOREVER = 2**64 - 1
FORBIDDEN = 403
Code = grpc.StatusCode


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[LocalNetwork]:
    async with local_network(tmp_path, [Counter()], members=MEMBERS) as running:
        yield running


def update(network: LocalNetwork, edit: Edit, *signers: str) -> bytes:
    """An update that the admins of *signers*, of all members by default, have signed."""
    admins = [network.signer(msp_id, "admin") for msp_id in signers or network.members]
    return signed_update(network.running[0].channel.configuration, edit, admins)


async def reconfigure(network: LocalNetwork, edit: Edit, by: str = "") -> int:
    """Have an update ordered by way of a member's node and wait until it is in force everywhere."""
    node = network.node(by) if by else network.running[-1]
    sequence = node.channel.configuration.sequence + 1
    async with asyncio.timeout(DEADLINE_S):
        await node.engine.submit(update(network, edit))
        for each in network.running:
            await each.channel.wait_for_configuration(sequence - 1)
    return sequence


def revoke(network: LocalNetwork, msp_id: str, *, user: str = "", tls: Path | None = None) -> Edit:
    """An edit that puts a user, or a TLS certificate, on its member's revocation list."""
    organisation = network.members[msp_id].organisation
    folder = organisation.revoke(user) if tls is None else organisation.revoke_certificate(tls)
    lists = [path.read_bytes() for path in sorted(folder.iterdir())]
    return lambda config: edits.add_revocation_lists(config, msp_id, lists)


# ---- streams


class Listening:
    """Everything that one identity can have open at a node: blocks, events, a commit status."""

    def __init__(self, channel: Any, signer: SigningIdentity) -> None:
        self._signer = signer
        self._gateway = gateway_pb2_grpc.GatewayStub(channel)
        self.blocks = [
            channel.stream_stream(
                f"/protos.Deliver/{rpc}",
                request_serializer=lambda each: each.SerializeToString(),
                response_deserializer=events_pb2.DeliverResponse.FromString,
            )()
            for rpc in ("Deliver", "DeliverFiltered")
        ]
        self.events = self._gateway.ChaincodeEvents(self._signed_events())
        self.status = self._gateway.CommitStatus(self._signed_status())

    def _signed_events(self) -> Any:
        raw = gateway_pb2.ChaincodeEventsRequest(
            channel_id=CHANNEL, chaincode_id="counter", identity=self._signer.serialized
        ).SerializeToString()
        return gateway_pb2.SignedChaincodeEventsRequest(
            request=raw, signature=self._signer.sign(raw)
        )

    def _signed_status(self) -> Any:
        raw = gateway_pb2.CommitStatusRequest(
            channel_id=CHANNEL, transaction_id="ab" * 32, identity=self._signer.serialized
        ).SerializeToString()
        return gateway_pb2.SignedCommitStatusRequest(request=raw, signature=self._signer.sign(raw))

    async def begin(self, height: int) -> None:
        for call in self.blocks:
            await call.write(seek_envelope(self._signer, CHANNEL, height))

    async def ends_denied(self, words: str = "") -> None:
        """Check that all of it ends, blocks with FORBIDDEN, the rest with PERMISSION_DENIED."""
        for call in self.blocks:
            response = await call.read()
            assert response.WhichOneof("Type") == "status"
            assert response.status == FORBIDDEN
        assert await self.events.code() is Code.PERMISSION_DENIED
        assert await self.status.code() is Code.PERMISSION_DENIED
        details = await self.events.details()
        assert "access denied for [gateway/ChaincodeEvents]" in details
        assert words in details

    async def goes_on(self, number: int) -> None:
        """Check that a block comes on every stream, and that the rest is still open."""
        for call in self.blocks:
            response = await call.read()
            block = response.block.header if response.HasField("block") else response.filtered_block
            assert block.number == number
        assert not self.events.done()
        assert not self.status.done()

    def give_up(self) -> None:
        for call in (*self.blocks, self.events, self.status):
            call.cancel()


@asynccontextmanager
async def listening(
    network: LocalNetwork, at: str, signer: SigningIdentity
) -> AsyncIterator[Listening]:
    """Open everything at a member's node, and wait until the node serves it."""
    endpoint = network.endpoint(at)
    servers = network.node(at).servers
    before = (servers.deliveries.at_work, servers.events.at_work, servers.waits.at_work)
    async with grpc.aio.secure_channel(
        endpoint.address, endpoint.credentials(), options=endpoint.options()
    ) as channel:
        found = Listening(channel, signer)
        await found.begin(network.node(at).channel.height)
        await until(
            lambda: (
                (servers.deliveries.at_work, servers.events.at_work, servers.waits.at_work)
                == (before[0] + 2, before[1] + 1, before[2] + 1)
            )
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield found
        finally:
            found.give_up()


async def add(network: LocalNetwork, msp_id: str, user: str = "lending") -> None:
    async with network.gateway(msp_id, user) as gateway:
        await gateway.network(CHANNEL).contract("counter").submit("Add", "k", "1")


async def fails(work: Awaitable[Any], words: str) -> None:
    with pytest.raises((EndorseError, SubmitError), match=words):
        await work


async def test_revoked_client_loses_every_stream_at_once_and_others_keep_theirs(network) -> None:
    """With the block that revokes it, which it does not see any more."""
    gone, stays = network.signer("PtaMSP", "lending"), network.signer("PtaMSP", "auditor")
    node = network.node("BankMSP")
    async with (
        listening(network, "BankMSP", gone) as its,
        listening(network, "BankMSP", stays) as theirs,
    ):
        height = node.channel.height
        await reconfigure(network, revoke(network, "PtaMSP", user="lending"), by="OperatorMSP")
        await its.ends_denied()
        await theirs.goes_on(height)
        await until(lambda: node.servers.deliveries.at_work == 2)
    await fails(add(network, "PtaMSP"), "revoked")
    await add(network, "PtaMSP", "auditor")
    await network.verify()


async def test_removed_member_loses_its_streams_and_its_node_is_served_no_more(network) -> None:
    """Its clients everywhere, and its node's streams on the node port."""
    client = network.signer("PtaMSP")
    bank, pta = network.node("BankMSP"), network.node("PtaMSP")
    async with listening(network, "BankMSP", client) as its:
        async with asyncio.timeout(DEADLINE_S):
            await bank.engine.submit(
                update(network, lambda config: edits.remove_member(config, "PtaMSP"))
            )
            await bank.channel.wait_for_configuration(0)
        await its.ends_denied()
    await until(lambda: not pta.engine.status().accepting)
    await until(lambda: "members' nodes only" in pta.engine.status().reason)
    await until(lambda: bank.servers.followers.at_work <= 2)
    assert "PtaMSP" not in bank.channel.configuration.organisations
    await add(network, "OperatorMSP")
    await network.node("OperatorMSP").channel.wait_above(bank.channel.height - 1)
    await network.stop("PtaMSP")
    del network.members["PtaMSP"]
    await network.verify()


async def test_revoked_tls_certificate_of_a_node_ends_its_streams(network) -> None:
    """The connection stays, and nothing is served on it."""
    pta = network.node("PtaMSP")
    shown = network.members["PtaMSP"].folder / "tls" / "server.crt"
    bank = network.node("BankMSP")
    async with asyncio.timeout(DEADLINE_S):
        await bank.engine.submit(update(network, revoke(network, "PtaMSP", tls=shown)))
    await until(lambda: "members' nodes only" in pta.engine.status().reason)
    await add(network, "OperatorMSP")


async def test_acl_takes_and_gives_access_at_once(network) -> None:
    """Blocks for admins only: a client's stream of blocks ends, an admin's goes on."""
    client, admin = network.signer("BankMSP"), network.signer("BankMSP", "admin")

    def for_admins(config: Any) -> None:
        for resource in (
            "event/Block",
            "event/FilteredBlock",
            "gateway/ChaincodeEvents",
            "gateway/CommitStatus",
        ):
            edits.set_acl(config, resource, "Admins")

    def one_is_enough(config: Any) -> None:
        edits.set_policy(config, "/Channel/Application/Admins", "ANY Admins")

    await reconfigure(network, one_is_enough)
    async with (
        listening(network, "BankMSP", client) as its,
        listening(network, "BankMSP", admin) as theirs,
    ):
        height = network.node("BankMSP").channel.height
        await reconfigure(network, for_admins)
        await its.ends_denied()
        await theirs.goes_on(height)


async def test_batch_parameters_policies_and_anchor_peers_are_in_force_on_every_node(
    network,
) -> None:
    """With the same block everywhere."""

    def edit(config: Any) -> None:
        edits.set_batch(config, {"max_message_count": "7", "timeout": "123ms"})
        edits.set_policy(config, "/Channel/Application/Endorsement", "ANY Endorsement")
        edits.set_anchor_peers(config, "PtaMSP", [])

    assert "PtaMSP" in network.node("BankMSP").status().peers[1].msp_id
    await reconfigure(network, edit)
    found = [node.channel.configuration for node in network.running]
    assert {each.batch.max_message_count for each in found} == {7}
    assert {each.batch.timeout_s for each in found} == {0.123}
    assert {node.channel.last_config_block for node in network.running} == {
        network.running[0].channel.height - 1
    }
    assert [each.msp_id for each in network.node("BankMSP").status().peers] == ["OperatorMSP"]
    await add(network, "OperatorMSP")
    await network.verify()


async def test_new_member_is_served_on_both_ports_from_the_block_that_adds_it(network) -> None:
    """Its clients propose and listen; its node gets through the handshake and takes blocks."""
    naya = Member("NayaMSP")
    client, node, tls = naya.identity(), naya.identity("node", "peer"), naya.tls_identity()
    bank = network.members["BankMSP"]
    root = (bank.organisation.folder / "tlsca" / "ca-cert.pem").read_bytes()

    async def take_blocks() -> Code | int:
        address = f"localhost:{bank.node_port}"
        async with grpc.aio.secure_channel(address, tls.credentials([root])) as connection:
            channel: Any = connection
            call = channel.stream_stream(
                "/orderer.AtomicBroadcast/Deliver",
                response_deserializer=ab_pb2.DeliverResponse.FromString,
            )()
            request = signed_seek(
                blocks_between(0, 0),
                channel_id=CHANNEL,
                signer=node,
                certificate_der=tls.certificate_der,
                now=datetime.now(UTC),
            )
            async with asyncio.timeout(DEADLINE_S):
                try:
                    await call.write(request)
                    response = await call.read()
                except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
                    return await call.code()
                return response.block.header.number

    assert await take_blocks() is Code.UNAVAILABLE
    members = dict(network.members)
    await reconfigure(network, lambda config: edits.add_member(config, naya.spec()))
    assert await take_blocks() == 0
    async with listening(network, "PtaMSP", client) as its:
        height = network.node("PtaMSP").channel.height
        await add(network, "OperatorMSP")
        for call in its.blocks:
            assert (await call.read()).WhichOneof("Type") != "status"
        assert height < network.node("PtaMSP").channel.height
    assert members == network.members
    await network.verify()


async def test_update_by_the_gateway_is_ordered_and_a_refused_one_says_why(network) -> None:
    """Submit takes an envelope of type CONFIG_UPDATE as it takes any other."""
    good = update(network, lambda config: edits.set_batch(config, {"timeout": "2s"}))
    poor = update(network, lambda config: edits.remove_member(config, "PtaMSP"), "BankMSP")
    endpoint = network.endpoint("OperatorMSP")
    async with (
        grpc.aio.secure_channel(
            endpoint.address, endpoint.credentials(), options=endpoint.options()
        ) as channel,
        asyncio.timeout(DEADLINE_S),
    ):
        gateway = gateway_pb2_grpc.GatewayStub(channel)

        async def submit(raw: bytes) -> None:
            await gateway.Submit(
                gateway_pb2.SubmitRequest(
                    channel_id=CHANNEL, prepared_transaction=common_pb2.Envelope.FromString(raw)
                )
            )

        await submit(good)
        await network.node("OperatorMSP").channel.wait_for_configuration(0)
        for raw, words in (
            (poor, "requires 2 of the 'Admins' sub-policies"),
            (good, "but key is at version 1"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await submit(raw)
            assert refused.value.code() is Code.ABORTED
            assert "status=BAD_REQUEST, info=error applying config update" in str(
                refused.value.details()
            )
            assert words in str(refused.value.details())


async def test_two_updates_at_once_by_two_nodes_do_not_both_change_one_thing(network) -> None:
    """One stands; the other is told that it rests on an older version."""
    raw = [
        update(network, partial(edits.set_batch, changes={"timeout": text}))
        for text in ("2s", "3s")
    ]
    nodes = [network.node(msp_id) for msp_id in ("OperatorMSP", "PtaMSP")]
    async with asyncio.timeout(DEADLINE_S):
        ends = await asyncio.gather(
            *(node.engine.submit(each) for node, each in zip(nodes, raw, strict=True)),
            return_exceptions=True,
        )
    refused = [each for each in ends if each is not None]
    assert len(refused) == 1
    assert isinstance(refused[0], OrderingRefusal)
    assert "BatchTimeout" in refused[0].info
    await network.settled()
    assert {node.channel.configuration.sequence for node in network.running} == {1}
    await network.verify()


async def test_ordering_passes_to_the_node_that_the_configuration_names(network) -> None:
    """The old one makes the block that says so, and no other; everybody follows the new one."""
    pta = network.members["PtaMSP"]

    def edit(config: Any) -> None:
        group = config.channel_group.groups["Orderer"]
        spec = OrganisationSpec(
            "PtaMSP",
            pta.organisation.msp_config(),
            orderer_endpoints=[("localhost", pta.node_port)],
        )
        group.groups["PtaMSP"].CopyFrom(orderer_member_group(spec))
        del group.groups["BankMSP"]

    roles = lambda: [node.engine.status().role for node in network.running]  # noqa: E731
    assert roles() == ["sequencer", "follower", "follower"]
    await reconfigure(network, edit, by="OperatorMSP")
    await until(lambda: roles() == ["follower", "follower", "sequencer"])
    await until(lambda: all(node.engine.status().accepting for node in network.running))
    height = await network.settled()
    for msp_id in MEMBERS:
        await add(network, msp_id)
    assert await network.settled() == height + len(MEMBERS)
    block = await network.node("BankMSP").channel.block(height)
    assert block is not None
    await network.stop("PtaMSP")
    await until(lambda: not network.node("BankMSP").engine.status().accepting)
    await fails(add(network, "BankMSP"), "nothing can be submitted")
    await network.start("PtaMSP")
    await until(lambda: all(node.engine.status().accepting for node in network.running))
    await add(network, "BankMSP")
    await network.verify()


async def test_client_that_expires_while_nothing_happens_loses_its_streams(network) -> None:
    """When its time has come, and not only with the next block."""
    naya = Member("NayaMSP")
    await reconfigure(network, lambda config: edits.add_member(config, naya.spec()))
    days: Any = timedelta(seconds=3) / timedelta(days=1)
    client = naya.identity(days=days, now=datetime.now(UTC))
    async with listening(network, "BankMSP", client) as its:
        height = network.node("BankMSP").channel.height
        await its.ends_denied("expired")
        assert network.node("BankMSP").channel.height == height


async def test_expired_client_is_sent_no_further_block_or_event(tmp_path: Path) -> None:
    """In a rehearsal, where time is set: the next block ends its streams."""
    naya = Member("NayaMSP")
    client = naya.identity(days=2)
    async with local_network(tmp_path, [Counter()], members=MEMBERS[:2], rehearsal=True) as network:
        await reconfigure(network, lambda config: edits.add_member(config, naya.spec()))
        node = network.node("BankMSP")
        async with listening(network, "BankMSP", client) as its:
            network.set_clock(client.not_after - timedelta(seconds=30))
            height = node.channel.height
            await reconfigure(network, lambda config: edits.set_batch(config, {"timeout": "2s"}))
            await its.goes_on(height)
            network.set_clock(client.not_after + timedelta(seconds=1))
            await reconfigure(network, lambda config: edits.set_batch(config, {"timeout": "3s"}))
            await its.ends_denied("expired")
