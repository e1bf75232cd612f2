"""From bundles to a Fabric block, what it says of them, and the app hash over all of it."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from fabric_protos.common import common_pb2

from ledger.blocks import metadata as index
from ledger.blocks.block import Block
from ledger.blocks.metadata import last_config_of, with_validation
from ledger.blocks.structure import verify_block_structure
from ledger.errors import BlockError
from ledger.transactions.codes import TxValidationCode
from network.ordering.block_signature import sign_block
from network.ordering.cometbft.blocks.app_hash import (
    app_hash_version,
    compute_app_hash,
    compute_metadata_root,
    encode_app_hash,
)
from network.ordering.cometbft.blocks.ordered import (
    TAG,
    Ordered,
    OrderedBundle,
    bundle_ids_of,
    comet_height_of,
    decode_ordered,
    encode_ordered,
    make_block,
    ordered_of,
)
from network.ordering.cometbft.bundles.bundle import BundleKind, limits_of, open_bundle
from tests.support.bundles import BATCH, bundle, comet_channel, envelopes, node_of
from tests.support.consenters import comet_genesis, four_members

PREVIOUS = hashlib.sha256(b"block 6").digest()
LIMITS = limits_of(BATCH)
ONE, OTHER = (open_bundle(bundle(inside=envelopes(count)), LIMITS) for count in (2, 3))
BLOCK = make_block(7, PREVIOUS, [ONE, OTHER], 41, 5)
VALID = [TxValidationCode.VALID] * 5
COMMITTED = with_validation(BLOCK, VALID, hashlib.sha256(b"commit 7").digest())


def test_block_holds_the_envelopes_of_all_bundles_in_order() -> None:
    """And every committer takes it, though no orderer signed it."""
    assert BLOCK.data == ONE.envelopes + OTHER.envelopes
    verify_block_structure(BLOCK, 7, PREVIOUS)
    assert last_config_of(BLOCK) == 5
    entry = common_pb2.Metadata.FromString(BLOCK.metadata[index.SIGNATURES])
    assert not entry.signatures


def test_block_says_how_it_was_ordered() -> None:
    """CometBFT's height, and each bundle with its part of the envelopes."""
    assert ordered_of(BLOCK) == Ordered(
        41, 1, (OrderedBundle(ONE.bundle_id, 2), OrderedBundle(OTHER.bundle_id, 3))
    )
    assert comet_height_of(BLOCK) == 41
    assert bundle_ids_of(COMMITTED) == (ONE.bundle_id, OTHER.bundle_id)


def test_block_is_the_same_on_every_node() -> None:
    """To the byte: nothing in it is a node's own."""
    assert make_block(7, PREVIOUS, [ONE, OTHER], 41, 5).encode() == BLOCK.encode()


def test_block_of_a_configuration_names_itself() -> None:
    """It is the newest configuration block then."""
    alone = open_bundle(bundle(inside=envelopes(1), kind=BundleKind.CONFIGURATION), LIMITS)
    assert last_config_of(make_block(7, PREVIOUS, [alone], 41, 5)) == 7


def test_block_of_another_engine_was_not_ordered_so() -> None:
    """The genesis block, a sequencer's, one of Raft."""
    signed = sign_block(BLOCK.header, BLOCK.data, node_of(four_members()[0]), 5)
    value = common_pb2.OrdererBlockMetadata(consenter_metadata=b"\x08\x01\x10\x02")
    raft = replace(
        signed,
        metadata=(
            common_pb2.Metadata(value=value.SerializeToString()).SerializeToString(),
            *signed.metadata[1:],
        ),
    )
    for each in (comet_genesis(four_members()), signed, raft):
        assert ordered_of(each) is None
        assert (comet_height_of(each), bundle_ids_of(each)) == (0, ())


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\0",
        lambda raw: raw[: len(TAG)],
        lambda raw: raw[: len(TAG) + 16],
        # No height, no version, no bundle, an empty bundle.
        lambda raw: TAG + bytes(8) + raw[len(TAG) + 8 :],
        lambda raw: raw[: len(TAG) + 8] + bytes(4) + raw[len(TAG) + 12 :],
        lambda raw: raw[: len(TAG) + 12] + bytes(4),
        lambda raw: raw[:-4] + bytes(4),
    ],
)
def test_ordered_metadata_of_another_form_are_refused(change) -> None:
    """One form, whole."""
    raw = encode_ordered(Ordered(41, 1, (OrderedBundle(ONE.bundle_id, 2),)))
    assert decode_ordered(raw).comet_height == 41
    with pytest.raises(BlockError):
        decode_ordered(change(raw))


