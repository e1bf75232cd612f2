"""Bytes and hashes of blocks, and their metadata, at the edges that recordings do not reach."""

from __future__ import annotations

import hashlib

import pytest
from fabric_protos.common import common_pb2

from ledger.blocks.block import Block, BlockHeader, compute_data_hash
from ledger.blocks.metadata import (
    COMMIT_HASH,
    ORDERER,
    SIGNATURES,
    TRANSACTIONS_FILTER,
    codes_of,
    commit_hash_of,
    with_validation,
)
from ledger.blocks.structure import (
    is_config_block,
    verify_block_structure,
    verify_envelope_canonical,
)
from ledger.errors import BlockError
from ledger.transactions.codes import TxValidationCode
from tests.support.chain import make_block, make_config_envelope

VALID = TxValidationCode.VALID
ENVELOPE = common_pb2.Envelope(payload=b"payload", signature=b"signature").SerializeToString()


@pytest.mark.parametrize(
    ("number", "der"),
    [
        (0, "020100"),
        (1, "020101"),
        (127, "02017f"),
        (128, "02020080"),
        (255, "020200ff"),
        (256, "02020100"),
        (2**31, "02050080000000"),
        (2**63 - 1, "02087fffffffffffffff"),
        (2**64 - 1, "020900ffffffffffffffff"),
    ],
)
def test_header_number_is_a_der_integer(number: int, der: str) -> None:
    """A number whose highest bit is set has a zero byte before it, or it would be negative."""
    encoded = BlockHeader(number, b"", b"").encode_asn1()
    content = der + "0400" + "0400"
    assert encoded.hex() == f"30{len(content) // 2:02x}{content}"


@pytest.mark.parametrize(
    ("size", "length"), [(127, "7f"), (128, "8180"), (255, "81ff"), (256, "820100")]
)
def test_header_with_long_hashes_has_the_shortest_der_length(size: int, length: str) -> None:
    """Lengths of 128 and more take as many bytes as they need."""
    encoded = BlockHeader(1, bytes(size), b"").encode_asn1().hex()
    assert "04" + length + "00" * size in encoded


def test_header_hash_covers_every_part() -> None:
    """Another number, previous hash or data hash gives another header hash."""
    headers = [
        BlockHeader(1, b"a", b"b"),
        BlockHeader(2, b"a", b"b"),
        BlockHeader(1, b"c", b"b"),
        BlockHeader(1, b"a", b"c"),
        BlockHeader(1, b"ab", b""),
    ]
    assert len({header.hash() for header in headers}) == len(headers)


def test_data_hash_is_over_the_entries_one_behind_the_other() -> None:
    """There is no tree and no length in it: Fabric's rule."""
    assert compute_data_hash([b"ab", b"c"]) == hashlib.sha256(b"abc").digest()
    assert compute_data_hash([]) == hashlib.sha256(b"").digest()


def test_block_of_bytes_that_are_none_is_refused() -> None:
    """The message says how many bytes, and what to do."""
    with pytest.raises(BlockError, match=r"4 bytes do not parse as common\.Block.*again"):
        Block.decode(b"\xff\xff\xff\xff")


def test_verdicts_are_written_into_a_block_of_too_few_entries() -> None:
    """An ordered block may come with fewer metadata entries; the orderer's stay as they are."""
    block = Block(BlockHeader(3, b"", b""), (b"one", b"two"), (b"signatures",))
    recorded = with_validation(block, [VALID, TxValidationCode.BAD_RWSET], b"h" * 32)
    assert recorded.metadata[SIGNATURES] == b"signatures"
    assert recorded.metadata[TRANSACTIONS_FILTER] == b"\x00\x16"
    assert recorded.metadata[ORDERER] == b""
    assert codes_of(recorded) == (VALID, TxValidationCode.BAD_RWSET)
    assert commit_hash_of(recorded) == b"h" * 32
    assert with_validation(recorded, codes_of(recorded), b"h" * 32) == recorded
    assert block.metadata == (b"signatures",), "a block never changes"


