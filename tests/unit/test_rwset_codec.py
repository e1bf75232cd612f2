"""Read/write sets: Fabric's order, bytes that come back, and foreign bytes that are refused."""

from __future__ import annotations

from hashlib import sha256

import pytest
from fabric_protos.ledger.rwset import rwset_pb2

from ledger.errors import DecodeError
from ledger.state.version import Version
from ledger.transactions.rwset import (
    CollectionRWSet,
    HashedMetadataWrite,
    HashedRead,
    HashedWrite,
    KVRead,
    KVWrite,
    MerkleSummary,
    MetadataWrite,
    NamespaceRWSet,
    RangeQuery,
    TxRWSet,
    decode_tx_rwset,
    encode_tx_rwset,
    find_write,
)

READ_ONLY = CollectionRWSet("c", (HashedRead(b"k", None),))
EVERYTHING = TxRWSet(
    (
        NamespaceRWSet("empty"),
        NamespaceRWSet(
            "shop",
            (KVRead("", None), KVRead("a", Version(0, 0)), KVRead("é", Version(2**63, 7))),
            (KVWrite("a", False, b"1"), KVWrite("b", True, b""), KVWrite("c", False, b"")),
            (MetadataWrite("a", (("n", b"v"), ("o", b""))), MetadataWrite("b", ())),
            (
                RangeQuery("a", "b", True, (), None),
                RangeQuery("a", "", False, (KVRead("a", Version(1, 1)),), None),
                RangeQuery("", "", True, None, MerkleSummary(50, 2, (b"h" * 32, b"i" * 32))),
                RangeQuery("x", "y", True, None, None),
            ),
            (
                CollectionRWSet(
                    "terms",
                    (HashedRead(b"k" * 32, None), HashedRead(b"l" * 32, Version(0, 0))),
                    (
                        HashedWrite(b"k" * 32, False, b"v" * 32, False),
                        HashedWrite(b"l" * 32, True, b"", True),
                    ),
                    (HashedMetadataWrite(b"k" * 32, (("n", b"v"),)),),
                    b"p" * 32,
                ),
                CollectionRWSet("untouched"),
            ),
        ),
    )
)


def test_rwset_of_every_kind_comes_back_as_it_went_in() -> None:
    """Reads of absent keys, empty scans and empty values are told from what is not there."""
    raw = encode_tx_rwset(EVERYTHING)
    assert decode_tx_rwset(raw) == EVERYTHING
    assert encode_tx_rwset(decode_tx_rwset(raw)) == raw


@pytest.mark.parametrize("where", ["set", "namespace", "collection"])
def test_rwset_of_bytes_that_are_none_is_refused(where: str) -> None:
    """Damage in the set, or in a set inside it, is a refusal that says what to do."""
    message = rwset_pb2.TxReadWriteSet.FromString(encode_tx_rwset(EVERYTHING))
    if where == "namespace":
        message.ns_rwset[1].rwset = b"\xff"
    elif where == "collection":
        message.ns_rwset[1].collection_hashed_rwset[0].hashed_rwset = b"\xff"
    raw = b"\xff" if where == "set" else message.SerializeToString()
    with pytest.raises(DecodeError, match=r"do not parse as rwset\.TxReadWriteSet.*endorse"):
        decode_tx_rwset(raw)


def test_empty_value_counts_as_a_delete() -> None:
    """Fabric deletes a key whose value is empty, and a private one whose value hash is that."""
    assert [write.deletes for write in (KVWrite("a", False, b""), KVWrite("a", True, b"1"))] == [
        True,
        True,
    ]
    assert not KVWrite("a", False, b"1").deletes
    for value_hash, deletes in ((b"", True), (sha256(b"").digest(), True), (b"v" * 32, False)):
        assert HashedWrite(b"k", False, value_hash, False).deletes == deletes
    assert HashedWrite(b"k", True, b"v" * 32, False).deletes


@pytest.mark.parametrize(
    ("rwset", "is_writing"),
    [
        (NamespaceRWSet("n", reads=(KVRead("a", None),)), False),
        (
            NamespaceRWSet("n", collections=(CollectionRWSet("c", (HashedRead(b"k", None),)),)),
            False,
        ),
        (NamespaceRWSet("n", writes=(KVWrite("a", True, b""),)), True),
        (NamespaceRWSet("n", metadata_writes=(MetadataWrite("a", ()),)), True),
        (
            NamespaceRWSet(
                "n",
                collections=(
                    CollectionRWSet("c", metadata_writes=(HashedMetadataWrite(b"k", ()),)),
                ),
            ),
            True,
        ),
    ],
)
def test_namespace_is_written_if_anything_in_it_is(rwset: NamespaceRWSet, is_writing: bool) -> None:
    """Only a namespace that is written asks for its policy."""
    assert rwset.is_writing == is_writing


def test_write_of_a_key_is_found_in_the_bytes() -> None:
    """The last write of the key in its own namespace, None if there is none."""
    twice = NamespaceRWSet(
        "shop",
        writes=(KVWrite("a", False, b"1"), KVWrite("b", False, b"x"), KVWrite("a", True, b"")),
    )
    other = NamespaceRWSet("bank", writes=(KVWrite("a", False, b"bank's"),))
    raw = encode_tx_rwset(TxRWSet((twice, other)))
    assert find_write(raw, "shop", "a") == KVWrite("a", True, b"")
    assert find_write(raw, "shop", "b") == KVWrite("b", False, b"x")
    assert find_write(raw, "bank", "a") == KVWrite("a", False, b"bank's")
    assert find_write(raw, "shop", "c") is None
    assert find_write(raw, "mint", "a") is None
