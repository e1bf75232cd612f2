"""Blocks recorded from Fabric: bytes, hashes, the chain, and blocks that are refused."""

from __future__ import annotations

import hashlib

import pytest
from fabric_protos.ledger.rwset import rwset_pb2

from ledger.blocks.block import Block, compute_data_hash
from ledger.blocks.metadata import commit_hash_of, with_validation
from ledger.blocks.structure import is_config_block, verify_block_structure
from ledger.errors import BlockError
from ledger.transactions.parse import CONFIG, parse_transaction
from ledger.transactions.rwset import decode_tx_rwset, encode_tx_rwset
from tests.support.recording import FOLDER, HEIGHT, RecordedBlock, load, recorded_blocks

EACH_BLOCK = pytest.mark.parametrize(
    "recorded", recorded_blocks(), ids=lambda each: f"block {each.block.number}"
)

# What a block says of itself by its bytes, and the words of ours that name the rule.
REFUSED_BY_BYTES = {
    "wrong-previous-hash.block": "previous hash is not the hash",
    "wrong-data-hash.block": "data hash of block 66",
    "wrong-number.block": "expected block number is 66 but the block says 67",
    "empty-block.block": "is empty",
    "envelope-fields-swapped.block": "transaction 0: the envelope does not match its raw form",
    "envelope-overlong-varint.block": "transaction 0: the envelope has 1 trailing bytes",
    "envelope-without-signature.block": "transaction 0: the envelope has no signature",
    "envelope-without-payload.block": "transaction 0: the envelope has no payload",
    "empty-transaction.block": "transaction 0: the envelope has no payload",
    "transaction-not-protobuf.block": "transaction 0: the envelope is not a protobuf",
    "four-metadata-entries.block": "has 4 metadata entries where 5",
}
# These are well formed; only an orderer's key tells that they are none of the orderer's.
REFUSED_BY_SIGNATURE = {"signed-by-client.block", "no-signature.block", "signature-damaged.block"}


def test_recording_holds_all_blocks() -> None:
    """The recording is complete: 71 blocks, 251 transactions besides genesis."""
    assert len(recorded_blocks()) == HEIGHT
    assert sum(len(each.block.data) for each in recorded_blocks()[1:]) == 251


@EACH_BLOCK
def test_block_of_fabric_gives_its_bytes_back(recorded: RecordedBlock) -> None:
    """Decoding and encoding a block that Fabric wrote changes no byte."""
    assert recorded.block.encode() == recorded.raw


@EACH_BLOCK
def test_block_of_fabric_has_the_hashes_of_fabric(recorded: RecordedBlock) -> None:
    """Header hash and data hash are those that Fabric computed."""
    expected = recorded.expected
    header = recorded.block.header
    assert header.number == expected["number"]
    assert header.hash().hex() == expected["header_hash"]
    assert header.previous_hash.hex() == (expected["previous_hash"] or "")
    assert compute_data_hash(recorded.block.data).hex() == expected["data_hash"]
    assert header.data_hash.hex() == expected["data_hash"]


@EACH_BLOCK
def test_block_of_fabric_carries_the_verdicts_of_the_recording(recorded: RecordedBlock) -> None:
    """TRANSACTIONS_FILTER and COMMIT_HASH are read as Fabric wrote them, and written back so."""
    codes = [each["code"] for each in recorded.expected["transactions"]]
    assert list(recorded.codes) == codes
    assert commit_hash_of(recorded.block).hex() == (recorded.expected["commit_hash"] or "")
    rewritten = with_validation(
        recorded.block, recorded.codes, bytes.fromhex(recorded.expected["commit_hash"] or "")
    )
    assert rewritten == recorded.block


def test_chain_of_fabric_passes_the_whole_block_checks() -> None:
    """All 71 blocks follow one another and are well formed, from genesis on."""
    previous_hash = b""
    for number, recorded in enumerate(recorded_blocks()):
        verify_block_structure(recorded.block, number, previous_hash)
        previous_hash = recorded.block.header.hash()


@EACH_BLOCK
def test_transaction_of_fabric_is_read_as_the_recording_says(recorded: RecordedBlock) -> None:
    """Type and id of every envelope are found, also of those that Fabric judged malformed."""
    for transaction, expected in zip(
        recorded.transactions, recorded.expected["transactions"], strict=True
    ):
        if expected["type"] is not None:
            assert transaction.header_type == expected["type"]
        if expected["tx_id"]:
            assert expected["tx_id"] in (transaction.tx_id, transaction.index_id)
    configs = [each.header_type == CONFIG for each in recorded.transactions]
    assert is_config_block(recorded.block) == (configs == [True])