def test_genesis_block_has_no_commit_hash() -> None:
    """Without a hash the entry is empty."""
    block = with_validation(make_block(0, b"", [b"one"]), [VALID], b"")
    assert block.metadata[COMMIT_HASH] == b""
    assert commit_hash_of(block) == b""


@pytest.mark.parametrize(
    ("filter_", "words"),
    [
        (b"", "carries 0 validation codes for 2"),
        (b"\x00", "carries 1 validation codes for 2"),
        (b"\x00\x00\x00", "carries 3 validation codes for 2"),
        (b"\x00\x64", "a validation code that is not in TxValidationCode"),
    ],
)
def test_filter_without_one_known_code_each_is_refused(filter_: bytes, words: str) -> None:
    """A block that was never validated, or is damaged, gives no verdicts."""
    block = Block(BlockHeader(5, b"", b""), (b"one", b"two"), (b"", b"", filter_))
    with pytest.raises(BlockError, match=f"block 5 .*{words}"):
        codes_of(block)


def test_commit_hash_that_is_no_metadata_is_refused() -> None:
    """The entry must be a common.Metadata."""
    block = Block(BlockHeader(5, b"", b""), (b"one",), (b"", b"", b"", b"", b"\xff"))
    with pytest.raises(BlockError, match=r"the commit hash of block 5 is no common\.Metadata"):
        commit_hash_of(block)


def test_envelope_with_an_unknown_field_behind_is_admitted() -> None:
    """Unknown fields are kept by marshalling again, and so allowed."""
    verify_envelope_canonical(ENVELOPE + b"\x7a\x03new")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no payload"),
        (ENVELOPE[:-1], "not a protobuf"),
        (common_pb2.Envelope(payload=b"p").SerializeToString(), "no signature"),
        (common_pb2.Envelope(signature=b"s").SerializeToString(), "no payload"),
        (b"\x12\x01s\x0a\x01p", "out of order"),
        (b"\x0a\x81\x00p\x12\x01s", "1 trailing bytes"),
        (b"\x0a\x01p\x0a\x01q\x12\x01s", "3 trailing bytes"),
    ],
)
def test_envelope_that_is_not_the_one_encoding_is_refused(raw: bytes, words: str) -> None:
    """Every node must take an envelope for the same one."""
    with pytest.raises(BlockError, match=words):
        verify_envelope_canonical(raw)


def test_config_block_is_excused_from_canonical_envelopes() -> None:
    """Fabric excuses a block that holds one CONFIG envelope; two of them are not excused."""
    config = make_config_envelope(1)
    swapped = common_pb2.Envelope.FromString(config)
    odd = (
        common_pb2.Envelope(signature=swapped.signature).SerializeToString()
        + common_pb2.Envelope(payload=swapped.payload).SerializeToString()
    )
    alone = make_block(1, b"p", [odd])
    assert is_config_block(alone)
    verify_block_structure(alone, 1, b"p")
    with pytest.raises(BlockError, match="transaction 1: the envelope does not match"):
        verify_block_structure(make_block(1, b"p", [ENVELOPE, odd]), 1, b"p")


@pytest.mark.parametrize("envelope", [b"\xff", ENVELOPE, b""])
def test_block_of_other_envelopes_is_no_config_block(envelope: bytes) -> None:
    """Whatever cannot be read as a CONFIG envelope is none."""
    assert not is_config_block(make_block(1, b"", [envelope]))


def test_block_structure_rules_come_in_fabrics_order() -> None:
    """A block that breaks several rules is refused for the first of them."""
    broken = Block(BlockHeader(9, b"other", b"wrong"), (), ())
    for number, previous, words in (
        (1, b"p", "expected block number is 1 but the block says 9"),
        (9, b"p", "block 9 does not follow"),
        (9, b"other", "block 9 has 0 metadata entries where 5 are required"),
    ):
        with pytest.raises(BlockError, match=words):
            verify_block_structure(broken, number, previous)
    empty = Block(broken.header, (), (b"",) * 5)
    with pytest.raises(BlockError, match="block 9 is empty"):
        verify_block_structure(empty, 9, b"other")
    with pytest.raises(BlockError, match="the data hash of block 9"):
        verify_block_structure(Block(broken.header, (ENVELOPE,), (b"",) * 5), 9, b"other")