def test_block_of_other_envelopes_than_its_bundles_is_refused() -> None:
    """Else a bundle could be said to hold what it does not."""
    with pytest.raises(BlockError, match="holds 4 envelopes and its bundles 5"):
        ordered_of(replace(BLOCK, data=BLOCK.data[:-1]))


def _changed(place: int, entry: bytes) -> Block:
    entries = list(COMMITTED.metadata)
    entries[place] = entry
    return replace(COMMITTED, metadata=tuple(entries))


def test_app_hash_covers_every_byte_of_the_stored_block() -> None:
    """Header, envelopes through it, verdicts, commit hash and all other metadata."""
    known = {compute_app_hash(COMMITTED, 1)}
    others = [
        replace(COMMITTED, header=replace(COMMITTED.header, number=8)),
        replace(COMMITTED, header=replace(COMMITTED.header, previous_hash=b"x" * 32)),
        replace(COMMITTED, header=replace(COMMITTED.header, data_hash=b"x" * 32)),
        with_validation(BLOCK, [*VALID[:-1], TxValidationCode.MVCC_READ_CONFLICT], PREVIOUS),
        with_validation(BLOCK, VALID, hashlib.sha256(b"another state").digest()),
        with_validation(BLOCK, VALID, b""),
        replace(COMMITTED, metadata=COMMITTED.metadata[:4]),
        replace(COMMITTED, metadata=(*COMMITTED.metadata, b"")),
        *(_changed(place, b"\x0a\x01x") for place in range(5)),
    ]
    known.update(compute_app_hash(each, 1) for each in others)
    assert len(known) == 1 + len(others)


def test_app_hash_changes_with_every_byte_of_the_metadata() -> None:
    """Flipped anywhere, the root over them is another one."""
    root = compute_metadata_root(COMMITTED)
    for place, entry in enumerate(COMMITTED.metadata):
        for at in range(len(entry)):
            flipped = entry[:at] + bytes([entry[at] ^ 1]) + entry[at + 1 :]
            assert compute_metadata_root(_changed(place, flipped)) != root


def test_app_hash_is_made_by_the_version_that_the_block_names() -> None:
    """A block that CometBFT did not order is hashed by version 1."""
    versions = {1: lambda _block: b"first", 2: lambda _block: b"second"}
    second = make_block(7, PREVIOUS, [ONE], 41, 5, app_hash_version=2)
    assert encode_app_hash(second, None, versions).endswith(b"\0\0\0\x02second")
    assert encode_app_hash(BLOCK, None, versions).endswith(b"\0\0\0\x01first")
    genesis = comet_genesis(four_members())
    assert compute_app_hash(genesis) == compute_app_hash(genesis, 1)
    with pytest.raises(BlockError, match="is of version 2, and this program knows"):
        compute_app_hash(second)


def test_version_follows_from_the_capabilities_in_force() -> None:
    """The highest that is demanded; without any it is 1."""
    configuration = comet_channel()
    assert app_hash_version(configuration) == 1
    assert app_hash_version(configuration, {"QIST_APP_HASH_2": 2}) == 1
    assert app_hash_version(configuration, {"V3_0": 3, "V2_0": 2}) == 3
