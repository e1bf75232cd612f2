"""Configuration updates through the sequencer: their blocks, what follows them, what is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import pytest
from fabric_protos.common import common_pb2, policies_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2

from ledger.blocks import metadata as index
from ledger.blocks.block import Block
from ledger.transactions.parse import CONFIG, parse_transaction
from network.configuration import BatchParameters, edits
from network.errors import OrderingRefusal, OrderingUnavailable
from network.msp import SigningIdentity
from network.ordering.block_signature import verify_block_signature
from network.ordering.reconfiguration import LARGEST_MESSAGE_BYTES
from network.ordering.solo import Sequencer, sequencer
from network.policy import parse_policy
from tests.support.members import CHANNEL, NOW, Member, genesis, signed_envelope
from tests.support.ordering_network import DEADLINE_S, MachineTime, MemorySink, eventually
from tests.support.updates import Edit, config_envelope_of, signed_update

BANK, PTA = Member("BankMSP"), Member("PtaMSP")
ADMINS = [each.identity("admin", "admin") for each in (BANK, PTA)]
TOO_SMALL = 2**14
"""Bytes; in the configuration it takes as many as what just fits."""
PATIENT = BatchParameters(500, 1_000_000, 1_000_000, 3600.0)


class Ordering:
    """A sequencer of two members with its ledger in memory."""

    def __init__(self) -> None:
        self.genesis = genesis([BANK, PTA], batch=PATIENT)
        self.sink = MemorySink(self.genesis)
        self.node = BANK.identity("node", "peer")
        self.engine = Sequencer(self.sink, self.node, MachineTime())
        self.client = PTA.identity("client")
        self._number = 0

    def envelope(self) -> bytes:
        self._number += 1
        return signed_envelope(self.client, b"x", nonce=b"%024d" % self._number)

    def update(self, edit: Edit, signers: Sequence[SigningIdentity] = ADMINS) -> bytes:
        return signed_update(self.sink.configuration, edit, signers)

    async def queued(self, *envelopes: bytes) -> list[asyncio.Task[None]]:
        """Submit envelopes in this order; return when all are admitted and wait."""
        tasks = []
        for each in envelopes:
            waiting = len(self.engine._cutter) + 1
            tasks.append(asyncio.create_task(self.engine.submit(each)))
            await eventually(partial(self._waits, waiting))
        return tasks

    def _waits(self, count: int) -> bool:
        return len(self.engine._cutter) == count

    async def hold(self) -> asyncio.Task[None]:
        """Let one envelope into a block whose commit hangs until the gate is opened."""
        self.sink.gate.clear()
        task = asyncio.create_task(self.engine.submit(self.envelope()))
        async with asyncio.timeout(DEADLINE_S):
            await self.sink.busy.wait()
        return task


@pytest.fixture
async def ordering() -> AsyncIterator[Ordering]:
    made = Ordering()
    await made.engine.start()
    yield made
    made.sink.gate.set()
    await made.engine.stop()


@pytest.fixture
def one_at_a_time(monkeypatch) -> None:
    """Let nothing be cut while a block is committed, so that what waits stays where it is."""
    monkeypatch.setattr(sequencer, "BLOCKS_IN_WORK", 1)


async def settle(*tasks: asyncio.Task[None]) -> list[BaseException | None]:
    async with asyncio.timeout(DEADLINE_S):
        return await asyncio.gather(*tasks, return_exceptions=True)


def timeout(text: str) -> Edit:
    def edit(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["BatchTimeout"]
        value.value = orderer_pb2.BatchTimeout(timeout=text).SerializeToString()

    return edit


def batch_size(**fields: int) -> Edit:
    def edit(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["BatchSize"]
        size = orderer_pb2.BatchSize.FromString(value.value)
        for name, number in fields.items():
            setattr(size, name, number)
        value.value = size.SerializeToString()

    return edit


def last_config(block: Block) -> tuple[int, int]:
    """The number of the last configuration block in both entries that say it."""
    entry = common_pb2.Metadata.FromString(block.metadata[index.LAST_CONFIG])
    signed = common_pb2.Metadata.FromString(block.metadata[index.SIGNATURES])
    return (
        common_pb2.LastConfig.FromString(entry.value).index,
        common_pb2.OrdererBlockMetadata.FromString(signed.value).last_config.index,
    )


async def test_update_becomes_a_configuration_block_signed_by_the_orderer(ordering) -> None:
    """Alone in its block, with the sent update inside; blocks name it from itself on."""
    before = ordering.sink.configuration
    await ordering.engine.submit(ordering.envelope())
    sent = ordering.update(timeout("2s"))
    await ordering.engine.submit(sent)
    await ordering.engine.submit(ordering.envelope())
    blocks = ordering.sink.blocks
    assert [last_config(block) for block in blocks[1:]] == [(0, 0), (2, 2), (2, 2)]
    (raw,) = blocks[2].data
    made = parse_transaction(raw)
    assert (made.header_type, made.channel_id, made.tx_id) == (CONFIG, CHANNEL, "")
    assert made.creator == ordering.node.serialized
    before.msps.deserialize(made.creator).verify(made.payload, made.signature)
    assert config_envelope_of(raw).last_update.SerializeToString() == sent
    assert ordering.sink.configuration.batch.timeout_s == 2.0
    for block, judge in zip(blocks[1:], (before, before, ordering.sink.configuration), strict=True):
        verify_block_signature(block, judge)


async def test_what_waits_before_an_update_goes_first_and_what_is_behind_it_after(
    ordering, one_at_a_time
) -> None:
    """An update waits for no timeout, and shares its block with nobody."""
    held = await ordering.hold()
    rest = await ordering.queued(
        ordering.envelope(), ordering.envelope(), ordering.update(timeout("2s"))
    )
    behind = asyncio.create_task(ordering.engine.submit(ordering.envelope()))
    await eventually(lambda: ordering.engine.status().queued == 5)
    ordering.sink.gate.set()
    assert await settle(held, *rest, behind) == [None] * 5
    assert [len(block.data) for block in ordering.sink.blocks[1:]] == [1, 2, 1, 1]


async def test_batch_parameters_count_from_the_next_block_on(ordering, one_at_a_time) -> None:
    """What waits behind the update is cut by them already."""
    held = await ordering.hold()
    (update,) = await ordering.queued(ordering.update(batch_size(max_message_count=2)))
    behind = [asyncio.create_task(ordering.engine.submit(ordering.envelope())) for _ in range(5)]
    await eventually(lambda: ordering.engine.status().queued == 7)
    ordering.sink.gate.set()
    assert await settle(held, update, *behind) == [None] * 7
    assert [len(block.data) for block in ordering.sink.blocks[1:]] == [1, 1, 2, 2, 1]


async def test_no_block_is_built_while_a_configuration_is_committed(ordering) -> None:
    """It would be judged and signed under the old one."""
    ordering.sink.gate.clear()
    update = asyncio.create_task(ordering.engine.submit(ordering.update(timeout("2s"))))
    async with asyncio.timeout(DEADLINE_S):
        await ordering.sink.busy.wait()
    behind = await ordering.queued(*(ordering.envelope() for _ in range(3)))
    assert ordering.engine._blocks_in_work == 1
    ordering.sink.gate.set()
    assert await settle(update, *behind) == [None] * 4
    assert [len(block.data) for block in ordering.sink.blocks[1:]] == [1, 3]
    assert last_config(ordering.sink.blocks[2]) == (1, 1)


async def test_second_of_two_updates_that_change_one_thing_is_refused_in_its_turn(
    ordering, one_at_a_time
) -> None:
    """It rests on what the first one has changed; the reason names element and versions."""
    held = await ordering.hold()
    first, second = await ordering.queued(
        ordering.update(timeout("2s")), ordering.update(timeout("3s"))
    )
    ordering.sink.gate.set()
    *others, refused = await settle(held, first, second)
    assert others == [None, None]
    assert isinstance(refused, OrderingRefusal)
    assert refused.status == 400
    key = "[Value]  /Channel/Orderer/BatchTimeout"
    assert f"attempt to set key {key} to version 1, but key is at version 1" in refused.info
    assert ordering.sink.configuration.batch.timeout_s == 2.0


async def test_two_updates_that_change_different_things_both_stand(ordering, one_at_a_time) -> None:
    """The second is made anew from the configuration that the first one left."""
    held = await ordering.hold()
    updates = await ordering.queued(
        ordering.update(timeout("2s")), ordering.update(batch_size(max_message_count=7))
    )
    ordering.sink.gate.set()
    assert await settle(held, *updates) == [None] * 3
    configuration = ordering.sink.configuration
    assert (configuration.sequence, configuration.batch.timeout_s) == (2, 2.0)
    assert configuration.batch.max_message_count == 7


async def test_envelope_behind_an_update_that_revokes_its_sender_is_refused(
    ordering, one_at_a_time
) -> None:
    """Admitted before, judged again in its turn."""
    serial = ordering.client.certificate.serial_number
    revoked = PTA.issuing.revocation_list({serial: NOW}, 1, NOW)
    held = await ordering.hold()
    update, behind = await ordering.queued(
        ordering.update(
            lambda config: edits.add_revocation_lists(config, "PtaMSP", [revoked]),
        ),
        ordering.envelope(),
    )
    ordering.sink.gate.set()
    *others, refused = await settle(held, update, behind)
    assert others == [None, None]
    assert isinstance(refused, OrderingRefusal)
    assert refused.status == 403
    assert "revoked" in refused.info


def consensus(config: Any) -> None:
    value = config.channel_group.groups["Orderer"].values["ConsensusType"]
    value.value = orderer_pb2.ConsensusType(type="etcdraft").SerializeToString()


def maintenance(config: Any) -> None:
    value = config.channel_group.groups["Orderer"].values["ConsensusType"]
    value.value = orderer_pb2.ConsensusType(type="solo", state=1).SerializeToString()


def others_sign(config: Any) -> None:
    policy = config.channel_group.groups["Orderer"].policies["BlockValidation"]
    policy.policy.type = policies_pb2.Policy.SIGNATURE
    policy.policy.value = parse_policy("OR('PtaMSP.peer')").SerializeToString()


def no_writer(config: Any) -> None:
    edits.set_policy(config, "/Channel/Writers", "OR('PtaMSP.client')")


def endpoint(address: str) -> Edit:
    def edit(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].groups["BankMSP"].values["Endpoints"]
        value.value = b"\n" + bytes([len(address)]) + address.encode()

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (consensus, "attempted to change consensus type from solo to etcdraft"),
        (maintenance, "attempted to change ConsensusType.State"),
        (others_sign, "may not sign blocks of channel qist"),
        (no_writer, "from making any further configuration"),
        (endpoint("elsewhere:1"), "no member has an anchor peer there"),
        (endpoint("nonsense"), "without an orderer endpoint"),
        (
            batch_size(absolute_max_bytes=LARGEST_MESSAGE_BYTES + 1),
            "cannot be carried between nodes",
        ),
        (
            batch_size(absolute_max_bytes=TOO_SMALL, preferred_max_bytes=1),
            "would let no further configuration be ordered",
        ),
        (
            lambda config: edits.set_capability(config, "orderer", "V2_0,V9_9"),
            "demands the orderer capabilities",
        ),
        (batch_size(max_message_count=0), "batch parameters .* are not usable"),
    ],
)
async def test_update_after_which_nobody_could_order_is_refused(ordering, edit, words) -> None:
    """There would be no one left to put it right."""
    with pytest.raises(OrderingRefusal, match=words) as refused:
        await ordering.engine.submit(ordering.update(edit))
    assert refused.value.status == 400
    assert refused.value.info.startswith("error applying config update to existing channel 'qist'")
    assert ordering.sink.height == 1


async def test_update_that_too_few_signed_is_refused_with_what_is_lacking(ordering) -> None:
    """In Fabric's words, with the element and the policy."""
    edit = lambda config: edits.remove_member(config, "PtaMSP")  # noqa: E731
    with pytest.raises(OrderingRefusal, match="requires 2 of the 'Admins' sub-policies"):
        await ordering.engine.submit(ordering.update(edit, ADMINS[:1]))


