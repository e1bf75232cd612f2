"""The recorded configuration blocks: every one follows the one before, and no changed one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.common import common_pb2, configtx_pb2

from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.channel import ChannelLedger
from ledger.transactions.codes import TxValidationCode
from network.configuration import (
    ChannelConfiguration,
    compute_update,
    config_of_block,
    describe_changes,
    read_update_envelope,
    verify_config_envelope,
)
from network.errors import ConfigurationError, PolicyError
from nodes.committer.committer import Committer, write_genesis
from nodes.committer.configuration import verify_update
from nodes.committer.signatures import SignaturePool
from tests.support.recording import recorded_blocks

CONFIGURATIONS = {
    55: "/Channel/Orderer/BatchTimeout/timeout",
    56: "/Channel/Application/OperatorMSP/AnchorPeers/anchor_peers",
    57: "/Channel/Capabilities/capabilities/V3_0",
    58: "/Channel/Application/MakerMSP/Admins",
    61: "/Channel/Application/BankMSP/MSP/revocation_list (revoked)",
}
"""Number of each configuration block after genesis, and a thing that it changed."""


@dataclass(frozen=True)
class Step:
    """A recorded configuration block, and the configuration in force before it."""

    number: int
    current: ChannelConfiguration
    raw: bytes

    @property
    def envelope(self) -> Any:
        return configtx_pb2.ConfigEnvelope.FromString(self.raw)


@cache
def steps() -> dict[int, Step]:
    recorded = recorded_blocks()
    current = ChannelConfiguration.from_block(recorded[0].block)
    found: dict[int, Step] = {}
    for each in recorded[1:]:
        config = config_of_block(each.block)
        if config is not None:
            found[each.block.number] = Step(each.block.number, current, config[1])
            current = verify_config_envelope(current, config[1])
    return found


def test_recorded_configurations_follow_one_another() -> None:
    """Batch timeout, anchor peer, capability, new member, revocation list."""
    assert list(steps()) == list(CONFIGURATIONS)
    assert [step.current.sequence for step in steps().values()] == list(range(5))


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_update_computed_here_is_the_one_that_fabrics_tool_computed(number) -> None:
    """Byte for byte, read set and write set."""
    step = steps()[number]
    following = verify_config_envelope(step.current, step.raw)
    found, _ = read_update_envelope(step.envelope.last_update.SerializeToString())
    theirs = configtx_pb2.ConfigUpdate.FromString(found)
    ours = compute_update("qist-raft", step.current.config, following.config)
    assert ours == theirs
    assert ours.SerializeToString(deterministic=True) == theirs.SerializeToString(
        deterministic=True
    )


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_what_a_recorded_update_changed_is_said(number) -> None:
    """In words, by place."""
    step = steps()[number]
    changes = describe_changes(step.current.config, step.envelope.config)
    assert CONFIGURATIONS[number] in {each.path for each in changes}


# ---- changed ones


def update_of(envelope: Any) -> tuple[Any, Any, Any]:
    """Return payload, ConfigUpdateEnvelope and ConfigUpdate of the update inside."""
    payload = common_pb2.Payload.FromString(envelope.last_update.payload)
    agreed = configtx_pb2.ConfigUpdateEnvelope.FromString(payload.data)
    return payload, agreed, configtx_pb2.ConfigUpdate.FromString(agreed.config_update)


def put_back(envelope: Any, payload: Any, agreed: Any, update: Any | None = None) -> None:
    if update is not None:
        agreed.config_update = update.SerializeToString(deterministic=True)
    payload.data = agreed.SerializeToString()
    envelope.last_update.payload = payload.SerializeToString()


def wrong_signature(envelope: Any) -> None:
    payload, agreed, _ = update_of(envelope)
    for each in agreed.signatures:
        each.signature = each.signature[:-1] + bytes([each.signature[-1] ^ 1])
    put_back(envelope, payload, agreed)


def missing_signers(envelope: Any) -> None:
    payload, agreed, _ = update_of(envelope)
    del agreed.signatures[:]
    put_back(envelope, payload, agreed)


def other_update(envelope: Any) -> None:
    payload, agreed, update = update_of(envelope)
    update.isolated_data["more"] = b"than was signed"
    put_back(envelope, payload, agreed, update)


def wrong_version(envelope: Any) -> None:
    payload, agreed, update = update_of(envelope)
    update.read_set.version = 5
    put_back(envelope, payload, agreed, update)


def jump(envelope: Any) -> None:
    envelope.config.sequence += 1


def changed_content(envelope: Any) -> None:
    envelope.config.channel_group.groups["Orderer"].values["BatchSize"].value += b"\x08\x01"


def changed_version(envelope: Any) -> None:
    envelope.config.channel_group.groups["Orderer"].values["BatchSize"].version += 1


def unknown_field(envelope: Any) -> None:
    envelope.config.channel_group.MergeFromString(b"\x9a\x06\x01x")


MUTATIONS: dict[str, tuple[Callable[[Any], None], str]] = {
    "wrong signature": (wrong_signature, "not satisfied"),
    "missing signers": (missing_signers, "not satisfied"),
    "another update than was signed": (other_update, "not satisfied"),
    "wrong version": (wrong_version, "be at version 5, but it is currently"),
    "sequence jump": (jump, "cannot validate config at sequence"),
    "changed content": (changed_content, "BatchSize differs"),
    "changed version": (changed_version, "BatchSize differs"),
    "a field that nobody knows": (unknown_field, "did not produce the supplied config"),
}


@pytest.mark.parametrize("number", CONFIGURATIONS)
@pytest.mark.parametrize("name", MUTATIONS)
def test_changed_configuration_does_not_follow(name, number) -> None:
    """Signatures, versions, sequence and content are all looked at."""
    change, words = MUTATIONS[name]
    step = steps()[number]
    envelope = step.envelope
    change(envelope)
    with pytest.raises((ConfigurationError, PolicyError), match=words):
        verify_config_envelope(step.current, envelope.SerializeToString())


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_configuration_follows_no_other_than_its_own(number) -> None:
    """Neither twice, nor before its time."""
    for step in steps().values():
        if step.number != number:
            with pytest.raises(ConfigurationError, match="cannot validate config at sequence"):
                verify_config_envelope(step.current, steps()[number].raw)


# ---- in a committer


@pytest.fixture
def committer(tmp_path: Path) -> Any:
    signatures = SignaturePool(1)
    ledger = ChannelLedger.open(tmp_path / "ledger")
    write_genesis(ledger, recorded_blocks()[0].block)
    committer = Committer(ledger, signatures, verify_update)
    for recorded in recorded_blocks()[1:55]:
        committer.commit(recorded.block)
    yield committer
    ledger.close()
    signatures.close()


def with_configuration(block: Block, change: Callable[[Any], None]) -> Block:
    """Return a configuration block whose ConfigEnvelope is changed, and whose hashes fit."""
    envelope = common_pb2.Envelope.FromString(block.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    config = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    change(config)
    payload.data = config.SerializeToString()
    envelope.payload = payload.SerializeToString()
    data = (envelope.SerializeToString(),)
    header = BlockHeader(block.header.number, block.header.previous_hash, compute_data_hash(data))
    return Block(header, data, block.metadata)


def test_committer_lets_no_configuration_in_that_does_not_come_of_its_update(committer) -> None:
    """The configuration in force stays, whatever an orderer sends; the recorded one follows."""
    block = recorded_blocks()[55].block
    staged = committer.stage(with_configuration(block, changed_content))
    assert staged.configuration is None
    assert list(staged.prepared.codes) != [TxValidationCode.VALID]
    committed = committer.commit(block)
    assert list(committed.codes) == [TxValidationCode.VALID]
    assert committer.configuration.batch.timeout_s == 0.5
    assert committer.last_config_block == 55