def test_rwset_of_fabric_gives_its_bytes_back() -> None:
    """Decoding and encoding a read/write set that peers simulated changes no byte."""
    same = 0
    for recorded in recorded_blocks():
        for transaction in recorded.transactions:
            if transaction.rwset is None:
                continue
            raw = encode_tx_rwset(transaction.rwset)
            assert decode_tx_rwset(raw) == transaction.rwset
            same += raw in transaction.payload
    # The others were written by hand, with fields that no peer writes.
    assert same >= 200


def test_private_write_sets_have_the_hashes_in_the_block() -> None:
    """The hash of each private write set that a peer kept stands in the block's transaction."""
    purged = {("PtaMSP", 39, 1), ("PtaMSP", 40, 4), ("PtaMSP", 41, 1), ("PtaMSP", 42, 2)}
    for path in sorted(FOLDER.glob("pvtdata/*/*.pvtrwset")):
        block_num, tx_num = (int(part) for part in path.stem.split("-"))
        transaction = recorded_blocks()[block_num].transactions[tx_num]
        assert transaction.rwset is not None
        in_block = {
            (each.namespace, collection.collection): collection.pvt_rwset_hash
            for each in transaction.rwset.namespaces
            for collection in each.collections
        }
        kept = rwset_pb2.TxPvtReadWriteSet.FromString(path.read_bytes())
        for each in kept.ns_pvt_rwset:
            for collection in each.collection_pvt_rwset:
                digest = hashlib.sha256(collection.rwset).digest()
                is_whole = digest == in_block[each.namespace, collection.collection_name]
                assert is_whole != ((path.parent.name, block_num, tx_num) in purged), path


def test_refusals_of_the_recording_are_all_tried() -> None:
    """Every block that a peer refused is refused here, by its bytes or later by its signature."""
    recorded = {each["file"] for each in load("refused/refused.json")}
    assert recorded == set(REFUSED_BY_BYTES) | REFUSED_BY_SIGNATURE
    assert recorded == {path.name for path in FOLDER.glob("refused/*.block")}


@pytest.mark.parametrize("name", sorted(REFUSED_BY_BYTES))
def test_block_that_fabric_refused_is_refused_with_the_reason(name: str) -> None:
    """A block that a peer refused as a whole is refused, and the message names the broken rule."""
    height = next(
        each["offered_at_height"] for each in load("refused/refused.json") if each["file"] == name
    )
    block = Block.decode((FOLDER / "refused" / name).read_bytes())
    previous_hash = recorded_blocks()[height - 1].block.header.hash()
    with pytest.raises(BlockError, match=REFUSED_BY_BYTES[name]):
        verify_block_structure(block, height, previous_hash)


@pytest.mark.parametrize("name", sorted(REFUSED_BY_SIGNATURE))
def test_block_with_a_wrong_signature_is_well_formed(name: str) -> None:
    """What only a signature gives away passes the checks by bytes: they know no keys."""
    height = next(
        each["offered_at_height"] for each in load("refused/refused.json") if each["file"] == name
    )
    block = Block.decode((FOLDER / "refused" / name).read_bytes())
    verify_block_structure(block, height, recorded_blocks()[height - 1].block.header.hash())


@pytest.mark.parametrize(
    "recorded", recorded_blocks()[1:], ids=lambda each: f"block {each.block.number}"
)
def test_verdict_by_bytes_agrees_with_fabric(recorded: RecordedBlock) -> None:
    """A verdict that the bytes alone decide is Fabric's, unless a check in between came first.

    The genesis block is left out: nobody judges it, its operators trust it.
    """
    for transaction, code in zip(recorded.transactions, recorded.codes, strict=True):
        again = parse_transaction(transaction.raw)
        assert again == transaction
        decided = transaction.format_code or transaction.structure_code or transaction.content_code
        if decided is None:
            assert code in (0, 4, 9, 10, 11, 12, 25)
        elif transaction.format_code is not None:
            assert code is transaction.format_code
        else:
            # Before structure stands the creator, before content the id in the ledger.
            assert code in (decided, 4, 9)