async def test_refusal_repeats_no_name_without_end(ordering) -> None:
    """What a sender writes comes back to it, and into the log, cut."""

    def edit(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["ConsensusType"]
        value.value = orderer_pb2.ConsensusType(type="x" * 100_000).SerializeToString()

    with pytest.raises(OrderingRefusal, match="attempted to change consensus type") as refused:
        await ordering.engine.submit(ordering.update(edit))
    assert len(refused.value.info) < 2200


async def with_least_room(ordering: Ordering) -> int:
    """Set the smallest limit under which another configuration may be ordered; return it."""
    small = batch_size(absolute_max_bytes=TOO_SMALL, preferred_max_bytes=1)
    with pytest.raises(OrderingRefusal, match="no further configuration") as refused:
        await ordering.engine.submit(ordering.update(small))
    words = re.search(r"needs (\d+); set it to at least that", refused.value.info)
    assert words is not None
    least = int(words[1])
    just = batch_size(absolute_max_bytes=least, preferred_max_bytes=1)
    await ordering.engine.submit(ordering.update(just))
    return least


async def test_update_that_is_too_large_as_a_configuration_is_refused(ordering) -> None:
    """What goes into the block must keep the limit too."""
    least = await with_least_room(ordering)
    # The signatures of an update go into the block with it.
    sent = ordering.update(batch_size(preferred_max_bytes=2), ADMINS * 8)
    assert len(sent) < least
    with pytest.raises(OrderingRefusal) as refused:
        await ordering.engine.submit(sent)
    assert refused.value.status == 413


async def test_limit_that_leaves_room_for_one_configuration_can_be_raised(ordering) -> None:
    """An update that all members sign is ordered under the smallest limit there may be."""
    least = await with_least_room(ordering)
    with pytest.raises(OrderingRefusal, match="no further configuration"):
        await ordering.engine.submit(ordering.update(batch_size(absolute_max_bytes=least - 1)))
    await ordering.engine.submit(ordering.update(batch_size(absolute_max_bytes=10 * least)))
    assert ordering.sink.configuration.batch.absolute_max_bytes == 10 * least


async def test_member_for_whom_there_is_too_little_room_joins_after_the_limit(ordering) -> None:
    """The larger configuration must fit another time, too."""
    least = await with_least_room(ordering)
    naya = Member("NayaMSP")

    def joins(config: Any) -> None:
        edits.add_member(config, naya.spec())

    with pytest.raises(OrderingRefusal, match="no further configuration"):
        await ordering.engine.submit(ordering.update(joins))
    await ordering.engine.submit(ordering.update(batch_size(absolute_max_bytes=10 * least)))
    await ordering.engine.submit(ordering.update(joins))
    assert "NayaMSP" in ordering.sink.configuration.organisations


async def test_engine_that_no_longer_orders_makes_no_further_block(ordering, one_at_a_time) -> None:
    """From the block on that names another node, what waits is refused as unavailable."""
    home = ordering.sink.configuration.orderer_endpoints[0]
    ordering.engine._orders = lambda configuration: configuration.orderer_endpoints[0] == home

    def edit(config: Any) -> None:
        edits.set_anchor_peers(config, "BankMSP", [("localhost", 7052), ("moved", 7052)])
        endpoint("moved:7052")(config)

    held = await ordering.hold()
    update, behind = await ordering.queued(ordering.update(edit), ordering.envelope())
    ordering.sink.gate.set()
    *others, refused = await settle(held, update, behind)
    assert others == [None, None]
    assert isinstance(refused, OrderingUnavailable)
    assert refused.outcome_definite
    assert "ordered by moved:7052 now" in str(refused)
    with pytest.raises(OrderingUnavailable, match="ordered by moved:7052 now"):
        await ordering.engine.submit(ordering.envelope())
    assert ordering.sink.height == 3
