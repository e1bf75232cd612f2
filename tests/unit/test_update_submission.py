"""Submitting an update: which block is taken for its own, and what is said when none comes."""

from __future__ import annotations

from itertools import count
from typing import Any, cast

import pytest
from fabric_protos.common import common_pb2, configtx_pb2

from clients.configuration import in_force
from clients.configuration.in_force import configuration_block, submit_update
from clients.configuration.update_file import UpdateFile
from clients.explorer.chain import NEWEST, Chain
from clients.gateway.blocking import Gateway
from ledger.blocks.block import METADATA_ENTRIES, Block, BlockHeader, compute_data_hash
from ledger.errors import BlockError, Unavailable
from network.configuration import (
    ChannelConfiguration,
    apply_update,
    compute_update,
    edits,
    sign_update,
    update_envelope,
)
from network.ordering.block_signature import sign_block
from tests.support.members import CHANNEL, NOW, Member, genesis, signed_envelope

OPERATOR = Member("OperatorMSP")
ADMIN = OPERATOR.identity("admin", "admin")
NODE = OPERATOR.identity("node", "peer")


class MemoryChain:
    """A channel whose blocks are in a list; another is there whenever the height is asked."""

    def __init__(self, *coming: Block) -> None:
        self.blocks = [genesis([OPERATOR])]
        self._coming = list(coming)

    def height(self) -> int:
        height = len(self.blocks)
        if self._coming:
            self.blocks.append(self._coming.pop(0))
        return height

    def block(self, number: int) -> Block:
        return self.blocks[-1] if number == NEWEST else self.blocks[number]


class Taking:
    """A gateway that takes everything and gives nothing of it to anybody."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def submit(self, draft: Any) -> None:
        self.payloads.append(draft.payload)


def made(number: int, raw: bytes) -> Block:
    header = BlockHeader(number, b"\x01" * 32, compute_data_hash([raw]))
    return Block(header, (raw,), (b"",) * METADATA_ENTRIES)


def update(count_: int) -> UpdateFile:
    current = ChannelConfiguration.from_block(genesis([OPERATOR]))
    config = configtx_pb2.Config()
    config.CopyFrom(current.config)
    edits.set_batch(config, {"max_message_count": str(count_)})
    raw = compute_update(CHANNEL, current.config, config).SerializeToString(deterministic=True)
    return UpdateFile(CHANNEL, raw, (sign_update(raw, ADMIN),))


def configuration_envelope(sent: bytes) -> bytes:
    """The envelope that an orderer makes of an update that was sent."""
    current = ChannelConfiguration.from_block(genesis([OPERATOR]))
    config, _following = apply_update(current, sent)
    header = common_pb2.ChannelHeader(type=common_pb2.CONFIG, channel_id=CHANNEL)
    payload = common_pb2.Payload(
        header=common_pb2.Header(channel_header=header.SerializeToString()),
        data=config.SerializeToString(),
    )
    return common_pb2.Envelope(payload=payload.SerializeToString()).SerializeToString()


def test_only_the_block_that_holds_the_update_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions and another member's update before it are passed over."""
    sent, other = (
        update_envelope(CHANNEL, each.config_update, each.signatures, ADMIN, NOW)
        for each in (update(7), update(8))
    )
    monkeypatch.setattr(in_force, "update_envelope", lambda *_: sent)
    chain = MemoryChain(
        made(1, signed_envelope(ADMIN)),
        made(2, configuration_envelope(other)),
        made(3, configuration_envelope(sent)),
        made(4, signed_envelope(ADMIN)),
    )
    gateway = Taking()
    done = submit_update(
        cast(Gateway, gateway), cast(Chain, chain), update(7), ADMIN, now=NOW, timeout_s=9
    )
    assert done.block.number == 3
    assert done.configuration.batch.max_message_count == 7
    assert gateway.payloads == [common_pb2.Envelope.FromString(sent).payload]


def test_block_that_does_not_come_leaves_the_outcome_open() -> None:
    """The orderer has it; the message says where to look, and the exit code that it may be."""
    seconds = count()
    with pytest.raises(Unavailable, match="has not got its block within 3 s") as late:
        submit_update(
            cast(Gateway, Taking()),
            cast(Chain, MemoryChain()),
            update(7),
            ADMIN,
            now=NOW,
            timeout_s=3,
            clock=lambda: float(next(seconds)),
        )
    assert not late.value.outcome_definite


def test_configuration_in_force_is_where_the_newest_block_says() -> None:
    """Its metadata name the block; the newest one itself if that is it."""
    chain = MemoryChain()
    assert configuration_block(cast(Chain, chain)).number == 0
    raw = signed_envelope(ADMIN)
    header = BlockHeader(1, chain.blocks[0].header.hash(), compute_data_hash([raw]))
    chain.blocks.append(sign_block(header, (raw,), NODE, 0))
    assert configuration_block(cast(Chain, chain)).number == 0
    header = BlockHeader(2, chain.blocks[1].header.hash(), compute_data_hash([raw]))
    chain.blocks.append(sign_block(header, (raw,), NODE, 2))
    assert configuration_block(cast(Chain, chain)).number == 2


def test_block_that_does_not_name_a_configuration_is_refused() -> None:
    """A damaged answer is not taken for the genesis block."""
    chain = MemoryChain()
    chain.blocks.append(made(1, signed_envelope(ADMIN)))
    with pytest.raises(BlockError, match="does not say which configuration block"):
        configuration_block(cast(Chain, chain))
