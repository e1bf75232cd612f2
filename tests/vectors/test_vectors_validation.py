"""The committer gives every recorded transaction the verdict that Fabric's peer gave it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ledger.blocks.block import Block
from ledger.channel import ChannelLedger
from ledger.errors import BlockError
from network.ordering.block_signature import verify_block_signature
from nodes.committer.committer import Committer, write_genesis
from nodes.committer.configuration import verify_update
from nodes.committer.signatures import SignaturePool
from tests.support.recording import FOLDER, HEIGHT, load, recorded_blocks

REFUSED = load("refused/refused.json")
REASONS = {
    "wrong-previous-hash": "previous hash",
    "wrong-data-hash": "data hash",
    "wrong-number": "expected block number is 66",
    "signed-by-client": "signed by BankMSP \\(client\\)",
    "no-signature": "signed by nobody",
    "empty-block": "is empty",
    "envelope-fields-swapped": "does not match its raw form",
    "envelope-overlong-varint": "trailing bytes",
    "envelope-without-signature": "has no signature",
    "envelope-without-payload": "has no payload",
    "empty-transaction": "has no payload",
    "transaction-not-protobuf": "is not a protobuf",
    "signature-damaged": "signed by nobody",
    "four-metadata-entries": "4 metadata entries",
}
FIRST_CONFIGURATION_UPDATE = 55


@pytest.fixture
def signatures() -> Iterator[SignaturePool]:
    pool = SignaturePool(2)
    yield pool
    pool.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ChannelLedger]:
    opened = ChannelLedger.open(tmp_path / "ledger")
    write_genesis(opened, recorded_blocks()[0].block)
    yield opened
    opened.close()


def commit_until(committer: Committer, height: int) -> None:
    for recorded in recorded_blocks()[1:height]:
        committer.commit(recorded.block)


def take(committer: Committer, raw: bytes) -> None:
    """Do with a block what a node does before it writes anything."""
    block = Block.decode(raw)
    committer.stage(block)
    verify_block_signature(block, committer.configuration)


def test_committer_on_the_recorded_chain_gives_the_recorded_codes_and_hashes(
    ledger: ChannelLedger, signatures: SignaturePool
) -> None:
    """Creators, structure, endorsement policies, key-level policies, collections, MVCC, and the
    configuration in force after each configuration block: all as the peer judged.
    """
    committer = Committer(ledger, signatures, verify_update)
    for recorded in recorded_blocks()[1:]:
        verify_block_signature(recorded.block, committer.configuration)
        committed = committer.commit(recorded.block)
        notes = [each["note"] for each in recorded.expected["transactions"]]
        assert list(zip(committed.codes, notes, strict=True)) == list(
            zip(recorded.codes, notes, strict=True)
        ), f"block {recorded.block.number}: {recorded.expected['label']}"
        assert committed.commit_hash.hex() == recorded.expected["commit_hash"]
    assert ledger.height == HEIGHT


@pytest.mark.parametrize("case", REFUSED, ids=[case["file"] for case in REFUSED])
def test_committer_offered_a_block_that_the_peer_refused_refuses_it_and_writes_nothing(
    case: dict[str, Any], ledger: ChannelLedger, signatures: SignaturePool
) -> None:
    """A block that breaks a rule for whole blocks, or that no orderer signed, is not recorded."""
    committer = Committer(ledger, signatures, verify_update)
    height = case["offered_at_height"]
    commit_until(committer, height)
    with pytest.raises(BlockError, match=REASONS[case["file"].removesuffix(".block")]):
        take(committer, (FOLDER / "refused" / case["file"]).read_bytes())
    assert ledger.height == height
    assert committer.halted is None
