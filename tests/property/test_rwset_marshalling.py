"""What is marshalled by hand is what protobuf makes of it, byte for byte."""

from __future__ import annotations

from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from google.protobuf import message
from hypothesis import given
from hypothesis import strategies as st

from ledger.blocks.block import Block, BlockHeader
from ledger.state.version import Version
from ledger.transactions.marshal import (
    encode_hashed_reads,
    encode_hashed_writes,
    encode_reads,
    encode_writes,
)

U64 = (1 << 64) - 1
NUMBERS = st.one_of(st.integers(0, 200), st.integers(0, U64))
VERSIONS = st.none() | st.builds(Version, NUMBERS, NUMBERS)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
HASHES = st.binary(min_size=32, max_size=32) | st.binary(max_size=40)
VALUES = st.one_of(st.binary(max_size=300), st.integers(0, 20_000).map(lambda n: b"v" * n))


def _version(version: Version | None) -> kv_rwset_pb2.Version | None:
    if version is None:
        return None
    return kv_rwset_pb2.Version(block_num=version.block_num, tx_num=version.tx_num)


def _bytes(made: message.Message) -> bytes:
    return made.SerializeToString()


@given(st.lists(st.tuples(KEYS, VERSIONS), max_size=6))
def test_reads_are_marshalled_as_protobuf_does(reads: list[tuple[str, Version | None]]) -> None:
    """Reads: a key may be empty, a version absent, a number zero or the largest there is."""
    made = [kv_rwset_pb2.KVRead(key=key, version=_version(version)) for key, version in reads]
    assert encode_reads(reads) == _bytes(kv_rwset_pb2.KVRWSet(reads=made))
    assert encode_reads(reads) == _bytes(kv_rwset_pb2.QueryReads(kv_reads=made))


@given(st.lists(st.tuples(KEYS, st.booleans(), VALUES), max_size=6))
def test_writes_are_marshalled_as_protobuf_does(writes: list[tuple[str, bool, bytes]]) -> None:
    """Writes: a delete may have a value, a write none."""
    made = [kv_rwset_pb2.KVWrite(key=k, is_delete=d, value=v) for k, d, v in writes]
    assert encode_writes(writes) == _bytes(kv_rwset_pb2.KVRWSet(writes=made))


@given(st.lists(st.tuples(HASHES, VERSIONS), max_size=6))
def test_hashed_reads_are_marshalled_as_protobuf_does(
    reads: list[tuple[bytes, Version | None]],
) -> None:
    """Hashed reads: a hash may have any length."""
    made = [kv_rwset_pb2.KVReadHash(key_hash=h, version=_version(v)) for h, v in reads]
    assert encode_hashed_reads(reads) == _bytes(kv_rwset_pb2.HashedRWSet(hashed_reads=made))


@given(st.lists(st.tuples(HASHES, st.booleans(), HASHES, st.booleans()), max_size=6))
def test_hashed_writes_are_marshalled_as_protobuf_does(
    writes: list[tuple[bytes, bool, bytes, bool]],
) -> None:
    """Hashed writes: deletes and purges among them, hashes of any length."""
    made = [
        kv_rwset_pb2.KVWriteHash(key_hash=h, is_delete=d, value_hash=v, is_purge=p)
        for h, d, v, p in writes
    ]
    assert encode_hashed_writes(writes) == _bytes(kv_rwset_pb2.HashedRWSet(hashed_writes=made))


@given(
    st.builds(BlockHeader, NUMBERS, st.binary(max_size=32), st.binary(max_size=32)),
    st.lists(VALUES, max_size=5).map(tuple),
    st.lists(st.binary(max_size=200), max_size=5).map(tuple),
)
def test_blocks_are_marshalled_as_protobuf_does(
    header: BlockHeader, data: tuple[bytes, ...], metadata: tuple[bytes, ...]
) -> None:
    """A block: empty envelopes and empty metadata keep their places."""
    block = Block(header, data, metadata)
    assert block.encode() == _bytes(block.to_message())
    assert Block.decode(block.encode()) == block
