"""Foreign bytes on the way of a replay: one of our refusals or an outcome, never anything else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.blocks.block import Block
from ledger.blocks.metadata import SIGNATURES
from ledger.channel import ChannelLedger
from ledger.errors import BlockError, Refusal
from network.configuration import ChannelConfiguration
from network.errors import ConfigurationError, PolicyError
from network.ordering.block_signature import verify_block_signature, weak_signatures
from nodes.committer.signatures import SignaturePool
from nodes.replay.delivered import read_block, read_outcome, verify_metadata
from nodes.replay.difference import Disagreement, RecordingError
from nodes.replay.recording import DeliveredBlock, Recording
from nodes.replay.snapshot_files import (
    PRIVATE_HASHES,
    PUBLIC_STATE,
    SnapshotFolder,
)
from nodes.replay.support import follow_update
from tests.support.fabric_chain import FabricChain
from tests.support.members import Member
from tests.support.recording import FOLDER, recorded_blocks
from tests.support.replaying import replay_all

BLOCKS = [each.raw for each in recorded_blocks()]
CONFIGURATION = ChannelConfiguration.from_block(recorded_blocks()[0].block)
CHAIN = FabricChain([Member("BankMSP"), Member("PtaMSP")], bft=True)
CHAIN.add([CHAIN.definition("OR('BankMSP.peer')")])
UPDATE = CHAIN.update(
    lambda root: root.groups["Application"].groups.pop("PtaMSP"), list(CHAIN.admins.values())
)

edits = st.lists(
    st.tuples(st.floats(0, 0.9999), st.binary(max_size=4), st.integers(0, 4)),
    min_size=1,
    max_size=3,
)
relaxed = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def edited(raw: bytes, changes: list[tuple[float, bytes, int]]) -> bytes:
    for share, put, taken in changes:
        at = int(share * len(raw))
        raw = raw[:at] + put + raw[at + taken :]
    return raw


@given(st.sampled_from(BLOCKS), edits)
@relaxed
def test_damaged_block_is_a_disagreement_or_a_block(
    raw: bytes, changes: list[tuple[float, bytes, int]]
) -> None:
    """Reading, metadata, outcome and signatures: each has one way to refuse."""
    with suppress(Disagreement):
        block = read_block(DeliveredBlock("a file", edited(raw, changes)), 1)
        if len(block.metadata) >= 5:
            read_outcome(block)
            verify_metadata(block, 1)
        with suppress(BlockError):
            verify_block_signature(block, CONFIGURATION)


@given(st.binary(max_size=200), edits)
@relaxed
def test_damaged_signatures_are_refused_or_counted(
    junk: bytes, changes: list[tuple[float, bytes, int]]
) -> None:
    """Of an etcdraft channel and of a BFT one."""
    for block, configuration in (
        (recorded_blocks()[5].block, CONFIGURATION),
        (CHAIN.blocks[1], CHAIN.configuration),
    ):
        for raw in (junk, edited(block.metadata[SIGNATURES], changes)):
            damaged = Block(block.header, block.data, (raw, *block.metadata[1:]))
            with suppress(BlockError):
                verify_block_signature(damaged, configuration)
                weak_signatures(damaged, configuration)


@given(edits, st.sampled_from(("data", "config", "update")))
@relaxed
def test_damaged_configuration_may_follow_or_is_refused(
    changes: list[tuple[float, bytes, int]], where: str
) -> None:
    """Whichever layer is damaged, by an orderer that signs it."""
    payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(UPDATE).payload)
    envelope = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    raw = payload.data
    try:
        if where == "data":
            raw = edited(raw, changes)
        elif where == "config":
            group = edited(envelope.config.channel_group.SerializeToString(), changes)
            envelope.config.channel_group.ParseFromString(group)
            raw = envelope.SerializeToString()
        else:
            inner = common_pb2.Payload.FromString(envelope.last_update.payload)
            inner.data = edited(inner.data, changes)
            envelope.last_update.payload = inner.SerializeToString()
            raw = envelope.SerializeToString()
    except DecodeError:
        return
    with suppress(ConfigurationError, PolicyError):
        follow_update(CHAIN.configuration, raw)


@given(st.one_of(st.binary(max_size=300), st.just(b"")), edits)
@relaxed
def test_damaged_file_of_a_peer_is_refused_or_read(
    tmp_path: Path, junk: bytes, changes: list[tuple[float, bytes, int]]
) -> None:
    """A block file of any content gives blocks or says that it is none."""
    whole = b"\x0a\x01\x00\x00\x00\x00\x00\x00\x00\x00"
    file = tmp_path / "blockfile_000000"
    for raw in (junk, edited(whole + junk, changes)):
        file.write_bytes(raw)
        with suppress(RecordingError):
            for delivered in Recording(tmp_path):
                Block.decode(delivered.raw)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snapshot") / "snapshot"
    shutil.copytree(FOLDER / "snapshot", folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    return folder


@given(st.integers(0, 9), st.one_of(edits, st.binary(max_size=60)))
@relaxed
def test_damaged_snapshot_is_refused_or_read(
    snapshot: Path, which: int, change: list[tuple[float, bytes, int]] | bytes
) -> None:
    """Each file of it, whatever its hash says."""
    file = sorted(snapshot.iterdir())[which]
    whole = file.read_bytes()
    file.write_bytes(change if isinstance(change, bytes) else edited(whole, change))
    try:
        with suppress(RecordingError):
            folder = SnapshotFolder(snapshot)
            list(folder.damaged_files())
            for kind in (PUBLIC_STATE, PRIVATE_HASHES):
                folder.namespaces(kind)
                list(folder.records(kind))
            list(folder.transaction_ids())
            list(folder.config_history())
    finally:
        file.write_bytes(whole)


@pytest.fixture(scope="module")
def signatures() -> Iterator[SignaturePool]:
    pool = SignaturePool(2)
    yield pool
    pool.close()


@given(edits)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_damaged_genesis_block_is_refused_or_a_difference(
    tmp_path: Path, signatures: SignaturePool, changes: list[tuple[float, bytes, int]]
) -> None:
    """Everything that follows stands on it, and nobody signs it: the next block names its hash."""
    ledger = ChannelLedger.open(tmp_path / os.urandom(8).hex())
    try:
        raw = edited(BLOCKS[0], changes)
        with suppress(Refusal):
            found = replay_all([raw, BLOCKS[1]], ledger, signatures)
            assert raw == BLOCKS[0] or found[-1].difference is not None
    finally:
        ledger.close()
